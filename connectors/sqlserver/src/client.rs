//! A connection to one database, for one stream.

use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDateTime;
use connector_api::{Column, Discovered, FaultClass, SourceError, SourceTime, Value, async_trait};
use connector_sql::{Child, Dialect, Query, RelationalClient, Row, Rows, TableStream, WatermarkType};
use futures_util::TryStreamExt as _;
use tiberius::{QueryItem, QueryStream, ToSql};
use tokio::time::timeout;
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use crate::connect::{Connection, Endpoint};
use crate::dialect::{ColumnType, Reading, TransactSql, named};
use crate::settings::Isolation;
use crate::{faults, value};

/// How long a connection that stood idle may take to show that it still lives.
const STALE: Duration = Duration::from_secs(5);

/// Reads one stream of one SQL Server database.
///
/// A connection is used again only after an answer was read to its end. While one is awaited, it is
/// not held here: whatever ends the wait (a time limit, a dropped call) ends the connection too.
/// What the server still sends then can't be taken for the answer to another question.
pub struct SqlServerClient {
    endpoint: Endpoint,
    query_timeout: Duration,
    dialect: TransactSql,
    /// The tables that the stream reads.
    reads: Vec<String>,
    /// The watermark is a `rowversion`.
    rowversion: bool,
    /// More rows than this in one result are refused before they fill the memory.
    most_rows: usize,
    live: Option<Live>,
}

struct Live {
    connection: Connection,
    /// The database allows SNAPSHOT isolation.
    snapshot: bool,
    /// A transaction is open.
    transaction: bool,
}

impl SqlServerClient {
    /// A client that connects when it is first asked.
    pub(crate) fn new(endpoint: Endpoint, stream: &TableStream, most_rows: usize) -> SqlServerClient {
        let fetch = &stream.fetch;
        let mut reads = vec![fetch.from.clone()];
        collect(&stream.children, &mut reads);
        let watermark = fetch.watermark.as_ref().map(|own| (fetch.from.clone(), own.typed_column().to_owned()));
        let dialect = TransactSql { raw_gbk: endpoint.settings.raw_gbk, watermark, ..TransactSql::default() };
        let query_timeout = Duration::from_secs(endpoint.settings.query_timeout_secs.into());
        let rowversion = fetch.watermark.as_ref().is_some_and(|own| own.kind == WatermarkType::Rowversion);
        SqlServerClient { endpoint, query_timeout, dialect, reads, rowversion, most_rows, live: None }
    }

