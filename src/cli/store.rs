//! `hisync store`: looks after the store's file.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde_json::json;

use super::access::{Error, Which, whoami};
use super::{Exit, Terminal};
use crate::clock::Clock;
use crate::store::{self, Copied, Reader, Verified};

/// Verifies, backs up, restores and decrypts the store, and changes the key that it is encrypted under.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync store verify                         is everything in it whole, and do the sums add up
  hisync store backup /backup/hisync.db       a copy, made and verified beside a running agent
  hisync store restore /backup/hisync.db --to /var/lib/hisync
  hisync store rekey                          after the key in the configuration was changed
  hisync store decrypt plain.db --because …   a copy without encryption: the way back

Exit codes: 0 done; 1 something is wrong with the store or the copy, or it was refused; 2 there is no configuration,
or its key is not the store's; 3 there is no store, an agent runs on it, or the disk failed.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Verifies the store, beside a running agent or without one: the file, the sums, every body against its digest,
    /// whether all can be decrypted, and what names what. Changes nothing.
    #[command(after_help = "Examples:
  hisync store verify
  hisync store verify --file /backup/hisync.db   a backup
  hisync store verify --json")]
    Verify(VerifyArgs),
    /// Copies the store into a file, beside a running agent or without one, and verifies the copy. An encrypted store
    /// stays encrypted: without its key the copy is worth nothing.
    #[command(after_help = "Examples:
  hisync store backup /backup/hisync-$(date +%F).db
  hisync store backup /backup/hisync.db --force   replaces the one before, once the new one is verified")]
    Backup(BackupArgs),
    /// Puts a copy into the place of a folder's store, which is kept beside it as hisync.db.replaced-N. No agent may
    /// run on the folder. What the copy does not know is read again from the sources that can be asked.
    #[command(after_help = "Examples:
  systemctl stop hisync
  hisync store restore /backup/hisync.db --to /var/lib/hisync
  systemctl start hisync")]
    Restore(RestoreArgs),
    /// Copies an encrypted store into a file in which nothing is encrypted, and verifies it: the way back from encryption,
    /// together with `restore`. No agent may run on the store. Whoever can read that file can read all the reports in it.
    #[command(after_help = "Examples:
  systemctl stop hisync
  hisync store decrypt /root/plain.db --because 'the disk itself is encrypted now'
  hisync store restore /root/plain.db --to /var/lib/hisync --force
  (remove [store.encryption] from the configuration: with it the store is encrypted again at the next start)
  systemctl start hisync; shred -u /root/plain.db /var/lib/hisync/hisync.db.replaced-1")]
    Decrypt(DecryptArgs),
    /// Seals the store's key under the newest key of the configuration: at once, beside a running agent or without one.
    /// With --rewrite everything is encrypted anew under a new key, which takes its time and needs the agent stopped.
    #[command(after_help = "Examples:
  (echo NEW KEY; cat store.key) > both && mv both store.key
  hisync store rekey                 from now on the new key alone opens the store; drop the old one from the file
  hisync store rekey --rewrite       where somebody may have had the old key and a copy of the store")]
    Rekey(RekeyArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    /// A store's file in the place of the agent's store: a backup.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BackupArgs {
    #[command(flatten)]
    which: Which,
    /// The file to make.
    file: PathBuf,
    /// Replaces a file of that name.
    #[arg(long)]
    force: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RestoreArgs {
    #[command(flatten)]
    which: Which,
    /// The copy.
    file: PathBuf,
    /// The data folder whose store it becomes.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Also where the folder's store is newer than the copy, or can't be read, or where the copy is damaged.
    #[arg(long)]
    force: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct DecryptArgs {
    #[command(flatten)]
    which: Which,
    /// The file to make.
    file: PathBuf,
    /// Why, for the audit log of the store and of the copy.
    #[arg(long)]
    because: String,
    /// Who does it, for the audit log.
    #[arg(long)]
    who: Option<String>,
    /// Replaces a file of that name.
    #[arg(long)]
    force: bool,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct RekeyArgs {
    #[command(flatten)]
    which: Which,
    /// Encrypts everything anew. May be interrupted: it goes on where it was, at the next start of the agent at the
    /// latest.
    #[arg(long)]
    rewrite: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let terminal = *terminal;
    if let Verb::Decrypt(args) = &args.verb
        && let Err(error) = announce(args, &terminal).await
    {
        return error.tell(&terminal);
    }
    // All of it reads and writes files for as long as it takes.
    let work = tokio::task::spawn_blocking(move || {
        let done = match args.verb {
            Verb::Verify(args) => verify(&args, &terminal),
            Verb::Backup(args) => backup(&args, &terminal),
            Verb::Restore(args) => restore(&args, &terminal),
            Verb::Decrypt(args) => decrypt(&args, &terminal),
            Verb::Rekey(args) => rekey(&args, &terminal),
        };
        done.unwrap_or_else(|error| error.tell(&terminal))
    });
    work.await.unwrap_or(Exit::Bug)
}

/// Tells on a terminal how far long work is.
struct Progress {
    shown: bool,
    line: String,
}

impl Progress {
    fn new() -> Progress {
        Progress { shown: std::io::stderr().is_terminal(), line: String::new() }
    }

    fn tell(&mut self, terminal: &Terminal, text: String) {
        // Only where it says something else: a line each page would be a flood.
        if self.shown && self.line != text {
            terminal.note(&text);
            self.line = text;
        }
    }
}

/// Tells each ten thousand of what is done.
fn steps<'a>(progress: &'a mut Progress, terminal: &'a Terminal) -> impl FnMut(&'static str, u64) + 'a {
    move |what, done| progress.tell(terminal, format!("{what} … {}", done / 10_000 * 10_000))
}

fn verify(args: &VerifyArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let keys = args.which.keys_if_any()?;
    let reader = match &args.file {
        Some(file) => Reader::open_at(file, keys.as_ref())?,
        None => Reader::open_with(&args.which.data_dir()?, keys.as_ref())?,
    };
    let mut progress = Progress::new();
    let verified = reader.verify(&mut steps(&mut progress, terminal))?;
    if args.json {
        terminal.json(&verified);
    } else {
        terminal.data(&text(&verified));
    }
    Ok(if verified.faults.is_empty() { Exit::Fine } else { Exit::NotFine })
}

fn text(verified: &Verified) -> String {
    let Verified { encrypted, records, contents, files, sums, faults, more } = verified;
    let sealed = if *encrypted { "encrypted" } else { "not encrypted" };
    let mut text = format!(
        "{records} records, {contents} versions and parts, {files} files agree with their digests; \
         {sums} sums; {sealed}\n"
    );
    for fault in faults {
        let _ = writeln!(text, "{}: {}: {}", fault.check, fault.place, fault.message);
    }
    if faults.is_empty() {
        text.push_str("nothing is wrong\n");
    } else {
        let _ = writeln!(
            text,
            "{} faults. Keep this store and restore a backup; docs/operate.md says how.",
            faults.len() as u64 + more
        );
    }
    text
}

fn backup(args: &BackupArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let keys = args.which.keys_if_any()?;
    let mut progress = Progress::new();
    let told = &mut steps(&mut progress, terminal);
    let copied = store::backup(&args.which.data_dir()?, keys.as_ref(), &args.file, args.force, told)?;
    Ok(tell_copied(&copied, args.json, terminal))
}

/// Writes down who takes the data out of their encryption and why, before that is done: the copy tells it too.
async fn announce(args: &DecryptArgs, terminal: &Terminal) -> Result<(), Error> {
    args.which.keys()?.ok_or(store::Error::NoKey)?;
    let (_, store) = args.which.open_whole()?;
    let who = args.who.clone().unwrap_or_else(whoami);
    let written = store.audit(&who, "decrypt", "store", &args.because).await;
    store.close().await;
    written?;
    terminal.note(
        "warning: the copy will hold names, ID numbers and results in the clear; keep it where only you can read it, \
         and destroy it when it is in its place",
    );
    Ok(())
}

fn decrypt(args: &DecryptArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let keys = args.which.keys()?.ok_or(store::Error::NoKey)?;
    let mut progress = Progress::new();
    let told = &mut steps(&mut progress, terminal);
    let copied = store::decrypt(&args.which.data_dir()?, &keys, &args.file, args.force, told)?;
    Ok(tell_copied(&copied, args.json, terminal))
}

fn restore(args: &RestoreArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let keys = args.which.keys_if_any()?;
    let mut progress = Progress::new();
    let told = &mut steps(&mut progress, terminal);
    let copied = store::restore(&args.file, &args.to, keys.as_ref(), args.force, told)?;
    Ok(tell_copied(&copied, args.json, terminal))
}

fn tell_copied(copied: &Copied, json: bool, terminal: &Terminal) -> Exit {
    let whole = copied.is_whole();
    if json {
        let Copied { verified, path, replaced } = copied;
        terminal.json(&json!({ "whole": whole, "path": path, "replaced": replaced, "verified": verified }));
    } else {
        let verified = copied.verified.as_ref().map(text);
        let verified = verified.as_deref().unwrap_or("an older layout: only the file was checked, and is whole\n");
        let kept = copied.replaced.as_ref().map(|path| format!("; the store before is kept as {}", path.display()));
        terminal.data(&format!("{verified}{}{}", copied.path.display(), kept.unwrap_or_default()));
    }
    if whole { Exit::Fine } else { Exit::NotFine }
}

fn rekey(args: &RekeyArgs, terminal: &Terminal) -> Result<Exit, Error> {
    let keys = args.which.keys()?.ok_or(store::Error::NoKey)?;
    let folder = args.which.data_dir()?;
    if args.rewrite {
        let mut progress = Progress::new();
        let told = &mut |at: usize, of: usize| progress.tell(terminal, format!("part {} of {of}", at + 1));
        store::rewrite(&folder, &keys, Clock::system().now_micros(), told)?;
        terminal.data("everything is encrypted under a new key");
    } else if store::rewrap(&folder, &keys)? == 0 {
        terminal.data(&format!("the store is under the newest key already ({})", keys.newest().fingerprint()));
    } else {
        terminal.data(&format!("the store is under the newest key now ({})", keys.newest().fingerprint()));
    }
    Ok(Exit::Fine)
}
