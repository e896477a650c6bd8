//! Reads the files of a configuration and keeps a digest of all of them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::mapping::Files;

/// Files larger than this are no configuration, mapping or code table (64 MiB).
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Why a file can't be read, in words for people.
pub(crate) fn why(cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        std::io::ErrorKind::InvalidData => "it is not text in UTF-8".to_owned(),
        _ => cause.to_string(),
    }
}

/// The disk, remembering what was read: one load sees one content of each file.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    read: Mutex<BTreeMap<PathBuf, String>>,
}

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = read.get(path) {
            return Ok(text.clone());
        }
        let bytes = std::fs::metadata(path)?.len();
        if bytes > MAX_BYTES {
            return Err(std::io::Error::other(format!("{bytes} bytes are too many for such a file")));
        }
        let text = std::fs::read_to_string(path)?;
        read.insert(path.to_owned(), text.clone());
        Ok(text)
    }
}

impl Disk {
    /// Every file that was read.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// SHA-256 (hex) over the names (relative to `base_dir`) and bytes of every file that was read.
    pub(crate) fn digest(&self, base_dir: &Path) -> String {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hash = Sha256::new();
        for (path, text) in read.iter() {
            let name = relative(path, base_dir);
            for part in [name.as_bytes(), text.as_bytes()] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        hex::encode(hash.finalize())
    }
}

/// The path from a folder to a file, so that the digest does not depend on where both lie.
fn relative(path: &Path, base_dir: &Path) -> String {
    let (path, base_dir) = (plain(path), plain(base_dir));
    let shared = path.iter().zip(base_dir.iter()).take_while(|(left, right)| left == right).count();
    let up = base_dir.iter().skip(shared).map(|_| std::ffi::OsStr::new(".."));
    up.chain(path.iter().skip(shared)).collect::<PathBuf>().to_string_lossy().into_owned()
}

/// The path without `a/..` in it, by its words alone.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for step in path.components() {
        match step {
            Component::ParentDir if plain.file_name().is_some() => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}
