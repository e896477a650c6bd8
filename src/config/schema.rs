//! Checks a tree against a JSON Schema made from the settings types, every problem with its place.
//!
//! It knows the part of JSON Schema that those types yield: objects, lists, texts, numbers,
//! enumerations and tagged alternatives. Two things it does beyond a validator: a key that a type
//! does not name is an error with the nearest name, and a place for a [`Secret`] takes references
//! only.

use std::path::Path;

use connector_api::Secret;
use serde_json::Value as Json;

use super::grammar;
use super::tree::{At, Entry, Node, Tree};
use crate::diagnose::{LITERAL_SECRET, Problem, nearest};

/// A place of the configuration that refers to a secret.
#[derive(Clone, Debug)]
pub struct SecretUse {
    at: At,
    /// The reference.
    pub secret: Secret,
}

impl SecretUse {
    /// A problem at the place of the reference.
    pub(super) fn problem(&self, code: &'static str, message: String) -> Problem {
        self.at.problem(code, message)
    }

    /// The file that refers to it, and the byte at which the reference begins.
    pub fn place(&self) -> (&Path, Option<usize>) {
        (&self.at.file, self.at.span.as_ref().map(|span| span.start))
    }

    /// The problem at the place of the reference where the secret can't be read now.
    pub fn unreadable(&self, base_dir: &Path) -> Option<Problem> {
        let error = self.secret.read(base_dir).err()?;
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Some(self.at.problem("unreadable-secret", format!("{error}{cause}")))
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) problems: Vec<Problem>,
    pub(crate) secrets: Vec<SecretUse>,
}

/// Checks `node` against `schema`, whose `$ref`s are relative to itself. `also` are further keys that
/// the table may have: they are suggested, but not checked.
pub(crate) fn check(node: &Node, schema: &Json, also: &[&str], found: &mut Found) {
    Walker { root: schema, also, found }.node(node, schema, true);
}

struct Walker<'a> {
    root: &'a Json,
    also: &'a [&'a str],
    found: &'a mut Found,
}

/// One of several forms that a value may have.
struct Form<'a> {
    schema: &'a Json,
    name: String,
}

impl<'a> Walker<'a> {
    fn report(&mut self, problem: Problem) {
        self.found.problems.push(problem);
    }

    /// Follows references; also says whether the schema is that of a secret.
    fn resolve(&self, mut schema: &'a Json) -> (&'a Json, bool) {
        let mut secret = false;
        while let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            secret |= reference.ends_with("/Secret");
            match reference.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        (schema, secret)
    }

