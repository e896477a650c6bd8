//! The file: its settings, its layout and the lock that keeps a second agent out.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_api::seal::KeyRing;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::vault::{self, Vault};
use super::{Error, reseal};

/// The store's file in the data folder.
pub(super) const FILE_NAME: &str = "hisync.db";
const LOCK_NAME: &str = "hisync.lock";

/// Marks the file as ours (`hisy`).
const APPLICATION_ID: i64 = 0x6869_7379;

/// The layout's history; the position plus one is the layout's number. Forward only.
pub(super) const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_attachments.sql"),
    include_str!("migrations/0003_workflow.sql"),
    include_str!("migrations/0004_dictionary.sql"),
    include_str!("migrations/0005_vault.sql"),
    include_str!("migrations/0006_retention.sql"),
    include_str!("migrations/0007_reconcile.sql"),
    include_str!("migrations/0008_audit.sql"),
    include_str!("migrations/0009_watch.sql"),
    include_str!("migrations/0010_switches.sql"),
    include_str!("migrations/0011_shadow.sql"),
    include_str!("migrations/0012_page.sql"),
];

const BUSY: Duration = Duration::from_secs(5);
const STATEMENTS: usize = 128;

pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// Takes the lock that only one agent can have. Lasts as long as the file is held.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |cause| Error::File { operation: "lock the store", cause };
    std::fs::create_dir_all(dir).map_err(|cause| Error::File { operation: "create the store's folder", cause })?;
    // The folder may be new: a power cut must not take it away with all that will be acknowledged. SQLite sees to the
    // names in it. What can't sync folders keeps them by itself.
    for above in dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        let _ = File::open(above).and_then(|folder| folder.sync_all());
    }
    let path = dir.join(LOCK_NAME);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Locked),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

/// Opens the writer's connection, brings the layout up to date, and seals what is to be sealed. A store that this
/// program or these keys can't open is not touched.
pub(super) fn open_writer(path: &Path, keys: Option<&KeyRing>, now: i64) -> Result<(Connection, Arc<Vault>), Error> {
    if path.exists() {
        roll_back(path)?;
        let conn = look(path)?;
        known(layout(&conn)?)?;
        vault::load(&conn, keys)?;
    }
    let mut conn = connect(path)?;
    migrate(&mut conn, MIGRATIONS)?;
    let vault = vault::prepare(&mut conn, keys, now)?;
    vault::register(&conn, &vault)?;
    let mut table = usize::MAX;
    reseal::finish(&mut conn, &vault, &mut |at, of| {
        if at != table {
            table = at;
            tracing::info!("sealing what the store holds: part {} of {of}", at + 1);
        }
    })?;
    Ok((conn, vault))
}

/// Finishes what a kill left of the moment in which the file was made: before it became WAL it has a journal, which only a
/// connection that may write can roll back.
fn roll_back(path: &Path) -> Result<(), Error> {
    let journal = path.with_file_name(format!("{FILE_NAME}-journal"));
    if journal.exists() {
        let conn = Connection::open(path).map_err(Error::sqlite("open the store"))?;
        conn.busy_timeout(BUSY).map_err(Error::sqlite("open the store"))?;
        pragma(&conn, "schema_version")?;
    }
    Ok(())
}

/// Opens the writer's connection again after a failure.
pub(super) fn reopen_writer(path: &Path, vault: &Arc<Vault>) -> Result<Connection, Error> {
    let mut conn = connect(path)?;
    migrate(&mut conn, MIGRATIONS)?;
    vault::register(&conn, vault)?;
    Ok(conn)
}

pub(super) fn connect(path: &Path) -> Result<Connection, Error> {
    let failed = || Error::sqlite("open the store");
    let conn = Connection::open(path).map_err(failed())?;
    conn.busy_timeout(BUSY).map_err(failed())?;
    // The first two count only while the file is empty, and before it becomes WAL.
    conn.execute_batch(
        "PRAGMA page_size = 8192;
         PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA cache_size = -8192;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;",
    )
    .map_err(failed())?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    keep_plans(&conn)?;
    Ok(conn)
}

/// Opens a file, whatever its layout, for reading alone.
pub(super) fn look(path: &Path) -> Result<Connection, Error> {
    let failed = || Error::sqlite("open the store for reading");
    if !path.exists() {
        return Err(Error::Missing);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed())?;
    conn.busy_timeout(BUSY).map_err(failed())?;
    Ok(conn)
}

/// Opens a connection that can't change anything; works beside a running agent and without one.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let failed = || Error::sqlite("open the store for reading");
    let conn = look(path)?;
    conn.execute_batch("PRAGMA cache_size = -2048; PRAGMA temp_store = MEMORY;").map_err(failed())?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    keep_plans(&conn)?;
    let found = layout(&conn)?;
    known(found)?;
    match found {
        found if found == MIGRATIONS.len() as i64 => Ok(conn),
        _ => Err(Error::Refused("the store has an older layout: start the agent once to bring it up to date")),
    }
}

/// Plans don't depend on bound values. Otherwise a statement is compiled anew whenever another value
/// is bound that might decide about a partial index: that took as long as all else the writer does.
fn keep_plans(conn: &Connection) -> Result<(), Error> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(Error::sqlite("open the store"))?;
    Ok(())
}

fn pragma(conn: &Connection, name: &str) -> Result<i64, Error> {
    conn.pragma_query_value(None, name, |row| row.get(0)).map_err(Error::sqlite("read the store's layout"))
}

/// Refuses a layout that a newer program made.
pub(super) fn known(found: i64) -> Result<(), Error> {
    let known = MIGRATIONS.len() as i64;
    if found > known { Err(Error::Newer { found, known }) } else { Ok(()) }
}

pub(super) fn layout(conn: &Connection) -> Result<i64, Error> {
    let found = pragma(conn, "user_version")?;
    let application = pragma(conn, "application_id")?;
    if application == APPLICATION_ID || (application == 0 && found == 0) { Ok(found) } else { Err(Error::Foreign) }
}

/// Brings the layout up to date in one transaction: a failure, or a death in the middle, leaves the store as it was.
pub(super) fn migrate(conn: &mut Connection, migrations: &[&str]) -> Result<(), Error> {
    let failed = || Error::sqlite("bring the store's layout up to date");
    let found = layout(conn)?;
    known(found)?;
    let target = migrations.len() as i64;
    if found >= target {
        return Ok(());
    }
    let transaction = conn.transaction().map_err(failed())?;
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration).map_err(failed())?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed())?;
    transaction.pragma_update(None, "user_version", target).map_err(failed())?;
    transaction.commit().map_err(failed())
}
