//! From a body to records, at receipt and again from the archive.
//!
//! A body that is one record is archived as it was received. Of a body with a list of records each
//! element is archived by itself, in the character set of the body, so that each can be decoded,
//! held and mapped again alone.

use bytes::Bytes;
use connector_api::{DecodeFailure, Decoder, Document, Raw, Record, SourceSpec};
use connector_formats::bundle::{self, Attachment};
use connector_formats::charset::Charset;
use connector_formats::hl7::{self, Hl7Decoder};
use connector_formats::json::{self, JsonDecoder};
use connector_formats::text::{self, TextPolicy};
use connector_formats::xml::{self, XmlDecoder, XmlRules};
use mime::Mime;

use crate::settings::{Settings, Stream};
use connector_formats::multipart::{Part, parts};

/// The format name of bytes that are no whole body. They must never be decoded as one: the
/// beginning of a report is another report.
const BYTES: &str = "application/octet-stream";

/// Begins the format name of a form; its parameters say how to read it again.
const FORM: &str = "multipart/form-data";

/// Stands in the format name of a body from which a list of records could not be taken, between
/// the format and the names that should have led to the list.
const LIST: &str = "; content=list; records=";

/// What bodies are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// HL7 v2 messages with delimiters.
    Hl7,
}

impl Format {
    /// The format that a content type says; `None` where it says none of these.
    pub(crate) fn of(mime: &Mime) -> Option<Format> {
        match (mime.subtype().as_str(), mime.suffix().map(|suffix| suffix.as_str())) {
            (_, Some("json")) | ("json", _) => Some(Format::Json),
            (_, Some("xml")) | ("xml", _) => Some(Format::Xml),
            ("hl7-v2" | "x-hl7" | "hl7", _) => Some(Format::Hl7),
            _ => None,
        }
    }

    /// The format name under which a record is archived.
    fn media_type(self) -> &'static str {
        match self {
            Format::Json => json::FORMAT,
            Format::Xml => xml::FORMAT,
            Format::Hl7 => hl7::FORMAT,
        }
    }
}

/// How one request's body is to be read.
pub(crate) enum Form<'a> {
    /// As one document, or a list of them.
    Plain {
        format: Format,
        /// The character set that the Content-Type names.
        charset: Option<String>,
        /// The names that lead to the list of records.
        records: Option<&'a str>,
    },
    /// As parts of which one is the document.
    Multipart { boundary: String, part: &'a str, format: Option<Format> },
}

/// Reads bodies of one source.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    text: TextPolicy,
    rules: XmlRules,
    json: JsonDecoder,
    xml: XmlDecoder,
    hl7: Hl7Decoder,
    usual: Format,
    /// The names that lead to lists, where they are the same for all of the source's lists.
    list: Option<String>,
}

/// A body that a person has to look at.
pub(crate) fn unreadable(body: Bytes, code: &'static str, detail: String) -> Record {
    let raw = Raw { format: BYTES.to_owned(), charset: None, body };
    record((raw, Err(DecodeFailure::new(code, detail))))
}

fn record((raw, document): (Raw, Result<Document, DecodeFailure>)) -> Record {
    Record { raw, document, source_ref: String::new(), resend_key: None }
}

impl Reader {
    pub(crate) fn new(source: &SourceSpec<Settings, Stream>) -> Reader {
        let Settings { charset: text, xml: rules, .. } = source.settings.clone();
        let streams = || source.streams.iter().map(|stream| &stream.settings);
        let usual = streams().find_map(|stream| stream.format).unwrap_or(Format::Json);
        let mut lists: Vec<&String> = streams().filter_map(|stream| stream.records.as_ref()).collect();
        lists.sort_unstable();
        lists.dedup();
        let list = if let [list] = *lists { Some(list.clone()) } else { None };
        let hl7 = Hl7Decoder::new(text);
        let xml = XmlDecoder::new(text, rules.clone());
        Reader { text, json: JsonDecoder::new(text), xml, rules, hl7, usual, list }
    }

