//! Grouped streams: rows that share a key are one record, with all of them in the list `rows`.
//!
//! A page is paged by rows, as every page is; here each key on it becomes its whole unit. So a unit
//! is never split, and one row that changed brings all rows of its unit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use connector_api::{DecodeFailure, FaultClass, Map, SourceError, Value};

use crate::children::{Node, loosen, positions, settle_ties};
use crate::client::{count_of, find_name};
use crate::plan::tuples_per_query;
use crate::query::{Condition, Select, Term};
use crate::{Plan, Query, RelationalClient, Rows};

/// The name of the list.
pub(crate) const LIST: &str = "rows";

/// How many rows the units of one page have together at most: memory is bounded by it.
const MOST_ROWS: u64 = 5_000;

/// A unit with more rows is held: the key does not name what belongs together.
const LARGEST_UNIT: u64 = 20_000;

/// How many rows of a unit that is too large are archived with the held record.
const ARCHIVED_ROWS: usize = 1000;

/// How many rows the source has for each key. Keys are loosened: a source may call more keys equal
/// than we do.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<Vec<String>, u64>);

impl Tally {
    fn of(&self, tuple: &[Value]) -> u64 {
        self.0.get(&loosen(tuple)).copied().unwrap_or(1)
    }
}

/// Counts the rows of each key that a page's rows have.
pub(crate) async fn tally<C: RelationalClient>(
    client: &mut C,
    plan: &Plan,
    tuples: &[Vec<Value>],
) -> Result<Tally, SourceError> {
    let mut tally = Tally::default();
    let terms = plan.key();
    for chunk in tuples.chunks(chunk(client, plan)) {
        let query = keyed(client, plan, Select::Tally(&terms), chunk, None);
        for row in client.query(&query).await?.rows {
            let counted = row.values.split_last().and_then(|(count, tuple)| Some((count_of(count)?, tuple)));
            let (count, tuple) = counted.ok_or_else(|| {
                SourceError::stop(FaultClass::Data, format!("count the rows of each key of {:?}", plan.from()))
            })?;
            *tally.0.entry(loosen(tuple)).or_default() += count;
        }
    }
    Ok(tally)
}

/// The distinct keys of rows, in the order of first appearance. Keys that can't be decoded are left
/// out: their rows are held one by one.
pub(crate) fn tuples(rows: &Rows, key: &[usize]) -> Vec<Vec<Value>> {
    let mut seen = HashSet::new();
    let sound = rows.rows.iter().filter(|row| key.iter().all(|column| !row.is_broken(*column)));
    sound.map(|row| row.pick(key)).filter(|tuple| seen.insert(tuple.clone())).collect()
}

/// How many of a page's rows may be kept, so that their units fit into memory; at least those of the
/// first unit.
pub(crate) fn fitting(rows: &Rows, key: &[usize], tally: &Tally) -> usize {
    let mut seen = HashSet::new();
    let mut sum = 0;
    for (at, row) in rows.rows.iter().enumerate() {
        let tuple = row.pick(key);
        // What is too large is read in part.
        let count = tally.of(&tuple).min(ARCHIVED_ROWS as u64 + LARGEST_UNIT);
        if !seen.insert(loosen(&tuple)) {
            continue;
        }
        sum += count;
        if sum > MOST_ROWS && at > 0 {
            return at;
        }
    }
    rows.rows.len()
}

