//! The disk as it is after a power cut, from what was noted of the agent's operations.
//!
//! Only what was synced is sure. A file's writes are sure after an fsync of the file that began after them; its name is
//! after an fsync of its folder. What was not synced is there, is not, or is there in part: any of its sectors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

use fastrand::Rng;

const SECTOR: usize = 512;

const OPEN: u32 = 1;
const WRITE: u32 = 2;
const CUT: u32 = 4;
const SYNC: u32 = 8;
const RENAME: u32 = 16;
const UNLINK: u32 = 32;
const SEND: u32 = 64;
const RECV: u32 = 128;
const CLOSED: u32 = 512;
const SYNCED: u32 = 1024;
const START: u32 = 2048;

const O_CREAT: i32 = 0o100;
const O_TRUNC: i32 = 0o1000;

/// One operation of the agent.
struct Note {
    op: u32,
    fd: i32,
    flags: i32,
    at: i64,
    path: String,
    data: Range<usize>,
}

/// What was noted, in order.
pub(crate) struct Trace {
    bytes: Vec<u8>,
    notes: Vec<Note>,
}

impl Trace {
    pub(crate) fn read(path: &Path) -> Trace {
        let bytes = std::fs::read(path).unwrap();
        let mut notes = Vec::new();
        let mut from = 0;
        while from < bytes.len() {
            let word = |at: usize| u32::from_ne_bytes(bytes[from + at..from + at + 4].try_into().unwrap());
            let (length, path_length, data_length) = (word(0) as usize, word(24) as usize, word(28) as usize);
            let path_at = from + 32;
            let data_at = path_at + path_length;
            notes.push(Note {
                op: word(4),
                fd: word(8).cast_signed(),
                flags: word(12).cast_signed(),
                at: i64::from_ne_bytes(bytes[from + 16..from + 24].try_into().unwrap()),
                path: String::from_utf8_lossy(&bytes[path_at..data_at]).into_owned(),
                data: data_at..data_at + data_length,
            });
            from += length;
        }
        Trace { bytes, notes }
    }

    /// The places at which a power cut is of interest: before and after each sync, and after each word to a peer.
    pub(crate) fn cuts(&self, folder: &str) -> Vec<usize> {
        let mut folders = HashMap::new();
        let mut cuts = Vec::new();
        for (place, note) in self.notes.iter().enumerate() {
            match note.op {
                OPEN => drop(folders.insert(note.fd, note.path.starts_with(folder))),
                SYNC if folders.get(&note.fd) == Some(&true) => cuts.push(place),
                SYNCED if folders.get(&note.fd) == Some(&true) => cuts.push(place + 1),
                SEND | RENAME => cuts.push(place + 1),
                _ => {}
            }
        }
        cuts.push(self.notes.len());
        cuts
    }
}

#[derive(Default)]
struct Inode {
    /// What a power cut can't take away.
    sure: Vec<u8>,
    /// What came since, each with its place in the trace.
    since: Vec<(usize, Change)>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Range<usize>),
    Cut(usize),
}

#[derive(Clone)]
enum Naming {
    Link(String, usize),
    Gone(String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Link(name, inode) => drop(names.insert(name.clone(), *inode)),
            Naming::Gone(name) => drop(names.remove(name)),
        }
    }
}

enum Handle {
    File(usize),
    Folder(String),
}

/// What survives of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    /// Nothing.
    None,
    /// All of it.
    All,
    /// Some of it, down to single sectors.
    Some,
}

/// What the agent's peers were told, and told it.
#[derive(Clone, Default)]
pub(crate) struct Told {
    /// The control ids of MLLP acknowledgements that left, in order.
    pub(crate) mllp: Vec<String>,
    /// The keys of requests whose answers of success left, in order.
    pub(crate) web: Vec<String>,
    /// Names of files, from what they were called first to what they are called now.
    pub(crate) moved: BTreeMap<String, String>,
    /// The ids of events whose receipts came.
    pub(crate) receipts: BTreeSet<String>,
    /// The ids of batches that left, and of those that were answered.
    pub(crate) sent: BTreeSet<String>,
    pub(crate) answered: BTreeSet<String>,
    keys: HashMap<i32, String>,
    batches: HashMap<i32, String>,
    heard: HashMap<i32, Vec<u8>>,
}

