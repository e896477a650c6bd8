//! Takes custody of what a listener receives: mapped, committed with fsync, then acknowledged (P1).

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use connector_api::{Intake, Receipt, Record, Refusal, SourceId, StreamId};

use super::board::Board;
use super::gate::Gate;
use super::normalise::{Normaliser, unrouted};
use crate::clock::Clock;
use crate::store::{IncomingBatch, Moment, RecordReceipt, Store};

/// The stream's half of the id under which records that fit no stream are kept.
pub const UNROUTED: &str = "unrouted";

/// The intake that a listener is handed.
pub struct Custody {
    source: SourceId,
    streams: RwLock<Arc<HashMap<StreamId, Normaliser>>>,
    store: Store,
    gate: Arc<Gate>,
    board: Board,
    clock: Clock,
}

impl Custody {
    /// Takes custody for the streams of one source.
    pub fn new(
        source: SourceId,
        streams: HashMap<StreamId, Normaliser>,
        store: Store,
        gate: Arc<Gate>,
        board: Board,
        clock: Clock,
    ) -> Custody {
        Custody { source, streams: RwLock::new(Arc::new(streams)), store, gate, board, clock }
    }

    /// Reads by other mappings from the next message on; what is being committed ends under the old ones.
    pub fn read_by(&self, streams: HashMap<StreamId, Normaliser>) {
        *self.streams.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(streams);
    }

    fn streams(&self) -> Arc<HashMap<StreamId, Normaliser>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[connector_api::async_trait]
impl Intake for Custody {
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal> {
        let unrouted_id = StreamId::new(&self.source, UNROUTED);
        if let Some(closure) = self.gate.closed_for(stream.unwrap_or(&unrouted_id)) {
            return Err(Refusal::Busy { reason: closure.text, retry_after: Duration::from_secs(30) });
        }
        let streams = self.streams();
        let known = stream.and_then(|id| streams.get(id).map(|normaliser| (id, normaliser)));
        let (stream, records) = match known {
            Some((id, normaliser)) => {
                (id.clone(), records.into_iter().map(|record| normaliser.received(record)).collect())
            }
            None => (unrouted_id, records.into_iter().map(unrouted).collect()),
        };
        let batch = IncomingBatch { stream: stream.clone(), records, advance: None, snapshot: None };
        let committed = self.store.commit(batch).await.map_err(|error| {
            tracing::error!(%stream, error = &error as &dyn std::error::Error, "could not commit received records");
            Refusal::Failed { reason: error.to_string() }
        })?;
        // The records are in custody whatever comes of this.
        if let Err(error) = self.store.judge(&stream, Moment::Batch).await {
            tracing::warn!(%stream, error = &error as &dyn std::error::Error, "could not judge the first sample");
        }
        let now = self.clock.now();
        let receipts: Vec<Receipt> = committed.receipts.iter().map(receipt).collect();
        let new = receipts.iter().filter(|receipt| **receipt == Receipt::Stored).count() as u64;
        self.board.update(&stream, |status| {
            status.last_success_at = Some(now);
            status.records += new;
            if new > 0 {
                status.last_record_at = Some(now);
            }
        });
        Ok(receipts)
    }
}

fn receipt(receipt: &RecordReceipt) -> Receipt {
    match receipt {
        RecordReceipt::Stored { .. } => Receipt::Stored,
        RecordReceipt::Resent { .. } | RecordReceipt::Reread => Receipt::Duplicate,
    }
}
