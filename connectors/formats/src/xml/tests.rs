use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn read(text: &str, rules: &XmlRules) -> Json {
    Json::from(&Value::Map(parse(text, rules).unwrap_or_else(|failure| panic!("{failure}: {text}")).root))
}

fn check(text: &str, expected: Json) {
    assert_eq!(read(text, &XmlRules::default()), expected, "{text}");
}

fn fails(text: &str) -> &'static str {
    parse(text, &XmlRules::default()).expect_err(text).code
}

#[test]
fn elements_become_values_by_one_rule() {
    check("<r/>", json!({"#name": "r"}));
    check("<r>x</r>", json!({"#name": "r", "#text": "x"}));
    check("<r><a>1</a><b/><c> </c></r>", json!({"#name": "r", "a": "1", "b": "", "c": " "}));
    check("<r i='1'><a j=\"&lt;2\">t</a></r>", json!({"#name": "r", "@i": "1", "a": {"@j": "<2", "#text": "t"}}));
    check("<r>\n <a/>\n mixed <b/></r>", json!({"#name": "r", "a": "", "b": "", "#text": "\n \n mixed "}));
    check("<r><a xsi:nil='true'/><b xsi:type='xsd:int'>5</b></r>", json!({"#name": "r", "a": null, "b": "5"}));
}

#[test]
fn children_that_repeat_are_a_list_and_so_are_the_named_ones() {
    check("<r><i>1</i><n>x</n><i>2</i></r>", json!({"#name": "r", "i": ["1", "2"], "n": "x"}));
    let rules = XmlRules { lists: vec!["i".to_owned()], ..XmlRules::default() };
    assert_eq!(read("<r><i>1</i></r>", &rules), json!({"#name": "r", "i": ["1"]}));
}

#[test]
fn prefixes_are_dropped_or_kept() {
    let text = "<s:E xmlns:s='u' xmlns='v' s:a='1'><s:B>x</s:B></s:E>";
    check(text, json!({"#name": "E", "@a": "1", "B": "x"}));
    let rules = XmlRules { prefixes: Prefixes::Keep, ..XmlRules::default() };
    assert_eq!(read(text, &rules), json!({"#name": "s:E", "@s:a": "1", "s:B": "x"}));
}

#[test]
fn text_is_joined_from_its_pieces() {
    check(
        "<r><a>1 &lt; <![CDATA[2 & ]]>&#51;&#x4E2D;\r\n<!-- no -->x</a></r>",
        json!({
            "#name": "r", "a": "1 < 2 & 3中\nx"
        }),
    );
    // What ends a CDATA section is written in two of them, or escaped outside.
    check("<r><![CDATA[a]]]]><![CDATA[>b]]></r>", json!({"#name": "r", "#text": "a]]>b"}));
    check("<r>a]]&gt;b</r>", json!({"#name": "r", "#text": "a]]>b"}));
    check("\u{feff}\n<?xml version='1.0' encoding='GBK'?><?pi x?><!-- c --><r/>\n<!-- d -->\n", json!({"#name": "r"}));
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for text in [
        "",
        " ",
        "x",
        "<a>",
        "<a></b>",
        "</a>",
        "<a/><b/>",
        "<a/>x",
        "x<a/>",
        "<a>&</a>",
        "<a b='1' b='2'/>",
        "<a b=1/>",
        "<a><![CDATA[x]]</a>",
        "<a",
        "<?xml",
        "<a/>&lt;",
        "<![CDATA[x]]><a/>",
    ] {
        assert_eq!(fails(text), "xml-syntax", "{text}");
    }
}

#[test]
fn entities_of_documents_are_refused() {
    let bomb = "<!DOCTYPE r [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><r>&b;</r>";
    let outside = "<!DOCTYPE r [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><r>&x;</r>";
    for text in [bomb, outside, "<!DOCTYPE html><html/>"] {
        assert_eq!(fails(text), "xml-doctype");
    }
    for text in
        ["<r>&nbsp;</r>", "<r a='&nbsp;'/>", "<r>&#0;</r>", "<r>&#xD800;</r>", "<r>&#1;</r>", "<r>&#x110000;</r>"]
    {
        assert_eq!(fails(text), "xml-entity", "{text}");
    }
}

