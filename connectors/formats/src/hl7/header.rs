//! The header of a message or batch, read from its bytes before the character set is known.

use std::borrow::Cow;

use connector_api::DecodeFailure;

use crate::charset::Charset;

/// The delimiters that a message declares in its first two header fields. All are ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    /// Between fields, normally `|`.
    pub field: char,
    /// Between components, normally `^`.
    pub component: char,
    /// Between repetitions, normally `~`.
    pub repetition: Option<char>,
    /// Around escape sequences, normally `\`.
    pub escape: Option<char>,
    /// Between subcomponents, normally `&`.
    pub subcomponent: Option<char>,
}

impl Delimiters {
    /// Reads them from a line that begins with a header segment's three-letter name.
    pub fn read(line: &str) -> Result<Delimiters, DecodeFailure> {
        let broken = |detail: &str| DecodeFailure::new("hl7-delimiters", detail);
        let usable = |c: char| c.is_ascii_punctuation();
        if line.len() < 4 || !line.as_bytes()[..3].is_ascii() {
            return Err(broken("the segment has no name, or nothing after it"));
        }
        let mut rest = line[3..].chars();
        let field = rest.next().filter(|c| usable(*c)).ok_or_else(|| broken("the field separator is missing"))?;
        let declared: Vec<char> = rest.take_while(|c| *c != field).take(6).collect();
        let Some(component) = declared.first().copied() else {
            return Err(broken("the encoding characters are missing"));
        };
        if declared.len() > 5 || !declared.iter().all(|c| usable(*c)) {
            return Err(broken("the encoding characters are not one to five punctuation characters"));
        }
        if declared.iter().enumerate().any(|(at, c)| declared[..at].contains(c)) {
            return Err(broken("an encoding character is declared twice"));
        }
        let at = |index: usize| declared.get(index).copied();
        Ok(Delimiters { field, component, repetition: at(1), escape: at(2), subcomponent: at(3) })
    }
}

/// An `MSH`, `BHS` or `FHS` segment with its fields as they were sent: neither split further nor
/// unescaped, so that an acknowledgement can echo them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's delimiters.
    pub delimiters: Delimiters,
    /// The character set in which the fields were read and in which they are to be echoed.
    pub charset: Charset,
    text: String,
    /// Where each field is in the text; field 1, the separator itself, is between the name and
    /// field 2.
    fields: Vec<(usize, usize)>,
}

impl Header {
    /// Reads the `MSH` segment at the start of a message.
    pub fn read(body: &[u8], default: Charset) -> Result<Header, DecodeFailure> {
        let line = first_line(body);
        if !line.starts_with(b"MSH") {
            return Err(DecodeFailure::new("hl7-no-header", "the message does not begin with an MSH segment"));
        }
        Header::read_line(line, default)
    }

    /// Reads one header segment, which begins with its name.
    pub fn read_line(line: &[u8], default: Charset) -> Result<Header, DecodeFailure> {
        let (text, charset) = header_text(line, default);
        let delimiters = Delimiters::read(&text)?;
        let text = text.into_owned();
        let mut fields = vec![(0, 3), (3, 4)];
        let mut start = 4;
        for field in text[start..].split(delimiters.field) {
            fields.push((start, start + field.len()));
            start += field.len() + 1;
        }
        Ok(Header { delimiters, charset, text, fields })
    }

    /// A field as sent, numbered as HL7 does; empty where it is absent.
    pub fn field(&self, number: usize) -> &str {
        self.fields.get(number).and_then(|(start, end)| self.text.get(*start..*end)).unwrap_or_default()
    }

    /// A component of a field's first repetition, counted from 1, as sent; empty where absent.
    pub fn component(&self, field: usize, component: usize) -> &str {
        let text = self.field(field);
        let first = self.delimiters.repetition.map_or(text, |c| text.split(c).next().unwrap_or_default());
        first.split(self.delimiters.component).nth(component.wrapping_sub(1)).unwrap_or_default()
    }

    /// MSH-9 as `ORU^R01`, whatever the delimiters; the event is left out where there is none.
    pub fn message_type(&self) -> String {
        match (self.component(9, 1), self.component(9, 2)) {
            (code, "") => code.to_owned(),
            (code, event) => format!("{code}^{event}"),
        }
    }

    /// MSH-9 for references and logs. Anything that is not shaped like a message type is left out: it
    /// is not ours to repeat.
    pub fn type_name(&self) -> String {
        let name = self.message_type();
        let shaped = name.len() <= 16 && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'^' | b'_'));
        if shaped && !name.is_empty() { name } else { "unknown type".to_owned() }
    }

    /// What a message, or a batch, that is sent again repeats: its sender and control id.
    pub fn resend_key(&self) -> Option<String> {
        let (prefix, id) = if self.text.starts_with("MSH") { ("", 10) } else { ("batch|", 11) };
        let id = self.field(id);
        (!id.is_empty()).then(|| format!("{prefix}{}|{}|{id}", self.field(3), self.field(4)))
    }

    /// The first repetition of MSH-18: the message's declared character set.
    pub fn charset_name(&self) -> &str {
        let declared = self.field(18);
        self.delimiters.repetition.map_or(declared, |c| declared.split(c).next().unwrap_or_default())
    }
}

/// The first line with text on it, without a byte order mark.
fn first_line(body: &[u8]) -> &[u8] {
    let body = body.strip_prefix(super::UTF8_MARK).unwrap_or(body).trim_ascii_start();
    body.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// The header's text, before MSH-18 is known. UTF-8 is tried first: where it succeeds, no
/// delimiter can be part of a character. ISO 8859-1 by bytes is the last resort and never fails.
fn header_text(line: &[u8], default: Charset) -> (Cow<'_, str>, Charset) {
    for charset in [Charset::Utf8, default, Charset::Gb18030, Charset::Big5] {
        if let Ok(text) = charset.decode(line) {
            return (text, charset);
        }
    }
    (encoding_rs::mem::decode_latin1(line), Charset::Iso88591)
}
