//! The door of the admin address: who comes in, and what for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Extension, FromRequestParts, Request, State as Extract};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::{ACT_LOGIN, ACT_LOGOUT, ACT_REFUSED, Caller, Doorkeeper, Refusal, Role};
use crate::ops::http::ACT_HEADER;
use crate::ops::report::State;

/// The cookie that names a session.
pub const SESSION_COOKIE: &str = "hisync_session";

/// The page asks by itself, and nobody touches it: that keeps no session alive.
const IDLE_HEADER: &str = "x-hisync-idle";

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What anybody may have: signs of life, and the page with which to log in. None of it tells anything.
const FOR_ALL: [&str; 5] = ["/live", "/ready", "/api/login", "/api/me", "/"];

/// Logging in and out, and who is logged in.
pub fn routes() -> Router<Arc<State>> {
    Router::new().route("/api/login", post(log_in)).route("/api/logout", post(log_out)).route("/api/me", get(me))
}

/// Lets a request in, or says why not.
///
/// Everything that changes something needs a header which only scripts of this page can set (and in a
/// session the session's own word in it), so that no other web page acts through a person's browser.
pub async fn doors(Extract(keeper): Extract<Doorkeeper>, mut request: Request, next: Next) -> Response {
    match admit(&keeper, &request) {
        Ok(caller) => drop(request.extensions_mut().insert(caller)),
        Err(refusal) => return refusal.into_response(),
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"),
    );
    response
}

/// Why a request stays outside.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    Host,
    Header,
    Unknown,
    Role(Role),
}

impl IntoResponse for Stop {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Stop::Host => (StatusCode::FORBIDDEN, "ask for this page by its address or as localhost".to_owned()),
            Stop::Header => (StatusCode::FORBIDDEN, "the header x-hisync is missing or not this session's".to_owned()),
            Stop::Unknown => (StatusCode::UNAUTHORIZED, "log in, or send an operator's token".to_owned()),
            Stop::Role(role) => {
                (StatusCode::FORBIDDEN, format!("this needs the role \"{}\", which you don't have", role.as_str()))
            }
        };
        (status, Json(json!({ "error": text }))).into_response()
    }
}

fn admit(keeper: &Doorkeeper, request: &Request) -> Result<Caller, Stop> {
    let (headers, path) = (request.headers(), request.uri().path());
    // A name that somebody else points here lets a foreign page read what needs no session.
    if keeper.is_open() && !host_is_local(headers) {
        return Err(Stop::Host);
    }
    let acts = !request.method().is_safe();
    let known = match (bearer(headers), cookie(headers)) {
        (Some(token), _) => Some(keeper.by_token(token).ok_or(Stop::Unknown)?),
        (None, Some(session)) => keeper.by_session(session, headers.contains_key(IDLE_HEADER)),
        (None, None) => None,
    };
    let caller = match known {
        Some(caller) => caller,
        None if keeper.is_open() => Caller::trusted(),
        None if is_for_all(request) => Caller { name: None, roles: Vec::new(), proof: None },
        None => return Err(Stop::Unknown),
    };
    if acts {
        let shown = headers.get(ACT_HEADER).ok_or(Stop::Header)?;
        if caller.proof.as_ref().is_some_and(|proof| shown.as_bytes() != proof.as_bytes()) {
            return Err(Stop::Header);
        }
        if !matches!(path, "/api/login" | "/api/logout") && !caller.may(Role::Operate) {
            return Err(Stop::Role(Role::Operate));
        }
    }
    let personal = request
        .uri()
        .query()
        .is_some_and(|query| url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "personal"));
    if personal && !caller.may(Role::Personal) {
        return Err(Stop::Role(Role::Personal));
    }
    Ok(caller)
}

fn is_for_all(request: &Request) -> bool {
    let path = request.uri().path();
    if FOR_ALL.contains(&path) || (path.starts_with("/page.") && request.method() == Method::GET) {
        return true;
    }
    // A monitor on this machine needs no account; the figures name nobody.
    let local = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
    path == "/metrics" && local
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value)
}

fn host_is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok()
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Response> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Stop::Unknown.into_response())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    name: String,
    password: String,
}

async fn log_in(
    Extract(state): Extract<Arc<State>>,
    Extension(peer): Extension<Peer>,
    Json(asked): Json<Credentials>,
) -> Response {
    let keeper = &state.keeper;
    let begun = keeper.log_in(&asked.name, &asked.password, peer.0.ip()).await;
    let (who, act) = match &begun {
        Ok(_) => (asked.name.as_str(), ACT_LOGIN),
        // While it is not looked at, it is not written down either: the log must not grow by guessing.
        Err(Refusal::Wait(_)) => ("", ""),
        Err(_) => (keeper.known_name(&asked.name).unwrap_or("unknown"), ACT_REFUSED),
    };
    if !act.is_empty()
        && let Err(error) = state.store.audit(who, act, "admin", &peer.0.ip().to_string()).await
    {
        // Nobody gets in unseen.
        if let Ok(begun) = &begun {
            keeper.log_out(&begun.token);
        }
        let text = connector_api::chain(&error);
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": text }))).into_response();
    }
    match begun {
        Ok(begun) => {
            let secure = if keeper.is_secure() { "; Secure" } else { "" };
            let cookie = format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Strict{secure}", begun.token);
            let body = json!({ "name": asked.name, "roles": begun.roles, "proof": begun.proof });
            ([(header::SET_COOKIE, cookie)], Json(body)).into_response()
        }
        Err(refusal) => {
            let body = Json(json!({ "error": refusal.to_string() }));
            match refusal {
                Refusal::Wait(secs) => {
                    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, secs.to_string())], body).into_response()
                }
                Refusal::Wrong => (StatusCode::UNAUTHORIZED, body).into_response(),
                Refusal::Broken => (StatusCode::INTERNAL_SERVER_ERROR, body).into_response(),
            }
        }
    }
}

async fn log_out(Extract(state): Extract<Arc<State>>, caller: Caller, headers: HeaderMap) -> Response {
    if let (Some(name), Some(token)) = (&caller.name, cookie(&headers)) {
        state.keeper.log_out(token);
        if let Err(error) = state.store.audit(name, ACT_LOGOUT, "admin", "").await {
            tracing::warn!(%error, "a log-out could not be written into the audit log");
        }
    }
    let gone = format!("{SESSION_COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    ([(header::SET_COOKIE, gone)], Json(json!({}))).into_response()
}

/// Who asks: `open` where no operators are configured; `name` is null where nobody is logged in.
async fn me(Extract(state): Extract<Arc<State>>, caller: Caller) -> Json<serde_json::Value> {
    let open = state.keeper.is_open();
    Json(json!({ "open": open, "name": caller.name, "roles": caller.roles, "proof": caller.proof }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_somebody_else_points_here_are_refused() {
        let local = |host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            host_is_local(&headers)
        };
        assert!(local("127.0.0.1:8686") && local("localhost:8686") && local("[::1]:8686") && local("localhost"));
        assert!(!local("evil.example:8686") && !local("evil.example"));
    }

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; hisync_session=word; c=d"));
        assert_eq!(cookie(&headers), Some("word"));
        headers.insert(header::COOKIE, HeaderValue::from_static("not_hisync_session=word"));
        assert_eq!(cookie(&headers), None);
    }
}
