//! dBASE tables (`.dbf`): dBASE III and IV, FoxPro and Visual FoxPro, with their memo files.
//!
//! Numbers keep their digits: the reader is our own because those that exist read `1.30` and ids
//! of 19 digits through a binary float. Records that are marked as deleted are left out, as every
//! program that opens the table does.

use std::ops::Range;
use std::sync::Arc;

use connector_api::{DecodeFailure, Map, SourceTime, Value};

use crate::charset::Charset;
use crate::rows::{Writer, Written, fault};
use crate::text::TextPolicy;

/// Where the descriptions of the fields begin, and how long each is.
const FIELDS: usize = 32;

/// A Visual FoxPro table.
const VISUAL: Range<u8> = 0x30..0x33;

/// One column.
struct Field {
    name: Arc<str>,
    kind: u8,
    at: Range<usize>,
    /// Its bit among the null flags.
    null: Option<usize>,
}

struct Header {
    visual: bool,
    count: usize,
    start: usize,
    width: usize,
    fields: Vec<Field>,
    /// The column of null flags.
    nulls: Option<Range<usize>>,
    declared: Option<&'static str>,
}

/// Whether a table keeps texts in a memo file beside it.
pub fn has_memo(bytes: &[u8]) -> bool {
    header(bytes).is_ok_and(|header| header.fields.iter().any(|field| matches!(field.kind, b'M' | b'G' | b'P')))
}

/// Reads a table; `memo` is the content of its memo file, where there is one.
///
/// Fails with `dbf-syntax` where it is no table, with `dbf-count` where it has other records than
/// its header says (it was cut off, or is being written), with `dbf-type` where a column has a type
/// that is not read, and with `text-charset…` where its text is in another character set.
pub fn read(policy: &TextPolicy, bytes: &[u8], memo: Option<&[u8]>) -> Result<Written, DecodeFailure> {
    let header = header(bytes)?;
    let body = bytes.get(header.start..).unwrap_or_default();
    let (found, rest) = (body.len() / header.width, body.len() % header.width);
    // The mark of the end is one byte; what is padded after it is no record.
    let end = body.get(header.count * header.width);
    if found < header.count || (found > header.count && end != Some(&0x1a)) {
        let what = format!("the header says {} records, and there are {found} and {rest} bytes", header.count);
        return Err(DecodeFailure::new("dbf-count", what));
    }
    let records = || body.chunks_exact(header.width).take(header.count).enumerate().filter(|(_, one)| one[0] != b'*');
    let texts = header.fields.iter().filter(|field| field.kind == b'C');
    let texts: Vec<&Field> = texts.collect();
    let mut sample = Vec::new();
    for (_, record) in records() {
        for field in &texts {
            sample.extend_from_slice(padded(&record[field.at.clone()]));
            sample.push(b'\n');
        }
    }
    let charset = policy.choose(header.declared, &sample)?;
    if !charset.extends_ascii() {
        return Err(DecodeFailure::new("text-charset", "a dBASE table can't be in UTF-16"));
    }
    drop(sample);
    let memo = Memo { bytes: memo, version: bytes[0] };
    let mut out = Writer::default();
    let (mut good, mut bad) = (0_usize, 0_usize);
    for (at, record) in records() {
        let flags = header.nulls.as_ref().map_or(&[][..], |nulls| &record[nulls.clone()]);
        let row = header.fields.iter().map(|field| {
            let null = field.null.is_some_and(|bit| flags.get(bit / 8).is_some_and(|byte| byte >> (bit % 8) & 1 == 1));
            let value =
                if null { Value::Null } else { field.value(&record[field.at.clone()], header.visual, charset, &memo) };
            match &value {
                Value::Text(text) => good += usize::from(!text.is_ascii()),
                Value::Map(map) => bad += usize::from(matches!(map.get("cell"), Some(Value::Bytes(_)))),
                _ => {}
            }
            (Arc::clone(&field.name), value)
        });
        let row: Map = row.collect();
        out.row(at + 1, row)?;
    }
    if bad > good + 1 {
        return Err(DecodeFailure::new("text-charset", format!("{bad} texts are not {}", charset.name())));
    }
    Ok(out.finish())
}

