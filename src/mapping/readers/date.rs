//! Dates and times by given grammars and zones.

use chrono::format::{Item, Numeric, Pad, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use connector_api::SourceTime;

/// How one field writes its dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// A strftime pattern.
    Pattern(Vec<Item<'static>>),
    /// Milliseconds since 1970 UTC.
    EpochMillis,
    /// Seconds since 1970 UTC.
    EpochSeconds,
}

impl Grammar {
    /// Reads a grammar from a mapping file; the error says why no text could match it.
    pub fn parse(text: &str) -> Result<Grammar, String> {
        match text {
            "epoch_ms" => return Ok(Grammar::EpochMillis),
            "epoch_s" => return Ok(Grammar::EpochSeconds),
            _ => {}
        }
        let Ok(items) = StrftimeItems::new(text).parse_to_owned() else {
            return Err("it holds a letter after % that means nothing".to_owned());
        };
        let probe = NaiveDate::from_ymd_opt(2017, 11, 23).and_then(|date| date.and_hms_opt(14, 48, 7));
        let Some(probe) = probe.map(|probe| probe.and_utc().fixed_offset()) else { return Err(String::new()) };
        let mut written = String::new();
        if std::fmt::Write::write_fmt(&mut written, format_args!("{}", probe.format_with_items(items.iter()))).is_err()
        {
            return Err("it can't be written either".to_owned());
        }
        match pattern(&written, &items) {
            Some(read) if read.date == probe.date_naive() => Ok(Grammar::Pattern(items)),
            _ => Err("it does not name year, month and day".to_owned()),
        }
    }
}

/// As much of a point in time as a text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The day.
    pub date: NaiveDate,
    /// The time of day.
    pub time: Option<NaiveTime>,
    /// The offset that the source gave.
    pub offset: Option<FixedOffset>,
}

impl Stamp {
    /// What a source typed as a time says.
    pub fn of(time: SourceTime) -> Stamp {
        match time {
            SourceTime::Date(date) => Stamp { date, time: None, offset: None },
            SourceTime::Local(time) => Stamp { date: time.date(), time: Some(time.time()), offset: None },
            SourceTime::Offset(time) => of_offset(time),
        }
    }

    /// The day in that zone.
    pub fn date_in(self, zone: Tz) -> NaiveDate {
        match self.offset {
            Some(_) => self.time_in(zone).map_or(self.date, |time| time.date_naive()),
            None => self.date,
        }
    }

    /// The point in time with the zone's offset; a bare date is its first moment. `None` where the
    /// wall clock never showed that time. Where it showed it twice, the earlier one is meant.
    pub fn time_in(self, zone: Tz) -> Option<DateTime<FixedOffset>> {
        let local = self.date.and_time(self.time.unwrap_or(NaiveTime::MIN));
        let time = match self.offset {
            Some(offset) => offset.from_local_datetime(&local).single()?.with_timezone(&zone),
            None => zone.from_local_datetime(&local).earliest()?,
        };
        Some(time.fixed_offset())
    }

    /// False for years in which nobody here was examined or born, and for the days that programs
    /// write for "none". A mapping that means them says so with `none`.
    pub fn is_plausible(self) -> bool {
        let (year, month, day) = (self.date.year(), self.date.month(), self.date.day());
        (1880..2099).contains(&year) && !matches!((year, month, day), (1900, 1, 1) | (1899, 12, 30 | 31))
    }
}

fn of_offset(time: DateTime<FixedOffset>) -> Stamp {
    Stamp { date: time.date_naive(), time: Some(time.time()), offset: Some(*time.offset()) }
}

/// Reads a text by the first grammar that fits; by the unambiguous forms where none is given.
pub fn read(text: &str, grammars: &[Grammar]) -> Option<Stamp> {
    if grammars.is_empty() {
        return plain(text);
    }
    grammars.iter().find_map(|grammar| match grammar {
        Grammar::Pattern(format) => padded(text, format).or_else(|| pattern(text, format)),
        Grammar::EpochMillis => epoch(DateTime::<Utc>::from_timestamp_millis(text.parse().ok()?)?),
        Grammar::EpochSeconds => epoch(DateTime::<Utc>::from_timestamp(text.parse().ok()?, 0)?),
    })
}

/// Reads a date and a time that stood in two columns, joined by a blank: `20171204 930` (half past
/// nine, the zero in front lost on the way through a number), `2017-12-04 14:36`.
pub fn read_apart(text: &str, grammars: &[Grammar]) -> Option<Stamp> {
    let Some((date, clock)) = text.rsplit_once(' ') else { return read(text, grammars) };
    let padded = match clock.len() {
        1..=4 if !clock.contains(':') => format!("{clock:0>4}"),
        5 | 6 if !clock.contains(':') => format!("{clock:0>6}"),
        _ => clock.replace(':', ""),
    };
    let mut scan = Scan(padded.as_bytes());
    let (hour, minute) = (scan.number(2, 2)?, scan.number(2, 2)?);
    let second = if scan.0.is_empty() { 0 } else { scan.number(2, 2)? };
    let time = NaiveTime::from_hms_opt(hour, minute, second).filter(|_| scan.0.is_empty())?;
    Some(Stamp { time: Some(time), ..read(date.trim_end(), grammars)? })
}

