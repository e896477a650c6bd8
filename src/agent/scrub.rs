//! Looks for damage of the store's file before somebody needs what is damaged: at once after a sign of it, else once a
//! day, a little at a time.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::supervisor::{Supervisor, Task};
use crate::store::{self, Fault, Place, Store};

/// After a start there is other work first.
const SETTLE: Duration = Duration::from_secs(20 * 60);
/// How often everything is looked through.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// How soon after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// The rest after a step, in times of the step: what else the disk has to do goes first.
const REST: u32 = 20;
/// The shortest rest.
const BREATH: Duration = Duration::from_millis(20);
/// Rows that are told of; a disk that fails has many.
const TOLD: usize = 100;

/// Starts the task.
pub(super) fn start(supervisor: &Supervisor, stop: &CancellationToken, store: &Store) -> Task {
    let (store, stop_task) = (store.clone(), stop.clone());
    supervisor.spawn("scrub", stop.clone(), move || {
        let (store, stop) = (store.clone(), stop_task.clone());
        async move {
            run(&store, &stop).await;
            Ok(())
        }
    })
}

async fn run(store: &Store, stop: &CancellationToken) {
    let mut due = Instant::now() + SETTLE;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = store.damage_met() => {
                if let Err(error) = store.examine(stop).await
                    && !stop.is_cancelled()
                {
                    tracing::warn!(error = connector_api::chain(&error), "the store's file could not be examined");
                    // It stays suspected until it could be.
                    due = due.min(Instant::now() + AGAIN);
                }
            }
            () = tokio::time::sleep_until(due) => {
                due = Instant::now() + match pass(store, stop).await {
                    Ok(()) => EVERY,
                    Err(error) => {
                        tracing::warn!(error = connector_api::chain(&error), "the store could not be looked through");
                        AGAIN
                    }
                };
            }
        }
    }
}

