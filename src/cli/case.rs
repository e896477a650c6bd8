//! `hisync case`: cases for `hisync mapping test`, made of real records.

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use connector_api::chain;
use serde_json::json;

use super::mapping::cases;
use super::{Exit, Terminal};
use crate::agent::sources;
use crate::config;
use crate::diagnose;
use crate::release::{CaseError, RecordedCase, record_case, unlike};
use crate::store::{self, Reader, ReplayFilter};

/// Makes cases for the mappings of real records, with other people in the places of the real ones.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync case record 0301170001 -c hisync.toml          shows the case, asks, and writes it beside the mapping")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Record(RecordArgs),
}

/// Makes a case of a record: what came in last for a key, or one archived record.
///
/// Names, telephone numbers, identity and exam numbers, addresses of mail and dates are replaced: the same value always
/// by the same other one, which belongs to nobody; dates go back by one span; what the mapping does not read is replaced
/// as a whole. What it would write is shown first: read it, for nobody but a person sees that a doctor's free text names
/// a relative. `hisync mapping test` runs the case from then on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync case record 0301170001 -c hisync.toml
  hisync case record archive:4711 -c hisync.toml --name unit-without-slash
  hisync case record 0301170001 -c hisync.toml --stream peis/reports --yes

Exit codes: 0 written; 1 not written; 2 the configuration has problems, or nothing is known by this name; 3 the store
can't be read.")]
struct RecordArgs {
    /// A key, a subject, an exam number, or `archive:ID`.
    key: String,
    /// The configuration in force.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Only what this stream gave.
    #[arg(long, value_name = "SOURCE/STREAM")]
    stream: Option<String>,
    /// The case's name; `recorded-N` without it.
    #[arg(long, value_parser = name)]
    name: Option<String>,
    /// Writes without asking.
    #[arg(long)]
    yes: bool,
    /// Prints one JSON object: `cases`, each with its files, what was replaced (masked) and whether it was written.
    #[arg(long)]
    json: bool,
}

/// A name of a file.
fn name(text: &str) -> Result<String, String> {
    let sound = !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_');
    if sound { Ok(text.to_owned()) } else { Err("use letters, digits, - and _".to_owned()) }
}

/// Why no case was made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the configuration has problems")]
    Config(Vec<diagnose::Problem>),
    #[error("{}", chain(.0))]
    Keys(#[from] config::KeyError),
    #[error("the store knows no record by this name whose bytes are here")]
    NoRecord,
    #[error("{0:?} holds no store: has an agent run with this data folder?")]
    NoStore(PathBuf),
    #[error("{}", chain(.0))]
    Store(#[from] store::Error),
    #[error("record {id}: {cause}")]
    Case { id: i64, cause: CaseError },
    #[error("record {id}: {cause}")]
    Expected { id: i64, cause: String },
    #[error("{path:?}: {cause}")]
    File { path: PathBuf, cause: std::io::Error },
}

impl Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Config(_)
            | Error::Keys(_)
            | Error::NoRecord
            | Error::Store(store::Error::NoKey | store::Error::WrongKey { .. }) => Exit::Usage,
            Error::NoStore(_) | Error::Store(_) => Exit::Unreachable,
            Error::Case { .. } | Error::Expected { .. } | Error::File { .. } => Exit::NotFine,
        }
    }
}

/// A case with its place.
struct Made {
    archive_id: i64,
    case: RecordedCase,
    input: PathBuf,
    expected_at: PathBuf,
    expected: String,
    unlike: Vec<String>,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let Verb::Record(args) = &args.verb;
    match record(args, terminal) {
        Ok(exit) => exit,
        Err(error) => {
            if let Error::Config(problems) = &error {
                terminal.note(&diagnose::render(problems, terminal.colour_err()));
            }
            terminal.note(&format!("error: {error}"));
            error.exit()
        }
    }
}

fn record(args: &RecordArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let made = cases_of(args)?;
    if !args.json {
        made.iter().for_each(|made| terminal.data(&shown(made)));
    }
    let write = args.yes || (!args.json && asked(terminal));
    if write {
        for made in &made {
            let folder = made.input.parent().unwrap_or(Path::new("."));
            let file = |path: &Path| {
                let path = path.to_owned();
                move |cause| Error::File { path, cause }
            };
            std::fs::create_dir_all(folder).map_err(file(folder))?;
            std::fs::write(&made.input, &made.case.input).map_err(file(&made.input))?;
            std::fs::write(&made.expected_at, &made.expected).map_err(file(&made.expected_at))?;
            if !args.json {
                terminal.note(&format!("wrote {} and {}", made.input.display(), made.expected_at.display()));
            }
        }
    } else if !args.json {
        terminal.note("nothing is written; --yes writes it");
    }
    if args.json {
        let cases: Vec<_> = made.iter().map(|made| as_json(made, write)).collect();
        terminal.json(&json!({ "cases": cases }));
    }
    Ok(if write { Exit::Fine } else { Exit::NotFine })
}

