//! A connection to one database, in a process of its own.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use connector_api::{Column, Discovered, FaultClass, SourceError, Value, async_trait};
use connector_sql::{Dialect, Query, RelationalClient, Row, Rows};

use crate::preset::{LoginTimeout, Preset};
use crate::process::{Process, program};
use crate::wire::{Cell, Cells, ColumnInfo, Connect, Kind, Param, Reply, Request, VERSION};
use crate::{OdbcSettings, cell, fault};

/// A connection that was idle for longer is not trusted: firewalls forget it without a word.
const IDLE: Duration = Duration::from_secs(45);

/// A process is replaced after so long: what its driver leaks is bounded by it too.
const AGE: Duration = Duration::from_secs(15 * 60);

/// Without a request for so long, a process ends itself, and its transaction with it.
const IDLE_LIMIT_SECS: u32 = 300;

/// What the driver's own time limit gets as a start before the process is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A process says hello at once; a machine that starts many may take its time.
const HELLO: Duration = Duration::from_secs(30);

/// Rows per fetch: more gains nothing.
const FETCH_ROWS: u32 = 250;

/// A query's whole result is held in memory: what is larger is refused.
const LARGEST_RESULT: usize = 256 * 1024 * 1024;

/// Reads one database through its ODBC driver. Connects when first asked.
pub struct OdbcClient {
    target: Arc<Target>,
    process: Option<Process>,
    /// Said beside the product's version: what Chinese text does not survive.
    note: Option<&'static str>,
    /// A consistent read is open.
    open: bool,
    started: Instant,
    used: Instant,
}

/// What is connected to.
struct Target {
    /// For messages.
    name: String,
    settings: OdbcSettings,
    base_dir: PathBuf,
    preset: &'static Preset,
}

/// Why an exchange with a process has no answer.
enum Broken {
    Pipe(io::Error),
    TooLarge,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Pipe(error)
    }
}

impl OdbcClient {
    /// A client of what the settings say. Starts nothing yet.
    pub fn new(name: &str, settings: OdbcSettings, base_dir: PathBuf) -> OdbcClient {
        let preset = settings.product.preset();
        let target = Arc::new(Target { name: name.to_owned(), settings, base_dir, preset });
        let now = Instant::now();
        OdbcClient { target, process: None, note: None, open: false, started: now, used: now }
    }

