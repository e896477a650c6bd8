//! `hisync replay`: what another mapping, configuration or version would make of the past.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeZone as _, Utc};
use chrono_tz::Tz;
use connector_api::{StreamId, chain};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::access::whoami;
use super::table::table;
use super::{Exit, Terminal};
use crate::agent::{self, sources};
use crate::clock::Clock;
use crate::config::{self, Config, KeyError};
use crate::diagnose::{self, Problem};
use crate::mapping::{Files, Mapping};
use crate::release::{self, Applied, MappingPair, Plan, Report};
use crate::store::{self, Reader, ReplayFilter, Store};

/// Maps archived records under another mapping and compares with what was made of them; changes nothing without
/// --apply.
///
/// Of each entity, the latest record of each stream is decoded, mapped and composed as it would be at receipt, and the
/// result is compared field by field with the newest version that was made for upstream. The store is only read, beside
/// a running agent or without one. Without --mapping, the configuration itself is tried: one that was edited, or one
/// that another version of hisync reads.
///
/// What dictionaries and whole catalogues say of an entity is not tried. Values are masked.
///
/// --apply makes it come true: exactly what differs is mapped again, in small transactions, and its new versions wait to
/// be delivered. No agent may run meanwhile. Interrupted at any moment, it is begun again and goes on. Audited.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync replay -c hisync.toml --mapping mappings.new --diff
  hisync replay -c candidate.toml --since 2026-10-01 --diff --html replay.html
  hisync replay -c hisync.toml --mapping mappings.new --diff --stream peis/reports --json
  hisync replay -c hisync.toml --apply          once the new mapping is in its place, before the agent starts

Exit codes: 0 nothing would change, or all of it was applied; 1 something would, could not be compared, or is held
now; 2 the configuration has problems; 3 the store can't be read, or an agent runs on it.")]
pub(super) struct Args {
    /// The configuration file to try.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Tries the mapping files of this folder in place of those that the configuration names. A file is found by the
    /// path that the configuration names it by, or by that path without its first folder.
    #[arg(long, value_name = "DIR")]
    mapping: Option<PathBuf>,
    /// The store is in this folder, not in the configuration's data folder: a restored backup.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only records of this stream.
    #[arg(long, value_name = "SOURCE/STREAM")]
    stream: Option<String>,
    /// Only records received since then: a day in the hospital's time zone, or a time (RFC 3339).
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only records received before then.
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// Only what a key, a subject or an exam number names.
    #[arg(long)]
    key: Option<String>,
    /// Compares with what was made: the default.
    #[arg(long, conflicts_with = "apply")]
    diff: bool,
    /// Makes new versions of exactly what differs.
    #[arg(long)]
    apply: bool,
    /// With --apply and --mapping: also where the configuration names another mapping. An agent that starts with that
    /// one maps everything back.
    #[arg(long, requires_all = ["apply", "mapping"])]
    ahead: bool,
    /// Who applies, for the audit log.
    #[arg(long, requires = "apply")]
    who: Option<String>,
    /// Threads that map; all cores without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Writes the report as a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the configuration has problems")]
    Config(Vec<Problem>),
    #[error("{}", chain(.0))]
    Keys(#[from] KeyError),
    #[error("--{option} {text:?} is neither a day (2026-11-20) nor a time (2026-11-20T08:00:00+08:00)")]
    Time { option: &'static str, text: String },
    #[error("there is no stream {stream:?} in the configuration; it has: {known}")]
    NoStream { stream: String, known: String },
    #[error("{0:?} has none of the mapping files that the configuration names")]
    NoMapping(PathBuf),
    #[error(
        "{stream} is configured with another mapping than the one to apply: an agent that starts with it would map \
         everything back. Put the folder in its place and apply without --mapping, or name it as `[shadow] candidate` \
         and promote it; --ahead applies all the same"
    )]
    Ahead { stream: String },
    #[error("the store knows nothing by this name: not as a key, a subject, an exam number or a code")]
    NoEntity,
    #[error("{0:?} holds no store: has an agent run with this data folder?")]
    NoStore(PathBuf),
    #[error("{}", chain(.0))]
    Store(#[from] store::Error),
    #[error("write {path:?}: {cause}")]
    Page { path: PathBuf, cause: std::io::Error },
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Config(_)
            | Error::Keys(_)
            | Error::Time { .. }
            | Error::NoStream { .. }
            | Error::NoMapping(_)
            | Error::NoEntity
            | Error::Ahead { .. }
            | Error::Page { .. }
            | Error::Store(store::Error::NoKey | store::Error::WrongKey { .. }) => Exit::Usage,
            Error::NoStore(_) | Error::Store(_) => Exit::Unreachable,
        }
    }
}

/// Files as they are on disk.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

