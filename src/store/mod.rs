//! The store: the archive, the ledger, watermarks, the outbox and held items, in one SQLite file.

mod types;

pub use types::*;
