//! Daily canaries: a share that jumps against what is usual. Swapped columns and inverted codes look like it, and no
//! single record shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Days, Utc};
use chrono_tz::Tz;

use super::health::Reason;
use crate::store::{CanaryDay, Error, Figures, Reader, share};

/// When a jump of a daily share is worth a look. Shares are in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryPolicy {
    /// A day with fewer entities (or values) than this says nothing.
    pub min_sample: u32,
    /// So many days with enough entities are needed to know what is usual.
    pub min_days: u32,
    /// What is usual is the median of this many days before.
    pub days: u32,
    /// A share jumps where it differs from the median by more than this many points …
    pub points: u32,
    /// … and is above so many percent of the median, or below it by as much: 200 is "twice, or half".
    pub factor: u32,
}

impl Default for CanaryPolicy {
    fn default() -> CanaryPolicy {
        CanaryPolicy { min_sample: 30, min_days: 5, days: 14, points: 10, factor: 200 }
    }
}

/// The watched streams (`source/stream`) with their policies.
pub type Watched = BTreeMap<String, CanaryPolicy>;

/// What is counted, of what, and how it is called.
const SHARES: [(&str, &str, &str, &str); 6] = [
    ("empty", "values", "empty values", "空值"),
    ("flagged", "values", "abnormal values", "异常值"),
    ("unknown", "entities", "entities with an unknown code", "含未知代码的记录"),
    ("held", "entities", "held entities", "被扣留的记录"),
    ("male", "entities", "male people", "男性"),
    ("female", "entities", "female people", "女性"),
];

/// How often the figures are counted, and streams that wait for their first sample looked at.
pub const EVERY: Duration = Duration::from_secs(30);

/// Reads the figures that are needed to judge today.
pub fn read(reader: &Reader, watched: &Watched, zone: Tz, now: DateTime<Utc>) -> Result<Vec<CanaryDay>, Error> {
    let longest = watched.values().map(|policy| policy.days).max().unwrap_or(0);
    let today = now.with_timezone(&zone).date_naive();
    let since = today.checked_sub_days(Days::new(u64::from(longest))).unwrap_or(today);
    if watched.is_empty() { Ok(Vec::new()) } else { reader.canaries(&since.to_string()) }
}

/// The shares that jump today.
pub fn reasons(days: &[CanaryDay], watched: &Watched, zone: Tz, now: DateTime<Utc>) -> Vec<Reason> {
    let today = now.with_timezone(&zone).date_naive().to_string();
    let mut reasons = Vec::new();
    for (stream, policy) in watched {
        let of: Vec<&CanaryDay> = days.iter().filter(|day| day.stream == *stream).collect();
        let Some(now_day) = of.iter().find(|day| day.day == today) else { continue };
        for (part, whole, what, what_zh) in SHARES {
            let enough = |figures: &Figures| {
                let n = figures.get(whole).copied().unwrap_or(0);
                if n >= i64::from(policy.min_sample) { share(figures, part, whole) } else { None }
            };
            let Some(is) = enough(&now_day.figures) else { continue };
            let before = of.iter().filter(|day| day.day < today).filter_map(|day| enough(&day.figures));
            let mut before: Vec<f64> = before.collect();
            if before.len() < policy.min_days as usize {
                continue;
            }
            before.sort_by(f64::total_cmp);
            let usual = median(&before);
            if jumps(policy, is, usual) {
                let n = before.len();
                reasons.push(Reason::new("canary", format!("stream {stream}")).says(
                    format!("{is:.0} % {what} today, {usual:.0} % are usual ({n} days)"),
                    format!("今天 {what_zh} 占 {is:.0} %，往常是 {usual:.0} %（{n} 天）"),
                ));
            }
        }
    }
    reasons
}

/// The middle of sorted numbers, of which there is at least one.
fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

fn jumps(policy: &CanaryPolicy, is: f64, usual: f64) -> bool {
    let factor = f64::from(policy.factor) / 100.0;
    (is - usual).abs() > f64::from(policy.points) && (is > usual * factor || is * factor < usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: u32, female: i64) -> CanaryDay {
        let figures = [("entities", 100), ("female", female), ("male", 100 - female)];
        let figures = figures.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        CanaryDay { stream: "peis/reports".to_owned(), day: format!("2026-11-{day:02}"), figures }
    }

    fn texts(days: &[CanaryDay]) -> Vec<String> {
        let now = DateTime::parse_from_rfc3339("2026-11-20T15:00:00+08:00").unwrap().to_utc();
        let watched = Watched::from([("peis/reports".to_owned(), CanaryPolicy::default())]);
        reasons(days, &watched, chrono_tz::Asia::Shanghai, now).into_iter().map(|reason| reason.text).collect()
    }

    #[test]
    fn a_share_that_jumps_against_its_median_is_told() {
        let mut days: Vec<CanaryDay> = (10..20).map(|n| day(n, 30 + i64::from(n % 3))).collect();
        days.push(day(20, 70));
        assert_eq!(
            texts(&days),
            [
                "30 % male people today, 69 % are usual (10 days)".to_owned(),
                "70 % female people today, 31 % are usual (10 days)".to_owned()
            ]
        );
        days.pop();
        days.push(day(20, 36));
        assert!(texts(&days).is_empty());
    }

    #[test]
    fn too_few_days_or_entities_say_nothing() {
        let mut days: Vec<CanaryDay> = (16..20).map(|n| day(n, 30)).collect();
        days.push(day(20, 70));
        assert!(texts(&days).is_empty());
        let mut days: Vec<CanaryDay> = (10..20).map(|n| day(n, 30)).collect();
        days.push(CanaryDay { figures: [("entities".to_owned(), 20), ("female".to_owned(), 20)].into(), ..day(20, 0) });
        assert!(texts(&days).is_empty());
    }
}
