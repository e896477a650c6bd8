//! A connection to one SQLite file, on a thread of its own because SQLite blocks.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use connector_api::{Column, Discovered, FaultClass, SourceError, SourceTime, Value, async_trait};
use connector_sql::{Dialect, LimitClause, Query, RelationalClient, Row, Rows, WatermarkType};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

/// A read transaction that nobody asks anything of keeps the writer's log from being folded back.
const IDLE_LIMIT: Duration = Duration::from_secs(300);

/// How many of SQLite's instructions pass between two looks at the clock: well under a millisecond.
const INSTRUCTIONS_PER_LOOK: i32 = 2000;

struct SqliteDialect;

impl Dialect for SqliteDialect {
    /// In brackets, because SQLite takes an unknown name in double quotes for a text.
    fn quote(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn limit_clause(&self) -> LimitClause {
        LimitClause::Limit
    }

    fn max_parameters(&self) -> usize {
        999
    }

    fn blank_watermarks(&self, kind: WatermarkType) -> bool {
        matches!(kind, WatermarkType::Timestamp | WatermarkType::Text)
    }

    fn blank_text(&self, _: &str, _: &str) -> bool {
        true
    }
}

/// Reads one SQLite file. Connects when first asked; each consistent read opens the file anew.
pub struct SqliteClient {
    path: PathBuf,
    busy_timeout: Duration,
    control: Arc<Control>,
    worker: Option<SyncSender<Job>>,
    jobs: u64,
}

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// What stops a running query: its time limit, or that nobody waits for it any more.
struct Control {
    query_timeout: Duration,
    running: AtomicU64,
    /// This job and those before it are no longer waited for.
    abandoned: AtomicU64,
    deadline: Mutex<Option<Instant>>,
}

impl Control {
    fn new(query_timeout: Duration) -> Control {
        let (running, abandoned) = (AtomicU64::new(0), AtomicU64::new(0));
        Control { query_timeout, running, abandoned, deadline: Mutex::new(None) }
    }

    fn start(&self, job: u64) {
        self.running.store(job, Ordering::SeqCst);
        let deadline = Instant::now().checked_add(self.query_timeout);
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn must_stop(&self) -> bool {
        let abandoned = self.abandoned.load(Ordering::SeqCst) >= self.running.load(Ordering::SeqCst);
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        abandoned || deadline.is_some_and(|deadline| Instant::now() > deadline)
    }
}

/// Abandons a job whose caller went away.
struct Abandon {
    control: Arc<Control>,
    job: u64,
    waiting: bool,
}

impl Drop for Abandon {
    fn drop(&mut self) {
        if self.waiting {
            self.control.abandoned.fetch_max(self.job, Ordering::SeqCst);
        }
    }
}

/// What the thread holds.
struct Session {
    path: PathBuf,
    busy_timeout: Duration,
    control: Arc<Control>,
    state: State,
}

enum State {
    Closed,
    Open(Connection),
    /// The transaction was given up because nobody asked anything for long.
    Expired,
}

impl SqliteClient {
    /// A client of the file at `path`. Opens nothing yet.
    pub fn new(path: PathBuf, busy_timeout: Duration, query_timeout: Duration) -> SqliteClient {
        SqliteClient { path, busy_timeout, control: Arc::new(Control::new(query_timeout)), worker: None, jobs: 0 }
    }

    async fn run<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Session) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        self.jobs += 1;
        let job = self.jobs;
        let (answer, answered) = oneshot::channel();
        let boxed: Job = Box::new(move |session| {
            session.control.start(job);
            // Nobody may wait for the answer any more.
            let _ = answer.send(work(session));
        });
        let worker = self.worker()?;
        if worker.try_send(boxed).is_err() {
            // The thread is stuck behind abandoned work, or gone: leave it and begin with a new one.
            self.worker = None;
            return Err(SourceError::retry(FaultClass::Timeout, format!("wait for SQLite to read {:?}", self.path)));
        }
        let mut guard = Abandon { control: Arc::clone(&self.control), job, waiting: true };
        let result = answered.await;
        guard.waiting = false;
        result.unwrap_or_else(|_| {
            self.worker = None;
            Err(SourceError::retry(FaultClass::Other, format!("read {:?}: its thread ended", self.path)))
        })
    }

    async fn clock(&mut self, sql: &str) -> Result<Option<NaiveDateTime>, SourceError> {
        let found = self.query(&plain(sql)).await?;
        let now = found.rows.first().map(|row| text(row, 0)).unwrap_or_default();
        Ok(NaiveDateTime::parse_from_str(&now, "%Y-%m-%d %H:%M:%S%.f").ok())
    }

