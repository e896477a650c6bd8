//! A stream's table, worked out once: which columns are read, and what binds child to parent.

use chrono_tz::Tz;
use connector_api::{FaultClass, SourceError, Value};

use crate::query::{Composer, Condition, Select, Term};
use crate::{Child, Dialect, Query, TableStream, WatermarkSettings};

/// What one stream reads. Made from settings that [`crate::check_stream`] found nothing against.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) stream: TableStream,
    /// The parent's select list; all columns where empty.
    pub(crate) columns: Vec<String>,
    pub(crate) children: Vec<ChildPlan>,
    /// The hospital's.
    pub(crate) zone: Tz,
    /// Which of the watermark's columns hold text, once the source was asked.
    pub(crate) texts: Option<Vec<String>>,
}

/// What one child fetch reads.
#[derive(Clone, Debug)]
pub(crate) struct ChildPlan {
    pub(crate) settings: Child,
    pub(crate) parent_key: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) children: Vec<ChildPlan>,
}

impl Plan {
    /// Works out what the stream reads, in a hospital's time zone.
    pub fn new(stream: TableStream, zone: Tz) -> Plan {
        let children = plan_children(&stream.children, Some(&stream.fetch.key));
        let fetch = &stream.fetch;
        let watermark = fetch.watermark.iter().flat_map(WatermarkSettings::columns);
        let needed = fetch
            .key
            .iter()
            .chain(&fetch.order_by)
            .chain(watermark)
            .chain(children.iter().flat_map(|child| &child.parent_key));
        let columns = select_list(&fetch.columns, needed);
        Plan { columns, children, stream, zone, texts: None }
    }

    pub(crate) fn from(&self) -> &str {
        &self.stream.fetch.from
    }

    pub(crate) fn watermark(&self) -> Result<&WatermarkSettings, SourceError> {
        self.stream.fetch.watermark.as_ref().ok_or_else(|| {
            SourceError::stop(FaultClass::Other, format!("read changes of {:?}", self.from()))
                .hint("the stream has no watermark: add one, or read snapshots")
        })
    }

    /// The key's columns as terms of a condition.
    pub(crate) fn key(&self) -> Vec<Term<'_>> {
        self.stream.fetch.key.iter().map(|name| Term::plain(name)).collect()
    }

    /// A query on the parent's table under the stream's filters.
    pub(crate) fn parents<'a>(&'a self, dialect: &'a dyn Dialect, select: Select<'a>) -> Composer<'a> {
        Composer::new(dialect, select, self.from(), &self.stream.fetch.filter)
    }

    /// The newest watermark values, newest first.
    pub(crate) fn newest(&self, dialect: &dyn Dialect, limit: usize) -> Result<Query, SourceError> {
        self.backwards(dialect, self.watermark()?.width(), None, limit)
    }

    /// The first `width` of the watermark's columns, from before some values on (or from the newest) backwards.
    pub(crate) fn backwards(
        &self,
        dialect: &dyn Dialect,
        width: usize,
        before: Option<&[Value]>,
        limit: usize,
    ) -> Result<Query, SourceError> {
        let terms = self.terms(self.watermark()?);
        let terms = terms.get(..width).unwrap_or(&terms);
        let columns: Vec<String> = terms.iter().map(|term| term.name.to_owned()).collect();
        let mut query = self.parents(dialect, Select::Columns(&columns));
        query.conditions.extend(terms.iter().copied().map(Condition::NotBlank));
        query.conditions.extend(before.map(|values| Condition::Before(terms, values)));
        query.order = terms.iter().map(|term| term.name).collect();
        query.descending = true;
        query.limit = Some(limit);
        Ok(query.compose())
    }

    /// The watermark's columns. The one that holds what the type says bears it: of a day and a time of day the first,
    /// of a counter under others the last.
    pub(crate) fn terms<'a>(&self, watermark: &'a WatermarkSettings) -> Vec<Term<'a>> {
        let kind = |name: &String| (name == watermark.typed_column()).then_some(watermark.kind);
        let text = |name: &String| self.texts.as_ref().is_some_and(|texts| texts.contains(name));
        watermark.columns().map(|name| Term { name, kind: kind(name), text: text(name) }).collect()
    }
}

impl ChildPlan {
    /// The rows that belong to parents with these key values.
    pub(crate) fn rows_of(&self, dialect: &dyn Dialect, tuples: &[Vec<Value>]) -> Query {
        let key: Vec<Term<'_>> = self.settings.key.iter().map(|name| Term::plain(name)).collect();
        let mut query =
            Composer::new(dialect, Select::Columns(&self.columns), &self.settings.from, &self.settings.filter);
        query.conditions.push(Condition::AnyOf(&key, tuples));
        query.order = self.settings.order_by.iter().map(String::as_str).collect();
        query.compose()
    }

    /// How many parents one query may be bound to.
    pub(crate) fn chunk(&self, dialect: &dyn Dialect) -> usize {
        let filters: usize = self.settings.filter.iter().map(|filter| filter.values().len()).sum();
        tuples_per_query(dialect, filters, self.settings.key.len())
    }
}

/// How many tuples of `width` columns fit one query beside `taken` parameters. An OR-chain nests
/// as deep as it is long, and databases bound that depth (SQLite: 1000).
pub(crate) fn tuples_per_query(dialect: &dyn Dialect, taken: usize, width: usize) -> usize {
    let room = dialect.max_parameters().saturating_sub(taken) / width.max(1);
    room.clamp(1, if width == 1 { 500 } else { 200 })
}

fn plan_children(children: &[Child], parent: Option<&[String]>) -> Vec<ChildPlan> {
    children
        .iter()
        .map(|child| {
            let below = plan_children(&child.children, None);
            let bound = below.iter().flat_map(|child| &child.parent_key);
            let needed = child.key.iter().chain(&child.order_by).chain(bound);
            let columns = select_list(&child.columns, needed);
            let own = child.parent_key.as_deref().or(parent).unwrap_or(&child.key);
            ChildPlan { parent_key: own.to_vec(), columns, children: below, settings: child.clone() }
        })
        .collect()
}

fn select_list<'a>(columns: &[String], needed: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut list = columns.to_vec();
    if !list.is_empty() {
        for name in needed {
            if !list.contains(name) {
                list.push(name.clone());
            }
        }
    }
    list
}
