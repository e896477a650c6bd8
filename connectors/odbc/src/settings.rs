//! The source's settings, and the connection string that they make.

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector_api::{Secret, SettingsProblem};
use serde::{Deserialize, Serialize};

use crate::preset::{LoginTimeout, Preset, Product};

/// The source's `settings` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OdbcSettings {
    /// The database product: decides how queries are spelled, and the driver's options.
    pub product: Product,
    /// The connection string without user and password: `Driver=PostgreSQL Unicode;Server=10.0.0.5;
    /// Port=5432;Database=peis`, or `DSN=peis`. Options that hisync knows to be needed are added.
    pub connection: String,
    /// The login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its password. Read at each connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// How long connecting may take, in seconds.
    #[serde(default = "default_login_timeout_secs")]
    pub login_timeout_secs: u32,
    /// How long one query may take, in seconds. A driver that does not stop by then is killed.
    #[serde(default = "default_query_timeout_secs")]
    pub query_timeout_secs: u32,
    /// The address space that the driver's process may have, in MiB. Drivers that bring a Java or
    /// an Oracle client need more; 0 means no limit.
    #[serde(default = "default_memory_limit_mb")]
    pub memory_limit_mb: u32,
    /// The longest value that is read, in MiB. A record with a longer one is held.
    #[serde(default = "default_max_value_mb")]
    pub max_value_mb: u32,
    /// The zone in which points in time arrive whose column has none of its own (PostgreSQL's
    /// `timestamptz`, MySQL's TIMESTAMP), in the product's words: `Asia/Shanghai`, `+08:00`. The
    /// server's own choice where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_time_zone: Option<String>,
    /// Variables for the driver's process, e.g. `NLS_LANG`, `LD_LIBRARY_PATH`, `ODBCINI`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The program `hisync-odbc`. Where absent: beside the agent's own program, then in PATH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<PathBuf>,
}

fn default_login_timeout_secs() -> u32 {
    10
}

fn default_query_timeout_secs() -> u32 {
    60
}

fn default_memory_limit_mb() -> u32 {
    1024
}

fn default_max_value_mb() -> u32 {
    32
}

/// Keywords that would hold the login's name or password.
const USER_KEYS: [&str; 4] = ["uid", "user", "username", "user id"];
const PASSWORD_KEYS: [&str; 2] = ["pwd", "password"];

impl OdbcSettings {
    /// What can be said against the settings before connecting.
    pub(crate) fn check(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        let mut problem =
            |path: &str, message: String, hint: &str| problems.push(SettingsProblem::new(path, message).hint(hint));
        match attributes(&self.connection) {
            Err(message) => problem("settings.connection", message.to_owned(), "write Driver=…;Server=…;Database=…"),
            Ok(attributes) => {
                let has = |keys: &[&str]| attributes.iter().any(|(key, _)| keys.contains(&key.to_lowercase().as_str()));
                if !has(&["driver", "dsn", "filedsn"]) {
                    let message = "the connection string names neither a driver nor a DSN".to_owned();
                    problem("settings.connection", message, "begin it with Driver=… or DSN=…");
                }
                if has(&PASSWORD_KEYS) {
                    let message = "the connection string holds a password".to_owned();
                    problem("settings.connection", message, "take it out, and say where it is in settings.password");
                }
                if has(&USER_KEYS) {
                    let message = "the connection string holds the user".to_owned();
                    problem("settings.connection", message, "take it out, and name it in settings.user");
                }
            }
        }
        let bounds = [
            ("settings.login_timeout_secs", self.login_timeout_secs, 1, 600, "10 is usual"),
            ("settings.query_timeout_secs", self.query_timeout_secs, 1, 3600, "60 is usual"),
            ("settings.max_value_mb", self.max_value_mb, 1, 60, "32 is usual"),
        ];
        for (path, value, least, most, hint) in bounds {
            if !(least..=most).contains(&value) {
                problem(path, format!("{value} is not between {least} and {most}"), hint);
            }
        }
        if (1..64).contains(&self.memory_limit_mb) {
            let message = format!("no driver starts in {} MiB", self.memory_limit_mb);
            problem("settings.memory_limit_mb", message, "1024 is usual, 0 means no limit");
        }
        if let Some(zone) = &self.session_time_zone {
            let plain = |c: char| c.is_ascii_alphanumeric() || "+-:/_".contains(c);
            if self.product.preset().time_zone.is_none() {
                let message = format!("sessions of {:?} have no time zone of their own", self.product);
                problem("settings.session_time_zone", message, "remove it; the mapping says the zone of each column");
            } else if zone.is_empty() || !zone.chars().all(plain) {
                let message = format!("{zone:?} is no time zone");
                problem("settings.session_time_zone", message, "write Asia/Shanghai or +08:00");
            }
        }
        if self.password.is_some() && self.user.is_none() {
            problem("settings.password", "a password without a user".to_owned(), "name the login in settings.user");
        }
        for name in self.environment.keys() {
            if name.is_empty() || name.contains(['=', '\0']) || name == "LC_ALL" {
                let message = format!("{name:?} can't be set");
                problem("settings.environment", message, "LC_ALL is always C.UTF-8; other names have no `=`");
            }
        }
        problems
    }

    /// The whole connection string, as the driver gets it. It is a secret.
    pub fn connection_string(&self, preset: &Preset, password: Option<&str>) -> String {
        let there = attributes(&self.connection).unwrap_or_default();
        let absent = |name: &str| !there.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
        let mut text = self.connection.trim().trim_end_matches(';').to_owned();
        let mut add = |key: &str, value: &str| text.push_str(&format!(";{key}={}", escaped(value, preset.braces)));
        for (key, value) in preset.options.iter().filter(|(key, _)| absent(key)) {
            add(key, value);
        }
        if let LoginTimeout::Option(key) = preset.login_timeout
            && absent(key)
        {
            add(key, &self.login_timeout_secs.to_string());
        }
        if let Some(user) = &self.user {
            add("UID", user);
        }
        if let Some(password) = password {
            add("PWD", password);
        }
        text
    }
}

/// A value as it may stand in a connection string.
fn escaped(value: &str, braces: bool) -> String {
    let harmless = |c: char| !braces && !matches!(c, ';' | '{' | '}') && !c.is_control();
    let plain = |c: char| c.is_alphanumeric() || "-_./: '".contains(c) || harmless(c);
    if value.chars().all(plain) && value.trim() == value {
        return value.to_owned();
    }
    format!("{{{}}}", value.replace('}', "}}"))
}

/// The keys and values of a connection string, values with their braces.
fn attributes(text: &str) -> Result<Vec<(String, String)>, &'static str> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("the connection string has a part without `=`")?;
        let after = after.trim_start();
        let end = if after.starts_with('{') { closing(after).ok_or("a brace is not closed")? } else { 0 };
        let tail = &after[end..];
        let length = end + tail.find(';').unwrap_or(tail.len());
        if end > 0 && !after[end..length].trim().is_empty() {
            return Err("something stands behind a closing brace");
        }
        found.push((key.trim().to_owned(), after[..length].trim().to_owned()));
        rest = after[length..].trim_start_matches(';').trim_start();
    }
    Ok(found)
}

/// Behind the brace that closes the first one; a doubled one stands for itself.
fn closing(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'}' if bytes.get(at + 1) == Some(&b'}') => at += 2,
            b'}' => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

#[cfg(test)]
mod tests;
