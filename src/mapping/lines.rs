//! Which line of a mapping fills which field: what `hisync preview` shows beside each value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Files;
use super::tree::{Entry, Leaf, Spot, Table, Tree};

/// The line of a mapping that fills a field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// The field, without the places of lists: `groups.items.value`.
    pub path: String,
    /// What stands there, in short: `TJBH`, `TCMC | TCJC`, `const "health"`.
    pub says: String,
    /// The file: of several that extend each other, the one that said it last.
    pub file: PathBuf,
    /// The line in the file, from 1.
    pub line: usize,
}

/// One value that a mapping took from a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Made {
    /// The field, with the places of lists: `groups[0].items[2].value`.
    pub path: String,
    /// The source's name that it was found under.
    pub from: String,
    /// What stood there, blanks at the ends taken off. May be personal data.
    pub raw: String,
}

/// The keys by which a table is a line of its own rather than an object with fields.
const WAYS: [&str; 6] = ["from", "const", "expr", "off", "low", "default"];

/// The lines of a whole mapping, extended files merged.
pub(super) fn collect(root: &Table, files: &dyn Files) -> Vec<Line> {
    let mut walk = Walk { files, texts: BTreeMap::new(), lines: Vec::new() };
    if let Some(key) = root.get("key").and_then(|entry| entry.tree.table()).and_then(|table| table.get("parts")) {
        walk.push("business_key".to_owned(), says(&key.tree), &key.key);
    }
    if let Some(fields) = root.get("fields").and_then(|entry| entry.tree.table()) {
        walk.fields("", fields);
    }
    walk.lines
}

struct Walk<'f> {
    files: &'f dyn Files,
    texts: BTreeMap<PathBuf, String>,
    lines: Vec<Line>,
}

impl Walk<'_> {
    fn fields(&mut self, above: &str, table: &Table) {
        for (name, entry) in table {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            self.field(path, entry);
        }
    }

    fn field(&mut self, path: String, entry: &Entry) {
        let Some(table) = entry.tree.table().filter(|table| !WAYS.iter().any(|way| table.contains_key(*way))) else {
            return self.push(path, says(&entry.tree), &entry.key);
        };
        match (table.get("each"), table.get("fields").and_then(|entry| entry.tree.table())) {
            (Some(each), Some(fields)) => {
                self.push(path.clone(), format!("each {}", says(&each.tree)), &entry.key);
                self.fields(&path, fields);
            }
            _ => self.fields(&path, table),
        }
    }

    fn push(&mut self, path: String, says: String, spot: &Spot) {
        let line = self.line(&spot.file, spot.span.start);
        self.lines.push(Line { path, says, file: spot.file.to_path_buf(), line });
    }

    fn line(&mut self, file: &Path, at: usize) -> usize {
        let files = self.files;
        let text = self.texts.entry(file.to_owned()).or_insert_with(|| files.read(file).unwrap_or_default());
        text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

fn says(tree: &Tree) -> String {
    match &tree.leaf {
        Leaf::Text(text) => text.clone(),
        Leaf::Integer(number) => number.to_string(),
        Leaf::Bool(truth) => truth.to_string(),
        Leaf::List(list) => list.iter().map(says).collect::<Vec<_>>().join(" | "),
        Leaf::Other(kind) => (*kind).to_owned(),
        Leaf::Table(table) => {
            let of = |key: &str| table.get(key).map(|entry| says(&entry.tree));
            let ways = [
                of("from"),
                of("low").zip(of("high")).map(|(low, high)| format!("{low} … {high}")),
                of("const").map(|text| format!("const {text:?}")),
                of("expr").map(|text| format!("expr {text}")),
                of("off").map(|switches| format!("switches {switches}")),
                of("default").map(|text| format!("default {text:?}")),
            ];
            let mut said = ways.into_iter().flatten().collect::<Vec<_>>().join(", else ");
            if let Some(codes) = of("codes") {
                said.push_str(&format!(" by codes.{codes}"));
            }
            said
        }
    }
}

/// Fields of the model that one line fills together, by what that line is called.
const TOGETHER: [(&str, &[&str]); 5] = [
    ("value", &["value_raw", "value_kind", "value_num", "comparator", "value_low", "value_high", "absent_reason"]),
    ("unit", &["unit_raw", "unit_ucum"]),
    ("reference", &["reference_raw", "reference", "reference_ranges"]),
    ("flag", &["flag_source_raw", "flag_source"]),
    ("critical", &["is_critical"]),
];

/// The paths under which the line of an entity's field may stand: `groups[0].items[1].value_num` is
/// filled by `groups[0].items[1].value`. With the places of lists, or without where the path has none.
pub fn paths_of(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    let mut at = path;
    loop {
        let (above, name) = at.rsplit_once('.').map_or(("", at), |(above, name)| (above, name));
        let bare = name.split('[').next().unwrap_or(name);
        let beside = |name: &str| if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") };
        if let Some((line, _)) = TOGETHER.iter().find(|(_, fields)| fields.contains(&bare)) {
            all.push(beside(line));
        }
        if let Some(stem) = bare.strip_suffix("_raw") {
            all.push(beside(stem));
            all.push(beside(&format!("{stem}_minor")));
        }
        if bare == "disabled_reasons" {
            all.push(beside("enabled"));
        }
        if bare != name {
            all.push(beside(bare));
        }
        // `reference.low` is filled by the line of `reference`.
        if above.is_empty() {
            return all;
        }
        at = above;
        if !TOGETHER.iter().any(|(_, fields)| fields.contains(&at.rsplit('.').next().unwrap_or(at))) {
            return all;
        }
    }
}

/// The path without the places of lists.
pub fn without_places(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut inside = false;
    for c in path.chars() {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}
