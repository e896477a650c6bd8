//! A SOAP service, asked by hisync.
//!
//! `envelope` makes requests and takes results out of answers, `wsdl` reads what a service says of
//! itself. Reading, logging in and judging answers are those of the crate `connector-http`.

mod envelope;
mod settings;
mod wsdl;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec, StreamPoller};
use connector_http::{Check, SourceParts, WebDecoder, WebPoller};

pub use settings::{Call, Param, Settings, Stream, Version};

/// The connector kind `soap`.
#[derive(Clone, Copy, Debug)]
pub struct Soap;

impl ConnectorKind for Soap {
    const NAME: &'static str = "soap";
    const SUMMARY: &'static str = "calls a SOAP or ASMX service, also one with a single string in and out";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = Settings;
    type Stream = Stream;

    fn build(source: SourceSpec<Settings, Stream>) -> Result<Connector, Vec<SettingsProblem>> {
        let mut check = Check::default();
        let settings = source.settings;
        if settings.namespace.trim().is_empty() {
            check.wrong("settings.namespace", "is empty", "write the WSDL's targetNamespace");
        }
        let compile = |check: &mut Check, at: &str, call: &Call, known: &[&str]| {
            envelope::compile(check, at, call, known, &settings)
        };
        let timezone = settings.timezone.clone().unwrap_or_else(|| source.zone.name().to_owned());
        let parts = SourceParts {
            url: settings.url.clone(),
            login: settings.login.clone(),
            answer: settings.answer.clone(),
            sign: settings.sign.clone(),
            charset: settings.charset,
            xml: settings.xml.clone(),
            timezone: timezone.clone(),
            connection: settings.connection.clone(),
        };
        let identity = format!("{}/{}", Self::NAME, source.id);
        let session = check.session(&identity, &source.base_dir, parts, compile).map(Arc::new);
        let zone = timezone.parse().unwrap_or_default();
        let catalogue = Arc::new(wsdl::Service { version: settings.version, qualified: settings.qualified });
        let mut pollers = Vec::new();
        for (at, stream) in source.streams.iter().enumerate() {
            let plan = check.stream(at, stream, zone, compile);
            if let (Some(session), Some(plan)) = (&session, plan) {
                let poller = WebPoller::new(Arc::clone(session), plan, Some(catalogue.clone()));
                pollers.push(StreamPoller { stream: stream.id.clone(), poller: Box::new(poller) });
            }
        }
        if !check.problems.is_empty() {
            return Err(check.problems);
        }
        let decoder = WebDecoder::shared(settings.charset, settings.xml, connector_formats::xml::FORMAT);
        Ok(Connector { decoder, flow: Flow::Poll(pollers) })
    }
}
