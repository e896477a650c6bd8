//! The board that the library between the agent and the C library reads: which operations fail, and how.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A file is opened.
pub(crate) const OPEN: u32 = 1;
/// A file is written.
pub(crate) const WRITE: u32 = 2;
/// A file is cut to a length.
pub(crate) const CUT: u32 = 4;
/// A file or folder is synced.
pub(crate) const SYNC: u32 = 8;
/// A file is renamed; its new name counts.
pub(crate) const RENAME: u32 = 16;
/// A file is deleted.
pub(crate) const UNLINK: u32 = 32;
/// Bytes leave through a socket.
pub(crate) const SEND: u32 = 64;
/// Bytes have arrived from a socket.
pub(crate) const RECV: u32 = 128;
/// A file is read.
pub(crate) const READ: u32 = 256;

const RULES: usize = 16;
const MATCH: usize = 64;
/// Nine numbers and what is looked for.
const RULE: usize = 9 * 4 + MATCH;
const CLOCK: usize = 8;
const FIRED: usize = 8;

/// Before the operation, or after it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    Before = 1,
    After = 2,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Deed {
    /// It is the agent's last.
    Kill,
    /// It fails with an error number.
    Fail(i32),
    /// It takes so many milliseconds longer.
    Wait(i32),
    /// Half of it is done, then the disk is full.
    Half,
}

/// What happens to operations of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) ops: u32,
    pub(crate) when: When,
    pub(crate) deed: Deed,
    /// A part of the path, or of what a socket carries; before a `$` the end of the path.
    pub(crate) of: &'static str,
    /// It strikes so many times, after the first so many; 0 is as long as it stands.
    pub(crate) count: u32,
    pub(crate) skip: u32,
}

impl Rule {
    /// The first operation of a kind is the agent's last.
    pub(crate) const fn kill(when: When, ops: u32, of: &'static str) -> Rule {
        Rule { ops, when, deed: Deed::Kill, of, count: 1, skip: 0 }
    }

    /// Operations of a kind fail as long as the rule stands.
    pub(crate) const fn fail(ops: u32, of: &'static str, error: i32) -> Rule {
        let when = if ops == RECV { When::After } else { When::Before };
        Rule { ops, when, deed: Deed::Fail(error), of, count: 0, skip: 0 }
    }

    /// Operations of a kind are slow as long as the rule stands.
    pub(crate) const fn slow(ops: u32, of: &'static str, millis: i32) -> Rule {
        Rule { ops, when: When::Before, deed: Deed::Wait(millis), of, count: 0, skip: 0 }
    }

    pub(crate) const fn times(self, count: u32) -> Rule {
        Rule { count, ..self }
    }

    pub(crate) const fn after(self, skip: u32) -> Rule {
        Rule { skip, ..self }
    }
}

/// The library, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // Tests run as processes of their own, at the same time: each writes its own, and renames it into place.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (library, made) = (folder.join("faults.so"), folder.join(format!("faults.{}.so", std::process::id())));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/shim.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&made).arg(source);
        let done = compiler.arg("-lpthread").output().expect("a C compiler named cc");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::rename(made, &library).unwrap();
        library
    })
}

/// The board of one agent, over all its starts.
pub(crate) struct Board {
    file: File,
    path: PathBuf,
    root: PathBuf,
    trace: Option<PathBuf>,
    taken: [bool; RULES],
}

/// A rule that stands on the board.
#[derive(Debug)]
pub(crate) struct Standing(usize);

impl Board {
    /// A board without rules for an agent whose files are below a folder.
    pub(crate) fn new(root: &Path) -> Board {
        let path = root.join("board");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len((CLOCK + RULES * RULE) as u64).unwrap();
        let root = root.components().collect();
        Board { file, path, root, trace: None, taken: [false; RULES] }
    }

    /// From the next start on, what the agent does is noted in a file.
    pub(crate) fn trace(&mut self, path: PathBuf) {
        self.trace = Some(path);
    }

    /// What an agent's environment must have.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let mut variables = vec![
            ("LD_PRELOAD", library().to_owned()),
            ("HISYNC_FAULT_BOARD", self.path.clone()),
            ("HISYNC_FAULT_ROOT", self.root.clone()),
        ];
        variables.extend(self.trace.clone().map(|path| ("HISYNC_FAULT_TRACE", path)));
        variables
    }

    fn write(&self, rule: usize, number: usize, value: u32) {
        self.file.write_all_at(&value.to_ne_bytes(), (CLOCK + rule * RULE + number * 4) as u64).unwrap();
    }

    fn read(&self, rule: usize, number: usize) -> u32 {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, (CLOCK + rule * RULE + number * 4) as u64).unwrap();
        u32::from_ne_bytes(bytes)
    }

    /// A rule holds from now on.
    pub(crate) fn set(&mut self, rule: Rule) -> Standing {
        let place = self.taken.iter().position(|taken| !taken).expect("room for another rule");
        self.taken[place] = true;
        let (action, number) = match rule.deed {
            Deed::Kill => (1, 0),
            Deed::Fail(error) => (2, error),
            Deed::Wait(millis) => (3, millis),
            Deed::Half => (4, 0),
        };
        let values = [rule.ops, rule.when as u32, action, number.cast_unsigned(), rule.skip, rule.count, 0, 0];
        for (number, value) in (1..).zip(values) {
            self.write(place, number, value);
        }
        let mut of = [0; MATCH];
        of[..rule.of.len()].copy_from_slice(rule.of.as_bytes());
        self.file.write_all_at(&of, (CLOCK + place * RULE + 9 * 4) as u64).unwrap();
        self.write(place, 0, 1);
        Standing(place)
    }

    /// How often a rule has struck.
    pub(crate) fn fired(&self, standing: &Standing) -> u32 {
        self.read(standing.0, FIRED)
    }

    /// A rule holds no more.
    pub(crate) fn lift(&mut self, standing: Standing) {
        self.write(standing.0, 0, 0);
        self.taken[standing.0] = false;
    }

    /// The agent's wall clock is off by so many seconds from now on.
    pub(crate) fn shift_clock(&self, secs: i64) {
        self.file.write_all_at(&(secs * 1_000_000_000).to_ne_bytes(), 0).unwrap();
    }
}
