//! Fields, repetitions, components, subcomponents and escape sequences.

use connector_api::Value;

use super::Delimiters;
use crate::charset::Charset;

/// Splits the text of one message's segments.
pub(super) struct Syntax {
    delimiters: Delimiters,
    charset: Charset,
}

impl Syntax {
    pub(super) fn new(delimiters: Delimiters, charset: Charset) -> Syntax {
        Syntax { delimiters, charset }
    }

    /// The segment's fields after its name, numbered from 1.
    pub(super) fn segment(&self, line: &str) -> Value {
        let Delimiters { field, .. } = self.delimiters;
        let mut texts = line.split(field);
        let name = texts.next().unwrap_or_default();
        let mut fields = Vec::with_capacity(line.bytes().filter(|b| char::from(*b) == field).count() + 2);
        fields.push(Value::from(name));
        if name == "MSH" {
            fields.push(Value::Text(field.to_string()));
            fields.push(texts.next().map_or(Value::Null, Value::from));
        }
        fields.extend(texts.map(|text| self.field(text)));
        Value::List(fields)
    }

    fn field(&self, text: &str) -> Value {
        let Delimiters { component, repetition, subcomponent, .. } = self.delimiters;
        let structured = |byte: u8| {
            let c = char::from(byte);
            c == component || Some(c) == repetition || Some(c) == subcomponent
        };
        if !text.bytes().any(structured) {
            return self.value(text);
        }
        split(text, repetition, |text| self.repetition(text))
    }

    fn repetition(&self, text: &str) -> Value {
        let Delimiters { component, subcomponent, .. } = self.delimiters;
        if text.contains(component) || subcomponent.is_some_and(|c| text.contains(c)) {
            split(text, Some(component), |text| self.component(text))
        } else {
            self.value(text)
        }
    }

    fn component(&self, text: &str) -> Value {
        match self.delimiters.subcomponent {
            Some(c) if text.contains(c) => split(text, Some(c), |text| self.value(text)),
            _ => self.value(text),
        }
    }

    fn value(&self, text: &str) -> Value {
        if text.is_empty() { Value::Null } else { Value::Text(self.unescape(text)) }
    }

    /// Resolves the escape sequences that stand for characters. What is not known, or does not
    /// end, stays as it is.
    fn unescape(&self, text: &str) -> String {
        let Some(escape) = self.delimiters.escape.filter(|c| text.contains(*c)) else {
            return text.to_owned();
        };
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(escape) {
            out.push_str(before);
            rest = match after.split_once(escape) {
                Some((sequence, next)) if self.resolve(sequence, &mut out) => next,
                // Only the opening character is passed over: what looked like the closing one may
                // open the next sequence.
                _ => {
                    out.push(escape);
                    after
                }
            };
        }
        out.push_str(rest);
        out
    }

    fn resolve(&self, sequence: &str, out: &mut String) -> bool {
        let Delimiters { field, component, repetition, escape, subcomponent } = self.delimiters;
        let character = match sequence {
            "F" => Some(field),
            "S" => Some(component),
            "R" => repetition,
            "E" => escape,
            "T" => subcomponent,
            ".br" => Some('\n'),
            _ => {
                let Some(text) = sequence.strip_prefix('X').and_then(|digits| self.hexadecimal(digits)) else {
                    return false;
                };
                out.push_str(&text);
                return true;
            }
        };
        out.extend(character);
        character.is_some()
    }

    fn hexadecimal(&self, digits: &str) -> Option<String> {
        if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
            return None;
        }
        let bytes: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| Some((hex_digit(pair[0])? << 4) | hex_digit(pair[1])?))
            .collect();
        self.charset.decode(&bytes?).ok().map(|text| text.into_owned())
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn split(text: &str, by: Option<char>, part: impl Fn(&str) -> Value) -> Value {
    match by {
        Some(by) => Value::List(text.split(by).map(part).collect()),
        None => Value::List(vec![part(text)]),
    }
}
