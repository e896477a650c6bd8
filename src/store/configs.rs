//! The configurations that agents have run under.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value as Json;

use super::reader::time;
use super::{Error, Reader, Store};

/// So many are kept.
const KEPT: i64 = 100;

/// A configuration that an agent has run under. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadedSummary {
    /// Its row.
    pub id: i64,
    /// Since when.
    pub loaded_at: DateTime<Utc>,
    /// The program's version.
    pub version: String,
    /// SHA-256 (hex) over its files, mappings and code tables among them.
    pub digest: String,
}

/// The same with what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadedConfig {
    /// Which one.
    #[serde(flatten)]
    pub summary: LoadedSummary,
    /// What it said, secrets and people hidden.
    pub content: Json,
    /// What the one before said; `None` where it is the oldest that is kept.
    pub before: Option<Json>,
}

impl Reader {
    /// The configurations that agents have run under, the newest first.
    pub fn configs(&self) -> Result<Vec<LoadedSummary>, Error> {
        let sql = "SELECT id, loaded_at, version, digest FROM config_loaded ORDER BY id DESC LIMIT ?1";
        self.all("read the history of the configuration", sql, (KEPT,), |row| {
            Ok(LoadedSummary {
                id: row.get(0)?,
                loaded_at: time(row.get(1)?),
                version: row.get(2)?,
                digest: row.get(3)?,
            })
        })
    }

    /// One of them.
    pub fn config(&self, id: i64) -> Result<LoadedConfig, Error> {
        let operation = "read the history of the configuration";
        let sql = "SELECT id, loaded_at, version, digest, content,
                     (SELECT content FROM config_loaded WHERE id < ?1 ORDER BY id DESC LIMIT 1)
                   FROM config_loaded WHERE id = ?1";
        let json = |text: String| serde_json::from_str(&text).unwrap_or_default();
        let found = self.one(operation, sql, (id,), |row| {
            let summary = LoadedSummary {
                id: row.get(0)?,
                loaded_at: time(row.get(1)?),
                version: row.get(2)?,
                digest: row.get(3)?,
            };
            let before = row.get::<_, Option<String>>(5)?.map(json);
            Ok(LoadedConfig { summary, content: json(row.get(4)?), before })
        })?;
        found.ok_or(Error::NotFound { what: "configuration", id })
    }
}

impl Store {
    /// Notes that an agent runs under a configuration, where it is another one than before. `content` holds neither
    /// secrets nor people.
    pub async fn note_config(&self, version: &str, digest: &str, content: &Json) -> Result<(), Error> {
        let (version, digest, content) = (version.to_owned(), digest.to_owned(), content.to_string());
        self.write("note the configuration", 1, move |tx| {
            let operation = "note the configuration";
            let sql = "SELECT version, digest FROM config_loaded ORDER BY id DESC LIMIT 1";
            let newest: Option<(String, String)> = tx.one(operation, sql, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
            if newest.is_some_and(|newest| newest == (version.clone(), digest.clone())) {
                return Ok(());
            }
            let sql = "INSERT INTO config_loaded (loaded_at, version, digest, content) VALUES (?1, ?2, ?3, ?4)";
            let id = tx.insert(operation, sql, (tx.now, &version, &digest, &content))?;
            tx.run("forget old configurations", "DELETE FROM config_loaded WHERE id <= ?1", (id - KEPT,))?;
            Ok(())
        })
        .await
    }
}