/// The units of a page's rows, whole. The second answer is how many rows stand with others.
pub(crate) async fn read<C: RelationalClient>(
    client: &mut C,
    plan: &Plan,
    rows: &Rows,
    tally: &Tally,
) -> Result<(Vec<Node>, u64), SourceError> {
    let key = positions(rows, &plan.stream.fetch.key, plan.from())?;
    let wanted = tuples(rows, &key);
    let mut units = Units::default();
    let (large, usual): (Vec<_>, Vec<_>) = wanted.iter().cloned().partition(|tuple| tally.of(tuple) > LARGEST_UNIT);
    for chunk in usual.chunks(chunk(client, plan)) {
        let query = keyed(client, plan, Select::Columns(&plan.columns), chunk, None);
        units.add(&client.query(&query).await?, plan)?;
    }
    for spellings in units.ambiguous() {
        // Whether `a1` and `A1` are one unit is the source's decision, under its own collation.
        units.forget(&spellings);
        let mut given: HashSet<Vec<Value>> = HashSet::new();
        for tuple in spellings {
            if given.contains(&tuple) {
                continue;
            }
            let query = keyed(client, plan, Select::Columns(&plan.columns), std::slice::from_ref(&tuple), None);
            let found = client.query(&query).await?;
            given.extend(units.settle(&found, plan)?);
        }
    }
    let mut folded = 0;
    let mut nodes = Vec::with_capacity(wanted.len());
    for tuple in &wanted {
        if large.contains(tuple) {
            let query = Select::Columns(&plan.columns);
            let query = keyed(client, plan, query, std::slice::from_ref(tuple), Some(ARCHIVED_ROWS));
            let found = client.query(&query).await?;
            let count = tally.of(tuple);
            folded += count.saturating_sub(1);
            let detail = format!("{count} rows have the same key, more than {LARGEST_UNIT}");
            let failure = Some(DecodeFailure::new("unit-too-large", detail));
            let mut unit = Unit::default();
            found.rows.iter().for_each(|row| unit.rows.push((Vec::new(), Node::of(&found, row))));
            nodes.push(Node { failure, ..unit.node(plan) });
        } else if let Some(unit) = units.take(tuple).ok_or_else(|| not_found(plan))? {
            folded += (unit.rows.len() as u64).saturating_sub(1);
            let mut node = unit.node(plan);
            if node.failure.is_none() && tuple.iter().any(Value::is_null) {
                node.failure = Some(DecodeFailure::new("null-key", "a key column is null"));
            }
            nodes.push(node);
        }
    }
    let unkeyed = rows.rows.iter().filter(|row| key.iter().any(|column| row.is_broken(*column)));
    nodes.extend(unkeyed.map(|row| Node::of(rows, row)));
    Ok((nodes, folded))
}

/// A row was read, and nothing has its key. Passing over it would lose the record without a word.
fn not_found(plan: &Plan) -> SourceError {
    let key = &plan.stream.fetch.key;
    SourceError::retry(FaultClass::Data, format!("find the rows of a key of {:?} again by {key:?}", plan.from())).hint(
        "the row was deleted meanwhile, or its key does not compare equal to itself when it is sent back (a character \
         set, a float, a time finer than its type): if it stays, cast the key in a view, or use another key",
    )
}

fn chunk<C: RelationalClient>(client: &C, plan: &Plan) -> usize {
    let fetch = &plan.stream.fetch;
    let filters: usize = fetch.filter.iter().map(|filter| filter.values().len()).sum();
    tuples_per_query(client.dialect(), filters, fetch.key.len())
}

fn keyed<C: RelationalClient>(
    client: &C,
    plan: &Plan,
    select: Select<'_>,
    tuples: &[Vec<Value>],
    limit: Option<usize>,
) -> Query {
    let terms: Vec<Term<'_>> = plan.key();
    let rows = matches!(select, Select::Columns(_));
    let mut query = plan.parents(client.dialect(), select);
    query.conditions.push(Condition::AnyOf(&terms, tuples));
    if rows {
        query.order = plan.stream.fetch.key.iter().chain(&plan.stream.fetch.order_by).map(String::as_str).collect();
    }
    query.limit = limit;
    query.compose()
}

/// The rows of one unit, each with the values that it was ordered by.
#[derive(Default)]
struct Unit {
    rows: Vec<(Vec<Value>, Node)>,
    spellings: Vec<Vec<Value>>,
}

