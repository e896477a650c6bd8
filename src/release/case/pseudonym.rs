//! Puts other people in the place of real ones: the same value always becomes the same other value, of the same form,
//! and belongs to nobody.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike as _, NaiveDate, TimeDelta};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The area code of citizen IDs that no area has.
const AREA: &str = "999999";
/// Surnames, and the second characters of invented given names: `张试一`.
const SURNAMES: &str = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许";
const GIVEN: &str = "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥";
/// Dates go back by at least so many weeks, and by at most twice as many: far enough that no shifted date is one of
/// the real ones of the same visit, and the weekday stays.
const WEEKS: i64 = 60;
/// Runs of digits that are shorter are results, codes and years.
const LONG: usize = 7;

/// Replaces values. Made with a key that stays with the store, so that a person is the same other person in every case
/// that is recorded there, and nobody without the key can find back.
pub(crate) struct Pseudonyms {
    key: [u8; 32],
    shift: TimeDelta,
    /// What was replaced by what.
    given: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    /// Texts that are replaced wherever they stand, the longest first.
    known: Vec<(String, String)>,
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Name,
    Number,
    Letters,
}

impl Pseudonyms {
    pub(crate) fn new(key: [u8; 32]) -> Pseudonyms {
        let mut made = Pseudonyms {
            key,
            shift: TimeDelta::zero(),
            given: BTreeMap::new(),
            taken: BTreeSet::new(),
            known: Vec::new(),
        };
        made.shift = TimeDelta::weeks(WEEKS + i64::from(made.byte("shift", 0)) * WEEKS / 256);
        made
    }

