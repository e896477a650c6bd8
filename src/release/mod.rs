//! Tries a change against the past: traffic is too low to try it on, and its faults would surface late.
//!
//! A replay maps archived records through another configuration and compares what that would make with what was made.
//! It reads the store and writes nothing; what makes a change come true is the agent that runs with it.
//!
//! ```text
//! archive ─▶ replay (decode, map, compose) ─▶ diff beside the newest event ─▶ tally ─▶ report, page
//! ```

mod diff;
mod page;
mod replay;
mod tally;

pub use page::page;
pub use replay::{Plan, Progress, replay};
pub use tally::{Count, Example, Group, Kind, MappingPair, Pair, Report, Share};