#[test]
fn control_characters_are_held_or_kept() {
    assert_eq!(fails("<r>a\u{b}b</r>"), "xml-control");
    let rules = XmlRules { control_characters: ControlCharacters::Keep, ..XmlRules::default() };
    assert_eq!(read("<r>a\u{b}b&#2;</r>", &rules), json!({"#name": "r", "#text": "a\u{b}b\u{2}"}));
}

#[test]
fn depth_is_limited() {
    let deep = |levels: usize| "<a>".repeat(levels) + &"</a>".repeat(levels);
    assert!(parse(&deep(MAX_DEPTH), &XmlRules::default()).is_ok());
    assert_eq!(fails(&deep(MAX_DEPTH + 1)), "xml-depth");
    assert_eq!(fails(&deep(100_000)), "xml-depth");
}

#[test]
fn records_are_the_elements_at_a_path() {
    let rules = XmlRules::default();
    let text = "<?xml version='1.0'?><n:Rs><R i='1'><R>in</R></R><x><R/></x><R/></n:Rs>";
    assert_eq!(records(text, "Rs.R", &rules).unwrap(), ["<R i='1'><R>in</R></R>", "<R/>"]);
    assert_eq!(records(text, "Rs.x.R", &rules).unwrap(), ["<R/>"]);
    assert_eq!(records(text, "Rs", &rules).unwrap(), ["<n:Rs><R i='1'><R>in</R></R><x><R/></x><R/></n:Rs>"]);
    assert_eq!(records("<Rs/>", "Rs.R", &rules).unwrap(), [""; 0]);
    assert_eq!(records(text, "", &rules).unwrap(), [text]);
    for path in ["R", "Other.R", "Rs.y.R"] {
        assert_eq!(records(text, path, &rules).unwrap_err().code, "xml-path", "{path}");
    }
    assert_eq!(records("<Rs><R/>", "Rs.R", &rules).unwrap_err().code, "xml-syntax");
    // What only one record has wrong is that record's fault.
    let one = records("<Rs><R>&nbsp;</R><R/></Rs>", "Rs.R", &rules).unwrap();
    assert_eq!(one.len(), 2);
}

#[test]
fn the_declared_character_set_is_found_and_doubted() {
    assert_eq!(declared(b"<?xml version=\"1.0\" encoding=\"GB2312\" ?><r/>"), Some("GB2312"));
    assert_eq!(declared(b"\xef\xbb\xbf<?xml encoding = 'utf-8'?>"), Some("utf-8"));
    assert_eq!(declared(b"<?xml version='1.0'?><r encoding='x'/>"), None);
    assert_eq!(declared(b"<\0?\0x\0"), Some("utf-16le"));
    let decoder = XmlDecoder::default();
    let code = |bytes: &'static [u8]| decoder.receive(Bytes::from_static(bytes), None).1.unwrap_err().code;
    assert_eq!(code(b"<?xml version='1.0' encoding='utf-16'?><r/>"), "text-charset");
    assert_eq!(code(b"<?xml version='1.0' encoding='utf-8'?><r>\xd5\xc5</r>"), "text-charset");
    assert_eq!(code("<?xml version='1.0' encoding='gbk'?><r>张三</r>".as_bytes()), "text-charset-doubtful");
}

#[test]
fn a_body_decodes_again_from_the_archive() {
    let decoder = XmlDecoder::default();
    let body = Bytes::from_static(b"<?xml version='1.0' encoding='gb2312'?><r>\xd5\xc5</r>");
    let (raw, document) = decoder.receive(body, None);
    assert_eq!(raw.charset.as_deref(), Some("gbk"));
    assert_eq!(document.as_ref().unwrap().root.get("#text"), Some(&Value::from("张")));
    assert_eq!(decoder.decode(&raw), document);
    let configured =
        XmlDecoder::new(TextPolicy { prefer: Prefer::Configured, ..TextPolicy::default() }, XmlRules::default());
    let (_, document) = configured.receive(Bytes::from("<?xml version='1.0' encoding='utf-16'?><r>张</r>"), None);
    assert!(document.is_ok());
}

