//! SQL Server's errors, told apart once.

use std::io::ErrorKind;

use connector_api::{FaultClass, SourceError};
use tiberius::error::Error;

/// What the server refused. Its words are kept only where they can't quote a value: they may hold
/// personal data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// With words that name objects and logins only.
    #[error("SQL Server error {number}, state {state}: {words}")]
    Said {
        /// The error's number.
        number: u32,
        /// Its state, which tells apart what the words don't.
        state: u8,
        /// The server's words.
        words: String,
    },
    /// With words that are left out.
    #[error("SQL Server error {number}, state {state}, severity {severity}")]
    Numbered {
        /// The error's number.
        number: u32,
        /// Its state.
        state: u8,
        /// Its severity class.
        severity: u8,
    },
    /// The connection or what came over it is broken.
    #[error("{0}")]
    Broken(String),
}

/// Errors whose words name objects, columns, databases and logins, never a value.
const SPEAKING: [u32; 19] =
    [102, 156, 201, 207, 208, 229, 230, 262, 300, 916, 1222, 2812, 3952, 4060, 8144, 8145, 18_452, 18_456, 18_470];

/// True where the connection can be used after this error, once its answer is read to the end.
pub(crate) fn is_survivable(error: &Error) -> bool {
    matches!(error, Error::Server(token) if token.class() < 20)
}

/// Turns a failure into the agent's terms.
pub(crate) fn classify(operation: &str, error: &Error) -> SourceError {
    match error {
        Error::Server(token) => refused(operation, token.code(), token.class()).because(refusal(
            token.code(),
            token.state(),
            token.class(),
            token.message(),
        )),
        Error::Io { kind, message } => {
            let class = match kind {
                ErrorKind::TimedOut => FaultClass::Timeout,
                _ => FaultClass::Protocol,
            };
            SourceError::retry(class, operation)
                .because(Refusal::Broken(message.clone()))
                .hint("the connection broke: the server or something on the way went away; it is made anew")
        }
        Error::Encoding(_) | Error::Utf8 | Error::Utf16 => SourceError::stop(FaultClass::Charset, operation)
            .because(Refusal::Broken("text is not in the character set that its column declares".to_owned()))
            .hint("set raw_gbk = true, so that damaged text holds its record only"),
        Error::Routing { host, port } => SourceError::stop(FaultClass::Unreachable, operation)
            .because(Refusal::Broken(format!("the server sends its clients on to {host}:{port}")))
            .hint("set host and port to those"),
        Error::Protocol(words) => SourceError::retry(FaultClass::Protocol, operation)
            .because(Refusal::Broken(words.to_string()))
            .hint("what came is not what SQL Server sends: something on the way, or a server that is not SQL Server"),
        _ => SourceError::retry(FaultClass::Protocol, operation)
            .because(Refusal::Broken("the answer could not be read".to_owned()))
            .hint("what came is not what SQL Server sends, or has a type that can't be read"),
    }
}

fn refusal(number: u32, state: u8, severity: u8, words: &str) -> Refusal {
    match SPEAKING.contains(&number) {
        true => Refusal::Said { number, state, words: words.to_owned() },
        false => Refusal::Numbered { number, state, severity },
    }
}

fn refused(operation: &str, number: u32, severity: u8) -> SourceError {
    let stop = |class, hint: &str| SourceError::stop(class, operation).hint(hint);
    let retry = |class, hint: &str| SourceError::retry(class, operation).hint(hint);
    match number {
        // Trying again with a wrong password locks the login.
        18_456 => stop(FaultClass::Login, "user or password is wrong, or the server allows Windows logins only"),
        18_452 => stop(FaultClass::Login, "the server allows Windows logins only: have a SQL Server login made"),
        18_470 | 18_486 | 18_487 | 18_488 => {
            stop(FaultClass::Login, "the login is disabled or locked, or its password has expired")
        }
        4060 | 4064 => retry(FaultClass::Missing, "check settings.database; it may also be offline or in recovery"),
        229 | 230 | 262 | 300 | 916 => {
            stop(FaultClass::Permission, "have SELECT granted to this login on what the stream reads, in that database")
        }
        207 | 208 | 2812 => stop(FaultClass::Missing, "`hisync discover` lists tables, views and columns"),
        201 | 8144 | 8145 => stop(FaultClass::Missing, "the procedure has other parameters than the stream names"),
        1222 => retry(FaultClass::Timeout, "another session holds locks for longer than query_timeout_secs"),
        1205 => retry(FaultClass::Other, "this reader gave way in a deadlock, as it should"),
        3952 | 3960 | 3961 | 3958 => retry(
            FaultClass::Other,
            "SNAPSHOT isolation is not to be had for all that is read: set isolation = \"read-committed\"",
        ),
        241 | 242 | 245 | 248 | 295 | 8114 | 8115 => stop(
            FaultClass::Data,
            "a value can't be converted: compare the filter's and the watermark's types with the columns'",
        ),
        // A server that stops, is paused, or is out of memory or disk.
        233 | 701 | 1105 | 6005 | 9001 | 9002 | 17_142 | 17_189 => {
            retry(FaultClass::Unreachable, "the server is stopping, paused or out of resources")
        }
        _ if severity >= 17 => retry(FaultClass::Other, "the server has a fault of its own: see its error log"),
        _ => stop(FaultClass::Other, "look the number up in SQL Server's documentation"),
    }
}
