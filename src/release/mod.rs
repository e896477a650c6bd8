//! Tries a change against the past: traffic is too low to try it on, and its faults would surface late.
//!
//! A replay maps archived records through another configuration and compares what that would make with what was made.
//! It reads the store and writes nothing. The same comparison is made to come true by `apply`, and made for what comes
//! in, as it comes in, by the shadow.
//!
//! ```text
//! archive ─▶ examine (decode, map, compose, diff beside the newest event) ─┬▶ tally ─▶ report, page
//!                                                                          ├▶ apply ─▶ new versions
//!                                                                          └▶ shadow ─▶ findings ─▶ tally
//! ```

mod apply;
mod case;
mod choice;
mod diff;
mod examine;
mod page;
mod replay;
mod shadow;
mod tally;

pub use apply::{Applied, apply};
pub use case::{CaseError, RecordedCase, record_case, unlike};
pub use choice::{InForce, in_force};
pub use page::{escaped, framed, page};
pub use replay::{Plan, Progress, replay};
pub use shadow::{ShadowStatus, shadow_status};
pub(crate) use shadow::{Trial, step};
pub use tally::{Count, Example, Group, Kind, MappingPair, Pair, Report, Share};
