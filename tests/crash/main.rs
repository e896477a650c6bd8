//! The promise itself, held by the real binary: whatever kills the agent or its upstream, and
//! whenever, nothing that was acknowledged is lost, nothing is applied twice, everything adds up.
//!
//! The agent and the sandbox upstream are processes of their own; the checkup system is a SQLite
//! file that changes all the time; the laboratory's sender is a foreign MLLP client. The interpreter
//! that runs it is named by `HISYNC_PYTHON` (the project's test command sets it up).
//!
//! - `HISYNC_CRASHES`: how many times the agent is killed; 50 unless set.
//! - `HISYNC_CRASH_SEED`: the seed of everything that is drawn; printed, and drawn where it is not set.
//! - `HISYNC_CRASH_KEEP`: keeps the test's folder, and prints where it is.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

#[path = "../support/hospital.rs"]
#[allow(dead_code, reason = "shared with the test of faults")]
mod hospital;
mod kills;
#[path = "../support/machine.rs"]
#[allow(dead_code, reason = "shared with the test of faults")]
mod machine;
mod stops;
#[path = "../support/verify.rs"]
mod verify;
