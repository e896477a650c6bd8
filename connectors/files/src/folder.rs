//! Listing, reading and moving files. Everything here blocks.
//!
//! A file is moved in two steps: renamed inside the folder to a name of ours, which takes it out
//! of its writer's reach at once, looked at again, and only then moved on. What a crash leaves
//! under such a name goes back to its own name and is read again.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// What a file's name begins with while it is being moved.
const MOVING: &str = ".hisync-moving-";

/// What a copy's name begins with until it is complete.
const COPYING: &str = ".hisync-copying-";

/// How many names are tried for a file whose own is taken.
const NAMES: u32 = 10_000;

/// What tells whether a file was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The file's length in bytes.
    pub(crate) length: u64,
    /// When it was changed, by its file system's clock.
    pub(crate) changed: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp { length: metadata.len(), changed: metadata.modified().ok() }
    }
}

/// What a file was when it was read, or the beginning of it that was.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    /// How many bytes were read.
    pub(crate) length: u64,
    /// Their SHA-256.
    pub(crate) digest: [u8; 32],
}

impl Seal {
    /// The seal of bytes that were read.
    pub(crate) fn of(bytes: &[u8]) -> Seal {
        Seal { length: bytes.len() as u64, digest: Sha256::digest(bytes).into() }
    }

    /// Reads a file again. Its time of change may be too coarse to tell that it was rewritten.
    fn holds(&self, path: &Path) -> io::Result<bool> {
        let mut digest = Sha256::new();
        io::copy(&mut File::open(path)?.take(self.length), &mut digest)?;
        Ok(<[u8; 32]>::from(digest.finalize()) == self.digest)
    }
}

/// A file in the folder.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) stamp: Stamp,
}

/// The files of a folder: no folders, no links, nothing of ours.
///
/// Puts back what a move that did not end has left.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Entry>> {
    entries(folder, true)
}

/// The same without what is being moved, for whoever only looks.
pub(crate) fn look(folder: &Path) -> io::Result<Vec<Entry>> {
    entries(folder, false)
}

fn entries(folder: &Path, put_back: bool) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let mut name = entry.file_name();
        let found =
            entry.file_type().and_then(|kind| if kind.is_file() { entry.metadata().map(Some) } else { Ok(None) });
        let metadata = match found {
            Ok(Some(metadata)) => metadata,
            Ok(None) => continue,
            // Gone since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(own) = name.as_bytes().strip_prefix(MOVING.as_bytes()) {
            if !put_back {
                continue;
            }
            let own = OsStr::from_bytes(own).to_owned();
            let back = free_name(folder, &own, "again")?;
            fs::rename(entry.path(), &back)?;
            name = back.file_name().map_or(own, OsStr::to_owned);
        }
        entries.push(Entry { name, stamp: Stamp::of(&metadata) });
    }
    Ok(entries)
}

/// What files are now; `None` for one that is not there. Fails where their folder is not there
/// either: then nothing is known of them.
pub(crate) fn stamps(paths: &[PathBuf]) -> io::Result<Vec<Option<Stamp>>> {
    paths.iter().map(|path| plain_file(path)).collect()
}

fn plain_file(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Stamp::of(&metadata))),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            // A share that is gone has no files, and that says nothing about them.
            let root = path.ancestors().nth(1).unwrap_or(path);
            fs::metadata(root).map(|_| None)
        }
        // No file can have such a name, so none is there.
        Err(error) if error.kind() == io::ErrorKind::InvalidFilename => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a file is still what was listed.
pub(crate) fn is_there(folder: &Path, entry: &Entry) -> io::Result<bool> {
    Ok(plain_file(&folder.join(&entry.name))? == Some(entry.stamp))
}

/// A file that belongs to another one, as it was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    path: PathBuf,
    stamp: Stamp,
    seal: Seal,
}

impl Sealed {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another file has come in its place, as far as a look can tell.
    pub(crate) fn is_replaced(&self) -> io::Result<bool> {
        Ok(plain_file(&self.path)?.is_some_and(|now| now != self.stamp))
    }

    /// Moves it after the file that it belongs to. False where another one has come in its place, which stays.
    pub(crate) fn settle(&self, dir: &Path, tag: &str) -> io::Result<bool> {
        let (Some(folder), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(false) };
        Ok(settle(folder, name, (self.stamp, &self.seal), dir, tag)? || plain_file(&self.path)?.is_none())
    }

    /// Whether both were read as one content.
    pub(crate) fn is_same(&self, other: &Sealed) -> bool {
        self.stamp == other.stamp && self.seal.digest == other.seal.digest
    }
}

