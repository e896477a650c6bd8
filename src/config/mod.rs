//! The configuration: loaded whole or not at all, every problem reported at once (P10).
//!
//! The file is read as a tree in which each key and value knows its place ([`load`]); the tree is
//! checked against the JSON Schemas of the settings types, then each connector checks its own
//! settings and each mapping is compiled. Secrets are references and are read when they are needed;
//! [`unreadable_secrets`] lists those that can't be.

mod disk;
mod file;
mod grammar;
mod load;
pub mod reference;
mod schema;
mod tree;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::Tz;
use connector_api::seal::{KeyRing, SealError};
use connector_api::{
    Connector, Mode, Secret, SecretError, SettingsProblem, SourceId, SourceSpec, StreamId, StreamSpec,
};

use crate::diagnose::Problem;
use crate::mapping::Mapping;
use crate::model::EntityType;
use crate::model::guard::Guards;
use crate::ops::canary::CanaryPolicy;
use crate::registry::Kind;
use crate::store::{Backlog, RetentionPolicy, SnapshotPolicy, StartPolicy};
use crate::{delivery, ops};

pub use file::ReloadMode;
pub use schema::SecretUse;
pub use watch::FileWatch;

/// A configuration without a problem, its mappings compiled.
#[derive(Debug)]
pub struct Config {
    /// The `[agent]` table.
    pub agent: Agent,
    /// The `[store]` table.
    pub store: StoreConfig,
    /// The `[upstream]` table.
    pub upstream: delivery::Settings,
    /// The `[admin]` table.
    pub admin: ops::Settings,
    /// The `[retention]` table.
    pub retention: RetentionPolicy,
    /// The `[alerts]` table.
    pub alerts: ops::alert::Settings,
    /// The `[log]` table.
    pub log: ops::log::Settings,
    /// The `[traces]` table; `None` where no traces are sent.
    pub traces: Option<ops::traces::Settings>,
    /// Days off and working weekends.
    pub calendar: ops::calendar::Calendar,
    /// The sources in the file's order.
    pub sources: Vec<SourceConfig>,
    /// The folder of the configuration file: relative paths start here.
    pub base_dir: PathBuf,
    /// SHA-256 (hex) over every file that was read: configuration, mappings, code tables.
    pub digest: String,
    /// Every place that refers to a secret.
    pub secrets: Vec<SecretUse>,
    /// Every file that was read: the configuration, what it includes, mappings, code tables.
    pub files: Vec<PathBuf>,
    /// The tables as they are written, with references to secrets; to be compared with those of another time.
    pub written: serde_json::Value,
}

/// The `[agent]` table.
#[derive(Clone, Debug)]
pub struct Agent {
    /// The upstream's id of this hospital.
    pub hospital: String,
    /// The campus.
    pub campus: String,
    /// The hospital's time zone: cron schedules and wall-clock times are in it.
    pub timezone: Tz,
    /// The folder of the store, absolute.
    pub data_dir: PathBuf,
    /// Below so much free disk, intake stops.
    pub disk_floor_bytes: u64,
    /// At so much that waits to be delivered, intake stops.
    pub outbox_limit: Backlog,
    /// How long a graceful stop may take.
    pub shutdown_grace: Duration,
    /// A routing label that every event carries.
    pub lane: Option<String>,
    /// When a changed configuration is loaded.
    pub reload: ReloadMode,
}

/// The `[store]` table.
#[derive(Clone, Debug, Default)]
pub struct StoreConfig {
    /// Where the key is that the store is encrypted under; `None` where it is not.
    key: Option<SecretUse>,
}

impl StoreConfig {
    /// Reads the keys that the store is encrypted under.
    pub fn keys(&self, base_dir: &Path) -> Result<Option<KeyRing>, KeyError> {
        self.key.as_ref().map(|place| read_keys(&place.secret, base_dir)).transpose()
    }
}

