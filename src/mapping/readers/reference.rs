//! Reference ranges as sources print them.
//!
//! `a-b` with any sign that means "to", `<a`, `≤a`, `>a`, `≥a`, a bound negative, scientific or with
//! thousands separated, a known unit glued to the end, in parentheses or not; and parts of these by sex
//! and age, `男:9-50;女:7-40`, `0-14岁:…;成人:…`. Everything else stays text: a lone `10.0`, `阴性`, prose.

use std::borrow::Cow;

use chrono::{Datelike as _, NaiveDate};

use super::result::{comparator, interval, number_end};
use super::text::{fold, store, trim};
use super::unit;
use crate::model::entity::{ApplicableSex, DecimalText, ReferenceRange, Sex};

/// For whom a range is read: what is known of the person so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Male or female; `None` where that is not certain.
    pub sex: Option<Sex>,
    /// The date of birth.
    pub birth: Option<NaiveDate>,
    /// The day on which the age counts: that of the exam.
    pub on: Option<NaiveDate>,
    /// The age in years that the source states.
    pub stated_age: Option<i64>,
}

impl Person {
    /// The age in whole years: as stated, else from the date of birth.
    pub fn age(&self) -> Option<i64> {
        self.stated_age.or_else(|| Some(years(self.birth?, self.on?)))
    }
}

/// Whole years from a day of birth to another day; negative before it.
pub fn years(birth: NaiveDate, on: NaiveDate) -> i64 {
    let before = (on.month(), on.day()) < (birth.month(), birth.day());
    i64::from(on.year() - birth.year()) - i64::from(before)
}

/// Reads a range for one person. What can't be read, or speaks of a sex or an age that is not known,
/// stays text. A range for the other sex alone is read and says for whom it is.
pub fn read(text: &str, person: &Person) -> Option<ReferenceRange> {
    if trim(text).is_empty() {
        return None;
    }
    let folded = fold(text);
    let parts = parts(&folded);
    let range = match parts.as_slice() {
        [] => bounds(&folded),
        parts => choose(parts, person),
    };
    Some(range.unwrap_or_else(|| as_text(text)))
}

/// Reads the ranges of a dictionary's item, one for each sex and age that the text tells apart.
pub fn read_all(text: &str) -> Vec<ReferenceRange> {
    if trim(text).is_empty() {
        return Vec::new();
    }
    let folded = fold(text);
    let parts = parts(&folded);
    let ranges: Option<Vec<ReferenceRange>> = match parts.as_slice() {
        [] => bounds(&folded).map(|range| vec![range]),
        parts => parts.iter().map(Part::range).collect(),
    };
    ranges.unwrap_or_else(|| vec![as_text(text)])
}

/// Whether a text is a range with bounds, whatever column it stands in.
pub fn is_range(text: &str) -> bool {
    bounds(&fold(text)).is_some()
}

fn as_text(text: &str) -> ReferenceRange {
    ReferenceRange { text: Some(store(text).into_owned()), ..ReferenceRange::default() }
}

/// One part of a text that tells people apart.
struct Part<'t> {
    who: Who,
    bounds: &'t str,
}

/// Whom a part is for.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Who {
    sex: Option<Sex>,
    /// From and to, in years, both inside.
    ages: Option<(Option<u16>, Option<u16>)>,
}

impl Part<'_> {
    fn range(&self) -> Option<ReferenceRange> {
        let sex = self.who.sex.map(|sex| if sex == Sex::Male { ApplicableSex::Male } else { ApplicableSex::Female });
        let (age_low, age_high) = self.who.ages.unwrap_or_default();
        Some(ReferenceRange { sex, age_low, age_high, ..bounds(self.bounds)? })
    }
}

/// The only part that is for this person. Every part must be readable, or the text is not understood.
fn choose(parts: &[Part<'_>], person: &Person) -> Option<ReferenceRange> {
    let ranges: Vec<ReferenceRange> = parts.iter().map(Part::range).collect::<Option<_>>()?;
    let known = |part: &Part<'_>| {
        (part.who.sex.is_none() || person.sex.is_some()) && (part.who.ages.is_none() || person.age().is_some())
    };
    // Where only some parts name a sex, it is not said for whom the others are.
    let mixed = parts.iter().any(|part| part.who.sex.is_some() != parts[0].who.sex.is_some());
    if mixed || !parts.iter().all(known) {
        return None;
    }
    let of_age = |part: &Part<'_>| match (part.who.ages, person.age()) {
        (Some((low, high)), Some(age)) => {
            low.is_none_or(|low| i64::from(low) <= age) && high.is_none_or(|high| age <= i64::from(high))
        }
        _ => true,
    };
    let of_sex = |part: &Part<'_>| part.who.sex.is_none() || part.who.sex == person.sex;
    // A range for one sex alone is that range, whosever report it stands in: a rule speaks of it.
    let one_sex = parts.iter().all(|part| part.who.sex.is_some() && part.who.sex == parts[0].who.sex);
    let mut fit = parts.iter().zip(ranges).filter(|(part, _)| of_age(part) && (one_sex || of_sex(part)));
    match (fit.next(), fit.next()) {
        (Some((_, range)), None) => Some(range),
        _ => None,
    }
}

