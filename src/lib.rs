//! hisync stands inside one hospital and delivers exam packages and exam reports upstream, so that
//! nothing is lost and nothing is silently wrong.
//!
//! The rooms and the arrows between them (a test holds them to this):
//! - `model` knows nobody; `mapping` knows `model`, `diagnose`; `store` knows `model`, `clock`;
//! - `intake` knows `mapping` and `store`; `delivery` knows `store` and `model`;
//! - `registry` alone names concrete connectors; our own SQLite is only in `store`, HTTP to
//!   upstream only in `delivery`;
//! - `release` tries a change against the past: it reads the store, and writes nothing;
//! - `config` knows the settings types of the rooms that it configures; `cli` and `ops` render the
//!   same structs.

pub mod agent;
mod breaker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod diagnose;
pub mod intake;
pub mod mapping;
pub mod model;
pub mod ops;
pub mod registry;
pub mod release;
pub mod retry;
pub mod sandbox;
pub mod store;
pub mod switches;