    /// The records of a body. What can't be read is among them, to be held.
    pub(crate) fn read(&self, form: &Form<'_>, body: Bytes) -> Vec<Record> {
        match form {
            Form::Plain { format: Format::Hl7, .. } => self.messages(body),
            Form::Plain { format, charset, records: None } => {
                vec![record(self.receive(*format, body, charset.as_deref()))]
            }
            Form::Plain { format, charset, records: Some(path) } => {
                match self.elements(*format, &body, charset.as_deref(), path) {
                    Ok(records) => records,
                    Err(failure) => {
                        // Marked, so that a list is never taken for one record later on.
                        let format = format!("{}{LIST}{path}", format.media_type());
                        vec![record((Raw { format, charset: None, body }, Err(failure)))]
                    }
                }
            }
            Form::Multipart { boundary, part, format } => vec![record(self.form(body, boundary, part, *format))],
        }
    }

    fn receive(&self, format: Format, body: Bytes, charset: Option<&str>) -> (Raw, Result<Document, DecodeFailure>) {
        match format {
            Format::Json => self.json.receive(body, charset),
            Format::Xml => self.xml.receive(body, charset),
            Format::Hl7 => self.hl7.receive(body),
        }
    }

    fn elements(
        &self,
        format: Format,
        body: &Bytes,
        declared: Option<&str>,
        path: &str,
    ) -> Result<Vec<Record>, DecodeFailure> {
        let path = if path == "." { "" } else { path };
        let charset = match format {
            Format::Xml => xml::choose(&self.text, declared, body)?,
            Format::Json | Format::Hl7 => self.text.choose(declared, body)?,
        };
        let text = text::decode(charset, body)?;
        let one = |element: &str, document| {
            let (charset, body) = encoded(charset, element);
            record((
                Raw { format: format.media_type().to_owned(), charset: Some(charset.name().to_owned()), body },
                document,
            ))
        };
        Ok(match format {
            Format::Xml => {
                let elements = xml::records(&text, path, &self.rules)?.into_iter();
                elements.map(|element| one(element, xml::parse(element, &self.rules))).collect()
            }
            Format::Json | Format::Hl7 => {
                json::records(&text, path)?.into_iter().map(|element| one(element, json::document(element))).collect()
            }
        })
    }

    /// The messages of a body, and what it holds beside them.
    fn messages(&self, body: Bytes) -> Vec<Record> {
        let found = self.hl7.take_apart(&body);
        if found.is_foreign {
            let raw = Raw { format: hl7::FORMAT.to_owned(), charset: None, body };
            let failure = DecodeFailure::new("hl7-no-header", "the body holds no message");
            return vec![record((raw, Err(failure)))];
        }
        let message = |message: hl7::Message| Record {
            resend_key: message.header.as_ref().and_then(hl7::Header::resend_key),
            ..record((message.raw, message.document))
        };
        let leftover = |leftover: hl7::Leftover| record((leftover.raw(), Err(leftover.failure)));
        found.messages.into_iter().map(message).chain(found.leftovers.into_iter().map(leftover)).collect()
    }

    fn form(
        &self,
        body: Bytes,
        boundary: &str,
        name: &str,
        format: Option<Format>,
    ) -> (Raw, Result<Document, DecodeFailure>) {
        let mut charset = None;
        let mut written = None;
        let read = |charset: &mut Option<String>, written: &mut Option<Format>| {
            let (main, others) = split(&body, boundary, name)?;
            let format = format.or_else(|| main.media_type.as_ref().and_then(Format::of));
            let format = format.ok_or_else(|| {
                DecodeFailure::new(
                    "multipart-format",
                    "neither the part nor the stream says what the record is written in",
                )
            })?;
            *written = Some(format);
            let (raw, document) = self.receive(format, Bytes::copy_from_slice(main.bytes), charset_of(&main));
            *charset = raw.charset;
            attach(document?, others)
        };
        let document = read(&mut charset, &mut written);
        let kind = written.map_or_else(String::new, |format| format!("; format=\"{}\"", format.media_type()));
        let format = format!("{FORM}; boundary=\"{boundary}\"; part=\"{name}\"{kind}");
        (Raw { format, charset, body }, document)
    }

