//! The listener against senders that are not ours: the MLLP client of the Python package `hl7`, the
//! package `node-hl7-client` of Node.js, and `openssl s_client`.
//!
//! `HISYNC_PYTHON` names a Python interpreter, `HISYNC_NODE_PEERS` the folder where the package of
//! Node.js is installed; the project's test command sets both up and names them.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::path::Path;
use std::process::Stdio;

use support::{Kept, Running, config, message};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// Sends messages as text and as GBK bytes over one connection, and reads each answer with the
/// package's own parser.
const SENDER: &str = r#"
import sys
import hl7
from hl7.client import MLLPClient

host, port = sys.argv[1].rsplit(":", 1)

def message(control_id, name, charset):
    return "\r".join([
        f"MSH|^~\\&|LIS|HOSP|HISYNC|EXAM|20261122080000||ORU^R01|{control_id}|P|2.4||||||{charset}",
        f"PID|1||T0001^^^LIS||{name}",
        "OBR|1|R1||LP01^血脂^L",
        "OBX|1|NM|TG^甘油三酯^L||1.30|mmol/L|0.45-1.70|N|||F",
    ]) + "\r"

def verdict(answer):
    assert answer[:1] == b"\x0b" and answer[-2:] == b"\x1c\r", answer
    parsed = hl7.parse(answer[1:-2].decode("utf-8"))
    assert str(parsed.segment("MSH")[9]) == "ACK^R01^ACK", answer
    return f"{parsed.segment('MSA')[1]} {parsed.segment('MSA')[2]}"

with MLLPClient(host, int(port)) as client:
    for control_id in range(1, 21):
        print(verdict(client.send_message(hl7.parse(message(control_id, "张三", "UNICODE UTF-8")))))
    print(verdict(client.send_message(message("gbk", "王倈", "GBK").encode("gbk"))))
    print(verdict(client.send_message(message("gbk", "王倈", "GBK").encode("gbk"))))
"#;

#[tokio::test]
async fn a_python_sender_is_answered_and_its_messages_are_kept() {
    let python = std::env::var_os("HISYNC_PYTHON").expect(
        "HISYNC_PYTHON names no Python interpreter with the package hl7: run the project's test command `just test`",
    );
    let intake = Kept::all();
    let running = Running::start(&config(""), intake.clone()).await;
    let output = Command::new(python)
        .args(["-c", SENDER, &running.address])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let verdicts = String::from_utf8(output.stdout).unwrap();
    let expected: Vec<String> =
        (1..=20).map(|id| format!("AA {id}")).chain(["AA gbk".into(), "AA gbk".into()]).collect();
    assert_eq!(verdicts.lines().collect::<Vec<_>>(), expected);

    let names: Vec<_> = intake
        .records()
        .iter()
        .map(|record| record.document.as_ref().unwrap().root.get("PID").unwrap().as_list().unwrap()[5].clone())
        .collect();
    assert_eq!(names.len(), 21, "the last one was sent twice");
    assert!(names[..20].iter().all(|name| name.as_text() == Some("张三")));
    assert_eq!(names[20].as_text(), Some("王倈"));
    running.stopped().await;
}

/// Sends one message, plain or with a certificate of its own, and prints the answer's codes.
const NODE_SENDER: &str = r#"
const { Client, Message } = require("node-hl7-client");
const fs = require("fs");
const [address, id, certificate] = process.argv.slice(1);
const [host, port] = address.split(":");
const tls = certificate && {
  ca: fs.readFileSync("ca.pem"),
  cert: fs.readFileSync(certificate + ".pem"),
  key: fs.readFileSync(certificate + ".key"),
};
const client = new Client(tls ? { host, tls } : { host });
const connection = client.createConnection({ port: Number(port), maxConnectionAttempts: 1 }, async (answer) => {
  const message = answer.getMessage();
  console.log(message.get("MSA.1").toString(), message.get("MSA.2").toString());
  await connection.close();
  process.exit(0);
});
connection.on("error", () => process.exit(7));
const text = [
  "MSH|^~\\&|LIS|HOSP|HISYNC|EXAM|20261122080000||ORU^R01^ORU_R01|" + id + "|P|2.5||||||UNICODE UTF-8",
  "PID|1||T1||张三", "OBR|1", "OBX|1|NM|TG||1.30|mmol/L|||||F",
].join("\r");
connection.sendMessage(new Message({ text })).catch(() => process.exit(7));
"#;

