//! What a configuration says about a server that is asked over HTTP, whatever it speaks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

/// How the server is connected to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Connection {
    /// How long opening a connection may take.
    pub connect_timeout_secs: u64,
    /// How long one call may take, its whole answer included.
    pub timeout_secs: u64,
    /// The longest answer that is read. A longer one is an error, never cut.
    pub max_answer_bytes: usize,
    /// At most so many calls in a second, over all streams of the source, e.g. `0.5`: one in two
    /// seconds. No limit where left out.
    pub requests_per_second: Option<f64>,
    /// How HTTPS is checked, where the usual authorities are not enough.
    pub tls: Option<Tls>,
    /// The URL of a proxy. None is used where left out, also where the environment names one.
    pub proxy: Option<String>,
}

impl Default for Connection {
    fn default() -> Connection {
        Connection {
            connect_timeout_secs: 10,
            timeout_secs: 60,
            max_answer_bytes: 32 << 20,
            requests_per_second: None,
            tls: None,
            proxy: None,
        }
    }
}

/// How HTTPS is checked.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the authorities, or the server's own certificate, that are trusted instead of
    /// the usual ones.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate that hisync shows.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// The private key of that certificate, PEM.
    #[serde(default)]
    pub key: Option<Secret>,
}

/// How the server knows who asks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Login<C> {
    /// A user and password with every call (HTTP Basic).
    Basic {
        /// The user.
        user: String,
        /// The password.
        secret: Secret,
    },
    /// A fixed key with every call.
    Key {
        /// The header that carries it, e.g. `X-Api-Key`.
        #[serde(default)]
        header: Option<String>,
        /// What stands before it in the header, e.g. `Bearer `.
        #[serde(default)]
        prefix: String,
        /// The key. Templates may name it `{{ token }}` as well; without a header that is the only way.
        secret: Secret,
    },
    /// A call that gives a token, which is kept until it expires or is refused.
    Call {
        /// The call. Its templates may name `{{ user }}` and `{{ password }}`.
        call: Box<C>,
        /// The user.
        #[serde(default)]
        user: String,
        /// The password.
        #[serde(default)]
        secret: Option<Secret>,
        /// Where the token is in the answer, e.g. `data.token`; the whole answer's text where left out.
        #[serde(default)]
        token: String,
        /// Where the answer says for how many seconds the token is good.
        #[serde(default)]
        expires_in: Option<String>,
        /// For how many seconds a token is good where the answer does not say it.
        #[serde(default = "an_hour")]
        valid_secs: u64,
        /// The header that carries the token. Templates may name it `{{ token }}` as well.
        #[serde(default)]
        header: Option<String>,
        /// What stands before the token in the header.
        #[serde(default)]
        prefix: String,
    },
    /// OAuth 2 with client credentials: the token goes into `Authorization: Bearer …`.
    Oauth2 {
        /// Where tokens are given, relative to `url` or whole.
        token_url: String,
        /// The client's id.
        client_id: String,
        /// The client's secret.
        secret: Secret,
        /// What is asked for, where the server wants that said.
        #[serde(default)]
        scope: Option<String>,
        /// How the client proves itself at `token_url`.
        #[serde(default)]
        client_auth: ClientAuth,
    },
}

fn an_hour() -> u64 {
    3600
}

/// How an OAuth client proves itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// HTTP Basic.
    #[default]
    Basic,
    /// In the form, as `client_id` and `client_secret`.
    Form,
}

/// What an answer says about itself. A code that is listed nowhere is a failure, never success.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Where the business code is, e.g. `code` or `Response.returnCode`; `.` is the whole text.
    pub code: String,
    /// The codes of success. `""` stands for a code that is empty or missing, `*` for any other that
    /// is not listed below, as where a login answers a token or else a code of failure.
    pub ok: Vec<String>,
    /// The codes of failure, needed only beside `*`.
    #[serde(default)]
    pub failed: Vec<String>,
    /// The codes that say there is nothing.
    #[serde(default)]
    pub no_data: Vec<String>,
    /// Words of the message, or of a plain answer, that say there is nothing, e.g. `未查询到`.
    #[serde(default)]
    pub no_data_text: Vec<String>,
    /// The codes that say the token has expired: hisync logs in again, once.
    #[serde(default)]
    pub expired: Vec<String>,
    /// Where the message is.
    #[serde(default)]
    pub message: Option<String>,
}

/// A signature over each call, available to templates as `{{ sign }}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// How it is computed.
    pub algorithm: Algorithm,
    /// What is signed, e.g. `{{ params }}{{ timestamp }}{{ nonce }}{{ secret }}`. `params` are the
    /// parameters of query and form, sorted, as `a=1&b=2`; `body` is the body.
    pub text: String,
    /// The key, also `{{ secret }}` in `text`.
    pub secret: Secret,
    /// How it is written.
    #[serde(default)]
    pub encoding: Encoding,
}