    /// A connection that answers: the one at hand if it still does, else a new one.
    async fn connect(&mut self) -> Result<Live, SourceError> {
        if let Some(mut live) = self.live.take().filter(|live| !live.transaction) {
            // A server that was restarted, or a firewall that forgot the connection.
            let alive = timeout(STALE.min(self.query_timeout), run(&mut live.connection, "SELECT 1")).await;
            if matches!(alive, Ok(Ok(_))) {
                return Ok(live);
            }
        }
        let mut connection = self.endpoint.connect().await?;
        let setup = async {
            // A reader gives way, waits no longer than a query may take, and gets long texts whole.
            let millis = self.query_timeout.as_millis();
            let set = format!(
                "SET LOCK_TIMEOUT {millis}; SET DEADLOCK_PRIORITY LOW; SET TEXTSIZE 2147483647; SET NOCOUNT ON"
            );
            run(&mut connection, &set).await?;
            if self.endpoint.settings.isolation == Isolation::ReadCommitted {
                return Ok(false);
            }
            let asked = "SELECT CAST(snapshot_isolation_state AS int) FROM sys.databases WHERE name = DB_NAME()";
            match run(&mut connection, asked).await {
                Ok(rows) => Ok(first(&rows) == Some(&Value::Integer(1))),
                Err(error) if faults::is_survivable(&error) => Ok(false),
                Err(error) => Err(error),
            }
        };
        let snapshot = match timeout(self.query_timeout, setup).await {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(error)) => return Err(faults::classify("set up the session", &error)),
            Err(_) => return Err(self.timed_out("set up the session")),
        };
        Ok(Live { connection, snapshot, transaction: false })
    }

    /// Asks what types the columns have: a view may have been changed since the last scan.
    async fn describe(&mut self, live: &mut Live) -> Result<(), SourceError> {
        let mut tables = Vec::with_capacity(self.reads.len());
        for table in &self.reads {
            tables.push((table.clone(), self.types(live, table).await?));
        }
        self.dialect.tables = tables.into_iter().filter_map(|(table, columns)| Some((table, columns?))).collect();
        Ok(())
    }

    /// The columns of a table or view by its name in the configuration.
    async fn types(&self, live: &mut Live, table: &str) -> Result<Option<Vec<ColumnType>>, SourceError> {
        let parts: Vec<&str> = table.split('.').collect();
        let (name, above) = parts.split_last().map_or((table, &[][..]), |(name, above)| (*name, above));
        let schema = above.last().copied().filter(|schema| !schema.is_empty()).unwrap_or_default();
        let catalogue = match above {
            [database, _] => format!("{}.[INFORMATION_SCHEMA].[COLUMNS]", self.dialect.quote(database)),
            _ => "[INFORMATION_SCHEMA].[COLUMNS]".to_owned(),
        };
        let text = |name: &str| format!("CAST([{name}] AS nvarchar(300)) AS [{name}]");
        let names = ["TABLE_SCHEMA", "COLUMN_NAME", "DATA_TYPE", "COLLATION_NAME", "IS_NULLABLE"].map(text).join(", ");
        let number = |name: &str| format!("CAST([{name}] AS int) AS [{name}]");
        let numbers = ["CHARACTER_MAXIMUM_LENGTH", "NUMERIC_PRECISION", "NUMERIC_SCALE"].map(number).join(", ");
        let sql = format!(
            "SELECT {names}, {numbers} FROM {catalogue} WHERE [TABLE_NAME] = @P1 ORDER BY [TABLE_SCHEMA], \
             [ORDINAL_POSITION]"
        );
        let query = Query { sql, params: vec![Value::from(name)] };
        let found = self.ask(live, &query, "describe a table or view").await?;
        let default = match schema {
            "" => self.default_schema(live).await?,
            schema => schema.to_owned(),
        };
        let text = |row: &Row, at: usize| row.values.get(at).and_then(Value::as_text).unwrap_or_default().to_owned();
        let of = |schema: &str| {
            let own = found.rows.iter().filter(|row| text(row, 0).eq_ignore_ascii_case(schema));
            let number = |row: &Row, at: usize| match row.values.get(at) {
                Some(Value::Integer(number)) => Some(*number),
                _ => None,
            };
            let column = |row: &Row| ColumnType {
                name: text(row, 1),
                kind: text(row, 2).to_lowercase(),
                collation: Some(text(row, 3)).filter(|name| !name.is_empty()),
                nullable: text(row, 4) != "NO",
                length: number(row, 5),
                precision: number(row, 6),
                scale: number(row, 7),
            };
            own.map(column).collect::<Vec<_>>()
        };
        let mut columns = of(&default);
        if columns.is_empty() && schema.is_empty() {
            columns = of("dbo");
        }
        Ok((!columns.is_empty()).then_some(columns))
    }

    async fn default_schema(&self, live: &mut Live) -> Result<String, SourceError> {
        let rows = self.ask(live, &plain("SELECT SCHEMA_NAME()"), "ask for the login's schema").await?;
        Ok(first(&rows).and_then(Value::as_text).unwrap_or("dbo").to_owned())
    }

    async fn ask(&self, live: &mut Live, query: &Query, doing: &str) -> Result<Rows, SourceError> {
        match timeout(self.query_timeout, fetch(&mut live.connection, query, usize::MAX)).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(faults::classify(doing, &error)),
            Err(_) => Err(self.timed_out(doing)),
        }
    }

    fn timed_out(&self, doing: &str) -> SourceError {
        SourceError::retry(FaultClass::Timeout, doing.to_owned())
            .hint("the query took longer than query_timeout_secs: an index on the watermark and key columns helps")
    }

    /// Refuses to read what the catalogue does not know: nothing could be cast there, and the driver
    /// reads some types wrongly without a word.
    fn require_known(&self, query: &Query) -> Result<(), SourceError> {
        let read = |table: &&String| {
            let quoted: Vec<String> = table.split('.').map(|part| self.dialect.quote(part)).collect();
            !self.dialect.tables.contains_key(*table) && query.sql.contains(&format!(" FROM {}", quoted.join(".")))
        };
        match self.reads.iter().find(read) {
            None => Ok(()),
            Some(table) => Err(SourceError::stop(FaultClass::Missing, format!("find table or view {table:?}"))
                .hint("`hisync discover` lists what this login can see; for a synonym, name what it stands for")),
        }
    }

    /// The connection of the open read.
    fn taken(&mut self) -> Result<Live, SourceError> {
        if let Some(live) = self.live.take() {
            return Ok(live);
        }
        Err(SourceError::retry(FaultClass::Protocol, "go on with a read whose connection is gone")
            .hint("the scan begins anew"))
    }
}

