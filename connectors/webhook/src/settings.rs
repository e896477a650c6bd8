//! The settings of a `webhook` source and of its streams, and their checks.

use std::net::SocketAddr;
use std::time::Duration;

use connector_api::{Mode, Secret, SettingsProblem, StreamSpec};
use connector_formats::text::TextPolicy;
use connector_formats::xml::XmlRules;
use connector_listen::{Peers, Tls};
use hyper::header::{HeaderName, HeaderValue};
use mime::Mime;

use crate::reading::Format;

/// The `settings` table of a `webhook` source.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The address and port to listen on, e.g. `0.0.0.0:8088`.
    pub listen: String,
    /// What the paths of all streams begin with, e.g. `/hisync`; nothing where left out.
    #[serde(default)]
    pub path_prefix: String,
    /// How senders prove who they are. May be left out only where `listen` is a loopback address,
    /// or where `tls.client_ca` asks senders for certificates.
    #[serde(default)]
    pub auth: Option<Auth>,
    /// Networks whose addresses may connect, e.g. `10.2.0.0/16` or `10.2.3.4`; every address
    /// where left out.
    #[serde(default)]
    pub allowed_peers: Vec<String>,
    /// The certificate that the port shows, for HTTPS; plain HTTP where left out.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// The character set of bodies that declare none, and which counts where they do:
    /// `{ default = "gb18030", prefer = "declared" }`. JSON and XML declare it in the
    /// Content-Type (XML in its own first line as well), HL7 in MSH-18.
    #[serde(default)]
    pub charset: TextPolicy,
    /// How XML becomes values: elements that are lists also where there is only one, prefixes of
    /// names, control characters.
    #[serde(default)]
    pub xml: XmlRules,
    /// The longest body that is received, in bytes, as sent and when decompressed. A longer one is
    /// answered with 413, and its beginning is held for a person.
    #[serde(default = "eight_mebibytes")]
    pub max_body_bytes: usize,
    /// How many connections may be open at once. Further ones are closed as soon as they come.
    #[serde(default = "sixty_four")]
    pub max_connections: usize,
    /// A request's head must be complete within so many seconds; an idle connection is closed
    /// after the same time.
    #[serde(default = "thirty")]
    pub header_timeout_secs: u64,
    /// A request's body must be complete within so many seconds.
    #[serde(default = "sixty")]
    pub body_timeout_secs: u64,
}

fn eight_mebibytes() -> usize {
    8 << 20
}

fn sixty_four() -> usize {
    64
}

fn thirty() -> u64 {
    30
}

fn sixty() -> u64 {
    60
}

/// How senders prove who they are.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// A fixed token in a header.
    Token {
        /// The header's name.
        #[serde(default = "authorization")]
        header: String,
        /// What precedes the token, in any case; `Bearer ` for the header `authorization` and
        /// nothing for others where left out.
        #[serde(default)]
        prefix: Option<String>,
        /// The token.
        secret: Secret,
    },
    /// User name and password (RFC 7617).
    Basic {
        /// The user name.
        user: String,
        /// The password.
        secret: Secret,
    },
    /// A keyed hash over the body as sent, before decompression.
    Hmac {
        /// The header with the hash.
        header: String,
        /// The hash function.
        #[serde(default)]
        algorithm: Algorithm,
        /// How the hash is written.
        #[serde(default)]
        encoding: Encoding,
        /// What precedes the hash, e.g. `sha256=`.
        #[serde(default)]
        prefix: String,
        /// The key.
        secret: Secret,
    },
}

fn authorization() -> String {
    "authorization".to_owned()
}

/// The hash function of a keyed hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC with SHA-256.
    #[default]
    Sha256,
}

/// How a hash is written in a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Hexadecimal digits, in any case.
    #[default]
    Hex,
    /// Base64 with padding.
    Base64,
}

/// What the table of a `webhook` source's stream holds beside the common keys.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The path that belongs to the stream, e.g. `/reports`; compared without the query.
    pub path: String,
    /// The request methods.
    #[serde(default = "post")]
    pub methods: Vec<Method>,
    /// What bodies are written in; the Content-Type decides where left out.
    #[serde(default)]
    pub format: Option<Format>,
    /// Content types that are received, e.g. `text/plain`, or `*/*` for any. Where left out, those
    /// of the format, and requests without one if `format` is set.
    #[serde(default)]
    pub content_types: Vec<String>,
    /// The names that lead to the list of records inside a JSON or XML body, e.g. `data.list`, or
    /// `.` where the JSON body is itself the list. The body is one record where left out.
    #[serde(default)]
    pub records: Option<String>,
    /// The name of the part that holds the record in `multipart/form-data` bodies; other parts are
    /// its attachments. Such bodies are refused where left out.
    #[serde(default)]
    pub document_part: Option<String>,
    /// The header whose value is the same when a request is sent again, e.g. `Idempotency-Key`.
    #[serde(default)]
    pub idempotency_header: Option<String>,
    /// What happens to a body that can't be read: it is held for a person and answered with
    /// success, or refused with 422 and not kept.
    #[serde(default)]
    pub unreadable: Unreadable,
    /// What is answered.
    #[serde(default)]
    pub answer: Answer,
}