    fn worker(&mut self) -> Result<&SyncSender<Job>, SourceError> {
        if self.worker.is_none() {
            let (sender, receiver) = sync_channel::<Job>(4);
            // A thread that was left behind keeps its own, or the new one's jobs would revive it.
            self.control = Arc::new(Control::new(self.control.query_timeout));
            let session = Session {
                path: self.path.clone(),
                busy_timeout: self.busy_timeout,
                control: Arc::clone(&self.control),
                state: State::Closed,
            };
            std::thread::Builder::new()
                .name("sqlite-source".to_owned())
                .spawn(move || serve(session, &receiver))
                .map_err(|cause| SourceError::retry(FaultClass::Other, "start a thread for SQLite").because(cause))?;
            self.worker = Some(sender);
        }
        self.worker.as_ref().ok_or_else(|| SourceError::retry(FaultClass::Other, "start a thread for SQLite"))
    }
}

/// Runs until the client is dropped.
fn serve(mut session: Session, jobs: &Receiver<Job>) {
    loop {
        let job = match session.state {
            State::Open(_) => jobs.recv_timeout(IDLE_LIMIT),
            State::Closed | State::Expired => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match job {
            Ok(job) => job(&mut session),
            Err(RecvTimeoutError::Timeout) => session.state = State::Expired,
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Session {
    /// Opens the file and begins a read transaction; the first read in it fixes what it sees.
    fn begin(&mut self) -> Result<(), SourceError> {
        self.state = State::Closed;
        let connection = self.connect().map_err(|cause| classify(&self.path, "open", cause))?;
        let begin = || {
            connection.execute_batch("BEGIN")?;
            connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))
        };
        begin().map_err(|cause| classify(&self.path, "read", cause))?;
        self.state = State::Open(connection);
        Ok(())
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.pragma_update(None, "query_only", true)?;
        let control = Arc::clone(&self.control);
        connection.progress_handler(INSTRUCTIONS_PER_LOOK, Some(move || control.must_stop()))?;
        Ok(connection)
    }

    fn query(&mut self, query: &Query) -> Result<Rows, SourceError> {
        match &self.state {
            State::Open(connection) => {
                read(connection, query).map_err(|cause| classify(&self.path, &format!("run {:?} on", query.sql), cause))
            }
            State::Closed => Err(SourceError::retry(FaultClass::Other, format!("read {:?} outside a scan", self.path))),
            State::Expired => Err(SourceError::retry(FaultClass::Timeout, format!("go on reading {:?}", self.path))
                .hint("the scan stood still for too long and its transaction was given up")),
        }
    }
}

fn read(connection: &Connection, query: &Query) -> rusqlite::Result<Rows> {
    let mut statement = connection.prepare(&query.sql)?;
    let columns = statement.column_names().map(Into::into).collect::<Vec<_>>();
    let width = columns.len();
    let mut found = Rows { columns, rows: Vec::new() };
    let mut cursor = statement.query(rusqlite::params_from_iter(query.params.iter().map(bound)))?;
    while let Some(source) = cursor.next()? {
        let mut row = Row { values: Vec::with_capacity(width), broken: Vec::new() };
        for at in 0..width {
            let (value, broken) = read_value(source.get_ref(at)?);
            row.broken.extend(broken.map(|code| (at, code)));
            row.values.push(value);
        }
        found.rows.push(row);
    }
    Ok(found)
}

fn read_value(value: ValueRef<'_>) -> (Value, Option<&'static str>) {
    match value {
        ValueRef::Null => (Value::Null, None),
        ValueRef::Integer(number) => (Value::Integer(number), None),
        ValueRef::Real(number) => {
            // Debug writes the shortest literal that reads back to the same float.
            let literal = format!("{number:?}");
            match Value::decimal(&literal) {
                Some(decimal) => (decimal, None),
                None => (Value::Text(literal), Some("not-a-number")),
            }
        }
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (Value::Text(text.to_owned()), None),
            Err(_) => (Value::Bytes(bytes.to_vec()), Some("text-encoding")),
        },
        ValueRef::Blob(bytes) => (Value::Bytes(bytes.to_vec()), None),
    }
}

fn bound(value: &Value) -> ToSqlOutput<'_> {
    use rusqlite::types::Value as Sql;
    let text = |text: String| ToSqlOutput::Owned(Sql::Text(text));
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => ToSqlOutput::Owned(Sql::Null),
        Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Integer(number) => ToSqlOutput::Owned(Sql::Integer(*number)),
        Value::Bool(truth) => ToSqlOutput::Owned(Sql::Integer((*truth).into())),
        Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        // A decimal came out of a float here, and goes back to the same one.
        Value::Decimal(decimal) => match decimal.as_str().parse() {
            Ok(number) => ToSqlOutput::Owned(Sql::Real(number)),
            Err(_) => text(decimal.as_str().to_owned()),
        },
        Value::Time(SourceTime::Local(time)) => text(time.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
        Value::Time(other) => text(other.to_string()),
    }
}

