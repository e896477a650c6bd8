//! What people and monitors see of a running agent.

pub mod acts;
pub mod health;
pub mod http;
pub mod mask;
pub mod metrics;
pub mod report;
pub mod tasks;

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

pub use http::serve;
pub use report::{About, Report, State};
pub use tasks::{TaskState, TaskStatus};

/// The `[admin]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the status page, the admin API, health and metrics are served. Loopback only, unless
    /// access control stands in front of it.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8686))
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { listen: default_listen() }
    }
}
