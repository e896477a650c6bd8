//! `hisync reload`: lets the running agent go on under the configuration as it is on the disk now.

use serde_json::Value as Json;

use super::access::{Access, Error, Which, whoami};
use super::table::{field, list};
use super::{Exit, Terminal};
use crate::ops::reload::Ask;

/// Lets the running agent go on under the configuration as it is on the disk now.
///
/// The whole configuration is checked first: with any problem the running one goes on. What changes is started anew,
/// whatever does not keeps its connections; where a changed part can't start, everything is as before.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync reload                says what changed, and what was started anew
  hisync reload --dry-run      says what would change, and changes nothing

Exit codes: 0 the agent runs under it (or would); 1 a part of it does not
start or work, the old one goes on; 2 it has problems, the old one goes on,
or there is no configuration; 3 no agent runs.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Only says what would change.
    #[arg(long)]
    dry_run: bool,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    reload(args, terminal).await.unwrap_or_else(|error| error.tell(terminal))
}

async fn reload(args: Args, terminal: &Terminal) -> Result<Exit, Error> {
    let Access::Agent(client) = args.which.open().await? else {
        terminal.note("no agent runs on this data folder; a start reads the configuration anyway");
        return Ok(Exit::Unreachable);
    };
    let ask = Ask { dry_run: args.dry_run, who: args.who.unwrap_or_else(whoami) };
    let outcome = client.post("/api/reload", &ask).await?;
    let exit = match outcome["verdict"].as_str() {
        Some("refused") if !list(&outcome, "problems").is_empty() => Exit::Usage,
        Some("refused" | "rolled-back") => Exit::NotFine,
        _ => Exit::Fine,
    };
    if args.json {
        terminal.json(&outcome);
    } else {
        tell(&outcome, terminal);
    }
    Ok(exit)
}

fn tell(outcome: &Json, terminal: &Terminal) {
    let digest: String = field(outcome, "digest").chars().take(12).collect();
    let text = field(outcome, "text");
    if !text.is_empty() {
        terminal.note(text.trim_end());
    }
    let lines = |key: &str| list(outcome, key).iter().filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>();
    for trouble in lines("troubles") {
        terminal.note(&format!("error: {trouble}"));
    }
    let mut said = match outcome["verdict"].as_str().unwrap_or_default() {
        "applied" => format!("the agent goes on under {digest}\n"),
        "would-apply" => "this would be applied:\n".to_owned(),
        "restarting" => "everything starts anew under the new configuration now\n".to_owned(),
        "would-restart" => "everything would start anew:\n".to_owned(),
        "unchanged" => format!("nothing has changed: {digest} is in force\n"),
        "refused" => format!("refused, nothing was touched: {digest} is in force\n"),
        "rolled-back" => format!("a part did not start, everything is as before: {digest} is in force\n"),
        other => format!("{other}\n"),
    };
    for path in lines("changed") {
        said.push_str(&format!("  changed  {path}\n"));
    }
    for part in list(outcome, "parts") {
        said.push_str(&format!("  {:<24} {}\n", field(part, "part"), field(part, "effect")));
    }
    for note in lines("notes") {
        said.push_str(&format!("  note: {note}\n"));
    }
    terminal.data(&said);
}
