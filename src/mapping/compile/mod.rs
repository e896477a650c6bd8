//! Compiles a mapping file against the model; every problem at once.
//!
//! Here are the file and its sections; `object` has the tables of fields, `line` a single field.

mod line;
mod object;
mod report;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior};

use super::Files;
use super::codes;
use super::lines::{self, Line};
use super::plan::*;
use super::rules::{self, Weights};
use super::shape::{self, Kind};
use super::source::SourcePath;
use super::tree::{Entry, Leaf, Loader, Spot, Table, Tree};
use crate::diagnose::Problem;
use crate::model::{EntityType, Severity};

/// Expressions live as long as the program's environment for them: a mapping file is compiled a few
/// times in the life of an agent.
static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
});

/// A compiled file with what is known about it.
pub(super) struct Compiled {
    pub(super) plan: Plan,
    pub(super) version: String,
    /// The version without its code tables.
    pub(super) base: String,
    pub(super) tables: BTreeMap<String, std::sync::Arc<CodeTable>>,
    pub(super) files: Vec<std::path::PathBuf>,
    pub(super) lines: Vec<Line>,
}

/// The entity that a file says it makes, what it extends merged.
pub(super) fn entity_of(path: &Path, files: &dyn Files) -> Option<EntityType> {
    let root = Loader::new(files).load(path)?;
    section(root.table()?, "mapping")?.get("entity")?.tree.text()?.parse().ok()
}

pub(super) fn compile(path: &Path, entity: EntityType, files: &dyn Files) -> Result<Compiled, Vec<Problem>> {
    let mut loader = Loader::new(files);
    let Some(root) = loader.load(path) else { return Err(loader.problems) };
    let mut compiler = Compiler { entity, loader, codes: BTreeMap::new(), told: HashSet::new() };
    let empty = Table::new();
    let table = root.table().unwrap_or(&empty);
    let plan = compiler.file(table, &root.spot);
    let name = section(table, "mapping").and_then(|mapping| mapping.get("name")).and_then(|entry| entry.tree.text());
    let name = name.map_or_else(|| name_of(path), str::to_owned);
    let Loader { problems, read, .. } = &mut compiler.loader;
    if !problems.is_empty() {
        problems.sort_by_key(|problem| {
            let file = read.iter().position(|file| *file == problem.file);
            (file, problem.span.as_ref().map_or(0, |span| span.start))
        });
        problems.dedup();
        return Err(std::mem::take(problems));
    }
    let version = format!("{name}@{}", compiler.loader.digest());
    let tables: BTreeMap<_, _> = compiler.codes.into_iter().map(|(name, loaded)| (name, loaded.table)).collect();
    // A listed code that would otherwise be no value at all is met without being told as unknown, so such codes
    // belong to what the mapping does.
    let silent = super::usage::silent(&plan, &tables);
    let base = format!("{name}@{}", compiler.loader.base(silent.iter().map(String::as_str)));
    let lines = lines::collect(table, files);
    Ok(Compiled { plan, version, base, tables, files: compiler.loader.read, lines })
}

/// `mappings/tj2000/exam_report.toml` is `tj2000/exam_report`.
fn name_of(path: &Path) -> String {
    let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = part(path.file_stem()).unwrap_or_default();
    match part(path.parent().and_then(Path::file_name)) {
        Some(folder) => format!("{folder}/{stem}"),
        None => stem,
    }
}

fn section<'t>(table: &'t Table, name: &str) -> Option<&'t Table> {
    table.get(name).and_then(|entry| entry.tree.table())
}

/// The nearest of some names, as a hint.
pub(super) fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    names
        .into_iter()
        .map(|name| (strsim::jaro_winkler(word, name), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}

fn did_you_mean<'n>(problem: Problem, word: &str, names: impl IntoIterator<Item = &'n str> + Clone) -> Problem {
    match nearest(word, names.clone()) {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => {
            let mut all: Vec<&str> = names.into_iter().collect();
            all.sort_unstable();
            match all.len() {
                // A hint that is longer than the file helps nobody.
                0..=19 => problem.hint(format!("one of: {}", all.join(", "))),
                _ => problem.hint("`hisync schema` lists the fields of an entity"),
            }
        }
    }
}

