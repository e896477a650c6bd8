use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn check(text: &str, expected: Json) {
    assert_eq!(Json::from(&inner(text, &XmlRules::default()).unwrap()), expected, "{text}");
}

#[test]
fn inner_documents_are_told_apart() {
    check("\u{feff}\n<?xml version='1.0' encoding='utf-16'?><r>1</r>\0", json!({"#name": "r", "#text": "1"}));
    check("&lt;r&gt;a &amp;amp; b&lt;/r&gt;", json!({"#name": "r", "#text": "a & b"}));
    check("&amp;lt;r/&amp;gt;", json!({"#name": "r"}));
    check(" [{\"a\":1.0}]", json!([{"a": "1.0"}]));
    for text in ["", "ok", "&nbsp;", "&amp;amp;amp;amp;amp;lt;r/>"] {
        assert_eq!(inner(text, &XmlRules::default()).unwrap_err().code, "inner-kind", "{text}");
    }
}

#[test]
fn an_inner_document_takes_its_texts_place() {
    let rules = XmlRules::default();
    let soap = "<E><B><R><X t='1'><![CDATA[{\"no\":\"1\"}]]></X><c>0</c></R></B></E>";
    let document = xml::parse(soap, &rules).unwrap();
    let unwrapped = unwrap_at(document.clone(), "B.R.X", &rules).unwrap();
    let expected = json!({"#name": "E", "B": {"R": {"X": {"@t": "1", "#text": {"no": "1"}}, "c": "0"}}});
    assert_eq!(Json::from(&Value::Map(unwrapped.root)), expected);
    for path in ["B.Q", "B.R", "B.R.c.d"] {
        assert_eq!(unwrap_at(document.clone(), path, &rules).unwrap_err().code, "inner-path", "{path}");
    }
    let empty = xml::parse("<E><X> </X></E>", &rules).unwrap();
    assert_eq!(unwrap_at(empty.clone(), "X", &rules), Ok(empty));
}

proptest! {
    #[test]
    fn no_text_panics(noise in any::<String>(), markup in "[<>/a&;ltgmp{}\\[\\]\":]{0,40}") {
        for text in [noise, markup] {
            let _ = inner(&text, &XmlRules::default());
        }
    }
}
