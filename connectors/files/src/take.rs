//! One file: its bytes, what it says, and its records with the files beside them. All of this blocks.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use connector_api::{DecodeFailure, Document, Map, Raw, Record};
use connector_formats::bundle::{Bundle, NamedFile};

use crate::beside::Named;
use crate::folder::{self, Content, Entry, Seal, Sealed, Stamp};
use crate::format::{BYTES, FilesDecoder, Piece};
use crate::settings::{After, Rules, StreamRules};

/// How many records are stored in one transaction.
const GROUP: usize = 500;

/// How many bytes of files beside records are stored in one transaction, or those of one record.
const GROUP_BYTES: usize = 32 << 20;

/// How much of a file is kept that is held as a whole. The file itself is in the failed folder.
const KEPT: u64 = 8 << 20;

/// A file's bytes.
pub(crate) struct FileBytes {
    entry: Entry,
    bytes: Bytes,
    too_large: Option<DecodeFailure>,
}

/// Reads a file; `None` where it is being written.
pub(crate) fn read(rules: &Rules, entry: &Entry) -> io::Result<Option<FileBytes>> {
    let path = rules.folder.join(&entry.name);
    let (bytes, too_large) = match folder::read(&path, entry.stamp, rules.max_file_bytes, KEPT)? {
        Content::Whole(bytes) => (bytes, None),
        Content::TooLarge(bytes) => {
            let limit = rules.max_file_bytes;
            let what = format!("{} bytes, and {limit} are allowed; the beginning is kept", entry.stamp.length);
            (bytes, Some(DecodeFailure::new("file-too-large", what)))
        }
        Content::Changed => return Ok(None),
    };
    Ok(Some(FileBytes { entry: entry.clone(), bytes, too_large }))
}

impl FileBytes {
    /// Whether the file says nothing without its memo file.
    pub(crate) fn needs_memo(&self, stream: &StreamRules) -> bool {
        self.too_large.is_none() && stream.reading.format.needs_memo(&self.bytes)
    }

    /// The first records that can be read, and how many there are. Texts of a memo file are left out.
    pub(crate) fn sample(self, stream: &StreamRules, limit: usize) -> Result<(Vec<Map>, usize), DecodeFailure> {
        if let Some(failure) = self.too_large {
            return Err(failure);
        }
        let pieces = stream.reading.format.read(&self.bytes, None)?;
        let count = pieces.len();
        let documents = pieces.into_iter().filter_map(|piece| piece.document.ok()).map(|document| document.root);
        Ok((documents.take(limit).collect(), count))
    }

    /// What the file says, with the memo file at a path where it has one.
    pub(crate) fn said(self, stream: &StreamRules, memo: Option<&Path>, limit: u64) -> io::Result<Said> {
        let FileBytes { entry, bytes, too_large } = self;
        let wants_memo = memo.is_some();
        let folder = memo.and_then(Path::parent);
        let memo = memo.map(|path| folder::read_now(path, limit)).transpose()?.flatten();
        if let (None, Some(folder)) = (&memo, folder) {
            still_there(folder, &entry)?;
        }
        let (memo, sealed) = memo.map_or((None, None), |(bytes, sealed)| (Some(bytes), Some(sealed)));
        let pieces = match (too_large, memo) {
            (Some(failure), _) => Err(failure),
            (None, None) if wants_memo => {
                Err(DecodeFailure::new("dbf-memo", "the table's memo file did not come, or is too large"))
            }
            (None, memo) => {
                // A bug that one file brings out must not keep all others out.
                let read = catch_unwind(AssertUnwindSafe(|| stream.reading.format.read(&bytes, memo.as_deref())));
                read.unwrap_or_else(|_| {
                    Err(DecodeFailure::new("file-bug", "reading the file ran into a bug of hisync"))
                })
            }
        };
        let seal = Seal::of(&bytes);
        let digest = hex::encode(&seal.digest[..16]);
        let tag = digest[..8].to_owned();
        let key = format!("{}|{digest}|{}", written(&entry.name), changed(entry.stamp));
        let failed = pieces.is_err();
        let pieces = pieces.unwrap_or_else(|failure| vec![whole(&entry, &bytes, failure)]);
        let parts = pieces.into_iter().map(|piece| Part::of(stream, piece)).collect();
        Ok(Said { entry, key, seal, tag, failed, memo: sealed, parts })
    }
}

/// A file that could not be read as a whole, as the one record that is held.
fn whole(entry: &Entry, bytes: &Bytes, mut failure: DecodeFailure) -> Piece {
    let kept = bytes.slice(..bytes.len().min(usize::try_from(KEPT).unwrap_or(usize::MAX)));
    if kept.len() < bytes.len() {
        failure.detail.push_str(&format!("; {} of {} bytes are kept", kept.len(), bytes.len()));
    }
    let raw = Raw { format: BYTES.to_owned(), charset: None, body: kept };
    Piece { place: format!("file of {} bytes", entry.stamp.length), raw, document: Err(failure) }
}

