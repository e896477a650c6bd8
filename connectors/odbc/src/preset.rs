//! What hisync knows of each database product, as data.
//!
//! PostgreSQL, MariaDB and SQLite are what the tests read through their drivers. The others were
//! written from their manuals and have never met their product here; the README says so.

use chrono::{Datelike, Timelike};
use connector_api::{SourceTime, Value};
use connector_sql::{Dialect, LimitClause, WatermarkType};
use serde::{Deserialize, Serialize};

use crate::wire::Param;

/// The products whose spelling is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Product {
    /// Oracle Database, 9i and later.
    Oracle,
    /// MySQL, by its own driver or MariaDB's.
    Mysql,
    /// MariaDB.
    Mariadb,
    /// PostgreSQL, and what is derived from it (KingbaseES, openGauss).
    Postgresql,
    /// 达梦 DM8.
    Dm,
    /// InterSystems IRIS.
    Iris,
    /// InterSystems Caché.
    Cache,
    /// Microsoft SQL Server through FreeTDS or Microsoft's driver. The connector `sqlserver` reads
    /// it without ODBC, and knows it better.
    Sqlserver,
    /// A SQLite file. The connector `sqlite` reads it without ODBC, and knows it better.
    Sqlite,
    /// Anything else that speaks standard SQL with `FETCH FIRST n ROWS ONLY`.
    Generic,
}

impl Product {
    /// What is known of it.
    pub fn preset(self) -> &'static Preset {
        match self {
            Product::Oracle => &ORACLE,
            Product::Mysql => &MYSQL,
            Product::Mariadb => &MARIADB,
            Product::Postgresql => &POSTGRESQL,
            Product::Dm => &DM,
            Product::Iris | Product::Cache => &IRIS,
            Product::Sqlserver => &SQLSERVER,
            Product::Sqlite => &SQLITE,
            Product::Generic => &GENERIC,
        }
    }
}

/// How the time to log in is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginTimeout {
    /// By the attribute that ODBC has for it.
    Attribute,
    /// By an option of the connection string, in seconds, because drivers ignore the attribute.
    Option(&'static str),
    /// By nothing but the agent's watch over the process.
    Watchdog,
}

/// What is known of one product and its drivers.
#[derive(Debug)]
pub struct Preset {
    /// What surrounds a name.
    pub quote: [&'static str; 2],
    /// How the number of rows is limited.
    pub limit: LimitClause,
    /// How many parameters one query may have.
    pub max_parameters: usize,
    /// A column in ORDER BY, `{column}`, so that nulls come first.
    pub nulls_first: &'static str,
    /// The words for blank that a watermark column may hold instead of null: (timestamp, text).
    pub blanks: [&'static [&'static str]; 2],
    /// Options that the connection string gets unless it has them.
    pub options: &'static [(&'static str, &'static str)],
    /// Variables of the process's environment, unless the settings have them.
    pub environment: &'static [(&'static str, &'static str)],
    /// How the time to log in is bounded.
    pub login_timeout: LoginTimeout,
    /// Run after connecting; `{secs}` and `{millis}` stand for the query timeout.
    pub session: &'static [&'static str],
    /// Sets the session's time zone, `{zone}`: in it arrive points in time whose column has no zone
    /// of its own (PostgreSQL's `timestamptz`, MySQL's TIMESTAMP).
    pub time_zone: Option<&'static str>,
    /// Begin a consistent read, after autocommit was left.
    pub begin: &'static [&'static str],
    /// The product's version.
    pub server: Option<&'static str>,
    /// The clock in UTC, as `2024-01-02 08:00:00`.
    pub now: Option<&'static str>,
    /// The same clock as the server's own wall shows it.
    pub now_local: Option<&'static str>,
    /// Names and kinds of tables and views; where absent the driver's own catalogue is asked.
    pub tables: Option<&'static str>,
    /// Queries that answer nothing but 中文, some of it made by the server, the parameters bound.
    pub text_check: Option<&'static str>,
    /// The same for 𠮷, which not every database can hold.
    pub rare_check: Option<&'static str>,
    /// What to do where Chinese text does not arrive.
    pub text_cure: &'static str,
    /// Values of the connection string stand in braces wherever the standard asks for it; else only where they hold
    /// what would end them. FreeTDS takes the braces for a part of the value.
    pub braces: bool,
    /// The driver takes 64-bit integers; else they are bound as decimals.
    pub big_integers: bool,
    /// Floats are fetched as such; else the driver's text for them is taken.
    pub binary_floats: bool,
    /// Dates and times are kept as text, and bound as text.
    pub times_are_text: bool,
    /// Dates and times are bound as text in ISO 8601, which the server reads as the column's own type. SQL Server
    /// compares a `datetime` with a finer parameter at 300ths of a second: `.007` is not the tick `.0066667`, and rows
    /// at a page's border would be skipped or read twice.
    pub times_as_iso_text: bool,
    /// A column may hold other values than its declared type says.
    pub types_are_hints: bool,
}

