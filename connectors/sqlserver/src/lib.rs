//! Reads exam packages and reports from Microsoft SQL Server 2008 and later.
//!
//! Paging, watermarks, child lists and snapshots are those of every relational source; see
//! `connector-sql`. Here is what SQL Server needs beside that:
//!
//! - A connection on which encryption was settled before the driver sees it, so that a certificate
//!   can be pinned and a failed handshake names its cure.
//! - Columns whose type the driver reads wrongly are converted by the server; see the dialect.
//! - After anything but a whole answer the connection is thrown away.
//! - Only SELECTs are composed; there is no text of a site's own that could be another statement.
//!   A stored procedure runs where the configuration allows it by name.

mod client;
mod connect;
mod dialect;
mod faults;
mod procedure;
mod settings;
mod stream;
mod tls;
mod value;

use connector_api::{Connector, ConnectorKind, Flow, Mode, Poller, SettingsProblem, SourceSpec, StreamPoller};
use connector_sql::{Plan, RowDecoder, SqlPoller};

pub use client::SqlServerClient;
pub use settings::{Encryption, Isolation, Procedure, SqlServerSettings, SqlServerStream, Trust};

use crate::connect::Endpoint;
use crate::procedure::ProcedurePoller;

/// A SQL Server database.
pub struct SqlServer;

impl ConnectorKind for SqlServer {
    const NAME: &'static str = "sqlserver";
    const SUMMARY: &'static str =
        "tables, views and allowed procedures of Microsoft SQL Server 2008 and later, read only";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = SqlServerSettings;
    type Stream = SqlServerStream;

    fn build(source: SourceSpec<SqlServerSettings, SqlServerStream>) -> Result<Connector, Vec<SettingsProblem>> {
        let mut problems = settings::check_settings(&source.settings);
        for (at, stream) in source.streams.iter().enumerate() {
            problems.extend(settings::check(
                &source.settings,
                &format!("streams[{at}]"),
                stream.mode,
                &stream.settings,
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let pollers = source.streams.iter().map(|stream| {
            let mut endpoint = Endpoint { settings: source.settings.clone(), base_dir: source.base_dir.clone() };
            let table = stream.settings.table();
            let poller: Box<dyn Poller> = match &stream.settings.procedure {
                None => {
                    let client = SqlServerClient::new(endpoint, &table, usize::MAX);
                    Box::new(SqlPoller::new(client, Plan::new(table, source.zone)))
                }
                Some(procedure) => {
                    // Its one call needs no transaction, and nobody knows what it does in one.
                    endpoint.settings.isolation = Isolation::ReadCommitted;
                    let client = SqlServerClient::new(endpoint, &table, procedure::MOST_ROWS);
                    Box::new(ProcedurePoller::new(client, table.fetch, procedure.clone(), source.zone))
                }
            };
            StreamPoller { stream: stream.id.clone(), poller }
        });
        Ok(Connector { decoder: RowDecoder::shared(), flow: Flow::Poll(pollers.collect()) })
    }
}
