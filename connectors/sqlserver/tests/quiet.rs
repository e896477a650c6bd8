//! What is logged about a source: never a value, never the password, whatever the driver would say.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

mod support;

use connector_tds_testkit::FaultKind;
use connector_testkit::Log;
use support::{all, changes, server};

#[tokio::test]
async fn nothing_that_the_server_says_is_logged() {
    let log = Log::default();
    let kept = log.clone();
    let writer = move || kept.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the log works");
    let server = server();
    server.execute("CREATE TABLE t (id int, name nvarchar(20)); INSERT INTO t VALUES (1, 'PERSONAL');");
    let stream = r#"fetch = { from = "t", key = ["id"], watermark = { column = "id", type = "number", lag = 0 } }"#;
    let mut poller = changes(&server, "", stream);
    assert_eq!(all(&mut *poller).await.len(), 1);
    let message = "Conversion failed when converting the varchar value 'PERSONAL' to data type int.".to_owned();
    server.inject("FROM [t]", FaultKind::Error { number: 245, class: 16, message });
    poller.probe().await.unwrap_err();
    std::fs::write(server.folder().join("wrong"), "PERSONAL").unwrap();
    changes(&server, "password = { file = \"wrong\" }", stream).probe().await.unwrap_err();
    drop(guard);
    let lines = log.text();
    assert!(lines.contains("the log works"));
    for private in ["PERSONAL", "Login failed", "密码"] {
        assert!(!lines.contains(private), "{private} is in {lines}");
    }
}
