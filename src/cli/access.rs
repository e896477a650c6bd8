//! How a command reaches the state of an agent: the running one, or its store.

use std::path::PathBuf;
use std::sync::Arc;

use connector_api::chain;
use connector_api::seal::KeyRing;
use serde::Serialize;
use serde_json::Value as Json;

use super::client::{self, Client};
use super::{Exit, Terminal};
use crate::agent::AgentFile;
use crate::clock::Clock;
use crate::store::{self, Reader, Store};
use crate::{agent, config, intake};

/// Where a configuration is looked for, in this order, where none is named.
const PLACES: [&str; 2] = ["hisync.toml", "/etc/hisync/hisync.toml"];

/// Which agent is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Which {
    /// The configuration file; without it ./hisync.toml, then /etc/hisync/hisync.toml.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: Option<PathBuf>,
    /// The data folder, where the configuration is not at hand.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    data_dir: Option<PathBuf>,
}

/// Which page of a long list.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Page {
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    pub(super) limit: usize,
    /// Only those behind this id: the next page.
    #[arg(long)]
    pub(super) after: Option<i64>,
}

/// Whether and why personal data is shown.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Personal {
    /// Shows personal data; the reason goes to the audit log.
    #[arg(long, requires = "because")]
    show_personal: bool,
    /// Why personal data is looked at.
    #[arg(long)]
    because: Option<String>,
    /// Who looks, for the audit log.
    #[arg(long)]
    who: Option<String>,
}

impl Personal {
    /// Who looks, and the reason where personal data is to be shown.
    pub(super) fn asked(self) -> (String, Option<String>) {
        let Personal { show_personal, because, who } = self;
        (who.unwrap_or_else(whoami), because.filter(|_| show_personal))
    }
}