/// How a line may be read, beside its kind.
#[derive(Clone, Copy)]
enum Target {
    Kind(&'static Kind),
    Composite(Composite),
}

static TEXT: Kind = Kind::Text;

struct Compiler<'f> {
    entity: EntityType,
    loader: Loader<'f>,
    codes: BTreeMap<String, codes::Loaded>,
    /// Code tables whose mistakes were told already, by table and field type.
    told: HashSet<(String, String)>,
}

impl Compiler<'_> {
    fn problem(&mut self, problem: Problem) {
        self.loader.problems.push(problem);
    }

    fn keys(&mut self, table: &Table, allowed: &[&str], code: &'static str, what: &str) {
        for (name, entry) in table {
            if !allowed.contains(&name.as_str()) {
                let problem = entry.key.problem(code, format!("`{name}` is no {what}"));
                self.problem(did_you_mean(problem, name, allowed.iter().copied()));
            }
        }
    }

    fn expect_table<'t>(&mut self, entry: Option<&'t Entry>) -> Option<&'t Table> {
        let entry = entry?;
        let table = entry.tree.table();
        if table.is_none() {
            let problem =
                entry.tree.spot.problem("wrong-type", format!("a table is expected, not {}", entry.tree.kind()));
            self.problem(problem);
        }
        table
    }

    fn text(&mut self, entry: Option<&Entry>) -> Option<String> {
        let entry = entry?;
        let text = entry.tree.text().map(str::to_owned);
        if text.is_none() {
            let problem = entry.tree.spot.problem("wrong-type", format!("text is expected, not {}", entry.tree.kind()));
            self.problem(problem.hint("write it in quotes"));
        }
        text
    }

    /// A text or a list of texts.
    fn texts(&mut self, tree: &Tree) -> Vec<(String, Spot)> {
        let list = match &tree.leaf {
            Leaf::List(list) => list.as_slice(),
            _ => std::slice::from_ref(tree),
        };
        let mut texts = Vec::with_capacity(list.len());
        for element in list {
            match element.text() {
                Some(text) => texts.push((text.to_owned(), element.spot.clone())),
                None => {
                    let message = format!("text is expected, not {}", element.kind());
                    self.problem(element.spot.problem("wrong-type", message).hint("write it in quotes"));
                }
            }
        }
        texts
    }

    fn plain_texts(&mut self, entry: Option<&Entry>) -> Vec<String> {
        entry.map(|entry| self.texts(&entry.tree)).unwrap_or_default().into_iter().map(|(text, _)| text).collect()
    }

    fn truth(&mut self, entry: Option<&Entry>) -> bool {
        match entry.map(|entry| (&entry.tree.leaf, &entry.tree)) {
            None => false,
            Some((Leaf::Bool(truth), _)) => *truth,
            Some((_, tree)) => {
                let problem =
                    tree.spot.problem("wrong-type", format!("true or false is expected, not {}", tree.kind()));
                self.problem(problem);
                false
            }
        }
    }

    fn path(&mut self, text: &str, spot: &Spot) -> Option<SourcePath> {
        match SourcePath::parse(text) {
            Ok(path) => Some(path),
            Err(reason) => {
                let problem = spot.problem("bad-name", format!("{text:?} is no name of the source: {reason}"));
                self.problem(problem.hint("write a column, `../COLUMN`, `/COLUMN` or `PID-5.1`"));
                None
            }
        }
    }

    fn path_entry(&mut self, entry: Option<&Entry>) -> Option<SourcePath> {
        let text = self.text(entry)?;
        self.path(&text, &entry?.tree.spot)
    }

    fn paths(&mut self, tree: &Tree) -> Vec<SourcePath> {
        self.texts(tree).into_iter().filter_map(|(text, spot)| self.path(&text, &spot)).collect()
    }

    fn file(&mut self, root: &Table, spot: &Spot) -> Plan {
        self.keys(root, &["mapping", "key", "codes", "rules", "fields"], "unknown-section", "section of a mapping");
        let empty = Table::new();
        let mapping = self.expect_table(root.get("mapping")).unwrap_or(&empty);
        let known = [
            "entity",
            "name",
            "extends",
            "each",
            "absent_when",
            "hospital",
            "campus",
            "missing",
            "text_limits",
            "attachment_max_bytes",
            "critical_values",
            "part",
            "waits_for",
            "wait_hours",
            "dictionary",
            "same_visit_days",
            "revision",
        ];
        self.keys(mapping, &known, "unknown-key", "key of [mapping]");
        // Fields of another entity would drown the one problem that matters.
        let right_entity = self.check_entity(mapping, spot);
        self.load_codes(root);
        let weights = Weights { text_limits: self.text_limits(mapping), ..self.weights(root) };
        let missing_is_null = match self.text(mapping.get("missing")).as_deref() {
            None | Some("hold") => false,
            Some("null") => true,
            Some(other) => {
                let other = format!("`missing` is \"hold\" or \"null\", not {other:?}");
                let problem = mapping.get("missing").map(|entry| entry.tree.spot.problem("bad-word", other));
                problem.into_iter().for_each(|problem| self.problem(problem));
                false
            }
        };
        let (key, scope) = self.key(root, spot);
        let absent = self.absent_when(mapping);
        let shape = shape::of(self.entity);
        let fields = match root.get("fields") {
            Some(entry) => match self.expect_table(Some(entry)) {
                Some(table) if right_entity => self.object(shape, table, &entry.key),
                _ => ObjectPlan { shape: "", fields: Vec::new() },
            },
            None => {
                self.problem(Problem::new(&*spot.file, None, "missing-section", "there is no [fields]"));
                ObjectPlan { shape: "", fields: Vec::new() }
            }
        };
        Plan {
            each: self.path_entry(mapping.get("each")),
            key,
            scope,
            hospital: self.path_entry(mapping.get("hospital")),
            campus: self.path_entry(mapping.get("campus")),
            absent,
            revision: self.path_entry(mapping.get("revision")),
            missing_is_null,
            attachment_max_bytes: self.attachment_max_bytes(mapping),
            raises_critical: self.raises_critical(mapping),
            assembly: self.assembly(mapping),
            dictionary: self.text(mapping.get("dictionary")),
            same_visit_days: self.same_visit_days(mapping),
            weights,
            fields,
        }
    }

    /// `text_limits = [100, 255]`: how long the source's columns of text are.
    fn text_limits(&mut self, mapping: &Table) -> Option<Vec<usize>> {
        let entry = mapping.get("text_limits")?;
        let Leaf::List(list) = &entry.tree.leaf else {
            let problem = entry.tree.spot.problem("wrong-type", "a list of lengths is expected");
            self.problem(problem.hint("for example: text_limits = [255, 2000]"));
            return None;
        };
        let mut limits = Vec::with_capacity(list.len());
        for tree in list {
            match &tree.leaf {
                Leaf::Integer(length) if *length > 0 => limits.extend(usize::try_from(*length).ok()),
                _ => self.problem(tree.spot.problem("wrong-type", "a length is a whole number above 0")),
            }
        }
        Some(limits)
    }

    fn check_entity(&mut self, mapping: &Table, spot: &Spot) -> bool {
        let wanted = self.entity.as_str();
        match self.text(mapping.get("entity")) {
            Some(text) if text == wanted => return true,
            Some(text) => {
                let spot = mapping.get("entity").map_or(spot, |entry| &entry.tree.spot).clone();
                let message = format!("this mapping makes {text:?}, and its stream wants {wanted}");
                self.problem(spot.problem("wrong-entity", message));
                return false;
            }
            None if mapping.contains_key("entity") => return false,
            None => {
                let problem = Problem::new(&*spot.file, None, "missing-key", "[mapping] does not say its entity");
                self.problem(problem.hint(format!("write: entity = \"{wanted}\"")));
            }
        }
        true
    }

    fn key(&mut self, root: &Table, spot: &Spot) -> (Vec<Vec<Alternative>>, Option<String>) {
        let Some(table) = self.expect_table(root.get("key")) else {
            if !root.contains_key("key") {
                let problem = Problem::new(&*spot.file, None, "missing-section", "there is no [key]");
                self.problem(problem.hint("[key] names what identifies the entity: parts = [\"COLUMN\"]"));
            }
            return (Vec::new(), None);
        };
        self.keys(table, &["parts", "scope"], "unknown-key", "key of [key]");
        let parts = match table.get("parts").map(|entry| &entry.tree) {
            Some(Tree { leaf: Leaf::List(list), .. }) if !list.is_empty() => {
                list.iter().map(|tree| self.alternatives(tree, Target::Kind(&TEXT))).collect()
            }
            Some(tree) if tree.text().is_some() => vec![self.alternatives(tree, Target::Kind(&TEXT))],
            _ => {
                let spot = root.get("key").map_or(spot, |entry| &entry.key).clone();
                self.problem(spot.problem("missing-key", "[key] has no parts").hint("write: parts = [\"COLUMN\"]"));
                Vec::new()
            }
        };
        (parts, self.text(table.get("scope")))
    }

    fn absent_when(&mut self, mapping: &Table) -> Vec<(Condition, String)> {
        let Some(entry) = mapping.get("absent_when") else { return Vec::new() };
        let list = match &entry.tree.leaf {
            Leaf::List(list) => list.as_slice(),
            _ => std::slice::from_ref(&entry.tree),
        };
        let mut all = Vec::new();
        for tree in list {
            let Some(table) = tree.table() else {
                self.problem(tree.spot.problem("wrong-type", "write: { when = \"…\", reason = \"deleted\" }"));
                continue;
            };
            self.keys(table, &["when", "reason", "with"], "unknown-key", "key of absent_when");
            let when = self.condition(table);
            match (when, self.text(table.get("reason"))) {
                (Some(when), Some(reason)) => all.push((when, reason)),
                (_, None) => self.problem(tree.spot.problem("missing-key", "absent_when needs a `reason`")),
                (None, _) => {}
            }
        }
        all
    }

    fn weights(&mut self, root: &Table) -> Weights {
        let mut weights = Weights::default();
        let Some(table) = self.expect_table(root.get("rules")) else { return weights };
        for (code, entry) in table {
            let Some(rule) = rules::find(code) else {
                let problem = entry.key.problem("unknown-rule", format!("there is no rule `{code}`"));
                self.problem(did_you_mean(problem, code, rules::all().iter().map(|rule| rule.code)));
                continue;
            };
            let severity = match self.text(Some(entry)).as_deref() {
                Some("info") => Severity::Info,
                Some("warn") => Severity::Warn,
                Some("hold") => Severity::Hold,
                Some("reject") => Severity::Reject,
                Some(word) => {
                    let problem =
                        entry.tree.spot.problem("unknown-outcome", format!("{word:?} is no outcome of a rule"));
                    self.problem(problem.hint("one of: info, warn, hold, reject"));
                    continue;
                }
                None => continue,
            };
            if rule.fixed {
                self.problem(entry.key.problem("fixed-rule", format!("`{code}` can't be changed: {}", rule.title)));
            }
            weights.changed.push((rule.code, severity));
        }
        weights
    }

    fn load_codes(&mut self, root: &Table) {
        let Some(tables) = self.expect_table(root.get("codes")) else { return };
        for (name, entry) in tables {
            let Some(table) = self.expect_table(Some(entry)) else { continue };
            self.keys(table, &["inline", "file", "unknown"], "unknown-key", "key of a code table");
            let flag = match self.text(table.get("unknown")).as_deref() {
                None | Some("hold") => false,
                Some("flag") => true,
                Some(word) => {
                    let spot = &table.get("unknown").map_or(&entry.key, |entry| &entry.tree.spot).clone();
                    let problem =
                        spot.problem("unknown-outcome", format!("{word:?} is nothing that an unknown code does"));
                    self.problem(problem.hint("one of: hold, flag"));
                    false
                }
            };
            if !table.contains_key("inline") && !table.contains_key("file") {
                let problem = entry.key.problem("missing-key", format!("code table `{name}` has no codes"));
                self.problem(problem.hint("write `inline = { \"1\" = \"male\" }` or `file = \"codes/….csv\"`"));
            }
            let loaded = codes::load(name, table, flag, &mut self.loader);
            self.codes.insert(name.clone(), loaded);
        }
    }
}
