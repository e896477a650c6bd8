//! `hisync secret`: keys, and secrets that may stand in the configuration.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use connector_api::seal::{Key, SealError};
use connector_api::{Secret, SecretError, chain, sealing_keys};
use serde_json::json;

use super::table::table;
use super::{Exit, Terminal};
use crate::{config, diagnose};

/// Makes keys, seals secrets for the configuration, and lists which secrets it names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync secret new-key /etc/hisync/secret.key       a key, readable by its owner alone
  hisync secret seal -c /etc/hisync/hisync.toml      asks for a secret, prints { sealed = \"…\" }
  hisync secret show-names -c /etc/hisync/hisync.toml

Exit codes: 0 done; 1 a secret can't be read; 2 the configuration has problems, or there is no key; 3 a file can't be
read or written.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Makes a key: for sealed secrets, or for the store. Without a file it is printed.
    #[command(after_help = "Examples:
  hisync secret new-key /etc/hisync/store.key
  hisync secret new-key | systemd-creds encrypt --name=store-key - /etc/hisync/store-key.cred

Keep a copy of each key where the machine's end is not the key's end.")]
    NewKey(NewKeyArgs),
    /// Encrypts a secret for the configuration. It is read from stdin, or asked for on a terminal without being shown.
    ///
    /// The key is looked for in the variable HISYNC_SECRET_KEY, the file that HISYNC_SECRET_KEY_FILE names, the systemd
    /// credential hisync-secret-key, and the file secret.key beside the configuration.
    #[command(after_help = "Examples:
  hisync secret seal -c hisync.toml
  hisync secret seal -c hisync.toml < password.txt
  echo 'v1.…' | hisync secret seal --again       seals a sealed one under the newest key")]
    Seal(SealArgs),
    /// Lists every secret that the configuration names, where it is and whether it can be read. Never its value.
    #[command(after_help = "Examples:
  hisync secret show-names -c hisync.toml
  hisync secret show-names -c hisync.toml --json")]
    ShowNames(ShowArgs),
}

#[derive(Debug, clap::Args)]
struct NewKeyArgs {
    /// The file to write it to; one that is there is not touched.
    file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct SealArgs {
    /// The configuration file that it is for: its key is looked for beside it. Without it, in the current folder.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: Option<PathBuf>,
    /// What is read is a sealed secret, to be sealed under the newest key.
    #[arg(long)]
    again: bool,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Prints a JSON list.
    #[arg(long)]
    json: bool,
}

/// Why a command can't be done.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{operation}")]
    Io {
        operation: &'static str,
        #[source]
        cause: std::io::Error,
    },
    #[error("find the key of sealed secrets; `hisync secret new-key secret.key` makes one")]
    Key(#[source] SecretError),
    #[error("seal the secret")]
    Seal(#[source] SealError),
    #[error("there is no secret: nothing was read")]
    Nothing,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let done = match &args.verb {
        Verb::NewKey(args) => new_key(args, terminal),
        Verb::Seal(args) => seal(args, terminal),
        Verb::ShowNames(args) => show_names(args, terminal),
    };
    done.unwrap_or_else(|error| {
        terminal.note(&format!("error: {}", chain(&error)));
        match error {
            Error::Io { .. } => Exit::Unreachable,
            Error::Key(_) | Error::Seal(_) | Error::Nothing => Exit::Usage,
        }
    })
}

fn new_key(args: &NewKeyArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let key = Key::generate().map_err(Error::Seal)?;
    let Some(path) = &args.file else {
        terminal.data(&key.to_text());
        return Ok(Exit::Fine);
    };
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let failed = |cause| Error::Io { operation: "write the key", cause };
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(format!("{}\n", *key.to_text()).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    terminal.note(&format!("{} holds a new key ({}): keep a copy elsewhere", path.display(), key.fingerprint()));
    Ok(Exit::Fine)
}

fn seal(args: &SealArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let folder = args.config.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
    let (keys, place) = sealing_keys(folder.unwrap_or(Path::new("."))).map_err(Error::Key)?;
    let text = zeroize::Zeroizing::new(ask(terminal)?);
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(Error::Nothing);
    }
    let sealed = match args.again {
        true => keys.open_secret(secret).and_then(|secret| keys.seal_secret(&secret)),
        false => keys.seal_secret(secret),
    };
    terminal.note(&format!("sealed with the key from {place}; put this where the configuration names the secret:"));
    terminal.data(&format!("{{ sealed = \"{}\" }}", sealed.map_err(Error::Seal)?));
    Ok(Exit::Fine)
}

/// Reads the secret; a terminal does not show what is typed.
fn ask(terminal: &Terminal) -> Result<String, Error> {
    let failed = |cause| Error::Io { operation: "read the secret", cause };
    let mut text = String::new();
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        stdin.lock().take(1 << 20).read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    terminal.note("the secret (it is not shown), then Enter:");
    let before = rustix::termios::tcgetattr(&stdin).map_err(|error| failed(error.into()))?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(rustix::termios::LocalModes::ECHO);
    let set = |modes| rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, modes);
    set(&hidden).map_err(|error| failed(error.into()))?;
    let read = stdin.lock().read_line(&mut text);
    set(&before).map_err(|error| failed(error.into()))?;
    read.map_err(failed)?;
    Ok(text)
}

fn show_names(args: &ShowArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(problems) => {
            terminal.note(&diagnose::render(&problems, terminal.colour_err()));
            return Ok(Exit::Usage);
        }
    };
    let shown: Vec<[String; 4]> = config
        .secrets
        .iter()
        .map(|place| {
            let (file, at) = place.place();
            let line =
                at.and_then(|at| Some(std::fs::read(file).ok()?.get(..at)?.iter().filter(|b| **b == b'\n').count()));
            let (kind, name) = match &place.secret {
                Secret::File(path) => ("file", path.display().to_string()),
                Secret::Env(name) => ("env", name.clone()),
                Secret::Credential(name) => ("credential", name.clone()),
                Secret::Sealed(_) => ("sealed", String::new()),
            };
            let state = match place.secret.read(&config.base_dir) {
                Ok(_) => "readable".to_owned(),
                Err(error) => chain(&error),
            };
            let line = line.map(|line| format!(":{}", line + 1)).unwrap_or_default();
            [format!("{}{line}", file.display()), kind.to_owned(), name, state]
        })
        .collect();
    let readable = shown.iter().all(|[.., state]| state == "readable");
    if args.json {
        let list = shown.iter().map(|[place, kind, name, state]| {
            json!({ "place": place, "kind": kind, "name": name, "readable": state == "readable", "state": state })
        });
        terminal.json(&list.collect::<Vec<_>>());
    } else {
        let rows: Vec<Vec<String>> = shown.into_iter().map(Vec::from).collect();
        terminal.data(&table(&["place", "kind", "name", "state"], &rows));
    }
    Ok(if readable { Exit::Fine } else { Exit::NotFine })
}
