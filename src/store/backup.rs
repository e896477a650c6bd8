//! Copies of a store: made beside a running agent, and put back.
//!
//! A copy is one state of the store, page for page: what is encrypted stays so, under the same key. It takes its place
//! only whole and verified.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use connector_api::seal::KeyRing;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::{Error, Reader, Verified, damage, schema, vault};

/// Pages that are copied at once: some 8 MiB.
const PAGES: i32 = 1024;

/// A copy that was made, or put back.
#[derive(Debug)]
pub struct Copied {
    /// What was found when it was verified; `None` where its layout is an older one: then only the file was checked.
    pub verified: Option<Verified>,
    /// Where it is: its place, or one beside it where something is wrong with it.
    pub path: PathBuf,
    /// Where the store went whose place it took.
    pub replaced: Option<PathBuf>,
}

impl Copied {
    /// Whether nothing is wrong with it.
    pub fn is_whole(&self) -> bool {
        self.verified.as_ref().is_none_or(|verified| verified.faults.is_empty())
    }
}

type Told<'t> = &'t mut dyn FnMut(&'static str, u64);

fn file(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |cause| Error::File { operation, cause }
}

/// A name beside another one.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Puts on stable storage that a folder names what was put into it.
fn sync_folder(of: &Path) -> Result<(), Error> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(file("write the folder"))
}

/// Copies the store of a folder into a file. The agent goes on meanwhile: it waits for nothing, only its log grows.
///
/// A file that is there already is replaced with `force` alone ([`Error::Refused`]).
pub fn backup(dir: &Path, keys: Option<&KeyRing>, to: &Path, force: bool, told: Told<'_>) -> Result<Copied, Error> {
    copy(dir, keys, (to, force), false, told)
}

/// Like [`backup`], of an encrypted store, into a file in which nothing is encrypted. A store without encryption is
/// refused ([`Error::Refused`]), and one that is damaged, because what can't be opened would stay sealed for ever.
pub fn decrypt(dir: &Path, keys: &KeyRing, to: &Path, force: bool, told: Told<'_>) -> Result<Copied, Error> {
    copy(dir, Some(keys), (to, force), true, told)
}

fn copy(
    dir: &Path,
    keys: Option<&KeyRing>,
    (to, force): (&Path, bool),
    plain: bool,
    told: Told<'_>,
) -> Result<Copied, Error> {
    if to.exists() && !force {
        return Err(Error::Refused("there is a file of this name already: name another one, or use --force"));
    }
    let source = schema::look(&schema::file(dir))?;
    schema::layout(&source)?;
    // Refused now rather than after the copy, where it could not be verified.
    let vault = vault::load(&source, keys)?;
    if plain && vault.generation().is_none() {
        return Err(Error::Refused("nothing in this store is encrypted: `hisync store backup` copies it"));
    }
    let partial = beside(to, ".partial");
    discard(&partial)?;
    private(&partial)?;
    let mut target = Connection::open(&partial).map_err(Error::sqlite("make the copy"))?;
    {
        // One state for all steps: otherwise each commit of the agent begins the copy anew.
        let failed = || Error::sqlite("copy the store");
        let snapshot = source.unchecked_transaction().map_err(failed())?;
        snapshot.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(())).map_err(failed())?;
        let copy = Backup::new(&snapshot, &mut target).map_err(failed())?;
        while copy.step(PAGES).map_err(failed())? != StepResult::Done {
            let progress = copy.progress();
            let done = progress.pagecount.saturating_sub(progress.remaining);
            told("copy", u64::try_from(done).unwrap_or_default());
        }
    }
    // One file, without a log beside it.
    target.query_row("PRAGMA journal_mode = DELETE", (), |_| Ok(())).map_err(Error::sqlite("finish the copy"))?;
    target.close().map_err(|(_, cause)| Error::sqlite("finish the copy")(cause))?;
    let verified = check(&partial, keys, told)?;
    let mut copied = Copied { verified, path: partial, replaced: None };
    if plain && copied.is_whole() {
        if copied.verified.is_none() {
            return Err(Error::Refused("the store has an older layout: start the agent once to bring it up to date"));
        }
        told("decrypt", 0);
        let failed = || Error::sqlite("open the copy");
        let mut target = Connection::open(&copied.path).map_err(failed())?;
        // What is cut off is thrown away, so that a second copy of its pages helps nobody.
        target.query_row("PRAGMA journal_mode = OFF", (), |_| Ok(())).map_err(failed())?;
        keys.map_or(Err(Error::NoKey), |keys| vault::strip(&mut target, keys))?;
        target.close().map_err(|(_, cause)| failed()(cause))?;
        copied.verified = check(&copied.path, None, told)?;
    }
    if copied.is_whole() {
        let synced = File::open(&copied.path).and_then(|copy| copy.sync_all());
        synced.and_then(|()| std::fs::rename(&copied.path, to)).map_err(file("put the copy into its place"))?;
        sync_folder(to)?;
        copied.path = to.to_owned();
    }
    Ok(copied)
}