fn classify(path: &Path, doing: &str, cause: rusqlite::Error) -> SourceError {
    let operation = format!("{doing} the database {path:?}");
    let message = cause.to_string();
    let code = cause.sqlite_error_code();
    let error = match code {
        Some(ErrorCode::CannotOpen) if path.exists() => SourceError::retry(FaultClass::Permission, operation).hint(
            "the agent's user must be able to read the file; a database in WAL mode also needs its -shm file, or a \
                   folder in which it may be made",
        ),
        Some(ErrorCode::CannotOpen) => SourceError::retry(FaultClass::Unreachable, operation)
            .hint("there is no such file: check settings.path, and whether a share is mounted"),
        Some(ErrorCode::NotADatabase) => {
            SourceError::stop(FaultClass::Data, operation).hint("the file is not a SQLite database, or it is encrypted")
        }
        Some(ErrorCode::DatabaseCorrupt) => SourceError::stop(FaultClass::Data, operation)
            .hint("the file is damaged, or was copied while it was written: copy it with SQLite's own backup"),
        Some(ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied) => {
            SourceError::stop(FaultClass::Permission, operation)
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => SourceError::retry(FaultClass::Timeout, operation)
            .hint("another process locks the file for longer than busy_timeout_secs"),
        Some(ErrorCode::OperationInterrupted) => SourceError::retry(FaultClass::Timeout, operation)
            .hint("the query took longer than query_timeout_secs: an index on the watermark and key columns helps"),
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => {
            SourceError::retry(FaultClass::Unreachable, operation)
        }
        _ if message.contains("no such table") || message.contains("no such column") => {
            SourceError::stop(FaultClass::Missing, operation).hint("`hisync discover` lists tables, views and columns")
        }
        _ => SourceError::stop(FaultClass::Other, operation),
    };
    error.because(cause)
}

fn plain(sql: &str) -> Query {
    Query { sql: sql.to_owned(), params: Vec::new() }
}

fn text(row: &Row, at: usize) -> String {
    row.values.get(at).and_then(Value::as_text).unwrap_or_default().to_owned()
}

#[async_trait]
impl RelationalClient for SqliteClient {
    fn dialect(&self) -> &dyn Dialect {
        &SqliteDialect
    }

    async fn query(&mut self, query: &Query) -> Result<Rows, SourceError> {
        let query = query.clone();
        self.run(move |session| session.query(&query)).await
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        self.run(Session::begin).await
    }

    async fn end(&mut self) -> Result<(), SourceError> {
        self.run(|session| {
            session.state = State::Closed;
            Ok(())
        })
        .await
    }

    async fn reset(&mut self) {
        // A thread that can't be reached has been left behind, and its connection with it.
        let _ = self.end().await;
    }

    async fn server(&mut self) -> Result<Option<String>, SourceError> {
        Ok(Some(format!("SQLite {}", rusqlite::version())))
    }

    async fn now_utc(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        self.clock("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')").await
    }

    /// SQLite has no server: its clock is the machine's, whose zone says nothing of the zone of the rows.
    async fn now_local(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        Ok(None)
    }

    async fn tables(&mut self) -> Result<Vec<Discovered>, SourceError> {
        let sql = "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view') \
                   AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name";
        let found = self.query(&plain(sql)).await?;
        let table = |row: &Row| Discovered { name: text(row, 0), kind: text(row, 1), ..Discovered::default() };
        Ok(found.rows.iter().map(table).collect())
    }

    async fn columns(&mut self, table: &str) -> Result<Option<Vec<Column>>, SourceError> {
        let name = table.rsplit('.').next().unwrap_or(table);
        let sql = "SELECT name, type, \"notnull\" FROM pragma_table_info(?)".to_owned();
        let found = self.query(&Query { sql, params: vec![Value::from(name)] }).await?;
        let column = |row: &Row| Column {
            name: text(row, 0),
            type_name: text(row, 1),
            nullable: row.values.get(2).map(|value| *value == Value::Integer(0)),
        };
        Ok((!found.rows.is_empty()).then(|| found.rows.iter().map(column).collect()))
    }
}
