//! What is known of damage to the store's file, from the first sign of it until the file was examined and is sound, or
//! another one has taken its place.
//!
//! Whoever meets a page that SQLite can't use has to stop what makes it worse: nothing more is taken in, while what is
//! there is delivered. A file beside the store remembers the sign, so that a restart does not forget it.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::reader::time;
use super::verify::{Fault, Place};
use super::{Error, Reader, Store, Unreadable, query, schema};

/// The file in the data folder that says that the store's file was found damaged.
const MARK_NAME: &str = "hisync.damaged";

/// Signs, and findings, that are kept.
const KEPT: usize = 20;

/// So many steps of SQLite are between two looks whether it is to stop: some milliseconds.
const STEPS: i32 = 100_000;

/// A file that is examined and found sound so often, and shows a sign again, is taken for damaged.
const TRUSTED: u32 = 3;

/// What is known of damage. The text names operations, tables and pages, never what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// When the first sign of it was seen, UTC.
    pub since: DateTime<Utc>,
    /// What was attempted when SQLite found a page that it can't use; empty where only rows are at fault.
    pub met: Vec<String>,
    /// The file was examined since, and is damaged. Until then it is suspected to be.
    pub confirmed: bool,
    /// What the examination found.
    pub found: Vec<String>,
    /// Rows whose bytes are not those that were written, as the last look through all of them found.
    #[serde(skip_deserializing)]
    pub rows: Vec<Fault>,
}

impl Damage {
    /// Whether the file itself can't be trusted, so that nothing more may be written into it than must be.
    pub fn is_of_the_file(&self) -> bool {
        self.confirmed || !self.met.is_empty()
    }
}

#[derive(Default)]
struct Known {
    damage: Option<Damage>,
    /// How often the file was found sound after a sign.
    cleared: u32,
}

/// The damage that a store knows of, shared by the writer and every reader.
pub(super) struct Register {
    mark: PathBuf,
    known: Mutex<Known>,
    /// The file can't be trusted. Asked for each message that comes in.
    shut: AtomicBool,
    /// Rung when the file is to be examined.
    pub(super) bell: Notify,
}

impl Register {
    /// What an earlier run knew. For the one that has the folder's lock.
    pub(super) fn load(dir: &Path) -> Register {
        let register =
            Register { mark: mark(dir), known: Mutex::default(), shut: AtomicBool::new(false), bell: Notify::new() };
        if let Some(damage) = of_folder(dir) {
            tracing::error!(since = %damage.since, "the store's file was found damaged before: it is examined");
            register.put(Known { damage: Some(Damage { confirmed: false, ..damage }), cleared: 0 });
            register.bell.notify_one();
        }
        register
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, known: Known) {
        let shut = known.damage.as_ref().is_some_and(Damage::is_of_the_file);
        *self.lock() = known;
        self.shut.store(shut, Ordering::Release);
    }

    /// Notes a failure, where it is a sign of damage.
    pub(super) fn note(&self, error: &Error, now: i64) {
        if let Error::Corrupt { operation, .. } = error {
            self.sign(operation, now);
        }
    }

    /// Notes what was attempted when SQLite found a page that it can't use.
    fn sign(&self, operation: &'static str, now: i64) {
        let mut known = self.lock();
        let damage = known.damage.get_or_insert_with(|| Damage { since: time(now), ..Damage::default() });
        let first = !damage.is_of_the_file();
        if damage.met.len() < KEPT && damage.met.iter().all(|met| met != operation) {
            damage.met.push(operation.to_owned());
        }
        let noted = damage.clone();
        drop(known);
        self.shut.store(true, Ordering::Release);
        if first {
            tracing::error!(operation, "the store's file is damaged: nothing more is taken in until it is examined");
            self.write(&noted);
            self.bell.notify_one();
        }
    }

    fn write(&self, damage: &Damage) {
        // A disk that can't take it now is told of all the same, by this run.
        let text = serde_json::to_vec(damage).unwrap_or_default();
        if let Err(error) = std::fs::write(&self.mark, text) {
            tracing::warn!(%error, "the sign of damage could not be written beside the store");
        }
    }

    /// Takes what an examination found; empty where the file is sound.
    fn examined(&self, found: Vec<String>, now: i64) {
        let mut known = self.lock();
        let Known { damage, cleared } = &mut *known;
        if found.is_empty() && *cleared < TRUSTED {
            *cleared += 1;
            let rows = damage.take().map(|damage| damage.rows).unwrap_or_default();
            if !rows.is_empty() {
                *damage = Some(Damage { since: time(now), rows, ..Damage::default() });
            }
            drop(known);
            self.shut.store(false, Ordering::Release);
            clear_mark(&self.mark);
            tracing::info!("the store's file was examined and is sound: intake goes on");
            return;
        }
        let damage = damage.get_or_insert_with(|| Damage { since: time(now), ..Damage::default() });
        damage.confirmed = true;
        damage.found = match found.is_empty() {
            true => {
                vec!["it is sound when it is examined, and fails in between: suspect the disk or the memory".to_owned()]
            }
            false => found.into_iter().take(KEPT).collect(),
        };
        let noted = damage.clone();
        drop(known);
        self.shut.store(true, Ordering::Release);
        tracing::error!(found = noted.found.len(), "the store's file is damaged: put a backup back");
        self.write(&noted);
    }

