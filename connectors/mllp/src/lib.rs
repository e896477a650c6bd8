//! HL7 v2 over MLLP: a listener for laboratory and imaging systems that send results.
//!
//! An acknowledgement leaves only after [`connector_api::Intake::accept`] returned, so `AA` and
//! `CA` mean "on stable storage". Whether the content can be understood is settled later and by a
//! person; see this connector's README for why that is not told to the sender.
//!
//! The parts: `framing` cuts bytes into frames, `session` says what a frame means and what is
//! answered, `ack` writes answers, `master` what those to master files repeat, `listener` serves the
//! connections.

mod ack;
mod framing;
mod listener;
mod master;
mod routes;
mod session;
mod settings;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec};
use connector_formats::hl7::Hl7Decoder;

pub use connector_listen::Tls;
pub use settings::{Acknowledge, Settings, Stream};

/// The connector kind `mllp`.
#[derive(Clone, Copy, Debug)]
pub struct Mllp;

impl ConnectorKind for Mllp {
    const NAME: &'static str = "mllp";
    const SUMMARY: &'static str = "receives HL7 v2 messages over MLLP and acknowledges what is safely stored";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Push];
    type Settings = Settings;
    type Stream = Stream;

    fn build(source: SourceSpec<Settings, Stream>) -> Result<Connector, Vec<SettingsProblem>> {
        let (limits, port) = source.settings.check(&source)?;
        let decoder = Hl7Decoder::new(source.settings.charset);
        let session = session::Session::new(decoder, &source);
        let listener = listener::MllpListener::new(source.id, port, limits, Arc::new(session));
        Ok(Connector { decoder: Arc::new(decoder), flow: Flow::Listen(Box::new(listener)) })
    }
}
