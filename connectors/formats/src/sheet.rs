//! Spreadsheets: `.xlsx`. The older `.xls` is refused: the reader that there is for it takes as much
//! memory as the farthest cell that a file names asks for.
//!
//! A cell is what its file holds: text, an exact decimal, a truth value, a date. What the
//! spreadsheet program has destroyed before, it can't be asked for: a number of more than 15
//! digits, the error in the place of a value, and in the columns named as text whatever is a number
//! now, since leading zeros may be gone. Such rows are held.

use std::collections::HashSet;
use std::io::{Cursor, Read as _};
use std::sync::Arc;

use bytes::Bytes;
use calamine::{Data, ExcelDateTime, Reader as _, SheetVisible, Xlsx};
use connector_api::{DecodeFailure, Map, SourceTime, Value};

use crate::rows::{Writer, Written, fault, too_large};

/// What a spreadsheet holds may take so much room when unpacked, in bytes.
const MAX_UNPACKED: u64 = 256 << 20;

/// A workbook has far fewer parts.
const MAX_PARTS: usize = 4096;

/// The digits that a spreadsheet program keeps of a number.
const DIGITS: usize = 15;

/// Which cells of a workbook are the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// The sheet's name; the first visible one where left out.
    pub name: Option<String>,
    /// How many rows stand before the table.
    pub skip_rows: usize,
    /// The columns that the first row of the table must name, in any order.
    pub columns: Vec<String>,
    /// Columns whose cells must be text.
    pub text_columns: Vec<String>,
}

/// The cells of one row, by column.
type Cells = Vec<(usize, Value)>;

impl Sheet {
    /// Reads a file.
    ///
    /// Fails with `sheet-kind` where it is no `.xlsx` workbook, `sheet-syntax` where it is damaged, `sheet-name` where the sheet is missing, `sheet-header` where the
    /// header is missing, ambiguous or not the configured one, and `table-too-large`.
    pub fn read(&self, bytes: &Bytes) -> Result<Written, DecodeFailure> {
        let mut table = Table { sheet: self, skip: self.skip_rows, names: None, out: Writer::default() };
        match bytes.get(..4) {
            Some(b"PK\x03\x04") => self.xlsx(bytes, &mut table)?,
            Some(b"\xd0\xcf\x11\xe0") => {
                let what = "an .xls workbook, or one with a password: have it saved as .xlsx without one";
                return Err(DecodeFailure::new("sheet-kind", what));
            }
            _ => {
                let what = "the file is no spreadsheet; some programs give that name to CSV or HTML";
                return Err(DecodeFailure::new("sheet-kind", what));
            }
        }
        match table.names {
            Some(_) => Ok(table.out.finish()),
            None => Err(DecodeFailure::new("sheet-header", "there is no header row")),
        }
    }

    fn xlsx(&self, bytes: &Bytes, table: &mut Table<'_>) -> Result<(), DecodeFailure> {
        check_size(bytes, MAX_UNPACKED)?;
        let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes.clone())).map_err(damaged)?;
        let name = self.pick(book.sheets_metadata())?;
        let mut reader = book.worksheet_cells_reader(&name).map_err(damaged)?;
        let formats: Vec<Option<String>> = reader
            .styles()
            .iter()
            .map(|style| style.number_format.as_ref().map(|format| format.format_code.clone()))
            .collect();
        let mut row: Option<(usize, Cells)> = None;
        while let Some((cell, style)) = reader.next_cell_with_style_id().map_err(damaged)? {
            let (at, column) = cell.get_position();
            let (at, column) = (at as usize, column as usize);
            let format = formats.get(style).and_then(Option::as_deref);
            let value = read_cell(&Data::from(cell.get_value().clone()), format);
            match &mut row {
                Some((current, cells)) if *current == at => cells.push((column, value)),
                Some((current, _)) if *current > at => return Err(damaged("rows out of order")),
                _ => {
                    if let Some((at, cells)) = row.replace((at, vec![(column, value)])) {
                        table.row(at, cells)?;
                    }
                }
            }
        }
        row.map_or(Ok(()), |(at, cells)| table.row(at, cells))
    }

    fn pick(&self, sheets: &[calamine::Sheet]) -> Result<String, DecodeFailure> {
        let wanted = |sheet: &&calamine::Sheet| match &self.name {
            Some(name) => sheet.name == *name,
            None => sheet.visible == SheetVisible::Visible,
        };
        sheets.iter().find(wanted).map(|sheet| sheet.name.clone()).ok_or_else(|| {
            let what = match &self.name {
                Some(name) => format!("none of the {} sheets has the name {name:?}", sheets.len()),
                None => "no sheet is visible".to_owned(),
            };
            DecodeFailure::new("sheet-name", what)
        })
    }
}

