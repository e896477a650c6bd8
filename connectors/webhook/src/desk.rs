//! One request, from its head to the answer.
//!
//! The dangerous order is in [`Desk::receive`]: an answer of success is written only after
//! [`Intake::accept`] returned `Ok`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connector_api::{CancellationToken, Intake, Record, Refusal, SourceId, SourceSpec, StreamId};
use connector_listen::Gripes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use mime::Mime;
use sha2::{Digest as _, Sha256};

use crate::auth::Guard;
use crate::body::{Body, Broken, Inlet, gunzip};
use crate::reading::{Form, Format, Reader, unreadable};
use crate::settings::{Limits, Settings, Stream, Unreadable};

/// A longer idempotency key is replaced by its hash.
const LONGEST_KEY: usize = 128;

/// When a sender may try again where nothing says so.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// The rules of one source.
pub(crate) struct Desk {
    pub(crate) source: SourceId,
    pub(crate) guard: Guard,
    pub(crate) gripes: Arc<Gripes>,
    limits: Limits,
    reader: Arc<Reader>,
    /// By path; those of one path differ in their methods.
    routes: HashMap<String, Vec<Route>>,
}

/// What one stream receives.
struct Route {
    stream: StreamId,
    /// The path as configured, for references.
    path: String,
    content_types: Vec<Mime>,
    settings: Stream,
}

/// A request that is not accepted, and what its sender is told.
struct No {
    status: StatusCode,
    reason: String,
    retry_after: Option<Duration>,
    allow: Option<String>,
    close: bool,
}

impl No {
    fn new(status: StatusCode, reason: impl Into<String>) -> No {
        No { status, reason: reason.into(), retry_after: None, allow: None, close: false }
    }

    fn later(reason: impl Into<String>, after: Duration) -> No {
        No { retry_after: Some(after), ..No::new(StatusCode::SERVICE_UNAVAILABLE, reason) }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> No {
        match refusal {
            Refusal::Busy { reason, retry_after } => No::later(format!("busy: {reason}"), retry_after),
            Refusal::Failed { .. } => No::new(StatusCode::INTERNAL_SERVER_ERROR, "could not be stored"),
            Refusal::Stopping => No { close: true, ..No::later("shutting down", TRY_AGAIN) },
        }
    }
}

/// What became of a request.
enum Fate {
    Stored,
    Not(No),
    /// The body did not come; nobody is left to tell.
    Cut(hyper::Error),
}

impl From<No> for Fate {
    fn from(no: No) -> Fate {
        Fate::Not(no)
    }
}

/// What one request is received with.
struct Turn<'a> {
    head: &'a Parts,
    peer: SocketAddr,
    intake: &'a dyn Intake,
    storing: &'a AtomicBool,
}

impl Desk {
    pub(crate) fn new(source: &SourceSpec<Settings, Stream>, limits: Limits, reader: Arc<Reader>) -> Desk {
        let settings = &source.settings;
        let mut routes: HashMap<String, Vec<Route>> = HashMap::new();
        for stream in &source.streams {
            let path = settings.path_of(&stream.settings);
            let types = stream.settings.content_types.iter().filter_map(|text| text.parse().ok()).collect();
            routes.entry(path.clone()).or_default().push(Route {
                stream: stream.id.clone(),
                path,
                content_types: types,
                settings: stream.settings.clone(),
            });
        }
        Desk {
            source: source.id.clone(),
            guard: Guard::new(settings.auth.clone(), source.base_dir.clone()),
            gripes: Arc::new(Gripes::new(source.id.clone())),
            limits,
            reader,
            routes,
        }
    }

