//! The one thread that writes, and the transaction that waiting jobs share.
//!
//! An fsync costs milliseconds on a hospital's disk, so one commit carries every job that waits.
//! One that fails takes only itself back. An answer is given after the COMMIT returned, never
//! before (P1).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::types::ToSqlOutput;
use rusqlite::{Connection, Params, Row, ToSql};
use tokio::sync::{Notify, mpsc, oneshot};

use super::dictionary::Entries;
use super::vault::Vault;
use super::volume::{Backlog, DAY, Volume};
use super::{Error, Options, StartPolicy, onboarding, outbox, query, schema};
use crate::clock::Clock;
use crate::model::{EntityType, SharedComposer};

/// Jobs that may wait; more make their senders wait.
const QUEUE: usize = 256;
/// One commit carries at most about so many records: bounds both latency and the WAL's growth.
const GROUP_WEIGHT: usize = 1000;

/// Work that can wait runs after so many groups at the latest, however busy the writer is.
const PATIENCE: usize = 64;

/// What the writer and every handle know.
pub(super) struct Shared {
    pub(super) path: PathBuf,
    /// The keys that the store was opened with.
    pub(super) vault: Arc<Vault>,
    pub(super) options: Options,
    pub(super) composer: SharedComposer,
    pub(super) clock: Clock,
    /// Rung when an entry may have become due.
    pub(super) work: Notify,
    /// How new streams are judged before they deliver.
    pub(super) starts: Mutex<HashMap<String, StartPolicy>>,
    /// Rung when something that must not wait behind others has been queued.
    pub(super) urgent: Signal,
    /// Rung when a file is to be sent.
    pub(super) files: Signal,
    /// Entries of dictionaries that were looked up.
    pub(super) entries: Entries,
    /// What waits to be delivered.
    pub(super) backlog: Backlog,
    /// The highest sequence that upstream is known to have: no event is made at or below it.
    pub(super) floor: AtomicI64,
    /// The latest time at which something was claimed, in microseconds.
    pub(super) latest: AtomicI64,
    /// The configuration in force, by its row; 0 where nobody said.
    pub(super) config: AtomicI64,
}

/// A clock that is set back by less is being adjusted: what that puts off comes soon enough.
const SET_BACK: i64 = 60 * 1_000_000;

impl Shared {
    /// True from the moment at which the clock was set back until [`Shared::follow_clock`].
    pub(super) fn clock_went_back(&self, now: i64) -> bool {
        self.latest.fetch_max(now, Ordering::Relaxed) > now.saturating_add(SET_BACK)
    }

    /// What the clock said before is forgotten.
    pub(super) fn follow_clock(&self, now: i64) {
        self.latest.store(now, Ordering::Relaxed);
    }
}

/// Raised inside a transaction, rung once it stands.
#[derive(Default)]
pub(super) struct Signal {
    raised: AtomicBool,
    bell: Notify,
}

impl Signal {
    /// To be rung after the commit. A transaction that fails rings for nothing, which does no harm.
    pub(super) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
    }

    fn ring(&self) {
        if self.raised.swap(false, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }

    /// Returns when it has rung since the last return. For one waiter.
    pub(super) async fn heard(&self) {
        self.bell.notified().await;
    }
}

/// What a sum counts: something of a stream, the outbox, or held items.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Stream(i64),
    Outbox,
    OutboxBytes,
    Held,
}

impl ToSql for Scope {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Scope::Stream(id) => id.to_string().into(),
            Scope::Outbox => "outbox".into(),
            Scope::OutboxBytes => "outbox-bytes".into(),
            Scope::Held => "held".into(),
        })
    }
}

/// Changes of the sums in `counter`, collected so that a group writes each once.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<(Scope, &'static str, Cow<'static, str>), i64>);

