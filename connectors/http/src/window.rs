//! Times and numbers that a list is asked from: watermarks, lags and windows.

use std::cmp::Ordering;
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use connector_api::{SourceTime, Value};

use crate::settings::{Changes, ChangesType};

/// How times are written where a configuration says nothing else.
pub(crate) const DEFAULT_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// Patterns in which a record's field may write its time without being told.
const FORMS: [&str; 9] = [
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y%m%d",
    "%Y年%m月%d日",
];

/// The lag where none is configured.
const USUAL_LAG_SECS: u64 = 600;

/// Checked [`Changes`].
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) field: Option<String>,
    pub(crate) kind: ChangesType,
    start: Point,
    days: Option<u32>,
    lag: i64,
    format: String,
    zone: Tz,
}

/// A place that a list can be asked from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// A wall-clock time of the hospital.
    Time(NaiveDateTime),
    /// A number.
    Number(i64),
}

/// What is asked for at once. `to` is absent for numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Point,
    pub(crate) to: Option<NaiveDateTime>,
}

impl Rule {
    /// Checks the settings. The error is the key at fault with what is wrong and what to write.
    pub(crate) fn new(changes: &Changes, zone: Tz) -> Result<Rule, (&'static str, &'static str, &'static str)> {
        let number = changes.kind == ChangesType::Number;
        if number && changes.field.is_none() {
            return Err(("field", "a number needs the field that it is in", "write the field's name"));
        }
        if number && changes.days.is_some() {
            return Err(("days", "numbers have no days", "leave it out"));
        }
        if number && changes.lag.is_none() {
            let hint = "write how many numbers may appear late; 0 where each appears before any greater one";
            return Err(("lag", "a number needs it: a smaller one may be stored after a greater one", hint));
        }
        if number && changes.lag_secs.is_some() {
            return Err(("lag_secs", "numbers have no seconds", "write lag"));
        }
        if !number && changes.lag.is_some() {
            return Err(("lag", "only a number has such a lag", "write lag_secs"));
        }
        if write_time(probe_time(), &changes.format, zone).is_none() {
            return Err(("format", "is no pattern of a time", "write %Y-%m-%d %H:%M:%S, unix or unix-millis"));
        }
        let start = if number {
            changes.start.trim().parse().ok().map(Point::Number)
        } else {
            read_text(changes.start.trim(), None).map(Point::Time)
        };
        let Some(start) = start else {
            return Err(("start", "can't be read", "write a date like 2024-01-01, or a number for type number"));
        };
        let lag = if number { changes.lag.unwrap_or(0) } else { changes.lag_secs.unwrap_or(USUAL_LAG_SECS) };
        if !number && lag > 366 * 86_400 {
            return Err(("lag_secs", "is longer than a year", "600 is usual; see sweep"));
        }
        if changes.days.is_some_and(|days| days == 0 || u64::from(days) * 86_400 <= lag) {
            return Err(("days", "a window must be longer than lag_secs", "write more days, or a shorter lag"));
        }
        let lag = i64::try_from(lag).unwrap_or(i64::MAX);
        let (field, kind, format) = (changes.field.clone(), changes.kind, changes.format.clone());
        Ok(Rule { field, kind, start, days: changes.days, lag, format, zone })
    }

    /// The first window of a reading that begins at a stored watermark, less the lag.
    pub(crate) fn first(&self, stored: Option<&Value>, now: NaiveDateTime) -> Option<Window> {
        let from = match stored {
            None => self.start,
            Some(value) => self.earlier(self.read(value)?)?,
        };
        Some(self.window(if is_ahead(from, now) { self.start } else { from }, now))
    }

    /// The stored watermark, where it says what is known: one in the future, by more than the lag, came
    /// from a clock that was ahead. Everything is then read again.
    pub(crate) fn known(&self, stored: &Value, now: NaiveDateTime) -> Option<Point> {
        let stored = self.read(stored)?;
        self.earlier(stored).filter(|from| !is_ahead(*from, now)).map(|_| stored)
    }

    /// The window of a sweep.
    pub(crate) fn since(&self, since: NaiveDateTime, now: NaiveDateTime) -> Option<Window> {
        (self.kind == ChangesType::Timestamp).then(|| self.window(Point::Time(since), now))
    }

    /// The window after one that was read; `None` where that reached now.
    pub(crate) fn next(&self, window: &Window, now: NaiveDateTime) -> Option<Window> {
        let to = window.to.filter(|to| *to < now)?;
        Some(self.window(self.earlier(Point::Time(to))?, now))
    }

