//! What each stream is doing, as the status page, the API and the metrics read it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use connector_api::{Mode, SourceError, StreamId};
use serde::Serialize;

use crate::model::EntityType;

/// What a stream is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Not asked yet.
    #[default]
    Starting,
    /// A round of reading is under way.
    Reading,
    /// The last round went well; the next one is due at `next_at`.
    Waiting,
    /// Its listener is open.
    Listening,
    /// The last round failed; it is tried again at `next_at`.
    Failing,
    /// It needs a person: trying again soon can't help.
    Stopped,
    /// Nothing is taken in until there is room on the disk.
    Paused,
}

impl StreamState {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            StreamState::Starting => "starting",
            StreamState::Reading => "reading",
            StreamState::Waiting => "waiting",
            StreamState::Listening => "listening",
            StreamState::Failing => "failing",
            StreamState::Stopped => "stopped",
            StreamState::Paused => "paused",
        }
    }
}

/// The last failure of a stream, free of personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamFailure {
    /// When.
    pub at: DateTime<Utc>,
    /// What kind of thing failed: `unreachable`, `login`, `timeout`…
    pub class: String,
    /// What was attempted and the chain of causes.
    pub message: String,
    /// What a person can do next.
    pub hint: Option<String>,
}

impl StreamFailure {
    /// The failure of a source.
    pub fn of(error: &SourceError, at: DateTime<Utc>) -> StreamFailure {
        StreamFailure { at, class: error.class.as_str().to_owned(), message: error.chain(), hint: error.hint.clone() }
    }
}

/// One stream's status. Times are UTC.
#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    /// The stream's full id.
    pub id: StreamId,
    /// The connector's name.
    pub connector: String,
    /// What it yields.
    pub entity: EntityType,
    /// How it yields it.
    pub mode: Mode,
    /// The mapping in force.
    pub mapping_version: String,
    /// What it is doing.
    pub state: StreamState,
    /// Where its listener can be reached.
    pub endpoint: Option<String>,
    /// When the last round began.
    pub last_attempt_at: Option<DateTime<Utc>>,
    /// When a round last ended well; for a listener, when a record was last committed.
    pub last_success_at: Option<DateTime<Utc>>,
    /// When it last yielded a record that was new.
    pub last_record_at: Option<DateTime<Utc>>,
    /// When it is asked next.
    pub next_at: Option<DateTime<Utc>>,
    /// Rounds that ended well since the start.
    pub rounds: u64,
    /// Records that were new since the start.
    pub records: u64,
    /// Failures in a row; 0 after a success.
    pub failures: u32,
    /// The last failure, until a success.
    pub failure: Option<StreamFailure>,
}

/// The statuses of all streams, shared.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<StreamId, StreamStatus>>>);

impl Board {
    /// Adds a stream that has not started yet.
    pub fn add(&self, id: StreamId, connector: &str, entity: EntityType, mode: Mode, mapping_version: &str) {
        let status = StreamStatus {
            id: id.clone(),
            connector: connector.to_owned(),
            entity,
            mode,
            mapping_version: mapping_version.to_owned(),
            state: StreamState::Starting,
            endpoint: None,
            last_attempt_at: None,
            last_success_at: None,
            last_record_at: None,
            next_at: None,
            rounds: 0,
            records: 0,
            failures: 0,
            failure: None,
        };
        self.lock().insert(id, status);
    }

    /// Forgets streams that are not configured any more.
    pub fn keep(&self, configured: impl Fn(&StreamId) -> bool) {
        self.lock().retain(|id, _| configured(id));
    }

    /// The status of a stream.
    pub fn of(&self, id: &StreamId) -> Option<StreamStatus> {
        self.lock().get(id).cloned()
    }

    /// Changes a stream's status.
    pub fn update(&self, id: &StreamId, change: impl FnOnce(&mut StreamStatus)) {
        if let Some(status) = self.lock().get_mut(id) {
            change(status);
        }
    }

    /// All statuses, by id.
    pub fn all(&self) -> Vec<StreamStatus> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamId, StreamStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