    fn node(&mut self, node: &Node, schema: &'a Json, top: bool) {
        let (schema, secret) = self.resolve(schema);
        if secret {
            return self.secret(node, schema);
        }
        let forms = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Json::as_array);
        if let Some(forms) = forms {
            let forms: Vec<&Json> = forms.iter().filter(|form| !is_null(form)).collect();
            if let [only] = forms[..] {
                return self.node(node, only, top);
            }
            // Keys beside the alternatives belong to every one of them; our types have none.
            return self.forms(node, schema, &forms);
        }
        if let Some(constant) = schema.get("const") {
            return self.one_of(node, &[constant]);
        }
        if let Some(values) = schema.get("enum").and_then(Json::as_array) {
            return self.one_of(node, &values.iter().filter(|value| !value.is_null()).collect::<Vec<_>>());
        }
        self.plain(node, schema, top);
    }

    fn plain(&mut self, node: &Node, schema: &'a Json, top: bool) {
        let kinds: Vec<&str> = match schema.get("type") {
            Some(Json::String(kind)) => vec![kind],
            Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).filter(|kind| *kind != "null").collect(),
            // `true`, or a schema without a type: anything fits.
            _ if schema.get("properties").is_none() => return,
            _ => vec!["object"],
        };
        let fits = |kind: &&&str| {
            matches!(
                (**kind, &node.value),
                ("string", Tree::Text(_) | Tree::Time(_))
                    | ("integer" | "number", Tree::Integer(_))
                    | ("number", Tree::Float(_))
                    | ("boolean", Tree::Bool(_))
                    | ("array", Tree::List(_))
                    | ("object", Tree::Table(_))
            )
        };
        if !kinds.iter().any(|kind| fits(&kind)) {
            return self.wrong_type(node, &kinds);
        }
        match &node.value {
            Tree::Text(text) => self.text(node, text, schema),
            Tree::Integer(number) => self.range(node, *number as f64, &number.to_string(), schema),
            Tree::Float(number) => self.range(node, *number, &number.to_string(), schema),
            Tree::List(items) => self.list(node, items, schema),
            Tree::Table(entries) => self.table(node, entries, schema, top),
            Tree::Bool(_) | Tree::Time(_) => {}
        }
    }

    fn wrong_type(&mut self, node: &Node, kinds: &[&str]) {
        let words: Vec<&str> = kinds.iter().map(|kind| type_word(kind)).collect();
        let mut problem =
            node.at.problem("wrong-type", format!("this is {}, but {} is expected", node.kind(), words.join(" or ")));
        let written = match &node.value {
            Tree::Integer(number) => Some(number.to_string()),
            Tree::Float(number) => Some(number.to_string()),
            Tree::Bool(truth) => Some(truth.to_string()),
            _ => None,
        };
        match (&node.value, written) {
            (_, Some(written)) if kinds.contains(&"string") => {
                problem = problem.hint(format!("write \"{written}\" in quotes"))
            }
            (Tree::Text(text), _) if kinds.contains(&"boolean") && (text == "true" || text == "false") => {
                problem = problem.hint(format!("write {text} without quotes"));
            }
            (Tree::Text(text), _) if kinds.contains(&"integer") && text.parse::<i64>().is_ok() => {
                problem = problem.hint(format!("write {text} without quotes"));
            }
            (_, _) if kinds.contains(&"array") => problem = problem.hint("put it in brackets: [ … ]"),
            _ => {}
        }
        self.report(problem);
    }

    fn text(&mut self, node: &Node, text: &str, schema: &Json) {
        let least = schema.get("minLength").and_then(Json::as_u64).unwrap_or(0);
        if (text.chars().count() as u64) < least {
            return self.report(node.at.problem("empty-text", "this must not be empty"));
        }
        if let Some(Err(misfit)) = schema.get("format").and_then(Json::as_str).map(|format| grammar::fits(format, text))
        {
            let mut problem = node.at.problem(misfit.code, misfit.message);
            problem.hint = misfit.hint;
            self.report(problem);
        }
    }

    fn range(&mut self, node: &Node, number: f64, written: &str, schema: &Json) {
        let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
        let below = bound("minimum").filter(|bound| bound.as_f64().is_some_and(|bound| number < bound));
        let above = bound("maximum").filter(|bound| bound.as_f64().is_some_and(|bound| number > bound));
        let limit = match (below, above) {
            (Some(least), _) => format!("at least {least}"),
            (_, Some(most)) => format!("at most {most}"),
            _ => return,
        };
        self.report(node.at.problem("out-of-range", format!("{written} is out of range: {limit} is allowed")));
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Json) {
        let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
        if (items.len() as u64) < least {
            let message = format!("this list has {} entries; at least {least} needed", items.len());
            self.report(node.at.problem("out-of-range", message));
        }
        if let Some(each) = schema.get("items") {
            for item in items {
                self.node(item, each, false);
            }
        }
    }

    fn table(&mut self, node: &Node, entries: &[Entry], schema: &'a Json, top: bool) {
        let none = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Json::as_object);
        // A map type takes any key; its `additionalProperties` say what the values are.
        let others =
            schema.get("additionalProperties").filter(|others| others.is_object() || **others == Json::Bool(true));
        let also = if top { self.also } else { &[] };
        // A misspelt key is one mistake: the key that was meant is not reported as missing too.
        let mut meant = Vec::new();
        for entry in entries {
            match (properties.and_then(|known| known.get(&entry.key)), others) {
                (Some(schema), _) | (None, Some(schema)) => self.node(&entry.value, schema, false),
                (None, None) if properties.is_none() && also.is_empty() && !closed(schema) => {}
                (None, None) => {
                    let known = properties.unwrap_or(&none).keys().map(String::as_str).chain(also.iter().copied());
                    let known: Vec<&str> = known.collect();
                    meant.extend(nearest(&entry.key, known.iter().copied()));
                    self.report(unknown_key(entry, &known));
                }
            }
        }
        for key in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            if node.entry(key).is_none() && !meant.contains(&key) {
                self.report(missing_key(node, key, properties.and_then(|known| known.get(key))));
            }
        }
    }

    fn one_of(&mut self, node: &Node, allowed: &[&Json]) {
        if allowed.iter().any(|value| **value == node.to_json()) {
            return;
        }
        let words: Vec<String> = allowed.iter().map(|value| value.to_string()).collect();
        let names: Vec<&str> = allowed.iter().filter_map(|value| value.as_str()).collect();
        let mut hint = match words.as_slice() {
            [only] => format!("write {only}"),
            _ => format!("use one of {}", words.join(", ")),
        };
        let message = match node.text() {
            Some(text) => {
                if let Some(near) = nearest(text, names.iter().copied()) {
                    hint = format!("did you mean \"{near}\"? {hint}");
                }
                format!("\"{text}\" is not allowed here")
            }
            None => format!("this is {}, but one of a few words is expected", node.kind()),
        };
        self.report(node.at.problem("not-allowed", message).hint(hint));
    }

    /// A value that may have one of several forms: words, tables told apart by a tag, tables told
    /// apart by their only key, or different types.
    fn forms(&mut self, node: &Node, schema: &'a Json, forms: &[&'a Json]) {
        let forms: Vec<&'a Json> = forms.iter().map(|form| self.resolve(form).0).collect();
        let words: Vec<&Json> = forms.iter().flat_map(|form| words_of(form)).collect();
        let tables: Vec<&'a Json> = forms.iter().copied().filter(|form| words_of(form).is_empty()).collect();
        if tables.is_empty() {
            return self.one_of(node, &words);
        }
        if let Some((tag, tagged)) = tagged(&tables) {
            return self.tagged(node, tag, &tagged);
        }
        if let Some(keyed) = keyed(&tables) {
            return match &node.value {
                Tree::Table(entries) => self.keyed(node, entries, &keyed),
                _ if !words.is_empty() => self.one_of(node, &words),
                _ => self.wrong_type(node, &["object"]),
            };
        }
        // Forms that nothing tells apart: the first that fits, else the one that comes nearest.
        let mut best: Option<Found> = None;
        for form in forms {
            let mut tried = Found::default();
            Walker { root: self.root, also: &[], found: &mut tried }.node(node, form, false);
            let better = best.as_ref().is_none_or(|best| tried.problems.len() < best.problems.len());
            if tried.problems.is_empty() || better {
                let done = tried.problems.is_empty();
                best = Some(tried);
                if done {
                    break;
                }
            }
        }
        let _ = schema;
        if let Some(best) = best {
            self.found.problems.extend(best.problems);
            self.found.secrets.extend(best.secrets);
        }
    }

    fn tagged(&mut self, node: &Node, tag: &'a str, forms: &[Form<'a>]) {
        if !matches!(node.value, Tree::Table(_)) {
            return self.wrong_type(node, &["object"]);
        }
        let names: Vec<&str> = forms.iter().map(|form| form.name.as_str()).collect();
        let Some(value) = node.get(tag) else {
            let hint = format!("{tag} = one of {}", quoted(&names));
            return self.report(node.at.problem("missing-key", format!("the key `{tag}` is missing")).hint(hint));
        };
        match forms.iter().find(|form| value.text() == Some(&form.name)) {
            Some(form) => self.plain(node, form.schema, false),
            None => {
                let names: Vec<Json> = names.into_iter().map(Json::from).collect();
                self.one_of(value, &names.iter().collect::<Vec<_>>());
            }
        }
    }

    fn keyed(&mut self, node: &Node, entries: &[Entry], forms: &[Form<'a>]) {
        let names: Vec<&str> = forms.iter().map(|form| form.name.as_str()).collect();
        let [entry] = entries else {
            let message = format!("exactly one key is expected here, not {}", entries.len());
            return self
                .report(node.at.problem("not-allowed", message).hint(format!("use one of {}", names.join(", "))));
        };
        match forms.iter().find(|form| form.name == entry.key) {
            Some(form) => self.plain(node, form.schema, false),
            None => self.report(unknown_key(entry, &names)),
        }
    }

    fn secret(&mut self, node: &Node, schema: &'a Json) {
        if node.text().is_some() {
            let hint = "say where the secret is: { file = \"…\" }, { env = \"…\" } or { credential = \"…\" };\n\
                        or seal it: `hisync secret seal` asks for it and prints { sealed = \"…\" }, which may\n\
                        stand here; its key stays outside of the configuration (`hisync secret new-key`)";
            let message = "a secret must not stand in the configuration in clear text";
            return self.report(node.at.problem(LITERAL_SECRET, message).hint(hint));
        }
        let before = self.found.problems.len();
        if let Some(forms) = schema.get("oneOf").and_then(Json::as_array) {
            self.forms(node, schema, &forms.iter().collect::<Vec<_>>());
        }
        if self.found.problems.len() == before
            && let Ok(secret) = serde_json::from_value(node.to_json())
        {
            self.found.secrets.push(SecretUse { at: node.at.clone(), secret });
        }
    }
}

