//! What one transmission holds, decoded: a frame, a request's body, a file.

use bytes::Bytes;
use connector_api::{DecodeFailure, Document, Raw};

use super::{Envelope, FORMAT, Header, Hl7Decoder, Interchange};

/// The messages of a transmission, and what a person has to look at beside them.
#[derive(Debug, Default)]
pub struct Transmission {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// What belongs to no message, and batch segments whose counts are wrong, in this order.
    pub leftovers: Vec<Leftover>,
    /// The header of the batch, where there is one that can be read.
    pub batch: Option<Header>,
    /// True where there is neither a message nor a batch segment.
    pub is_foreign: bool,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Its `MSH` segment; `None` where that can't be read.
    pub header: Option<Header>,
    /// How it is archived.
    pub raw: Raw,
    /// What it says, or why that can't be read.
    pub document: Result<Document, DecodeFailure>,
}

/// Bytes that are no message.
#[derive(Debug)]
pub struct Leftover {
    /// The bytes.
    pub body: Bytes,
    /// Why a person has to look at them: `hl7-no-header`, `hl7-stray` or `hl7-batch-count`.
    pub failure: DecodeFailure,
}

impl Leftover {
    /// The body as it is archived by connectors whose records are all messages.
    pub fn raw(&self) -> Raw {
        Raw { format: FORMAT.to_owned(), charset: None, body: self.body.clone() }
    }
}

impl Hl7Decoder {
    /// Cuts a transmission and decodes its messages. Blank bytes give nothing.
    pub fn take_apart(&self, body: &Bytes) -> Transmission {
        let Interchange { messages, envelope, stray } = Interchange::split(body);
        let is_foreign = messages.is_empty() && envelope.is_none();
        let message = |body: Bytes| {
            let header = Header::read(&body, self.default_charset()).ok();
            let (raw, document) = self.receive(body);
            Message { header, raw, document }
        };
        let leftover = |body: Bytes| {
            let code = if is_foreign { "hl7-no-header" } else { "hl7-stray" };
            let failure = DecodeFailure::new(code, format!("{} bytes that belong to no message", body.len()));
            Leftover { body, failure }
        };
        let messages = messages.into_iter().map(message).collect();
        let mut leftovers: Vec<Leftover> = stray.into_iter().map(leftover).collect();
        let mut batch = None;
        if let Some(Envelope { header, segments, discrepancies }) = envelope {
            batch = Header::read_line(&header, self.default_charset()).ok();
            if !discrepancies.is_empty() {
                let failure = DecodeFailure::new("hl7-batch-count", discrepancies.join("; "));
                leftovers.push(Leftover { body: segments, failure });
            }
        }
        Transmission { messages, leftovers, batch, is_foreign }
    }
}
