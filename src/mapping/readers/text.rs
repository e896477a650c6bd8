//! Text hygiene: what is stored, and what is only compared.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfkc};

/// True for what is padding at the ends of a text and never content.
fn is_padding(c: char) -> bool {
    matches!(c, '\0' | '\u{feff}' | '\u{200b}' | '\u{200c}' | '\u{200d}' | '\u{2060}') || c.is_whitespace()
}

/// The text without blanks, NUL, U+3000, NBSP, zero-width characters and BOM at its ends.
pub fn trim(text: &str) -> &str {
    text.trim_matches(is_padding)
}

/// The text as it is stored: trimmed at the ends, NFC.
pub fn store(text: &str) -> Cow<'_, str> {
    let text = trim(text);
    let usual = || text.chars().all(|c| is_usual(c) || matches!(c, '\u{3001}'..='\u{3011}') || narrow(c).is_some());
    if text.is_ascii() || usual() || is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

/// The text as it is compared (full-width forms folded by NFKC); never stored.
pub fn fold(text: &str) -> Cow<'_, str> {
    let text = trim(text);
    if text.is_ascii() || text.chars().all(is_usual) {
        return Cow::Borrowed(text);
    }
    // `3.90～6.10`, `（-）`: what is common needs no tables.
    if let Some(folded) = text.chars().map(|c| if is_usual(c) { Some(c) } else { narrow(c) }).collect() {
        return Cow::Owned(folded);
    }
    if is_nfkc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfkc().collect()) }
}

/// A character that every normal form leaves as it is, whatever stands beside it out of the same ranges.
fn is_usual(c: char) -> bool {
    c.is_ascii() || matches!(c, '\u{4e00}'..='\u{9fff}')
}

/// The ASCII character of a full-width one.
fn narrow(c: char) -> Option<char> {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0),
        '\u{3000}' => Some(' '),
        _ => None,
    }
}

/// True where the text has lost characters for ever: U+FFFD was stored.
pub fn is_damaged(text: &str) -> bool {
    text.contains('\u{fffd}')
}

/// True where a name has lost characters: U+FFFD, or a `?` that stands for a rare Han character.
pub fn is_damaged_name(text: &str) -> bool {
    is_damaged(text) || (text.contains(['?', '\u{ff1f}']) && text.chars().any(is_han))
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}
