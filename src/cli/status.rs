//! `hisync status`: health at a glance.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::access::{Access, Which};
use super::table::{field, list, table, time};
use super::{Exit, Terminal, sources};
use crate::clock::Clock;
use crate::ops::health::{Health, Reason};
use crate::ops::report::discreet;
use crate::ops::verdict::damage_reasons;
use crate::store::{self, Reader, Unreadable};

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
    /// `archive`, `ageing`, `certificates`, `alerts`, `tasks`, `reconcile`, `damage`, `unreadable`.
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
    if !offline {
        return access.read("/api/status", &(), |_| Ok(())).await;
    }
    let damage = store::damage_of_folder(&which.data_dir()?);
    // Of a store that is damaged, what can be read.
    let told = |reader: &Reader| {
        let mut unreadable = Unreadable::default();
        let overview = discreet(reader.overview_in_parts(&mut unreadable));
        let archive = unreadable.part("/archive", reader.archive_status(now));
        let reconcile = unreadable.part("/reconcile", reader.reconcile_latest());
        let mut reasons = vec![Reason::new("no-agent", "agent")];
        reasons.extend(damage_reasons(damage.as_ref(), &unreadable));
        let mut report = json!({
            "now": now, "health": Health::of(reasons), "agent": null, "streams": [], "sources": [],
            "upstream": null, "peer": null, "store": overview, "disk": null, "archive": archive, "ageing": null,
            "certificates": [], "alerts": null, "tasks": [], "reconcile": reconcile, "damage": damage,
            "unreadable": unreadable,
        });
        unreadable.blank(&mut report);
        Ok(report)
    };
    access.read("/api/status", &(), told).await
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
    let none = if store["held_open"].is_array() { "none" } else { "-" };
    let _ = writeln!(text, "held: {}", if held.is_empty() { none.to_owned() } else { held.join(", ") });
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
