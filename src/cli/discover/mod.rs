//! `hisync discover`: what a source has, and a first mapping of it.

mod meanings;
mod shapes;
mod suggest;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::{Discovered, Flow, SourceError, Value};
use serde_json::{Value as Json, json};

use super::{Exit, Terminal, table};
use crate::config;
use crate::diagnose;
use crate::mapping::{Files, Mapping};
use crate::model::EntityType;
use crate::ops::mask;

/// Longer than every bound that a connector keeps itself.
const LIMIT: Duration = Duration::from_secs(90);

/// Lists the tables and views of a source; with a name its columns, row count and a masked sample.
///
/// Only the source's own settings must be right: its streams and mappings may be missing yet. Everything is read
/// only and bounded in time. Names, identity numbers, telephone and exam numbers are masked by the column's name and
/// by the look of the value.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync discover -c hisync.toml --source peis                    what there is
  hisync discover -c hisync.toml --source peis V_TJ_BG            one view, with a sample
  hisync discover -c hisync.toml --source peis V_TJ_BG --suggest --child items=V_TJ_MX
                                                                  a first mapping, on the terminal
  hisync discover -c hisync.toml --source peis V_TJ_BG --suggest --out mappings/ours
                                                                  the same as files, with code tables to fill

Exit codes: 0 fine; 1 the source has nothing to list; 2 wrong usage or configuration; 3 the source can't be read.")]
pub(super) struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Which source.
    #[arg(long, value_name = "ID")]
    source: String,
    /// A table or view.
    name: Option<String>,
    /// Writes a first mapping from names of columns and shapes of values.
    #[arg(long, requires = "name")]
    suggest: bool,
    /// What the mapping makes; guessed from the columns where absent.
    #[arg(long, requires = "suggest", value_parser = parse_entity)]
    entity: Option<EntityType>,
    /// A table with the parts of each record, and the name of its list; may be repeated.
    #[arg(long, requires = "suggest", value_name = "LIST=TABLE", value_parser = parse_child)]
    child: Vec<(String, String)>,
    /// The folder to write the mapping and its code tables into; nothing there is overwritten.
    #[arg(long, requires = "suggest", value_name = "DIR")]
    out: Option<PathBuf>,
    /// Shows personal data.
    #[arg(long)]
    show_personal: bool,
    /// Prints JSON.
    #[arg(long, conflicts_with = "suggest")]
    json: bool,
}

fn parse_entity(text: &str) -> Result<EntityType, String> {
    // Critical values are told by a report's mapping; a register of them is too rare to be guessed.
    let suggested = EntityType::ALL.into_iter().filter(|entity| *entity != EntityType::CriticalValue);
    let named = suggested.clone().find(|entity| entity.as_str() == text);
    named.ok_or_else(|| format!("one of: {}", suggested.map(|entity| entity.as_str()).collect::<Vec<_>>().join(", ")))
}

fn parse_child(text: &str) -> Result<(String, String), String> {
    let (list, table) = text.split_once('=').ok_or("write LIST=TABLE, for example items=V_TJ_MX")?;
    match list.is_empty() || table.is_empty() {
        true => Err("write LIST=TABLE, for example items=V_TJ_MX".to_owned()),
        false => Ok((list.to_owned(), table.to_owned())),
    }
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let look = match config::look(&args.config, &args.source) {
        Ok(look) => look,
        Err(problems) => {
            terminal.note(&diagnose::render(&problems, terminal.colour_err()));
            return Exit::Usage;
        }
    };
    let mut flow = look.connector.flow;
    let mut found = match ask(&mut flow, args.name.as_deref()).await {
        Ok(found) => found,
        Err(error) => return told(&error, terminal),
    };
    if found.is_empty() {
        let why = match flow {
            Flow::Listen(_) => "its peers decide what they send; `hisync preview --file` shows one message",
            Flow::Poll(_) => "the login may see no table or view",
        };
        terminal.note(&format!("{} ({}) lists nothing: {why}", args.source, look.kind.name));
        return Exit::NotFine;
    }
    let Some(_) = &args.name else {
        if args.json {
            terminal.json(&found);
        } else {
            terminal.data(&listing(&found));
        }
        return Exit::Fine;
    };
    if args.suggest {
        let mut children = Vec::new();
        for (list, table) in &args.child {
            match ask(&mut flow, Some(table)).await {
                Ok(found) => children.extend(found.into_iter().map(|table| (list.clone(), table))),
                Err(error) => return told(&error, terminal),
            }
        }
        return suggested(&args, &found.swap_remove(0), &children, terminal);
    }
    if args.json {
        terminal.json(&found.iter().map(|one| described_json(one, args.show_personal)).collect::<Vec<_>>());
    } else {
        found.iter().for_each(|one| terminal.data(&described(one, args.show_personal)));
    }
    Exit::Fine
}

async fn ask(flow: &mut Flow, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
    let asked = async {
        match flow {
            Flow::Listen(listener) => listener.discover(name).await,
            // Every poller of a source sees the same tables.
            Flow::Poll(pollers) => match pollers.first_mut() {
                Some(first) => first.poller.discover(name).await,
                None => Ok(Vec::new()),
            },
        }
    };
    tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| {
        let operation = format!("look around in the source: no answer within {} seconds", LIMIT.as_secs());
        Err(SourceError::retry(connector_api::FaultClass::Timeout, operation))
    })
}

