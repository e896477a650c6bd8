//! The agent: start-up order, supervision, shutdown.
