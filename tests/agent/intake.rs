//! One polled stream under a clock that the test sets, with a real store and a source that the test plays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use connector_api::{
    Advance, Batch, CancellationToken, Cursor, FaultClass, Flow, Mode, Poller, Probe, Record, Request, SourceError,
    SourceId, StreamId, Value, Watermark, async_trait,
};
use hisync::agent::sources::normaliser;
use hisync::agent::supervisor::Supervisor;
use hisync::clock::Clock;
use hisync::intake::poll::NeedsRebuild;
use hisync::intake::{
    Board, Gate, Normaliser, PollStream, Reconcile, RoundReport, RoundRequest, Schedule, SourceBreaker, StreamStatus,
};
use hisync::mapping::Composer;
use hisync::sandbox::hospital::report_rows;
use hisync::store::{Options, Reader, SnapshotPolicy, Store};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::support::{REPORTS, Site, eventually, visit};

const ZONE: chrono_tz::Tz = chrono_tz::Asia::Shanghai;

/// What the stream asked its source for.
#[derive(Debug, PartialEq)]
enum Asked {
    Changes { from: Watermark, after: Option<Cursor> },
    Snapshot { after: Option<Cursor> },
    Window { since: String },
}

/// A question of the stream; the test answers as the source.
struct Call {
    asked: Asked,
    answer: oneshot::Sender<Result<Batch, SourceError>>,
}

impl Call {
    fn answer(self, answer: Result<Batch, SourceError>) {
        self.answer.send(answer).unwrap();
    }
}

/// A poller whose source is the test.
struct Played(mpsc::Sender<Call>);

#[async_trait]
impl Poller for Played {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::default())
    }

    async fn fetch(&mut self, request: Request<'_>, _: usize) -> Result<Batch, SourceError> {
        let asked = match request {
            Request::Changes { from, after } => Asked::Changes { from: from.clone(), after: after.cloned() },
            Request::Snapshot { after } => Asked::Snapshot { after: after.cloned() },
            Request::Window { since, .. } => Asked::Window { since: since.to_string() },
        };
        let (answer, answered) = oneshot::channel();
        self.0.send(Call { asked, answer }).await.unwrap();
        answered.await.unwrap()
    }
}

/// A stream with all that it needs.
struct Stage {
    site: Site,
    _store_folder: TempDir,
    stream: Arc<PollStream>,
    free: Arc<AtomicU64>,
    clock: Clock,
    ask: mpsc::Sender<RoundRequest>,
    calls: mpsc::Receiver<Call>,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), NeedsRebuild>>,
}

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn daily(hour: u32) -> Schedule {
    Schedule::new(format!("0 0 {hour} * * *").parse().unwrap(), ZONE)
}

fn reports_normaliser(site: &Site) -> Normaliser {
    let config = site.load();
    let source = &config.sources[0];
    let stream = source.streams.iter().find(|stream| stream.id.as_str() == REPORTS).unwrap();
    normaliser(&config, source, stream)
}

impl Stage {
    /// A stream that is read at 03:00 of the hospital, and once at the start. It is noon.
    async fn new(mode: Mode) -> Stage {
        let mut stage = Stage::still(mode, None).await;
        stage.run();
        stage
    }

