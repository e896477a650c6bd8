//! What people and monitors see of a running agent.

pub mod access;
pub mod acts;
pub mod alert;
pub mod alerting;
pub mod archive;
mod assets;
pub mod bundle;
pub mod calendar;
pub mod canary;
pub mod certificates;
pub mod codes;
mod day;
pub mod health;
pub mod held;
pub mod http;
pub mod journal;
pub mod log;
pub mod mask;
pub mod metrics;
pub mod outbox;
pub mod probes;
pub mod reasons;
pub mod reconcile;
pub mod reload;
pub mod report;
pub mod runbook;
pub mod shadow;
pub mod silence;
pub mod standing;
pub mod switching;
pub mod tasks;
pub mod traces;
pub(crate) mod verdict;
pub mod watch;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use connector_api::{SourceError, SourceId};
use connector_listen::{Gripes, Opened, Peers, Port, Tls};
use schemars::JsonSchema;
use serde::Deserialize;

pub use http::{Pages, serve};
pub use report::{About, Report, State, StreamReport};
pub use tasks::{TaskState, TaskStatus};

/// The `[admin]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the status page, the admin API, health and metrics are served: an address of this machine
    /// alone (loopback), unless `allow_remote` says otherwise.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Serves other machines without `operators` and `tls`: whoever reaches the address can retry, release and
    /// dismiss, and read personal data. Only where access control and encryption stand in front of it.
    #[serde(default)]
    pub allow_remote: bool,
    /// How the address is encrypted; not at all where left out. A new certificate takes effect at a reload.
    #[serde(default)]
    pub tls: Option<Tls>,
    /// Who may use the page and the API, and for what. Without any, whoever can connect is trusted.
    #[serde(default)]
    pub operators: Vec<access::Operator>,
}

/// Connections at once: browsers open several each.
const CONNECTIONS: usize = 256;

impl Settings {
    /// Every problem that can be seen without listening: the key and what is wrong with it.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = access::Operator::problems(&self.operators);
        if !self.allow_remote && !self.listen.ip().to_canonical().is_loopback() {
            let lacking = match (self.operators.is_empty(), self.tls.is_none()) {
                (false, false) => None,
                (true, _) => Some("`operators` who log in"),
                (false, true) => Some("`tls`: passwords and personal data would travel readable"),
            };
            if let Some(lacking) = lacking {
                let message = format!(
                    "other machines could reach this address, which needs {lacking}; or use 127.0.0.1, or set \
                     allow_remote = true where access control and encryption stand in front of it"
                );
                problems.push(("listen".to_owned(), message));
            }
        }
        problems
    }

    /// Opens the address. `at` is the one that was opened before, where port 0 left the choice to the system.
    ///
    /// # Errors
    ///
    /// The address is taken or not this machine's; the certificate or its key can't be read.
    pub async fn open(&self, base_dir: &Path, at: Option<SocketAddr>) -> Result<Opened, SourceError> {
        let port = Port {
            address: at.unwrap_or(self.listen),
            tls: self.tls.clone(),
            base_dir: base_dir.to_owned(),
            protocol: Some("http/1.1"),
            peers: Peers::default(),
            connections: CONNECTIONS,
        };
        let source = SourceId::new("admin");
        port.open(&source, Arc::new(Gripes::new(source.clone()))).await
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8686))
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { listen: default_listen(), allow_remote: false, tls: None, operators: Vec::new() }
    }
}
