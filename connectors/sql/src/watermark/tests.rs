use std::slice;

use super::*;

fn settings(kind: WatermarkType, lag: u64, format: Option<&str>) -> WatermarkSettings {
    let timestamp = kind == WatermarkType::Timestamp;
    WatermarkSettings {
        column: "c".into(),
        then: Vec::new(),
        kind,
        lag_secs: timestamp.then_some(lag),
        lag: (!timestamp).then_some(lag),
        format: format.map(str::to_owned),
    }
}

#[track_caller]
fn check(kind: WatermarkType, lag: u64, format: Option<&str>, value: Value, expected: Option<Value>) {
    let found = lower(&settings(kind, lag, format), slice::from_ref(&value)).map(|start| start.at);
    assert_eq!(found, expected.map(|value| vec![value]), "{value:?} less {lag}");
}

#[test]
fn the_lag_is_taken_off_in_the_form_of_the_column() {
    let text = |value: &str, expected: &str| {
        check(WatermarkType::Timestamp, 600, None, Value::from(value), Some(Value::from(expected)));
    };
    text("2024-01-02 08:00:00", "2024-01-02 07:50:00");
    text("2024-01-02 00:05:00.123", "2024-01-01 23:55:00");
    text("2024-01-02T08:00:00.5Z", "2024-01-02T07:50:00");
    text("2024-01-02", "2024-01-01");
    text("2024/01/02 08:00:00", "2024/01/02 07:50:00");
    text("2024-01-02 08:00", "2024-01-02 07:50");
    text("20240102080000", "20240102075000");
    text("20240102", "20240101");
    let number = |value: i64, expected: i64| {
        check(WatermarkType::Timestamp, 600, None, Value::Integer(value), Some(Value::Integer(expected)));
    };
    number(1_704_182_400, 1_704_181_800);
    number(1_704_182_400_500, 1_704_181_800_500);
    number(20_240_102_080_000, 20_240_102_075_000);
    number(20_240_102, 20_240_101);
    let typed = |text: &str| Value::Time(text.parse().unwrap());
    for (value, expected) in [
        ("2024-01-02T08:00:00.003", "2024-01-02T07:50:00.003"),
        ("2024-01-02", "2024-01-01"),
        ("2024-01-02T08:00:00+08:00", "2024-01-02T07:50:00+08:00"),
    ] {
        check(WatermarkType::Timestamp, 600, None, typed(value), Some(typed(expected)));
    }
}

#[test]
fn the_lag_of_a_text_is_taken_off_its_digits() {
    let text = |value: &str, lag: u64, expected: Option<&str>| {
        check(WatermarkType::Text, lag, None, Value::from(value), expected.map(Value::from));
    };
    text("R20260102-003", 10, Some("R20260101-993"));
    text("体检000123", 23, Some("体检000100"));
    text("0005", 10, Some("0000"));
    text("ABC", 0, Some("ABC"));
    text("ABC", 1, None);
    text(&"9".repeat(50), 1, None);
}

#[test]
fn a_format_is_obeyed() {
    let format = Some("%Y年%m月%d日 %H:%M:%S");
    let stamp = Value::from("2024年01月02日 08:00:00");
    check(WatermarkType::Timestamp, 1, format, stamp, Some(Value::from("2024年01月02日 07:59:59")));
    check(WatermarkType::Timestamp, 10, Some("unix"), Value::Integer(20), Some(Value::Integer(10)));
    check(WatermarkType::Timestamp, 10, Some("%y%m%d"), Value::Integer(240_102), Some(Value::Integer(240_101)));
    let real = Value::decimal("1704182400.75").unwrap();
    check(WatermarkType::Timestamp, 400, Some("unix"), real, Some(Value::Integer(1_704_182_000)));
}

#[test]
fn what_does_not_sort_as_its_time_is_refused() {
    for text in ["2024-1-2 8:00:00", "02/01/2024", "待定", "", "2024-01-02 08:00:00 AM", "2024-13-02", "2024-01-02x"]
    {
        check(WatermarkType::Timestamp, 0, None, Value::from(text), None);
    }
    check(WatermarkType::Timestamp, 0, None, Value::Integer(5), None);
    check(WatermarkType::Number, 0, None, Value::from("5"), None);
    check(WatermarkType::Rowversion, 0, None, Value::Bytes(vec![1]), None);
}

#[test]
fn counters_stop_at_their_lower_end() {
    check(WatermarkType::Number, 7, None, Value::Integer(i64::MIN + 1), Some(Value::Integer(i64::MIN)));
    check(WatermarkType::Number, 7, None, Value::decimal("10.5").unwrap(), Some(Value::Integer(2)));
    check(WatermarkType::Number, 0, None, Value::decimal("10.5").unwrap(), Value::decimal("10.5"));
    let version = |last: u8| Value::Bytes(vec![0, 0, 0, 0, 0, 0, 0, last]);
    check(WatermarkType::Rowversion, 7, None, version(9), Some(version(2)));
    check(WatermarkType::Rowversion, 7, None, version(3), Some(version(0)));
}

