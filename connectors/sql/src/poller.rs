//! The poller of one relational stream.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use connector_api::{
    Advance, Batch, Cursor, Discovered, Document, FaultClass, Poller, Probe, Request, SourceError, Value, Watermark,
    async_trait,
};

use crate::children::positions;
use crate::client::{count_of, find_name};
use crate::query::{Condition, Select};
use crate::units::{self, Tally};
use crate::{Now, Plan, RelationalClient, Rows, WatermarkSettings, WatermarkType, probe, watermark};

mod beyond;
mod records;

/// A snapshot holds one transaction open; a source's log must not grow behind it without end.
const LONGEST_SNAPSHOT: Duration = Duration::from_secs(30 * 60);

/// How many of the newest watermarks are looked at to find one that can be vouched for.
const SAMPLES: usize = 20;

/// How many rows are read at most to get past rows whose key or watermark can't be decoded.
const WIDEST_PAGE: usize = 20_000;

/// Reads one stream of a relational source. See the crate's documentation for its rules.
pub struct SqlPoller<C> {
    client: C,
    plan: Plan,
    /// A consistent read is open, or was when a call was dropped half-way.
    open: bool,
    snapshot: Option<SnapshotScan>,
}

/// A snapshot between two of its pages. Its transaction stays open.
struct SnapshotScan {
    next: Cursor,
    /// Rows that are counted by the source but stand together with others in one record.
    folded: u64,
    opened: Instant,
}

/// A page of parent rows and where it ends.
struct Page {
    rows: Rows,
    next: Option<Cursor>,
    /// How many rows the units of a grouped stream have.
    tally: Tally,
}

/// Which scan a page belongs to.
#[derive(Clone, Copy)]
enum Scan<'a> {
    Changes(&'a Watermark),
    Snapshot,
    Window(NaiveDateTime),
}

impl<C: RelationalClient> SqlPoller<C> {
    /// A poller that connects when it is first asked.
    pub fn new(client: C, plan: Plan) -> SqlPoller<C> {
        SqlPoller { client, plan, open: false, snapshot: None }
    }