    fn preset(&self) -> &'static Preset {
        self.target.preset
    }

    fn query_limit(&self) -> Duration {
        Duration::from_secs(self.target.settings.query_timeout_secs.into()) + GRACE
    }

    /// Asks the process, and takes its replies until the last. Dropped while it waits, it takes the
    /// process along; so does everything after which the process can't be trusted.
    async fn ask<T: Send>(
        &mut self,
        operation: &str,
        limit: Duration,
        request: &Request,
        mut answer: T,
        mut take: impl FnMut(&mut T, Reply) -> Result<(), Broken> + Send,
    ) -> Result<T, SourceError> {
        let Some(mut process) = self.process.take() else {
            let operation = format!("{operation} outside a scan");
            return Err(SourceError::retry(FaultClass::Other, operation).hint("the scan begins anew"));
        };
        let talk = async {
            process.send(request).await?;
            loop {
                match process.receive().await? {
                    Reply::Done => return Ok(None),
                    Reply::Fault(fault) => return Ok(Some(fault)),
                    reply => take(&mut answer, reply)?,
                }
            }
        };
        let result = tokio::time::timeout(limit, talk).await;
        self.used = Instant::now();
        match result {
            Ok(Ok(None)) => {
                process.answered();
                self.process = Some(process);
                Ok(answer)
            }
            Ok(Ok(Some(fault))) => {
                let trusted = fault.stage == crate::wire::Stage::Statement;
                if trusted {
                    process.answered();
                    self.process = Some(process);
                }
                let secret = self.password().ok().flatten();
                Err(fault::classify(self.preset(), operation.to_owned(), &fault, secret.as_deref()))
            }
            Ok(Err(Broken::Pipe(cause))) => Err(lost(operation, process, cause).await),
            Ok(Err(Broken::TooLarge)) => {
                let _ = process.destroy().await;
                let hint = format!("the result is larger than {} MiB: lower batch_size", LARGEST_RESULT >> 20);
                Err(SourceError::stop(FaultClass::Data, operation).hint(hint))
            }
            Err(_) => {
                let _ = process.destroy().await;
                let hint = "no answer within the time limit, so the driver's process was killed and is started anew; \
                            an index on the watermark and key columns helps, or a longer time limit";
                Err(SourceError::retry(FaultClass::Timeout, operation).hint(hint))
            }
        }
    }

    async fn done(&mut self, operation: &str, limit: Duration, request: &Request) -> Result<(), SourceError> {
        self.ask(operation, limit, request, (), |(), _| Err(unexpected())).await
    }

    fn password(&self) -> Result<Option<String>, SourceError> {
        let secret = self.target.settings.password.as_ref();
        let read = secret.map(|secret| secret.read(&self.target.base_dir)).transpose();
        read.map(|text| text.map(|text| text.expose().to_owned())).map_err(|cause| {
            SourceError::retry(FaultClass::Login, format!("read the password of {:?}", self.target.name))
                .because(cause)
                .hint("settings.password names where the password is; it must be there and readable for the agent")
        })
    }

    /// Starts a process, connects, and sees to it that Chinese text arrives.
    async fn connect(&mut self) -> Result<(), SourceError> {
        let target = Arc::clone(&self.target);
        let (settings, preset) = (&target.settings, target.preset);
        let operation = format!("connect to {:?}", target.name);
        let password = self.password()?;
        self.process = Some(start(&target).await?);
        (self.note, self.started) = (None, Instant::now());
        let connect = Connect {
            connection: settings.connection_string(preset, password.as_deref()),
            login_timeout_secs: match preset.login_timeout {
                LoginTimeout::Attribute | LoginTimeout::Option(_) => settings.login_timeout_secs,
                LoginTimeout::Watchdog => 0,
            },
            query_timeout_secs: settings.query_timeout_secs,
            idle_secs: IDLE_LIMIT_SECS,
            memory_mb: settings.memory_limit_mb,
            max_value: settings.max_value_mb << 20,
            fetch_rows: FETCH_ROWS,
            binary_floats: preset.binary_floats,
        };
        let limit = Duration::from_secs(settings.login_timeout_secs.into()) + GRACE;
        self.done(&operation, limit, &Request::Connect(connect)).await?;
        for statement in preset.session(settings.query_timeout_secs, settings.session_time_zone.as_deref()) {
            self.done(&operation, self.query_limit(), &Request::Execute(statement)).await?;
        }
        self.check_text().await
    }

    /// Sends Chinese text through the driver and back, and has the server make some itself.
    async fn check_text(&mut self) -> Result<(), SourceError> {
        let preset = self.preset();
        let Some(sql) = preset.text_check else { return Ok(()) };
        if !self.survives(sql, "中文").await? {
            let operation = format!("read Chinese text from {:?}", self.target.name);
            return Err(SourceError::stop(FaultClass::Charset, operation).hint(preset.text_cure));
        }
        let Some(sql) = preset.rare_check else { return Ok(()) };
        match self.survives(sql, "𠮷").await {
            Ok(true) => Ok(()),
            // The database's own character set has no such characters, or the driver loses them.
            Ok(false) => self.rare(),
            Err(error) if self.process.is_some() && error.class != FaultClass::Timeout => self.rare(),
            Err(error) => Err(error),
        }
    }

    fn rare(&mut self) -> Result<(), SourceError> {
        self.note = Some("rare characters such as 𠮷 do not survive its character set");
        Ok(())
    }

    async fn survives(&mut self, sql: &str, text: &str) -> Result<bool, SourceError> {
        let params = sql.matches('?').map(|_| Param::Text(text.to_owned())).collect();
        let rows = self.run("check Chinese text", sql, params).await?;
        let row = rows.rows.first();
        let same = |value: &Value| value.as_text().is_some_and(|found| found.trim_end() == text);
        Ok(row.is_some_and(|row| row.broken.is_empty() && row.values.iter().all(same)))
    }

    async fn run(&mut self, operation: &str, sql: &str, params: Vec<Param>) -> Result<Rows, SourceError> {
        let preset = self.preset();
        let request = Request::Query(sql.to_owned(), params);
        let answer = self.ask(operation, self.query_limit(), &request, Answer::default(), |answer, reply| {
            answer.take(preset, reply)
        });
        answer.await.map(|answer| answer.rows)
    }

    async fn begin_on(&mut self) -> Result<(), SourceError> {
        let operation = format!("begin to read {:?}", self.target.name);
        let statements = self.preset().begin.iter().map(|sql| (*sql).to_owned()).collect();
        self.done(&operation, self.query_limit(), &Request::Begin(statements)).await
    }

    /// The first value of a query of ours; `None` where the source refuses it.
    async fn clock(&mut self, sql: Option<&str>) -> Result<Option<NaiveDateTime>, SourceError> {
        let Some(sql) = sql else { return Ok(None) };
        let now = self.scalar(sql).await?.unwrap_or_default();
        Ok(NaiveDateTime::parse_from_str(&now, "%Y-%m-%d %H:%M:%S").ok())
    }

    async fn scalar(&mut self, sql: &str) -> Result<Option<String>, SourceError> {
        match self.run("ask the source about itself", sql, Vec::new()).await {
            Ok(rows) => {
                let value = rows.rows.into_iter().next().and_then(|row| row.values.into_iter().next());
                Ok(value.and_then(|value| value.as_text().map(|text| text.trim().to_owned())))
            }
            Err(error) if self.process.is_none() => Err(error),
            Err(_) => {
                // In PostgreSQL a refused statement spoils its transaction.
                self.end().await?;
                self.begin().await?;
                Ok(None)
            }
        }
    }
}

