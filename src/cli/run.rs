//! `hisync run`: the agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_api::chain;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::signals::Stop;
use super::{Exit, Terminal};
use crate::agent::{Agent, StartError, VERSION};
use crate::clock::Clock;
use crate::config::{self, Config, FileWatch, ReloadMode};
use crate::ops::reload::{BY_FILE, BY_SIGNAL, Outcome, Reload, Request, Verdict};
use crate::{diagnose, store};

/// Runs the agent: reads the sources on schedule, listens, delivers upstream, serves the status page.
///
/// SIGTERM or Ctrl-C stops in order; a second one at once (nothing acknowledged is lost by that).
/// SIGHUP checks the configuration and, if it is good, goes on under it, as `hisync reload` does.
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
    let asked = Arc::new(Reload::default());
    let mut before: Option<(Arc<Config>, Outcome)> = None;
    loop {
        let mut agent = match Agent::start_under(config.clone(), Clock::system(), asked.clone()).await {
            Ok(agent) => agent,
            // P10: a configuration that reads well and can't start does not end the sync either.
            Err(error) if before.is_some() => {
                let cause = chain(&error);
                tracing::error!("the new configuration can't start, the old one goes on: {cause}");
                if let Some((old, outcome)) = before.take() {
                    let troubles = vec![cause];
                    asked.note(Outcome {
                        verdict: Verdict::RolledBack,
                        digest: old.digest.clone(),
                        troubles,
                        ..outcome
                    });
                    config = old;
                }
                continue;
            }
            Err(error) => {
                terminal.note(&format!("error: {}", chain(&error)));
                return match error {
                    StartError::Delivery(_)
                    | StartError::Alerts(_)
                    | StartError::Operators(_)
                    | StartError::Key(_)
                    | StartError::Store(store::Error::NoKey | store::Error::WrongKey { .. }) => Exit::Usage,
                    _ => Exit::Unreachable,
                };
            }
        };
        if let Some((_, outcome)) = before.take() {
            asked.note(Outcome { verdict: Verdict::Applied, digest: config.digest.clone(), ..outcome });
        }
        tracing::info!(version = VERSION, admin = %agent.admin_address(), "hisync runs");
        told(&[NotifyState::Ready]);
        let mut next = live(&mut signals, &args.config, &mut agent, &asked).await;
        let running = agent.config().clone();
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
            Some((new, outcome)) => {
                config = new;
                before = Some((running, outcome));
            }
            None => {
                tracing::info!("hisync stopped");
                return Exit::Fine;
            }
        }
    }
}

/// A configuration that everything has to start anew for, with what is told of it.
type Next = (Arc<Config>, Outcome);

/// Waits until the agent is to stop (`None`) or to start anew under another configuration. Others it goes on under.
async fn live(signals: &mut Signals, path: &Path, agent: &mut Agent, asked: &Reload) -> Option<Next> {
    let beat = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    let mut ticks = tokio::time::interval(beat.unwrap_or(std::time::Duration::from_secs(3600)));
    let mut files = watched(agent).await;
    loop {
        let by = |who: &str| Request { dry_run: false, who: who.to_owned(), answer: None };
        let request = tokio::select! {
            () = signals.stop.asked() => return None,
            _ = ticks.tick() => {
                if beat.is_some() {
                    told(&[NotifyState::Watchdog]);
                }
                continue;
            }
            _ = signals.hangup.recv() => by(BY_SIGNAL),
            request = asked.asked() => request,
            () = changed(&mut files) => by(BY_FILE),
        };
        let next = {
            let mut work = Box::pin(reload(path, agent, request, asked));
            loop {
                tokio::select! {
                    next = &mut work => break next,
                    _ = ticks.tick(), if beat.is_some() => told(&[NotifyState::Watchdog]),
                }
            }
        };
        if next.is_some() {
            return next;
        }
        files = watched(agent).await;
    }
}

/// What notices changes of the configuration's files, where it is to be loaded then.
async fn watched(agent: &Agent) -> Option<FileWatch> {
    match agent.config().agent.reload {
        ReloadMode::OnChange => Some(FileWatch::new(agent.config()).await),
        ReloadMode::OnRequest => None,
    }
}

