//! Compiles the tables of `[fields]`: objects, lists, off switches.

use super::{Compiler, TEXT, Target, did_you_mean};
use crate::mapping::codes;
use crate::mapping::plan::*;
use crate::mapping::shape::{Field, Kind, Shape};
use crate::mapping::tree::{Entry, Leaf, Spot, Table, Tree};

/// What hisync fills itself, so that no line is needed.
const DERIVED: &[(&str, &str)] = &[
    ("ExamVisit", "visit_key"),
    ("Examinee", "id_checksum_ok"),
    ("Conclusion", "seq"),
    ("ResultItem", "instance"),
    ("ResultItem", "value_kind"),
    ("ResultItem", "is_critical"),
    ("Attachment", "media_type"),
    ("Attachment", "size"),
    ("Attachment", "digest"),
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
    ("Attachment", "size", "content"),
    ("Attachment", "digest", "content"),
    ("Attachment", "page_count", "content"),
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
        "Attachment" => &[("content", Composite::Content)],
        "ExamItem" => &[("unit", Composite::Unit), ("reference", Composite::References)],
        _ => &[],
    }
}

impl Compiler<'_> {
    pub(super) fn object(&mut self, shape: &'static Shape, table: &Table, header: &Spot) -> ObjectPlan {
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
        if shape.name == "Attachment" && !table.contains_key("content") {
            missing.push("content");
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
        let derived = DERIVED.contains(&(shape.name.as_str(), name));
        FieldPlan { name, raw, required: field.required && !derived, read }
    }

    fn list(&mut self, shape: &'static Shape, entry: &Entry) -> Option<ListPlan> {
        let table = self.expect_table(Some(entry))?;
        self.keys(
            table,
            &["each", "group_by", "pivot", "optional", "when", "with", "excluded", "fields"],
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
        let optional = self.truth(table.get("optional"));
        Some(ListPlan {
            optional,
            each: each?,
            pivot,
            when,
            excluded: excluded.unwrap_or_default(),
            group_by,
            object,
            leaf,
        })
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
}