impl Unit {
    /// The record: the key, what every row says alike (a flat view repeats its header), and the rows.
    ///
    /// A header in which rows disagree is left out at the top, so that a mapping that reads it there
    /// misses it and holds the record.
    fn node(mut self, plan: &Plan) -> Node {
        settle_ties(&mut self.rows);
        let failure = self.rows.iter().find_map(|(_, node)| node.failure.clone());
        let mut map = Map::new();
        if let Some(((_, first), others)) = self.rows.split_first() {
            let key: Vec<usize> =
                plan.stream.fetch.key.iter().filter_map(|name| find_name(first.map.names(), name)).collect();
            key.iter().filter_map(|at| first.map.iter().nth(*at)).for_each(|(name, value)| {
                map.push(Arc::clone(name), value.clone());
            });
            for (at, (name, value)) in first.map.iter().enumerate() {
                let is_list = **name == *LIST || plan.children.iter().any(|child| *child.settings.name == **name);
                let alike = || others.iter().all(|(_, row)| row.map.get(name) == Some(value));
                if !key.contains(&at) && !is_list && alike() {
                    map.push(Arc::clone(name), value.clone());
                }
            }
        }
        map.push(LIST, self.rows.into_iter().map(|(_, node)| Value::Map(node.map)).collect::<Vec<Value>>());
        Node { map, failure }
    }
}

#[derive(Default)]
struct Units {
    all: Vec<Option<Unit>>,
    by_spelling: HashMap<Vec<Value>, usize>,
    by_loose: HashMap<Vec<String>, usize>,
    /// Those that were given out.
    taken: HashSet<usize>,
}

impl Units {
    /// Hands rows out by key, differences of spelling aside.
    fn add(&mut self, rows: &Rows, plan: &Plan) -> Result<(), SourceError> {
        let (key, order) = columns(rows, plan)?;
        for row in &rows.rows {
            let tuple = row.pick(&key);
            let at = *self.by_loose.entry(loosen(&tuple)).or_insert_with(|| {
                self.all.push(Some(Unit::default()));
                self.all.len() - 1
            });
            self.by_spelling.insert(tuple.clone(), at);
            if let Some(Some(unit)) = self.all.get_mut(at) {
                unit.rows.push((row.pick(&order), Node::of(rows, row)));
                if !unit.spellings.contains(&tuple) {
                    unit.spellings.push(tuple);
                }
            }
        }
        Ok(())
    }

    /// Makes one unit of rows that the source itself calls equal; answers how their keys are spelled.
    fn settle(&mut self, rows: &Rows, plan: &Plan) -> Result<Vec<Vec<Value>>, SourceError> {
        let (key, order) = columns(rows, plan)?;
        let mut unit = Unit::default();
        for row in &rows.rows {
            let tuple = row.pick(&key);
            unit.rows.push((row.pick(&order), Node::of(rows, row)));
            if !unit.spellings.contains(&tuple) {
                unit.spellings.push(tuple);
            }
        }
        let spellings = unit.spellings.clone();
        for tuple in &spellings {
            self.by_spelling.insert(tuple.clone(), self.all.len());
        }
        self.all.push(Some(unit));
        Ok(spellings)
    }

    /// The spellings of each unit whose key is spelled in more than one way.
    fn ambiguous(&self) -> Vec<Vec<Vec<Value>>> {
        let several = self.all.iter().flatten().filter(|unit| unit.spellings.len() > 1);
        several.map(|unit| unit.spellings.clone()).collect()
    }

    fn forget(&mut self, spellings: &[Vec<Value>]) {
        if let Some(unit) = spellings.first().and_then(|tuple| self.by_spelling.get(tuple))
            && let Some(unit) = self.all.get_mut(*unit)
        {
            *unit = None;
        }
    }

    /// The unit of a key; once, however many keys of the page are its (then `Some(None)`). `None`
    /// where the source has no row with this key.
    fn take(&mut self, tuple: &[Value]) -> Option<Option<Unit>> {
        let exact = self.by_spelling.get(tuple);
        let at = *exact.or_else(|| self.by_loose.get(&loosen(tuple)))?;
        match self.all.get_mut(at)?.take() {
            None if !self.taken.contains(&at) => None,
            None => Some(None),
            unit => {
                self.taken.insert(at);
                Some(unit)
            }
        }
    }
}

fn columns(rows: &Rows, plan: &Plan) -> Result<(Vec<usize>, Vec<usize>), SourceError> {
    let fetch = &plan.stream.fetch;
    Ok((positions(rows, &fetch.key, plan.from())?, positions(rows, &fetch.order_by, plan.from())?))
}
