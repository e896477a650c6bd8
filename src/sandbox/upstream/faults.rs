//! What goes wrong on request: `PUT /faults`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// One fault. `PUT /faults` takes one, or a list that is played in order; `DELETE /faults` clears.
///
/// `{"status": 503, "headers": {"retry-after": "2"}, "count": 3}` answers three times 503;
/// `{"cut": true, "when": "after"}` takes every batch and breaks the connection before the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Which requests: `events` unless said otherwise.
    pub on: Target,
    /// Waits so many milliseconds before anything else.
    pub delay_ms: u64,
    /// Answers with this status.
    pub status: Option<u16>,
    /// Headers of that answer.
    pub headers: BTreeMap<String, String>,
    /// The body of that answer.
    pub body: String,
    /// Breaks the connection instead of answering.
    pub cut: bool,
    /// Answers 200 with a page that is no receipt.
    pub garbage: bool,
    /// Whether the events are stored before the fault strikes or not at all.
    pub when: When,
    /// Changes some receipts of an answer that is right otherwise.
    pub receipts: Option<PartialReceipts>,
    /// For so many requests; without end where there is neither `count` nor `seconds`.
    pub count: Option<u32>,
    /// For so many seconds from the moment at which it was put.
    pub seconds: Option<u32>,
}

/// Which requests a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// `POST /v1/events`.
    #[default]
    Events,
    /// `POST /v1/heartbeats`.
    Heartbeats,
    /// `PUT /v1/attachments/…`.
    Attachments,
    /// `POST /v1/digests`.
    Digests,
    /// All of these.
    All,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the events are stored: they are not.
    #[default]
    Before,
    /// After they are stored: only the answer is wrong.
    After,
}

/// Changes every n-th receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartialReceipts {
    /// Every n-th event of a batch, counted from 1.
    pub every: usize,
    /// What becomes of it.
    pub change: Change,
}

/// What becomes of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The event is stored, and not named in the answer.
    Omit,
    /// The event is not stored; the answer says `retry`.
    Retry,
    /// The event is not stored; the answer says `rejected`.
    Reject,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<(Fault, Instant)>);

impl Queue {
    pub(super) fn put(&mut self, faults: Vec<Fault>) {
        let now = Instant::now();
        self.0 = faults.into_iter().map(|fault| (fault, now)).collect();
    }

    pub(super) fn list(&self) -> Vec<Fault> {
        self.0.iter().map(|(fault, _)| fault.clone()).collect()
    }

    /// The fault that strikes a request now; counts it down.
    pub(super) fn strike(&mut self, target: Target) -> Option<Fault> {
        let over = |(fault, since): &(Fault, Instant)| {
            let elapsed = fault.seconds.is_some_and(|secs| since.elapsed() >= Duration::from_secs(secs.into()));
            elapsed || fault.count == Some(0)
        };
        self.0.retain(|entry| !over(entry));
        let matching = |fault: &Fault| fault.on == Target::All || fault.on == target;
        let (fault, _) = self.0.iter_mut().find(|(fault, _)| matching(fault))?;
        fault.count = fault.count.map(|count| count - 1);
        Some(fault.clone())
    }
}
