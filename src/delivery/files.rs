//! The loop that sends files before the events that name them.
//!
//! One at a time, with a breaker of its own: files are large, their address is another one, and
//! whatever is wrong with it must not keep back events without files. What upstream has is told to the
//! store, which lets the events go. A crash between the two sends the file again, which does no harm.

use std::time::Duration;

use bytes::Bytes;
use metrics::counter;
use reqwest::Method;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::classify::{Answer, Reply, classify, words_of};
use super::client::{Client, Outgoing};
use super::settings::Compression;
use super::status::{LastFailure, Status, explain};
use super::{Resets, Stored};
use crate::breaker::{Breaker, Permit};
use crate::retry::Policy;
use crate::store::{DueFile, FileVerdict, Store};
use crate::switches::{HOLD_DELIVERIES, Switches};

/// The store is asked so often even if nothing woke the loop: for files whose next attempt is due.
const IDLE: Duration = Duration::from_secs(2);
/// After the store failed it is asked again so much later.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A request that puts a file under the SHA-256 (hex) of its bytes.
pub(super) fn outgoing(sha256: &str, media_type: &str, bytes: Bytes) -> Outgoing {
    Outgoing {
        method: Method::PUT,
        path: format!("/v1/attachments/{sha256}"),
        media_type: media_type.to_owned(),
        id: sha256.to_owned(),
        body: bytes,
        compression: Compression::None,
    }
}

/// What an answer to a file means.
pub(super) fn meaning(reply: &Reply, now: chrono::DateTime<chrono::Utc>) -> Result<Stored, Answer> {
    match reply {
        Reply::Answered { status: 200 | 201 | 204 | 409, .. } => Ok(Stored::Yes),
        Reply::Answered { status: 413, .. } => Ok(Stored::Refused { code: "too-large".to_owned() }),
        Reply::Answered { status: status @ (400 | 415 | 422), body, .. } => {
            let code = words_of(body.as_deref()).0.unwrap_or_else(|| format!("http-{status}"));
            Ok(Stored::Refused { code })
        }
        // A success that the contract does not name says nothing certain.
        Reply::Answered { status: status @ 200..=299, .. } => {
            Err(Answer::Retry { code: format!("http-{status}"), sent: true, after: None, everything: false })
        }
        reply => Err(classify(reply, &[], now)),
    }
}

/// See the module.
pub(super) struct Courier {
    client: Client,
    store: Store,
    policy: Policy,
    breaker: Breaker,
    publish: watch::Sender<Status>,
    resets: Resets,
    switches: Switches,
}

impl Courier {
    pub(super) fn new(
        client: Client,
        store: Store,
        publish: watch::Sender<Status>,
        resets: Resets,
        switches: Switches,
    ) -> Courier {
        let policy = client.settings().retry.policy();
        Courier { client, store, policy, breaker: Breaker::new(policy), publish, resets, switches }
    }

