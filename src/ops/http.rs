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

use axum::extract::{Path, Query, State as Extract};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use connector_api::{Decoder, StreamId};
use connector_listen::{Door, Opened};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::access::{self, Caller, Peer};

use super::codes::{self, MapCode, MapError, Mapped};
use super::health::Level;
use super::report::State;
use super::{acts, mask, metrics};
use crate::intake::StreamState;
use crate::intake::codes::{CodesError, Unmapped, unmapped};
use crate::store::{self, HeldDetail, HeldFilter, Reader};

const PAGE: &str = include_str!("web/page.html");
const STYLE: &str = include_str!("web/page.css");
const WORDS: &str = include_str!("web/page.words.js");
const TOOLS: &str = include_str!("web/page.tools.js");
const ACCESS: &str = include_str!("web/page.access.js");
const HELD: &str = include_str!("web/page.held.js");
const SCRIPT: &str = include_str!("web/page.js");

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
        .route("/", get(|| asset("text/html; charset=utf-8", PAGE)))
        .route("/page.css", get(|| asset("text/css; charset=utf-8", STYLE)))
        .route("/page.words.js", get(|| asset("text/javascript; charset=utf-8", WORDS)))
        .route("/page.tools.js", get(|| asset("text/javascript; charset=utf-8", TOOLS)))
        .route("/page.access.js", get(|| asset("text/javascript; charset=utf-8", ACCESS)))
        .route("/page.held.js", get(|| asset("text/javascript; charset=utf-8", HELD)))
        .route("/page.js", get(|| asset("text/javascript; charset=utf-8", SCRIPT)))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/api/status", get(status))
        .route("/api/held", get(held_list))
        .route("/api/held/{id}", get(held_show))
        .route("/api/held/retry", post(retry))
        .route("/api/held/release", post(release))
        .route("/api/held/dismiss", post(dismiss))
        .route("/api/held/{id}/retry", post(retry_one))
        .route("/api/held/{id}/release", post(release_one))
        .route("/api/held/{id}/dismiss", post(dismiss_one))
        .route("/api/outbox", get(outbox_list))
        .route("/api/outbox/{id}", get(outbox_show))
        .route("/api/explain", get(explain))
        .route("/api/codes", get(codes_list))
        .route("/api/codes/map", post(codes_map))
        .route("/api/upstream/reset", post(reset))
        .merge(super::alerting::routes())
        .merge(super::shadow::routes())
        .route("/api/sources/{id}/reset", post(reset_source))
        .route("/api/reconcile", get(super::reconcile::list).post(super::reconcile::ask))
        .route("/api/reconcile/{id}", get(super::reconcile::show))
        .route("/api/audit", get(audit_list))
        .route("/api/audit/verify", get(audit_verify))
        .merge(super::reload::routes())
        .merge(super::switching::routes())
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

async fn asset(media_type: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-cache")], text)
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

/// Which held items, as query or JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selection {
    /// Only this one.
    pub id: Option<i64>,
    /// Only of this stream.
    pub stream: Option<String>,
    /// Only for this reason.
    pub reason: Option<String>,
    /// Closed ones too; for an act, whatever is open, where nothing else narrows it.
    pub all: bool,
    /// At most so many.
    pub limit: Option<usize>,
    /// Behind this one.
    pub after: Option<i64>,
}

impl Selection {
    /// The store's filter.
    pub fn filter(&self) -> HeldFilter {
        HeldFilter { id: self.id, stream: self.stream.clone(), reason: self.reason.clone(), open_only: !self.all }
    }
}

/// Who acts, on what, and why.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Act {
    /// The person's name, for the audit log.
    pub who: String,
    /// Why (dismiss).
    pub because: String,
    /// On what; for an act on one item its path says so.
    pub on: Selection,
}

