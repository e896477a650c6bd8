//! `hisync preview`: raw beside normalised, before anything is stored or sent.

mod lines;

use std::path::PathBuf;

use bytes::Bytes;
use connector_api::{Connector, Flow, Mode, Raw, Record, Request, StreamId, Watermark};
use serde::Serialize;
use serde_json::Value as Json;

use self::lines::Places;
use super::{Exit, Terminal};
use crate::agent::sources;
use crate::clock::Clock;
use crate::config::{self, Config, SourceConfig, StreamConfig};
use crate::diagnose;
use crate::mapping::{Input, Made};
use crate::model::{Outcome, Severity, Wish};
use crate::ops::mask;
use crate::store::Reader;

/// Reads a few records and shows raw beside normalised with each finding; stores and sends nothing.
///
/// A polled stream is read from its source (the last 30 days first, where it has a watermark). For a stream that
/// is sent to hisync, the records are those that were received, or a file with one raw record.
///
/// Beside each value stands the source's name that it was found under, the raw text where that differs, and the line of
/// the mapping that made it. Lines that hisync works out itself (`visit_key`) have none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync preview -c hisync.toml --stream peis/reports
  hisync preview -c hisync.toml --stream peis/packages --limit 1 --show-personal
  hisync preview -c hisync.toml --stream lab/reports --file message.hl7

Exit codes: 0 every record maps; 1 some would be held; 2 the configuration has problems; 3 the source can't be read.")]
pub(super) struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Which stream.
    #[arg(long, value_name = "SOURCE/STREAM")]
    stream: String,
    /// At most so many records.
    #[arg(long, default_value_t = 3)]
    limit: usize,
    /// A file with one raw record, as the source would send it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Shows personal data.
    #[arg(long)]
    show_personal: bool,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

/// One record with what becomes of it.
#[derive(Debug, Serialize)]
struct Shown {
    source_ref: String,
    raw: Json,
    outcomes: Vec<ShownOutcome>,
}

#[derive(Debug, Serialize)]
struct ShownOutcome {
    /// `deliver`, `absent` or `held`.
    fate: &'static str,
    entity: Option<String>,
    key: Option<String>,
    reason: Option<String>,
    normalised: Option<Json>,
    /// Each value with the line of the mapping that made it.
    lines: Vec<lines::Value>,
    findings: Json,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            terminal.note(&diagnose::render(&problems, terminal.colour_err()));
            return Exit::Usage;
        }
    };
    let Some((source, stream)) = find(&config, &args.stream) else {
        let names: Vec<_> =
            config.sources.iter().flat_map(|source| &source.streams).map(|stream| stream.id.to_string()).collect();
        terminal.note(&format!("error: there is no stream {:?}\nthe streams: {}", args.stream, names.join(", ")));
        return Exit::Usage;
    };
    let connector = match source.build(&config.base_dir) {
        Ok(connector) => connector,
        Err(problems) => {
            problems.iter().for_each(|problem| terminal.note(&format!("error: {}: {}", problem.path, problem.message)));
            return Exit::Usage;
        }
    };
    let records = match records(&args, &config, stream, connector).await {
        Ok(records) => records,
        Err(text) => {
            terminal.note(&format!("error: {text}"));
            return Exit::Unreachable;
        }
    };
    if records.is_empty() {
        terminal.note("the source has no records for this stream (yet)");
    }
    let normaliser = sources::normaliser(&config, source, stream);
    let mut held = false;
    let shown: Vec<Shown> = records
        .into_iter()
        .map(|record| {
            let outcomes = normaliser.outcomes(&record.document, &record.source_ref, record.raw.charset.as_deref());
            held |= outcomes.iter().any(|outcome| matches!(outcome, Outcome::Held(_)));
            let places = Places::new(&stream.mapping);
            let made = match &record.document {
                Ok(document) => {
                    let charset = record.raw.charset.as_deref();
                    let input = Input { document, source_ref: &record.source_ref, charset };
                    let explained = stream.mapping.explain(&sources::context(&config, source), input);
                    explained.into_iter().map(|(_, made)| made).collect()
                }
                Err(_) => Vec::new(),
            };
            show(&record, &outcomes, &made, &places, args.show_personal)
        })
        .collect();
    if args.json {
        terminal.json(&shown);
    } else {
        shown.iter().enumerate().for_each(|(at, record)| terminal.data(&text(at + 1, record)));
    }
    if held { Exit::NotFine } else { Exit::Fine }
}

fn find<'a>(config: &'a Config, id: &str) -> Option<(&'a SourceConfig, &'a StreamConfig)> {
    let wanted = StreamId::parse(id)?;
    config.sources.iter().find_map(|source| {
        let stream = source.streams.iter().find(|stream| stream.id == wanted)?;
        Some((source, stream))
    })
}

