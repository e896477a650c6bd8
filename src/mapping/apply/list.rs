//! Lists: which rows there are, which are kept, and that all of them are counted.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

use connector_api::Value;

use super::take::plain;
use super::{Run, Step};
use crate::mapping::node::{self, Node};
use crate::mapping::plan::*;
use crate::mapping::readers::text;
use crate::mapping::rules;
use crate::mapping::source::{Found, Row, Scope, SourcePath};
use crate::model::entity::Excluded;

/// Why a row of attachments is none.
const NO_FILE: &str = "no file";

impl<'a> Run<'a> {
    pub(super) fn list(&mut self, plan: &'a ListPlan, scope: &Scope<'_, 'a>) -> Vec<Node<'a>> {
        let Some(rows) = plan.each.rows(scope) else {
            if !self.plan.missing_is_null && !plan.optional {
                self.missing(&plan.each);
            }
            return Vec::new();
        };
        let rows = if plan.pivot.is_empty() { rows } else { columns(plan, rows) };
        let rows = self.kept(plan, rows, scope);
        // By how they begin: the first of the nodes, and the others.
        let mut places: HashMap<u64, (usize, Vec<usize>), foldhash::fast::RandomState> = HashMap::default();
        let state = foldhash::fast::RandomState::default();
        let mut nodes: Vec<Node<'a>> = Vec::with_capacity(rows.len());
        let groups = if plan.group_by.is_empty() {
            rows.into_iter().map(|row| (row, None)).collect()
        } else {
            self.grouped(plan, rows, scope)
        };
        for (row, rows) in groups {
            self.path.push(Step::Index(nodes.len()));
            let inner = Scope { row, up: Some(scope), rows: rows.as_deref() };
            if let Some(rows) = &rows {
                self.agree(&plan.object, rows, scope);
            }
            let node = self.object(&plan.object, &inner);
            let node = Node::Map(node);
            self.path.pop();
            if plan.object.shape == "Attachment" {
                self.file_rows(node, &mut nodes);
                continue;
            }
            if plan.leaf {
                self.manifest.rows_read += 1;
                match places.entry(beginning(&node, &state)) {
                    Entry::Vacant(place) => _ = place.insert((nodes.len(), Vec::new())),
                    Entry::Occupied(mut place) => {
                        let (first, others) = place.get_mut();
                        if std::iter::once(&*first).chain(&*others).any(|at| nodes[*at] == node) {
                            self.manifest.duplicates += 1;
                            continue;
                        }
                        others.push(nodes.len());
                    }
                }
                self.manifest.mapped += 1;
            }
            nodes.push(node);
        }
        if plan.object.shape == "Conclusion" {
            for (at, node) in (1..).zip(&mut nodes) {
                if let Node::Map(fields) = node
                    && node::field(fields, "seq").is_none()
                {
                    fields.push(("seq", Node::Integer(at)));
                }
            }
        }
        nodes
    }

    /// The files of one row: none, one, or as many as it names. A row without a file is counted as such.
    fn file_rows(&mut self, first: Node<'a>, nodes: &mut Vec<Node<'a>>) {
        let more = std::mem::take(&mut self.more_files).into_iter().map(Node::Map);
        for node in std::iter::once(first).chain(more) {
            self.manifest.rows_read += 1;
            let is_file = matches!(&node, Node::Map(fields) if node::field(fields, "digest").is_some());
            if !is_file {
                match self.manifest.excluded.iter_mut().find(|part| part.reason == NO_FILE) {
                    Some(part) => part.count += 1,
                    None => self.manifest.excluded.push(Excluded { reason: NO_FILE.to_owned(), count: 1 }),
                }
            } else if nodes.contains(&node) {
                self.manifest.duplicates += 1;
            } else {
                self.manifest.mapped += 1;
                nodes.push(node);
            }
        }
    }

    /// The rows that the list's condition keeps; the others are counted with their reason.
    fn kept(&mut self, plan: &'a ListPlan, rows: Vec<Row<'a>>, scope: &Scope<'_, 'a>) -> Vec<Row<'a>> {
        let Some(when) = &plan.when else { return rows };
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows {
            let inner = Scope { row, up: Some(scope), rows: None };
            if self.holds(when, &inner) != Some(false) {
                kept.push(row);
                continue;
            }
            let count = if plan.group_by.is_empty() { leaves(plan, &inner) } else { 1 };
            self.manifest.rows_read += count;
            match self.manifest.excluded.iter_mut().find(|part| part.reason == plan.excluded) {
                Some(part) => part.count += count,
                None if count > 0 => self.manifest.excluded.push(Excluded { reason: plan.excluded.clone(), count }),
                None => {}
            }
        }
        kept
    }

