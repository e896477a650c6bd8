//! A record as nested values, and the text form in which it is archived.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::{Decimal, DecodeFailure, Decoder, Map, Raw, Value};

/// The format name of a [`Raw`] body that holds a [`Document`] written by [`Document::to_bytes`].
///
/// Sources that have no bytes of their own (rows of a database) are archived in this form.
pub const DOCUMENT_FORMAT: &str = "application/vnd.hisync.document+json";

/// One record in the source's own shape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The named values at the top.
    pub root: Map,
}

impl Document {
    /// Wraps the top-level values.
    pub fn new(root: Map) -> Document {
        Document { root }
    }

    /// Writes the document as JSON that reads back to the same document.
    ///
    /// Text, null, booleans, lists and maps are plain JSON; the other kinds are objects of one
    /// tagged entry: `{"$int":"1"}`, `{"$dec":"1.30"}`, `{"$time":"2026-11-22T08:00:00"}`,
    /// `{"$bytes":"0aff"}`; a source's own name that begins with `$` gets a second one in front.
    /// Names keep their order, so equal records have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        write_map(&self.root, &mut out);
        out
    }

    /// Reads what [`Document::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Document, DecodeFailure> {
        let broken = |detail: String| DecodeFailure::new("document-json", detail);
        let ordered: Ordered = serde_json::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
        match ordered.0 {
            Value::Map(root) => Ok(Document { root }),
            other => Err(broken(format!("expected a map at the top, found {}", other.kind()))),
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Writing JSON text to memory can't fail.
    let _ = serde_json::to_writer(out, text);
}

fn write_tagged(tag: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"$");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\":");
    write_text(text, out);
    out.push(b'}');
}

fn write_map(map: &Map, out: &mut Vec<u8>) {
    out.push(b'{');
    for (at, (name, value)) in map.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        if name.starts_with('$') {
            write_text(&format!("${name}"), out);
        } else {
            write_text(name, out);
        }
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Text(text) => write_text(text, out),
        Value::Decimal(decimal) => write_tagged("dec", decimal.as_str(), out),
        Value::Integer(number) => write_tagged("int", &number.to_string(), out),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Time(time) => write_tagged("time", &time.to_string(), out),
        Value::Bytes(bytes) => write_tagged("bytes", &hex::encode(bytes), out),
        Value::List(list) => {
            out.push(b'[');
            for (at, element) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_value(element, out);
            }
            out.push(b']');
        }
        Value::Map(map) => write_map(map, out),
    }
}

/// A value read from JSON with the order of names kept.
struct Ordered(Value);

impl<'de> serde::Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor).map(Ordered)
    }
}

struct OrderedVisitor;

impl<'de> serde::de::Visitor<'de> for OrderedVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an archived value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Ordered(element)) = seq.next_element()? {
            list.push(element);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Ordered(value))) = entries.next_entry::<String, Ordered>()? {
            match name.strip_prefix('$') {
                None => map.push(name, value),
                Some(escaped) if escaped.starts_with('$') => map.push(escaped, value),
                Some(tag) => return untag(tag, &value).map_err(serde::de::Error::custom),
            }
        }
        Ok(Value::Map(map))
    }
}

fn untag(tag: &str, value: &Value) -> Result<Value, String> {
    let text = value.as_text().unwrap_or_default();
    let read = match tag {
        "dec" => Decimal::parse(text).map(Value::Decimal),
        "int" => text.parse().ok().map(Value::Integer),
        "time" => text.parse().ok().map(Value::Time),
        "bytes" => hex::decode(text).ok().map(Value::Bytes),
        _ => None,
    };
    read.ok_or_else(|| format!("the value tagged ${tag} can't be read"))
}

/// The decoder of records that are archived as documents.
#[derive(Clone, Copy, Debug, Default)]
pub struct DocumentDecoder;

impl DocumentDecoder {
    /// This decoder as the trait object that a [`crate::Connector`] holds.
    pub fn shared() -> Arc<dyn Decoder> {
        Arc::new(DocumentDecoder)
    }
}

impl Decoder for DocumentDecoder {
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        if raw.format != DOCUMENT_FORMAT {
            return Err(DecodeFailure::new("format", format!("a {} body is not an archived document", raw.format)));
        }
        Document::from_bytes(&raw.body)
    }
}

/// JSON for people and templates: tags dropped, so types are lost. Never archive it.
impl From<&Value> for Json {
    fn from(value: &Value) -> Json {
        match value {
            Value::Null => Json::Null,
            Value::Text(text) => Json::from(text.as_str()),
            Value::Decimal(decimal) => Json::from(decimal.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Bool(truth) => Json::from(*truth),
            Value::Time(time) => Json::from(time.to_string()),
            Value::Bytes(bytes) => Json::from(format!("<{} bytes>", bytes.len())),
            Value::List(list) => Json::Array(list.iter().map(Json::from).collect()),
            Value::Map(map) => {
                Json::Object(map.iter().map(|(name, value)| (name.to_string(), Json::from(value))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests;
