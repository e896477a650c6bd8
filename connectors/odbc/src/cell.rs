//! Makes values of what a driver sent: everything but bytes arrives as text, which is exact.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use connector_api::{SourceTime, Value};

use crate::preset::Preset;
use crate::wire::{Cell, Kind};

/// A value, and a stable word where it can't be vouched for.
pub(crate) fn read(preset: &Preset, kind: Kind, cell: Cell<'_>) -> (Value, Option<&'static str>) {
    let bytes = match cell {
        Cell::Null => return (Value::Null, None),
        Cell::TooLong => return (Value::Null, Some("value-too-long")),
        Cell::Bytes(bytes) => bytes,
    };
    if kind == Kind::Binary {
        return (Value::Bytes(bytes.to_vec()), None);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return (Value::Bytes(bytes.to_vec()), Some("text-encoding"));
    };
    // A driver that can't convert a character writes a replacement or a NUL, and reports nothing.
    if text.contains(['\u{fffd}', '\0']) {
        return (Value::Text(text.to_owned()), Some("text-encoding"));
    }
    let trimmed = text.trim_matches(' ');
    let read = match kind {
        Kind::Text | Kind::Binary => return (Value::Text(text.to_owned()), None),
        Kind::Integer => trimmed.parse().map(Value::Integer).ok().or_else(|| Value::decimal(trimmed)),
        Kind::Decimal | Kind::Float => Value::decimal(trimmed),
        Kind::Bool => truth(trimmed).map(Value::Bool),
        Kind::Date | Kind::Timestamp if preset.times_are_text => Some(Value::Text(text.to_owned())),
        // A date that the calendar does not have (MySQL's 0000-00-00) stays the text that it is.
        Kind::Date => Some(date(trimmed).unwrap_or_else(|| Value::Text(text.to_owned()))),
        Kind::Timestamp => Some(timestamp(trimmed).unwrap_or_else(|| Value::Text(text.to_owned()))),
    };
    match read {
        Some(value) => (value, None),
        // SQLite keeps any text in a column that was declared a number.
        None if preset.types_are_hints => (Value::Text(text.to_owned()), None),
        None => (Value::Text(text.to_owned()), Some("not-a-number")),
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "true" | "TRUE" => Some(true),
        "0" | "f" | "false" | "FALSE" => Some(false),
        _ => None,
    }
}

fn date(text: &str) -> Option<Value> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| Value::Time(SourceTime::Date(date)))
}

fn timestamp(text: &str) -> Option<Value> {
    let local = |pattern| NaiveDateTime::parse_from_str(text, pattern).ok();
    let found = local("%Y-%m-%d %H:%M:%S%.f").or_else(|| local("%Y-%m-%dT%H:%M:%S%.f"));
    if let Some(time) = found {
        return Some(Value::Time(SourceTime::Local(time)));
    }
    // PostgreSQL writes +08, +05:30.
    let offset = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok();
    offset.map(|time| Value::Time(SourceTime::Offset(time))).or_else(|| {
        // A driver may call a date of a table without times a timestamp.
        NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(|date| Value::Time(SourceTime::Date(date)))
    })
}

#[cfg(test)]
mod tests;
