//! Records of a page's rows.

use std::collections::{HashMap, HashSet};

use connector_api::{DecodeFailure, Document, FaultClass, Map, Record, SourceError, Value};

use super::{Page, SqlPoller};
use crate::children::{Node, attach, positions};
use crate::client::count_of;
use crate::decoder::mark_held;
use crate::plan::tuples_per_query;
use crate::query::{Condition, Select, Term};
use crate::{RelationalClient, Rows, units};

/// How many rows of one repeated key are archived with the held record.
const ARCHIVED_DUPLICATES: usize = 1000;

impl<C: RelationalClient> SqlPoller<C> {
    /// Makes records of a page's rows. The second answer is how many rows stand with others.
    pub(super) async fn records(&mut self, page: &Page) -> Result<(Vec<Record>, u64), SourceError> {
        let rows = &page.rows;
        if rows.rows.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let (mut nodes, folded) = if self.plan.stream.fetch.group {
            units::read(&mut self.client, &self.plan, rows, &page.tally).await?
        } else {
            self.single(rows).await?
        };
        attach(&mut self.client, &self.plan.children, &mut nodes).await?;
        let record = |mut node: Node| {
            if let Some(failure) = &node.failure {
                mark_held(&mut node.map, failure);
            }
            let mut record = Record::from_document(Document::new(node.map), self.plan.from());
            if let Some(failure) = node.failure {
                record.document = Err(failure);
            }
            record
        };
        Ok((nodes.into_iter().map(record).collect(), folded))
    }

    /// A record of each row; rows that share a key are one that is held.
    async fn single(&mut self, rows: &Rows) -> Result<(Vec<Node>, u64), SourceError> {
        let key = positions(rows, &self.plan.stream.fetch.key, self.plan.from())?;
        let (groups, folded) = self.repeated(rows, &key).await?;
        let mut given = HashSet::new();
        let mut nodes = Vec::with_capacity(rows.rows.len());
        for row in &rows.rows {
            let tuple = row.pick(&key);
            if let Some(at) = groups.of_key.get(&tuple) {
                if given.insert(*at) {
                    nodes.push(Node { map: groups.maps[*at].clone(), failure: Some(groups.failures[*at].clone()) });
                }
                continue;
            }
            let mut node = Node::of(rows, row);
            if node.failure.is_none() && tuple.iter().any(Value::is_null) {
                node.failure = Some(DecodeFailure::new("null-key", "a key column is null"));
            }
            nodes.push(node);
        }
        Ok((nodes, folded))
    }

    /// Finds the keys of a page that more than one row has, anywhere in the table, and reads all
    /// their rows. Which keys are equal is the source's decision, under its own collation.
    async fn repeated(&mut self, rows: &Rows, key: &[usize]) -> Result<(Groups, u64), SourceError> {
        let mut seen = HashSet::new();
        let sound = rows.rows.iter().filter(|row| key.iter().all(|column| !row.is_broken(*column)));
        let tuples: Vec<Vec<Value>> =
            sound.map(|row| row.pick(key)).filter(|tuple| seen.insert(tuple.clone())).collect();
        let filters: usize = self.plan.stream.fetch.filter.iter().map(|filter| filter.values().len()).sum();
        let chunk = tuples_per_query(self.client.dialect(), filters, key.len());
        let mut groups = Groups::default();
        let mut folded = 0;
        for tuples in tuples.chunks(chunk) {
            let terms = self.plan.key();
            let query = select(self, Select::Repeated(&terms), &terms, tuples, None);
            for found in self.client.query(&query).await?.rows {
                let Some((last, tuple)) = found.values.split_last() else { continue };
                let count = count_of(last).ok_or_else(|| {
                    SourceError::stop(FaultClass::Data, format!("count the rows of each key of {:?}", self.plan.from()))
                })?;
                if groups.of_key.contains_key(tuple) {
                    // Spelled otherwise, it was found by a query before.
                    continue;
                }
                folded += count.saturating_sub(1);
                let tuple = [tuple.to_vec()];
                let columns = Select::Columns(&self.plan.columns);
                let query = select(self, columns, &self.plan.key(), &tuple, Some(ARCHIVED_DUPLICATES));
                let all = self.client.query(&query).await?;
                groups.add(&all, &positions(&all, &self.plan.stream.fetch.key, self.plan.from())?, count);
            }
        }
        Ok((groups, folded))
    }
}

fn select<C: RelationalClient>(
    poller: &SqlPoller<C>,
    select: Select<'_>,
    terms: &[Term<'_>],
    tuples: &[Vec<Value>],
    limit: Option<usize>,
) -> crate::Query {
    let mut query = poller.plan.parents(poller.client.dialect(), select);
    query.conditions.push(Condition::AnyOf(terms, tuples));
    query.limit = limit;
    query.compose()
}

/// Rows that share a key: each group is one held record.
#[derive(Default)]
struct Groups {
    of_key: HashMap<Vec<Value>, usize>,
    maps: Vec<Map>,
    failures: Vec<DecodeFailure>,
}

impl Groups {
    fn add(&mut self, rows: &Rows, key: &[usize], count: u64) {
        let at = self.maps.len();
        let mut list = Vec::with_capacity(rows.rows.len());
        let mut null = false;
        for row in &rows.rows {
            let tuple = row.pick(key);
            null |= tuple.iter().any(Value::is_null);
            self.of_key.insert(tuple, at);
            list.push(rows.map(row));
        }
        list.sort_by_cached_key(|map| Document::new(map.clone()).to_bytes());
        let rows: Vec<Value> = list.into_iter().map(Value::Map).collect();
        self.maps.push(Map::from_iter([("rows", Value::List(rows))]));
        self.failures.push(match null {
            true => DecodeFailure::new("null-key", format!("a key column is null in {count} rows")),
            false => DecodeFailure::new("duplicate-key", format!("{count} rows have the same key")),
        });
    }
}
