//! `hisync sources`: how the source systems are doing, and asking one again at once.

use serde_json::{Value as Json, json};

use super::access::{Access, Error, Which, whoami};
use super::table::{field, list, table, time};
use super::{Exit, Terminal};

/// Shows how the source systems are doing, and asks one again at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync sources list          which sources answer, and when those that don't are asked again
  hisync sources reset peis    asks it again now: its network or account is repaired

Exit codes: 0 done; 1 there is no such source; 2 there is no configuration; 3 no agent runs.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists the sources that are asked. One that fails repeatedly is left alone for a while, then one probe finds out.
    #[command(after_help = "Examples:
  hisync sources list
  hisync sources list --json")]
    List(ListArgs),
    /// Asks a source again at once, whatever failed before.
    #[command(after_help = "Examples:
  hisync sources reset peis")]
    Reset(ResetArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ResetArgs {
    #[command(flatten)]
    which: Which,
    /// The source's id.
    source: String,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show(args, terminal).await,
        Verb::Reset(args) => reset(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

const NO_AGENT: &str = "no agent runs on this data folder: only a running agent asks its sources";

async fn show(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let Access::Agent(client) = args.which.open().await? else {
        terminal.note(NO_AGENT);
        return Ok(Exit::Unreachable);
    };
    let report = client.get("/api/status", &()).await?;
    if args.json {
        terminal.json(&report["sources"]);
        return Ok(Exit::Fine);
    }
    let rows = list(&report, "sources").iter().map(row);
    terminal.data(&table(&HEAD, &rows.collect::<Vec<_>>()));
    Ok(Exit::Fine)
}

/// The heads of [`row`].
pub(super) const HEAD: [&str; 5] = ["source", "breaker", "since", "asked again", "because"];

/// A source as a line of a table.
pub(super) fn row(source: &Json) -> Vec<String> {
    let breaker = &source["breaker"];
    vec![
        field(source, "id"),
        field(breaker, "state"),
        time(breaker, "since"),
        time(breaker, "retry_at"),
        field(breaker, "code"),
    ]
}

async fn reset(args: ResetArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let Access::Agent(client) = args.which.open().await? else {
        terminal.note(NO_AGENT);
        return Ok(Exit::Unreachable);
    };
    let who = args.who.unwrap_or_else(whoami);
    client.post(&format!("/api/sources/{}/reset", args.source), &json!({ "who": who })).await?;
    terminal.note(&format!("{} is asked again now", args.source));
    Ok(Exit::Fine)
}
