//! The upstream contract, held by both sides over real sockets: the sender and the store on one
//! side; the sandbox, misbehaving servers and a foreign library on the other.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod agreement;
mod delivering;
mod digests;
mod files;
mod foreign;
mod misbehaving;
mod support;