/// Starts a process and hears its hello.
async fn start(target: &Target) -> Result<Process, SourceError> {
    let settings = &target.settings;
    let path = program(settings.program.as_deref(), &target.base_dir);
    let mut variables = settings.environment.clone();
    for (name, value) in target.preset.environment {
        variables.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
    }
    let operation = format!("start {path:?}");
    let mut process = Process::start(&path, &variables).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            let hint = "install hisync-odbc beside hisync or in PATH, or name it in settings.program";
            SourceError::stop(FaultClass::Missing, &operation).because(cause).hint(hint)
        }
        _ => SourceError::retry(FaultClass::Other, &operation).because(cause).hint("is there memory for a process?"),
    })?;
    match tokio::time::timeout(HELLO, process.receive()).await {
        Ok(Ok(Reply::Hello(VERSION))) => {
            process.answered();
            Ok(process)
        }
        Ok(Ok(Reply::Hello(other))) => {
            let hint = format!("it speaks version {other}, hisync {VERSION}: install both from one release");
            Err(SourceError::stop(FaultClass::Missing, operation).hint(hint))
        }
        Ok(Ok(_)) => Err(SourceError::stop(FaultClass::Missing, operation).hint("that program is not hisync-odbc")),
        Ok(Err(cause)) => match process.end().await.and_then(|status| status.code()) {
            // What the dynamic loader answers.
            Some(127) => Err(SourceError::stop(FaultClass::Missing, operation).because(cause).hint(
                "unixODBC is not installed: `apt-get install unixodbc` (libodbc2), or your system's package of it",
            )),
            _ => Err(SourceError::retry(FaultClass::Other, operation)
                .because(cause)
                .hint("it ended before it said a word: start it by hand with --version")),
        },
        Err(_) => {
            let _ = process.destroy().await;
            Err(SourceError::retry(FaultClass::Timeout, operation).hint("it did not say a word and was killed"))
        }
    }
}

/// The process broke off, or talks nonsense.
async fn lost(operation: &str, process: Process, cause: io::Error) -> SourceError {
    let ended = cause.kind() == io::ErrorKind::UnexpectedEof || cause.kind() == io::ErrorKind::BrokenPipe;
    let status = process.end().await;
    let how = match status {
        Some(status) if ended => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("the driver's process was ended by signal {signal}"),
            (None, code) => format!("the driver's process ended with code {}", code.unwrap_or(-1)),
        },
        _ => "the driver's process broke the protocol and was killed".to_owned(),
    };
    SourceError::retry(FaultClass::Protocol, operation).because(cause).hint(format!(
        "{how}; it is started anew. Where that repeats, the driver is faulty or needs more than memory_limit_mb"
    ))
}

fn unexpected() -> Broken {
    Broken::Pipe(io::Error::new(io::ErrorKind::InvalidData, "a reply in the wrong place"))
}

/// A result as it comes in.
#[derive(Default)]
struct Answer {
    rows: Rows,
    kinds: Vec<Kind>,
    bytes: usize,
}

impl Answer {
    fn take(&mut self, preset: &Preset, reply: Reply) -> Result<(), Broken> {
        match reply {
            Reply::Columns(columns) => {
                self.kinds = columns.iter().map(|column| column.kind).collect();
                self.rows.columns = columns.into_iter().map(|column| name(&column).into()).collect();
                Ok(())
            }
            Reply::Restart => {
                *self = Answer::default();
                Ok(())
            }
            Reply::Rows(bytes) if !self.kinds.is_empty() => {
                self.bytes += bytes.len();
                if self.bytes > LARGEST_RESULT {
                    return Err(Broken::TooLarge);
                }
                self.rows(preset, &bytes)
            }
            _ => Err(unexpected()),
        }
    }

    fn rows(&mut self, preset: &Preset, bytes: &[u8]) -> Result<(), Broken> {
        let mut cells = Cells::new(bytes);
        while !cells.is_empty() {
            let mut row = Row { values: Vec::with_capacity(self.kinds.len()), broken: Vec::new() };
            for (at, kind) in self.kinds.iter().enumerate() {
                let cell: Cell<'_> = cells.read()?;
                let (value, broken) = cell::read(preset, *kind, cell);
                row.broken.extend(broken.map(|code| (at, code)));
                row.values.push(value);
            }
            self.rows.rows.push(row);
        }
        Ok(())
    }
}

