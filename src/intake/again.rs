//! Maps archived records again: a person's retry, or a mapping that was corrected.
//!
//! The same decoder, the same mapping, the same commit as at receipt; only the record comes from
//! the archive. The store refuses to let an old record overwrite a newer one.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use connector_api::{Decoder, StreamId};
use tokio_util::sync::CancellationToken;

use super::custody::UNROUTED;
use super::gate::Gate;
use super::normalise::Normaliser;
use crate::model::Outcome;
use crate::store::{ArchivedRecord, Codes, Error, HeldFilter, IncomingBatch, Store};

/// Records that are committed together: few enough that live records wait only a moment.
const BATCH: usize = 50;

/// How often it is asked whether intake goes on.
const CLOSED_CHECK: Duration = Duration::from_secs(5);

/// The mapping and the decoder of each configured stream.
pub type Readers = HashMap<StreamId, (Normaliser, Arc<dyn Decoder>)>;

/// Maps archived records again.
#[derive(Clone)]
pub struct Again {
    store: Store,
    streams: Arc<Readers>,
    gate: Option<Arc<Gate>>,
}

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Retried {
    /// Records that were mapped again.
    pub mapped: u64,
    /// Held items among those asked for that are still open afterwards.
    pub still_held: u64,
    /// Records whose stream is no longer configured; nothing was done with them.
    pub without_stream: u64,
    /// Records that fit none of their source's streams, or more than one; nothing was done with them.
    pub unrouted: u64,
}

impl Again {
    /// Knows the decoder and the mapping in force of each configured stream.
    pub fn new(store: Store, streams: Readers) -> Again {
        Again { store, streams: Arc::new(streams), gate: None }
    }

    /// Waits with what nobody asked for while intake is stopped: it makes events too.
    #[must_use]
    pub fn behind(self, gate: Arc<Gate>) -> Again {
        Again { gate: Some(gate), ..self }
    }

