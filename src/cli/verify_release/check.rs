//! Tries this program on a copy of a store: whether it can open it, whether what it would make is what was delivered,
//! and whether it is as fast as the one before. The original is only read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_api::seal::KeyRing;
use serde::{Deserialize, Serialize};

use crate::agent::{self, sources};
use crate::clock::Clock;
use crate::config::Config;
use crate::diagnose::{self, Problem};
use crate::release::{InForce, MappingPair, Plan, Report, escaped, framed, in_force, replay};
use crate::store::{self, IncomingBatch, Options, Reader, ReplayFilter, Store, Verified};

/// Records that are mapped and committed again to see how long that takes.
const WRITTEN: usize = 400;
/// Records of one commit.
const COMMIT: usize = 20;
/// Fewer records say nothing about speed.
const ENOUGH: u64 = 200;
/// So many times slower than the program before is too slow: less may be the machine's other work.
const TOO_SLOW: f64 = 2.0;

/// What is checked.
#[derive(Debug)]
pub(super) struct CheckPlan<'a> {
    /// A data folder, or a backup's file.
    pub(super) against: &'a Path,
    /// The folder in which the copy lies while it is checked.
    pub(super) work: &'a Path,
    /// The configuration in force.
    pub(super) config: Arc<Config>,
    /// So many days before the store's newest record are replayed.
    pub(super) days: u32,
    /// Differences are what is wanted: they are told and decide nothing.
    pub(super) accept_changes: bool,
    /// How fast the program before was on this machine, where that is known.
    pub(super) former: Option<Speed>,
    /// Threads that map.
    pub(super) threads: usize,
}

/// Why nothing was checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// The key of the store can't be read.
    #[error(transparent)]
    Key(#[from] crate::config::KeyError),
    /// The store can't be copied.
    #[error("copy the store")]
    Copy(#[source] store::Error),
    /// The folder for the copy can't be used.
    #[error("make a folder for the copy in {path:?}")]
    Folder {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// A stable word: `copy`, `migrate`, `verify`, `mappings`, `replay`, `speed`.
    pub(super) name: &'static str,
    /// Whether it speaks for the release.
    pub(super) fine: bool,
    /// What was found, one sentence.
    pub(super) text: String,
    /// How long it took, in milliseconds.
    pub(super) took_ms: u64,
}

/// How fast this program is on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Speed {
    /// Records that were replayed.
    pub(super) replayed: u64,
    /// Archived records decoded, mapped and compared in a second, on all threads.
    pub(super) replayed_per_second: f64,
    /// Records that were committed again.
    pub(super) committed: u64,
    /// Records mapped and committed in a second.
    pub(super) committed_per_second: f64,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReleaseCheck {
    /// Whether the release may be installed.
    pub(super) fine: bool,
    /// The version that was checked: this program's.
    pub(super) version: String,
    /// Each step, in order; where one fails so that none can follow, it is the last.
    pub(super) steps: Vec<Step>,
    /// What verifying the migrated copy found.
    pub(super) verified: Option<Verified>,
    /// What would be otherwise than it was delivered.
    pub(super) replay: Option<Report>,
    /// How fast it is.
    pub(super) speed: Option<Speed>,
    /// How fast the one before was.
    pub(super) former: Option<Speed>,
}

/// A folder that goes with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn make(above: &Path) -> Result<Folder, CheckError> {
        let path = above.join(format!("hisync-verify-{}", uuid::Uuid::new_v4()));
        let mut builder = std::fs::DirBuilder::new();
        // It will hold what the store holds.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(|cause| CheckError::Folder { path: above.to_owned(), cause })?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "the copy that was checked could not be removed");
        }
    }
}

impl ReleaseCheck {
    fn step(&mut self, name: &'static str, began: Instant, fine: bool, text: String) {
        self.fine &= fine;
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps.push(Step { name, fine, text, took_ms });
    }
}

/// The report as a page.
pub(super) fn page(check: &ReleaseCheck) -> String {
    let mut html = String::new();
    let verdict = if check.fine { "It may take over" } else { "It must not take over as it is" };
    let _ = writeln!(html, "<p class=\"sum\">hisync {}: {verdict}.</p>\n<table>", escaped(&check.version));
    for step in &check.steps {
        let (word, class) = if step.fine { ("fine", "new") } else { ("not fine", "held-now") };
        let (name, text, took_ms) = (step.name, escaped(&step.text), step.took_ms);
        let _ = writeln!(
            html,
            "<tr><td><span class=\"k {class}\">{word}</span><td>{name}<td>{text}<td class=\"n\">{took_ms} ms</tr>"
        );
    }
    html.push_str("</table>\n");
    framed("hisync verify-release", "Release check", &html, check.replay.as_ref())
}

