//! Data that neither a part nor an event names any more: what a report of several parts was composed to and turned out
//! to say nothing new, and parts that were replaced before anything was made of them.

use std::sync::PoisonError;

use rusqlite::Params;

use super::writer::Tx;
use super::{Error, Reader, Store, Stride, outbox};

/// So many are remembered at once; the next look finds the others.
const MOST: usize = 100_000;
/// Beyond this id the list of what is named would take more memory (256 MiB) than there is reason for.
const LAST: i64 = 1 << 31;

/// Which ids are named, a bit each.
struct Named(Vec<u64>);

impl Named {
    fn place(id: i64) -> Option<(usize, u64)> {
        let id = usize::try_from(id).ok()?;
        Some((id / 64, 1 << (id % 64)))
    }

    fn add(&mut self, id: i64) {
        if let Some((word, bit)) = Named::place(id)
            && let Some(word) = self.0.get_mut(word)
        {
            *word |= bit;
        }
    }

    fn has(&self, id: i64) -> bool {
        Named::place(id).is_none_or(|(word, bit)| self.0.get(word).is_none_or(|word| word & bit != 0))
    }
}

impl Reader {
    /// Data that nothing names. Once so, always so: what is stored is named in the same transaction, or never.
    fn orphans(&self) -> Result<Vec<i64>, Error> {
        let operation = "look for data that nothing names";
        let _snapshot = self.conn.unchecked_transaction().map_err(Error::sqlite(operation))?;
        let newest = self.one(operation, "SELECT max(id) FROM content", (), |row| row.get::<_, Option<i64>>(0))?;
        let Some(newest) = newest.flatten().filter(|newest| (1..LAST).contains(newest)) else { return Ok(Vec::new()) };
        let mut named = Named(vec![0; usize::try_from(newest / 64 + 1).unwrap_or_default()]);
        self.walk(operation, "SELECT content_id FROM event", (), |id| {
            named.add(id);
            true
        })?;
        self.walk(operation, "SELECT content_id FROM part", (), |id| {
            named.add(id);
            true
        })?;
        let mut orphans = Vec::new();
        self.walk(operation, "SELECT id FROM content ORDER BY id", (), |id| {
            if !named.has(id) {
                orphans.push(id);
            }
            orphans.len() < MOST
        })?;
        Ok(orphans)
    }

    /// Walks over ids until told to end: there may be more of them than should be in memory.
    fn walk(
        &self,
        operation: &'static str,
        sql: &str,
        params: impl Params,
        mut on: impl FnMut(i64) -> bool,
    ) -> Result<(), Error> {
        let failed = || Error::sqlite(operation);
        let mut statement = self.conn.prepare_cached(sql).map_err(failed())?;
        let mut rows = statement.query(params).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            if !on(row.get(0).map_err(failed())?) {
                break;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Gives up at most `most` of the data that nothing names; the first step (`after` 0) looks for it.
    pub(super) async fn give_up_orphans(&self, after: i64, most: usize) -> Result<Stride, Error> {
        let waiting = || self.inner.orphans.lock().unwrap_or_else(PoisonError::into_inner);
        if after == 0 {
            let found = self.read_now(Reader::orphans).await?;
            *waiting() = found;
        }
        let ids: Vec<i64> = {
            let mut waiting = waiting();
            let keep = waiting.len().saturating_sub(most);
            waiting.split_off(keep)
        };
        if ids.is_empty() {
            return Ok(Stride::default());
        }
        let n = ids.len() as u64;
        let bytes = self.write_later("give up data that nothing names", move |tx| take(tx, &ids)).await?;
        Ok(Stride { next: Some(after + 1), n, bytes })
    }
}

fn take(tx: &mut Tx<'_>, ids: &[i64]) -> Result<u64, Error> {
    let operation = "give up data that nothing names";
    let list = outbox::list(ids);
    let sql = "SELECT coalesce(sum(length(c.body)), 0) FROM json_each(?1) j CROSS JOIN content c ON c.id = j.value";
    let bytes = tx.one(operation, sql, (&list,), |row| row.get::<_, i64>(0))?.unwrap_or(0);
    tx.run(operation, "DELETE FROM content WHERE id IN (SELECT value FROM json_each(?1))", (&list,))?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
