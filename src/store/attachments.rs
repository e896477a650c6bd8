//! Files that reports name: stored with the record that brings them, confirmed before the event that
//! names them is due, given up a while after upstream has them.
//!
//! A file is in the store while an undelivered event names it. What upstream has confirmed is not sent
//! again for another event; what it says it lacks is.

use sha2::{Digest as _, Sha256};

use super::codec::{Packed, pack, unpack};
use super::prepare::Hash;
use super::writer::Tx;
use super::{Error, ledger, outbox, query};
use crate::model::File;

/// The reason code of a file that two people's reports name.
pub(super) const SHARED: &str = "attachment-shared";
/// Upstream's word for an event that names a file which it does not have.
pub(super) const UNKNOWN: &str = "attachment-unknown";

/// So long a file is kept after upstream has it, in microseconds: upstream may turn out to have lost it.
const KEPT: i64 = 30 * 24 * 3_600 * 1_000_000;
/// So many files are given up with each one that is confirmed.
const GIVEN_UP: i64 = 4;

/// A file ready to be stored.
pub(super) struct Prepared {
    digest: Hash,
    media_type: String,
    body: Packed,
    owner: Option<Hash>,
}

/// Packs a file. Costs CPU: called before the writer gets the job.
pub(super) fn prepare(file: File) -> Prepared {
    let owner = file.owner.map(|owner| Sha256::digest(owner.as_bytes()).into());
    Prepared { digest: file.digest, media_type: file.media_type, body: pack(&file.bytes), owner }
}

/// Stores the files of a part, which take the place of those before; answers whether one of them is
/// another person's as well.
pub(super) fn keep(tx: &Tx<'_>, entity: i64, stream: i64, files: &[Prepared]) -> Result<bool, Error> {
    let sql = "SELECT digest FROM attachment_use WHERE entity_id = ?1 AND stream_id = ?2";
    let before: Vec<Hash> = tx.all("read a part's files", sql, (entity, stream), |row| row.get(0))?;
    for digest in before.iter().filter(|digest| files.iter().all(|file| file.digest != **digest)) {
        let sql = "DELETE FROM attachment_use WHERE entity_id = ?1 AND stream_id = ?2 AND digest = ?3";
        tx.run("forget a part's file", sql, (entity, stream, digest))?;
    }
    let mut shared = false;
    for file in files {
        let Packed { codec, size, bytes } = &file.body;
        // What was given up is there again: it may be asked for.
        tx.run(
            "store a file",
            "INSERT INTO attachment (digest, media_type, codec, size, body, stored_at)
               VALUES (?1, ?2, seal_codec(?3), ?4, seal_body('attachment', ?1, ?5), ?6)
             ON CONFLICT DO UPDATE SET codec = excluded.codec, body = excluded.body WHERE body IS NULL",
            (file.digest, &file.media_type, codec, size, bytes, tx.now),
        )?;
        // Who was released once is not asked about again.
        let sql = "INSERT OR IGNORE INTO attachment_use (entity_id, stream_id, digest, owner)
                   VALUES (?1, ?2, ?3, same('attachment_use.owner', ?4))";
        tx.run("store a part's file", sql, (entity, stream, file.digest, file.owner))?;
        let sql = "SELECT 1 FROM attachment_use mine JOIN attachment_use other ON other.digest = mine.digest
                   WHERE mine.entity_id = ?1 AND mine.stream_id = ?2 AND mine.digest = ?3
                     AND other.entity_id <> ?1 AND other.owner <> mine.owner LIMIT 1";
        shared |= tx.one("look for a file's owner", sql, (entity, stream, file.digest), |_| Ok(()))?.is_some();
    }
    Ok(shared)
}

/// Notes that a person has looked: the entity's files may be anybody's.
pub(super) fn release(tx: &Tx<'_>, entity: i64) -> Result<(), Error> {
    let sql = "UPDATE attachment_use SET owner = NULL WHERE entity_id = ?1";
    tx.run("release an entity's files", sql, (entity,))?;
    Ok(())
}

