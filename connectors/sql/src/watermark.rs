//! Watermark values: which ones can be vouched for, which is newer, and where a scan starts.

use std::cmp::Ordering;

use chrono::{
    DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, TimeZone as _, Timelike, Utc,
};
use chrono_tz::Tz;
use connector_api::{SourceTime, Value};

use crate::{WatermarkSettings, WatermarkType};

mod clock;

use clock::ClockForm;

/// How a timestamp is written in its column.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TimeForm {
    Date,
    Local,
    Offset(FixedOffset),
    /// Text in a pattern without fraction; text sorts as its time does.
    Text(String),
    /// The digits of a pattern, as a whole number.
    Digits(String),
    UnixSecs,
    UnixMillis,
}

/// Patterns that are recognised; each is of fixed width, so that its text sorts as its time does.
const TEXT_FORMS: [&str; 8] = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d",
    "%Y-%m-%d %H:%M",
    "%Y%m%d%H%M%S",
    "%Y%m%d",
];

/// What time it is where the source stamps its rows.
///
/// A watermark at or before it loses nothing: rows yet to be committed are stamped after it, less the
/// lag. One beyond it would hide them. A clock that is behind costs re-reading, never a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// In UTC, for stamps that say their offset, or count from 1970.
    pub utc: NaiveDateTime,
    /// On the source's wall, for all others.
    pub local: NaiveDateTime,
}

impl Now {
    /// When the hospital's walls show that time. Of an hour that they show twice it is the first, and one that
    /// they never show is the hour before: an earlier start is always safe.
    fn when(local: NaiveDateTime, zone: Tz) -> Now {
        let hours = (0..24).filter_map(|hours| local.checked_sub_signed(TimeDelta::hours(hours)));
        let instant = hours.filter_map(|time| zone.from_local_datetime(&time).earliest()).next();
        Now { utc: instant.map_or(local, |instant| instant.naive_utc()), local }
    }

    /// At an offset from UTC; on the source's wall where there is none.
    fn at(&self, offset: Option<FixedOffset>) -> NaiveDateTime {
        match offset {
            Some(offset) => self.utc.checked_add_offset(offset).unwrap_or(self.utc),
            None => self.local,
        }
    }
}

impl TimeForm {
    /// The offset from UTC in which a stamp of this form is written; `None` where a wall shows it.
    fn offset(&self, value: &Value) -> Option<FixedOffset> {
        match self {
            TimeForm::Offset(offset) => Some(*offset),
            TimeForm::UnixSecs | TimeForm::UnixMillis => Some(Utc.fix()),
            TimeForm::Text(_) if value.as_text().is_some_and(|text| text.ends_with('Z')) => Some(Utc.fix()),
            TimeForm::Date | TimeForm::Local | TimeForm::Text(_) | TimeForm::Digits(_) => None,
        }
    }
}

/// True for `unix`, `unix-millis` and patterns whose text reads back and sorts as its time does.
pub(crate) fn is_usable_format(format: &str) -> bool {
    if matches!(format, "unix" | "unix-millis") {
        return true;
    }
    let time = |year, month, day, hour| NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, 5, 6);
    let ascending =
        [time(2001, 2, 3, 4), time(2001, 2, 3, 15), time(2001, 2, 14, 0), time(2001, 11, 1, 0), time(2010, 1, 1, 0)];
    let mut last = String::new();
    ascending.into_iter().flatten().all(|time| {
        let text = try_format(time, format);
        let fits = text.as_deref().is_some_and(|text| {
            text >= last.as_str() && parse(text, format).is_some_and(|read| read.date() == time.date())
        });
        last = text.unwrap_or_default();
        fits
    })
}

/// Writes a time in a pattern; `None` where the pattern asks for what a local time does not have.
fn try_format(time: NaiveDateTime, pattern: &str) -> Option<String> {
    let mut text = String::new();
    std::fmt::Write::write_fmt(&mut text, format_args!("{}", time.format(pattern))).is_ok().then_some(text)
}

