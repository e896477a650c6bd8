//! When a stream is asked next: a cron schedule in the hospital's time zone.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// A cron schedule (with seconds) and the zone that its times are in.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: cron::Schedule,
    zone: Tz,
}

impl Schedule {
    /// Pairs a schedule with the hospital's zone.
    pub fn new(cron: cron::Schedule, zone: Tz) -> Schedule {
        Schedule { cron, zone }
    }

    /// The first time strictly after `now`; `None` where the schedule has no more.
    pub fn next_after(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.after(&now.with_timezone(&self.zone)).next().map(|at| at.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::*;

    fn check(cron: &str, now: &str, expected: &str) {
        let schedule = Schedule::new(cron::Schedule::from_str(cron).unwrap(), chrono_tz::Asia::Shanghai);
        let now = DateTime::parse_from_rfc3339(now).unwrap().with_timezone(&Utc);
        let expected = DateTime::parse_from_rfc3339(expected).unwrap().with_timezone(&Utc);
        assert_eq!(schedule.next_after(now), Some(expected), "{cron} after {now}");
    }

    #[test]
    fn hours_are_the_hospitals_not_the_machines() {
        check("0 */5 6-20 * * *", "2026-11-22T12:58:00Z", "2026-11-22T22:00:00Z");
        check("0 30 2 * * *", "2026-11-22T10:00:00+08:00", "2026-11-23T02:30:00+08:00");
    }

    #[test]
    fn the_moment_itself_is_not_next() {
        check("*/5 * * * * *", "2026-11-22T08:00:05+08:00", "2026-11-22T08:00:10+08:00");
    }
}
