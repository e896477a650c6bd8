//! Whether a store is whole: the file, the sums, the bodies against their digests, and what names what.
//!
//! Reads one state of the store, beside a running agent or without one, and changes nothing. What it finds names tables
//! and rows, never what is in them.

use rusqlite::Row;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::codec::unpack;
use super::prepare::Hash;
use super::vault::DAMAGED;
use super::{Error, Reader, schema, vault};

/// Faults of one check that are told; more are counted.
const TOLD: usize = 100;
/// Bodies that are read at once.
const PAGE: i64 = 200;
/// Bodies that are read at once beside an agent's own work.
const FEW: i64 = 50;

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verified {
    /// What the store holds is encrypted.
    pub encrypted: bool,
    /// Archived records whose bytes agree with their digest.
    pub records: u64,
    /// Parts and events whose data agree with their hash.
    pub contents: u64,
    /// Files whose bytes agree with their digest.
    pub files: u64,
    /// Sums that were counted again.
    pub sums: u64,
    /// What is wrong; empty where all is well.
    pub faults: Vec<Fault>,
    /// Faults beside those listed.
    pub more: u64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// A stable word for what was looked at: `file`, `references`, `sums`, `sealing`, `record`, `content` or
    /// `attachment`.
    pub check: &'static str,
    /// The table, and the row's id where there is one.
    pub place: String,
    /// What is wrong, in words.
    pub message: String,
}

/// Columns that are sealed in an encrypted store: table, row, column as it lies there, and opened.
const SEALED: &[(&str, &str, &str, &str)] = &[
    ("stream", "id", "watermark", "opened('stream.watermark', id, watermark)"),
    ("archive", "id", "source_ref", "opened('archive.source_ref', id, source_ref)"),
    ("archive", "id", "resend_key", "opened('archive.resend_key', NULL, resend_key)"),
    ("entity", "id", "key", "opened('entity.key', NULL, key)"),
    ("event", "id", "head", "opened('event.head', id, head)"),
    ("held", "id", "findings", "opened('held.findings', id, findings)"),
    ("held", "id", "note", "opened('held.note', id, note)"),
    ("outbox", "id", "last_message", "opened('outbox.last_message', id, last_message)"),
    ("unknown_code", "id", "value", "opened('unknown_code.value', NULL, value)"),
    ("apply_run", "id", "what", "opened('apply_run.what', NULL, what)"),
    ("shadow_found", "id", "subject", "opened('shadow_found.subject', NULL, subject)"),
    ("shadow_found", "id", "differences", "opened('shadow_found.differences', id, differences)"),
    ("search", "entity_id", "word", "opened('search.word', NULL, word)"),
    ("audit", "id", "detail", "opened('audit.detail', at, detail)"),
];

/// What must name something that is there, or stand in an order: what is wrong, the table, and the rows where it is.
/// The items under which records were held are not among them: closed ones are given up, and the sums tell whether an
/// open one is missing.
const REFERENCES: &[(&str, &str, &str)] = &[
    ("its data are gone", "event", "SELECT id FROM event WHERE content_id NOT IN (SELECT id FROM content)"),
    ("its entity is gone", "event", "SELECT id FROM event WHERE entity_id NOT IN (SELECT id FROM entity)"),
    ("its delivery is gone", "event", "SELECT id FROM event WHERE id NOT IN (SELECT id FROM outbox)"),
    ("its event is gone", "outbox", "SELECT id FROM outbox WHERE id NOT IN (SELECT id FROM event)"),
    (
        "a younger entry of its entity is due before it",
        "outbox",
        "SELECT o.id FROM outbox o WHERE o.done_at IS NULL AND EXISTS (SELECT 1 FROM outbox y
           WHERE y.entity_id = o.entity_id AND y.done_at IS NULL AND y.id > o.id
             AND (y.ready_at IS NOT NULL OR y.claimed_at IS NOT NULL))",
    ),
    (
        "its data are gone",
        "part of entity",
        "SELECT entity_id FROM part WHERE content_id NOT IN (SELECT id FROM content)",
    ),
    (
        "its record is gone",
        "part of entity",
        "SELECT entity_id FROM part WHERE archive_id NOT IN (SELECT id FROM archive)",
    ),
    (
        "its record is gone",
        "held",
        "SELECT id FROM held WHERE state = 'open' AND archive_id IS NOT NULL
           AND archive_id NOT IN (SELECT id FROM archive)",
    ),
    (
        "its event is gone",
        "held",
        "SELECT id FROM held WHERE state = 'open' AND event_id IS NOT NULL AND event_id NOT IN (SELECT id FROM event)",
    ),
    (
        "an event of it is newer than the ledger",
        "entity",
        "SELECT n.id FROM entity n JOIN event e ON e.entity_id = n.id GROUP BY n.id
         HAVING max(e.sequence) > n.sequence",
    ),
    (
        "a file that it waits for is gone",
        "outbox",
        "SELECT DISTINCT o.id FROM outbox o JOIN event_attachment u ON u.event_id = o.id
         LEFT JOIN attachment a ON a.digest = u.digest
         WHERE o.done_at IS NULL AND (a.digest IS NULL OR (a.confirmed_at IS NULL AND a.body IS NULL))",
    ),
];

