//! What an answer says: its text, whether it is success, and the records inside it.

use std::borrow::Cow;

use bytes::Bytes;
use connector_api::{DecodeFailure, FaultClass, SourceError, Value};
use connector_formats::charset::{Charset, is_marked, looks_like_utf8, may_be_misread_gbk};
use connector_formats::json;
use connector_formats::text::{byte_order_mark, from_label, without_mark};
use connector_formats::xml::{self, XmlRules};

use crate::settings::Answer;
use crate::transport::Reply;

/// How many names of an answer a message shows.
const SHOWN_NAMES: usize = 12;

/// What a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// Plain text: no document.
    Text,
}

/// The document that an answer carries, taken out of whatever it travelled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it is written in.
    pub kind: Kind,
    /// It.
    pub text: String,
}

/// Takes the document out of an answer: what one protocol does and another doesn't.
pub trait Opener: Send + Sync + std::fmt::Debug {
    /// True where the protocol answers failures with a status of its own and a body to be read.
    fn reads_status(&self, status: u16) -> bool {
        let _ = status;
        false
    }

    /// Takes the document out of the text of an answer. `what` names the call in messages; a
    /// `talkative` failure may show the source's own words, which may name somebody.
    fn open(
        &self,
        what: &str,
        reply: &Reply,
        text: String,
        rules: &XmlRules,
        talkative: bool,
    ) -> Result<Opened, SourceError>;
}

/// An answer's text and what its bytes were.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    pub(crate) text: String,
    pub(crate) charset: Charset,
}

/// A record's text, cut out of its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) charset: Charset,
}

/// What an answer's business code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Success,
    NoData,
    Expired,
    Failure { code: String, message: Option<String> },
}

/// Decodes an answer. What it declares counts unless the configuration says otherwise or the bytes
/// prove it wrong; single bytes that no character begins with are marked.
pub(crate) fn decode(reply: &Reply, configured: Option<Charset>) -> Result<Decoded, DecodeFailure> {
    let charset = choose(reply, configured)?;
    let bytes = without_mark(charset, &reply.body);
    let text = charset.decode_marked(bytes).map_err(|error| DecodeFailure::new("text-charset", error.to_string()))?;
    Ok(Decoded { text, charset })
}

fn choose(reply: &Reply, configured: Option<Charset>) -> Result<Charset, DecodeFailure> {
    let bytes = &reply.body;
    if let Some((_, charset)) = byte_order_mark(bytes) {
        return Ok(charset);
    }
    if let Some(charset) = configured {
        return Ok(charset);
    }
    let declared = reply.charset().or_else(|| xml::declared(bytes));
    let Some(label) = declared else {
        if std::str::from_utf8(bytes).is_ok_and(may_be_misread_gbk) {
            return Err(DecodeFailure::new("text-charset-doubtful", "nothing is declared, and it looks like gb18030"));
        }
        return Ok(Charset::Utf8);
    };
    let charset = from_label(label)
        .ok_or_else(|| DecodeFailure::new("text-charset-unknown", "a character set is declared that is not known"))?;
    // Neither can be: its first sign is a single byte, or its characters are well-formed UTF-8.
    let not_wide = !charset.extends_ascii() && bytes.first().is_some_and(u8::is_ascii) && bytes.get(1) != Some(&0);
    if not_wide || (charset.extends_ascii() && looks_like_utf8(bytes)) {
        return Ok(Charset::Utf8);
    }
    Ok(charset)
}

impl Opened {
    /// What a text holds, by how it begins.
    pub fn of(text: String) -> Opened {
        let kind = match text.trim_start_matches(blank).as_bytes().first() {
            Some(b'{' | b'[') => Kind::Json,
            Some(b'<') => Kind::Xml,
            _ => Kind::Text,
        };
        Opened { kind, text }
    }

    /// The value at a path; `.` is the whole text. `None` where there is none.
    pub(crate) fn field(&self, path: &str, rules: &XmlRules) -> Result<Option<Value>, DecodeFailure> {
        if path == "." {
            return Ok(Some(Value::Text(self.text.trim_matches(blank).to_owned())));
        }
        match self.kind {
            Kind::Json => json::at(&self.text, path)?.first().map(|found| json::parse(found)).transpose(),
            Kind::Xml => xml::field(&self.text, path, rules),
            Kind::Text => Ok(None),
        }
    }