/// The digests that an entity's data names.
pub(super) fn named(tx: &Tx<'_>, entity: i64, content: i64) -> Result<Vec<Hash>, Error> {
    #[derive(serde::Deserialize)]
    struct Named {
        #[serde(default)]
        attachments: Vec<One>,
    }
    #[derive(serde::Deserialize)]
    struct One {
        digest: String,
    }
    let sql = "SELECT 1 FROM attachment_use WHERE entity_id = ?1 LIMIT 1";
    if tx.one("look for an entity's files", sql, (entity,), |_| Ok(()))?.is_none() {
        return Ok(Vec::new());
    }
    let sql = ledger::CONTENT;
    let data = tx.one("read data", sql, (content,), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    let Some((codec, size, body)) = data else { return Ok(Vec::new()) };
    let named: Named =
        serde_json::from_slice(&unpack(codec, size, body)?).map_err(|_| Error::Unreadable("an entity's data"))?;
    let mut digests: Vec<Hash> = Vec::with_capacity(named.attachments.len());
    for one in named.attachments {
        let hex = one.digest.strip_prefix("sha256-").unwrap_or_default();
        let mut digest = Hash::default();
        hex::decode_to_slice(hex, &mut digest).map_err(|_| Error::Unreadable("a file's digest"))?;
        if !digests.contains(&digest) {
            digests.push(digest);
        }
    }
    Ok(digests)
}

/// Whether upstream lacks one of these files.
pub(super) fn lacking(tx: &Tx<'_>, digests: &[Hash]) -> Result<bool, Error> {
    for digest in digests {
        let sql = "SELECT 1 FROM attachment WHERE digest = ?1 AND confirmed_at IS NOT NULL";
        if tx.one("read a file's state", sql, (digest,), |_| Ok(()))?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes which files an event names; those that upstream lacks are to be sent.
pub(super) fn bind(tx: &Tx<'_>, event: i64, digests: &[Hash]) -> Result<(), Error> {
    for digest in digests {
        let sql = "INSERT INTO event_attachment (event_id, digest) VALUES (?1, ?2)";
        tx.run("note an event's file", sql, (event, digest))?;
    }
    if digests.is_empty() { Ok(()) } else { want(tx, event) }
}

/// The files of an event that upstream lacks are to be sent, also those that it has refused.
pub(super) fn want(tx: &Tx<'_>, event: i64) -> Result<(), Error> {
    let sql = "UPDATE attachment SET due_at = 0 WHERE confirmed_at IS NULL AND due_at IS NULL
               AND digest IN (SELECT digest FROM event_attachment WHERE event_id = ?1)";
    if tx.run("ask for a file to be sent", sql, (event,))? > 0 {
        tx.shared.files.raise();
    }
    Ok(())
}

/// Upstream says that it lacks a file which it had confirmed: it is sent again. Answers `false` where
/// the bytes are given up.
pub(super) fn forget(tx: &Tx<'_>, event: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM attachment a JOIN event_attachment e ON e.digest = a.digest
               WHERE e.event_id = ?1 AND a.body IS NULL LIMIT 1";
    if tx.one("read an event's files", sql, (event,), |_| Ok(()))?.is_some() {
        return Ok(false);
    }
    let sql = "UPDATE attachment SET confirmed_at = NULL
               WHERE digest IN (SELECT digest FROM event_attachment WHERE event_id = ?1)";
    tx.run("send a file again", sql, (event,))?;
    want(tx, event)?;
    Ok(true)
}

/// A file to be sent, as it lies in the store.
pub(super) struct Due {
    pub(super) digest: Hash,
    pub(super) media_type: String,
    pub(super) attempts: u32,
    codec: i64,
    size: i64,
    body: Option<Vec<u8>>,
}

impl Due {
    /// The bytes; `None` where they are given up or damaged.
    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        unpack(self.codec, self.size, self.body?).ok()
    }
}

/// The file whose attempt is due longest.
pub(super) fn due(conn: &rusqlite::Connection, now: i64) -> Result<Option<Due>, Error> {
    let sql = "SELECT digest, media_type, attempts, codec, size, opened_body(codec, 'attachment', digest, body)
               FROM attachment WHERE due_at <= ?1
               ORDER BY due_at LIMIT 1";
    query::one(conn, "read a file", sql, (now,), |row| {
        Ok(Due {
            digest: row.get(0)?,
            media_type: row.get(1)?,
            attempts: row.get(2)?,
            codec: row.get(3)?,
            size: row.get(4)?,
            body: row.get(5)?,
        })
    })
}

/// Upstream has a file: what waited for it is due, where it waits for nothing else.
pub(super) fn confirm(tx: &mut Tx<'_>, digest: &Hash) -> Result<(), Error> {
    let sql = "UPDATE attachment SET confirmed_at = ?2, due_at = NULL, attempts = attempts + 1, last_code = NULL
               WHERE digest = ?1";
    tx.run("confirm a file", sql, (digest, tx.now))?;
    let entities: Vec<i64> = waiting(tx, digest)?.into_iter().map(|(_, entity)| entity).collect();
    outbox::promote(tx, &outbox::list(&entities))?;
    give_up(tx)?;
    Ok(())
}

/// The undelivered events that name a file, with their entities, oldest first.
fn waiting(tx: &Tx<'_>, digest: &Hash) -> Result<Vec<(i64, i64)>, Error> {
    let sql = "SELECT o.id, o.entity_id FROM event_attachment e JOIN outbox o ON o.id = e.event_id
               WHERE e.digest = ?1 AND o.done_at IS NULL ORDER BY o.id";
    tx.all("read what waits for a file", sql, (digest,), |row| Ok((row.get(0)?, row.get(1)?)))
}

/// To be sent again later.
pub(super) fn later(tx: &Tx<'_>, digest: &Hash, at: i64, code: &str) -> Result<(), Error> {
    let sql = "UPDATE attachment SET due_at = ?2, attempts = attempts + 1, last_code = ?3
               WHERE digest = ?1 AND confirmed_at IS NULL";
    tx.run("put a file off", sql, (digest, at.max(1), code))?;
    Ok(())
}

/// Tries at once what was put off: the clock by which that was reckoned may have been ahead.
pub(super) fn clock_went_back(tx: &Tx<'_>) -> Result<(), Error> {
    if tx.run("follow the clock", "UPDATE attachment SET due_at = ?1 WHERE due_at > ?1", (tx.now.max(1),))? > 0 {
        tx.shared.files.raise();
    }
    Ok(())
}

/// Upstream will never take a file: the events that name it are held.
pub(super) fn refuse(tx: &mut Tx<'_>, digest: &Hash, code: &str, message: &str) -> Result<(), Error> {
    let sql = "UPDATE attachment SET due_at = NULL, attempts = attempts + 1, last_code = ?2 WHERE digest = ?1";
    tx.run("give a file up", sql, (digest, code))?;
    for (event, _) in waiting(tx, digest)? {
        outbox::hold(tx, event, code, message)?;
    }
    Ok(())
}

/// Gives up the bytes of files that upstream has had for long and that no undelivered event names.
pub(super) fn give_up(tx: &Tx<'_>) -> Result<usize, Error> {
    let sql = "UPDATE attachment SET body = NULL WHERE digest IN
                 (SELECT digest FROM attachment a WHERE a.body IS NOT NULL AND a.confirmed_at < ?1
                    AND NOT EXISTS (SELECT 1 FROM event_attachment e JOIN outbox o ON o.id = e.event_id
                                    WHERE e.digest = a.digest AND o.state <> 'delivered')
                  ORDER BY a.confirmed_at LIMIT ?2)";
    tx.run("give up files", sql, (tx.now - KEPT, GIVEN_UP))
}

/// Forgets files that upstream never got and that nobody names or waits for any more.
pub(super) fn forget_orphans(tx: &Tx<'_>) -> Result<usize, Error> {
    let sql = "DELETE FROM attachment WHERE digest IN
                 (SELECT digest FROM attachment a WHERE a.body IS NOT NULL AND a.confirmed_at IS NULL
                    AND a.due_at IS NULL AND a.stored_at < ?1
                    AND NOT EXISTS (SELECT 1 FROM attachment_use u WHERE u.digest = a.digest)
                    AND NOT EXISTS (SELECT 1 FROM event_attachment e WHERE e.digest = a.digest)
                  LIMIT ?2)";
    tx.run("forget files that nothing names", sql, (tx.now - KEPT, GIVEN_UP))
}
