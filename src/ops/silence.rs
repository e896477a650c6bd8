//! When silence is too long: by the configured hours, and by what the same hours of earlier weeks gave.
//!
//! Both are pure functions of the last record and the time. Both look back: a silence that was too long when the last
//! window closed stays too long at night, until a record comes.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{
    DateTime, Datelike as _, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike as _, Utc, Weekday,
};
use chrono_tz::Tz;
use serde::Serialize;

use super::calendar::Calendar;
use crate::config::Expect;

/// Windows that ended longer ago are not looked at.
const LOOK_BACK_DAYS: u64 = 14;

/// So many weeks are learnt from.
pub const WEEKS: u64 = 12;

/// So many of them must be of use.
const ENOUGH_WEEKS: usize = 4;

/// Fewer records than this may be missing by chance.
const ENOUGH_RECORDS: u64 = 5;

/// An hour counts where the stream was in order for so many seconds of it.
const GOOD_SECS: u64 = 48 * 60;

/// A silence that is longer than configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Since when it counts, UTC: the last record, or the opening of the window.
    pub since: DateTime<Utc>,
    /// Whether the expected hours are still open; otherwise they closed without a record.
    pub open: bool,
}

/// Whether a stream has been silent for too long of its expected hours.
///
/// Silence counts from the last record or from the opening of a window, whichever is later: nobody expects results at
/// night. Where nothing was ever received, only an open window counts.
pub fn overdue(
    expect: &Expect,
    calendar: &Calendar,
    zone: Tz,
    last: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<Overdue> {
    let today = now.with_timezone(&zone).date_naive();
    // The newest window first; one that opened yesterday may last over midnight.
    (0..=LOOK_BACK_DAYS).find_map(|back| {
        let day = today.checked_sub_days(Days::new(back))?;
        let (opens, closes) = window(expect, day, zone)?;
        if !calendar.works(day, &expect.days) || opens > now {
            return None;
        }
        let open = now < closes;
        let since = match last {
            Some(last) => last.max(opens),
            None if open => opens,
            None => return None,
        };
        let silent = (closes.min(now) - since).to_std().ok()?;
        (silent > expect.within).then_some(Overdue { since, open })
    })
}

/// The expected hours that open on a day, in UTC.
fn window(expect: &Expect, day: NaiveDate, zone: Tz) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let (opens, closes) = expect.between;
    let utc = |day: NaiveDate, time: NaiveTime| {
        let local = day.and_time(time).and_local_timezone(zone);
        local.earliest().or_else(|| local.latest()).map(|at| at.with_timezone(&Utc))
    };
    let closing = if closes <= opens { day.succ_opt()? } else { day };
    Some((utc(day, opens)?, utc(closing, closes)?))
}

/// Whether the expected hours are open now.
pub fn is_expected_now(expect: &Expect, calendar: &Calendar, zone: Tz, now: DateTime<Utc>) -> bool {
    let today = now.with_timezone(&zone).date_naive();
    [Some(today), today.pred_opt()].into_iter().flatten().any(|day| {
        calendar.works(day, &expect.days)
            && window(expect, day, zone).is_some_and(|(opens, closes)| opens <= now && now < closes)
    })
}

/// What one hour of a stream gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hour {
    /// Records that were new.
    pub records: u64,
    /// For how many seconds of it the stream was in order: what came in a failed hour says nothing.
    pub good_secs: u64,
}

/// The hours of a stream, by their beginning in the hospital's time.
pub type History = BTreeMap<NaiveDateTime, Hour>;

/// A silence at a time of the week at which there was none before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unusual {
    /// The hospital's day.
    pub day: NaiveDate,
    /// From this hour …
    pub from_hour: u32,
    /// … to the beginning of this one nothing came.
    pub to_hour: u32,
    /// There were at least so many records …
    pub at_least: u64,
    /// … in so many …
    pub weeks: usize,
    /// … of so many weeks.
    pub of_weeks: usize,
}

