//! What the tests of connectors share.

mod cases;
mod certificates;
pub mod conformance;
mod intake;
pub mod recorded;
mod source;

pub use cases::{Case, cases};
pub use certificates::certificates;
pub use intake::{Call, Kept};
pub use source::source_spec;
