//! The HTTP client: one request, one reply. No retries, no redirects, no decisions.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use connector_api::{SecretError, SecretText};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, redirect};

use super::classify::{Failure, Reply};
use super::peer::Heard;
use super::settings::{Auth, Compression, Settings};
use super::signature::{ID_HEADER, KeyError, Keys, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::clock::Clock;

/// The media type of a batch of events.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// An answer longer than this is none of upstream's.
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error("the upstream settings: {key}: {problem}")]
    Settings {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A secret can't be read.
    #[error("read the upstream secret")]
    Secret(#[source] SecretError),
    /// The signing secret can't be used.
    #[error("use the upstream secret")]
    Key(#[source] KeyError),
    /// The bearer token holds characters that a header can't carry.
    #[error("the bearer token can't be sent in a header")]
    Token,
    /// A certificate file can't be read.
    #[error("read the certificate file {path:?}")]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// A certificate file holds no PEM certificates, or no matching key.
    #[error("use the certificates in {path:?}")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: reqwest::Error,
    },
    /// The HTTP client can't be made.
    #[error("set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// A request could not be made.
    #[error("compress the request")]
    Compress(#[source] std::io::Error),
}

/// Sends single requests upstream.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    settings: Settings,
    base_dir: PathBuf,
    clock: Clock,
    heard: Heard,
    /// The secret that upstream took last: while a new one is refused, or can't be read, it goes on being used.
    taken: Taken,
}

/// The secret that upstream took last; shared by a client's clones.
pub(super) type Taken = Arc<Mutex<Option<SecretText>>>;

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    /// Below the base URL.
    pub(super) path: String,
    pub(super) media_type: String,
    /// The same on every attempt.
    pub(super) id: String,
    pub(super) body: Bytes,
    pub(super) compression: Compression,
}

/// A reply with what only a probe wants to know.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) reply: Reply,
    /// The server's `Date`.
    pub(super) date: Option<String>,
}