    /// Sends files until told to stop. What is on its way then is sent again after the next start.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (store, resets) = (self.store.clone(), self.resets.clone());
        while !stop.is_cancelled() {
            let wake = tokio::select! {
                wake = self.step() => wake,
                () = stop.cancelled() => break,
            };
            if wake <= Instant::now() {
                continue;
            }
            tokio::select! {
                () = sleep_until(wake) => {}
                () = store.file_arrived() => {}
                () = resets.files_notified() => self.breaker.reset(),
                () = stop.cancelled() => break,
            }
        }
    }

    /// Sends one file, where one is due and may be sent; answers when to look again.
    async fn step(&mut self) -> Instant {
        let now = Instant::now();
        if self.switches.on(&HOLD_DELIVERIES).is_some() {
            return now + IDLE;
        }
        let probe = match self.breaker.permit(now) {
            Permit::Free => false,
            Permit::Probe => true,
            Permit::WaitUntil(until) => return until,
            // The only request is this loop's own, and it has come back.
            Permit::WaitForProbe => true,
        };
        let file = match self.store.file_due().await {
            Ok(Some(file)) => file,
            Ok(None) => return now + IDLE,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "files can't be read from the store");
                return now + STORE_PAUSE;
            }
        };
        if probe {
            self.breaker.begin_probe();
        }
        let verdict = self.send(&file).await;
        if let Err(error) = self.store.settle_file(&file.sha256, verdict).await {
            tracing::error!(error = &error as &dyn std::error::Error, "what became of a file can't be written");
            return Instant::now() + STORE_PAUSE;
        }
        now
    }

    async fn send(&mut self, file: &DueFile) -> FileVerdict {
        let Some(bytes) = file.bytes.clone() else {
            let message = "the store no longer has the file's bytes: have the record read again".to_owned();
            return self.refused("attachment-unreadable".to_owned(), message);
        };
        let reply = self.client.send(outgoing(&file.sha256, &file.media_type, bytes)).await.reply;
        let wall = self.client.clock().now();
        match meaning(&reply, wall) {
            Ok(Stored::Yes) => {
                self.succeeded();
                self.publish.send_modify(|shown| shown.attachments.stored += 1);
                counter!("hisync_delivery_attachments_total", "answer" => "stored").increment(1);
                FileVerdict::Stored
            }
            Ok(Stored::Refused { code }) => {
                self.succeeded();
                self.refused(code, "upstream refuses a file that the event names".to_owned())
            }
            Ok(Stored::NotYet { code, after }) => self.later(file, &code, after, false),
            Err(Answer::Misconfigured { code, .. }) => {
                if self.breaker.misconfigured(&code, Instant::now(), wall) {
                    tracing::error!(code, meaning = explain(&code), "upstream takes no files as configured: paused");
                }
                self.put_off(file, &code, None)
            }
            Err(Answer::Retry { code, after, everything, .. }) => self.later(file, &code, after, everything),
            Err(Answer::Receipts(_) | Answer::Split { .. }) => self.later(file, "answer-unreadable", None, false),
        }
    }

    fn refused(&mut self, code: String, message: String) -> FileVerdict {
        tracing::warn!(code, "a file is refused: the events that name it are held");
        self.publish.send_modify(|shown| shown.attachments.refused += 1);
        counter!("hisync_delivery_attachments_total", "answer" => "refused").increment(1);
        FileVerdict::Refused { code, message }
    }

    fn later(&mut self, file: &DueFile, code: &str, after: Option<Duration>, everything: bool) -> FileVerdict {
        let (now, wall) = (Instant::now(), self.client.clock().now());
        if self.breaker.unavailable(code, now, wall) {
            tracing::error!(code, meaning = explain(code), "upstream takes no files: paused");
        }
        if let (true, Some(after)) = (everything, after) {
            self.breaker.pause(after, now, wall);
        }
        self.put_off(file, code, after)
    }

    fn put_off(&mut self, file: &DueFile, code: &str, after: Option<Duration>) -> FileVerdict {
        let wall = self.client.clock().now();
        let failure = LastFailure { at: wall, code: code.to_owned(), text: explain(code) };
        let breaker = self.breaker.status();
        self.publish.send_modify(|shown| {
            shown.attachments.breaker = breaker;
            shown.attachments.last_failure = Some(failure);
            shown.attachments.retried += 1;
        });
        counter!("hisync_delivery_attachments_total", "answer" => "retry").increment(1);
        let asked = after.and_then(|after| chrono::TimeDelta::from_std(after).ok()).map(|after| wall + after);
        let at = self.policy.next_time(file.attempts, wall);
        FileVerdict::Retry { at: asked.map_or(at, |asked| asked.max(at)), code: code.to_owned() }
    }

    fn succeeded(&mut self) {
        if self.breaker.success() {
            tracing::info!("upstream takes files again");
        }
        let breaker = self.breaker.status();
        self.publish.send_modify(|shown| shown.attachments.breaker = breaker);
    }
}