    async fn admitted(&self, stop: &CancellationToken) {
        while self.gate.as_ref().is_some_and(|gate| gate.closed().is_some()) && !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(CLOSED_CHECK) => {}
            }
        }
    }

    /// The decoder and mapping of each stream.
    pub fn readers(&self) -> &Readers {
        &self.streams
    }

    /// The decoder and mapping of a stream.
    pub fn of(&self, stream: &StreamId) -> Option<&(Normaliser, Arc<dyn Decoder>)> {
        self.streams.get(stream)
    }

    /// Maps what a person asks for again.
    pub async fn retry(&self, filter: HeldFilter, who: &str) -> Result<Retried, Error> {
        let mut report = Retried::default();
        let mut after = 0;
        loop {
            let asked = filter.clone();
            let records = self.store.read(move |reader| reader.held_records(&asked, after, BATCH)).await?;
            let Some(last) = records.last() else { break };
            after = last.cursor;
            for record in &records {
                self.store.audit(who, "held-retry", &format!("archive/{}", record.archive_id), "").await?;
            }
            self.commit(records, &mut report).await?;
        }
        let asked = HeldFilter { open_only: true, ..filter };
        let open = self.store.read(move |reader| reader.held_list(&asked, 10_000, 0)).await?;
        report.still_held = open.iter().filter(|item| item.leg == "record").count() as u64;
        Ok(report)
    }

    /// Maps again what the mapping in force concerns: whatever a version of it that reads differently held or made;
    /// where it only knows more codes, the records that hold one of these. Interrupted, it goes on where it is: what
    /// was done is under the new version.
    pub async fn catch_up(&self, stop: &CancellationToken) -> Result<(), Error> {
        for (stream, (normaliser, _)) in self.streams.iter() {
            let mapping = normaliser.mapping();
            let version = normaliser.version().to_owned();
            let owned = |(name, pairs): (&str, BTreeMap<&str, &str>)| {
                let pairs = pairs.into_iter().map(|(local, standard)| (local.to_owned(), standard.to_owned()));
                (name.to_owned(), pairs.collect())
            };
            let codes: Codes = mapping.codes().into_iter().map(owned).collect();
            self.store.remember_codes(&version, mapping.base(), codes).await?;
            let mut report = Retried::default();
            for held in [true, false] {
                let mut after = 0;
                while !stop.is_cancelled() {
                    self.admitted(stop).await;
                    let (stream, version) = (stream.clone(), version.clone());
                    let records = self
                        .store
                        .read(move |reader| match held {
                            true => reader.stale_held(&stream, &version, after, BATCH),
                            false => reader.stale_parts(&stream, &version, after, BATCH),
                        })
                        .await?;
                    let Some(last) = records.last() else { break };
                    after = last.cursor;
                    self.commit(records, &mut report).await?;
                }
            }
            self.newly_known(stream, normaliser, stop, &mut report).await?;
            if report.mapped > 0 {
                tracing::info!(%stream, mapping = version, records = report.mapped, "mapped again under the mapping in force");
            }
        }
        Ok(())
    }

    /// Maps the records again that hold a code which the mapping in force has come to know.
    async fn newly_known(
        &self,
        stream: &StreamId,
        normaliser: &Normaliser,
        stop: &CancellationToken,
        report: &mut Retried,
    ) -> Result<(), Error> {
        let asked = stream.clone();
        let unknown = self.store.read(move |reader| reader.unknown_codes_of(&asked)).await?;
        for code in unknown {
            let uses = normaliser.mapping().codes_of(&code.path);
            let Some(known) = uses.iter().find(|used| used.knows(&code.value)) else { continue };
            let before = report.mapped;
            let mut after = 0;
            while !stop.is_cancelled() {
                self.admitted(stop).await;
                let id = code.id;
                let records = self.store.read(move |reader| reader.records_with_code(id, after, BATCH)).await?;
                let Some(last) = records.last() else { break };
                after = last.cursor;
                self.commit(records, report).await?;
            }
            let detail = format!("table {}: {} records mapped again", known.table(), report.mapped - before);
            self.store.audit("hisync", "codes-applied", &format!("stream {stream}"), &detail).await?;
        }
        Ok(())
    }

    async fn commit(&self, records: Vec<ArchivedRecord>, report: &mut Retried) -> Result<(), Error> {
        // Records of one stream are committed together, in the archive's order.
        let mut batches: Vec<IncomingBatch> = Vec::new();
        for record in records {
            let Some(stream) = self.route(&record) else {
                report.unrouted += 1;
                continue;
            };
            let Some((normaliser, decoder)) = self.streams.get(&stream) else {
                report.without_stream += 1;
                continue;
            };
            let document = decoder.decode(&record.raw);
            let incoming = normaliser.again(record.archive_id, record.raw, &document, record.source_ref);
            report.mapped += 1;
            match batches.last_mut() {
                Some(batch) if batch.stream == stream => batch.records.push(incoming),
                _ => batches.push(IncomingBatch { stream, records: vec![incoming], advance: None, snapshot: None }),
            }
        }
        for batch in batches {
            self.store.commit(batch).await?;
        }
        Ok(())
    }

    /// The stream whose mapping applies: the record's own. What fitted no stream when it came goes to the only stream
    /// of its source, where there is just one; else to the only one whose mapping vouches for all that it makes of it.
    fn route(&self, record: &ArchivedRecord) -> Option<StreamId> {
        let source = record.stream.source();
        if record.stream != StreamId::new(&source, UNROUTED) {
            return Some(record.stream.clone());
        }
        let of_source: Vec<_> = self.streams.iter().filter(|(stream, _)| stream.source() == source).collect();
        if let [(only, _)] = of_source.as_slice() {
            return Some((*only).clone());
        }
        let mut fits = of_source.into_iter().filter(|(_, (normaliser, decoder))| {
            let outcomes =
                normaliser.outcomes(&decoder.decode(&record.raw), &record.source_ref, record.raw.charset.as_deref());
            outcomes.iter().all(|outcome| matches!(outcome, Outcome::Mapped(_)))
        });
        let (first, _) = fits.next()?;
        fits.next().is_none().then(|| first.clone())
    }
}
