//! The traits that a connector implements, and what they exchange.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDateTime;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::{
    Advance, Decoder, Document, Map, Record, SettingsProblem, SourceError, SourceId, StreamId, Value, Watermark,
};

/// How a stream yields its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What changed since the watermark, read with an overlap.
    Incremental,
    /// The whole catalogue each time.
    Snapshot,
    /// What the source system sends.
    Push,
}

/// One protocol or product. A zero-sized type; the registry lists it.
pub trait ConnectorKind: 'static {
    /// The name in the configuration (`connector = "sqlite"`), also the folder's name.
    const NAME: &'static str;
    /// One line for `hisync connectors`.
    const SUMMARY: &'static str;
    /// An annotated `[[sources]]` table that loads as it stands.
    const SAMPLE: &'static str;
    /// The modes that its streams may have.
    const MODES: &'static [Mode];
    /// The type of the source's `settings` table. Unknown keys are refused by the agent, which
    /// checks the file against this type's JSON Schema before it is deserialised.
    type Settings: DeserializeOwned + schemars::JsonSchema + Send + 'static;
    /// The type of what a stream's table holds beside the keys common to all streams (`id`,
    /// `entity`, `mode`, `schedule`, `mapping`, `expect`, `sweep`, `batch_size`).
    type Stream: DeserializeOwned + schemars::JsonSchema + Send + 'static;

    /// Checks the settings and opens nothing. Called again after a panic, so it must be cheap.
    fn build(source: SourceSpec<Self::Settings, Self::Stream>) -> Result<Connector, Vec<SettingsProblem>>;
}

/// One configured source, as handed to [`ConnectorKind::build`].
#[derive(Clone, Debug)]
pub struct SourceSpec<S, T> {
    /// The source's id.
    pub id: SourceId,
    /// Relative paths in the settings are relative to this folder (the configuration file's).
    pub base_dir: PathBuf,
    /// The hospital's time zone: in it are wall-clock times of a source that tells no zone of its own.
    pub zone: chrono_tz::Tz,
    /// The connector's own settings.
    pub settings: S,
    /// The streams, in the file's order.
    pub streams: Vec<StreamSpec<T>>,
}

/// One configured stream.
#[derive(Clone, Debug)]
pub struct StreamSpec<T> {
    /// The stream's full id.
    pub id: StreamId,
    /// How it yields its records.
    pub mode: Mode,
    /// The connector's own keys of the stream's table.
    pub settings: T,
}

/// A built source.
pub struct Connector {
    /// Decodes what this source's records archived.
    pub decoder: Arc<dyn Decoder>,
    /// How records come.
    pub flow: Flow,
}

/// How a source's records come.
pub enum Flow {
    /// The agent asks, each stream in a task of its own.
    Poll(Vec<StreamPoller>),
    /// The source system sends.
    Listen(Box<dyn Listener>),
}

/// The poller of one stream.
pub struct StreamPoller {
    /// Which stream.
    pub stream: StreamId,
    /// Its poller.
    pub poller: Box<dyn Poller>,
}

/// The source's own paging token inside one scan. Never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<Value>);

/// What a poller is asked for: the first page of a scan, or the page after a cursor.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// Records at or after the watermark less its lag. The scan's pages each justify an advance.
    Changes {
        /// The stored watermark.
        from: &'a Watermark,
        /// The cursor of the page before, within the same scan.
        after: Option<&'a Cursor>,
    },
    /// The whole catalogue, consistent in itself.
    Snapshot {
        /// The cursor of the page before, within the same scan.
        after: Option<&'a Cursor>,
    },
    /// Records whose watermark column is at or after a wall-clock time of the hospital, re-read.
    Window {
        /// The window's start, in the hospital's time zone.
        since: NaiveDateTime,
        /// The cursor of the page before, within the same scan.
        after: Option<&'a Cursor>,
    },
}

/// One page.
#[derive(Debug, Default)]
pub struct Batch {
    /// The records, in the source's order.
    pub records: Vec<Record>,
    /// What may be stored as the new watermark together with the records (`Changes` only).
    pub advance: Option<Advance>,
    /// The cursor to ask the next page with; `None` on the scan's last page.
    pub next: Option<Cursor>,
    /// On a snapshot's last page: how many records the source itself counted, in the same
    /// transaction. The agent refuses a snapshot whose pages hold another number.
    pub counted: Option<u64>,
}