#[test]
fn fields_are_found_beside_what_cannot_be_read() {
    let rules = XmlRules::default();
    let text = "<s:R code='7'><c>0</c><d a='x'>y</d><e/><bad>&nbsp;</bad></s:R>";
    assert_eq!(field(text, "R.c", &rules).unwrap(), Some(Value::from("0")));
    assert_eq!(field(text, "R.@code", &rules).unwrap(), Some(Value::from("7")));
    assert_eq!(field(text, "R.e", &rules).unwrap(), Some(Value::from("")));
    assert_eq!(field(text, "R.absent", &rules).unwrap(), None);
    assert_eq!(field(text, "Other.c", &rules).unwrap(), None);
    assert_eq!(records(text, "*.*", &rules).unwrap().len(), 4);
    assert_eq!(name_of("<s:R code='7'>", &rules), "R");
}

/// An element with children of two names, as XML and as the value expected.
fn element(name: &'static str) -> impl Strategy<Value = (String, Json)> {
    let text = "[a-z&<>\"'张 \\]]{1,8}".prop_filter("more than blanks", |text| !text.trim().is_empty());
    let leaf =
        text.prop_map(move |text| (format!("<{name}>{}</{name}>", quick_xml::escape::escape(&text)), json!(text)));
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop::collection::vec(inner, 2..4).prop_map(move |children| {
            let body: String = children.iter().map(|(xml, _)| xml.as_str()).collect();
            let values: Vec<Json> = children.into_iter().map(|(_, value)| value).collect();
            (format!("<{name} k=\"v\">\n{body}</{name}>"), json!({"@k": "v", name: values}))
        })
    })
}

proptest! {
    #[test]
    fn what_was_written_is_read_back((xml, value) in element("e")) {
        let text = format!("<root>{xml}</root>");
        prop_assert_eq!(read(&text, &XmlRules::default()), json!({"#name": "root", "e": value}));
        prop_assert_eq!(records(&text, "root.e", &XmlRules::default()).unwrap(), [xml]);
    }

    #[test]
    fn no_text_panics(noise in any::<String>(), markup in "[<>/a=\"'&;#x!\\[\\]CDATA \\-?]{0,60}", path in "[a.]{0,4}") {
        for text in [noise, markup.clone(), format!("<a>{markup}</a>")] {
            let _ = parse(&text, &XmlRules::default());
            let _ = records(&text, &path, &XmlRules::default());
            let _ = declared(text.as_bytes());
        }
    }
}

#[test]
fn nil_and_type_are_known_by_their_namespace_and_not_by_their_prefix() {
    let xsi = "http://www.w3.org/2001/XMLSchema-instance";
    // As WCF writes them: declared at the root, or with each element.
    check(
        &format!("<r xmlns:i='{xsi}'><a i:nil='true'/><b i:type='c:int'>5</b><c i:nil='true'>x</c></r>"),
        json!({"#name": "r", "a": null, "b": "5", "c": "x"}),
    );
    check(
        &format!("<r><a d3p1:nil='1' xmlns:d3p1='{xsi}'/><b xmlns:p2='{xsi}' p2:type='q'>5</b></r>"),
        json!({"#name": "r", "a": null, "b": "5"}),
    );
    // Another namespace's names are content, also where it takes over a prefix.
    check(
        "<r xmlns:x='urn:lab'><a x:type='H' x:nil='true'/></r>",
        json!({"#name": "r", "a": {"@type": "H", "@nil": "true"}}),
    );
    check(
        &format!("<r xmlns:i='{xsi}'><a xmlns:i='urn:lab' i:type='H'/><b i:nil='true'/></r>"),
        json!({"#name": "r", "a": {"@type": "H"}, "b": null}),
    );
    check("<r type='H' nil='true'/>", json!({"#name": "r", "@type": "H", "@nil": "true"}));
    // Cut out of the element that declares the prefix.
    check(
        "<r><a i:nil='true'/><b i:type='c:int'>5</b><c p2:type='H'/></r>",
        json!({"#name": "r", "a": null, "b": "5", "c": {"@type": "H"}}),
    );
}
