//! One HTTP request and its answer: bounded, typed in its failures, silent about secrets.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use connector_api::{Action, FaultClass, SettingsProblem, SourceError};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, LINK, RETRY_AFTER};
use reqwest::{Method, redirect};
use tokio::sync::{Mutex, OnceCell};
use tokio::time::Instant;
use url::Url;

use crate::settings::Connection;

/// Longer than this is no wait that a server means.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A request that is ready to go.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The content type, as it was sent.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// When the server says it is.
    pub(crate) date: Option<DateTime<Utc>>,
    pub(crate) server: Option<String>,
    pub(crate) next: Option<Url>,
    retry_after: Option<Duration>,
}

/// Sends requests to one server.
#[derive(Debug)]
pub(crate) struct Transport {
    settings: Connection,
    base: Url,
    base_dir: PathBuf,
    client: OnceCell<reqwest::Client>,
    /// When the next request may be sent.
    turn: Mutex<Option<Instant>>,
}

impl Connection {
    /// What is wrong with the settings, below `at`.
    pub(crate) fn check(&self, at: &str, problems: &mut Vec<SettingsProblem>) {
        let mut wrong = |key: &str, message: &str, hint: &str| {
            problems.push(SettingsProblem::new(format!("{at}.{key}"), message).hint(hint));
        };
        if self.connect_timeout_secs == 0 {
            wrong("connect_timeout_secs", "must be at least 1", "10 is usual");
        }
        if self.timeout_secs == 0 {
            wrong("timeout_secs", "must be at least 1", "60 is usual");
        }
        if self.max_answer_bytes == 0 {
            wrong("max_answer_bytes", "must be at least 1", "33554432 is usual");
        }
        if self.requests_per_second.is_some_and(|rate| !(0.001..=1000.0).contains(&rate)) {
            wrong("requests_per_second", "must be from 0.001 to 1000", "5 is five calls in a second");
        }
        if self.proxy.as_ref().is_some_and(|proxy| Url::parse(proxy).is_err()) {
            wrong("proxy", "is not a URL", "write for example http://10.1.2.3:3128");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            wrong("tls", "a certificate and its key belong together", "name both, or neither");
        }
    }
}

