//! Sorts what drivers say into the classes that the agent acts on.

use connector_api::{FaultClass, SourceError};

use crate::preset::Preset;
use crate::wire::{Fault, Stage};

/// What a driver said, without values of the source.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Said {
    text: String,
}

const RETRY: bool = true;
const STOP: bool = false;

/// One rule: where its states, numbers or words match, its class holds.
struct Rule {
    states: &'static [&'static str],
    /// The product's own numbers, for drivers whose state says nothing.
    natives: &'static [i32],
    /// Words of the message in lower case, for drivers that have neither.
    words: &'static [&'static str],
    class: FaultClass,
    retry: bool,
    hint: &'static str,
}

/// The first whose state matches holds, else the first by number, else by words. Numbers are those of MySQL (1000 to 3999), Oracle (ORA)
/// and SQL Server; where products share one, they mean the same.
static RULES: &[Rule] = &[
    Rule {
        states: &["IM003"],
        natives: &[],
        words: &["can't open lib", "can not open lib", "specified driver could not be loaded"],
        class: FaultClass::Missing,
        retry: STOP,
        hint: "unixODBC can't load the driver: install it, and name it in /etc/odbcinst.ini or by its whole path; \
               `ldd` on the file says which of its own libraries is missing",
    },
    Rule {
        states: &["IM002"],
        natives: &[],
        words: &[],
        class: FaultClass::Missing,
        retry: STOP,
        hint: "unixODBC knows neither this DSN nor this driver: `odbcinst -q -d` lists drivers, `odbcinst -q -s` DSNs",
    },
    Rule {
        states: &["28000", "28P01"],
        natives: &[1045, 1017, 18456],
        words: &["password authentication failed", "no password supplied", "role \"", "no pg_hba.conf entry"],
        class: FaultClass::Login,
        retry: STOP,
        hint: "check settings.user and settings.password (FreeTDS takes none with ; { } or beyond ASCII); too many attempts may lock the \
               account, so none is made now",
    },
    Rule {
        states: &[],
        natives: &[2005, 12154, 20013],
        words: &[
            "could not translate host name",
            "unknown host",
            "name or service not known",
            "unknown mysql server host",
        ],
        class: FaultClass::NameResolution,
        retry: RETRY,
        hint: "the host's name does not resolve: write its address, or add it to /etc/hosts",
    },
    Rule {
        states: &[],
        natives: &[2026],
        words: &["ssl error", "ssl connection", "certificate", "tls "],
        class: FaultClass::Tls,
        retry: RETRY,
        hint: "the driver and the server don't agree on encryption: see the options of the driver",
    },
    Rule {
        states: &["3D000"],
        natives: &[1049, 4060],
        words: &["unknown database", "fatal:  database"],
        class: FaultClass::Missing,
        retry: STOP,
        hint: "there is no such database: check the connection string",
    },
    Rule {
        states: &["HYT00", "HYT01", "57014", "HY008", "HY018", "70100"],
        natives: &[1969, 3024, 1013],
        words: &["timeout expired", "timed out", "statement timeout"],
        class: FaultClass::Timeout,
        retry: RETRY,
        hint: "no answer within the time limit: an index on the watermark and key columns helps, or a longer \
               query_timeout_secs",
    },
    Rule {
        states: &["42501"],
        natives: &[1044, 1142, 1143, 1227, 1370, 1031, 229, 230],
        words: &["permission denied"],
        class: FaultClass::Permission,
        retry: STOP,
        hint: "the login may not read this: ask for SELECT on it",
    },
    Rule {
        states: &["42S02", "42P01", "42S22", "42703", "S0002", "S0022", "3F000"],
        natives: &[1146, 1054, 942, 904, 208, 207],
        words: &["no such table", "no such column"],
        class: FaultClass::Missing,
        retry: STOP,
        hint: "`hisync discover` lists tables, views and columns as this login sees them",
    },
    Rule {
        states: &["22021", "22P05"],
        natives: &[],
        words: &["invalid string conversion", "has no equivalent in encoding"],
        class: FaultClass::Charset,
        retry: STOP,
        hint: "",
    },
    Rule {
        states: &[],
        natives: &[],
        words: &["unable to open database", "no such file"],
        class: FaultClass::Unreachable,
        retry: RETRY,
        hint: "there is no such file, or it may not be read: check the connection string, and whether a share is mounted",
    },
    Rule {
        states: &[],
        natives: &[],
        words: &["file is not a database", "malformed"],
        class: FaultClass::Data,
        retry: STOP,
        hint: "the file is not a database, is damaged, or is encrypted",
    },
    Rule {
        states: &["40001", "40P01", "55P03"],
        natives: &[1205, 1213, 1555, 8177],
        words: &["database is locked"],
        class: FaultClass::Timeout,
        retry: RETRY,
        hint: "another session held what is read; the scan begins anew",
    },
    Rule {
        states: &["01S00"],
        natives: &[],
        words: &[],
        class: FaultClass::Other,
        retry: STOP,
        hint: "the driver does not know an option of the connection string",
    },
    Rule {
        states: &["HY001", "HY013", "53200"],
        natives: &[],
        words: &[],
        class: FaultClass::Other,
        retry: RETRY,
        hint: "the driver found no memory: a lower batch_size, or a higher memory_limit_mb",
    },
];

