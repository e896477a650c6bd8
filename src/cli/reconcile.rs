//! `hisync reconcile`: compares sources, the ledger and upstream.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value as Json;
use tokio_util::sync::CancellationToken;

use super::access::{Access, Error, Which, whoami};
use super::table::{field, list, table, time};
use super::{Exit, Terminal};
use crate::agent;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::intake::reconcile::{Lags, Period, Wanted, ask, ledger_only, read_time};
use crate::intake::{Board, Gate};
use crate::ops::reconcile::{Ask, Runs};
use crate::store::{self, Reader, ReconcileReport, Scope, Store, UPSTREAM};

/// How often a running comparison is asked whether it is done.
const LOOK: Duration = Duration::from_millis(300);

/// Compares what sources say with what hisync has and what upstream acknowledged, and mends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync reconcile run --stream peis/reports --since 2026-11-01 --until 2026-11-08
  hisync reconcile run --upstream       what upstream lost is sent again
  hisync reconcile list                 the last comparisons
  hisync reconcile show 17              what one of them found

Exit codes: 0 nothing differed; 1 something did; 2 usage or configuration; 3 it could not be compared.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Lists comparisons, newest first.
    List(ListArgs),
    /// Shows one comparison with what it found.
    Show(ShowArgs),
    /// Makes a comparison: through the running agent, or by itself where none runs.
    #[command(after_help = "The source is read again from the beginning of the period. What is missing or differs is
committed as an ordinary record; what the source lacks is listed, and held for a person when two comparisons agree.")]
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    which: Which,
    /// Only of this stream (SOURCE/STREAM), or `upstream`.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    which: Which,
    /// The comparison's id.
    id: i64,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    #[command(flatten)]
    which: Which,
    /// The stream (SOURCE/STREAM).
    #[arg(long, required_unless_present = "upstream", requires = "since", requires = "until")]
    stream: Option<String>,
    /// Compares what upstream has with what it has acknowledged.
    #[arg(long, conflicts_with = "stream")]
    upstream: bool,
    /// Where the period begins, in the hospital's time zone: 2026-11-01 or "2026-11-01 08:00".
    #[arg(long, conflicts_with = "upstream", value_name = "TIME")]
    since: Option<String>,
    /// Where it ends; the end is not part of it.
    #[arg(long, conflicts_with = "upstream", value_name = "TIME")]
    until: Option<String>,
    /// Who asks, for the report.
    #[arg(long)]
    who: Option<String>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let done = match args.verb {
        Verb::List(args) => show_list(args, terminal).await,
        Verb::Show(args) => show(args, terminal).await,
        Verb::Run(args) => make(args, terminal).await,
    };
    done.unwrap_or_else(|error| error.tell(terminal))
}

async fn show_list(args: ListArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let asked = Runs { subject: args.stream.clone(), limit: Some(args.limit) };
    let read = |reader: &Reader| reader.reconcile_runs(args.stream.as_deref(), args.limit);
    let runs = args.which.open().await?.read("/api/reconcile", &asked, read).await?;
    if args.json {
        terminal.json(&runs);
        return Ok(Exit::Fine);
    }
    let runs = runs.as_array().map_or(&[][..], Vec::as_slice);
    if runs.is_empty() {
        terminal.data("nothing has been compared yet");
        return Ok(Exit::Fine);
    }
    let names = ["id", "subject", "state"];
    let counts = ["compared", "missing", "differing", "extra", "undelivered", "repaired"];
    let rows = runs.iter().map(|run| {
        let mut row: Vec<String> = names.iter().map(|name| field(run, name)).collect();
        row.extend(["since", "until"].map(|name| time(run, name)));
        row.extend(counts.iter().map(|name| field(run, name)));
        row
    });
    let head = [
        "id#",
        "stream",
        "state",
        "since",
        "until",
        "compared#",
        "missing#",
        "differing#",
        "extra#",
        "undelivered#",
        "mended#",
    ];
    terminal.data(&table(&head, &rows.collect::<Vec<_>>()));
    Ok(Exit::Fine)
}

async fn show(args: ShowArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let id = args.id;
    let read = |reader: &Reader| reader.reconcile_show(id);
    let report = args.which.open().await?.read(&format!("/api/reconcile/{id}"), &(), read).await?;
    Ok(tell(&report, args.json, terminal))
}

