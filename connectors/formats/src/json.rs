//! JSON, read exactly.
//!
//! Numbers keep their digits: one that is written as a whole number and fits 64 bits is an
//! [`Value::Integer`], any other a [`Value::Decimal`] with its literal. Names keep their order,
//! and a name that occurs twice is kept twice.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use connector_api::{Decimal, DecodeFailure, Decoder, Document, Map, Raw, Value};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::{self, TextPolicy};

/// The format name of a [`Raw`] body that holds one JSON object.
pub const FORMAT: &str = "application/json";

/// How deep lists and objects may stand inside each other.
pub const MAX_DEPTH: usize = 64;

/// Reads any JSON value. A byte order mark in front is tolerated.
///
/// Fails with `json-syntax` (line, column or byte, never content) or `json-depth`.
pub fn parse(text: &str) -> Result<Value, DecodeFailure> {
    let whole = validated(text)?;
    Reader { base: whole }.value(whole, 0)
}

/// Reads a JSON object. Fails with `json-record` where the value is of another kind.
pub fn document(text: &str) -> Result<Document, DecodeFailure> {
    match parse(text)? {
        Value::Map(root) => Ok(Document::new(root)),
        other => Err(DecodeFailure::new("json-record", format!("expected an object, found {}", other.kind()))),
    }
}

/// The text of each record: the elements of the list at `path` (`data.records`; empty for the
/// top), or the one value there where it is no list.
///
/// Fails with `json-syntax`, and with `json-path` where the path leads nowhere or to null.
pub fn records<'a>(text: &'a str, path: &str) -> Result<Vec<&'a str>, DecodeFailure> {
    let mut at = validated(text)?;
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let missing = || DecodeFailure::new("json-path", format!("there is no {name:?} on the way of {path:?}"));
        let Shape::Object(Members(members)) = shape(at)? else { return Err(missing()) };
        at = members.into_iter().find(|(own, _)| own == name).map(|(_, value)| value.get()).ok_or_else(missing)?;
    }
    match shape(at)? {
        Shape::List(elements) => Ok(elements.into_iter().map(RawValue::get).collect()),
        Shape::Other(Value::Null) => Err(DecodeFailure::new("json-path", format!("there is null at {path:?}"))),
        Shape::Object(_) | Shape::Other(_) => Ok(vec![at]),
    }
}

/// The text of every value at `path`, which may be none. `*` in the path stands for any name of an
/// object and any element of a list; a text on the way that holds JSON itself is opened.
///
/// Fails with `json-syntax`.
pub fn at<'a>(text: &'a str, path: &str) -> Result<Vec<Cow<'a, str>>, DecodeFailure> {
    let mut nodes = vec![opened(Cow::Borrowed(validated(text)?))?];
    for name in path.split('.').filter(|name| !name.is_empty()) {
        let mut below = Vec::new();
        for node in nodes {
            match node {
                Cow::Borrowed(text) => below.extend(step(text, name)?.into_iter().map(Cow::Borrowed)),
                Cow::Owned(text) => {
                    below.extend(step(&text, name)?.into_iter().map(|part| Cow::Owned(part.to_owned())))
                }
            }
        }
        nodes = below.into_iter().map(opened).collect::<Result<_, _>>()?;
    }
    Ok(nodes)
}

/// The text of each element of a list; the value itself where it is no list.
pub fn elements(text: &str) -> Result<Vec<Cow<'_, str>>, DecodeFailure> {
    match shape(text)? {
        Shape::List(elements) => elements.into_iter().map(|element| opened(Cow::Borrowed(element.get()))).collect(),
        Shape::Object(_) | Shape::Other(_) => Ok(vec![Cow::Borrowed(text)]),
    }
}

fn step<'a>(text: &'a str, name: &str) -> Result<Vec<&'a str>, DecodeFailure> {
    Ok(match shape(text)? {
        Shape::Object(Members(members)) => {
            let mut wanted =
                members.into_iter().filter(|(own, _)| name == "*" || own == name).map(|(_, value)| value.get());
            if name == "*" { wanted.collect() } else { wanted.next().into_iter().collect() }
        }
        Shape::List(elements) if name == "*" => elements.into_iter().map(RawValue::get).collect(),
        Shape::List(_) | Shape::Other(_) => Vec::new(),
    })
}

