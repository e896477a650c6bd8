//! What people and monitors see of a running agent.

pub mod acts;
pub mod alert;
pub mod alerting;
pub mod bundle;
pub mod calendar;
pub mod canary;
pub mod certificates;
pub mod codes;
pub mod health;
pub mod http;
pub mod log;
pub mod mask;
pub mod metrics;
pub mod probes;
pub mod reasons;
pub mod report;
pub mod runbook;
pub mod silence;
pub mod standing;
pub mod tasks;
pub mod traces;
pub mod watch;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

pub use http::serve;
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
    /// Serves other machines too. The page knows no users and no encryption: whoever reaches the address can
    /// retry, release and dismiss, and read personal data. Only where access control stands in front of it.
    #[serde(default)]
    pub allow_remote: bool,
}

impl Settings {
    /// Every problem that can be seen without listening: the key and what is wrong with it.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        if self.allow_remote || self.listen.ip().to_canonical().is_loopback() {
            return Vec::new();
        }
        let message = "other machines could reach this address, and the page knows no users: use 127.0.0.1, or set \
                       allow_remote = true where access control stands in front of it";
        vec![("listen", message.to_owned())]
    }
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8686))
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { listen: default_listen(), allow_remote: false }
    }
}