fn parse(text: &str, pattern: &str) -> Option<NaiveDateTime> {
    let date = || NaiveDate::parse_from_str(text, pattern).ok().and_then(|date| date.and_hms_opt(0, 0, 0));
    NaiveDateTime::parse_from_str(text, pattern).ok().or_else(date)
}

/// Reads a pattern strictly: the text begins with what the pattern writes, and has at most a
/// fraction and `Z` after it.
fn parse_strictly(text: &str, pattern: &str) -> Option<NaiveDateTime> {
    let head_len = match pattern {
        "%Y-%m-%d %H:%M:%S" | "%Y-%m-%dT%H:%M:%S" | "%Y/%m/%d %H:%M:%S" => 19,
        "%Y-%m-%d %H:%M" => 16,
        "%Y%m%d%H%M%S" => 14,
        "%Y-%m-%d" | "%Y/%m/%d" => 10,
        _ => 8,
    };
    let (head, tail) = (text.get(..head_len)?, text.get(head_len..)?);
    let time = parse(head, pattern)?;
    let fraction = tail.strip_suffix('Z').unwrap_or(tail);
    let seconds = pattern.ends_with("%S");
    let digits = fraction.strip_prefix('.').is_some_and(|f| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit()));
    let tail_fits = tail.is_empty() || (seconds && (fraction.is_empty() || digits));
    (tail_fits && try_format(time, pattern)? == head).then_some(time)
}

fn read_time(value: &Value, format: Option<&str>) -> Option<(NaiveDateTime, TimeForm)> {
    let unix = |secs: i64| DateTime::from_timestamp(secs, 0).map(|time| time.naive_utc());
    match (value, format) {
        (Value::Time(SourceTime::Date(date)), _) => Some((date.and_hms_opt(0, 0, 0)?, TimeForm::Date)),
        (Value::Time(SourceTime::Local(time)), _) => Some((*time, TimeForm::Local)),
        (Value::Time(SourceTime::Offset(time)), _) => Some((time.naive_local(), TimeForm::Offset(*time.offset()))),
        (Value::Integer(number), Some("unix")) => Some((unix(*number)?, TimeForm::UnixSecs)),
        (Value::Decimal(number), Some("unix")) => {
            let seconds: f64 = number.as_str().parse().ok()?;
            // A saturating cast of a whole number; what is out of range fails in from_timestamp.
            Some((unix(seconds.floor() as i64)?, TimeForm::UnixSecs))
        }
        (Value::Integer(number), Some("unix-millis")) => {
            Some((DateTime::from_timestamp_millis(*number)?.naive_utc(), TimeForm::UnixMillis))
        }
        (Value::Text(text), Some(pattern)) => Some((parse(text, pattern)?, TimeForm::Text(pattern.to_owned()))),
        (Value::Integer(number), Some(pattern)) => {
            Some((parse(&number.to_string(), pattern)?, TimeForm::Digits(pattern.to_owned())))
        }
        (Value::Text(text), None) => TEXT_FORMS
            .iter()
            .find_map(|pattern| Some((parse_strictly(text, pattern)?, TimeForm::Text((*pattern).to_owned())))),
        (Value::Integer(number), None) => read_number(*number),
        _ => None,
    }
}

/// Digits of a date where they can only be that, else seconds or milliseconds since 1970.
fn read_number(number: i64) -> Option<(NaiveDateTime, TimeForm)> {
    let text = number.to_string();
    for (pattern, width) in [("%Y%m%d%H%M%S", 14), ("%Y%m%d", 8)] {
        if text.len() == width && (text.starts_with("19") || text.starts_with("20")) {
            return Some((parse(&text, pattern)?, TimeForm::Digits(pattern.to_owned())));
        }
    }
    match text.len() {
        9 | 10 => Some((DateTime::from_timestamp(number, 0)?.naive_utc(), TimeForm::UnixSecs)),
        12 | 13 => Some((DateTime::from_timestamp_millis(number)?.naive_utc(), TimeForm::UnixMillis)),
        _ => None,
    }
}