const STANDARD: Preset = Preset {
    quote: ["\"", "\""],
    limit: LimitClause::FetchFirst,
    max_parameters: 500,
    nulls_first: "{column}",
    blanks: [&[], &["''"]],
    options: &[],
    environment: &[],
    login_timeout: LoginTimeout::Attribute,
    session: &[],
    time_zone: None,
    begin: &[],
    server: None,
    now: None,
    now_local: None,
    tables: None,
    text_check: None,
    rare_check: None,
    text_cure: "set the driver's client character set to UTF-8 in the connection string",
    braces: true,
    big_integers: true,
    binary_floats: false,
    times_are_text: false,
    times_as_iso_text: false,
    types_are_hints: false,
};

/// Standard SQL.
pub(crate) static GENERIC: Preset = Preset {
    // Where nulls come is each product's choice; NULLS FIRST is not known to all.
    nulls_first: "CASE WHEN {column} IS NULL THEN 0 ELSE 1 END, {column}",
    ..STANDARD
};

/// PostgreSQL through psqlodbc.
pub(crate) static POSTGRESQL: Preset = Preset {
    limit: LimitClause::Limit,
    max_parameters: 2000,
    nulls_first: "{column} NULLS FIRST",
    options: &[
        // Without it the driver holds a whole result in memory.
        ("UseDeclareFetch", "1"),
        ("Fetch", "500"),
        // A truth value as a truth value, bytes as bytes.
        ("BoolsAsChar", "0"),
        ("ByteaAsLongVarBinary", "1"),
        ("ConnSettings", "SET client_encoding TO 'UTF8'"),
    ],
    session: &[
        "SET statement_timeout = {millis}",
        "SET extra_float_digits = 3",
        // A database that declares no character set holds anything; asked for UTF-8, the server
        // would refuse a whole result for one row in GBK. Its bytes are judged here, row by row.
        "SELECT SET_CONFIG('client_encoding', 'SQL_ASCII', false) WHERE CURRENT_SETTING('server_encoding') = 'SQL_ASCII'",
    ],
    time_zone: Some("SET TIME ZONE '{zone}'"),
    begin: &["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"],
    server: Some("SHOW server_version"),
    now: Some("SELECT TO_CHAR(CLOCK_TIMESTAMP() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')"),
    now_local: Some("SELECT TO_CHAR(CLOCK_TIMESTAMP(), 'YYYY-MM-DD HH24:MI:SS')"),
    tables: Some(
        "SELECT CASE WHEN table_schema = CURRENT_SCHEMA() THEN table_name::text \
         ELSE table_schema || '.' || table_name END, \
         CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END FROM information_schema.tables \
         WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1",
    ),
    text_check: Some("SELECT CONVERT_FROM(DECODE('e4b8ade69687', 'hex'), 'UTF8'), CAST(? AS VARCHAR(20))"),
    rare_check: Some("SELECT CONVERT_FROM(DECODE('f0a0aeb7', 'hex'), 'UTF8'), CAST(? AS VARCHAR(20))"),
    text_cure: "use the driver \"PostgreSQL Unicode\" (psqlodbcw), and keep ConnSettings=SET client_encoding TO 'UTF8'",
    ..STANDARD
};

