//! An intake for the tests of listeners.

use std::sync::{Arc, Mutex, PoisonError};

use connector_api::{Intake, Receipt, Record, Refusal, StreamId, async_trait};
use tokio::sync::{Notify, Semaphore};

/// One `accept` call.
#[derive(Clone, Debug)]
pub struct Call {
    /// For which stream.
    pub stream: Option<StreamId>,
    /// What was stored; not what was known already.
    pub records: Vec<Record>,
}

type Judge = dyn Fn(&[Record]) -> Option<Refusal> + Send + Sync;

/// Keeps records in memory, and knows one again by resend key and content as the store does; may
/// refuse or wait as a test wishes.
pub struct Kept {
    calls: Mutex<Vec<Call>>,
    judge: Mutex<Box<Judge>>,
    /// A call takes one permit before it returns.
    pub gate: Semaphore,
    /// Told each time a call has come to the gate.
    pub arrived: Notify,
    /// Told each time a call was refused.
    pub refused: Notify,
}

impl Kept {
    /// Takes everything at once.
    pub fn all() -> Arc<Kept> {
        Kept::unless(|_| None)
    }

    /// Refuses what the judge refuses.
    pub fn unless(judge: impl Fn(&[Record]) -> Option<Refusal> + Send + Sync + 'static) -> Arc<Kept> {
        Kept::gated(Semaphore::MAX_PERMITS, judge)
    }

    /// Lets so many calls return.
    pub fn gated(permits: usize, judge: impl Fn(&[Record]) -> Option<Refusal> + Send + Sync + 'static) -> Arc<Kept> {
        Arc::new(Kept {
            calls: Mutex::default(),
            judge: Mutex::new(Box::new(judge)),
            gate: Semaphore::new(permits),
            arrived: Notify::new(),
            refused: Notify::new(),
        })
    }

    /// Refuses from now on what the judge refuses.
    pub fn refuse(&self, judge: impl Fn(&[Record]) -> Option<Refusal> + Send + Sync + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    /// The calls that were accepted, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The stored records, in order.
    pub fn records(&self) -> Vec<Record> {
        self.calls().into_iter().flat_map(|call| call.records).collect()
    }
}

#[async_trait]
impl Intake for Kept {
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal> {
        self.arrived.notify_one();
        self.gate.acquire().await.expect("the gate is never closed").forget();
        if let Some(refusal) = (self.judge.lock().unwrap_or_else(PoisonError::into_inner))(&records) {
            self.refused.notify_one();
            return Err(refusal);
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |record: &Record| {
            let same = |other: &Record| other.resend_key == record.resend_key && other.raw.body == record.raw.body;
            record.resend_key.is_some() && calls.iter().flat_map(|call| &call.records).any(same)
        };
        let receipt = |record| if known(record) { Receipt::Duplicate } else { Receipt::Stored };
        let receipts: Vec<Receipt> = records.iter().map(receipt).collect();
        let new = records.into_iter().zip(&receipts).filter(|(_, receipt)| **receipt == Receipt::Stored);
        let records: Vec<Record> = new.map(|(record, _)| record).collect();
        calls.push(Call { stream: stream.cloned(), records });
        Ok(receipts)
    }
}
