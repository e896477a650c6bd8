//! Units: the spellings whose UCUM code is certain.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::text::{fold, trim};

/// `spelling,ucum`, one per line; a spelling that could mean two things is not in it.
const TABLE: &str = include_str!("units.csv");

static UNITS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(|| {
    TABLE
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(','))
        .map(|(spelling, ucum)| (key(spelling), ucum))
        .collect()
});

/// The UCUM code of a unit, only where there is no doubt.
pub fn ucum(text: &str) -> Option<&'static str> {
    UNITS.get(trim(text)).or_else(|| UNITS.get(&key(text))).copied()
}

/// The form in which spellings are compared: blanks out, both micro signs `u`, powers with `^`.
/// Letters keep their case, because it tells mega from milli.
fn key(text: &str) -> String {
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
