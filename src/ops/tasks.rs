//! The status of the agent's long-running tasks.

use chrono::{DateTime, Utc};
use serde::Serialize;

/// What a supervised task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// At work.
    Running,
    /// Failed, and waits to be started again.
    Restarting,
    /// Asked to stop, and did.
    Ended,
}

/// The status of one task. Times are UTC.
#[derive(Clone, Debug, Serialize)]
pub struct TaskStatus {
    /// Its name: `stream peis/reports`, `delivery`.
    pub name: String,
    /// What it is doing.
    pub state: TaskState,
    /// How often it was started again.
    pub restarts: u64,
    /// How many of those were panics: bugs of ours.
    pub panics: u64,
    /// When it was last started.
    pub since: DateTime<Utc>,
    /// Why it was last started again, free of personal data.
    pub last_failure: Option<String>,
    /// When that was.
    pub last_failure_at: Option<DateTime<Utc>>,
}
