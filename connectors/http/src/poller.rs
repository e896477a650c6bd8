//! Reads one stream: list calls page by page and window by window, details, files, and marks.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use connector_api::{
    Advance, Batch, Column, Cursor, DecodeFailure, Discovered, Document, FaultClass, Map, Poller, Probe, Raw, Record,
    Request, SourceError, Value, Watermark, async_trait,
};
use tokio::time::Instant;
use url::Url;

use crate::answer::{Cut, unreadable};
use crate::decoder::{at, document, record};
use crate::marks::Marks;
use crate::plan::StreamPlan;
use crate::session::{Answered, Session, now, number};
use crate::settings::PagingBy;
use crate::template::Vars;
use crate::window::{Point, Window, local};

mod whole;

/// A scan with more pages than this never ends.
const MOST_PAGES: usize = 100_000;

/// Lists what a server has, beside its records.
#[async_trait]
pub trait Catalogue: Send + Sync {
    /// Lists operations, or describes one of them.
    async fn discover(&self, session: &Session, name: Option<&str>) -> Result<Vec<Discovered>, SourceError>;
}

/// The poller of one stream.
pub struct WebPoller {
    session: Arc<Session>,
    plan: StreamPlan,
    catalogue: Option<Arc<dyn Catalogue>>,
    scan: Option<Scan>,
    turns: i64,
    marks: Marks,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Changes,
    Snapshot,
    Window,
}

/// A reading between two of its pages.
struct Scan {
    wanted: Wanted,
    /// The cursor that goes on with it.
    next: Cursor,
    /// When it began: its last window ends here.
    began: NaiveDateTime,
    window: Option<Window>,
    size: usize,
    /// The earliest that the source's own clock can have shown when one of its answers was asked for.
    source_began: Option<NaiveDateTime>,
    /// The source offers records again that were handed over and not taken: nothing moves past them.
    stuck: bool,
    /// And how many they are, where others may stand behind them.
    unseen: Option<usize>,
    /// The newest watermark that may be stored, where it is a field.
    newest: Option<Point>,
    list: List,
}

/// The reading of one list, or of one window of it.
#[derive(Default)]
struct List {
    page: u64,
    offset: u64,
    cursor: String,
    link: Option<Url>,
    seen: HashSet<[u8; 32]>,
    /// Records read, and how many the source says there are.
    read: u64,
    total: Option<u64>,
    /// Cut, and not handed over yet.
    waiting: VecDeque<Cut>,
    ended: bool,
}

impl WebPoller {
    /// A poller that connects when it is first asked.
    pub fn new(session: Arc<Session>, plan: StreamPlan, catalogue: Option<Arc<dyn Catalogue>>) -> WebPoller {
        WebPoller { session, plan, catalogue, scan: None, turns: 0, marks: Marks::default() }
    }

    /// The scan that a request begins or goes on with. It is put back when its page is complete.
    fn begin(&mut self, request: &Request<'_>, limit: usize) -> Result<Scan, SourceError> {
        let (wanted, after) = match request {
            Request::Changes { after, .. } => (Wanted::Changes, after),
            Request::Snapshot { after } => (Wanted::Snapshot, after),
            Request::Window { after, .. } => (Wanted::Window, after),
        };
        let kept = self.scan.take();
        if let Some(after) = after {
            return kept.filter(|scan| scan.wanted == wanted && scan.next == **after).ok_or_else(|| {
                SourceError::retry(
                    FaultClass::Other,
                    format!("{}: go on with a reading that was given up", self.plan.list.what),
                )
                .hint("it begins anew by itself")
            });
        }
        let began = self.session.local_now();
        let window = match request {
            Request::Snapshot { .. } => None,
            Request::Changes { from, .. } => Some(self.window(|rule| rule.first(from.columns().first(), began))?),
            Request::Window { since, .. } => Some(self.window(|rule| rule.since(*since, began))?),
        };
        let size = self.plan.paging.as_ref().map_or(limit, |paging| paging.size.min(limit)).max(1);
        let list = self.fresh();
        Ok(Scan { window, size, list, ..Scan::new(wanted, began) })
    }

