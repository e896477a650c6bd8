//! Rows of tables that are no text (spreadsheets, dBASE files), written as text.
//!
//! Each row is one line, a [`Document`] in its archived form, so that it can be archived, held and
//! mapped by itself. A cell that can't be vouched for stands in its row as an object of its fault
//! and of what the file holds there. Bytes that did not decode are tried anew when the row is read
//! again, under the character set that is configured then.

use std::ops::Range;

use bytes::Bytes;
use connector_api::{DecodeFailure, Document, Map, Value};

use crate::delimited::{Row, Unreadable};
use crate::text::TextPolicy;

/// The format name of a body that holds rows so written.
pub const FORMAT: &str = "application/vnd.hisync.rows";

/// How much text one table may become. A spreadsheet can refer to one long text from every cell.
const MAX_WRITTEN: usize = 256 << 20;

const FAULT: &str = "unreadable";
const CELL: &str = "cell";

/// The faults of cells, each with what is wrong in the words of a person.
const FAULTS: [(&str, &str); 9] = [
    ("sheet-digits", "the number has more digits than a spreadsheet keeps: the last ones are lost"),
    ("sheet-not-text", "the spreadsheet made a number or date of it, and may have dropped signs of the text"),
    ("sheet-error", "the cell shows an error instead of a value"),
    ("sheet-date", "the cell's date does not exist"),
    ("dbf-overflow", "the number was too long for its column"),
    ("dbf-number", "the column is one of numbers, and this is none"),
    ("dbf-time", "the column is one of times, and there is no such day or time"),
    ("dbf-memo", "the memo file does not hold the text that the row refers to"),
    ("text-charset", "the bytes are not of the character set"),
];

/// A table's rows, written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The lines.
    pub bytes: Bytes,
    /// The rows, with their places in the lines. Their `line` is the row's number in the table.
    pub rows: Vec<Row>,
}

/// A cell that can't be vouched for.
pub(crate) fn fault(code: &'static str, cell: Value) -> Value {
    Value::Map(Map::from_iter([(FAULT, Value::from(code)), (CELL, cell)]))
}

/// Writes the rows of one table.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    rows: Vec<(usize, Range<usize>, Map)>,
}

impl Writer {
    /// Appends a row, which is the `number`th of its table. Fails where the table is too large.
    pub(crate) fn row(&mut self, number: usize, row: Map) -> Result<(), DecodeFailure> {
        let start = self.bytes.len();
        let document = Document::new(row);
        self.bytes.extend_from_slice(&document.to_bytes());
        self.bytes.push(b'\n');
        if self.bytes.len() > MAX_WRITTEN {
            return Err(too_large(&format!("its text is longer than {MAX_WRITTEN} bytes")));
        }
        self.rows.push((number, start..self.bytes.len(), document.root));
        Ok(())
    }

    pub(crate) fn finish(self) -> Written {
        let row = |(line, bytes, row)| Row { line, bytes, values: judge(row, line, None) };
        Written { bytes: self.bytes.into(), rows: self.rows.into_iter().map(row).collect() }
    }
}

/// The failure of a table that is beyond the bounds of this reader.
pub(crate) fn too_large(what: &str) -> DecodeFailure {
    DecodeFailure::new("table-too-large", what.to_owned())
}

/// Reads lines that [`Written::bytes`] held. None of them may be unreadable.
pub fn reread(policy: &TextPolicy, body: &[u8]) -> Result<Vec<Map>, DecodeFailure> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |(at, line): (usize, &[u8])| {
        judge(Document::from_bytes(line)?.root, at + 1, Some(policy)).map_err(|unreadable| unreadable.failure)
    };
    lines.enumerate().map(read).collect()
}

/// The row, if each of its cells can be vouched for. Only bytes are tried again, under `policy`.
fn judge(row: Map, number: usize, policy: Option<&TextPolicy>) -> Result<Map, Unreadable> {
    if !row.iter().any(|(_, value)| fault_of(value).is_some()) {
        return Ok(row);
    }
    let mut first = None;
    let mut readable = Map::with_capacity(row.len());
    for (name, value) in row.iter() {
        let Some((code, cell)) = fault_of(value) else {
            readable.push(name.clone(), value.clone());
            continue;
        };
        let again = match (cell, policy) {
            (Value::Bytes(bytes), Some(policy)) => policy.default.decode(bytes).ok().map(|text| text.into_owned()),
            _ => None,
        };
        if again.is_none() {
            first.get_or_insert((name.clone(), code));
        }
        readable.push(name.clone(), again.map_or(Value::Null, Value::Text));
    }
    match first {
        None => Ok(readable),
        Some((name, code)) => {
            let known = FAULTS.iter().find(|(known, _)| *known == code);
            let (code, what) = known.copied().unwrap_or(("rows-cell", "the cell can't be vouched for"));
            Err(Unreadable { failure: DecodeFailure::new(code, format!("row {number}, {name:?}: {what}")), readable })
        }
    }
}

/// A fault's code, and what the file holds in the cell. No cell is a map but by [`fault`].
fn fault_of(value: &Value) -> Option<(&str, &Value)> {
    let map = value.as_map()?;
    Some((map.get(FAULT).and_then(Value::as_text).unwrap_or_default(), map.get(CELL).unwrap_or(&Value::Null)))
}