fn collect(children: &[Child], reads: &mut Vec<String>) {
    for child in children {
        if !reads.contains(&child.from) {
            reads.push(child.from.clone());
        }
        collect(&child.children, reads);
    }
}

fn plain(sql: &str) -> Query {
    Query { sql: sql.to_owned(), params: Vec::new() }
}

fn eight_bytes(value: Option<&Value>) -> Option<[u8; 8]> {
    match value {
        Some(Value::Bytes(bytes)) => bytes.as_slice().try_into().ok(),
        _ => None,
    }
}

fn first(rows: &Rows) -> Option<&Value> {
    rows.rows.first()?.values.first()
}

/// tiberius logs the server's words, which may quote values; what is to be known is in its errors.
pub(crate) async fn quietly<T>(work: impl Future<Output = T> + Send) -> T {
    work.with_subscriber(NoSubscriber::new()).await
}

/// Runs a batch without parameters.
async fn run(connection: &mut Connection, sql: &str) -> Result<Rows, tiberius::error::Error> {
    quietly(async { collect_rows(connection.simple_query(sql).await?, usize::MAX).await }).await
}

/// Runs a query with its parameters and reads its whole result.
async fn fetch(connection: &mut Connection, query: &Query, most: usize) -> Result<Rows, tiberius::error::Error> {
    let bound: Vec<Box<dyn ToSql>> = query.params.iter().map(value::bound).collect();
    let params: Vec<&dyn ToSql> = bound.iter().map(|value| &**value).collect();
    quietly(async { collect_rows(connection.query(query.sql.as_str(), &params).await?, most).await }).await
}

/// The first result set. Others are read to their end, so that the connection can be used again; what
/// is longer than `most` is left unread after one row more.
async fn collect_rows(mut stream: QueryStream<'_>, most: usize) -> Result<Rows, tiberius::error::Error> {
    let mut rows = Rows::default();
    let mut readings: Vec<Reading> = Vec::new();
    while let Some(item) = stream.try_next().await? {
        match item {
            QueryItem::Metadata(metadata) if metadata.result_index() == 0 => {
                let names = metadata.columns().iter().map(|column| named(column.name()));
                (rows.columns, readings) = names.map(|(name, reading)| (Arc::<str>::from(name), reading)).unzip();
            }
            QueryItem::Row(found) if found.result_index() == 0 => {
                let mut row = Row { values: Vec::with_capacity(readings.len()), broken: Vec::new() };
                for (at, data) in found.into_iter().enumerate() {
                    let (value, broken) = value::read(data, readings.get(at).copied().unwrap_or_default());
                    row.broken.extend(broken.map(|code| (at, code)));
                    row.values.push(value);
                }
                rows.rows.push(row);
                if rows.rows.len() > most {
                    return Ok(rows);
                }
            }
            _ => {}
        }
    }
    Ok(rows)
}

#[async_trait]
impl RelationalClient for SqlServerClient {
    fn dialect(&self) -> &dyn Dialect {
        &self.dialect
    }

    async fn query(&mut self, query: &Query) -> Result<Rows, SourceError> {
        self.require_known(query)?;
        if query.params.iter().any(|value| matches!(value, Value::List(_))) {
            return Err(SourceError::stop(FaultClass::Data, format!("bind a text in {:?}", query.sql)).hint(
                "a key, filter or watermark column of type varchar holds GBK bytes under a collation of another code \
                 page, in which this text can't be written: compare a column of digits and letters, or cast it in a view",
            ));
        }
        let mut live = self.taken()?;
        let doing = || format!("run {:?}", query.sql);
        match timeout(self.query_timeout, fetch(&mut live.connection, query, self.most_rows)).await {
            // The rest is not awaited: the connection goes.
            Ok(Ok(rows)) if rows.rows.len() > self.most_rows => {
                let operation = format!("hold the result of {:?}: it has more than {} rows", query.sql, self.most_rows);
                Err(SourceError::stop(FaultClass::Data, operation)
                    .hint("a result that comes whole must not be longer: have it answer fewer rows, or read a view"))
            }
            Ok(Ok(rows)) => {
                self.live = Some(live);
                Ok(rows)
            }
            Ok(Err(error)) => {
                // The server said no, and its answer ends there: the next query may well be answered.
                if faults::is_survivable(&error) {
                    self.live = Some(live);
                }
                Err(faults::classify(&doing(), &error))
            }
            Err(_) => Err(self.timed_out(&doing())),
        }
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        let mut live = self.connect().await?;
        self.describe(&mut live).await?;
        if self.rowversion {
            let query = plain("SELECT MIN_ACTIVE_ROWVERSION()");
            let found = self.ask(&mut live, &query, "ask for the oldest open rowversion").await?;
            self.dialect.open_from = Some(eight_bytes(first(&found)).ok_or_else(|| {
                SourceError::stop(FaultClass::Data, "ask for the oldest open rowversion")
                    .hint("the server does not say which rowversions are settled: use another watermark")
            })?);
        }
        let sql = match live.snapshot {
            true => "SET TRANSACTION ISOLATION LEVEL SNAPSHOT; BEGIN TRANSACTION",
            false => "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
        };
        self.ask_batch(&mut live, sql).await?;
        live.transaction = live.snapshot;
        self.live = Some(live);
        Ok(())
    }

