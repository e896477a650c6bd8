//! What the tests share: a server, and sources of it.

#![allow(dead_code, reason = "each test binary uses its part")]

use connector_api::{Poller, SourceError, Watermark};
use connector_sqlserver::SqlServer;
use connector_tds_testkit::{Encryption, Options, TdsServer};
use connector_testkit::conformance::{poller, scan_changes};

/// A server without encryption, whose password stands in the file `password` of its folder.
pub(crate) fn server() -> TdsServer {
    server_of(Options { encryption: Encryption::NotSupported, ..Options::default() })
}

pub(crate) fn server_of(options: Options) -> TdsServer {
    let password = options.password.clone();
    let server = TdsServer::start(options);
    std::fs::write(server.folder().join("password"), password).unwrap();
    server
}

/// The settings' lines that reach a server, with what is to be added.
pub(crate) fn settings(port: u16, more: &str) -> String {
    let own = |key: &str, value: &str| if more.contains(key) { String::new() } else { format!("{key} = {value}\n") };
    let host = own("host", r#""127.0.0.1""#) + &own("encryption", r#""off""#) + &own("database", r#""tj""#);
    let login = own("user", r#""hisync""#) + &own("password", r#"{ file = "password" }"#);
    let port =
        if more.contains("instance") || more.contains("port =") { String::new() } else { format!("port = {port}\n") };
    format!("{host}{login}{port}{more}\n")
}

/// A source with one stream `s`.
pub(crate) fn source(server: &TdsServer, more: &str, mode: &str, stream: &str) -> String {
    let settings = settings(server.port(), more);
    format!(
        "[[sources]]\nid = \"s\"\nconnector = \"sqlserver\"\n[sources.settings]\n{settings}\n[[sources.streams]]\nid = \
         \"s\"\nmode = \"{mode}\"\n{stream}\n"
    )
}

pub(crate) fn changes(server: &TdsServer, more: &str, stream: &str) -> Box<dyn Poller> {
    poller::<SqlServer>(&source(server, more, "incremental", stream), server.folder(), "s")
}

pub(crate) fn snapshot(server: &TdsServer, more: &str, stream: &str) -> Box<dyn Poller> {
    poller::<SqlServer>(&source(server, more, "snapshot", stream), server.folder(), "s")
}

/// Every record of a scan from the beginning, as archived JSON.
pub(crate) async fn all(poller: &mut dyn Poller) -> Vec<serde_json::Value> {
    let records = scan_changes(poller, &mut Watermark::start(), 100).await;
    records.iter().map(|record| serde_json::from_slice(&record.raw.body).unwrap()).collect()
}

/// The failure of a probe.
pub(crate) async fn refused(poller: &mut dyn Poller) -> SourceError {
    poller.probe().await.expect_err("a probe that fails")
}