/// A key that is missing from a table, with what it would mean.
fn missing_key(node: &Node, key: &str, schema: Option<&Json>) -> Problem {
    let problem = node.at.problem("missing-key", format!("the key `{key}` is missing"));
    if let Some(word) = schema.and_then(|schema| schema.get("const")) {
        return problem.hint(format!("{key} = {word}"));
    }
    let description = schema.and_then(|schema| schema.get("description")).and_then(Json::as_str).unwrap_or_default();
    match description.lines().next() {
        Some(first) if !first.is_empty() => problem.hint(format!("{key} = …   # {first}")),
        _ => problem,
    }
}

/// A key that a table can't have.
pub(crate) fn unknown_key(entry: &Entry, known: &[&str]) -> Problem {
    let allowed = match known {
        [] => "no key is allowed here".to_owned(),
        _ => format!("allowed here: {}", known.join(", ")),
    };
    let hint = match nearest(&entry.key, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {allowed}"),
        None => allowed,
    };
    entry.key_at.problem("unknown-key", format!("the key `{}` is unknown", entry.key)).hint(hint)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn type_word(kind: &str) -> &'static str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    }
}

fn is_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

/// A type of an enum or struct without fields: nothing is allowed in its table.
fn closed(schema: &Json) -> bool {
    schema.get("additionalProperties") == Some(&Json::Bool(false))
}