impl Transport {
    pub(crate) fn new(settings: Connection, base: Url, base_dir: PathBuf) -> Transport {
        Transport { settings, base, base_dir, client: OnceCell::new(), turn: Mutex::new(None) }
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    /// True where a URL leads to the configured server, and nowhere else.
    pub(crate) fn is_home(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    /// Sends a request, in its turn, and reads at most `limit` bytes of the answer's body.
    ///
    /// An HTTP status is an answer, not a failure; see [`Reply::refused`].
    pub(crate) async fn send(&self, what: &str, outgoing: Outgoing, limit: usize) -> Result<Reply, SourceError> {
        let client = self.client.get_or_try_init(|| async { self.client(what) }).await?;
        self.wait_for_turn().await;
        let mut request = client.request(outgoing.method, outgoing.url).headers(outgoing.headers);
        if let Some(body) = outgoing.body {
            request = request.body(body);
        }
        let mut response = request.send().await.map_err(|error| failed(what, error))?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let date = header(DATE).and_then(|text| httpdate::parse_http_date(&text).ok()).map(DateTime::<Utc>::from);
        let retry_after = header(RETRY_AFTER).and_then(|text| wait_of(&text, date));
        let next = next_link(response.headers(), response.url());
        let (content_type, server) = (header(CONTENT_TYPE), header(reqwest::header::SERVER));
        if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
            return Err(SourceError::stop(FaultClass::Protocol, format!("{what}: the answer is compressed"))
                .hint("nobody asked for that: have compression switched off for hisync"));
        }
        let too_long = || {
            SourceError::stop(FaultClass::Data, format!("{what}: the answer is longer than {limit} bytes"))
                .hint("ask for less at once (changes.days, paging), or raise connection.max_answer_bytes")
        };
        if response.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_long());
        }
        let status = response.status().as_u16();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(what, error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Reply { status, content_type, body: body.freeze(), date, server, next, retry_after })
    }

    /// The longest answer that is read of a usual call.
    pub(crate) fn limit(&self) -> usize {
        self.settings.max_answer_bytes
    }

    /// Waits until another request may be sent. Who waits first is sent first.
    async fn wait_for_turn(&self) {
        let Some(rate) = self.settings.requests_per_second else { return };
        let mut turn = self.turn.lock().await;
        let now = Instant::now();
        let at = turn.map_or(now, |at| at.max(now));
        *turn = Some(at + Duration::from_secs_f64(1.0 / rate));
        drop(turn);
        tokio::time::sleep_until(at).await;
    }

    /// Made at the first request: files are not read before they are needed.
    fn client(&self, what: &str) -> Result<reqwest::Client, SourceError> {
        let unusable = |what: String, cause: Box<dyn StdError + Send + Sync>| {
            SourceError::stop(FaultClass::Tls, what).because(cause).hint("the files must be PEM")
        };
        let home = self.base.origin();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hisync/", env!("CARGO_PKG_VERSION")))
            // Only the kinds of redirect that repeat the same request, and never to another server.
            .redirect(redirect::Policy::custom(move |attempt| {
                let same = attempt.url().origin() == home && matches!(attempt.status().as_u16(), 307 | 308);
                if same && attempt.previous().len() < 5 { attempt.follow() } else { attempt.stop() }
            }))
            .retry(reqwest::retry::never())
            .connect_timeout(Duration::from_secs(self.settings.connect_timeout_secs))
            .timeout(Duration::from_secs(self.settings.timeout_secs))
            .tcp_nodelay(true)
            .no_proxy();
        if let Some(proxy) = &self.settings.proxy {
            let proxy = reqwest::Proxy::all(proxy.as_str()).map_err(|error| failed(what, error))?;
            builder = builder.proxy(proxy);
        }
        if let Some(tls) = &self.settings.tls {
            if let Some(ca) = &tls.ca {
                let path = self.base_dir.join(ca);
                let pem = read(&path)?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                    .map_err(|cause| unusable(format!("use the authorities in {path:?}"), cause.into()))?;
                builder = builder.tls_certs_only(certificates);
            }
            if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
                let path = self.base_dir.join(certificate);
                let mut pem = read(&path)?;
                pem.push(b'\n');
                let key =
                    key.read(&self.base_dir).map_err(|cause| unusable("read the key".to_owned(), cause.into()))?;
                pem.extend_from_slice(key.expose().as_bytes());
                let identity = reqwest::Identity::from_pem(&pem)
                    .map_err(|cause| unusable(format!("use the certificate in {path:?}"), cause.into()))?;
                builder = builder.identity(identity);
            }
        }
        builder.build().map_err(|error| failed(what, error))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SourceError> {
    std::fs::read(path).map_err(|cause| {
        SourceError::stop(FaultClass::Tls, format!("read the certificate file {path:?}")).because(cause)
    })
}

