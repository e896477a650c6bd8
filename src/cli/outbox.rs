//! `hisync outbox`: what waits to be delivered.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::access::{Access, Error, Page, Personal, Which};
use super::table::{field, list, table, time};
use super::{Exit, Terminal};
use crate::ops::held::Look;
use crate::ops::outbox::{Waiting, mask_event};
use crate::store::Reader;

/// Lists and shows what waits to be delivered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync outbox list             what waits to be delivered
  hisync outbox show 4711        one entry: its attempts and the event

Exit codes: 0 done; 1 there is no such entry; 2 there is no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists entries, oldest first: those that are neither delivered nor held.
    #[command(after_help = "Examples:
  hisync outbox list
  hisync outbox list --state waiting --json")]
    List(ListArgs),
    /// Shows one entry: its attempts, the next one, and the event. Personal data is masked.
    Show(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Only in this state: queued, claimed, inflight, waiting, delivered or held.
    #[arg(long, value_parser = ["queued", "claimed", "inflight", "waiting", "delivered", "held"])]
    state: Option<String>,
    #[command(flatten)]
    page: Page,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// The entry's id.
    id: i64,
    #[command(flatten)]
    personal: Personal,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show_list(args, terminal).await,
        Verb::Show(args) => show(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn show_list(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let asked = Waiting { state: args.state, limit: Some(args.page.limit), after: args.page.after };
    let (state, after) = (asked.state.clone(), args.page.after.unwrap_or(0));
    let read = |reader: &Reader| reader.outbox_list(state.as_deref(), args.page.limit, after);
    let entries = args.which.open().await?.read("/api/outbox", &asked, read).await?;
    if args.json {
        terminal.json(&entries);
        return Ok(Exit::Fine);
    }
    let entries = entries.as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        terminal.data("nothing waits");
        return Ok(Exit::Fine);
    }
    let rows = entries.iter().map(|entry| {
        vec![
            field(entry, "id"),
            field(entry, "state"),
            field(entry, "entity"),
            field(entry, "key"),
            field(entry, "kind"),
            field(entry, "attempts"),
            time(entry, "created_at"),
            time(entry, "next_try_at"),
            field(entry, "last_code"),
        ]
    });
    let head = ["id#", "state", "entity", "key", "kind", "attempts#", "made", "next try", "last answer"];
    terminal.data(&table(&head, &rows.collect::<Vec<_>>()));
    if entries.len() == args.page.limit {
        let last = entries.last().map(|entry| field(entry, "id")).unwrap_or_default();
        terminal.note(&format!("there may be more: --after {last}"));
    }
    Ok(Exit::Fine)
}

async fn show(args: ShowArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let id = args.id;
    let (who, personal) = args.personal.asked();
    let detail = match args.which.open().await? {
        Access::Agent(client) => client.get(&format!("/api/outbox/{id}"), &Look { personal, who: Some(who) }).await?,
        Access::Store(reader) => {
            let detail = reader.outbox_show(id)?;
            let mut detail = serde_json::to_value(detail).unwrap_or_default();
            match personal {
                None => mask_event(&mut detail),
                Some(reason) => {
                    drop(reader);
                    let (store, _) = args.which.open_for_acts()?;
                    store.audit(&who, "show-personal", &format!("outbox/{id}"), &reason).await?;
                    store.close().await;
                }
            }
            detail
        }
    };
    if args.json {
        terminal.json(&detail);
        return Ok(Exit::Fine);
    }
    let mut text = String::new();
    let entry = &detail["entry"];
    for (name, value) in entry.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let shown = if name.ends_with("_at") { time(entry, name) } else { plain(value) };
        let _ = writeln!(text, "{name:16} {shown}");
    }
    for attempt in list(&detail, "history") {
        let _ = writeln!(text, "attempt {:8} {} {}", field(attempt, "n"), time(attempt, "at"), field(attempt, "code"));
    }
    let _ = writeln!(text, "\nevent\n{}", serde_json::to_string_pretty(&detail["event"]).unwrap_or_default());
    terminal.data(&text);
    Ok(Exit::Fine)
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
