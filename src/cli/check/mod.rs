//! `hisync check`: everything that is wrong with a configuration, then a look at what it names.

use std::path::PathBuf;

use serde_json::json;

use super::{Exit, Terminal};
use crate::config::{self, Config};
use crate::diagnose::{self, Problem};

mod online;

/// Reports every problem of the configuration and its mappings at once, then connects to each source
/// and to upstream.
///
/// All are asked at the same time, and each answer is shown as it comes. Failures are told apart: name-resolution,
/// unreachable (refused), tls, login, permission, missing (view or column), charset, timeout, protocol, data, bind,
/// clock; each with what to do next.
///
/// Nothing is changed anywhere: sources are probed, addresses to listen at are opened and closed, upstream is
/// sent an empty batch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync check -c hisync.toml             the files, then each source and upstream
  hisync check -c hisync.toml --offline   the files alone: no connection, no secret is read
  hisync check -c hisync.toml --json      for programs

Exit codes: 0 fine; 1 a source or upstream answered, but not as it must (login, permission, missing view, taken
address); 2 the configuration has problems; 3 a source or upstream could not be reached.")]
pub(super) struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
    /// Checks the files alone.
    #[arg(long)]
    offline: bool,
    /// Prints one JSON object: `problems`, `sources`, `upstream`.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let (problems, config) = match config::load(&args.config) {
        Err(problems) => (problems, None),
        Ok(config) => {
            // What is in force does not depend on the candidate, but whoever asks wants to know.
            let mut problems = config.candidate_problems();
            if !args.offline {
                problems.extend(config::unreadable_secrets(&config));
            }
            (problems, Some(config))
        }
    };
    let config = match config {
        Some(config) if problems.is_empty() => config,
        _ => {
            tell_problems(&problems, args.json, terminal);
            return Exit::Usage;
        }
    };
    let (sources, upstream) = match args.offline {
        true => (Vec::new(), None),
        false => {
            let tell = |text: String| {
                if !args.json {
                    terminal.data(&text)
                }
            };
            tell(summary(&config));
            let upstream = async {
                let upstream = online::upstream(&config).await;
                tell(upstream.to_string());
                upstream
            };
            let sources = online::sources(&config, |looked| tell(looked.to_string()));
            let (sources, upstream) = tokio::join!(sources, upstream);
            (sources, Some(upstream))
        }
    };
    if args.json {
        terminal.json(&json!({
            "problems": [],
            "digest": config.digest,
            "sources": sources,
            "upstream": upstream,
        }));
    } else if args.offline {
        terminal.data(&summary(&config));
    }
    let exits = sources.iter().map(online::Looked::exit).chain(upstream.iter().map(online::Upstream::exit));
    exits.max().unwrap_or(Exit::Fine)
}

fn tell_problems(problems: &[Problem], as_json: bool, terminal: &Terminal) {
    if as_json {
        return terminal.json(&json!({ "problems": diagnose::to_json(problems), "sources": [], "upstream": null }));
    }
    terminal.note(&diagnose::render(problems, terminal.colour_err()));
    let count = diagnose::to_json(problems).len();
    terminal.note(&format!("\n{count} {}", if count == 1 { "problem" } else { "problems" }));
}

fn summary(config: &Config) -> String {
    let streams: usize = config.sources.iter().map(|source| source.streams.len()).sum();
    let (hospital, sources) = (&config.agent.hospital, config.sources.len());
    format!("configuration fine: hospital {hospital}, {sources} source(s), {streams} stream(s)")
}