async fn held_list(Extract(state): Shared, Query(asked): Query<Selection>) -> Answer<Vec<store::HeldSummary>> {
    let (filter, limit, after) = (asked.filter(), asked.limit.unwrap_or(100), asked.after.unwrap_or(0));
    Ok(Json(state.store.read(move |reader| reader.held_list(&filter, limit, after)).await?))
}

/// How a held item or an outbox entry is to be shown.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Look {
    /// Show personal data, for this reason.
    pub personal: Option<String>,
    /// The person's name, for the audit log.
    pub who: Option<String>,
}

impl Look {
    /// Who wants to see personal data and why; `None` where nobody does.
    fn audited<'a>(&'a self, caller: &'a Caller) -> Result<Option<(&'a str, &'a str)>, Failure> {
        let Some(reason) = self.personal.as_deref() else { return Ok(None) };
        let who = caller.who(self.who.as_deref().unwrap_or_default());
        if reason.trim().is_empty() || who.trim().is_empty() {
            return Err(Failure::Incomplete("personal data needs a name (who) and a reason (personal)"));
        }
        Ok(Some((who, reason)))
    }
}

/// A held item with its raw record as text.
#[derive(Debug, Serialize)]
pub struct HeldView {
    /// The item, its findings and history.
    #[serde(flatten)]
    pub detail: serde_json::Value,
    /// The raw record, decoded; masked unless a reason was given.
    pub raw_text: Option<String>,
}

async fn held_show(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Query(look): Query<Look>,
) -> Result<Json<HeldView>, Failure> {
    let detail = state.store.read(move |reader| reader.held_show(id)).await?;
    if let Some((who, reason)) = look.audited(&caller)? {
        state.store.audit(who, "show-personal", &format!("held/{id}"), reason).await?;
    }
    let decoder = |stream: &StreamId| state.again.of(stream).map(|(_, decoder)| decoder.clone());
    Ok(Json(view(decoder, detail, look.personal.is_some())))
}

/// A held item as it is shown: decoded by its stream's decoder, masked unless `personal`.
///
/// Where the decoder is not known, a record that was archived as hisync's own document is read all the same.
pub fn view(
    decoder: impl FnOnce(&StreamId) -> Option<Arc<dyn Decoder>>,
    detail: HeldDetail,
    personal: bool,
) -> HeldView {
    let raw_text = detail.record.as_ref().map(|record| {
        if let Some(at) = record.given_up_at {
            return format!("its bytes were given up on {}: the archive does not reach back so far", at.date_naive());
        }
        let decoder = StreamId::parse(&record.stream).and_then(|stream| decoder(&stream));
        let decoded = match &decoder {
            Some(decoder) => decoder.decode(&connector_api::Raw {
                format: record.format.clone(),
                charset: record.charset.clone(),
                body: record.body.clone(),
            }),
            None => connector_api::Document::from_bytes(&record.body),
        };
        match decoded {
            Ok(document) => {
                let root = if personal { document.root } else { mask::masked_map(&document.root) };
                let json = serde_json::Value::from(&connector_api::Value::Map(root));
                serde_json::to_string_pretty(&json).unwrap_or_default()
            }
            Err(_) if decoder.is_none() => {
                let (bytes, format, stream) = (record.body.len(), &record.format, &record.stream);
                format!("{bytes} bytes of {format}: only a configuration with the stream {stream} can read them")
            }
            Err(failure) if personal => {
                format!("{failure}\n\n{}", String::from_utf8_lossy(&record.body))
            }
            Err(failure) => format!("{failure}\n{} bytes", record.body.len()),
        }
    });
    let mut json = serde_json::to_value(&detail).unwrap_or_default();
    if !personal {
        for part in ["findings", "event"] {
            if let Some(value) = json.get_mut(part) {
                *value = mask::masked_json(value);
            }
        }
    }
    HeldView { detail: json, raw_text }
}

impl Act {
    /// Under the name of who asks, whatever the request says.
    fn by(mut self, caller: &Caller) -> Act {
        self.who = caller.who(&self.who).to_owned();
        self
    }