/// The answer that Node.js got, if any.
async fn node(folder: &Path, args: &[&str]) -> Option<String> {
    let peers = std::env::var_os("HISYNC_NODE_PEERS")
        .expect("HISYNC_NODE_PEERS names no folder with node-hl7-client: run the project's test command `just test`");
    let output = Command::new("node")
        .args(["-e", NODE_SENDER])
        .args(args)
        .env("NODE_PATH", Path::new(&peers).join("node_modules"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        Some(7) => None,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[tokio::test]
async fn a_node_sender_is_answered_with_and_without_encryption() {
    let folder = tempfile::tempdir().unwrap();
    connector_testkit::certificates(folder.path());
    let tls = "tls = { certificate = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\", \
               client_names = [\"his.example\"] }";
    for (settings, certificate) in [("", &[][..]), (tls, &["sender"][..])] {
        let intake = Kept::all();
        let running = Running::start_in(&config(settings), folder.path(), intake.clone()).await;
        let args = [&[running.address.as_str(), "n1"], certificate].concat();
        assert_eq!(node(folder.path(), &args).await.as_deref(), Some("AA n1"));
        let records = intake.records();
        let pid = records[0].document.as_ref().unwrap().root.get("PID").unwrap().as_list().unwrap();
        assert_eq!(pid[5].as_text(), Some("张三"));
        running.stopped().await;
    }
}

/// What `openssl s_client` got for one message, with a certificate or without.
async fn openssl(folder: &Path, address: &str, certificate: Option<&str>) -> Vec<u8> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error", "-CAfile", "ca.pem", "-connect", address]);
    if let Some(name) = certificate {
        command.args(["-cert", &format!("{name}.pem"), "-key", &format!("{name}.key")]);
    }
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("openssl is not installed: run the project's test command `just test`");
    let mut input = child.stdin.take().unwrap();
    // The listener may have hung up already.
    let _ = input.write_all(&message("s1")).await;
    let mut answer = Vec::new();
    let mut output = child.stdout.take().unwrap();
    while !answer.ends_with(b"\x1c\r") && output.read_buf(&mut answer).await.unwrap() > 0 {}
    answer
}

#[tokio::test]
async fn only_senders_with_a_certificate_of_the_authority_and_a_known_name_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    connector_testkit::certificates(folder.path());
    let tls = |rest: &str| config(&format!("tls = {{ certificate = \"server.pem\", key = \"server.key\"{rest} }}"));
    let names = ", client_ca = \"ca.pem\", client_names = [\"his.example\"]";
    for (settings, certificate, welcome) in [
        ("", None, true),
        (", client_ca = \"ca.pem\"", Some("other"), true),
        (", client_ca = \"ca.pem\"", None, false),
        (", client_ca = \"ca.pem\"", Some("stranger"), false),
        (names, Some("sender"), true),
        (names, Some("other"), false),
    ] {
        let intake = Kept::all();
        let running = Running::start_in(&tls(settings), folder.path(), intake.clone()).await;
        let answer = String::from_utf8(openssl(folder.path(), &running.address, certificate).await).unwrap();
        assert_eq!(answer.contains("\rMSA|AA|s1\r"), welcome, "{settings} {certificate:?}: {answer:?}");
        assert_eq!(intake.records().len(), usize::from(welcome), "{settings} {certificate:?}");
        running.stopped().await;
    }
}
