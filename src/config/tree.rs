//! TOML files as one tree in which every key and value knows its file and bytes.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::disk::{Disk, why};
use crate::diagnose::Problem;

/// Where something stands.
#[derive(Clone, Debug)]
pub(crate) struct At {
    pub(crate) file: Arc<Path>,
    /// `None`: the file as a whole.
    pub(crate) span: Option<Range<usize>>,
}

impl At {
    pub(crate) fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(&*self.file, self.span.clone(), code, message)
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Tree,
}

#[derive(Clone, Debug)]
pub(crate) enum Tree {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Time(String),
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: At,
    pub(crate) value: Node,
}

impl Node {
    /// A table that is not written in any file; problems of it point at `at`.
    pub(crate) fn empty_table(at: At) -> Node {
        Node { at, value: Tree::Table(Vec::new()) }
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Tree::Table(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Tree::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Tree::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The word for its type in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Tree::Text(_) => "text",
            Tree::Integer(_) => "a whole number",
            Tree::Float(_) => "a number with a fraction",
            Tree::Bool(_) => "true or false",
            Tree::Time(_) => "a date or time",
            Tree::List(_) => "a list",
            Tree::Table(_) => "a table",
        }
    }

    /// Splits a table by its keys into those that `ours` names and the rest.
    pub(crate) fn split(&self, ours: impl Fn(&str) -> bool) -> (Node, Node) {
        let (left, right) = self.entries().iter().cloned().partition(|entry| ours(&entry.key));
        let table = |entries| Node { at: self.at.clone(), value: Tree::Table(entries) };
        (table(left), table(right))
    }

    /// The place of a path such as `settings.fetch.key[0]`, or of the nearest part of it that is
    /// written.
    pub(crate) fn locate(&self, path: &str) -> At {
        let mut node = self;
        for step in path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty()) {
            let next = match step.parse::<usize>() {
                Ok(index) => node.items().get(index),
                Err(_) => node.get(step),
            };
            match next {
                Some(below) => node = below,
                None => break,
            }
        }
        node.at.clone()
    }

    pub(crate) fn to_json(&self) -> Json {
        match &self.value {
            Tree::Text(text) | Tree::Time(text) => Json::from(text.as_str()),
            Tree::Integer(number) => Json::from(*number),
            Tree::Float(number) => Json::from(*number),
            Tree::Bool(truth) => Json::from(*truth),
            Tree::List(items) => items.iter().map(Node::to_json).collect(),
            Tree::Table(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

/// The keys at the top that only one of the files may have.
const ONCE: [&str; 9] = ["agent", "store", "upstream", "admin", "retention", "alerts", "log", "traces", "shadow"];

/// Reads a file and what it includes into one tree: tables as they stand, sources one after another.
pub(crate) fn read(path: &Path, disk: &Disk, problems: &mut Vec<Problem>) -> Node {
    let mut reader = Reader { disk, problems, open: Vec::new() };
    let nowhere = At { file: path.into(), span: None };
    let mut whole = Node::empty_table(nowhere.clone());
    reader.include(path, &nowhere, &mut whole);
    whole
}

struct Reader<'a> {
    disk: &'a Disk,
    problems: &'a mut Vec<Problem>,
    /// The files that include the one being read, outermost first.
    open: Vec<std::path::PathBuf>,
}

impl Reader<'_> {
    fn include(&mut self, path: &Path, asked_at: &At, whole: &mut Node) {
        // The same file under another name (`../here/hisync.toml`, a link) is the same file.
        let same = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.open.contains(&same) {
            let problem = asked_at.problem("include-cycle", "this file includes itself, directly or through others");
            self.problems.push(problem.hint("take one `include` of the circle out"));
            return;
        }
        let text = match crate::mapping::Files::read(self.disk, path) {
            Ok(text) => text,
            Err(cause) => {
                let message = format!("can't read {}: {}", crate::diagnose::shown(path), why(&cause));
                self.problems.push(asked_at.problem("unreadable-file", message));
                return;
            }
        };
        let file: Arc<Path> = path.into();
        let (table, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let at = At { file: file.clone(), span: error.span() };
            self.problems.push(at.problem("toml-syntax", error.message().replace('\n', "; ")));
        }
        if !errors.is_empty() {
            return;
        }
        self.open.push(same);
        let mut included = None;
        for entry in self.table(table.into_inner(), &file) {
            match entry.key.as_str() {
                "include" => included = Some(entry.value),
                _ => self.merge(entry, whole),
            }
        }
        if let Some(list) = included {
            self.includes(path, &list, whole);
        }
        self.open.pop();
    }

    fn includes(&mut self, path: &Path, list: &Node, whole: &mut Node) {
        let folder = path.parent().unwrap_or(Path::new(""));
        let wrong =
            |at: &At| at.problem("wrong-type", "`include` is a list of file names").hint("include = [\"lab.toml\"]");
        match &list.value {
            Tree::List(names) => {
                for name in names {
                    match name.text() {
                        Some(text) => self.include(&folder.join(text), &name.at, whole),
                        None => self.problems.push(wrong(&name.at)),
                    }
                }
            }
            _ => self.problems.push(wrong(&list.at)),
        }
    }

    fn merge(&mut self, entry: Entry, whole: &mut Node) {
        let Tree::Table(entries) = &mut whole.value else { return };
        let Some(before) = entries.iter_mut().find(|before| before.key == entry.key) else {
            entries.push(entry);
            return;
        };
        match (&mut before.value.value, entry.value.value) {
            (Tree::List(all), Tree::List(more)) if entry.key == "sources" => all.extend(more),
            _ if ONCE.contains(&entry.key.as_str()) => {
                let first = crate::diagnose::shown(&before.key_at.file);
                let message = format!("[{}] is given twice: {first} has it already", entry.key);
                self.problems.push(entry.key_at.problem("duplicate-table", message));
            }
            // An unknown key or a wrong type: reported where the tree is checked.
            _ => {}
        }
    }

    fn table(&mut self, table: DeTable<'_>, file: &Arc<Path>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| {
                let key_at = At { file: file.clone(), span: Some(key.span()) };
                Entry { key: key.into_inner().into_owned(), key_at, value: self.node(value, file) }
            })
            .collect();
        // The order of the file, which the parser's table does not keep.
        entries.sort_by_key(|entry| entry.key_at.span.as_ref().map(|span| span.start));
        entries
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>, file: &Arc<Path>) -> Node {
        let at = At { file: file.clone(), span: Some(value.span()) };
        let value = match value.into_inner() {
            DeValue::String(text) => Tree::Text(text.into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Tree::Integer(number),
                Err(_) => {
                    self.problems.push(at.problem("out-of-range", "this number does not fit 64 bits"));
                    Tree::Integer(0)
                }
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Tree::Float(number),
                _ => {
                    self.problems.push(at.problem("out-of-range", "this is not a finite number"));
                    Tree::Float(0.0)
                }
            },
            DeValue::Boolean(truth) => Tree::Bool(truth),
            DeValue::Datetime(time) => Tree::Time(time.to_string()),
            DeValue::Array(items) => Tree::List(items.into_iter().map(|item| self.node(item, file)).collect()),
            DeValue::Table(table) => Tree::Table(self.table(table, file)),
        };
        Node { at, value }
    }
}