/// MariaDB through MariaDB Connector/ODBC.
pub(crate) static MARIADB: Preset = Preset {
    quote: ["`", "`"],
    limit: LimitClause::Limit,
    max_parameters: 2000,
    blanks: [&["'0000-00-00'"], &["''"]],
    options: &[("CHARSET", "utf8mb4")],
    login_timeout: LoginTimeout::Option("CONN_TIMEOUT"),
    session: &[
        // A server's own modes change what is read: PAD_CHAR_TO_FULL_LENGTH, EMPTY_STRING_IS_NULL,
        // ORACLE. What other sessions see does not change.
        "SET SESSION sql_mode = ''",
        "SET SESSION max_statement_time = {secs}",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ],
    time_zone: Some("SET SESSION time_zone = '{zone}'"),
    begin: &["START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"],
    server: Some("SELECT VERSION()"),
    now: Some("SELECT DATE_FORMAT(UTC_TIMESTAMP(), '%Y-%m-%d %H:%i:%s')"),
    now_local: Some("SELECT DATE_FORMAT(NOW(), '%Y-%m-%d %H:%i:%s')"),
    tables: Some(
        "SELECT table_name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END \
         FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1",
    ),
    text_check: Some("SELECT CONVERT(0xE4B8ADE69687 USING utf8mb4), CAST(? AS CHAR(20))"),
    rare_check: Some("SELECT CONVERT(0xF0A0AEB7 USING utf8mb4), CAST(? AS CHAR(20))"),
    text_cure: "set CHARSET=utf8mb4 in the connection string, whatever the tables' character set",
    binary_floats: true,
    ..STANDARD
};

/// MySQL through Connector/ODBC.
pub(crate) static MYSQL: Preset = Preset {
    options: &[("CHARSET", "utf8mb4"), ("NO_CACHE", "1"), ("FORWARD_CURSOR", "1")],
    session: &[
        "SET SESSION sql_mode = ''",
        "SET SESSION max_execution_time = {millis}",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ],
    ..MARIADB
};

/// SQLite through SQLite3ODBC.
pub(crate) static SQLITE: Preset = Preset {
    quote: ["[", "]"],
    limit: LimitClause::Limit,
    max_parameters: 999,
    blanks: [&["''"], &["''"]],
    options: &[
        // Without it the driver holds a whole result in memory.
        ("StepAPI", "1"),
        ("BigInt", "1"),
        ("NoCreat", "1"),
        ("LongNames", "0"),
        ("Timeout", "5000"),
    ],
    login_timeout: LoginTimeout::Watchdog,
    session: &["PRAGMA query_only = 1"],
    server: Some("SELECT sqlite_version()"),
    now: Some("SELECT strftime('%Y-%m-%d %H:%M:%S', 'now')"),
    // The driver reads a file here: this machine's zone is not the rows'.
    now_local: None,
    tables: Some(
        "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') \
         AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name",
    ),
    text_check: Some("SELECT char(20013, 25991), ?"),
    rare_check: Some("SELECT char(134071), ?"),
    times_are_text: true,
    types_are_hints: true,
    ..STANDARD
};

/// Oracle through its Instant Client's driver.
pub(crate) static ORACLE: Preset = Preset {
    limit: LimitClause::RowNum,
    max_parameters: 1000,
    nulls_first: "{column} NULLS FIRST",
    // Empty text is null there, and a comparison with it is never true.
    blanks: [&[], &[]],
    environment: &[("NLS_LANG", "AMERICAN_AMERICA.AL32UTF8")],
    login_timeout: LoginTimeout::Watchdog,
    session: &["ALTER SESSION SET NLS_NUMERIC_CHARACTERS = '. '"],
    time_zone: Some("ALTER SESSION SET TIME_ZONE = '{zone}'"),
    begin: &["SET TRANSACTION READ ONLY"],
    server: Some("SELECT BANNER FROM V$VERSION WHERE ROWNUM <= 1"),
    now: Some("SELECT TO_CHAR(SYS_EXTRACT_UTC(SYSTIMESTAMP), 'YYYY-MM-DD HH24:MI:SS') FROM DUAL"),
    now_local: Some("SELECT TO_CHAR(SYSDATE, 'YYYY-MM-DD HH24:MI:SS') FROM DUAL"),
    tables: Some(
        "SELECT OBJECT_NAME, LOWER(OBJECT_TYPE) FROM USER_OBJECTS WHERE OBJECT_TYPE IN ('TABLE', 'VIEW') \
         UNION ALL SELECT OWNER || '.' || OBJECT_NAME, LOWER(OBJECT_TYPE) FROM ALL_OBJECTS \
         WHERE OBJECT_TYPE IN ('TABLE', 'VIEW') AND OWNER <> USER \
         AND OWNER NOT IN ('SYS', 'SYSTEM', 'XDB', 'MDSYS', 'CTXSYS', 'WMSYS', 'ORDSYS', 'OLAPSYS') ORDER BY 1",
    ),
    text_check: Some(r"SELECT UNISTR('\4E2D\6587'), CAST(? AS VARCHAR2(40)) FROM DUAL"),
    rare_check: Some(r"SELECT UNISTR('\D842\DFB7'), CAST(? AS VARCHAR2(40)) FROM DUAL"),
    text_cure: "environment.NLS_LANG must end in .AL32UTF8; a US7ASCII database with GBK inside needs a view over \
                UTL_RAW.CAST_TO_RAW",
    big_integers: false,
    ..STANDARD
};

