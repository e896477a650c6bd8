//! Whether the sync is healthy, in one verdict and sentences that say what to do next.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::Expect;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Ok,
    /// A person should look today.
    Attention,
    /// A person should look now.
    Failing,
}

impl Level {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Attention => "attention",
            Level::Failing => "failing",
        }
    }
}

/// One reason why the verdict is not `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason it is, a stable word: `stream-failing`, `upstream-down`, `held`…
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// Since when, UTC, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// What it is about: `stream peis/reports`, `upstream`, `disk`.
    pub subject: String,
    /// What is wrong, one sentence.
    pub text: String,
    /// What to do next, one sentence.
    pub next: String,
}

/// The verdict with its reasons, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The worst level of all reasons.
    pub level: Level,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Health {
    /// Sorts the reasons and takes the worst level.
    pub fn of(mut reasons: Vec<Reason>) -> Health {
        reasons.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.subject.cmp(&b.subject)));
        Health { level: reasons.first().map_or(Level::Ok, |reason| reason.level), reasons }
    }
}

/// How long a stream has been silent inside its expected hours, where that is too long.
///
/// Silence counts from the last record or from the opening of the current window, whichever is
/// later: nobody expects results at night. All times but `now` and `last` are the hospital's.
pub fn too_silent(expect: &Expect, zone: Tz, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Duration> {
    let local = now.with_timezone(&zone);
    let (opens, closes) = expect.between;
    let overnight = closes <= opens;
    let time = local.time();
    let inside = if overnight { time >= opens || time < closes } else { time >= opens && time < closes };
    if !inside {
        return None;
    }
    // After midnight, an overnight window belongs to the day on which it opened.
    let opened_yesterday = overnight && time < closes;
    let day = local.date_naive() - chrono::Days::new(u64::from(opened_yesterday));
    if !expect.days[day.weekday().num_days_from_monday() as usize] {
        return None;
    }
    let opened = day.and_time(opens).and_local_timezone(zone).earliest().unwrap_or(local).with_timezone(&Utc);
    let since = last.map_or(opened, |last| last.max(opened));
    let silent = (now - since).to_std().unwrap_or_default();
    (silent > expect.within).then_some(silent)
}

/// A duration as a person says it: `3 h 20 min`, `45 s`.
pub fn spoken(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// Hours of a day, for tests and messages.
pub fn hours(opens: NaiveTime, closes: NaiveTime) -> String {
    format!("{}-{}", opens.format("%H:%M"), closes.format("%H:%M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
    }

    fn check(between: (&str, &str), last: Option<&str>, now: &str, expected_minutes: Option<u64>) {
        let time = |text| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        let expect = Expect {
            within: Duration::from_secs(2 * 3600),
            between: (time(between.0), time(between.1)),
            days: [true, true, true, true, true, true, false],
        };
        let silent = too_silent(&expect, chrono_tz::Asia::Shanghai, last.map(at), at(now));
        assert_eq!(silent.map(|silent| silent.as_secs() / 60), expected_minutes, "at {now}");
    }

    #[test]
    fn silence_counts_from_the_last_record_inside_the_hours() {
        // 2026-11-20 is a Friday.
        let hours = ("08:30", "17:30");
        check(hours, Some("2026-11-20T09:00:00+08:00"), "2026-11-20T10:59:00+08:00", None);
        check(hours, Some("2026-11-20T09:00:00+08:00"), "2026-11-20T12:00:00+08:00", Some(180));
        check(hours, Some("2026-11-19T17:00:00+08:00"), "2026-11-20T09:00:00+08:00", None);
        check(hours, Some("2026-11-19T17:00:00+08:00"), "2026-11-20T11:00:00+08:00", Some(150));
        check(hours, None, "2026-11-20T11:00:00+08:00", Some(150));
    }

    #[test]
    fn nights_and_days_off_are_quiet_as_expected() {
        check(("08:30", "17:30"), None, "2026-11-20T23:00:00+08:00", None);
        check(("08:30", "17:30"), None, "2026-11-22T12:00:00+08:00", None);
        check(("20:00", "06:00"), Some("2026-11-20T20:10:00+08:00"), "2026-11-21T01:00:00+08:00", Some(290));
        check(("20:00", "06:00"), None, "2026-11-20T12:00:00+08:00", None);
    }

    #[test]
    fn durations_read_like_speech() {
        let spoken = |secs| spoken(Duration::from_secs(secs));
        assert_eq!(
            [spoken(45), spoken(600), spoken(12_000), spoken(90_000)],
            ["45 s", "10 min", "3 h 20 min", "1 d 1 h"]
        );
    }
}
