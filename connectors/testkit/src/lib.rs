//! What the tests of connectors share.

mod cases;
pub mod conformance;
mod source;

pub use cases::{Case, cases};
pub use source::source_spec;
