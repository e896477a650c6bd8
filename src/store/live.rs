//! What changes while the agent runs: switches, and the configuration in force.

use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::reader::time;
use super::{Error, Reader, Store, audit};
use crate::switches::Setting;

/// A configuration that was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigVersion {
    /// Its number; ascending.
    pub id: i64,
    /// SHA-256 (hex) over every file of it.
    pub digest: String,
    /// From when on, UTC.
    pub since: DateTime<Utc>,
    /// Who brought it into force: a name, `signal`, `file`, or `start`.
    pub who: String,
    /// What it changed, as the answer of a reload says it.
    pub detail: serde_json::Value,
}

impl Reader {
    /// The switches that are set, ended ones included, by name and subject.
    pub fn switches(&self) -> Result<Vec<Setting>, Error> {
        let sql = "SELECT name, subject, value, set_at, until, who, because FROM switch ORDER BY name, subject";
        self.all("read the switches", sql, (), |row| {
            Ok(Setting {
                name: row.get(0)?,
                subject: row.get(1)?,
                value: row.get(2)?,
                set_at: time(row.get(3)?),
                until: time(row.get(4)?),
                who: row.get(5)?,
                because: row.get(6)?,
            })
        })
    }

    /// The configurations that were in force, the newest first.
    pub fn config_versions(&self, limit: usize) -> Result<Vec<ConfigVersion>, Error> {
        let sql = "SELECT id, digest, since, who, detail FROM config_version ORDER BY id DESC LIMIT ?1";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.all("read the configuration's history", sql, (limit,), |row| {
            Ok(ConfigVersion {
                id: row.get(0)?,
                digest: row.get(1)?,
                since: time(row.get(2)?),
                who: row.get(3)?,
                detail: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
            })
        })
    }
}

impl Store {
    /// Sets a switch, and writes down who did.
    pub async fn set_switch(&self, set: Setting) -> Result<(), Error> {
        self.write("set a switch", 1, move |tx| {
            let sql = "INSERT INTO switch (name, subject, value, set_at, until, who, because)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET value = excluded.value,
                         set_at = excluded.set_at, until = excluded.until, who = excluded.who, because = excluded.because";
            let (at, until) = (set.set_at.timestamp_micros(), set.until.timestamp_micros());
            let values = (&set.name, &set.subject, &set.value, at, until, &set.who, &set.because);
            tx.run("set a switch", sql, values)?;
            let until = set.until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
            let detail = format!("{} until {until}: {}", set.value, set.because);
            audit::append(tx, &set.who, "switch-set", &set.place(), &detail)
        })
        .await
    }

    /// Takes a switch back before it ends; [`Error::Refused`] where it is not set.
    pub async fn clear_switch(&self, name: &str, subject: &str, who: &str, because: &str) -> Result<(), Error> {
        let (name, subject) = (name.to_owned(), subject.to_owned());
        let (who, because) = (who.to_owned(), because.to_owned());
        self.write("clear a switch", 1, move |tx| {
            let sql = "DELETE FROM switch WHERE name = ?1 AND subject = ?2";
            if tx.run("clear a switch", sql, (&name, &subject))? == 0 {
                return Err(Error::Refused("this switch is not set"));
            }
            let place = if subject.is_empty() { format!("switch/{name}") } else { format!("switch/{name}/{subject}") };
            audit::append(tx, &who, "switch-clear", &place, &because)
        })
        .await
    }

    /// Forgets switches that have ended, and writes that down.
    pub async fn end_switches(&self) -> Result<(), Error> {
        let now = self.now_micros();
        self.write("end switches", 1, move |tx| {
            let sql = "SELECT name, subject, value, set_at, until, who, because FROM switch WHERE until <= ?1";
            let read = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            };
            while let Some((name, subject, value)) = tx.one("read ended switches", sql, (now,), read)? {
                let delete = "DELETE FROM switch WHERE name = ?1 AND subject = ?2";
                tx.run("end a switch", delete, (&name, &subject))?;
                let place =
                    if subject.is_empty() { format!("switch/{name}") } else { format!("switch/{name}/{subject}") };
                let default = crate::switches::of(&name).map_or("off", |switch| switch.default);
                let detail = format!("{value} ended by itself; now {default}");
                audit::append(tx, "hisync", "switch-expired", &place, &detail)?;
            }
            Ok(())
        })
        .await
    }

    /// Says which configuration is in force: events that are made from now on carry it. One that was in force last
    /// already is not written down again. Answers its number.
    pub async fn config_in_force(&self, digest: &str, who: &str, detail: serde_json::Value) -> Result<i64, Error> {
        let (digest, who, detail) = (digest.to_owned(), who.to_owned(), detail.to_string());
        let id = self
            .write("note the configuration", 1, move |tx| {
                let newest =
                    "SELECT id FROM config_version WHERE id = (SELECT max(id) FROM config_version) AND digest = ?1";
                if let Some(id) = tx.one("read the configuration in force", newest, (&digest,), |row| row.get(0))? {
                    return Ok(id);
                }
                let sql = "INSERT INTO config_version (digest, since, who, detail) VALUES (?1, ?2, ?3, ?4)";
                tx.insert("note the configuration", sql, (&digest, tx.now, &who, &detail))
            })
            .await?;
        self.inner.shared.config.store(id, Ordering::Release);
        Ok(id)
    }
}
