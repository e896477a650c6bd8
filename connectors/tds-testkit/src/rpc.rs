//! What comes in: batches, remote procedure calls and their parameters.

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use rusqlite::types::Value;

use crate::types::{Charset, guid_text, time_text};

/// Reads bytes from the front; `None` where they are too few.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self, width: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(self.take(width)?);
        Some(u64::from_le_bytes(bytes))
    }

    fn byte(&mut self) -> Option<u8> {
        Some(*self.take(1)?.first()?)
    }

    fn short(&mut self) -> Option<usize> {
        usize::try_from(self.number(2)?).ok()
    }

    fn text(&mut self, characters: usize) -> Option<String> {
        Some(from_utf16(self.take(characters * 2)?))
    }

    /// ALL_HEADERS, which begin with their own length.
    pub(crate) fn skip_headers(&mut self) -> Option<()> {
        let length = usize::try_from(u32::from_le_bytes(self.0.get(..4)?.try_into().ok()?)).ok()?;
        self.take(length).map(drop)
    }
}

pub(crate) fn from_utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) parameters: Vec<Parameter>,
}

/// One parameter; its name begins with `@` or is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) value: Value,
}

/// Procedures that have a number instead of a name.
const NUMBERED: [(u16, &str); 5] =
    [(10, "sp_executesql"), (11, "sp_prepare"), (12, "sp_execute"), (13, "sp_prepexec"), (15, "sp_unprepare")];

impl Call {
    pub(crate) fn read(body: &[u8], charset: Charset) -> Option<Call> {
        let mut reader = Reader(body);
        reader.skip_headers()?;
        let name = match reader.short()? {
            0xffff => {
                let number = reader.number(2)?;
                NUMBERED.iter().find(|(known, _)| u64::from(*known) == number)?.1.to_owned()
            }
            length => reader.text(length)?,
        };
        reader.take(2)?;
        let mut parameters = Vec::new();
        while !matches!(reader.0.first(), None | Some(0x80 | 0xff | 0xfe)) {
            let length = usize::from(reader.byte()?);
            let name = reader.text(length)?;
            reader.take(1)?;
            parameters.push(Parameter { name, value: value(&mut reader, charset)? });
        }
        Some(Call { name, parameters })
    }