    async fn open(&mut self) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.open, true) {
            self.client.reset().await;
        }
        self.client.begin().await?;
        if self.plan.texts.is_none() && self.client.dialect().asks_for_types() {
            self.plan.texts = Some(self.texts().await?);
        }
        Ok(())
    }

    /// Which of the watermark's columns are declared as text.
    async fn texts(&mut self) -> Result<Vec<String>, SourceError> {
        let Some(settings) = self.plan.stream.fetch.watermark.clone() else { return Ok(Vec::new()) };
        let columns = match self.client.columns(&self.plan.stream.fetch.from).await {
            Ok(columns) => columns.unwrap_or_default(),
            // A catalogue that can't be read is no reason to read nothing. Some databases answer nothing more in a
            // transaction that failed.
            Err(error) => {
                let from = self.plan.from();
                tracing::warn!(from, class = ?error.class, "its columns' types are not known");
                self.client.reset().await;
                self.client.begin().await?;
                Vec::new()
            }
        };
        let is_text = |name: &&String| {
            let at = find_name(columns.iter().map(|column| column.name.as_str()), name);
            let type_name = at.map(|at| columns[at].type_name.to_ascii_lowercase()).unwrap_or_default();
            ["char", "text", "clob", "string"].iter().any(|word| type_name.contains(word))
        };
        Ok(settings.columns().filter(is_text).cloned().collect())
    }

    async fn close(&mut self) -> Result<(), SourceError> {
        self.client.end().await?;
        self.open = false;
        Ok(())
    }

    /// Ends the consistent read of a call, however that call ended.
    async fn settle<T>(&mut self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        match result {
            Ok(value) => self.close().await.map(|()| value),
            Err(error) => {
                self.client.reset().await;
                self.open = false;
                Err(error)
            }
        }
    }

    async fn changes(&mut self, from: &Watermark, after: Option<&Cursor>, limit: usize) -> Result<Batch, SourceError> {
        // Asked for before the rows: what is committed after that is stamped after it, less the lag.
        let now = match self.plan.watermark()?.kind {
            WatermarkType::Timestamp => Some(self.client.now(self.plan.zone).await?),
            _ => None,
        };
        let nothing = Watermark::start();
        let mut known = from;
        if self.is_ahead(from, now.as_ref())? {
            known = &nothing;
        }
        let mut page = self.page(Scan::Changes(known), after, limit).await?;
        if self.has_gone_back(known, after, &page).await? {
            known = &nothing;
            page = self.page(Scan::Changes(known), after, limit).await?;
        }
        let width = self.plan.stream.fetch.key.len() + self.plan.watermark()?.width();
        let ceiling = match after {
            Some(cursor) => cursor.0.get(width..).unwrap_or_default().to_vec(),
            None if page.next.is_some() => self.ceiling(now.as_ref()).await?,
            None => Vec::new(),
        };
        if let Some(next) = &mut page.next {
            next.0.extend_from_slice(&ceiling);
        }
        let to = self.reached(known, &page, &ceiling, now.as_ref())?;
        let advance = to.map(|to| Advance { from: from.clone(), to });
        if advance.is_none() && from.is_start() && after.is_none() {
            self.require_readable().await?;
        }
        let (records, _) = self.records(&page).await?;
        Ok(Batch { records, advance, next: page.next, counted: None })
    }

    async fn window(
        &mut self,
        since: NaiveDateTime,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        let page = self.page(Scan::Window(since), after, limit).await?;
        let (records, _) = self.records(&page).await?;
        Ok(Batch { records, advance: None, next: page.next, counted: None })
    }

    async fn snapshot_page(
        &mut self,
        scan: &mut SnapshotScan,
        first: bool,
        limit: usize,
    ) -> Result<Batch, SourceError> {
        if scan.opened.elapsed() > LONGEST_SNAPSHOT {
            return Err(SourceError::retry(FaultClass::Timeout, format!("read a snapshot of {:?}", self.plan.from()))
                .hint("it took longer than 30 minutes, which holds the source's log: read fewer rows"));
        }
        let page = self.page(Scan::Snapshot, (!first).then_some(&scan.next), limit).await?;
        let (records, folded) = self.records(&page).await?;
        scan.folded += folded;
        let counted = match &page.next {
            Some(next) => {
                scan.next = next.clone();
                None
            }
            None => Some(self.count().await?.saturating_sub(scan.folded)),
        };
        Ok(Batch { records, advance: None, next: page.next, counted })
    }

    async fn count(&mut self) -> Result<u64, SourceError> {
        let query = self.plan.parents(self.client.dialect(), Select::Count).compose();
        let counted = self.client.query(&query).await?.scalar().and_then(count_of);
        counted.ok_or_else(|| SourceError::stop(FaultClass::Data, format!("count the rows of {:?}", self.plan.from())))
    }

    /// Reads one page of parent rows, one row more than is kept, to know whether there are more.
    ///
    /// A page ends on a row whose key and watermark can be decoded, because the next page starts
    /// from them.
    async fn page(&mut self, scan: Scan<'_>, after: Option<&Cursor>, limit: usize) -> Result<Page, SourceError> {
        let from = self.plan.from().to_owned();
        let window_start = match (scan, after) {
            (Scan::Window(since), None) => match self.window_start(since).await? {
                Some(start) => Some(start),
                None => return Ok(Page { rows: Rows::default(), next: None, tally: Tally::default() }),
            },
            _ => None,
        };
        let start = match scan {
            Scan::Changes(stored) => self.start(stored, after).await?,
            Scan::Snapshot | Scan::Window(_) => None,
        };
        let mut wanted = limit.max(1) + 1;
        loop {
            let mut terms = match scan {
                Scan::Snapshot => Vec::new(),
                Scan::Changes(_) | Scan::Window(_) => self.plan.terms(self.plan.watermark()?),
            };
            let stamp = terms.len();
            terms.extend(self.plan.key());
            let mut query = self.plan.parents(self.client.dialect(), Select::Columns(&self.plan.columns));
            let starts = [(&window_start, false), (&start, true)];
            for (values, blanks) in starts.into_iter().filter_map(|(start, blanks)| Some((start.clone()?, blanks))) {
                query.conditions.push(Condition::AtLeast { terms: &terms[..stamp], values, blanks });
            }
            let settled = terms[0].kind.and_then(|kind| self.client.dialect().settled(kind, terms[0].name));
            if matches!(scan, Scan::Changes(_)) && settled.is_some() {
                query.conditions.push(Condition::Settled(terms[0]));
            }
            if let Some(cursor) = after {
                query.conditions.push(Condition::After(&terms, &cursor.0));
            }
            query.order = terms.iter().map(|term| term.name).collect();
            query.limit = Some(wanted);
            let query = query.compose();
            let order: Vec<String> = terms.iter().map(|term| term.name.to_owned()).collect();
            let mut rows = self.client.query(&query).await?;
            let order = positions(&rows, &order, &from)?;
            if rows.rows.len() < wanted {
                return self.fitting(Page { rows, next: None, tally: Tally::default() }, &order).await;
            }
            let sound = |at: &usize| order.iter().all(|column| !rows.rows[*at].is_broken(*column));
            if let Some(last) = (0..wanted - 1).rev().find(sound) {
                rows.rows.truncate(last + 1);
                let next = rows.rows.last().map(|row| Cursor(row.pick(&order)));
                return self.fitting(Page { rows, next, tally: Tally::default() }, &order).await;
            }
            if wanted > WIDEST_PAGE {
                return Err(SourceError::stop(FaultClass::Data, format!("read past undecodable rows of {from:?}"))
                    .hint("many rows have a key or watermark that can't be decoded: check the character set"));
            }
            wanted *= 2;
        }
    }

    /// Cuts a page of a grouped stream where its units would be too much at once.
    async fn fitting(&mut self, mut page: Page, order: &[usize]) -> Result<Page, SourceError> {
        if !self.plan.stream.fetch.group {
            return Ok(page);
        }
        let key = positions(&page.rows, &self.plan.stream.fetch.key, self.plan.from())?;
        page.tally = units::tally(&mut self.client, &self.plan, &units::tuples(&page.rows, &key)).await?;
        let fitting = units::fitting(&page.rows, &key, &page.tally);
        if fitting < page.rows.rows.len() {
            let sound = |at: &usize| order.iter().all(|column| !page.rows.rows[*at].is_broken(*column));
            if let Some(last) = (0..fitting).rev().find(sound) {
                page.rows.rows.truncate(last + 1);
                page.next = page.rows.rows.last().map(|row| Cursor(row.pick(order)));
            }
        }
        Ok(page)
    }

    /// Where a scan of changes starts. `None`: at the table's beginning, or the cursor says it.
    async fn start(&mut self, stored: &Watermark, after: Option<&Cursor>) -> Result<Option<Vec<Value>>, SourceError> {
        let settings = self.plan.watermark()?;
        // Within the rows without a watermark the stored one has not moved yet in this scan.
        let implied = after.is_some_and(|cursor| self.is_stamped(settings, &cursor.0));
        if stored.is_start() || implied {
            return Ok(None);
        }
        let start = watermark::lower(settings, self.stamp_of(stored.columns())).ok_or_else(|| {
            SourceError::stop(FaultClass::Data, format!("take the lag off the watermark of {:?}", self.plan.from()))
                .hint(format!(
                    "the stored value of {} can't be read as {:?}: were the watermark's columns or type changed?",
                    probe::named(settings),
                    settings.kind
                ))
        })?;
        if !start.reaches_back {
            return Ok(Some(start.at));
        }
        // The counter began anew: what the series before it had last may still be committed.
        let query = self.plan.backwards(self.client.dialect(), start.at.len(), Some(&start.at), 1)?;
        let before = self.client.query(&query).await?.rows.into_iter().next().map(|row| row.values);
        Ok(Some(before.unwrap_or(start.at)))
    }

    /// The values of the watermark's columns in a stored position, which are followed by those of the key.
    fn stamp_of<'v>(&self, columns: &'v [Value]) -> &'v [Value] {
        let width = self.plan.stream.fetch.watermark.as_ref().map_or(1, WatermarkSettings::width);
        // With another number of columns than the configuration has now, it was stored by another watermark.
        if width > 1 && columns.len() != width + self.plan.stream.fetch.key.len() {
            return &[];
        }
        columns.get(..width).unwrap_or_default()
    }

    /// A window's start in the form in which the columns are written; `None` where they hold nothing.
    async fn window_start(&mut self, since: NaiveDateTime) -> Result<Option<Vec<Value>>, SourceError> {
        let newest = self.newest().await?;
        if newest.is_empty() {
            return Ok(None);
        }
        let (settings, zone) = (self.plan.watermark()?, self.plan.zone);
        let start = match settings.kind {
            WatermarkType::Timestamp => {
                newest.iter().find_map(|sample| watermark::at_time(settings, sample, since, zone))
            }
            _ => None,
        };
        start.map(Some).ok_or_else(|| {
            SourceError::stop(
                FaultClass::Data,
                format!("find a time in {} of {:?}", probe::named(settings), self.plan.from()),
            )
            .hint("re-reading a window needs a watermark of type \"timestamp\" whose format can be read")
        })
    }

    /// The newest watermark when a scan of several pages begins; empty where there is none.
    ///
    /// The stored watermark stays at or before it during the scan. Otherwise a row that is committed
    /// behind the cursor while the scan runs could fall out of the next scan's overlap: the lag
    /// would have to cover the longest scan too. The cursor carries it from page to page.
    /// Where the newest ones all lie in the future, the present takes their place.
    async fn ceiling(&mut self, now: Option<&Now>) -> Result<Vec<Value>, SourceError> {
        let newest = self.newest().await?;
        let settings = self.plan.watermark()?;
        let vouched = newest.iter().find(|value| watermark::is_vouched_for(settings, value, now)).cloned();
        let present = || now.and_then(|now| newest.iter().find_map(|value| watermark::at_now(settings, value, now)));
        Ok(vouched.or_else(present).unwrap_or_default())
    }

    /// The newest watermark values of the table, newest first.
    async fn newest(&mut self) -> Result<Vec<Vec<Value>>, SourceError> {
        let query = self.plan.newest(self.client.dialect(), SAMPLES)?;
        let newest = self.client.query(&query).await?;
        Ok(newest.rows.into_iter().map(|row| row.values).collect())
    }

    /// Refuses a watermark column whose values can't be read as configured: every scan would read
    /// the whole table, and text that does not sort as its time does would hide changes.
    async fn require_readable(&mut self) -> Result<(), SourceError> {
        let newest = self.newest().await?;
        let settings = self.plan.watermark()?;
        if newest.is_empty() || newest.iter().any(|value| watermark::is_readable(settings, value)) {
            return Ok(());
        }
        let operation = format!("read watermark column {} of {:?}", probe::named(settings), self.plan.from());
        Err(SourceError::stop(FaultClass::Data, operation).hint(
            "none of its newest values can be read as the configured type: set type, format or `then` to what it holds",
        ))
    }

    /// Where the stored watermark may move with this page: to its newest row that can be vouched
    /// for and is not above the ceiling, if that is newer than what is known.
    fn reached(
        &self,
        known: &Watermark,
        page: &Page,
        ceiling: &[Value],
        now: Option<&Now>,
    ) -> Result<Option<Watermark>, SourceError> {
        let settings = self.plan.watermark()?;
        let columns: Vec<String> = settings.columns().chain(&self.plan.stream.fetch.key).cloned().collect();
        let columns = positions(&page.rows, &columns, self.plan.from())
            .or_else(|error| if page.rows.rows.is_empty() { Ok(Vec::new()) } else { Err(error) })?;
        for row in page.rows.rows.iter().rev() {
            let at = row.pick(&columns);
            let Some(stamp) = at.get(..settings.width()) else { break };
            let sound = columns.iter().all(|column| !row.is_broken(*column));
            // Nothing to compare with is equal.
            let below = watermark::compare_all(stamp, ceiling).is_le();
            if sound && below && watermark::is_vouched_for(settings, stamp, now) {
                return Ok((later(&at, known.columns()) == Ordering::Greater).then(|| Watermark::at(at)));
            }
        }
        Ok(None)
    }
}

