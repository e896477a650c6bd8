//! The agent as a whole, and its streams one by one: a real store, real sources, real sockets, a real
//! upstream.

#![allow(clippy::unwrap_used, reason = "tests")]

mod admin;
mod again;
mod alerts;
mod cli;
mod custody;
mod files;
mod intake;
mod privacy;
mod support;
mod watching;
mod whole;
