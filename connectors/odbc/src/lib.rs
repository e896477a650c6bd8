//! Reads exam packages and reports from any database that has an ODBC driver.
//!
//! The driver runs in `hisync-odbc`, a process of its own per stream (the package in `driver/`):
//! neither this crate nor the agent links unixODBC, and a driver that crashes, leaks or hangs is
//! killed and started anew without touching anything else. This crate starts that process, speaks
//! with it in the protocol of [`wire`], and makes values of what it sends.
//!
//! - Everything but bytes arrives as text, so numbers are exact; each text's UTF-8 is checked.
//! - What differs between products is data: [`Preset`].
//! - At each connection, Chinese text goes through the driver and back before anything is read.

mod cell;
mod client;
mod fault;
mod preset;
mod process;
mod settings;
pub mod wire;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec, StreamPoller};
use connector_sql::{Plan, RowDecoder, SqlPoller, TableStream, WatermarkType, check_stream};

pub use client::OdbcClient;
pub use preset::{LoginTimeout, Preset, Product};
pub use settings::OdbcSettings;

/// A database with an ODBC driver.
pub struct Odbc;

impl ConnectorKind for Odbc {
    const NAME: &'static str = "odbc";
    const SUMMARY: &'static str =
        "tables and views of Oracle, MySQL, PostgreSQL, DM, Caché and others by their ODBC drivers";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = OdbcSettings;
    type Stream = TableStream;

    fn build(source: SourceSpec<OdbcSettings, TableStream>) -> Result<Connector, Vec<SettingsProblem>> {
        let mut problems = source.settings.check();
        for (at, stream) in source.streams.iter().enumerate() {
            problems.extend(check_stream(&format!("streams[{at}]"), stream.mode, &stream.settings));
            let watermark = stream.settings.fetch.watermark.as_ref();
            if watermark.is_some_and(|watermark| watermark.kind == WatermarkType::Rowversion) {
                let message =
                    "a rowversion can't be read safely through ODBC: nothing asks which of them are still open";
                let hint =
                    "use the connector sqlserver, which asks MIN_ACTIVE_ROWVERSION(), or a timestamp column here";
                let path = format!("streams[{at}].fetch.watermark.type");
                problems.push(SettingsProblem::new(path, message).hint(hint));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let pollers = source.streams.iter().map(|stream| {
            let client = OdbcClient::new(source.id.as_str(), source.settings.clone(), source.base_dir.clone());
            let poller = SqlPoller::new(client, Plan::new(stream.settings.clone(), source.zone));
            StreamPoller { stream: stream.id.clone(), poller: Box::new(poller) }
        });
        Ok(Connector { decoder: RowDecoder::shared(), flow: Flow::Poll(pollers.collect()) })
    }
}
