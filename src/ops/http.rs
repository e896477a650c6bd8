//! The admin address: health for machines, an API for commands, a page for people.
//!
//! Who comes in, and what for, is [`access`]'s business. Two doors stay shut in any case: a
//! foreign web page can't act through a browser (a header is asked for that only same-origin
//! scripts can set), nor read through a name that it points here (the Host must be an address or
//! `localhost` where no session is needed).

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{Path, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use connector_listen::{Door, Opened};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::access::{self, Caller, Peer};
use super::health::Level;
use super::report::State;
use super::{alerting, assets, codes, day, held, journal, metrics, outbox, reconcile, reload, shadow, switching};
use crate::intake::StreamState;
use crate::intake::codes::CodesError;
use crate::store;

/// The header that a request which changes something must carry.
pub const ACT_HEADER: &str = "x-hisync";

/// The header of `/live` with the word of [`AgentFile::run`](crate::agent::AgentFile).
pub const RUN_HEADER: &str = "x-hisync-run";

/// How long a peer may take for the head of a request, or for a TLS handshake.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may still take after a stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is served, which another configuration may replace while connections stay open.
#[derive(Clone)]
pub struct Pages(Arc<RwLock<Router>>);

impl Pages {
    /// Serves one state.
    pub fn new(state: State) -> Pages {
        Pages(Arc::new(RwLock::new(router(state))))
    }

    /// Serves another one from the next request on.
    pub fn put(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = router(state);
    }

    fn now(&self) -> Router {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves until `stop`, when the port is free at once; connections that are open then end with `farewell`.
pub async fn serve(
    opened: Opened,
    pages: Pages,
    stop: CancellationToken,
    farewell: CancellationToken,
) -> std::io::Result<()> {
    let serve = |door: Arc<Door>, stream, peer| {
        let connection = Connection { pages: pages.clone(), peer, stop: farewell.clone() };
        connection.serve(door, stream)
    };
    let served = async {
        tokio::select! {
            // It ends when the last connection has ended.
            () = opened.serve(&stop, serve) => {}
            // The server ends by itself once it is told to; this only keeps the recorder small.
            never = metrics::upkeep() => match never {},
        }
    };
    served.await;
    Ok(())
}

fn router(state: State) -> Router {
    metrics::recorder();
    let keeper = state.keeper.clone();
    Router::new()
        .merge(access::routes())
        .merge(assets::routes())
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/api/status", get(status))
        .route("/api/upstream/reset", post(reset))
        .merge(shadow::routes())
        .route("/api/sources/{id}/reset", post(reset_source))
        .merge(held::routes())
        .merge(outbox::routes())
        .merge(codes::routes())
        .merge(alerting::routes())
        .merge(reconcile::routes())
        .merge(journal::routes())
        .merge(day::routes())
        .merge(reload::routes())
        .merge(switching::routes())
        .layer(middleware::from_fn_with_state(keeper, access::doors))
        .with_state(Arc::new(state))
}

/// Answers each request of a connection by what is served at that moment.
struct Desk {
    pages: Pages,
    peer: SocketAddr,
}

impl hyper::service::Service<hyper::Request<hyper::body::Incoming>> for Desk {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, mut request: hyper::Request<hyper::body::Incoming>) -> Self::Future {
        request.extensions_mut().insert(Peer(self.peer));
        let router = TowerToHyperService::new(self.pages.now());
        Box::pin(async move { router.call(request).await })
    }
}

struct Connection {
    pages: Pages,
    peer: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, door: Arc<Door>, stream: TcpStream) {
        if !door.is_encrypted() {
            return self.converse(stream).await;
        }
        if let Some(stream) = door.encrypted(stream, self.peer, HEAD_WITHIN, &self.stop).await {
            self.converse(stream).await;
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = Desk { pages: self.pages.clone(), peer: self.peer };
        let mut connection = pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(FAREWELL, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(peer = %self.peer, %error, "a connection to the admin address broke off");
        }
    }
}

/// A failure as the API answers it.
pub(super) enum Failure {
    /// The request lacks something that the audit log needs, or says too little on what to act.
    Incomplete(&'static str),
    /// What is asked for can't be done now, or not like this.
    Refused(String),
    /// The store failed, or refuses.
    Store(store::Error),
    /// A code can't be added to its table.
    Codes(CodesError),
    /// A channel did not take a trial message.
    Alert(super::alert::SendError),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = match self {
            Failure::Incomplete(text) => {
                return (StatusCode::BAD_REQUEST, Json(json!({ "error": text }))).into_response();
            }
            Failure::Refused(text) => {
                return (StatusCode::CONFLICT, Json(json!({ "error": text }))).into_response();
            }
            Failure::Codes(error) => {
                let status = match error {
                    CodesError::File { .. } => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => StatusCode::CONFLICT,
                };
                return (status, Json(json!({ "error": connector_api::chain(&error) }))).into_response();
            }
            Failure::Alert(error) => {
                let status = match error {
                    super::alert::SendError::Unknown(..) => StatusCode::NOT_FOUND,
                    _ => StatusCode::BAD_GATEWAY,
                };
                return (status, Json(json!({ "error": connector_api::chain(&error) }))).into_response();
            }
            Failure::Store(error) => error,
        };
        let status = match error {
            store::Error::NotFound { .. } => StatusCode::NOT_FOUND,
            store::Error::Superseded | store::Error::Refused(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": error.to_string() }))).into_response()
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        Failure::Store(error)
    }
}

pub(super) type Answer<T> = Result<Json<T>, Failure>;
pub(super) type Shared = Extract<Arc<State>>;

async fn live(Extract(state): Shared) -> impl IntoResponse {
    ([(RUN_HEADER, state.run.clone())], "alive\n")
}

async fn ready(Extract(state): Shared) -> Response {
    let starting = state.board.all().iter().filter(|stream| stream.state == StreamState::Starting).count();
    let store = state.store.next_due().await;
    match (store, starting) {
        (Ok(_), 0) => "ready\n".into_response(),
        (Ok(_), n) => (StatusCode::SERVICE_UNAVAILABLE, format!("{n} streams are starting\n")).into_response(),
        (Err(error), _) => (StatusCode::SERVICE_UNAVAILABLE, format!("the store: {error}\n")).into_response(),
    }
}

async fn status(Extract(state): Shared) -> Answer<serde_json::Value> {
    Ok(Json(state.report().await?.json()))
}

async fn scrape(Extract(state): Shared) -> Response {
    if let Ok(report) = state.report().await {
        metrics::publish(&report);
    }
    match metrics::recorder() {
        Some(recorder) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], recorder.render()).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "another recorder is installed\n").into_response(),
    }
}

async fn reset(Extract(state): Shared, caller: Caller, body: Option<Json<Who>>) -> Answer<serde_json::Value> {
    let claimed = body.map(|Json(Who { who })| who).filter(|who| !who.trim().is_empty());
    let who = caller.who(claimed.as_deref().unwrap_or("local"));
    state.store.audit(who, "upstream-reset", "upstream", "").await?;
    (state.delivery)().reset_breaker();
    Ok(Json(json!({ "reset": true })))
}

/// Who acts.
#[derive(Deserialize)]
struct Who {
    who: String,
}

async fn reset_source(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<String>,
    Json(Who { who }): Json<Who>,
) -> Result<Response, Failure> {
    let who = caller.who(&who);
    if who.trim().is_empty() {
        return Err(Failure::Incomplete("say who acts: the audit log keeps it"));
    }
    if !state.breakers.reset(&id) {
        let error = json!({ "error": "no source of this id is asked; `hisync sources list` shows those that are" });
        return Ok((StatusCode::NOT_FOUND, Json(error)).into_response());
    }
    state.store.audit(who, "source-reset", &format!("source/{id}"), "").await?;
    Ok(Json(json!({ "reset": true })).into_response())
}

/// The level as a number, for monitors.
pub(super) fn level_number(level: Level) -> f64 {
    match level {
        Level::Ok => 0.0,
        Level::Attention => 1.0,
        Level::Failing => 2.0,
    }
}
