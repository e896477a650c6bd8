//! What the configuration says of a `soap` source.

use connector_formats::charset::Charset;
use connector_formats::xml::XmlRules;
use connector_http::settings::{Answer, Connection, Login, Sign, Templates};
use schemars::JsonSchema;
use serde::Deserialize;

/// The `settings` table of a `soap` source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the service is, e.g. `http://10.1.2.3/Report.asmx`, without `?wsdl`.
    pub url: String,
    /// The version of SOAP.
    #[serde(default)]
    pub version: Version,
    /// The namespace of the operations: the WSDL's `targetNamespace`.
    #[serde(default = "tempuri")]
    pub namespace: String,
    /// Whether parameters are in that namespace as well. Services made with .NET want it so, those
    /// made with Java usually do not.
    #[serde(default = "yes")]
    pub qualified: bool,
    /// What stands in `soap:Header` of every call: XML, as a template.
    #[serde(default)]
    pub header: Option<String>,
    /// HTTP headers of every call, as templates.
    #[serde(default)]
    pub headers: Templates,
    /// How the service knows who asks.
    #[serde(default)]
    pub login: Option<Login<Call>>,
    /// What answers say about themselves: their codes of success. A call may have its own.
    #[serde(default)]
    pub answer: Option<Answer>,
    /// A signature over each call.
    #[serde(default)]
    pub sign: Option<Sign>,
    /// The character set of answers, whatever they declare. Where left out, what they declare counts,
    /// unless their bytes prove it wrong.
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

fn tempuri() -> String {
    "http://tempuri.org/".to_owned()
}

fn yes() -> bool {
    true
}

/// The version of SOAP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Version {
    /// 1.1: `text/xml`, and the action in the header `SOAPAction`.
    #[default]
    #[serde(rename = "1.1")]
    V11,
    /// 1.2: `application/soap+xml` with the action in it.
    #[serde(rename = "1.2")]
    V12,
}

/// What a stream's table holds beside the common keys.
pub type Stream = connector_http::settings::Stream<Call>;

/// One operation with its parameters.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Call {
    /// The operation's name.
    pub operation: String,
    /// Its parameters, in the order of the WSDL.
    pub params: Vec<Param>,
    /// What stands in `soap:Body`, as a template of XML, where operation and parameters do not say it.
    pub body: Option<String>,
    /// The SOAP action, where it is not namespace and operation.
    pub action: Option<String>,
    /// The element of the response that has the result, e.g. `GetReportsResult`. Where left out: the
    /// only one in the response, or the response itself. Text in it that is XML or JSON is opened.
    pub result: Option<String>,
    /// What its answer says about itself, where that is unlike the source's other answers.
    pub answer: Option<Answer>,
}

/// A parameter of an operation.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value, as a template. A value that begins with `<` or `{` is a document by itself: what is
    /// filled into it is escaped for XML or JSON, and the whole once more for its place.
    pub value: String,
    /// Write it as CDATA, for services that want it so.
    #[serde(default)]
    pub cdata: bool,
}
