//! The rows of a table as records: each by itself, or those that agree in some columns together.

use std::collections::HashMap;

use bytes::Bytes;
use connector_api::{DecodeFailure, Document, Map, Raw, Value};
use connector_formats::charset::Charset;
use connector_formats::delimited::Row;
use connector_formats::{rows, text};

use super::{BYTES, Piece};
use crate::settings::{StrayRows, Unit};

/// What rows are cut out of.
pub(super) struct Cut<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) head: Vec<u8>,
    pub(super) charset: Charset,
    pub(super) format: &'static str,
}

impl Cut<'_> {
    /// The records of the rows, in the order of their first rows.
    pub(super) fn pieces(&self, rows: Vec<Row>, unit: Option<&Unit>) -> Result<Vec<Piece>, DecodeFailure> {
        match unit {
            None => Ok(rows.into_iter().map(|row| self.row(row)).collect()),
            Some(unit) => units(self, rows, unit),
        }
    }

    /// What the places of a table are called: a text file has lines.
    fn place(&self, number: usize) -> String {
        if self.format == rows::FORMAT { format!("row {number}") } else { format!("line {number}") }
    }

    fn raw(&self, rows: &[Row]) -> Raw {
        let mut body = self.head.clone();
        rows.iter().for_each(|row| body.extend_from_slice(&self.bytes[row.bytes.clone()]));
        // A row that does not decode is decided anew when a person retries it.
        let decodes = self.charset.decode(text::without_mark(self.charset, &body)).is_ok();
        let charset = decodes.then(|| self.charset.name().to_owned());
        Raw { format: self.format.to_owned(), charset, body: body.into() }
    }

    fn row(&self, row: Row) -> Piece {
        let rows = [row];
        let raw = self.raw(&rows);
        let [row] = rows;
        let document = row.values.map(Document::new).map_err(|unreadable| unreadable.failure);
        Piece { place: self.place(row.line), raw, document }
    }
}

/// Rows that agree in the key's columns, as one record each, in the order of their first rows.
fn units(cut: &Cut<'_>, rows: Vec<Row>, unit: &Unit) -> Result<Vec<Piece>, DecodeFailure> {
    let mut places: HashMap<Vec<String>, usize> = HashMap::new();
    let mut groups: Vec<Vec<Row>> = Vec::new();
    let mut strays = Vec::new();
    for row in rows {
        let (Ok(known) | Err(known)) = row.values.as_ref().map_err(|unreadable| &unreadable.readable);
        if let (Ok(map), Some(missing)) = (&row.values, unit.key.iter().find(|name| known.get(name).is_none())) {
            let what = format!("there is no column {missing:?} among {}", map.len());
            return Err(DecodeFailure::new("file-unit", what));
        }
        let text = |name: &String| known.get(name).and_then(Value::as_text).filter(|text| !text.trim().is_empty());
        let key: Option<Vec<String>> = unit.key.iter().map(|name| text(name).map(str::to_owned)).collect();
        match key {
            Some(key) => {
                let at = *places.entry(key).or_insert(groups.len());
                if at == groups.len() {
                    groups.push(Vec::new());
                }
                groups[at].push(row);
            }
            None if unit.stray_rows == StrayRows::Hold => strays.push(row),
            None => {
                let why = row.values.err().map_or("the key is empty".to_owned(), |bad| bad.failure.to_string());
                let what = format!("{} may belong to any unit of the file: {why}", cut.place(row.line));
                return Err(DecodeFailure::new("file-unit", what));
            }
        }
    }
    let pieces = groups.into_iter().map(|rows| {
        let place = cut.place(rows.first().map_or(0, |row| row.line));
        let raw = cut.raw(&rows);
        let maps: Result<Vec<Map>, _> = rows.into_iter().map(|row| row.values).collect();
        let document = maps.map(|maps| unit_document(unit, maps)).map_err(|unreadable| unreadable.failure);
        Piece { place, raw, document }
    });
    let strays = strays.into_iter().map(|row| {
        let line = row.line;
        let mut piece = cut.row(row);
        let stray = || DecodeFailure::new("file-unit", format!("{} belongs to no unit", cut.place(line)));
        piece.document = piece.document.and_then(|_| Err(stray()));
        // Nothing that a retry could do would give it a unit.
        piece.raw.format = BYTES.to_owned();
        piece
    });
    Ok(pieces.chain(strays).collect())
}

/// The one record that archived rows are.
pub(super) fn document(unit: Option<&Unit>, mut rows: Vec<Map>) -> Result<Document, DecodeFailure> {
    match (unit, rows.len()) {
        (Some(unit), 1..) => Ok(unit_document(unit, rows)),
        (None, 1) => Ok(Document::new(rows.swap_remove(0))),
        (_, count) => Err(DecodeFailure::new("file-rows", format!("{count} rows are not one record"))),
    }
}

fn unit_document(unit: &Unit, rows: Vec<Map>) -> Document {
    let mut root = Map::with_capacity(unit.key.len() + 1);
    if let Some(first) = rows.first() {
        for (name, value) in first.iter().filter(|(name, _)| unit.key.iter().any(|key| **key == ***name)) {
            root.push(name.clone(), value.clone());
        }
    }
    root.push("rows", rows.into_iter().map(Value::Map).collect::<Vec<Value>>());
    Document::new(root)
}