/// The disk, and what was told, at a place of the trace.
pub(crate) struct World<'a> {
    trace: &'a Trace,
    folder: String,
    place: usize,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    sure_names: BTreeMap<String, usize>,
    /// Names that are not sure yet, each with its place in the trace.
    naming: Vec<(usize, Naming)>,
    /// Whether the folder itself is sure to be there.
    founded: Option<(usize, bool)>,
    handles: HashMap<i32, Handle>,
    syncing: HashMap<i32, usize>,
    pub(crate) told: Told,
}

impl<'a> World<'a> {
    /// Before anything was done.
    pub(crate) fn new(trace: &'a Trace, folder: &str) -> World<'a> {
        World {
            trace,
            folder: folder.to_owned(),
            place: 0,
            inodes: Vec::new(),
            names: BTreeMap::new(),
            sure_names: BTreeMap::new(),
            naming: Vec::new(),
            founded: None,
            handles: HashMap::new(),
            syncing: HashMap::new(),
            told: Told::default(),
        }
    }

    /// Goes on to a place.
    pub(crate) fn go(&mut self, to: usize) {
        for place in self.place..to {
            self.step(place);
        }
        self.place = self.place.max(to);
    }

    fn bytes(&self, range: &Range<usize>) -> &'a [u8] {
        &self.trace.bytes[range.clone()]
    }

    fn step(&mut self, place: usize) {
        let note = &self.trace.notes[place];
        match note.op {
            START => {
                self.handles.clear();
                self.syncing.clear();
            }
            OPEN => self.open(place, note),
            CLOSED => {
                self.handles.remove(&note.fd);
                self.told.close(note.fd);
            }
            WRITE | CUT => {
                if let Some(Handle::File(inode)) = self.handles.get(&note.fd) {
                    let at = usize::try_from(note.at).unwrap();
                    let change = if note.op == WRITE { Change::Write(at, note.data.clone()) } else { Change::Cut(at) };
                    self.inodes[*inode].since.push((place, change));
                }
            }
            SYNC => drop(self.syncing.insert(note.fd, place)),
            SYNCED => self.synced(note.fd),
            RENAME => {
                let to = String::from_utf8_lossy(self.bytes(&note.data)).into_owned();
                if note.path.starts_with(&self.folder)
                    && let Some(inode) = self.names.remove(&note.path)
                {
                    self.names.insert(to.clone(), inode);
                    self.naming.push((place, Naming::Gone(note.path.clone())));
                    self.naming.push((place, Naming::Link(to, inode)));
                } else {
                    self.told.renamed(&note.path, to);
                }
            }
            UNLINK if self.names.remove(&note.path).is_some() => {
                self.naming.push((place, Naming::Gone(note.path.clone())));
            }
            SEND => self.told.says(note.fd, self.bytes(&note.data)),
            RECV => self.told.hears(note.fd, self.bytes(&note.data)),
            _ => {}
        }
    }

    fn open(&mut self, place: usize, note: &Note) {
        if note.fd < 0 {
            if note.path.trim_end_matches('/') == self.folder.trim_end_matches('/') {
                self.founded = Some((place, false));
            }
            return;
        }
        if note.at == 1 {
            self.handles.insert(note.fd, Handle::Folder(note.path.trim_end_matches('/').to_owned()));
        } else if note.path.starts_with(&self.folder) {
            let known = self.names.get(&note.path).copied();
            let inode = known.unwrap_or_else(|| {
                self.inodes.push(Inode::default());
                let inode = self.inodes.len() - 1;
                assert!(note.flags & O_CREAT != 0, "{} comes from nowhere", note.path);
                self.names.insert(note.path.clone(), inode);
                self.naming.push((place, Naming::Link(note.path.clone(), inode)));
                inode
            });
            if note.flags & O_TRUNC != 0 {
                self.inodes[inode].since.push((place, Change::Cut(0)));
            }
            self.handles.insert(note.fd, Handle::File(inode));
        }
    }

