//! Documents that travel as text inside another: XML in CDATA, escaped XML, JSON.
//!
//! SOAP services with one string in and out answer so. The text was decoded with its envelope, so
//! what an inner XML declaration says about a character set does not matter.

use connector_api::{DecodeFailure, Document, Map, Value};
use quick_xml::escape::unescape;

use crate::xml::XmlRules;
use crate::{json, xml};

/// How often text may have been escaped once more than needed.
const MAX_ESCAPED: usize = 3;

/// Reads the document that a text holds: JSON where it begins with a brace or bracket, XML where
/// it begins with `<`, or with an escaped `<`.
///
/// Fails as [`json::parse`] and [`xml::parse`] do, and with `inner-kind` where it is neither.
pub fn inner(text: &str, rules: &XmlRules) -> Result<Value, DecodeFailure> {
    let mut text = trimmed(text).to_owned();
    for _ in 0..=MAX_ESCAPED {
        match text.as_bytes().first() {
            Some(b'{' | b'[') => return json::parse(&text),
            Some(b'<') => return xml::parse(&text, rules).map(|document| Value::Map(document.root)),
            Some(b'&') => match unescape(&text) {
                Ok(once) => text = trimmed(&once).to_owned(),
                Err(_) => break,
            },
            _ => break,
        }
    }
    Err(DecodeFailure::new("inner-kind", "the inner text is neither XML nor JSON"))
}

/// Text that was escaped once more than needed, as it was before: as often as it begins with an
/// entity, within limits. Any other text stays as it is.
pub fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MAX_ESCAPED {
        match unescape(trimmed(&text)) {
            Ok(once) if trimmed(&text).starts_with('&') => text = once.into_owned(),
            _ => break,
        }
    }
    text
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '\u{feff}' | '\0'))
}

/// Replaces the text at `path` (`Body.Response.Result`) by the document that it holds; an element
/// with attributes is meant by its `#text`. Blank text and null stay what they are.
///
/// Fails with `inner-path` where the path leads nowhere or to something that is not text.
pub fn unwrap_at(document: Document, path: &str, rules: &XmlRules) -> Result<Document, DecodeFailure> {
    let names: Vec<&str> = path.split('.').collect();
    replace(Value::Map(document.root), &names, rules).map(|value| match value {
        Value::Map(root) => Document::new(root),
        other => Document::new(Map::from_iter([("#inner", other)])),
    })
}

fn replace(value: Value, path: &[&str], rules: &XmlRules) -> Result<Value, DecodeFailure> {
    let missing = |what: &str| DecodeFailure::new("inner-path", what.to_owned());
    match (value, path) {
        (Value::Null, []) => Ok(Value::Null),
        (Value::Text(text), []) if trimmed(&text).is_empty() => Ok(Value::Text(text)),
        (Value::Text(text), []) => inner(&text, rules),
        (Value::Map(map), []) if map.get("#text").is_some() => replace(Value::Map(map), &["#text"], rules),
        (_, []) => Err(missing("what is to be unwrapped is not text")),
        (Value::Map(map), [name, below @ ..]) => {
            let mut found = false;
            let mut replaced = Map::with_capacity(map.len());
            for (own, value) in map.iter() {
                let here = !found && &**own == *name;
                found |= here;
                replaced.push(own.clone(), if here { replace(value.clone(), below, rules)? } else { value.clone() });
            }
            if found { Ok(Value::Map(replaced)) } else { Err(missing(&format!("there is no {name:?} on the way"))) }
        }
        (_, [name, ..]) => Err(missing(&format!("there is no {name:?} on the way"))),
    }
}

#[cfg(test)]
mod tests;
