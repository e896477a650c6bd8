//! Streams that call a stored procedure, where the configuration allows it by name.

use chrono::{NaiveDate, NaiveDateTime};
use chrono_tz::Tz;
use connector_api::{
    Advance, Batch, Cursor, Discovered, FaultClass, Poller, Probe, Record, Request, SourceError, SourceTime, Value,
    Watermark, async_trait,
};
use connector_sql::{
    Dialect as _, Fetch, Now, Query, RelationalClient as _, Rows, WatermarkSettings, WatermarkType, records_of_result,
};

use crate::client::SqlServerClient;
use crate::dialect::TransactSql;
use crate::settings::Procedure;

/// A result comes whole and is held here while its pages are handed out.
pub(crate) const MOST_ROWS: usize = 100_000;

/// Reads the first result set of one procedure.
pub(crate) struct ProcedurePoller {
    client: SqlServerClient,
    fetch: Fetch,
    procedure: Procedure,
    zone: Tz,
    pending: Option<Pending>,
}

/// A result between two of its pages.
struct Pending {
    records: std::vec::IntoIter<Record>,
    given: i64,
    total: u64,
    /// Where the watermark may move when all is handed out.
    advance: Option<Advance>,
}

impl ProcedurePoller {
    pub(crate) fn new(client: SqlServerClient, fetch: Fetch, procedure: Procedure, zone: Tz) -> ProcedurePoller {
        ProcedurePoller { client, fetch, procedure, zone, pending: None }
    }

    /// `EXEC [name] @a = @P1, …`, everything bound.
    fn call(&self, since: Option<Value>) -> Query {
        let name: Vec<String> = self.fetch.from.split('.').map(|part| TransactSql::default().quote(part)).collect();
        let since = self.procedure.since.iter().zip(since);
        let others = self.procedure.parameters.iter().map(|(name, value)| (name, Value::from(value)));
        let mut params = Vec::new();
        let mut list = Vec::new();
        for (name, value) in since.chain(others) {
            params.push(value);
            list.push(format!("{name} = @P{}", params.len()));
        }
        Query { sql: format!("EXEC {} {}", name.join("."), list.join(", ")).trim_end().to_owned(), params }
    }

    async fn rows(&mut self, since: Option<Value>) -> Result<(Rows, Now), SourceError> {
        let query = self.call(since);
        self.client.begin().await?;
        // Asked for before the rows: what is committed after that is stamped after it, less the lag.
        let result = match self.client.now(self.zone).await {
            Ok(now) => self.client.query(&query).await.map(|rows| (rows, now)),
            Err(error) => Err(error),
        };
        match result {
            Ok(found) => self.client.end().await.map(|()| found),
            Err(error) => {
                self.client.reset().await;
                Err(error)
            }
        }
    }

    fn watermark(&self) -> Result<&WatermarkSettings, SourceError> {
        self.fetch.watermark.as_ref().ok_or_else(|| {
            SourceError::stop(FaultClass::Other, format!("read changes of {:?}", self.fetch.from))
                .hint("the stream has no watermark: add one, or read snapshots")
        })
    }

    /// What the procedure is told for a scan from a stored watermark.
    fn since(&self, from: &Watermark) -> Result<Option<Value>, SourceError> {
        let settings = self.watermark()?;
        let Some(stored) = from.columns().first() else {
            return Ok(self.procedure.first.as_deref().map(|first| typed(settings, first)));
        };
        settings.start_of_scan(stored).map(Some).ok_or_else(|| {
            SourceError::stop(FaultClass::Data, format!("take the lag off the watermark of {:?}", self.fetch.from))
                .hint("the stored value can't be read as the configured type: was the type changed?")
        })
    }

    /// A time on the hospital's walls as the procedure is told it: in the watermark's format, else as `first` says it.
    fn at_time(&self, time: NaiveDateTime) -> Result<Value, SourceError> {
        let settings = self.watermark()?;
        let first = self.procedure.first.as_deref().unwrap_or_default();
        let number = first.parse().ok().map(Value::Integer);
        let mut samples = [typed(settings, first)].into_iter().chain(number);
        let like_first = || samples.find_map(|sample| settings.written_like(&sample, time, self.zone));
        let written = settings.written(time, self.zone).or_else(like_first);
        Ok(written.unwrap_or(Value::Time(SourceTime::Local(time))))
    }

