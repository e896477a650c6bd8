//! From the text of a record to its document, at receipt and again from the archive.

use std::sync::Arc;

use connector_api::{DOCUMENT_FORMAT, DecodeFailure, Decoder, Document, DocumentDecoder, Map, Raw, Record, Value};
use connector_formats::charset::Charset;
use connector_formats::inner::unwrap_at;
use connector_formats::xml::{self, XmlRules};
use connector_formats::{json, text};

use crate::answer::{Cut, Kind};

/// Stands in the format name of a record with fields that hold documents, before their paths.
const OPEN: &str = "; open=";

/// The entry of an archived unit in which it says why it was held. Without it, a replay would take a
/// unit for sound that was archived because it is not.
const HELD: &str = "hisync.held";

/// What a unit of several calls can be held for.
const CODES: [&str; 12] = [
    "text-charset",
    "null-key",
    "download-missing",
    "json-syntax",
    "json-depth",
    "json-record",
    "xml-syntax",
    "xml-doctype",
    "xml-entity",
    "xml-depth",
    "xml-control",
    OTHER,
];
const OTHER: &str = "detail";

/// Decodes the records of one source.
#[derive(Clone, Debug)]
pub struct WebDecoder {
    charset: Option<Charset>,
    rules: XmlRules,
    usual: &'static str,
}

impl WebDecoder {
    /// A decoder. `usual` is the format of the files that a person shows it.
    pub fn shared(charset: Option<Charset>, rules: XmlRules, usual: &'static str) -> Arc<dyn Decoder> {
        Arc::new(WebDecoder { charset, rules, usual })
    }
}

impl Decoder for WebDecoder {
    fn format(&self) -> &'static str {
        self.usual
    }

    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format == DOCUMENT_FORMAT {
            let document = DocumentDecoder.decode(raw)?;
            let Some(Value::Map(held)) = document.root.get(HELD) else { return Ok(document) };
            let said = |name: &str| held.get(name).and_then(Value::as_text).unwrap_or_default();
            let code = CODES.into_iter().find(|code| *code == said("code")).unwrap_or(OTHER);
            return Err(DecodeFailure::new(code, said("detail")));
        }
        let (format, open) = match raw.format.split_once(OPEN) {
            Some((format, paths)) => (format, paths.split(',').map(str::to_owned).collect()),
            None => (raw.format.as_str(), Vec::new()),
        };
        let kind = match format {
            json::FORMAT => Kind::Json,
            xml::FORMAT => Kind::Xml,
            _ => return Err(DecodeFailure::new("format", format!("a {format} body is no record of such a source"))),
        };
        let named = match &raw.charset {
            Some(name) => Charset::from_name(name),
            None => self.charset.or_else(|| xml::declared(&raw.body).and_then(text::from_label)),
        };
        let text = text::decode(named.unwrap_or(Charset::Utf8), &raw.body)
            .map_err(|failure| if raw.charset.is_none() { damaged() } else { failure })?;
        document(kind, &text, &open, &self.rules)
    }
}

/// Why a record is held whose bytes were damaged when it came. Archived without a character set, so
/// that it may be read once the right one is configured.
fn damaged() -> DecodeFailure {
    DecodeFailure::new("text-charset", "bytes that are no characters of the answer's character set")
}

/// Reads one record's text.
pub(crate) fn document(kind: Kind, text: &str, open: &[String], rules: &XmlRules) -> Result<Document, DecodeFailure> {
    let document = match kind {
        Kind::Xml => xml::parse(text, rules)?,
        Kind::Json | Kind::Text => json::document(text)?,
    };
    open.iter().try_fold(document, |document, path| unwrap_at(document, path, rules))
}

/// A record of its own bytes.
pub(crate) fn record(cut: &Cut, open: &[String], rules: &XmlRules, source_ref: &str) -> Record {
    let document = if cut.is_damaged() { Err(damaged()) } else { document(cut.kind, &cut.text, open, rules) };
    let media = if cut.kind == Kind::Xml { xml::FORMAT } else { json::FORMAT };
    let format = if open.is_empty() { media.to_owned() } else { format!("{media}{OPEN}{}", open.join(",")) };
    let (charset, body) = cut.bytes();
    let charset = charset.map(|charset| charset.name().to_owned());
    Record { raw: Raw { format, charset, body }, document, source_ref: source_ref.to_owned(), resend_key: None }
}

/// A record of several answers: what is archived is the document, with the reason why it is held.
pub(crate) fn unit(mut root: Map, failure: Option<DecodeFailure>, source_ref: &str) -> Record {
    if let Some(failure) = &failure {
        root.push(HELD, Map::from_iter([("code", failure.code), ("detail", failure.detail.as_str())]));
    }
    let mut record = Record::from_document(Document::new(root), source_ref);
    if let Some(failure) = failure {
        let code = CODES.into_iter().find(|code| *code == failure.code).unwrap_or(OTHER);
        record.document = Err(DecodeFailure { code, ..failure });
    }
    record
}

/// The value of a field, by a path of names.
pub(crate) fn at<'a>(root: &'a Map, path: &str) -> Option<&'a Value> {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let value = root.get(name)?;
    match (below, value) {
        (None, Value::Map(map)) => Some(map.get("#text").unwrap_or(value)),
        (None, value) => Some(value),
        (Some(below), Value::Map(map)) => at(map, below),
        (Some(_), _) => None,
    }
}