impl Tally {
    fn add(&mut self, scope: Scope, kind: &'static str, name: &str, n: i64) {
        // Hundreds of times in a batch, so without a copy of the usual names.
        const NAMES: [&str; 8] =
            ["source", "queued", "claimed", "inflight", "waiting", "delivered", "unchanged", "held"];
        let usual = NAMES.into_iter().find(|usual| *usual == name);
        let name = usual.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed);
        *self.0.entry((scope, kind, name)).or_default() += n;
    }

    fn merge(&mut self, other: Tally) {
        for (counter, n) in other.0 {
            *self.0.entry(counter).or_default() += n;
        }
    }

    /// By how much undelivered events and their bytes grow.
    fn backlog(&self) -> (i64, i64) {
        let sum = |of: &dyn Fn(Scope, &str) -> bool| {
            self.0.iter().filter(|((scope, _, name), _)| of(*scope, name)).map(|(_, n)| n).sum()
        };
        (
            sum(&|scope, name| scope == Scope::Outbox && !matches!(name, "delivered" | "held")),
            sum(&|scope, _| scope == Scope::OutboxBytes),
        )
    }

    fn write(self, conn: &Connection) -> Result<(), Error> {
        let failed = || Error::sqlite("update the sums");
        let mut statement = conn
            .prepare_cached(
                "INSERT INTO counter (scope, kind, name, n) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET n = n + excluded.n",
            )
            .map_err(failed())?;
        for ((scope, kind, name), n) in self.0.into_iter().filter(|(_, n)| *n != 0) {
            statement.execute((scope, kind, &*name, n)).map_err(failed())?;
        }
        Ok(())
    }
}

/// What batches add to a stream's row.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) records: i64,
    pub(super) resent: i64,
    pub(super) reread: i64,
    pub(super) received_at: Option<i64>,
    pub(super) committed_at: i64,
}

impl Progress {
    fn merge(&mut self, later: Progress) {
        self.records += later.records;
        self.resent += later.resent;
        self.reread += later.reread;
        self.received_at = later.received_at.or(self.received_at);
        self.committed_at = later.committed_at;
    }

    pub(super) fn write(self, conn: &Connection, stream: i64) -> Result<(), Error> {
        let failed = || Error::sqlite("update the stream");
        let sql = "UPDATE stream SET records = records + ?2, resent = resent + ?3, reread = reread + ?4,
                     last_received_at = coalesce(?5, last_received_at), last_commit_at = ?6 WHERE id = ?1";
        let mut statement = conn.prepare_cached(sql).map_err(failed())?;
        let values = (stream, self.records, self.resent, self.reread, self.received_at, self.committed_at);
        statement.execute(values).map_err(failed())?;
        Ok(())
    }
}

/// What is named by text outside and by a row's id inside.
#[derive(Clone, Copy)]
pub(super) enum Name {
    Stream,
    Mapping,
}

/// What stays true of rows that are never deleted, known from transactions that stand.
#[derive(Default)]
struct Known {
    /// Ids by text: of streams, of mappings.
    ids: [HashMap<String, i64>; 2],
    /// Streams whose events wait for no judgement (any more).
    delivering: HashSet<i64>,
}

impl Known {
    fn extend(&mut self, other: Known) {
        self.ids.iter_mut().zip(other.ids).for_each(|(own, other)| own.extend(other));
        self.delivering.extend(other.delivering);
    }
}

/// What the jobs of a group add up.
#[derive(Default)]
struct Sums {
    tally: Tally,
    progress: BTreeMap<i64, Progress>,
    volume: BTreeMap<i64, Volume>,
    /// Learnt in this group.
    known: Known,
}

impl Sums {
    fn merge(&mut self, job: Sums) {
        self.tally.merge(job.tally);
        for (stream, progress) in job.progress {
            self.progress.entry(stream).or_default().merge(progress);
        }
        for (day, volume) in job.volume {
            self.volume.entry(day).or_default().merge(volume);
        }
        self.known.extend(job.known);
    }
}

/// What a job sees of the transaction that it runs in.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) shared: &'a Shared,
    /// Microseconds since 1970 UTC; the same for the whole job.
    pub(super) now: i64,
    /// Set where an entry may have become due.
    pub(super) wake: bool,
    /// Entries that a dictionary has (anew), for what waits for them.
    pub(super) arrived: Vec<(EntityType, String)>,
    /// Upstream is told that a group that it has is another one now, or gone.
    pub(super) groups_changed: bool,
    sums: Sums,
    known: [&'a Known; 2],
}

