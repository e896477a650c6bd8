//! A file's bytes as records, and a record's archived bytes as a document again.
//!
//! A record of a table is archived as a small file of its own: the header row, where there is
//! one, with the record's rows, byte for byte; rows of spreadsheets and dBASE tables as text. A
//! record that was cut out of a JSON or XML file is archived as its own text in UTF-8; a file that
//! is one record, as it is. A record that names files beside it is archived together with them.

mod table;

use bytes::Bytes;
use connector_api::{DecodeFailure, Decoder, Document, Raw};
use connector_formats::bundle::{self, Bundle};
use connector_formats::charset::Charset;
use connector_formats::delimited::Layout;
use connector_formats::hl7::{self, Hl7Decoder};
use connector_formats::rows::{self, Written};
use connector_formats::sheet::Sheet;
use connector_formats::text::{self, TextPolicy};
use connector_formats::xml::XmlRules;
use connector_formats::{dbf, inner, json, xml};

use crate::beside::{Attachments, Named};
use crate::settings::{StreamRules, Unit};
use table::Cut;

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
    Sheet { sheet: Sheet, unit: Option<Unit> },
    Dbf { unit: Option<Unit> },
    Json { records: String },
    JsonLines,
    Xml { records: String, rules: XmlRules, inner: Option<String> },
    Hl7,
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
            Shape::Sheet { .. } | Shape::Dbf { .. } => rows::FORMAT,
            Shape::Json { .. } | Shape::JsonLines => json::FORMAT,
            Shape::Xml { .. } => xml::FORMAT,
            Shape::Hl7 => hl7::FORMAT,
        }
    }

    /// The records of a file, in its order. An error concerns the file as a whole.
    ///
    /// `memo` is the content of a dBASE table's memo file.
    pub(crate) fn read(&self, bytes: &Bytes, memo: Option<&[u8]>) -> Result<Vec<Piece>, DecodeFailure> {
        match &self.shape {
            _ if bytes.is_empty() => Err(DecodeFailure::new("file-empty", "the file has no bytes")),
            Shape::Table { layout, unit } => {
                let table = layout.read(&self.charset, bytes)?;
                let cut = Cut { bytes, head: table.head, charset: table.charset, format: self.name() };
                cut.pieces(table.rows, unit.as_ref())
            }
            Shape::Sheet { sheet, unit } => self.written(sheet.read(bytes)?, unit.as_ref()),
            Shape::Dbf { unit } => self.written(dbf::read(&self.charset, bytes, memo)?, unit.as_ref()),
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
            Shape::Hl7 => messages(self.charset, bytes),
        }
    }

    /// The records of a table that is no text.
    fn written(&self, written: Written, unit: Option<&Unit>) -> Result<Vec<Piece>, DecodeFailure> {
        let Written { bytes, rows } = written;
        let cut = Cut { bytes: &bytes, head: Vec::new(), charset: Charset::Utf8, format: self.name() };
        cut.pieces(rows, unit)
    }

    /// Whether a record's fields are always there: a name that is not is a mistake of the settings.
    pub(crate) fn has_columns(&self) -> bool {
        matches!(self.shape, Shape::Table { .. } | Shape::Sheet { .. } | Shape::Dbf { .. })
    }

    /// Whether the records are not whole without another file.
    pub(crate) fn needs_memo(&self, bytes: &[u8]) -> bool {
        matches!(self.shape, Shape::Dbf { .. }) && dbf::has_memo(bytes)
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

    /// Decodes one record's archived bytes, without the files beside it.
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        match &self.shape {
            Shape::Table { layout, unit } => table::document(unit.as_ref(), layout.reread(&self.charset, raw)?),
            Shape::Sheet { unit, .. } | Shape::Dbf { unit } => {
                table::document(unit.as_ref(), rows::reread(&self.charset, &raw.body)?)
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
            Shape::Hl7 => Hl7Decoder::new(self.charset).decode(raw),
        }
    }
}

/// The messages of a file, and what of it belongs to none.
fn messages(policy: TextPolicy, bytes: &Bytes) -> Result<Vec<Piece>, DecodeFailure> {
    let found = Hl7Decoder::new(policy).take_apart(bytes);
    if found.is_foreign {
        return Err(DecodeFailure::new("hl7-no-header", "the file holds no message"));
    }
    let message = |(at, message): (usize, hl7::Message)| Piece {
        place: format!("message {}", at + 1),
        raw: message.raw,
        document: message.document,
    };
    let mut pieces: Vec<Piece> = found.messages.into_iter().enumerate().map(message).collect();
    for (at, hl7::Leftover { body, failure }) in found.leftovers.into_iter().enumerate() {
        let place = if failure.code == "hl7-stray" { format!("stray {}", at + 1) } else { "batch".to_owned() };
        let raw = Raw { format: BYTES.to_owned(), charset: None, body };
        pieces.push(Piece { place, raw, document: Err(failure) });
    }
    Ok(pieces)
}

/// Decodes the archived records of a source, each by the settings of its stream.
pub(crate) struct FilesDecoder {
    streams: Vec<(String, Reading)>,
}

/// How a stream's records are read: their own bytes, and the files beside them.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) format: FileFormat,
    pub(crate) attachments: Option<Attachments>,
}

impl Reading {
    /// The files that a record names.
    pub(crate) fn named(&self, document: &Document) -> Result<Vec<Named>, DecodeFailure> {
        match &self.attachments {
            Some(attachments) => attachments.named(document, self.format.has_columns()),
            None => Ok(Vec::new()),
        }
    }

    /// Decodes an archived record, with the files that lay beside it.
    pub(crate) fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format == bundle::FORMAT {
            let Bundle { main, files } = Bundle::unpack(&raw.body)?;
            return Bundle::complete(files, self.format.decode(&main)?);
        }
        let document = self.format.decode(raw)?;
        if self.named(&document)?.is_empty() {
            return Ok(document);
        }
        // A row that could be read only now: nobody has looked for its files.
        let what = "the record was archived without the files that it names; move its file back into the folder";
        Err(DecodeFailure::new("attachment-missing", what))
    }
}

impl FilesDecoder {
    pub(crate) fn new(streams: &[StreamRules]) -> FilesDecoder {
        let entry = |stream: &StreamRules| (stream.id.as_str().to_owned(), stream.reading.clone());
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
        let mut names = self.streams.iter().map(|(_, reading)| reading.format.name());
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
        let reads = |reading: &Reading| match plain {
            bundle::FORMAT => true,
            plain => reading.format.name() == plain,
        };
        let mut fitting =
            self.streams.iter().filter(|(id, reading)| reads(reading) && stream.is_none_or(|stream| stream == id));
        match (fitting.next(), fitting.next()) {
            (Some((_, reading)), None) => {
                reading.decode(&Raw { format: plain.to_owned(), charset: raw.charset.clone(), body: raw.body.clone() })
            }
            (Some(_), Some(_)) => Err(DecodeFailure::new("format", format!("several streams read {plain}"))),
            (None, _) => Err(DecodeFailure::new("format", format!("no stream reads {}", raw.format))),
        }
    }
}

#[cfg(test)]
mod tests;
