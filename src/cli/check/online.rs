//! Looks at what a configuration names, without changing anything.

use std::fmt;
use std::time::Duration;

use connector_api::{Connector, Endpoint, FaultClass, Flow, Probe, SourceError, SourceId};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cli::Exit;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::{self, ProbeFinding};

/// Longer than the connection and login of a slow hospital database take.
const LIMIT: Duration = Duration::from_secs(30);

/// What was found at one source, or at one of its streams.
#[derive(Debug, Serialize)]
pub(super) struct Looked {
    /// The source's id, or the stream's full id.
    pub(super) id: String,
    /// What a poller found.
    probe: Option<Probe>,
    /// Where a listener could be opened; it is closed again.
    endpoint: Option<Endpoint>,
    /// What failed.
    error: Option<Failure>,
}

/// What was found at upstream.
#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    /// What it answered, or that it didn't.
    finding: Option<ProbeFinding>,
    /// Why it could not be asked.
    error: Option<String>,
}

impl Upstream {
    pub(super) fn exit(&self) -> Exit {
        match &self.finding {
            None => Exit::NotFine,
            Some(finding) if !finding.reached => Exit::Unreachable,
            Some(finding) if !finding.accepted => Exit::NotFine,
            Some(_) => Exit::Fine,
        }
    }
}

/// Asks upstream whether it would take events.
pub(super) async fn upstream(config: &Config) -> Upstream {
    match delivery::probe(&config.upstream, &config.base_dir, Clock::system()).await {
        Ok(finding) => Upstream { finding: Some(finding), error: None },
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Upstream { finding: None, error: Some(format!("{error}{cause}")) }
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "upstream: NOT FINE: {error}");
        }
        let Some(finding) = &self.finding else { return Ok(()) };
        let verdict = if finding.accepted { "fine" } else { "NOT FINE" };
        write!(f, "upstream: {verdict} ({}): {}, {} ms", finding.code, finding.text, finding.millis)?;
        if let Some(seconds) = finding.clock_difference_secs {
            write!(f, "\n    upstream's clock minus ours: {seconds} s")?;
        }
        Ok(())
    }
}

/// A failure in words.
#[derive(Debug, Serialize)]
struct Failure {
    class: &'static str,
    message: String,
    hint: Option<String>,
    #[serde(skip)]
    reached: bool,
}

impl Looked {
    fn new(id: impl ToString) -> Looked {
        Looked { id: id.to_string(), probe: None, endpoint: None, error: None }
    }

    /// Not reached is worse than reached and not fine.
    pub(super) fn exit(&self) -> Exit {
        match &self.error {
            None => Exit::Fine,
            Some(failure) if failure.reached => Exit::NotFine,
            Some(_) => Exit::Unreachable,
        }
    }

    fn failed(mut self, error: &SourceError) -> Looked {
        let reached = matches!(
            error.class,
            FaultClass::Login
                | FaultClass::Permission
                | FaultClass::Missing
                | FaultClass::Charset
                | FaultClass::Data
                | FaultClass::Bind
        );
        self.error =
            Some(Failure { class: error.class.as_str(), message: error.chain(), hint: error.hint.clone(), reached });
        self
    }
}

/// Looks at every source at the same time; answers in the file's order.
pub(super) async fn sources(config: &Config) -> Vec<Looked> {
    let mut looks = JoinSet::new();
    let mut found: Vec<(usize, Looked)> = Vec::new();
    for (index, source) in config.sources.iter().enumerate() {
        match source.build(&config.base_dir) {
            Ok(connector) => look(index, &source.id, connector, &mut looks),
            Err(problems) => {
                let words: Vec<String> =
                    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
                let error = SourceError::stop(FaultClass::Other, words.join("; "));
                found.push((index, Looked::new(&source.id).failed(&error)));
            }
        }
    }
    while let Some(ended) = looks.join_next().await {
        match ended {
            Ok(looked) => found.push(looked),
            Err(ended) => {
                std::panic::resume_unwind(ended.try_into_panic().unwrap_or_else(|_| Box::new("a look was cancelled")))
            }
        }
    }
    found.sort_by(|(a, left), (b, right)| (a, &left.id).cmp(&(b, &right.id)));
    found.into_iter().map(|(_, looked)| looked).collect()
}

fn look(index: usize, source: &SourceId, connector: Connector, looks: &mut JoinSet<(usize, Looked)>) {
    match connector.flow {
        Flow::Poll(pollers) => {
            for mut stream in pollers {
                looks.spawn(async move {
                    let looked = Looked::new(&stream.stream);
                    let found = tokio::time::timeout(LIMIT, stream.poller.probe()).await;
                    match found.unwrap_or_else(|_| Err(late("probe the source"))) {
                        Ok(probe) => (index, Looked { probe: Some(probe), ..looked }),
                        Err(error) => (index, looked.failed(&error)),
                    }
                });
            }
        }
        Flow::Listen(mut listener) => {
            let looked = Looked::new(source);
            looks.spawn(async move {
                let opened = tokio::time::timeout(LIMIT, listener.open()).await;
                match opened.unwrap_or_else(|_| Err(late("open the listener"))) {
                    Ok(endpoint) => (index, Looked { endpoint: Some(endpoint), ..looked }),
                    Err(error) if error.class == FaultClass::Bind && error.hint.is_none() => {
                        let hint = "if the agent runs already, it is the one that listens there";
                        (index, looked.failed(&error.hint(hint)))
                    }
                    Err(error) => (index, looked.failed(&error)),
                }
            });
        }
    }
}

fn late(operation: &str) -> SourceError {
    SourceError::retry(FaultClass::Timeout, format!("{operation}: no answer within {} seconds", LIMIT.as_secs()))
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(failure) = &self.error {
            write!(f, "{}: NOT FINE ({}): {}", self.id, failure.class, failure.message)?;
            return failure.hint.iter().try_for_each(|hint| write!(f, "\n    hint: {hint}"));
        }
        write!(f, "{}: fine", self.id)?;
        if let Some(endpoint) = &self.endpoint {
            write!(f, ", can listen at {}", endpoint.0)?;
        }
        let Some(probe) = &self.probe else { return Ok(()) };
        if let Some(server) = &probe.server {
            write!(f, ", {server}")?;
        }
        probe.findings.iter().try_for_each(|finding| write!(f, "\n    {finding}"))?;
        if let Some(newest) = &probe.newest {
            write!(f, "\n    newest: {newest}")?;
        }
        if let Some(difference) = probe.clock_difference_ms {
            write!(f, "\n    the source's clock is {difference} ms ahead of ours")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