impl Reply {
    /// The character set that the content type names.
    pub fn charset(&self) -> Option<&str> {
        let parameters = self.content_type.as_deref()?.split(';').skip(1);
        let found = parameters
            .filter_map(|part| part.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
        found.map(|(_, value)| value.trim().trim_matches(['"', '\'']))
    }

    /// True where the body is a web page, whatever its status says.
    pub fn is_web_page(&self) -> bool {
        let start = &self.body[..self.body.len().min(512)];
        let text = String::from_utf8_lossy(start).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
        text.starts_with("<!doctype html") || text.starts_with("<html")
    }

    /// The failure that a status says; `None` for success.
    pub(crate) fn refused(&self, what: &str) -> Option<SourceError> {
        let status = self.status;
        let says = |words: &str| format!("{what}: {words} (HTTP {status})");
        let error = match status {
            200..=299 => return None,
            300..=399 => SourceError::stop(FaultClass::Protocol, says("the server leads elsewhere"))
                .hint("set url to where it really answers; hisync follows no one to another server"),
            401 => SourceError::stop(FaultClass::Login, says("the login was refused"))
                .hint("check the user, key or secret under login"),
            403 => SourceError::stop(FaultClass::Permission, says("reading is not allowed"))
                .hint("ask for the right to read this, or for the agent's address to be let in"),
            404 | 410 => SourceError::stop(FaultClass::Missing, says("there is no such address"))
                .hint("check url and path; `hisync discover` may list what there is"),
            405 | 415 | 400 | 406 | 422 => {
                SourceError::stop(FaultClass::Protocol, says("the request was not understood"))
                    .hint("compare method, parameters and body with the interface's description")
            }
            408 | 425 | 429 | 503 => SourceError::retry(FaultClass::Timeout, says("the server asks to wait")),
            407 => SourceError::stop(FaultClass::Login, says("the proxy wants a login")).hint("see connection.proxy"),
            _ => SourceError::retry(FaultClass::Protocol, says("the server failed"))
                .hint("it is the other system's failure; hisync tries again"),
        };
        Some(match error.action {
            Action::Retry { .. } => SourceError { action: Action::Retry { after: self.retry_after }, ..error },
            Action::Stop => error,
        })
    }
}

/// `Retry-After` as seconds or as a date, reckoned from the server's own clock.
fn wait_of(text: &str, date: Option<DateTime<Utc>>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let until = DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?);
    (until - date?).to_std().ok().map(|wait| wait.min(LONGEST_WAIT))
}

/// The target of `Link: <…>; rel="next"`.
fn next_link(headers: &HeaderMap, base: &Url) -> Option<Url> {
    let values = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    for link in values.flat_map(|value| value.split('<').skip(1)) {
        let (target, parameters) = link.split_once('>')?;
        let next = parameters.split([';', ',']).any(|part| {
            let part = part.trim();
            part.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("rel="))
                && part[4..].trim_matches('"').split(' ').any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if next {
            return base.join(target).ok();
        }
    }
    None
}

/// Classifies a failure of the connection. URLs are left out: they may carry a token.
fn failed(what: &str, error: reqwest::Error) -> SourceError {
    let mut chain: Vec<&(dyn StdError + 'static)> = Vec::new();
    collect(&error, &mut chain);
    let refused = chain.iter().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
    });
    let tls = chain.iter().any(|cause| cause.is::<rustls::Error>());
    // The resolver's failures have no type of their own.
    let named = chain.iter().any(|cause| cause.to_string().starts_with("dns error"));
    let connecting = error.is_connect();
    let (class, hint) = if tls {
        (FaultClass::Tls, "name the server's authority in connection.tls.ca; very old servers speak no TLS 1.2 at all")
    } else if named {
        (FaultClass::NameResolution, "check the host's name in url, or write its address")
    } else if refused {
        (FaultClass::Unreachable, "nobody listens there: check the port in url, and whether the service runs")
    } else if error.is_timeout() {
        let hint = if connecting {
            "nothing answers at that address: check it, and any firewall between"
        } else {
            "the server takes longer than connection.timeout_secs: ask for less at once, or raise it"
        };
        (FaultClass::Timeout, hint)
    } else if connecting {
        (FaultClass::Unreachable, "check the address in url, and any firewall between")
    } else if error.is_builder() {
        (FaultClass::Other, "the request can't be made: check url and headers")
    } else {
        (FaultClass::Protocol, "the connection broke before the answer was complete; hisync tries again")
    };
    let error = error.without_url();
    let failure =
        if class == FaultClass::Other { SourceError::stop(class, what) } else { SourceError::retry(class, what) };
    failure.because(error).hint(hint)
}

/// All causes; an `io::Error` hides what it wraps from `source()`.
fn collect<'a>(error: &'a (dyn StdError + 'static), chain: &mut Vec<&'a (dyn StdError + 'static)>) {
    chain.push(error);
    if let Some(wrapped) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        collect(wrapped, chain);
    }
    if let Some(source) = error.source() {
        collect(source, chain);
    }
}

#[cfg(test)]
mod tests;