/// Reads a file as it is now; `None` where it is not there, or is longer than `limit`. Fails where
/// it is being written.
pub(crate) fn read_now(path: &Path, limit: u64) -> io::Result<Option<(Bytes, Sealed)>> {
    let Some(stamp) = plain_file(path)?.filter(|stamp| stamp.length <= limit) else { return Ok(None) };
    match read(path, stamp, limit, 0)? {
        Content::Whole(bytes) => {
            let seal = Seal::of(&bytes);
            Ok(Some((bytes, Sealed { path: path.to_owned(), stamp, seal })))
        }
        Content::TooLarge(_) => Ok(None),
        Content::Changed => Err(io::Error::new(io::ErrorKind::ResourceBusy, "the file is being written")),
    }
}

/// What reading a file gave.
pub(crate) enum Content {
    /// All of it.
    Whole(Bytes),
    /// It is too large; its beginning.
    TooLarge(Bytes),
    /// It is being written, or it is gone.
    Changed,
}

/// Reads a file that should have that stamp; of one beyond `limit` bytes the first `kept`.
pub(crate) fn read(path: &Path, stamp: Stamp, limit: u64, kept: u64) -> io::Result<Content> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::Changed),
        Err(error) => return Err(error),
    };
    if Stamp::of(&file.metadata()?) != stamp {
        return Ok(Content::Changed);
    }
    let too_large = stamp.length > limit;
    let wanted = if too_large { kept.min(limit) } else { stamp.length };
    let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
    // One byte more than expected tells that the file grows.
    (&mut file).take(wanted + 1).read_to_end(&mut bytes)?;
    let length = bytes.len() as u64;
    if too_large {
        bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    }
    let whole = if too_large { length > wanted } else { length == wanted };
    if !whole || Stamp::of(&file.metadata()?) != stamp {
        return Ok(Content::Changed);
    }
    Ok(if too_large { Content::TooLarge(bytes.into()) } else { Content::Whole(bytes.into()) })
}

/// Moves a file that has been stored into another folder. False where it is no longer the file
/// that was read; then it stays and is a new one.
///
/// Nothing in the other folder is overwritten: `tag` goes into the name where that is taken.
pub(crate) fn settle(folder: &Path, name: &OsStr, was: (Stamp, &Seal), dir: &Path, tag: &str) -> io::Result<bool> {
    let (stamp, seal) = was;
    fs::create_dir_all(dir)?;
    let path = folder.join(name);
    let mut hidden = OsString::from(MOVING);
    hidden.push(name);
    let moving = folder.join(hidden);
    match fs::rename(&path, &moving) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    if Stamp::of(&fs::metadata(&moving)?) != stamp || !seal.holds(&moving)? {
        fs::rename(&moving, free_name(folder, name, "again")?)?;
        return Ok(false);
    }
    let target = free_name(dir, name, tag)?;
    match fs::rename(&moving, &target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => copy_over(&moving, &target)?,
        moved => moved?,
    }
    Ok(true)
}

/// Moves a file to another file system: nothing is deleted before the copy is on the disk.
fn copy_over(from: &Path, to: &Path) -> io::Result<()> {
    let dir = to.parent().unwrap_or(Path::new("."));
    let mut hidden = OsString::from(COPYING);
    hidden.push(to.file_name().unwrap_or_default());
    let part = dir.join(hidden);
    fs::copy(from, &part)?;
    let copy = File::options().write(true).open(&part)?;
    // A file that a person moves back is known by its time of change. Not every share keeps it.
    let _ = fs::metadata(from)?.modified().and_then(|changed| copy.set_modified(changed));
    copy.sync_all()?;
    fs::rename(&part, to)?;
    File::open(dir)?.sync_all()?;
    fs::remove_file(from)
}

/// Moves a marker after its file, if it is there.
pub(crate) fn settle_marker(folder: &Path, marker: &OsStr, dir: &Path, tag: &str) -> io::Result<()> {
    match fs::metadata(folder.join(marker)) {
        // What a marker holds does not matter.
        Ok(metadata) => settle(folder, marker, (Stamp::of(&metadata), &Seal::of(b"")), dir, tag).map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The path of a name in a folder, with a tag and a number before the extension where it is taken.
fn free_name(dir: &Path, name: &OsStr, tag: &str) -> io::Result<PathBuf> {
    let own = dir.join(name);
    if !own.try_exists()? {
        return Ok(own);
    }
    for number in 1..NAMES {
        let mut other = own.file_stem().unwrap_or_default().to_owned();
        other.push(format!(".{tag}"));
        if number > 1 {
            other.push(format!("-{number}"));
        }
        if let Some(extension) = own.extension() {
            other.push(".");
            other.push(extension);
        }
        let path = dir.join(other);
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "every name for the file is taken"))
}

#[cfg(test)]
mod tests;
