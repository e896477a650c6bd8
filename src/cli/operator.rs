//! `hisync operator`: passwords of those who use the status page.

use std::io::{IsTerminal as _, Read as _};

use super::{Exit, Terminal};
use crate::ops::access;

/// Makes what the configuration needs to know an operator of the status page.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync operator hash                     asks for a password twice, prints the line for the configuration
  hisync operator hash < password.txt      reads it from a file

Exit codes: 0 done; 1 the password won't do; 2 it could not be read.")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Prints a password's Argon2id hash for `[[admin.operators]]`. The password itself is kept nowhere.
    #[command(after_help = "Examples:
  hisync operator hash
  hisync operator hash < password.txt")]
    Hash,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let Verb::Hash = args.verb;
    let password = match password() {
        Ok(password) => password,
        Err(error) => {
            terminal.note(&format!("error: read the password: {error}"));
            return Exit::Usage;
        }
    };
    match access::hash(&password) {
        Ok(hash) => {
            terminal.data(&format!("password = \"{hash}\"\n"));
            terminal.note("put this line into the operator's table: [[admin.operators]]");
            Exit::Fine
        }
        Err(text) => {
            terminal.note(&format!("error: {text}"));
            Exit::NotFine
        }
    }
}

fn password() -> std::io::Result<String> {
    if !std::io::stdin().is_terminal() {
        let mut text = String::new();
        // A password is short; what is longer is the wrong file.
        std::io::stdin().take(4096).read_to_string(&mut text)?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    let first = rpassword::prompt_password("Password: ")?;
    let second = rpassword::prompt_password("Again: ")?;
    if first == second {
        return Ok(first);
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "the two differ"))
}