impl<'a> Tx<'a> {
    fn new(conn: &'a Connection, shared: &'a Shared, known: [&'a Known; 2]) -> Tx<'a> {
        Tx {
            conn,
            shared,
            now: shared.clock.now_micros(),
            wake: false,
            arrived: Vec::new(),
            groups_changed: false,
            sums: Sums::default(),
            known,
        }
    }

    fn all_known(&self) -> impl Iterator<Item = &Known> {
        self.known.iter().copied().chain([&self.sums.known])
    }

    /// The id of a row, where this transaction or one before has seen it.
    pub(super) fn known(&self, kind: Name, name: &str) -> Option<i64> {
        self.all_known().find_map(|known| known.ids[kind as usize].get(name)).copied()
    }

    /// Remembers the id of a row; forgotten if this job is rolled back.
    pub(super) fn learn(&mut self, kind: Name, name: &str, id: i64) {
        self.sums.known.ids[kind as usize].insert(name.to_owned(), id);
    }

    /// Whether a stream's events wait until its first sample is judged. Once it delivers it does so for good.
    pub(super) fn waits(&mut self, stream: i64) -> Result<bool, Error> {
        if self.all_known().any(|known| known.delivering.contains(&stream)) {
            return Ok(false);
        }
        let waits = onboarding::waits(self.conn, stream)?;
        if !waits {
            self.sums.known.delivering.insert(stream);
        }
        Ok(waits)
    }

    /// Adds to a stream's row.
    pub(super) fn progress(&mut self, stream: i64, progress: Progress) {
        self.sums.progress.entry(stream).or_default().merge(progress);
    }

    /// Adds to the figures of the archive of the day (since 1970 UTC) on which a record was received, in microseconds.
    pub(super) fn volume(&mut self, received_at: i64, volume: Volume) {
        self.sums.volume.entry(received_at.div_euclid(DAY)).or_default().merge(volume);
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) fn run(&self, operation: &'static str, sql: &str, params: impl Params) -> Result<usize, Error> {
        let mut statement = self.conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
        statement.execute(params).map_err(Error::sqlite(operation))
    }

    /// Inserts a row; answers its id.
    pub(super) fn insert(&self, operation: &'static str, sql: &str, params: impl Params) -> Result<i64, Error> {
        self.run(operation, sql, params)?;
        Ok(self.conn.last_insert_rowid())
    }

    /// The first row, where there is one.
    pub(super) fn one<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        query::one(self.conn, operation, sql, params, read)
    }

    /// All rows.
    pub(super) fn all<T>(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        query::all(self.conn, operation, sql, params, read)
    }

    /// Moves a version of a record from one sum to another (P3); `None` on a side is "not counted".
    pub(super) fn count(&mut self, stream: i64, kind: &'static str, from: Option<&str>, to: Option<&str>) {
        let scope = Scope::Stream(stream);
        for (name, n) in [(from, -1), (to, 1)] {
            if let Some(name) = name {
                self.sums.tally.add(scope, kind, name, n);
            }
        }
        let source = i64::from(to.is_some()) - i64::from(from.is_some());
        self.sums.tally.add(scope, kind, "source", source);
    }

    /// Moves outbox entries from one state to another.
    pub(super) fn count_outbox(&mut self, from: Option<&str>, to: &str, n: i64) {
        if let Some(from) = from {
            self.sums.tally.add(Scope::Outbox, "", from, -n);
        }
        self.sums.tally.add(Scope::Outbox, "", to, n);
    }

    /// Adds to the bytes of undelivered events.
    pub(super) fn count_bytes(&mut self, n: i64) {
        self.sums.tally.add(Scope::OutboxBytes, "", "open", n);
    }

    /// Counts open held items.
    pub(super) fn count_held(&mut self, leg: &'static str, reason: &str, n: i64) {
        self.sums.tally.add(Scope::Held, leg, reason, n);
    }
}

/// Work for the writer together with the one who waits for it.
pub(super) trait Job: Send {
    /// About how many records it touches.
    fn weight(&self) -> usize;
    /// Does the work; again from the beginning where it was undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Broken>;
    /// Replaces its result by a failure.
    fn fail(&mut self, error: Error);
    /// Tells the one who waits.
    fn answer(self: Box<Self>);
    /// What it is, for errors.
    fn operation(&self) -> &'static str;
}

/// A job failed.
pub(super) struct Broken {
    /// The failure, where every job of the transaction is lost with it.
    group: Option<Error>,
}

struct Task<T, F> {
    operation: &'static str,
    weight: usize,
    work: F,
    result: Result<T, Error>,
    reply: oneshot::Sender<Result<T, Error>>,
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> Result<T, Error> + Send> Job for Task<T, F> {
    fn weight(&self) -> usize {
        self.weight
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), Broken> {
        self.result = (self.work)(tx);
        match &self.result {
            Ok(_) => Ok(()),
            Err(error) => Err(Broken { group: error.breaks_connection().then(|| error.again()) }),
        }
    }

    fn fail(&mut self, error: Error) {
        self.result = Err(error);
    }

    fn answer(self: Box<Self>) {
        // Whoever asked may have gone away; the work stands all the same.
        let _ = self.reply.send(self.result);
    }

    fn operation(&self) -> &'static str {
        self.operation
    }
}

enum Message {
    Job(Box<dyn Job>),
    /// Work that runs alone, when nothing else waits.
    Later(Box<dyn Job>),
    Close,
}

/// The way to the writer.
#[derive(Clone)]
pub(super) struct Sender(mpsc::Sender<Message>);

impl Sender {
    /// Runs work in a transaction; answers after its COMMIT.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(Message::Job, operation, weight, work).await
    }