    /// Text at a path: numbers as their digits, nothing for null and what is missing.
    pub(crate) fn word(&self, path: &str, rules: &XmlRules) -> Result<Option<String>, DecodeFailure> {
        Ok(self.field(path, rules)?.as_ref().and_then(word))
    }

    /// The words of a list at a path.
    pub(crate) fn words(&self, path: &str, rules: &XmlRules) -> Result<Vec<String>, DecodeFailure> {
        let mut words = Vec::new();
        match self.kind {
            Kind::Json => {
                for node in json::at(&self.text, path)? {
                    for element in json::elements(&node)? {
                        words.extend(word(&json::parse(&element)?));
                    }
                }
            }
            Kind::Xml => {
                for element in xml::records(&self.text, path, rules)? {
                    words.extend(xml::field(element, "", rules)?.as_ref().and_then(word));
                }
            }
            Kind::Text => words.extend(self.text.split([',', ';']).map(|word| word.trim_matches(blank).to_owned())),
        }
        Ok(words)
    }

    /// The records at a path. Null where a list should be is an empty list: its code said success.
    pub(crate) fn records(
        &self,
        path: &str,
        charset: Charset,
        coded: bool,
        rules: &XmlRules,
    ) -> Result<Vec<Cut>, DecodeFailure> {
        let cut = |text: &str| {
            let kind = if self.kind == Kind::Xml || text.starts_with('<') { Kind::Xml } else { Kind::Json };
            Cut { kind, text: text.to_owned(), charset }
        };
        match self.kind {
            Kind::Text if self.text.trim_matches(blank).is_empty() => {
                Err(DecodeFailure::new("empty", "the answer is empty"))
            }
            Kind::Text => Err(DecodeFailure::new("answer-kind", "the answer is neither JSON nor XML")),
            Kind::Xml => match xml::records(&self.text, path, rules) {
                Ok(found) => Ok(found.into_iter().map(cut).collect()),
                Err(failure) if failure.code == "xml-path" => Err(self.lost(path, rules)),
                Err(failure) => Err(failure),
            },
            Kind::Json => {
                let nodes = json::at(&self.text, path)?;
                if nodes.is_empty() {
                    return Err(self.lost(path, rules));
                }
                let mut records = Vec::new();
                for node in nodes {
                    if node == "null" && coded {
                        continue;
                    }
                    if node == "null" {
                        return Err(DecodeFailure::new("json-path", format!("there is null at {path:?}")));
                    }
                    let elements = json::elements(&node)?;
                    records.extend(elements.iter().map(|element: &Cow<'_, str>| cut(element)));
                }
                Ok(records)
            }
        }
    }

    /// That a path leads nowhere, with the names that there are instead.
    fn lost(&self, path: &str, rules: &XmlRules) -> DecodeFailure {
        let parts: Vec<&str> = path.split('.').collect();
        let mut seen = 0;
        while seen < parts.len() && !self.names(&parts[..=seen], rules).is_empty() {
            seen += 1;
        }
        let there = self.names(&parts[..seen], rules);
        let code = if self.kind == Kind::Xml { "xml-path" } else { "json-path" };
        let place = if seen == 0 { "the answer".to_owned() } else { format!("{:?}", parts[..seen].join(".")) };
        DecodeFailure::new(
            code,
            format!("there is no {:?} in {place}, which has {}", parts.get(seen).unwrap_or(&""), there.join(", ")),
        )
    }

    /// The names below a path, as far as they look like names and not like somebody's number.
    fn names(&self, path: &[&str], rules: &XmlRules) -> Vec<String> {
        let mut names: Vec<String> = match self.kind {
            Kind::Json => {
                let found = json::at(&self.text, &path.join(".")).unwrap_or_default();
                let found = found.first().and_then(|found| json::parse(found).ok());
                match found {
                    Some(Value::Map(map)) => map.names().map(str::to_owned).collect(),
                    Some(Value::List(list)) => vec![format!("a list of {}", list.len())],
                    _ => Vec::new(),
                }
            }
            Kind::Xml => {
                let below = path.iter().copied().chain(["*"]).collect::<Vec<_>>().join(".");
                let found = xml::records(&self.text, &below, rules).unwrap_or_default();
                found.into_iter().map(|element| xml::name_of(element, rules).to_owned()).collect()
            }
            Kind::Text => Vec::new(),
        };
        names.dedup();
        names.retain(|name| name.chars().filter(char::is_ascii_digit).count() < 4 && name.chars().count() < 40);
        names.truncate(SHOWN_NAMES);
        names
    }
}

/// Blanks and marks that stand around documents.
pub fn blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\0')
}

/// A value as a word of text; nothing for null, lists and records.
pub(crate) fn word(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.trim().to_owned()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Decimal(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Time(time) => Some(time.to_string()),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => None,
    }
}

impl Answer {
    /// What the business code of an answer says. Anything that is not listed is a failure.
    pub(crate) fn judge(&self, opened: &Opened, rules: &XmlRules) -> Result<Verdict, DecodeFailure> {
        let code = opened.word(&self.code, rules)?.unwrap_or_default();
        let listed = |codes: &[String]| codes.contains(&code);
        let any = || !code.is_empty() && self.ok.iter().any(|ok| ok == "*") && !listed(&self.failed);
        let message = match (&self.message, opened.kind) {
            (Some(path), Kind::Json | Kind::Xml) => opened.word(path, rules)?,
            (_, Kind::Text) => Some(opened.text.trim_matches(blank).to_owned()),
            (None, _) => None,
        };
        let says_nothing = message.as_ref().is_some_and(|message| {
            self.no_data_text.iter().any(|text| !text.is_empty() && message.contains(text.as_str()))
        });
        // Plain words where a document with a code should be are not an empty code.
        let wordy = code.is_empty() && opened.kind == Kind::Text && !opened.text.trim_matches(blank).is_empty();
        // A code of success in front of "nothing found" is nothing found; so is a code of failure.
        Ok(if listed(&self.expired) {
            Verdict::Expired
        } else if listed(&self.no_data) || says_nothing {
            Verdict::NoData
        } else if (listed(&self.ok) && !wordy) || any() {
            Verdict::Success
        } else {
            Verdict::Failure { code, message }
        })
    }
}

impl Cut {
    /// True where it holds bytes that its character set does not define.
    pub(crate) fn is_damaged(&self) -> bool {
        is_marked(&self.text)
    }