/// Sums counted anew: scope, kind, name, number.
const OUTBOX: &str = "SELECT 'outbox', '', state, count(*) FROM outbox WHERE done_at IS NULL GROUP BY 3";
const BYTES: &str =
    "SELECT 'outbox-bytes', '', 'open', sum(size) FROM outbox WHERE done_at IS NULL HAVING count(*) > 0";
const HELD: &str = "SELECT 'held', leg, reason, count(*) FROM held WHERE state = 'open' GROUP BY 2, 3";
const QUEUED: &str = "SELECT cast(o.stream_id AS TEXT), n.type, 'queued', count(*) FROM outbox o
    JOIN entity n ON n.id = o.entity_id WHERE o.counts = 1 AND o.done_at IS NULL GROUP BY 1, 2";
const SETTLED: &str = "SELECT scope, kind, name, sum(n) FROM (
      SELECT cast(a.stream_id AS TEXT) AS scope, d.type AS kind, d.fate AS name, count(*) AS n FROM disposition d
        JOIN archive a ON a.id = d.archive_id WHERE d.fate <> 'event' GROUP BY 1, 2, 3
      UNION ALL
      SELECT cast(o.stream_id AS TEXT), n.type, o.state, count(*) FROM outbox o JOIN entity n ON n.id = o.entity_id
        WHERE o.counts = 1 AND o.done_at IS NOT NULL GROUP BY 1, 2, 3
      UNION ALL
      SELECT scope, kind, name, n FROM given_up WHERE scope <> 'outbox')
    GROUP BY 1, 2, 3";

