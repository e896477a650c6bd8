//! `hisync support-bundle`: one archive for whoever helps from afar.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::access::{Access, Error, Which};
use super::{Exit, Terminal};
use crate::agent::VERSION;
use crate::clock::Clock;
use crate::config;
use crate::ops::alert::Alerts;
use crate::ops::report::discreet;
use crate::ops::{bundle, log};
use crate::store::Reader;

/// So much of the log goes in.
const LOG_MAX_BYTES: u64 = 4 << 20;

/// Writes one archive with the state of an agent for whoever helps from afar: no personal data, no secrets.
///
/// Status, alerts, metrics, numbers of the store, the configuration with secrets hidden, versions, and the end of the
/// log where it goes to a file. Look into it before you send it: it is a plain tar archive.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync support-bundle                        hisync-support-TIME.tar.gz in this folder
  hisync support-bundle -o /tmp/bundle.tar.gz

Exit codes: 0 written; 2 there is no configuration; 3 there is no store, or the file can't be written.")]
pub(super) struct Args {
    #[command(flatten)]
    which: Which,
    /// Where to write it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let now = Clock::system().now();
    let folder = format!("hisync-support-{}", now.format("%Y%m%dT%H%M%SZ"));
    let files = match collect(&args.which).await {
        Ok(files) => files,
        Err(error) => return error.tell(terminal),
    };
    let path = args.output.unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let written =
        create(&path).and_then(|file| bundle::archive(file, &folder, &files, now)).and_then(|mut file| file.flush());
    if let Err(error) = written {
        terminal.note(&format!("error: write {}: {error}", path.display()));
        return Exit::Unreachable;
    }
    for (name, bytes) in &files {
        terminal.note(&format!("{:>9}  {name}", bytes.len()));
    }
    terminal.data(&path.display().to_string());
    Exit::Fine
}

/// Readable for its owner alone, and never over a file that is there.
fn create(path: &Path) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn collect(which: &Which) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let now = Clock::system().now();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let pretty = |json: &Json| serde_json::to_vec_pretty(json).unwrap_or_default();
    let mut versions = json!({
        "hisync": VERSION,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "system": system(),
        "written_at": now,
    });
    match which.open().await? {
        Access::Agent(client) => {
            let status = client.get("/api/status", &()).await?;
            versions["agent"] = status["agent"].clone();
            files.push(("status.json".to_owned(), pretty(&status)));
            files.push(("alerts.json".to_owned(), pretty(&client.get("/api/alerts", &()).await?)));
            files.push(("metrics.txt".to_owned(), client.text("/metrics").await?.into_bytes()));
        }
        Access::Store(reader) => {
            let overview = serde_json::to_value(discreet(reader.overview()?)).unwrap_or_default();
            let alerts = serde_json::to_value(Alerts::read(&reader, &[], now)?).unwrap_or_default();
            files.push(("status.json".to_owned(), pretty(&json!({ "agent": null, "store": overview }))));
            files.push(("alerts.json".to_owned(), pretty(&alerts)));
        }
    }
    let statistics = Reader::open(&which.data_dir()?)?.statistics(now)?;
    files.push(("store.json".to_owned(), pretty(&serde_json::to_value(statistics).unwrap_or_default())));
    files.push(("versions.json".to_owned(), pretty(&versions)));
    if let Some(path) = which.config_at_hand() {
        match config::as_written(&path) {
            Ok(written) => {
                files.push(("config.json".to_owned(), pretty(&bundle::redacted(&written))));
            }
            Err(problems) => {
                let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
                files.push(("config.json".to_owned(), pretty(&json!({ "unreadable": codes }))));
            }
        }
        let log_file = config::log_settings(&path).file;
        let base_dir = path.parent().unwrap_or(Path::new(""));
        let (name, text) = match log_file.map(|file| log::tail(&base_dir.join(file), LOG_MAX_BYTES)) {
            Some(Ok(text)) => ("log.txt", text),
            Some(Err(error)) => ("log-missing.txt", format!("the log file can't be read: {error}\n")),
            None => (
                "log-missing.txt",
                "no log file is configured ([log] file); under systemd: journalctl -u hisync --since -1d\n".to_owned(),
            ),
        };
        files.push((name.to_owned(), text.into_bytes()));
    }
    Ok(files)
}

/// The system's name for itself.
fn system() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}