    fn window(&self, choose: impl FnOnce(&crate::window::Rule) -> Option<Window>) -> Result<Window, SourceError> {
        self.plan.changes.as_ref().and_then(choose).ok_or_else(|| {
            SourceError::stop(FaultClass::Data, format!("{}: find where to read from", self.plan.list.what)).hint(
                "the stored watermark does not fit changes.type (was it changed?), or a sweep was asked of a number",
            )
        })
    }

    fn fresh(&self) -> List {
        List { page: self.plan.paging.as_ref().map_or(1, |paging| paging.first), ..List::default() }
    }

    fn vars(&self, scan: &Scan) -> Vars {
        let list = &scan.list;
        let mut vars = Vars::from([
            ("page", list.page.into()),
            ("offset", list.offset.into()),
            ("size", scan.size.into()),
            ("cursor", list.cursor.as_str().into()),
        ]);
        if let (Some(window), Some(rule)) = (&scan.window, &self.plan.changes) {
            vars.insert("from", rule.write(window.from).into());
            vars.insert("to", rule.write(window.to.map_or(window.from, Point::Time)).into());
        }
        vars
    }

    /// Calls the list once and takes its records. What it says of its end is checked here.
    async fn turn_page(&mut self, scan: &mut Scan) -> Result<(), SourceError> {
        let what = self.plan.list.what.clone();
        let vars = self.vars(scan);
        let asked = Instant::now();
        let answered = self.session.call(&self.plan.list, &vars, scan.list.link.as_ref(), false).await?;
        scan.note_clock(answered.reply.date, asked.elapsed(), self.session.zone());
        let (cuts, total) = self.listed(&answered)?;
        let list = &mut scan.list;
        let before = list.total;
        list.total = total.or(before);
        let wrong =
            |says: String, hint: &str| Err(SourceError::retry(FaultClass::Data, format!("{what}: {says}")).hint(hint));
        let counted = |by| matches!(by, PagingBy::Page | PagingBy::Offset);
        let slips = self.plan.taken.is_none() && self.plan.paging.as_ref().is_some_and(|paging| counted(paging.by));
        if let (true, Some(before), Some(total)) = (slips, before, total)
            && total < before
        {
            return wrong(
                format!("the list had {before} records and has {total} while it is read"),
                "when a record leaves, another slips to a page that was read: the list is read again; if it stays \
                 so, ask for less at once (changes.days), or in an order in which none leaves",
            );
        }
        if cuts.is_empty() {
            list.ended = true;
        } else {
            if list.total.is_some_and(|total| total < cuts.len() as u64) {
                return wrong(
                    format!("a page has {} records where the total is {}", cuts.len(), list.total.unwrap_or_default()),
                    "total must be where the number of all records is; leave it out where the source does not tell",
                );
            }
            if !list.seen.insert(digest(&cuts)) {
                // Asked again for what is not taken yet, and the same comes: some of it can't be marked, and a
                // list that is cut to a number of records shows nothing of what stands behind it.
                if self.plan.paging.is_none() && self.plan.taken.is_some() {
                    list.ended = true;
                    scan.stuck = true;
                    if total.is_none_or(|total| total > cuts.len() as u64) {
                        scan.unseen = Some(cuts.len());
                    }
                    return Ok(());
                }
                return wrong(
                    "the same page came twice".to_owned(),
                    "the server ignores the paging, or repeats its last page: check paging, or set total or paging.more",
                );
            }
            if list.seen.len() >= MOST_PAGES {
                return wrong("the list has no end".to_owned(), "check paging");
            }
            list.read += cuts.len() as u64;
            list.offset += cuts.len() as u64;
            list.page += 1;
            list.waiting.extend(cuts);
            list.ended = self.is_last(list, &answered)?;
        }
        if list.ended
            && self.plan.taken.is_none()
            && let Some(total) = list.total.filter(|total| *total > list.read)
        {
            return wrong(
                format!("the source says that there are {total} records, {} came", list.read),
                "the list changed while it was read, or the login may not see all of it; it is read again",
            );
        }
        Ok(())
    }

