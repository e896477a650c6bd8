//! Compiles a mapping file against the model; every problem at once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use minijinja::{Environment, UndefinedBehavior};

use super::Files;
use super::codes;
use super::node::Node;
use super::plan::*;
use super::readers::date::Grammar;
use super::readers::number::Scale;
use super::readers::result;
use super::rules::{self, Weights};
use super::shape::{self, Field, Kind, Shape};
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
    pub(super) files: Vec<std::path::PathBuf>,
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
    Ok(Compiled { plan, version, files: compiler.loader.read })
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

/// What hisync fills itself, so that no line is needed.
const DERIVED: &[(&str, &str)] = &[
    ("ExamVisit", "visit_key"),
    ("Examinee", "id_checksum_ok"),
    ("Conclusion", "seq"),
    ("ResultItem", "instance"),
    ("ResultItem", "value_kind"),
    ("ResultItem", "is_critical"),
];

/// Fields of the model that a composite fills: type, field, the line to write instead.
const INSTEAD: &[(&str, &str, &str)] = &[
    ("ResultItem", "value_raw", "value"),
    ("ResultItem", "value_kind", "value"),
    ("ResultItem", "value_num", "value"),
    ("ResultItem", "comparator", "value"),
    ("ResultItem", "value_low", "value"),
    ("ResultItem", "value_high", "value"),
    ("ResultItem", "absent_reason", "value"),
    ("ResultItem", "unit_raw", "unit"),
    ("ResultItem", "unit_ucum", "unit"),
    ("ResultItem", "reference_raw", "reference"),
    ("ResultItem", "flag_source_raw", "flag"),
    ("ResultItem", "flag_source", "flag"),
    ("ResultItem", "flag_derived", "value` and `reference"),
    ("ResultItem", "is_critical", "critical"),
    ("ExamItem", "unit_raw", "unit"),
    ("ExamItem", "unit_ucum", "unit"),
    ("Examinee", "id_checksum_ok", "id_number"),
];