/// How a signature is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with MD5.
    HmacMd5,
    /// SHA-256 of the text, which then names the secret.
    Sha256,
    /// MD5 of the text, which then names the secret.
    Md5,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Hexadecimal, small letters.
    #[default]
    Hex,
    /// Hexadecimal, capital letters.
    HexUpper,
    /// Base64.
    Base64,
}

/// What a stream's table holds beside the common keys.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "C: Deserialize<'de>"))]
pub struct Stream<C> {
    /// The call that lists the records.
    pub list: C,
    /// Where the records are in its answer, e.g. `data.list` or `Response.Items.Item`. `*` stands for
    /// any name. Where left out, the answer is the record, or the list of them.
    #[serde(default)]
    pub records: String,
    /// Where the answer says how many records there are in all.
    #[serde(default)]
    pub total: Option<String>,
    /// How the list is asked for what changed. Incremental streams need it.
    #[serde(default)]
    pub changes: Option<Changes>,
    /// How a list comes in several answers. One answer holds it all where left out.
    #[serde(default)]
    pub paging: Option<Paging>,
    /// Fields that hold documents as text (XML, JSON), which are to be opened.
    #[serde(default)]
    pub open: Vec<String>,
    /// Calls that are made for each record of the list.
    #[serde(default)]
    pub details: Vec<Detail<C>>,
    /// Files that are fetched for each record.
    #[serde(default)]
    pub downloads: Vec<Download>,
    /// The call that tells the source what is safely stored.
    #[serde(default)]
    pub taken: Option<Taken<C>>,
}

/// How a list is asked for what changed: from a time on, in windows, or from a number on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Changes {
    /// Where the first reading begins: `2024-01-01`, or a number where `type = "number"`.
    pub start: String,
    /// The field of a record whose newest value is the watermark. Where left out, the end of the
    /// window that was read is the watermark.
    #[serde(default)]
    pub field: Option<String>,
    /// What the watermark is.
    #[serde(default, rename = "type")]
    pub kind: ChangesType,
    /// At most so many days are asked for at once. Where left out, everything since the watermark is.
    #[serde(default)]
    pub days: Option<u32>,
    /// How long before the watermark each reading begins, because records appear late. Default 600.
    #[serde(default)]
    pub lag_secs: Option<u64>,
    /// The same for a number, which must say it: how many numbers are asked for again.
    #[serde(default)]
    pub lag: Option<u64>,
    /// How `{{ from }}` and `{{ to }}` are written. The field's values may be written in it as well.
    #[serde(default = "default_format")]
    pub format: String,
}

fn default_format() -> String {
    crate::window::DEFAULT_FORMAT.to_owned()
}

/// What a watermark is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangesType {
    /// A time.
    #[default]
    Timestamp,
    /// A whole number that grows.
    Number,
}

/// How a list comes in several answers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paging {
    /// What tells one page from the next.
    pub by: PagingBy,
    /// How many records a page has, as `{{ size }}`.
    #[serde(default = "a_hundred")]
    pub size: usize,
    /// The number of the first page, as `{{ page }}`.
    #[serde(default = "one")]
    pub first: u64,
    /// Where the answer has the next page's cursor, for `by = "cursor"`; the next call has it as
    /// `{{ cursor }}`.
    #[serde(default)]
    pub cursor: Option<String>,
    /// Where the answer says whether there are more pages (`true`, `1`).
    #[serde(default)]
    pub more: Option<String>,
}

fn a_hundred() -> usize {
    100
}

fn one() -> u64 {
    1
}

/// What tells one page from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PagingBy {
    /// A page's number, as `{{ page }}`.
    Page,
    /// How many records come before, as `{{ offset }}`.
    Offset,
    /// A value of the answer before, as `{{ cursor }}`.
    Cursor,
    /// The `Link` header with `rel="next"`.
    Link,
}

/// A call that is made for each record of the list. If it fails, nothing of the page is taken.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Detail<C> {
    /// The name under which its answer stands in the record.
    pub name: String,
    /// The call. Its templates may name fields of the record, as `{{ row.id }}`.
    pub call: C,
    /// Where the detail's records are; they become a list. The answer itself where left out.
    #[serde(default)]
    pub records: Option<String>,
}

/// A file that is fetched for each record.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// The name under which its bytes stand in the record.
    pub name: String,
    /// The field that has its URL, whole or relative to the source's. Empty or null: there is no file.
    pub url: String,
    /// The longest file that is read.
    #[serde(default = "sixteen_megabytes")]
    pub max_bytes: usize,
    /// Other hosts that it may be fetched from, without any login.
    #[serde(default)]
    pub hosts: Vec<String>,
}

fn sixteen_megabytes() -> usize {
    16 << 20
}

/// The call that tells the source what is safely stored. It is made after the commit only.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Taken<C> {
    /// The call. With `{{ keys }}` in a template it is made once for all records, else once for each
    /// with `{{ key }}` or `{{ row.… }}`.
    pub call: C,
    /// The field of a record that is its key.
    pub key: String,
    /// Where the answer lists the keys that it accepted. Where left out, success means all.
    #[serde(default)]
    pub accepted: Option<String>,
}

/// Headers and the like: names with templates.
pub type Templates = BTreeMap<String, String>;