    /// Answers one request. An error ends the connection without an answer.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        intake: &dyn Intake,
        stop: &CancellationToken,
        storing: &AtomicBool,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let mut inlet = Inlet::new(body, self.limits.body, stop.clone(), head.headers.contains_key(EXPECT));
        let route = self.route(&head);
        let turn = Turn { head: &head, peer, intake, storing };
        let fate = self.receive(&turn, route.as_ref().copied(), &mut inlet).await;
        let settings = route.ok().map(|route| &route.settings);
        match fate {
            Fate::Stored => Ok(success(settings)),
            Fate::Cut(error) => {
                let text = format!("a body was cut off after {} bytes; nothing was accepted", inlet.read);
                self.gripes.warn("cut", peer.ip(), &text);
                Err(error)
            }
            Fate::Not(mut no) => {
                no.close |= !inlet.drain(self.limits.body_bytes).await;
                self.gripes.warn(kind(no.status), peer.ip(), &format!("{}: {}", no.status.as_str(), no.reason));
                Ok(self.refusal(&no, settings))
            }
        }
    }

    async fn receive(&self, turn: &Turn<'_>, route: Result<&Route, &No>, inlet: &mut Inlet) -> Fate {
        match self.guard.admits(&turn.head.headers) {
            Ok(true) => {}
            Ok(false) => return No::new(StatusCode::UNAUTHORIZED, "no valid proof of identity").into(),
            Err(error) => return secret_is_missing(&error),
        }
        let route = match route {
            Ok(route) => route,
            Err(no) => return No { allow: no.allow.clone(), ..No::new(no.status, no.reason.clone()) }.into(),
        };
        let Some(form) = route.form(&turn.head.headers) else {
            return No::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type is not received here").into();
        };
        let Some(zipped) = zipped(&turn.head.headers) else {
            return No::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content encoding is not gzip").into();
        };
        let body = match inlet.take(self.limits.body_bytes).await {
            Ok(body) => body,
            Err(Broken::Cut(error)) => return Fate::Cut(error),
            Err(Broken::Late) => {
                return No { close: true, ..No::new(StatusCode::REQUEST_TIMEOUT, "the body took too long") }.into();
            }
            Err(Broken::Stopping) => return No::from(Refusal::Stopping).into(),
        };
        let body = match body {
            // A hash over the body can't be checked with a part of it: nothing is known of the
            // sender, so nothing is kept.
            Body::TooLong(_) if self.guard.needs_body() => return self.too_long().into(),
            Body::TooLong(beginning) => return self.hold_beginning(turn, route, beginning).await,
            Body::Whole(body) => body,
        };
        match self.guard.admits_body(&turn.head.headers, &body) {
            Ok(true) => {}
            Ok(false) => return No::new(StatusCode::UNAUTHORIZED, "the hash over the body is wrong").into(),
            Err(error) => return secret_is_missing(&error),
        }
        let records = match zipped.then(|| gunzip(&body, self.limits.body_bytes)) {
            None => self.reader.read(&form, body),
            Some(Some(Body::Whole(body))) => self.reader.read(&form, body),
            Some(Some(Body::TooLong(beginning))) => return self.hold_beginning(turn, route, beginning).await,
            Some(None) => vec![unreadable(body, "webhook-gzip", "the body is not a whole gzip file".to_owned())],
        };
        if route.settings.unreadable == Unreadable::Refuse
            && let Some(failure) = records.iter().find_map(|record| record.document.as_ref().err())
        {
            return No::new(StatusCode::UNPROCESSABLE_ENTITY, format!("can't be read: {}", failure.code)).into();
        }
        match self.store(turn, route, records).await {
            Ok(()) => Fate::Stored,
            Err(refusal) => No::from(refusal).into(),
        }
    }

    /// Keeps the beginning of a body that is too long, then refuses it.
    async fn hold_beginning(&self, turn: &Turn<'_>, route: &Route, beginning: Bytes) -> Fate {
        let detail = format!("longer than {} bytes; the first {} are kept", self.limits.body_bytes, beginning.len());
        match self.store(turn, route, vec![unreadable(beginning, "webhook-too-long", detail)]).await {
            Ok(()) => self.too_long().into(),
            Err(refusal) => No::from(refusal).into(),
        }
    }

    fn too_long(&self) -> No {
        No::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the body is longer than {} bytes", self.limits.body_bytes))
    }

    /// Stores the records of one request, all of them or none.
    async fn store(&self, turn: &Turn<'_>, route: &Route, mut records: Vec<Record>) -> Result<(), Refusal> {
        let key = route.resend_key(&turn.head.headers);
        for (at, record) in records.iter_mut().enumerate() {
            record.source_ref = route.path.clone();
            if let Some(key) = &key {
                record.resend_key = Some(format!("{}|{at}|{key}", route.path));
            }
        }
        let count = records.len();
        tracing::debug!(source = %self.source, peer = %turn.peer, stream = %route.stream, count, "received");
        if records.is_empty() {
            return Ok(());
        }
        turn.storing.store(true, Ordering::SeqCst);
        let receipts = turn.intake.accept(Some(&route.stream), records).await;
        turn.storing.store(false, Ordering::SeqCst);
        receipts.map(drop)
    }

    fn route(&self, head: &Parts) -> Result<&Route, No> {
        let routes = self
            .routes
            .get(head.uri.path().trim_end_matches('/'))
            .ok_or_else(|| No::new(StatusCode::NOT_FOUND, "no stream has this path"))?;
        let wants = |route: &&Route| route.settings.methods.iter().any(|method| method.as_str() == head.method);
        routes.iter().find(wants).ok_or_else(|| {
            let methods: Vec<&str> =
                routes.iter().flat_map(|route| &route.settings.methods).map(|method| method.as_str()).collect();
            let no = No::new(StatusCode::METHOD_NOT_ALLOWED, "no stream receives this method here");
            No { allow: Some(methods.join(", ")), ..no }
        })
    }

    fn refusal(&self, no: &No, settings: Option<&Stream>) -> Response<Full<Bytes>> {
        let failure = settings.and_then(|settings| Some((&settings.answer, settings.answer.failure_body.as_ref()?)));
        let (media_type, body) = match failure {
            Some((answer, body)) => (answer.content_type.as_str(), body.clone()),
            None => ("text/plain; charset=utf-8", format!("{}\n", no.reason)),
        };
        let mut response = respond(no.status, media_type, body);
        let headers = response.headers_mut();
        if no.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(after) = no.retry_after {
            // Rounded up: too early would be refused again.
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs() + u64::from(after.subsec_nanos() > 0)));
        }
        if let Some(allow) = no.allow.as_ref().and_then(|allow| HeaderValue::try_from(allow).ok()) {
            headers.insert(ALLOW, allow);
        }
        if no.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(self.guard.challenge()));
        }
        response
    }
}