pub(super) async fn run(args: &Args, terminal: &Terminal) -> Exit {
    match replayed(args, terminal).await {
        Ok(Done { report, applied }) => {
            if args.json {
                match &applied {
                    Some(applied) => terminal.json(applied),
                    None => terminal.json(&report),
                }
            } else {
                terminal.data(&text(&report, applied.as_ref()));
            }
            let fine = match &applied {
                Some(applied) => applied.applied.held == 0 && applied.left == 0,
                None => report.changed == 0,
            };
            if fine && report.not_compared.is_empty() { Exit::Fine } else { Exit::NotFine }
        }
        Err(error) => {
            if let Error::Config(problems) = &error {
                terminal.note(&diagnose::render(problems, terminal.colour_err()));
            }
            terminal.note(&format!("error: {error}"));
            error.exit()
        }
    }
}

struct Done {
    report: Report,
    applied: Option<Applied>,
}

async fn replayed(args: &Args, terminal: &Terminal) -> Result<Done, Error> {
    let config = Arc::new(config::load(&args.config).map_err(Error::Config)?);
    let zone = config.agent.timezone;
    let since = args.since.as_deref().map(|text| time("since", text, zone)).transpose()?;
    let until = args.until.as_deref().map(|text| time("until", text, zone)).transpose()?;
    let known = |config: &Config| -> Vec<StreamId> {
        config.sources.iter().flat_map(|source| &source.streams).map(|stream| stream.id.clone()).collect()
    };
    if let Some(stream) = &args.stream
        && !known(&config).iter().any(|id| id.as_str() == stream)
    {
        let known: Vec<String> = known(&config).iter().map(StreamId::to_string).collect();
        return Err(Error::NoStream { stream: stream.clone(), known: known.join(", ") });
    }
    let folder = args.data_dir.clone().unwrap_or_else(|| config.agent.data_dir.clone());
    if !folder.join("hisync.db").exists() {
        return Err(Error::NoStore(folder));
    }
    let keys = config.store.keys(&config.base_dir)?;
    let options = store::Options {
        hospital: config.agent.hospital.clone(),
        agent_version: agent::VERSION.to_owned(),
        lane: config.agent.lane.clone(),
    };
    let open = || Reader::open_with(&folder, keys.as_ref());
    let promoted = if args.apply {
        // To be applied to, it may be of an older layout.
        drop(Store::open_with(
            &folder,
            options.clone(),
            Arc::new(sources::site(&config)),
            Clock::system(),
            keys.as_ref(),
        )?);
        open()?.promoted()?
    } else {
        open()?.promoted()?
    };
    let in_force = release::in_force(config, &promoted).map_err(Error::Config)?;
    let mut config = Config::clone(&in_force.config);
    let mappings = mappings(&mut config, args.mapping.as_deref())?;
    if let Some(pair) = mappings.iter().find(|pair| args.apply && !args.ahead && pair.configured != pair.tried) {
        return Err(Error::Ahead { stream: pair.stream.clone() });
    }
    let entities = args.key.as_deref().map(|key| open()?.entities_of(key)).transpose()?;
    if entities.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::NoEntity);
    }
    let readers = sources::decoders(&config);
    let site = sources::site(&config);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = Plan {
        readers: &readers,
        composer: &site,
        filter: ReplayFilter { stream: args.stream.clone(), since, until, entities },
        mappings,
        threads: args.threads.map_or(cores, usize::from),
    };
    let watched = std::io::stderr().is_terminal();
    let mut shown = 0;
    let progress = |progress: release::Progress| {
        if watched && progress.records >= shown + 500 {
            shown = progress.records;
            let percent = progress.at * 100 / progress.newest.max(1);
            terminal.note_in_place(&format!("replayed {shown} records ({percent} %)"));
        }
    };
    let done = if args.apply {
        let composer = Arc::new(site.clone());
        let store = Store::open_with(&folder, options, composer, Clock::system(), keys.as_ref())?;
        let who = args.who.clone().unwrap_or_else(whoami);
        let applied = release::apply(&store, &open, &plan, &what(args, &plan), &who, progress).await;
        store.close().await;
        let applied = applied?;
        Done { report: applied.report.clone(), applied: Some(applied) }
    } else {
        let report = tokio::task::block_in_place(|| release::replay(&open, &plan, progress))?;
        Done { report, applied: None }
    };
    if watched {
        terminal.note_in_place("");
    }
    if let Some(path) = &args.html {
        std::fs::write(path, release::page(&done.report)).map_err(|cause| Error::Page { path: path.clone(), cause })?;
    }
    Ok(done)
}

/// What is applied, in words that are equal for the same thing: by them an interrupted run is found again. What
/// narrows it is a part of it; a key is personal, and stands for itself as a hash.
fn what(args: &Args, plan: &Plan<'_>) -> String {
    let tried: Vec<String> = plan.mappings.iter().map(|pair| format!("{}: {}", pair.stream, pair.tried)).collect();
    let key = args.key.as_deref().map(|key| hex::encode(&Sha256::digest(key)[..6]));
    json!({ "mappings": tried, "stream": args.stream, "since": args.since, "until": args.until, "key": key })
        .to_string()
}

