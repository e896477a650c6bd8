//! A file's bytes as records, and a record's archived bytes as a document again.
//!
//! A record of a table is archived as a small file of its own: the header row, where there is
//! one, with the record's rows, byte for byte. A record that was cut out of a JSON or XML file is
//! archived as its own text in UTF-8; a file that is one record, as it is.

use std::collections::HashMap;

use bytes::Bytes;
use connector_api::{DecodeFailure, Decoder, Document, Map, Raw, Value};
use connector_formats::charset::Charset;
use connector_formats::delimited::{Layout, Row};
use connector_formats::hl7::{self, CharsetPolicy, Hl7Decoder, Interchange};
use connector_formats::text::{self, TextPolicy};
use connector_formats::xml::XmlRules;
use connector_formats::{inner, json, xml};

use crate::settings::{StrayRows, StreamRules, Unit};

/// The format name of bytes that are no record, or only a part of a file.
pub(crate) const BYTES: &str = "application/octet-stream";

/// What stands between a format's name and the stream whose settings decode it.
const STREAM: &str = "; stream=";

/// How the files of one stream are read.
#[derive(Clone)]
pub(crate) struct FileFormat {
    pub(crate) shape: Shape,
    pub(crate) charset: TextPolicy,
}

/// What a file holds.
#[derive(Clone)]
pub(crate) enum Shape {
    Table { layout: Layout, unit: Option<Unit> },
    Json { records: String },
    JsonLines,
    Xml { records: String, rules: XmlRules, inner: Option<String> },
    Hl7(CharsetPolicy),
}

/// One record of a file.
pub(crate) struct Piece {
    /// `line 7`, `record 3`: unique in the file, free of content.
    pub(crate) place: String,
    /// Its format is the plain one, without a stream.
    pub(crate) raw: Raw,
    pub(crate) document: Result<Document, DecodeFailure>,
}