fn post() -> Vec<Method> {
    vec![Method::Post]
}

/// A request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// POST.
    Post,
    /// PUT.
    Put,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

/// What happens to a body that can't be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unreadable {
    /// Stored, held for a person, and answered with success.
    #[default]
    Hold,
    /// Answered with 422; nothing is kept.
    Refuse,
}

/// What is answered once a request is stored, or when it is not.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status of success: 200, 201, 202 or 204.
    #[serde(default = "two_hundred")]
    pub status: u16,
    /// The content type of `body` and `failure_body`.
    #[serde(default = "application_json")]
    pub content_type: String,
    /// The body of success, e.g. `{"code":0,"msg":"ok"}`; empty where left out.
    #[serde(default)]
    pub body: String,
    /// The body of every answer but success, for senders that look at nothing else; a short reason
    /// where left out.
    #[serde(default)]
    pub failure_body: Option<String>,
}

fn two_hundred() -> u16 {
    200
}

fn application_json() -> String {
    "application/json".to_owned()
}

impl Default for Answer {
    fn default() -> Answer {
        Answer { status: two_hundred(), content_type: application_json(), body: String::new(), failure_body: None }
    }
}

/// The bounds that the listener keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body_bytes: usize,
    pub(crate) header: Duration,
    pub(crate) body: Duration,
}

/// Settings that have been found sound, in the form that is used.
pub(crate) struct Checked {
    pub(crate) address: SocketAddr,
    pub(crate) limits: Limits,
    pub(crate) peers: Peers,
    /// How many connections may be open at once.
    pub(crate) connections: usize,
}

impl Settings {
    /// Reports everything that is wrong at once.
    pub(crate) fn check(&self, streams: &[StreamSpec<Stream>]) -> Result<Checked, Vec<SettingsProblem>> {
        let mut problems = Vec::new();
        let address = self.listen.parse::<SocketAddr>();
        if address.is_err() {
            problems.push(
                SettingsProblem::new("settings.listen", "is not an IP address with a port")
                    .hint("write `0.0.0.0:8088` to listen on every interface"),
            );
        }
        if !self.path_prefix.is_empty() && !is_path(&self.path_prefix) {
            problems.push(bad_path("settings.path_prefix"));
        }
        match &self.auth {
            Some(auth) => auth.check(&mut problems),
            None if address.as_ref().is_ok_and(|address| !address.ip().is_loopback())
                && self.tls.as_ref().is_none_or(|tls| tls.client_ca.is_none()) =>
            {
                problems.push(
                    SettingsProblem::new("settings.auth", "is missing, and other machines can reach this address")
                        .hint("add `auth = { type = \"token\", secret = { file = \"…\" } }`, or listen on 127.0.0.1"),
                );
            }
            None => {}
        }
        let peers = Peers::check(&self.allowed_peers, &mut problems);
        self.tls.iter().for_each(|tls| tls.check(&mut problems));
        if !self.charset.default.extends_ascii() {
            problems.push(
                SettingsProblem::new("settings.charset.default", "UTF-16 can't be a default: HL7 has ASCII delimiters")
                    .hint("write `utf-8` or `gb18030`; what declares UTF-16 is read all the same"),
            );
        }
        let positive = [
            ("settings.max_body_bytes", self.max_body_bytes == 0),
            ("settings.max_connections", self.max_connections == 0),
            ("settings.header_timeout_secs", self.header_timeout_secs == 0),
            ("settings.body_timeout_secs", self.body_timeout_secs == 0),
        ];
        for (path, zero) in positive {
            if zero {
                problems.push(SettingsProblem::new(path, "must be at least 1"));
            }
        }
        for (at, stream) in streams.iter().enumerate() {
            check_stream(at, stream, &streams[..at], &mut problems);
        }
        match address {
            Ok(address) if problems.is_empty() => Ok(Checked {
                address,
                peers,
                connections: self.max_connections,
                limits: Limits {
                    body_bytes: self.max_body_bytes,
                    header: Duration::from_secs(self.header_timeout_secs),
                    body: Duration::from_secs(self.body_timeout_secs),
                },
            }),
            _ => Err(problems),
        }
    }

