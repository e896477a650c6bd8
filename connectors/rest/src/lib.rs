//! A server that answers JSON or XML over HTTP, asked by hisync.
//!
//! What is particular to it is small: a call is a path with parameters, headers and a body. Reading,
//! logging in and judging answers are those of the crate `connector-http`.

mod settings;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceError, SourceSpec, StreamPoller};
use connector_formats::xml::XmlRules;
use connector_http::{
    Body, Call as Compiled, Check, Method as HttpMethod, Opened, Opener, Piece, Place, Reply, SourceParts, WebDecoder,
    WebPoller,
};

pub use settings::{Call, Method, Settings, Stream};

/// The connector kind `rest`.
#[derive(Clone, Copy, Debug)]
pub struct Rest;

impl ConnectorKind for Rest {
    const NAME: &'static str = "rest";
    const SUMMARY: &'static str =
        "asks a server for JSON or XML over HTTP, page by page, with a login where it wants one";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = Settings;
    type Stream = Stream;

    fn build(source: SourceSpec<Settings, Stream>) -> Result<Connector, Vec<SettingsProblem>> {
        let mut check = Check::default();
        let Settings { url, login, answer, sign, headers, charset, xml, timezone, connection } = source.settings;
        let compile = |check: &mut Check, at: &str, call: &Call, known: &[&str]| {
            call.compile(check, at, known, &headers, answer.as_ref())
        };
        let timezone = timezone.unwrap_or_else(|| source.zone.name().to_owned());
        let parts = SourceParts {
            url,
            login,
            answer: answer.clone(),
            sign,
            charset,
            xml: xml.clone(),
            timezone: timezone.clone(),
            connection,
        };
        let identity = format!("{}/{}", Self::NAME, source.id);
        let session = check.session(&identity, &source.base_dir, parts, compile).map(Arc::new);
        let zone = timezone.parse().unwrap_or_default();
        let mut pollers = Vec::new();
        for (at, stream) in source.streams.iter().enumerate() {
            let plan = check.stream(at, stream, zone, compile);
            if let (Some(session), Some(plan)) = (&session, plan) {
                let poller = WebPoller::new(Arc::clone(session), plan, None);
                pollers.push(StreamPoller { stream: stream.id.clone(), poller: Box::new(poller) });
            }
        }
        if !check.problems.is_empty() {
            return Err(check.problems);
        }
        let decoder = WebDecoder::shared(charset, xml, connector_formats::json::FORMAT);
        Ok(Connector { decoder, flow: Flow::Poll(pollers) })
    }
}

/// An answer is its document.
#[derive(Debug)]
struct Plain;

impl Opener for Plain {
    fn open(&self, _: &str, _: &Reply, text: String, _: &XmlRules, _: bool) -> Result<Opened, SourceError> {
        Ok(Opened::of(text))
    }
}

impl Call {
    fn compile(
        &self,
        check: &mut Check,
        at: &str,
        known: &[&str],
        common: &connector_http::settings::Templates,
        answer: Option<&connector_http::settings::Answer>,
    ) -> Option<Compiled> {
        let path = check.template(&format!("{at}.path"), &self.path, Place::Path, known);
        let query = check.templates(&format!("{at}.query"), &self.query, Place::Plain, known);
        let mut headers = check.headers("settings.headers", common, known);
        headers.extend(check.headers(&format!("{at}.headers"), &self.headers, known));
        if let Some(answer) = &self.answer {
            check.answer(&format!("{at}.answer"), answer);
        }
        let body = match (&self.form, &self.body) {
            (Some(_), Some(_)) => {
                check.wrong(format!("{at}.body"), "a call has a form or a body", "leave one of them out");
                return None;
            }
            (Some(form), None) => Body::Form(check.templates(&format!("{at}.form"), form, Place::Plain, known)),
            (None, Some(body)) => {
                let (place, kind) = match body.trim_start().chars().next() {
                    Some('{' | '[') => (Place::Json, "application/json"),
                    Some('<') => (Place::Xml, "text/xml; charset=utf-8"),
                    _ => {
                        let hint = "begin it with { or [ for JSON, with < for XML; parameters of a form go into form";
                        check.wrong(format!("{at}.body"), "is neither JSON nor XML", hint);
                        return None;
                    }
                };
                if place == Place::Json && body.contains("\"{{") {
                    let hint = "values bring their own quotes: write {\"from\": {{ from }}}";
                    check.wrong(format!("{at}.body"), "a value stands in quotes", hint);
                }
                let template = check.template(&format!("{at}.body"), body, place, known)?;
                Body::Pieces(vec![Piece::Markup(template)], kind.to_owned())
            }
            (None, None) => Body::None,
        };
        let posts = !matches!(body, Body::None);
        let method = match self.method {
            Some(Method::Get) if posts => {
                check.wrong(format!("{at}.method"), "a GET has no body", "write POST, or use query");
                return None;
            }
            Some(Method::Get) => HttpMethod::GET,
            Some(Method::Post) => HttpMethod::POST,
            Some(Method::Put) => HttpMethod::PUT,
            None if posts => HttpMethod::POST,
            None => HttpMethod::GET,
        };
        let what = format!("{method} {:?}", self.path);
        let answer = self.answer.as_ref().or(answer).cloned();
        Some(Compiled { what, method, path: path?, query, headers, body, opener: Arc::new(Plain), answer })
    }
}
