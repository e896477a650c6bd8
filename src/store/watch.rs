//! What the agent watches itself by: the hours of each stream, and how long things have waited.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::reader::time;
use super::{Error, Reader, Store};
use crate::model::WAITING;

/// Held items are looked at one by one up to so many; more are "more than".
const MANY: i64 = 10_000;

/// What a stream gave in one hour of the hospital.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficHour {
    /// `source/stream`.
    pub stream: String,
    /// The hospital's hour, `2026-11-24T09`.
    pub hour: String,
    /// Records that were new.
    pub records: u64,
    /// For how many seconds the stream was in order.
    pub good_secs: u64,
}

/// How long things have waited for a person. Times are UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ageing {
    /// When the oldest open held item was opened; without those whose parts are still waited for.
    pub held_oldest_at: Option<DateTime<Utc>>,
    /// Open held items (of the oldest ten thousand) that are older than a day.
    pub held_over_a_day: u64,
    /// Open held items (of the oldest ten thousand) that are older than a week.
    pub held_over_a_week: u64,
    /// Local codes that no table knows and some record still holds.
    pub unmapped_codes: u64,
}

impl Reader {
    /// What each stream gave, hour by hour, since an hour of the hospital (`2026-11-24T09`).
    pub fn traffic(&self, since: &str) -> Result<Vec<TrafficHour>, Error> {
        let sql = "SELECT stream, hour, records, good_secs FROM traffic WHERE hour >= ?1";
        self.all("read the streams' hours", sql, (since,), |row| {
            Ok(TrafficHour {
                stream: row.get(0)?,
                hour: row.get(1)?,
                records: row.get::<_, i64>(2)?.unsigned_abs(),
                good_secs: row.get::<_, i64>(3)?.unsigned_abs(),
            })
        })
    }

    /// How long things have waited for a person.
    pub fn ageing(&self, now: DateTime<Utc>) -> Result<Ageing, Error> {
        let operation = "read what waits";
        let sql = "SELECT min(opened_at), sum(opened_at < ?1), sum(opened_at < ?2) FROM
                     (SELECT opened_at FROM held INDEXED BY held_open WHERE state = 'open' AND reason <> ?3
                      ORDER BY id LIMIT ?4)";
        let before = |days| (now - chrono::TimeDelta::days(days)).timestamp_micros();
        let held = self.one(operation, sql, (before(1), before(7), WAITING, MANY), |row| {
            let n = |n: Option<i64>| n.unwrap_or(0).unsigned_abs();
            Ok((row.get::<_, Option<i64>>(0)?, n(row.get(1)?), n(row.get(2)?)))
        })?;
        let (oldest, held_over_a_day, held_over_a_week) = held.unwrap_or_default();
        let sql = "SELECT count(*) FROM unknown_code u
                   WHERE EXISTS (SELECT 1 FROM unknown_code_of o WHERE o.code_id = u.id)";
        let codes: i64 = self.one(operation, sql, (), |row| row.get(0))?.unwrap_or(0);
        Ok(Ageing {
            held_oldest_at: oldest.map(time),
            held_over_a_day,
            held_over_a_week,
            unmapped_codes: codes.unsigned_abs(),
        })
    }
}

impl Store {
    /// Adds to the hours of streams, and forgets those before an hour of the hospital.
    pub async fn add_traffic(&self, hours: Vec<TrafficHour>, keep_since: String) -> Result<(), Error> {
        self.write("add to the streams' hours", 1, move |tx| {
            for hour in &hours {
                let sql = "INSERT INTO traffic (stream, hour, records, good_secs) VALUES (?1, ?2, ?3, ?4)
                           ON CONFLICT DO UPDATE SET records = records + excluded.records,
                             good_secs = good_secs + excluded.good_secs";
                let n = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let values = (&hour.stream, &hour.hour, n(hour.records), n(hour.good_secs));
                tx.run("add to the streams' hours", sql, values)?;
            }
            tx.run("forget old hours", "DELETE FROM traffic WHERE hour < ?1", (&keep_since,))?;
            Ok(())
        })
        .await
    }
}
