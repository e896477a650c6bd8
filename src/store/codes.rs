//! Unknown local codes, as they are met, and the records that hold them; and which versions of a mapping differ in
//! nothing but the codes that they know.

use std::collections::BTreeMap;

use super::codec::{pack, unpack};
use super::prepare::Doubtful;
use super::writer::Tx;
use super::{Error, ingest};
use crate::model::{Finding, canonical};

/// The reason code of a local code that no table knows.
pub(super) const UNKNOWN_CODE: &str = "unknown-code";

/// The code tables of a mapping: table, local code, standard code.
pub type Codes = BTreeMap<String, BTreeMap<String, String>>;

/// A local code that no table knows, and the field that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) value: String,
}

/// The unknown codes among some findings, each once.
pub(super) fn among<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> Vec<Unknown> {
    let unknown = findings.into_iter().filter(|finding| finding.code == UNKNOWN_CODE);
    let mut codes: Vec<Unknown> = unknown
        .map(|finding| Unknown {
            path: without_positions(&finding.path),
            value: finding.source_value.clone().unwrap_or_default(),
        })
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

/// The unknown codes of an entity that is delivered with them: flagged in its envelope.
pub(super) fn flagged(data: &[u8]) -> Vec<Unknown> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        #[serde(default)]
        issues: Vec<Finding>,
    }
    #[derive(serde::Deserialize)]
    struct Enveloped {
        envelope: Envelope,
    }
    // Parsed only where it can hold one.
    if memchr::memmem::find(data, UNKNOWN_CODE.as_bytes()).is_none() {
        return Vec::new();
    }
    serde_json::from_slice::<Enveloped>(data).map(|entity| among(&entity.envelope.issues)).unwrap_or_default()
}

/// `groups[3].items[0].code` names the same field as `groups[4].items[1].code`.
pub(super) fn without_positions(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = match c {
                '[' => true,
                ']' => false,
                _ => inside,
            };
            !(inside && c.is_ascii_digit())
        })
        .collect()
}

/// Notes the unknown codes of a record; those of an older record of the same entity no longer concern anybody.
pub(super) fn note(
    tx: &Tx<'_>,
    stream: i64,
    kind: &str,
    entity: Option<i64>,
    archive: i64,
    codes: &[Unknown],
) -> Result<(), Error> {
    if let Some(entity) = entity {
        let sql = "DELETE FROM unknown_code_of WHERE entity_id = ?1
                     AND code_id IN (SELECT id FROM unknown_code WHERE stream_id = ?2)";
        tx.run("forget unknown codes", sql, (entity, stream))?;
    }
    for code in codes {
        let id: Option<i64> = tx.one(
            "note an unknown code",
            "INSERT INTO unknown_code (stream_id, type, path, value, first_seen_at, last_seen_at)
             VALUES (?1, ?2, ?3, same('unknown_code.value', ?4), ?5, ?5)
             ON CONFLICT DO UPDATE SET last_seen_at = excluded.last_seen_at RETURNING id",
            (stream, kind, &code.path, &code.value, tx.now),
            |row| row.get(0),
        )?;
        let sql = "INSERT OR IGNORE INTO unknown_code_of (code_id, archive_id, entity_id) VALUES (?1, ?2, ?3)";
        tx.run("note an unknown code", sql, (id, archive, entity.unwrap_or(0)))?;
    }
    Ok(())
}

/// Forgets what a record held: it is mapped again, or a person has dismissed it.
pub(super) fn forget(tx: &Tx<'_>, archive: i64) -> Result<(), Error> {
    tx.run("forget unknown codes", "DELETE FROM unknown_code_of WHERE archive_id = ?1", (archive,))?;
    Ok(())
}

/// Notes what a version of a mapping knows, and which versions before it read everything else in the same way.
pub(super) fn remember(tx: &mut Tx<'_>, version: &str, base: &str, codes: &Codes) -> Result<(), Error> {
    let mapping = ingest::mapping_row(tx, version)?;
    let sql = "SELECT 1 FROM mapping_codes WHERE mapping_id = ?1";
    if tx.one("read a mapping's codes", sql, (mapping,), |_| Ok(()))?.is_some() {
        return Ok(());
    }
    let sql = "SELECT mapping_id, codec, size, body FROM mapping_codes WHERE base = ?1";
    let others = tx.all("read a mapping's codes", sql, (base,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
    })?;
    for (other, codec, size, body) in others {
        let before: Codes =
            serde_json::from_slice(&unpack(codec, size, body)?).map_err(|_| Error::Unreadable("a mapping's codes"))?;
        for (one, knows, alike, known) in [(mapping, codes, other, &before), (other, &before, mapping, codes)] {
            if knows_all(knows, known) {
                let sql = "INSERT OR IGNORE INTO mapping_alike (mapping_id, alike_id) VALUES (?1, ?2)";
                tx.run("note that mappings are alike", sql, (one, alike))?;
            }
        }
    }
    let packed = pack(&canonical::to_vec(codes).map_err(|_| Error::Unreadable("a mapping's codes"))?);
    let sql = "INSERT INTO mapping_codes (mapping_id, base, codec, size, body) VALUES (?1, ?2, ?3, ?4, ?5)";
    tx.run("note a mapping's codes", sql, (mapping, base, packed.codec, packed.size, packed.bytes))?;
    Ok(())
}

/// Whether a mapping says the same of every code that another one knows.
fn knows_all(codes: &Codes, other: &Codes) -> bool {
    other.iter().all(|(table, pairs)| {
        let own = codes.get(table);
        pairs.iter().all(|(local, standard)| own.and_then(|own| own.get(local)) == Some(standard))
    })
}

impl Doubtful {
    /// The codes that no table knows.
    pub(super) fn unknown(&self) -> Vec<Unknown> {
        if !self.findings.contains(UNKNOWN_CODE) {
            return Vec::new();
        }
        serde_json::from_str::<Vec<Finding>>(&self.findings).map(|list| among(&list)).unwrap_or_default()
    }
}