    /// The records of an answer, and how many there are in all.
    fn listed(&self, answered: &Answered) -> Result<(Vec<Cut>, Option<u64>), SourceError> {
        let what = &self.plan.list.what;
        let rules = &self.session.rules;
        let Some(opened) = &answered.opened else { return Ok((Vec::new(), None)) };
        let unread = |failure| unreadable(what, failure);
        let coded = self.plan.list.answer.is_some();
        let cuts = opened.records(&self.plan.records, answered.charset, coded, rules).map_err(unread)?;
        let damaged = cuts.iter().filter(|cut| cut.is_damaged()).count();
        if damaged > 1 && damaged * 2 > cuts.len() {
            let says = format!("{damaged} of {} records do not decode", cuts.len());
            return Err(unread(DecodeFailure::new("text-charset", says)));
        }
        let total = match &self.plan.total {
            None => None,
            Some(path) => {
                let value = opened.field(path, rules).map_err(unread)?;
                let total = value.as_ref().and_then(number);
                Some(total.ok_or_else(|| {
                    SourceError::stop(FaultClass::Data, format!("{what}: find the total at {path:?}"))
                        .hint("set total to where the number of all records is, or leave it out")
                })?)
            }
        };
        Ok((cuts, total))
    }

    /// Whether a page with records was the last one, and what asks for the next.
    fn is_last(&self, list: &mut List, answered: &Answered) -> Result<bool, SourceError> {
        let Some(paging) = &self.plan.paging else { return Ok(self.plan.taken.is_none()) };
        let what = &self.plan.list.what;
        let said = |path: &Option<String>| match (path, &answered.opened) {
            (Some(path), Some(opened)) => {
                opened.word(path, &self.session.rules).map_err(|failure| unreadable(what, failure))
            }
            _ => Ok(None),
        };
        if paging.more.is_some() {
            match said(&paging.more)?.as_deref() {
                Some("true" | "True" | "1" | "Y" | "y") => {}
                Some("false" | "False" | "0" | "N" | "n") => return Ok(true),
                _ => {
                    return Err(SourceError::stop(
                        FaultClass::Data,
                        format!("{what}: find whether there are more pages"),
                    )
                    .hint("paging.more must lead to true or false, 1 or 0"));
                }
            }
        }
        Ok(match paging.by {
            // A short page is not taken for the last one: servers have limits of their own.
            PagingBy::Page | PagingBy::Offset => list.total.is_some_and(|total| list.read >= total),
            PagingBy::Cursor => {
                let next = said(&paging.cursor)?.unwrap_or_default();
                if !next.is_empty() && next == list.cursor {
                    return Err(SourceError::retry(FaultClass::Data, format!("{what}: the cursor does not move"))
                        .hint("check paging.cursor, and that list sends {{ cursor }}"));
                }
                list.cursor = next;
                list.cursor.is_empty()
            }
            PagingBy::Link => {
                list.link = answered.reply.next.clone();
                list.link.is_none()
            }
        })
    }

    /// Takes the newest watermark of a page's records.
    fn note_newest(&self, scan: &mut Scan, records: &[Record]) {
        let Some(rule) = &self.plan.changes else { return };
        let Some(field) = &rule.field else { return };
        for record in records {
            let Ok(document) = &record.document else { continue };
            let found = at(&document.root, field).and_then(|value| rule.read(value));
            let newer = found.filter(|point| {
                rule.vouches(*point, scan.vouched()) && scan.newest.is_none_or(|newest| point.compare(newest).is_gt())
            });
            scan.newest = newer.or(scan.newest);
        }
    }

