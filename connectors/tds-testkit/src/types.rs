//! Column types: how they are declared, described and how their values travel.

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _};
use rusqlite::types::Value;

/// The LCID of Chinese_PRC with its flags; the bit of UTF-8 collations.
const CHINESE_PRC: u32 = 0x00d0_0804;
const UTF8: u32 = 0x0400_0000;

/// How text columns are encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charset {
    pub(crate) utf8: bool,
}

impl Charset {
    pub(crate) fn collation(self) -> [u8; 5] {
        let bits = if self.utf8 { CHINESE_PRC | UTF8 } else { CHINESE_PRC };
        let [a, b, c, d] = bits.to_le_bytes();
        [a, b, c, d, 0]
    }

    pub(crate) fn name(self) -> &'static str {
        if self.utf8 { "Chinese_PRC_CI_AS_SC_UTF8" } else { "Chinese_PRC_CI_AS" }
    }

    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self.utf8 {
            true => text.as_bytes().to_vec(),
            false => encoding_rs::GB18030.encode(text).0.into_owned(),
        }
    }

    /// As the server converts to nvarchar: what is no character becomes a question mark.
    pub(crate) fn decode(self, bytes: &[u8]) -> String {
        let (text, _) = if self.utf8 {
            (String::from_utf8_lossy(bytes), false)
        } else {
            encoding_rs::GB18030.decode_without_bom_handling(bytes)
        };
        text.replace(char::REPLACEMENT_CHARACTER, "?")
    }
}

/// A type of SQL Server. `None` as a length is `max`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    /// `bit`
    Bit,
    /// `tinyint`, `smallint`, `int`, `bigint`, by their bytes.
    Int(u8),
    /// `real` and `float`, by their bytes.
    Float(u8),
    /// `decimal` and `numeric`.
    Decimal {
        /// All digits.
        precision: u8,
        /// Digits after the point.
        scale: u8,
    },
    /// `smallmoney` and `money`, by their bytes.
    Money(u8),
    /// `smalldatetime` and `datetime`, by their bytes.
    DateTime(u8),
    /// `date`
    Date,
    /// `time`
    Time(u8),
    /// `datetime2`
    DateTime2(u8),
    /// `datetimeoffset`
    DateTimeOffset(u8),
    /// `uniqueidentifier`
    Guid,
    /// `char`
    Char(u16),
    /// `varchar`
    VarChar(Option<u16>),
    /// `nchar`
    NChar(u16),
    /// `nvarchar`
    NVarChar(Option<u16>),
    /// `binary`, and `rowversion` as `binary(8)`.
    Binary(u16),
    /// `varbinary`
    VarBinary(Option<u16>),
    /// `text`
    Text,
    /// `ntext`
    NText,
    /// `image`
    Image,
    /// `xml`
    Xml,
}

impl Type {
    /// Reads a type as a column is declared, e.g. `decimal(18, 4)`.
    pub fn parse(declared: &str) -> Option<Type> {
        let lower = declared.trim().to_ascii_lowercase();
        let (name, arguments) = match lower.split_once('(') {
            Some((name, rest)) => (name.trim(), rest.trim_end_matches(')')),
            None => (lower.as_str(), ""),
        };
        let mut numbers = arguments.split(',').map(|part| part.trim().parse::<u16>().ok());
        let first = numbers.next().flatten();
        let second = numbers.next().flatten();
        let length = |default: u16| if arguments.trim() == "max" { None } else { Some(first.unwrap_or(default)) };
        let byte = |number: Option<u16>, default: u8| number.and_then(|n| u8::try_from(n).ok()).unwrap_or(default);
        Some(match name {
            "bit" => Type::Bit,
            "tinyint" => Type::Int(1),
            "smallint" => Type::Int(2),
            "int" | "integer" => Type::Int(4),
            "bigint" => Type::Int(8),
            "real" => Type::Float(4),
            "float" => Type::Float(8),
            "decimal" | "numeric" => Type::Decimal { precision: byte(first, 18), scale: byte(second, 0) },
            "money" => Type::Money(8),
            "smallmoney" => Type::Money(4),
            "datetime" => Type::DateTime(8),
            "smalldatetime" => Type::DateTime(4),
            "date" => Type::Date,
            "time" => Type::Time(byte(first, 7)),
            "datetime2" => Type::DateTime2(byte(first, 7)),
            "datetimeoffset" => Type::DateTimeOffset(byte(first, 7)),
            "uniqueidentifier" => Type::Guid,
            "char" => Type::Char(first.unwrap_or(1)),
            "varchar" => Type::VarChar(length(30)),
            "nchar" => Type::NChar(first.unwrap_or(1)),
            "nvarchar" | "sysname" => Type::NVarChar(length(if name == "sysname" { 128 } else { 30 })),
            "binary" => Type::Binary(first.unwrap_or(1)),
            "rowversion" | "timestamp" => Type::Binary(8),
            "varbinary" => Type::VarBinary(length(30)),
            "text" => Type::Text,
            "ntext" => Type::NText,
            "image" => Type::Image,
            "xml" => Type::Xml,
            _ => return None,
        })
    }

