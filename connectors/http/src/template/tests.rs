use connector_api::Map;
use proptest::prelude::*;

use super::*;

fn filled(source: &str, place: Place, value: &str) -> String {
    let vars = Vars::from([("x", value.into()), ("n", 1_234_567_890_123_456_789_i64.into())]);
    Template::new(source, place).unwrap().fill(&vars).unwrap()
}

#[test]
fn values_are_escaped_for_their_place() {
    let nasty = "a<b>&\"'/中]]> ..";
    assert_eq!(filled("<p>{{ x }}</p>", Place::Xml, nasty), "<p>a&lt;b&gt;&amp;&quot;&apos;/中]]&gt; ..</p>");
    assert_eq!(
        filled("{\"p\":{{ x }},\"n\":{{ n }}}", Place::Json, nasty),
        "{\"p\":\"a<b>&\\\"'/中]]> ..\",\"n\":1234567890123456789}"
    );
    assert_eq!(filled("r/{{ x }}/d", Place::Path, "a/../b?c#d%"), "r/a%2F..%2Fb%3Fc%23d%25/d");
    assert_eq!(filled("{{ x }}", Place::Plain, nasty), nasty);
}

#[test]
fn a_template_cannot_switch_escaping_off() {
    assert_eq!(filled("{{ x|safe }}", Place::Xml, "<"), "&lt;");
    assert_eq!(filled("{% autoescape false %}{{ x }}{% endautoescape %}", Place::Xml, "<"), "&lt;");
}

#[test]
fn what_is_missing_or_impossible_is_an_error_without_the_value() {
    let vars = Vars::from([("row", visible_map(&Map::from_iter([("id", "secret-7")]))), ("bell", "s\u{7}".into())]);
    for (source, place) in [("{{ row.other }}", Place::Plain), ("{{ row }}", Place::Xml), ("{{ bell }}", Place::Xml)] {
        let error = Template::new(source, place).unwrap().fill(&vars).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(Template::new("{{ a", Place::Plain).is_err());
    let dots = Vars::from([("x", "..".into())]);
    assert!(Template::new("r/{{ x }}", Place::Path).unwrap().fill(&dots).is_err());
}

#[test]
fn times_can_be_written_in_another_pattern() {
    assert_eq!(filled("{{ x|date('%Y%m%d') }}", Place::Plain, "2024-01-02 08:00:00"), "20240102");
}

proptest! {
    #[test]
    fn no_value_leaves_its_place(value in any::<String>()) {
        let vars = Vars::from([("x", value.as_str().into())]);
        let json = Template::new("{\"a\":{{ x }}}", Place::Json).unwrap().fill(&vars).unwrap();
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(read["a"].as_str(), Some(value.as_str()));
        if let Ok(xml) = Template::new("<a>{{ x }}</a>", Place::Xml).unwrap().fill(&vars) {
            let read = connector_formats::xml::parse(&xml, &connector_formats::xml::XmlRules::default()).unwrap();
            let text = read.root.get("#text").and_then(Value::as_text).unwrap_or_default();
            prop_assert_eq!(text, value.as_str());
        }
        if let Ok(path) = Template::new("{{ x }}", Place::Path).unwrap().fill(&vars) {
            let clean = !path.contains(['/', '?', '#']);
            prop_assert!(clean);
        }
    }
}
