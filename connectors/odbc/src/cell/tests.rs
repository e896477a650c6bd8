use super::*;
use crate::preset::{POSTGRESQL, SQLITE};

fn from(kind: Kind, text: &str) -> (Value, Option<&'static str>) {
    read(&POSTGRESQL, kind, Cell::Bytes(text.as_bytes()))
}

fn time(text: &str) -> Value {
    Value::Time(text.parse().unwrap())
}

#[test]
fn numbers_are_exact() {
    assert_eq!(from(Kind::Integer, "9223372036854775807").0, Value::Integer(i64::MAX));
    assert_eq!(from(Kind::Integer, "255").0, Value::Integer(255), "a TINYINT without sign");
    let unsigned = "18446744073709551615";
    assert_eq!(from(Kind::Integer, unsigned).0, Value::decimal(unsigned).unwrap());
    assert_eq!(from(Kind::Decimal, "1.3000").0, Value::decimal("1.3000").unwrap());
    assert_eq!(from(Kind::Decimal, ".5").0, Value::decimal(".5").unwrap());
    assert_eq!(from(Kind::Float, "NaN"), (Value::from("NaN"), Some("not-a-number")));
}

#[test]
fn times_are_as_exact_as_the_source() {
    assert_eq!(from(Kind::Date, "2024-02-29").0, time("2024-02-29"));
    assert_eq!(from(Kind::Timestamp, "2024-02-29 08:00:00").0, time("2024-02-29T08:00:00"));
    assert_eq!(from(Kind::Timestamp, "2024-02-29 08:00:00.123456").0, time("2024-02-29T08:00:00.123456"));
    assert_eq!(from(Kind::Timestamp, "2024-02-29 08:00:00.5+08").0, time("2024-02-29T08:00:00.500+08:00"));
}

#[test]
fn a_date_that_does_not_exist_stays_text() {
    for text in ["0000-00-00", "2023-02-29", "0000-00-00 00:00:00"] {
        assert_eq!(from(Kind::Date, text), (Value::from(text), None));
        assert_eq!(from(Kind::Timestamp, text), (Value::from(text), None));
    }
}

#[test]
fn text_that_cannot_be_vouched_for_is_marked() {
    let gbk = read(&POSTGRESQL, Kind::Text, Cell::Bytes(b"\xd5\xc5\xc8\xfd"));
    assert_eq!(gbk, (Value::Bytes(b"\xd5\xc5\xc8\xfd".to_vec()), Some("text-encoding")));
    assert_eq!(from(Kind::Text, "张\u{fffd}").1, Some("text-encoding"));
    assert_eq!(from(Kind::Text, "张\0\0").1, Some("text-encoding"), "FreeTDS pads what it can't convert");
    assert_eq!(from(Kind::Text, " 张三 "), (Value::from(" 张三 "), None), "blanks are the source's");
    assert_eq!(read(&POSTGRESQL, Kind::Text, Cell::TooLong), (Value::Null, Some("value-too-long")));
}

#[test]
fn a_declared_type_of_sqlite_is_a_hint() {
    let read = |kind, text: &str| read(&SQLITE, kind, Cell::Bytes(text.as_bytes()));
    assert_eq!(read(Kind::Integer, "未检"), (Value::from("未检"), None));
    assert_eq!(read(Kind::Timestamp, "2024-01-02 08:00:00"), (Value::from("2024-01-02 08:00:00"), None));
}
