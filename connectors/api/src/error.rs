//! Failures of a source, classified once, at the connector's edge.

use std::time::Duration;

/// What the agent does about a failure. Loops branch on this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Try again with back-off, not before the stated wait where the source stated one.
    Retry {
        /// The wait that the source asked for.
        after: Option<Duration>,
    },
    /// Stop this stream (or listener) and call a person: trying again can't help.
    Stop,
}

/// What kind of thing failed, as `hisync check` and the status page tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The host's name does not resolve.
    NameResolution,
    /// Nobody listens there, or the file does not exist.
    Unreachable,
    /// The encrypted channel could not be set up.
    Tls,
    /// User name or password refused.
    Login,
    /// Logged in, but not allowed to read.
    Permission,
    /// A view, table, column, folder or method is missing.
    Missing,
    /// Text arrives in another character set than configured.
    Charset,
    /// No answer within the time limit.
    Timeout,
    /// The connection broke, or the peer broke the protocol.
    Protocol,
    /// The source answered with something that can't be true, e.g. no rows where COUNT says many.
    Data,
    /// The address is taken or may not be bound.
    Bind,
    /// Anything else.
    Other,
}

impl FaultClass {
    /// The stable word in JSON, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultClass::NameResolution => "name-resolution",
            FaultClass::Unreachable => "unreachable",
            FaultClass::Tls => "tls",
            FaultClass::Login => "login",
            FaultClass::Permission => "permission",
            FaultClass::Missing => "missing",
            FaultClass::Charset => "charset",
            FaultClass::Timeout => "timeout",
            FaultClass::Protocol => "protocol",
            FaultClass::Data => "data",
            FaultClass::Bind => "bind",
            FaultClass::Other => "other",
        }
    }
}

/// A failure to read from, or to serve, a source system.
///
/// A single unreadable record is not one of these: it is a [`crate::Record`] whose document is an
/// error, and it is held while the stream goes on.
#[derive(Debug, thiserror::Error)]
#[error("{operation}")]
pub struct SourceError {
    /// What the agent does about it.
    pub action: Action,
    /// What kind of thing failed.
    pub class: FaultClass,
    /// What was attempted, with its subject: `read view "V_TJ_BG"`. Free of personal data.
    pub operation: String,
    /// What a site engineer can do next.
    pub hint: Option<String>,
    /// The cause.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// A failure that passes by itself.
    pub fn retry(class: FaultClass, operation: impl Into<String>) -> SourceError {
        SourceError {
            action: Action::Retry { after: None },
            class,
            operation: operation.into(),
            hint: None,
            cause: None,
        }
    }

    /// A failure that needs a person.
    pub fn stop(class: FaultClass, operation: impl Into<String>) -> SourceError {
        SourceError { action: Action::Stop, class, operation: operation.into(), hint: None, cause: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> SourceError {
        self.cause = Some(cause.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> SourceError {
        self.hint = Some(hint.into());
        self
    }

    /// The message with the whole chain of causes, for logs and for `hisync check`.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

/// An error with the whole chain of its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// One thing that is wrong with a source's settings. A connector reports all of them at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Where, below the source's table: `settings.path`, `streams[0].fetch.key`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SettingsProblem {
    /// A problem at a path.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> SettingsProblem {
        SettingsProblem { path: path.into(), message: message.into(), hint: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> SettingsProblem {
        self.hint = Some(hint.into());
        self
    }
}
