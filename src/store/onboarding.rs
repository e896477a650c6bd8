//! A new stream delivers once its first sample is in order: an inverted code table, swapped columns or an empty view
//! show there, before upstream has anything of it.
//!
//! Until then its records are taken in as ever; only their events have no due time. The sample is what the stream's
//! entities are now, so that a mapping that was corrected is judged anew.

use std::time::Duration;

use connector_api::StreamId;
use rusqlite::Connection;

use super::codec::unpack;
use super::figures::{self, Figures, share};
use super::held::{self, Leg};
use super::writer::Tx;
use super::{Error, Reader, Store, ledger, outbox, query};
use crate::model::{Finding, Severity};

/// The reason code of a stream that waits.
pub(super) const ONBOARDING: &str = "onboarding";

/// So many entities are looked at: enough to judge shares, few enough to be read at once.
const SAMPLE: i64 = 500;

/// When a new stream's first sample is in order. Shares are in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartPolicy {
    /// It is judged once there are so many entities, or after the first complete round.
    pub records: u32,
    /// A stream without rounds (push) is judged this long after its first record, however few there are.
    pub settle: Duration,
    /// Fewer entities than this say nothing about shares; two people whose sex contradicts their ID always do.
    pub min_sample: u32,
    /// At least so many valid citizen IDs agree with the sex.
    pub sex_agrees: u32,
    /// At most so many values are empty.
    pub empty: u32,
    /// At most so many values are abnormal by the source's flag.
    pub flagged: u32,
    /// At most so many entities hold an unknown code.
    pub unknown: u32,
}

impl Default for StartPolicy {
    fn default() -> StartPolicy {
        StartPolicy {
            records: 30,
            settle: Duration::from_secs(10 * 60),
            min_sample: 10,
            sex_agrees: 95,
            empty: 50,
            flagged: 60,
            unknown: 30,
        }
    }
}

/// A stream whose events wait.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Onboarding {
    /// `source/stream`.
    pub stream: String,
    /// Since when.
    pub since: chrono::DateTime<chrono::Utc>,
    /// The open held item that says why, where it was judged and is not in order.
    pub held_id: Option<i64>,
}

/// Why the sample is not in order; empty where it is. `before`: it was not when it was judged last.
fn doubts(policy: &StartPolicy, figures: &Figures, before: bool) -> Vec<Finding> {
    let n = |name: &str| figures.get(name).copied().unwrap_or(0);
    let mut findings = Vec::new();
    let mut doubt = |text: String| findings.push(Finding::new(ONBOARDING, Severity::Hold, "", text));
    let disagree = n("ids") - n("ids_agree");
    // One alone may be one person's mistake, and is held by itself; or the last one that a corrected mapping has not yet
    // been applied to, where there were more before.
    if disagree > i64::from(!before)
        && share(figures, "ids_agree", "ids").is_some_and(|agree| agree < f64::from(policy.sex_agrees))
    {
        doubt(format!("the sex contradicts {disagree} of {} valid identity numbers", n("ids")));
    }
    if n("entities") < i64::from(policy.min_sample) {
        return findings;
    }
    let limits = [
        ("empty", "values", policy.empty, "values are empty"),
        ("flagged", "values", policy.flagged, "values are abnormal"),
        ("unknown", "entities", policy.unknown, "entities hold an unknown code"),
    ];
    for (part, whole, most, what) in limits {
        if share(figures, part, whole).is_some_and(|share| share > f64::from(most)) {
            doubt(format!("{} of {} {what}; at most {most} % are expected", n(part), n(whole)));
        }
    }
    findings
}

/// When a stream's first sample is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Records were committed; more may follow.
    Batch,
    /// A complete round of reading has ended.
    Round,
    /// Now and then.
    Tick,
}

/// What is known of a stream that waits.
struct Waiting {
    stream: i64,
    since: i64,
    entities: i64,
    /// An item is open that says why it waits.
    held: bool,
    /// It was judged, and found not to be in order.
    doubted: bool,
}