/// Errors of the library quote the file, which may hold personal data.
fn damaged<E>(_: E) -> DecodeFailure {
    DecodeFailure::new("sheet-syntax", "the spreadsheet is damaged")
}

/// Unpacks everything once without keeping it: what a file says of its own size proves nothing.
fn check_size(bytes: &Bytes, limit: u64) -> Result<(), DecodeFailure> {
    let mut parts = zip::ZipArchive::new(Cursor::new(bytes.clone())).map_err(damaged)?;
    if parts.len() > MAX_PARTS {
        return Err(too_large("it has more parts than any workbook"));
    }
    let mut left = limit;
    for at in 0..parts.len() {
        let part = parts.by_index(at).map_err(damaged)?;
        let size = std::io::copy(&mut part.take(left + 1), &mut std::io::sink()).map_err(damaged)?;
        left = left
            .checked_sub(size)
            .ok_or_else(|| too_large(&format!("it is longer than {limit} bytes when unpacked")))?;
    }
    Ok(())
}

/// The table as far as it was read.
struct Table<'a> {
    sheet: &'a Sheet,
    skip: usize,
    /// The columns' names by place, once the header was read.
    names: Option<Vec<Option<Arc<str>>>>,
    out: Writer,
}

impl Table<'_> {
    fn row(&mut self, at: usize, cells: Cells) -> Result<(), DecodeFailure> {
        if at < self.skip || cells.iter().all(|(_, value)| is_blank(value)) {
            return Ok(());
        }
        let Some(names) = &self.names else {
            self.names = Some(header(cells, &self.sheet.columns)?);
            return Ok(());
        };
        let mut values = vec![Value::Null; names.len()];
        for (column, value) in cells {
            match (values.get_mut(column), names.get(column)) {
                (Some(place), Some(Some(name))) => *place = self.sheet.checked(name, value),
                _ if is_blank(&value) => {}
                // What stands beside the table belongs to nothing that has a name.
                _ => {
                    let what = format!("row {}: column {} has no name in the header", at + 1, column + 1);
                    return Err(DecodeFailure::new("sheet-columns", what));
                }
            }
        }
        let named = names.iter().zip(values).filter_map(|(name, value)| Some((Arc::clone(name.as_ref()?), value)));
        let row = named.collect::<Map>();
        self.out.row(at + 1, row)
    }
}

impl Sheet {
    /// The value of a column that must be text, where that is what it is.
    fn checked(&self, name: &str, value: Value) -> Value {
        let text = matches!(value, Value::Null | Value::Text(_) | Value::Map(_));
        if text || !self.text_columns.iter().any(|column| column == name) {
            return value;
        }
        fault("sheet-not-text", shown(value))
    }
}

/// A faulty cell's value as text, for whoever looks at the row.
fn shown(value: Value) -> Value {
    match value {
        Value::Decimal(decimal) => Value::from(decimal.as_str()),
        Value::Time(time) => Value::from(time.to_string()),
        other => other,
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        _ => false,
    }
}