fn write_time(time: NaiveDateTime, form: &TimeForm) -> Option<Value> {
    Some(match form {
        TimeForm::Date => Value::Time(SourceTime::Date(time.date())),
        TimeForm::Local => Value::Time(SourceTime::Local(time)),
        TimeForm::Offset(offset) => Value::Time(SourceTime::Offset(time.and_local_timezone(*offset).single()?)),
        TimeForm::Text(pattern) => Value::Text(try_format(time, pattern)?),
        TimeForm::Digits(pattern) => Value::Integer(try_format(time, pattern)?.parse().ok()?),
        TimeForm::UnixSecs => Value::Integer(time.and_utc().timestamp()),
        TimeForm::UnixMillis => Value::Integer(time.and_utc().timestamp_millis()),
    })
}

/// The time that a row's watermark columns stand for, and how they are written.
struct Stamp {
    time: NaiveDateTime,
    form: TimeForm,
    clock: Option<ClockForm>,
    /// The offset from UTC in which it is written; `None` where a wall shows it.
    offset: Option<FixedOffset>,
}

impl Stamp {
    fn read(settings: &WatermarkSettings, values: &[Value]) -> Option<Stamp> {
        let day = values.first()?;
        let (time, form) = read_time(day, settings.format.as_deref())?;
        let offset = form.offset(day);
        if settings.then.is_empty() {
            return Some(Stamp { time, form, clock: None, offset });
        }
        let (of_day, clock) = clock::read(values.get(1)?)?;
        // A column with a time of its own, or in another zone, is no day on the hospital's wall.
        let is_day = offset.is_none() && time.time() == NaiveTime::MIN;
        is_day.then(|| Stamp { time: time.date().and_time(of_day), form, clock: Some(clock), offset })
    }

    /// Another time, written in the same way.
    fn write(&self, time: NaiveDateTime) -> Option<Vec<Value>> {
        match &self.clock {
            None => Some(vec![write_time(time, &self.form)?]),
            Some(clock) => {
                Some(vec![write_time(time.date().and_time(NaiveTime::MIN), &self.form)?, clock.write(time.time())])
            }
        }
    }

    /// The time that it is now where it was written.
    fn now(&self, now: &Now) -> NaiveDateTime {
        now.at(self.offset)
    }
}

/// True where the stored watermark may move to these values: they can be read, and are not in the future.
/// A timestamp is vouched for by a clock alone.
pub(crate) fn is_vouched_for(settings: &WatermarkSettings, values: &[Value], now: Option<&Now>) -> bool {
    match settings.kind {
        WatermarkType::Timestamp => {
            Stamp::read(settings, values).is_some_and(|stamp| now.is_some_and(|now| stamp.time <= stamp.now(now)))
        }
        WatermarkType::Number | WatermarkType::Rowversion | WatermarkType::Text => is_readable(settings, values),
    }
}

/// True where the values can be read as the configured type at all.
pub(crate) fn is_readable(settings: &WatermarkSettings, values: &[Value]) -> bool {
    match settings.kind {
        WatermarkType::Timestamp => Stamp::read(settings, values).is_some(),
        WatermarkType::Number | WatermarkType::Rowversion => lower(settings, values).is_some(),
        WatermarkType::Text => {
            matches!(values.last(), Some(Value::Text(text)) if !text.is_empty()) && lower(settings, values).is_some()
        }
    }
}

/// True where even the start of a scan, the stored values less their lag, lies in the future.
pub(crate) fn is_ahead(settings: &WatermarkSettings, stored: &[Value], now: &Now) -> bool {
    let ahead = || {
        let start = lower(settings, stored)?;
        let stamp = Stamp::read(settings, &start.at)?;
        Some(stamp.time > stamp.now(now))
    };
    settings.kind == WatermarkType::Timestamp && ahead().unwrap_or(false)
}

/// The highest values that can be vouched for, in the form in which `sample` is written.
pub(crate) fn at_now(settings: &WatermarkSettings, sample: &[Value], now: &Now) -> Option<Vec<Value>> {
    let stamp = Stamp::read(settings, sample)?;
    stamp.write(whole_second(stamp.now(now)))
}