fn cases_of(args: &RecordArgs) -> Result<Vec<Made>, Error> {
    let config = std::sync::Arc::new(config::load(&args.config).map_err(Error::Config)?);
    let folder = config.agent.data_dir.clone();
    if !folder.join(store::file_name()).exists() {
        return Err(Error::NoStore(folder));
    }
    let keys = config.store.keys(&config.base_dir)?;
    let reader = Reader::open_with(&folder, keys.as_ref())?;
    let in_force = crate::release::in_force(config, &reader.promoted()?).map_err(Error::Config)?;
    let config = in_force.config;
    let readers = sources::decoders(&config);
    let ids: Vec<i64> = match args.key.strip_prefix("archive:").and_then(|id| id.parse().ok()) {
        Some(id) => vec![id],
        None => {
            let entities = Some(reader.entities_of(&args.key)?);
            let filter = ReplayFilter { stream: args.stream.clone(), entities, ..ReplayFilter::default() };
            reader.replayable(&filter, 0, 100)?
        }
    };
    let key = secret_of(&folder)?;
    let mut made: Vec<Made> = Vec::new();
    for id in ids {
        let record = match reader.replayed_record(id) {
            Err(store::Error::NotFound { .. }) => continue,
            record => record?,
        };
        if args.stream.as_deref().is_some_and(|stream| stream != record.stream.as_str()) {
            continue;
        }
        let Some((normaliser, decoder)) = readers.get(&record.stream) else { continue };
        let mapping = normaliser.mapping();
        let Some(file) = mapping.files().first() else { continue };
        let outcomes =
            normaliser.outcomes(&decoder.decode(&record.raw), &record.source_ref, record.raw.charset.as_deref());
        let mut case =
            record_case(&record.raw, &**decoder, mapping, &outcomes, key).map_err(|cause| Error::Case { id, cause })?;
        let charset = record.raw.charset.as_deref();
        let mapped = normaliser.outcomes(&Ok(case.document.clone()), &record.source_ref, charset);
        let unlike = unlike(&outcomes, &mapped);
        let cases = file.parent().unwrap_or(Path::new("")).join("cases").join(file.file_stem().unwrap_or_default());
        let expected = |case: &RecordedCase| cases::expected_in(&cases, mapping, case.ending, case.input.clone());
        let expected = match expected(&case) {
            // A message that declares another character set than that of its case, for one.
            Err(_) if case.ending != "json" => {
                case.as_document().map_err(|cause| Error::Case { id, cause })?;
                expected(&case)
            }
            expected => expected,
        };
        let expected = expected.map_err(|cause| Error::Expected { id, cause })?;
        case.vouch(expected.as_bytes()).map_err(|cause| Error::Case { id, cause })?;
        let name = free_name(&cases, args.name.as_deref(), &made);
        made.push(Made {
            archive_id: id,
            input: cases.join(format!("input-{name}.{}", case.ending)),
            expected_at: cases.join(format!("expected-{name}.json")),
            case,
            expected,
            unlike,
        });
    }
    if made.is_empty() { Err(Error::NoRecord) } else { Ok(made) }
}

/// A name that no case of the folder has yet.
fn free_name(folder: &Path, asked: Option<&str>, made: &[Made]) -> String {
    let taken = |name: &str| {
        let expected = folder.join(format!("expected-{name}.json"));
        expected.exists() || made.iter().any(|made| made.expected_at == expected)
    };
    let first = asked.map(str::to_owned).filter(|name| !taken(name));
    let stem = asked.unwrap_or("recorded");
    first.or_else(|| (1..).map(|n| format!("{stem}-{n}")).find(|name| !taken(name))).unwrap_or_default()
}

/// The key of the replacements: made once, kept beside the store, which knows the real values anyway.
fn secret_of(folder: &Path) -> Result<[u8; 32], Error> {
    let path = folder.join("case.key");
    let failed = |cause| Error::File { path: path.clone(), cause };
    let mut key = [0; 32];
    if let Ok(text) = std::fs::read_to_string(&path)
        && hex::decode_to_slice(text.trim(), &mut key).is_ok()
    {
        return Ok(key);
    }
    key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path).and_then(|mut file| file.write_all(hex::encode(key).as_bytes())).map_err(failed)?;
    Ok(key)
}

fn shown(made: &Made) -> String {
    let mut text = format!("record {}\n", made.archive_id);
    let _ = writeln!(text, "replaced; dates went back by {} days:", made.case.days_back);
    for (from, to) in &made.case.replaced {
        let _ = writeln!(text, "- {from}\n+ {to}");
    }
    for field in &made.unlike {
        let _ = writeln!(text, "! the mapping reads the case otherwise than the record: {field}");
    }
    let _ = writeln!(text, "{}:\n{}", made.input.display(), String::from_utf8_lossy(&made.case.input));
    let _ = writeln!(text, "{}:\n{}", made.expected_at.display(), made.expected);
    text
}

fn as_json(made: &Made, written: bool) -> serde_json::Value {
    let replaced: Vec<_> = made.case.replaced.iter().map(|(from, to)| json!({ "masked": from, "by": to })).collect();
    json!({
        "archive_id": made.archive_id,
        "input": made.input.display().to_string(),
        "expected": made.expected_at.display().to_string(),
        "content": String::from_utf8_lossy(&made.case.input),
        "replaced": replaced,
        "days_back": made.case.days_back,
        "unlike": made.unlike,
        "written": written,
    })
}

/// Whether a person says yes; never where nobody can be asked.
fn asked(terminal: &Terminal) -> bool {
    if !std::io::stdin().is_terminal() {
        return false;
    }
    terminal.note("write it? [y/N]");
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