/// Looks everything through once: the file's structure, then each body against its digest.
async fn pass(store: &Store, stop: &CancellationToken) -> Result<(), store::Error> {
    store.examine(stop).await?;
    let (mut place, mut rows): (Option<Place>, Vec<Fault>) = (Some(Place::default()), Vec::new());
    while let Some(from) = place {
        let began = Instant::now();
        let (faults, next) = store.look_through(from).await?;
        rows.extend(faults.into_iter().take(TOLD.saturating_sub(rows.len())));
        place = next;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep((began.elapsed() * REST).max(BREATH)) => {}
        }
    }
    if !rows.is_empty() {
        let places: Vec<&str> = rows.iter().take(10).map(|fault| fault.place.as_str()).collect();
        tracing::error!(rows = rows.len(), "rows of the store have changed on the disk: {}", places.join(", "));
    }
    store.looked_through(rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use connector_api::{Raw, StreamId};
    use rusqlite::Connection;
    use serde_json::json;

    use super::*;
    use crate::clock::Clock;
    use crate::mapping::Composer;
    use crate::model::{EntityKey, EntityType, Mapped, Outcome, Wish};
    use crate::store::{Incoming, IncomingBatch, Options, Unreadable};

    async fn store_of(dir: &std::path::Path) -> Store {
        let options = Options { hospital: "demo-001".into(), agent_version: "0".into(), lane: None };
        Store::open(dir, options, Arc::new(Composer), Clock::system()).unwrap()
    }

    fn batch(records: std::ops::Range<usize>) -> IncomingBatch {
        let record = |n| {
            let mapped = Mapped {
                key: EntityKey::new(EntityType::ExamReport, format!("main:lab:{n}")),
                wish: Wish::Present,
                data: format!("{{\"n\":{n}}}").into_bytes(),
                search: vec![],
                files: vec![],
                revision: None,
                assembly: None,
            };
            Incoming {
                raw: Raw { format: "text/plain".into(), charset: None, body: format!("record {n}").repeat(40).into() },
                source_ref: "F".into(),
                resend_key: None,
                mapping_version: "demo@1".into(),
                archived: None,
                outcomes: vec![Outcome::Mapped(mapped)],
            }
        };
        let stream = StreamId::parse("lab/reports").unwrap();
        IncomingBatch { stream, records: records.map(record).collect(), advance: None, snapshot: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_has_changed_is_found_by_a_pass_and_intake_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_of(dir.path()).await;
        store.commit(batch(0..200)).await.unwrap();
        pass(&store, &CancellationToken::new()).await.unwrap();
        assert_eq!(store.damage(), None);

        let other = Connection::open(dir.path().join("hisync.db")).unwrap();
        other.execute_batch("UPDATE archive SET digest = zeroblob(32) WHERE id IN (7, 160)").unwrap();
        pass(&store, &CancellationToken::new()).await.unwrap();
        let damage = store.damage().unwrap();
        let places: Vec<&str> = damage.rows.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!((places, store.is_damaged()), (vec!["archive 7", "archive 160"], false));

        other.execute_batch("DELETE FROM archive WHERE id IN (7, 160)").unwrap();
        pass(&store, &CancellationToken::new()).await.unwrap();
        assert_eq!(store.damage(), None);
        store.close().await;
    }

    /// Fills the pages of a table's rows with noughts, in the file.
    fn wipe(dir: &std::path::Path, table: &str) {
        let path = dir.join("hisync.db");
        let conn = Connection::open(&path).unwrap();
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())).unwrap();
        let root: u64 = conn
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", (table,), |row| row.get::<_, i64>(0))
            .unwrap()
            .unsigned_abs();
        drop(conn);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8192], (root - 1) * 8192).unwrap();
    }

    #[tokio::test]
    async fn a_page_that_can_t_be_used_shuts_the_store_until_it_is_examined_and_over_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_of(dir.path()).await;
        store.commit(batch(0..200)).await.unwrap();
        store.close().await;
        let sound = std::fs::read(dir.path().join("hisync.db")).unwrap();
        wipe(dir.path(), "archive");

        let store = store_of(dir.path()).await;
        assert!(!store.is_damaged(), "nobody has looked yet");
        store.commit(batch(200..201)).await.unwrap_err();
        assert!(store.is_damaged());
        store.damage_met().await;
        store.examine(&CancellationToken::new()).await.unwrap();
        let damage = store.damage().unwrap();
        assert!(damage.confirmed && !damage.met.is_empty() && !damage.found.is_empty(), "{damage:?}");
        store.close().await;
        assert_eq!(store::damage_of_folder(dir.path()).unwrap().met, damage.met, "it is remembered");

        let store = store_of(dir.path()).await;
        assert!(store.is_damaged(), "it is remembered over a restart");
        store.close().await;

        // Another file has taken its place.
        std::fs::write(dir.path().join("hisync.db"), sound).unwrap();
        let store = store_of(dir.path()).await;
        assert!(store.is_damaged(), "until it is examined");
        store.damage_met().await;
        store.examine(&CancellationToken::new()).await.unwrap();
        assert_eq!((store.damage(), store::damage_of_folder(dir.path())), (None, None));
        store.commit(batch(200..201)).await.unwrap();
        store.close().await;
    }

    #[tokio::test]
    async fn of_a_damaged_store_the_rest_is_told_and_what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_of(dir.path()).await;
        store.commit(batch(0..200)).await.unwrap();
        store.close().await;
        wipe(dir.path(), "stream");
        let store = store_of(dir.path()).await;
        let (overview, unreadable) = store
            .read(|reader| {
                let mut unreadable = Unreadable::default();
                Ok((reader.overview_in_parts(&mut unreadable), unreadable))
            })
            .await
            .unwrap();
        assert!(overview.size_bytes > 0 && overview.outbox_depth == 200);
        let places: Vec<&str> = unreadable.parts().iter().map(|part| part.place).collect();
        assert_eq!(places, ["/store/streams"]);
        let mut report = serde_json::json!({ "store": overview });
        unreadable.blank(&mut report);
        assert_eq!((&report["store"]["streams"], &report["store"]["held_open"]), (&json!(null), &json!([])));
        assert!(!store.is_damaged());
        store.distrust(&unreadable);
        assert!(store.is_damaged());
        let reasons = crate::ops::verdict::damage_reasons(store.damage().as_ref(), &unreadable);
        assert_eq!(reasons[0].key(), "store-damaged store");
        assert!(reasons[0].text.contains("/store/streams"), "{}", reasons[0].text);
        store.close().await;
    }

    #[tokio::test]
    async fn a_pass_finds_a_page_that_nobody_asks_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = store_of(dir.path()).await;
        store.commit(batch(0..200)).await.unwrap();
        store.close().await;
        wipe(dir.path(), "onboarding");
        let store = store_of(dir.path()).await;
        store.examine(&CancellationToken::new()).await.unwrap();
        assert!(store.is_damaged() && store.damage().unwrap().confirmed);
        store.close().await;
    }
}