type Sum = (String, String, String, i64);
type Told<'t> = &'t mut dyn FnMut(&'static str, u64);

impl Reader {
    /// Looks at everything in the store. `told` hears what is under way, and how much of it is done.
    pub fn verify(&self, told: Told<'_>) -> Result<Verified, Error> {
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite("verify the store"))?;
        let mut verified = Verified { encrypted: vault::is_sealed(&self.conn)?, ..Verified::default() };
        self.file(&mut verified, told)?;
        self.references(&mut verified, told)?;
        self.sums(&mut verified, told)?;
        self.sealing(&mut verified, told)?;
        self.bodies(&mut verified, told)?;
        Ok(verified)
    }

    fn file(&self, verified: &mut Verified, told: Told<'_>) -> Result<(), Error> {
        told("file", 0);
        let text = |row: &Row<'_>| row.get::<_, String>(0);
        let said = self.all("verify the store's file", "PRAGMA integrity_check(100)", (), text)?;
        for line in said.into_iter().filter(|line| line != "ok") {
            verified.add("file", schema::FILE_NAME.to_owned(), line);
        }
        let table = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?));
        for (table, row) in self.all("verify the store's file", "PRAGMA foreign_key_check", (), table)? {
            let place = row.map_or(table.clone(), |row| format!("{table} {row}"));
            verified.add("references", place, "names a row that is not there");
        }
        Ok(())
    }

    fn references(&self, verified: &mut Verified, told: Told<'_>) -> Result<(), Error> {
        for (n, (message, table, sql)) in REFERENCES.iter().enumerate() {
            told("references", n as u64);
            for id in self.all::<i64>("verify what names what", sql, (), |row| row.get(0))? {
                verified.add("references", format!("{table} {id}"), *message);
            }
        }
        Ok(())
    }

    /// What is counted is there, or is told of as given up.
    fn sums(&self, verified: &mut Verified, told: Told<'_>) -> Result<(), Error> {
        told("sums", 0);
        let operation = "verify the sums";
        let sum = |row: &Row<'_>| Ok::<Sum, _>((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        let kept = self.all(operation, "SELECT scope, kind, name, n FROM counter", (), sum)?;
        let open = ["queued", "claimed", "inflight", "waiting"];
        let counted = [OUTBOX, BYTES, HELD, QUEUED].iter().map(|sql| self.all(operation, sql, (), sum));
        let counted: Vec<Sum> = counted.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let exact = |(scope, _, name, _): &&Sum| {
            matches!(scope.as_str(), "held" | "outbox-bytes") || open.contains(&name.as_str())
        };
        differ(verified, kept.iter().filter(exact), &counted);

        let counted = self.all(operation, SETTLED, (), sum)?;
        let settled = |(scope, _, name, _): &&Sum| {
            !matches!(scope.as_str(), "held" | "outbox" | "outbox-bytes")
                && name != "source"
                && !open.contains(&name.as_str())
        };
        differ(verified, kept.iter().filter(settled), &counted);

        let sql = "SELECT scope, kind, 'source', sum(iif(name = 'source', -n, n)) FROM counter
                   WHERE scope NOT IN ('outbox', 'outbox-bytes', 'held')
                   GROUP BY 1, 2 HAVING sum(iif(name = 'source', -n, n)) <> 0";
        for (stream, kind, ..) in self.all(operation, sql, (), sum)? {
            let message = "source is not delivered + unchanged + held + queued";
            verified.add("sums", format!("stream {stream} {kind}"), message);
        }
        Ok(())
    }

    fn sealing(&self, verified: &mut Verified, told: Told<'_>) -> Result<(), Error> {
        let operation = "verify what is sealed";
        for (n, (table, id, column, opened)) in SEALED.iter().enumerate() {
            told("sealing", n as u64);
            let sql = format!("SELECT {id} FROM {table} WHERE {opened} = ?1");
            for id in self.all::<i64>(operation, &sql, (DAMAGED,), |row| row.get(0))? {
                verified.add("sealing", format!("{table}.{column} {id}"), "can't be decrypted");
            }
            if verified.encrypted {
                let sql = format!("SELECT {id} FROM {table} WHERE {column} >= char(2) OR {column} < char(1)");
                for id in self.all::<i64>(operation, &sql, (), |row| row.get(0))? {
                    verified.add("sealing", format!("{table}.{column} {id}"), "is not encrypted");
                }
            }
        }
        Ok(())
    }

    fn bodies(&self, verified: &mut Verified, told: Told<'_>) -> Result<(), Error> {
        for bodies in BODIES {
            let (mut after, mut done, mut agree) = (i64::MIN, 0, 0);
            loop {
                told(bodies.check, done);
                let page = self.hashes(bodies, after, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                after = *last;
                done += page.len() as u64;
                for (id, fault) in page {
                    match fault {
                        None => agree += 1,
                        Some(message) => verified.add(bodies.check, format!("{} {id}", bodies.table), message),
                    }
                }
            }
            *(bodies.sum)(verified) += agree;
        }
        Ok(())
    }

    /// Compares a page of bodies with their digests: their rows, and what is wrong with them.
    fn hashes(&self, bodies: &Bodies, after: i64, page: i64) -> Result<Vec<(i64, Option<&'static str>)>, Error> {
        // One body in memory at a time: some are large.
        self.all("verify bodies", bodies.sql, (after, page), |row| {
            let digest: Hash = row.get(1)?;
            let fault = match unpack(row.get(2)?, row.get(3)?, row.get(4)?) {
                Ok(body) if Hash::from(Sha256::digest(&body)) == digest => None,
                Ok(_) => Some("its bytes are not those of its digest"),
                Err(_) => Some("its bytes can't be read"),
            };
            Ok((row.get::<_, i64>(0)?, fault))
        })
    }

    /// Looks at a few bodies from a place on; what is wrong with them, and the next place.
    pub(super) fn look_through(&self, Place { at, after }: Place) -> Result<(Vec<Fault>, Option<Place>), Error> {
        let Some(bodies) = BODIES.get(at) else { return Ok((Vec::new(), None)) };
        let page = self.hashes(bodies, after, FEW)?;
        let next = match page.last() {
            Some((last, _)) => Place { at, after: *last },
            None => Place { at: at + 1, ..Place::default() },
        };
        let fault = |(id, fault): (i64, Option<&str>)| {
            let place = format!("{} {id}", bodies.table);
            fault.map(|message| Fault { check: bodies.check, place, message: message.to_owned() })
        };
        Ok((page.into_iter().filter_map(fault).collect(), (next.at < BODIES.len()).then_some(next)))
    }
}