    /// The type of a value that no column declares.
    pub(crate) fn of(value: &Value) -> Type {
        match value {
            Value::Null | Value::Text(_) => Type::NVarChar(Some(4000)),
            Value::Integer(number) if i32::try_from(*number).is_ok() => Type::Int(4),
            Value::Integer(_) => Type::Int(8),
            Value::Real(_) => Type::Float(8),
            Value::Blob(_) => Type::VarBinary(Some(8000)),
        }
    }

    /// TYPE_INFO.
    pub(crate) fn info(&self, charset: Charset, out: &mut Vec<u8>) {
        let long = |out: &mut Vec<u8>, token: u8, length: Option<u16>, width: u16| {
            out.push(token);
            out.extend_from_slice(&length.map_or(0xffff, |length| length.saturating_mul(width)).to_le_bytes());
        };
        match self {
            Type::Bit => out.extend([0x68, 1]),
            Type::Int(bytes) => out.extend([0x26, *bytes]),
            Type::Float(bytes) => out.extend([0x6d, *bytes]),
            Type::Decimal { precision, scale } => out.extend([0x6a, 17, *precision, *scale]),
            Type::Money(bytes) => out.extend([0x6e, *bytes]),
            Type::DateTime(bytes) => out.extend([0x6f, *bytes]),
            Type::Date => out.push(0x28),
            Type::Time(scale) => out.extend([0x29, *scale]),
            Type::DateTime2(scale) => out.extend([0x2a, *scale]),
            Type::DateTimeOffset(scale) => out.extend([0x2b, *scale]),
            Type::Guid => out.extend([0x24, 16]),
            Type::Char(length) => long(out, 0xaf, Some(*length), 1),
            Type::VarChar(length) => long(out, 0xa7, *length, 1),
            Type::NChar(length) => long(out, 0xef, Some(*length), 2),
            Type::NVarChar(length) => long(out, 0xe7, *length, 2),
            Type::Binary(length) => long(out, 0xad, Some(*length), 1),
            Type::VarBinary(length) => long(out, 0xa5, *length, 1),
            Type::Text | Type::NText | Type::Image => {
                let token =
                    [0x23, 0x63, 0x22][usize::from(*self == Type::NText) + 2 * usize::from(*self == Type::Image)];
                out.push(token);
                out.extend_from_slice(&i32::MAX.to_le_bytes());
            }
            Type::Xml => out.extend([0xf1, 0]),
        }
        let text = matches!(
            self,
            Type::Char(_) | Type::VarChar(_) | Type::NChar(_) | Type::NVarChar(_) | Type::Text | Type::NText
        );
        if text {
            out.extend(charset.collation());
        }
        // The table that a text pointer leads into.
        if matches!(self, Type::Text | Type::NText | Type::Image) {
            out.push(1);
            out.extend(us_varchar("t"));
        }
    }

