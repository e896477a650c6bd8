//! `hisync connectors`: what this build can read from and listen to.

use std::fmt::Write as _;

use serde_json::json;

use super::{Exit, Terminal};
use crate::config::reference::{Table, tables};
use crate::diagnose::nearest;
use crate::registry::{self, Kind};

/// Lists the connectors; with a name, its options and an annotated sample.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync connectors                the connectors of this build
  hisync connectors sqlite         the options of one, and a sample to start from
  hisync connectors sqlite --json  the same for programs, with the JSON Schemas")]
pub(super) struct Args {
    /// A connector's name.
    name: Option<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let Some(name) = &args.name else {
        list(args.json, terminal);
        return Exit::Fine;
    };
    let Some(kind) = registry::find(name) else {
        let names: Vec<&str> = registry::all().iter().map(|kind| kind.name).collect();
        let near =
            nearest(name, names.iter().copied()).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        terminal.note(&format!("error: there is no connector {name:?}{near}\nThe connectors: {}", names.join(", ")));
        return Exit::Usage;
    };
    if args.json {
        terminal.json(&json!({
            "name": kind.name,
            "summary": kind.summary,
            "modes": kind.modes,
            "sample": kind.sample,
            "options": options(kind),
            "settings_schema": kind.settings_schema(),
            "stream_schema": kind.stream_schema(),
        }));
    } else {
        terminal.data(&describe(kind));
    }
    Exit::Fine
}

fn list(as_json: bool, terminal: &Terminal) {
    let kinds = registry::all();
    if as_json {
        let brief = |kind: &Kind| json!({ "name": kind.name, "summary": kind.summary, "modes": kind.modes });
        return terminal.json(&kinds.iter().map(brief).collect::<Vec<_>>());
    }
    let width = kinds.iter().map(|kind| kind.name.len()).max().unwrap_or_default();
    let mut text = String::new();
    for kind in kinds {
        let _ = writeln!(text, "{:width$}  {:24}  {}", kind.name, modes(kind), kind.summary);
    }
    terminal.data(&text);
}

fn modes(kind: &Kind) -> String {
    let words = kind.modes.iter().map(|mode| json!(mode).as_str().unwrap_or_default().to_owned());
    words.collect::<Vec<_>>().join(", ")
}

fn options(kind: &Kind) -> Vec<Table> {
    tables(&kind.settings_schema(), "settings").into_iter().chain(tables(&kind.stream_schema(), "streams[]")).collect()
}

fn describe(kind: &Kind) -> String {
    let mut text = format!("{}: {}\nmodes: {}\n", kind.name, kind.summary, modes(kind));
    for table in options(kind) {
        let _ = write!(text, "\n{}\n", table.path);
        if table.options.is_empty() {
            text.push_str("  (no keys)\n");
        }
        let width = table.options.iter().map(|option| option.key.chars().count()).max().unwrap_or_default();
        for option in &table.options {
            let need = match (&option.default, option.required) {
                (Some(default), _) => format!("default {default}"),
                (None, true) => "required".to_owned(),
                (None, false) => "optional".to_owned(),
            };
            let _ = writeln!(text, "  {:width$}  {} ({need})", option.key, option.kind);
            if !option.meaning.is_empty() {
                let _ = writeln!(text, "  {:width$}    {}", "", option.meaning);
            }
        }
    }
    let _ = write!(text, "\nsample\n\n{}", kind.sample);
    text
}
