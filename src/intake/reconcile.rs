//! Compares a closed period of a stream with its source, and pulls again what the ledger lacks.
//!
//! The source's rows of the period are read once more and go through the same mapping to content hashes; no event is
//! made by looking. What is missing or differs is then committed as the ordinary record that it is, so that every rule
//! and guard holds. What the source lacks is listed and never taken back by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Timelike as _, Utc};
use chrono_tz::Tz;
use connector_api::{Decoder, Mode, Poller, Record, Request, StreamId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::poll::{PollStream, RoundError, RoundReport, RoundRequest, new_records};
use super::schedule::Schedule;
use crate::clock::Clock;
use crate::model::Outcome;
use crate::store::{self, Agreement, Compared, Finished, Incoming, IncomingBatch, Moment, Scope, Store};

/// Entities that are looked at at once when the ledger is searched for what the source lacks.
const PAGE: usize = 200;

/// The note where the source does not tell when a record was changed.
const UNTIMED: &str = "this source does not tell the time of each record: those newer than the period are compared \
                       too, and extra ones are not told";

/// A record may be received so much before the time that the source writes into it: clocks differ.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::days(1);

/// When a stream is compared, and with how much of the past.
#[derive(Clone, Debug)]
pub struct Policy {
    /// When.
    pub schedule: Schedule,
    /// How long the period is.
    pub window: Duration,
    /// What is slow.
    pub lags: Lags,
}

/// How long records may take to settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lags {
    /// A period is closed so long after its end.
    pub closed_after: Duration,
    /// An event without a receipt for so long is undelivered.
    pub undelivered_after: Duration,
}

impl Default for Lags {
    fn default() -> Lags {
        Lags { closed_after: Duration::from_secs(3600), undelivered_after: Duration::from_secs(3600) }
    }
}

/// What a stream needs to be compared.
#[derive(Clone)]
pub struct Reconcile {
    /// When it is by itself; `None` where only a person asks for it.
    pub policy: Option<Policy>,
    /// Reads what was archived.
    pub decoder: Arc<dyn Decoder>,
}

impl Reconcile {
    pub(super) fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.policy.as_ref().and_then(|policy| policy.schedule.next_after(now))
    }

    /// How long records may take to settle.
    pub fn lags(&self) -> Lags {
        self.policy.as_ref().map_or_else(Lags::default, |policy| policy.lags)
    }
}

/// A closed period, in the hospital's time zone. Its end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Where it begins.
    pub since: NaiveDateTime,
    /// Where it ends.
    pub until: NaiveDateTime,
}

/// A period that can't be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPeriod {
    /// It is empty.
    #[error("the period ends before it begins")]
    Empty,
    /// It is not over, or records of it may still be on their way.
    #[error("the period is not closed: it may end at {0} (the hospital's time) at the latest")]
    Open(NaiveDateTime),
}

fn back(time: NaiveDateTime, by: Duration) -> NaiveDateTime {
    TimeDelta::from_std(by).ok().and_then(|by| time.checked_sub_signed(by)).unwrap_or(NaiveDateTime::MIN)
}

impl Period {
    /// The last closed period of a length: whole days where it is a day or longer, else whole hours.
    pub fn last(now: DateTime<Utc>, zone: Tz, window: Duration, lag: Duration) -> Period {
        let closed = back(now.with_timezone(&zone).naive_local(), lag);
        let until = if window >= Duration::from_secs(86_400) {
            closed.date().and_time(NaiveTime::MIN)
        } else {
            closed.date().and_hms_opt(closed.hour(), 0, 0).unwrap_or(closed)
        };
        Period { since: back(until, window), until }
    }

    /// A period that a person names.
    pub fn asked(
        since: NaiveDateTime,
        until: NaiveDateTime,
        now: DateTime<Utc>,
        zone: Tz,
        lag: Duration,
    ) -> Result<Period, NoPeriod> {
        let closed = back(now.with_timezone(&zone).naive_local(), lag);
        match () {
            () if since >= until => Err(NoPeriod::Empty),
            () if until > closed => Err(NoPeriod::Open(closed.with_nanosecond(0).unwrap_or(closed))),
            () => Ok(Period { since, until }),
        }
    }

    /// The same in UTC. Of an hour that a zone has twice, or not at all, the longer period is taken.
    pub fn utc(&self, zone: Tz) -> (DateTime<Utc>, DateTime<Utc>) {
        let at = |time: NaiveDateTime| zone.from_local_datetime(&time);
        let or = |time: NaiveDateTime| time.and_utc();
        (
            at(self.since).earliest().map_or_else(|| or(self.since), |time| time.to_utc()),
            at(self.until).latest().map_or_else(|| or(self.until), |time| time.to_utc()),
        )
    }

