//! `hisync explain`: the whole life of one record, or what a rule means.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::access::{Error, Which};
use super::table::{field, list, time};
use super::{Exit, Terminal};
use crate::mapping;
use crate::ops::reasons;
use crate::ops::runbook::chapter;
use crate::store::Reader;

/// Tells the whole life of one record: seen when, raw digest, mapping version, each attempt, receipt.
///
/// Takes an exam number, a package or item code, a key, a subject (exam_report/main:peis:0301), an event id,
/// archive:ID, or the code of a rule, a finding or an alert.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync explain 0301170001                 an exam number
  hisync explain exam_package/main:peis:T01 a subject
  hisync explain unknown-code               what a reason means and what to do
  hisync explain stream-silent              the runbook's chapter of an alert

Exit codes: 0 found; 1 nothing is known of it; 2 there is no configuration; 3 there is no store.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// What to explain.
    key: String,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Reasons that are no rule of a mapping: (code, what it means, what to do).
const REASONS: &[(&str, &str, &str)] = &[
    (
        "bulk-withdrawal",
        "so much of a catalogue is missing at once that nothing was withdrawn",
        "Ask the hospital. Release the item if it is right; dismiss it if the catalogue was read in a bad moment.",
    ),
    (
        "gone-from-source",
        "two comparisons in a row did not find in the source what the ledger has; nothing was withdrawn",
        "Ask the hospital. Release the item if it was erased on purpose; dismiss it if the source is at fault.",
    ),
    (
        "upstream-excess",
        "upstream has entities that no source says, as after a store was lost while the hospital erased something",
        "Ask the hospital. Release withdraws them; what is read meanwhile is spared. Dismiss it and they stay upstream.",
    ),
    (
        "mass-change",
        "a catalogue changed so much at once that nothing of it was sent; upstream keeps what it has",
        "Its findings say what. Release it if the hospital means it; an equal snapshot some time later releases it too.",
    ),
    (
        "onboarding",
        "a new stream's first sample is not in order, or not judged yet: its events wait",
        "Its findings say what. Correct the mapping or a code table, and it is judged again; or release it.",
    ),
    (
        "unreadable-event",
        "an event, or the version before one, can't be read from the store",
        "The store's file is damaged: see to the disk and its backup. A later version of the entity can be released.",
    ),
    (
        "parts-overdue",
        "the parts of a report were waited for and did not come in time",
        "Ask the system whose part is missing; `hisync held show` names it. What comes later completes the report.",
    ),
    (
        "attachment-unknown",
        "upstream lacks a file that the agent has given up",
        "Have the record read again with its file, or ask upstream to restore the file; then retry.",
    ),
    (
        "attachment-unreadable",
        "a file can't be read from the store any more",
        "Have the record read again with its file. See to the disk where it was not given up on purpose.",
    ),
    ("duplicate-key", "several rows have the same key", "Correct the stream's `key`, or the rows in the source."),
    ("null-key", "a key column is empty", "Name columns that are never empty in the stream's `key`."),
    (
        "child-key-ambiguous",
        "child rows can't be told apart by the key that binds them to their parents",
        "Compare the columns of the child's key with the parent's: type, blanks and case.",
    ),
    ("text-encoding", "a text is not in the character set of its source", "Correct it in the source, then retry."),
    ("document-json", "an archived record can't be read again", "This is a bug: keep the data folder and report it."),
    ("mapping-panic", "the mapping failed on this record", "This is a bug: keep the data folder and report it."),
    (
        "hl7-charset",
        "the message is not in the character set that it should be in",
        "Correct the source's `charset`, then retry; if only some messages are damaged, have them sent again.",
    ),
    (
        "hl7-charset-doubtful",
        "the text looks as if it was written in another character set than it says",
        "Correct the source's `charset` (or `prefer = \"configured\"`), then retry.",
    ),
    ("hl7-charset-unknown", "MSH-18 names an unknown character set", "Set the source's `charset`, then retry."),
    ("hl7-delimiters", "the message's delimiters are malformed", "Have the sender correct it and send it again."),
    ("hl7-segment", "a line is no segment", "Often a raw line break inside a text: have the sender escape it."),
    ("hl7-no-header", "the message does not begin with MSH", "Have the sender correct it and send it again."),
    ("hl7-stray", "something stands outside of a message", "Look at what it is, and ask the sender."),
    ("hl7-several-messages", "several messages stand where one is expected", "Ask the sender to frame each one."),
    ("hl7-several-patients", "one message is about several people", "The sender must send one message for each."),
    ("hl7-batch-count", "a batch states another count than it has", "Compare with the sender's log."),
    ("hl7-too-long", "the message is longer than allowed", "Raise `max_message_bytes`, and have it sent again."),
    ("mllp-garbage", "what came is no MLLP frame", "Find out what speaks to this port."),
];

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    if let Some(rule) = mapping::rules::all().iter().find(|rule| rule.code == args.key) {
        if args.json {
            terminal.json(&json!({
                "rule": { "code": rule.code, "default": rule.severity.as_str(), "title": rule.title, "help": rule.help },
            }));
        } else {
            terminal.data(&format!(
                "{}: {}\nby default: {}\n\n{}",
                rule.code,
                rule.title,
                rule.severity.as_str(),
                rule.help
            ));
        }
        return Exit::Fine;
    }
    if let Some(found) = reason(&args.key) {
        if args.json {
            terminal.json(&json!({ "reason": found }));
        } else {
            let parts = ["help", "runbook"].map(|part| found[part].as_str().unwrap_or_default());
            let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            terminal.data(&format!("{}: {}\n\n{}", args.key, field(&found, "title"), parts.join("\n\n")));
        }
        return Exit::Fine;
    }
    life(&args, terminal).await.unwrap_or_else(|error| error.tell(terminal))
}