/// What a connector found when it looked at its source without changing anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Probe {
    /// The product and version, where the source tells.
    pub server: Option<String>,
    /// What was found, one sentence each: `view "V_TJ_BG" has the 9 columns that are read`.
    pub findings: Vec<String>,
    /// The newest watermark value in the source, as text.
    pub newest: Option<String>,
    /// The source's clock minus ours, in milliseconds, where the source tells its time.
    pub clock_difference_ms: Option<i64>,
}

/// A table or view of a source, as `hisync discover` lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Discovered {
    /// Its name, exactly as a configuration must spell it.
    pub name: String,
    /// `table`, `view` or the source's own word.
    pub kind: String,
    /// Its columns, in order; empty in a listing without a name.
    pub columns: Vec<Column>,
    /// How many rows it has, where that was asked and is cheap.
    pub rows: Option<u64>,
    /// Some of its rows as they are, where one table or view was asked for. They are personal data:
    /// whoever shows them masks them first.
    #[serde(skip)]
    pub sample: Vec<Map>,
}

/// A column of a [`Discovered`] table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type in the source's words.
    pub type_name: String,
    /// Whether it may be null, where the source tells.
    pub nullable: Option<bool>,
}

/// Reads one stream of a source when asked.
#[async_trait::async_trait]
pub trait Poller: Send {
    /// Connects, looks at what this stream reads, changes nothing.
    async fn probe(&mut self) -> Result<Probe, SourceError>;

    /// Fetches one page of at most about `limit` records. A unit (a report with all its child
    /// rows) is never split across pages.
    async fn fetch(&mut self, request: Request<'_>, limit: usize) -> Result<Batch, SourceError>;

    /// Called when what the last [`Poller::fetch`] returned is on stable storage, before the next
    /// one. A source that wants to be told what was taken ("downloaded" marks) is told here.
    ///
    /// A failure, or a crash just before, leaves the marks unset: the source offers the records
    /// once more, and they fall out as unchanged.
    async fn committed(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// The wall-clock time of the hospital by which [`Request::Window`] finds the record with this document; `None`
    /// where the stream has none. What is not in a window and lies in its time is gone from the source.
    fn time_of(&self, document: &Document) -> Option<NaiveDateTime> {
        let _ = document;
        None
    }

    /// Lists what the source has, or describes one table or view of it.
    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        let _ = name;
        Ok(Vec::new())
    }
}

/// Where a listener can be reached, for people: `127.0.0.1:2575`, a folder.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Endpoint(pub String);

/// Receives what a source system sends.
#[async_trait::async_trait]
pub trait Listener: Send {
    /// Looks at what it would serve without opening it to anybody, and changes nothing.
    async fn probe(&mut self) -> Result<Probe, SourceError> {
        Ok(Probe::default())
    }

    /// Lists what waits to be received, or describes one of it; nothing where a sender decides.
    async fn discover(&mut self, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
        let _ = name;
        Ok(Vec::new())
    }

    /// Opens the socket or folder. Port 0 is allowed; the answer names the real one.
    async fn open(&mut self) -> Result<Endpoint, SourceError>;

    /// Serves until `stop`, then finishes what is being received and returns.
    ///
    /// Nothing is acknowledged to the source system before [`Intake::accept`] returned `Ok`.
    async fn serve(self: Box<Self>, intake: Arc<dyn Intake>, stop: CancellationToken) -> Result<(), SourceError>;
}

/// What became of an accepted record, as far as its sender may need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// On stable storage.
    Stored,
    /// Was on stable storage already: the same record was sent before.
    Duplicate,
}

/// Why a record was not accepted. The sender keeps it and may send it again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room (disk floor, full outbox) or too much at once.
    #[error("busy: {reason}")]
    Busy {
        /// What is short, free of personal data.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store failed to commit.
    #[error("the store could not commit: {reason}")]
    Failed {
        /// The failure, free of personal data.
        reason: String,
    },
    /// The agent is shutting down.
    #[error("shutting down")]
    Stopping,
}

/// Takes custody of records for a listener.
#[async_trait::async_trait]
pub trait Intake: Send + Sync {
    /// Returns once the records are committed with fsync, all of them or none, with one receipt
    /// each. `stream` is `None` for what fits no configured stream; it is kept and held.
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal>;
}