impl Unusual {
    /// `on Tuesdays between 9 and 10 there were at least 12 records in 6 of 6 weeks; today none`
    pub fn text(&self, today: NaiveDate) -> String {
        let Unusual { day, from_hour, to_hour, at_least, weeks, of_weeks } = self;
        let then = if *day == today { "today".to_owned() } else { format!("on {day}") };
        let name = match day.weekday() {
            Weekday::Mon => "Mondays",
            Weekday::Tue => "Tuesdays",
            Weekday::Wed => "Wednesdays",
            Weekday::Thu => "Thursdays",
            Weekday::Fri => "Fridays",
            Weekday::Sat => "Saturdays",
            Weekday::Sun => "Sundays",
        };
        format!(
            "on {name} between {from_hour} and {to_hour} there were at least {at_least} records in {weeks} of \
             {of_weeks} weeks; {then} none"
        )
    }

    /// The same in Chinese.
    pub fn text_zh(&self, today: NaiveDate) -> String {
        let Unusual { day, from_hour, to_hour, at_least, weeks, of_weeks } = self;
        let then = if *day == today { "今天".to_owned() } else { day.to_string() };
        let name = ["一", "二", "三", "四", "五", "六", "日"][day.weekday().num_days_from_monday() as usize];
        format!(
            "过去 {of_weeks} 周里有 {weeks} 周，星期{name} {from_hour} 点到 {to_hour} 点至少有 {at_least} 条记录；{then}没有"
        )
    }
}

/// Whether whole hours without a record are unusual for their weekday.
///
/// The hours are those since the last record, of one day, in which the stream was in order. The same hours of the
/// same weekday in the twelve weeks before are added up, week by week; weeks with a day off, a working weekend or a
/// failed hour are left out. Four weeks must remain. The low fifth of their sums is what may be asked for: one odd week in
/// five is forgiven.
pub fn unusual(
    history: &History,
    calendar: &Calendar,
    zone: Tz,
    last: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Option<Unusual> {
    let (now, last) = (now.with_timezone(&zone).naive_local(), last.with_timezone(&zone).naive_local());
    (0..=LOOK_BACK_DAYS).find_map(|back| {
        let day = now.date().checked_sub_days(Days::new(back))?;
        if day < last.date() || calendar.is_exception(day) {
            return None;
        }
        // Whole hours only: the one in which the last record came had a record.
        let first = if day == last.date() { last.hour() + 1 } else { 0 };
        let end = if day == now.date() { now.hour() } else { 24 };
        let good = |hour: &u32| at(history, day, *hour).is_some_and(|hour| hour.good_secs >= GOOD_SECS);
        // Of hours in which nobody looked nothing can be said: those behind the last such hour remain.
        let from = (first..end).rev().take_while(good).last()?;
        sums(history, calendar, day, from, end).and_then(|sums| {
            let at_least = sums[sums.len() / 5];
            let weeks = sums.iter().filter(|sum| **sum >= at_least).count();
            let unusual = Unusual { day, from_hour: from, to_hour: end, at_least, weeks, of_weeks: sums.len() };
            (at_least >= ENOUGH_RECORDS).then_some(unusual)
        })
    })
}

/// What an hour of a day gave, and what is usual for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UsualHour {
    /// The hour of the day, from 0.
    pub hour: u32,
    /// Records that came in; `None` where nobody looked.
    pub records: Option<u64>,
    /// The median of the same hour in the weeks before; `None` where too few of them are of use.
    pub usual: Option<u64>,
}

/// The hours of a day beside what is usual for them.
pub fn usual_day(history: &History, calendar: &Calendar, day: NaiveDate) -> Vec<UsualHour> {
    let hour = |hour| UsualHour {
        hour,
        records: at(history, day, hour).map(|hour| hour.records),
        usual: sums(history, calendar, day, hour, hour + 1).map(|sums| sums[sums.len() / 2]),
    };
    (0..24).map(hour).collect()
}

fn at(history: &History, day: NaiveDate, hour: u32) -> Option<&Hour> {
    history.get(&day.and_hms_opt(hour, 0, 0)?)
}

