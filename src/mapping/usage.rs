//! Where a mapping uses its code tables: which table and which column of the source are behind a field.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::{Alternative, CodeTable, ListPlan, ObjectPlan, Plan, Read, Source};

/// One way in which a field is read by a code table.
#[derive(Clone, Copy, Debug)]
pub struct CodeUse<'m> {
    table: &'m CodeTable,
    source: &'m Source,
}

impl<'m> CodeUse<'m> {
    /// The table's name.
    pub fn table(&self) -> &'m str {
        &self.table.name
    }

    /// Whether the table has a local code.
    pub fn knows(&self, local: &str) -> bool {
        self.table.codes.contains_key(local)
    }

    /// The source's name for the field; several candidates are joined by ` | `. Empty for an expression.
    pub fn source(&self) -> String {
        match self.source {
            Source::From(paths) => paths.iter().map(|path| &*path.text).collect::<Vec<_>>().join(" | "),
            _ => String::new(),
        }
    }
}

/// Which code tables the field at a path is read by.
pub(super) fn of<'m>(plan: &'m Plan, path: &str) -> Vec<CodeUse<'m>> {
    let steps: Vec<&str> = path.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect();
    let lines: Vec<&Alternative> = match steps.as_slice() {
        ["business_key"] => plan.key.iter().flatten().collect(),
        steps => lines(&plan.fields, steps),
    };
    let uses = lines.into_iter().filter_map(|line| {
        let table = line.codes.as_deref()?;
        Some(CodeUse { table, source: &line.source })
    });
    uses.collect()
}

fn lines<'m>(object: &'m ObjectPlan, steps: &[&str]) -> Vec<&'m Alternative> {
    let Some((first, rest)) = steps.split_first() else { return Vec::new() };
    let Some(field) = object.fields.iter().find(|field| field.name == *first) else { return Vec::new() };
    match &field.read {
        Read::Object(object) => lines(object, rest),
        Read::List(list) => lines(&list.object, rest),
        Read::Texts(lines) | Read::Scalar(_, lines) | Read::Composite(_, lines) => lines.iter().collect(),
        Read::Enabled(..) => Vec::new(),
    }
}

/// The listed codes that a field would take for no value if they were not listed: nobody is told of them.
pub(super) fn silent(plan: &Plan, tables: &BTreeMap<String, Arc<CodeTable>>) -> Vec<String> {
    let mut words: Vec<&str> = vec![""];
    collect(&plan.fields, &mut words);
    words.extend(plan.key.iter().flatten().flat_map(|line| line.none.iter().map(String::as_str)));
    let mut found = Vec::new();
    for (name, table) in tables {
        let mut listed: Vec<&str> = words.iter().copied().filter(|word| table.codes.contains_key(*word)).collect();
        listed.sort_unstable();
        listed.dedup();
        found.extend(listed.into_iter().map(|word| format!("{name}/{word}={}", table.codes[word])));
    }
    found
}

fn collect<'m>(object: &'m ObjectPlan, words: &mut Vec<&'m str>) {
    for field in &object.fields {
        match &field.read {
            Read::Object(object) => collect(object, words),
            Read::List(list) => {
                let ListPlan { object, .. } = &**list;
                collect(object, words);
            }
            Read::Texts(lines) | Read::Scalar(_, lines) | Read::Composite(_, lines) => {
                words.extend(lines.iter().flat_map(|line| line.none.iter().map(String::as_str)));
            }
            Read::Enabled(..) => {}
        }
    }
}