/// 达梦 DM8 through its own driver.
pub(crate) static DM: Preset = Preset {
    limit: LimitClause::Limit,
    max_parameters: 1000,
    nulls_first: "{column} NULLS FIRST",
    begin: &["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    server: Some("SELECT BANNER FROM V$VERSION WHERE ROWNUM <= 1"),
    now: Some("SELECT TO_CHAR(GETUTCDATE(), 'YYYY-MM-DD HH24:MI:SS')"),
    now_local: Some("SELECT TO_CHAR(SYSDATE, 'YYYY-MM-DD HH24:MI:SS')"),
    text_check: Some("SELECT CAST(? AS VARCHAR(40))"),
    rare_check: Some("SELECT CAST(? AS VARCHAR(40))"),
    text_cure: "set CHAR_CODE=(PG_UTF8) in dm_svc.conf: the driver converts from the database's GB18030",
    ..STANDARD
};

/// InterSystems IRIS and Caché.
pub(crate) static IRIS: Preset = Preset {
    limit: LimitClause::Top,
    max_parameters: 300,
    options: &[("Query Timeout", "1")],
    server: Some("SELECT $ZVERSION"),
    now: Some("SELECT TO_CHAR(GETUTCDATE(), 'YYYY-MM-DD HH24:MI:SS')"),
    now_local: Some("SELECT TO_CHAR(GETDATE(), 'YYYY-MM-DD HH24:MI:SS')"),
    text_check: Some("SELECT CAST(? AS VARCHAR(40))"),
    rare_check: Some("SELECT CAST(? AS VARCHAR(40))"),
    text_cure: "use the Unicode build of the driver for unixODBC (libirisodbcu35.so, libcacheodbcu35.so)",
    ..STANDARD
};

/// SQL Server through FreeTDS or Microsoft's driver.
pub(crate) static SQLSERVER: Preset = Preset {
    quote: ["[", "]"],
    limit: LimitClause::Top,
    max_parameters: 2000,
    options: &[("ClientCharset", "UTF-8"), ("TDS_Version", "7.4")],
    server: Some("SELECT CAST(SERVERPROPERTY('ProductVersion') AS VARCHAR(40))"),
    now: Some("SELECT CONVERT(VARCHAR(19), GETUTCDATE(), 120)"),
    now_local: Some("SELECT CONVERT(VARCHAR(19), GETDATE(), 120)"),
    times_as_iso_text: true,
    tables: Some(
        "SELECT CASE WHEN TABLE_SCHEMA = SCHEMA_NAME() THEN TABLE_NAME ELSE TABLE_SCHEMA + '.' + TABLE_NAME END, \
         CASE TABLE_TYPE WHEN 'VIEW' THEN 'view' ELSE 'table' END FROM INFORMATION_SCHEMA.TABLES ORDER BY 1",
    ),
    text_check: Some("SELECT NCHAR(20013) + NCHAR(25991), CAST(? AS NVARCHAR(20))"),
    rare_check: Some("SELECT NCHAR(55362) + NCHAR(57271), CAST(? AS NVARCHAR(20))"),
    text_cure: "FreeTDS needs ClientCharset=UTF-8 in the connection string; without it every Chinese character is `?`",
    braces: false,
    binary_floats: true,
    ..STANDARD
};

impl Dialect for Preset {
    fn quote(&self, name: &str) -> String {
        format!("{}{name}{}", self.quote[0], self.quote[1])
    }

    fn limit_clause(&self) -> LimitClause {
        self.limit
    }

    fn max_parameters(&self) -> usize {
        self.max_parameters
    }

    fn ascending(&self, quoted: &str) -> String {
        self.nulls_first.replace("{column}", quoted)
    }

    fn asks_for_types(&self) -> bool {
        !self.types_are_hints
    }

    /// Elsewhere '' compared with a time or a number is an error, or is compared with zero.
    fn blank_text(&self, _: &str, _: &str) -> bool {
        self.types_are_hints
    }

    fn blank_literals(&self, kind: WatermarkType) -> &'static [&'static str] {
        match kind {
            WatermarkType::Timestamp => self.blanks[0],
            WatermarkType::Text => self.blanks[1],
            WatermarkType::Number | WatermarkType::Rowversion => &[],
        }
    }
}