/// The columns that a header row names, by place.
fn header(cells: Cells, wanted: &[String]) -> Result<Vec<Option<Arc<str>>>, DecodeFailure> {
    let failed = |what: String| DecodeFailure::new("sheet-header", what);
    let mut names: Vec<Option<Arc<str>>> = Vec::new();
    let mut seen = HashSet::new();
    for (column, value) in cells {
        let name = match shown(value) {
            Value::Text(text) if !text.trim().is_empty() => text.trim().to_owned(),
            Value::Null | Value::Text(_) => continue,
            _ => return Err(failed(format!("column {} of the header is not text", column + 1))),
        };
        if !seen.insert(name.clone()) {
            return Err(failed(format!("column {} of the header has the name of another", column + 1)));
        }
        names.resize(names.len().max(column + 1), None);
        names[column] = Some(name.into());
    }
    match wanted.iter().find(|name| !seen.contains(name.as_str())) {
        Some(missing) => Err(failed(format!("the header has no column {missing:?}"))),
        None => Ok(names),
    }
}

fn read_cell(cell: &Data, format: Option<&str>) -> Value {
    match cell {
        Data::Empty => Value::Null,
        Data::String(text) | Data::DurationIso(text) => Value::from(text.as_str()),
        Data::Bool(truth) => Value::Bool(*truth),
        Data::Int(number) if number.unsigned_abs() < 10_u64.pow(15) => decimal(&number.to_string(), format),
        Data::Int(number) => fault("sheet-digits", Value::from(number.to_string())),
        Data::Float(number) => read_number(*number, format),
        Data::DateTime(time) => read_time(time),
        Data::DateTimeIso(text) => text.parse::<SourceTime>().map_or(Value::from(text.as_str()), Value::Time),
        Data::Error(error) => fault("sheet-error", Value::from(error.to_string())),
        // The library may learn of more kinds of cells.
        #[allow(unreachable_patterns, reason = "depends on the library's features")]
        _ => fault("sheet-error", Value::Null),
    }
}

/// A number with the digits that the spreadsheet program keeps, and with the zeros that its format
/// shows at the end: `1.30`. A format of zeros alone (`00000000`) makes it text.
fn read_number(number: f64, format: Option<&str>) -> Value {
    if !number.is_finite() {
        return fault("sheet-error", Value::from(number.to_string()));
    }
    let text = plain(number);
    if number.abs() >= 1e15 {
        return fault("sheet-digits", Value::from(text));
    }
    decimal(&text, format)
}

fn decimal(text: &str, format: Option<&str>) -> Value {
    let format = format.unwrap_or_default();
    let (whole, places) = format.split_once('.').unwrap_or((format, ""));
    let zeros = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte == b'0');
    if whole.len() > 1 && zeros(whole) && places.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Value::from(format!("{text:0>width$}", width = whole.len()));
    }
    let mut text = text.to_owned();
    if zeros(places) && matches!(whole, "0" | "#" | "#,##0") && places.len() <= DIGITS {
        let have = text.split_once('.').map_or(0, |(_, places)| places.len());
        if have == 0 {
            text.push('.');
        }
        text.extend(std::iter::repeat_n('0', places.len().saturating_sub(have)));
    }
    Value::decimal(&text).unwrap_or(Value::Text(text))
}

/// A number in plain digits, rounded to those that the spreadsheet program keeps and shows.
fn plain(number: f64) -> String {
    let text = format!("{number:.*e}", DIGITS - 1);
    let rounded: f64 = text.parse().unwrap_or(number);
    // The shortest text of the rounded number has no more digits than that.
    rounded.to_string()
}

/// A point in time, a date, or, where there is no date, a time of day or a duration as text.
fn read_time(time: &ExcelDateTime) -> Value {
    let serial = time.as_f64();
    let bad = || fault("sheet-date", Value::from(serial.to_string()));
    if !(0.0..2_958_466.0).contains(&serial) {
        return bad();
    }
    if time.is_duration() || serial < 1.0 {
        // Below the limit above, and not negative.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to fit")]
        let seconds = (serial * 86_400.0).round() as u64;
        return Value::from(format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
    }
    let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
    // 1900-02-29, which only spreadsheets know, is no date.
    let text = format!("{year:04}-{month:02}-{day:02}");
    let whole = (hour, minute, second, milli) == (0, 0, 0, 0);
    let text = if whole { text } else { format!("{text}T{hour:02}:{minute:02}:{second:02}.{milli:03}") };
    text.parse::<SourceTime>().map_or_else(|_| bad(), Value::Time)
}

#[cfg(test)]
mod tests;