    /// Runs work in a transaction of its own when nothing else waits, so that no commit shares its time.
    pub(super) async fn run_later<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(Message::Later, operation, 1, work).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        message: fn(Box<dyn Job>) -> Message,
        operation: &'static str,
        weight: usize,
        work: impl FnMut(&mut Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let task = Task { operation, weight, work, result: Err(Error::RolledBack), reply };
        self.0.send(message(Box::new(task))).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }

    /// Asks the writer to end after what waits before this.
    pub(super) async fn close(&self) {
        let _ = self.0.send(Message::Close).await;
    }
}

/// Starts the thread. It ends when told to, or when the last sender is gone.
pub(super) fn start(conn: Connection, shared: Arc<Shared>, lock: File) -> Result<(Sender, JoinHandle<()>), Error> {
    let (sender, jobs) = mpsc::channel(QUEUE);
    let mut writer = Writer { conn: Some(conn), shared, known: Known::default() };
    let run = move || {
        writer.serve(jobs);
        // Only now may another agent open the store.
        drop(writer);
        drop(lock);
    };
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(run)
        .map_err(|cause| Error::File { operation: "start the store's writer", cause })?;
    Ok((Sender(sender), thread))
}

struct Writer {
    /// `None` after a failure: reopened for the next group.
    conn: Option<Connection>,
    shared: Arc<Shared>,
    known: Known,
}