fn header(bytes: &[u8]) -> Result<Header, DecodeFailure> {
    let broken = |what: &str| DecodeFailure::new("dbf-syntax", what.to_owned());
    let known = [0x02, 0x03, 0x30, 0x31, 0x32, 0x43, 0x63, 0x83, 0x8b, 0xcb, 0xf5, 0xfb];
    let head = bytes.get(..FIELDS).filter(|head| known.contains(&head[0]));
    let head = head.ok_or_else(|| broken("the file does not begin like a dBASE table"))?;
    let short = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    let (start, width) = (short(8), short(10));
    let visual = VISUAL.contains(&head[0]);
    let descriptions = bytes.get(FIELDS..start).ok_or_else(|| broken("the header is cut off"))?;
    let mut fields = Vec::new();
    let mut nulls = None;
    let (mut at, mut bit) = (1, 0);
    for field in descriptions.chunks_exact(FIELDS).take_while(|field| field[0] != 0x0d) {
        let name = field[..11].split(|byte| *byte == 0).next().unwrap_or_default();
        let kind = field[11];
        // FoxPro keeps the high byte of a long text's width where numbers have their decimals.
        let long = if kind == b'C' { usize::from(field[17]) << 8 } else { 0 };
        let end = at + usize::from(field[16]) + long;
        let range = at..end;
        at = end;
        let nullable = visual && field[18] & 2 != 0;
        let null = nullable.then_some(bit);
        bit += usize::from(nullable);
        // Names are ASCII or in the table's character set, of which nothing is known yet.
        let name = match std::str::from_utf8(name) {
            Ok(name) => name.to_owned(),
            Err(_) => Charset::Gb18030.decode(name).map_err(|_| broken("a column's name can't be read"))?.into_owned(),
        };
        let wide = match kind {
            b'I' => 4,
            b'T' | b'Y' => 8,
            b'B' if visual => 8,
            _ => range.len(),
        };
        if range.len() != wide {
            return Err(broken("a column's width does not fit its type"));
        }
        match kind {
            b'0' => nulls = Some(range),
            b'C' | b'N' | b'F' | b'L' | b'D' | b'M' | b'G' | b'P' | b'I' | b'T' | b'Y' | b'B' => {
                fields.push(Field { name: name.trim().into(), kind, at: range, null });
            }
            other => {
                let what = format!("column {:?} has the type {:?}, which is not read", name, char::from(other));
                return Err(DecodeFailure::new("dbf-type", what));
            }
        }
    }
    if fields.is_empty() || at != width {
        return Err(broken("the columns do not fill a record"));
    }
    let declared = match head[29] {
        0x4d | 0x7a => Some("gbk"),
        0x4f | 0x78 => Some("big5"),
        0x03 | 0x57 | 0x58 | 0x59 => Some("windows-1252"),
        _ => None,
    };
    Ok(Header { visual, count, start, width, fields, nulls, declared })
}

/// A text without the blanks and zeros that fill its column.
fn padded(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b' ' | 0)).map_or(0, |at| at + 1);
    &bytes[..end]
}

impl Field {
    fn value(&self, bytes: &[u8], visual: bool, charset: Charset, memo: &Memo<'_>) -> Value {
        let four = |at: usize| bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
        let eight = || <[u8; 8]>::try_from(bytes).ok();
        let ascii = || std::str::from_utf8(bytes).unwrap_or("?").trim_matches(['\0', ' ']);
        match self.kind {
            b'C' => decoded(padded(bytes), charset),
            b'N' | b'F' => match ascii() {
                "" => Value::Null,
                stars if stars.bytes().all(|byte| byte == b'*') => fault("dbf-overflow", Value::from(stars)),
                text => Value::decimal(text).unwrap_or_else(|| fault("dbf-number", Value::from(text))),
            },
            b'L' => match bytes.first() {
                Some(b'T' | b't' | b'Y' | b'y') => Value::Bool(true),
                Some(b'F' | b'f' | b'N' | b'n') => Value::Bool(false),
                _ => Value::Null,
            },
            b'D' => match ascii() {
                "" => Value::Null,
                text => {
                    let date = text.get(..4).zip(text.get(4..6)).zip(text.get(6..8)).filter(|_| text.len() == 8);
                    let date = date.and_then(|((year, month), day)| format!("{year}-{month}-{day}").parse().ok());
                    date.map_or(Value::from(text), Value::Time)
                }
            },
            b'I' => four(0).map_or(Value::Null, |four| Value::Integer(i32::from_le_bytes(four).into())),
            b'T' => match (four(0).map(u32::from_le_bytes), four(4).map(u32::from_le_bytes)) {
                (Some(0), _) => Value::Null,
                (Some(day), Some(millis)) if !ascii().is_empty() => time(day, millis)
                    .map_or_else(|| fault("dbf-time", Value::from(format!("{day}+{millis}"))), Value::Time),
                _ => Value::Null,
            },
            b'Y' => eight().map_or(Value::Null, |eight| {
                let amount = i64::from_le_bytes(eight);
                let (sign, size) = (if amount < 0 { "-" } else { "" }, amount.unsigned_abs());
                Value::decimal(&format!("{sign}{}.{:04}", size / 10_000, size % 10_000)).unwrap_or_default()
            }),
            b'B' if visual => eight().map_or(Value::Null, |eight| {
                let text = f64::from_le_bytes(eight).to_string();
                Value::decimal(&text).unwrap_or_else(|| fault("dbf-number", Value::from(text)))
            }),
            kind => {
                let block = match four(0).filter(|_| bytes.len() == 4) {
                    Some(four) => Some(u32::from_le_bytes(four) as usize),
                    None => {
                        if ascii().is_empty() {
                            Some(0)
                        } else {
                            ascii().parse().ok()
                        }
                    }
                };
                match block {
                    Some(0) => Value::Null,
                    block => match block.and_then(|block| memo.get(block)) {
                        Some(content) if kind == b'M' => decoded(content, charset),
                        Some(content) => Value::Bytes(content.to_vec()),
                        None => fault("dbf-memo", Value::Null),
                    },
                }
            }
        }
    }
}

