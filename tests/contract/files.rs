//! Files before their events, and critical values before everything else.

use std::sync::Arc;

use bytes::Bytes;
use connector_api::{Raw, StreamId};
use hisync::delivery::Reason;
use hisync::model::entity::{
    Attachment, AttachmentKind, CriticalValue, Envelope, ExamVisit, Examinee, ReportKind, ReportStatus, Sex,
};
use hisync::model::{Entity, EntityKey, EntityType, ExamReport, File, Mapped, Outcome, Wish};
use hisync::sandbox::upstream::{Fault, Options, Target, Upstream};
use hisync::store::{Incoming, IncomingBatch, Reader};
use sha2::{Digest as _, Sha256};

use crate::support::{Agent, sandbox};

const PDF: &str = "%PDF-1.7 synthetic %%EOF";

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn envelope(entity: EntityType, key: &str) -> Envelope {
    Envelope {
        hospital_id: "demo-001".into(),
        campus_id: "main".into(),
        source_system: "peis".into(),
        entity_type: entity.as_str().into(),
        business_key: key.to_owned(),
        ..Envelope::default()
    }
}

/// A report of a synthetic person that names files.
fn report(number: &str, files: &[&str]) -> Outcome {
    let key = EntityKey::new(EntityType::ExamReport, format!("main:peis:{number}"));
    let attachment = |text: &&str| Attachment {
        kind: AttachmentKind::ReportPdf,
        media_type: "application/pdf".into(),
        size: text.len() as u64,
        digest: format!("sha256-{}", sha256(text)),
        page_count: None,
        source_ref: None,
    };
    let report = Entity::ExamReport(Box::new(ExamReport {
        envelope: envelope(EntityType::ExamReport, &key.key),
        report_kind: ReportKind::Health,
        status: ReportStatus::Final,
        status_raw: None,
        report_no: None,
        issued_at: None,
        issued_at_raw: None,
        reviewed_by: None,
        concluded_by: None,
        examinee: Examinee {
            examinee_key: number.into(),
            name: "张试一".into(),
            sex: Sex::Male,
            sex_raw: None,
            birth_date: None,
            birth_date_raw: None,
            id_type: None,
            id_number: None,
            id_checksum_ok: None,
            phone: None,
            marital_status: None,
            marital_status_raw: None,
        },
        visit: ExamVisit {
            visit_key: format!("main:{number}"),
            exam_no: number.into(),
            visit_state: None,
            visit_state_raw: None,
            registered_at: None,
            registered_at_raw: None,
            exam_date: None,
            exam_date_raw: None,
            stated_age: None,
            order_no: None,
            org_code: None,
            org_name: None,
            package_code: None,
            ordered_groups: vec![],
            previous_exam_no: None,
            substitute: None,
        },
        groups: vec![],
        conclusions: vec![],
        attachments: files.iter().map(attachment).collect(),
    }));
    let file = |text: &&str| File {
        digest: Sha256::digest(text).into(),
        media_type: "application/pdf".into(),
        bytes: Arc::from(text.as_bytes()),
        owner: None,
    };
    Outcome::Mapped(Mapped {
        files: files.iter().map(file).collect(),
        ..Mapped::new(key, Wish::Present, report.to_canonical_json().unwrap(), vec![])
    })
}

fn critical(number: &str, value: &str) -> Outcome {
    let key = EntityKey::new(EntityType::CriticalValue, format!("main:peis:{number}/0012/K/1"));
    let critical = Entity::CriticalValue(Box::new(CriticalValue {
        envelope: envelope(EntityType::CriticalValue, &key.key),
        report_key: Some(format!("main:peis:{number}")),
        examinee_key: number.into(),
        visit_key: None,
        exam_no: Some(number.into()),
        group_code: Some("0012".into()),
        group_name: None,
        item_code: "K".into(),
        item_name: Some("钾".into()),
        instance: Some("1".into()),
        value_raw: Some(value.into()),
        unit_raw: Some("mmol/L".into()),
        reference_raw: None,
        flag_source: None,
        flag_source_raw: None,
        observed_at: Some(hisync::clock::Clock::system().now().fixed_offset()),
        observed_at_raw: None,
        department: None,
        specimen_no: None,
    }));
    Outcome::Mapped(Mapped::new(key, Wish::Present, critical.to_canonical_json().unwrap(), vec![]))
}

async fn give(agent: &Agent, raw: &str, outcomes: Vec<Outcome>) {
    let record = Incoming {
        raw: Raw { format: "text/plain".into(), charset: None, body: Bytes::from(raw.to_owned()) },
        source_ref: "V_REPORT".into(),
        resend_key: None,
        mapping_version: "test/exam_report@1".into(),
        archived: None,
        outcomes,
    };
    let stream = StreamId::parse("peis/reports").unwrap();
    let batch = IncomingBatch { stream, records: vec![record], advance: None, snapshot: None };
    agent.store.commit(batch).await.unwrap();
}

fn fault(status: u16, count: Option<u32>) -> Fault {
    Fault { on: Target::Attachments, status: Some(status), count, ..Fault::default() }
}

fn answers(upstream: &Upstream) -> Vec<String> {
    upstream.attempts().into_iter().map(|line| line.code.unwrap_or(line.status)).collect()
}