    /// Its own bytes, as they came or in UTF-8 where they can't be written so, with their character set.
    pub(crate) fn bytes(&self) -> (Option<Charset>, Bytes) {
        let own = self.charset.encode_marked(&self.text);
        if self.is_damaged() {
            return (None, own.map_or_else(|| Bytes::copy_from_slice(self.text.as_bytes()), Bytes::from));
        }
        match own.filter(|own| self.charset.decode(own).is_ok_and(|again| again == self.text)) {
            Some(own) => (Some(self.charset), Bytes::from(own)),
            None => (Some(Charset::Utf8), Bytes::copy_from_slice(self.text.as_bytes())),
        }
    }
}

/// The failure of an answer that can't be read.
pub(crate) fn unreadable(what: &str, failure: DecodeFailure) -> SourceError {
    let says = format!("{what}: read the answer");
    let error = match failure.code {
        code if code.starts_with("text-charset") => SourceError::stop(FaultClass::Charset, says)
            .hint("set the source's charset to what it really writes, e.g. charset = \"gb18030\""),
        "json-path" | "xml-path" => SourceError::stop(FaultClass::Data, says)
            .hint("set records to where they are; a code that means \"no data\" belongs into answer.no_data"),
        "empty" => SourceError::retry(FaultClass::Data, says)
            .hint("if that means \"no data\", say so: answer = { code = \".\", ok = [\"*\"], no_data = [\"\"] }"),
        "answer-kind" => SourceError::stop(FaultClass::Data, says)
            .hint("if these words mean \"no data\", put some of them into answer.no_data_text"),
        _ => SourceError::retry(FaultClass::Protocol, says)
            .hint("the answer is cut off or damaged; if it stays so, show it to the other system's people"),
    };
    error.because(failure)
}