fn decoded(bytes: &[u8], charset: Charset) -> Value {
    match charset.decode(bytes) {
        Ok(text) => Value::Text(text.into_owned()),
        Err(_) => fault("text-charset", Value::Bytes(bytes.to_vec())),
    }
}

/// A day by its Julian number and the milliseconds since its midnight.
fn time(day: u32, millis: u32) -> Option<SourceTime> {
    const DAY: u32 = 86_400;
    // FoxPro's own fractions fall short of the second; the last one of a day may be the next day's first.
    let seconds = millis.checked_add(500).filter(|_| millis < DAY * 1000)? / 1000;
    let (day, seconds) = (day.checked_add(seconds / DAY)?, seconds % DAY);
    let date = chrono_date(day)?;
    format!("{date}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60).parse().ok()
}

/// The calendar date of a Julian day number (Fliegel and Van Flandern).
fn chrono_date(day: u32) -> Option<String> {
    let l = i64::from(day) + 68_569;
    let n = 4 * l / 146_097;
    let l = l - (146_097 * n + 3) / 4;
    let i = 4000 * (l + 1) / 1_461_001;
    let l = l - 1461 * i / 4 + 31;
    let j = 80 * l / 2447;
    let (d, l) = (l - 2447 * j / 80, j / 11);
    let (m, y) = (j + 2 - 12 * l, 100 * (n - 49) + i + l);
    (1..=9999).contains(&y).then(|| format!("{y:04}-{m:02}-{d:02}"))
}

/// A memo file.
struct Memo<'a> {
    bytes: Option<&'a [u8]>,
    version: u8,
}

impl<'a> Memo<'a> {
    /// The content at a block.
    fn get(&self, block: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes?;
        let word = |at: usize| bytes.get(at..at.checked_add(4)?).and_then(|four| <[u8; 4]>::try_from(four).ok());
        let short = |at: usize| bytes.get(at..at + 2).and_then(|two| <[u8; 2]>::try_from(two).ok());
        match self.version {
            // dBASE IV: blocks with a length, which counts the eight bytes before the content.
            0x8b | 0xcb => {
                let size = usize::from(u16::from_le_bytes(short(20)?));
                let at = block.checked_mul(if size == 0 { 512 } else { size })?;
                let length = u32::from_le_bytes(word(at.checked_add(4)?)?) as usize;
                (word(at)? == [0xff, 0xff, 8, 0]).then_some(())?;
                bytes.get(at + 8..at.checked_add(length)?)
            }
            // dBASE III: text up to its mark.
            0x83 => {
                let content = bytes.get(block.checked_mul(512)?..)?;
                content.get(..content.iter().position(|byte| *byte == 0x1a)?)
            }
            // FoxPro: a kind and a length, both with the high byte first.
            _ => {
                let size = usize::from(u16::from_be_bytes(short(6)?));
                let at = block.checked_mul(if size == 0 { 1 } else { size })?;
                let length = u32::from_be_bytes(word(at.checked_add(4)?)?) as usize;
                bytes.get(at + 8..(at + 8).checked_add(length)?)
            }
        }
    }
}

#[cfg(test)]
mod tests;