    /// One value; `None` where it does not fit its type.
    pub(crate) fn encode(&self, value: &Value, charset: Charset, out: &mut Vec<u8>) -> Option<()> {
        let short = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(&u16::try_from(bytes.len()).unwrap_or(0xfffe).to_le_bytes());
            out.extend_from_slice(bytes);
        };
        let byte = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.push(bytes.len() as u8);
            out.extend_from_slice(bytes);
        };
        match self {
            Type::VarChar(None) | Type::NVarChar(None) | Type::VarBinary(None) | Type::Xml => {
                if *value == Value::Null {
                    out.extend([0xff; 8]);
                    return Some(());
                }
                let bytes = self.bytes(value, charset)?;
                out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                for chunk in bytes.chunks(8000) {
                    out.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
                    out.extend_from_slice(chunk);
                }
                out.extend_from_slice(&0u32.to_le_bytes());
            }
            Type::Char(_)
            | Type::VarChar(_)
            | Type::NChar(_)
            | Type::NVarChar(_)
            | Type::Binary(_)
            | Type::VarBinary(_) => match value {
                Value::Null => out.extend([0xff, 0xff]),
                _ => short(out, &self.bytes(value, charset)?),
            },
            Type::Text | Type::NText | Type::Image => {
                if *value == Value::Null {
                    out.push(0);
                    return Some(());
                }
                let bytes = self.bytes(value, charset)?;
                byte(out, &[7; 16]);
                out.extend_from_slice(&[1; 8]);
                out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(&bytes);
            }
            _ if *value == Value::Null => out.push(0),
            _ => byte(out, &self.fixed(value)?),
        }
        Some(())
    }

    fn bytes(&self, value: &Value, charset: Charset) -> Option<Vec<u8>> {
        let text = match value {
            Value::Blob(bytes) => return Some(self.padded(bytes.clone())),
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Null => return None,
        };
        Some(self.padded(match self {
            Type::NChar(_) | Type::NVarChar(_) | Type::NText | Type::Xml => utf16(&text),
            Type::Char(_) | Type::VarChar(_) | Type::Text => charset.encode(&text),
            _ => text.into_bytes(),
        }))
    }

    fn padded(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        match self {
            Type::Char(length) => bytes.resize(bytes.len().max(usize::from(*length)), b' '),
            Type::Binary(length) => bytes.resize(usize::from(*length), 0),
            Type::NChar(length) => {
                while bytes.len() < usize::from(*length) * 2 {
                    bytes.extend([b' ', 0]);
                }
            }
            _ => {}
        }
        bytes
    }

    fn fixed(&self, value: &Value) -> Option<Vec<u8>> {
        let text = literal(value)?;
        Some(match self {
            Type::Bit => vec![u8::from(text != "0" && !text.eq_ignore_ascii_case("false"))],
            Type::Int(bytes) => text.parse::<i64>().ok()?.to_le_bytes()[..usize::from(*bytes)].to_vec(),
            Type::Float(4) => text.parse::<f32>().ok()?.to_le_bytes().to_vec(),
            Type::Float(_) => text.parse::<f64>().ok()?.to_le_bytes().to_vec(),
            Type::Decimal { precision, scale } => {
                let number = scaled(&text, *scale)?;
                let width = [5, 9, 13, 17]
                    [usize::from(*precision > 9) + usize::from(*precision > 19) + usize::from(*precision > 28)];
                let mut bytes = vec![u8::from(number >= 0)];
                bytes.extend_from_slice(&number.unsigned_abs().to_le_bytes()[..width - 1]);
                bytes
            }
            Type::Money(4) => i32::try_from(scaled(&text, 4)?).ok()?.to_le_bytes().to_vec(),
            Type::Money(_) => {
                let number = i64::try_from(scaled(&text, 4)?).ok()?.to_le_bytes();
                [&number[4..], &number[..4]].concat()
            }
            Type::DateTime(4) => {
                let time = read_time(&text)?.naive_local();
                let minutes = (time.hour() * 60 + time.minute()) as u16;
                let days = u16::try_from(days(time.date()) - days(NaiveDate::from_ymd_opt(1900, 1, 1)?)).ok()?;
                [days.to_le_bytes(), minutes.to_le_bytes()].concat()
            }
            Type::DateTime(_) => {
                let (day, ticks) = datetime_ticks(read_time(&text)?.naive_local())?;
                [day.to_le_bytes(), ticks.to_le_bytes()].concat()
            }
            Type::Date => date_bytes(read_time(&text)?.naive_local().date()),
            Type::Time(scale) => time_bytes(NaiveTime::parse_from_str(&text, "%H:%M:%S%.f").ok()?, *scale),
            Type::DateTime2(scale) => {
                let time = read_time(&text)?.naive_local();
                [time_bytes(time.time(), *scale), date_bytes(time.date())].concat()
            }
            Type::DateTimeOffset(scale) => {
                let time = read_time(&text)?;
                let utc = time.naive_utc();
                let offset = (time.offset().local_minus_utc() / 60) as i16;
                [time_bytes(utc.time(), *scale), date_bytes(utc.date()), offset.to_le_bytes().to_vec()].concat()
            }
            Type::Guid => guid_bytes(&text)?,
            _ => return None,
        })
    }

    /// What `CAST` makes of a value of this type.
    pub(crate) fn cast(&self, value: Value, to: &Type, charset: Charset) -> Option<Value> {
        if value == Value::Null {
            return Some(Value::Null);
        }
        let text_like = |kind: &Type| {
            matches!(
                kind,
                Type::Char(_) | Type::VarChar(_) | Type::NChar(_) | Type::NVarChar(_) | Type::Text | Type::NText
            )
        };
        Some(match to {
            to if text_like(to) => {
                let text = match &value {
                    Value::Blob(bytes) => match self {
                        Type::NChar(_) | Type::NVarChar(_) | Type::NText => return Some(value),
                        _ => charset.decode(&self.padded(bytes.clone())),
                    },
                    other => match self {
                        Type::Char(_) => charset.decode(&self.bytes(other, charset)?),
                        Type::NChar(width) => format!("{:<1$}", literal(other)?, usize::from(*width)),
                        _ => literal(other)?,
                    },
                };
                let most = match to {
                    Type::NVarChar(Some(length)) | Type::NChar(length) => usize::from(*length),
                    Type::VarChar(Some(length)) | Type::Char(length) => usize::from(*length),
                    _ => usize::MAX,
                };
                Value::Text(text.chars().take(most).collect())
            }
            Type::Binary(_) | Type::VarBinary(_) | Type::Image => {
                let mut bytes = self.bytes(&value, charset)?;
                if let Type::VarBinary(Some(length)) | Type::Binary(length) = to {
                    bytes.truncate(usize::from(*length));
                }
                Value::Blob(to.padded(bytes))
            }
            Type::DateTime(8) => {
                let (day, ticks) = datetime_ticks(read_time(&literal(&value)?)?.naive_local())?;
                Value::Text(from_ticks(day, ticks)?)
            }
            Type::Decimal { scale, .. } => Value::Text(unscaled(scaled(&literal(&value)?, *scale)?, *scale)),
            Type::Int(_) => Value::Integer(literal(&value)?.split('.').next()?.parse().ok()?),
            Type::Float(_) => Value::Real(literal(&value)?.parse().ok()?),
            _ => value,
        })
    }
}