    /// The whole path of a stream, without a slash at its end.
    pub(crate) fn path_of(&self, stream: &Stream) -> String {
        format!("{}{}", self.path_prefix.trim_end_matches('/'), stream.path).trim_end_matches('/').to_owned()
    }
}

impl Auth {
    fn check(&self, problems: &mut Vec<SettingsProblem>) {
        let header = match self {
            Auth::Token { header, .. } | Auth::Hmac { header, .. } => header,
            Auth::Basic { user, .. } => {
                if user.is_empty() || user.contains(':') {
                    problems.push(SettingsProblem::new("settings.auth.user", "must not be empty or contain a colon"));
                }
                return;
            }
        };
        if HeaderName::try_from(header).is_err() {
            problems.push(SettingsProblem::new("settings.auth.header", "is not the name of a header"));
        }
    }

    /// What precedes a token in its header.
    pub(crate) fn token_prefix<'a>(header: &str, prefix: &'a Option<String>) -> &'a str {
        match prefix {
            Some(prefix) => prefix,
            None if header.eq_ignore_ascii_case("authorization") => "Bearer ",
            None => "",
        }
    }
}

fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#'))
}

fn bad_path(at: impl Into<String>) -> SettingsProblem {
    SettingsProblem::new(at, "is not the path of a URL").hint("begin with `/`; write other than ASCII as %XX")
}

fn check_stream(
    at: usize,
    stream: &StreamSpec<Stream>,
    earlier: &[StreamSpec<Stream>],
    problems: &mut Vec<SettingsProblem>,
) {
    let settings = &stream.settings;
    let mut wrong = |key: &str, message: String, hint: &str| {
        problems.push(SettingsProblem::new(format!("streams[{at}].{key}"), message).hint(hint));
    };
    if stream.mode != Mode::Push {
        wrong("mode", "a listener's streams are pushed".into(), "write `mode = \"push\"`");
    }
    if !is_path(&settings.path) {
        wrong("path", "is not the path of a URL".into(), "begin with `/`; write other than ASCII as %XX");
    }
    if settings.methods.is_empty() {
        wrong("methods", "no request method is named".into(), "write `[\"POST\"]`");
    }
    let same_path = |other: &&StreamSpec<Stream>| {
        other.settings.path.trim_end_matches('/') == settings.path.trim_end_matches('/')
            && other.settings.methods.iter().any(|method| settings.methods.contains(method))
    };
    if let Some(other) = earlier.iter().find(same_path) {
        wrong("path", format!("a request may belong to this stream and to {}", other.id), "give each its own path");
    }
    for text in &settings.content_types {
        let known = text.parse::<Mime>().is_ok_and(|mime| settings.format.is_some() || Format::of(&mime).is_some());
        if !known {
            let message = format!("{text:?} is not a content type whose format is known");
            wrong("content_types", message, "set `format` as well for types that do not say it");
        }
    }
    if let Some(records) = &settings.records {
        if settings.format == Some(Format::Hl7) {
            wrong("records", "HL7 messages are found by their MSH segments".into(), "leave it out");
        } else if settings.document_part.is_some() {
            wrong("records", "does not go together with document_part".into(), "leave one of them out");
        } else if records != "." && records.split('.').any(str::is_empty) {
            wrong("records", "a name between two dots is empty".into(), "write names like `data.list`, or `.`");
        }
    }
    let plain = |name: &str| name.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\'));
    if settings.document_part.as_ref().is_some_and(|name| name.is_empty() || !plain(name)) {
        wrong("document_part", "is not plain ASCII text".into(), "write the part's name");
    }
    if settings.idempotency_header.as_ref().is_some_and(|name| HeaderName::try_from(name).is_err()) {
        wrong("idempotency_header", "is not the name of a header".into(), "write for example `Idempotency-Key`");
    }
    let answer = &settings.answer;
    if !matches!(answer.status, 200 | 201 | 202 | 204) {
        wrong("answer.status", "is no status of success".into(), "write 200, 201, 202 or 204");
    }
    if answer.status == 204 && !answer.body.is_empty() {
        wrong("answer.body", "an answer with status 204 has no body".into(), "write `status = 200`");
    }
    if HeaderValue::try_from(&answer.content_type).is_err() || answer.content_type.parse::<Mime>().is_err() {
        wrong("answer.content_type", "is not a content type".into(), "write for example `application/json`");
    }
}