async fn changed(files: &mut Option<FileWatch>) {
    match files {
        Some(files) => files.changed().await,
        None => std::future::pending().await,
    }
}

/// Loads the configuration again and lets the agent go on under it, or says why not. Answers the configuration where
/// everything has to start anew.
async fn reload(path: &Path, agent: &mut Agent, request: Request, asked: &Reload) -> Option<Next> {
    let Request { dry_run, who, answer } = request;
    let now = Clock::system().now();
    let running = agent.config().digest.clone();
    let (loaded, place) = (path.to_owned(), who.clone());
    // Hundreds of files may be read and mappings compiled: the watchdog is not to wait for that.
    let loaded = tokio::task::spawn_blocking(move || load(&loaded)).await;
    let (outcome, new) = match loaded {
        Ok(Ok(config)) => {
            let config = Arc::new(config);
            if !dry_run && let Ok(now) = NotifyState::monotonic_usec_now() {
                told(&[NotifyState::Reloading, now]);
            }
            let outcome = agent.reload(config.clone(), dry_run, &who).await;
            if !dry_run {
                told(&[NotifyState::Ready]);
            }
            (outcome, Some(config))
        }
        // P10: the running one goes on.
        Ok(Err(problems)) => {
            let mut outcome = Outcome::new(Verdict::Refused, now, &place, &running);
            outcome.problems = diagnose::to_json(&problems);
            outcome.text = diagnose::render(&problems, false);
            (outcome, None)
        }
        Err(_) => {
            let mut outcome = Outcome::new(Verdict::Refused, now, &place, &running);
            outcome.troubles.push("loading the configuration panicked: a bug in hisync".to_owned());
            (outcome, None)
        }
    };
    if !dry_run {
        tell(&outcome);
        asked.note(outcome.clone());
        metrics::counter!("hisync_config_reloads_total", "verdict" => word(outcome.verdict)).increment(1);
        let digest = &outcome.digest[..12.min(outcome.digest.len())];
        let detail = format!("{}; in force: {digest}", word(outcome.verdict));
        if let Err(error) = agent.store().audit(&who, "config-reload", "configuration", &detail).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the audit log does not have the reload");
        }
    }
    let restarting = outcome.verdict == Verdict::Restarting;
    let next = new.filter(|_| restarting).map(|config| (config, outcome.clone()));
    if let Some(answer) = answer {
        // Whoever asked may have gone.
        let _ = answer.send(outcome);
        // The answer leaves over a door that may be closing.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    agent.say_farewell();
    next
}

/// The stable word for a verdict.
fn word(verdict: Verdict) -> String {
    serde_json::to_value(verdict).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Tells the log what came of a reload.
fn tell(outcome: &Outcome) {
    let digest = &outcome.digest[..12.min(outcome.digest.len())];
    let who = outcome.who.as_str();
    match outcome.verdict {
        Verdict::Applied => {
            for part in &outcome.parts {
                tracing::info!(part = part.part, "{}", part.effect);
            }
            tracing::info!(digest, who, "the configuration is good: going on under it");
        }
        Verdict::Restarting => {
            tracing::info!(digest, who, "the configuration is good: everything starts anew under it");
        }
        Verdict::Unchanged => tracing::info!(digest, who, "the configuration is the one in force: going on under it"),
        Verdict::RolledBack => {
            tracing::error!(
                who,
                "the new configuration does not start, the old one goes on: {}",
                outcome.troubles.join("; ")
            );
        }
        Verdict::Refused => {
            let text = if outcome.text.is_empty() { outcome.troubles.join("\n") } else { outcome.text.clone() };
            tracing::error!(who, "the new configuration is refused, the old one goes on:\n{text}");
        }
        Verdict::WouldApply | Verdict::WouldRestart => {}
    }
}

/// The configuration with every secret readable: an agent that can't log in must not replace one that can.
fn load(path: &Path) -> Result<Config, Vec<diagnose::Problem>> {
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
