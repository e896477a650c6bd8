//! Values as tiberius gives and takes them.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use connector_api::{SourceTime, Value};
use tiberius::numeric::Numeric;
use tiberius::{ColumnData, ToSql};

use crate::dialect::Reading;

/// A value, and a word for why it is broken.
pub(crate) type Read = (Value, Option<&'static str>);

const ENCODING: &str = "text-encoding";

/// What a column holds.
pub(crate) fn read(data: ColumnData<'static>, reading: Reading) -> Read {
    let value = match data {
        ColumnData::U8(number) => number.map(|number| Value::Integer(number.into())),
        ColumnData::I16(number) => number.map(|number| Value::Integer(number.into())),
        ColumnData::I32(number) => number.map(|number| Value::Integer(number.into())),
        ColumnData::I64(number) => number.map(Value::Integer),
        // Debug writes the shortest literal that reads back to the same float.
        ColumnData::F32(number) => number.and_then(|number| Value::decimal(&format!("{number:?}"))),
        ColumnData::F64(number) => number.and_then(|number| Value::decimal(&format!("{number:?}"))),
        ColumnData::Bit(truth) => truth.map(Value::Bool),
        ColumnData::String(text) => {
            return text.map_or((Value::Null, None), |text| checked(text.into_owned(), reading));
        }
        ColumnData::Guid(guid) => guid.map(|guid| Value::Text(guid.to_string().to_uppercase())),
        ColumnData::Binary(bytes) if reading.gbk => {
            return bytes.map_or((Value::Null, None), |bytes| decoded(bytes.into_owned(), reading));
        }
        ColumnData::Binary(bytes) => bytes.map(|bytes| Value::Bytes(bytes.into_owned())),
        ColumnData::Numeric(number) => number.and_then(|number| Value::decimal(&literal(number))),
        ColumnData::Xml(xml) => xml.map(|xml| Value::Text(xml.to_string())),
        ColumnData::DateTime(time) => return or_null(time, |time| datetime(time.days(), time.seconds_fragments())),
        ColumnData::SmallDateTime(time) => {
            return or_null(time, |time| {
                let minutes = TimeDelta::minutes(time.seconds_fragments().into());
                Some(local(day(1900, time.days().into())?.and_time(NaiveTime::MIN).checked_add_signed(minutes)?))
            });
        }
        ColumnData::Time(time) => {
            return or_null(time, |time| {
                let clock = clock(time.increments(), time.scale())?;
                Some(Value::Text(clock.format("%H:%M:%S%.f").to_string()))
            });
        }
        ColumnData::Date(date) => {
            return or_null(date, |date| Some(Value::Time(SourceTime::Date(day(1, date.days().into())?))));
        }
        ColumnData::DateTime2(time) => return or_null(time, |time| Some(local(datetime2(time)?))),
        ColumnData::DateTimeOffset(time) => {
            return or_null(time, |time| {
                let offset = FixedOffset::east_opt(i32::from(time.offset()) * 60)?;
                let at = datetime2(time.datetime2())?.and_utc().with_timezone(&offset);
                Some(Value::Time(SourceTime::Offset(at)))
            });
        }
    };
    (value.unwrap_or_default(), None)
}

/// A time outside of the calendar can't be vouched for.
fn or_null<T>(value: Option<T>, read: impl Fn(T) -> Option<Value>) -> Read {
    match value.map(read) {
        None => (Value::Null, None),
        Some(Some(value)) => (value, None),
        Some(None) => (Value::Null, Some("row")),
    }
}

fn checked(text: String, reading: Reading) -> Read {
    let broken = text.contains(char::REPLACEMENT_CHARACTER).then_some(ENCODING);
    (Value::Text(trimmed(text, reading)), broken)
}

fn decoded(bytes: Vec<u8>, reading: Reading) -> Read {
    match encoding_rs::GB18030.decode_without_bom_handling_and_without_replacement(&bytes) {
        Some(text) => (Value::Text(trimmed(text.into_owned(), reading)), None),
        None => (Value::Bytes(bytes), Some(ENCODING)),
    }
}

fn trimmed(mut text: String, reading: Reading) -> String {
    if reading.padded {
        text.truncate(text.trim_end_matches(' ').len());
    }
    text
}

fn literal(number: Numeric) -> String {
    let scale = usize::from(number.scale());
    let digits = format!("{:0>1$}", number.value().unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number.value() < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn local(time: NaiveDateTime) -> Value {
    Value::Time(SourceTime::Local(time))
}

fn day(year: i32, days: i64) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(year, 1, 1)?.checked_add_signed(TimeDelta::try_days(days)?)
}

/// `datetime` counts 300ths of a second, and is written in milliseconds: .000, .003, .007.
fn datetime(days: i32, ticks: u32) -> Option<Value> {
    let millis = (i64::from(ticks) * 10 + 1) / 3;
    let time = day(1900, days.into())?.and_time(NaiveTime::MIN);
    Some(local(time.checked_add_signed(TimeDelta::try_milliseconds(millis)?)?))
}

fn clock(increments: u64, scale: u8) -> Option<NaiveTime> {
    let nanos = increments.checked_mul(10u64.checked_pow(9u32.checked_sub(scale.into())?)?)?;
    let seconds = u32::try_from(nanos / 1_000_000_000).ok()?;
    NaiveTime::from_num_seconds_from_midnight_opt(seconds, u32::try_from(nanos % 1_000_000_000).ok()?)
}

fn datetime2(time: tiberius::time::DateTime2) -> Option<NaiveDateTime> {
    let clock = clock(time.time().increments(), time.time().scale())?;
    Some(day(1, time.date().days().into())?.and_time(clock))
}

/// A parameter's value in a form that tiberius can send.
pub(crate) fn bound(value: &Value) -> Box<dyn ToSql> {
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => Box::new(None::<String>),
        Value::Text(text) => Box::new(text.clone()),
        Value::Integer(number) => Box::new(*number),
        Value::Bool(truth) => Box::new(*truth),
        Value::Bytes(bytes) => Box::new(bytes.clone()),
        Value::Decimal(decimal) => match (numeric(decimal.as_str()), decimal.as_str().parse::<f64>()) {
            (Some(number), _) => Box::new(number),
            (None, Ok(number)) if number.is_finite() => Box::new(number),
            _ => Box::new(decimal.as_str().to_owned()),
        },
        Value::Time(SourceTime::Date(date)) => Box::new(*date),
        Value::Time(SourceTime::Local(time)) => Box::new(*time),
        Value::Time(SourceTime::Offset(time)) => Box::<DateTime<FixedOffset>>::new(*time),
    }
}

/// A plain literal of at most 38 digits.
fn numeric(literal: &str) -> Option<Numeric> {
    let (whole, fraction) = literal.split_once('.').unwrap_or((literal, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches(['-', '+', '0']).len();
    let scale = u8::try_from(fraction.len()).ok()?;
    (significant <= 38 && scale <= 38).then(|| Some(Numeric::new_with_scale(digits.parse().ok()?, scale)))?
}

#[cfg(test)]
mod tests;