    /// Every value that was replaced, with what stands in its place.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = (&str, &str)> {
        self.given.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }

    fn byte(&self, of: &str, at: usize) -> u8 {
        let mut block = (at / 32).to_be_bytes().to_vec();
        block.extend_from_slice(of.as_bytes());
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return 0 };
        mac.update(&block);
        mac.finalize().into_bytes()[at % 32]
    }

    /// A date, moved by the same span as all others.
    pub(crate) fn date(&self, date: NaiveDate) -> NaiveDate {
        date.checked_sub_signed(self.shift).unwrap_or(date)
    }

    /// By how much dates go back.
    pub(crate) fn shift(&self) -> TimeDelta {
        self.shift
    }

    /// Notes a value that is personal wherever it stands; answers what stands in its place.
    pub(crate) fn personal(&mut self, value: &str) -> String {
        let value = value.trim();
        if value.is_empty() {
            return String::new();
        }
        let other = self.other(value);
        if is_telling(value) && !self.known.iter().any(|(known, _)| known == value) {
            self.known.push((value.to_owned(), other.clone()));
            self.known.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
        }
        other
    }

    /// Notes a date that may be written as the time since 1970, in seconds or milliseconds, there or in UTC.
    pub(crate) fn moment(&mut self, date: NaiveDate) {
        let seconds = |date: NaiveDate| date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        for hours in [0, 8] {
            let [before, after] = [date, self.date(date)].map(|date| seconds(date) - hours * 3600);
            for unit in [1_000, 1] {
                let (from, to) = ((before * unit).to_string(), (after * unit).to_string());
                if is_telling(&from) && !self.known.iter().any(|(known, _)| *known == from) {
                    self.known.push((from, to));
                }
            }
        }
        self.known.sort_by_key(|(known, _)| std::cmp::Reverse(known.len()));
    }

    /// What stands in the place of a value as a whole.
    fn other(&mut self, value: &str) -> String {
        if let Some(given) = self.given.get(value) {
            return given.clone();
        }
        // Another one has it, or it is the value itself: the next.
        let mut other = value.to_owned();
        for round in 0..1_000 {
            other = self.form(value, &format!("{round}/{value}"));
            if other != value && !self.taken.contains(&other) {
                break;
            }
        }
        self.taken.insert(other.clone());
        self.given.insert(value.to_owned(), other.clone());
        other
    }

    fn form(&self, value: &str, seed: &str) -> String {
        if let Some(other) = self.citizen(value, seed) {
            return other;
        }
        if let Some((date, write)) = whole_date(value) {
            return write(self.date(date));
        }
        let han = value.chars().filter(|c| is_han(*c)).count();
        let form = match () {
            () if (2..=4).contains(&han) && han == value.chars().count() => Form::Name,
            () if is_phone(value) => Form::Number,
            () => Form::Letters,
        };
        let pick = |list: &str, at: usize| {
            let n = list.chars().count();
            let index = usize::from(self.byte(seed, at)) * 256 + usize::from(self.byte(seed, at + 1));
            list.chars().nth(index % n).unwrap_or('某')
        };
        match form {
            Form::Name => {
                let mut name = String::from(pick(SURNAMES, 0));
                name.push('试');
                name.extend((2..han.max(3)).map(|at| pick(GIVEN, 2 * at)));
                name
            }
            Form::Number => {
                let tail: String = (0..7).map(|at| char::from(b'0' + self.byte(seed, at) % 10)).collect();
                format!("1540{tail}")
            }
            Form::Letters => value
                .chars()
                .enumerate()
                .map(|(at, c)| match c {
                    '0'..='9' => char::from(b'0' + self.byte(seed, at) % 10),
                    'a'..='z' => char::from(b'a' + self.byte(seed, at) % 26),
                    'A'..='Z' => char::from(b'A' + self.byte(seed, at) % 26),
                    c if c.is_alphanumeric() => pick(GIVEN, 2 * at),
                    c => c,
                })
                .collect(),
        }
    }

    /// Another citizen ID: of no area, born as much earlier as all dates are, of the same sex, with a check digit that
    /// holds where the real one does.
    fn citizen(&self, value: &str, seed: &str) -> Option<String> {
        let upper = value.to_ascii_uppercase();
        let (body, check) = upper.split_at_checked(17)?;
        if check.len() != 1 || !body.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let born = NaiveDate::parse_from_str(&body[6..14], "%Y%m%d").ok()?;
        let parity = body.as_bytes()[16] % 2;
        let born = self.date(born).format("%Y%m%d");
        let [one, two, three] = [0, 1, 2].map(|at| self.byte(seed, at) % 10);
        let three = (three / 2 * 2 + parity) % 10;
        let body_new = format!("{AREA}{born}{one}{two}{three}");
        let holds = check.starts_with(check_digit(body));
        let digit = check_digit(&body_new);
        let digit = match (holds, digit) {
            (true, digit) => digit,
            (false, '1') => '2',
            (false, _) => '1',
        };
        Some(format!("{body_new}{digit}"))
    }

    /// A text with every personal value, number, address of mail and date in it replaced.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut before = None;
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let taken = self.known_at(rest).or_else(|| match before {
                Some(before) if char::is_ascii_digit(&before) => None,
                _ if c.is_ascii_alphanumeric() => self.number_at(rest, before),
                _ => None,
            });
            let n = match taken {
                Some((n, other)) => {
                    out.push_str(&other);
                    n
                }
                None => {
                    out.push(c);
                    c.len_utf8()
                }
            };
            before = rest[..n].chars().next_back();
            rest = &rest[n..];
        }
        out
    }

    fn known_at(&mut self, rest: &str) -> Option<(usize, String)> {
        let (known, other) = self.known.iter().find(|(known, _)| rest.starts_with(known))?.clone();
        self.given.entry(known.clone()).or_insert_with(|| other.clone());
        Some((known.len(), other))
    }

    /// A date, a long number or an address of mail that begins here: its length, and what stands in its place.
    fn number_at(&mut self, rest: &str, before: Option<char>) -> Option<(usize, String)> {
        if before.is_none_or(|before| !before.is_ascii_alphanumeric())
            && let Some(n) = mail(rest)
        {
            return Some((n, self.other(&rest[..n])));
        }
        if let Some((n, date, write)) = date_at(rest) {
            let other = write(self.date(date));
            self.given.insert(rest[..n].to_owned(), other.clone());
            return Some((n, other));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let with_x = usize::from(digits == 17 && rest[digits..].starts_with(['X', 'x']));
        let fraction = before == Some('.')
            || rest[digits..].starts_with('.') && rest[digits + 1..].starts_with(|c: char| c.is_ascii_digit());
        (digits >= LONG && !fraction).then(|| (digits + with_x, self.other(&rest[..digits + with_x])))
    }
}

