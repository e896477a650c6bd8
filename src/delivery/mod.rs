//! Delivers outbox entries upstream, as the upstream contract (`docs/contract.md`) says.
//!
//! - [`settings`]: the `[upstream]` table;
//! - `client`: one HTTP request, one reply; [`signature`]: how it is signed;
//! - `classify`: what a reply means, a pure function;
//! - `breaker`, at the top of the crate: when to send again, pure as well;
//! - `sender`: the loop over the outbox; `files`: the one over the files that events name;
//! - [`heartbeat`]: the agent's pulse;
//! - [`digests`]: comparing what upstream has with the ledger;
//! - [`openapi`]: the contract for machines.
//!
//! HTTP to upstream is nowhere else.

mod classify;
mod client;
pub mod digests;
mod files;
pub mod heartbeat;
pub mod openapi;
pub mod peer;
pub mod receipt;
mod sender;
pub mod settings;
pub mod signature;
mod status;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use client::{BATCH_MEDIA_TYPE, Error};
pub use digests::{Comparison, Digests};
pub use heartbeat::{Heartbeat, Heartbeats, Pulse};
pub use peer::Peer;
pub use settings::{AntiEntropy, Auth, Compression, RetrySettings, Settings};
pub use status::{Counts, FileStatus, LastFailure, Status};

pub use crate::breaker::{BreakerStatus, Reason};

use crate::breaker::Breaker;
use crate::clock::Clock;
use crate::store::Store;
use crate::switches::Switches;
use classify::{Answer, Reply};
use client::{Client, Outgoing};
use files::Courier;
use sender::Sender;

/// Delivers the outbox of one hospital to one upstream.
pub struct Delivery {
    client: Client,
    store: Store,
    publish: watch::Sender<Status>,
    resets: Resets,
    switches: Switches,
}

/// Tells the sender that a person acted.
#[derive(Clone, Default)]
struct Resets(Arc<[Notify; 2]>);

impl Resets {
    async fn notified(&self) {
        self.0[0].notified().await;
    }

    async fn files_notified(&self) {
        self.0[1].notified().await;
    }

    fn notify(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }
}

/// Watches and nudges a running [`Delivery`].
#[derive(Clone)]
pub struct Handle {
    status: watch::Receiver<Status>,
    resets: Resets,
    heard: peer::Heard,
    taken: client::Taken,
}

impl Handle {
    /// How delivery is now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// What upstream's answers told beside what they said.
    pub fn peer(&self) -> peer::Peer {
        self.heard.peer()
    }

    /// Waits until the status changed; returns at once where delivery has ended.
    pub async fn changed(&mut self) {
        let _ = self.status.changed().await;
    }

    /// Closes the breaker: the next attempt is made at once.
    pub fn reset_breaker(&self) {
        self.resets.notify();
    }
}

impl Delivery {
    /// Checks the settings and reads the certificates; connects to nothing.
    ///
    /// `base_dir` is where relative file names start. A certificate that is renewed takes effect with
    /// a new `Delivery`; a renewed secret or token with the next request.
    pub fn new(settings: &Settings, base_dir: &Path, store: Store, clock: Clock) -> Result<Delivery, Error> {
        let switches = Switches::new(clock.clone());
        let client = Client::new(settings, base_dir, clock)?;
        let status = Status {
            breaker: Breaker::new(settings.retry.policy()).status(),
            last_success: None,
            last_failure: None,
            in_flight: 0,
            waiting: 0,
            counts: Counts::default(),
            attachments: FileStatus {
                breaker: Breaker::new(settings.retry.policy()).status(),
                last_failure: None,
                stored: 0,
                refused: 0,
                retried: 0,
            },
        };
        Ok(Delivery { client, store, publish: watch::Sender::new(status), resets: Resets::default(), switches })
    }

    /// Obeys what a person on call has switched.
    #[must_use]
    pub fn under(self, switches: Switches) -> Delivery {
        Delivery { switches, ..self }
    }

    /// Takes the place of another one towards the same upstream: a secret that was taken from that one goes on being
    /// used where a newer one is refused.
    #[must_use]
    pub fn after(self, before: &Handle) -> Delivery {
        Delivery { client: self.client.after(before.taken.clone()), ..self }
    }

    /// What watches and nudges it while it runs.
    pub fn handle(&self) -> Handle {
        Handle {
            status: self.publish.subscribe(),
            resets: self.resets.clone(),
            heard: self.client.heard(),
            taken: self.client.taken_secret(),
        }
    }

