//! `hisync switch`: what may be changed for a while, without a restart.

use chrono::{DateTime, TimeZone as _, Utc};
use serde_json::Value as Json;

use super::access::{Access, Error, Which, whoami};
use super::table::{field, list, table, time};
use super::{Exit, Terminal, client};
use crate::clock::Clock;
use crate::config;
use crate::ops::switching::{Flip, FlipError, flip, views};
use crate::store;
use crate::switches::{Misfit, lasting};

/// Shows, sets and takes back switches: pauses, limits, the log's level. Each needs a reason and ends by itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync switch list
  hisync switch set hold-deliveries on --until 2h --reason \"upstream asks for a pause\"
  hisync switch set pause-intake on peis --until 06:00 --reason \"the PEIS is being upgraded\"
  hisync switch set poll-interval 15m peis --until 8h --reason \"the DBA asks for less load\"
  hisync switch clear hold-deliveries --reason \"upstream is ready\"

Exit codes: 0 done; 1 it can't be set like this, or is not set; 2 there is no
such switch, or no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists every switch: what it does, its default, and how it is set now.
    #[command(after_help = "Examples:
  hisync switch list
  hisync switch list --json")]
    List(ListArgs),
    /// Sets a switch. It takes effect at once, or at the start of the agent where none runs.
    #[command(after_help = "Examples:
  hisync switch set mute-alerts on --until 30m --reason \"planned work on the network\"
  hisync switch set log-level debug --until 1h --reason \"looking for a slow query\"")]
    Set(SetArgs),
    /// Takes a switch back before it ends by itself.
    #[command(after_help = "Examples:
  hisync switch clear pause-intake peis --reason \"the upgrade is done\"")]
    Clear(ClearArgs),
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
struct SetArgs {
    #[command(flatten)]
    which: Which,
    /// The switch.
    #[arg(value_parser = names())]
    name: String,
    /// Its value: on or off, a number, a length of time, a word.
    value: String,
    /// The source or stream (`peis`, `peis/reports`); all of them where left out.
    subject: Option<String>,
    /// Until when: a length of time (`90m`, `2h`), a time of today or tomorrow (`06:00`), or a whole one
    /// (`2026-11-24T06:00:00+08:00`).
    #[arg(long)]
    until: String,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints a JSON list of all switches afterwards.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ClearArgs {
    #[command(flatten)]
    which: Which,
    /// The switch.
    #[arg(value_parser = names())]
    name: String,
    /// The source or stream that it was set for.
    subject: Option<String>,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    /// Who acts, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Prints a JSON list of all switches afterwards.
    #[arg(long)]
    json: bool,
}

/// The names of all switches, for messages and for completion.
fn names() -> clap::builder::PossibleValuesParser {
    crate::switches::ALL
        .iter()
        .map(|switch| clap::builder::PossibleValue::new(switch.name).help(switch.title))
        .collect::<Vec<_>>()
        .into()
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show(args, terminal).await,
        Verb::Set(args) => set(args, terminal).await,
        Verb::Clear(args) => {
            let ClearArgs { which, name, subject, reason, who, json } = args;
            let who = who.unwrap_or_else(whoami);
            let flip = Flip { value: None, subject, until: None, who, because: reason };
            act(&which, &name, flip, json, terminal).await
        }
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn show(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let now = Clock::system().now();
    let read = |reader: &store::Reader| Ok(views(&reader.switches()?, now));
    let all = args.which.open().await?.read("/api/switches", &(), read).await?;
    print(&all, args.json, terminal);
    Ok(Exit::Fine)
}

fn print(all: &Json, json: bool, terminal: &Terminal) {
    if json {
        terminal.json(all);
        return;
    }
    let mut rows = Vec::new();
    for switch in all.as_array().into_iter().flatten() {
        let set = list(switch, "set");
        if set.is_empty() {
            rows.push(vec![
                field(switch, "name"),
                field(switch, "default"),
                String::new(),
                String::new(),
                field(switch, "title"),
            ]);
        }
        for set in set {
            let name = match field(set, "subject").as_str() {
                "" => field(switch, "name"),
                subject => format!("{} {subject}", field(switch, "name")),
            };
            let by = format!("{}: {}", field(set, "who"), field(set, "because"));
            rows.push(vec![name, field(set, "value"), time(set, "until"), by, field(switch, "title")]);
        }
    }
    terminal.data(&table(&["switch", "now", "until", "set by", "what it does"], &rows));
}

async fn set(args: SetArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let SetArgs { which, name, value, subject, until, reason, who, json } = args;
    let Some(until) = ends(&until, Clock::system().now(), &which) else {
        terminal.note(&format!("error: {until:?} is no end: write 90m, 2h, 06:00 or 2026-11-24T06:00:00+08:00"));
        return Ok(Exit::Usage);
    };
    let who = who.unwrap_or_else(whoami);
    act(&which, &name, Flip { value: Some(value), subject, until: Some(until), who, because: reason }, json, terminal)
        .await
}

/// When a switch ends. A time of the day is the hospital's next one, where its configuration is at hand.
fn ends(text: &str, now: DateTime<Utc>, which: &Which) -> Option<DateTime<Utc>> {
    if let Some(length) = lasting(text) {
        return now.checked_add_signed(chrono::TimeDelta::from_std(length).ok()?);
    }
    if let Ok(whole) = DateTime::parse_from_rfc3339(text) {
        return Some(whole.with_timezone(&Utc));
    }
    let at = chrono::NaiveTime::parse_from_str(text, "%H:%M").ok()?;
    let zone = which.config_at_hand().and_then(|path| config::zone(&path)).unwrap_or(chrono_tz::Asia::Shanghai);
    let today = now.with_timezone(&zone).date_naive();
    let days = [today, today.succ_opt()?];
    days.into_iter()
        .filter_map(|day| zone.from_local_datetime(&day.and_time(at)).earliest())
        .map(|at| at.with_timezone(&Utc))
        .find(|at| *at > now)
}

async fn act(which: &Which, name: &str, asked: Flip, json: bool, terminal: &Terminal) -> Result<Exit, Error> {
    let now = Clock::system().now();
    let (cleared, subject) = (asked.value.is_none(), asked.subject.clone().unwrap_or_default());
    let (running, all) = match which.open().await? {
        Access::Agent(client) => (true, client.post(&format!("/api/switches/{name}"), &asked).await?),
        Access::Store(_) => {
            let (config, store) = which.open_whole()?;
            let known = |subject: &str| {
                let mut sources = config.sources.iter();
                sources.any(|source| {
                    source.id.as_str() == subject || source.streams.iter().any(|stream| stream.id.as_str() == subject)
                })
            };
            let done = flip(&store, name, asked, known, now).await;
            let all = store.read(|reader| reader.switches()).await;
            store.close().await;
            match done {
                Ok(()) => {}
                Err(FlipError::Store(error)) => return Err(error.into()),
                Err(error @ FlipError::Misfit(Misfit::Unknown(_))) => {
                    terminal.note(&format!("error: {error}"));
                    return Ok(Exit::Usage);
                }
                Err(error) => return Err(client::Error::Refused(error.to_string()).into()),
            }
            (false, serde_json::to_value(views(&all?, now)).unwrap_or_default())
        }
    };
    if json {
        print(&all, true, terminal);
        return Ok(Exit::Fine);
    }
    let of = if subject.is_empty() { name.to_owned() } else { format!("{name} {subject}") };
    let set = all.as_array().into_iter().flatten().filter(|switch| field(switch, "name") == name);
    let set = set.flat_map(|switch| list(switch, "set")).find(|set| field(set, "subject") == subject);
    let when = if running { "now" } else { "when the agent starts" };
    terminal.note(&match (cleared, set) {
        (false, Some(set)) => format!("{of} is {} {when}, until {}", field(set, "value"), time(set, "until")),
        _ => format!("{of} is as it is by default {when}"),
    });
    Ok(Exit::Fine)
}