    /// Where the stored watermark may move when a window has been read to its end.
    fn advance(&self, scan: &Scan, from: &Watermark) -> Option<Advance> {
        let rule = self.plan.changes.as_ref().filter(|_| !scan.stuck)?;
        let reached = match &rule.field {
            Some(_) => scan.newest?,
            // What the source stamps with a clock behind ours may still come before the window's end.
            None => Point::Time(scan.window?.to?.min(scan.vouched())),
        };
        let stored = from.columns().first().and_then(|value| rule.known(value, scan.began));
        stored
            .is_none_or(|stored| reached.compare(stored).is_gt())
            .then(|| Advance { from: from.clone(), to: Watermark::at(vec![reached.value()]) })
    }

    /// Calls the list's first page as a scan would, near now.
    async fn look(&self, talkative: bool) -> Result<(Answered, Vec<Cut>, Option<u64>), SourceError> {
        let began = self.session.local_now();
        let window = match &self.plan.changes {
            None => None,
            Some(rule) => {
                let near = began.checked_sub_days(chrono::Days::new(1)).unwrap_or(began);
                rule.since(near, began).or_else(|| rule.first(None, began))
            }
        };
        let size = self.plan.paging.as_ref().map_or(10, |paging| paging.size.min(10));
        let scan = Scan { window, size, list: self.fresh(), ..Scan::new(Wanted::Window, began) };
        let answered = self.session.call(&self.plan.list, &self.vars(&scan), None, talkative).await?;
        let (cuts, total) = self.listed(&answered)?;
        Ok((answered, cuts, total))
    }
}

impl Scan {
    fn new(wanted: Wanted, began: NaiveDateTime) -> Scan {
        let (next, list) = (Cursor(Vec::new()), List::default());
        let (window, source_began, newest) = (None, None, None);
        Scan { wanted, next, began, window, size: 1, source_began, stuck: false, unseen: None, newest, list }
    }

    /// Takes what an answer says of the source's clock, less the time that the answer took.
    fn note_clock(&mut self, date: Option<DateTime<Utc>>, took: Duration, zone: Tz) {
        let asked = date.and_then(|date| date.checked_sub_signed(TimeDelta::from_std(took).ok()?));
        let asked = asked.map(|asked| local(asked, zone));
        self.source_began = [self.source_began, asked].into_iter().flatten().min();
    }

    /// Until when all that is stamped was there to be read, by our clock and by the source's.
    fn vouched(&self) -> NaiveDateTime {
        self.source_began.map_or(self.began, |source| source.min(self.began))
    }
}

/// What tells two pages apart.
fn digest(cuts: &[Cut]) -> [u8; 32] {
    let mut all = Vec::with_capacity(cuts.len() * 32);
    for cut in cuts {
        let raw =
            Raw { format: String::new(), charset: None, body: bytes::Bytes::copy_from_slice(cut.text.as_bytes()) };
        all.extend_from_slice(&raw.digest());
    }
    Raw { format: String::new(), charset: None, body: bytes::Bytes::from(all) }.digest()
}

#[async_trait]
impl Poller for WebPoller {
    fn time_of(&self, document: &Document) -> Option<NaiveDateTime> {
        let rule = self.plan.changes.as_ref()?;
        match rule.read(at(&document.root, rule.field.as_ref()?)?)? {
            Point::Time(time) => Some(time),
            Point::Number(_) => None,
        }
    }

    async fn probe(&mut self) -> Result<Probe, SourceError> {
        let (answered, cuts, total) = self.look(true).await?;
        let mut probe = Probe { server: answered.reply.server.clone(), ..Probe::default() };
        let what = &self.plan.list.what;
        let count = cuts.len();
        let all = total.map(|total| format!(" of {total}")).unwrap_or_default();
        probe.findings.push(format!("{what} answers {count}{all} records, read as {}", answered.charset.name()));
        let records: Vec<Record> =
            cuts.iter().map(|cut| record(cut, &self.plan.open, &self.session.rules, what)).collect();
        let held = records.iter().filter(|record| record.document.is_err()).count();
        if held > 0 {
            probe.findings.push(format!("{held} of them can't be read and would be held"));
        }
        if let Some(rule) = &self.plan.changes
            && let Some(field) = &rule.field
        {
            let points =
                records.iter().filter_map(|record| rule.read(at(&record.document.as_ref().ok()?.root, field)?));
            let newest = points.reduce(|left, right| if right.compare(left).is_gt() { right } else { left });
            if newest.is_none() && count > held {
                let says = format!("{what}: read the watermark field {field:?}");
                return Err(SourceError::stop(FaultClass::Data, says)
                    .hint("none of the records has it in a form that can be read: check changes.field and format"));
            }
            probe.newest = newest.map(|point| rule.write(point));
        }
        probe.clock_difference_ms = answered.reply.date.map(|date| (date - now()).num_milliseconds());
        Ok(probe)
    }