    pub(crate) fn text(&self, at: usize) -> Option<&str> {
        match &self.parameters.get(at)?.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A parameter's type and value.
fn value(reader: &mut Reader<'_>, charset: Charset) -> Option<Value> {
    let kind = reader.byte()?;
    Some(match kind {
        // Fixed lengths: tinyint, bit, smallint, int, smalldatetime, real, money, datetime, float, bigint.
        0x30 | 0x32 => Value::Integer(reader.byte()?.into()),
        0x34 => number(reader.take(2)?)?,
        0x38 => number(reader.take(4)?)?,
        0x7f => number(reader.take(8)?)?,
        0x3b => float(reader.take(4)?)?,
        0x3e => float(reader.take(8)?)?,
        0x26 | 0x68 | 0x6d | 0x6f | 0x24 => {
            reader.byte()?;
            let length = usize::from(reader.byte()?);
            let bytes = reader.take(length)?;
            match (kind, length) {
                (_, 0) => Value::Null,
                (0x26, 1) | (0x68, _) => Value::Integer(bytes[0].into()),
                (0x26, _) => number(bytes)?,
                (0x6d, _) => float(bytes)?,
                (0x6f, 8) => {
                    let day = i32::from_le_bytes(bytes[..4].try_into().ok()?);
                    let ticks = u32::from_le_bytes(bytes[4..].try_into().ok()?);
                    let start = NaiveDate::from_ymd_opt(1900, 1, 1)?.and_hms_opt(0, 0, 0)?;
                    let millis = (i64::from(ticks) * 10 + 1) / 3;
                    Value::Text(time_text(start + TimeDelta::days(day.into()) + TimeDelta::milliseconds(millis)))
                }
                (0x24, _) => Value::Text(guid_text(bytes)),
                _ => return None,
            }
        }
        0x6a | 0x6c => {
            let [_, _, scale] = *reader.take(3)? else { return None };
            let length = usize::from(reader.byte()?);
            let bytes = reader.take(length)?;
            match bytes.split_first() {
                None => Value::Null,
                Some((sign, magnitude)) => {
                    let mut wide = [0; 16];
                    wide[..magnitude.len()].copy_from_slice(magnitude);
                    let digits = format!("{:0>1$}", u128::from_le_bytes(wide), usize::from(scale) + 1);
                    let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
                    let point = if fraction.is_empty() { "" } else { "." };
                    Value::Text(format!("{}{whole}{point}{fraction}", if *sign == 0 { "-" } else { "" }))
                }
            }
        }
        0x28 => {
            let length = usize::from(reader.byte()?);
            match reader.take(length)? {
                [] => Value::Null,
                bytes => Value::Text(date(bytes)?.to_string()),
            }
        }
        0x29..=0x2b => {
            let scale = reader.byte()?;
            let length = usize::from(reader.byte()?);
            let bytes = reader.take(length)?;
            if bytes.is_empty() {
                return Some(Value::Null);
            }
            let rest = match kind {
                0x29 => 0,
                0x2a => 3,
                _ => 5,
            };
            let (clock, rest) = bytes.split_at_checked(length.checked_sub(rest)?)?;
            let clock = time(clock, scale)?;
            match kind {
                0x29 => Value::Text(clock.format("%H:%M:%S%.f").to_string()),
                0x2a => Value::Text(time_text(date(rest)?.and_time(clock))),
                _ => {
                    let minutes = i16::from_le_bytes(rest.get(3..)?.try_into().ok()?);
                    let local = date(&rest[..3])?.and_time(clock) + TimeDelta::minutes(minutes.into());
                    let (hours, minutes) = (minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60);
                    let sign = if rest[4] & 0x80 == 0 { '+' } else { '-' };
                    Value::Text(format!("{}{sign}{hours:02}:{minutes:02}", time_text(local)))
                }
            }
        }
        0xa5 | 0xa7 | 0xad | 0xaf | 0xe7 | 0xef => {
            let most = reader.short()?;
            if !matches!(kind, 0xa5 | 0xad) {
                reader.take(5)?;
            }
            let bytes = if most == 0xffff {
                plp(reader)?
            } else {
                match reader.short()? {
                    0xffff => None,
                    length => Some(reader.take(length)?.to_vec()),
                }
            };
            text_or_bytes(kind, bytes, charset)
        }
        0x23 | 0x63 | 0x22 => {
            reader.take(4)?;
            if kind != 0x22 {
                reader.take(5)?;
            }
            let bytes = match u32::try_from(reader.number(4)?).ok()? {
                u32::MAX => None,
                length => Some(reader.take(usize::try_from(length).ok()?)?.to_vec()),
            };
            text_or_bytes(
                match kind {
                    0x23 => 0xa7,
                    0x63 => 0xe7,
                    _ => 0xa5,
                },
                bytes,
                charset,
            )
        }
        _ => return None,
    })
}

fn text_or_bytes(kind: u8, bytes: Option<Vec<u8>>, charset: Charset) -> Value {
    match (kind, bytes) {
        (_, None) => Value::Null,
        (0xa5 | 0xad, Some(bytes)) => Value::Blob(bytes),
        (0xe7 | 0xef, Some(bytes)) => Value::Text(from_utf16(&bytes)),
        (_, Some(bytes)) => Value::Text(charset.decode(&bytes)),
    }
}

/// A value that comes in chunks. The outer `None` is a broken one, the inner one null.
fn plp(reader: &mut Reader<'_>) -> Option<Option<Vec<u8>>> {
    if reader.number(8)? == u64::MAX {
        return Some(None);
    }
    let mut bytes = Vec::new();
    loop {
        match usize::try_from(reader.number(4)?).ok()? {
            0 => return Some(Some(bytes)),
            length => bytes.extend_from_slice(reader.take(length)?),
        }
    }
}

fn number(bytes: &[u8]) -> Option<Value> {
    Some(Value::Integer(match bytes.len() {
        2 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        4 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        _ => i64::from_le_bytes(bytes.try_into().ok()?),
    }))
}

fn float(bytes: &[u8]) -> Option<Value> {
    Some(Value::Real(match bytes.len() {
        4 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
        _ => f64::from_le_bytes(bytes.try_into().ok()?),
    }))
}

fn date(bytes: &[u8]) -> Option<NaiveDate> {
    let [a, b, c] = *bytes.get(..3)? else { return None };
    NaiveDate::from_num_days_from_ce_opt(i32::from_le_bytes([a, b, c, 0]) + 1)
}

fn time(bytes: &[u8], scale: u8) -> Option<NaiveTime> {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let nanos = u64::from_le_bytes(wide) * 10u64.pow(9 - u32::from(scale.min(7)));
    NaiveTime::from_num_seconds_from_midnight_opt(
        u32::try_from(nanos / 1_000_000_000).ok()?,
        u32::try_from(nanos % 1_000_000_000).ok()?,
    )
}
