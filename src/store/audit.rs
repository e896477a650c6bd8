//! The audit log: who did what, in lines that are only appended and chained by hash.
//!
//! A line's chain is SHA-256 over the chain of the line before and the line itself. Whoever changes, removes or
//! inserts a line afterwards would have to make all chains behind it anew, and the newest one, which an
//! auditor may have noted elsewhere, would be another.

use rusqlite::Row;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::reader::time;
use super::view::AuditEntry;
use super::writer::Tx;
use super::{Error, Reader};

/// A line as it is stored.
struct Line {
    id: i64,
    at: i64,
    fields: [String; 4],
    chain: Option<Vec<u8>>,
}

impl Line {
    fn read(row: &Row<'_>) -> rusqlite::Result<Line> {
        let fields = [row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?];
        Ok(Line { id: row.get(0)?, at: row.get(1)?, fields, chain: row.get(6)? })
    }
}

/// The chain of a line. Each field's length goes before it, so that no text can pass for two fields.
fn chain(before: &[u8], at: i64, fields: [&str; 4]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(at.to_be_bytes());
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finalize().into()
}

/// Appends a line.
pub(super) fn append(tx: &Tx<'_>, who: &str, act: &str, subject: &str, detail: &str) -> Result<(), Error> {
    let newest = "SELECT chain FROM audit ORDER BY id DESC LIMIT 1";
    let before: Option<Option<Vec<u8>>> = tx.one("read the audit log", newest, (), |row| row.get(0))?;
    let chain = chain(&before.flatten().unwrap_or_default(), tx.now, [who, act, subject, detail]);
    let sql = "INSERT INTO audit (at, who, act, subject, detail, chain) VALUES (?1, ?2, ?3, ?4, seal('audit.detail', ?1, ?5), ?6)";
    tx.run("write the audit log", sql, (tx.now, who, act, subject, detail, chain.as_slice()))?;
    Ok(())
}

/// A line of the audit log with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// Its number; ascending, and never used twice.
    pub id: i64,
    /// What was done.
    #[serde(flatten)]
    pub entry: AuditEntry,
}

/// What an examination of the audit log found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditCheck {
    /// Lines that were examined.
    pub lines: u64,
    /// Lines from before the log was chained; nothing vouches for them.
    pub unchained: u64,
    /// The first line that does not follow from the one before: it, or one before it, was changed or removed.
    pub broken_at: Option<i64>,
    /// The newest chain (hex). Noted elsewhere, it shows later whether lines at the end were cut off.
    pub head: Option<String>,
}

impl Reader {
    /// The newest lines below `before` (all, where it is `None`), newest first.
    pub fn audit_list(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditLine>, Error> {
        let sql = "SELECT id, at, who, act, subject, opened('audit.detail', at, detail), chain FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let lines = self.all("read the audit log", sql, (before.unwrap_or(i64::MAX), limit), Line::read)?;
        Ok(lines
            .into_iter()
            .map(|Line { id, at, fields: [who, act, subject, detail], .. }| AuditLine {
                id,
                entry: AuditEntry { at: time(at), who, act, subject, detail },
            })
            .collect())
    }

    /// Follows the chain through the whole log. The oldest chained line is taken as it is: lines before it may
    /// have been removed by retention.
    pub fn audit_verify(&self) -> Result<AuditCheck, Error> {
        let sql = "SELECT id, at, who, act, subject, opened('audit.detail', at, detail), chain FROM audit WHERE id > ?1 ORDER BY id LIMIT 1000";
        let mut check = AuditCheck { lines: 0, unchained: 0, broken_at: None, head: None };
        let (mut last, mut before): (i64, Option<Vec<u8>>) = (0, None);
        loop {
            let lines = self.all("read the audit log", sql, (last,), Line::read)?;
            let Some(end) = lines.last() else { break };
            last = end.id;
            for line in lines {
                check.lines += 1;
                let Some(found) = line.chain else {
                    // A line without a chain behind one that has one was written by somebody else.
                    check.unchained += 1;
                    if before.is_some() {
                        check.broken_at.get_or_insert(line.id);
                    }
                    continue;
                };
                let fields = line.fields.each_ref().map(String::as_str);
                // The first chained line follows from nothing, unless the lines before it were removed.
                let first = line.id == 1 || check.unchained > 0;
                let known = before.as_deref().or(first.then_some(&[]));
                if known.is_some_and(|before| chain(before, line.at, fields).as_slice() != found) {
                    check.broken_at.get_or_insert(line.id);
                }
                before = Some(found);
            }
        }
        check.head = before.map(hex::encode);
        Ok(check)
    }
}
