//! What people and monitors see of delivery.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::breaker::BreakerStatus;

/// What people and monitors see of delivery. Times are UTC; nothing here is personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Whether and why delivery is paused.
    pub breaker: BreakerStatus,
    /// When upstream last answered as it should.
    pub last_success: Option<DateTime<Utc>>,
    /// What last went wrong with a whole request.
    pub last_failure: Option<LastFailure>,
    /// Events on their way at this moment.
    pub in_flight: usize,
    /// Events in batches that wait for their next attempt.
    pub waiting: usize,
    /// Events since the start, by what became of an attempt.
    pub counts: Counts,
    /// The files that events name.
    pub attachments: FileStatus,
}

/// What people and monitors see of the files that are sent before their events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileStatus {
    /// Whether and why sending them is paused.
    pub breaker: BreakerStatus,
    /// What last went wrong.
    pub last_failure: Option<LastFailure>,
    /// Files that upstream took, since the start.
    pub stored: u64,
    /// Files that upstream refused, since the start: their events are held.
    pub refused: u64,
    /// Attempts that are to be made again, since the start.
    pub retried: u64,
}

/// What last went wrong with a whole request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// When.
    pub at: DateTime<Utc>,
    /// A stable word: `http-503`, `timeout`, `tls-failed`.
    pub code: String,
    /// What it means, and what to do about it.
    pub text: &'static str,
}

/// Since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests with a batch of events.
    pub requests: u64,
    /// Events that upstream took.
    pub accepted: u64,
    /// Events that upstream had.
    pub duplicate: u64,
    /// Events that upstream refused: held for a person.
    pub rejected: u64,
    /// Events that are to be sent again.
    pub retried: u64,
}

/// What a code means to the person who is called.
pub(super) fn explain(code: &str) -> &'static str {
    match code {
        "http-401" => "upstream does not accept the credentials: compare the secret on both sides, and the clocks",
        "http-403" => "upstream knows who this is and refuses: ask whether this hospital is enabled there",
        "http-404" | "http-405" => "there is no such address at upstream: check upstream.url",
        "http-413" => "upstream takes only smaller batches: lower upstream.batch_max_bytes",
        "http-415" => "upstream does not read this format or compression: try upstream.compression = \"none\"",
        "http-429" => "upstream asks for fewer requests; delivery slows down by itself",
        "tls-failed" => {
            "the TLS connection is refused: check the certificate's name, its authority (upstream.ca), dates"
        }
        "request-not-made" => "a secret can't be read: the log names it",
        "unreachable" => "no connection: check the address, the network, the proxy and the firewall",
        "timeout" => "no answer within upstream.timeout_secs; sent again under the same ids",
        "connection-lost" => "the connection broke before the answer; sent again under the same ids",
        "receipt-unreadable" => "upstream said success in a way that can't be read: a proxy or portal in between?",
        _ if code.starts_with("http-3") => "upstream redirects, which is not followed: check upstream.url",
        _ if code.starts_with("http-5") => "upstream has a fault of its own; sent again under the same ids",
        _ => "upstream answers with a status that the contract does not know; everything is kept",
    }
}
