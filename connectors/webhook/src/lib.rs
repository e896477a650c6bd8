//! HTTP requests with reports and catalogues, as hospital systems push them.
//!
//! An answer of success leaves only after [`connector_api::Intake::accept`] returned `Ok`, so 2xx
//! means "on stable storage". Whether the content can be understood is settled later and by a
//! person; see this connector's README for why that is not told to the sender, as a rule.
//!
//! The parts: `server` owns the sockets, `desk` takes one request from its head to the answer,
//! `auth` knows who sends, `body` reads within bounds, `reading` makes records of bodies.

mod auth;
mod body;
mod desk;
mod reading;
mod server;
mod settings;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec};

pub use connector_listen::Tls;
pub use reading::Format;
pub use settings::{Algorithm, Answer, Auth, Encoding, Method, Settings, Stream, Unreadable};

/// The connector kind `webhook`.
#[derive(Clone, Copy, Debug)]
pub struct Webhook;

impl ConnectorKind for Webhook {
    const NAME: &'static str = "webhook";
    const SUMMARY: &'static str =
        "receives JSON, XML or HL7 v2 over HTTP and answers success for what is safely stored";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Push];
    type Settings = Settings;
    type Stream = Stream;

    fn build(source: SourceSpec<Settings, Stream>) -> Result<Connector, Vec<SettingsProblem>> {
        let checked = source.settings.check(&source.streams)?;
        let reader = Arc::new(reading::Reader::new(&source));
        let desk = Arc::new(desk::Desk::new(&source, checked.limits, Arc::clone(&reader)));
        let listener = server::WebhookListener::new(&source, checked, desk);
        Ok(Connector { decoder: reader, flow: Flow::Listen(Box::new(listener)) })
    }
}
