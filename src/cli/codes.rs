//! `hisync codes`: local codes that no table knows, and how they are added.

use super::access::{Access, Error, Which, whoami};
use super::table::{field, table, time};
use super::{Exit, Terminal};
use crate::intake::codes::{self, NewCode};
use crate::ops::codes::MapCode;

/// Lists local codes that no table knows, and adds them to their tables.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync codes unmapped                       what is unknown, how often, since when
  hisync codes map sex 3 unknown              the table `sex` learns that the local code 3 means unknown
  hisync codes map flag ※ abnormal --name 异常

Exit codes: 0 done; 1 the code can't be added; 2 there is no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists unknown codes: table, field, how many records hold them, since when, and one such record.
    #[command(after_help = "Examples:
  hisync codes unmapped
  hisync codes unmapped --json")]
    Unmapped(ListArgs),
    /// Adds a code to its table's CSV file; what it concerns is mapped again, and what changed is sent.
    ///
    /// A running agent goes on under the new table at once. Where none runs, it is applied at the next start.
    #[command(after_help = "Examples:
  hisync codes map sex 3 unknown
  hisync codes map flag ※ abnormal --name 异常
  hisync codes map state 05 final --stream peis/reports    where several mappings have a table `state`")]
    Map(MapArgs),
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
struct MapArgs {
    #[command(flatten)]
    which: Which,
    /// The code table, as the mapping names it.
    table: String,
    /// The source's code.
    local_code: String,
    /// The canonical word; `hisync schema ENTITY` lists those of each field.
    standard_code: String,
    /// What the source calls it, for the column `local_name`.
    #[arg(long)]
    name: Option<String>,
    /// The stream whose mapping is meant (SOURCE/STREAM), where several have a table of that name.
    #[arg(long)]
    stream: Option<String>,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::Unmapped(args) => unmapped(args, terminal).await,
        Verb::Map(args) => map(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn unmapped(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let found = match args.which.open().await? {
        Access::Agent(client) => client.get("/api/codes", &()).await?,
        Access::Store(reader) => {
            let found = codes::unmapped(&args.which.readers(terminal), reader.unknown_codes()?);
            serde_json::to_value(found).unwrap_or_default()
        }
    };
    let list = found.as_array().map_or(&[][..], Vec::as_slice);
    if args.json {
        terminal.json(&found);
        return Ok(Exit::Fine);
    }
    if list.is_empty() {
        terminal.data("every code is known");
        return Ok(Exit::Fine);
    }
    let rows = list.iter().map(|code| {
        let sample = match code["sample_held_id"].as_i64() {
            Some(id) => format!("held {id}"),
            None => format!("record {}", field(code, "sample_archive_id")),
        };
        let mut row: Vec<String> =
            ["table", "value", "count", "held", "stream", "source_field", "path"].map(|name| field(code, name)).into();
        row.extend([time(code, "first_seen_at"), time(code, "last_seen_at"), sample]);
        row
    });
    let head = ["table", "code", "records#", "held#", "stream", "column", "field", "first seen", "last seen", "sample"];
    terminal.data(&table(&head, &rows.collect::<Vec<_>>()));
    terminal.note("add one with: hisync codes map TABLE CODE STANDARD");
    Ok(Exit::Fine)
}

async fn map(args: MapArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let new = NewCode {
        table: args.table,
        local: args.local_code,
        standard: args.standard_code,
        name: args.name,
        stream: args.stream,
    };
    let who = args.who.unwrap_or_else(whoami);
    let answer = match args.which.open().await? {
        Access::Agent(client) => client.post("/api/codes/map", &MapCode { who, code: new }).await?,
        Access::Store(reader) => {
            let unknown = reader.unknown_codes()?;
            drop(reader);
            let (store, again) = args.which.open_for_acts()?;
            let done = crate::ops::codes::map(&store, again.readers(), unknown, &MapCode { who, code: new }).await;
            store.close().await;
            let added = done.map_err(|error| Error::Codes(Box::new(error)))?;
            serde_json::to_value(added).unwrap_or_default()
        }
    };
    if args.json {
        terminal.json(&answer);
        return Ok(Exit::Fine);
    }
    let concerned = field(&answer, "concerned");
    terminal.data(&format!("added to {}; {concerned} records hold the code", field(&answer, "file")));
    terminal.note(match answer["applied"].as_str() {
        Some("now") => "the agent goes on under the new table and maps them again now",
        Some("reload") => "they are mapped again when the agent loads its configuration again",
        _ => "they are mapped again at the next start of the agent",
    });
    Ok(Exit::Fine)
}
