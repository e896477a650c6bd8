//! What connectors are tested with.

pub mod conformance;
