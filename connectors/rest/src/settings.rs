//! What the configuration says of a `rest` source.

use connector_formats::charset::Charset;
use connector_formats::xml::XmlRules;
use connector_http::settings::{Answer, Connection, Login, Sign, Templates};
use schemars::JsonSchema;
use serde::Deserialize;

/// The `settings` table of a `rest` source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the server is; the paths of calls are relative to it, so it should end with `/`.
    pub url: String,
    /// How the server knows who asks. Nobody is asked for where left out.
    #[serde(default)]
    pub login: Option<Login<Call>>,
    /// What answers say about themselves: their codes of success. A call may have its own.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// A signature over each call.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// Headers of every call, as templates.
    #[serde(default)]
    pub headers: Templates,
    /// The character set of answers, whatever they declare. Where left out, what they declare counts,
    /// unless their bytes prove it wrong; UTF-8 where they declare nothing.
    #[serde(default)]
    pub charset: Option<Charset>,
    /// How XML becomes values.
    #[serde(default)]
    pub xml: XmlRules,
    /// The time zone of the times that are asked for and answered; the hospital's where left out.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Time limits, sizes, certificates, a limit of calls in a second.
    #[serde(default)]
    pub connection: Connection,
}

/// What a stream's table holds beside the common keys.
pub type Stream = connector_http::settings::Stream<Call>;

/// One kind of call. Its texts are templates: `{{ from }}` stands for a value, which is escaped for
/// its place.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// The path below `url`, e.g. `reports/{{ row.id }}`.
    pub path: String,
    /// GET, or POST where there is a form or body, unless it is said here.
    pub method: Option<Method>,
    /// Parameters in the URL. Those that turn out empty are left out.
    pub query: Templates,
    /// Headers.
    pub headers: Templates,
    /// Parameters in the body, as a form sends them.
    pub form: Option<Templates>,
    /// The body: JSON or XML. In JSON, values bring their own quotes: `{"from": {{ from }}}`.
    pub body: Option<String>,
    /// What its answer says about itself, where that is unlike the source's other answers.
    pub answer: Option<Answer>,
}

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
}