/// What a file says.
pub(crate) struct Said {
    entry: Entry,
    /// What tells this file from every other: its name, digest and time of change. A content that
    /// comes back under its name after another one is a new file, which must take effect again.
    key: String,
    pub(crate) seal: Seal,
    /// The beginning of the file's digest.
    pub(crate) tag: String,
    /// True where the file as a whole can't be read.
    pub(crate) failed: bool,
    /// The memo file that was read with it.
    pub(crate) memo: Option<Sealed>,
    /// Its records that were not taken yet.
    parts: VecDeque<Part>,
}

/// A record and the files that it names.
struct Part {
    piece: Piece,
    named: Vec<Named>,
}

/// Records that are stored in one transaction.
pub(crate) struct Group {
    pub(crate) records: Vec<Record>,
    /// Files beside them that are to be moved once all is stored.
    pub(crate) settled: Vec<Sealed>,
}

impl Part {
    fn of(stream: &StreamRules, mut piece: Piece) -> Part {
        let mut named = Vec::new();
        if let Ok(document) = &piece.document {
            match stream.reading.named(document) {
                Ok(found) => named = found,
                Err(failure) => piece.document = Err(failure),
            }
        }
        Part { piece, named }
    }

    /// The record with its files, archived as one; nothing changes for a record without any.
    fn complete(self, stream: &StreamRules, files: Vec<NamedFile>) -> (String, Raw, Result<Document, DecodeFailure>) {
        let Piece { place, raw, document } = self.piece;
        if files.is_empty() {
            return (place, raw, document);
        }
        let raw = Bundle { main: raw, files }.pack();
        let document = stream.reading.decode(&raw);
        (place, raw, document)
    }
}

impl Said {
    /// True once every record was taken.
    pub(crate) fn is_spent(&self) -> bool {
        self.parts.is_empty()
    }

    /// Where the files must be that the records name.
    pub(crate) fn named_paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> =
            self.parts.iter().flat_map(|part| &part.named).filter_map(|named| named.path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// The next records, with the files that they name.
    pub(crate) fn next_group(&mut self, rules: &Rules, stream: &StreamRules) -> io::Result<Group> {
        let mut group = Group { records: Vec::new(), settled: Vec::new() };
        let mut bytes = 0;
        while group.records.len() < GROUP && bytes < GROUP_BYTES {
            let Some(part) = self.parts.pop_front() else { break };
            let files = fetch(&part.named, stream, rules.max_file_bytes, &mut group.settled)?;
            if files.iter().any(|file| file.content.is_none()) {
                still_there(&rules.folder, &self.entry)?;
            }
            bytes += files.iter().filter_map(|file| file.content.as_ref()).map(Bytes::len).sum::<usize>();
            let (place, mut raw, document) = part.complete(stream, files);
            raw.format = FilesDecoder::archived_format(stream, &raw.format);
            group.records.push(Record {
                raw,
                document,
                source_ref: format!("{}@{} {place}", stream.label, self.tag),
                resend_key: Some(format!("{}|{place}", self.key)),
            });
        }
        Ok(group)
    }
}

/// Fails where the file itself is gone: in the place of a share that disappeared an empty folder may lie, and
/// no file can be missing there.
fn still_there(folder: &Path, entry: &Entry) -> io::Result<()> {
    match folder::is_there(folder, entry)? {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::NotFound, "the file was taken away while it was read")),
    }
}

/// Reads the files that a record names; together they may be as large as one file.
fn fetch(named: &[Named], stream: &StreamRules, limit: u64, settled: &mut Vec<Sealed>) -> io::Result<Vec<NamedFile>> {
    let mut left = limit;
    let mut files = Vec::with_capacity(named.len());
    let moves = stream.reading.attachments.as_ref().is_some_and(|attachments| attachments.after == After::Move);
    for Named { field, name, path } in named {
        let found = match path {
            Some(path) => folder::read_now(path, left)?,
            None => None,
        };
        let content = found.map(|(content, sealed)| {
            settled.extend(moves.then_some(sealed));
            content
        });
        left -= content.as_ref().map_or(0, |content| content.len() as u64).min(left);
        files.push(NamedFile { field: field.clone(), name: name.clone(), content });
    }
    Ok(files)
}

/// When a file was changed, in nanoseconds since 1970, as far as its file system tells. A move keeps it.
fn changed(stamp: Stamp) -> String {
    match stamp.changed.map(|changed| changed.duration_since(UNIX_EPOCH)) {
        Some(Ok(since)) => since.as_nanos().to_string(),
        Some(Err(before)) => format!("-{}", before.duration().as_nanos()),
        None => String::new(),
    }
}

/// A name as text. Names in another character set than UTF-8 are written as their bytes.
pub(crate) fn written(name: &OsStr) -> String {
    name.to_str().map_or_else(|| format!("hex:{}", hex::encode(name.as_encoded_bytes())), str::to_owned)
}