/// Orders two positions column by column.
fn later(left: &[Value], right: &[Value]) -> Ordering {
    let unequal = left.iter().zip(right).map(|(left, right)| watermark::compare(left, right)).find(|o| o.is_ne());
    unequal.unwrap_or_else(|| left.len().cmp(&right.len()))
}

#[async_trait]
impl<C: RelationalClient> Poller for SqlPoller<C> {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        self.snapshot = None;
        self.open().await?;
        let result = probe::probe(&mut self.client, &self.plan).await;
        self.settle(result).await
    }

    async fn fetch(&mut self, request: Request<'_>, limit: usize) -> Result<Batch, SourceError> {
        let pending = self.snapshot.take();
        let (from, after) = match request {
            Request::Changes { from, after } => (Scan::Changes(from), after),
            Request::Window { since, after } => (Scan::Window(since), after),
            Request::Snapshot { after } => (Scan::Snapshot, after),
        };
        let (mut scan, first) = match (from, after) {
            (Scan::Changes(from), after) => {
                self.open().await?;
                let result = self.changes(from, after, limit).await;
                return self.settle(result).await;
            }
            (Scan::Window(since), after) => {
                self.open().await?;
                let result = self.window(since, after, limit).await;
                return self.settle(result).await;
            }
            (Scan::Snapshot, None) => {
                self.open().await?;
                (SnapshotScan { next: Cursor(Vec::new()), folded: 0, opened: Instant::now() }, true)
            }
            (Scan::Snapshot, Some(cursor)) => match pending {
                Some(scan) if scan.next == *cursor => (scan, false),
                _ => {
                    let operation = format!("go on with a snapshot of {:?}", self.plan.from());
                    return Err(SourceError::retry(FaultClass::Data, operation)
                        .hint("its transaction is gone: a snapshot is read from its beginning"));
                }
            },
        };
        let result = self.snapshot_page(&mut scan, first, limit).await;
        match result {
            Ok(batch) if batch.next.is_some() => {
                self.snapshot = Some(scan);
                Ok(batch)
            }
            other => self.settle(other).await,
        }
    }

    fn time_of(&self, document: &Document) -> Option<NaiveDateTime> {
        let settings = self.plan.stream.fetch.watermark.as_ref()?;
        let value = |column: &String| {
            let named = |name: &str| name == column || name.eq_ignore_ascii_case(column);
            document.root.iter().find(|(name, _)| named(name)).map(|(_, value)| value.clone())
        };
        watermark::time_of(settings, &settings.columns().map(value).collect::<Option<Vec<_>>>()?, self.plan.zone)
    }

    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        self.snapshot = None;
        self.open().await?;
        let result = probe::discover(&mut self.client, name).await;
        self.settle(result).await
    }
}