/// What a reason means: why a record is held, or what the health names, or both.
fn reason(code: &str) -> Option<Json> {
    let held = REASONS.iter().find(|(known, ..)| *known == code);
    let health = reasons::of(code);
    let title = held.map(|(_, title, _)| *title).or(health.map(|kind| kind.title))?;
    Some(json!({
        "code": code, "title": title, "help": held.map(|(.., help)| *help), "runbook": health.and_then(|_| chapter(code)),
    }))
}

async fn life(args: &Args, terminal: &Terminal) -> Result<Exit, Error> {
    let access = args.which.open().await?;
    let found =
        access.read("/api/explain", &json!({ "q": args.key }), |reader: &Reader| reader.explain(&args.key)).await?;
    let nothing =
        list(&found, "entities").is_empty() && list(&found, "held").is_empty() && !found["record"].is_object();
    if args.json {
        terminal.json(&found);
    } else if nothing {
        terminal.note("nothing is known of it: not as a key, a subject, an exam number, a code or an event id");
    } else {
        terminal.data(&text(&found));
    }
    Ok(if nothing { Exit::NotFine } else { Exit::Fine })
}

fn text(found: &Json) -> String {
    let mut text = String::new();
    for entity in list(found, "entities") {
        let _ = writeln!(text, "{}/{}: {}", field(entity, "entity"), field(entity, "key"), field(entity, "state"));
        for part in list(entity, "parts") {
            let _ = writeln!(
                text,
                "  latest from {}: received {}, archive {}, raw {}, mapping {}{}",
                field(part, "stream"),
                time(part, "received_at"),
                field(part, "archive_id"),
                short(&field(part, "raw_digest")),
                field(part, "mapping_version"),
                part["absent_reason"]
                    .as_str()
                    .map(|reason| format!(", not to be upstream: {reason}"))
                    .unwrap_or_default()
            );
        }
        for version in list(entity, "versions") {
            let entry = &version["entry"];
            let _ = writeln!(text, "  {} {} {}", field(entry, "sequence"), field(entry, "kind"), field(entry, "state"));
            let _ = writeln!(text, "    event {}", field(entry, "event_id"));
            let _ = writeln!(
                text,
                "    received {}, raw {}, mapping {}, content {}",
                time(version, "received_at"),
                short(&field(version, "raw_digest")),
                field(entry, "mapping_version"),
                short(&field(entry, "content_hash"))
            );
            let changes: Vec<&str> = list(version, "changes").iter().filter_map(Json::as_str).collect();
            if !changes.is_empty() {
                let _ = writeln!(text, "    changed: {}", changes.join(", "));
            }
            for attempt in list(version, "history") {
                let _ = writeln!(
                    text,
                    "    attempt {} at {}: {}",
                    field(attempt, "n"),
                    time(attempt, "at"),
                    field(attempt, "code")
                );
            }
            if entry["done_at"].is_string() {
                let _ = writeln!(
                    text,
                    "    {} at {} ({})",
                    field(entry, "state"),
                    time(entry, "done_at"),
                    field(entry, "last_code")
                );
            } else if entry["next_try_at"].is_string() {
                let _ = writeln!(text, "    next try at {}", time(entry, "next_try_at"));
            }
        }
        list(entity, "held").iter().for_each(|item| held(&mut text, item));
    }
    list(found, "held").iter().for_each(|item| held(&mut text, item));
    if found["record"].is_object() {
        let record = &found["record"];
        let _ = writeln!(
            text,
            "archive {}: {} from {}, received {}, {}, raw {}",
            field(record, "archive_id"),
            field(record, "format"),
            field(record, "stream"),
            time(record, "received_at"),
            field(record, "source_ref"),
            field(record, "digest")
        );
    }
    text
}

fn held(text: &mut String, item: &Json) {
    let _ = writeln!(
        text,
        "  held item {} ({}): {}, since {}",
        field(item, "id"),
        field(item, "state"),
        field(item, "reason"),
        time(item, "opened_at")
    );
}

fn short(digest: &str) -> String {
    digest.chars().take(19).collect()
}
