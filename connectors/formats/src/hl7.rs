//! HL7 version 2 in its delimited ("ER7") form.
//!
//! The order of work is: find the character set, decode the whole message strictly, cut it into
//! segments, then into fields, repetitions, components and subcomponents, and only then resolve
//! escape sequences. Cutting before decoding would be wrong: the second byte of a GBK character
//! may equal `|`, `\`, `^` or `~`.
//!
//! # The document
//!
//! For a result message (`ORU`, or event `R01` with an `OBR`) the root is
//! ```text
//! type     "ORU^R01"
//! MSH, PID, PV1, …   the first segment of each name before the first ORC or OBR
//! results  [ { ORC, OBR, NTE: […], observations: [ { OBX, NTE: […] } ], segments: […] } ]
//! segments […]       what has no other place, in order; absent when empty
//! ```
//! An `ORC`, or an `OBR` that follows no `ORC`, begins a group. `NTE` belongs to what it follows.
//! A group's own `segments` holds its other segments (`SPM`, `TQ1`, `Z…`).
//!
//! For a master file message (`MFN`) it is
//! ```text
//! type     "MFN^M08"
//! MSH, MFI, …        the first segment of each name before the first MFE
//! entries  [ { MFE, OM1, …: the first of each name after it, segments: […] } ]
//! segments […]       what has no other place, in order; absent when empty
//! ```
//! For other messages the root is `type`, `MSH` and `segments` with all of them, `MSH` included.
//!
//! A segment is a list indexed by field number: 0 is its name, and `MSH` counts as HL7 does, with
//! the separator as field 1. A field is null when empty, text when it is one plain value, else a
//! list of repetitions; a repetition is null, text, or a list of components; a component is null,
//! text, or a list of subcomponents. HL7's explicit null stays the text `""`.
//!
//! An embedded document (`OBX-2` is `ED`) has bytes in the place of its last component, decoded
//! as its encoding component says. What says no encoding stays text.
//!
//! A message for several patients is refused: in this shape the results of one would be read as
//! those of another.

mod batch;
mod embedded;
mod header;
mod message;
mod syntax;
mod transmission;

use std::borrow::Cow;

use bytes::Bytes;
use connector_api::{DecodeFailure, Decoder, Document, Raw};

use crate::charset::{Charset, CharsetError, looks_like_utf8, may_be_misread_gbk};
use crate::text::{Prefer, TextPolicy};

pub use batch::{Envelope, Interchange};
pub use header::{Delimiters, Header};
pub use transmission::{Leftover, Message, Transmission};

/// The format name of a [`Raw`] body that holds one HL7 v2 message.
pub const FORMAT: &str = "application/hl7-v2";

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";

/// The character set of a message whose MSH-18 is `declared` (empty where it says nothing).
///
/// A UTF-8 byte order mark settles it. `UNICODE`, which does not say how the characters are
/// written as bytes, means UTF-8 where the bytes are UTF-8 and is an error otherwise.
fn choose_charset(policy: &TextPolicy, declared: &str, body: &[u8]) -> Result<Charset, DecodeFailure> {
    if body.starts_with(UTF8_MARK) {
        return Ok(Charset::Utf8);
    }
    if declared.trim().is_empty() || policy.prefer == Prefer::Configured {
        let text = std::str::from_utf8(body).unwrap_or_default();
        if policy.default == Charset::Utf8 && may_be_misread_gbk(text) {
            return Err(DecodeFailure::new(
                "hl7-charset-doubtful",
                "nothing but the configuration says that the bytes are utf-8, and they look like gb18030",
            ));
        }
        return Ok(policy.default);
    }
    match declared_charset(declared) {
        Some(Declared::Charset(charset)) => Ok(charset),
        Some(Declared::Unicode) => match Charset::Utf8.decode(body) {
            Ok(_) => Ok(Charset::Utf8),
            Err(error) => Err(DecodeFailure::new(
                "hl7-charset",
                format!("MSH-18 says UNICODE, but the bytes are not UTF-8: {error}"),
            )),
        },
        None => Err(DecodeFailure::new("hl7-charset-unknown", "MSH-18 names a character set that is not known")),
    }
}

enum Declared {
    Charset(Charset),
    Unicode,
}

/// Reads a value of HL7 table 0211, or a word that senders write in its place.
fn declared_charset(declared: &str) -> Option<Declared> {
    let word: String = declared.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_uppercase()).collect();
    let charset = match word.as_str() {
        "UNICODEUTF8" | "UTF8" => Charset::Utf8,
        "UNICODE" | "ISO10646" | "ISO106461" => return Some(Declared::Unicode),
        "GB180302000" | "GB180302005" | "GB180302022" | "GB18030" => Charset::Gb18030,
        "GBK" | "GB2312" | "GB23121980" | "CP936" | "EUCCN" => Charset::Gbk,
        "BIG5" | "CNS116431992" => Charset::Big5,
        "ASCII" | "USASCII" | "ISOIR6" => Charset::UsAscii,
        "88591" | "ISO88591" | "ISOIR100" => Charset::Iso88591,
        "WINDOWS1252" | "CP1252" => Charset::Windows1252,
        _ => return None,
    };
    Some(Declared::Charset(charset))
}

/// Decodes HL7 v2 messages, at receipt and again from the archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hl7Decoder {
    policy: TextPolicy,
}

impl Hl7Decoder {
    /// A decoder for one source.
    pub fn new(policy: TextPolicy) -> Hl7Decoder {
        Hl7Decoder { policy }
    }

    /// The character set of messages that declare none.
    pub fn default_charset(&self) -> Charset {
        self.policy.default
    }

    /// Decodes a message as it was received and says how to archive it.
    ///
    /// The chosen character set is recorded only where the bytes decode under it. A message that
    /// does not is decided anew when it is retried, under the policy in force then.
    pub fn receive(&self, body: Bytes) -> (Raw, Result<Document, DecodeFailure>) {
        let decoded = self.choose(&body).and_then(|charset| Ok((charset, decode_text(charset, &body)?)));
        let (charset, document) = match decoded {
            Ok((charset, text)) => (Some(charset.name().to_owned()), message::parse(&text, charset)),
            Err(failure) => (None, Err(failure)),
        };
        (Raw { format: FORMAT.to_owned(), charset, body }, document)
    }

    fn choose(&self, body: &[u8]) -> Result<Charset, DecodeFailure> {
        if !self.policy.default.extends_ascii() {
            return Ok(self.policy.default);
        }
        choose_charset(&self.policy, Header::read(body, self.policy.default)?.charset_name(), body)
    }
}

impl Decoder for Hl7Decoder {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format != FORMAT {
            return Err(DecodeFailure::new("format", format!("a {} body is not an HL7 v2 message", raw.format)));
        }
        let charset = match &raw.charset {
            None => self.choose(&raw.body)?,
            Some(name) => Charset::from_name(name)
                .ok_or_else(|| DecodeFailure::new("hl7-charset-unknown", "the archived character set is not known"))?,
        };
        message::parse(&decode_text(charset, &raw.body)?, charset)
    }
}

fn decode_text(charset: Charset, body: &[u8]) -> Result<Cow<'_, str>, DecodeFailure> {
    if charset != Charset::Utf8 && looks_like_utf8(body) {
        return Err(DecodeFailure::new(
            "hl7-charset-doubtful",
            format!("the bytes look like utf-8, and would be misread as {}", charset.name()),
        ));
    }
    charset.decode(body).map_err(|error: CharsetError| DecodeFailure::new("hl7-charset", error.to_string()))
}

#[cfg(test)]
mod tests;
