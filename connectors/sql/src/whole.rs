//! Records of a result that comes whole, from a stored procedure: nothing more can be asked of it.

use std::collections::HashMap;

use connector_api::{DecodeFailure, Document, Map, Record, SourceError, Value};

use crate::Rows;
use crate::children::{Node, positions};
use crate::decoder::mark_held;

/// One record for each key, in the order of each key's first row. Rows that share a key are one held
/// record with all of them; a row without a key, or with a value that can't be decoded, is held.
pub fn records_of_result(rows: &Rows, key: &[String], from: &str) -> Result<Vec<Record>, SourceError> {
    if rows.rows.is_empty() {
        return Ok(Vec::new());
    }
    let key = positions(rows, key, from)?;
    let mut order: Vec<Vec<usize>> = Vec::new();
    let mut seen: HashMap<Vec<Value>, usize> = HashMap::new();
    for (at, row) in rows.rows.iter().enumerate() {
        match seen.get(&row.pick(&key)) {
            Some(group) => order[*group].push(at),
            None => {
                seen.insert(row.pick(&key), order.len());
                order.push(vec![at]);
            }
        }
    }
    let record = |group: Vec<usize>| {
        let mut node = match group.as_slice() {
            [only] => Node::of(rows, &rows.rows[*only]),
            several => {
                let mut list: Vec<Map> = several.iter().map(|at| rows.map(&rows.rows[*at])).collect();
                list.sort_by_cached_key(|map| Document::new(map.clone()).to_bytes());
                let list: Vec<Value> = list.into_iter().map(Value::Map).collect();
                let failure = DecodeFailure::new("duplicate-key", format!("{} rows have the same key", several.len()));
                Node { map: Map::from_iter([("rows", Value::List(list))]), failure: Some(failure) }
            }
        };
        let null = group.first().is_some_and(|at| rows.rows[*at].pick(&key).iter().any(Value::is_null));
        if null {
            node.failure = Some(DecodeFailure::new("null-key", "a key column is null"));
        }
        if let Some(failure) = &node.failure {
            mark_held(&mut node.map, failure);
        }
        let mut record = Record::from_document(Document::new(node.map), from);
        if let Some(failure) = node.failure {
            record.document = Err(failure);
        }
        record
    };
    Ok(order.into_iter().map(record).collect())
}