impl Reader {
    /// The streams whose events wait for the first sample to be judged, or for a person.
    pub fn onboarding(&self) -> Result<Vec<Onboarding>, Error> {
        let sql = "SELECT s.name, o.since, h.id FROM onboarding o JOIN stream s ON s.id = o.stream_id
                   LEFT JOIN held h ON h.id = o.held_id AND h.state = 'open'
                   WHERE o.state = 'waiting' ORDER BY s.name";
        self.all("read waiting streams", sql, (), |row| {
            Ok(Onboarding { stream: row.get(0)?, since: super::reader::time(row.get(1)?), held_id: row.get(2)? })
        })
    }

    /// `None` for a stream that was never committed to; `Some(None)` for one that delivers.
    fn waiting(&self, stream: &StreamId) -> Result<Option<Option<Waiting>>, Error> {
        let sql = "SELECT o.state IS 'waiting' FROM stream s LEFT JOIN onboarding o ON o.stream_id = s.id
                   WHERE s.name = ?1";
        match self.one("read a waiting stream", sql, (stream.as_str(),), |row| row.get::<_, bool>(0))? {
            None => return Ok(None),
            Some(false) => return Ok(Some(None)),
            Some(true) => {}
        }
        let sql = "SELECT o.stream_id, o.since,
                     (SELECT count(*) FROM (SELECT 1 FROM part p WHERE p.stream_id = o.stream_id LIMIT 1000))
                     + (SELECT count(*) FROM held h WHERE h.state = 'open' AND h.leg = 'record'
                          AND h.stream_id = o.stream_id),
                     EXISTS (SELECT 1 FROM held h WHERE h.id = o.held_id AND h.state = 'open'), o.figures <> '{}'
                   FROM onboarding o JOIN stream s ON s.id = o.stream_id WHERE s.name = ?1 AND o.state = 'waiting'";
        let waiting = self.one("read a waiting stream", sql, (stream.as_str(),), |row| {
            Ok(Waiting {
                stream: row.get(0)?,
                since: row.get(1)?,
                entities: row.get(2)?,
                held: row.get(3)?,
                doubted: row.get(4)?,
            })
        })?;
        Ok(Some(waiting))
    }

    /// The figures of what a stream's entities are now: the newest of them.
    fn sample(&self, stream: i64) -> Result<Figures, Error> {
        let mut figures = Figures::new();
        let sql = "SELECT e.type, c.codec, c.size, opened_body(c.codec, 'content', c.id, c.body)
                   FROM part p JOIN entity e ON e.id = p.entity_id
                   JOIN content c ON c.id = p.content_id WHERE p.stream_id = ?1 AND p.absent IS NULL
                   ORDER BY p.entity_id DESC LIMIT ?2";
        let parts = self.all("read a stream's first sample", sql, (stream, SAMPLE), |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, Vec<u8>>(3)?))
        })?;
        for (kind, codec, size, body) in parts {
            figures::of_entity(&mut figures, ledger::entity_type(&kind)?, &unpack(codec, size, body)?);
        }
        // What is held with its part stored is among the parts already.
        let sql =
            "SELECT opened('held.findings', h.id, h.findings) FROM held h LEFT JOIN part p ON p.entity_id = h.entity_id
                     AND p.stream_id = h.stream_id AND p.archive_id = h.archive_id
                   WHERE h.state = 'open' AND h.leg = 'record' AND h.stream_id = ?1 AND p.entity_id IS NULL
                   ORDER BY h.id DESC LIMIT ?2";
        let held: Vec<String> = self.all("read a stream's first sample", sql, (stream, SAMPLE), |row| row.get(0))?;
        for findings in held {
            let findings: Vec<Finding> = serde_json::from_str(&findings).map_err(|_| Error::Unreadable("a finding"))?;
            figures::of_held(&mut figures, findings.iter().map(|finding| finding.code.as_str()));
        }
        Ok(figures)
    }
}

