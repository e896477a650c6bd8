//! Templates of requests. Every value is escaped for the place it stands in, by construction.
//!
//! There is no way for a template to switch that off: what is printed passes through the escaping of
//! its place, whatever filters it went through before.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use connector_api::{Map, Value};
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stays as it is in a segment of a URL's path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a template's text stands, which says how values are escaped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// As it is: the whole text is encoded afterwards by whoever asked for it.
    Plain,
    /// In XML, as text or in an attribute.
    Xml,
    /// In JSON, as a value: text gets its quotes here.
    Json,
    /// In the path of a URL, as a part between slashes.
    Path,
}

/// The variables that a template is filled with.
pub type Vars = BTreeMap<&'static str, minijinja::Value>;

/// A compiled template.
pub struct Template {
    env: Environment<'static>,
    names: HashSet<String>,
    source: String,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.source)
    }
}

/// Why a template can't be compiled or filled. Holds names, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

const NAME: &str = "template";

impl TemplateError {
    /// A value can't stand in XML.
    pub(crate) fn not_xml() -> TemplateError {
        TemplateError("fill a template: a value has a character that XML does not allow".to_owned())
    }
}

impl Template {
    /// Compiles a template.
    pub fn new(source: &str, place: Place) -> Result<Template, TemplateError> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_formatter(move |out, _: &mut State<'_, '_>, value| print(place, out, value));
        env.add_filter("date", date);
        let broken = |error: Error| {
            let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
            TemplateError(format!("the template can't be read{line}: {}", plain_words(&error)))
        };
        env.add_template_owned(NAME, source.to_owned()).map_err(broken)?;
        let names = env.get_template(NAME).map_err(broken)?.undeclared_variables(false);
        Ok(Template { env, names, source: source.to_owned() })
    }

    /// Text that stands as it is, unless it looks like a template.
    pub fn fixed(text: &str) -> Option<Template> {
        let looks = ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark));
        if looks { None } else { Template::new(text, Place::Plain).ok() }
    }

    /// The variables that it names.
    pub fn names(&self) -> &HashSet<String> {
        &self.names
    }

    /// True where it names that variable.
    pub fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Its text as it stands in the configuration.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Fills it. Fails where a variable, or a field of one, is not there.
    pub fn fill(&self, vars: &Vars) -> Result<String, TemplateError> {
        let failed = |error: Error| TemplateError(format!("fill a template: {}", plain_words(&error)));
        self.env.get_template(NAME).and_then(|template| template.render(context(vars))).map_err(failed)
    }
}

fn context(vars: &Vars) -> minijinja::Value {
    minijinja::Value::from_pairs(vars.iter().map(|(name, value)| (*name, value.clone())))
}

/// An error's kind alone: its detail may quote a value.
fn plain_words(error: &Error) -> String {
    match error.kind() {
        ErrorKind::UndefinedError => "it names a variable or field that is not there".to_owned(),
        ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownFunction => error.to_string(),
        kind => kind.to_string(),
    }
}

/// `{{ from|date("%Y%m%d") }}`: a time as the agent gives it, in another pattern.
fn date(text: &str, pattern: &str, _: Kwargs) -> Result<String, Error> {
    let wrong = |what: &'static str| Error::new(ErrorKind::InvalidOperation, what);
    let time = chrono::NaiveDateTime::parse_from_str(text, crate::window::DEFAULT_FORMAT)
        .map_err(|_| wrong("date is for from and to, in their usual format"))?;
    let mut written = String::new();
    fmt::Write::write_fmt(&mut written, format_args!("{}", time.format(pattern)))
        .map_err(|_| wrong("the pattern of date can't be used"))?;
    Ok(written)
}

fn print(place: Place, out: &mut Output<'_>, value: &minijinja::Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    let failed = |_: fmt::Error| Error::from(ErrorKind::WriteFailure);
    if place == Place::Json {
        let json = serde_json::to_string(value).map_err(|_| Error::from(ErrorKind::BadSerialization))?;
        return out.write_str(&json).map_err(failed);
    }
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Bytes | ValueKind::Iterable) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a list or record can't be written as text"));
    }
    let text = if value.is_none() { String::new() } else { value.to_string() };
    match place {
        Place::Xml => out.write_str(&escape_xml(&text).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "a value has a character that XML does not allow")
        })?),
        Place::Path if text.is_empty() || text == "." || text == ".." => {
            return Err(Error::new(ErrorKind::InvalidOperation, "a value can't be a part of a path"));
        }
        Place::Path => out.write_str(&utf8_percent_encode(&text, SEGMENT).to_string()),
        Place::Plain | Place::Json => out.write_str(&text),
    }
    .map_err(failed)
}

/// Escapes text for XML; `None` where it holds what XML does not allow.
pub(crate) fn escape_xml(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\r' => out.push_str("&#13;"),
            '\t' | '\n' | '\u{20}'..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            _ => return None,
        }
    }
    Some(out)
}

/// A source's value as templates see it: a decimal keeps its digits as text.
pub(crate) fn visible(value: &Value) -> minijinja::Value {
    match value {
        Value::Null => minijinja::Value::from(()),
        Value::Text(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::Decimal(number) => number.as_str().into(),
        Value::Time(time) => time.to_string().into(),
        Value::Bytes(_) => minijinja::Value::from(()),
        Value::List(list) => list.iter().map(visible).collect(),
        Value::Map(map) => visible_map(map),
    }
}

/// A record as templates see it; of a name that occurs twice, the first.
pub(crate) fn visible_map(map: &Map) -> minijinja::Value {
    let mut seen = BTreeMap::new();
    for (name, value) in map.iter() {
        seen.entry(name.to_string()).or_insert_with(|| visible(value));
    }
    minijinja::Value::from_pairs(seen)
}

#[cfg(test)]
mod tests;