/// The JSON inside a text that holds JSON; anything else as it is.
fn opened(value: Cow<'_, str>) -> Result<Cow<'_, str>, DecodeFailure> {
    if !value.starts_with('"') {
        return Ok(value);
    }
    let Shape::Other(Value::Text(inner)) = shape(&value)? else { return Ok(value) };
    let holds = inner.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with(['{', '[']);
    match validated(&inner) {
        Ok(inner) if holds => Ok(Cow::Owned(inner.to_owned())),
        _ => Ok(value),
    }
}

/// The whole text as one value, checked for its syntax; without a byte order mark.
fn validated(text: &str) -> Result<&str, DecodeFailure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| {
        DecodeFailure::new("json-syntax", format!("line {} column {} is not JSON", error.line(), error.column()))
    })?;
    Ok(whole.get())
}

/// A value, opened by one level.
enum Shape<'a> {
    List(Vec<&'a RawValue>),
    Object(Members<'a>),
    Other(Value),
}

fn shape(text: &str) -> Result<Shape<'_>, DecodeFailure> {
    let broken = |_| DecodeFailure::new("json-syntax", "a text is not valid Unicode");
    Ok(match text.as_bytes().first() {
        Some(b'[') => Shape::List(serde_json::from_str(text).map_err(broken)?),
        Some(b'{') => Shape::Object(serde_json::from_str(text).map_err(broken)?),
        Some(b'"') => Shape::Other(Value::Text(serde_json::from_str(text).map_err(broken)?)),
        _ => Shape::Other(scalar(text)?),
    })
}

fn scalar(text: &str) -> Result<Value, DecodeFailure> {
    match text {
        "null" => Ok(Value::Null),
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        // A negative zero is not the integer 0.
        literal => match literal.parse() {
            Ok(number) if literal != "-0" => Ok(Value::Integer(number)),
            _ => Decimal::parse(literal)
                .map(Value::Decimal)
                .ok_or_else(|| DecodeFailure::new("json-syntax", "a number is not a decimal")),
        },
    }
}

struct Reader<'a> {
    base: &'a str,
}

impl Reader<'_> {
    fn value(&self, text: &str, depth: usize) -> Result<Value, DecodeFailure> {
        let opened = shape(text).map_err(|failure| {
            let offset = (text.as_ptr() as usize).saturating_sub(self.base.as_ptr() as usize);
            DecodeFailure::new(failure.code, format!("{} at byte {offset}", failure.detail))
        })?;
        if depth >= MAX_DEPTH && !matches!(opened, Shape::Other(_)) {
            return Err(DecodeFailure::new("json-depth", format!("more than {MAX_DEPTH} levels")));
        }
        Ok(match opened {
            Shape::Other(value) => value,
            Shape::List(elements) => Value::List(
                elements.into_iter().map(|element| self.value(element.get(), depth + 1)).collect::<Result<_, _>>()?,
            ),
            Shape::Object(Members(members)) => {
                let mut map = Map::with_capacity(members.len());
                for (name, value) in members {
                    map.push(name, self.value(value.get(), depth + 1)?);
                }
                Value::Map(map)
            }
        })
    }
}

/// An object's members in order, those of the same name as well.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = entries.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Members<'de>, A::Error> {
                Err(A::Error::custom("a list"))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// Decodes bodies that are one JSON object, at receipt and again from the archive.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonDecoder {
    policy: TextPolicy,
}

impl JsonDecoder {
    /// A decoder for one source.
    pub fn new(policy: TextPolicy) -> JsonDecoder {
        JsonDecoder { policy }
    }

    /// Decodes a body as it was received and says how to archive it. `declared` is the character
    /// set that its transport names (the `charset` of a content type), where it names one.
    ///
    /// The chosen character set is recorded only where the bytes decode under it.
    pub fn receive(&self, body: Bytes, declared: Option<&str>) -> (Raw, Result<Document, DecodeFailure>) {
        let decoded = self
            .policy
            .choose(declared, &body)
            .and_then(|charset| text::decode(charset, &body).map(|text| (charset, document(&text))));
        let (charset, document) = match decoded {
            Ok((charset, document)) => (Some(charset.name().to_owned()), document),
            Err(failure) => (None, Err(failure)),
        };
        (Raw { format: FORMAT.to_owned(), charset, body }, document)
    }
}

impl Decoder for JsonDecoder {
    fn format(&self) -> &'static str {
        FORMAT
    }

    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format != FORMAT {
            return Err(DecodeFailure::new("format", format!("a {} body is not JSON", raw.format)));
        }
        let charset = self.policy.archived(raw, None)?;
        document(&text::decode(charset, &raw.body)?)
    }
}

#[cfg(test)]
mod tests;