impl Writer {
    fn serve(&mut self, mut jobs: mpsc::Receiver<Message>) {
        let mut later: VecDeque<Box<dyn Job>> = VecDeque::new();
        // Groups since the first of those that can wait came.
        let mut waited = 0;
        loop {
            // Nothing is waited for while there is work that can wait.
            let first = if later.is_empty() { jobs.blocking_recv() } else { jobs.try_recv().ok() };
            let (mut weight, mut group, mut closing) = (0, Vec::new(), false);
            let mut next = first;
            while let Some(message) = next {
                match message {
                    Message::Job(job) => {
                        weight += job.weight();
                        group.push(job);
                    }
                    Message::Later(job) => later.push_back(job),
                    Message::Close => closing = true,
                }
                next = if weight < GROUP_WEIGHT && !closing { jobs.try_recv().ok() } else { None };
            }
            let ended = group.is_empty() && later.is_empty();
            let idle = group.is_empty();
            if !idle {
                self.commit(group);
                waited = if later.is_empty() { 0 } else { waited + 1 };
            }
            if (idle || waited >= PATIENCE)
                && !closing
                && let Some(job) = later.pop_front()
            {
                self.commit(vec![job]);
                waited = 0;
            }
            // Told to, or the last sender is gone: a receiver that blocks answers nothing only then.
            if closing || ended {
                break;
            }
        }
        if let Some(conn) = self.conn.take() {
            // A failure here costs nothing: the WAL is read at the next start.
            let _ = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn Job>>) {
        match self.transact(&mut group) {
            Ok(true) => self.shared.work.notify_one(),
            Ok(false) => {}
            Err(_) => self.conn = None,
        }
        self.shared.urgent.ring();
        self.shared.files.ring();
        for job in group {
            job.answer();
        }
    }

    /// Runs a group; `Ok(true)` where an entry may have become due. After an error the connection is not used again.
    fn transact(&mut self, group: &mut [Box<dyn Job>]) -> Result<bool, ()> {
        let Writer { conn, shared, known } = self;
        let conn = match conn {
            Some(conn) => conn,
            None => match schema::reopen_writer(&shared.path, &shared.vault) {
                Ok(opened) => {
                    // A commit that failed may stand all the same; then the sums in memory are not those of the file.
                    let _ = shared.backlog.load(&opened);
                    conn.insert(opened)
                }
                Err(error) => {
                    group.iter_mut().for_each(|job| job.fail(error.again()));
                    return Err(());
                }
            },
        };
        let mut done = Vec::with_capacity(group.len());
        let outcome = run_group(conn, shared, known, group, &mut done);
        outcome.map_err(|error| {
            if !conn.is_autocommit() {
                let _ = conn.execute_batch("ROLLBACK");
            }
            // Those that failed by themselves keep their own error.
            for (job, failed_alone) in group.iter_mut().zip(done.into_iter().chain(std::iter::repeat(false))) {
                if !failed_alone {
                    job.fail(error.again());
                }
            }
        })
    }
}

/// Runs and commits a group; `done` gets one entry per job that ran: true where it failed by itself.
///
/// Nearly always no job fails, so they share the transaction without savepoints, for which SQLite would copy each page
/// that a job changes. Where one fails all is undone and done again, each job in a savepoint of its own.
fn run_group(
    conn: &Connection,
    shared: &Shared,
    known: &mut Known,
    group: &mut [Box<dyn Job>],
    done: &mut Vec<bool>,
) -> Result<bool, Error> {
    step(conn, "BEGIN IMMEDIATE")?;
    let ran = match run_jobs(conn, shared, known, group, done, false)? {
        Some(ran) => ran,
        None => {
            done.clear();
            if !conn.is_autocommit() {
                step(conn, "ROLLBACK")?;
            }
            step(conn, "BEGIN IMMEDIATE")?;
            run_jobs(conn, shared, known, group, done, true)?.ok_or(Error::RolledBack)?
        }
    };
    let Ran { sums, wake } = ran;
    let backlog = sums.tally.backlog();
    sums.tally.write(conn)?;
    for (stream, progress) in sums.progress {
        progress.write(conn, stream)?;
    }
    for (day, volume) in sums.volume {
        volume.write(conn, day)?;
    }
    step(conn, "COMMIT")?;
    shared.backlog.add(backlog);
    known.extend(sums.known);
    Ok(wake)
}

fn step(conn: &Connection, sql: &str) -> Result<(), Error> {
    let mut statement = conn.prepare_cached(sql).map_err(Error::sqlite("commit"))?;
    statement.execute(()).map_err(Error::sqlite("commit"))?;
    Ok(())
}

/// What the jobs of a group leave to be written.
#[derive(Default)]
struct Ran {
    sums: Sums,
    wake: bool,
}

/// Runs jobs in the open transaction. With savepoints, one that fails is taken back alone; without, `None` says that
/// one has failed and that nothing of the transaction may stand.
fn run_jobs(
    conn: &Connection,
    shared: &Shared,
    known: &Known,
    group: &mut [Box<dyn Job>],
    done: &mut Vec<bool>,
    savepoints: bool,
) -> Result<Option<Ran>, Error> {
    let mut ran = Ran::default();
    for job in group.iter_mut() {
        if savepoints {
            step(conn, "SAVEPOINT job")?;
        }
        let mut tx = Tx::new(conn, shared, [known, &ran.sums.known]);
        let outcome = catch_unwind(AssertUnwindSafe(|| job.run(&mut tx)));
        let group_lost = match outcome {
            Ok(Ok(())) => {
                let (wake, sums) = (tx.wake, tx.sums);
                ran.wake |= wake;
                ran.sums.merge(sums);
                if savepoints {
                    step(conn, "RELEASE job")?;
                }
                done.push(false);
                continue;
            }
            Ok(Err(Broken { group })) => group,
            Err(_) => {
                job.fail(Error::Panicked { operation: job.operation() });
                None
            }
        };
        done.push(true);
        if let Some(error) = group_lost {
            return Err(error);
        }
        if !savepoints {
            return Ok(None);
        }
        // SQLite rolls the whole transaction back on some failures; then nothing is left to go on with.
        if conn.is_autocommit() {
            return Err(Error::RolledBack);
        }
        step(conn, "ROLLBACK TO job")?;
        step(conn, "RELEASE job")?;
    }
    Ok(Some(ran))
}

/// Puts back what a crash left claimed. Called once, before the thread starts.
pub(super) fn recover(conn: &Connection, shared: &Shared) -> Result<(), Error> {
    let step = |sql: &str| conn.execute_batch(sql).map_err(Error::sqlite("recover the outbox"));
    step("BEGIN IMMEDIATE")?;
    let none = Known::default();
    let mut tx = Tx::new(conn, shared, [&none, &none]);
    outbox::unclaim(&mut tx, i64::MAX)?;
    outbox::clock_went_back(&mut tx)?;
    tx.sums.tally.write(conn)?;
    step("COMMIT")?;
    shared.backlog.load(conn)
}
