//! Who may send: tokens, passwords, keyed hashes, and what is told to those without.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use support::{Kept, Running, ask, config, json, request};

const BODY: &str = r#"{"no":"1"}"#;

fn folder(secret: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), format!("{secret}\n")).unwrap();
    folder
}

fn auth(text: &str) -> String {
    config(&format!("auth = {{ {text}, secret = {{ file = \"secret\" }} }}"), "")
}

async fn check(text: &str, cases: &[(&str, u16)]) {
    let folder = folder("s3cret: 秘密");
    let intake = Kept::all();
    let running = Running::start_in(&auth(text), folder.path(), intake.clone()).await;
    let mut good = 0;
    for (headers, status) in cases {
        let answer = ask(&running, &json(headers, BODY)).await;
        assert_eq!(answer.status, *status, "{headers}");
        assert_eq!(answer.header("www-authenticate").is_some(), *status == 401);
        good += usize::from(*status == 200);
    }
    assert_eq!(intake.records().len(), good);
    running.stopped().await;
}

#[tokio::test]
async fn a_token() {
    let cases = [
        ("", 401),
        ("X-Token: \r\n", 401),
        ("X-Token: s3cret: \r\n", 401),
        ("X-Token: s3cret: 秘密2\r\n", 401),
        ("Authorization: Bearer s3cret: 秘密\r\n", 401),
        ("X-Token: s3cret: 秘密\r\nX-Token: other\r\n", 401),
        ("x-token: s3cret: 秘密\r\n", 200),
    ];
    check("type = \"token\", header = \"X-Token\"", &cases).await;
    let cases = [
        ("Authorization: s3cret: 秘密\r\n", 401),
        ("Authorization: Basic s3cret: 秘密\r\n", 401),
        ("Authorization: bearer s3cret: 秘密\r\n", 200),
    ];
    check("type = \"token\"", &cases).await;
}

#[tokio::test]
async fn a_user_with_a_password() {
    let basic = |pair: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(pair));
    let cases = [
        (basic("his:s3cret: 秘密"), 200),
        (basic("his:s3cret"), 401),
        (basic("other:s3cret: 秘密"), 401),
        (basic("s3cret: 秘密"), 401),
        ("Authorization: Basic his:s3cret: 秘密\r\n".to_owned(), 401),
    ];
    let cases: Vec<(&str, u16)> = cases.iter().map(|(headers, status)| (headers.as_str(), *status)).collect();
    check("type = \"basic\", user = \"his\"", &cases).await;
}

fn hash(key: &str, body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body);
    mac.finalize().into_bytes().to_vec()
}

#[tokio::test]
async fn a_keyed_hash_over_the_body() {
    let right = hex::encode(hash("s3cret: 秘密", BODY.as_bytes()));
    let cases = [
        (format!("X-Sign: sha256={right}\r\n"), 200),
        (format!("X-Sign: SHA256={}\r\n", right.to_uppercase()), 200),
        (format!("X-Sign: {right}\r\n"), 401),
        (format!("X-Sign: sha256={}\r\n", &right[2..]), 401),
        (format!("X-Sign: sha256={}\r\n", hex::encode(hash("other", BODY.as_bytes()))), 401),
        (String::new(), 401),
    ];
    let cases: Vec<(&str, u16)> = cases.iter().map(|(headers, status)| (headers.as_str(), *status)).collect();
    check("type = \"hmac\", header = \"X-Sign\", prefix = \"sha256=\"", &cases).await;
    let base64 = format!("X-Sign: {}\r\n", STANDARD.encode(hash("s3cret: 秘密", BODY.as_bytes())));
    check("type = \"hmac\", header = \"X-Sign\", encoding = \"base64\"", &[(&base64, 200)]).await;
}

#[tokio::test]
async fn without_a_proof_nothing_is_kept_of_a_body_that_is_too_long() {
    for (text, header, status) in [
        ("type = \"token\", header = \"X-Token\"", "", 401),
        // A hash over a body that is not read to its end proves nothing.
        ("type = \"hmac\", header = \"X-Sign\"", "X-Sign: 00\r\n", 413),
    ] {
        let folder = folder("s3cret");
        let intake = Kept::all();
        let config = auth(text).replace("\"127.0.0.1:0\"", "\"127.0.0.1:0\"\nmax_body_bytes = 100");
        let running = Running::start_in(&config, folder.path(), intake.clone()).await;
        assert_eq!(ask(&running, &json(header, &"1".repeat(1000))).await.status, status);
        assert_eq!(intake.calls().len(), 0);
        running.stopped().await;
    }
}

#[tokio::test]
async fn paths_are_not_told_to_strangers() {
    let folder = folder("s3cret");
    let config = auth("type = \"token\", header = \"X-Token\"");
    let running = Running::start_in(&config, folder.path(), Kept::all()).await;
    assert_eq!(ask(&running, &request("POST /nowhere", "", b"")).await.status, 401);
    assert_eq!(ask(&running, &request("POST /nowhere", "X-Token: s3cret\r\n", b"")).await.status, 404);
    running.stopped().await;
}

#[tokio::test]
async fn a_new_secret_takes_effect_at_the_next_request() {
    let folder = folder("old");
    let file = folder.path().join("secret");
    let config = auth("type = \"token\", header = \"X-Token\"");
    let running = Running::start_in(&config, folder.path(), Kept::all()).await;
    let old = json("X-Token: old\r\n", BODY);
    assert_eq!(ask(&running, &old).await.status, 200);
    std::fs::write(&file, "new").unwrap();
    assert_eq!(ask(&running, &old).await.status, 401);
    assert_eq!(ask(&running, &json("X-Token: new\r\n", BODY)).await.status, 200);
    std::fs::remove_file(&file).unwrap();
    let answer = ask(&running, &old).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("30")), "not the sender's fault");
    running.stopped().await;
}

#[tokio::test]
async fn a_secret_that_is_missing_shows_when_the_port_is_opened() {
    use connector_api::{ConnectorKind as _, Flow};
    let spec = connector_testkit::source_spec::<connector_webhook::Webhook>(&auth("type = \"token\""), Path::new("no"));
    let connector = connector_webhook::Webhook::build(spec).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Flow::Listen(mut listener) = connector.flow else { panic!("not a listener") };
    let error = listener.open().await.unwrap_err().chain();
    assert!(error.starts_with("read the secret that senders must know: "), "{error}");
}
