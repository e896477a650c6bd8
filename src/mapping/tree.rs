//! A mapping file as a tree in which every value knows its file and place, and `extends`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Files;
use crate::diagnose::Problem;

/// Where something is written.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) file: Arc<Path>,
    pub(super) span: Range<usize>,
}

impl Spot {
    pub(super) fn problem(&self, code: &'static str, message: impl Into<String>) -> Problem {
        Problem::new(&*self.file, self.span.clone(), code, message)
    }
}

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) spot: Spot,
    pub(super) leaf: Leaf,
}

#[derive(Clone, Debug)]
pub(super) enum Leaf {
    Text(String),
    Integer(i64),
    Bool(bool),
    List(Vec<Tree>),
    Table(Table),
    /// A kind of value that no mapping uses.
    Other(&'static str),
}

/// Keys with their own places, so that a problem with a key points at the key.
pub(super) type Table = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Spot,
    pub(super) tree: Tree,
}

impl Tree {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.leaf {
            Leaf::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.leaf {
            Leaf::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match &self.leaf {
            Leaf::Text(_) => "text",
            Leaf::Integer(_) => "a whole number",
            Leaf::Bool(_) => "true or false",
            Leaf::List(_) => "a list",
            Leaf::Table(_) => "a table",
            Leaf::Other(kind) => kind,
        }
    }

    fn of(value: &Spanned<DeValue<'_>>, file: &Arc<Path>) -> Tree {
        let leaf = match value.get_ref() {
            DeValue::String(text) => Leaf::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Leaf::Integer(number),
                Err(_) => Leaf::Other("a number that is too large"),
            },
            DeValue::Boolean(truth) => Leaf::Bool(*truth),
            DeValue::Array(list) => Leaf::List(list.iter().map(|value| Tree::of(value, file)).collect()),
            DeValue::Table(table) => Leaf::Table(table_of(table, file)),
            DeValue::Float(_) => Leaf::Other("a number with a fraction"),
            DeValue::Datetime(_) => Leaf::Other("a date (write it in quotes)"),
        };
        Tree { spot: Spot { file: Arc::clone(file), span: value.span() }, leaf }
    }
}

fn table_of(table: &DeTable<'_>, file: &Arc<Path>) -> Table {
    table
        .iter()
        .map(|(key, value)| {
            let spot = Spot { file: Arc::clone(file), span: key.span() };
            (key.get_ref().to_string(), Entry { key: spot, tree: Tree::of(value, file) })
        })
        .collect()
}

