//! `hisync verify-release`: this program on a copy of a store, before it is let at the store itself.

mod check;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use connector_api::chain;
use serde_json::Value as Json;

use self::check::{CheckError, CheckPlan, ReleaseCheck, Speed};
use super::{Exit, Terminal};
use crate::config;
use crate::diagnose;
use crate::store;

/// Tries this program on a copy of a store, and says whether it may take over.
///
/// The store (beside an agent that runs on it) or the backup is copied; the copy is migrated, verified, and its last
/// days are mapped again and compared with what was delivered; then some of it is committed again to see how fast that
/// is. The original is only read, and the copy is removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  ./hisync-new verify-release -c /etc/hisync/hisync.toml --against /var/lib/hisync
  ./hisync-new verify-release -c hisync.toml --against /backup/hisync.db --days 90 --html release.html
  ./hisync-new verify-release -c hisync.toml --against /var/lib/hisync --remember speed.json

Exit codes: 0 it may take over; 1 it must not, the report says why; 2 the configuration has problems, or its key is
not the store's; 3 the store can't be read or copied.")]
pub(super) struct Args {
    /// The configuration in force.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// A data folder, or a backup's file.
    #[arg(long, value_name = "STORE_OR_BACKUP")]
    against: PathBuf,
    /// Replays so many days before the newest record.
    #[arg(long, default_value_t = 30, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// Differences are what this version is for: they are told, and don't decide.
    #[arg(long)]
    accept_changes: bool,
    /// The folder for the copy; it needs as much room as the store.
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Compares the speed with the report in this file, where there is one, and puts this report there.
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// Threads that map; all cores without it.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Writes the report as a page, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Why nothing was checked, or not all of it written.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the configuration has problems")]
    Config(Vec<diagnose::Problem>),
    #[error("{}", chain(.0))]
    Check(#[from] CheckError),
    #[error("write {path:?}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Config(_)
            | Error::File { .. }
            | Error::Check(CheckError::Key(_))
            | Error::Check(CheckError::Copy(store::Error::NoKey | store::Error::WrongKey { .. })) => Exit::Usage,
            Error::Check(_) => Exit::Unreachable,
        }
    }
}

pub(super) async fn run(args: &Args, terminal: &Terminal) -> Exit {
    match checked(args, terminal).await {
        Ok(check) => {
            if args.json {
                terminal.json(&check);
            } else {
                terminal.data(&text(&check));
            }
            if check.fine { Exit::Fine } else { Exit::NotFine }
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

async fn checked(args: &Args, terminal: &Terminal) -> Result<ReleaseCheck, Error> {
    let config = Arc::new(config::load(&args.config).map_err(Error::Config)?);
    let former = args.remember.as_deref().and_then(former);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = args.work.clone().unwrap_or_else(std::env::temp_dir);
    let plan = CheckPlan {
        against: &args.against,
        work: &work,
        config,
        days: args.days,
        accept_changes: args.accept_changes,
        former,
        threads: args.threads.map_or(cores, usize::from),
    };
    let check = check::verify_release(&plan, |step| terminal.note_in_place(&format!("{step} …"))).await;
    terminal.note_in_place("");
    let check = check?;
    let write = |path: &PathBuf, text: String| {
        std::fs::write(path, text).map_err(|cause| Error::File { path: path.clone(), cause })
    };
    if let Some(path) = &args.html {
        write(path, check::page(&check))?;
    }
    // What one that must not be installed can do is nothing to compare with.
    if let (Some(path), true) = (&args.remember, check.fine) {
        write(path, serde_json::to_string_pretty(&check).unwrap_or_default())?;
    }
    Ok(check)
}

/// How fast the version before was; nothing where no report can be read.
fn former(path: &std::path::Path) -> Option<Speed> {
    let report: Json = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    serde_json::from_value(report.get("speed")?.clone()).ok()
}

fn text(check: &ReleaseCheck) -> String {
    let mut text = String::new();
    for step in &check.steps {
        let word = if step.fine { "fine" } else { "NOT FINE" };
        let seconds = step.took_ms as f64 / 1000.0;
        let _ = writeln!(text, "{:<8}  {word:<8}  {seconds:>7.1} s  {}", step.name, step.text);
    }
    for fault in check.verified.iter().flat_map(|verified| verified.faults.iter().take(10)) {
        let _ = writeln!(text, "  {}: {}: {}", fault.check, fault.place, fault.message);
    }
    for group in check.replay.iter().flat_map(|report| report.groups.iter().take(20)) {
        let (kind, count) = (group.kind.as_str(), group.count);
        let example = group.examples.first().map(|example| format!(", e.g. archive:{}", example.archive_id));
        let _ = writeln!(
            text,
            "  {kind} {} {}: {} entities, {} changes{}",
            group.entity,
            group.field,
            count.entities,
            count.changes,
            example.unwrap_or_default()
        );
    }
    let verdict = if check.fine { "may take over" } else { "must not take over as it is" };
    let _ = writeln!(text, "hisync {} {verdict}", check.version);
    text
}