/// Puts the mapping files of a folder in the place of the configured ones; answers the versions before and after.
fn mappings(config: &mut Config, folder: Option<&Path>) -> Result<Vec<MappingPair>, Error> {
    let mut pairs = Vec::new();
    let mut problems = Vec::new();
    let mut found = false;
    let base_dir = config.base_dir.clone();
    for stream in config.sources.iter_mut().flat_map(|source| &mut source.streams) {
        let configured = stream.mapping.version().to_owned();
        let file = stream.mapping.files().first();
        if let Some(path) = folder.and_then(|folder| config::replacement(folder, &base_dir, file?)) {
            found = true;
            match Mapping::compile(&path, stream.entity, &Disk) {
                Ok(mapping) if mapping.entity() == stream.entity => stream.mapping = Arc::new(mapping),
                Ok(mapping) => {
                    let message =
                        format!("this mapping yields {}, but {} is of {}", mapping.entity(), stream.id, stream.entity);
                    problems.push(Problem::new(&path, None, "entity-mismatch", message));
                }
                Err(more) => problems.extend(more),
            }
        }
        let tried = stream.mapping.version().to_owned();
        pairs.push(MappingPair { stream: stream.id.to_string(), configured, tried });
    }
    match folder {
        _ if !problems.is_empty() => Err(Error::Config(problems)),
        Some(folder) if !found => Err(Error::NoMapping(folder.to_owned())),
        _ => Ok(pairs),
    }
}

/// A time as people write it: the beginning of a day where they are, or a moment.
fn time(option: &'static str, text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    let midnight = day.and_then(|day| day.and_hms_opt(0, 0, 0));
    let local = midnight.and_then(|midnight| zone.from_local_datetime(&midnight).earliest());
    let moment = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc));
    local.map(|at| at.with_timezone(&Utc)).or_else(moment).ok_or_else(|| Error::Time { option, text: text.to_owned() })
}

/// Groups that a terminal shows.
const SHOWN: usize = 40;

fn text(report: &Report, applied: Option<&Applied>) -> String {
    let mut text = String::new();
    if let Some(Applied { applied, left, .. }) = applied {
        let again = if applied.resumed { ", going on with what was begun" } else { "" };
        let _ = writeln!(
            text,
            "applied{again}: {} new versions, {} held, {} records mapped again; what differed before:",
            applied.revisions, applied.held, applied.records
        );
        if *left > 0 {
            let _ = writeln!(text, "{left} entities are in no record any more: nothing takes them back by itself");
        }
    }
    for pair in report.mappings.iter().filter(|pair| pair.configured != pair.tried) {
        let _ = writeln!(text, "{}: {} tried in place of {}", pair.stream, pair.tried, pair.configured);
    }
    let _ = writeln!(
        text,
        "{} of {} entities would change ({:.2} %); {} records mapped, {} overtaken by newer ones",
        report.changed, report.entities, report.changed_percent, report.records, report.overtaken
    );
    if report.still_held > 0 {
        let _ = writeln!(text, "{} are held and would still be", report.still_held);
    }
    for (why, n) in &report.not_compared {
        let _ = writeln!(text, "not compared: {n} ({why})");
    }
    if report.kinds.is_empty() {
        return text;
    }
    let rows: Vec<Vec<String>> = report
        .kinds
        .iter()
        .map(|(kind, count)| vec![kind.as_str().to_owned(), count.entities.to_string(), count.changes.to_string()])
        .collect();
    let _ = write!(text, "\n{}", table(&["KIND", "ENTITIES#", "CHANGES#"], &rows));
    let rows: Vec<Vec<String>> = report
        .groups
        .iter()
        .take(SHOWN)
        .map(|group| {
            let example = group.examples.first();
            let values = match group.pairs.first() {
                Some(pair) => format!("{} → {}", words(&pair.before), words(&pair.after)),
                None => String::new(),
            };
            vec![
                group.kind.as_str().to_owned(),
                group.entity.to_owned(),
                group.field.clone(),
                group.count.entities.to_string(),
                group.count.changes.to_string(),
                values,
                example.map(|example| format!("archive:{}", example.archive_id)).unwrap_or_default(),
            ]
        })
        .collect();
    let head = ["KIND", "ENTITY", "FIELD", "ENTITIES#", "CHANGES#", "VALUES", "EXAMPLE"];
    let _ = write!(text, "\n{}", table(&head, &rows));
    let more = report.groups.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(text, "and {more} more; --json and --html have all of them");
    }
    text
}

/// A value in a cell of a table.
fn words(value: &str) -> String {
    const MOST: usize = 24;
    let line = value.replace('\n', " ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "(nothing)".to_owned(),
        None => line,
    }
}
