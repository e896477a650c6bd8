//! The watched folder: what is complete, in which order it goes, and when it is moved.
//!
//! The folder is listed again and again. Notices of the operating system are not relied on, since
//! file shares do not send them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, Discovered, Endpoint, FaultClass, Intake, Listener, Probe, Refusal, SourceError, SourceId,
    async_trait,
};
use tokio::time::Instant;

use crate::folder::{self, Entry, Sealed, Stamp};
use crate::settings::{Complete, Rules, StreamRules};
use crate::{look, take};

/// How long the file system may take for one step. A share that hangs is reported after it.
const STEP: Duration = Duration::from_secs(300);

/// How long a step of the file system may still take once the agent stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// The watcher of one source.
pub(crate) struct Watcher {
    source: SourceId,
    rules: Arc<Rules>,
    seen: HashMap<OsString, Seen>,
    /// What files wait for.
    beside: HashMap<OsString, Beside>,
    /// Markers without a file, as of the pass before.
    orphans: BTreeSet<OsString>,
    unmatched: usize,
}

/// A file as it was first seen in its present state.
struct Seen {
    stamp: Stamp,
    since: Instant,
}

/// Why a step did not do its work.
enum Fault {
    /// The folder as a whole is out of reach.
    Source(SourceError),
    /// One file can't be read, or can't be moved although it is stored.
    File { error: SourceError, stored: bool },
    /// The records were not accepted.
    Refused(Refusal),
    /// The agent stops.
    Stopping,
}

/// What one pass over the folder asks for.
#[derive(Default)]
struct Pass {
    /// A longer pause than usual.
    pause: Option<Duration>,
    /// What went wrong with single files; the others have had their turn.
    failed: Option<SourceError>,
}

/// What became of a file.
enum Fate {
    /// It is stored and moved, with its memo file where it has one.
    Taken(Option<OsString>),
    /// It is being written, or another one of its name has come.
    Changed,
    /// Files that belong to it are not there yet.
    Waits,
}

/// The files that another one waits for, as they were when they last changed.
struct Beside {
    stamp: Stamp,
    paths: Vec<PathBuf>,
    found: Vec<Option<Stamp>>,
    since: Instant,
}

impl Watcher {
    pub(crate) fn new(source: SourceId, rules: Rules) -> Watcher {
        let (seen, orphans, beside) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        Watcher { source, rules: Arc::new(rules), seen, beside, orphans, unmatched: 0 }
    }