/// Whether a value can be looked for inside of other text: one character, or a short number, would be found everywhere.
pub(crate) fn is_telling(value: &str) -> bool {
    let least = match () {
        () if !value.is_ascii() => 2,
        () if value.chars().all(|c| c.is_ascii_digit()) => 5,
        () => 4,
    };
    value.chars().count() >= least
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{9fff}' | '·')
}

fn is_phone(value: &str) -> bool {
    value.len() == 11 && value.starts_with('1') && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// The check digit of a citizen ID (GB 11643) over its first 17 digits.
fn check_digit(body: &str) -> char {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let sum: u32 = body.bytes().zip(WEIGHTS).map(|(digit, weight)| u32::from(digit - b'0') * weight).sum();
    char::from(b"10X98765432"[sum as usize % 11])
}

/// The length of an address of mail that a text begins with.
fn mail(text: &str) -> Option<usize> {
    let of = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let name = text.find(|c| !of(c))?;
    let host = text[name..].strip_prefix('@')?;
    let n = host.find(|c| !of(c)).unwrap_or(host.len());
    host[..n].contains('.').then_some(name + 1 + n)
}

type Write = Box<dyn Fn(NaiveDate) -> String>;

/// A text that is a date and nothing else.
fn whole_date(text: &str) -> Option<(NaiveDate, Write)> {
    let (n, date, write) = date_at(text)?;
    (n == text.len()).then_some((date, write))
}

/// A date that a text begins with: `20260301` (also before a time of day), `2026-3-1`, `2026/03/01`, `2026.03.01`,
/// `2026年3月1日`; its length without the time, and how another date is written in the same way.
fn date_at(text: &str) -> Option<(usize, NaiveDate, Write)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let date = |year: &str, month: &str, day: &str| {
        let date = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?)?;
        (1900..2100).contains(&date.year()).then_some(date)
    };
    let n = digits(text);
    if matches!(n, 8 | 12 | 14) {
        let of_day = [(8, 24), (10, 60), (12, 60)];
        let sound = of_day
            .iter()
            .filter(|(at, _)| *at < n)
            .all(|(at, below)| text[*at..at + 2].parse::<u32>().is_ok_and(|part| part < *below));
        let found = date(&text[..4], &text[4..6], &text[6..8]).filter(|_| sound)?;
        return Some((8, found, Box::new(|date| date.format("%Y%m%d").to_string())));
    }
    if n != 4 {
        return None;
    }
    let first = text[4..].chars().next().filter(|c| matches!(c, '-' | '/' | '.' | '年'))?;
    let second = if first == '年' { '月' } else { first };
    let month_at = 4 + first.len_utf8();
    let month = digits(&text[month_at..]);
    let day_at = month_at + month + second.len_utf8();
    if !matches!(month, 1 | 2) || !text[month_at + month..].starts_with(second) {
        return None;
    }
    let day = digits(&text[day_at..]);
    if !matches!(day, 1 | 2) {
        return None;
    }
    let found = date(&text[..4], &text[month_at..month_at + month], &text[day_at..day_at + day])?;
    let padded = month == 2 && day == 2;
    let write = move |date: NaiveDate| match padded {
        true => format!("{:04}{first}{:02}{second}{:02}", date.year(), date.month(), date.day()),
        false => format!("{:04}{first}{}{second}{}", date.year(), date.month(), date.day()),
    };
    Some((day_at + day, found, Box::new(write)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pseudonyms() -> Pseudonyms {
        Pseudonyms::new([7; 32])
    }

    #[test]
    fn the_same_value_is_always_the_same_other_value_and_two_are_never_one() {
        let (mut one, mut other) = (pseudonyms(), pseudonyms());
        for value in ["王小明", "李四", "13812345678", "0301170001", "DA000017", "ZHANG^SAN", "wang@example.cn"] {
            let replaced = one.personal(value);
            assert_ne!(replaced, value);
            assert_eq!(replaced, one.personal(value));
            assert_eq!(replaced, other.personal(value), "the key decides, not the order");
        }
        assert_ne!(one.personal("王小明"), Pseudonyms::new([8; 32]).personal("王小明"));
        let names: BTreeSet<String> = (0..500).map(|n| one.personal(&format!("人{n:03}"))).collect();
        assert_eq!(names.len(), 500);
    }

    #[test]
    fn a_citizen_id_stays_of_the_same_sex_and_day_and_belongs_to_nobody() {
        let mut of = pseudonyms();
        // The example of the standard, which is nobody's either.
        let real = "11010519491231002X";
        assert_eq!(check_digit(&real[..17]), 'X');
        let other = of.personal(real);
        assert!(other.starts_with(AREA) && other.len() == 18, "{other}");
        assert_eq!(check_digit(&other[..17]), other.chars().last().unwrap());
        let born = of.date(NaiveDate::from_ymd_opt(1949, 12, 31).unwrap()).format("%Y%m%d").to_string();
        assert_eq!(other[6..14], born);
        assert_eq!(other.as_bytes()[16] % 2, real.as_bytes()[16] % 2);
        // One that does not hold goes on not holding: a rule speaks of it.
        let wrong = of.personal("110105194912310021");
        assert_ne!(check_digit(&wrong[..17]), wrong.chars().last().unwrap());
        assert!(of.personal("44052418800101001X").len() == 18);
    }

    #[test]
    fn dates_of_every_grammar_move_together_and_results_stay() {
        let mut of = pseudonyms();
        let back = of.shift();
        let day = NaiveDate::from_ymd_opt(2026, 3, 1).unwrap() - back;
        let (plain, dashes) = (day.format("%Y%m%d").to_string(), day.format("%Y-%m-%d").to_string());
        for (text, expected) in [
            ("20260301083000+0800", format!("{plain}083000+0800")),
            ("2026-03-01 08:30", format!("{dashes} 08:30")),
            ("2026/03/01", dashes.replace('-', "/")),
            ("于2026年3月1日检查", format!("于{}年{}月{}日检查", day.year(), day.month(), day.day())),
            ("5.1 mmol/L", "5.1 mmol/L".to_owned()),
            ("250000", "250000".to_owned()),
            ("3.14159265", "3.14159265".to_owned()),
            ("谷丙转氨酶 000101", "谷丙转氨酶 000101".to_owned()),
        ] {
            assert_eq!(of.text(text), expected, "{text}");
        }
        assert_eq!(back.num_days() % 7, 0, "weekdays stay");
    }

    #[test]
    fn a_person_is_found_inside_of_other_text() {
        let mut of = pseudonyms();
        let (name, number) = (of.personal("王小明"), of.personal("0301170001"));
        let text = of.text("PID|1||0301170001||王小明^^||13812345678|（王小明）的体检，联系 wang.xm@example.cn");
        assert!(text.contains(&format!("||{number}||{name}^^||1540")), "{text}");
        assert!(text.contains(&format!("（{name}）")), "{text}");
        for real in ["王小明", "0301170001", "13812345678", "wang.xm"] {
            assert!(!text.contains(real), "{real} in {text}");
        }
    }
}
