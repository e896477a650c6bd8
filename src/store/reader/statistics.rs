//! Numbers of the store's file, for whoever helps from afar: how much of what, never whose.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Reader;
use crate::store::Error;

/// Numbers of the store's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statistics {
    /// The version of SQLite.
    pub sqlite: String,
    /// The number of the layout.
    pub layout: i64,
    /// Bytes of a page.
    pub page_bytes: i64,
    /// Pages of the file.
    pub pages: i64,
    /// Pages among them that are free.
    pub free_pages: i64,
    /// Rows of each table.
    pub rows: BTreeMap<String, i64>,
    /// Undelivered events by the last answer to them; words that are none of hisync's are told as `other`.
    pub waiting_by_answer: BTreeMap<String, i64>,
    /// Open held items by reason and by how many days they are old: 0, 1, 7, 30 (and more).
    pub held_by_age: BTreeMap<String, BTreeMap<i64, i64>>,
}

impl Reader {
    /// Numbers of the store's file. Counts rows, which takes seconds where there are many millions.
    pub fn statistics(&self, now: chrono::DateTime<chrono::Utc>) -> Result<Statistics, Error> {
        let operation = "count the store's rows";
        let pragma = |name: &str| -> Result<i64, Error> {
            let sql = format!("PRAGMA {name}");
            Ok(self.one(operation, &sql, (), |row| row.get(0))?.unwrap_or(0))
        };
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let tables: Vec<String> = self.all(operation, sql, (), |row| row.get(0))?;
        let mut rows = BTreeMap::new();
        for table in tables {
            // A name of the store's own schema, not of anybody's data.
            let sql = format!("SELECT count(*) FROM \"{table}\"");
            let n = self.one(operation, &sql, (), |row| row.get(0))?.unwrap_or(0);
            rows.insert(table, n);
        }
        let sql = "SELECT coalesce(last_code, 'not tried'), count(*) FROM outbox INDEXED BY outbox_open
                   WHERE done_at IS NULL GROUP BY 1";
        let mut waiting_by_answer = BTreeMap::new();
        for (code, n) in self.all(operation, sql, (), |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))? {
            *waiting_by_answer.entry(stable_word(&code)).or_default() += n;
        }
        let sql =
            "SELECT reason, CASE WHEN age < 1 THEN 0 WHEN age < 7 THEN 1 WHEN age < 30 THEN 7 ELSE 30 END, count(*)
                   FROM (SELECT reason, (?1 - opened_at) / 86400000000 AS age FROM held INDEXED BY held_open
                         WHERE state = 'open') GROUP BY 1, 2";
        let mut held_by_age: BTreeMap<String, BTreeMap<i64, i64>> = BTreeMap::new();
        let aged = self.all(operation, sql, (now.timestamp_micros(),), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        for (reason, age, n) in aged {
            *held_by_age.entry(stable_word(&reason)).or_default().entry(age).or_default() += n;
        }
        Ok(Statistics {
            sqlite: self.one(operation, "SELECT sqlite_version()", (), |row| row.get(0))?.unwrap_or_default(),
            layout: pragma("user_version")?,
            page_bytes: pragma("page_size")?,
            pages: pragma("page_count")?,
            free_pages: pragma("freelist_count")?,
            rows,
            waiting_by_answer,
            held_by_age,
        })
    }
}

/// A stable word as it is: of another's code nobody knows what it holds.
pub fn stable_word(code: &str) -> String {
    let stable = code.len() <= 40
        && code.starts_with(|c: char| c.is_ascii_lowercase())
        && code.chars().all(|c| c.is_ascii_alphanumeric() || "-_ ".contains(c));
    if stable { code.to_owned() } else { "other".to_owned() }
}