    fn has(&self, time: NaiveDateTime) -> bool {
        (self.since..self.until).contains(&time)
    }
}

/// Reads a date, or a date and a time: `2026-11-20`, `2026-11-20 08:00`, `2026-11-20T08:00:00`.
pub fn read_time(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim().replace('T', " ");
    let date = || text.parse::<NaiveDate>().ok().map(|date| date.and_time(NaiveTime::MIN));
    let times = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"];
    times.iter().find_map(|format| NaiveDateTime::parse_from_str(&text, format).ok()).or_else(date)
}

/// A comparison that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its row in the store.
    pub run: i64,
    /// The period.
    pub period: Period,
}

/// What is known of a stream by whoever asks for a comparison.
#[derive(Clone, Debug)]
pub struct Comparable {
    /// How it yields its records.
    pub mode: Mode,
    /// How long records may take to settle.
    pub lags: Lags,
    /// Where its task takes requests; `None` for a listener's.
    pub task: Option<mpsc::Sender<RoundRequest>>,
}

/// Asks for comparisons.
#[derive(Clone)]
pub struct Reconciler {
    /// The store.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// The hospital's time zone.
    pub zone: Tz,
    /// The streams.
    pub streams: Arc<HashMap<StreamId, Comparable>>,
    /// Where comparisons with upstream are asked for, by their row in the store.
    pub upstream: mpsc::Sender<i64>,
}

