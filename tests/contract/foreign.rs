//! Our signatures, verified by the published Standard Webhooks library for Python.

use std::io::Write;
use std::process::{Command, Stdio};

use hisync::delivery::Compression;

use crate::misbehaving::{RawServer, http};
use crate::support::{Agent, SECRET};

/// Reads `{"secret", "headers", "body"}` and verifies; prints how many events it parsed.
const SCRIPT: &str = r#"
import json, sys
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
given = json.load(sys.stdin)
events = Webhook(given["secret"]).verify(given["body"], given["headers"])
try:
    Webhook(given["secret"]).verify(given["body"] + " ", given["headers"])
    sys.exit("a changed body verified as well")
except WebhookVerificationError:
    print(len(events))
"#;

fn verify(headers: &serde_json::Value, body: &str) -> String {
    let python = std::env::var("HISYNC_PYTHON")
        .expect("HISYNC_PYTHON must name a Python with standardwebhooks==1.1.0; the project's test command sets it up");
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start Python");
    let given = serde_json::json!({ "secret": SECRET, "headers": headers, "body": body });
    child.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn an_existing_library_verifies_what_we_sign() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let server = RawServer::start(|_, _| http(204, "", "")).await;
        let mut agent = Agent::new(&server.url);
        agent.settings.compression = compression;
        agent.commit(&["A", "B", "C"]).await;
        agent.start();
        agent.settled(3).await;
        let wire = server.requests.lock().unwrap()[0].clone();
        let body = match wire.header("content-encoding").as_deref() {
            None => wire.body.clone(),
            Some("gzip") => std::io::read_to_string(flate2::read::GzDecoder::new(&wire.body[..])).unwrap().into(),
            Some("zstd") => zstd::stream::decode_all(&wire.body[..]).unwrap(),
            Some(other) => panic!("{other}"),
        };
        let header = |name| wire.header(name).unwrap();
        let headers = serde_json::json!({
            "webhook-id": header("webhook-id"),
            "webhook-timestamp": header("webhook-timestamp"),
            "webhook-signature": header("webhook-signature"),
        });
        assert_eq!(verify(&headers, &String::from_utf8(body).unwrap()), "3", "{compression:?}");
    }
}
