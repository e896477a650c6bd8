//! Reads child rows and hangs them under their parents.

use std::collections::{HashMap, HashSet};

use connector_api::{DecodeFailure, Document, FaultClass, Map, SourceError, Value};

use crate::client::find_name;
use crate::plan::ChildPlan;
use crate::{RelationalClient, Row, Rows};

/// A row on its way to becoming a record or an element of a list.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) map: Map,
    /// Why the row can't be vouched for. Its children are not read; the record is held anyway.
    pub(crate) failure: Option<DecodeFailure>,
}

impl Node {
    pub(crate) fn of(rows: &Rows, row: &Row) -> Node {
        let failure = row.broken.first().map(|(at, code)| {
            let column = rows.columns.get(*at).map_or("", |name| name);
            DecodeFailure::new(code, format!("column {column:?} can't be read"))
        });
        Node { map: rows.map(row), failure }
    }

    fn bytes(&self) -> Vec<u8> {
        Document::new(self.map.clone()).to_bytes()
    }
}

/// Reads every child list of these rows, and their lists in turn.
pub(crate) async fn attach<C: RelationalClient>(
    client: &mut C,
    children: &[ChildPlan],
    nodes: &mut [Node],
) -> Result<(), SourceError> {
    // What was unsound before its lists were read gets none: it may not even have a key.
    let sound: Vec<bool> = nodes.iter().map(|node| node.failure.is_none()).collect();
    for child in children {
        let mut bindings = Bindings::of(child, nodes, &sound)?;
        let chunk = child.chunk(client.dialect());
        for tuples in bindings.tuples.chunks(chunk) {
            let rows = client.query(&child.rows_of(client.dialect(), tuples)).await?;
            let key = positions(&rows, &child.settings.key, &child.settings.from)?;
            let order = positions(&rows, &child.settings.order_by, &child.settings.from)?;
            let mut elements: Vec<Node> = rows.rows.iter().map(|row| Node::of(&rows, row)).collect();
            // A list's own lists are read for all parents at once, or a page costs a query a row.
            Box::pin(attach(client, &child.children, &mut elements)).await?;
            for (row, node) in rows.rows.iter().zip(elements) {
                let owners = bindings.owners(&row.pick(&key)).ok_or_else(|| {
                    SourceError::stop(
                        FaultClass::Data,
                        format!("match the rows of {:?} to their parents", child.settings.from),
                    )
                    .hint(
                        "the key columns of parent and child are written differently (type, padding, zeros): \
                               compare them in the source, and name columns that are written alike",
                    )
                })?;
                bindings.lists.hand_out(&owners, row.pick(&order), node);
            }
        }
        bindings.deliver(child, nodes, &sound);
    }
    Ok(())
}

/// Where columns stand in a result.
pub(crate) fn positions(rows: &Rows, names: &[String], from: &str) -> Result<Vec<usize>, SourceError> {
    let find =
        |name: &String| rows.position(name).ok_or_else(|| missing(name, from, rows.columns.iter().map(|c| &**c)));
    names.iter().map(find).collect()
}

/// A column is not there.
pub(crate) fn missing<'a>(name: &str, from: &str, there: impl Iterator<Item = &'a str>) -> SourceError {
    let error = SourceError::stop(FaultClass::Missing, format!("find column {name:?} in {from:?}"));
    match nearest(name, there) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error.hint(format!("`hisync discover` lists the columns of {from:?}")),
    }
}

/// The name most like the one that is missing, if any is much like it.
pub(crate) fn nearest<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    there
        .map(|other| (strsim::jaro_winkler(&wanted, &other.to_lowercase()), other))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, other)| other)
}

/// Which parents a child's rows can belong to.
struct Bindings {
    /// The distinct values of the parents' key columns.
    tuples: Vec<Vec<Value>>,
    exact: HashMap<Vec<Value>, usize>,
    /// Databases call more keys equal than we do (case, padding, number types): what matches no
    /// key exactly is looked up here.
    loose: HashMap<Vec<String>, Vec<usize>>,
    /// Each node's tuple.
    of_node: Vec<Option<usize>>,
    lists: Lists,
}

/// A child's list for each tuple, with the values that it was ordered by.
#[derive(Default)]
struct Lists {
    lists: HashMap<usize, Vec<(Vec<Value>, Node)>>,
    /// Tuples whose rows might belong to another tuple too.
    doubtful: HashSet<usize>,
}