/// Bodies that are compared with their digests: row, digest, codec, size and body.
struct Bodies {
    check: &'static str,
    table: &'static str,
    sql: &'static str,
    sum: fn(&mut Verified) -> &mut u64,
}

const BODIES: &[Bodies] = &[
    Bodies {
        check: "record",
        table: "archive",
        sql: "SELECT id, digest, codec, size, opened_body(codec, 'archive', id, body) FROM archive
              WHERE id > ?1 AND given_up_at IS NULL ORDER BY id LIMIT ?2",
        sum: |verified| &mut verified.records,
    },
    Bodies {
        check: "content",
        table: "event",
        sql: "SELECT e.id, e.hash, c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
              FROM event e JOIN content c ON c.id = e.content_id WHERE e.id > ?1 ORDER BY e.id LIMIT ?2",
        sum: |verified| &mut verified.contents,
    },
    Bodies {
        check: "content",
        table: "part of entity",
        // Whole entities at a time: a page must not end between two parts of one.
        sql: "SELECT p.entity_id, p.hash, c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
              FROM part p JOIN content c ON c.id = p.content_id WHERE p.entity_id > ?1 AND p.entity_id <=
                (SELECT max(n) FROM (SELECT entity_id AS n FROM part WHERE entity_id > ?1 ORDER BY n LIMIT ?2))
              ORDER BY p.entity_id",
        sum: |verified| &mut verified.contents,
    },
    Bodies {
        check: "attachment",
        table: "attachment",
        sql: "SELECT rowid, digest, codec, size, opened_body(codec, 'attachment', digest, body)
              FROM attachment WHERE rowid > ?1 AND body IS NOT NULL ORDER BY rowid LIMIT ?2",
        sum: |verified| &mut verified.files,
    },
];

/// Where a look through all bodies stands; the default is the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: usize,
    after: i64,
}

impl Default for Place {
    fn default() -> Place {
        Place { at: 0, after: i64::MIN }
    }
}

impl Verified {
    fn add(&mut self, check: &'static str, place: String, message: impl Into<String>) {
        if self.faults.iter().filter(|fault| fault.check == check).count() < TOLD {
            self.faults.push(Fault { check, place, message: message.into() });
        } else {
            self.more += 1;
        }
    }
}

/// Compares sums that are kept with what was counted; those that are on one side alone are compared with zero.
fn differ<'s>(verified: &mut Verified, kept: impl Iterator<Item = &'s Sum>, counted: &[Sum]) {
    let mut sums: std::collections::BTreeMap<[&str; 3], (i64, i64)> = std::collections::BTreeMap::new();
    kept.for_each(|(scope, kind, name, n)| sums.entry([scope, kind, name]).or_default().0 += n);
    counted.iter().for_each(|(scope, kind, name, n)| sums.entry([scope, kind, name]).or_default().1 += n);
    for ([scope, kind, name], (kept, counted)) in sums {
        verified.sums += 1;
        if kept != counted {
            let place = [scope, kind, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
            verified.add("sums", place, format!("the sum says {kept}, {counted} are there"));
        }
    }
}
