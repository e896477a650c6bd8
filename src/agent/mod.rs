//! The agent: start-up order, supervision, shutdown.

pub mod sources;
pub mod supervisor;
