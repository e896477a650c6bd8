//! `hisync run`: the agent.

use std::path::PathBuf;
use std::sync::Arc;

use connector_api::chain;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::signals::Stop;
use super::{Exit, Terminal};
use crate::agent::{Agent, StartError, VERSION};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::{diagnose, store};

/// Runs the agent: reads the sources on schedule, listens, delivers upstream, serves the status page.
///
/// SIGTERM or Ctrl-C stops in order; a second one at once (nothing acknowledged is lost by that).
/// SIGHUP checks the configuration and, if it is good, goes on under it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync run -c /etc/hisync/hisync.toml
  hisync run -c hisync.toml --log-format json    for a log collector

Exit codes: 0 stopped as asked; 2 the configuration has problems, or
its key is not the store's; 3 the store or an address can't be opened.")]
pub(super) struct Args {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", env = "HISYNC_CONFIG")]
    config: PathBuf,
}

impl Args {
    /// The configuration file.
    pub(super) fn config(&self) -> &std::path::Path {
        &self.config
    }
}

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            terminal.note(&format!("error: wait for signals: {error}"));
            return Exit::Unreachable;
        }
    };
    let mut config = match load(&args.config) {
        Ok(config) => Arc::new(config),
        Err(text) => {
            terminal.note(&diagnose_note(&text, terminal));
            return Exit::Usage;
        }
    };
    let mut before: Option<Arc<Config>> = None;
    loop {
        let agent = match Agent::start(config.clone(), Clock::system()).await {
            Ok(agent) => agent,
            // P10: a configuration that reads well and can't start does not end the sync either.
            Err(error) if before.is_some() => {
                tracing::error!("the new configuration can't start, the old one goes on: {}", chain(&error));
                config = before.take().unwrap_or(config);
                continue;
            }
            Err(error) => {
                terminal.note(&format!("error: {}", chain(&error)));
                return match error {
                    StartError::Delivery(_)
                    | StartError::Alerts(_)
                    | StartError::Operators(_)
                    | StartError::Promoted(_)
                    | StartError::Key(_)
                    | StartError::Store(store::Error::NoKey | store::Error::WrongKey { .. }) => Exit::Usage,
                    _ => Exit::Unreachable,
                };
            }
        };
        tracing::info!(version = VERSION, admin = %agent.admin_address(), "hisync runs");
        told(&[NotifyState::Ready]);
        let mut next = live(&mut signals, &args.config, &agent).await;
        // Under a reload the process goes on: systemd would end a service that says it stops.
        if next.is_none() {
            told(&[NotifyState::Stopping]);
        }
        let mut stopped = std::pin::pin!(agent.stop());
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = signals.stop.asked() => match next.take() {
                    // The first signal to stop: what was under way was a change of the configuration.
                    Some(_) => told(&[NotifyState::Stopping]),
                    None => {
                        tracing::warn!("stopped at once by a second signal; nothing acknowledged is lost");
                        // Not an orderly way out, on purpose: whoever sends two signals wants the process gone.
                        std::process::exit(130);
                    }
                },
            }
        }
        match next {
            Some(new) => before = Some(std::mem::replace(&mut config, new)),
            None => {
                tracing::info!("hisync stopped");
                return Exit::Fine;
            }
        }
    }
}

/// Waits until the agent is to stop (`None`) or to go on under a new configuration.
async fn live(signals: &mut Signals, path: &std::path::Path, agent: &Agent) -> Option<Arc<Config>> {
    let beat = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut ticks = tokio::time::interval(beat.unwrap_or(std::time::Duration::from_secs(3600)));
    loop {
        tokio::select! {
            () = signals.stop.asked() => return None,
            _ = ticks.tick() => if beat.is_some() { told(&[NotifyState::Watchdog]) },
            _ = signals.hangup.recv() => if let Some(config) = reload(path) { return Some(config) },
            () = agent.reload_asked() => if let Some(config) = reload(path) { return Some(config) },
        }
    }
}

/// The configuration to go on under; `None` where it has problems, which are told.
fn reload(path: &std::path::Path) -> Option<Arc<Config>> {
    match load(path) {
        Ok(config) => {
            let digest = &config.digest[..12.min(config.digest.len())];
            tracing::info!(digest, "the configuration is good: going on under it");
            if let Ok(now) = NotifyState::monotonic_usec_now() {
                told(&[NotifyState::Reloading, now]);
            }
            Some(Arc::new(config))
        }
        // P10: the running one goes on.
        Err(problems) => {
            let text = diagnose::render(&problems, false);
            tracing::error!("the new configuration is refused, the old one goes on:\n{text}");
            None
        }
    }
}

/// The configuration with every secret readable: an agent that can't log in must not replace one that can.
fn load(path: &std::path::Path) -> Result<Config, Vec<diagnose::Problem>> {
    let config = config::load(path)?;
    let problems = config::unreadable_secrets(&config);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn diagnose_note(problems: &[diagnose::Problem], terminal: &Terminal) -> String {
    diagnose::render(problems, terminal.colour_err())
}

/// Tells systemd, where it listens; without it nothing happens.
fn told(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "could not notify the service manager");
    }
}

/// The signals that an agent reacts to.
struct Signals {
    stop: Stop,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals { stop: Stop::new()?, hangup: signal(SignalKind::hangup())? })
    }
}