/// Why the keys of the store can't be used. Never contains any of them.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// They can't be read.
    #[error("read the key of the store (store.encryption.key)")]
    Unreadable(#[source] SecretError),
    /// What was read is none.
    #[error("read the key of the store (store.encryption.key)")]
    NoKey(#[source] SealError),
}

fn read_keys(secret: &Secret, base_dir: &Path) -> Result<KeyRing, KeyError> {
    KeyRing::parse(secret.read(base_dir).map_err(KeyError::Unreadable)?.expose()).map_err(KeyError::NoKey)
}

/// One `[[sources]]` table.
#[derive(Debug)]
pub struct SourceConfig {
    /// Its id.
    pub id: SourceId,
    /// Its connector.
    pub kind: &'static Kind,
    /// Its settings, checked.
    pub settings: serde_json::Value,
    /// The hospital's time zone.
    pub zone: Tz,
    /// Its streams in the file's order.
    pub streams: Vec<StreamConfig>,
}

impl SourceConfig {
    /// Builds the connector; opens nothing. Cheap: called again after a panic.
    pub fn build(&self, base_dir: &Path) -> Result<Connector, Vec<SettingsProblem>> {
        let streams = self.streams.iter().map(|stream| StreamSpec {
            id: stream.id.clone(),
            mode: stream.mode,
            settings: stream.settings.clone(),
        });
        self.kind.build(SourceSpec {
            id: self.id.clone(),
            base_dir: base_dir.to_owned(),
            zone: self.zone,
            settings: self.settings.clone(),
            streams: streams.collect(),
        })
    }
}

/// One `[[sources.streams]]` table.
#[derive(Debug)]
pub struct StreamConfig {
    /// Its full id.
    pub id: StreamId,
    /// What it yields.
    pub entity: EntityType,
    /// How it yields it.
    pub mode: Mode,
    /// When a poller is asked; `None` for push streams.
    pub schedule: Option<cron::Schedule>,
    /// Its mapping.
    pub mapping: Arc<Mapping>,
    /// When silence is a failure.
    pub expect: Option<Expect>,
    /// When a bounded window is read again.
    pub sweep: Option<Sweep>,
    /// When a closed period is compared with the source.
    pub reconcile: Option<Reconcile>,
    /// About how many records one fetch asks for.
    pub batch_size: usize,
    /// When a snapshot's missing entities may be withdrawn.
    pub snapshot: SnapshotPolicy,
    /// Which changes of its catalogue are held; `None` for reports, or where none are.
    pub guards: Option<Guards>,
    /// When its first sample is in order; `None` where it delivers at once.
    pub onboarding: Option<StartPolicy>,
    /// When a daily share jumps; `None` where nobody watches.
    pub canaries: Option<CanaryPolicy>,
    /// The connector's own keys of the table, checked.
    pub settings: serde_json::Value,
}

/// Silence longer than this, inside these hours, is a failure.
#[derive(Clone, Debug)]
pub struct Expect {
    /// How long a silence is normal.
    pub within: Duration,
    /// From when to when, in the hospital's time zone.
    pub between: (NaiveTime, NaiveTime),
    /// On which days, Monday first.
    pub days: [bool; 7],
}

/// A periodic re-read of a bounded window.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// When.
    pub schedule: cron::Schedule,
    /// How far back.
    pub window: Duration,
}

/// A periodic comparison of a closed period with the source.
#[derive(Clone, Debug)]
pub struct Reconcile {
    /// When.
    pub schedule: cron::Schedule,
    /// How long the period is.
    pub window: Duration,
    /// A period is closed so long after its end.
    pub lag: Duration,
    /// An event without a receipt for so long is undelivered.
    pub undelivered_after: Duration,
}

/// Loads a configuration file with everything it names; every problem at once.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    load_with(path, crate::registry::all())
}

/// Loads a configuration file with these connector kinds instead of the registry's.
pub fn load_with(path: &Path, kinds: &'static [Kind]) -> Result<Config, Vec<Problem>> {
    load::load(path, kinds, Mapping::compile)
}

/// A connector to look around in a source with, where its streams and mappings need not exist yet.
pub struct Look {
    /// The source's connector kind.
    pub kind: &'static Kind,
    /// The connector, built; nothing was opened.
    pub connector: Connector,
}

/// Builds one source of a configuration file as far as looking around in it needs: only its own settings must be
/// right. Where it has no usable stream yet, the one of its connector's sample stands in.
pub fn look(path: &Path, source: &str) -> Result<Look, Vec<Problem>> {
    load::look(path, source, crate::registry::all())
}

/// The data folder (absolute) that a configuration file or one that it includes names, or the default one.
///
/// Nothing else is looked at: the state of an agent must be seen even while its configuration is broken.
pub fn data_dir(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    load::data_dir(path)
}

/// The hospital's time zone as a configuration file or one that it includes names it; nothing else is looked at.
pub fn zone(path: &Path) -> Option<Tz> {
    as_written(path).ok()?.pointer("/agent/timezone")?.as_str()?.parse().ok()
}

/// The keys of the store that a configuration file or one that it includes names; `None` where the store is not to be
/// encrypted. Nothing else is looked at, as with [`data_dir`].
pub fn store_keys(path: &Path) -> Result<Option<KeyRing>, Vec<Problem>> {
    let (secret, base_dir) = load::store_key(path)?;
    let keys = secret.map(|secret| read_keys(&secret, &base_dir)).transpose();
    keys.map_err(|error| vec![Problem::new(path, None, "unreadable-secret", connector_api::chain(&error))])
}

/// A configuration with what it includes, as it is written and without comments; nothing of it is checked. It holds
/// references to secrets, and whatever else somebody wrote into it.
pub fn as_written(path: &Path) -> Result<serde_json::Value, Vec<Problem>> {
    load::as_written(path)
}

/// The `[log]` table of a configuration file, where that can be read; a broken configuration is told elsewhere.
pub fn log_settings(path: &Path) -> ops::log::Settings {
    let written = as_written(path).ok();
    written.and_then(|whole| serde_json::from_value(whole.get("log")?.clone()).ok()).unwrap_or_default()
}

/// A length of time as the configuration writes it: a whole number and `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<grammar::Lasting>().map(|lasting| lasting.0).map_err(|misfit| {
        misfit.hint.as_ref().map_or_else(|| misfit.message.clone(), |hint| format!("{}: {hint}", misfit.message))
    })
}

/// The secrets that can't be read now: variables that are not set, files that are missing. Nothing of
/// a secret's content is in the problems.
pub fn unreadable_secrets(config: &Config) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        config.secrets.iter().filter_map(|place| place.unreadable(&config.base_dir)).collect();
    if let (Some(place), Err(KeyError::NoKey(error))) = (&config.store.key, config.store.keys(&config.base_dir)) {
        problems.push(place.problem("bad-key", error.to_string()));
    }
    problems
}

#[cfg(test)]
pub(crate) mod tests;