#[test]
fn the_future_of_the_sources_own_clock_is_not_vouched_for() {
    let at = |hour| NaiveDate::from_ymd_opt(2024, 1, 2).and_then(|date| date.and_hms_opt(hour, 0, 0)).unwrap();
    let now = Now { utc: at(2), local: at(10) };
    let vouched = |value: Value, format| {
        // A lag takes nothing off: rows that are committed late need it whole.
        is_vouched_for(&settings(WatermarkType::Timestamp, 3600, format), &[value], Some(&now))
    };
    let typed = |text: &str| Value::Time(text.parse().unwrap());
    let cases = [
        (Value::from("2024-01-02 10:00:00"), Value::from("2024-01-02 10:00:01"), None),
        (Value::from("2024-01-02T02:00:00Z"), Value::from("2024-01-02T02:00:01Z"), None),
        (typed("2024-01-02T10:00:00"), typed("2024-01-02T10:00:00.001"), None),
        (typed("2024-01-02"), typed("2024-01-03"), None),
        (typed("2024-01-02T11:00:00+09:00"), typed("2024-01-02T10:00:01+08:00"), None),
        (Value::Integer(20_240_102_100_000), Value::Integer(20_240_102_100_001), None),
        (Value::Integer(at(2).and_utc().timestamp()), Value::Integer(at(2).and_utc().timestamp() + 1), Some("unix")),
    ];
    for (past, future, format) in cases {
        let now_at = at_now(&settings(WatermarkType::Timestamp, 0, format), slice::from_ref(&future), &now);
        assert!(vouched(past.clone(), format), "{past:?}");
        assert!(!vouched(future.clone(), format), "{future:?}");
        assert!(vouched(now_at.unwrap().remove(0), format), "the present stands in for {future:?}");
    }
}

#[test]
fn without_a_clock_no_time_is_vouched_for() {
    for text in ["9999-12-31", "2024-01-02"] {
        assert!(!is_vouched_for(&settings(WatermarkType::Timestamp, 0, None), &[Value::from(text)], None));
        assert!(is_readable(&settings(WatermarkType::Timestamp, 0, None), &[Value::from(text)]));
    }
    assert!(is_vouched_for(&settings(WatermarkType::Number, 0, None), &[Value::Integer(1)], None));
}

#[test]
fn values_are_ordered_as_databases_order_them() {
    let ascending = [
        Value::Null,
        Value::Integer(-3),
        Value::decimal("2.5").unwrap(),
        Value::Integer(3),
        Value::Time("2024-01-02".parse().unwrap()),
        Value::Time("2024-01-02T00:00:01".parse().unwrap()),
        Value::from("2024"),
        Value::from("2024-01"),
        Value::Bytes(vec![0, 9]),
        Value::Bytes(vec![1]),
    ];
    for (at, left) in ascending.iter().enumerate() {
        for (other, right) in ascending.iter().enumerate() {
            assert_eq!(compare(left, right), at.cmp(&other), "{left:?} and {right:?}");
        }
    }
}

#[test]
fn a_format_must_read_what_it_writes() {
    for format in ["unix", "unix-millis", "%Y%m%d", "%Y-%m-%d %H:%M:%S%.3f"] {
        assert!(is_usable_format(format), "{format}");
    }
    for format in ["", "%Q", "yyyy-MM-dd", "%H:%M", "%Y-%m", "%m/%d/%Y", "%Y-%-m-%-d", "%Y-%m-%d %I:%M", "%Y-%m-%d %:z"]
    {
        assert!(!is_usable_format(format), "{format}");
    }
}

#[test]
fn a_time_on_the_hospitals_wall_is_written_and_read_in_the_zone_of_the_stamps() {
    let local = |text: &str| text.parse::<NaiveDateTime>().unwrap();
    let typed = |text: &str| Value::Time(text.parse().unwrap());
    let (shanghai, new_york) = (chrono_tz::Asia::Shanghai, chrono_tz::America::New_York);
    let cases = [
        (shanghai, "2024-01-02T08:30:00", Some("unix"), Value::Integer(0), Value::Integer(1_704_155_400)),
        (shanghai, "2024-01-02T08:30:00", None, typed("2020-01-01T00:00:00+09:00"), typed("2024-01-02T09:30:00+09:00")),
        (shanghai, "2024-01-02T08:30:00", None, typed("2020-01-01T00:00:00"), typed("2024-01-02T08:30:00")),
        // An hour that walls show twice, and one that they leave out.
        (new_york, "2024-11-03T01:30:00", Some("unix"), Value::Integer(0), Value::Integer(1_730_611_800)),
        (new_york, "2024-03-10T02:30:00", Some("unix"), Value::Integer(0), Value::Integer(1_710_052_200)),
    ];
    for (zone, time, format, sample, expected) in cases {
        let settings = settings(WatermarkType::Timestamp, 0, format);
        let written = settings.written_like(&sample, local(time), zone);
        assert_eq!(written.as_ref(), Some(&expected), "{time} {zone}");
        let read = time_of(&settings, &[expected], zone).unwrap();
        let hour_before = time == "2024-03-10T02:30:00";
        assert_eq!(read, if hour_before { local("2024-03-10T01:30:00") } else { local(time) }, "{time} {zone}");
    }
}