impl FileFormat {
    fn name(&self) -> &'static str {
        match &self.shape {
            Shape::Table { layout: Layout::Fixed(_), .. } => "text/vnd.hisync.fixed-width",
            Shape::Table { layout: Layout::Delimited(_), .. } => "text/csv",
            Shape::Json { .. } | Shape::JsonLines => json::FORMAT,
            Shape::Xml { .. } => xml::FORMAT,
            Shape::Hl7(_) => hl7::FORMAT,
        }
    }

    /// The records of a file, in its order. An error concerns the file as a whole.
    pub(crate) fn read(&self, bytes: &Bytes) -> Result<Vec<Piece>, DecodeFailure> {
        match &self.shape {
            _ if bytes.is_empty() => Err(DecodeFailure::new("file-empty", "the file has no bytes")),
            Shape::Table { layout, unit } => {
                let table = layout.read(&self.charset, bytes)?;
                let cut = Cut { bytes, head: table.head, charset: table.charset, format: self.name() };
                match unit {
                    None => Ok(table.rows.into_iter().map(|row| cut.row(row)).collect()),
                    Some(unit) => units(&cut, table.rows, unit),
                }
            }
            Shape::Json { records } => {
                let charset = self.charset.choose(None, bytes)?;
                let text = text::decode(charset, bytes)?;
                let found = json::records(&text, records)?;
                if records.is_empty() && found.first().is_some_and(|one| one.len() == text.trim().len()) {
                    return Ok(vec![self.piece(1, charset, bytes.clone())]);
                }
                Ok(self.elements(&found))
            }
            Shape::JsonLines => self.json_lines(bytes),
            Shape::Xml { records, rules, .. } => {
                let charset = xml::choose(&self.charset, None, bytes)?;
                let text = text::decode(charset, bytes)?;
                let found = xml::records(&text, records, rules)?;
                if records.is_empty() {
                    return Ok(vec![self.piece(1, charset, bytes.clone())]);
                }
                Ok(self.elements(&found))
            }
            Shape::Hl7(policy) => messages(*policy, bytes),
        }
    }

    fn elements(&self, found: &[&str]) -> Vec<Piece> {
        let piece =
            |(at, text): (usize, &&str)| self.piece(at + 1, Charset::Utf8, Bytes::copy_from_slice(text.as_bytes()));
        found.iter().enumerate().map(piece).collect()
    }

    fn piece(&self, number: usize, charset: Charset, body: Bytes) -> Piece {
        let raw = Raw { format: self.name().to_owned(), charset: Some(charset.name().to_owned()), body };
        Piece { place: format!("record {number}"), document: self.decode(&raw), raw }
    }

    /// Each line by itself, so that one that does not decode keeps no other out.
    fn json_lines(&self, bytes: &Bytes) -> Result<Vec<Piece>, DecodeFailure> {
        let charset = self.charset.choose(None, bytes)?;
        let marked = text::without_mark(charset, bytes);
        let whole = if charset.extends_ascii() {
            bytes.slice_ref(marked)
        } else {
            Bytes::from(text::decode(charset, bytes)?.into_owned())
        };
        let charset = if charset.extends_ascii() { charset } else { Charset::Utf8 };
        let mut pieces = Vec::new();
        let (mut good, mut bad) = (0, 0);
        for (at, line) in whole.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let mut raw = Raw { format: self.name().to_owned(), charset: None, body: whole.slice_ref(line) };
            let document = match text::decode(charset, line) {
                Ok(text) => {
                    good += usize::from(!text.is_ascii());
                    raw.charset = Some(charset.name().to_owned());
                    json::document(&text)
                }
                Err(failure) => {
                    bad += 1;
                    Err(failure)
                }
            };
            pieces.push(Piece { place: format!("line {}", at + 1), raw, document });
        }
        if bad > good + 1 {
            let what = format!("{bad} lines are not {}", charset.name());
            return Err(DecodeFailure::new("text-charset", what));
        }
        Ok(pieces)
    }

    /// Decodes one record's archived bytes.
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        match &self.shape {
            Shape::Table { layout, unit } => {
                let mut rows = layout.reread(&self.charset, raw)?;
                match (unit, rows.len()) {
                    (Some(unit), 1..) => Ok(unit_document(unit, rows)),
                    (None, 1) => Ok(Document::new(rows.swap_remove(0))),
                    (_, count) => Err(DecodeFailure::new("file-rows", format!("{count} rows are not one record"))),
                }
            }
            Shape::Json { .. } | Shape::JsonLines => {
                let charset = self.charset.archived(raw, None)?;
                json::document(&text::decode(charset, &raw.body)?)
            }
            Shape::Xml { rules, inner, .. } => {
                let charset = match &raw.charset {
                    Some(_) => self.charset.archived(raw, None)?,
                    None => xml::choose(&self.charset, None, &raw.body)?,
                };
                let document = xml::parse(&text::decode(charset, &raw.body)?, rules)?;
                match inner {
                    Some(path) => inner::unwrap_at(document, path, rules),
                    None => Ok(document),
                }
            }
            Shape::Hl7(policy) => Hl7Decoder::new(*policy).decode(raw),
        }
    }
}

/// What rows are cut out of.
struct Cut<'a> {
    bytes: &'a Bytes,
    head: Vec<u8>,
    charset: Charset,
    format: &'static str,
}

impl Cut<'_> {
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
        Piece { place: format!("line {}", row.line), raw, document }
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
                let what = format!("line {} may belong to any unit of the file: {why}", row.line);
                return Err(DecodeFailure::new("file-unit", what));
            }
        }
    }
    let pieces = groups.into_iter().map(|rows| {
        let place = format!("line {}", rows.first().map_or(0, |row| row.line));
        let raw = cut.raw(&rows);
        let maps: Result<Vec<Map>, _> = rows.into_iter().map(|row| row.values).collect();
        let document = maps.map(|maps| unit_document(unit, maps)).map_err(|unreadable| unreadable.failure);
        Piece { place, raw, document }
    });
    let strays = strays.into_iter().map(|row| {
        let line = row.line;
        let mut piece = cut.row(row);
        let stray = || DecodeFailure::new("file-unit", format!("line {line} belongs to no unit"));
        piece.document = piece.document.and_then(|_| Err(stray()));
        // Nothing that a retry could do would give it a unit.
        piece.raw.format = BYTES.to_owned();
        piece
    });
    Ok(pieces.chain(strays).collect())
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