/// Checks. Blocks its thread for as long as it takes; `told` hears each step as it begins.
pub(super) async fn verify_release(
    plan: &CheckPlan<'_>,
    mut told: impl FnMut(&'static str),
) -> Result<ReleaseCheck, CheckError> {
    let keys = plan.config.store.keys(&plan.config.base_dir)?;
    let keys = keys.as_ref();
    let mut check = ReleaseCheck {
        fine: true,
        version: agent::VERSION.to_owned(),
        steps: Vec::new(),
        verified: None,
        replay: None,
        speed: None,
        former: plan.former,
    };
    told("copy");
    let began = Instant::now();
    let folder = Folder::make(plan.work)?;
    let copied = tokio::task::block_in_place(|| copy(plan.against, &folder.0, keys)).map_err(CheckError::Copy)?;
    check.step("copy", began, copied.fine, copied.text);
    if !check.fine {
        return Ok(check);
    }
    told("migrate");
    let began = Instant::now();
    let migrated = tokio::task::block_in_place(|| migrate(plan, &folder.0, keys));
    let (config, text) = match migrated {
        Ok(found) => found,
        Err(text) => {
            check.step("migrate", began, false, text);
            return Ok(check);
        }
    };
    check.step("migrate", began, true, text);
    let open = || Reader::open_with(&folder.0, keys);
    told("verify");
    let began = Instant::now();
    match tokio::task::block_in_place(|| open()?.verify(&mut |_, _| {})) {
        Ok(verified) => {
            let faults = verified.faults.len() as u64 + verified.more;
            let text = format!("{} records, {} contents: {faults} faults", verified.records, verified.contents);
            check.step("verify", began, faults == 0, text);
            check.verified = Some(verified);
        }
        Err(error) => check.step("verify", began, false, connector_api::chain(&error)),
    }
    told("replay");
    let began = Instant::now();
    match tokio::task::block_in_place(|| past(plan, &config, &open)) {
        Ok(report) => {
            let took = began.elapsed();
            let not_compared: u64 = report.not_compared.values().sum();
            let text = format!(
                "{} of {} entities of the last {} days would change ({:.2} %), {not_compared} could not be compared",
                report.changed, report.entities, plan.days, report.changed_percent
            );
            check.step("replay", began, plan.accept_changes || report.changed == 0, text);
            let looked = report.records + report.overtaken;
            check.speed =
                Some(Speed { replayed: looked, replayed_per_second: per_second(looked, took), ..Speed::default() });
            check.replay = Some(report);
        }
        Err(error) => check.step("replay", began, false, connector_api::chain(&error)),
    }
    told("speed");
    let began = Instant::now();
    match written(&config, &folder.0, keys).await {
        Ok((committed, took)) => {
            let speed = check.speed.get_or_insert_default();
            speed.committed = committed;
            speed.committed_per_second = per_second(committed, took);
            let (fine, text) = judge(*speed, plan.former);
            check.step("speed", began, fine, text);
        }
        Err(error) => check.step("speed", began, false, connector_api::chain(&error)),
    }
    Ok(check)
}

fn per_second(n: u64, took: Duration) -> f64 {
    // Rounded, so that it can be read.
    (n as f64 / took.as_secs_f64().max(0.001)).round()
}

/// Whether it is as fast as the one before.
fn judge(now: Speed, former: Option<Speed>) -> (bool, String) {
    let text =
        format!("{} records replayed and {} committed in a second", now.replayed_per_second, now.committed_per_second);
    let Some(former) = former else { return (true, format!("{text}; nothing is known of the version before")) };
    let slower =
        |n: u64, before_n: u64, rate: f64, before: f64| n >= ENOUGH && before_n >= ENOUGH && rate * TOO_SLOW < before;
    let fine = !slower(now.replayed, former.replayed, now.replayed_per_second, former.replayed_per_second)
        && !slower(now.committed, former.committed, now.committed_per_second, former.committed_per_second);
    let before = format!("{} and {} before", former.replayed_per_second, former.committed_per_second);
    (fine, format!("{text}; {before}"))
}

struct CopyDone {
    fine: bool,
    text: String,
}

/// Copies a store, beside an agent that runs on it, or a backup.
fn copy(against: &Path, to: &Path, keys: Option<&KeyRing>) -> Result<CopyDone, store::Error> {
    let live = match against.is_dir() {
        true => Some(against),
        // The file of a store in its folder may have a log beside it.
        false => against.parent().filter(|_| against.file_name() == Some(store::file_name())),
    };
    let copied = match live {
        Some(folder) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            store::backup(folder, keys, &to.join(store::file_name()), false, &mut |_, _| {})?
        }
        None => store::restore(against, to, keys, false, &mut |_, _| {})?,
    };
    let mib = std::fs::metadata(&copied.path).map_or(0, |file| file.len()) >> 20;
    let fine = copied.is_whole();
    Ok(CopyDone { fine, text: if fine { format!("{mib} MiB") } else { "the store is damaged".to_owned() } })
}