/// A column's name. One that can't be read is shown as what it is.
fn name(column: &ColumnInfo) -> String {
    match std::str::from_utf8(&column.name) {
        Ok(name) => name.trim_end_matches('\0').to_owned(),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(&column.name).0.into_owned(),
    }
}

fn text(row: &Row, at: usize) -> String {
    row.values.get(at).and_then(Value::as_text).unwrap_or_default().to_owned()
}

#[async_trait]
impl RelationalClient for OdbcClient {
    fn dialect(&self) -> &dyn Dialect {
        self.preset()
    }

    async fn query(&mut self, query: &Query) -> Result<Rows, SourceError> {
        let params = query.params.iter().map(|value| self.preset().param(value)).collect();
        self.run(&format!("run {:?} on {:?}", query.sql, self.target.name), &query.sql, params).await
    }

    async fn begin(&mut self) -> Result<(), SourceError> {
        let fresh = !self.open && self.used.elapsed() < IDLE && self.started.elapsed() < AGE;
        self.open = true;
        // A connection that broke since is replaced without a word: the next one says what is wrong.
        if fresh && self.process.is_some() && self.begin_on().await.is_ok() {
            return Ok(());
        }
        self.process = None;
        self.connect().await?;
        self.begin_on().await
    }

    async fn end(&mut self) -> Result<(), SourceError> {
        let operation = format!("end reading {:?}", self.target.name);
        self.done(&operation, self.query_limit(), &Request::End).await?;
        self.open = false;
        Ok(())
    }

    async fn reset(&mut self) {
        self.process = None;
        self.open = false;
    }

    async fn server(&mut self) -> Result<Option<String>, SourceError> {
        let product = format!("{:?}", self.target.settings.product);
        let version = match self.preset().server {
            Some(sql) => self.scalar(sql).await?,
            None => None,
        };
        let named = version.map_or(product.clone(), |version| format!("{product} {version}"));
        Ok(Some(self.note.map_or(named.clone(), |note| format!("{named} ({note})"))))
    }

    async fn now_utc(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        self.clock(self.preset().now).await
    }

    async fn now_local(&mut self) -> Result<Option<NaiveDateTime>, SourceError> {
        self.clock(self.preset().now_local).await
    }

    async fn tables(&mut self) -> Result<Vec<Discovered>, SourceError> {
        if let Some(sql) = self.preset().tables {
            let rows = self.run("list tables and views", sql, Vec::new()).await?;
            let table = |row: &Row| Discovered { name: text(row, 0), kind: text(row, 1), ..Discovered::default() };
            return Ok(rows.rows.iter().map(table).collect());
        }
        let preset = self.preset();
        let rows = self
            .ask("list tables and views", self.query_limit(), &Request::Tables, Answer::default(), |answer, reply| {
                answer.take(preset, reply)
            })
            .await?
            .rows;
        let table = |row: &Row| {
            let (schema, name) = (text(row, 0), text(row, 1));
            let kind = text(row, 2).to_lowercase();
            let name = if schema.is_empty() { name } else { format!("{schema}.{name}") };
            // Synonyms are tables or views of another schema.
            matches!(kind.as_str(), "table" | "view" | "synonym" | "alias").then(|| Discovered {
                name,
                kind,
                ..Discovered::default()
            })
        };
        Ok(rows.rows.iter().filter_map(table).collect())
    }

    async fn columns(&mut self, table: &str) -> Result<Option<Vec<Column>>, SourceError> {
        let preset = self.preset();
        let parts: Vec<String> = table.split('.').map(|part| preset.quote(part)).collect();
        let sql = format!("SELECT * FROM {} WHERE 1 = 0", parts.join("."));
        let operation = format!("describe {table:?} of {:?}", self.target.name);
        let take = |columns: &mut Vec<ColumnInfo>, reply| match reply {
            Reply::Columns(found) => {
                *columns = found;
                Ok(())
            }
            _ => Err(unexpected()),
        };
        let found = self.ask(&operation, self.query_limit(), &Request::Describe(sql), Vec::new(), take).await;
        match found {
            Ok(columns) => {
                let column = |column: ColumnInfo| Column {
                    name: name(&column),
                    type_name: column.type_name,
                    nullable: column.nullable,
                };
                Ok(Some(columns.into_iter().map(column).collect()))
            }
            Err(error) if error.class == FaultClass::Missing && self.process.is_some() => {
                // In PostgreSQL a refused statement spoils its transaction.
                self.end().await?;
                self.begin().await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
