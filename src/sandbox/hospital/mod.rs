//! A simulated hospital for the demo, the tests and the measurements.
//!
//! Two systems, as different as they are in the field: a checkup system ([`Peis`], a database with
//! Chinese names, read through views) and a laboratory system ([`LabSender`], HL7 v2 in GB18030 over
//! MLLP). A [`Day`] plays a day's events under a seed and keeps a [`Ledger`] of every version that a
//! complete reading must see. [`write_config`] writes the configuration with which the agent reads
//! both.
//!
//! All people are synthetic and can't be mistaken for real ones; see [`people`].

pub mod catalogue;
pub mod config;
pub mod day;
pub mod lab;
pub mod ledger;
pub mod peis;
pub mod people;
pub mod rows;
pub mod visit;

#[cfg(test)]
mod reading_tests;
#[cfg(test)]
mod tests;

pub use config::{ConfigError, DemoConfig, write_config};
pub use day::{Day, Phase, Step, Upstream};
pub use lab::{Answer, LabMessage, LabSender, Patience, Sent, oru_messages};
pub use ledger::{Flaw, Ledger, Versions};
pub use peis::{Peis, PeisError};
pub use rows::report_rows;
pub use visit::Visit;