/// Lets this program open the copy; answers the configuration in force and what was done.
fn migrate(plan: &CheckPlan<'_>, folder: &Path, keys: Option<&KeyRing>) -> Result<(Arc<Config>, String), String> {
    let told = |error: store::Error| connector_api::chain(&error);
    let before = store::layout_of(folder).map_err(told)?;
    let config = &plan.config;
    let opened = Store::open_with(folder, options(config), Arc::new(sources::site(config)), Clock::system(), keys);
    drop(opened.map_err(told)?);
    let promoted = Reader::open_with(folder, keys).and_then(|reader| reader.promoted()).map_err(told)?;
    let in_force = in_force(config.clone(), &promoted);
    let InForce { config, .. } = in_force.map_err(|problems: Vec<Problem>| diagnose::render(&problems, false))?;
    let after = store::layout_of(folder).map_err(told)?;
    let text = match before == after {
        true => format!("layout {after}, as before"),
        false => format!("layout {before} became {after}"),
    };
    Ok((config, text))
}

fn options(config: &Config) -> Options {
    Options {
        hospital: config.agent.hospital.clone(),
        agent_version: agent::VERSION.to_owned(),
        lane: config.agent.lane.clone(),
    }
}

/// Replays the last days.
fn past(
    plan: &CheckPlan<'_>,
    config: &Config,
    open: &(dyn Fn() -> Result<Reader, store::Error> + Sync),
) -> Result<Report, store::Error> {
    let reader = open()?;
    let newest = reader.newest_record()?;
    let since = match newest {
        0 => None,
        id => reader.received_at(id)?.map(|at| at - chrono::TimeDelta::days(i64::from(plan.days))),
    };
    let version = |stream: &crate::config::StreamConfig| {
        let version = stream.mapping.version().to_owned();
        MappingPair { stream: stream.id.to_string(), configured: version.clone(), tried: version }
    };
    let plan = Plan {
        readers: &sources::decoders(config),
        composer: &sources::site(config),
        filter: ReplayFilter { since, ..ReplayFilter::default() },
        mappings: config.sources.iter().flat_map(|source| &source.streams).map(version).collect(),
        threads: plan.threads,
    };
    replay(open, &plan, |_| {})
}

/// Maps and commits the newest records again, in the copy.
async fn written(config: &Config, folder: &Path, keys: Option<&KeyRing>) -> Result<(u64, Duration), store::Error> {
    let composer = Arc::new(sources::site(config));
    let store = Store::open_with(folder, options(config), composer, Clock::system(), keys)?;
    let readers = sources::decoders(config);
    let reader = Reader::open_with(folder, keys)?;
    let ids = reader.newest_records(WRITTEN)?;
    let began = Instant::now();
    let mut n = 0;
    for ids in ids.chunks(COMMIT) {
        let mut batches: Vec<IncomingBatch> = Vec::new();
        for id in ids {
            let Ok(record) = reader.replayed_record(*id) else { continue };
            let Some((normaliser, decoder)) = readers.get(&record.stream) else { continue };
            let document = decoder.decode(&record.raw);
            let incoming = normaliser.again(record.archive_id, record.raw, &document, record.source_ref);
            n += 1;
            match batches.last_mut() {
                Some(batch) if batch.stream == record.stream => batch.records.push(incoming),
                _ => batches.push(IncomingBatch {
                    stream: record.stream,
                    records: vec![incoming],
                    advance: None,
                    snapshot: None,
                }),
            }
        }
        for batch in batches {
            store.commit(batch).await?;
        }
    }
    let took = began.elapsed();
    store.close().await;
    Ok((n, took))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_slower_than_before_is_not_fine_and_too_few_records_say_nothing() {
        let speed =
            |n, rate| Speed { replayed: n, replayed_per_second: rate, committed: n, committed_per_second: rate };
        assert!(judge(speed(1_000, 900.0), None).0);
        assert!(judge(speed(1_000, 900.0), Some(speed(1_000, 1_000.0))).0);
        assert!(!judge(speed(1_000, 400.0), Some(speed(1_000, 1_000.0))).0);
        assert!(judge(speed(10, 400.0), Some(speed(1_000, 1_000.0))).0);
    }
}