/// The words that a form stands for, if it is one of words alone.
fn words_of(form: &Json) -> Vec<&Json> {
    match (form.get("const"), form.get("enum").and_then(Json::as_array)) {
        (Some(word), _) => vec![word],
        (_, Some(words)) => words.iter().collect(),
        _ => Vec::new(),
    }
}

/// Tables that one key with a constant tells apart, with that key.
fn tagged<'a>(forms: &[&'a Json]) -> Option<(&'a str, Vec<Form<'a>>)> {
    let constants = |form: &'a Json| {
        let properties = form.get("properties").and_then(Json::as_object).into_iter().flatten();
        properties.filter_map(|(key, schema)| Some((key.as_str(), schema.get("const")?.as_str()?)))
    };
    let (tag, _) = constants(forms.first()?).next()?;
    let named = |form: &&'a Json| {
        let name = constants(form).find(|(key, _)| *key == tag)?.1.to_owned();
        Some(Form { schema: form, name })
    };
    Some((tag, forms.iter().map(named).collect::<Option<Vec<_>>>()?))
}

/// Tables of exactly one key each.
fn keyed<'a>(forms: &[&'a Json]) -> Option<Vec<Form<'a>>> {
    let named = |form: &&'a Json| match form.get("required")?.as_array()?.as_slice() {
        [key] if form.get("properties")?.as_object()?.len() == 1 => {
            Some(Form { schema: form, name: key.as_str()?.to_owned() })
        }
        _ => None,
    };
    forms.iter().map(named).collect()
}

#[cfg(test)]
mod tests;
