//! Looks at a source without changing anything: what a stream reads, and what there is.

use std::time::{Duration, Instant};

use connector_api::{Discovered, FaultClass, Probe, SourceError, Value};

use crate::children::{missing, nearest};
use crate::client::{count_of, find_name};
use crate::plan::ChildPlan;
use crate::query::{Composer, Condition, Select};
use crate::{Plan, Query, RelationalClient, Rows, WatermarkSettings, watermark};

pub(crate) async fn probe<C: RelationalClient>(client: &mut C, plan: &Plan) -> Result<Probe, SourceError> {
    let mut probe = Probe { server: client.server().await?, ..Probe::default() };
    probe.findings = client.findings();
    let fetch = &plan.stream.fetch;
    let mut wanted: Vec<&String> = plan.columns.iter().collect();
    wanted.extend(fetch.key.iter().chain(&fetch.order_by));
    wanted.extend(fetch.filter.iter().map(|filter| &filter.column));
    wanted.extend(fetch.watermark.iter().flat_map(WatermarkSettings::columns));
    wanted.extend(plan.children.iter().flat_map(|child| &child.parent_key));
    let there = columns(client, &fetch.from, &wanted, &mut probe).await?;
    check_names(&plan.children, &there)?;
    let mut children: Vec<&ChildPlan> = plan.children.iter().collect();
    while let Some(child) = children.pop() {
        let mut wanted: Vec<&String> = child.columns.iter().collect();
        wanted.extend(child.settings.key.iter().chain(&child.settings.order_by));
        wanted.extend(child.settings.filter.iter().map(|filter| &filter.column));
        wanted.extend(child.children.iter().flat_map(|child| &child.parent_key));
        let there = columns(client, &child.settings.from, &wanted, &mut probe).await?;
        check_names(&child.children, &there)?;
        children.extend(&child.children);
    }
    probe.clock_difference_ms = clock_difference(client).await?;
    let rows = count(client, plan.parents(client.dialect(), Select::Count).compose()).await?;
    probe.findings.push(format!("{:?} has {rows} rows", fetch.from));
    if fetch.watermark.is_some() {
        probe_watermark(client, plan, &mut probe).await?;
    }
    Ok(probe)
}

async fn probe_watermark<C: RelationalClient>(
    client: &mut C,
    plan: &Plan,
    probe: &mut Probe,
) -> Result<(), SourceError> {
    let settings = plan.watermark()?;
    let mut blank = plan.parents(client.dialect(), Select::Count);
    let terms = plan.terms(settings);
    blank.conditions.push(Condition::Blank(&terms));
    let blank = blank.compose();
    let without = count(client, blank).await?;
    if without > 0 {
        probe.findings.push(format!(
            "{without} rows have no {}: they are read again in every scan, because nothing tells when they change",
            named(settings)
        ));
    }
    let query = plan.newest(client.dialect(), 20)?;
    let newest = client.query(&query).await?;
    let values: Vec<&[Value]> = newest.rows.iter().map(|row| row.values.as_slice()).collect();
    let Some(first) = values.first() else { return Ok(()) };
    if !values.iter().any(|value| watermark::is_readable(settings, value)) {
        let operation =
            format!("read watermark column {} of {:?} as {:?}", named(settings), plan.from(), settings.kind);
        return Err(SourceError::stop(FaultClass::Data, operation)
            .hint("set the watermark's type, or its format, to what the column holds"));
    }
    let now = client.now(plan.zone).await?;
    let ahead = values.iter().filter(|value| !watermark::is_vouched_for(settings, value, Some(&now))).count();
    if ahead > 0 {
        probe.findings.push(format!(
            "the newest values of {} can't be read or lie in the future: their rows are read, but the \
             watermark stays before them; where all are ahead by whole hours, the source's clock (or agent.timezone, \
             if the source tells no time) is in another zone, and these hours are read again in every scan",
            named(settings)
        ));
    }
    let vouched = values.iter().find(|value| watermark::is_vouched_for(settings, value, Some(&now)));
    let newest: Vec<String> = vouched.unwrap_or(first).iter().map(as_text).collect();
    probe.newest = Some(newest.join(" "));
    Ok(())
}

/// The watermark's columns, for a person.
pub(crate) fn named(settings: &WatermarkSettings) -> String {
    settings.columns().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        Value::Time(time) => time.to_string(),
        Value::Bytes(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        other => other.kind().to_owned(),
    }
}

fn check_names(children: &[ChildPlan], columns: &[String]) -> Result<(), SourceError> {
    match children.iter().find(|child| columns.contains(&child.settings.name)) {
        None => Ok(()),
        Some(child) => {
            let operation = format!("put the rows of {:?} under {:?}", child.settings.from, child.settings.name);
            Err(SourceError::stop(FaultClass::Other, operation)
                .hint("the parent has a column of that name: give the list another name"))
        }
    }
}