    /// Takes every complete file once.
    async fn pass(&mut self, intake: &dyn Intake, stop: &CancellationToken) -> Result<Pass, Fault> {
        let rules = Arc::clone(&self.rules);
        let entries = step(stop, move || folder::list(&rules.folder)).await?;
        let entries = entries.map_err(|error| Fault::Source(listing_failed(error)))?;
        let mut present: HashSet<OsString> = entries.iter().map(|entry| entry.name.clone()).collect();
        let ready = self.ready(entries, &present, Instant::now());
        self.put_away_orphans(&present, stop).await?;
        let mut pass = Pass::default();
        // Streams with a file that was not stored. A later file must not overtake it: it may correct it.
        let mut blocked = HashSet::new();
        for (entry, at) in ready {
            if stop.is_cancelled() {
                return Err(Fault::Stopping);
            }
            let rules = Arc::clone(&self.rules);
            let stream = &rules.streams[at];
            if blocked.contains(&at) {
                continue;
            }
            match self.take(&entry, stream, &present, intake, stop).await {
                Ok(Fate::Changed) => {}
                Ok(Fate::Waits) => {
                    blocked.insert(at);
                }
                Ok(Fate::Taken(memo)) => {
                    present.remove(&entry.name);
                    if let Some(memo) = memo {
                        present.remove(&memo);
                    }
                    self.seen.remove(&entry.name);
                    self.put_away_marker(&entry.name, &present, stop).await?;
                }
                Err(Fault::File { error, stored }) => {
                    tracing::warn!(source = %self.source, stream = %stream.id, error = error.chain(), "a file stays");
                    pass.failed.get_or_insert(error);
                    if !stored {
                        blocked.insert(at);
                    }
                }
                Err(Fault::Refused(Refusal::Busy { reason, retry_after })) => {
                    tracing::warn!(source = %self.source, stream = %stream.id, reason, "files wait: the agent is busy");
                    pass.pause = Some(retry_after);
                    return Ok(pass);
                }
                Err(Fault::Refused(refusal @ Refusal::Failed { .. })) => {
                    tracing::error!(source = %self.source, stream = %stream.id, %refusal, "a file was not stored");
                    blocked.insert(at);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(pass)
    }

    /// The complete files of the streams, oldest first.
    fn ready(&mut self, entries: Vec<Entry>, present: &HashSet<OsString>, now: Instant) -> Vec<(Entry, usize)> {
        self.seen.retain(|name, _| present.contains(name));
        self.beside.retain(|name, _| present.contains(name));
        let mut ready = Vec::new();
        let mut unmatched = 0;
        for entry in entries {
            if self.rules.ignore.is_match(&entry.name) || self.is_marker(&entry.name) {
                continue;
            }
            let Some(at) = self.rules.stream_of(&entry.name) else {
                unmatched += 1;
                continue;
            };
            let fresh = || Seen { stamp: entry.stamp, since: now };
            let seen = self.seen.entry(entry.name.clone()).or_insert_with(fresh);
            if seen.stamp != entry.stamp {
                *seen = fresh();
            }
            let complete = match &self.rules.complete {
                Complete::Stable { secs } => now.duration_since(seen.since) >= Duration::from_secs(*secs),
                Complete::Marker { .. } => self.marker(&entry.name).is_some_and(|marker| present.contains(&marker)),
                Complete::Renamed {} => true,
            };
            if complete {
                ready.push((entry, at));
            }
        }
        if unmatched != self.unmatched {
            tracing::warn!(source = %self.source, files = unmatched, "files match no stream's patterns and stay");
            self.unmatched = unmatched;
        }
        ready.sort_by(|(a, _), (b, _)| (a.stamp.changed, &a.name).cmp(&(b.stamp.changed, &b.name)));
        ready
    }

    /// Stores a file's records, then moves it.
    async fn take(
        &mut self,
        entry: &Entry,
        stream: &StreamRules,
        present: &HashSet<OsString>,
        intake: &dyn Intake,
        stop: &CancellationToken,
    ) -> Result<Fate, Fault> {
        // While something is awaited, the file itself need not be read again and again.
        let mut there = Vec::new();
        if let Some(beside) = self.beside.get(&entry.name).filter(|beside| beside.stamp == entry.stamp) {
            there = beside.paths.clone();
            if !self.is_complete_beside(entry, stream, there.clone(), stop).await? {
                return Ok(Fate::Waits);
            }
        }
        let (rules, file) = (Arc::clone(&self.rules), entry.clone());
        let read = step(stop, move || take::read(&rules, &file)).await?;
        let read = read.map_err(|error| Fault::File { error: file_failed("read a file", error), stored: false })?;
        let Some(file) = read else { return Ok(Fate::Changed) };

        let mut memo = None;
        if file.needs_memo(stream) {
            let name = memo_of(&entry.name, present);
            let path = self.rules.folder.join(&name);
            if !there.contains(&path) && !self.is_complete_beside(entry, stream, vec![path.clone()], stop).await? {
                return Ok(Fate::Waits);
            }
            memo = Some((name, path));
        }
        let (own, limit, path) =
            (stream.clone(), self.rules.max_file_bytes, memo.as_ref().map(|(_, path)| path.clone()));
        let said = step(stop, move || file.said(&own, path.as_deref(), limit)).await?;
        let mut file = said.map_err(|error| Fault::File { error: file_failed("read a file", error), stored: false })?;
        let named = file.named_paths();
        if !named.is_empty() {
            // All that is awaited is one list, so that waiting for one thing does not begin anew with another.
            let all: Vec<PathBuf> = memo.iter().map(|(_, path)| path.clone()).chain(named).collect();
            if all != there && !self.is_complete_beside(entry, stream, all, stop).await? {
                return Ok(Fate::Waits);
            }
        }

        let (mut count, mut held) = (0, 0);
        let mut moved_after = Vec::new();
        while !file.is_spent() {
            let (rules, own) = (Arc::clone(&self.rules), stream.clone());
            let (rest, group) = step(stop, move || {
                let group = file.next_group(&rules, &own);
                (file, group)
            })
            .await?;
            file = rest;
            let fetching =
                |error| Fault::File { error: file_failed("read a file beside a record", error), stored: false };
            let take::Group { records, settled } = group.map_err(fetching)?;
            moved_after.extend(settled);
            count += records.len();
            held += records.iter().filter(|record| record.document.is_err()).count();
            intake.accept(Some(&stream.id), records).await.map_err(Fault::Refused)?;
        }
        self.beside.remove(&entry.name);
        let tag = file.tag.clone();
        let memo = memo.map(|(name, _)| name).filter(|name| present.contains(name));
        moved_after.extend(file.memo.take());
        let (rules, own, failed) = (Arc::clone(&self.rules), entry.clone(), file.failed);
        let moved = step(stop, move || {
            let dir = if failed { &rules.failed } else { &rules.done };
            settle_all(&rules.folder, &own, &file, &moved_after, dir)
        });
        let (moved, left) = moved
            .await?
            .map_err(|error| Fault::File { error: file_failed("move a file that is stored", error), stored: true })?;
        let (source, stream) = (&self.source, &stream.id);
        if left > 0 {
            tracing::warn!(%source, %stream, file = tag, left, "files beside records were replaced and stay, unread");
        }
        tracing::info!(%source, %stream, file = tag, records = count, held, moved, "file taken");
        Ok(if moved { Fate::Taken(memo) } else { Fate::Changed })
    }

    /// Whether the files that belong to another one are all there and complete, or have been waited
    /// for long enough.
    async fn is_complete_beside(
        &mut self,
        entry: &Entry,
        stream: &StreamRules,
        paths: Vec<PathBuf>,
        stop: &CancellationToken,
    ) -> Result<bool, Fault> {
        let looked = paths.clone();
        let found = step(stop, move || folder::stamps(&looked)).await?;
        let found = found.map_err(|error| Fault::File {
            error: file_failed("look for the files beside a record", error),
            stored: false,
        })?;
        let now = Instant::now();
        let whole = found.iter().all(Option::is_some);
        let fresh = || Beside { stamp: entry.stamp, paths: paths.clone(), found: found.clone(), since: now };
        let beside = self.beside.entry(entry.name.clone()).or_insert_with(fresh);
        if beside.stamp != entry.stamp || beside.paths != paths || beside.found != found {
            *beside = fresh();
        }
        if !whole {
            let missing = found.iter().filter(|found| found.is_none()).count();
            tracing::debug!(source = %self.source, stream = %stream.id, missing, "a file waits for others beside it");
        }
        // A marker or a new name says that the writer has done with all that belongs together.
        let still = match &self.rules.complete {
            Complete::Stable { secs } => now.duration_since(beside.since) >= Duration::from_secs(*secs),
            Complete::Marker { .. } | Complete::Renamed {} => true,
        };
        let begun = self.seen.get(&entry.name).map_or(now, |seen| seen.since);
        Ok(still && (whole || now.duration_since(begun) >= stream.wait()))
    }

    /// The name of the marker that speaks for a file.
    fn marker(&self, name: &OsStr) -> Option<OsString> {
        let Complete::Marker { suffix, replaces_extension } = &self.rules.complete else { return None };
        let mut marker = if *replaces_extension { Path::new(name).file_stem()?.to_owned() } else { name.to_owned() };
        marker.push(suffix);
        Some(marker)
    }

    fn is_marker(&self, name: &OsStr) -> bool {
        let Complete::Marker { suffix, .. } = &self.rules.complete else { return false };
        name.as_encoded_bytes().ends_with(suffix.as_bytes())
    }

    /// Moves a file's marker after it, unless the marker speaks for other files as well.
    async fn put_away_marker(
        &self,
        name: &OsStr,
        present: &HashSet<OsString>,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let Some(marker) = self.marker(name) else { return Ok(()) };
        if present.iter().any(|other| *other != marker && self.marker(other).as_ref() == Some(&marker)) {
            return Ok(());
        }
        self.put_away(marker, stop).await
    }

    /// Moves markers that were without a file in two passes: a crash has left them. The next file
    /// of that name must not be believed complete because of them.
    async fn put_away_orphans(&mut self, present: &HashSet<OsString>, stop: &CancellationToken) -> Result<(), Fault> {
        let spoken_for: HashSet<OsString> =
            present.iter().filter(|name| !self.is_marker(name)).filter_map(|name| self.marker(name)).collect();
        let orphans: BTreeSet<OsString> =
            present.iter().filter(|name| self.is_marker(name) && !spoken_for.contains(*name)).cloned().collect();
        for orphan in orphans.intersection(&self.orphans) {
            self.put_away(orphan.clone(), stop).await?;
        }
        self.orphans = orphans;
        Ok(())
    }

    async fn put_away(&self, marker: OsString, stop: &CancellationToken) -> Result<(), Fault> {
        let rules = Arc::clone(&self.rules);
        let moved = step(stop, move || folder::settle_marker(&rules.folder, &marker, &rules.done, "marker")).await?;
        moved.map_err(|error| Fault::Source(file_failed("move a marker", error)))
    }
}

/// Moves a file that is stored, and then those that were read with it. Answers whether it was moved,
/// and how many of the others were replaced in the meantime and stay.
///
/// Nothing is moved where one of them was replaced since it was read: then all are read again.
fn settle_all(
    folder: &Path,
    own: &Entry,
    file: &take::Said,
    beside: &[Sealed],
    dir: &Path,
) -> io::Result<(bool, usize)> {
    // Several records may name one file.
    let mut once: BTreeMap<&Path, &Sealed> = BTreeMap::new();
    for sealed in beside {
        if !once.entry(sealed.path()).or_insert(sealed).is_same(sealed) || sealed.is_replaced()? {
            return Ok((false, 0));
        }
    }
    if !folder::settle(folder, &own.name, (own.stamp, &file.seal), dir, &file.tag)? {
        return Ok((false, 0));
    }
    let mut left = 0;
    for sealed in once.values() {
        left += usize::from(!sealed.settle(dir, &file.tag)?);
    }
    Ok((true, left))
}

/// The name of a dBASE table's memo file: that which is there, else the usual one.
fn memo_of(name: &OsStr, present: &HashSet<OsString>) -> OsString {
    let table = Path::new(name);
    let is_memo = |other: &&OsString| {
        let other = Path::new(other);
        let kind =
            other.extension().is_some_and(|kind| kind.eq_ignore_ascii_case("fpt") || kind.eq_ignore_ascii_case("dbt"));
        let same = |a: Option<&OsStr>, b: Option<&OsStr>| a.zip(b).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
        kind && same(other.file_stem(), table.file_stem())
    };
    // The smallest name, so that two of them are not taken in turns.
    present.iter().filter(is_memo).min().cloned().unwrap_or_else(|| table.with_extension("fpt").into_os_string())
}

#[async_trait]
impl Listener for Watcher {
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        let rules = Arc::clone(&self.rules);
        aside(move || look::probe(&rules)).await
    }

    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        let (rules, name) = (Arc::clone(&self.rules), name.map(str::to_owned));
        aside(move || look::discover(&rules, name.as_deref())).await
    }

    async fn open(&mut self) -> Result<Endpoint, SourceError> {
        let folder = self.rules.folder.clone();
        let listed = tokio::task::spawn_blocking(move || std::fs::read_dir(folder).map(drop)).await;
        listed.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(listing_failed)?;
        Ok(Endpoint(self.rules.folder.display().to_string()))
    }

    async fn serve(mut self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError> {
        let rules = Arc::clone(&self.rules);
        let made = step(&stop, move || {
            [&rules.done, &rules.failed].into_iter().try_for_each(|dir: &PathBuf| std::fs::create_dir_all(dir))
        });
        match made.await {
            Ok(made) => made.map_err(|error| file_failed("make the folders for files that are taken", error))?,
            Err(Fault::Source(error)) => return Err(error),
            Err(_) => return Ok(()),
        }
        loop {
            let pass = match self.pass(&*intake, &stop).await {
                Ok(pass) => pass,
                Err(Fault::Source(error) | Fault::File { error, .. }) => return Err(error),
                Err(Fault::Refused(_) | Fault::Stopping) => return Ok(()),
            };
            if let Some(error) = pass.failed {
                return Err(error);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pass.pause.unwrap_or(self.rules.poll)) => {}
            }
        }
    }
}

/// Looks at the folder for a person who waits for the answer.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match step(&CancellationToken::new(), work).await {
        Ok(done) => done,
        Err(Fault::Source(error) | Fault::File { error, .. }) => Err(error),
        Err(Fault::Refused(_) | Fault::Stopping) => {
            Err(SourceError::retry(FaultClass::Other, "look into the watched folder"))
        }
    }
}