    async fn fetch(&mut self, request: Request<'_>, limit: usize) -> Result<Batch, SourceError> {
        self.marks.forget_handed();
        let limit = limit.max(1);
        let mut scan = self.begin(&request, limit)?;
        while scan.list.waiting.is_empty() && !scan.list.ended {
            self.turn_page(&mut scan).await?;
        }
        let mut batch = Batch::default();
        let mut handed = Vec::new();
        while batch.records.len() < limit
            && let Some(cut) = scan.list.waiting.pop_front()
        {
            let (record, mark) = self.complete(&cut).await?;
            batch.records.push(record);
            handed.extend(mark);
        }
        self.note_newest(&mut scan, &batch.records);
        let window_read = scan.list.ended && scan.list.waiting.is_empty();
        if window_read {
            if let Request::Changes { from, .. } = request {
                batch.advance = self.advance(&scan, from);
            }
            if let (Some(rule), Some(window)) = (&self.plan.changes, &scan.window)
                && let Some(next) = rule.next(window, scan.began)
            {
                scan.window = Some(next);
                scan.list = self.fresh();
            } else {
                batch.counted = (scan.wanted == Wanted::Snapshot).then_some(scan.list.total).flatten();
                // Nothing more is committed after an empty page, so what waits to be marked is marked now.
                if batch.records.is_empty() && batch.advance.is_none() {
                    self.marks.send(&self.session, &self.plan).await?;
                }
                if let Some(count) = scan.unseen {
                    let says = format!(
                        "{}: {count} records are offered again and again, and can't be marked as taken",
                        self.plan.list.what
                    );
                    return Err(SourceError::retry(FaultClass::Data, says).hint(
                        "what stands behind them can't be seen, and the watermark stays: look at what is held, or at \
                         taken.accepted; set total where the source tells it, or paging",
                    ));
                }
                self.marks.hand(handed);
                return Ok(batch);
            }
        }
        self.turns += 1;
        let next = Cursor(vec![Value::Integer(self.turns)]);
        batch.next = Some(next.clone());
        self.marks.hand(handed);
        self.scan = Some(Scan { next, ..scan });
        Ok(batch)
    }

    async fn committed(&mut self) -> Result<(), SourceError> {
        self.marks.confirm();
        // While pages are counted, a mark would shift the records behind it to a page that was read.
        if self.plan.paging.is_none() || self.scan.is_none() {
            self.marks.send(&self.session, &self.plan).await?;
        }
        Ok(())
    }

    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        if let Some(catalogue) = &self.catalogue {
            return catalogue.discover(&self.session, name).await;
        }
        let (_, cuts, total) = self.look(true).await?;
        let what = self.plan.list.what.clone();
        let records = cuts.iter().map(|cut| document(cut.kind, &cut.text, &self.plan.open, &self.session.rules));
        let sample: Vec<Map> = records.filter_map(Result::ok).map(|read| read.root).take(5).collect();
        let columns = sample.first().into_iter().flat_map(|row| row.iter()).map(|(name, value)| Column {
            name: name.to_string(),
            type_name: value.kind().to_owned(),
            nullable: None,
        });
        let columns = columns.collect();
        let sample = if name.is_some() { sample } else { Vec::new() };
        Ok(vec![Discovered { name: what, kind: "call".to_owned(), columns, rows: total, sample }])
    }
}
