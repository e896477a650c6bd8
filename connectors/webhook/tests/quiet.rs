//! What is logged about requests: never their content, their sender's proof, or their path.

mod support;

use connector_api::Refusal;
use connector_testkit::Log;
use support::{Kept, Peer, Running, ask, config, json, request};

#[tokio::test]
async fn nothing_of_a_request_is_logged() {
    let log = Log::default();
    let kept = log.clone();
    let writer = move || kept.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "PERSONAL").unwrap();
    let intake = Kept::unless(|records| {
        let busy = records.iter().any(|record| record.raw.body.starts_with(b"{ "));
        busy.then(|| Refusal::Failed { reason: "disk".to_owned() })
    });
    let settings =
        "max_body_bytes = 1000\nauth = { type = \"token\", header = \"X-Token\", secret = { file = \"secret\" } }";
    let stream = "idempotency_header = \"X-Id\"\nunreadable = \"refuse\"";
    let running = Running::start_in(&config(settings, stream), folder.path(), intake).await;
    let proof = "X-Token: PERSONAL\r\nX-Id: PERSONAL\r\n";
    let cases = [
        (json(proof, "{\"PERSONAL\":1}"), 200),
        (json(proof, "{\"PERSONAL\":"), 422),
        (json(proof, "{ \"PERSONAL\":1}"), 500),
        (json(proof, &"PERSONAL".repeat(1000)), 413),
        (json("X-Token: PERSONAL2\r\n", "{}"), 401),
        (request("POST /PERSONAL?PERSONAL", proof, b"{}"), 404),
        (request("PERSONAL /reports", proof, b"{}"), 405),
        (request("POST /reports", &format!("{proof}Content-Type: text/PERSONAL\r\n"), b"{}"), 415),
    ];
    for (request, status) in &cases {
        assert_eq!(ask(&running, request).await.status, *status);
    }
    let mut peer = Peer::connect(&running).await;
    peer.send(b"PERSONAL\x01\r\n\r\n").await;
    peer.rest().await;
    std::fs::remove_file(folder.path().join("secret")).unwrap();
    assert_eq!(ask(&running, &cases[0].0).await.status, 503);
    running.stopped().await;
    drop(guard);

    let log = log.text();
    for word in
        ["422: can't be read: json-syntax", " 413: ", " 401: ", " 404: ", " 405: ", " 415: ", " 500: ", " 503: "]
    {
        assert!(log.contains(word), "{word} is not in\n{log}");
    }
    assert!(!log.contains("PERSONAL"), "{log}");
}