fn composites(shape: &str) -> &'static [(&'static str, Composite)] {
    match shape {
        "ResultItem" => &[
            ("value", Composite::Value),
            ("unit", Composite::Unit),
            ("reference", Composite::Reference),
            ("flag", Composite::Flag),
            ("critical", Composite::Critical),
        ],
        "ExamItem" => &[("unit", Composite::Unit), ("reference", Composite::References)],
        _ => &[],
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
        let known = ["entity", "name", "extends", "each", "absent_when", "hospital", "campus", "missing"];
        self.keys(mapping, &known, "unknown-key", "key of [mapping]");
        // Fields of another entity would drown the one problem that matters.
        let right_entity = self.check_entity(mapping, spot);
        self.load_codes(root);
        let weights = self.weights(root);
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
            missing_is_null,
            weights,
            fields,
        }
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
            weights.0.push((rule.code, severity));
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

    fn object(&mut self, shape: &'static Shape, table: &Table, header: &Spot) -> ObjectPlan {
        let mut fields: Vec<FieldPlan> = Vec::with_capacity(table.len());
        let extra = composites(&shape.name);
        for (name, entry) in table {
            if let Some((name, composite)) = extra.iter().find(|(extra, _)| extra == name) {
                let read = Read::Composite(*composite, self.alternatives(&entry.tree, Target::Composite(*composite)));
                fields.push(FieldPlan { name, raw: None, required: *composite == Composite::Value, read });
                continue;
            }
            if let Some((_, _, line)) = INSTEAD.iter().find(|(owner, field, _)| *owner == shape.name && field == name) {
                let problem = entry.key.problem("derived-field", format!("`{name}` is filled by hisync"));
                self.problem(problem.hint(format!("map `{line}`")));
                continue;
            }
            match shape.field(name).filter(|field| field.name != "envelope") {
                Some(field) => fields.push(self.field(shape, field, table, entry)),
                None => {
                    let problem = entry.key.problem("unknown-field", format!("{} has no field `{name}`", shape.name));
                    let known = shape.fields.iter().map(|field| field.name.as_str());
                    let known: Vec<&str> =
                        known.filter(|name| *name != "envelope").chain(extra.iter().map(|(name, _)| *name)).collect();
                    self.problem(did_you_mean(problem, name, known));
                }
            }
        }
        let needs = shape.fields.iter().filter(|field| field.required && field.name != "envelope");
        let needs = needs.filter(|field| !DERIVED.contains(&(shape.name.as_str(), field.name.as_str())));
        let mut missing: Vec<&str> =
            needs.map(|field| field.name.as_str()).filter(|name| !table.contains_key(*name)).collect();
        if shape.name == "ResultItem" && !table.contains_key("value") {
            missing.push("value");
        }
        for name in missing {
            let problem = header.problem("missing-field", format!("{} needs `{name}`", shape.name));
            self.problem(problem.hint(format!("add: {name} = \"COLUMN\"")));
        }
        // Objects before lists: a result's range may depend on the person's sex.
        fields.sort_by_key(|field| match field.read {
            Read::Object(_) => 1,
            Read::List(_) => 2,
            _ => 0,
        });
        ObjectPlan { shape: &shape.name, fields }
    }

    fn field(&mut self, shape: &'static Shape, field: &'static Field, table: &Table, entry: &Entry) -> FieldPlan {
        let name = field.name.as_str();
        let raw = shape.raw_of(name).map(|raw| raw.name.as_str()).filter(|raw| !table.contains_key(*raw));
        let read = match &field.kind {
            Kind::Object(inner) => match self.expect_table(Some(entry)) {
                Some(table) => Read::Object(self.object(inner, table, &entry.key)),
                None => Read::Texts(Vec::new()),
            },
            Kind::Objects(_) if entry.tree.table().is_none() => {
                let problem =
                    entry.tree.spot.problem("wrong-type", format!("`{name}` is a list, not {}", entry.tree.kind()));
                self.problem(problem.hint(format!("write a table [fields.….{name}] with `each` and `fields`")));
                Read::Texts(Vec::new())
            }
            Kind::Objects(inner) => match self.list(inner, entry) {
                Some(list) => Read::List(Box::new(list)),
                None => Read::Texts(Vec::new()),
            },
            Kind::Texts => Read::Texts(self.alternatives(&entry.tree, Target::Kind(&TEXT))),
            Kind::Bool if entry.tree.table().is_some_and(|table| table.contains_key("off")) => self.switches(entry),
            kind => {
                let alternatives = self.alternatives(&entry.tree, Target::Kind(kind));
                let may_be_empty = alternatives.iter().find(|alternative| {
                    alternative.codes.as_ref().is_some_and(|codes| codes.flag) && alternative.default.is_none()
                });
                if let (Some(alternative), true, Kind::Enum(words)) = (may_be_empty, field.required, kind)
                    && !words.iter().any(|word| word == "unknown")
                {
                    let table = alternative.codes.as_ref().map_or("", |codes| codes.name.as_str());
                    let message =
                        format!("`{name}` can't be empty, so unknown codes of `{table}` can't only be flagged");
                    self.problem(entry.key.problem("flag-impossible", message).hint("write: unknown = \"hold\""));
                }
                Read::Scalar(kind, alternatives)
            }
        };
        FieldPlan { name, raw, required: field.required, read }
    }

    fn list(&mut self, shape: &'static Shape, entry: &Entry) -> Option<ListPlan> {
        let table = self.expect_table(Some(entry))?;
        self.keys(
            table,
            &["each", "group_by", "pivot", "when", "with", "excluded", "fields"],
            "unknown-key",
            "key of a list",
        );
        let each = self.path_entry(table.get("each"));
        if !table.contains_key("each") {
            let problem = entry.key.problem("missing-key", "a list says what it iterates over");
            self.problem(problem.hint("write: each = \"NAME OF THE CHILD LIST\""));
        }
        let when = self.condition(table);
        let excluded = self.text(table.get("excluded"));
        if table.contains_key("when") && excluded.is_none() {
            let spot = &table.get("when").map_or(&entry.key, |entry| &entry.key).clone();
            let problem = spot.problem("missing-reason", "rows that `when` leaves out need a reason");
            self.problem(problem.hint("write: excluded = \"why they are left out\""));
        }
        let group_by = table.get("group_by").map(|entry| self.paths(&entry.tree)).unwrap_or_default();
        let pivot = match table.get("pivot") {
            Some(entry) => codes::load_pivot(&entry.tree, &mut self.loader),
            None => Vec::new(),
        };
        let Some(fields) = table.get("fields") else {
            self.problem(entry.key.problem("missing-key", "a list has a table `fields`"));
            return None;
        };
        let inner = self.expect_table(Some(fields))?;
        let object = self.object(shape, inner, &fields.key);
        let leaf = !object.fields.iter().any(|field| matches!(field.read, Read::List(_)));
        Some(ListPlan { each: each?, pivot, when, excluded: excluded.unwrap_or_default(), group_by, object, leaf })
    }

    fn switches(&mut self, entry: &Entry) -> Read {
        let empty = Table::new();
        let table = entry.tree.table().unwrap_or(&empty);
        self.keys(table, &["off", "empty"], "unknown-key", "key of off switches");
        let empty_is_off = match self.text(table.get("empty")).as_deref() {
            None | Some("on") => false,
            Some("off") => true,
            Some(word) => {
                let spot = &table.get("empty").map_or(&entry.key, |entry| &entry.tree.spot).clone();
                self.problem(spot.problem("bad-word", format!("an empty switch is \"on\" or \"off\", not {word:?}")));
                false
            }
        };
        let mut switches = Vec::new();
        let list = match table.get("off").map(|entry| &entry.tree) {
            Some(Tree { leaf: Leaf::List(list), .. }) => list.as_slice(),
            Some(tree) => std::slice::from_ref(tree),
            None => &[],
        };
        for tree in list {
            let Some(table) = tree.table() else {
                self.problem(
                    tree.spot.problem("wrong-type", "write: { from = \"TYBZ\", is = [\"1\"], reason = \"stopped\" }"),
                );
                continue;
            };
            self.keys(table, &["from", "is", "on", "reason", "optional"], "unknown-key", "key of an off switch");
            for key in ["from", "is", "reason"].into_iter().filter(|key| !table.contains_key(*key)) {
                self.problem(tree.spot.problem("missing-key", format!("an off switch needs `{key}`")));
            }
            let switch = Switch {
                off: self.plain_texts(table.get("is")),
                on: self.plain_texts(table.get("on")),
                reason: self.text(table.get("reason")).unwrap_or_default(),
                optional: self.truth(table.get("optional")),
                from: match self.path_entry(table.get("from")) {
                    Some(from) => from,
                    None => continue,
                },
            };
            switches.push(switch);
        }
        Read::Enabled(switches, empty_is_off)
    }

    fn alternatives(&mut self, tree: &Tree, target: Target) -> Vec<Alternative> {
        match &tree.leaf {
            Leaf::List(list) => list.iter().filter_map(|tree| self.alternative(tree, target)).collect(),
            _ => self.alternative(tree, target).into_iter().collect(),
        }
    }

    fn alternative(&mut self, tree: &Tree, target: Target) -> Option<Alternative> {
        let mut plan = Alternative {
            source: Source::Nothing,
            when: None,
            none: Vec::new(),
            optional: false,
            codes: None,
            grammars: Vec::new(),
            zone: None,
            scale: None,
            absent: HashMap::new(),
            empty: None,
            split: Vec::new(),
            default: None,
        };
        let empty = Table::new();
        let table = match &tree.leaf {
            Leaf::Text(text) => {
                plan.source = Source::From(vec![self.path(text, &tree.spot)?]);
                &empty
            }
            Leaf::Table(table) => {
                self.source(table, tree, target, &mut plan);
                table
            }
            _ => {
                let problem =
                    tree.spot.problem("wrong-type", format!("a name of the source is expected, not {}", tree.kind()));
                self.problem(problem.hint("a fixed value is written: { const = …, reason = \"…\" }"));
                return None;
            }
        };
        self.reading(table, tree, target, &mut plan);
        Some(plan)
    }

    fn source(&mut self, table: &Table, tree: &Tree, target: Target, plan: &mut Alternative) {
        const KNOWN: &[&str] = &[
            "from", "const", "expr", "with", "low", "high", "default", "reason", "when", "codes", "format", "zone",
            "none", "scale", "absent", "empty", "optional", "split",
        ];
        self.keys(table, KNOWN, "unknown-key", "key of a field");
        let ways = ["from", "const", "expr"].into_iter().filter(|way| table.contains_key(*way)).count();
        let bounds = table.contains_key("low") && table.contains_key("high");
        if ways + usize::from(bounds) > 1 {
            let problem =
                tree.spot.problem("two-sources", "a field has one of `from`, `const`, `expr`, `low` with `high`");
            self.problem(problem.hint("several ways are a list: [ { from = … }, { const = … } ]"));
            return;
        }
        if ways == 0 && !bounds && !table.contains_key("default") {
            let problem = tree.spot.problem("missing-key", "nothing says where the value comes from");
            self.problem(problem.hint("write: { from = \"COLUMN\" }"));
        }
        if let Some(entry) = table.get("from") {
            plan.source = Source::From(self.paths(&entry.tree));
        } else if let Some(entry) = table.get("const") {
            if let Some(node) = self.constant(&entry.tree, target) {
                plan.source = Source::Const(node);
            }
        } else if table.contains_key("expr") {
            if let Some(expression) = self.expression(table, "expr") {
                plan.source = Source::Expr(expression);
            }
        } else if bounds
            && let (Some(low), Some(high)) = (self.path_entry(table.get("low")), self.path_entry(table.get("high")))
        {
            plan.source = Source::Bounds(low, high);
        }
        if let Some(entry) = table.get("default") {
            plan.default = self.constant(&entry.tree, target);
            if !table.contains_key("reason") {
                let problem = entry.key.problem("missing-reason", "a default must be justified");
                self.problem(problem.hint("add: reason = \"why this is true where the source says nothing\""));
            }
        }
        plan.when = self.condition(table);
        plan.optional = self.truth(table.get("optional"));
        plan.none = self.plain_texts(table.get("none"));
        plan.split = self.plain_texts(table.get("split"));
    }

    fn reading(&mut self, table: &Table, tree: &Tree, target: Target, plan: &mut Alternative) {
        if let Some(entry) = table.get("codes") {
            self.bind_codes(entry, target, plan);
        }
        let needs_codes = matches!(target, Target::Kind(Kind::Enum(_)));
        let reads = matches!(plan.source, Source::From(_));
        if needs_codes && reads && plan.codes.is_none() && !table.contains_key("codes") {
            let problem = tree.spot.problem("missing-codes", "local codes mean nothing without a code table");
            self.problem(problem.hint("write: { from = \"…\", codes = \"NAME\" } and a table [codes.NAME]"));
        }
        for (text, spot) in table.get("format").map(|entry| self.texts(&entry.tree)).unwrap_or_default() {
            match Grammar::parse(&text) {
                Ok(grammar) => plan.grammars.push(grammar),
                Err(reason) => {
                    let problem = spot.problem("bad-format", format!("{text:?} can't match any date: {reason}"));
                    self.problem(problem.hint("for example \"%Y-%m-%d %H:%M:%S\", \"%Y%m%d\" or \"epoch_ms\""));
                }
            }
        }
        if table.contains_key("format") && !matches!(target, Target::Kind(Kind::Date | Kind::Time)) {
            self.problem(tree.spot.problem("useless-key", "`format` is for dates and times only"));
        }
        if let Some(zone) = self.text(table.get("zone")) {
            match zone.parse() {
                Ok(zone) => plan.zone = Some(zone),
                Err(_) => {
                    let spot = &table.get("zone").map_or(&tree.spot, |entry| &entry.tree.spot).clone();
                    self.problem(
                        spot.problem("unknown-zone", format!("{zone:?} is no time zone"))
                            .hint("for example \"Asia/Shanghai\""),
                    );
                }
            }
        }
        let scale = self.text(table.get("scale"));
        plan.scale = match scale.as_deref() {
            Some("yuan") => Some(Scale::Yuan),
            Some("fen") => Some(Scale::Fen),
            Some(word) => {
                let spot = &table.get("scale").map_or(&tree.spot, |entry| &entry.tree.spot).clone();
                self.problem(
                    spot.problem("bad-word", format!("{word:?} is no scale of money")).hint("one of: yuan, fen"),
                );
                None
            }
            None => {
                if matches!(target, Target::Kind(Kind::Money))
                    && !matches!(plan.source, Source::Const(_) | Source::Nothing)
                {
                    let problem = tree.spot.problem("missing-scale", "a price says what it is counted in");
                    self.problem(problem.hint("write: { from = \"…\", scale = \"yuan\" } or \"fen\""));
                }
                None
            }
        };
        self.words(table, target, plan);
    }

    /// `absent` and `empty`: words of results and flags.
    fn words(&mut self, table: &Table, target: Target, plan: &mut Alternative) {
        if let Some(entry) = table.get("absent") {
            if !matches!(target, Target::Composite(Composite::Value)) {
                self.problem(entry.key.problem("useless-key", "`absent` is for results only"));
            }
            const REASONS: [&str; 6] =
                ["refused", "given_up", "specimen_rejected", "pending", "not_applicable", "instrument_error"];
            let words = self.expect_table(Some(entry)).cloned().unwrap_or_default();
            for (word, reason) in &words {
                let Some(text) = self.text(Some(reason)) else { continue };
                if REASONS.contains(&text.as_str()) {
                    plan.absent.insert(word.clone(), text);
                } else {
                    let problem = reason.tree.spot.problem("unknown-word", format!("{text:?} is no absence reason"));
                    self.problem(did_you_mean(problem, &text, REASONS));
                }
            }
        }
        if let Some(entry) = table.get("empty") {
            let text = self.text(Some(entry));
            match text.as_deref() {
                Some("normal") if matches!(target, Target::Composite(Composite::Flag)) => {
                    plan.empty = Some("normal".to_owned());
                }
                Some("unknown") | None => {}
                Some(_) => self.problem(
                    entry
                        .key
                        .problem("bad-word", "`empty` says what an empty flag means")
                        .hint("one of: normal, unknown"),
                ),
            }
        }
    }

    fn bind_codes(&mut self, entry: &Entry, target: Target, plan: &mut Alternative) {
        let Some(name) = self.text(Some(entry)) else { return };
        let Some(loaded) = self.codes.get(&name) else {
            let problem = entry.tree.spot.problem("unknown-codes", format!("there is no code table `{name}`"));
            let names: Vec<String> = self.codes.keys().cloned().collect();
            let problem = if names.is_empty() {
                problem.hint(format!("add a section [codes.{name}]"))
            } else {
                did_you_mean(problem, &name, names.iter().map(String::as_str))
            };
            self.problem(problem);
            return;
        };
        plan.codes = Some(Arc::clone(&loaded.table));
        let words: Vec<&str> = match target {
            Target::Kind(Kind::Enum(words)) => words.iter().map(String::as_str).collect(),
            Target::Kind(Kind::Bool) | Target::Composite(Composite::Critical) => vec!["true", "false"],
            Target::Composite(Composite::Flag) => vec![
                "normal",
                "low",
                "high",
                "critical_low",
                "critical_high",
                "abnormal",
                "negative",
                "positive",
                "indeterminate",
            ],
            _ => return,
        };
        if !self.told.insert((name.clone(), words.join(" "))) {
            return;
        }
        let wrong: Vec<Problem> = loaded
            .places
            .iter()
            .filter(|(standard, _)| !words.contains(&standard.as_str()))
            .map(|(standard, spot)| {
                let problem =
                    spot.problem("unknown-word", format!("{standard:?} is no value of the field that uses `{name}`"));
                did_you_mean(problem, standard, words.iter().copied())
            })
            .collect();
        wrong.into_iter().for_each(|problem| self.problem(problem));
    }

    /// A value that is written in the file, in the model's own words.
    fn constant(&mut self, tree: &Tree, target: Target) -> Option<Node<'static>> {
        let owned = |text: &str| Some(Node::Text(text.to_owned().into()));
        let kind = match target {
            Target::Kind(kind) => kind,
            Target::Composite(Composite::Critical) => &Kind::Bool,
            Target::Composite(_) => &TEXT,
        };
        let (node, expected) = match (kind, &tree.leaf) {
            (Kind::Enum(words), Leaf::Text(text)) => {
                if !words.contains(text) {
                    let problem = tree.spot.problem("unknown-word", format!("{text:?} is no value of this field"));
                    self.problem(did_you_mean(problem, text, words.iter().map(String::as_str)));
                    return None;
                }
                (owned(text), "")
            }
            (Kind::Text | Kind::Name | Kind::IdNumber | Kind::Texts, Leaf::Text(text)) => (owned(text), ""),
            (Kind::Bool, Leaf::Bool(truth)) => (Some(Node::Bool(*truth)), ""),
            (Kind::Integer | Kind::Money | Kind::Age, Leaf::Integer(number)) => (Some(Node::Integer(*number)), ""),
            (Kind::Decimal, Leaf::Text(text)) => (
                matches!(result::read(text), result::Reading::Numeric(_)).then(|| owned(text)).flatten(),
                "a number in quotes",
            ),
            (Kind::Date, Leaf::Text(text)) => {
                (text.parse::<chrono::NaiveDate>().ok().and_then(|_| owned(text)), "a date as \"2026-11-22\"")
            }
            (Kind::Time, Leaf::Text(text)) => (
                chrono::DateTime::parse_from_rfc3339(text).ok().and_then(|_| owned(text)),
                "a time as \"2026-11-22T08:00:00+08:00\"",
            ),
            (Kind::Enum(_), _) => (None, "a word of the model in quotes"),
            (Kind::Bool, _) => (None, "true or false"),
            (Kind::Money, _) => (None, "a whole number of fen"),
            (Kind::Integer | Kind::Age, _) => (None, "a whole number"),
            _ => (None, "text in quotes"),
        };
        if node.is_none() {
            self.problem(tree.spot.problem("wrong-type", format!("{expected} is expected, not {}", tree.kind())));
        }
        node
    }

    /// `when`: an expression, or `{ from = "COLUMN", is = ["1"] }`.
    fn condition(&mut self, table: &Table) -> Option<Condition> {
        let entry = table.get("when")?;
        let Some(words) = entry.tree.table() else { return self.expression(table, "when").map(Condition::Expression) };
        self.keys(words, &["from", "is", "is_not"], "unknown-key", "key of a condition");
        if words.contains_key("is") == words.contains_key("is_not") || !words.contains_key("from") {
            let problem = entry.tree.spot.problem("bad-condition", "a condition has `from` and one of `is`, `is_not`");
            self.problem(problem.hint("for example: when = { from = \"SFYX\", is_not = [\"0\"] }"));
            return None;
        }
        let inside = words.contains_key("is");
        let list = self.plain_texts(words.get(if inside { "is" } else { "is_not" }));
        Some(Condition::Words { from: self.path_entry(words.get("from"))?, words: list, inside })
    }

    /// The expression under `key`, with what it needs from a record.
    fn expression(&mut self, table: &Table, key: &str) -> Option<Expression> {
        let entry = table.get(key)?;
        let text = self.text(Some(entry))?;
        let mut needs = Vec::new();
        let with = self.expect_table(table.get("with")).cloned().unwrap_or_default();
        for (name, entry) in &with {
            if let Some(path) = self.path_entry(Some(entry)) {
                needs.push(Need::Bound(name.clone(), path));
            }
        }
        let compiled = match ENVIRONMENT.compile_expression_owned(text) {
            Ok(compiled) => compiled,
            Err(error) => {
                let detail = error.detail().unwrap_or("it is not complete").to_owned();
                let problem = entry.tree.spot.problem("bad-expression", format!("this is no expression: {detail}"));
                self.problem(problem.hint("for example: row.SFYX != '0'"));
                return None;
            }
        };
        let mut names: Vec<String> = compiled.undeclared_variables(true).into_iter().collect();
        names.sort_unstable();
        for name in names {
            let (head, member) = name.split_once('.').map_or((name.as_str(), None), |(head, rest)| (head, Some(rest)));
            let column = member.map(|member| member.split('.').next().unwrap_or(member));
            match (head, column) {
                ("row", Some(column)) => needs.push(Need::Member("row", SourcePath::column(column, 0))),
                ("up", Some(column)) => needs.push(Need::Member("up", SourcePath::column(column, 1))),
                ("root", Some(column)) => needs.push(Need::Member("root", SourcePath::top(column))),
                _ if with.contains_key(head) || ENVIRONMENT.globals().any(|(global, _)| global == head) => {}
                _ => {
                    let message = format!("the expression knows no `{name}`");
                    let problem = entry.tree.spot.problem("bad-expression", message);
                    self.problem(problem.hint(
                        "columns are `row.NAME`, `up.NAME`, `root.NAME`; others are bound by `with = { name = \"OBX-11\" }`",
                    ));
                }
            }
        }
        Some(Expression { compiled, needs })
    }
}
