//! Tables in text files: CSV, TSV, other delimiters, and fixed width.
//!
//! Every value is text, or null where a short row is padded. A row that can't be read does not
//! keep the others out: it is an error of its own, placed by its line in the file. What concerns
//! all rows (the header, the character set as a whole) is an error of the file.
//!
//! The file is decoded line by line, strictly, before it is split: the second byte of a GBK
//! character may equal `|` or `\`. No byte of such a character equals a line end.

mod fixed;
mod lines;
mod quotes;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use connector_api::{DecodeFailure, Map, Raw, Value};

use crate::charset::Charset;
use crate::text::TextPolicy;
use lines::Lines;

pub use fixed::{Column, Fixed, Measure};

/// How a file's lines become rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Fields between delimiters.
    Delimited(Delimited),
    /// Fields at places.
    Fixed(Fixed),
}

/// Fields between delimiters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delimited {
    /// The ASCII sign between two fields.
    pub delimiter: u8,
    /// How fields are quoted.
    pub quoting: Quoting,
    /// Whether the first row names the columns.
    pub header: bool,
    /// The columns' names. With a header: those that it must hold, in any order.
    pub columns: Vec<String>,
    /// How many lines stand before the table.
    pub skip_lines: usize,
    /// What becomes of rows with too few fields.
    pub short_rows: ShortRows,
}

/// How fields are quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quoting {
    /// In `"`, which is doubled inside.
    #[default]
    Doubled,
    /// In `"`, with a backslash before one inside.
    Backslash,
    /// Not at all: `"` is a sign like others.
    None,
}

/// What becomes of rows with too few fields. Rows with too many are always held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShortRows {
    /// They are held for a person.
    #[default]
    Hold,
    /// The fields that are missing at the end are null.
    Pad,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The character set of the bytes.
    pub charset: Charset,
    /// What makes a file of its own of any rows when put before their bytes: the byte order mark
    /// and the header row, where there are any.
    pub head: Vec<u8>,
    /// The rows in order.
    pub rows: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The line at which it begins, counted from 1.
    pub line: usize,
    /// Where it is in the file.
    pub bytes: Range<usize>,
    /// Its values by the columns' names.
    pub values: Result<Map, Unreadable>,
}

/// A row that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Why, with the line and without any value.
    pub failure: DecodeFailure,
    /// The values that can be read all the same; empty where the columns can't be told apart.
    pub readable: Map,
}

impl Layout {
    /// Reads a file.
    ///
    /// Fails with `text-charset…` where the bytes as a whole are in another character set, and
    /// with `delimited-header` where the header is missing, ambiguous, or not the configured one.
    pub fn read(&self, policy: &TextPolicy, bytes: &[u8]) -> Result<Table, DecodeFailure> {
        let charset = policy.choose(None, bytes)?;
        self.read_as(charset, bytes, self.skip_lines())
    }

    /// Reads an archived body that is a [`Table::head`] with rows. None of them may be unreadable.
    pub fn reread(&self, policy: &TextPolicy, raw: &Raw) -> Result<Vec<Map>, DecodeFailure> {
        let charset = policy.archived(raw, None)?;
        let table = self.read_as(charset, &raw.body, 0)?;
        table.rows.into_iter().map(|row| row.values.map_err(|unreadable| unreadable.failure)).collect()
    }

    fn skip_lines(&self) -> usize {
        match self {
            Layout::Delimited(layout) => layout.skip_lines,
            Layout::Fixed(layout) => layout.skip_lines,
        }
    }

    fn read_as(&self, charset: Charset, bytes: &[u8], skip: usize) -> Result<Table, DecodeFailure> {
        let lines = Lines::decode(charset, bytes)?;
        match self {
            Layout::Delimited(layout) => layout.read(&lines, skip),
            Layout::Fixed(layout) => Ok(layout.read(&lines, skip)),
        }
    }
}

/// A row's fields, with where it begins in the text.
struct Cut {
    line: usize,
    fields: Vec<String>,
}

