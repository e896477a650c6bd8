//! What a person can do to held items: the same acts for the page, the API and the command line.

use serde::Serialize;

use crate::intake::Again;
use crate::store::{Error, HeldFilter, Store};

/// What an act did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Done {
    /// Items that were settled.
    pub settled: u64,
    /// Items that are still held afterwards.
    pub still_held: u64,
    /// Why some are, each once.
    pub problems: Vec<String>,
}

impl Done {
    fn problem(&mut self, text: String) {
        self.still_held += 1;
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }
}

/// Maps held records again, and sends held events again.
pub async fn retry(store: &Store, again: &Again, filter: HeldFilter, who: &str) -> Result<Done, Error> {
    let open = HeldFilter { open_only: true, ..filter };
    let asked = open.clone();
    let items = store.read(move |reader| reader.held_list(&asked, 100_000, 0)).await?;
    if let (Some(id), true) = (open.id, items.is_empty()) {
        return Err(Error::NotFound { what: "open held item", id });
    }
    let mut done = Done::default();
    let records = items.iter().filter(|item| item.leg == "record").count() as u64;
    if records > 0 {
        let report = again.retry(open, who).await?;
        done.settled += records.saturating_sub(report.still_held);
        done.still_held += report.still_held;
        if report.without_stream > 0 {
            done.problems.push(format!("{} records are of a stream that is not configured", report.without_stream));
        }
        if report.unrouted > 0 {
            let text = format!("{} records fit none of their source's streams, or more than one", report.unrouted);
            done.problems.push(text);
        }
        if report.still_held > report.without_stream + report.unrouted {
            done.problems.push("the mapping in force does not accept them either: show an item to see why".into());
        }
    }
    for item in &items {
        match item.leg.as_str() {
            "record" => {}
            "outbox" => match store.held_retry_outbox(item.id, who).await {
                Ok(()) => done.settled += 1,
                Err(error @ (Error::Superseded | Error::Refused(_))) => done.problem(error.to_string()),
                Err(error) => return Err(error),
            },
            _ => done.problem("this is released or dismissed, not retried".to_owned()),
        }
    }
    Ok(done)
}

/// Carries out bulk withdrawals.
pub async fn release(store: &Store, filter: HeldFilter, who: &str) -> Result<Done, Error> {
    each(store, filter, |id| async move { store.held_release(id, who).await.map(drop) }).await
}

/// Closes items without doing what they ask for.
pub async fn dismiss(store: &Store, filter: HeldFilter, who: &str, because: &str) -> Result<Done, Error> {
    each(store, filter, |id| async move { store.held_dismiss(id, who, because).await }).await
}

async fn each<F, Fut>(store: &Store, filter: HeldFilter, act: F) -> Result<Done, Error>
where
    F: Fn(i64) -> Fut,
    Fut: Future<Output = Result<(), Error>>,
{
    let asked = HeldFilter { open_only: true, ..filter };
    let id = asked.id;
    let items = store.read(move |reader| reader.held_list(&asked, 100_000, 0)).await?;
    if let (Some(id), true) = (id, items.is_empty()) {
        return Err(Error::NotFound { what: "open held item", id });
    }
    let mut done = Done::default();
    for item in items {
        match act(item.id).await {
            Ok(()) => done.settled += 1,
            Err(error @ (Error::Superseded | Error::Refused(_))) => done.problem(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