async fn records(
    args: &Args,
    config: &Config,
    stream: &StreamConfig,
    connector: Connector,
) -> Result<Vec<Record>, String> {
    if let Some(path) = &args.file {
        let body = std::fs::read(path).map_err(|error| format!("read {path:?}: {error}"))?;
        let raw = Raw { format: connector.decoder.format().to_owned(), charset: None, body: Bytes::from(body) };
        let document = connector.decoder.decode(&raw);
        return Ok(vec![Record { raw, document, source_ref: path.display().to_string(), resend_key: None }]);
    }
    match connector.flow {
        Flow::Listen(_) => received(args, config, stream, connector.decoder.as_ref()),
        Flow::Poll(pollers) => {
            let poller = pollers.into_iter().find(|poller| poller.stream == stream.id);
            let mut poller = poller.ok_or("the connector made no poller for the stream")?.poller;
            let start = Watermark::start();
            let since =
                (Clock::system().now() - chrono::Days::new(30)).with_timezone(&config.agent.timezone).naive_local();
            let first = match stream.mode {
                Mode::Snapshot => Request::Snapshot { after: None },
                _ => Request::Window { since, after: None },
            };
            let mut batch = poller.fetch(first, args.limit).await.map_err(|error| told(&error))?;
            if batch.records.is_empty() && stream.mode == Mode::Incremental {
                let all = Request::Changes { from: &start, after: None };
                batch = poller.fetch(all, args.limit).await.map_err(|error| told(&error))?;
            }
            batch.records.truncate(args.limit);
            Ok(batch.records)
        }
    }
}

fn told(error: &connector_api::SourceError) -> String {
    match &error.hint {
        Some(hint) => format!("{}\nhint: {hint}", error.chain()),
        None => error.chain(),
    }
}

/// What the stream has received, from the store of an agent that ran with this configuration.
fn received(
    args: &Args,
    config: &Config,
    stream: &StreamConfig,
    decoder: &dyn connector_api::Decoder,
) -> Result<Vec<Record>, String> {
    let folder = &config.agent.data_dir;
    if !folder.join("hisync.db").exists() {
        return Err("nothing was received yet; give a raw record with --file".to_owned());
    }
    let read = |error: crate::store::Error| error.to_string();
    let keys = config.store.keys(&config.base_dir).map_err(|error| connector_api::chain(&error))?;
    let reader = Reader::open_with(folder, keys.as_ref()).map_err(read)?;
    // Every version differs from the empty one: these are all entities' latest records.
    let records = reader.stale_parts(&stream.id, "", 0, args.limit).map_err(read)?;
    let records = records.into_iter().map(|archived| Record {
        document: decoder.decode(&archived.raw),
        raw: archived.raw,
        source_ref: archived.source_ref,
        resend_key: None,
    });
    Ok(records.collect())
}

fn show(record: &Record, outcomes: &[Outcome], made: &[Vec<Made>], places: &Places<'_>, personal: bool) -> Shown {
    let raw = match &record.document {
        Ok(document) => {
            let root = if personal { document.root.clone() } else { mask::masked_map(&document.root) };
            Json::from(&connector_api::Value::Map(root))
        }
        Err(failure) => Json::String(format!("{failure} ({} bytes)", record.raw.body.len())),
    };
    let outcome = |(at, outcome): (usize, &Outcome)| {
        let made = made.get(at).map_or(&[][..], Vec::as_slice);
        let hide = |json: Json| if personal { json } else { mask::masked_json(&json) };
        match outcome {
            Outcome::Mapped(mapped) => {
                let mut data: Json = serde_json::from_slice(&mapped.data).unwrap_or_default();
                let issues = data.pointer_mut("/envelope/issues").map(Json::take).unwrap_or_default();
                let (fate, reason) = match &mapped.wish {
                    Wish::Present => ("deliver", None),
                    Wish::Absent { reason } => ("absent", Some(reason.clone())),
                };
                let key = if personal { mapped.key.key.clone() } else { mask::mask(&mapped.key.key) };
                ShownOutcome {
                    fate,
                    entity: Some(mapped.key.entity.to_string()),
                    key: Some(key),
                    reason,
                    lines: places.values(&data, &hide(data.clone()), made, personal),
                    normalised: Some(hide(data)),
                    findings: places.findings(hide(issues)),
                }
            }
            Outcome::Held(held) => ShownOutcome {
                fate: "held",
                entity: held.entity.map(|entity| entity.to_string()),
                key: held.key.as_ref().map(|key| if personal { key.key.clone() } else { mask::mask(&key.key) }),
                reason: Some(held.reason.clone()),
                normalised: None,
                lines: Vec::new(),
                findings: places.findings(hide(serde_json::to_value(&held.findings).unwrap_or_default())),
            },
        }
    };
    Shown { source_ref: record.source_ref.clone(), raw, outcomes: outcomes.iter().enumerate().map(outcome).collect() }
}

fn text(number: usize, record: &Shown) -> String {
    let pretty = |json: &Json| serde_json::to_string_pretty(json).unwrap_or_default();
    let mut text = format!("== record {number}, from {}\n\nraw\n{}\n", record.source_ref, pretty(&record.raw));
    for outcome in &record.outcomes {
        let reason = outcome.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let key = outcome.key.as_deref().unwrap_or("no key");
        text += &format!(
            "\n{}{reason}: {} {key}\n",
            outcome.fate.to_uppercase(),
            outcome.entity.as_deref().unwrap_or("unrouted")
        );
        text += &lines::text(&outcome.lines);
        for finding in outcome.findings.as_array().into_iter().flatten() {
            let field = |name: &str| finding[name].as_str().unwrap_or_default().to_owned();
            let mark = if field("severity") == Severity::Info.as_str() { " " } else { "!" };
            text += &format!(
                "  {mark} {} {} at {}: {}\n",
                field("severity"),
                field("code"),
                field("path"),
                field("message")
            );
            if !field("line").is_empty() {
                text += &format!("      ← {}   {}\n", field("says"), field("line"));
            }
        }
    }
    text
}
