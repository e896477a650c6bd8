//! What the tests of connectors share.

pub mod bench;
mod cases;
#[cfg(feature = "certificates")]
mod certificates;
pub mod conformance;
mod intake;
pub mod listening;
mod log;
pub mod memory;
mod peer;
pub mod recorded;
mod relay;
mod source;
pub mod tables;

pub use cases::{Case, cases};
#[cfg(feature = "certificates")]
pub use certificates::{certificates, server_certificates};
pub use intake::{Call, Kept};
pub use log::Log;
pub use peer::PythonPeer;
pub use relay::{Break, Relay, Upstream};
pub use source::{ZONE, source_spec};
