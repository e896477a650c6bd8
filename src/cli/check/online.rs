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

/// A clock that differs by more is wrong; less passes with the overlap of scans.
const FURTHEST_CLOCK_MS: i64 = 5 * 60 * 1000;

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
    /// Whether nothing was reached because nobody knows the host's name.
    unresolved: bool,
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
        Ok(finding) => {
            let unresolved = !finding.reached && !resolves(config).await;
            Upstream { finding: Some(finding), error: None, unresolved }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Upstream { finding: None, error: Some(format!("{error}{cause}")), unresolved: false }
        }
    }
}

/// Whether this machine knows upstream's name. Where it does not, the address is not the first thing to look at.
async fn resolves(config: &Config) -> bool {
    let url = &config.upstream.url;
    let Some(host) = url.host_str() else { return true };
    let port = url.port_or_known_default().unwrap_or(443);
    match tokio::time::timeout(LIMIT, tokio::net::lookup_host((host, port))).await {
        Ok(found) => found.is_ok_and(|mut addresses| addresses.next().is_some()),
        Err(_) => false,
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(error) = &self.error {
            return write!(f, "upstream: NOT FINE: {error}");
        }
        let Some(finding) = &self.finding else { return Ok(()) };
        if self.unresolved {
            let hint = "check its spelling and this machine's DNS; behind a proxy, the proxy's";
            return write!(f, "upstream: NOT FINE (name-resolution): nobody knows the host's name\n    hint: {hint}");
        }
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

    /// What a probe found. A clock that is far off is a failure of its own: schedules, windows and silence are
    /// reckoned by it.
    fn probed(mut self, probe: Probe) -> Looked {
        let off = probe.clock_difference_ms.filter(|difference| difference.abs() > FURTHEST_CLOCK_MS);
        self.error = off.map(|difference| Failure {
            class: "clock",
            message: format!("the source's clock minus ours is {} s", difference / 1000),
            hint: Some("set both by the same time server; see which of the two is wrong".to_owned()),
            reached: true,
        });
        self.probe = Some(probe);
        self
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
            Some(Failure { class: error.class.as_str(), message: error.chain(), hint: Some(hint(error)), reached });
        self
    }
}

/// What to look at next: the connector's own words, or what such a failure usually comes from.
fn hint(error: &SourceError) -> String {
    let usual = match error.class {
        FaultClass::NameResolution => {
            "the host's name is unknown here: check its spelling and this machine's DNS, \
             or write the address"
        }
        FaultClass::Unreachable => "nobody answers there: check host and port, the service, and firewalls between",
        FaultClass::Tls => {
            "the encrypted channel fails: compare both sides' TLS versions, and the certificate with \
             the configured CA"
        }
        FaultClass::Login => {
            "user or password is refused: try them with the vendor's own client; see whether the \
             account is locked"
        }
        FaultClass::Permission => "the login may not read this: ask for SELECT on it, and nothing more",
        FaultClass::Missing => "`hisync discover` lists what the login sees",
        FaultClass::Charset => {
            "text arrives in another character set than configured: look at a raw record with \
             `hisync preview`"
        }
        FaultClass::Timeout => "it answers too late: look for locks and missing indexes there, or raise the limit",
        FaultClass::Protocol => "the peer breaks its protocol: is another program listening at this address?",
        FaultClass::Data => "the answer can't be true: compare it with the source by hand",
        FaultClass::Bind => "if the agent runs already, it is the one that listens there",
        FaultClass::Other => "the message is the source's own; its documentation may know it",
    };
    error.hint.clone().unwrap_or_else(|| usual.to_owned())
}

/// Looks at every source at the same time. Each answer is told as it comes, so that a dead host delays no other's;
/// the list is in the file's order.
pub(super) async fn sources(config: &Config, tell: impl Fn(&Looked)) -> Vec<Looked> {
    let mut looks = JoinSet::new();
    let mut found: Vec<(usize, Looked)> = Vec::new();
    for (index, source) in config.sources.iter().enumerate() {
        match source.build(&config.base_dir) {
            Ok(connector) => look(index, &source.id, connector, &mut looks),
            Err(problems) => {
                let words: Vec<String> =
                    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
                let error = SourceError::stop(FaultClass::Other, words.join("; "));
                let looked = Looked::new(&source.id).failed(&error);
                tell(&looked);
                found.push((index, looked));
            }
        }
    }
    while let Some(ended) = looks.join_next().await {
        match ended {
            Ok(looked) => {
                tell(&looked.1);
                found.push(looked);
            }
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
                        Ok(probe) => (index, looked.probed(probe)),
                        Err(error) => (index, looked.failed(&error)),
                    }
                });
            }
        }
        Flow::Listen(mut listener) => {
            let looked = Looked::new(source);
            looks.spawn(async move {
                let found = tokio::time::timeout(LIMIT, listener.probe()).await;
                let looked = match found.unwrap_or_else(|_| Err(late("look at what is to be served"))) {
                    Ok(probe) => looked.probed(probe),
                    Err(error) => return (index, looked.failed(&error)),
                };
                let opened = tokio::time::timeout(LIMIT, listener.open()).await;
                match opened.unwrap_or_else(|_| Err(late("open the listener"))) {
                    Ok(endpoint) => (index, Looked { endpoint: Some(endpoint), ..looked }),
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
            failure.hint.iter().try_for_each(|hint| write!(f, "\n    hint: {hint}"))?;
        } else {
            write!(f, "{}: fine", self.id)?;
            self.endpoint.iter().try_for_each(|endpoint| write!(f, ", can listen at {}", endpoint.0))?;
            let server = self.probe.iter().filter_map(|probe| probe.server.as_ref()).next();
            server.iter().try_for_each(|server| write!(f, ", {server}"))?;
        }
        let Some(probe) = &self.probe else { return Ok(()) };
        probe.findings.iter().try_for_each(|finding| write!(f, "\n    {finding}"))?;
        if let Some(newest) = &probe.newest {
            write!(f, "\n    newest: {newest}")?;
        }
        if let Some(difference) = probe.clock_difference_ms.filter(|difference| *difference != 0) {
            write!(f, "\n    the source's clock is {difference} ms ahead of ours")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