impl Preset {
    /// What a session is told after connecting.
    pub fn session(&self, query_timeout_secs: u32, time_zone: Option<&str>) -> Vec<String> {
        let millis = u64::from(query_timeout_secs) * 1000;
        let timed = |sql: &&str| {
            sql.replace("{secs}", &query_timeout_secs.to_string()).replace("{millis}", &millis.to_string())
        };
        let zone = self.time_zone.zip(time_zone).map(|(sql, zone)| sql.replace("{zone}", zone));
        self.session.iter().map(timed).chain(zone).collect()
    }

    /// How a value is bound.
    pub fn param(&self, value: &Value) -> Param {
        let nanos = |time: &chrono::NaiveDateTime| time.nanosecond().min(999_999_999);
        match value {
            Value::Null | Value::List(_) | Value::Map(_) => Param::Null,
            Value::Text(text) => Param::Text(text.clone()),
            Value::Integer(number) => self.integer(*number),
            Value::Bool(truth) => self.integer((*truth).into()),
            Value::Decimal(decimal) => Param::Decimal(decimal.as_str().to_owned()),
            Value::Bytes(bytes) => Param::Bytes(bytes.clone()),
            Value::Time(time) if self.times_as_iso_text => Param::Text(iso(time)),
            Value::Time(SourceTime::Local(time)) if !self.times_are_text => match part(time.year()) {
                Some(year) => {
                    let parts = [time.month(), time.day(), time.hour(), time.minute(), time.second()];
                    Param::Timestamp(year, parts.map(|part| part as u16), nanos(time))
                }
                None => Param::Text(time.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
            },
            Value::Time(SourceTime::Date(date)) if !self.times_are_text => match part(date.year()) {
                Some(year) => Param::Date(year, date.month() as u16, date.day() as u16),
                None => Param::Text(date.to_string()),
            },
            Value::Time(SourceTime::Local(time)) => Param::Text(time.format("%Y-%m-%d %H:%M:%S%.f").to_string()),
            // ODBC's timestamp has no offset; the products that store one read it from text.
            Value::Time(SourceTime::Offset(time)) => Param::Text(time.format("%Y-%m-%d %H:%M:%S%.f%:z").to_string()),
            Value::Time(SourceTime::Date(date)) => Param::Text(date.to_string()),
        }
    }

    fn integer(&self, number: i64) -> Param {
        if self.big_integers { Param::Integer(number) } else { Param::Decimal(number.to_string()) }
    }
}

/// A form that SQL Server reads alike in every language setting, with no digit that the column has
/// not: more of them are an error there.
fn iso(time: &SourceTime) -> String {
    let text = |time: &chrono::NaiveDateTime| {
        let ticks = format!("{:07}", time.nanosecond().min(999_999_999) / 100);
        let fraction = ticks.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{}{dot}{fraction}", time.format("%Y-%m-%dT%H:%M:%S"))
    };
    match time {
        SourceTime::Date(date) => date.format("%Y%m%d").to_string(),
        SourceTime::Local(time) => text(time),
        SourceTime::Offset(time) => format!("{}{}", text(&time.naive_local()), time.format("%:z")),
    }
}

fn part(year: i32) -> Option<i16> {
    i16::try_from(year).ok()
}

#[cfg(test)]
mod tests;
