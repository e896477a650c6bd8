//! `hisync status`: health at a glance.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::access::{Access, Which};
use super::table::{field, list, table, time};
use super::{Exit, Terminal, sources};
use crate::clock::Clock;
use crate::ops::health::{Health, Reason};
use crate::ops::report::discreet;
use crate::store::Reader;

/// Says whether the sync is healthy, why not, and what to do next.
///
/// Asks the running agent; where none runs, reads its store.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync status                    the agent of ./hisync.toml or /etc/hisync/hisync.toml
  hisync status -c site.toml --json

Exit codes: 0 healthy; 1 needs attention, is failing, or no agent runs; 2 there is no
configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Prints one JSON object: `now`, `health`, `agent`, `streams`, `sources`, `upstream`, `peer`, `store`, `disk`,
    /// `archive`, `ageing`, `certificates`, `alerts`, `tasks`, `reconcile`.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let report = match report(&args.which).await {
        Ok(report) => report,
        Err(error) => return error.tell(terminal),
    };
    if args.json {
        terminal.json(&report);
    } else {
        terminal.data(&text(&report));
    }
    match report.pointer("/health/level").and_then(Json::as_str) {
        Some("ok") => Exit::Fine,
        _ => Exit::NotFine,
    }
}

async fn report(which: &Which) -> Result<Json, super::access::Error> {
    let access = which.open().await?;
    let offline = matches!(access, Access::Store(_));
    let now = Clock::system().now();
    let both = |reader: &Reader| Ok((discreet(reader.overview()?), reader.archive_status(now)?));
    let read = access.read("/api/status", &(), both).await?;
    if !offline {
        return Ok(read);
    }
    let reconcile = access.read("/api/reconcile", &(), Reader::reconcile_latest).await?;
    let reason = Reason::new("no-agent", "agent");
    Ok(json!({
        "now": now, "health": Health::of(vec![reason]), "agent": null, "streams": [], "sources": [],
        "upstream": null, "peer": null, "store": read[0], "disk": null, "archive": read[1], "ageing": null,
        "certificates": [], "alerts": null, "tasks": [], "reconcile": reconcile,
    }))
}

fn text(report: &Json) -> String {
    let health = &report["health"];
    let mut text = match health["level"].as_str() {
        Some("ok") => "OK: the sync is healthy\n".to_owned(),
        Some("attention") => "ATTENTION: a person should look today\n".to_owned(),
        _ => "FAILING: a person should look now\n".to_owned(),
    };
    // What another reason explains stands below it, in fewer words.
    for reason in list(health, "reasons") {
        if let Some(cause) = reason["cause"].as_str() {
            let _ = writeln!(text, "  {}: {} (because of {cause})", field(reason, "subject"), field(reason, "text"));
            continue;
        }
        let _ = writeln!(text, "  {}: {}", field(reason, "subject"), field(reason, "text"));
        let _ = writeln!(text, "    -> {}", field(reason, "next"));
    }
    if report["agent"].is_object() {
        let agent = &report["agent"];
        let _ = writeln!(
            text,
            "\nhospital {} ({}), hisync {}, up since {}",
            field(agent, "hospital"),
            field(agent, "campus"),
            field(agent, "version"),
            time(agent, "started_at")
        );
    }
    let store = &report["store"];
    if let Some(totals) = store["totals"].as_object().filter(|totals| !totals.is_empty()) {
        text.push_str("\nsource = delivered + unchanged + held + queued\n");
        let rows = totals.iter().map(|(entity, sums)| {
            let mut row = vec![entity.clone()];
            row.extend(["source", "delivered", "unchanged", "held", "queued"].map(|name| field(sums, name)));
            row.push(if sums["adds_up"] == true { "adds up" } else { "DOES NOT ADD UP" }.to_owned());
            row
        });
        let head = ["entity", "source#", "delivered#", "unchanged#", "held#", "queued#", ""];
        text.push_str(&table(&head, &rows.collect::<Vec<_>>()));
    }
    let streams = list(report, "streams");
    if !streams.is_empty() {
        let rows = streams.iter().map(|stream| {
            vec![
                field(stream, "id"),
                field(&stream["health"], "standing"),
                field(stream, "state"),
                field(stream, "records"),
                time(stream, "last_success_at"),
                time(stream, "next_at"),
                field(stream, "endpoint"),
            ]
        });
        text.push('\n');
        let head = ["stream", "health", "state", "new records#", "last success", "next", "listens at"];
        text.push_str(&table(&head, &rows.collect::<Vec<_>>()));
    }
    let away: Vec<_> = list(report, "sources")
        .iter()
        .filter(|source| source["breaker"]["state"] != "closed")
        .map(sources::row)
        .collect();
    if !away.is_empty() {
        text.push('\n');
        text.push_str(&table(&sources::HEAD, &away));
    }
    let oldest = time(store, "oldest_undelivered_at");
    let _ = write!(text, "\noutbox: {} waiting", field(store, "outbox_depth"));
    let _ = writeln!(text, "{}", if oldest == "-" { String::new() } else { format!(", the oldest since {oldest}") });
    let held: Vec<String> = list(store, "held_open")
        .iter()
        .map(|held| format!("{} {}", field(held, "count"), field(held, "reason")))
        .collect();
    let _ = writeln!(text, "held: {}", if held.is_empty() { "none".to_owned() } else { held.join(", ") });
    text.push_str(&archive(&report["archive"]));
    text
}

/// How far back the archive reaches, and at what cost.
fn archive(archive: &Json) -> String {
    let Some(kept) = archive["kept_records"].as_u64().filter(|kept| *kept > 0) else { return String::new() };
    let number = |name: &str| archive[name].as_u64().unwrap_or_default();
    let mib = |name: &str| number(name) as f64 / f64::from(1 << 20);
    let mut text = format!(
        "archive: {kept} records, all since {}, {:.1} MiB; a record is {} bytes raw, {} packed, {} with all that is made \
         of it\n",
        time(archive, "complete_since"),
        mib("kept_bytes"),
        number("record_raw_bytes"),
        number("record_packed_bytes"),
        number("record_all_bytes"),
    );
    if let Some(days) = archive["possible_days"].as_u64() {
        let _ = writeln!(
            text,
            "  grows by {:.1} MiB a day; there is room for {days} days, {} are configured",
            mib("growth_bytes_per_day"),
            field(archive, "configured_days")
        );
    }
    text
}
