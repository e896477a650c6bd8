//! A simulated hospital for the demo, the tests and the measurements.
//!
//! Four systems, as different as they are in the field: a checkup system ([`Peis`], a database with
//! Chinese names, read through views), a laboratory system ([`LabSender`], HL7 v2 in GB18030 over
//! MLLP), an outside laboratory ([`Outlab`], a SOAP service) and an electrocardiogram system
//! ([`FileDrop`], tables in GBK with PDF files beside). A [`Day`] plays a day's events under a seed and
//! keeps a [`Ledger`] of every version that a complete reading must see; [`traps`] lists what is wrong in
//! it on purpose. [`write_whole_config`] writes the configuration with which the agent reads all of
//! them, [`write_config`] that for the first two.
//!
//! All people are synthetic and can't be mistaken for real ones; see [`people`].

pub mod catalogue;
pub mod config;
pub mod day;
pub mod imaging;
pub mod lab;
pub mod ledger;
pub mod outlab;
pub mod peis;
pub mod people;
pub mod rows;
pub mod soap;
pub mod traps;
pub mod visit;

#[cfg(test)]
mod reading_tests;
#[cfg(test)]
mod tests;

pub use config::{ConfigError, DemoConfig, Elsewhere, write_config, write_whole_config};
pub use day::{Day, Phase, Step, Upstream};
pub use imaging::FileDrop;
pub use lab::{Answer, LabMessage, LabSender, Patience, Sent, oru_messages};
pub use ledger::{Flaw, Ledger, Versions};
pub use outlab::OutsideReport;
pub use peis::{Peis, PeisError};
pub use rows::report_rows;
pub use soap::Outlab;
pub use visit::Visit;
