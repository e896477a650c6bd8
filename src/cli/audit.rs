//! `hisync audit`: who did what.

use serde_json::json;

use super::access::{Access, Error, Which};
use super::table::{field, table, time};
use super::{Exit, Terminal};
use crate::ops::journal::Lines;
use crate::store::Reader;

/// Shows the audit log: who acted, who looked at personal data, who logged in.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync audit list                  the newest lines
  hisync audit list --before 100     older ones
  hisync audit verify                whether a line was changed, removed or inserted afterwards

Exit codes: 0 fine; 1 the log was tampered with; 2 there is no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists lines, newest first.
    #[command(after_help = "Examples:
  hisync audit list --limit 20
  hisync audit list --json")]
    List(ListArgs),
    /// Follows the chain of hashes through the whole log.
    ///
    /// Note the newest chain that it prints: if the same line has another one later, the log was made anew.
    #[command(after_help = "Examples:
  hisync audit verify
  hisync audit verify --json")]
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    /// Only lines with smaller numbers: the next page.
    #[arg(long)]
    before: Option<i64>,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    /// Prints one JSON object: `lines`, `unchained`, `broken_at`, `head`.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => list(args, terminal).await,
        Verb::Verify(args) => verify(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn list(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let asked = Lines { before: args.before, limit: Some(args.limit) };
    let read = |reader: &Reader| reader.audit_list(args.before, args.limit);
    let lines = args.which.open().await?.read("/api/audit", &asked, read).await?;
    if args.json {
        terminal.json(&lines);
        return Ok(Exit::Fine);
    }
    let columns = ["id", "who", "act", "subject", "detail"];
    let row = |line: &serde_json::Value| {
        let mut cells: Vec<String> = columns.iter().map(|name| field(line, name)).collect();
        cells.insert(1, time(line, "at"));
        cells
    };
    let rows: Vec<Vec<String>> = lines.as_array().into_iter().flatten().map(row).collect();
    match rows.is_empty() {
        true => terminal.note("the audit log is empty"),
        false => terminal.data(&table(&["id#", "at", "who", "act", "subject", "detail"], &rows)),
    }
    Ok(Exit::Fine)
}

async fn verify(args: VerifyArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let found = match args.which.open().await? {
        Access::Agent(client) => client.get("/api/audit/verify", &()).await?,
        Access::Store(reader) => json!(reader.audit_verify()?),
    };
    let whole = found.get("broken_at").is_none_or(serde_json::Value::is_null);
    if args.json {
        terminal.json(&found);
    } else {
        terminal.data(&said(&found, whole));
    }
    Ok(if whole { Exit::Fine } else { Exit::NotFine })
}

fn said(found: &serde_json::Value, whole: bool) -> String {
    let (lines, unchained) = (field(found, "lines"), field(found, "unchained"));
    let verdict = match whole {
        true => "each follows from the one before".to_owned(),
        false => format!("line {} does not follow from the one before: the log was changed", field(found, "broken_at")),
    };
    let older = if unchained == "0" { String::new() } else { format!(" ({unchained} from before it was chained)") };
    format!("{lines} lines{older}; {verdict}\nnewest chain: {}\n", field(found, "head"))
}