async fn make(args: RunArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let who = args.who.clone().unwrap_or_else(whoami);
    // A store that is not there yet has nothing to compare, and is made by `hisync run`.
    if let Access::Agent(client) = args.which.open().await? {
        let subject = args.stream.clone().unwrap_or_else(|| UPSTREAM.to_owned());
        let ask = Ask { who, subject, since: args.since.clone(), until: args.until.clone() };
        let asked = client.post("/api/reconcile", &ask).await?;
        let path = format!("/api/reconcile/{}", field(&asked, "id"));
        loop {
            let report = client.get(&path, &()).await?;
            if !report["ended_at"].is_null() {
                return Ok(tell(&report, args.json, terminal));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    let (config, store) = args.which.open_whole()?;
    let done = directly(&args, config, &store, &who).await;
    let run = match done {
        Ok(run) => run,
        Err(error) => {
            store.close().await;
            return match error {
                Failed::Store(error) => Err(error.into()),
                Failed::Refused(text) => {
                    terminal.note(&format!("error: {text}"));
                    Ok(Exit::Usage)
                }
            };
        }
    };
    let report: Result<ReconcileReport, store::Error> = store.read(move |reader| reader.reconcile_show(run)).await;
    store.close().await;
    Ok(tell(&serde_json::to_value(report?).unwrap_or_default(), args.json, terminal))
}

/// Why a comparison was not even begun.
enum Failed {
    Store(store::Error),
    Refused(String),
}

impl From<store::Error> for Failed {
    fn from(error: store::Error) -> Failed {
        Failed::Store(error)
    }
}

/// Makes a comparison without an agent; answers its row. That it failed is in the report.
async fn directly(args: &RunArgs, config: Config, store: &Store, who: &str) -> Result<i64, Failed> {
    let (clock, zone) = (Clock::system(), config.agent.timezone);
    let Some(name) = &args.stream else {
        let delivery = Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock);
        let delivery = delivery.map_err(|error| Failed::Refused(connector_api::chain(&error)))?;
        let run = store.reconcile_ask(UPSTREAM, Scope::Upstream, None, who).await?;
        // What is in excess can only be told once every stream has been read.
        agent::reconcile::compare(&delivery.digests(&config.agent.hospital, &config.agent.campus), store, run, |_| {
            None
        })
        .await?;
        return Ok(run);
    };
    let found = config.sources.iter().find_map(|source| {
        let stream = source.streams.iter().find(|stream| stream.id.as_str() == name)?;
        Some((source, stream))
    });
    let (source, stream) =
        found.ok_or_else(|| Failed::Refused(format!("{name} is no stream of this configuration")))?;
    let time = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        read_time(text)
            .ok_or_else(|| Failed::Refused(format!("{text:?} is no time: 2026-11-20 or \"2026-11-20 08:00\"")))
    };
    let lags = agent::reconcile::policy(&config, stream).map_or_else(Lags::default, |policy| policy.lags);
    let period = Period::asked(time(&args.since)?, time(&args.until)?, clock.now(), zone, lags.closed_after);
    let period = period.map_err(|error| Failed::Refused(error.to_string()))?;
    let run = ask(store, &stream.id, stream.mode, &period, zone, who).await?;
    if stream.schedule.is_none() {
        ledger_only(store, &clock, stream.mode, lags, run).await?;
        return Ok(run);
    }
    let gate = Gate::new(&config.agent.data_dir, config.agent.disk_floor_bytes);
    let breakers = crate::intake::Sources::new([(source.id.clone(), source.kind.name.to_owned())], &clock);
    let (source, stream) = (source.id.clone(), stream.id.clone());
    let shared = agent::sources::Shared {
        config: config.into(),
        store: store.clone(),
        gate: gate.into(),
        board: Board::default(),
        breakers,
        clock,
        learnt: tokio::sync::watch::Sender::new(true),
    };
    let of = shared.config.sources.iter().find(|of| of.id == source);
    let built = of.and_then(|of| Some((of, of.streams.iter().find(|of| of.id == stream)?)));
    let Some((source, stream)) = built else { return Ok(run) };
    let (task, mut poller) = match agent::sources::poll_stream(&shared, source, stream) {
        Ok(built) => built,
        Err(text) => {
            store.reconcile_fail(run, &text).await?;
            return Ok(run);
        }
    };
    // A failure of the source stands in the report.
    let _ = task.reconcile(poller.poller.as_mut(), Some(Wanted { run, period }), &CancellationToken::new()).await;
    Ok(run)
}

/// Prints a report.
fn tell(report: &Json, json: bool, terminal: &Terminal) -> Exit {
    let drift: i64 =
        ["missing", "differing", "extra", "undelivered"].iter().filter_map(|kind| report[*kind].as_i64()).sum();
    let exit = match report["state"].as_str() {
        Some("failed") => Exit::Unreachable,
        _ if drift > 0 => Exit::NotFine,
        _ => Exit::Fine,
    };
    if json {
        terminal.json(report);
        return exit;
    }
    let mut text = String::new();
    for name in ["id", "subject", "scope", "state", "asked_by"] {
        let _ = writeln!(text, "{name:12} {}", field(report, name));
    }
    for name in ["since", "until", "started_at", "ended_at"] {
        let _ = writeln!(text, "{name:12} {}", time(report, name));
    }
    for name in ["compared", "agreed", "held", "missing", "differing", "extra", "undelivered", "repaired", "requests"] {
        let _ = writeln!(text, "{name:12} {}", field(report, name));
    }
    if report["note"].is_string() {
        let _ = writeln!(text, "{:12} {}", "note", field(report, "note"));
    }
    let items = list(report, "items");
    if !items.is_empty() {
        let rows = items.iter().map(|item| ["kind", "entity", "key", "now"].map(|name| field(item, name)).to_vec());
        let _ = write!(text, "\n{}", table(&["found", "entity", "key", "its event now"], &rows.collect::<Vec<_>>()));
    }
    terminal.data(&text);
    exit
}
