//! A time of day in a column of its own, beside the day.

use chrono::{Datelike as _, NaiveDate, NaiveTime};
use connector_api::{SourceTime, Value};

/// How a time of day is written in its column. Each text is of fixed width, so that it sorts as its time does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClockForm {
    Text(&'static str),
    /// A date and time whose date says nothing: 1899-12-30 and 1900-01-01 are what programs write there.
    On(NaiveDate),
}

const FORMS: [(&str, usize); 4] = [("%H:%M:%S", 8), ("%H:%M", 5), ("%H%M%S", 6), ("%H%M", 4)];

/// Reads a time of day. `None` for what is none, or does not sort as its time does: `8:00`.
pub(super) fn read(value: &Value) -> Option<(NaiveTime, ClockForm)> {
    match value {
        Value::Text(text) => FORMS.iter().find_map(|(form, width)| {
            let (head, tail) = (text.get(..*width)?, text.get(*width..)?);
            let fraction = |tail: &str| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_digit());
            let fits = tail.is_empty() || (form.ends_with("%S") && tail.strip_prefix('.').is_some_and(fraction));
            let time = NaiveTime::parse_from_str(head, form).ok()?;
            (fits && time.format(form).to_string() == head).then_some((time, ClockForm::Text(form)))
        }),
        Value::Time(SourceTime::Local(time)) if time.year() <= 1900 => Some((time.time(), ClockForm::On(time.date()))),
        _ => None,
    }
}

impl ClockForm {
    /// Writes a time of day so that it compares with the column's values.
    pub(super) fn write(&self, time: NaiveTime) -> Value {
        match self {
            ClockForm::Text(form) => Value::Text(time.format(form).to_string()),
            ClockForm::On(date) => Value::Time(SourceTime::Local(date.and_time(time))),
        }
    }
}
