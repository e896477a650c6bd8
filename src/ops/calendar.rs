//! Days on which a hospital works although its weekday says it does not, and the other way round.
//!
//! In China a public holiday is joined with weekends by working days elsewhere (调休), so a weekday alone says little.
//! The file is TOML (`off = ["2026-10-01..2026-10-07"]`, `work = ["2026-10-10"]`) or CSV with the columns `date` and
//! `kind` (`off`, `work`, or 休, 班), and any further ones for people.

use std::collections::BTreeMap;

use chrono::{Datelike as _, NaiveDate};
use serde::Deserialize;

/// A range longer than this is a slip of the pen.
const LONGEST: i64 = 60;

/// The exceptions. Days are the hospital's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calendar(BTreeMap<NaiveDate, Exception>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exception {
    Off,
    Work,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
#[derive(Default)]
struct File {
    off: Vec<String>,
    work: Vec<String>,
}

impl Calendar {
    /// Reads a file by the end of its name; the error says what is wrong and where.
    pub fn parse(name: &str, text: &str) -> Result<Calendar, String> {
        let mut calendar = Calendar::default();
        if name.to_ascii_lowercase().ends_with(".csv") {
            let text = text.trim_start_matches('\u{feff}');
            for (at, line) in text.lines().enumerate() {
                let mut cells = line.split(',').map(|cell| cell.trim().trim_matches('"'));
                let (date, kind) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
                let heading = at == 0 && date.eq_ignore_ascii_case("date");
                if heading || date.is_empty() || date.starts_with('#') {
                    continue;
                }
                let exception = match kind.to_ascii_lowercase().as_str() {
                    "off" | "休" => Exception::Off,
                    "work" | "班" => Exception::Work,
                    _ => return Err(format!("line {}: {kind:?} is neither off (休) nor work (班)", at + 1)),
                };
                calendar.add(date, exception).map_err(|error| format!("line {}: {error}", at + 1))?;
            }
        } else {
            let File { off, work } = toml::from_str(text).map_err(|error| error.message().to_owned())?;
            off.iter().try_for_each(|range| calendar.add(range, Exception::Off))?;
            work.iter().try_for_each(|range| calendar.add(range, Exception::Work))?;
        }
        Ok(calendar)
    }

    fn add(&mut self, range: &str, exception: Exception) -> Result<(), String> {
        let day = |text: &str| {
            let hint = format!("{text:?} is no day: write 2026-10-01, or 2026-10-01..2026-10-07");
            text.trim().parse::<NaiveDate>().map_err(|_| hint)
        };
        let (first, last) = range.split_once("..").unwrap_or((range, range));
        let (first, last) = (day(first)?, day(last)?);
        if !(0..LONGEST).contains(&(last - first).num_days()) {
            return Err(format!("{range:?} ends before it begins, or lasts longer than {LONGEST} days"));
        }
        for date in first.iter_days().take_while(|date| *date <= last) {
            if self.0.insert(date, exception).is_some_and(|before| before != exception) {
                return Err(format!("{date} is both off and a working day"));
            }
        }
        Ok(())
    }

    /// Whether a day is another than its weekday says: nothing is learnt from it.
    pub fn is_exception(&self, day: NaiveDate) -> bool {
        self.0.contains_key(&day)
    }

    /// Whether a day off by the file.
    pub fn is_off(&self, day: NaiveDate) -> bool {
        self.0.get(&day) == Some(&Exception::Off)
    }

    /// Whether records are expected on a day, where `days` (Monday first) says it of weekdays.
    pub fn works(&self, day: NaiveDate, days: &[bool; 7]) -> bool {
        match self.0.get(&day) {
            Some(exception) => *exception == Exception::Work,
            None => days[day.weekday().num_days_from_monday() as usize],
        }
    }

    /// The last day that it knows; a calendar that ended long ago says nothing of today.
    pub fn last_day(&self) -> Option<NaiveDate> {
        self.0.last_key_value().map(|(day, _)| *day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn holidays_and_working_weekends_override_the_weekday() {
        let toml = "off = [\"2026-10-01..2026-10-07\"]\nwork = [\"2026-10-10\"]\n";
        let csv = "\u{feff}date,kind,name\n2026-10-01..2026-10-07,休,国庆\n2026-10-10,班,调休\n";
        let weekdays = [true, true, true, true, true, false, false];
        for calendar in [Calendar::parse("holidays.toml", toml), Calendar::parse("假期.CSV", csv)] {
            let calendar = calendar.unwrap();
            assert!(!calendar.works(day("2026-10-01"), &weekdays), "a Thursday off");
            assert!(calendar.works(day("2026-10-10"), &weekdays), "a Saturday that is worked");
            assert!(!calendar.works(day("2026-10-11"), &weekdays) && calendar.works(day("2026-10-12"), &weekdays));
            assert_eq!(calendar.last_day(), Some(day("2026-10-10")));
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let says = |name: &str, text: &str| Calendar::parse(name, text).unwrap_err();
        assert!(says("h.csv", "2026-10-01,holiday\n").contains("line 1: \"holiday\" is neither"));
        assert!(says("h.csv", "2026-10-32,off\n").contains("is no day"));
        assert!(says("h.toml", "off = [\"2026-10-07..2026-10-01\"]").contains("ends before"));
        assert!(says("h.toml", "off = [\"2026-10-07\"]\nwork = [\"2026-10-07\"]").contains("both"));
        assert!(says("h.toml", "of = []").contains("unknown field"));
    }
}
