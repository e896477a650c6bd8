//! Reference ranges as sources print them.

use super::result::{comparator, interval, number_end};
use super::text::{fold, store, trim};
use super::unit;
use crate::model::entity::{DecimalText, ReferenceRange, Sex};

/// Reads a range for a person of that sex. What can't be read, or speaks of a sex that is not
/// known, stays text.
pub fn read(text: &str, sex: Option<Sex>) -> Option<ReferenceRange> {
    if trim(text).is_empty() {
        return None;
    }
    let folded = fold(text);
    let part = match by_sex(&folded) {
        None => Some(&*folded),
        Some((male, female)) => match sex {
            Some(Sex::Male) => Some(male),
            Some(Sex::Female) => Some(female),
            _ => None,
        },
    };
    let bounds = part.and_then(bounds);
    Some(bounds.unwrap_or_else(|| ReferenceRange { text: Some(store(text).into_owned()), ..ReferenceRange::default() }))
}

/// The parts of `男:..女:..`, in either order.
fn by_sex(text: &str) -> Option<(&str, &str)> {
    let (male, female) = (text.find('男')?, text.find('女')?);
    let (first, second) = (male.min(female), male.max(female));
    if first != 0 {
        return None;
    }
    let part = |from: usize, to: usize| {
        let rest = text[from..to].trim_start_matches(['男', '女', '性']).trim_start();
        let rest = rest.strip_prefix(':').unwrap_or(rest);
        trim(rest.trim_end_matches([',', ';', '/', '、', ';', '。', ' ']))
    };
    let (one, two) = (part(first, second), part(second, text.len()));
    Some(if male < female { (one, two) } else { (two, one) })
}

fn bounds(text: &str) -> Option<ReferenceRange> {
    let text = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let text = without_unit(text);
    if let Some((word, rest)) = comparator(text) {
        let bound = (number_end(rest)? == rest.len()).then(|| DecimalText(rest.to_owned()))?;
        let inclusive = Some(word.ends_with('='));
        return Some(if word.starts_with('<') {
            ReferenceRange { high: Some(bound), high_inclusive: inclusive, ..ReferenceRange::default() }
        } else {
            ReferenceRange { low: Some(bound), low_inclusive: inclusive, ..ReferenceRange::default() }
        });
    }
    let (low, high) = interval(text)?;
    Some(between(low, high))
}

/// Both bounds, themselves inside.
pub fn between(low: &str, high: &str) -> ReferenceRange {
    ReferenceRange {
        low: Some(DecimalText(low.to_owned())),
        low_inclusive: Some(true),
        high: Some(DecimalText(high.to_owned())),
        high_inclusive: Some(true),
        ..ReferenceRange::default()
    }
}

/// The text without a known unit glued to its end; an unknown word is kept, so that it is not read.
fn without_unit(text: &str) -> &str {
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || c == '.') else { return text };
    // A unit may hold digits itself (`10^9/L`), so each end of a number is tried, the last first.
    let ends = text[..=last].char_indices().rev().filter(|(_, c)| c.is_ascii_digit()).map(|(at, _)| at + 1);
    for end in ends {
        let (range, rest) = (&text[..end], trim(&text[end..]));
        // Within a number, or before what leads to the other bound.
        let whole = !rest.starts_with(|c: char| c.is_ascii_digit() || ".-~–—至∼〜".contains(c));
        if whole && !rest.is_empty() && unit::ucum(rest).is_some() {
            return range;
        }
    }
    text
}
