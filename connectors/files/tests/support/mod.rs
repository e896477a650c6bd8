//! A watcher over a folder of its own, and an intake that keeps what it takes in memory.

#![allow(dead_code, clippy::unwrap_used, reason = "tests; each test binary uses its own part")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector_api::{
    CancellationToken, Connector, ConnectorKind as _, Decoder, Flow, Intake, Listener, Receipt, Record, Refusal,
    SourceError, StreamId, async_trait,
};
use connector_files::Files;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

type Judge = dyn Fn(&[Record]) -> Option<Refusal> + Send + Sync;

/// Keeps records in memory, each once; may refuse, or not return, as a test wishes.
pub(crate) struct Kept {
    stored: Mutex<Vec<(Option<StreamId>, Record)>>,
    judge: Mutex<Box<Judge>>,
    /// A call takes one permit before it returns, after its records are stored.
    pub(crate) gate: Semaphore,
    /// One permit for each call that has come to the gate.
    arrived: Semaphore,
    /// One permit for each call that was refused.
    refused: Semaphore,
}

impl Kept {
    pub(crate) fn all() -> Arc<Kept> {
        Kept::gated(Semaphore::MAX_PERMITS)
    }

    /// Lets so many calls return.
    pub(crate) fn gated(permits: usize) -> Arc<Kept> {
        Arc::new(Kept {
            stored: Mutex::default(),
            judge: Mutex::new(Box::new(|_| None)),
            gate: Semaphore::new(permits),
            arrived: Semaphore::new(0),
            refused: Semaphore::new(0),
        })
    }

    /// Waits until so many more calls have come to the gate.
    pub(crate) async fn arrivals(&self, calls: u32) {
        self.arrived.acquire_many(calls).await.unwrap().forget();
    }

    /// Waits until so many more calls were refused.
    pub(crate) async fn refusals(&self, calls: u32) {
        self.refused.acquire_many(calls).await.unwrap().forget();
    }

    /// Refuses from now on what the judge refuses.
    pub(crate) fn refuse(&self, judge: impl Fn(&[Record]) -> Option<Refusal> + Send + Sync + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    pub(crate) fn stored(&self) -> Vec<(Option<StreamId>, Record)> {
        self.stored.lock().unwrap().clone()
    }

    /// The value of a column in each stored record, in order; the failure's code where there is one.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        let read = |(_, record): (_, Record)| match record.document {
            Ok(document) => document.root.get(name).and_then(|value| value.as_text()).unwrap_or("-").to_owned(),
            Err(failure) => failure.code.to_owned(),
        };
        self.stored().into_iter().map(read).collect()
    }
}

#[async_trait]
impl Intake for Kept {
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal> {
        if let Some(refusal) = (self.judge.lock().unwrap())(&records) {
            self.refused.add_permits(1);
            return Err(refusal);
        }
        let receipts = {
            let mut stored = self.stored.lock().unwrap();
            let known: HashSet<_> =
                stored.iter().map(|(_, record)| (record.resend_key.clone(), record.raw.digest())).collect();
            let receipt = |record: Record| {
                if known.contains(&(record.resend_key.clone(), record.raw.digest())) {
                    return Receipt::Duplicate;
                }
                stored.push((stream.cloned(), record));
                Receipt::Stored
            };
            records.into_iter().map(receipt).collect()
        };
        self.arrived.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
        Ok(receipts)
    }
}

/// A base folder with the watched one in it.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        fs::create_dir(place.inbox()).unwrap();
        place
    }

    pub(crate) fn base(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.0.path().join("inbox")
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.inbox().join(name), bytes).unwrap();
    }

    /// The names of the files in a folder below the watched one.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.inbox().join(dir)) else { return Vec::new() };
        let files = entries.map(Result::unwrap).filter(|entry| entry.file_type().unwrap().is_file());
        let mut names: Vec<String> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until a file is in a folder. The clock may be paused; only the watcher's steps count.
    pub(crate) async fn arrives(&self, dir: &str, name: &str) {
        while !self.inbox().join(dir).join(name).exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn connector(&self, config: &str) -> Connector {
        let spec = connector_testkit::source_spec::<Files>(config, self.base());
        Files::build(spec).map_err(|problems| format!("{problems:?}")).unwrap()
    }

    pub(crate) fn decoder(&self, config: &str) -> Arc<dyn Decoder> {
        self.connector(config).decoder
    }

    pub(crate) fn listener(&self, config: &str) -> Box<dyn Listener> {
        let Flow::Listen(listener) = self.connector(config).flow else { panic!("not a listener") };
        listener
    }

    pub(crate) async fn start(&self, config: &str, intake: Arc<Kept>) -> Running {
        let mut listener = self.listener(config);
        listener.open().await.unwrap();
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(listener.serve(intake, stop.clone()));
        Running { stop, task }
    }
}

/// A running watcher.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    task: JoinSet<Result<(), SourceError>>,
}

impl Running {
    /// Stops the watcher and waits until it has returned.
    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        self.ended().await.unwrap();
    }

    /// Waits until the watcher has returned by itself.
    pub(crate) async fn ended(mut self) -> Result<(), SourceError> {
        self.task.join_next().await.unwrap().unwrap()
    }

    /// Ends the watcher wherever it is.
    pub(crate) async fn killed(mut self) {
        self.task.shutdown().await;
    }
}

/// A source with one stream for `*.csv`, and further settings.
pub(crate) fn config(settings: &str) -> String {
    format!(
        "[[sources]]\nid = \"export\"\nconnector = \"files\"\n[sources.settings]\nfolder = \"inbox\"\npoll_secs = 1\n\
         {settings}\n[[sources.streams]]\nid = \"reports\"\nmode = \"push\"\nfiles = [\"*.csv\"]\n\
         format = {{ type = \"csv\" }}\n"
    )
}

/// Files are complete as soon as they are there.
pub(crate) const RENAMED: &str = "complete = { type = \"renamed\" }";
