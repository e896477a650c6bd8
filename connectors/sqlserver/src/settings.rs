//! The source's and its streams' tables in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use connector_api::{Mode, Secret, SettingsProblem};
use connector_sql::{Child, Fetch, FilterValue, TableStream, WatermarkType, check_stream};
use serde::{Deserialize, Serialize};

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// Everything travels through TLS.
    #[default]
    Required,
    /// Only the login does; what is read travels in the clear. A server that forces encryption gets
    /// it for everything.
    LoginOnly,
    /// Nothing does. The password travels readable to anybody on the way.
    Off,
}

/// Which server certificate is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Trust {
    /// One that this machine's authorities vouch for, in the host's name.
    #[default]
    System,
    /// One that an authority in this PEM file vouches for, in the host's name.
    Ca(PathBuf),
    /// The one with this SHA-256, in hexadecimal. Its name and dates don't matter.
    Sha256(String),
    /// Any. It keeps listeners out, not somebody who answers in the server's place.
    Any,
}

/// What a consistent read is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// SNAPSHOT where the database allows it, else as `read-committed`.
    #[default]
    Auto,
    /// READ COMMITTED: each query sees what is committed when it runs.
    ReadCommitted,
}

/// The source's `settings` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlServerSettings {
    /// The server's name or address.
    pub host: String,
    /// Its TCP port. 1433 where absent, unless there is an `instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// A named instance, whose port SQL Server Browser is asked for over UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The port of SQL Server Browser.
    #[serde(default = "default_browser_port")]
    pub browser_port: u16,
    /// The database.
    pub database: String,
    /// A SQL Server login with read permission.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// How the connection is encrypted.
    #[serde(default)]
    pub encryption: Encryption,
    /// Which certificate is trusted. Of no meaning without encryption.
    #[serde(default)]
    pub trust: Trust,
    /// The name in the server's certificate, where it is not `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_name: Option<String>,
    /// How long connecting may take, login included, in seconds.
    #[serde(default = "default_connect_timeout_secs")]
    pub connect_timeout_secs: u32,
    /// How long one query may take, in seconds.
    #[serde(default = "default_query_timeout_secs")]
    pub query_timeout_secs: u32,
    /// Read `char`, `varchar` and `text` columns as bytes and decode them here, strictly, as GB 18030:
    /// a value that is damaged holds its record, where the server would put question marks.
    #[serde(default)]
    pub raw_gbk: bool,
    /// What a consistent read is.
    #[serde(default)]
    pub isolation: Isolation,
    /// Stored procedures that streams may call. They run with the login's permissions, and nothing
    /// can tell whether they change data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_procedures: Vec<String>,
}

fn default_browser_port() -> u16 {
    1434
}

fn default_connect_timeout_secs() -> u32 {
    15
}

fn default_query_timeout_secs() -> u32 {
    60
}

/// What a stream's table holds beside the keys common to all streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlServerStream {
    /// The table or view with one row per record; the procedure where there is `procedure`.
    pub fetch: Fetch,
    /// Tables or views with the record's parts. Each becomes a list under its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
    /// Present where `fetch.from` names a stored procedure whose first result set is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub procedure: Option<Procedure>,
}

/// How a stored procedure is called. Values are bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Procedure {
    /// The parameter that is given the start of the scan, e.g. `@since`: rows from it on are wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What `since` is given where nothing was read yet, e.g. `2020-01-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// Other parameters with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, FilterValue>,
}

impl SqlServerStream {
    /// The part that reads tables.
    pub fn table(&self) -> TableStream {
        TableStream { fetch: self.fetch.clone(), children: self.children.clone() }
    }
}