    fn window(&self, from: Point, now: NaiveDateTime) -> Window {
        let to = match from {
            Point::Number(_) => None,
            Point::Time(from) => {
                let days = self.days.map(|days| TimeDelta::days(i64::from(days)));
                let end = days.and_then(|days| from.checked_add_signed(days)).unwrap_or(now);
                // A window never ends before it begins, should a clock have been set back.
                Some(end.min(now).max(from))
            }
        };
        Window { from, to }
    }

    fn earlier(&self, point: Point) -> Option<Point> {
        Some(match point {
            Point::Number(number) => Point::Number(number.saturating_sub(self.lag)),
            Point::Time(time) => Point::Time(time.checked_sub_signed(TimeDelta::try_seconds(self.lag)?)?),
        })
    }

    /// The watermark that a record's field is.
    pub(crate) fn read(&self, value: &Value) -> Option<Point> {
        match (self.kind, value) {
            (ChangesType::Number, Value::Integer(number)) => Some(Point::Number(*number)),
            (ChangesType::Number, Value::Text(text)) => text.trim().parse().ok().map(Point::Number),
            (ChangesType::Timestamp, Value::Text(text)) => read_text(text, Some(&self.format)).map(Point::Time),
            (ChangesType::Timestamp, Value::Time(SourceTime::Local(time))) => Some(Point::Time(*time)),
            (ChangesType::Timestamp, Value::Integer(number)) => self.read_number(*number).map(Point::Time),
            _ => None,
        }
    }

    /// Digits of a date, or seconds or milliseconds since 1970.
    fn read_number(&self, number: i64) -> Option<NaiveDateTime> {
        let digits = read_text(&number.to_string(), Some(&self.format));
        let millis = if number.abs() < 100_000_000_000 { number.checked_mul(1000)? } else { number };
        digits.or_else(|| Some(local(DateTime::from_timestamp_millis(millis)?, self.zone)))
    }

    /// True where the stored watermark may move to this point: what is stamped later than now would
    /// take it past records that are still to be stamped between.
    pub(crate) fn vouches(&self, point: Point, now: NaiveDateTime) -> bool {
        match point {
            Point::Number(_) => true,
            Point::Time(time) => time <= now,
        }
    }

    /// A point as templates see it.
    pub(crate) fn write(&self, point: Point) -> String {
        match point {
            Point::Number(number) => number.to_string(),
            Point::Time(time) => write_time(time, &self.format, self.zone).unwrap_or_default(),
        }
    }
}

impl Point {
    /// The point as it is stored.
    pub(crate) fn value(self) -> Value {
        match self {
            Point::Number(number) => Value::Integer(number),
            Point::Time(time) => Value::Time(SourceTime::Local(time)),
        }
    }

    pub(crate) fn compare(self, other: Point) -> Ordering {
        match (self, other) {
            (Point::Number(left), Point::Number(right)) => left.cmp(&right),
            (Point::Time(left), Point::Time(right)) => left.cmp(&right),
            // A stream whose type was changed: the new kind counts.
            _ => Ordering::Greater,
        }
    }
}

fn is_ahead(from: Point, now: NaiveDateTime) -> bool {
    matches!(from, Point::Time(time) if time > now)
}

/// Now, on the hospital's clocks.
pub(crate) fn local(now: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    now.with_timezone(&zone).naive_local()
}

fn probe_time() -> NaiveDateTime {
    NaiveDate::default().and_hms_opt(1, 2, 3).unwrap_or_default()
}

fn write_time(time: NaiveDateTime, format: &str, zone: Tz) -> Option<String> {
    // Of an hour that a clock shows twice, the earlier one: an earlier start is always safe.
    let instant = || zone.from_local_datetime(&time).earliest().unwrap_or_else(|| zone.from_utc_datetime(&time));
    match format {
        "unix" => return Some(instant().timestamp().to_string()),
        "unix-millis" => return Some(instant().timestamp_millis().to_string()),
        _ => {}
    }
    let mut text = String::new();
    (!format.is_empty() && write!(text, "{}", time.format(format)).is_ok() && text != format).then_some(text)
}

fn read_text(text: &str, format: Option<&str>) -> Option<NaiveDateTime> {
    let text = text.trim();
    let read = |pattern: &str| {
        let day = || NaiveDate::parse_from_str(text, pattern).ok().and_then(|date| date.and_hms_opt(0, 0, 0));
        NaiveDateTime::parse_from_str(text, pattern).ok().or_else(day)
    };
    let local = format.into_iter().chain(FORMS).find_map(read);
    // With an offset: the wall clock that the source shows is what it compares with.
    local.or_else(|| DateTime::parse_from_rfc3339(text).ok().map(|time| time.naive_local()))
}

#[cfg(test)]
mod tests;
