//! What the tests of connectors share.

mod cases;
mod source;

pub use cases::{Case, cases};
pub use source::source_spec;