/// Everything that is wrong with the source's table.
pub(crate) fn check_settings(settings: &SqlServerSettings) -> Vec<SettingsProblem> {
    let mut problems = Vec::new();
    let mut problem = |name: &str, message: &str, hint: &str| {
        problems.push(SettingsProblem::new(format!("settings.{name}"), message).hint(hint));
    };
    for (name, value) in [("host", &settings.host), ("database", &settings.database), ("user", &settings.user)] {
        if value.trim().is_empty() {
            problem(name, "it is empty", "ask the hospital's database administrator");
        }
    }
    if settings.host.contains(['\\', ',']) {
        problem("host", "the host holds an instance or a port too", "write them as `instance` or `port`");
    }
    if settings.user.contains('\\') {
        let hint = "use a SQL Server login, or the odbc connector with FreeTDS, which can do Windows logins";
        problem("user", "Windows logins are not supported by this connector", hint);
    }
    match &settings.instance {
        Some(_) if settings.port.is_some() => {
            problem(
                "instance",
                "an instance and a port are two addresses",
                "keep the port: firewalls often block 1434",
            );
        }
        Some(name) if name.is_empty() || name.len() > 16 || !name.is_ascii() => {
            problem("instance", "an instance has a name of 1 to 16 ASCII characters", "write it without the host");
        }
        _ => {}
    }
    if settings.port == Some(0) {
        problem("port", "there is no port 0", "1433 is usual");
    }
    if let Trust::Sha256(pin) = &settings.trust
        && crate::tls::pin(pin).is_none()
    {
        let hint = "64 hexadecimal digits, with or without colons; `hisync check` shows what the server presents";
        problem("trust.sha256", "this is no SHA-256", hint);
    }
    for (name, seconds) in
        [("connect_timeout_secs", settings.connect_timeout_secs), ("query_timeout_secs", settings.query_timeout_secs)]
    {
        if seconds == 0 || seconds > 86_400 {
            problem(name, "not between a second and a day", "15 and 60 are usual");
        }
    }
    problems
}

/// Everything that is wrong with a stream's table.
pub(crate) fn check(
    settings: &SqlServerSettings,
    path: &str,
    mode: Mode,
    stream: &SqlServerStream,
) -> Vec<SettingsProblem> {
    let mut problems = check_stream(path, mode, &stream.table());
    if stream.fetch.from.split('.').count() > 3 {
        let problem = SettingsProblem::new(format!("{path}.fetch.from"), "a name has at most database.schema.name");
        problems.push(problem.hint("what is on another server is read as a source of its own"));
    }
    let rowversion = stream.fetch.watermark.as_ref().is_some_and(|own| own.kind == WatermarkType::Rowversion);
    if rowversion && stream.fetch.from.split('.').count() == 3 {
        // Which versions are settled can be asked of the login's own database alone.
        let message = "a rowversion is watched in settings.database only";
        let problem = SettingsProblem::new(format!("{path}.fetch.from"), message);
        problems.push(problem.hint("make the other database a source of its own"));
    }
    let Some(procedure) = &stream.procedure else { return problems };
    if rowversion {
        let problem =
            SettingsProblem::new(format!("{path}.fetch.watermark"), "a procedure's rows are not read in order");
        problems.push(problem.hint("use a timestamp or number"));
    }
    let mut problem = |name: &str, message: &str, hint: &str| {
        problems.push(SettingsProblem::new(format!("{path}.{name}"), message).hint(hint));
    };
    if stream.fetch.watermark.as_ref().is_some_and(|own| !own.then.is_empty()) {
        problem("fetch.watermark.then", "a procedure is told one value", "let its result have one column for it");
    }
    if !settings.allow_procedures.contains(&stream.fetch.from) {
        problem("fetch.from", "this stored procedure is not allowed", "name it in settings.allow_procedures");
    }
    if !stream.children.is_empty() {
        problem("children", "the rows of a procedure have no child tables", "let the procedure join them");
    }
    if !stream.fetch.columns.is_empty() || !stream.fetch.filter.is_empty() {
        problem("fetch", "a procedure's columns and rows are its own", "remove columns and filter");
    }
    let names = procedure.parameters.keys().chain(&procedure.since);
    let usable = |name: &str| {
        name.strip_prefix('@').is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '#' | '$'))
        })
    };
    if names.clone().any(|name| !usable(name)) {
        problem("procedure", "a parameter's name is not like @name", r#"since = "@since""#);
    }
    match mode {
        Mode::Incremental if procedure.since.is_none() || procedure.first.is_none() => {
            let hint = r#"procedure = { since = "@since", first = "2020-01-01" }, or mode = "snapshot""#;
            problem("procedure", "an incremental stream tells the procedure from where on to read", hint);
        }
        Mode::Snapshot if procedure.since.is_some() => {
            problem("procedure.since", "a snapshot reads everything", "remove it");
        }
        _ => {}
    }
    problems
}
