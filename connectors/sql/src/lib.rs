//! Everything that relational sources share: settings, query composition, paging and watermarks.
//!
//! A connector for one database brings a [`RelationalClient`] (run a query, hold one consistent
//! read, describe tables) and a [`Dialect`] (how that database spells things). [`SqlPoller`] does
//! the rest, so that the rules below have one home:
//!
//! - A parent table or view is read in pages by keyset, `(watermark, key…) > cursor`; its child
//!   tables are read once per page and child, bound to the parents' values. All values are bound.
//! - An incremental scan starts at the stored watermark less the lag, inclusive. The key columns
//!   only break ties between pages: equal timestamps and coarse clocks lose nothing.
//! - Rows without a watermark (null, or blank text) are read in every scan, first: nothing else
//!   would ever find them. Unchanged content falls out later, by its hash.
//! - The stored watermark moves to the newest row of each page that can be vouched for. A timestamp
//!   that can't be read or lies in the future of the source's own clock does not move it. Nor does it
//!   pass what was newest when the scan began, so the lag need not cover a long scan.
//! - It goes back only where it can't be true: it lies in the future of a clock that was set right, or
//!   beyond all numbers of a source that was restored. Then everything is read again.
//! - A table or view that had rows and has none is an error, unless `fetch.may_be_empty` allows it.
//! - Rows that share a key are one held record with all of them, never a silent merge; with
//!   `fetch.group` they are one unit, read whole.
//! - A snapshot is read in one transaction, with a COUNT at its end.

mod children;
mod client;
mod decoder;
mod dialect;
mod plan;
mod poller;
mod probe;
mod query;
mod settings;
mod units;
mod watermark;
mod whole;

pub use client::{RelationalClient, Row, Rows};
pub use decoder::RowDecoder;
pub use dialect::{Dialect, LimitClause};
pub use plan::Plan;
pub use poller::SqlPoller;
pub use query::Query;
pub use settings::{Child, Fetch, Filter, FilterValue, TableStream, WatermarkSettings, WatermarkType, check_stream};
pub use watermark::Now;
pub use whole::records_of_result;