fn literal(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => format!("{number:?}").trim_end_matches(".0").to_owned(),
        Value::Text(text) => text.clone(),
        Value::Blob(bytes) => String::from_utf8(bytes.clone()).ok()?,
    })
}

/// A decimal literal as a whole number of 10^-scale, rounded half away from zero.
fn scaled(text: &str, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let kept: String = fraction.chars().chain(std::iter::repeat('0')).take(usize::from(scale)).collect();
    let number: i128 = format!("{whole}{kept}").parse().ok()?;
    let up = fraction.as_bytes().get(usize::from(scale)).is_some_and(|digit| *digit >= b'5');
    let number = number + i128::from(up);
    Some(if negative { -number } else { number })
}

fn unscaled(number: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>1$}", number.unsigned_abs(), scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if number < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Days since the first of January of the year 1.
fn days(date: NaiveDate) -> i32 {
    date.num_days_from_ce() - 1
}

fn date_bytes(date: NaiveDate) -> Vec<u8> {
    days(date).to_le_bytes()[..3].to_vec()
}

fn time_bytes(time: NaiveTime, scale: u8) -> Vec<u8> {
    let nanos = u64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + u64::from(time.nanosecond());
    let width = [3, 3, 3, 4, 4, 5, 5, 5][usize::from(scale.min(7))];
    (nanos / 10u64.pow(9 - u32::from(scale.min(7)))).to_le_bytes()[..width].to_vec()
}

/// Days since 1900 and 300ths of a second.
fn datetime_ticks(time: NaiveDateTime) -> Option<(i32, u32)> {
    let start = days(NaiveDate::from_ymd_opt(1900, 1, 1)?);
    let ticks = (u64::from(time.nanosecond()) * 3 + 5_000_000) / 10_000_000;
    let ticks = u64::from(time.time().num_seconds_from_midnight()) * 300 + ticks;
    let day = days(time.date()) - start + i32::from(ticks >= 86_400 * 300);
    Some((day, u32::try_from(ticks % (86_400 * 300)).ok()?))
}

fn from_ticks(day: i32, ticks: u32) -> Option<String> {
    let millis = (i64::from(ticks) * 10 + 1) / 3;
    let start = NaiveDate::from_ymd_opt(1900, 1, 1)?.and_hms_opt(0, 0, 0)?;
    Some(time_text(start + TimeDelta::days(day.into()) + TimeDelta::milliseconds(millis)))
}

/// The one text form of a time in the data: no zeros at the end of its fraction.
pub(crate) fn time_text(time: NaiveDateTime) -> String {
    let text = time.format("%Y-%m-%d %H:%M:%S%.9f").to_string();
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(crate) fn read_time(text: &str) -> Option<DateTime<FixedOffset>> {
    if let Ok(time) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z") {
        return Some(time);
    }
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    let time = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y%m%d %H:%M:%S%.f"]
        .iter()
        .find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
        .or_else(date)?;
    Some(time.and_utc().fixed_offset())
}

/// The first three groups travel with their low byte first.
fn guid_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let byte = |at: usize| u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..16).map(byte).collect::<Option<_>>()?;
    Some([3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].iter().map(|at| bytes[*at]).collect())
}

pub(crate) fn guid_text(bytes: &[u8]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let hex: String = order.iter().filter_map(|at| bytes.get(*at)).map(|byte| format!("{byte:02X}")).collect();
    match hex.len() {
        32 => format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]),
        _ => hex,
    }
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// Text with its length in characters in one byte.
pub(crate) fn b_varchar(text: &str) -> Vec<u8> {
    let bytes = utf16(text);
    [vec![(bytes.len() / 2) as u8], bytes].concat()
}

/// Text with its length in characters in two bytes.
pub(crate) fn us_varchar(text: &str) -> Vec<u8> {
    let bytes = utf16(text);
    [((bytes.len() / 2) as u16).to_le_bytes().to_vec(), bytes].concat()
}