const UNREACHABLE: &str = "no connection: check host, port and firewall, and whether the server runs";

/// The failure that a driver reported, for the agent. `secret` is struck out of its words.
pub(crate) fn classify(preset: &Preset, operation: String, fault: &Fault, secret: Option<&str>) -> SourceError {
    let message = decode(&fault.message);
    let lower = message.to_lowercase();
    let of_state = |rule: &&Rule| rule.states.contains(&fault.state.as_str());
    let of_native = |rule: &&Rule| rule.natives.contains(&fault.native.abs());
    let of_words = |rule: &&Rule| rule.words.iter().any(|word| lower.contains(word));
    // Words come last: a table may be called "certificate".
    let rules = || RULES.iter();
    let rule = rules().find(of_state).or_else(|| rules().find(of_native)).or_else(|| rules().find(of_words));
    let (class, retry, hint) = match rule {
        Some(rule) if rule.class == FaultClass::Charset => (rule.class, rule.retry, preset.text_cure),
        Some(rule) => (rule.class, rule.retry, rule.hint),
        None if fault.stage == Stage::Process => {
            (FaultClass::Other, RETRY, "hisync-odbc itself failed; it is started anew")
        }
        None if fault.stage == Stage::Connect => (FaultClass::Unreachable, RETRY, UNREACHABLE),
        None if fault.state.starts_with("08") => {
            (FaultClass::Protocol, RETRY, "the connection broke while it was read from")
        }
        // Products end sessions with words of their own: 57P01 and MySQL's 2006, 2013.
        None if fault.state.starts_with("57P") || [2006, 2013, 1927].contains(&fault.native.abs()) => {
            (FaultClass::Protocol, RETRY, "the server ended the connection")
        }
        None if fault.state.starts_with("53") => {
            (FaultClass::Unreachable, RETRY, "the server has no room for a session")
        }
        None if fault.state.starts_with("22") => {
            (FaultClass::Data, STOP, "the source refuses a value: is the watermark's type what its column holds?")
        }
        None if fault.state.starts_with("42") || fault.state.starts_with("37") => {
            (FaultClass::Other, STOP, "the source refuses the statement: is settings.product the right one?")
        }
        None => (FaultClass::Other, RETRY, "see the driver's manual for its state and number"),
    };
    let new = if retry { SourceError::retry } else { SourceError::stop };
    new(class, operation).hint(hint).because(Said { text: said(fault, &message, class, secret) })
}

/// Names of hosts, tables and columns may be shown; what might be a value of the source may not.
fn said(fault: &Fault, message: &str, class: FaultClass, secret: Option<&str>) -> String {
    let state = if fault.state.is_empty() { "no state" } else { &fault.state };
    let head = format!("SQLSTATE {state}, native error {}", fault.native);
    let named = matches!(class, FaultClass::Missing | FaultClass::Permission) || fault.stage != Stage::Statement;
    if !named || message.is_empty() {
        return head;
    }
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    let line = secret.filter(|secret| !secret.is_empty()).map_or(line.clone(), |secret| line.replace(secret, "…"));
    format!("{head}: {line}")
}

/// Drivers of Chinese products write GBK.
fn decode(message: &[u8]) -> String {
    match std::str::from_utf8(message) {
        Ok(text) => text.to_owned(),
        Err(_) => encoding_rs::GB18030.decode_without_bom_handling(message).0.into_owned(),
    }
}

#[cfg(test)]
mod tests;
