//! Seals everything that a store holds of people under its newest key: after the first key was configured, and after
//! [`vault::add_generation`]. In bounded steps, each with its place in the same transaction, so that whatever ends it
//! in the middle, it goes on there. Runs before an agent takes anything in: two forms of one key must never meet.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Error, vault::Vault};

/// Rows of one transaction.
const STEP: i64 = 200;

/// A table, the column that is walked, and what is sealed.
struct Table {
    name: &'static str,
    walk: &'static str,
    set: &'static str,
}

/// Each column of the layout that can tell of a person stands here; `verify` opens the same.
const TABLES: &[Table] = &[
    Table { name: "stream", walk: "id", set: "watermark = reseal('stream.watermark', id, watermark)" },
    Table {
        name: "archive",
        walk: "id",
        set: "codec = seal_codec(codec), body = reseal_body(codec, 'archive', id, body),
              source_ref = reseal('archive.source_ref', id, source_ref),
              resend_key = resame('archive.resend_key', resend_key)",
    },
    Table {
        name: "content",
        walk: "id",
        set: "codec = seal_codec(codec), body = reseal_body(codec, 'content', id, body)",
    },
    Table { name: "entity", walk: "id", set: "key = resame('entity.key', key)" },
    Table { name: "event", walk: "id", set: "head = reseal('event.head', id, head)" },
    Table {
        name: "held",
        walk: "id",
        set: "findings = reseal('held.findings', id, findings), note = reseal('held.note', id, note)",
    },
    Table {
        name: "attachment",
        walk: "rowid",
        set: "codec = seal_codec(codec), body = reseal_body(codec, 'attachment', digest, body)",
    },
    Table { name: "attachment_use", walk: "entity_id", set: "owner = resame('attachment_use.owner', owner)" },
    Table { name: "outbox", walk: "id", set: "last_message = reseal('outbox.last_message', id, last_message)" },
    Table { name: "unknown_code", walk: "id", set: "value = resame('unknown_code.value', value)" },
    Table { name: "reconcile_item", walk: "run_id", set: "key = resame('entity.key', key)" },
    Table { name: "apply_run", walk: "id", set: "what = resame('apply_run.what', what)" },
    Table {
        name: "shadow_found",
        walk: "id",
        set: "subject = resame('shadow_found.subject', subject),
              differences = reseal('shadow_found.differences', id, differences)",
    },
    Table { name: "audit", walk: "id", set: "detail = reseal('audit.detail', at, detail)" },
];

/// Sealed bodies are longer, so the archive's sums are others.
const KEPT: &str = "UPDATE volume SET kept = found.n
    FROM (SELECT received_at / 86400000000 AS day, sum(length(body)) AS n FROM archive GROUP BY 1) AS found
    WHERE found.day = volume.day";

/// Whether some of the store is not sealed under its newest key yet.
pub(super) fn is_pending(conn: &Connection) -> Result<bool, Error> {
    let found = conn.query_row("SELECT 1 FROM vault_work", (), |_| Ok(())).optional();
    Ok(found.map_err(Error::sqlite("seal the store anew"))?.is_some())
}

/// Goes on where it ended, to the end. `told` hears how many of how many tables are done, after each transaction.
pub(super) fn finish(conn: &mut Connection, vault: &Vault, told: &mut dyn FnMut(usize, usize)) -> Result<(), Error> {
    let failed = || Error::sqlite("seal the store anew");
    if !is_pending(conn)? {
        return Ok(());
    }
    // What is replaced is overwritten, not only let go.
    conn.execute_batch("PRAGMA secure_delete = ON").map_err(failed())?;
    while let Some(step) = advance(conn, vault)? {
        told(step, TABLES.len() + 1);
    }
    let scrub: bool = conn.query_row("SELECT scrub FROM vault_work", (), |row| row.get(0)).map_err(failed())?;
    if scrub {
        // Pages that were freed before, and remnants in others, hold plain text still.
        // Its copy goes through a file, not through memory: it is as large as the store, and encrypted by now.
        let vacuum = conn.execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY");
        if let Err(error) = vacuum {
            // What is stored is sealed, and an agent that does not start is worse: tried again at the next start.
            tracing::warn!(%error, "the store's file can't be rewritten: plain text may be left in its free pages");
            return conn.execute_batch("PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY").map_err(failed());
        }
    }
    let transaction = conn.transaction().map_err(failed())?;
    transaction.execute(KEPT, ()).map_err(failed())?;
    let old = "DELETE FROM vault_key WHERE generation < (SELECT max(generation) FROM vault_key)";
    transaction.execute(old, ()).map_err(failed())?;
    transaction.execute("DELETE FROM vault_work", ()).map_err(failed())?;
    transaction.commit().map_err(failed())?;
    let checkpoint = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, i64>(0));
    if checkpoint.map_err(failed())? != 0 {
        tracing::warn!("the store's log could not be emptied: a reader has it open; old pages stay in it until then");
    }
    conn.execute_batch("PRAGMA secure_delete = OFF").map_err(failed())
}