    /// What sends heartbeats beside it.
    pub fn heartbeats(&self, pulse: Arc<dyn Pulse>) -> Heartbeats {
        Heartbeats::new(self.client.clone(), pulse)
    }

    /// What compares upstream with the ledger beside it.
    /// Only the entities of a campus are compared: another agent may serve another one of the same hospital.
    pub fn digests(&self, hospital: &str, campus: &str) -> Digests {
        Digests::new(self.client.clone(), self.store.clone(), hospital.to_owned(), format!("{campus}:"))
    }

    /// What sends attachments beside it.
    pub fn attachments(&self) -> Attachments {
        Attachments { client: self.client.clone() }
    }

    /// Delivers until told to stop; then waits some seconds for the answers that are still out.
    pub async fn run(self, stop: CancellationToken) {
        let Delivery { client, store, publish, resets, switches } = self;
        let files = Courier::new(client.clone(), store.clone(), publish.clone(), resets.clone(), switches.clone());
        let events = Sender::new(client, store, publish, resets, switches);
        tokio::join!(Box::pin(files.run(stop.clone())), Box::pin(events.run(stop)));
    }
}

/// Sends attachments, content-addressed.
#[derive(Clone)]
pub struct Attachments {
    client: Client,
}

/// What became of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Upstream has it.
    Yes,
    /// Not now, or not as configured: to be sent again.
    NotYet {
        /// A stable word: `http-503`, `timeout`.
        code: String,
        /// How long upstream asks to wait.
        after: Option<Duration>,
    },
    /// Upstream will never take it: a person must look.
    Refused {
        /// A stable word.
        code: String,
    },
}

impl Attachments {
    /// Sends an attachment under the SHA-256 (hex) of its bytes; sending it again does no harm.
    pub async fn put(&self, sha256: &str, media_type: &str, bytes: Bytes) -> Stored {
        let reply = self.client.send(files::outgoing(sha256, media_type, bytes)).await.reply;
        match files::meaning(&reply, self.client.clock().now()) {
            Ok(stored) => stored,
            Err(Answer::Retry { code, after, .. }) => Stored::NotYet { code, after },
            Err(Answer::Misconfigured { code, .. } | Answer::Split { code, .. }) => {
                Stored::NotYet { code, after: None }
            }
            Err(Answer::Receipts(_)) => Stored::NotYet { code: "answer-unreadable".to_owned(), after: None },
        }
    }
}

/// What `hisync check` finds at upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeFinding {
    /// Whether upstream answered at all.
    pub reached: bool,
    /// Whether it takes events from this agent.
    pub accepted: bool,
    /// A stable word: `http-200`, `http-401`, `unreachable`.
    pub code: String,
    /// What it means, and what to do about it.
    pub text: &'static str,
    /// How long the answer took, in milliseconds.
    pub millis: u64,
    /// Upstream's clock minus ours, in seconds, where upstream tells the time.
    pub clock_difference_secs: Option<i64>,
}

/// Asks upstream whether it would take events, by sending it an empty batch.
///
/// An empty batch goes the whole way of a real one (address, TLS, credentials, compression) and
/// changes nothing. An upstream that answers 400 or 422 to it has read it, which is all we ask.
pub async fn probe(settings: &Settings, base_dir: &Path, clock: Clock) -> Result<ProbeFinding, Error> {
    let client = Client::new(settings, base_dir, clock)?;
    let outgoing = Outgoing {
        method: Method::POST,
        path: "/v1/events".to_owned(),
        media_type: BATCH_MEDIA_TYPE.to_owned(),
        id: Uuid::new_v4().to_string(),
        body: Bytes::from_static(b"[]"),
        compression: settings.compression,
    };
    let start = Instant::now();
    let exchange = client.send(outgoing).await;
    let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let date = exchange.date.and_then(|date| httpdate::parse_http_date(&date).ok());
    let now = client.clock().now();
    let clock_difference_secs = date.map(|date| (chrono::DateTime::<chrono::Utc>::from(date) - now).num_seconds());
    let finding = |reached, accepted, code: String, text| ProbeFinding {
        reached,
        accepted,
        code,
        text,
        millis,
        clock_difference_secs,
    };
    Ok(match exchange.reply {
        Reply::Answered { status, .. } => {
            let code = format!("http-{status}");
            let accepted = matches!(status, 200..=299 | 400 | 422);
            let text = if accepted { "upstream takes events from this agent" } else { status::explain(&code) };
            finding(true, accepted, code, text)
        }
        Reply::Failed(failure) => {
            let code = heartbeat::word(failure);
            finding(false, false, code.to_owned(), status::explain(code))
        }
    })
}
