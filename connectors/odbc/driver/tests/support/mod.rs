//! What the tests with real drivers share: where the drivers are, and configured sources.

#![allow(dead_code, reason = "each test binary uses its part")]

/// Debian's drivers, by their files: nothing has to be configured.
pub const SQLITE: &str = "/usr/lib/x86_64-linux-gnu/odbc/libsqlite3odbc.so";

/// The stream of the conformance suite.
pub const FETCH: &str =
    r#"from = "parent", key = ["key_no"], watermark = { column = "stamp", type = "timestamp", lag_secs = 60 }"#;

/// A source with the streams of the conformance suite. The settings are without the program.
pub fn source(settings: &str, fetch: &str) -> String {
    format!(
        r#"
        [[sources]]
        id = "s"
        connector = "odbc"
        [sources.settings]
        program = "{}"
        {settings}
        [[sources.streams]]
        id = "changes"
        mode = "incremental"
        fetch = {{ {fetch} }}
        children = [{{ name = "items", from = "child", key = ["key_no"], order_by = ["item"] }}]
        [[sources.streams]]
        id = "all"
        mode = "snapshot"
        fetch = {{ from = "parent", key = ["key_no"] }}
        children = [{{ name = "items", from = "child", key = ["key_no"] }}]
        "#,
        env!("CARGO_BIN_EXE_hisync-odbc")
    )
}

/// Sources with faults, and where each must be reported.
pub fn bad_settings() -> Vec<(String, &'static str)> {
    let with = |connection: &str| source(&format!("product = \"generic\"\nconnection = \"{connection}\""), FETCH);
    let watermark = |rest: &str| {
        source("product = \"generic\"\nconnection = \"DSN=x\"", &format!(r#"from = "p", key = ["k"], watermark = {{ {rest} }}"#))
    };
    vec![
        (with("Server=h"), "settings.connection"),
        (with("DSN=x;PWD=y"), "settings.connection"),
        (source("product = \"db2\"\nconnection = \"DSN=x\"", FETCH), "settings"),
        (source("product = \"dm\"\nconnection = \"DSN=x\"\nquery_timeout_secs = 0", FETCH), "settings.query_timeout_secs"),
        (watermark(r#"column = "c", type = "timestamp", lag = 1"#), "streams[0].fetch.watermark.lag"),
    ]
}
