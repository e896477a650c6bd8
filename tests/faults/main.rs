//! What has been acknowledged survives whatever goes wrong: the disk, the power, the clock, the network, the sources,
//! alone and together.
//!
//! The agent is the real program. A small library (`shim.c`) stands between it and the C library: it notes what the
//! agent does to files and sockets, and makes operations fail, wait, or be the last one. A proxy stands between it and
//! the sandbox upstream. The sources are a SQLite database that changes all the time, a foreign MLLP sender, HTTP
//! requests, files in a folder, a server that is asked over HTTP, and one that speaks the protocol of SQL Server.
//!
//! - `HISYNC_FAULT_SEED`: the seed of everything that is drawn; printed, and drawn where it is not set.
//! - `HISYNC_FAULT_MINUTES`: how long random faults are played; a short while unless set.
//! - `HISYNC_FAULT_CUTS`: after how many power cuts the agent is started; `all` for each.
//! - `HISYNC_CRASH_KEEP`: keeps the folders of the tests, and prints where they are.
//!
//! Needs a C compiler (`cc`), and `HISYNC_PYTHON` for the MLLP sender, as the project's test command sets it.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod catalogue;
mod cloud;
mod damage;
mod his;
#[path = "../support/hospital.rs"]
#[allow(dead_code, reason = "shared with the test of crashes")]
mod hospital;
#[path = "../support/machine.rs"]
#[allow(dead_code, reason = "shared with the test of crashes")]
mod machine;
mod migration;
mod power;
mod random;
mod replay;
mod retention;
mod route;
mod shim;
mod site;
mod solo;
mod tls;
#[path = "../support/verify.rs"]
#[allow(dead_code, reason = "shared with the test of crashes")]
mod verify;
mod web;
