//! `hisync shadow`: the candidate that runs beside the mapping in force.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::access::{Access, Error, Which, whoami};
use super::table::{field, table, time};
use super::{Exit, Terminal};
use crate::ops::shadow::{Act, Decision, decide};
use crate::release::shadow_status;

/// Shows the candidate that runs beside the mapping in force, and decides about it.
///
/// `[shadow] candidate = "mappings.new"` in the configuration names a folder with edited mappings. The agent maps what
/// comes in with them too, delivers nothing of it, and notes what would be otherwise, until a person promotes the
/// candidate or discards it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync shadow status                                what would be otherwise so far
  hisync shadow promote --because \"ticket 4711\"       in force from now on, for all its streams at once
  hisync shadow revert --because \"wrong unit\"         the configured mapping again
  hisync shadow discard --because \"not needed\"

Exit codes: 0 done, or nothing would change; 1 something would change, or the act is refused; 2 there is no
configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Shows what the candidate would make otherwise, as `hisync replay --diff` does.
    #[command(after_help = "Examples:
  hisync shadow status
  hisync shadow status --json")]
    Status(StatusArgs),
    /// Puts the candidate in force, for all its streams at once. What it concerns is mapped again, and what comes out
    /// different is sent; each event carries the mapping that made it (`mappingversion`). Audited.
    #[command(after_help = "Examples:
  hisync shadow promote --because \"ticket 4711\"")]
    Promote(ActArgs),
    /// Gives the candidate up: it is not tried again until it is another one. Audited.
    #[command(after_help = "Examples:
  hisync shadow discard --because \"not needed\"")]
    Discard(ActArgs),
    /// Takes promotions back: the configured mappings are in force again, and what they make otherwise is sent as it
    /// was. Audited.
    #[command(after_help = "Examples:
  hisync shadow revert --because \"wrong unit\"")]
    Revert(ActArgs),
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    which: Which,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ActArgs {
    #[command(flatten)]
    which: Which,
    /// Why, for the audit log.
    #[arg(long)]
    because: String,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::Status(args) => status(args, terminal).await,
        Verb::Promote(args) => act(args, Act::Promote, terminal).await,
        Verb::Discard(args) => act(args, Act::Discard, terminal).await,
        Verb::Revert(args) => act(args, Act::Revert, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn status(args: StatusArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let found = args.which.open().await?.read("/api/shadow", &(), shadow_status).await?;
    let report = &found["report"];
    let changed = report["changed"].as_u64().unwrap_or(0) + found["unlisted"].as_u64().unwrap_or(0);
    if args.json {
        terminal.json(&found);
    } else {
        terminal.data(&text(&found));
    }
    Ok(if changed == 0 { Exit::Fine } else { Exit::NotFine })
}

fn text(found: &Json) -> String {
    let mut text = String::new();
    for row in found["promoted"].as_array().into_iter().flatten() {
        let (stream, version, former) = (field(row, "stream"), field(row, "version"), field(row, "former"));
        let (at, who) = (time(row, "promoted_at"), field(row, "who"));
        let _ = writeln!(text, "{stream}: {version} is in force in place of {former} (promoted {at} by {who})");
    }
    let run = &found["run"];
    let report = &found["report"];
    if report.is_null() {
        match run["state"].as_str() {
            None => text.push_str("no candidate ran yet: [shadow] candidate in the configuration names one\n"),
            Some(state) => {
                let _ = writeln!(text, "no candidate runs; the last one was {state} {}", time(run, "ended_at"));
            }
        }
        return text;
    }
    for pair in report["mappings"].as_array().into_iter().flatten() {
        let (stream, tried, configured) = (field(pair, "stream"), field(pair, "tried"), field(pair, "configured"));
        let _ = writeln!(text, "{stream}: {tried} is tried beside {configured}");
    }
    let behind = run["behind"].as_u64().filter(|behind| *behind > 0);
    let behind = behind.map(|behind| format!("; {behind} records to go")).unwrap_or_default();
    let _ = writeln!(
        text,
        "{} of {} entities would change ({:.2} %); {} records mapped since {}{behind}",
        field(report, "changed"),
        field(report, "entities"),
        report["changed_percent"].as_f64().unwrap_or_default(),
        field(report, "records"),
        time(run, "began_at"),
    );
    if let Some(unlisted) = found["unlisted"].as_u64().filter(|unlisted| *unlisted > 0) {
        let _ = writeln!(text, "and {unlisted} more would change, too many to keep what differs");
    }
    for (why, n) in report["not_compared"].as_object().into_iter().flatten() {
        let _ = writeln!(text, "not compared: {n} ({why})");
    }
    let groups = report["groups"].as_array().map_or(&[][..], Vec::as_slice);
    if groups.is_empty() {
        return text;
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .take(SHOWN)
        .map(|group| {
            let pair = &group["pairs"][0];
            let values = match pair.is_null() {
                true => String::new(),
                false => format!("{} → {}", field(pair, "before"), field(pair, "after")),
            };
            let example = group["examples"][0]["archive_id"].as_i64().map(|id| format!("archive:{id}"));
            let mut row: Vec<String> =
                ["kind", "entity", "field", "entities", "changes"].map(|name| field(group, name)).into();
            row.extend([values, example.unwrap_or_default()]);
            row
        })
        .collect();
    let head = ["KIND", "ENTITY", "FIELD", "ENTITIES#", "CHANGES#", "VALUES", "EXAMPLE"];
    let _ = write!(text, "\n{}", table(&head, &rows));
    text
}

/// Groups that a terminal shows.
const SHOWN: usize = 40;

async fn act(args: ActArgs, act: Act, terminal: &Terminal) -> Result<Exit, Error> {
    let said = Decision { who: args.who.unwrap_or_else(whoami), because: args.because };
    let answer = match args.which.open().await? {
        Access::Agent(client) => {
            let path = match act {
                Act::Promote => "/api/shadow/promote",
                Act::Discard => "/api/shadow/discard",
                Act::Revert => "/api/shadow/revert",
            };
            client.post(path, &said).await?
        }
        Access::Store(reader) => {
            drop(reader);
            let (_, store) = args.which.open_whole()?;
            let done = decide(&store, act, &said).await;
            store.close().await;
            serde_json::to_value(done?).unwrap_or_default()
        }
    };
    if args.json {
        terminal.json(&answer);
        return Ok(Exit::Fine);
    }
    for row in answer["streams"].as_array().into_iter().flatten() {
        let (stream, version, former) = (field(row, "stream"), field(row, "version"), field(row, "former"));
        terminal.data(&match act {
            Act::Revert => format!("{stream}: {version} is not in force any more"),
            _ => format!("{stream}: {version} in place of {former}"),
        });
    }
    terminal.note(match (act, answer["applied"].as_str()) {
        (Act::Discard, _) => "the candidate is given up",
        (_, Some("now")) => "the agent goes on under it now, and maps again what it concerns",
        _ => "it takes effect at the next start of the agent",
    });
    Ok(Exit::Fine)
}
