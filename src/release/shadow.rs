//! A candidate that runs beside the mapping in force: what came in is looked at once more, apart from the way on which
//! it came, and what would be otherwise is noted. It delivers nothing; its failures and its slowness are its own.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;

use super::diff::Difference;
use super::examine::{Examiner, Found, Look, Subject, Verdict};
use super::tally::{MappingPair, Report, Tally, short};
use crate::intake::Readers;
use crate::model::{Compose, EntityType};
use crate::store::{Error, Promoted, Reader, ReplayFilter, ShadowRow, ShadowRun, ShadowStep};

/// Records that are looked at in one step.
const STEP: usize = 16;
/// Findings that a person decides about, of which so many are looked at again in one step.
const AGAIN: usize = 8;
/// Findings that are read at once.
const PAGE: usize = 500;
/// Differences of one entity that are kept; a report with more of them has none in common with its version before.
const DIFFERENCES: usize = 2_000;

/// The words of verdicts as they are stored; all others are reasons why something can't be compared.
const SAME: &str = "same";
const CHANGED: &str = "changed";
const HELD: &str = "held";
const HELD_RECORD: &str = "held-record";
/// Why a record that makes the candidate fail is not compared.
const FAILED: &str = "candidate-failed";

/// What is tried.
pub(crate) struct Trial {
    /// Decoders and mappings, those of the candidate in their places.
    pub(crate) readers: Readers,
    /// Makes entities of parts, as the candidate does.
    pub(crate) composer: Box<dyn Compose>,
}

/// Looks at what has come in; answers what was found and whether there is more. `again` is the last finding that was
/// looked at again, which a person decides about.
pub(crate) fn step(
    reader: &Reader,
    trial: &Trial,
    run: i64,
    again: &mut i64,
) -> Result<Option<(ShadowStep, bool)>, Error> {
    let Some(from) = reader.shadow_cursors(run)? else { return Ok(None) };
    let mut work = reader.shadow_work(from, STEP)?;
    let held = reader.shadow_held(run, *again, AGAIN)?;
    *again = held.last().filter(|_| held.len() == AGAIN).map_or(0, |(id, _)| *id);
    for (_, archive) in held {
        if !work.records.contains(&archive) {
            work.records.push(archive);
        }
    }
    let filter = ReplayFilter::default();
    let examiner = Examiner { reader, readers: &trial.readers, composer: &*trial.composer, filter: &filter };
    let mut step = ShadowStep { cursors: work.cursors, ..ShadowStep::default() };
    for id in work.records {
        let look = match catch_unwind(AssertUnwindSafe(|| examiner.record(id))) {
            Ok(look) => look?,
            Err(_) => Look {
                found: vec![Found {
                    subject: Subject::Record(id),
                    entity: EntityType::ExamReport,
                    archive_id: id,
                    held: false,
                    records: Vec::new(),
                    verdict: Verdict::Unknown(FAILED.into()),
                }],
                ..Look::default()
            },
        };
        step.looked.push(id);
        // What is looked at again was counted.
        let new = id > from.archive;
        step.mapped += i64::from(look.mapped && new);
        step.overtaken += i64::from(look.overtaken && new);
        for found in look.found {
            if let Subject::Entity(_, key) = &found.subject {
                step.gone.push(name(&Subject::New(key.clone())));
            }
            let row = row(found);
            // The later look at one subject counts.
            step.rows.retain(|known| known.subject != row.subject);
            step.rows.push(row);
        }
    }
    Ok(Some((step, work.more)))
}

/// What a finding is kept under: no two subjects have the same name.
fn name(subject: &Subject) -> String {
    match subject {
        Subject::Entity(id, _) => format!("#{id}"),
        Subject::Record(id) => format!("@{id}"),
        Subject::New(key) => key.subject(),
    }
}

fn row(found: Found) -> ShadowRow {
    let (verdict, differences) = match found.verdict {
        Verdict::Compared(differences) if differences.is_empty() => (SAME.into(), None),
        Verdict::Compared(mut differences) => {
            differences.truncate(DIFFERENCES);
            for difference in &mut differences {
                difference.before = short(&difference.before).into();
                difference.after = short(&difference.after).into();
            }
            (CHANGED.into(), serde_json::to_string(&differences).ok())
        }
        Verdict::StillHeld { counted: true } => (HELD.into(), None),
        Verdict::StillHeld { counted: false } => (HELD_RECORD.into(), None),
        Verdict::Unknown(why) => (why, None),
    };
    ShadowRow {
        subject: name(&found.subject),
        entity: found.entity.as_str().to_owned(),
        archive_id: found.archive_id,
        verdict: verdict.into_owned(),
        held: found.held,
        differences,
    }
}

/// A finding as it was kept, to be counted.
fn found(row: ShadowRow) -> Option<(Found, bool)> {
    let entity: EntityType = row.entity.parse().ok()?;
    let mut listed = true;
    let verdict = match row.verdict.as_str() {
        SAME => Verdict::Compared(Vec::new()),
        CHANGED => {
            let kept = row.differences.as_deref().and_then(|text| serde_json::from_str::<Vec<Difference>>(text).ok());
            listed = kept.is_some();
            Verdict::Compared(kept.unwrap_or_default())
        }
        HELD => Verdict::StillHeld { counted: true },
        HELD_RECORD => Verdict::StillHeld { counted: false },
        why => Verdict::Unknown(Cow::Owned(why.to_owned())),
    };
    let subject = Subject::Record(row.archive_id);
    Some((Found { subject, entity, archive_id: row.archive_id, held: row.held, records: Vec::new(), verdict }, listed))
}

/// The candidate in the shadow, and what is in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShadowStatus {
    /// The newest run; `None` where no candidate ever ran.
    pub run: Option<ShadowRun>,
    /// What the candidate would make otherwise, as `hisync replay --diff` tells it; `None` where none runs.
    pub report: Option<Report>,
    /// Entities that would change, and whose differences are not kept: there are too many. Not in the report.
    pub unlisted: u64,
    /// The streams whose candidate is in force.
    pub promoted: Vec<Promoted>,
}

/// Reads how the candidate does.
pub fn shadow_status(reader: &Reader) -> Result<ShadowStatus, Error> {
    let run = reader.shadow_run()?;
    let promoted = reader.promoted()?;
    let Some(running) = run.as_ref().filter(|run| run.state == "running") else {
        return Ok(ShadowStatus { run, report: None, unlisted: 0, promoted });
    };
    let mut tally = Tally::default();
    let (mut after, mut unlisted) = (0, 0);
    loop {
        let rows = reader.shadow_rows(running.id, after, PAGE)?;
        let Some((last, _)) = rows.last() else { break };
        after = *last;
        for (_, row) in rows {
            match found(row) {
                Some((found, true)) => tally.found(found),
                Some((_, false)) => unlisted += 1,
                None => {}
            }
        }
    }
    tally.went(running.records, running.overtaken);
    let pair = |(stream, (configured, tried)): (&String, &(String, String))| MappingPair {
        stream: stream.clone(),
        configured: configured.clone(),
        tried: tried.clone(),
    };
    let report = tally.report(running.mappings.iter().map(pair).collect());
    Ok(ShadowStatus { run, report: Some(report), unlisted, promoted })
}
