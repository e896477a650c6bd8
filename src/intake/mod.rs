//! Runs the sources: asks pollers on schedule, takes custody for listeners, commits batches.
//!
//! A poller has no loop, no sleep and no database; all of that is here, once. The dangerous
//! moments are short: [`poll::PollStream`] commits a page together with its watermark's advance,
//! [`custody::Custody`] answers a listener after the commit and not before.

pub mod again;
pub mod board;
pub mod codes;
pub mod custody;
pub mod gate;
pub mod normalise;
pub mod poll;
pub mod reconcile;
pub mod schedule;
pub mod source;

pub use again::{Again, Readers, Retried};
pub use board::{Board, StreamFailure, StreamState, StreamStatus};
pub use custody::Custody;
pub use gate::{Closure, Gate};
pub use normalise::{Normaliser, Understood};
pub use poll::{PollStream, RoundReport, RoundRequest};
pub use reconcile::{Comparable, Period, Reconcile, Reconciler};
pub use schedule::Schedule;
pub use source::{SourceBreaker, SourceStatus, Sources};