async fn columns<C: RelationalClient>(
    client: &mut C,
    from: &str,
    wanted: &[&String],
    probe: &mut Probe,
) -> Result<Vec<String>, SourceError> {
    let Some(columns) = client.columns(from).await? else {
        return Err(no_table(client, from).await?);
    };
    let there: Vec<String> = columns.into_iter().map(|column| column.name).collect();
    let names = || there.iter().map(String::as_str);
    let mut absent: Vec<&str> = wanted.iter().map(|name| name.as_str()).collect();
    absent.retain(|name| find_name(names(), name).is_none());
    absent.dedup();
    if let [first, rest @ ..] = absent.as_slice() {
        let mut error = missing(first, from, names());
        if !rest.is_empty() {
            error.operation = format!("find columns {absent:?} in {from:?}");
        }
        return Err(error);
    }
    probe.findings.push(format!("{from:?} has the columns that are read ({} in all)", there.len()));
    Ok(there)
}

async fn no_table<C: RelationalClient>(client: &mut C, from: &str) -> Result<SourceError, SourceError> {
    let tables = client.tables().await?;
    let error = SourceError::stop(FaultClass::Missing, format!("find table or view {from:?}"));
    Ok(match nearest(from, tables.iter().map(|table| table.name.as_str())) {
        Some(near) => error.hint(format!("did you mean {near:?}?")),
        None => error.hint("`hisync discover` lists what this login can see"),
    })
}

async fn count<C: RelationalClient>(client: &mut C, query: crate::Query) -> Result<u64, SourceError> {
    let counted = client.query(&query).await?.scalar().and_then(count_of);
    counted.ok_or_else(|| SourceError::stop(FaultClass::Data, "count rows"))
}

/// The source's clock minus ours, in milliseconds, half of the question's way taken off.
async fn clock_difference<C: RelationalClient>(client: &mut C) -> Result<Option<i64>, SourceError> {
    #[expect(clippy::disallowed_methods, reason = "the machine's own clock is what is compared")]
    let ours = || chrono::Utc::now().naive_utc();
    let asked = ours();
    let theirs = client.now_utc().await?;
    let middle = asked + (ours() - asked) / 2;
    let difference = theirs.map(|theirs| (theirs - middle).num_milliseconds());
    // A source that tells whole seconds is up to one behind.
    Ok(difference.map(|difference| if difference.abs() <= 1000 { 0 } else { difference }))
}

/// How many rows a sample has at most.
const SAMPLE: usize = 50;

/// How long one look may take: a view without an index must not hold a hospital's database.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the row counts of a whole listing may take together.
const COUNTING: Duration = Duration::from_secs(20);

/// Lists tables and views, or describes one with some of its rows. Every question is bounded in time.
pub(crate) async fn discover<C: RelationalClient>(
    client: &mut C,
    name: Option<&str>,
) -> Result<Vec<Discovered>, SourceError> {
    let mut found = client.tables().await?;
    if let Some(name) = name {
        let columns = client.columns(name).await?;
        let Some(columns) = columns else { return Err(no_table(client, name).await?) };
        let table = name.rsplit('.').next().unwrap_or(name);
        let listed = find_name(found.iter().map(|table| table.name.as_str()), table);
        let kind = listed.map_or_else(|| "table".to_owned(), |at| found[at].kind.clone());
        let mut query = Composer::new(client.dialect(), Select::Columns(&[]), name, &[]);
        query.limit = Some(SAMPLE);
        let query = query.compose();
        let sample = match bounded(client, &query, PATIENCE).await? {
            Some(rows) => rows.rows.iter().map(|row| rows.map(row)).collect(),
            None => Vec::new(),
        };
        found = vec![Discovered { name: name.to_owned(), kind, columns, rows: None, sample }];
    }
    let began = Instant::now();
    for table in &mut found {
        let left = COUNTING.saturating_sub(began.elapsed()).min(PATIENCE);
        if left.is_zero() {
            break;
        }
        let query = Composer::new(client.dialect(), Select::Count, &table.name, &[]).compose();
        // A view that is broken or slow must not hide the others.
        table.rows = match bounded(client, &query, left).await {
            Ok(rows) => rows.as_ref().and_then(Rows::scalar).and_then(count_of),
            Err(_) => {
                // Some databases answer nothing more in a transaction that failed.
                client.reset().await;
                client.begin().await?;
                None
            }
        };
    }
    Ok(found)
}

/// A query's answer; `None` where it took too long, after which the connection is a new one.
async fn bounded<C: RelationalClient>(
    client: &mut C,
    query: &Query,
    limit: Duration,
) -> Result<Option<Rows>, SourceError> {
    if let Ok(answer) = tokio::time::timeout(limit, client.query(query)).await {
        return answer.map(Some);
    }
    client.reset().await;
    client.begin().await?;
    Ok(None)
}
