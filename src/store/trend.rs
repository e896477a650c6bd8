//! How the agent stood every few minutes: what the status page draws of the last day.

use chrono::{DateTime, TimeDelta, Utc};

use super::reader::time;
use super::{Error, Reader, Store};

/// Points that are older are forgotten.
const KEPT: TimeDelta = TimeDelta::days(8);

/// Of the points within so long, the last one is read: 15 minutes, in microseconds.
const STEP: i64 = 15 * 60 * 1_000_000;

/// How the agent stood at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When, UTC.
    pub at: DateTime<Utc>,
    /// Records that had come in since the store was made.
    pub received: i64,
    /// Versions that upstream had taken since the store was made.
    pub delivered: i64,
    /// Held items that needed a person.
    pub held: i64,
    /// Events that were neither delivered nor held.
    pub waiting: i64,
}

impl Reader {
    /// How the agent stood since a time, oldest first: the last point of each quarter of an hour.
    pub fn trend(&self, since: DateTime<Utc>) -> Result<Vec<Point>, Error> {
        // SQLite takes the bare columns from the row that has the maximum.
        let sql = "SELECT max(at), received, delivered, held, waiting FROM trend WHERE at >= ?1
                   GROUP BY at / ?2 ORDER BY 1";
        self.all("read the last day", sql, (since.timestamp_micros(), STEP), |row| {
            Ok(Point {
                at: time(row.get(0)?),
                received: row.get(1)?,
                delivered: row.get(2)?,
                held: row.get(3)?,
                waiting: row.get(4)?,
            })
        })
    }
}

impl Store {
    /// Keeps points, and forgets old ones.
    pub async fn add_trend(&self, points: Vec<Point>) -> Result<(), Error> {
        self.write("keep how the agent stands", points.len(), move |tx| {
            for point in &points {
                let sql = "INSERT INTO trend (at, received, delivered, held, waiting) VALUES (?1, ?2, ?3, ?4, ?5)
                           ON CONFLICT DO NOTHING";
                let values = (point.at.timestamp_micros(), point.received, point.delivered, point.held, point.waiting);
                tx.run("keep how the agent stands", sql, values)?;
            }
            let before = tx.now - KEPT.num_microseconds().unwrap_or(i64::MAX);
            tx.run("forget how the agent stood", "DELETE FROM trend WHERE at < ?1", (before,))?;
            Ok(())
        })
        .await
    }
}
