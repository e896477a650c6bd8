//! What passes from a connector to the agent: records, and the advance that they justify.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Document, Value};

/// A source's id, chosen by the operator; unique in one hospital's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceId(Arc<str>);

impl SourceId {
    /// Wraps an id that the configuration has already checked.
    pub fn new(id: impl Into<Arc<str>>) -> SourceId {
        SourceId(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stream's full id, `source/stream`. Watermarks and ledger rows belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// Joins the ids of a source and of one of its streams.
    pub fn new(source: &SourceId, stream: &str) -> StreamId {
        StreamId(format!("{source}/{stream}").into())
    }

    /// Reads `source/stream`; `None` where the slash or a half is missing.
    pub fn parse(text: &str) -> Option<StreamId> {
        let (source, stream) = text.split_once('/')?;
        (!source.is_empty() && !stream.is_empty()).then(|| StreamId(text.into()))
    }

    /// The full id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The source's half.
    pub fn source(&self) -> SourceId {
        SourceId::new(self.0.split_once('/').map_or(&*self.0, |(source, _)| source))
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What was received, byte for byte, with what is needed to decode it again years later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The format's media type, e.g. `application/hl7-v2` or [`crate::DOCUMENT_FORMAT`].
    pub format: String,
    /// The character set that was used to decode the body, where that was a choice.
    pub charset: Option<String>,
    /// The bytes.
    pub body: Bytes,
}

impl Raw {
    /// SHA-256 of the body.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.body).into()
    }
}

/// Why received bytes could not become a [`Document`]. The bytes are kept all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct DecodeFailure {
    /// A short stable word, e.g. `hl7-charset`.
    pub code: &'static str,
    /// What is wrong and where (byte offsets, segment numbers), without any personal data.
    pub detail: String,
}

impl DecodeFailure {
    /// A failure with a stable code and a detail free of personal data.
    pub fn new(code: &'static str, detail: impl Into<String>) -> DecodeFailure {
        DecodeFailure { code, detail: detail.into() }
    }
}

/// Turns archived bytes into a document again: the same function that decoded them first.
pub trait Decoder: Send + Sync {
    /// Decodes one archived body.
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure>;

    /// The format of a whole record as its source sends it: what a file with one such record holds.
    fn format(&self) -> &'static str {
        crate::DOCUMENT_FORMAT
    }
}

/// One item as received.
#[derive(Clone, Debug)]
pub struct Record {
    /// What was received.
    pub raw: Raw,
    /// What it says, or why that can't be read. A record that can't be decoded is held, not lost.
    pub document: Result<Document, DecodeFailure>,
    /// Where it came from inside the source: a view's name, a file's name, an HL7 message type.
    /// Free of personal data.
    pub source_ref: String,
    /// What tells a re-sent record from a new one with the same content, where the protocol has
    /// such a thing (HL7: sender and message control id). Scoped to the source.
    pub resend_key: Option<String>,
}

impl Record {
    /// A record of a source without bytes of its own: its document is what is archived.
    pub fn from_document(document: Document, source_ref: impl Into<String>) -> Record {
        let body = Bytes::from(document.to_bytes());
        Record {
            raw: Raw { format: crate::DOCUMENT_FORMAT.to_owned(), charset: None, body },
            document: Ok(document),
            source_ref: source_ref.into(),
            resend_key: None,
        }
    }
}

/// A durable position in an incremental stream: one value for each watermark column, ties broken
/// by the key's columns. Empty means "from the beginning".
///
/// The agent stores and compares it; only the connector that made it knows what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark(Vec<Value>);

impl Watermark {
    /// The position before the first record.
    pub fn start() -> Watermark {
        Watermark::default()
    }

    /// A position at these column values.
    pub fn at(columns: Vec<Value>) -> Watermark {
        Watermark(columns)
    }

    /// The column values; empty at the start.
    pub fn columns(&self) -> &[Value] {
        &self.0
    }

    /// True before the first record.
    pub fn is_start(&self) -> bool {
        self.0.is_empty()
    }

    /// The stored form.
    pub fn to_text(&self) -> String {
        let columns = Document::new(crate::Map::from_iter([("at", Value::List(self.0.clone()))]));
        String::from_utf8_lossy(&columns.to_bytes()).into_owned()
    }

    /// Reads the stored form.
    pub fn from_text(text: &str) -> Result<Watermark, DecodeFailure> {
        let document = Document::from_bytes(text.as_bytes())?;
        match document.root.get("at") {
            Some(Value::List(columns)) => Ok(Watermark(columns.clone())),
            _ => Err(DecodeFailure::new("watermark", "the stored position has no column list")),
        }
    }
}

/// The interval of an incremental stream that a batch covers. The store refuses an advance that
/// does not start where the stored watermark stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advance {
    /// Where the stored watermark must stand.
    pub from: Watermark,
    /// Where it stands after the batch is committed.
    pub to: Watermark,
}
