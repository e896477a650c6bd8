//! The `[upstream]` table.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use url::{Host, Url};

use crate::retry::Policy;

/// The `[upstream]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The base URL; `/v1/events`, `/v1/attachments/…` and `/v1/heartbeats` are appended to its path.
    #[schemars(with = "String")]
    pub url: Url,
    /// Sends health data over `http://` to another machine. Off: only `https://` and this machine itself
    /// are accepted.
    #[serde(default)]
    pub allow_http: bool,
    /// How hisync proves who it is.
    pub auth: Auth,
    /// A PEM file with the certificate authorities to trust instead of the machine's. Relative to the
    /// configuration file.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// An HTTP proxy. Proxy variables of the environment are not read.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub proxy: Option<Url>,
    /// How batches are compressed. `gzip` unless said otherwise, because every web server can read it.
    #[serde(default)]
    pub compression: Compression,
    /// The most events in one batch.
    #[serde(default = "default_batch_max_events")]
    #[schemars(range(min = 1, max = 10_000))]
    pub batch_max_events: usize,
    /// The most bytes in one batch, before compression. A larger single event goes alone.
    #[serde(default = "default_batch_max_bytes")]
    #[schemars(range(min = 1024, max = 67_108_864))]
    pub batch_max_bytes: usize,
    /// How many batches may be on their way at once. Two events of one entity never are.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1, max = 32))]
    pub parallel: usize,
    /// How long connecting may take, in seconds.
    #[serde(default = "default_connect_timeout_secs")]
    #[schemars(range(min = 1, max = 300))]
    pub connect_timeout_secs: u64,
    /// How long one request with its answer may take, in seconds.
    #[serde(default = "default_timeout_secs")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_secs: u64,
    /// How long to wait before the next attempt.
    #[serde(default)]
    pub retry: RetrySettings,
    /// How often a heartbeat is sent, in seconds.
    #[serde(default = "default_heartbeat_secs")]
    #[schemars(range(min = 1, max = 86_400))]
    pub heartbeat_secs: u64,
    /// When what upstream has is compared with what it has acknowledged: what it lost is sent again. Where upstream
    /// tells no digests (404, 405, 501) nothing is compared.
    #[serde(default)]
    pub anti_entropy: AntiEntropy,
}

/// When upstream is compared with the ledger.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AntiEntropy {
    /// `false` compares nothing by itself; `hisync reconcile run --upstream` still does.
    pub enabled: bool,
    /// When: cron with seconds, in the hospital's time zone.
    #[schemars(extend("format" = "hisync-cron"))]
    pub schedule: String,
}

/// At night, when a hospital sends little.
const NIGHTLY: &str = "0 20 3 * * *";

impl Default for AntiEntropy {
    fn default() -> AntiEntropy {
        AntiEntropy { enabled: true, schedule: NIGHTLY.to_owned() }
    }
}

impl AntiEntropy {
    /// When it is made by itself; `None` where it is not.
    pub fn schedule(&self) -> Option<cron::Schedule> {
        self.enabled.then(|| cron::Schedule::from_str(&self.schedule).ok()).flatten()
    }
}

/// How hisync proves to upstream who it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Auth {
    /// Signs each request as Standard Webhooks say.
    WebhookSignature {
        /// The shared secret, `whsec_…` or base64. While it is being rotated: the new and the old one,
        /// separated by a space.
        secret: Secret,
    },
    /// Sends `Authorization: Bearer …`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// Shows a client certificate. Needs `https://`.
    MutualTls {
        /// A PEM file with the certificate and its chain.
        certificate: PathBuf,
        /// The PEM of the private key.
        key: Secret,
    },
}

/// How a batch is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// `Content-Encoding: zstd`, the smallest.
    Zstd,
    /// `Content-Encoding: gzip`.
    #[default]
    Gzip,
    /// Not at all.
    None,
}

/// How long to wait before the next attempt: a random time up to an interval that doubles (full jitter).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// The first interval, in milliseconds.
    #[schemars(range(min = 1))]
    pub initial_ms: u64,
    /// The longest interval, in milliseconds.
    #[schemars(range(min = 1))]
    pub max_ms: u64,
}

impl RetrySettings {
    /// When to try again under these settings.
    pub(super) fn policy(self) -> Policy {
        Policy::new(Duration::from_millis(self.initial_ms), Duration::from_millis(self.max_ms))
    }
}

impl Default for RetrySettings {
    fn default() -> RetrySettings {
        RetrySettings { initial_ms: 1_000, max_ms: 120_000 }
    }
}

fn default_batch_max_events() -> usize {
    200
}

fn default_batch_max_bytes() -> usize {
    1024 * 1024
}

fn default_parallel() -> usize {
    2
}

fn default_connect_timeout_secs() -> u64 {
    10
}

fn default_timeout_secs() -> u64 {
    60
}

fn default_heartbeat_secs() -> u64 {
    60
}

impl Settings {
    /// Settings with every default.
    pub fn new(url: Url, auth: Auth) -> Settings {
        Settings {
            url,
            allow_http: false,
            auth,
            ca: None,
            proxy: None,
            compression: Compression::default(),
            batch_max_events: default_batch_max_events(),
            batch_max_bytes: default_batch_max_bytes(),
            parallel: default_parallel(),
            connect_timeout_secs: default_connect_timeout_secs(),
            timeout_secs: default_timeout_secs(),
            retry: RetrySettings::default(),
            heartbeat_secs: default_heartbeat_secs(),
            anti_entropy: AntiEntropy::default(),
        }
    }

    /// Every problem that can be seen without connecting: the key and what is wrong with it.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        match self.url.scheme() {
            "https" => {}
            "http" if self.allow_http || is_loopback(&self.url) => {}
            "http" => problems.push((
                "url",
                "http:// would send health data in clear text; use https://, or set allow_http = true where the \
                 way to upstream is protected otherwise"
                    .to_owned(),
            )),
            other => problems.push(("url", format!("{other}:// can't be spoken; use https://"))),
        }
        if cron::Schedule::from_str(&self.anti_entropy.schedule).is_err() {
            problems.push(("anti_entropy", format!("{:?} is no schedule", self.anti_entropy.schedule)));
        }
        if self.url.query().is_some() || self.url.fragment().is_some() {
            problems.push(("url", "a base URL has neither a query nor a fragment".to_owned()));
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            problems.push(("url", "credentials belong into auth, not into the URL".to_owned()));
        }
        if matches!(self.auth, Auth::MutualTls { .. }) && self.url.scheme() != "https" {
            problems.push(("auth", "mutual-tls needs an https:// URL".to_owned()));
        }
        let ranges = [
            ("batch_max_events", self.batch_max_events as u64, 1, 10_000),
            ("batch_max_bytes", self.batch_max_bytes as u64, 1024, 64 << 20),
            ("parallel", self.parallel as u64, 1, 32),
            ("connect_timeout_secs", self.connect_timeout_secs, 1, 300),
            ("timeout_secs", self.timeout_secs, 1, 300),
            ("heartbeat_secs", self.heartbeat_secs, 1, 86_400),
            ("retry", self.retry.initial_ms, 1, self.retry.max_ms),
        ];
        for (key, value, least, most) in ranges {
            if value < least || value > most {
                problems.push((key, format!("{value} is not between {least} and {most}")));
            }
        }
        problems
    }

    /// The URL of a path below the base.
    pub(super) fn endpoint(&self, path: &str) -> Result<Url, url::ParseError> {
        Url::parse(&format!("{}{path}", self.url.as_str().trim_end_matches('/')))
    }

    /// How long connecting may take.
    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout_secs)
    }

    /// How long one request with its answer may take.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
