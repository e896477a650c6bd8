//! Units: the spellings whose UCUM code is certain.

use std::sync::LazyLock;

use super::text::{fold, trim};
use crate::mapping::plan::Lookup;

/// `spelling,ucum,certainty`, one per line. What is `doubtful` names what was probably meant, for a
/// person; what is `uncoded` is known and has no UCUM code (a cut-off index, the word for no unit).
const TABLE: &str = include_str!("units.csv");

/// What is known of a spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// It has this UCUM code.
    Certain(&'static str),
    /// It is understood, and UCUM has no code for it.
    Uncoded,
    /// It may mean several things, or is misspelt; probably this one. Never used as a code.
    Doubtful(Option<&'static str>),
}

static UNITS: LazyLock<Lookup<String, Certainty>> = LazyLock::new(|| {
    let lines = TABLE.lines().skip(1).filter_map(|line| {
        let (spelling, rest) = line.split_once(',')?;
        let (code, certainty) = rest.split_once(',')?;
        let known = match certainty {
            "certain" => Certainty::Certain(code),
            "uncoded" => Certainty::Uncoded,
            _ => Certainty::Doubtful(Some(code).filter(|code| !code.is_empty())),
        };
        Some((key(spelling), known))
    });
    lines.collect()
});

/// The same by the table's own spellings, so that the usual ones need not be brought into the form for comparing.
static SPELLINGS: LazyLock<Lookup<&'static str, Certainty>> = LazyLock::new(|| {
    let spellings = TABLE.lines().skip(1).filter_map(|line| Some(line.split_once(',')?.0));
    spellings.filter_map(|spelling| Some((spelling, *UNITS.get(&key(spelling))?))).collect()
});

/// What a unit is; `None` where its spelling is not in the table.
pub fn read(text: &str) -> Option<Certainty> {
    let text = trim(text);
    if let Some(known) = UNITS.get(text).or_else(|| SPELLINGS.get(text)) {
        return Some(*known);
    }
    if is_key(text) { None } else { UNITS.get(&key(text)).copied() }
}

/// Whether a text surely has the form for comparing already: words that are no units mostly have.
pub(super) fn is_key(text: &str) -> bool {
    let kept = |c: char| (c.is_ascii_graphic() && !matches!(c, '*' | 'X')) || matches!(c, '\u{4e00}'..='\u{9fff}');
    !text.starts_with('x') && text.chars().all(kept)
}

/// The UCUM code of a unit, only where there is no doubt.
pub fn ucum(text: &str) -> Option<&'static str> {
    match read(text)? {
        Certainty::Certain(code) => Some(code),
        Certainty::Uncoded | Certainty::Doubtful(_) => None,
    }
}

/// What a doubtful or unknown spelling probably means, to be shown to a person: never a mapping.
pub fn suggestion(text: &str) -> Option<&'static str> {
    match read(text) {
        Some(Certainty::Doubtful(code)) => code,
        Some(_) => None,
        None => {
            // Taken from the whole table, nearest first; the order of equals does not hang on the map.
            let text = key(text);
            let scored = UNITS.iter().filter_map(|(spelling, known)| match known {
                // A slip of the pen changes the length by little; most of the table is passed over.
                Certainty::Certain(code) if spelling.len().abs_diff(text.len()) <= 2 => {
                    Some((strsim::jaro_winkler(&text, spelling), *code))
                }
                _ => None,
            });
            let best = scored.filter(|(score, _)| *score >= 0.9);
            best.max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(one.1))).map(|(_, code)| code)
        }
    }
}

/// The form in which spellings are compared: blanks out, both micro signs `u`, powers with `^`.
/// Letters keep their case, because it tells mega from milli.
pub(super) fn key(text: &str) -> String {
    const SUPERSCRIPTS: &str = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let mut plain = String::with_capacity(text.len());
    let mut raised = false;
    for c in trim(text).chars() {
        match SUPERSCRIPTS.chars().position(|sign| sign == c) {
            Some(digit) => {
                if !raised {
                    plain.push('^');
                }
                plain.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
                raised = true;
            }
            None => {
                plain.push(c);
                raised = false;
            }
        }
    }
    let folded: String = fold(&plain).chars().filter(|c| !c.is_whitespace()).collect();
    let folded = folded.replace(['μ', 'µ'], "u").replace(['×', 'X'], "x");
    folded
        .strip_prefix("x10")
        .or_else(|| folded.strip_prefix("*10"))
        .map_or_else(|| folded.replace("10*", "10^"), |rest| format!("10{}", rest.replacen('*', "^", 1)))
}
