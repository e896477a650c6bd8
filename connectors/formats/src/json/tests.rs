use connector_api::Value;
use proptest::prelude::*;

use super::*;

fn check(text: &str, expected: Value) {
    assert_eq!(parse(text), Ok(expected), "{text}");
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(Map::from_iter(entries))
}

fn fails(text: &str) -> (&'static str, String) {
    let failure = parse(text).unwrap_err();
    (failure.code, failure.detail)
}

#[test]
fn numbers_keep_their_digits() {
    check("1234567890123456789", Value::Integer(1_234_567_890_123_456_789));
    check("12345678901234567890", Value::decimal("12345678901234567890").unwrap());
    check("1.30", Value::decimal("1.30").unwrap());
    check("1e3", Value::decimal("1e3").unwrap());
    check("-0", Value::decimal("-0").unwrap());
    check("-7", Value::Integer(-7));
    check("0.10000000000000000000000000000001", Value::decimal("0.10000000000000000000000000000001").unwrap());
}

#[test]
fn names_keep_their_order_and_their_doubles() {
    check(r#"{"b":1,"a":null,"b":""}"#, map(vec![("b", 1.into()), ("a", Value::Null), ("b", "".into())]));
}

#[test]
fn other_values_are_themselves() {
    check("\u{feff} [true, \"\\u5f20\\n\", {}, []] ", {
        Value::List(vec![true.into(), "张\n".into(), map(vec![]), Value::List(vec![])])
    });
}

#[test]
fn faults_are_placed_without_content() {
    assert_eq!(fails("{\"a\":\n 王}"), ("json-syntax", "line 2 column 2 is not JSON".to_owned()));
    assert_eq!(fails("{} {}").0, "json-syntax");
    assert_eq!(fails("01").0, "json-syntax");
    assert_eq!(fails("NaN").0, "json-syntax");
    assert_eq!(fails("").0, "json-syntax");
    // Half of a surrogate pair stands for no character.
    assert_eq!(fails(r#"{"a":"\ud800"}"#).0, "json-syntax");
    assert_eq!(fails(&("[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1))).0, "json-depth");
    assert!(parse(&("[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH))).is_ok());
    assert!(parse(&"[".repeat(1_000_000)).is_err());
}

#[test]
fn records_are_the_elements_at_a_path() {
    let text = r#" {"code":0,"data":{"list":[{"no":1}, {"no":2.0}], "one":{"no":3},"none":null}}"#;
    assert_eq!(records(text, "data.list").unwrap(), [r#"{"no":1}"#, r#"{"no":2.0}"#]);
    assert_eq!(records(text, "data.one").unwrap(), [r#"{"no":3}"#]);
    assert_eq!(records("[1,2]", "").unwrap(), ["1", "2"]);
    assert_eq!(records(" {\"a\":1} ", "").unwrap(), ["{\"a\":1}"]);
    for path in ["data.other", "data.none", "code.x"] {
        assert_eq!(records(text, path).unwrap_err().code, "json-path", "{path}");
    }
}

#[test]
fn a_body_decodes_again_from_the_archive() {
    let decoder = JsonDecoder::new(TextPolicy { default: crate::charset::Charset::Gb18030, ..TextPolicy::default() });
    let (raw, document) = decoder.receive(Bytes::from_static(b"{\"n\":\"\xd5\xc5\"}"), None);
    assert_eq!(raw.charset.as_deref(), Some("gb18030"));
    assert_eq!(document.as_ref().unwrap().root.get("n").unwrap().as_text(), Some("张"));
    assert_eq!(decoder.decode(&raw), document);
    let (raw, document) = decoder.receive(Bytes::from_static(b"{\"n\":\"\xd5\"}"), Some("utf-8"));
    assert_eq!((raw.charset, document.unwrap_err().code), (None, "text-charset"));
    let (_, list) = decoder.receive(Bytes::from_static(b"[]"), None);
    assert_eq!(list.unwrap_err().code, "json-record");
}

/// Any value that JSON can carry.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Integer),
        (any::<u32>(), any::<u64>()).prop_map(|(a, b)| Value::decimal(&format!("{a}.{b}")).unwrap()),
        any::<String>().prop_map(Value::Text),
    ];
    leaf.prop_recursive(5, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec((any::<String>(), inner), 0..5).prop_map(|all| Value::Map(Map::from_iter(all))),
        ]
    })
}

fn write(value: &Value, out: &mut String) {
    let text = |text: &str| serde_json::to_string(text).unwrap();
    match value {
        Value::Text(own) => out.push_str(&text(own)),
        Value::Decimal(decimal) => out.push_str(decimal.as_str()),
        Value::List(list) => {
            out.push('[');
            list.iter().enumerate().for_each(|(at, element)| {
                out.push_str(if at > 0 { ", " } else { "" });
                write(element, out);
            });
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            map.iter().enumerate().for_each(|(at, (name, element))| {
                out.push_str(if at > 0 { ",\n" } else { "" });
                out.push_str(&text(name));
                out.push(':');
                write(element, out);
            });
            out.push('}');
        }
        other => out.push_str(&serde_json::Value::from(other).to_string()),
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read_back(value in any_value()) {
        let mut text = String::new();
        write(&value, &mut text);
        prop_assert_eq!(parse(&text), Ok(value));
    }

    #[test]
    fn no_text_panics(text in any::<String>(), braces in "[\\[\\]{}\":,0-9e.a ]{0,40}", path in "[a.]{0,4}") {
        for text in [text, braces] {
            let _ = parse(&text);
            let _ = records(&text, &path);
        }
    }
}

#[test]
fn values_are_found_through_any_name_and_through_texts_that_hold_json() {
    let texts = |text: &str, path: &str| {
        at(text, path).unwrap().into_iter().map(|found| found.into_owned()).collect::<Vec<_>>()
    };
    let text = r#"{"1":"{\"item\":[{\"id\":1234567890123456789}]}","2":{"item":[{"id":2},{"id":3}]},"n":null}"#;
    assert_eq!(texts(text, "*.item.*.id"), ["1234567890123456789", "2", "3"]);
    assert_eq!(texts(text, "1.item"), [r#"[{"id":1234567890123456789}]"#]);
    assert_eq!(texts(text, "n"), ["null"]);
    assert_eq!(texts(text, "absent.item"), [""; 0]);
    assert_eq!(texts(r#""plain""#, ""), [r#""plain""#]);
    assert_eq!(elements(r#"[1,"{\"a\":2}"]"#).unwrap(), ["1", r#"{"a":2}"#]);
    assert!(at("{", "a").is_err());
}