#[tokio::test]
async fn a_file_arrives_before_its_event_and_not_again_for_the_next() {
    let folder = tempfile::TempDir::new().unwrap();
    let upstream = sandbox(Some(folder.path())).await;
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![report("0301", &[PDF, "another"])]).await;
    agent.settled(1).await;
    assert_eq!(answers(&upstream), ["accepted"], "never before its files");
    assert_eq!(std::fs::read(folder.path().join("attachments").join(sha256(PDF))).unwrap(), PDF.as_bytes());
    give(&agent, "two", vec![report("0302", &[PDF])]).await;
    let status = agent.settled(2).await;
    assert_eq!((status.attachments.stored, answers(&upstream).len()), (2, 2));
    let response = reqwest::get(format!("{}/v1/attachments/{}", upstream.url(), sha256(PDF))).await.unwrap();
    assert_eq!(response.bytes().await.unwrap(), PDF.as_bytes());
}

#[tokio::test]
async fn trouble_with_files_keeps_back_their_events_alone_and_passes() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![fault(503, Some(3)), fault(500, Some(3)), fault(404, Some(2))]);
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![report("0301", &[PDF])]).await;
    agent.commit(&["A"]).await;
    agent.settled(2).await;
    let first = &upstream.received()[0].event["subject"];
    assert_eq!(first, "exam_item/main:peis:A", "an event without files does not wait");
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn an_address_that_is_not_there_pauses_files_and_is_seen() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![fault(404, None)]);
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![report("0301", &[PDF])]).await;
    let status = agent.until(|status| status.attachments.breaker.state != "closed").await;
    assert_eq!(status.attachments.breaker.reason, Some(Reason::Configuration));
    assert_eq!(status.breaker.state, "closed", "events go on");
    upstream.put_faults(vec![]);
    agent.settled(1).await;
}

#[tokio::test]
async fn a_file_that_upstream_refuses_holds_its_event() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![fault(413, Some(1))]);
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![report("0301", &[PDF])]).await;
    let status = agent.until(|status| status.attachments.refused == 1).await;
    assert_eq!(status.attachments.breaker.state, "closed");
    let held = || async {
        let overview = agent.store.read(Reader::overview).await.unwrap();
        overview.held_open.into_iter().map(|held| held.reason).collect::<Vec<_>>()
    };
    // The status is told before the store has it.
    while held().await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(held().await, ["too-large"]);
    agent.store.held_retry_outbox(1, "ops").await.unwrap();
    agent.settled(1).await;
}

#[tokio::test]
async fn an_event_is_sent_again_with_a_file_that_upstream_has_lost() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![report("0301", &[PDF])]).await;
    agent.settled(1).await;
    upstream.lose_attachment(&sha256(PDF));
    give(&agent, "two", vec![report("0302", &[PDF])]).await;
    agent.settled(2).await;
    let told = answers(&upstream);
    assert_eq!((told[1].as_str(), told.last().map(String::as_str)), ("attachment-unknown", Some("accepted")));
    let subject = |line: &hisync::sandbox::upstream::Line| line.event["id"].clone();
    let lines = upstream.attempts();
    assert!(lines[1..].iter().all(|line| subject(line) == subject(&lines[1])), "under one id");
}

#[tokio::test]
async fn a_crash_between_a_file_and_its_event_changes_no_id_and_loses_nothing() {
    let upstream = sandbox(None).await;
    upstream.put_faults(vec![Fault { cut: true, count: Some(1), ..Fault::default() }]);
    let mut agent = Agent::new(&upstream.url());
    let mut changes = upstream.changes();
    give(&agent, "one", vec![report("0301", &[PDF])]).await;
    agent.start();
    changes.changed().await.unwrap();
    // The file is there; whatever is on its way now is cut off.
    agent.crash().await;
    assert_eq!(upstream.attachments().len(), 1);
    agent.start();
    agent.until(|status| status.counts.accepted + status.counts.duplicate == 1).await;
    let ids: std::collections::BTreeSet<String> =
        upstream.attempts().iter().map(|line| line.event["id"].to_string()).collect();
    assert_eq!((ids.len(), upstream.received().len()), (1, 1));
}

#[tokio::test]
async fn a_critical_value_overtakes_what_waits_even_where_every_place_is_taken() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.settings.parallel = 1;
    agent.settings.batch_max_events = 1;
    // The first request is kept waiting for far longer than the test may take.
    upstream.put_faults(vec![Fault { delay_ms: 600_000, count: Some(1), ..Fault::default() }]);
    agent.commit(&["A", "B", "C"]).await;
    agent.start();
    agent.until(|status| status.in_flight == 1).await;
    give(&agent, "one", vec![critical("0301", "7.1")]).await;
    let status = agent.until(|status| status.counts.accepted == 1).await;
    assert_eq!(status.in_flight, 1, "the first one is still out");
    let received = upstream.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].event["type"], "hisync.critical_value.raised");
    assert_eq!(received[0].event["dataschema"], "urn:hisync:schema:critical_value:v1");
}

#[tokio::test]
async fn the_sandbox_refuses_a_critical_value_that_is_taken_back_or_upserted() {
    let upstream = sandbox(None).await;
    let mut agent = Agent::new(&upstream.url());
    agent.start();
    give(&agent, "one", vec![critical("0301", "7.1")]).await;
    agent.settled(1).await;
    let raised = upstream.received().remove(0).event;
    crate::agreement::holds("Event", &raised);
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = Options { listen, dir: None, keys: None, clock: hisync::clock::Clock::system() };
    let open = Upstream::start(options).await.unwrap();
    for kind in ["hisync.critical_value.upserted", "hisync.critical_value.withdrawn"] {
        let mut event = raised.clone();
        event["type"] = kind.into();
        let request = reqwest::Client::new().post(format!("{}/v1/events", open.url()));
        let request = request.header("content-type", hisync::delivery::BATCH_MEDIA_TYPE).header("webhook-id", "b");
        let answer = request.body(serde_json::json!([event]).to_string()).send().await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(answer["results"][0]["code"], "type", "{kind}");
    }
}