fn told(error: &SourceError, terminal: &Terminal) -> Exit {
    terminal.note(&format!("error ({}): {}", error.class.as_str(), error.chain()));
    if let Some(hint) = &error.hint {
        terminal.note(&format!("hint: {hint}"));
    }
    match error.class {
        connector_api::FaultClass::Missing => Exit::NotFine,
        _ => Exit::Unreachable,
    }
}

fn listing(found: &[Discovered]) -> String {
    let row = |one: &Discovered| vec![one.name.clone(), one.kind.clone(), rows(one)];
    table::table(&["name", "kind", "rows#"], &found.iter().map(row).collect::<Vec<_>>())
}

fn rows(one: &Discovered) -> String {
    one.rows.map_or_else(|| "not counted".to_owned(), |rows| rows.to_string())
}

/// How many rows of the sample are shown; all of them are looked at by `--suggest`.
const SHOWN: usize = 5;

fn described(one: &Discovered, personal: bool) -> String {
    let mut text = format!("{} ({}): {} rows\n\n", one.name, one.kind, rows(one));
    let cells: Vec<Vec<String>> = one
        .columns
        .iter()
        .map(|column| {
            let null = match column.nullable {
                Some(true) => "null",
                Some(false) => "not null",
                None => "",
            };
            let mut line = vec![column.name.clone(), column.type_name.clone(), null.to_owned()];
            let shown = one.sample.iter().take(SHOWN).map(|row| shown(&column.name, row.get(&column.name), personal));
            line.push(shown.collect::<Vec<_>>().join(" · "));
            line
        })
        .collect();
    text.push_str(&table::table(&["column", "type", "may be null", "sample"], &cells));
    if !personal && !one.sample.is_empty() {
        text.push_str("\npersonal values are masked; --show-personal shows them\n");
    }
    text
}

fn described_json(one: &Discovered, personal: bool) -> Json {
    let row = |row: &connector_api::Map| {
        let cell = |(name, value): (&std::sync::Arc<str>, &Value)| match value {
            Value::Null => (name.to_string(), Json::Null),
            value => (name.to_string(), shown(name, Some(value), personal).into()),
        };
        Json::Object(row.iter().map(cell).collect())
    };
    let mut all = json!(one);
    all["sample"] = one.sample.iter().take(SHOWN).map(row).collect();
    all
}

/// A value as it may be shown: in clear only where its column is not about a person by its name and it does not
/// look like it by itself.
fn shown(column: &str, value: Option<&Value>, personal: bool) -> String {
    let text = match value {
        None | Some(Value::Null) => return "null".to_owned(),
        Some(value) => match Json::from(value) {
            Json::String(text) => text,
            other => other.to_string(),
        },
    };
    let named = meanings::of(column);
    let open = !named.is_empty() && named.iter().all(|(meaning, _)| !meaning.personal);
    let about_a_person = named.iter().any(|(meaning, _)| meaning.personal);
    let whole = match (personal, open && !shapes::is_personal(&text)) {
        (true, _) | (_, true) => text,
        // However short: `D1` may be somebody's number.
        _ if about_a_person => text.chars().map(|c| if c.is_alphanumeric() { '●' } else { c }).collect(),
        _ => mask::mask(&text),
    };
    match whole.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &whole[..end]),
        None => whole,
    }
}

fn suggested(args: &Args, found: &Discovered, children: &[(String, Discovered)], terminal: &Terminal) -> Exit {
    let entity = args.entity.unwrap_or_else(|| suggest::entity_of(found));
    let suggestion = suggest::suggest(entity, found, children);
    let folder = args.out.clone().unwrap_or_default();
    let path = folder.join(format!("{entity}.toml"));
    let mut files: BTreeMap<PathBuf, String> =
        suggestion.tables.into_iter().map(|(name, text)| (folder.join(name), text)).collect();
    files.insert(path.clone(), suggestion.mapping);
    if args.out.is_some() {
        if let Err(message) = write_new(&files) {
            terminal.note(&format!("error: {message}"));
            return Exit::Usage;
        }
        files.keys().for_each(|path| terminal.data(&format!("wrote {}", path.display())));
    } else {
        terminal.data(&files[&path]);
        for (path, text) in files.iter().filter(|(other, _)| **other != path) {
            let text: String = text.lines().map(|line| format!("# {line}\n")).collect();
            terminal.data(&format!("\n# ---- {}\n{text}", path.display()));
        }
    }
    // What only a person can know is named at once, with its place.
    let memory = Memory(&files);
    match Mapping::compile(&path, entity, &memory) {
        Ok(_) => terminal.note("the mapping compiles; codes without a standard code hold what has them"),
        Err(problems) => {
            terminal.note("still to fill:");
            problems.iter().for_each(|problem| {
                let hint = problem.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                terminal.note(&format!("  {}{hint}", problem.message));
            });
        }
    }
    Exit::Fine
}

/// Files that are not on disk yet.
struct Memory<'a>(&'a BTreeMap<PathBuf, String>);

impl Files for Memory<'_> {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// Writes files where none is; nothing is written where one of them exists.
pub(super) fn write_new(files: &BTreeMap<PathBuf, String>) -> Result<(), String> {
    if let Some(taken) = files.keys().find(|path| path.exists()) {
        return Err(format!("{} exists already; nothing was written", taken.display()));
    }
    for (path, text) in files {
        let written = path
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::File::create_new(path).and_then(|mut file| file.write_all(text.as_bytes())));
        written.map_err(|error| format!("write {}: {error}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