impl Store {
    /// Judges the first sample of a stream, where it waits for that and there is enough of it. Costs nothing for a
    /// stream that is known to deliver.
    pub async fn judge(&self, stream: &StreamId, moment: Moment) -> Result<(), Error> {
        let Some(policy) = self.start_policy(stream) else { return Ok(()) };
        let asked = stream.clone();
        let waiting = match self.read_now(move |reader| reader.waiting(&asked)).await? {
            Some(Some(waiting)) => waiting,
            Some(None) => {
                self.has_started(stream);
                return Ok(());
            }
            None => return Ok(()),
        };
        let waited = self.now_micros().saturating_sub(waiting.since);
        let settled = waited >= i64::try_from(policy.settle.as_micros()).unwrap_or(i64::MAX);
        if waiting.entities == 0 || (waiting.held && moment == Moment::Batch) {
            return Ok(());
        }
        if !(moment == Moment::Round || settled || waiting.entities >= i64::from(policy.records)) {
            // Whoever waits for longer than a moment sees why, and may let it start.
            if moment == Moment::Tick && waited > 60 * 1_000_000 {
                let text = format!(
                    "{} of {} entities so far; judged {} minutes after the first at the latest",
                    waiting.entities,
                    policy.records,
                    policy.settle.as_secs().div_ceil(60)
                );
                let findings = vec![Finding::new(ONBOARDING, Severity::Hold, "", text)];
                let stream = waiting.stream;
                self.write("hold a new stream", 1, move |tx| hold(tx, stream, &findings, &Figures::new())).await?;
            }
            return Ok(());
        }
        let id = waiting.stream;
        let sample = self.read_now(move |reader| reader.sample(id)).await?;
        let findings = doubts(&policy, &sample, waiting.doubted);
        if findings.is_empty() {
            tracing::info!(%stream, entities = waiting.entities, "its first sample is in order: its events are delivered");
            self.write("start a stream", 1, move |tx| start(tx, id, "hisync", "its first sample is in order")).await
        } else {
            if !waiting.held {
                tracing::warn!(%stream, "its first sample is not in order: its events are held back");
            }
            self.write("hold a new stream", 1, move |tx| hold(tx, id, &findings, &sample)).await
        }
    }
}

/// Whether a stream's events wait.
pub(super) fn waits(conn: &Connection, stream: i64) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM onboarding WHERE stream_id = ?1 AND state = 'waiting'";
    Ok(query::one(conn, "look whether a stream has started", sql, (stream,), |_| Ok(()))?.is_some())
}

/// Lets a stream that was never seen before wait.
pub(super) fn begin(tx: &Tx<'_>, stream: i64) -> Result<(), Error> {
    let sql = "INSERT OR IGNORE INTO onboarding (stream_id, state, since) VALUES (?1, 'waiting', ?2)";
    tx.run("add a waiting stream", sql, (stream, tx.now))?;
    Ok(())
}