fn epoch(time: DateTime<Utc>) -> Option<Stamp> {
    Some(of_offset(time.fixed_offset()))
}

/// What [`pattern`] reads where every number has all its digits and all else stands there as in the pattern, which is
/// how nearly all dates are written; `None` for all others.
fn padded(text: &str, items: &[Item<'static>]) -> Option<Stamp> {
    let mut scan = Scan(text.as_bytes());
    let [mut year, mut month, mut day, mut hour, mut minute, mut second] = [None; 6];
    for item in items {
        let (place, digits) = match item {
            Item::Numeric(Numeric::Year, Pad::Zero) => (&mut year, 4),
            Item::Numeric(Numeric::Month, Pad::Zero) => (&mut month, 2),
            Item::Numeric(Numeric::Day, Pad::Zero) => (&mut day, 2),
            Item::Numeric(Numeric::Hour, Pad::Zero) => (&mut hour, 2),
            Item::Numeric(Numeric::Minute, Pad::Zero) => (&mut minute, 2),
            Item::Numeric(Numeric::Second, Pad::Zero) => (&mut second, 2),
            Item::Literal(literal) | Item::Space(literal) => {
                scan.0 = scan.0.strip_prefix(literal.as_bytes())?;
                continue;
            }
            Item::OwnedLiteral(literal) | Item::OwnedSpace(literal) => {
                scan.0 = scan.0.strip_prefix(literal.as_bytes())?;
                continue;
            }
            _ => return None,
        };
        if place.replace(scan.number(digits, digits)?).is_some() {
            return None;
        }
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year?).ok()?, month?, day?)?;
    let time = match (hour, minute, second) {
        (None, None, None) => None,
        (Some(hour), Some(minute), second) => Some(NaiveTime::from_hms_opt(hour, minute, second.unwrap_or(0))?),
        _ => return None,
    };
    scan.0.is_empty().then_some(Stamp { date, time, offset: None })
}

/// As much as the pattern says: a point in time, a time of day without a zone, or a day.
fn pattern(text: &str, items: &[Item<'static>]) -> Option<Stamp> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
    if let Ok(time) = parsed.to_datetime() {
        return Some(of_offset(time));
    }
    if let Ok(time) = parsed.to_naive_datetime_with_offset(0) {
        return Some(Stamp { date: time.date(), time: Some(time.time()), offset: None });
    }
    parsed.to_naive_date().ok().map(|date| Stamp { date, time: None, offset: None })
}

/// The forms that can't be misread: `2017-11-23`, `2017/1/3`, `20171123`, each with a time after a
/// blank or `T`, seconds and their fraction optional; HL7 `20171123144807.5+0800`; RFC 3339.
fn plain(text: &str) -> Option<Stamp> {
    let mut scan = Scan(text.as_bytes());
    let year = scan.number(4, 4)?;
    let compact = scan.0.first().is_some_and(u8::is_ascii_digit);
    let (month, day) = if compact {
        (scan.number(2, 2)?, scan.number(2, 2)?)
    } else {
        let separator = scan.one(b"-/")?;
        let month = scan.number(1, 2)?;
        scan.one(&[separator])?;
        (month, scan.number(1, 2)?)
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    if scan.0.is_empty() {
        return Some(Stamp { date, time: None, offset: None });
    }
    let spaced = scan.one(b" T").is_some();
    if !spaced && !compact {
        return None;
    }
    let hour = scan.number(if spaced { 1 } else { 2 }, 2)?;
    let colon = scan.one(b":").is_some();
    if spaced && !colon {
        return None;
    }
    let minute = scan.number(2, 2)?;
    let mut second = 0;
    let mut nanos = 0;
    let seconds = if colon { scan.one(b":").is_some() } else { scan.0.first().is_some_and(u8::is_ascii_digit) };
    if seconds {
        second = scan.number(2, 2)?;
        if scan.one(b".").is_some() {
            let length = scan.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let digits = scan.number(1, 9)?;
            nanos = digits * 10u32.pow(9 - u32::try_from(length).ok()?);
        }
    }
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanos)?;
    let offset = match scan.one(b"+-Z") {
        None => None,
        Some(b'Z') => Some(FixedOffset::east_opt(0)?),
        Some(sign) => {
            let hours = scan.number(2, 2)?;
            let _ = scan.one(b":");
            let seconds = i32::try_from(hours * 3600 + scan.number(2, 2)? * 60).ok()?;
            Some(FixedOffset::east_opt(if sign == b'-' { -seconds } else { seconds })?)
        }
    };
    scan.0.is_empty().then_some(Stamp { date, time: Some(time), offset })
}

struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let length = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }

    fn one(&mut self, among: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        among.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }
}