    /// Reads a list that could not be read when it came, under the settings now in force. Only a
    /// list of one becomes a document: the archived body is one record for ever.
    fn list_again(&self, raw: &Raw, format: &str, path: &str) -> Result<Document, DecodeFailure> {
        let format = named(Some(format))?;
        let read = |path: &str| self.elements(format, &raw.body, None, path);
        let mut records = match (read(path), &self.list) {
            (Err(_), Some(list)) if list != path => read(list)?,
            (read, _) => read?,
        };
        match (records.pop(), records.len() + 1) {
            (Some(record), 1) => record.document,
            (None, _) => Err(DecodeFailure::new("webhook-list", "the list is empty")),
            (_, n) => Err(DecodeFailure::new("webhook-list", format!("{n} records in one body: have it sent again"))),
        }
    }

    fn form_again(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        let said: Option<Mime> = raw.format.parse().ok();
        let parameter = |name: &str| said.as_ref().and_then(|said| said.get_param(name)).map(|value| value.to_string());
        let (Some(boundary), Some(name)) = (parameter("boundary"), parameter("part")) else {
            return Err(DecodeFailure::new("format", "the archived form does not say how to read it"));
        };
        let (main, others) = split(&raw.body, &boundary, &name)?;
        let stated = parameter("format")
            .or_else(|| main.media_type.as_ref().and_then(Format::of).map(|format| format.media_type().to_owned()));
        let body = Bytes::copy_from_slice(main.bytes);
        let format = named(stated.as_deref())?;
        let document = match &raw.charset {
            None => self.receive(format, body, charset_of(&main)).1,
            Some(_) => self.decode(&Raw { format: format.media_type().to_owned(), charset: raw.charset.clone(), body }),
        };
        attach(document?, others)
    }
}

impl Decoder for Reader {
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if let Some((format, path)) = raw.format.split_once(LIST) {
            return self.list_again(raw, format, path);
        }
        match raw.format.as_str() {
            json::FORMAT => self.json.decode(raw),
            xml::FORMAT => self.xml.decode(raw),
            hl7::FORMAT => self.hl7.decode(raw),
            format if format.starts_with(FORM) => self.form_again(raw),
            format => Err(DecodeFailure::new("format", format!("a {format} body is no record of a webhook"))),
        }
    }

    fn format(&self) -> &'static str {
        self.usual.media_type()
    }
}

/// The format of a name under which records are archived.
fn named(name: Option<&str>) -> Result<Format, DecodeFailure> {
    [Format::Json, Format::Xml, Format::Hl7]
        .into_iter()
        .find(|format| name == Some(format.media_type()))
        .ok_or_else(|| DecodeFailure::new("multipart-format", "nothing says what the record is written in"))
}

/// An element's bytes in the character set of its body, or in UTF-8 where those would not read back.
fn encoded(charset: Charset, element: &str) -> (Charset, Bytes) {
    match charset.encode(element) {
        Some(bytes) if charset.decode(&bytes).is_ok_and(|again| again == element) => {
            (charset, Bytes::copy_from_slice(&bytes))
        }
        _ => (Charset::Utf8, Bytes::copy_from_slice(element.as_bytes())),
    }
}

fn charset_of<'a>(part: &'a Part<'_>) -> Option<&'a str> {
    part.media_type.as_ref()?.get_param(mime::CHARSET).map(|name| name.as_str())
}

/// The one part of that name, and the others.
fn split<'a>(body: &'a [u8], boundary: &str, name: &str) -> Result<(Part<'a>, Vec<Part<'a>>), DecodeFailure> {
    let (mut named, others): (Vec<_>, Vec<_>) = parts(body, boundary)?.into_iter().partition(|part| part.name == name);
    match (named.pop(), named.is_empty()) {
        (Some(main), true) => Ok((main, others)),
        (Some(_), false) => Err(DecodeFailure::new("multipart-part", format!("there are several parts {name:?}"))),
        (None, _) => Err(DecodeFailure::new("multipart-part", format!("there is no part {name:?}"))),
    }
}

/// Adds the other parts to a document.
fn attach(document: Document, others: Vec<Part<'_>>) -> Result<Document, DecodeFailure> {
    let attachment = |part: Part<'_>| Attachment {
        name: part.name,
        file_name: part.file_name,
        media_type: part.media_type.map(|mime| mime.to_string()),
        bytes: part.bytes.to_vec(),
    };
    bundle::attach(document, others.into_iter().map(attachment))
}

#[cfg(test)]
mod tests;
