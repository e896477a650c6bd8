use chrono::NaiveDate;
use proptest::prelude::*;

use super::*;
use crate::SourceTime;

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<String>().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Bool),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        "[+-]?[0-9]{1,9}\\.[0-9]{0,9}([eE][+-]?[0-9]{1,3})?".prop_map(|text| Value::decimal(&text).expect("a decimal")),
        (0i32..9999, 1u32..366, 0u32..86_400).prop_map(|(year, day, second)| {
            let date = NaiveDate::from_yo_opt(year.max(1), day).expect("a date");
            let time = date.and_hms_opt(second / 3600, second / 60 % 60, second % 60).expect("a time");
            Value::Time(SourceTime::Local(time))
        }),
    ];
    scalar.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::vec(("\\$?\\$?(dec|int|time|[a-z姓名]{0,3})", inner), 0..4)
                .prop_map(|entries| Value::Map(Map::from_iter(entries))),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_archived_reads_back_equal(entries in proptest::collection::vec(("\\$?[a-z]{0,4}", value()), 0..6)) {
        let document = Document::new(Map::from_iter(entries));
        let read = Document::from_bytes(&document.to_bytes()).expect("own bytes are readable");
        prop_assert_eq!(read, document);
    }
}

#[test]
fn null_empty_text_and_decimal_literals_stay_apart() {
    let document = Document::new(Map::from_iter([
        ("空", Value::Null),
        ("空串", Value::from("")),
        ("结果", Value::decimal("1.30").expect("a decimal")),
        ("$dec", Value::from("a column may be named like a tag")),
    ]));
    let bytes = document.to_bytes();
    assert_eq!(
        String::from_utf8(bytes.clone()).expect("JSON is UTF-8"),
        r#"{"空":null,"空串":"","结果":{"$dec":"1.30"},"$$dec":"a column may be named like a tag"}"#
    );
    assert_eq!(Document::from_bytes(&bytes).expect("readable"), document);
}

#[test]
fn a_damaged_archive_body_is_an_error_and_not_a_value() {
    for damaged in ["", "[]", "{\"a\":{\"$dec\":\"x\"}}", "{\"a\":{\"$what\":\"1\"}}", "{\"a\":1.5}"] {
        assert!(Document::from_bytes(damaged.as_bytes()).is_err(), "{damaged} was read");
    }
}
