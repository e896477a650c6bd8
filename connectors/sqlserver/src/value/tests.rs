use std::borrow::Cow;

use connector_api::Value;
use tiberius::ColumnData;
use tiberius::numeric::Numeric;
use tiberius::time::{Date, DateTime, DateTime2, DateTimeOffset, SmallDateTime, Time};

use super::{bound, read};
use crate::dialect::Reading;

fn plain(data: ColumnData<'static>) -> Value {
    let (value, broken) = read(data, Reading::default());
    assert_eq!(broken, None);
    value
}

#[test]
fn decimals_keep_every_digit() {
    let number = |value, scale| plain(ColumnData::Numeric(Some(Numeric::new_with_scale(value, scale))));
    assert_eq!(number(13_000, 4), Value::decimal("1.3000").unwrap());
    assert_eq!(number(-5, 4), Value::decimal("-0.0005").unwrap());
    assert_eq!(number(7, 0), Value::decimal("7").unwrap());
    let long = 12_345_678_901_234_567_890_123_456_789_012_345_678;
    assert_eq!(number(long, 10), Value::decimal("1234567890123456789012345678.9012345678").unwrap());
    assert_eq!(plain(ColumnData::F64(Some(0.1))), Value::decimal("0.1").unwrap());
    assert_eq!(plain(ColumnData::F32(Some(0.1))), Value::decimal("0.1").unwrap());
}

#[test]
fn a_datetime_is_written_in_the_milliseconds_that_sql_server_shows() {
    let at = |ticks| match plain(ColumnData::DateTime(Some(DateTime::new(45_291, ticks)))) {
        Value::Time(time) => time.to_string(),
        other => panic!("{other:?}"),
    };
    let morning = 8 * 3600 * 300;
    assert_eq!(at(morning), "2024-01-02T08:00:00");
    assert_eq!(at(morning + 1), "2024-01-02T08:00:00.003");
    assert_eq!(at(morning + 2), "2024-01-02T08:00:00.007");
    assert_eq!(at(morning + 299), "2024-01-02T08:00:00.997");
}

#[test]
fn times_of_every_type_are_read() {
    let shown = |data| match plain(data) {
        Value::Time(time) => time.to_string(),
        Value::Text(text) => text,
        other => panic!("{other:?}"),
    };
    let day = Date::new(738_886);
    let clock = Time::new(288_000_000_001, 7);
    assert_eq!(shown(ColumnData::Date(Some(day))), "2024-01-02");
    assert_eq!(shown(ColumnData::DateTime2(Some(DateTime2::new(day, clock)))), "2024-01-02T08:00:00.000000100");
    let offset = DateTimeOffset::new(DateTime2::new(day, Time::new(0, 0)), 480);
    assert_eq!(shown(ColumnData::DateTimeOffset(Some(offset))), "2024-01-02T08:00:00+08:00");
    assert_eq!(shown(ColumnData::SmallDateTime(Some(SmallDateTime::new(45_291, 481)))), "2024-01-02T08:01:00");
    assert_eq!(shown(ColumnData::Time(Some(Time::new(28_800, 0)))), "08:00:00");
}

#[test]
fn a_time_outside_of_the_calendar_is_broken() {
    let (value, broken) = read(ColumnData::DateTime(Some(DateTime::new(i32::MAX, 0))), Reading::default());
    assert_eq!((value, broken), (Value::Null, Some("row")));
    let (_, broken) = read(ColumnData::Time(Some(Time::new(u64::MAX, 7))), Reading::default());
    assert_eq!(broken, Some("row"));
}

#[test]
fn damaged_text_is_broken_and_keeps_its_bytes() {
    let gbk = Reading { gbk: true, padded: false };
    let bytes = |bytes: &[u8]| ColumnData::Binary(Some(Cow::Owned(bytes.to_vec())));
    assert_eq!(read(bytes(&[0xd5, 0xc5]), gbk), (Value::from("张"), None));
    let half = [0xd5, 0xc5, 0xc8];
    assert_eq!(read(bytes(&half), gbk), (Value::Bytes(half.to_vec()), Some("text-encoding")));
    let text = ColumnData::String(Some("欧\u{fffd}".into()));
    assert_eq!(read(text, Reading::default()).1, Some("text-encoding"));
}

#[test]
fn blanks_that_fill_a_fixed_width_are_no_content() {
    let padded = Reading { gbk: false, padded: true };
    let text = |text: &str| ColumnData::String(Some(Cow::Owned(text.to_owned())));
    assert_eq!(read(text(" A1   "), padded).0, Value::from(" A1"));
    assert_eq!(read(text("   "), padded).0, Value::from(""));
    assert_eq!(plain(text("A1  ")), Value::from("A1  "), "varchar: they were written");
    assert_eq!(read(text("A\u{3000}"), padded).0, Value::from("A\u{3000}"), "a wide blank was typed by somebody");
}

#[test]
fn nulls_of_every_type_are_null() {
    let nulls = [
        ColumnData::U8(None),
        ColumnData::I16(None),
        ColumnData::I32(None),
        ColumnData::I64(None),
        ColumnData::F32(None),
        ColumnData::F64(None),
        ColumnData::Bit(None),
        ColumnData::String(None),
        ColumnData::Guid(None),
        ColumnData::Binary(None),
        ColumnData::Numeric(None),
        ColumnData::Xml(None),
        ColumnData::DateTime(None),
        ColumnData::SmallDateTime(None),
        ColumnData::Time(None),
        ColumnData::Date(None),
        ColumnData::DateTime2(None),
        ColumnData::DateTimeOffset(None),
    ];
    for null in nulls {
        assert_eq!(read(null, Reading { gbk: true, padded: true }), (Value::Null, None));
    }
}

#[test]
fn numbers_are_bound_exactly() {
    let sent = |literal: &str| match bound(&Value::decimal(literal).unwrap()).to_sql() {
        ColumnData::Numeric(Some(number)) => format!("{} {}", number.value(), number.scale()),
        ColumnData::F64(Some(number)) => format!("{number:?}"),
        other => format!("{other:?}"),
    };
    assert_eq!(sent("1.30"), "130 2");
    assert_eq!(sent("-0.5"), "-5 1");
    assert_eq!(sent("99999999999999999999999999999999999999"), "99999999999999999999999999999999999999 0");
    assert_eq!(sent("1e3"), "1000.0");
}
