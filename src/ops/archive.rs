//! How far back the archive reaches, what a record costs, and whether the disk will hold the configured time.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::health::Reason;
use super::report::Disk;
use crate::store::{ArchiveStatus, RetentionPolicy};

/// Fewer days say nothing of the days to come.
const ENOUGH_DAYS: u64 = 3;
/// Fewer records say nothing of what a record costs.
const ENOUGH_RECORDS: u64 = 500;

/// The archive, measured, and what is to be expected of it. Bytes are as stored.
#[derive(Clone, Debug, Serialize)]
pub struct Archive {
    /// What there is.
    #[serde(flatten)]
    pub status: ArchiveStatus,
    /// How many days it is to reach back (`retention.archive`).
    pub configured_days: u64,
    /// How many days it reaches back.
    pub covered_days: u64,
    /// How many days it can reach back on this disk, above its floor, and within `retention.archive_max_bytes`; `None`
    /// where too little came in to tell, or where the system doesn't say what is free.
    pub possible_days: Option<u64>,
}

impl Archive {
    /// Works out what is to be expected.
    pub fn of(status: ArchiveStatus, policy: &RetentionPolicy, disk: &Disk, now: DateTime<Utc>) -> Archive {
        let days = |age: Duration| age.as_secs() / 86_400;
        let configured_days = days(policy.archive);
        let covered = status.complete_since.map(|since| (now - since).to_std().unwrap_or_default());
        let covered_days = covered.map_or(0, days);
        let known = status.measured_days >= ENOUGH_DAYS && status.records >= ENOUGH_RECORDS;
        let possible_days = disk.free_bytes.filter(|_| known && status.growth_bytes_per_day > 0).map(|free| {
            let room = free.saturating_sub(disk.floor_bytes).saturating_add(status.free_bytes);
            let on_disk = covered_days.saturating_add(room / status.growth_bytes_per_day);
            let lately = status.record_packed_bytes.max(1);
            let by_size = policy.archive_max_bytes.map(|most| {
                // What stays in the archive of a day is the smaller part of what the file grows by.
                let share = lately as f64 / status.record_all_bytes.max(lately) as f64;
                (most as f64 / (status.growth_bytes_per_day as f64 * share).max(1.0)) as u64
            });
            on_disk.min(by_size.unwrap_or(u64::MAX))
        });
        Archive { status, configured_days, covered_days, possible_days }
    }

    /// Says so where the configured time does not fit.
    pub fn reason(&self) -> Option<Reason> {
        let possible = self.possible_days.filter(|possible| *possible < self.configured_days)?;
        let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let missing = (self.configured_days - possible).saturating_mul(self.status.growth_bytes_per_day);
        let daily = self.status.growth_bytes_per_day as f64 / f64::from(1 << 20);
        let reason = Reason::new("archive-short", "archive").says(
            format!(
                "there is room for about {possible} of the configured {} days: {:.1} GiB are missing, {daily:.1} MiB a day",
                self.configured_days,
                gib(missing),
            ),
            format!(
                "配置保存 {} 天，磁盘大约只够 {possible} 天：缺 {:.1} GiB，每天增长 {daily:.1} MiB",
                self.configured_days,
                gib(missing),
            ),
        );
        Some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Backlog;

    const GIB: u64 = 1 << 30;

    fn check(days: i64, per_day: u64, free: u64, most: Option<u64>, possible: Option<u64>, said: bool) {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let status = ArchiveStatus {
            complete_since: Some(now - chrono::TimeDelta::days(days)),
            records: 10_000,
            record_packed_bytes: 1_000,
            record_all_bytes: 4_000,
            measured_days: days.unsigned_abs().min(30),
            growth_bytes_per_day: per_day,
            ..ArchiveStatus::default()
        };
        let disk = Disk { free_bytes: Some(free), floor_bytes: GIB, outbox_limit: Backlog::default() };
        let policy = RetentionPolicy { archive_max_bytes: most, ..RetentionPolicy::default() };
        let archive = Archive::of(status, &policy, &disk, now);
        assert_eq!((archive.configured_days, archive.possible_days), (400, possible));
        assert_eq!(archive.reason().is_some(), said);
    }

    #[test]
    fn a_disk_that_will_not_hold_the_configured_time_is_told_of() {
        check(2, GIB / 10, 5 * GIB, None, None, false);
        check(10, GIB / 10, 5 * GIB, None, Some(50), true);
        check(10, GIB / 100, 5 * GIB, None, Some(410), false);
        check(390, GIB / 10, 2 * GIB, None, Some(400), false);
        check(10, GIB / 10, 500 * GIB, Some(GIB), Some(40), true);
        check(10, GIB / 10, GIB / 2, None, Some(10), true);
    }
}
