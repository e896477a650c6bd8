//! What the tests of connectors share.

mod cases;
pub mod conformance;
pub mod recorded;
mod source;

pub use cases::{Case, cases};
pub use source::source_spec;