    /// An act on the items that `on` selects, which has to say something: an empty body never means "all".
    fn group(self) -> Result<Act, Failure> {
        let on = &self.on;
        if on.id.is_none() && on.stream.is_none() && on.reason.is_none() && !on.all {
            return Err(Failure::Incomplete("say on what: on.id, on.stream, on.reason or on.all"));
        }
        self.signed()
    }

    /// An act on the item that the path names.
    fn one(mut self, id: i64) -> Result<Act, Failure> {
        self.on = Selection { id: Some(id), ..Selection::default() };
        self.signed()
    }

    fn signed(self) -> Result<Act, Failure> {
        match self.who.trim().is_empty() {
            true => Err(Failure::Incomplete("say who acts: the audit log keeps it")),
            false => Ok(self),
        }
    }

    fn reasoned(self) -> Result<Act, Failure> {
        match self.because.trim().is_empty() {
            true => Err(Failure::Incomplete("say why (because): the audit log keeps it")),
            false => Ok(self),
        }
    }
}

async fn do_retry(state: &State, act: Act) -> Answer<acts::Done> {
    Ok(Json(acts::retry(&state.store, &state.again, act.on.filter(), &act.who).await?))
}

async fn do_release(state: &State, act: Act) -> Answer<acts::Done> {
    Ok(Json(acts::release(&state.store, act.on.filter(), &act.who).await?))
}

async fn do_dismiss(state: &State, act: Act) -> Answer<acts::Done> {
    let act = act.reasoned()?;
    Ok(Json(acts::dismiss(&state.store, act.on.filter(), &act.who, &act.because).await?))
}

async fn retry(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_retry(&state, act.by(&caller).group()?).await
}

async fn release(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_release(&state, act.by(&caller).group()?).await
}

async fn dismiss(Extract(state): Shared, caller: Caller, Json(act): Json<Act>) -> Answer<acts::Done> {
    do_dismiss(&state, act.by(&caller).group()?).await
}

async fn retry_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_retry(&state, act.by(&caller).one(id)?).await
}

async fn release_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_release(&state, act.by(&caller).one(id)?).await
}

async fn dismiss_one(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Json(act): Json<Act>,
) -> Answer<acts::Done> {
    do_dismiss(&state, act.by(&caller).one(id)?).await
}

/// Which outbox entries.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waiting {
    /// Only in this state; without it those that are neither delivered nor held.
    pub state: Option<String>,
    /// At most so many.
    pub limit: Option<usize>,
    /// Behind this one.
    pub after: Option<i64>,
}

async fn outbox_list(Extract(state): Shared, Query(asked): Query<Waiting>) -> Answer<Vec<store::OutboxSummary>> {
    let (limit, after) = (asked.limit.unwrap_or(100), asked.after.unwrap_or(0));
    let list = move |reader: &Reader| reader.outbox_list(asked.state.as_deref(), limit, after);
    Ok(Json(state.store.read(list).await?))
}

async fn outbox_show(
    Extract(state): Shared,
    caller: Caller,
    Path(id): Path<i64>,
    Query(look): Query<Look>,
) -> Answer<serde_json::Value> {
    let detail = state.store.read(move |reader| reader.outbox_show(id)).await?;
    let mut json = serde_json::to_value(&detail).unwrap_or_default();
    match look.audited(&caller)? {
        Some((who, reason)) => state.store.audit(who, "show-personal", &format!("outbox/{id}"), reason).await?,
        None => mask_event(&mut json),
    }
    Ok(Json(json))
}

/// Masks the data of an outbox entry's event; its envelope is ours.
pub fn mask_event(detail: &mut serde_json::Value) {
    if let Some(data) = detail.pointer_mut("/event/data") {
        *data = mask::masked_json(data);
    }
}