/// Reads files, remembers them in order and hashes all of them into the mapping's version.
pub(super) struct Loader<'a> {
    files: &'a dyn Files,
    pub(super) read: Vec<PathBuf>,
    hash: Sha256,
    /// The same without the files of code tables.
    base: Sha256,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(files: &'a dyn Files) -> Loader<'a> {
        Loader { files, read: Vec::new(), hash: Sha256::new(), base: Sha256::new(), problems: Vec::new() }
    }

    /// The text of a file; a problem at `spot` (the place that names it) where it can't be read.
    pub(super) fn text(&mut self, path: &Path, spot: Option<&Spot>) -> Option<String> {
        let text = self.codes(path, spot)?;
        hash(&mut self.base, &text);
        Some(text)
    }

    /// The text of a file with a code table: which codes it lists does not change what the rest of the mapping does.
    pub(super) fn codes(&mut self, path: &Path, spot: Option<&Spot>) -> Option<String> {
        match self.files.read(path) {
            Ok(text) => {
                hash(&mut self.hash, &text);
                if !self.read.iter().any(|seen| seen == path) {
                    self.read.push(path.to_owned());
                }
                Some(text)
            }
            Err(error) => {
                let message = format!("can't read {}: {}", path.display(), error.kind());
                self.problems.push(match spot {
                    Some(spot) => spot.problem("unreadable-file", message).hint("paths are relative to this file"),
                    None => Problem::new(path, None, "unreadable-file", message),
                });
                None
            }
        }
    }

    /// Twelve hexadecimal digits that change with any byte of any file.
    pub(super) fn digest(&self) -> String {
        hex::encode(self.hash.clone().finalize()).chars().take(12).collect()
    }

    /// A digest of all files but those of code tables, and of these texts.
    pub(super) fn base<'t>(&self, texts: impl Iterator<Item = &'t str>) -> String {
        let mut base = self.base.clone();
        texts.for_each(|text| hash(&mut base, text));
        hex::encode(base.finalize()).chars().take(32).collect()
    }

    /// The file with everything that it extends merged below it.
    pub(super) fn load(&mut self, path: &Path) -> Option<Tree> {
        self.load_under(path, None, &mut Vec::new())
    }

    fn load_under(&mut self, path: &Path, spot: Option<&Spot>, above: &mut Vec<PathBuf>) -> Option<Tree> {
        let path = normalized(path);
        if above.contains(&path) {
            if let Some(spot) = spot {
                self.problems.push(
                    spot.problem("extends-cycle", format!("{} extends itself", path.display()))
                        .hint("one of the files in the circle must stand alone"),
                );
            }
            return None;
        }
        let text = self.text(&path, spot)?;
        let file: Arc<Path> = path.as_path().into();
        let (parsed, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            let problems = errors.iter().map(|error| Problem::new(&path, error.span(), "toml", error.message()));
            self.problems.extend(problems);
            return None;
        }
        let own = Tree {
            spot: Spot { file: Arc::clone(&file), span: 0..0 },
            leaf: Leaf::Table(table_of(parsed.get_ref(), &file)),
        };
        let extends = own
            .table()
            .and_then(|root| root.get("mapping"))
            .and_then(|entry| entry.tree.table())
            .and_then(|mapping| mapping.get("extends"))
            .map(|entry| entry.tree.clone());
        let Some(extends) = extends else { return Some(own) };
        let Some(parent) = extends.text() else {
            self.problems.push(extends.spot.problem("wrong-type", "`extends` names a file"));
            return Some(own);
        };
        above.push(path.clone());
        let below = self.load_under(&beside(&path, parent), Some(&extends.spot), above);
        above.pop();
        below.map(|below| merge(below, own, ""))
    }
}

fn hash(digest: &mut Sha256, text: &str) {
    digest.update((text.len() as u64).to_be_bytes());
    digest.update(text.as_bytes());
}

/// The path of a file that another file names.
pub(super) fn beside(file: &Path, name: &str) -> PathBuf {
    normalized(&file.parent().unwrap_or(Path::new("")).join(name))
}

/// Resolves `.` and `..` by words alone, so that one file has one name.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// The ways in which a field says where its value comes from; a child's way replaces the parent's.
const WAYS: [&str; 7] = ["from", "const", "expr", "off", "low", "high", "default"];

/// Lays a child's value over its parent's, key by key. `name` is the key that both stand under.
fn merge(below: Tree, above: Tree, name: &str) -> Tree {
    // Keys of these tables are the site's own words or the model's, never ways.
    let is_line = !matches!(name, "fields" | "inline" | "absent" | "with" | "rules" | "codes");
    let names_a_way = |table: &Table| is_line && WAYS[..6].iter().any(|way| table.contains_key(*way));
    let spot = above.spot.clone();
    let (mut table, own) = match (below.leaf, above.leaf) {
        (Leaf::Table(below), Leaf::Table(above)) => (below, above),
        // A plain name replaces where the value comes from, not how it is read.
        (Leaf::Table(below), Leaf::Text(text)) if names_a_way(&below) && !below.contains_key("off") => {
            let tree = Tree { spot: spot.clone(), leaf: Leaf::Text(text) };
            (below, Table::from([("from".to_owned(), Entry { key: spot.clone(), tree })]))
        }
        (_, leaf) => return Tree { spot, leaf },
    };
    if names_a_way(&own) {
        table.retain(|key, _| !WAYS.contains(&key.as_str()));
    }
    for (key, entry) in own {
        let merged = match table.remove(&key) {
            Some(old) => Entry { key: entry.key, tree: merge(old.tree, entry.tree, &key) },
            None => entry,
        };
        table.insert(key, merged);
    }
    Tree { spot, leaf: Leaf::Table(table) }
}