    async fn still(mode: Mode, sweep: Option<(Schedule, Duration)>) -> Stage {
        let site = Site::new().await;
        let folder = TempDir::new().unwrap();
        let clock = Clock::manual(at("2026-11-20T12:00:00+08:00"));
        let options = Options { hospital: "demo-001".into(), agent_version: "0".into(), lane: None };
        let store = Store::open(folder.path(), options, Arc::new(Composer), clock.clone()).unwrap();
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let measured = free.clone();
        let id = StreamId::parse(REPORTS).unwrap();
        let board = Board::default();
        let normaliser = reports_normaliser(&site);
        board.add(id.clone(), "played", hisync::model::EntityType::ExamReport, mode, normaliser.version());
        let stream = PollStream {
            id,
            mode,
            schedule: daily(3),
            sweep,
            zone: ZONE,
            batch_size: 100,
            snapshot: SnapshotPolicy::default(),
            normaliser,
            store,
            gate: Arc::new(Gate::measured(1_000, move || Some(measured.load(Ordering::SeqCst)))),
            breaker: SourceBreaker::new(SourceId::new("peis"), clock.clone()),
            board,
            clock: clock.clone(),
            reconcile: Reconcile { policy: None, decoder: connector_api::DocumentDecoder::shared() },
        };
        Stage {
            site,
            _store_folder: folder,
            stream: Arc::new(stream),
            free,
            clock,
            ask: mpsc::channel(1).0,
            calls: mpsc::channel(1).1,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    fn run(&mut self) {
        let (sender, calls) = mpsc::channel(1);
        self.calls = calls;
        self.run_with(Box::new(Played(sender)));
    }

    fn run_with(&mut self, mut poller: Box<dyn Poller>) {
        let (ask, mut requests) = mpsc::channel(8);
        self.ask = ask;
        let (stream, stop) = (self.stream.clone(), self.stop.clone());
        self.tasks.spawn(async move { stream.run(poller.as_mut(), &mut requests, &stop).await });
    }

    /// The next question to the source.
    async fn call(&mut self) -> Call {
        self.calls.recv().await.unwrap()
    }

    fn status(&self) -> StreamStatus {
        self.stream.board.all().remove(0)
    }

    async fn reaches(&self, state: &str) -> StreamStatus {
        // The state is set before the next time: both belong to what is waited for.
        let there = |status: StreamStatus| {
            status.state.as_str() == state && status.next_at.is_some_and(|at| at > self.clock.now())
        };
        eventually(state, async || there(self.status())).await;
        self.status()
    }

    /// How long from now until the stream is asked next.
    fn next_in(&self) -> TimeDelta {
        self.status().next_at.unwrap() - self.clock.now()
    }

    /// Lets this much time pass, and the fraction of a microsecond that a set clock drops.
    fn pass(&self, time: TimeDelta) {
        self.clock.set(self.clock.now() + time + TimeDelta::microseconds(1));
    }

    async fn watermark(&self) -> Watermark {
        self.stream.store.watermark(&self.stream.id).await.unwrap()
    }

    async fn records(&self) -> i64 {
        let overview = self.stream.store.read(Reader::overview).await.unwrap();
        overview.streams.iter().map(|stream| stream.records).sum()
    }

    fn request(&self) -> oneshot::Receiver<Result<RoundReport, String>> {
        let (answer, answered) = oneshot::channel();
        self.ask.try_send(RoundRequest::Read(answer)).unwrap();
        answered
    }

    async fn stopped(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}

fn records(range: std::ops::Range<usize>) -> Vec<Record> {
    let documents = report_rows(7, range.end).skip(range.start);
    documents.map(|document| Record::from_document(document, "V_体检报告")).collect()
}

fn mark(n: i64) -> Watermark {
    Watermark::at(vec![Value::Integer(n)])
}

/// A page that moves the watermark, with or without another behind it.
fn page(range: std::ops::Range<usize>, from: Watermark, to: Watermark, next: Option<i64>) -> Batch {
    Batch {
        records: records(range),
        advance: Some(Advance { from, to }),
        next: next.map(|n| Cursor(vec![Value::Integer(n)])),
        counted: None,
    }
}

fn empty() -> Batch {
    Batch::default()
}

#[tokio::test(start_paused = true)]
async fn each_page_is_committed_with_its_watermark_before_the_next_is_asked_for() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let first = stage.call().await;
    assert_eq!(first.asked, Asked::Changes { from: Watermark::start(), after: None });
    first.answer(Ok(page(0..2, Watermark::start(), mark(2), Some(2))));
    let second = stage.call().await;
    assert_eq!(second.asked, Asked::Changes { from: mark(2), after: Some(Cursor(vec![Value::Integer(2)])) });
    assert_eq!((stage.watermark().await, stage.records().await), (mark(2), 2));
    second.answer(Ok(page(2..3, mark(2), mark(3), None)));
    let status = stage.reaches("waiting").await;
    assert_eq!((status.rounds, status.records, status.failures), (1, 3, 0));
    assert_eq!((stage.watermark().await, stage.records().await), (mark(3), 3));
    assert_eq!(stage.status().next_at, Some(at("2026-11-21T03:00:00+08:00")));
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_a_round_between_two_pages() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let first = stage.call().await;
    stage.stop.cancel();
    first.answer(Ok(page(0..2, Watermark::start(), mark(2), Some(2))));
    assert!(stage.tasks.join_next().await.unwrap().unwrap().is_ok());
    assert_eq!((stage.watermark().await, stage.records().await), (mark(2), 2));
    assert!(stage.calls.recv().await.is_none(), "no page is asked for after the stop");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_passes_is_tried_again_ever_more_seldom() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let mut longest = TimeDelta::zero();
    for n in 0..14_u32 {
        let error = SourceError::retry(FaultClass::Unreachable, "connect to the database");
        stage.call().await.answer(Err(error));
        eventually("the failure to show", async || stage.status().failures == n + 1).await;
        let status = stage.reaches("failing").await;
        assert_eq!(status.failure.unwrap().class, "unreachable");
        let wait = stage.next_in();
        assert!(wait <= TimeDelta::seconds((2 << n.min(8)).min(300)), "{wait} after {n} failures");
        longest = longest.max(wait);
        stage.pass(wait);
    }
    assert!(longest > TimeDelta::seconds(30), "{longest}");
    stage.call().await.answer(Ok(empty()));
    let status = stage.reaches("waiting").await;
    assert_eq!((status.failures, status.failure), (0, None));
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_the_source_asks_for_is_kept() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let mut error = SourceError::retry(FaultClass::Other, "read a page");
    error.action = connector_api::Action::Retry { after: Some(Duration::from_secs(3_600)) };
    stage.call().await.answer(Err(error));
    stage.reaches("failing").await;
    assert!(stage.next_in() >= TimeDelta::hours(1));
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_needs_a_person_waits_half_an_hour_or_for_that_person() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let error = || SourceError::stop(FaultClass::Login, "log in").hint("ask for the password");
    stage.call().await.answer(Err(error()));
    let status = stage.reaches("stopped").await;
    assert_eq!(status.failure.unwrap().hint.as_deref(), Some("ask for the password"));
    assert_eq!(stage.next_in(), TimeDelta::minutes(30));
    // Somebody repaired it and asks for a round.
    let answered = stage.request();
    stage.call().await.answer(Err(error()));
    assert!(answered.await.unwrap().is_err());
    // Nobody asks: it tries by itself.
    stage.reaches("stopped").await;
    stage.pass(TimeDelta::minutes(30));
    stage.call().await.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_never_answers_is_given_up_and_built_anew() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let began = tokio::time::Instant::now();
    let unanswered = stage.call().await;
    assert!(stage.tasks.join_next().await.unwrap().unwrap().is_err(), "the stream asks for another poller");
    assert!(began.elapsed() >= Duration::from_secs(15 * 60));
    let status = stage.status();
    assert_eq!((status.state.as_str(), status.failure.unwrap().class.as_str()), ("failing", "timeout"));
    drop(unanswered);
    // What the supervisor does then.
    stage.run();
    stage.call().await.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.stopped().await;
}

/// Panics so many times before its source answers.
struct Panicking(Arc<AtomicU64>);

#[async_trait]
impl Poller for Panicking {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::default())
    }

