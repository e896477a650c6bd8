//! Code tables over the admin API: the same acts as `hisync codes`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

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

/// The way to ask the process to load its configuration again, as SIGHUP does.
#[derive(Debug, Default)]
pub struct Reload {
    asked: Notify,
    heard: AtomicBool,
}

impl Reload {
    /// Returns when somebody asks. Whoever never waits here can't be asked.
    pub async fn asked(&self) {
        self.heard.store(true, Ordering::SeqCst);
        self.asked.notified().await;
    }

    /// Asks; answers whether anybody listens.
    pub fn ask(&self) -> bool {
        let heard = self.heard.load(Ordering::SeqCst);
        if heard {
            self.asked.notify_one();
        }
        heard
    }
}
