//! The listener against senders that are not ours: curl, and Python's HTTP client.
//!
//! curl must be installed, and `HISYNC_PYTHON` must name a Python interpreter; the project's test
//! command `just test` sees to both.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use connector_api::Value;
use support::{Kept, Running, config};
use tokio::process::Command;

const BODY: &str = r#"{"TJBH":"0301170001","XM":"张三","JG":1.30}"#;

async fn output(program: impl AsRef<OsStr>, missing: &str, folder: &Path, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect(missing);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {:?} {errors}", output.status.code());
    String::from_utf8(output.stdout).unwrap()
}

/// Runs curl and answers the response's body with its status behind it.
async fn curl(folder: &Path, args: &[&str]) -> String {
    let args = [&["--silent", "--show-error", "--noproxy", "*", "--write-out", "%{http_code}"], args].concat();
    output("curl", "curl is not installed: run the project's test command `just test`", folder, &args).await
}

#[tokio::test]
async fn curl_sends_in_every_way_that_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("secret", b"s3cret");
    write("body", BODY.as_bytes());
    write("large", format!("{{\"text\":\"{}\"}}", "长".repeat(700_000)).as_bytes());
    write("report.pdf", b"%PDF-1.4\r\n--\xff");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(BODY.as_bytes()).unwrap();
    write("body.gz", &gzip.finish().unwrap());

    let intake = Kept::all();
    let settings = "auth = { type = \"basic\", user = \"his\", secret = { file = \"secret\" } }";
    let stream = "methods = [\"POST\", \"PUT\"]\ndocument_part = \"report\"\nanswer = { body = '{\"code\":0}' }";
    let running = Running::start_in(&config(settings, stream), folder.path(), intake.clone()).await;
    let url = format!("{}/reports", running.url);
    let typed = "Content-Type: application/json";
    let ways: [&[&str]; 7] = [
        &["-H", typed, "--data-binary", "@body"],
        &["-H", typed, "--upload-file", "body"],
        &["-H", typed, "-H", "Transfer-Encoding: chunked", "--data-binary", "@body"],
        &["-H", typed, "-H", "Expect: 100-continue", "--data-binary", "@body"],
        &["-H", typed, "-H", "Content-Encoding: gzip", "--data-binary", "@body.gz"],
        &["-F", "report=<body;type=application/json", "-F", "file=@report.pdf;type=application/pdf"],
        &["-H", typed, "--data-binary", "@large"],
    ];
    for way in ways {
        let answer = curl(folder.path(), &[way, &["--user", "his:s3cret", &url]].concat()).await;
        assert_eq!(answer, "{\"code\":0}200", "{way:?}");
    }
    let stranger = curl(folder.path(), &["--user", "his:wrong", "-H", typed, "--data-binary", "@large", &url]).await;
    assert_eq!(stranger, "no valid proof of identity\n401", "told, although the body was on its way");

    let records = intake.records();
    assert_eq!(records.len(), 7);
    for record in &records[..6] {
        let document = record.document.as_ref().unwrap();
        assert_eq!(document.root.get("XM"), Some(&Value::from("张三")));
        assert_eq!(document.root.get("JG"), Value::decimal("1.30").as_ref());
        assert_eq!(running.decoder.decode(&record.raw).as_ref(), Ok(document));
    }
    assert!(records[..5].iter().all(|record| &*record.raw.body == BODY.as_bytes()));
    let attachments = records[5].document.as_ref().unwrap().root.get("attachments").unwrap().as_list().unwrap();
    let attachment = attachments[0].as_map().unwrap();
    assert_eq!(attachment.get("file_name"), Some(&Value::from("report.pdf")));
    assert_eq!(attachment.get("media_type"), Some(&Value::from("application/pdf")));
    assert_eq!(attachment.get("bytes"), Some(&Value::Bytes(b"%PDF-1.4\r\n--\xff".to_vec())));
    running.stopped().await;
}

/// Sends with Python's own client: several requests on one connection, one of them chunked.
const SENDER: &str = r#"
import base64, hashlib, hmac, http.client, sys, urllib.error, urllib.request

address, secret = sys.argv[1], b"s3cret"

def headers(body):
    sign = base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()
    return {"Content-Type": "application/json; charset=GBK", "X-Signature": sign}

connection = http.client.HTTPConnection(address)
for number in range(20):
    body = ('{"no":%d,"XM":"王倈"}' % number).encode("gbk")
    if number % 2:
        connection.request("POST", "/reports", iter([body[:5], body[5:]]), headers(body), encode_chunked=True)
    else:
        connection.request("POST", "/reports", body, headers(body))
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())

request = urllib.request.Request("http://%s/reports" % address, b"{}", headers(b"{ }"))
try:
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request)
except urllib.error.HTTPError as error:
    print(error.code)
"#;

#[tokio::test]
async fn a_python_sender_is_answered_and_its_records_are_kept() {
    let python = std::env::var_os("HISYNC_PYTHON")
        .expect("HISYNC_PYTHON names no Python interpreter: run the project's test command `just test`");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "s3cret").unwrap();
    let intake = Kept::all();
    let settings = "auth = { type = \"hmac\", header = \"X-Signature\", encoding = \"base64\", \
                    secret = { file = \"secret\" } }";
    let config = config(settings, "answer = { body = 'ok' }");
    let running = Running::start_in(&config, folder.path(), intake.clone()).await;
    let said = output(python, "the interpreter can't be run", folder.path(), &["-c", SENDER, &running.address]).await;
    let said: Vec<&str> = said.lines().collect();
    assert_eq!(said[..20], ["200 ok"; 20]);
    assert_eq!(said[20..], ["401"]);
    let records = intake.records();
    assert_eq!(records.len(), 20);
    for record in &records {
        assert_eq!(record.document.as_ref().unwrap().root.get("XM"), Some(&Value::from("王倈")));
        assert_eq!(record.raw.charset.as_deref(), Some("gbk"));
    }
    running.stopped().await;
}

#[tokio::test]
async fn curl_sends_over_https_with_its_own_certificate_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    connector_testkit::certificates(folder.path());
    let intake = Kept::all();
    let settings = "tls = { certificate = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }";
    let running = Running::start_in(&config(settings, ""), folder.path(), intake.clone()).await;
    assert!(running.url.starts_with("https://127.0.0.1:"));
    let url = format!("{}/reports", running.url);
    let send = ["-H", "Content-Type: application/json", "-d", BODY, "--cacert", "ca.pem", &url];
    let own = ["--cert", "sender.pem", "--key", "sender.key"];
    assert_eq!(curl(folder.path(), &[&send[..], &own].concat()).await, "200");
    let refused =
        Command::new("curl").args(["--silent", "--noproxy", "*"]).args(send).current_dir(folder.path()).status();
    assert!(!refused.await.unwrap().success());
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn a_certificate_that_can_not_be_read_shows_when_the_port_is_opened() {
    use connector_api::{ConnectorKind as _, FaultClass, Flow};
    let text = config("tls = { certificate = \"none.pem\", key = \"none.key\" }", "");
    let spec = connector_testkit::source_spec::<connector_webhook::Webhook>(&text, Path::new("."));
    let connector = connector_webhook::Webhook::build(spec).unwrap_or_else(|problems| panic!("{problems:?}"));
    let Flow::Listen(mut listener) = connector.flow else { panic!("not a listener") };
    let error = listener.open().await.unwrap_err();
    assert_eq!(error.class, FaultClass::Tls);
    assert!(error.chain().starts_with("set up TLS with the file none.pem: "), "{}", error.chain());
}
