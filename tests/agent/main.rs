//! The agent as a whole, and its streams one by one: a real store, real sources, real sockets, a real
//! upstream.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod admin;
mod again;
mod alerts;
mod backpressure;
mod cli;
mod custody;
mod doubts;
mod files;
mod intake;
mod live;
mod pages;
mod privacy;
mod reconcile;
mod replay;
mod sealed;
mod support;
mod trial;
mod watching;
mod whole;
