//! The values that a source system can hand over, before anybody has given them a meaning.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

/// One value as the source gave it.
///
/// `Null` and empty text are different facts and stay different. Numbers are exact: a source's
/// binary float arrives as the shortest text that reads back to the same float.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Value {
    /// The source says "no value".
    #[default]
    Null,
    /// Text, exactly as decoded: nothing trimmed, nothing folded.
    Text(String),
    /// A decimal with its literal: `1.30` stays `1.30`.
    Decimal(Decimal),
    /// A whole number that fits 64 bits.
    Integer(i64),
    /// A truth value that the source itself types as one.
    Bool(bool),
    /// A date or a point in time that the source itself types as one.
    Time(SourceTime),
    /// Bytes: pictures, PDF files, undecoded text.
    Bytes(Vec<u8>),
    /// A sequence in the source's order.
    List(Vec<Value>),
    /// Named values in the source's order.
    Map(Map),
}

impl Value {
    /// Makes a decimal from its literal; `None` where the text is not a plain decimal.
    pub fn decimal(literal: &str) -> Option<Value> {
        Decimal::parse(literal).map(Value::Decimal)
    }

    /// The text of a `Text` value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The entries of a `Map` value.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The elements of a `List` value.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// True for `Null` only; empty text is a value.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The word for this kind of value in messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Text(_) => "text",
            Value::Decimal(_) => "decimal",
            Value::Integer(_) => "integer",
            Value::Bool(_) => "boolean",
            Value::Time(_) => "time",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Integer(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Value::Map(map)
    }
}

impl From<Vec<Value>> for Value {
    fn from(list: Vec<Value>) -> Self {
        Value::List(list)
    }
}

/// An exact decimal, kept as the literal that the source gave.
///
/// Precision is clinical information: `1.30` and `1.3` are equal numbers and different results.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Box<str>);

impl Decimal {
    /// Accepts `[+-]digits[.digits][(e|E)[+-]digits]`, and `.5` or `5.` as sources print them.
    pub fn parse(literal: &str) -> Option<Decimal> {
        Decimal::accepts(literal).then(|| Decimal(literal.into()))
    }

    /// Whether [`Decimal::parse`] accepts a text.
    pub fn accepts(literal: &str) -> bool {
        let bytes = literal.as_bytes();
        let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
        let digits = |at: &mut usize| {
            let start = *at;
            while bytes.get(*at).is_some_and(u8::is_ascii_digit) {
                *at += 1;
            }
            *at - start
        };
        let whole = digits(&mut at);
        let mut fraction = 0;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            fraction = digits(&mut at);
        }
        if whole + fraction == 0 {
            return false;
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            if digits(&mut at) == 0 {
                return false;
            }
        }
        at == bytes.len()
    }

    /// The literal, digit for digit.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A date or time that the source typed as one, with exactly as much as the source knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceTime {
    /// A calendar date.
    Date(NaiveDate),
    /// A wall-clock time without a zone. The mapping says which zone it is in.
    Local(NaiveDateTime),
    /// A point in time with the offset that the source gave.
    Offset(DateTime<FixedOffset>),
}

impl fmt::Display for SourceTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceTime::Date(date) => write!(f, "{}", date.format("%Y-%m-%d")),
            SourceTime::Local(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.f")),
            SourceTime::Offset(time) => write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.f%:z")),
        }
    }
}

impl std::str::FromStr for SourceTime {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() == 10 {
            return NaiveDate::parse_from_str(text, "%Y-%m-%d").map(SourceTime::Date);
        }
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(SourceTime::Offset(time)),
            Err(_) => NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").map(SourceTime::Local),
        }
    }
}

/// Named values in the order of the source.
///
/// Names are shared: the rows of one query hold the same `Arc` for a column's name. A name that
/// occurs twice is kept twice; [`Map::get`] answers the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Map(Vec<(Arc<str>, Value)>);

impl Map {
    /// An empty map.
    pub fn new() -> Map {
        Map::default()
    }

    /// An empty map with room for `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Map {
        Map(Vec::with_capacity(capacity))
    }

    /// Appends an entry.
    pub fn push(&mut self, name: impl Into<Arc<str>>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// The first value of that name, compared exactly.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| is(key, name)).map(|(_, value)| value)
    }

    /// The entries in the source's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Value)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The names in the source's order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(key, _)| &**key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True where there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether two names are equal. The columns of a table often begin alike and have one length, and each value of a row
/// is looked up among all of them: their ends tell most of them apart without a call.
fn is(key: &str, name: &str) -> bool {
    let (key, name) = (key.as_bytes(), name.as_bytes());
    key.len() == name.len() && key.last_chunk::<4>() == name.last_chunk::<4>() && key == name
}

impl<K: Into<Arc<str>>, V: Into<Value>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}
