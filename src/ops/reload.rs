//! Another configuration while the agent runs: who asks for it, and what came of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State as Extract};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::access::Caller;
use super::health::Reason;
use super::http::{Answer, Failure, Shared};
use super::journal::Lines;
use super::report::State;
use crate::diagnose::ProblemJson;
use crate::store::ConfigVersion;

/// Who asks where a signal came.
pub const BY_SIGNAL: &str = "signal";
/// Who asks where a file has changed.
pub const BY_FILE: &str = "file";

/// Questions that may wait: more say the same.
const QUEUE: usize = 16;

/// What became of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The files say what they said before.
    Unchanged,
    /// It is in force.
    Applied,
    /// It would be applied like this (`--dry-run`).
    WouldApply,
    /// It is in force once everything has started anew, which begins now: it changes what the whole agent stands on.
    Restarting,
    /// It would start everything anew (`--dry-run`).
    WouldRestart,
    /// It has problems; nothing was touched.
    Refused,
    /// A part of it did not start: the one before is in force again.
    RolledBack,
}

/// What happens to a part of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The part: `stream peis/reports`, `listener lab`, `delivery`, …
    pub part: String,
    /// `starts`, `ends`, `starts anew`, `goes on by the new mapping`, ….
    pub effect: String,
    /// Which of its settings differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// What became of a request to load the configuration again. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Who asked: a name, `signal` or `file`.
    pub who: String,
    /// The configuration in force afterwards: SHA-256 (hex) over its files.
    pub digest: String,
    /// The settings that differ, as their paths: `sources.peis.settings.host`.
    pub changed: Vec<String>,
    /// What that does to the parts of the agent. What is not named goes on untouched.
    pub parts: Vec<Part>,
    /// Problems of the files.
    pub problems: Vec<ProblemJson>,
    /// Parts that can't start, or would not work where they work now.
    pub troubles: Vec<String>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// The problems for people, as `hisync check` shows them.
    pub text: String,
}

impl Outcome {
    /// An outcome about nothing yet.
    pub fn new(verdict: Verdict, at: DateTime<Utc>, who: &str, digest: &str) -> Outcome {
        Outcome {
            verdict,
            at,
            who: who.to_owned(),
            digest: digest.to_owned(),
            changed: Vec::new(),
            parts: Vec::new(),
            problems: Vec::new(),
            troubles: Vec::new(),
            notes: Vec::new(),
            text: String::new(),
        }
    }

    /// Whether the configuration on the disk is not the one in force.
    pub fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Refused | Verdict::RolledBack)
    }
}

/// A request to load the configuration again.
#[derive(Debug)]
pub struct Request {
    /// Only say what would happen.
    pub dry_run: bool,
    /// Who asks: a name, `signal` or `file`.
    pub who: String,
    /// Whom to tell; nobody waits for an answer to a signal.
    pub answer: Option<oneshot::Sender<Outcome>>,
}

/// The way to the process that can load its configuration again. It outlives an agent that starts anew.
#[derive(Debug)]
pub struct Reload {
    ask: mpsc::Sender<Request>,
    asked: tokio::sync::Mutex<mpsc::Receiver<Request>>,
    heard: AtomicBool,
    last: Mutex<Option<Outcome>>,
}

impl Default for Reload {
    fn default() -> Reload {
        let (ask, asked) = mpsc::channel(QUEUE);
        Reload { ask, asked: tokio::sync::Mutex::new(asked), heard: AtomicBool::new(false), last: Mutex::default() }
    }
}

impl Reload {
    /// The next request. Whoever never waits here can't be asked. May be dropped at any time.
    pub async fn asked(&self) -> Request {
        self.heard.store(true, Ordering::SeqCst);
        match self.asked.lock().await.recv().await {
            Some(request) => request,
            // The sender lives in this struct.
            None => std::future::pending().await,
        }
    }

    /// Asks, and waits for no answer; answers whether anybody listens.
    pub fn ask(&self, who: &str) -> bool {
        let heard = self.heard.load(Ordering::SeqCst);
        if heard {
            // A full queue says the same already.
            let _ = self.ask.try_send(Request { dry_run: false, who: who.to_owned(), answer: None });
        }
        heard
    }

    /// Asks, and waits for what comes of it; `None` where nobody listens.
    async fn wait(&self, dry_run: bool, who: &str) -> Option<Outcome> {
        if !self.heard.load(Ordering::SeqCst) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        self.ask.send(Request { dry_run, who: who.to_owned(), answer: Some(answer) }).await.ok()?;
        answered.await.ok()
    }

    /// Notes what came of the last request that was no dry run.
    pub fn note(&self, outcome: Outcome) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// What came of the last request that was no dry run.
    pub fn last(&self) -> Option<Outcome> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the configuration on the disk is not the one in force.
    pub fn reason(&self) -> Option<Reason> {
        let last = self.last().filter(Outcome::is_bad)?;
        let problems = last.problems.len() + last.troubles.len();
        let first = last.troubles.first().cloned().or_else(|| {
            let problem = last.problems.first()?;
            Some(match problem.line {
                Some(line) => format!("{}:{line}: {}", problem.file, problem.message),
                None => format!("{}: {}", problem.file, problem.message),
            })
        });
        let first = first.unwrap_or_default();
        let (text, text_zh) = match last.verdict {
            Verdict::RolledBack => (
                format!("a part of the new configuration did not start, the old one goes on: {first}"),
                format!("新配置有一部分无法启动，已退回旧配置：{first}"),
            ),
            _ => (
                format!("the new configuration is refused ({problems} problems), the old one goes on: {first}"),
                format!("新配置有 {problems} 个问题，未采用，旧配置继续运行：{first}"),
            ),
        };
        Some(Reason::new("config-refused", "configuration").since(last.at).says(text, text_zh))
    }
}

/// How the configuration is to be loaded again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ask {
    /// Only say what would happen.
    pub dry_run: bool,
    /// The person's name, for the audit log.
    pub who: String,
}

/// `GET` and `POST /api/reload`, `GET /api/config/history`.
pub(super) fn routes() -> Router<Arc<State>> {
    Router::new().route("/api/reload", get(last).post(ask)).route("/api/config/history", get(history))
}

async fn last(Extract(state): Shared) -> Json<Option<Outcome>> {
    Json(state.reload.last())
}

async fn ask(Extract(state): Shared, caller: Caller, Json(asked): Json<Ask>) -> Result<Response, Failure> {
    let who = caller.who(&asked.who).trim().to_owned();
    if who.is_empty() {
        return Err(Failure::Incomplete("say who acts: the audit log keeps it"));
    }
    match state.reload.wait(asked.dry_run, &who).await {
        Some(outcome) => Ok(Json(outcome).into_response()),
        None => {
            let error =
                json!({ "error": "this agent was not started with a configuration file that it could read again" });
            Ok((StatusCode::CONFLICT, Json(error)).into_response())
        }
    }
}

async fn history(Extract(state): Shared, Query(asked): Query<Lines>) -> Answer<Vec<ConfigVersion>> {
    let limit = asked.limit.unwrap_or(100);
    Ok(Json(state.store.read(move |reader| reader.config_versions(limit)).await?))
}
