//! The listener against a sender that is not ours: the MLLP client of the Python package `hl7`.
//!
//! `HISYNC_PYTHON` names a Python interpreter with that package; the project's test command sets
//! one up and names it.

mod support;

use std::process::Stdio;

use support::{Kept, Running, config};
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
    let expected: Vec<String> = (1..=20).map(|id| format!("AA {id}")).chain(["AA gbk".into(), "AA gbk".into()]).collect();
    assert_eq!(verdicts.lines().collect::<Vec<_>>(), expected);

    let names: Vec<_> = intake
        .records()
        .iter()
        .map(|record| record.document.as_ref().unwrap().root.get("PID").unwrap().as_list().unwrap()[5].clone())
        .collect();
    assert_eq!(names.len(), 22);
    assert!(names[..20].iter().all(|name| name.as_text() == Some("张三")));
    assert_eq!(names[21].as_text(), Some("王倈"));
    running.stopped().await;
}