#[derive(Deserialize)]
struct Asked {
    q: String,
}

async fn explain(Extract(state): Shared, Query(asked): Query<Asked>) -> Answer<store::Explained> {
    Ok(Json(state.store.read(move |reader| reader.explain(&asked.q)).await?))
}

async fn codes_list(Extract(state): Shared) -> Answer<Vec<Unmapped>> {
    let codes = state.store.read(Reader::unknown_codes).await?;
    Ok(Json(unmapped(state.again.readers(), codes)))
}

async fn codes_map(Extract(state): Shared, caller: Caller, Json(mut asked): Json<MapCode>) -> Answer<Mapped> {
    asked.who = caller.who(&asked.who).to_owned();
    if asked.who.trim().is_empty() {
        return Err(Failure::Incomplete("say who acts: the audit log keeps it"));
    }
    let unknown = state.store.read(Reader::unknown_codes).await?;
    let done = codes::map(&state.store, state.again.readers(), unknown, &asked).await;
    let mapped = done.map_err(|error| match error {
        MapError::Codes(error) => Failure::Codes(error),
        MapError::Store(error) => Failure::Store(error),
    })?;
    let applied = if state.reload.ask(&asked.who) { "now" } else { "reload" };
    Ok(Json(Mapped { applied, ..mapped }))
}

async fn reset(Extract(state): Shared, caller: Caller) -> Answer<serde_json::Value> {
    state.store.audit(caller.who("local"), "upstream-reset", "upstream", "").await?;
    (state.delivery)().reset_breaker();
    Ok(Json(json!({ "reset": true })))
}

/// Which lines of the audit log.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// Only those with smaller numbers.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: Option<usize>,
}

async fn audit_list(Extract(state): Shared, Query(asked): Query<Lines>) -> Answer<Vec<store::AuditLine>> {
    let (before, limit) = (asked.before, asked.limit.unwrap_or(100));
    Ok(Json(state.store.read(move |reader| reader.audit_list(before, limit)).await?))
}

async fn audit_verify(Extract(state): Shared) -> Answer<store::AuditCheck> {
    Ok(Json(state.store.read(Reader::audit_verify).await?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_chinese_words_for_every_rule() {
        let chinese = WORDS.split("\n  en: {").next().unwrap();
        let lacks =
            |code: &&str| !chinese.contains(&format!("{code}: ")) && !chinese.contains(&format!("\"{code}\": "));
        let missing: Vec<&str> = crate::mapping::rules::all().iter().map(|rule| rule.code).filter(lacks).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn acts_need_a_name_and_say_on_what() {
        let on = Selection { reason: Some("unknown-code".into()), ..Selection::default() };
        let act = |who: &str, on: &Selection| Act { who: who.into(), because: String::new(), on: on.clone() };
        assert!(act("wang", &on).group().is_ok());
        assert!(act("wang", &Selection::default()).group().is_err());
        assert!(act(" ", &on).group().is_err());
        assert!(act("", &on).one(7).is_err());
        assert_eq!(act("wang", &on).one(7).ok().map(|act| (act.on.id, act.on.reason)), Some((Some(7), None)));
        assert!(act("wang", &on).reasoned().is_err());
    }

    #[test]
    fn personal_data_is_shown_for_a_name_and_a_reason_alone() {
        let trusted = Caller { name: None, roles: Vec::new(), proof: None };
        let look = |personal: Option<&str>, who: Option<&str>| Look {
            personal: personal.map(str::to_owned),
            who: who.map(str::to_owned),
        };
        assert_eq!(look(None, Some("wang")).audited(&trusted).ok(), Some(None));
        assert_eq!(look(Some("compare"), Some("wang")).audited(&trusted).ok(), Some(Some(("wang", "compare"))));
        assert!(look(Some("compare"), None).audited(&trusted).is_err());
        assert!(look(Some(" "), Some("wang")).audited(&trusted).is_err());
    }
}