/// Verifies a copy; `None` where its layout is an older one, and only the file could be checked.
fn check(path: &Path, keys: Option<&KeyRing>, told: Told<'_>) -> Result<Option<Verified>, Error> {
    let conn = schema::look(path)?;
    schema::known(schema::layout(&conn)?)?;
    vault::load(&conn, keys)?;
    if schema::layout(&conn)? == schema::MIGRATIONS.len() as i64 {
        drop(conn);
        return Reader::open_at(path, keys)?.verify(told).map(Some);
    }
    let failed = || Error::sqlite("verify the copy");
    let said: String = conn.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0)).map_err(failed())?;
    if said == "ok" { Ok(None) } else { Err(Error::Refused("the copy is damaged")) }
}

/// Puts a copy into the place of a folder's store, which is kept under another name.
///
/// Refused while an agent runs on it ([`Error::Locked`]), and, unless forced, where its store is newer than the copy or
/// can't be read. Whatever the copy does not know is read again by the next rounds; versions that are made then follow
/// all that were delivered before, because sequences come from the clock.
pub fn restore(from: &Path, dir: &Path, keys: Option<&KeyRing>, force: bool, told: Told<'_>) -> Result<Copied, Error> {
    let verified = check(from, keys, told)?;
    let path = schema::file(dir);
    let mut copied = Copied { verified, path: path.clone(), replaced: None };
    if !copied.is_whole() && !force {
        return Ok(Copied { path: from.to_owned(), ..copied });
    }
    let _lock = schema::lock(dir)?;
    if path.exists() && !force {
        let known = schema::look(&path).and_then(|conn| newest(&conn));
        match (known, newest(&schema::look(from)?)?) {
            (Err(_), _) => {
                return Err(Error::Refused("the folder's store can't be read: --force replaces it all the same"));
            }
            (Ok(there), copy) if there > copy => {
                return Err(Error::Refused("the folder's store is newer than the copy: --force replaces it"));
            }
            _ => {}
        }
    }
    let new = beside(&path, ".restoring");
    discard(&new)?;
    private(&new)?;
    let mut target = OpenOptions::new().write(true).truncate(true).open(&new).map_err(file("copy the copy"))?;
    let mut source = File::open(from).map_err(file("read the copy"))?;
    io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).map_err(file("copy the copy"))?;
    drop(target);
    if path.exists() {
        copied.replaced = Some(set_aside(&path)?);
    }
    for left in ["-wal", "-shm"] {
        discard(&beside(&path, left))?;
    }
    std::fs::rename(&new, &path).map_err(file("put the copy into its place"))?;
    damage::forget(dir);
    sync_folder(&path)?;
    Ok(copied)
}

/// Keeps the store that is replaced, with its log, under a name of its own. Until the copy takes its place the store
/// stays where it is: a death in between must not leave a folder without one.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let fold = |conn: &Connection| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
    // One that is too damaged for that takes its log with it.
    let _ = schema::connect(path).map(|conn| fold(&conn));
    let name = (1..).map(|n| beside(path, &format!(".replaced-{n}"))).find(|name| !name.exists());
    let name = name.ok_or(Error::Refused("too many replaced stores lie in the folder"))?;
    let log = beside(path, "-wal");
    if log.metadata().is_ok_and(|log| log.len() > 0) {
        std::fs::rename(&log, beside(&name, "-wal")).map_err(file("keep the replaced store"))?;
    }
    if std::fs::hard_link(path, &name).is_err() {
        std::fs::copy(path, &name).map_err(file("keep the replaced store"))?;
    }
    Ok(name)
}

/// When a store last changed, microseconds since 1970 UTC.
fn newest(conn: &Connection) -> Result<i64, Error> {
    schema::known(schema::layout(conn)?)?;
    let sql = "SELECT max(at) FROM (SELECT max(last_commit_at) AS at FROM stream UNION ALL SELECT max(at) FROM audit
                 UNION ALL SELECT max(done_at) FROM (SELECT done_at FROM outbox ORDER BY id DESC LIMIT 1000))";
    let at: Option<i64> = conn.query_row(sql, (), |row| row.get(0)).map_err(Error::sqlite("read the store's age"))?;
    Ok(at.unwrap_or(i64::MIN))
}

fn discard(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(file("remove what an earlier attempt left")(cause))
        }
        _ => Ok(()),
    }
}

/// Makes a file that nobody else can read.
fn private(path: &Path) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop).map_err(file("make the copy"))
}