/// The parts of a folded text that begins with whom it is for; empty for any other text.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    // Sex and age are told in Han characters. Most ranges begin with a number and have neither: they cost one look.
    if text.is_ascii() || who(text).is_none() {
        return parts;
    }
    let mut open: Option<(Who, usize)> = None;
    let mut at = 0;
    while at < text.len() {
        let Some((found, length)) = who(&text[at..]) else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
            continue;
        };
        if let Some((before, from)) = open.replace((found, at + length)) {
            parts.push(Part { who: before, bounds: body(&text[from..at]) });
        }
        at += length;
    }
    if let Some((last, from)) = open {
        parts.push(Part { who: last, bounds: body(&text[from..]) });
    }
    parts
}

fn body(text: &str) -> &str {
    trim(text.trim_matches([':', ',', ';', '/', '、', '。', ' ', '\n', '\r', '|']))
}

/// Sex, age or both at the start of a text, in either order, and how long that is.
fn who(text: &str) -> Option<(Who, usize)> {
    let mut who = Who::default();
    let mut rest = text;
    loop {
        let inner = rest.trim_start_matches(['(', ' ', ',']);
        if who.sex.is_none()
            && let Some((sex, tail)) = sex(inner)
        {
            (who.sex, rest) = (Some(sex), tail);
        } else if who.ages.is_none()
            && let Some((ages, tail)) = ages(inner)
        {
            (who.ages, rest) = (Some(ages), tail);
        } else {
            break;
        }
        rest = rest.strip_prefix(')').unwrap_or(rest);
    }
    (who != Who::default()).then_some((who, text.len() - rest.len()))
}

fn sex(text: &str) -> Option<(Sex, &str)> {
    const WORDS: [(&str, Sex); 4] =
        [("男性", Sex::Male), ("男", Sex::Male), ("女性", Sex::Female), ("女", Sex::Female)];
    WORDS.iter().find_map(|(word, sex)| Some((*sex, text.strip_prefix(word)?)))
}

type Ages = (Option<u16>, Option<u16>);

/// An age band in years: `0-14岁`, `≥60岁`, `60岁以上`, `成人`. Months and days are not read.
fn ages(text: &str) -> Option<(Ages, &str)> {
    if let Some(rest) = text.strip_prefix("成人") {
        return Some(((Some(18), None), rest));
    }
    let number = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        Some((text[..end].parse::<u16>().ok().filter(|age| *age <= 150)?, end))
    };
    let year = |rest| str::strip_prefix(rest, "周岁").or_else(|| rest.strip_prefix('岁'));
    if let Some((word, rest)) = comparator(text) {
        let (age, end) = number(rest)?;
        let tail = year(rest[end..].trim_start())?;
        return Some((
            match word {
                "<" => (None, Some(age.checked_sub(1)?)),
                "<=" => (None, Some(age)),
                ">" => (Some(age + 1), None),
                _ => (Some(age), None),
            },
            tail,
        ));
    }
    let (first, end) = number(text)?;
    let rest = text[end..].trim_start();
    if let Some(rest) = year(rest) {
        return Some(match (rest.strip_prefix("以上"), rest.strip_prefix("以下")) {
            (Some(tail), _) => ((Some(first), None), tail),
            (_, Some(tail)) => ((None, Some(first)), tail),
            // `18岁-60岁`
            _ => {
                let (last, end) = number(rest.strip_prefix(['-', '~', '至'])?)?;
                let tail = rest.strip_prefix(['-', '~', '至'])?;
                ((Some(first), Some(last)), year(tail[end..].trim_start())?)
            }
        });
    }
    let rest = rest.strip_prefix(['-', '~', '至', '–', '—'])?.trim_start();
    let (last, end) = number(rest)?;
    Some(((Some(first), Some(last)), year(rest[end..].trim_start())?))
}

fn bounds(text: &str) -> Option<ReferenceRange> {
    let text = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(text);
    let text = without_thousands(without_unit(text));
    if let Some((word, rest)) = comparator(&text) {
        let bound = (number_end(rest)? == rest.len()).then(|| DecimalText(rest.to_owned()))?;
        let inclusive = Some(word.ends_with('='));
        return Some(if word.starts_with('<') {
            ReferenceRange { high: Some(bound), high_inclusive: inclusive, ..ReferenceRange::default() }
        } else {
            ReferenceRange { low: Some(bound), low_inclusive: inclusive, ..ReferenceRange::default() }
        });
    }
    let (low, high) = interval(&text)?;
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

/// `4,000-10,000` without the commas, only where every comma separates thousands: `3,5` may be a
/// decimal, and is left as it is.
fn without_thousands(text: &str) -> Cow<'_, str> {
    if !text.contains(',') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let before = |at: usize| bytes[..at].iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let separates = |at: usize| {
        let lead = before(at);
        let first = bytes.get(at.wrapping_sub(lead + 1)) != Some(&b',');
        let starts_well = if first { (1..=3).contains(&lead) && bytes[at - lead] != b'0' } else { lead == 3 };
        let decimal = first && lead < at && bytes[at - lead - 1] == b'.';
        starts_well && !decimal && digits(at + 1) == 3
    };
    let all = bytes.iter().enumerate().filter(|(_, byte)| **byte == b',').all(|(at, _)| separates(at));
    if all { Cow::Owned(text.replace(',', "")) } else { Cow::Borrowed(text) }
}

/// The text without a known unit glued to its end; an unknown word is kept, so that it is not read.
fn without_unit(text: &str) -> &str {
    let Some(last) = text.rfind(|c: char| c.is_ascii_digit() || c == '.') else { return text };
    // A unit may hold digits itself (`10^9/L`), so each end of a number is tried, the last first.
    if last + 1 == text.len() && !text.contains(['^', '²', '³']) && !text.ends_with('2') {
        return text;
    }
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
