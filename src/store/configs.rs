//! What the configurations said that were in force.

use serde::Serialize;
use serde_json::Value as Json;

use super::reader::time;
use super::{ConfigVersion, Error, Reader, Store};

/// Of so many it is kept what they said.
const KEPT: i64 = 100;

/// A configuration that was in force, and what it said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigContent {
    /// Which one.
    #[serde(flatten)]
    pub version: ConfigVersion,
    /// What it said, secrets and people hidden; `None` where that is not kept.
    pub content: Option<Json>,
    /// What the one before said; `None` where that is not kept, or this was the first.
    pub before: Option<Json>,
}

impl Reader {
    /// A configuration that was in force.
    pub fn config_content(&self, id: i64) -> Result<ConfigContent, Error> {
        let operation = "read the configuration's history";
        let sql = "SELECT id, digest, since, who, detail, content,
                     (SELECT content FROM config_version WHERE id < ?1 ORDER BY id DESC LIMIT 1)
                   FROM config_version WHERE id = ?1";
        let json = |text: String| serde_json::from_str::<Json>(&text).unwrap_or_default();
        let found = self.one(operation, sql, (id,), |row| {
            let version = ConfigVersion {
                id: row.get(0)?,
                digest: row.get(1)?,
                since: time(row.get(2)?),
                who: row.get(3)?,
                detail: json(row.get(4)?),
            };
            let (content, before) = (row.get::<_, Option<String>>(5)?, row.get::<_, Option<String>>(6)?);
            Ok(ConfigContent { version, content: content.map(json), before: before.map(json) })
        })?;
        found.ok_or(Error::NotFound { what: "configuration", id })
    }
}

impl Store {
    /// Keeps what a configuration says that came into force; `content` holds neither secrets nor people.
    pub async fn keep_config(&self, id: i64, content: &Json) -> Result<(), Error> {
        let content = content.to_string();
        self.write("keep the configuration", 1, move |tx| {
            let sql = "UPDATE config_version SET content = ?2 WHERE id = ?1 AND content IS NULL";
            tx.run("keep the configuration", sql, (id, &content))?;
            let sql = "UPDATE config_version SET content = NULL WHERE id <= ?1 AND content IS NOT NULL";
            tx.run("forget old configurations", sql, (id - KEPT,))?;
            Ok(())
        })
        .await
    }
}