impl Route {
    /// How to read a body with these headers; `None` where its type is not received.
    fn form(&self, headers: &HeaderMap) -> Option<Form<'_>> {
        let stated = match headers.get(CONTENT_TYPE) {
            Some(value) => Some(value.to_str().ok()?.trim_end_matches([';', ' ']).parse::<Mime>().ok()?),
            None => None,
        };
        let format = match &stated {
            Some(mime) if mime.essence_str() == mime::MULTIPART_FORM_DATA.essence_str() => {
                let part = self.settings.document_part.as_deref()?;
                let boundary = mime.get_param(mime::BOUNDARY)?.as_str().to_owned();
                if boundary.is_empty() || boundary.len() > 70 || boundary.contains(['"', '\\']) {
                    return None;
                }
                return Some(Form::Multipart { boundary, part, format: self.settings.format });
            }
            _ => self.format(stated.as_ref())?,
        };
        let charset = stated.as_ref().and_then(|mime| mime.get_param(mime::CHARSET)).map(|name| name.to_string());
        Some(Form::Plain { format, charset, records: self.settings.records.as_deref() })
    }

    fn format(&self, stated: Option<&Mime>) -> Option<Format> {
        let own = self.settings.format;
        let said = stated.and_then(Format::of);
        let received = if self.content_types.is_empty() {
            match stated {
                Some(_) => said.is_some() && (own.is_none() || own == said),
                None => own.is_some(),
            }
        } else {
            self.content_types.iter().any(|allowed| stated.map_or(*allowed == mime::STAR_STAR, |m| covers(allowed, m)))
        };
        if received { own.or(said) } else { None }
    }

    /// What a request that is sent again repeats, where the sender says so.
    fn resend_key(&self, headers: &HeaderMap) -> Option<String> {
        let value = headers.get(self.settings.idempotency_header.as_deref()?)?;
        match value.to_str() {
            Ok("") => None,
            Ok(text) if text.len() <= LONGEST_KEY => Some(text.to_owned()),
            _ => Some(hex::encode(Sha256::digest(value.as_bytes()))),
        }
    }
}

/// Whether a content type, or a range of them (`text/*`), covers a stated one.
fn covers(allowed: &Mime, stated: &Mime) -> bool {
    (allowed.type_() == mime::STAR || allowed.type_() == stated.type_())
        && (allowed.subtype() == mime::STAR || allowed.essence_str() == stated.essence_str())
}

/// Whether the body is compressed; `None` where in a way that is not received.
fn zipped(headers: &HeaderMap) -> Option<bool> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Some(false) };
    match value.to_str().ok()?.trim() {
        "" => Some(false),
        text if text.eq_ignore_ascii_case("identity") => Some(false),
        text if text.eq_ignore_ascii_case("gzip") || text.eq_ignore_ascii_case("x-gzip") => Some(true),
        _ => None,
    }
}

fn secret_is_missing(error: &connector_api::SecretError) -> Fate {
    // The sender is not at fault, and a person of ours has to act.
    tracing::error!(error = error as &dyn std::error::Error, "requests are refused: the secret can't be read");
    No::later("can't check who sends", TRY_AGAIN).into()
}

fn success(settings: Option<&Stream>) -> Response<Full<Bytes>> {
    let Some(answer) = settings.map(|settings| &settings.answer) else { return Response::default() };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    respond(status, if answer.body.is_empty() { "" } else { &answer.content_type }, answer.body.clone())
}

fn respond(status: StatusCode, media_type: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(media_type)
        && !media_type.is_empty()
    {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// The kind of a warning: each has its own turn in a minute.
fn kind(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "401",
        404 => "404",
        405 => "405",
        408 => "408",
        413 => "413",
        415 => "415",
        422 => "422",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}
