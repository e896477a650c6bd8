//! `hisync held`: the queue of what needs a person.

use std::fmt::Write as _;

use connector_api::StreamId;
use serde_json::Value as Json;

use super::access::{Access, Error, Page, Personal, Which, whoami};
use super::table::{field, list, table, time};
use super::{Exit, Terminal};
use crate::ops::acts::{self, Done};
use crate::ops::held::{self as shown, Act, Look, Selection};

/// Lists, shows and settles what hisync can't vouch for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync held list               what waits for a person, and why
  hisync held show 17            one item: findings, raw record, history
  hisync held retry --reason unknown-code

Exit codes: 0 done; 1 something is still held, or there is no such item; 2 there is no
configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists held items, oldest first.
    #[command(after_help = "Examples:
  hisync held list
  hisync held list --reason unknown-code --json")]
    List(ListArgs),
    /// Shows one item: findings, raw record, history. Personal data is masked.
    #[command(after_help = "Examples:
  hisync held show 17
  hisync held show 17 --show-personal --because 'compare with the paper report'")]
    Show(ShowArgs),
    /// Maps and sends items again, under the mapping in force now.
    #[command(after_help = "Examples:
  hisync held retry 17 18
  hisync held retry --reason unknown-code
  hisync held retry --all")]
    Retry(ActArgs),
    /// Lets what was held back happen: a bulk withdrawal, a changed catalogue, a doubted version, a new stream.
    #[command(after_help = "Examples:
  hisync held release 23
  hisync held release --reason mass-change")]
    Release(ActArgs),
    /// Closes items without doing what they ask for.
    #[command(after_help = "Examples:
  hisync held dismiss 17 --because 'test patient, agreed with the laboratory'")]
    Dismiss(DismissArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Only of this stream (SOURCE/STREAM).
    #[arg(long)]
    stream: Option<String>,
    /// Only for this reason.
    #[arg(long)]
    reason: Option<String>,
    /// Closed ones too.
    #[arg(long)]
    all: bool,
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
    /// The item's id.
    id: i64,
    #[command(flatten)]
    personal: Personal,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ActArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    on: On,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct On {
    /// Items by id.
    ids: Vec<i64>,
    /// All of this stream (SOURCE/STREAM).
    #[arg(long, conflicts_with = "ids")]
    stream: Option<String>,
    /// All for this reason.
    #[arg(long, conflicts_with = "ids")]
    reason: Option<String>,
    /// All of them.
    #[arg(long, conflicts_with_all = ["ids", "stream", "reason"])]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct DismissArgs {
    #[command(flatten)]
    act: ActArgs,
    /// Why, for the audit log.
    #[arg(long, required = true)]
    because: String,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show_list(args, terminal).await,
        Verb::Show(args) => show(args, terminal).await,
        Verb::Retry(args) => act("retry", args, "", terminal).await,
        Verb::Release(args) => act("release", args, "", terminal).await,
        Verb::Dismiss(args) => act("dismiss", args.act, &args.because, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn show_list(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let asked = Selection {
        stream: args.stream,
        reason: args.reason,
        all: args.all,
        limit: Some(args.page.limit),
        after: args.page.after,
        ..Selection::default()
    };
    let filter = asked.filter();
    let after = args.page.after.unwrap_or(0);
    let read = |reader: &crate::store::Reader| reader.held_list(&filter, args.page.limit, after);
    let items = args.which.open().await?.read("/api/held", &asked, read).await?;
    if args.json {
        terminal.json(&items);
        return Ok(Exit::Fine);
    }
    let items = items.as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        terminal.data("nothing is held");
        return Ok(Exit::Fine);
    }
    let rows = items.iter().map(|item| {
        vec![
            field(item, "id"),
            field(item, "reason"),
            field(item, "state"),
            field(item, "entity"),
            field(item, "key"),
            field(item, "stream"),
            time(item, "opened_at"),
        ]
    });
    let head = ["id#", "reason", "state", "entity", "key", "stream", "since"];
    terminal.data(&table(&head, &rows.collect::<Vec<_>>()));
    if items.len() == args.page.limit {
        let last = items.last().map(|item| field(item, "id")).unwrap_or_default();
        terminal.note(&format!("there may be more: --after {last}"));
    }
    Ok(Exit::Fine)
}

async fn show(args: ShowArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let (who, personal) = args.personal.asked();
    let view = match args.which.open().await? {
        Access::Agent(client) => {
            let look = Look { personal, who: Some(who) };
            let mut view: Json = client.get(&format!("/api/held/{}", args.id), &look).await?;
            // What the mapping makes of it is `hisync preview`'s to tell; a script gets the same with and without an agent.
            if let Some(view) = view.as_object_mut() {
                view.remove("understood");
            }
            view
        }
        Access::Store(reader) => {
            let readers = args.which.readers(terminal);
            let found = reader.held_show(args.id)?;
            if let Some(reason) = &personal {
                // Only to write down who looks; whoever just looks leaves the store alone.
                drop(reader);
                let (store, _) = args.which.open_for_acts()?;
                store.audit(&who, "show-personal", &format!("held/{}", args.id), reason).await?;
                store.close().await;
            }
            let decoder = |stream: &StreamId| readers.get(stream).map(|(_, decoder)| decoder.clone());
            let view = shown::view(decoder, found, personal.is_some());
            serde_json::to_value(view).unwrap_or_default()
        }
    };
    if args.json {
        terminal.json(&view);
    } else {
        terminal.data(&detail(&view));
    }
    Ok(Exit::Fine)
}

fn detail(view: &Json) -> String {
    let item = &view["item"];
    let mut text = String::new();
    for name in ["id", "reason", "state", "leg", "entity", "key", "stream", "mapping_version"] {
        let _ = writeln!(text, "{name:16} {}", field(item, name));
    }
    let _ = writeln!(text, "{:16} {}", "since", time(item, "opened_at"));
    if item["closed_at"].is_string() {
        let _ = writeln!(
            text,
            "{:16} {} by {}: {}",
            "closed",
            time(item, "closed_at"),
            field(item, "closed_by"),
            field(item, "note")
        );
    }
    if view["record"].is_object() {
        let record = &view["record"];
        let _ = writeln!(text, "{:16} {}", "raw digest", field(record, "digest"));
    }
    text.push_str("\nfindings\n");
    for finding in list(view, "findings") {
        let value = match finding["source_value"].as_str() {
            Some(value) => format!(" (source: {value:?})"),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "  {} {} at {}: {}{value}",
            field(finding, "severity"),
            field(finding, "code"),
            field(finding, "path"),
            field(finding, "message")
        );
    }
    if let Some(raw) = view["raw_text"].as_str() {
        let _ = writeln!(text, "\nraw record\n{raw}");
    }
    if view["event"].is_object() {
        let _ = writeln!(text, "\nevent\n{}", serde_json::to_string_pretty(&view["event"]).unwrap_or_default());
    }
    for entry in list(view, "history") {
        let _ = writeln!(
            text,
            "{} {} {} {}",
            time(entry, "at"),
            field(entry, "who"),
            field(entry, "act"),
            field(entry, "detail")
        );
    }
    text
}

async fn act(verb: &str, args: ActArgs, because: &str, terminal: &Terminal) -> Result<Exit, Error> {
    let who = args.who.unwrap_or_else(whoami);
    let group = Selection { stream: args.on.stream, reason: args.on.reason, all: args.on.all, ..Selection::default() };
    let selections: Vec<Selection> = match args.on.ids.is_empty() {
        true => vec![group],
        false => args.on.ids.iter().map(|id| Selection { id: Some(*id), ..Selection::default() }).collect(),
    };
    let mut done = Done::default();
    match args.which.open().await? {
        Access::Agent(client) => {
            for on in selections {
                let act = Act { who: who.clone(), because: because.to_owned(), on };
                let answer = client.post(&format!("/api/held/{verb}"), &act).await?;
                add(&mut done, &answer);
            }
        }
        Access::Store(reader) => {
            drop(reader);
            let (store, again) = args.which.open_for_acts()?;
            for on in selections {
                let filter = on.filter();
                let answer = match verb {
                    "retry" => acts::retry(&store, &again, filter, &who).await?,
                    "release" => acts::release(&store, filter, &who).await?,
                    _ => acts::dismiss(&store, filter, &who, because).await?,
                };
                add(&mut done, &serde_json::to_value(answer).unwrap_or_default());
            }
            store.close().await;
        }
    }
    if args.json {
        terminal.json(&done);
    } else {
        terminal.data(&format!("{} settled, {} still held", done.settled, done.still_held));
        done.problems.iter().for_each(|problem| terminal.note(problem));
    }
    Ok(if done.still_held == 0 { Exit::Fine } else { Exit::NotFine })
}

fn add(done: &mut Done, answer: &Json) {
    done.settled += answer["settled"].as_u64().unwrap_or_default();
    done.still_held += answer["still_held"].as_u64().unwrap_or_default();
    for problem in list(answer, "problems").iter().filter_map(Json::as_str) {
        if !done.problems.iter().any(|known| known == problem) {
            done.problems.push(problem.to_owned());
        }
    }
}