    /// Flat rows by the values of their group's columns, in the order of first appearance.
    fn grouped(
        &mut self,
        plan: &'a ListPlan,
        rows: Vec<Row<'a>>,
        scope: &Scope<'_, 'a>,
    ) -> Vec<(Row<'a>, Option<Vec<Row<'a>>>)> {
        if let Some(first) = rows.first().copied()
            && plan.group_by.iter().all(SourcePath::is_outside)
        {
            // Told of all of them alike: one group. A name that is missing is told here as well.
            let inner = Scope { row: first, up: Some(scope), rows: None };
            for path in &plan.group_by {
                self.first(std::slice::from_ref(path), false, &inner);
            }
            return vec![(first, Some(rows))];
        }
        let mut groups: Vec<(Row<'a>, Option<Vec<Row<'a>>>)> = Vec::new();
        let mut places: HashMap<Vec<Cow<'a, str>>, usize, foldhash::fast::RandomState> = HashMap::default();
        for row in rows {
            let inner = Scope { row, up: Some(scope), rows: None };
            let key: Vec<Cow<'a, str>> = plan
                .group_by
                .iter()
                .map(|path| self.first(std::slice::from_ref(path), false, &inner))
                .map(|literal| literal.map_or(Cow::Borrowed(""), |literal| literal.text))
                .collect();
            let place = *places.entry(key).or_insert(groups.len());
            match groups.get_mut(place) {
                Some((_, rows)) => rows.get_or_insert_default().push(row),
                None => groups.push((row, Some(vec![row]))),
            }
        }
        groups
    }

    /// What the rows of a group say about the group must be the same in each.
    fn agree(&mut self, plan: &'a ObjectPlan, rows: &[Row<'a>], scope: &Scope<'_, 'a>) {
        let paths = plan.fields.iter().filter_map(|field| match &field.read {
            Read::Scalar(_, alternatives) => Some((field.name, alternatives)),
            _ => None,
        });
        for (name, alternatives) in paths {
            let sources = alternatives.iter().filter_map(|alternative| match &alternative.source {
                Source::From(paths) => Some(paths),
                _ => None,
            });
            for path in sources.flatten().filter(|path| !path.is_outside()) {
                let value = |row: &Row<'a>| match path.find(&Scope { row: *row, up: Some(scope), rows: None }) {
                    Found::Value(value) => Some(value),
                    _ => None,
                };
                let says = |value: Option<&'a Value>, other: Option<&'a Value>| {
                    let [one, other] = [value, other].map(|value| value.and_then(plain));
                    one.as_deref().map(text::trim) == other.as_deref().map(text::trim)
                };
                let first = value(&rows[0]);
                // Nearly always the very same.
                let differs = |other| other != first && !says(other, first);
                if rows[1..].iter().any(|row| differs(value(row))) {
                    self.path.push(Step::Field(name));
                    self.find(
                        &rules::GROUP_DISAGREES,
                        &format!("{} differs between rows of one group", path.text),
                        None,
                    );
                    self.path.pop();
                }
            }
        }
    }
}

/// What rows that are equal have in common, so that a list of a thousand is not compared a million times.
fn beginning(node: &Node<'_>, state: &impl BuildHasher) -> u64 {
    match node {
        Node::Map(fields) => state.hash_one(&fields[..fields.len().min(2)]),
        _ => 0,
    }
}

/// The rows that a wide table's rows stand for: one for each column of the dictionary.
fn columns<'a>(plan: &'a ListPlan, rows: Vec<Row<'a>>) -> Vec<Row<'a>> {
    let wide = rows.into_iter().filter_map(|row| match row {
        Row::Map(map) | Row::Column(map, _) => Some(map),
        Row::Value(_) => None,
    });
    wide.flat_map(|map| plan.pivot.iter().map(move |line| Row::Column(map, line))).collect()
}

/// The innermost rows that a left-out row stands for.
fn leaves(plan: &ListPlan, scope: &Scope<'_, '_>) -> u32 {
    if plan.leaf {
        return 1;
    }
    let inner = plan.object.fields.iter().filter_map(|field| match &field.read {
        Read::List(list) => Some(list),
        _ => None,
    });
    inner
        .map(|list| {
            let rows = list.each.rows(scope).unwrap_or_default();
            rows.into_iter().map(|row| leaves(list, &Scope { row, up: Some(scope), rows: None })).sum::<u32>()
        })
        .sum()
}