    async fn fetch(&mut self, _: Request<'_>, _: usize) -> Result<Batch, SourceError> {
        assert!(self.0.fetch_add(1, Ordering::SeqCst) >= 2, "on purpose");
        Ok(page(0..1, Watermark::start(), mark(1), None))
    }
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_panics_is_started_again_and_touches_no_other_stream() {
    let stage = Stage::still(Mode::Incremental, None).await;
    let mut healthy = Stage::new(Mode::Incremental).await;
    let supervisor = Supervisor::new(stage.clock.clone());
    let (stream, stop, fetches) = (stage.stream.clone(), stage.stop.clone(), Arc::new(AtomicU64::new(0)));
    let task = supervisor.spawn("stream peis/reports", stop.clone(), move || {
        let (stream, stop, mut poller) = (stream.clone(), stop.clone(), Panicking(fetches.clone()));
        async move {
            let (_ask, mut requests) = mpsc::channel(1);
            stream.run(&mut poller, &mut requests, &stop).await.map_err(|error| error.to_string())
        }
    });
    stage.reaches("waiting").await;
    assert_eq!((stage.watermark().await, stage.records().await), (mark(1), 1));
    let status = supervisor.statuses().remove(0);
    assert_eq!((status.restarts, status.panics), (2, 2));
    healthy.call().await.answer(Ok(empty()));
    assert_eq!(healthy.reaches("waiting").await.failures, 0);
    stage.stop.cancel();
    assert!(task.ended_by(tokio::time::Instant::now() + Duration::from_secs(5)).await);
    healthy.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_contradicts_the_sources_count_is_refused() {
    let mut stage = Stage::new(Mode::Snapshot).await;
    let snapshot = |counted| Batch { records: records(0..2), counted: Some(counted), ..Batch::default() };
    let call = stage.call().await;
    assert_eq!(call.asked, Asked::Snapshot { after: None });
    call.answer(Ok(snapshot(3)));
    let status = stage.reaches("failing").await;
    assert_eq!(status.failure.unwrap().class, "data");
    assert_eq!(stage.records().await, 0, "nothing of it is committed");
    stage.pass(stage.next_in());
    stage.call().await.answer(Ok(snapshot(2)));
    stage.reaches("waiting").await;
    assert_eq!(stage.records().await, 2);
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn below_the_disks_floor_no_page_is_asked_for() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let first = stage.call().await;
    stage.free.store(999, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(2)).await;
    first.answer(Ok(page(0..2, Watermark::start(), mark(2), Some(2))));
    let status = stage.reaches("paused").await;
    assert_eq!(status.failure.unwrap().class, "disk-floor");
    assert_eq!(stage.watermark().await, mark(2), "what was asked for is committed");
    stage.pass(stage.next_in());
    tokio::time::advance(Duration::from_secs(30)).await;
    assert!(stage.calls.try_recv().is_err());
    // A tenth more than the floor: it does not flap.
    stage.free.store(1_100, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(2)).await;
    stage.pass(TimeDelta::minutes(1));
    let next = stage.call().await;
    assert_eq!(next.asked, Asked::Changes { from: mark(2), after: None });
    next.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_round_that_is_asked_for_begins_after_the_question() {
    let mut stage = Stage::new(Mode::Incremental).await;
    let running = stage.call().await;
    let (mut first, second) = (stage.request(), stage.request());
    running.answer(Ok(page(0..1, Watermark::start(), mark(1), None)));
    let call = stage.call().await;
    assert!(first.try_recv().is_err(), "the round that ran already is no answer");
    call.answer(Ok(page(1..3, mark(1), mark(3), None)));
    let both = RoundReport { read: 2, new: 2 };
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Ok(both), Ok(both)));
    assert_eq!(stage.reaches("waiting").await.rounds, 2, "one round answers both");
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_turned_back_puts_no_round_off() {
    let mut stage = Stage::new(Mode::Incremental).await;
    stage.call().await.answer(Ok(empty()));
    stage.reaches("waiting").await;
    // The machine's clock had been a year ahead.
    stage.clock.set(at("2025-11-20T12:00:00+08:00"));
    stage.call().await.answer(Ok(empty()));
    eventually("the second round to end", async || stage.status().rounds == 2).await;
    stage.reaches("waiting").await;
    assert_eq!(stage.status().next_at, Some(at("2025-11-21T03:00:00+08:00")));
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_fails_is_tried_again_and_delays_no_regular_round() {
    let sweep = (daily(2), Duration::from_secs(30 * 86_400));
    let mut stage = Stage::still(Mode::Incremental, Some(sweep)).await;
    stage.run();
    stage.call().await.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.clock.set(at("2026-11-21T02:00:00+08:00"));
    let call = stage.call().await;
    assert_eq!(call.asked, Asked::Window { since: "2026-10-22 02:00:00".to_owned() });
    call.answer(Err(SourceError::retry(FaultClass::Timeout, "read a window")));
    stage.reaches("failing").await;
    assert_eq!(stage.status().next_at, Some(at("2026-11-21T03:00:00+08:00")));
    stage.pass(TimeDelta::minutes(6));
    let call = stage.call().await;
    assert!(matches!(call.asked, Asked::Window { .. }), "{:?}", call.asked);
    call.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.clock.set(at("2026-11-21T03:00:00+08:00"));
    let call = stage.call().await;
    assert!(matches!(call.asked, Asked::Changes { .. }), "{:?}", call.asked);
    call.answer(Ok(empty()));
    stage.reaches("waiting").await;
    stage.stopped().await;
}

#[tokio::test(start_paused = true)]
async fn a_sweep_finds_an_edit_that_left_the_timestamp_alone() {
    let sweep = (daily(2), Duration::from_secs(30 * 86_400));
    let mut stage = Stage::still(Mode::Incremental, Some(sweep)).await;
    let mut edited = visit(0);
    stage.site.conclude(&edited, 9, None);
    let source = &stage.site.load().sources[0];
    let Flow::Poll(pollers) = source.build(stage.site.folder.path()).unwrap().flow else { panic!("it polls") };
    let of_reports = pollers.into_iter().find(|poller| poller.stream == stage.stream.id).unwrap();
    stage.run_with(of_reports.poller);
    eventually("the first round", async || stage.status().rounds == 1).await;
    assert_eq!(stage.records().await, 1);
    // A result is edited; the report's update time, 09:00, stays.
    let sex = edited.person.sex;
    edited.order_mut("002001").unwrap().results[0].correct("11.20", sex);
    // Behind another report's time, so that the lag does not reach it.
    stage.site.conclude(&edited, 9, None);
    stage.clock.set(at("2026-11-21T02:00:00+08:00"));
    eventually("the sweep", async || stage.status().rounds == 2).await;
    assert_eq!(stage.records().await, 2);
    stage.stopped().await;
}
