//! The commands, one file each.
//!
//! Data goes to stdout, everything else to stderr; `--json` prints one JSON value with stable field
//! names. A command answers with an [`Exit`]. To add one: a file with `Args` and `run`, a variant of
//! [`Command`] and an arm in [`run`].

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod check;
mod completions;
mod connectors;
mod logging;
mod panics;
mod schema;
mod terminal;

pub use panics::guarded;
pub use terminal::Terminal;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All is fine.
    Fine = 0,
    /// What was checked is not fine.
    NotFine = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Something could not be reached.
    Unreachable = 3,
    /// A bug in hisync.
    Bug = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Delivers a hospital's exam packages and exam reports upstream: nothing lost, nothing silently wrong.
#[derive(Debug, Parser)]
#[command(
    name = "hisync",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 fine; 1 what was checked is not fine; \
    2 usage or configuration; 3 something could not be reached; 70 a bug in hisync."
)]
pub struct Cli {
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = ColourChoice::Auto, value_name = "WHEN", help_heading = "Common options")]
    color: ColourChoice,
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, value_name = "FORMAT", help_heading = "Common options")]
    log_format: LogFormat,
    /// Logs more; twice: everything. The variable HISYNC_LOG sets it exactly (`info,hisync::store=debug`).
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Common options")]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColourChoice {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Connectors(connectors::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

impl Command {
    /// What is logged where neither `-v` nor HISYNC_LOG says otherwise: a command that ends by itself
    /// tells its result and is otherwise quiet.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Check(_) | Command::Connectors(_) | Command::Schema(_) | Command::Completions(_) => "warn",
        }
    }
}

/// Runs a command.
pub async fn run(cli: Cli) -> Exit {
    let terminal = Terminal::new(cli.color);
    if let Err(message) = logging::init(cli.log_format, cli.verbose, cli.command.log_level(), terminal.colour_err()) {
        terminal.note(&format!("error: {message}"));
        return Exit::Usage;
    }
    match cli.command {
        Command::Check(args) => check::run(args, &terminal).await,
        Command::Connectors(args) => connectors::run(&args, &terminal),
        Command::Schema(args) => schema::run(&args, &terminal),
        Command::Completions(args) => completions::run(&args, &terminal),
    }
}

#[cfg(test)]
mod tests;