/// Why a command can't tell.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("there is no configuration at ./hisync.toml or /etc/hisync/hisync.toml; name one with -c FILE")]
    NoConfig,
    #[error("{path:?} does not tell the data folder: {cause}")]
    NoDataDir { path: PathBuf, cause: String },
    #[error("{path:?} does not tell the key of the store: {cause}")]
    NoKeys { path: PathBuf, cause: String },
    #[error("no agent runs, and this can't be done without the configuration: name it with -c FILE, not --data-dir")]
    ConfigNeeded,
    #[error("{0:?} holds no store: has an agent run with this data folder?")]
    NoStore(PathBuf),
    #[error("the configuration has problems; `hisync check -c {0:?}` shows them")]
    BadConfig(PathBuf),
    #[error("{}", chain(.0))]
    Store(#[from] store::Error),
    #[error("{}", chain(&**.0))]
    Codes(Box<crate::ops::codes::MapError>),
    #[error("{}", chain(.0))]
    Agent(#[from] client::Error),
}

impl Error {
    /// Tells it, and answers the exit code.
    pub(super) fn tell(&self, terminal: &Terminal) -> Exit {
        terminal.note(&format!("error: {self}"));
        match self {
            Error::NoConfig
            | Error::ConfigNeeded
            | Error::NoDataDir { .. }
            | Error::NoKeys { .. }
            | Error::BadConfig(_) => Exit::Usage,
            Error::NoStore(_) | Error::Agent(client::Error::Unreachable(_)) => Exit::Unreachable,
            Error::Agent(client::Error::Refused(_)) | Error::Codes(_) => Exit::NotFine,
            Error::Store(error) => match error {
                store::Error::NotFound { .. } | store::Error::Superseded | store::Error::Refused(_) => Exit::NotFine,
                store::Error::NoKey | store::Error::WrongKey { .. } => Exit::Usage,
                _ => Exit::Unreachable,
            },
        }
    }
}

/// The state of an agent.
pub(super) enum Access {
    /// One runs.
    Agent(Client),
    /// None runs; this is its store.
    Store(Reader),
}

impl Which {
    /// The configuration file that is meant.
    pub(super) fn config(&self) -> Result<PathBuf, Error> {
        match &self.config {
            Some(path) => Ok(path.clone()),
            None => PLACES.map(PathBuf::from).into_iter().find(|path| path.exists()).ok_or(Error::NoConfig),
        }
    }

    /// The configuration file, where one is at hand and no data folder was named instead.
    pub(super) fn config_at_hand(&self) -> Option<PathBuf> {
        self.data_dir.is_none().then(|| self.config().ok()).flatten()
    }

    /// The data folder. Only this one key of the configuration is read: the state of an agent must
    /// be seen even while its configuration is broken.
    pub(super) fn data_dir(&self) -> Result<PathBuf, Error> {
        if let Some(folder) = &self.data_dir {
            return Ok(folder.clone());
        }
        let path = self.config()?;
        config::data_dir(&path).map_err(|problems| {
            let causes: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            Error::NoDataDir { path, cause: causes.join("; ") }
        })
    }

    /// The keys of the store; none without a configuration, and where it names none.
    pub(super) fn keys(&self) -> Result<Option<KeyRing>, Error> {
        if self.data_dir.is_some() {
            return Ok(None);
        }
        let path = self.config()?;
        config::store_keys(&path).map_err(|problems| {
            let causes: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            Error::NoKeys { path, cause: causes.join("; ") }
        })
    }

    /// Like [`keys`](Which::keys); none as well where no configuration is at hand: what is not encrypted needs none.
    pub(super) fn keys_if_any(&self) -> Result<Option<KeyRing>, Error> {
        match self.keys() {
            Err(Error::NoConfig) => Ok(None),
            keys => keys,
        }
    }

    /// The running agent, or its store.
    pub(super) async fn open(&self) -> Result<Access, Error> {
        let folder = self.data_dir()?;
        if let Some(file) = AgentFile::read(&folder)
            && let Some(client) = Client::connect(&file).await
        {
            return Ok(Access::Agent(client));
        }
        if !folder.join("hisync.db").exists() {
            return Err(Error::NoStore(folder));
        }
        Ok(Access::Store(Reader::open_with(&folder, self.keys()?.as_ref())?))
    }

    /// What reads the records of each stream, where a configuration says so. None is needed to look at what
    /// hisync keeps in its own form.
    pub(super) fn readers(&self, terminal: &Terminal) -> intake::Readers {
        let Some(path) = self.config_at_hand() else {
            return intake::Readers::new();
        };
        config::load(&path).map(|config| agent::sources::decoders(&config)).unwrap_or_else(|_| {
            terminal.note(&format!("{}; what only it can read is not shown", Error::BadConfig(path)));
            intake::Readers::new()
        })
    }

    /// The store for an act, with the mappings in force, where no agent runs.
    pub(super) fn open_for_acts(&self) -> Result<(Store, intake::Again), Error> {
        let (config, store) = self.open_whole()?;
        let again = intake::Again::new(store.clone(), agent::sources::decoders(&config));
        Ok((store, again))
    }

    /// The configuration and the store for an act, where no agent runs.
    pub(super) fn open_whole(&self) -> Result<(Arc<config::Config>, Store), Error> {
        if self.data_dir.is_some() {
            return Err(Error::ConfigNeeded);
        }
        let path = self.config()?;
        let config = Arc::new(config::load(&path).map_err(|_| Error::BadConfig(path.clone()))?);
        let options = store::Options {
            hospital: config.agent.hospital.clone(),
            agent_version: agent::VERSION.to_owned(),
            lane: config.agent.lane.clone(),
        };
        let keys = self.keys()?;
        let promoted = agent::promoted(&config, &options, &Clock::system(), keys.as_ref())?;
        let in_force = crate::release::in_force(config, &promoted).map_err(|_| Error::BadConfig(path))?;
        let config = in_force.config;
        let composer = Arc::new(agent::sources::site(&config));
        let store = Store::open_with(&config.agent.data_dir, options, composer, Clock::system(), keys.as_ref())?;
        Ok((config, store))
    }
}

impl Access {
    /// Reads the same thing from the agent or from the store, as JSON.
    pub(super) async fn read<Q: Serialize, T: Serialize>(
        &self,
        path: &str,
        query: &Q,
        read: impl FnOnce(&Reader) -> Result<T, store::Error>,
    ) -> Result<Json, Error> {
        match self {
            Access::Agent(client) => Ok(client.get(path, query).await?),
            Access::Store(reader) => Ok(serde_json::to_value(read(reader)?).unwrap_or_default()),
        }
    }
}

/// The name that the audit log gets where nobody says another.
pub(super) fn whoami() -> String {
    ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()))
        .unwrap_or_else(|| "command line".to_owned())
}