    async fn end(&mut self) -> Result<(), SourceError> {
        if let Some(mut live) = self.live.take() {
            // What was read stands; a connection that can't end its transaction is given up.
            if !live.transaction || self.ask_batch(&mut live, "COMMIT TRANSACTION").await.is_ok() {
                live.transaction = false;
                self.live = Some(live);
            }
        }
        Ok(())
    }

    async fn reset(&mut self) {
        self.live = None;
    }

    async fn server(&mut self) -> Result<Option<String>, SourceError> {
        let rows = self.query(&plain("SELECT CAST(@@VERSION AS nvarchar(400))")).await?;
        let version = first(&rows).and_then(Value::as_text).unwrap_or_default();
        Ok(version.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()))
    }

    fn findings(&self) -> Vec<String> {
        match &self.live {
            Some(live) if live.snapshot => vec!["consistent reads use SNAPSHOT isolation".to_owned()],
            Some(_) => vec![
                "SNAPSHOT isolation is not used: rows that are changed while a scan runs may be seen before or after \
                 their change"
                    .to_owned(),
            ],
            None => Vec::new(),
        }
    }

    async fn now_utc(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        self.clock("SELECT CAST(GETUTCDATE() AS datetime)").await
    }

    async fn now_local(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        self.clock("SELECT CAST(GETDATE() AS datetime)").await
    }

    async fn tables(&mut self) -> Result<Vec<Discovered>, SourceError> {
        let mut live = self.taken()?;
        let schema = self.default_schema(&mut live).await?;
        let cast = |name: &str| format!("CAST([{name}] AS nvarchar(300)) AS [{name}]");
        let list = ["TABLE_SCHEMA", "TABLE_NAME", "TABLE_TYPE"].map(cast).join(", ");
        let sql = format!("SELECT {list} FROM [INFORMATION_SCHEMA].[TABLES] ORDER BY [TABLE_SCHEMA], [TABLE_NAME]");
        let found = self.ask(&mut live, &plain(&sql), "list the tables and views").await?;
        self.live = Some(live);
        let table = |row: &Row| {
            let text = |at: usize| row.values.get(at).and_then(Value::as_text).unwrap_or_default().to_owned();
            let name = if text(0).eq_ignore_ascii_case(&schema) { text(1) } else { format!("{}.{}", text(0), text(1)) };
            let kind = if text(2) == "VIEW" { "view" } else { "table" };
            Discovered { name, kind: kind.to_owned(), ..Discovered::default() }
        };
        Ok(found.rows.iter().map(table).collect())
    }

    async fn columns(&mut self, table: &str) -> Result<Option<Vec<Column>>, SourceError> {
        let mut live = self.taken()?;
        let types = self.types(&mut live, table).await?;
        self.live = Some(live);
        // Whoever asks is about to read the table, too.
        self.dialect.tables.extend(types.iter().map(|types| (table.to_owned(), types.clone())));
        let column = |column: &ColumnType| Column {
            name: column.name.clone(),
            type_name: column.shown(),
            nullable: Some(column.nullable),
        };
        Ok(types.map(|types| types.iter().map(column).collect()))
    }
}

impl SqlServerClient {
    async fn clock(&mut self, sql: &str) -> Result<Option<NaiveDateTime>, SourceError> {
        let rows = self.query(&plain(sql)).await?;
        Ok(match first(&rows) {
            Some(Value::Time(SourceTime::Local(now))) => Some(*now),
            _ => None,
        })
    }

    async fn ask_batch(&self, live: &mut Live, sql: &str) -> Result<(), SourceError> {
        match timeout(self.query_timeout, run(&mut live.connection, sql)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(faults::classify(&format!("run {sql:?}"), &error)),
            Err(_) => Err(self.timed_out(&format!("run {sql:?}"))),
        }
    }
}