/// Where a scan starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lower {
    /// The first of the watermark's columns start at these values, all others at their beginning.
    pub(crate) at: Vec<Value>,
    /// The lag reaches back beyond where a counter began anew: what stands right before `at` may still get rows.
    pub(crate) reaches_back: bool,
}

/// Where a scan starts for stored watermark values: the values less the lag. `None` where they can't be read as the
/// configured type.
pub(crate) fn lower(settings: &WatermarkSettings, values: &[Value]) -> Option<Lower> {
    let whole = |at| Lower { at, reaches_back: false };
    if settings.kind == WatermarkType::Timestamp {
        let stamp = Stamp::read(settings, values)?;
        let lag = TimeDelta::try_seconds(i64::try_from(settings.lag_secs()).ok()?)?;
        return stamp.write(stamp.time.checked_sub_signed(lag)?).map(whole);
    }
    let (counter, above) = values.split_last()?;
    let less = counter_less(settings, counter)?;
    if above.iter().any(Value::is_null) || above.len() != settings.then.len() {
        return None;
    }
    if !above.is_empty() && is_below(settings, counter) {
        return Some(Lower { at: above.to_vec(), reaches_back: true });
    }
    Some(whole(above.iter().cloned().chain([less]).collect()))
}

/// Whether a counter stands below its lag, so that rows with a higher one of the series before may still come.
fn is_below(settings: &WatermarkSettings, counter: &Value) -> bool {
    let lag = i128::from(settings.lag.unwrap_or(0));
    let stands = match counter {
        Value::Integer(number) => Some(i128::from(*number)),
        Value::Decimal(number) => number.as_str().split('.').next().and_then(|whole| whole.parse().ok()),
        Value::Text(text) => text.chars().filter(char::is_ascii_digit).collect::<String>().parse().ok(),
        _ => None,
    };
    lag > 0 && stands.is_none_or(|stands: i128| stands <= lag)
}

/// A number, version or text less the lag.
fn counter_less(settings: &WatermarkSettings, value: &Value) -> Option<Value> {
    let lag = settings.lag.unwrap_or(0);
    match (settings.kind, value) {
        (WatermarkType::Number, Value::Decimal(_)) if lag == 0 => Some(value.clone()),
        (WatermarkType::Number | WatermarkType::Rowversion, Value::Integer(number)) => {
            Some(Value::Integer(number.saturating_sub_unsigned(lag)))
        }
        (WatermarkType::Number, Value::Decimal(number)) => {
            // The whole part, and one less: an earlier start is always safe.
            let whole = number.as_str().split('.').next()?.parse::<i64>().ok()?;
            Some(Value::Integer(whole.saturating_sub_unsigned(lag).saturating_sub(1)))
        }
        (WatermarkType::Rowversion, Value::Bytes(bytes)) => {
            let version = u64::from_be_bytes(bytes.as_slice().try_into().ok()?);
            Some(Value::Bytes(version.saturating_sub(lag).to_be_bytes().to_vec()))
        }
        (WatermarkType::Text, Value::Text(text)) => text_less(text, lag).map(Value::Text),
        _ => None,
    }
}