impl Lists {
    fn hand_out(&mut self, owners: &[usize], order: Vec<Value>, node: Node) {
        if owners.len() > 1 {
            self.doubtful.extend(owners);
        }
        for owner in owners {
            let copy = Node { map: node.map.clone(), failure: node.failure.clone() };
            self.lists.entry(*owner).or_default().push((order.clone(), copy));
        }
    }
}

impl Bindings {
    fn of(child: &ChildPlan, nodes: &[Node], sound: &[bool]) -> Result<Bindings, SourceError> {
        let mut bindings = Bindings {
            tuples: Vec::new(),
            exact: HashMap::new(),
            loose: HashMap::new(),
            of_node: Vec::with_capacity(nodes.len()),
            lists: Lists::default(),
        };
        for (node, sound) in nodes.iter().zip(sound) {
            if !sound {
                bindings.of_node.push(None);
                continue;
            }
            if node.map.get(&child.settings.name).is_some() {
                let operation = format!("put the rows of {:?} under {:?}", child.settings.from, child.settings.name);
                return Err(SourceError::stop(FaultClass::Other, operation)
                    .hint("the parent has a column of that name: give the list another name"));
            }
            bindings.bind(child, node)?;
        }
        Ok(bindings)
    }

    fn bind(&mut self, child: &ChildPlan, node: &Node) -> Result<(), SourceError> {
        let mut tuple = Vec::with_capacity(child.parent_key.len());
        for name in &child.parent_key {
            let at = find_name(node.map.names(), name).ok_or_else(|| missing(name, "the parent", node.map.names()))?;
            tuple.push(node.map.iter().nth(at).map(|(_, value)| value.clone()).unwrap_or_default());
        }
        let bound = !tuple.iter().any(Value::is_null);
        let at = bound.then(|| match self.exact.get(&tuple) {
            Some(at) => *at,
            None => {
                let at = self.tuples.len();
                self.loose.entry(loosen(&tuple)).or_default().push(at);
                self.exact.insert(tuple.clone(), at);
                self.tuples.push(tuple);
                at
            }
        });
        self.of_node.push(at);
        Ok(())
    }

    fn owners(&self, key: &[Value]) -> Option<Vec<usize>> {
        let exact = self.exact.get(key).map(|at| vec![*at]);
        exact.or_else(|| self.loose.get(&loosen(key)).cloned())
    }

    fn deliver(mut self, child: &ChildPlan, nodes: &mut [Node], sound: &[bool]) {
        let mut ready: HashMap<usize, (Value, Option<DecodeFailure>)> = HashMap::new();
        for (at, mut list) in self.lists.lists.drain() {
            settle_ties(&mut list);
            let broken = list.iter().find_map(|(_, node)| node.failure.clone());
            let failure = broken.map(|failure| {
                DecodeFailure::new(failure.code, format!("list {:?}: {}", child.settings.name, failure.detail))
            });
            let doubt = self.lists.doubtful.contains(&at).then(|| {
                let detail = format!("rows of list {:?} match more than one parent", child.settings.name);
                DecodeFailure::new("child-key-ambiguous", detail)
            });
            let values = list.into_iter().map(|(_, node)| Value::Map(node.map)).collect();
            ready.insert(at, (Value::List(values), failure.or(doubt)));
        }
        let sound = nodes.iter_mut().zip(&self.of_node).zip(sound).filter(|(_, sound)| **sound);
        for ((node, at), _) in sound {
            let (list, failure) = at.and_then(|at| ready.get(&at).cloned()).unwrap_or((Value::List(Vec::new()), None));
            node.map.push(child.settings.name.as_str(), list);
            node.failure = node.failure.take().or(failure);
        }
    }
}

/// Puts rows that tie in the source's order into an order of their content, so that the archived
/// bytes of an unchanged record never vary.
pub(crate) fn settle_ties(list: &mut [(Vec<Value>, Node)]) {
    for run in list.chunk_by_mut(|left, right| left.0 == right.0) {
        run.sort_by_cached_key(|(_, node)| node.bytes());
    }
}

/// A key as sources compare it: case, padding and number types aside.
pub(crate) fn loosen(key: &[Value]) -> Vec<String> {
    let loose = |value: &Value| match value {
        Value::Text(text) => text.trim_end().to_lowercase(),
        Value::Integer(number) => number.to_string(),
        Value::Decimal(number) => {
            let literal = number.as_str();
            let trimmed =
                if literal.contains('.') { literal.trim_end_matches('0').trim_end_matches('.') } else { literal };
            trimmed.to_owned()
        }
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Value::Time(time) => time.to_string(),
        Value::Bool(truth) => i64::from(*truth).to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => String::new(),
    };
    key.iter().map(loose).collect()
}
