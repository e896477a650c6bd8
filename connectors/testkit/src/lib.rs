//! What the tests of connectors share.

mod cases;
mod certificates;
pub mod conformance;
mod intake;
pub mod listening;
pub mod memory;
pub mod recorded;
mod relay;
mod source;

pub use cases::{Case, cases};
pub use certificates::{certificates, server_certificates};
pub use intake::{Call, Kept};
pub use relay::{Break, Relay, Upstream};
pub use source::{ZONE, source_spec};
