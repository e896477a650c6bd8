//! A short run over the readers of bytes from outside: the inputs of all fixture cases, changed at
//! random from a fixed seed. No panic, no unbounded time or memory.
//!
//! `HISYNC_FUZZ_ROUNDS` makes it longer, `HISYNC_FUZZ_SEED` makes it another. The same targets run
//! under cargo-fuzz, which finds more: see `fuzz/README.md`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use connector_formats::xml::XmlRules;
use connector_formats::{inner, xml};
use targets::TARGETS;

/// How long one input may take, in a build that is not optimised, on a busy machine.
const LONGEST: Duration = Duration::from_secs(20);

/// How much memory the whole run may take, in KiB.
const MOST_MEMORY: u64 = 1 << 20;

/// The largest input that is made.
const LARGEST: usize = 5 << 10;

/// Numbers that look random and are the same in every run (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap_or(0)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

/// Pieces on which readers turn.
const WORDS: [&[u8]; 24] = [
    b"\r",
    b"\n",
    b"|",
    b"\\",
    b"^~\\&",
    b"\"",
    b",",
    b"<",
    b"]]>",
    b"<![CDATA[",
    b"&amp;lt;",
    b"<!DOCTYPE a [",
    b"&#0;",
    b"{\"$dec\":\"1\"}",
    b"[[[[[[[[",
    b"{\"a\":",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\x81\x30\x81\x30",
    b"\xd5\x82\x7c",
    b"\xff\xff\xff\x7f",
    b"MSH|^~\\&|",
    b"--xx\r\n",
];

/// Changes an input a few times.
fn change(seed: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.range(bytes.len());
        match dice.below(7) {
            0 => bytes.iter_mut().skip(at.start).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
            1 => bytes.iter_mut().skip(at.start).take(1).for_each(|byte| *byte = dice.below(256) as u8),
            2 => drop(bytes.drain(at)),
            3 => {
                let piece = bytes[at.clone()].to_vec();
                let times = 1 + dice.below(20);
                bytes.splice(at.start..at.start, piece.repeat(times));
            }
            4 => drop(bytes.splice(at, WORDS[dice.below(WORDS.len())].iter().copied())),
            5 => drop(bytes.splice(at.start..at.start, other[dice.range(other.len())].iter().copied())),
            _ => bytes.truncate(at.start),
        }
        bytes.truncate(LARGEST);
    }
    bytes
}

/// The inputs of the fixture cases, and of what no case has.
fn seeds() -> Vec<Vec<u8>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["files", "mllp", "webhook"] {
        let cases = fs::read_dir(fixtures.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        for case in cases.filter(|path| path.is_dir()) {
            let inside = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path());
            files.extend(inside.filter(|path| path.file_stem().is_some_and(|stem| stem == "input")));
        }
    }
    files.extend(fs::read_dir(fixtures.join("fuzz")).unwrap().map(|entry| entry.unwrap().path()));
    files.sort();
    assert!(files.len() > 60, "only {} inputs", files.len());
    files.iter().map(|path| fs::read(path).unwrap()).filter(|bytes| bytes.len() <= LARGEST).collect()
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// The most memory that this process has had, in KiB, where the system tells.
fn memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

#[test]
fn no_input_breaks_a_reader() {
    let (rounds, seed) = (number("HISYNC_FUZZ_ROUNDS", 2), number("HISYNC_FUZZ_SEED", 0x2026_1122));
    let trace = std::env::var_os("HISYNC_FUZZ_TRACE").is_some();
    let seeds = seeds();
    let mut dice = Dice(seed | 1);
    let mut spent = [Duration::ZERO; TARGETS.len()];
    for round in 0..=rounds {
        for (at, first) in seeds.iter().enumerate() {
            let other = &seeds[dice.below(seeds.len())];
            // First of all what nobody has changed.
            let input = if round == 0 { first.clone() } else { change(first, other, &mut dice) };
            for (number, (name, target)) in TARGETS.into_iter().enumerate() {
                if trace {
                    eprintln!("{round} {at} {name}");
                }
                let begun = Instant::now();
                let ended = std::panic::catch_unwind(|| target(&input));
                let took = begun.elapsed();
                spent[number] += took;
                if ended.is_err() || took >= LONGEST {
                    let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
                    panic!("{name} broke after {took:?} at round {round}, input {at}, seed {seed}: {hex}");
                }
            }
        }
    }
    for ((name, _), spent) in TARGETS.iter().zip(spent) {
        println!("{name}: {spent:?}");
    }
    assert!(memory() < MOST_MEMORY, "{} KiB", memory());
}

#[test]
fn entities_are_neither_expanded_nor_fetched() {
    let mut laughs = String::from("<!DOCTYPE a [<!ENTITY a0 \"ha\">");
    for at in 1..30 {
        laughs += &format!("<!ENTITY a{at} \"&a{};&a{};\">", at - 1, at - 1);
    }
    laughs += "]><a>&a29;</a>";
    let external = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
    let parameter = "<!DOCTYPE a SYSTEM \"http://127.0.0.1:1/a.dtd\" [<!ENTITY % x \"y\"> %x;]><a/>";
    let rules = XmlRules::default();
    for text in [laughs.as_str(), external, parameter] {
        assert_eq!(xml::parse(text, &rules).unwrap_err().code, "xml-doctype");
        assert_eq!(xml::records(text, "a", &rules).unwrap_err().code, "xml-doctype");
        assert_eq!(inner::inner(text, &rules).unwrap_err().code, "xml-doctype");
    }
    // Without a declaration the name means nothing.
    assert_eq!(xml::parse("<a>&x;</a>", &rules).unwrap_err().code, "xml-entity");
}