/// What the same hours gave in the weeks before, sorted; `None` where too few weeks are of use.
fn sums(history: &History, calendar: &Calendar, day: NaiveDate, from: u32, end: u32) -> Option<Vec<u64>> {
    let mut sums = Vec::new();
    for week in 1..=WEEKS {
        let Some(then) = day.checked_sub_days(Days::new(7 * week)).filter(|day| !calendar.is_exception(*day)) else {
            continue;
        };
        let hours: Option<Vec<&Hour>> = (from..end).map(|hour| at(history, then, hour)).collect();
        if let Some(hours) = hours.filter(|hours| hours.iter().all(|hour| hour.good_secs >= GOOD_SECS)) {
            sums.push(hours.iter().map(|hour| hour.records).sum());
        }
    }
    sums.sort_unstable();
    (sums.len() >= ENOUGH_WEEKS).then_some(sums)
}

/// The beginning of the hour of a time, in the hospital's time.
pub fn hour_of(zone: Tz, now: DateTime<Utc>) -> NaiveDateTime {
    let local = now.with_timezone(&zone).naive_local();
    local.date().and_hms_opt(local.hour(), 0, 0).unwrap_or(local)
}

/// How long ago something was; nothing where it lies in the future.
pub fn ago(now: DateTime<Utc>, then: DateTime<Utc>) -> Duration {
    (now - then).max(TimeDelta::zero()).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: Tz = chrono_tz::Asia::Shanghai;

    fn time(text: &str) -> DateTime<Utc> {
        let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap();
        local.and_local_timezone(ZONE).unwrap().to_utc()
    }

    fn expect(between: (&str, &str)) -> Expect {
        let time = |text| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
        Expect {
            within: Duration::from_secs(2 * 3600),
            between: (time(between.0), time(between.1)),
            days: [true, true, true, true, true, true, false],
        }
    }

    /// `expected`: minutes of silence that count, and whether the hours are open.
    fn check(between: (&str, &str), last: Option<&str>, now: &str, expected: Option<(i64, bool)>) {
        let calendar = Calendar::parse("h.toml", "off = [\"2026-11-18\"]\nwork = [\"2026-11-29\"]").unwrap();
        let found = overdue(&expect(between), &calendar, ZONE, last.map(time), time(now));
        let found = found.map(|overdue| ((time(now) - overdue.since).num_minutes(), overdue.open));
        assert_eq!(found, expected, "last {last:?}, now {now}");
    }

    const DAY: (&str, &str) = ("08:30", "17:30");

    #[test]
    fn silence_counts_from_the_last_record_inside_the_hours() {
        // 2026-11-20 is a Friday.
        check(DAY, Some("2026-11-20 09:00"), "2026-11-20 10:59", None);
        check(DAY, Some("2026-11-20 09:00"), "2026-11-20 12:00", Some((180, true)));
        check(DAY, Some("2026-11-19 17:00"), "2026-11-20 09:00", None);
        check(DAY, Some("2026-11-19 17:00"), "2026-11-20 11:00", Some((150, true)));
        check(DAY, None, "2026-11-20 11:00", Some((150, true)));
    }

    #[test]
    fn nights_sundays_and_holidays_are_quiet_as_expected() {
        check(DAY, None, "2026-11-20 23:00", None);
        check(DAY, Some("2026-11-20 17:00"), "2026-11-20 23:00", None);
        check(DAY, Some("2026-11-21 17:00"), "2026-11-22 12:00", None);
        check(DAY, Some("2026-11-17 17:00"), "2026-11-18 12:00", None);
        // A Sunday that is worked.
        check(DAY, Some("2026-11-28 17:00"), "2026-11-29 12:00", Some((210, true)));
        check(("20:00", "06:00"), Some("2026-11-20 20:10"), "2026-11-21 01:00", Some((290, true)));
        check(("20:00", "06:00"), None, "2026-11-20 12:00", None);
    }

    #[test]
    fn a_day_that_closed_in_silence_stays_suspicious_until_a_record_comes() {
        check(DAY, Some("2026-11-20 14:00"), "2026-11-20 23:00", Some((540, false)));
        check(DAY, Some("2026-11-20 14:00"), "2026-11-21 09:00", Some((1140, false)));
        // Over a Sunday as well; Saturday was silent all day.
        check(DAY, Some("2026-11-20 17:00"), "2026-11-22 12:00", Some((27 * 60 + 30, false)));
        check(DAY, Some("2026-11-21 09:30"), "2026-11-21 10:00", None);
    }

    /// Twelve weeks of Tuesdays with `counts` records between nine and ten, the newest first; all hours in order.
    fn tuesdays(counts: &[u64]) -> History {
        let mut history = History::new();
        let today = "2026-11-24".parse::<NaiveDate>().unwrap();
        for hour in 0..24 {
            history.insert(today.and_hms_opt(hour, 0, 0).unwrap(), Hour { records: 0, good_secs: 3600 });
        }
        for (week, n) in counts.iter().enumerate() {
            let day = today - Days::new(7 * (week as u64 + 1));
            for hour in 0..24 {
                let records = if hour == 9 { *n } else { 0 };
                history.insert(day.and_hms_opt(hour, 0, 0).unwrap(), Hour { records, good_secs: 3600 });
            }
        }
        history
    }

    fn said(history: &History, last: &str, now: &str) -> Option<String> {
        let calendar = Calendar::parse("h.toml", "off = [\"2026-11-03\"]").unwrap();
        let unusual = unusual(history, &calendar, ZONE, time(last), time(now))?;
        Some(unusual.text("2026-11-24".parse().unwrap()))
    }

    #[test]
    fn a_silence_that_no_such_hour_had_before_is_told_with_its_reason() {
        let history = tuesdays(&[14, 20, 0, 12, 30, 15, 18]);
        let text = "on Tuesdays between 9 and 10 there were at least 14 records in 5 of 6 weeks; today none";
        // The third week was a holiday, so its nought says nothing.
        assert_eq!(said(&history, "2026-11-24 08:20", "2026-11-24 10:05").as_deref(), Some(text));
        assert_eq!(said(&history, "2026-11-24 08:20", "2026-11-24 09:55"), None, "the hour is not over");
        assert_eq!(said(&history, "2026-11-24 09:20", "2026-11-24 10:05"), None, "there was a record");
        let later = said(&history, "2026-11-24 08:20", "2026-11-24 18:05").unwrap();
        assert!(later.contains("between 9 and 18"), "{later}");
        let next_day = said(&history, "2026-11-24 08:20", "2026-11-25 03:05").unwrap();
        assert!(next_day.contains("between 9 and 24"), "it stays until a record comes: {next_day}");
    }

    #[test]
    fn a_day_is_drawn_beside_the_median_of_its_weekday() {
        let calendar = Calendar::parse("h.toml", "").unwrap();
        let hours = usual_day(&tuesdays(&[14, 20, 9, 12, 30]), &calendar, "2026-11-24".parse().unwrap());
        assert_eq!((hours.len(), hours[9].usual, hours[9].records), (24, Some(14), Some(0)));
        assert_eq!(usual_day(&tuesdays(&[14, 20, 9]), &calendar, "2026-11-24".parse().unwrap())[9].usual, None);
    }

    #[test]
    fn too_few_weeks_few_records_or_failed_hours_say_nothing() {
        let at = |history: &History| said(history, "2026-11-24 08:20", "2026-11-24 10:05");
        assert_eq!(at(&tuesdays(&[14, 20, 13, 12])), None, "one of four is a holiday");
        assert_eq!(at(&tuesdays(&[4, 3, 4, 5, 4, 4])), None, "so few may be missing by chance");
        let mut failed = tuesdays(&[14, 20, 13, 12, 30]);
        for (hour, of) in failed.iter_mut() {
            // Two weeks failed half of the hour, with nothing read.
            if hour.hour() == 9 && [10, 17].contains(&hour.day()) && hour.month() == 11 {
                *of = Hour { records: 0, good_secs: 1500 };
            }
        }
        assert_eq!(at(&failed), None, "two weeks remain");
        let mut blind = tuesdays(&[14, 20, 13, 12, 30]);
        blind.insert(time_of("2026-11-24 09:00"), Hour { records: 0, good_secs: 600 });
        assert_eq!(at(&blind), None, "nobody looked today");
    }

    fn time_of(text: &str) -> NaiveDateTime {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap()
    }
}
