//! The connector `rest` against servers that others made, servers that break, and recorded answers.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod behaviour;
mod conformance;
mod fixtures;
mod support;
mod watermarks;
