//! Code tables over the admin API: the same acts as `hisync codes`.

use serde::{Deserialize, Serialize};

use crate::intake::Readers;
use crate::intake::codes::{self, Added, CodesError, NewCode};
use crate::store::{self, Store, UnknownCode};

/// Who adds which code.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapCode {
    /// The person's name, for the audit log.
    pub who: String,
    /// The code.
    pub code: NewCode,
}

/// What became of a new code.
#[derive(Clone, Debug, Serialize)]
pub struct Mapped {
    /// Where it was added, and what it concerns.
    #[serde(flatten)]
    pub added: Added,
    /// When that is mapped again: `now`, at the next `reload`, at the next `start`.
    pub applied: &'static str,
}

/// Why a code was not added.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The table can't take it.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Adds a code to its table's file, and writes down who did.
pub async fn map(
    store: &Store,
    readers: &Readers,
    unknown: Vec<UnknownCode>,
    asked: &MapCode,
) -> Result<Mapped, MapError> {
    let NewCode { table, local, standard, .. } = &asked.code;
    let added = codes::add(readers, &unknown, &asked.code)?;
    let detail = format!("{local:?} is {standard:?}; {} records concerned", added.concerned);
    store.audit(&asked.who, "codes-map", &format!("table {table}"), &detail).await?;
    Ok(Mapped { added, applied: "start" })
}