/// Runs a step of the file system beside the tasks. A share may hang in it for ever.
async fn step<T: Send + 'static>(
    stop: &CancellationToken,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_WAIT).await;
    };
    tokio::select! {
        biased;
        done = tokio::task::spawn_blocking(work) => done.map_err(|error| {
            Fault::Source(SourceError::retry(FaultClass::Other, "look into the watched folder").because(error))
        }),
        () = stopped => Err(Fault::Stopping),
        () = tokio::time::sleep(STEP) => Err(Fault::Source(
            SourceError::retry(FaultClass::Timeout, "wait for the file system of the watched folder")
                .hint("the file share hangs; look at its server and mount"),
        )),
    }
}

pub(crate) fn listing_failed(error: io::Error) -> SourceError {
    let fault = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            SourceError::retry(FaultClass::Missing, "list the watched folder")
                .hint("the folder does not exist; where it is on a file share, look whether that is mounted")
        }
        io::ErrorKind::PermissionDenied => SourceError::retry(FaultClass::Permission, "list the watched folder")
            .hint("the agent's user must be allowed to read, write and enter the folder"),
        _ => SourceError::retry(FaultClass::Unreachable, "list the watched folder")
            .hint("look whether the file share is mounted and its server is up"),
    };
    fault.because(error)
}

pub(crate) fn file_failed(operation: &str, error: io::Error) -> SourceError {
    let fault = match error.kind() {
        io::ErrorKind::PermissionDenied => SourceError::retry(FaultClass::Permission, operation)
            .hint("the agent's user must be allowed to read the files, and to write to the folder and to done_dir"),
        io::ErrorKind::NotFound => SourceError::retry(FaultClass::Missing, operation)
            .hint("look whether the watched folder's file share is still mounted"),
        _ => SourceError::retry(FaultClass::Unreachable, operation)
            .hint("look whether the file share is mounted, its server is up and its disk has room"),
    };
    fault.because(error)
}
