//! The reference implementation of the receiving side of the upstream contract.
//!
//! It verifies signatures and schemas, keeps what it received on disk before it answers, shows it,
//! and can be told to fail:
//!
//! | request | does |
//! |---|---|
//! | `POST /v1/events`, `PUT /v1/attachments/{sha256}`, `POST /v1/heartbeats` | the contract |
//! | `POST /v1/digests` | the contract's optional part: what is here, group by group |
//! | `POST /lose` | loses the latest version of entities: `{"entity_type": "exam_report", "count": 10}` |
//! | `GET /` | a page for people |
//! | `GET /v1/received` | JSON lines ([`Line`]): each event that was applied, in order |
//! | `GET /v1/received?attempts=1` | the same for each event of each request |
//! | `GET /v1/entities/{type}` | JSON lines: the latest event of each entity that is not withdrawn |
//! | `GET /v1/entities/{type}?withdrawn=1` | the same with the withdrawn ones |
//! | `GET /v1/attachments`, `GET /v1/attachments/{sha256}` | JSON lines of what was put; the bytes, where a folder is given |
//! | `GET /v1/heartbeats` | the latest heartbeat of each hospital |
//! | `GET`, `PUT`, `DELETE /faults` | what goes wrong ([`Fault`]) |
//!
//! The reading side asks for no credentials: the sandbox holds synthetic people only, and belongs on
//! a loopback address.

mod cut;
mod digests;
mod faults;
mod ledger;
mod page;
mod receive;
mod validate;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use faults::{Change, Fault, PartialReceipts, Target, When};
pub use ledger::Line;

use crate::clock::Clock;
use crate::delivery::signature::Keys;
use cut::{Cuttable, Scissors};
use faults::Queue;
use ledger::Ledger;
use validate::Validator;

/// A request body larger than this is refused with 413, compressed or not.
pub const BODY_MAX_BYTES: usize = 32 << 20;

/// Why the sandbox can't run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// A file can't be read or written.
    #[error("keep what was received in {path:?}")]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// A line of the file is none of ours.
    #[error("read line {number} of {path:?}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        number: usize,
        /// The cause.
        #[source]
        cause: serde_json::Error,
    },
    /// A schema of the model does not compile: a bug.
    #[error("compile a schema of the model: {0}")]
    Schema(String),
}

/// What the sandbox is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to keep what was received; in memory only where there is none.
    pub dir: Option<PathBuf>,
    /// The signing secret; signatures are not looked at where there is none.
    pub keys: Option<Keys>,
    /// Tells the time of receipt, and how old a signature is.
    pub clock: Clock,
}

/// A running sandbox upstream. Dropping it stops it at once; what was acknowledged is on disk.
pub struct Upstream {
    address: SocketAddr,
    state: Shared,
    stop: CancellationToken,
    server: JoinSet<()>,
}

/// What the handlers share.
#[derive(Clone)]
struct Shared(Arc<Inner>);

struct Inner {
    validator: Validator,
    keys: Option<Keys>,
    clock: Clock,
    dir: Option<PathBuf>,
    ledger: Mutex<Ledger>,
    faults: Mutex<Queue>,
    heartbeats: Mutex<BTreeMap<String, Json>>,
    attachments: Mutex<BTreeMap<String, usize>>,
    received: tokio::sync::watch::Sender<u64>,
}

/// A poisoned lock means that a handler panicked; what it guards is changed in single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Opens the folder, binds the address and begins to serve.
    pub async fn start(options: Options) -> Result<Upstream, Error> {
        let Options { listen, dir, keys, clock } = options;
        let ledger = Ledger::open(dir.as_deref())?;
        let attachments = receive::stored_attachments(dir.as_deref())?;
        let state = Shared(Arc::new(Inner {
            validator: Validator::new()?,
            keys,
            clock,
            dir,
            ledger: Mutex::new(ledger),
            faults: Mutex::default(),
            heartbeats: Mutex::default(),
            attachments: Mutex::new(attachments),
            received: tokio::sync::watch::Sender::new(0),
        }));
        let failed = |cause| Error::Listen { address: listen, cause };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let app = router(state.clone()).into_make_service_with_connect_info::<Scissors>();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(error) = axum::serve(Cuttable(listener), app).with_graceful_shutdown(stopped).await {
                tracing::error!(error = &error as &dyn std::error::Error, "the sandbox upstream stopped");
            }
        });
        Ok(Upstream { address, state, stop, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL for an agent's configuration.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What goes wrong from now on; an empty list clears.
    pub fn put_faults(&self, faults: Vec<Fault>) {
        lock(&self.state.0.faults).put(faults);
    }

    /// Every event of every request, in order.
    pub fn attempts(&self) -> Vec<Line> {
        lock(&self.state.0.ledger).lines().to_vec()
    }

    /// Every event that was applied, in order.
    pub fn received(&self) -> Vec<Line> {
        lock(&self.state.0.ledger).lines().iter().filter(|line| line.applied).cloned().collect()
    }

    /// The line of the latest version of each entity, in the order of the subjects.
    pub fn latest(&self) -> Vec<Line> {
        lock(&self.state.0.ledger).latest().cloned().collect()
    }

    /// The SHA-256 (hex) and the size in bytes of each attachment.
    pub fn attachments(&self) -> BTreeMap<String, usize> {
        lock(&self.state.0.attachments).clone()
    }

    /// Loses an attachment, as an upstream may: an event that names it is answered `retry`.
    pub fn lose_attachment(&self, sha256: &str) {
        lock(&self.state.0.attachments).remove(sha256);
    }

    /// Loses the latest version of subjects, as an upstream may; answers those that lost one.
    pub fn lose(&self, subjects: &[String]) -> Result<Vec<String>, Error> {
        lock(&self.state.0.ledger).lose(subjects)
    }

    /// The latest heartbeat of each hospital.
    pub fn heartbeats(&self) -> Vec<Json> {
        lock(&self.state.0.heartbeats).values().cloned().collect()
    }

    /// Changes with each request that brought something: what a test or a demo waits for.
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.state.0.received.subscribe()
    }

    /// Stops listening and waits for the requests that are being served.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
    }
}

fn router(state: Shared) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/v1/events", post(receive::events))
        .route("/v1/digests", post(digests::digests))
        .route("/lose", post(digests::lose))
        .route("/v1/received", get(page::received))
        .route("/v1/entities/{entity}", get(page::entities))
        .route("/v1/heartbeats", post(receive::heartbeat).get(page::heartbeats))
        .route("/v1/attachments", get(page::attachments))
        .route("/v1/attachments/{sha256}", put(receive::attachment).get(page::attachment))
        .route("/faults", get(page::faults).put(page::put_faults).delete(page::delete_faults))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .with_state(state)
}

#[cfg(test)]
mod tests;