/// Opens everything for good, by functions that open what they would seal anew, and forgets the keys. Not in steps: only
/// for a copy that is thrown away where this does not come to its end.
pub(super) fn strip(conn: &mut Connection) -> Result<(), Error> {
    let failed = || Error::sqlite("open what is sealed");
    let transaction = conn.transaction().map_err(failed())?;
    for Table { name, set, .. } in TABLES {
        transaction.execute(&format!("UPDATE {name} SET {set}"), ()).map_err(failed())?;
    }
    transaction.execute("UPDATE search SET word = resame('search.word', word)", ()).map_err(failed())?;
    transaction.execute(KEPT, ()).map_err(failed())?;
    transaction.execute("DELETE FROM vault_key", ()).map_err(failed())?;
    transaction.commit().map_err(failed())
}

/// Seals so many batches of rows and ends, as if it were cut off; whether there is more to do.
#[cfg(test)]
pub(super) fn stop_after(conn: &mut Connection, vault: &Vault, batches: usize) -> Result<bool, Error> {
    for _ in 0..batches {
        advance(conn, vault)?;
    }
    is_pending(conn)
}

/// Seals some rows; the number of the table that is under way, or `None` at the end.
fn advance(conn: &mut Connection, vault: &Vault) -> Result<Option<usize>, Error> {
    let failed = || Error::sqlite("seal the store anew");
    let transaction = conn.transaction().map_err(failed())?;
    let place = "SELECT step, after FROM vault_work";
    let (step, after): (i64, i64) =
        transaction.query_row(place, (), |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed())?;
    let at = usize::try_from(step).unwrap_or(usize::MAX);
    let last: Option<i64> = match TABLES.get(at) {
        Some(Table { name, walk, set }) => {
            let sql = format!(
                "SELECT max(n) FROM (SELECT {walk} AS n FROM {name} WHERE {walk} > ?1 ORDER BY {walk} LIMIT {STEP})"
            );
            let last: Option<i64> = transaction.query_row(&sql, (after,), |row| row.get(0)).map_err(failed())?;
            if let Some(last) = last {
                let sql = format!("UPDATE {name} SET {set} WHERE {walk} > ?1 AND {walk} <= ?2");
                transaction.execute(&sql, (after, last)).map_err(failed())?;
            }
            last
        }
        None if at == TABLES.len() => words(&transaction, vault)?.then_some(i64::MIN),
        None => return Ok(None),
    };
    let (step, after) = match last {
        Some(last) => (step, last),
        None => (step + 1, i64::MIN),
    };
    transaction.execute("UPDATE vault_work SET step = ?1, after = ?2", params![step, after]).map_err(failed())?;
    transaction.commit().map_err(failed())?;
    Ok(Some(at))
}

/// Seals some search words; `false` where all of them are. They are the key of their table, so they are found by what
/// they begin with instead of by a place.
fn words(conn: &Connection, vault: &Vault) -> Result<bool, Error> {
    let failed = || Error::sqlite("seal the store anew");
    let Some((from, to)) = vault.alike_range() else { return Ok(false) };
    let mut found: Vec<String> = Vec::new();
    for (sql, bound) in
        [("SELECT word FROM search WHERE word < ?1", from), ("SELECT word FROM search WHERE word >= ?1", to)]
    {
        let mut statement = conn.prepare_cached(&format!("{sql} ORDER BY word LIMIT {STEP}")).map_err(failed())?;
        let rows = statement.query_map((bound,), |row| row.get(0)).map_err(failed())?;
        found.extend(rows.collect::<rusqlite::Result<Vec<String>>>().map_err(failed())?);
    }
    found.dedup();
    for word in &found {
        let sql = "UPDATE OR REPLACE search SET word = resame('search.word', word) WHERE word = ?1";
        conn.prepare_cached(sql).and_then(|mut change| change.execute((word,))).map_err(failed())?;
        // A word that can't be opened stays what it is, and finds nothing.
        let sql = "DELETE FROM search WHERE word = ?1";
        conn.prepare_cached(sql).and_then(|mut change| change.execute((word,))).map_err(failed())?;
    }
    Ok(!found.is_empty())
}