    fn synced(&mut self, fd: i32) {
        let Some(began) = self.syncing.remove(&fd) else { return };
        match self.handles.get(&fd) {
            Some(Handle::File(inode)) => {
                let Inode { sure, since } = &mut self.inodes[*inode];
                let later = since.partition_point(|(place, _)| *place < began);
                for (_, change) in since.drain(..later) {
                    apply(sure, &change, &self.trace.bytes);
                }
            }
            Some(Handle::Folder(folder)) => {
                let inside = |path: &str| Path::new(path).parent() == Some(Path::new(folder));
                let of = |naming: &Naming| match naming {
                    Naming::Link(name, _) | Naming::Gone(name) => inside(name),
                };
                let sure = self.naming.extract_if(.., |(place, naming)| *place < began && of(naming));
                sure.for_each(|(_, naming)| naming.apply(&mut self.sure_names));
                if let Some((place, founded)) = &mut self.founded
                    && *place < began
                    && inside(self.folder.trim_end_matches('/'))
                {
                    *founded = true;
                }
            }
            None => {}
        }
    }

    /// The files of the folder, by their names in it, as they may be after a power cut.
    pub(crate) fn after_cut(&self, luck: Luck, rng: &mut Rng) -> BTreeMap<String, Vec<u8>> {
        let mut names = self.sure_names.clone();
        let founded = self.founded.is_none_or(|(_, founded)| founded);
        // A file system keeps its names in order: a power cut takes the last ones.
        let kept = match luck {
            Luck::None if !founded => return BTreeMap::new(),
            Luck::None => 0,
            Luck::All => self.naming.len(),
            Luck::Some => rng.usize(..=self.naming.len()),
        };
        self.naming[..kept].iter().for_each(|(_, naming)| naming.apply(&mut names));
        let content = |inode: usize, rng: &mut Rng| {
            let Inode { sure, since } = &self.inodes[inode];
            let mut bytes = sure.clone();
            for (_, change) in since {
                let survives = match luck {
                    Luck::None => false,
                    Luck::All => true,
                    Luck::Some => rng.bool(),
                };
                match change {
                    change if survives => apply(&mut bytes, change, &self.trace.bytes),
                    Change::Write(at, data) if luck == Luck::Some && rng.bool() => {
                        for (number, from) in (data.start..data.end).step_by(SECTOR).enumerate() {
                            if rng.bool() {
                                let sector = from..data.end.min(from + SECTOR);
                                apply(&mut bytes, &Change::Write(at + number * SECTOR, sector), &self.trace.bytes);
                            }
                        }
                    }
                    _ => {}
                }
            }
            bytes
        };
        let inside = names.into_iter().filter_map(|(name, inode)| {
            let name = name.strip_prefix(&self.folder)?.trim_start_matches('/').to_owned();
            Some((name, inode))
        });
        inside.map(|(name, inode)| (name, content(inode, rng))).collect()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change, trace: &[u8]) {
    match change {
        Change::Write(at, data) => {
            let end = at + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(&trace[data.clone()]);
        }
        Change::Cut(length) => bytes.resize(*length, 0),
    }
}

impl Told {
    fn close(&mut self, fd: i32) {
        self.keys.remove(&fd);
        self.batches.remove(&fd);
        self.heard.remove(&fd);
    }

    fn renamed(&mut self, from: &str, to: String) {
        let first = self.moved.iter().find(|(_, now)| *now == from).map_or(from, |(first, _)| first).to_owned();
        self.moved.insert(first, to);
    }

    fn says(&mut self, fd: i32, data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        for answer in text.split("MSA|AA|").skip(1) {
            self.mllp.push(answer.split(['|', '\r']).next().unwrap_or_default().to_owned());
        }
        if text.starts_with("HTTP/1.1 202") {
            self.web.extend(self.keys.remove(&fd));
        }
        if text.starts_with("POST /v1/events")
            && let Some(batch) = header(&text, "webhook-id")
        {
            self.sent.insert(batch.clone());
            self.batches.insert(fd, batch);
        }
        self.heard.remove(&fd);
    }

    fn hears(&mut self, fd: i32, data: &[u8]) {
        let heard = self.heard.entry(fd).or_default();
        heard.extend_from_slice(data);
        let text = String::from_utf8_lossy(heard).into_owned();
        if let Some(key) = header(&text, "idempotency-key") {
            self.keys.insert(fd, key);
        }
        if self.batches.contains_key(&fd) && text.contains("\"results\":[") {
            self.answered.extend(self.batches.get(&fd).cloned());
            let ids = text.split("\"id\":\"").skip(1).filter_map(|rest| rest.get(..36));
            self.receipts.extend(ids.map(str::to_owned));
        }
    }
}

fn header(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