/// The messages of a file, and what of it belongs to none.
fn messages(policy: CharsetPolicy, bytes: &Bytes) -> Result<Vec<Piece>, DecodeFailure> {
    let decoder = Hl7Decoder::new(policy);
    let Interchange { messages, envelope, stray } = Interchange::split(bytes);
    if messages.is_empty() && envelope.is_none() {
        return Err(DecodeFailure::new("hl7-no-header", "the file holds no message"));
    }
    let mut pieces = Vec::with_capacity(messages.len());
    for (at, message) in messages.into_iter().enumerate() {
        let (raw, document) = decoder.receive(message);
        pieces.push(Piece { place: format!("message {}", at + 1), raw, document });
    }
    let mut hold = |place: String, body: Bytes, code, detail| {
        let raw = Raw { format: BYTES.to_owned(), charset: None, body };
        pieces.push(Piece { place, raw, document: Err(DecodeFailure::new(code, detail)) });
    };
    for (at, lines) in stray.into_iter().enumerate() {
        let detail = format!("{} bytes that belong to no message", lines.len());
        hold(format!("stray {}", at + 1), lines, "hl7-stray", detail);
    }
    if let Some(envelope) = envelope.filter(|envelope| !envelope.discrepancies.is_empty()) {
        hold("batch".to_owned(), envelope.segments, "hl7-batch-count", envelope.discrepancies.join("; "));
    }
    Ok(pieces)
}

/// Decodes the archived records of a source, each by the settings of its stream.
pub(crate) struct FilesDecoder {
    streams: Vec<(String, FileFormat)>,
}

impl FilesDecoder {
    pub(crate) fn new(streams: &[StreamRules]) -> FilesDecoder {
        let entry = |stream: &StreamRules| (stream.id.as_str().to_owned(), stream.format.clone());
        FilesDecoder { streams: streams.iter().map(entry).collect() }
    }

    /// The format by which a record is archived.
    pub(crate) fn archived_format(stream: &StreamRules, plain: &str) -> String {
        if plain == BYTES { plain.to_owned() } else { format!("{plain}{STREAM}{}", stream.id) }
    }
}

impl Decoder for FilesDecoder {
    /// The streams' format where they have one in common.
    fn format(&self) -> &'static str {
        let mut names = self.streams.iter().map(|(_, format)| format.name());
        let first = names.next().unwrap_or(BYTES);
        if names.all(|name| name == first) { first } else { BYTES }
    }

    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format == BYTES {
            let what = "a whole file, or a piece of one, that could not be read; correct the settings and move the \
                        file back into the folder";
            return Err(DecodeFailure::new("file-whole", what));
        }
        let (plain, stream) = match raw.format.split_once(STREAM) {
            Some((plain, stream)) => (plain, Some(stream)),
            None => (raw.format.as_str(), None),
        };
        let mut fitting = self
            .streams
            .iter()
            .filter(|(id, format)| format.name() == plain && stream.is_none_or(|stream| stream == id));
        match (fitting.next(), fitting.next()) {
            (Some((_, format)), None) => {
                format.decode(&Raw { format: plain.to_owned(), charset: raw.charset.clone(), body: raw.body.clone() })
            }
            (Some(_), Some(_)) => Err(DecodeFailure::new("format", format!("several streams read {plain}"))),
            (None, _) => Err(DecodeFailure::new("format", format!("no stream reads {}", raw.format))),
        }
    }
}

#[cfg(test)]
mod tests;