    /// Takes what a look through all rows found.
    fn looked_through(&self, rows: Vec<Fault>, now: i64) {
        let mut known = self.lock();
        if !rows.is_empty() {
            known.damage.get_or_insert_with(|| Damage { since: time(now), ..Damage::default() }).rows = rows;
        } else if let Some(damage) = &mut known.damage {
            damage.rows.clear();
            if !damage.is_of_the_file() {
                known.damage = None;
            }
        }
    }
}

fn mark(dir: &Path) -> PathBuf {
    dir.join(MARK_NAME)
}

fn clear_mark(mark: &Path) {
    if let Err(error) = std::fs::remove_file(mark)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the sign of damage beside the store could not be removed");
    }
}

/// What the last agent on a folder knew of damage to its store; `None` where it knew of none. Works without the store.
pub fn of_folder(dir: &Path) -> Option<Damage> {
    let text = std::fs::read(mark(dir)).ok()?;
    // A sign that can't be read is a sign.
    let unreadable = || Damage { met: vec!["an earlier run".to_owned()], ..Damage::default() };
    Some(serde_json::from_slice(&text).unwrap_or_else(|_| unreadable()))
}

/// Another file has taken the place of the damaged one.
pub(super) fn forget(dir: &Path) {
    clear_mark(&mark(dir));
}

impl Store {
    /// What is known of damage to the file; `None` where nothing is.
    pub fn damage(&self) -> Option<Damage> {
        self.inner.shared.damage.lock().damage.clone()
    }

    /// Whether the file can't be trusted: nothing more is to be taken in. Costs nothing.
    pub fn is_damaged(&self) -> bool {
        self.inner.shared.damage.shut.load(Ordering::Acquire)
    }

    /// Takes what could not be read for the sign of damage that it may be.
    pub fn distrust(&self, unreadable: &Unreadable) {
        for operation in unreadable.parts().iter().filter_map(|part| part.damaged) {
            self.inner.shared.damage.sign(operation, self.now_micros());
        }
    }

    /// Returns when a sign of damage was seen, now or by an earlier run. For one waiter.
    pub async fn damage_met(&self) {
        self.inner.shared.damage.bell.notified().await;
    }

    /// Examines the file as a whole, thoroughly after a sign of damage, else for its structure alone, and takes what it
    /// finds: [`Store::damage`] tells. Reads all of it; nothing waits for that but the log, which grows meanwhile.
    ///
    /// Fails where the file could not be read for another reason than damage, or at a stop: then nothing has changed.
    pub async fn examine(&self, stop: &CancellationToken) -> Result<(), Error> {
        let (thorough, stop) = (self.is_damaged(), stop.clone());
        let found = self.read(move |reader| reader.structure(thorough, stop)).await;
        let found = match found {
            Ok(found) => found,
            Err(error @ (Error::Corrupt { .. } | Error::Foreign | Error::Newer { .. })) => {
                vec![connector_api::chain(&error)]
            }
            Err(error) => return Err(error),
        };
        if thorough || !found.is_empty() {
            self.inner.shared.damage.examined(found, self.now_micros());
        }
        Ok(())
    }

    /// Looks at some bodies, from a place on (the default at first), whether their bytes are those that were written.
    /// Answers what is wrong with them, and where to go on; `None` at the end.
    pub async fn look_through(&self, place: Place) -> Result<(Vec<Fault>, Option<Place>), Error> {
        self.read(move |reader| reader.look_through(place)).await
    }

    /// Takes what [`Store::look_through`] found from the first place to the last.
    pub fn looked_through(&self, rows: Vec<Fault>) {
        self.inner.shared.damage.looked_through(rows, self.now_micros());
    }
}

impl Reader {
    /// What is wrong with the file as SQLite sees it.
    fn structure(&self, thorough: bool, stop: CancellationToken) -> Result<Vec<String>, Error> {
        let sql = if thorough { "PRAGMA integrity_check(20)" } else { "PRAGMA quick_check(20)" };
        // The file itself, not what a connection still has of it in memory.
        let mut conn = schema::open_reader(&self.path)?;
        let asked = conn.progress_handler(STEPS, Some(move || stop.is_cancelled()));
        asked.map_err(Error::sqlite("examine the store's file"))?;
        let said: Vec<String> = query::all(&conn, "examine the store's file", sql, (), |row| row.get(0))?;
        Ok(said.into_iter().filter(|line| line != "ok").map(|line| format!("{}: {line}", schema::FILE_NAME)).collect())
    }
}