impl Client {
    pub(super) fn new(settings: &Settings, base_dir: &Path, clock: Clock) -> Result<Client, Error> {
        if let Some((key, problem)) = settings.problems().into_iter().next() {
            return Err(Error::Settings { key, problem });
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hisync/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout())
            .timeout(settings.timeout())
            .tcp_nodelay(true)
            .tls_info(true)
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(Error::Client)?);
        }
        if let Some(ca) = &settings.ca {
            let path = base_dir.join(ca);
            let pem = read(&path)?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                .map_err(|cause| Error::Certificate { path: path.clone(), cause })?;
            builder = builder.tls_certs_only(certificates);
        }
        if let Auth::MutualTls { certificate, key } = &settings.auth {
            let path = base_dir.join(certificate);
            let mut pem = read(&path)?;
            pem.push(b'\n');
            pem.extend_from_slice(key.read(base_dir).map_err(Error::Secret)?.expose().as_bytes());
            let identity =
                reqwest::Identity::from_pem(&pem).map_err(|cause| Error::Certificate { path: path.clone(), cause })?;
            builder = builder.identity(identity);
        }
        let http = builder.build().map_err(Error::Client)?;
        let (settings, base_dir) = (settings.clone(), base_dir.to_owned());
        let client = Client { http, settings, base_dir, clock, heard: Heard::default(), taken: Arc::default() };
        client.authenticate("check", b"", client.secret()?.as_ref())?;
        Ok(client)
    }

    /// The secret as it is now; `None` where there is none to be read. It is read anew each time, so that a rotated one
    /// takes effect at once.
    fn secret(&self) -> Result<Option<SecretText>, Error> {
        match &self.settings.auth {
            Auth::WebhookSignature { secret } | Auth::Bearer { token: secret } => {
                secret.read(&self.base_dir).map(Some).map_err(Error::Secret)
            }
            Auth::MutualTls { .. } => Ok(None),
        }
    }

    fn taken(&self) -> Option<SecretText> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request and waits for the whole answer.
    ///
    /// Where upstream refuses a secret that is newer than the one that it took last, the request goes once more under
    /// that one: a rotation that went wrong must not stop what worked. [`Heard`] tells of it.
    pub(super) async fn send(&self, outgoing: Outgoing) -> Exchange {
        let (now, taken) = (self.clock.now(), self.taken());
        let current = match self.secret() {
            Ok(current) => current,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the upstream secret can't be read");
                let Some(taken) = taken else {
                    return Exchange { reply: Reply::Failed(Failure::NotMade), date: None };
                };
                self.heard.secret(true, now);
                return self.send_as(&outgoing, Some(&taken)).await;
            }
        };
        let exchange = self.send_as(&outgoing, current.as_ref()).await;
        let status = |exchange: &Exchange| match exchange.reply {
            Reply::Answered { status, .. } => Some(status),
            Reply::Failed(_) => None,
        };
        // One that can't even be used was never sent.
        let refused = |exchange: &Exchange| {
            matches!(exchange.reply, Reply::Answered { status: 401 | 403, .. } | Reply::Failed(Failure::NotMade))
        };
        match status(&exchange) {
            Some(200..=299) => {
                if current != taken {
                    *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = current;
                }
                if self.heard.secret(false, now) {
                    tracing::info!("upstream takes the configured secret");
                }
                exchange
            }
            _ if refused(&exchange) && taken.is_some() && taken != current => {
                let again = self.send_as(&outgoing, taken.as_ref()).await;
                if refused(&again) || status(&again).is_none() {
                    return exchange;
                }
                if self.heard.secret(true, now) {
                    tracing::error!("upstream refuses the new secret; the one before it goes on being used");
                }
                again
            }
            _ => exchange,
        }
    }

    async fn send_as(&self, outgoing: &Outgoing, secret: Option<&SecretText>) -> Exchange {
        let reply = |reply| Exchange { reply, date: None };
        let request = match self.request(outgoing, secret) {
            Ok(request) => request,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request upstream can't be made");
                return reply(Reply::Failed(Failure::NotMade));
            }
        };
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return reply(Reply::Failed(failure_of(&error))),
        };
        self.heard.note(&response, self.clock.now());
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (status, retry_after, date) = (response.status().as_u16(), header(RETRY_AFTER), header(DATE));
        let body = read_body(&mut response).await;
        Exchange { reply: Reply::Answered { status, retry_after, body }, date }
    }

    fn request(&self, outgoing: &Outgoing, secret: Option<&SecretText>) -> Result<reqwest::RequestBuilder, Error> {
        let url = self
            .settings
            .endpoint(&outgoing.path)
            .map_err(|cause| Error::Settings { key: "url", problem: cause.to_string() })?;
        let mut headers = self.authenticate(&outgoing.id, &outgoing.body, secret)?;
        if let Ok(value) = HeaderValue::from_str(&outgoing.media_type) {
            headers.insert(CONTENT_TYPE, value);
        }
        let body = match outgoing.compression {
            Compression::None => outgoing.body.clone(),
            Compression::Gzip => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                gzip(&outgoing.body).map_err(Error::Compress)?
            }
            Compression::Zstd => {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"));
                zstd::bulk::compress(&outgoing.body, 0).map_err(Error::Compress)?.into()
            }
        };
        Ok(self.http.request(outgoing.method.clone(), url).headers(headers).body(body))
    }

    /// The headers that prove who sends this.
    fn authenticate(&self, id: &str, body: &[u8], secret: Option<&SecretText>) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| Error::Token);
        headers.insert(ID_HEADER, value(id)?);
        match (&self.settings.auth, secret) {
            (Auth::WebhookSignature { .. }, Some(secret)) => {
                let keys = Keys::parse(secret.expose()).map_err(Error::Key)?;
                let timestamp = self.clock.now().timestamp();
                headers.insert(TIMESTAMP_HEADER, timestamp.into());
                headers.insert(SIGNATURE_HEADER, value(&keys.sign(id, timestamp, body))?);
            }
            (Auth::Bearer { .. }, Some(token)) => {
                let mut header = value(&format!("Bearer {}", token.expose()))?;
                header.set_sensitive(true);
                headers.insert(AUTHORIZATION, header);
            }
            (Auth::MutualTls { .. }, _) | (_, None) => {}
        }
        Ok(headers)
    }

    /// Knows the secret that another client's upstream took last.
    pub(super) fn after(self, taken: Taken) -> Client {
        Client { taken, ..self }
    }

    /// The secret that upstream took last, shared.
    pub(super) fn taken_secret(&self) -> Taken {
        self.taken.clone()
    }

    /// What answers told beside what they said.
    pub(super) fn heard(&self) -> Heard {
        self.heard.clone()
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// Joins events to a batch: the bytes of each event are sent as they are.
pub(super) fn join_events(events: &[Bytes]) -> Bytes {
    let bytes: usize = events.iter().map(|event| event.len() + 1).sum();
    let mut body = BytesMut::with_capacity(bytes + 2);
    body.put_u8(b'[');
    for (place, event) in events.iter().enumerate() {
        if place > 0 {
            body.put_u8(b',');
        }
        body.put_slice(event);
    }
    body.put_u8(b']');
    body.freeze()
}

fn gzip(body: &[u8]) -> Result<Bytes, std::io::Error> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|cause| Error::CertificateFile { path: path.to_owned(), cause })
}

async fn read_body(response: &mut reqwest::Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return None;
        }
        body.extend_from_slice(&chunk);
    }
    Some(body)
}

fn failure_of(error: &reqwest::Error) -> Failure {
    let sent = !error.is_connect();
    if is_tls(error) {
        Failure::Tls { sent }
    } else if !sent {
        Failure::Unreachable
    } else if error.is_timeout() {
        Failure::Timeout
    } else if error.is_builder() {
        Failure::NotMade
    } else {
        Failure::ConnectionLost
    }
}

/// Whether a TLS error is anywhere among the causes. An `io::Error` hides what it wraps from `source()`.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|wrapped| is_tls(wrapped)) || error.source().is_some_and(is_tls)
}