/// Why a comparison can't be made.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such stream.
    #[error("{0} is no stream of this configuration")]
    Unknown(String),
    /// The period.
    #[error(transparent)]
    Period(#[from] NoPeriod),
    /// Its task does not take requests now.
    #[error("the stream is busy or stopped: ask again later")]
    Busy,
    /// The store failed.
    #[error("use the store")]
    Store(#[from] store::Error),
}

impl Reconciler {
    /// Asks for a stream to be compared; answers the row of the run, which tells when it is done.
    pub async fn stream(
        &self,
        stream: &str,
        since: NaiveDateTime,
        until: NaiveDateTime,
        who: &str,
    ) -> Result<i64, Refusal> {
        let known = StreamId::parse(stream).and_then(|id| Some((self.streams.get(&id)?, id)));
        let (of, id) = known.ok_or_else(|| Refusal::Unknown(stream.to_owned()))?;
        let period = Period::asked(since, until, self.clock.now(), self.zone, of.lags.closed_after)?;
        let run = ask(&self.store, &id, of.mode, &period, self.zone, who).await?;
        let wanted = Wanted { run, period };
        match &of.task {
            Some(task) if task.try_send(RoundRequest::Reconcile(wanted)).is_ok() => {}
            Some(_) => {
                self.store.reconcile_fail(run, "the stream is busy or stopped").await?;
                return Err(Refusal::Busy);
            }
            None => ledger_only(&self.store, &self.clock, of.mode, of.lags, run).await?,
        }
        Ok(run)
    }

    /// Asks for a comparison with upstream; answers the row of the run.
    pub async fn with_upstream(&self, who: &str) -> Result<i64, Refusal> {
        let run = self.store.reconcile_ask(store::UPSTREAM, Scope::Upstream, None, who).await?;
        if self.upstream.try_send(run).is_err() {
            self.store.reconcile_fail(run, "another comparison is being made").await?;
            return Err(Refusal::Busy);
        }
        Ok(run)
    }
}

/// Notes that a stream is to be compared.
pub async fn ask(
    store: &Store,
    stream: &StreamId,
    mode: Mode,
    period: &Period,
    zone: Tz,
    who: &str,
) -> Result<i64, store::Error> {
    let scope = if mode == Mode::Incremental { Scope::Source } else { Scope::Ledger };
    store.reconcile_ask(stream.as_str(), scope, Some(period.utc(zone)), who).await
}

/// Compares the ledger of a stream with the receipts, where the source can't be asked again.
pub async fn ledger_only(store: &Store, clock: &Clock, mode: Mode, lags: Lags, run: i64) -> Result<(), store::Error> {
    store.reconcile_begin(run).await?;
    let note = match mode {
        Mode::Push => {
            "the source sends by itself and can't be asked again: only the ledger and the receipts are compared"
        }
        _ => "each complete snapshot compares the whole catalogue: only the ledger and the receipts are compared",
    };
    let finished = Finished { note: Some(note.to_owned()), ..Finished::default() };
    store.reconcile_end(run, finished, Some(overdue(clock, lags))).await
}

fn overdue(clock: &Clock, lags: Lags) -> DateTime<Utc> {
    clock.now() - TimeDelta::from_std(lags.undelivered_after).unwrap_or_default()
}

impl PollStream {
    /// Makes a comparison that was asked for, or the scheduled one.
    pub async fn reconcile(
        &self,
        poller: &mut dyn Poller,
        wanted: Option<Wanted>,
        stop: &CancellationToken,
    ) -> Result<RoundReport, RoundError> {
        let wanted = match (wanted, &self.reconcile.policy) {
            (Some(wanted), _) => wanted,
            (None, Some(policy)) => {
                let now = self.clock.now();
                let period = Period::last(now, self.zone, policy.window, policy.lags.closed_after);
                let run = ask(&self.store, &self.id, self.mode, &period, self.zone, "schedule").await;
                Wanted { run: run.map_err(RoundError::Store)?, period }
            }
            (None, None) => return Ok(RoundReport::default()),
        };
        let lags = self.reconcile.lags();
        if self.mode != Mode::Incremental {
            let done = ledger_only(&self.store, &self.clock, self.mode, lags, wanted.run).await;
            return done.map(|()| RoundReport::default()).map_err(RoundError::Store);
        }
        let done = self.compare(poller, wanted, lags, stop).await;
        if let Err(error) = &done {
            // Where the store is what failed this fails too, and the next start ends the run.
            let _ = self.store.reconcile_fail(wanted.run, &connector_api::chain(error)).await;
        }
        done
    }

    async fn compare(
        &self,
        poller: &mut dyn Poller,
        wanted: Wanted,
        lags: Lags,
        stop: &CancellationToken,
    ) -> Result<RoundReport, RoundError> {
        let Wanted { run, period } = wanted;
        self.store.reconcile_begin(run).await.map_err(RoundError::Store)?;
        // What the next round would read is no difference.
        self.changes(poller, stop).await?;
        let (mut report, mut finished) = (RoundReport::default(), Finished::default());
        let mut look = Look::default();
        let mut after = None;
        loop {
            let request = Request::Window { since: period.since, after: after.as_ref() };
            let batch = self.fetch(poller, request).await?;
            after = batch.next;
            report.read += batch.records.len() as u64;
            let (incoming, compared) = self.sort(poller, batch.records, &period, &mut look);
            let agreements = self.store.reconcile_compare(run, &self.id, compared).await;
            let agreements = agreements.map_err(RoundError::Store)?;
            let mut again = Vec::new();
            for (record, agreement) in incoming.into_iter().zip(agreements) {
                let Some(record) = record else { continue };
                finished.compared += 1;
                match agreement {
                    Agreement::Agrees => finished.agreed += 1,
                    Agreement::Held => finished.held += 1,
                    Agreement::Missing => finished.missing += 1,
                    Agreement::Differs => finished.differing += 1,
                }
                if matches!(agreement, Agreement::Missing | Agreement::Differs) {
                    again.push(record);
                }
            }
            if !again.is_empty() {
                // Their entities may be new to the ledger: they are there, and not extra.
                let there: Vec<Compared> = again.iter().map(|record| Compared::of(record).only_seen()).collect();
                let batch = IncomingBatch { stream: self.id.clone(), records: again, advance: None, snapshot: None };
                let committed = self.store.commit(batch).await.map_err(RoundError::Store)?;
                let new = new_records(&committed.receipts);
                let noted = self.store.reconcile_compare(run, &self.id, there).await;
                noted.map_err(RoundError::Store)?;
                finished.repaired += new;
                report.new += new;
                self.store.judge(&self.id, Moment::Batch).await.map_err(RoundError::Store)?;
            }
            self.told(poller).await?;
            if after.is_none() {
                break;
            }
            if stop.is_cancelled() {
                self.store.reconcile_fail(run, "cut off by a stop").await.map_err(RoundError::Store)?;
                return Ok(report);
            }
        }
        finished.note = match (look.timed, look.untimed, look.nameless) {
            (_, _, true) => Some("a record without identity could be any of those that seem to be extra: none is told"),
            (_, true, _) => Some(UNTIMED),
            _ => None,
        }
        .map(str::to_owned);
        if look.timed && !look.untimed && !look.nameless {
            finished.extra = self.extra(poller, wanted).await?;
        }
        let (missing, differing, extra) = (finished.missing, finished.differing, finished.extra);
        let ended = self.store.reconcile_end(run, finished, Some(overdue(&self.clock, lags))).await;
        ended.map_err(RoundError::Store)?;
        if missing + differing + extra > 0 {
            tracing::warn!(stream = %self.id, run, missing, differing, extra, "the source and the ledger differed");
        }
        Ok(report)
    }

    /// Makes of records what a commit takes, and what is compared. A record outside of the period is only noted as
    /// there: `None`.
    fn sort(
        &self,
        poller: &mut dyn Poller,
        records: Vec<Record>,
        period: &Period,
        look: &mut Look,
    ) -> (Vec<Option<Incoming>>, Vec<Compared>) {
        let mut incoming = Vec::with_capacity(records.len());
        let mut compared = Vec::with_capacity(records.len());
        for record in records {
            let time = record.document.as_ref().ok().and_then(|document| poller.time_of(document));
            look.timed |= time.is_some();
            look.untimed |= time.is_none() && record.document.is_ok();
            let record = self.normaliser.received(record);
            let nameless = |outcome: &Outcome| matches!(outcome, Outcome::Held(held) if held.key.is_none());
            look.nameless |= record.outcomes.iter().any(nameless);
            let inside = time.is_none_or(|time| period.has(time));
            compared.push(if inside { Compared::of(&record) } else { Compared::of(&record).only_seen() });
            incoming.push(inside.then_some(record));
        }
        (incoming, compared)
    }

    /// Notes what the ledger has of the period and the source has not; answers how many.
    async fn extra(&self, poller: &mut dyn Poller, wanted: Wanted) -> Result<u64, RoundError> {
        let Wanted { run, period } = wanted;
        let since = period.utc(self.zone).0 - CLOCKS_DIFFER;
        let (mut after, mut extra) = (0, 0);
        loop {
            let stream = self.id.clone();
            let unseen = move |reader: &store::Reader| reader.reconcile_unseen(run, &stream, since, after, PAGE);
            let unseen = self.store.read(unseen).await.map_err(RoundError::Store)?;
            let Some((last, _)) = unseen.last() else { return Ok(extra) };
            after = *last;
            let is_extra = |(entity, record): &(i64, Option<store::ArchivedRecord>)| {
                let document = self.reconcile.decoder.decode(&record.as_ref()?.raw).ok()?;
                poller.time_of(&document).filter(|time| period.has(*time)).map(|_| *entity)
            };
            let found: Vec<i64> = unseen.iter().filter_map(is_extra).collect();
            extra += found.len() as u64;
            if !found.is_empty() {
                self.store.reconcile_extra(run, &self.id, found).await.map_err(RoundError::Store)?;
            }
        }
    }
}

/// What a reading showed of what can be compared.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    timed: bool,
    untimed: bool,
    nameless: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: Tz = chrono_tz::Asia::Shanghai;

    fn at(text: &str) -> NaiveDateTime {
        read_time(text).unwrap()
    }

    fn now(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn a_period_ends_with_a_day_of_the_hospital_that_is_over() {
        let (week, hour) = (Duration::from_secs(7 * 86_400), Duration::from_secs(3600));
        // 00:30 in Shanghai: yesterday is over, and not yet closed.
        let period = Period::last(now("2026-11-20T00:30:00+08:00"), ZONE, week, hour);
        assert_eq!(period, Period { since: at("2026-11-12"), until: at("2026-11-19") });
        let period = Period::last(now("2026-11-20T01:00:00+08:00"), ZONE, week, hour);
        assert_eq!(period, Period { since: at("2026-11-13"), until: at("2026-11-20") });
        let period = Period::last(now("2026-11-20T09:50:00+08:00"), ZONE, 6 * hour, hour);
        assert_eq!(period, Period { since: at("2026-11-20 02:00"), until: at("2026-11-20 08:00") });
        assert_eq!(period.utc(ZONE).1, now("2026-11-20T08:00:00+08:00"));
    }

    #[test]
    fn a_period_that_is_not_closed_is_refused() {
        let hour = Duration::from_secs(3600);
        let ask = |since, until| Period::asked(at(since), at(until), now("2026-11-20T12:00:00+08:00"), ZONE, hour);
        assert!(ask("2026-11-19", "2026-11-20 11:00").is_ok());
        assert_eq!(ask("2026-11-19", "2026-11-20 11:01"), Err(NoPeriod::Open(at("2026-11-20 11:00"))));
        assert_eq!(ask("2026-11-20", "2026-11-20"), Err(NoPeriod::Empty));
    }

    #[test]
    fn times_are_read_with_and_without_an_hour() {
        assert_eq!(at("2026-11-20T08:05:06"), at("2026-11-20 08:05:06"));
        assert_eq!(at("2026-11-20"), at("2026-11-20 00:00"));
        assert_eq!(read_time("20.11.2026"), None);
    }
}