/// Opens the item of a stream that waits, or brings it up to date.
fn hold(tx: &mut Tx<'_>, stream: i64, findings: &[Finding], figures: &Figures) -> Result<(), Error> {
    if !waits(tx.conn, stream)? {
        return Ok(());
    }
    let text = serde_json::to_string(findings).map_err(|_| Error::Unreadable("a finding"))?;
    let figures = serde_json::to_string(figures).map_err(|_| Error::Unreadable("figures"))?;
    let sql =
        "SELECT h.id FROM onboarding o JOIN held h ON h.id = o.held_id WHERE o.stream_id = ?1 AND h.state = 'open'";
    let open: Option<i64> = tx.one("look for a held item", sql, (stream,), |row| row.get(0))?;
    let held = match open {
        Some(held) => {
            tx.run(
                "update a held item",
                "UPDATE held SET findings = seal('held.findings', id, ?2) WHERE id = ?1",
                (held, &text),
            )?;
            held
        }
        None => {
            let sql = "SELECT e.type FROM part p JOIN entity e ON e.id = p.entity_id WHERE p.stream_id = ?1
                       UNION ALL SELECT type FROM held WHERE stream_id = ?1 LIMIT 1";
            let kind: Option<String> = tx.one("read a stream's entities", sql, (stream,), |row| row.get(0))?;
            let kind = ledger::kind(kind.as_deref().unwrap_or(super::prepare::UNROUTED))?;
            held::open(
                tx,
                held::New {
                    leg: Leg::Start,
                    stream,
                    archive: None,
                    event: None,
                    kind,
                    entity: None,
                    digest: None,
                    mapping: None,
                    reason: ONBOARDING,
                    findings: &text,
                    until: None,
                },
            )?
        }
    };
    let sql = "UPDATE onboarding SET held_id = ?2, figures = ?3 WHERE stream_id = ?1";
    tx.run("hold a new stream", sql, (stream, held, figures))?;
    Ok(())
}

/// Lets a stream deliver: what waited becomes due.
pub(super) fn start(tx: &mut Tx<'_>, stream: i64, who: &str, note: &str) -> Result<(), Error> {
    let sql = "SELECT held_id FROM onboarding WHERE stream_id = ?1";
    let held: Option<Option<i64>> = tx.one("look for a held item", sql, (stream,), |row| row.get(0))?;
    let sql = "UPDATE onboarding SET state = 'started' WHERE stream_id = ?1 AND state = 'waiting'";
    if tx.run("start a stream", sql, (stream,))? == 0 {
        return Ok(());
    }
    if let Some(Some(held)) = held {
        held::close(tx, held, "released", who, note)?;
    }
    outbox::start(tx, stream)
}

/// Lets streams deliver that are no longer judged.
pub(super) fn start_unjudged(tx: &mut Tx<'_>, streams: &[String]) -> Result<(), Error> {
    for name in streams {
        let sql = "SELECT id FROM stream WHERE name = ?1";
        if let Some(stream) = tx.one("read the stream", sql, (name,), |row| row.get(0))? {
            start(tx, stream, "hisync", "the configuration judges it no more")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(pairs: &[(&str, i64)]) -> Figures {
        pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
    }

    #[test]
    fn a_sex_that_contradicts_identity_numbers_is_doubted_however_few_there_are() {
        let policy = StartPolicy::default();
        assert_eq!(doubts(&policy, &figures(&[("entities", 3), ("ids", 3), ("ids_agree", 2)]), false).len(), 0);
        assert_eq!(doubts(&policy, &figures(&[("entities", 3), ("ids", 3), ("ids_agree", 2)]), true).len(), 1);
        assert_eq!(doubts(&policy, &figures(&[("entities", 3), ("ids", 3)]), false).len(), 1);
        assert_eq!(doubts(&policy, &figures(&[("entities", 100), ("ids", 100), ("ids_agree", 95)]), false).len(), 0);
        assert_eq!(doubts(&policy, &figures(&[("entities", 100), ("ids", 100), ("ids_agree", 94)]), false).len(), 1);
    }

    #[test]
    fn shares_are_doubted_only_of_enough_entities() {
        let policy = StartPolicy::default();
        let few = figures(&[("entities", 9), ("values", 10), ("empty", 10), ("unknown", 9)]);
        assert_eq!(doubts(&policy, &few, false).len(), 0);
        let many = figures(&[("entities", 10), ("values", 10), ("empty", 6), ("flagged", 7), ("unknown", 4)]);
        assert_eq!(doubts(&policy, &many, false).len(), 3);
        let fine = figures(&[("entities", 10), ("values", 10), ("empty", 5), ("flagged", 6), ("unknown", 3)]);
        assert_eq!(doubts(&policy, &fine, false).len(), 0);
    }
}