/// A text whose digits, taken together as one number, are less by the lag: `R20260102-003` less 10 is
/// `R20260101-993`. `None` where it has no digits, or too many.
fn text_less(text: &str, lag: u64) -> Option<String> {
    if lag == 0 {
        return Some(text.to_owned());
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let less = digits.parse::<u128>().ok()?.saturating_sub(lag.into());
    let less = format!("{less:0>width$}", width = digits.len());
    let mut less = less.chars();
    text.chars().map(|c| if c.is_ascii_digit() { less.next() } else { Some(c) }).collect()
}

/// A time on the hospital's walls in the form and zone in which `sample` is written, at its whole second: a finer
/// one may be refused by the column's type, and starting earlier is always safe.
pub(crate) fn at_time(
    settings: &WatermarkSettings,
    sample: &[Value],
    time: NaiveDateTime,
    zone: Tz,
) -> Option<Vec<Value>> {
    at_now(settings, sample, &Now::when(time, zone))
}

/// The time that a row's watermark stands for, on the hospital's walls. What is written without a zone is in theirs.
pub(crate) fn time_of(settings: &WatermarkSettings, values: &[Value], zone: Tz) -> Option<NaiveDateTime> {
    let timed = settings.kind == WatermarkType::Timestamp;
    let stamp = timed.then(|| Stamp::read(settings, values)).flatten()?;
    Some(match stamp.offset {
        Some(offset) => zone.from_utc_datetime(&stamp.time.checked_sub_offset(offset)?).naive_local(),
        None => stamp.time,
    })
}

fn whole_second(time: NaiveDateTime) -> NaiveDateTime {
    time.with_nanosecond(0).unwrap_or(time)
}

/// Orders rows' watermarks column by column; values that only one of them has do not count.
pub(crate) fn compare_all(left: &[Value], right: &[Value]) -> Ordering {
    let unequal = left.iter().zip(right).map(|(left, right)| compare(left, right)).find(|order| order.is_ne());
    unequal.unwrap_or(Ordering::Equal)
}

/// Orders values as databases do, for deciding which of two watermarks is newer.
pub(crate) fn compare(left: &Value, right: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Integer(_) | Value::Decimal(_) => 1,
        Value::Time(_) => 2,
        Value::Text(_) => 3,
        _ => 4,
    };
    let number = |value: &Value| match value {
        Value::Integer(number) => *number as f64,
        Value::Decimal(number) => number.as_str().parse().unwrap_or(f64::NAN),
        Value::Bool(truth) => f64::from(*truth),
        _ => f64::NAN,
    };
    let local = |time: &SourceTime| match time {
        SourceTime::Date(date) => date.and_hms_opt(0, 0, 0),
        SourceTime::Local(time) => Some(*time),
        SourceTime::Offset(time) => Some(time.naive_utc()),
    };
    match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
        (Value::Time(left), Value::Time(right)) => local(left).cmp(&local(right)),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        _ => {
            let by_rank = rank(left).cmp(&rank(right));
            by_rank.then_with(|| number(left).partial_cmp(&number(right)).unwrap_or(Ordering::Equal))
        }
    }
}

impl WatermarkSettings {
    /// Where a scan starts for the stored value of a watermark of one column: the value less the lag. `None` where
    /// the value can't be read as the configured type.
    pub fn start_of_scan(&self, stored: &Value) -> Option<Value> {
        lower(self, std::slice::from_ref(stored))?.at.into_iter().next()
    }

    /// A time on the hospital's walls as `format` says it: a `unix` or `unix-millis` number, or text in its pattern.
    /// `None` without a format.
    pub fn written(&self, time: NaiveDateTime, zone: Tz) -> Option<Value> {
        let now = Now::when(time, zone);
        match self.format.as_deref() {
            Some("unix") => write_time(now.utc, &TimeForm::UnixSecs),
            Some("unix-millis") => write_time(now.utc, &TimeForm::UnixMillis),
            Some(pattern) => write_time(time, &TimeForm::Text(pattern.to_owned())),
            None => None,
        }
    }

    /// The same in the form in which a value of the column is written; `None` where it can't be read.
    pub fn written_like(&self, sample: &Value, time: NaiveDateTime, zone: Tz) -> Option<Value> {
        at_time(self, std::slice::from_ref(sample), time, zone)?.into_iter().next()
    }

    /// The newest of these values of a watermark of one column that the stored one may move to: it can be read, and
    /// is not in the future of `now`.
    pub fn newest<'v>(&self, values: impl Iterator<Item = &'v Value>, now: &Now) -> Option<&'v Value> {
        let vouched = |value: &&Value| is_vouched_for(self, std::slice::from_ref(*value), Some(now));
        values.filter(vouched).max_by(|left, right| compare(left, right))
    }

    /// True where `left` comes after `right` in the order of watermarks.
    pub fn is_after(&self, left: &Value, right: &Value) -> bool {
        compare(left, right) == Ordering::Greater
    }
}

#[cfg(test)]
mod tests;