    fn advance(&self, from: &Watermark, rows: &Rows, now: &Now) -> Result<Option<Advance>, SourceError> {
        let settings = self.watermark()?;
        let Some(at) = rows.position(&settings.column) else {
            if rows.rows.is_empty() {
                return Ok(None);
            }
            let operation = format!("find column {:?} in the result of {:?}", settings.column, self.fetch.from);
            return Err(SourceError::stop(FaultClass::Missing, operation)
                .hint("the watermark's column must be one of the procedure's result"));
        };
        let sound = rows.rows.iter().filter(|row| !row.is_broken(at)).filter_map(|row| row.values.get(at));
        let newest = settings.newest(sound, now);
        let moved = newest.filter(|value| from.columns().first().is_none_or(|stored| settings.is_after(value, stored)));
        Ok(moved.map(|value| Advance { from: from.clone(), to: Watermark::at(vec![value.clone()]) }))
    }

    /// The procedure itself is not called: nobody knows what it does beside answering.
    async fn look(&mut self) -> Result<Probe, SourceError> {
        self.client.begin().await?;
        let mut probe = Probe { server: self.client.server().await?, ..Probe::default() };
        let name = self.fetch.from.rsplit('.').next().unwrap_or_default();
        let sql = "SELECT COUNT(*) FROM [INFORMATION_SCHEMA].[ROUTINES] WHERE [ROUTINE_NAME] = @P1".to_owned();
        let found = self.client.query(&Query { sql, params: vec![Value::from(name)] }).await?;
        if found.rows.first().and_then(|row| row.values.first()) == Some(&Value::Integer(0)) {
            let operation = format!("find the stored procedure {:?}", self.fetch.from);
            return Err(SourceError::stop(FaultClass::Missing, operation)
                .hint("check its name, and that this login may execute it"));
        }
        probe.findings.push(format!("the stored procedure {:?} is there; it was not called", self.fetch.from));
        Ok(probe)
    }

    async fn load(&mut self, request: Request<'_>) -> Result<Pending, SourceError> {
        let since = match request {
            Request::Changes { from, .. } => self.since(from)?,
            Request::Window { since, .. } if self.watermark()?.kind == WatermarkType::Timestamp => {
                Some(self.at_time(since)?)
            }
            Request::Window { .. } => {
                return Err(SourceError::stop(FaultClass::Data, format!("read a window of {:?}", self.fetch.from))
                    .hint("re-reading a window needs a watermark of type \"timestamp\""));
            }
            Request::Snapshot { .. } => None,
        };
        let (rows, now) = self.rows(since).await?;
        let advance = match request {
            Request::Changes { from, .. } => self.advance(from, &rows, &now)?,
            _ => None,
        };
        let records = records_of_result(&rows, &self.fetch.key, &self.fetch.from)?;
        Ok(Pending { total: records.len() as u64, records: records.into_iter(), given: 0, advance })
    }
}

/// A time as a time, so that the server need not guess how its text is meant.
fn typed(settings: &WatermarkSettings, text: &str) -> Value {
    let date = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    match (settings.kind, &settings.format) {
        (WatermarkType::Timestamp, None) => NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S")
            .ok()
            .or_else(date)
            .map_or_else(|| Value::from(text), |time| Value::Time(SourceTime::Local(time))),
        (WatermarkType::Number, _) => text.parse().map_or_else(|_| Value::from(text), Value::Integer),
        _ => Value::from(text),
    }
}

#[async_trait]
impl Poller for ProcedurePoller {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        self.pending = None;
        let result = self.look().await;
        match result {
            Ok(_) => self.client.end().await?,
            Err(_) => self.client.reset().await,
        }
        result
    }

    async fn fetch(&mut self, request: Request<'_>, limit: usize) -> Result<Batch, SourceError> {
        let (Request::Changes { after, .. } | Request::Snapshot { after } | Request::Window { after, .. }) = request;
        let mut pending = match (after, self.pending.take()) {
            (None, _) => self.load(request).await?,
            (Some(Cursor(at)), Some(pending)) if *at == [Value::Integer(pending.given)] => pending,
            (Some(_), _) => {
                let operation = format!("go on with the result of {:?}", self.fetch.from);
                return Err(SourceError::retry(FaultClass::Data, operation).hint("the scan begins anew"));
            }
        };
        let records: Vec<Record> = pending.records.by_ref().take(limit.max(1)).collect();
        pending.given += i64::try_from(records.len()).unwrap_or(i64::MAX);
        if pending.records.len() > 0 {
            let next = Some(Cursor(vec![Value::Integer(pending.given)]));
            self.pending = Some(pending);
            return Ok(Batch { records, advance: None, next, counted: None });
        }
        let counted = matches!(request, Request::Snapshot { .. }).then_some(pending.total);
        Ok(Batch { records, advance: pending.advance, next: None, counted })
    }

    async fn discover(&mut self, _: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        self.client.begin().await?;
        let found = self.client.tables().await?;
        self.client.end().await?;
        Ok(found)
    }
}
