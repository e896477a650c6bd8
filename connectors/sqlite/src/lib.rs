//! Reads exam packages and reports from a SQLite database file.
//!
//! Small systems, exports and gateways keep their data in such a file. hisync opens it read only
//! and never writes to it, also while another process does.
//!
//! - Every scan opens the file anew, so a file that is replaced by a newer copy is seen.
//! - A value keeps its storage class, not its declared type: `INTEGER` and `TEXT` stay what they
//!   are, a `REAL` becomes the shortest decimal that reads back to the same float, and dates stay
//!   text or numbers; the mapping reads them.
//! - Text that is not UTF-8 holds its record; the bytes are archived.

mod client;

use std::path::PathBuf;
use std::time::Duration;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec, StreamPoller};
use connector_sql::{Plan, RowDecoder, SqlPoller, TableStream, check_stream};
use serde::{Deserialize, Serialize};

pub use client::SqliteClient;

/// A SQLite database file.
pub struct Sqlite;

/// The source's `settings` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqliteSettings {
    /// The database file. A relative path is relative to the configuration file's folder.
    pub path: PathBuf,
    /// How long to wait for another process that locks the file, in seconds.
    #[serde(default = "default_busy_timeout_secs")]
    pub busy_timeout_secs: u32,
    /// How long one query may take, in seconds.
    #[serde(default = "default_query_timeout_secs")]
    pub query_timeout_secs: u32,
}

fn default_busy_timeout_secs() -> u32 {
    5
}

fn default_query_timeout_secs() -> u32 {
    60
}

impl ConnectorKind for Sqlite {
    const NAME: &'static str = "sqlite";
    const SUMMARY: &'static str = "tables and views of a SQLite database file, read only";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Incremental, Mode::Snapshot];
    type Settings = SqliteSettings;
    type Stream = TableStream;

    fn build(source: SourceSpec<SqliteSettings, TableStream>) -> Result<Connector, Vec<SettingsProblem>> {
        let settings = &source.settings;
        let mut problems = Vec::new();
        if settings.path.as_os_str().is_empty() {
            problems.push(SettingsProblem::new("settings.path", "the path is empty").hint("name the database file"));
        }
        // More milliseconds than SQLite can count would be refused only when connecting.
        if settings.busy_timeout_secs > 3600 {
            problems.push(SettingsProblem::new("settings.busy_timeout_secs", "more than an hour").hint("5 is usual"));
        }
        if settings.query_timeout_secs == 0 {
            let problem = SettingsProblem::new("settings.query_timeout_secs", "no query can end in 0 seconds");
            problems.push(problem.hint("60 is usual"));
        }
        for (at, stream) in source.streams.iter().enumerate() {
            problems.extend(check_stream(&format!("streams[{at}]"), stream.mode, &stream.settings));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let client = || {
            SqliteClient::new(
                source.base_dir.join(&settings.path),
                Duration::from_secs(settings.busy_timeout_secs.into()),
                Duration::from_secs(settings.query_timeout_secs.into()),
            )
        };
        let pollers = source.streams.iter().map(|stream| StreamPoller {
            stream: stream.id.clone(),
            poller: Box::new(SqlPoller::new(client(), Plan::new(stream.settings.clone(), source.zone))),
        });
        Ok(Connector { decoder: RowDecoder::shared(), flow: Flow::Poll(pollers.collect()) })
    }
}
