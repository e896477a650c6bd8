//! The watched folder: what is complete, in which order it goes, and when it is moved.
//!
//! The folder is listed again and again. Notices of the operating system are not relied on, since
//! file shares do not send them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    CancellationToken, DecodeFailure, Endpoint, FaultClass, Intake, Listener, Raw, Record, Refusal, SourceError,
    SourceId, async_trait,
};
use tokio::time::Instant;

use crate::folder::{self, Content, Entry, Seal, Stamp};
use crate::format::{BYTES, FilesDecoder};
use crate::settings::{Complete, Rules, StreamRules};

/// How many records are stored in one transaction.
const GROUP: usize = 500;

/// How much of a file is kept that is held as a whole. The file itself is in the failed folder.
const KEPT: u64 = 8 << 20;

/// How long the file system may take for one step. A share that hangs is reported after it.
const STEP: Duration = Duration::from_secs(300);

/// How long a step of the file system may still take once the agent stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// The watcher of one source.
pub(crate) struct Watcher {
    source: SourceId,
    rules: Arc<Rules>,
    seen: HashMap<OsString, Seen>,
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

/// What a file says.
struct Taken {
    records: Vec<Record>,
    /// The beginning of the file's digest.
    tag: String,
    seal: Seal,
    /// True where the file as a whole can't be read.
    failed: bool,
}

impl Watcher {
    pub(crate) fn new(source: SourceId, rules: Rules) -> Watcher {
        let (seen, orphans) = (HashMap::new(), BTreeSet::new());
        Watcher { source, rules: Arc::new(rules), seen, orphans, unmatched: 0 }
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
            match self.take(&entry, stream, intake, stop).await {
                Ok(false) => {}
                Ok(true) => {
                    present.remove(&entry.name);
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
        let mut ready = Vec::new();
        let mut unmatched = 0;
        for entry in entries {
            if self.rules.ignore.is_match(&entry.name) || self.is_marker(&entry.name) {
                continue;
            }
            let Some(at) = self.rules.streams.iter().position(|stream| stream.files.is_match(&entry.name)) else {
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

    /// Stores a file's records, then moves it. False where it turned out to be still written.
    async fn take(
        &self,
        entry: &Entry,
        stream: &StreamRules,
        intake: &dyn Intake,
        stop: &CancellationToken,
    ) -> Result<bool, Fault> {
        let (rules, own, file) = (Arc::clone(&self.rules), stream.clone(), entry.clone());
        let read = step(stop, move || read(&rules, &own, &file)).await?;
        let read = read.map_err(|error| Fault::File { error: file_failed("read a file", error), stored: false })?;
        let Some(Taken { mut records, tag, seal, failed }) = read else { return Ok(false) };
        let (count, held) = (records.len(), records.iter().filter(|record| record.document.is_err()).count());
        while !records.is_empty() {
            let rest = records.split_off(records.len().min(GROUP));
            intake.accept(Some(&stream.id), records).await.map_err(Fault::Refused)?;
            records = rest;
        }
        let (rules, file, name) = (Arc::clone(&self.rules), entry.clone(), tag.clone());
        let moved = step(stop, move || {
            let dir = if failed { &rules.failed } else { &rules.done };
            folder::settle(&rules.folder, &file.name, (file.stamp, &seal), dir, &name)
        });
        let moved = moved
            .await?
            .map_err(|error| Fault::File { error: file_failed("move a file that is stored", error), stored: true })?;
        let (source, stream) = (&self.source, &stream.id);
        tracing::info!(%source, %stream, file = tag, records = count, held, moved, "file taken");
        Ok(moved)
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

#[async_trait]
impl Listener for Watcher {
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

/// Reads a file and what it says; `None` where it is being written.
fn read(rules: &Rules, stream: &StreamRules, entry: &Entry) -> io::Result<Option<Taken>> {
    let path = rules.folder.join(&entry.name);
    let content = folder::read(&path, entry.stamp, rules.max_file_bytes, KEPT)?;
    let (bytes, too_large) = match content {
        Content::Whole(bytes) => (bytes, false),
        Content::TooLarge(bytes) => (bytes, true),
        Content::Changed => return Ok(None),
    };
    let seal = Seal::of(&bytes);
    let digest = hex::encode(&seal.digest[..16]);
    let tag = digest[..8].to_owned();
    let record = |place: &str, raw: Raw, document| Record {
        raw,
        document,
        source_ref: format!("{}@{tag} {place}", stream.label),
        resend_key: Some(format!("{}|{digest}|{place}", written(&entry.name))),
    };
    let pieces = if too_large {
        let what =
            format!("{} bytes, and {} are allowed; the beginning is kept", entry.stamp.length, rules.max_file_bytes);
        Err(DecodeFailure::new("file-too-large", what))
    } else {
        // A bug that one file brings out must not keep all others out.
        let read = catch_unwind(AssertUnwindSafe(|| stream.format.read(&bytes)));
        read.unwrap_or_else(|_| Err(DecodeFailure::new("file-bug", "reading the file ran into a bug of hisync")))
    };
    let (records, failed) = match pieces {
        Ok(pieces) => {
            let records = pieces.into_iter().map(|mut piece| {
                piece.raw.format = FilesDecoder::archived_format(stream, &piece.raw.format);
                record(&piece.place, piece.raw, piece.document)
            });
            (records.collect(), false)
        }
        Err(mut failure) => {
            let kept = bytes.slice(..bytes.len().min(usize::try_from(KEPT).unwrap_or(usize::MAX)));
            if kept.len() < bytes.len() {
                failure.detail.push_str(&format!("; {} of {} bytes are kept", kept.len(), bytes.len()));
            }
            let raw = Raw { format: BYTES.to_owned(), charset: None, body: kept };
            (vec![record(&format!("file of {} bytes", entry.stamp.length), raw, Err(failure))], true)
        }
    };
    Ok(Some(Taken { records, tag, seal, failed }))
}

/// A name as text. Names in another character set than UTF-8 are written as their bytes.
fn written(name: &OsStr) -> String {
    name.to_str().map_or_else(|| format!("hex:{}", hex::encode(name.as_encoded_bytes())), str::to_owned)
}

fn listing_failed(error: io::Error) -> SourceError {
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

fn file_failed(operation: &str, error: io::Error) -> SourceError {
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
