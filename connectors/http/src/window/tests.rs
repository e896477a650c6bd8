use super::*;

fn rule(text: &str) -> Result<Rule, &'static str> {
    let json: serde_json::Value = serde_json::from_str(text).unwrap();
    Rule::new(&serde_json::from_value(json).unwrap(), chrono_tz::Asia::Shanghai).map_err(|(key, ..)| key)
}

fn at(text: &str) -> NaiveDateTime {
    read_text(text, None).unwrap()
}

#[test]
fn windows_overlap_by_the_lag_and_end_at_now() {
    let rule = rule(r#"{"start": "2024-01-01", "days": 2, "lag_secs": 3600}"#).unwrap();
    let now = at("2024-01-04 12:00:00");
    let first = rule.first(None, now).unwrap();
    assert_eq!(first, Window { from: Point::Time(at("2024-01-01")), to: Some(at("2024-01-03")) });
    let second = rule.next(&first, now).unwrap();
    assert_eq!(second, Window { from: Point::Time(at("2024-01-02 23:00:00")), to: Some(now) });
    assert_eq!(rule.next(&second, now), None);
    let again = rule.first(Some(&Point::Time(now).value()), at("2024-01-04 12:05:00")).unwrap();
    assert_eq!(again.from, Point::Time(at("2024-01-04 11:00:00")));
}

#[test]
fn a_clock_set_back_makes_no_window_that_ends_before_it_begins() {
    let rule = rule(r#"{"start": "2024-01-01", "lag_secs": 3600}"#).unwrap();
    let window = rule.first(Some(&Point::Time(at("2024-01-15 00:30:00")).value()), at("2024-01-15")).unwrap();
    assert_eq!((window.from, window.to), (Point::Time(at("2024-01-14 23:30:00")), Some(at("2024-01-15"))));
    let sweep = rule.since(at("2024-02-01"), at("2024-01-15")).unwrap();
    assert_eq!(sweep.to, Some(at("2024-02-01")));
}

#[test]
fn a_watermark_that_a_clock_left_in_the_future_is_given_up() {
    let rule = rule(r#"{"start": "2024-01-01", "lag_secs": 3600}"#).unwrap();
    let (now, ahead) = (at("2024-02-01"), Point::Time(at("2099-01-01")).value());
    assert_eq!(rule.first(Some(&ahead), now).unwrap().from, Point::Time(at("2024-01-01")));
    assert_eq!(rule.known(&ahead, now), None, "what is read then moves the watermark back");
    let usual = Point::Time(now);
    assert_eq!(rule.known(&usual.value(), now), Some(usual));
}

#[test]
fn field_values_are_read_as_sources_write_them() {
    let rule = rule(r#"{"start": "2024-01-01", "field": "t", "format": "%Y.%m.%d"}"#).unwrap();
    for text in
        ["2024-01-02", "2024.01.02", "2024-01-02T00:00:00.000", "20240102", "2024/01/02", "2024-01-02T00:00:00+08:00"]
    {
        assert_eq!(rule.read(&Value::from(text)), Some(Point::Time(at("2024-01-02"))), "{text}");
    }
    assert_eq!(rule.read(&Value::from("soon")), None);
    assert_eq!(rule.read(&Value::Null), None);
}

#[test]
fn a_time_that_has_not_come_yet_is_no_watermark() {
    let rule = rule(r#"{"start": "2024-01-01", "field": "t"}"#).unwrap();
    let now = at("2024-01-02 08:00:00");
    assert!(rule.vouches(Point::Time(now), now));
    for ahead in ["2024-01-02 08:00:01", "2024-01-02 20:00:00", "2099-01-01"] {
        assert!(!rule.vouches(Point::Time(at(ahead)), now), "{ahead}");
    }
}

#[test]
fn wrong_settings_name_their_key() {
    for (text, key) in [
        (r#"{"start": "soon"}"#, "start"),
        (r#"{"start": "2024-01-01", "format": "%Q"}"#, "format"),
        (r#"{"start": "2024-01-01", "format": "day"}"#, "format"),
        (r#"{"start": "2024-01-01", "lag": 3}"#, "lag"),
        (r#"{"start": "2024-01-01", "days": 1, "lag_secs": 86400}"#, "days"),
        (r#"{"start": "1", "type": "number"}"#, "field"),
        (r#"{"start": "1", "type": "number", "field": "n"}"#, "lag"),
        (r#"{"start": "1", "type": "number", "field": "n", "lag": 0, "lag_secs": 3}"#, "lag_secs"),
    ] {
        assert_eq!(rule(text).unwrap_err(), key, "{text}");
    }
    let numbers = rule(r#"{"start": "7", "type": "number", "field": "n", "lag": 2}"#).unwrap();
    assert_eq!(numbers.first(Some(&Value::Integer(9)), at("2024-01-01")).unwrap().from, Point::Number(7));
}

#[test]
fn times_since_1970_are_written_and_read_in_the_hospitals_zone() {
    let rule = rule(r#"{"start": "2024-01-01", "field": "t", "format": "unix-millis"}"#).unwrap();
    let point = Point::Time(at("2024-01-02 08:00:00"));
    assert_eq!(rule.write(point), "1704153600000");
    assert_eq!(rule.read(&Value::Integer(1_704_153_600_000)), Some(point));
    assert_eq!(rule.read(&Value::Integer(1_704_153_600)), Some(point));
}