/// A watermark of two columns.
fn pair(kind: WatermarkType, lag: u64) -> WatermarkSettings {
    WatermarkSettings { then: vec!["d".into()], ..settings(kind, lag, None) }
}

#[test]
fn a_day_and_a_time_of_day_are_one_time() {
    let typed = |text: &str| Value::Time(text.parse().unwrap());
    let day = || typed("2024-01-02");
    let cases = [
        (day(), Value::from("00:05:00"), typed("2024-01-01"), Value::from("23:55:00")),
        (day(), Value::from("08:30:00.250"), day(), Value::from("08:20:00")),
        (day(), Value::from("08:30"), day(), Value::from("08:20")),
        (day(), Value::from("083000"), day(), Value::from("082000")),
        (Value::from("20240102"), Value::from("0830"), Value::from("20240102"), Value::from("0820")),
        (Value::Integer(20_240_102), Value::from("00:00:00"), Value::Integer(20_240_101), Value::from("23:50:00")),
        (
            typed("2024-01-02T00:00:00"),
            typed("1899-12-30T00:05:00"),
            typed("2024-01-01T00:00:00"),
            typed("1899-12-30T23:55:00"),
        ),
    ];
    let settings = pair(WatermarkType::Timestamp, 600);
    let now = Now { utc: NaiveDateTime::MAX, local: NaiveDateTime::MAX };
    for (day, clock, start_day, start_clock) in cases {
        let stored = [day, clock];
        let start = Lower { at: vec![start_day, start_clock], reaches_back: false };
        assert_eq!(lower(&settings, &stored), Some(start), "{stored:?}");
        assert!(is_vouched_for(&settings, &stored, Some(&now)), "{stored:?}");
    }
    let local = |text: &str| text.parse::<NaiveDateTime>().unwrap();
    let now = Now { utc: local("2024-01-02T00:30:00"), local: local("2024-01-02T08:30:00") };
    let (past, future) = ([day(), Value::from("08:30:00")], [day(), Value::from("08:30:01")]);
    assert!(is_vouched_for(&settings, &past, Some(&now)) && !is_vouched_for(&settings, &future, Some(&now)));
    assert_eq!(at_now(&settings, &future, &now), Some(past.to_vec()));
    assert_eq!(time_of(&settings, &past, chrono_tz::Asia::Shanghai), Some(now.local));
    // What does not sort as its time does, and what is no day.
    for (day, clock) in [
        (day(), Value::from("8:30")),
        (day(), Value::from("830")),
        (day(), Value::from("24:00:00")),
        (day(), Value::from("08:30:00 AM")),
        (day(), Value::Null),
        (typed("2024-01-02T08:00:00"), Value::from("08:30:00")),
        (typed("2024-01-02T00:00:00+08:00"), Value::from("08:30:00")),
    ] {
        assert!(!is_readable(&settings, &[day, clock]));
    }
}

#[test]
fn a_counter_that_begins_anew_reaches_back_into_the_series_before() {
    let settings = pair(WatermarkType::Number, 10);
    let year = || Value::Integer(2024);
    let start = |counter: Value| lower(&settings, &[year(), counter]);
    let within = Lower { at: vec![year(), Value::Integer(90)], reaches_back: false };
    assert_eq!(start(Value::Integer(100)), Some(within));
    let back = Lower { at: vec![year()], reaches_back: true };
    assert_eq!(start(Value::Integer(10)), Some(back.clone()));
    assert_eq!(start(Value::decimal("3").unwrap()), Some(back));
    assert_eq!(start(Value::from("3")), None, "no number");
    assert_eq!(lower(&settings, &[Value::Null, Value::Integer(100)]), None);
    assert_eq!(lower(&settings, &[Value::Integer(100)]), None, "stored by another watermark");
    let settings = pair(WatermarkType::Text, 10);
    let day = || Value::from("20240102");
    let found = lower(&settings, &[day(), Value::from("T0123")]);
    assert_eq!(found, Some(Lower { at: vec![day(), Value::from("T0113")], reaches_back: false }));
    let found = lower(&settings, &[day(), Value::from("T0003")]);
    assert_eq!(found, Some(Lower { at: vec![day()], reaches_back: true }));
}

#[test]
fn a_time_is_told_in_the_watermarks_format() {
    let local = "2024-01-02T08:30:00".parse::<NaiveDateTime>().unwrap();
    let written = |format| settings(WatermarkType::Timestamp, 0, format).written(local, chrono_tz::Asia::Shanghai);
    assert_eq!(written(Some("unix")), Some(Value::Integer(1_704_155_400)));
    assert_eq!(written(Some("unix-millis")), Some(Value::Integer(1_704_155_400_000)));
    assert_eq!(written(Some("%Y%m%d%H%M%S")), Some(Value::from("20240102083000")));
    assert_eq!(written(None), None);
}
