//! The commands, one file each.
//!
//! Data goes to stdout, everything else to stderr; `--json` prints one JSON value with stable field
//! names. A command answers with an [`Exit`]. To add one: a file with `Args` and `run`, a variant of
//! `Command` and an arm in [`run`].

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

mod access;
mod alerts;
mod audit;
mod check;
mod client;
mod codes;
mod completions;
mod connectors;
mod demo;
mod discover;
mod explain;
mod held;
mod init;
mod logging;
mod mapping;
pub mod openapi;
mod operator;
mod outbox;
mod panics;
mod preview;
mod reconcile;
mod reload;
mod replay;
mod run;
pub mod sandbox;
mod schema;
mod secret;
mod signals;
mod sources;
mod status;
mod store;
mod support;
mod switch;
mod table;
mod terminal;

pub use panics::guarded;
pub use terminal::Terminal;

/// The heading of the options that every command has.
const COMMON: &str = "Common options";

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
    #[arg(long, global = true, value_enum, default_value_t = ColourChoice::Auto, value_name = "WHEN")]
    #[arg(help_heading = COMMON)]
    color: ColourChoice,
    /// How log lines on stderr look.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human, value_name = "FORMAT")]
    #[arg(help_heading = COMMON)]
    log_format: LogFormat,
    /// Logs more; twice: everything. The variable HISYNC_LOG sets it exactly (`info,hisync::store=debug`).
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = COMMON)]
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
    Demo(demo::Args),
    Init(init::Args),
    Run(run::Args),
    Check(check::Args),
    Discover(discover::Args),
    Mapping(mapping::Args),
    Preview(preview::Args),
    Status(status::Args),
    Held(held::Args),
    Alerts(alerts::Args),
    Codes(codes::Args),
    Outbox(outbox::Args),
    Reconcile(reconcile::Args),
    Reload(reload::Args),
    Switch(switch::Args),
    Replay(replay::Args),
    Sources(sources::Args),
    Explain(explain::Args),
    Store(store::Args),
    Secret(secret::Args),
    Audit(audit::Args),
    Operator(operator::Args),
    SupportBundle(support::Args),
    Connectors(connectors::Args),
    Schema(schema::Args),
    #[command(after_help = "Examples:
  hisync openapi > openapi.json   for tools that generate the receiving side")]
    Openapi(openapi::Args),
    #[command(after_help = "Examples:
  hisync sandbox                                         events are shown at http://127.0.0.1:8787/
  hisync sandbox --listen 127.0.0.1:0 --dir received     a free port, kept on disk
  curl -X PUT localhost:8787/faults -d '{\"status\":503}'    makes it fail")]
    Sandbox(sandbox::Args),
    Completions(completions::Args),
}

impl Command {
    /// What is logged where neither `-v` nor HISYNC_LOG says otherwise: a command that ends by itself
    /// tells its result and is otherwise quiet.
    fn log_level(&self) -> &'static str {
        match self {
            Command::Run(_) | Command::Sandbox(_) => "info",
            // The demo breaks things on purpose and tells what it does itself.
            Command::Demo(_) => "off",
            Command::Init(_)
            | Command::Check(_)
            | Command::Discover(_)
            | Command::Mapping(_)
            | Command::Preview(_)
            | Command::Status(_)
            | Command::Held(_)
            | Command::Alerts(_)
            | Command::SupportBundle(_)
            | Command::Codes(_)
            | Command::Outbox(_)
            | Command::Reconcile(_)
            | Command::Reload(_)
            | Command::Switch(_)
            | Command::Replay(_)
            | Command::Sources(_)
            | Command::Explain(_)
            | Command::Store(_)
            | Command::Secret(_)
            | Command::Audit(_)
            | Command::Operator(_)
            | Command::Connectors(_)
            | Command::Schema(_)
            | Command::Openapi(_)
            | Command::Completions(_) => "warn",
        }
    }
}

impl Command {
    /// The configuration whose log file is written: that of the agent alone.
    fn log_config(&self) -> Option<&std::path::Path> {
        match self {
            Command::Run(args) => Some(args.config()),
            _ => None,
        }
    }
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    let terminal = Terminal::new(cli.color);
    let (level, colour) = (cli.command.log_level(), terminal.colour_err());
    if let Err(message) = logging::init(cli.log_format, cli.verbose, level, colour, cli.command.log_config()) {
        terminal.note(&format!("error: {message}"));
        return Exit::Usage.into();
    }
    match cli.command {
        Command::Demo(args) => demo::run(args, &terminal).await.into(),
        Command::Init(args) => init::run(&args, &terminal).into(),
        Command::Run(args) => run::run(args, &terminal).await.into(),
        Command::Check(args) => check::run(args, &terminal).await.into(),
        Command::Discover(args) => discover::run(args, &terminal).await.into(),
        Command::Mapping(args) => mapping::run(&args, &terminal).into(),
        Command::Preview(args) => preview::run(args, &terminal).await.into(),
        Command::Status(args) => status::run(args, &terminal).await.into(),
        Command::Held(args) => held::run(args, &terminal).await.into(),
        Command::Alerts(args) => alerts::run(args, &terminal).await.into(),
        Command::SupportBundle(args) => support::run(args, &terminal).await.into(),
        Command::Codes(args) => codes::run(args, &terminal).await.into(),
        Command::Outbox(args) => outbox::run(args, &terminal).await.into(),
        Command::Reconcile(args) => reconcile::run(args, &terminal).await.into(),
        Command::Reload(args) => reload::run(args, &terminal).await.into(),
        Command::Switch(args) => switch::run(args, &terminal).await.into(),
        Command::Replay(args) => replay::run(&args, &terminal).into(),
        Command::Sources(args) => sources::run(args, &terminal).await.into(),
        Command::Explain(args) => explain::run(args, &terminal).await.into(),
        Command::Store(args) => store::run(args, &terminal).await.into(),
        Command::Secret(args) => secret::run(&args, &terminal).into(),
        Command::Audit(args) => audit::run(args, &terminal).await.into(),
        Command::Operator(args) => operator::run(&args, &terminal).into(),
        Command::Connectors(args) => connectors::run(&args, &terminal).into(),
        Command::Schema(args) => schema::run(&args, &terminal).into(),
        Command::Openapi(args) => openapi::run(args).await,
        Command::Sandbox(args) => sandbox::run(args).await,
        Command::Completions(args) => completions::run(&args, &terminal).into(),
    }
}

#[cfg(test)]
mod tests;