impl Delimited {
    fn read(&self, lines: &Lines<'_>, skip: usize) -> Result<Table, DecodeFailure> {
        let mut cuts = self.cut(lines, skip)?.into_iter().peekable();
        let mut head = lines.mark().to_vec();
        let mut names = self.columns.clone();
        if self.header {
            let header = |what: &str| DecodeFailure::new("delimited-header", what.to_owned());
            let first = cuts.next().ok_or_else(|| header("there is no header row"))?;
            let end = cuts.peek().map_or(lines.count(), |next| next.line);
            if let Some(offset) = lines.bad_within(first.line..end) {
                return Err(header(&format!("byte {offset} of the header is not {}", lines.charset().name())));
            }
            if !self.is_sound(lines.text_of(first.line..end)) {
                return Err(header("the quotes of the header row don't match"));
            }
            names = self.named(first.fields)?;
            head.extend_from_slice(lines.bytes_of(first.line..end));
        }
        let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let mut rows = Vec::new();
        while let Some(cut) = cuts.next() {
            let at = cut.line..cuts.peek().map_or(lines.count(), |next| next.line);
            rows.push(Row {
                line: at.start + 1,
                bytes: lines.range_of(at.clone()),
                values: self.values(lines, at, cut.fields, &names),
            });
        }
        Ok(Table { charset: lines.charset(), head, rows })
    }

    fn cut(&self, lines: &Lines<'_>, skip: usize) -> Result<Vec<Cut>, DecodeFailure> {
        let start = lines.text_start(skip);
        let text = &lines.text()[start..];
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(self.delimiter)
            .quoting(self.quoting != Quoting::None)
            .double_quote(self.quoting == Quoting::Doubled)
            .escape((self.quoting == Quoting::Backslash).then_some(b'\\'))
            .from_reader(text.as_bytes());
        let mut cuts: Vec<Cut> = Vec::new();
        let mut record = csv::StringRecord::new();
        loop {
            let from = usize::try_from(reader.position().byte()).unwrap_or(usize::MAX).min(text.len());
            let more = reader.read_record(&mut record);
            if !more.map_err(|_| DecodeFailure::new("delimited-rows", "the rows can't be told apart"))? {
                return Ok(cuts);
            }
            // Blank lines, and the second half of a line end, stand before the row that they precede.
            let blanks = text.as_bytes()[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let line = lines.index_of(start + from + blanks);
            cuts.push(Cut { line, fields: record.iter().map(str::to_owned).collect() });
        }
    }

    /// The columns that a header names.
    fn named(&self, mut fields: Vec<String>) -> Result<Vec<String>, DecodeFailure> {
        let header = |what: String| DecodeFailure::new("delimited-header", what);
        if fields.last().is_some_and(|name| name.trim().is_empty()) {
            fields.pop();
        }
        let names: Vec<String> = fields.iter().map(|name| name.trim().to_owned()).collect();
        if let Some(at) = names.iter().position(String::is_empty) {
            return Err(header(format!("column {} of the header has no name", at + 1)));
        }
        let mut seen = HashSet::new();
        if let Some(at) = names.iter().position(|name| !seen.insert(name.as_str())) {
            return Err(header(format!("column {} of the header has the name of another", at + 1)));
        }
        match self.columns.iter().find(|name| !seen.contains(name.as_str())) {
            Some(missing) => Err(header(format!("the header has no column {missing:?}"))),
            None => Ok(names),
        }
    }

    fn values(
        &self,
        lines: &Lines<'_>,
        at: Range<usize>,
        mut fields: Vec<String>,
        names: &[Arc<str>],
    ) -> Result<Map, Unreadable> {
        let line = at.start + 1;
        let unreadable = |code, what: String| Unreadable {
            failure: DecodeFailure::new(code, format!("line {line}: {what}")),
            readable: Map::new(),
        };
        if !self.is_sound(lines.text_of(at.clone())) {
            return Err(unreadable("delimited-quote", "the quotes don't match".to_owned()));
        }
        // Some programs write a delimiter after the last field as well.
        if fields.len() == names.len() + 1 && fields.last().is_some_and(String::is_empty) {
            fields.pop();
        }
        let short = fields.len() < names.len() && self.short_rows == ShortRows::Hold;
        if short || fields.len() > names.len() {
            let what = format!("{} fields where {} columns are named", fields.len(), names.len());
            return Err(unreadable("delimited-columns", what));
        }
        let bad = lines.bad_within(at);
        let mut fields = fields.into_iter();
        let map: Map = names
            .iter()
            .map(|name| {
                let value = match fields.next() {
                    Some(text) if bad.is_some() && text.contains(lines::UNDEFINED) => Value::Null,
                    Some(text) => Value::Text(text),
                    None => Value::Null,
                };
                (name.clone(), value)
            })
            .collect();
        match bad {
            None => Ok(map),
            Some(offset) => {
                let what = format!("byte {offset} of the file does not begin a {} character", lines.charset().name());
                Err(Unreadable { readable: map, ..unreadable("delimited-charset", what) })
            }
        }
    }

    fn is_sound(&self, text: &str) -> bool {
        quotes::are_sound(text, self.quoting, char::from(self.delimiter))
    }
}

#[cfg(test)]
mod tests;
