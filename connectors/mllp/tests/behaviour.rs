//! What the listener does between storing and answering, over real sockets.

mod support;

use std::time::Duration;

use connector_api::{ConnectorKind as _, Refusal};
use connector_mllp::Mllp;
use support::{Kept, Peer, Running, config, framed, message};

async fn start(intake: std::sync::Arc<Kept>) -> Running {
    Running::start(&config(""), intake).await
}

fn busy() -> Refusal {
    Refusal::Busy { reason: "disk|floor".to_owned(), retry_after: Duration::from_secs(1) }
}

fn has_id(record: &connector_api::Record, id: &str) -> bool {
    record.resend_key.as_deref().is_some_and(|key| key.ends_with(&format!("|{id}")))
}

#[test]
fn the_sample_builds() {
    let spec = connector_testkit::source_spec::<Mllp>(Mllp::SAMPLE, std::path::Path::new("."));
    assert!(Mllp::build(spec).is_ok());
}

#[test]
fn every_problem_of_the_settings_is_reported_at_once() {
    let text = "[[sources]]\nid = \"lis\"\nconnector = \"mllp\"\n[sources.settings]\nlisten = \"lis.local\"\n\
        charset = { default = \"utf-16le\" }\nmax_connections = 0\napplication = \"\"\n\
        [[sources.streams]]\nid = \"a\"\nmode = \"push\"\nmessages = [\"ORU^*\"]\nsending_application = [\"LIS\"]\n\
        [[sources.streams]]\nid = \"b\"\nmode = \"snapshot\"\nmessages = [\"ORU\"]\n\
        [[sources.streams]]\nid = \"c\"\nmode = \"push\"\nmessages = [\"ORU^R01\"]\n\
        [[sources.streams]]\nid = \"d\"\nmode = \"push\"\nmessages = [\"ORU^R01\"]\nsending_application = [\"PACS\"]\n";
    let spec = connector_testkit::source_spec::<Mllp>(text, std::path::Path::new("."));
    let problems = Mllp::build(spec).err().unwrap();
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "settings.listen",
            "settings.charset.default",
            "settings.max_connections",
            "settings.application",
            "streams[1].mode",
            "streams[1].messages",
            "streams[2].messages",
            "streams[3].messages",
        ]
    );
}

#[tokio::test]
async fn the_acknowledgement_waits_until_the_record_is_stored() {
    let intake = Kept::gated(0, |_| None);
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    intake.arrived.notified().await;
    let mut one = [0];
    assert_eq!(peer.stream.try_read(&mut one).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    intake.gate.add_permits(1);
    assert_eq!(peer.verdict().await, "AA 1");
    running.stopped().await;
}

#[tokio::test]
async fn a_refused_record_is_answered_with_an_error_and_taken_later() {
    let refused = std::sync::atomic::AtomicBool::new(false);
    let intake = Kept::unless(move |_| {
        (!refused.swap(true, std::sync::atomic::Ordering::SeqCst)).then(busy)
    });
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    let answer = peer.answer().await;
    assert!(answer.ends_with("\rMSA|AE|1|busy: disk floor\r"), "{answer:?}");
    peer.send(&message("1")).await;
    assert_eq!(peer.verdict().await, "AA 1");
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn a_refusal_that_the_sender_does_not_want_to_hear_closes_the_connection() {
    let intake = Kept::unless(|_| Some(busy()));
    let running = start(intake).await;
    let mut peer = Peer::connect(&running).await;
    let text = "MSH|^~\\&|LIS||||||ORU^R01|1|P|2.4|||NE|NE\r";
    peer.send(&framed(text.as_bytes())).await;
    assert_eq!(peer.rest().await, b"");
    running.stopped().await;
}

#[tokio::test]
async fn a_stopping_intake_is_answered_and_the_connection_closed() {
    let running = start(Kept::unless(|_| Some(Refusal::Stopping))).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    assert_eq!(peer.verdict().await, "AE 1");
    assert_eq!(peer.rest().await, b"");
    running.stopped().await;
}

#[tokio::test]
async fn frames_that_arrive_together_are_stored_together_and_answered_in_order() {
    let intake = Kept::gated(1, |_| None);
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("0")).await;
    assert_eq!(peer.verdict().await, "AA 0");
    let ids: Vec<String> = (1..=100).map(|id| id.to_string()).collect();
    let sent: Vec<u8> = ids.iter().flat_map(|id| message(id)).collect();
    peer.send(&sent).await;
    intake.gate.add_permits(1000);
    for id in &ids {
        assert_eq!(peer.verdict().await, format!("AA {id}"));
    }
    let calls = intake.calls();
    assert!(calls.len() < 50, "{} calls for {} frames", calls.len(), ids.len());
    assert!(calls.iter().all(|call| call.records.len() <= 64));
    assert_eq!(intake.records().len(), 101);
    running.stopped().await;
}

#[tokio::test]
async fn ten_thousand_messages_get_ten_thousand_answers() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let peer = Peer::connect(&running).await;
    let (mut reading, mut writing) = peer.stream.into_split();
    let send = async move {
        for id in 0..10_000 {
            tokio::io::AsyncWriteExt::write_all(&mut writing, &message(&id.to_string())).await.unwrap();
        }
        tokio::io::AsyncWriteExt::shutdown(&mut writing).await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(send, tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut received));
    read.unwrap();
    let text = String::from_utf8(received).unwrap();
    let answered: Vec<&str> = text.split("MSA|AA|").skip(1).map(|rest| rest.split('\r').next().unwrap()).collect();
    let expected: Vec<String> = (0..10_000).map(|id| id.to_string()).collect();
    assert!(answered == expected, "{} answers", answered.len());
    assert_eq!(intake.records().len(), 10_000);
    running.stopped().await;
}

#[tokio::test]
async fn a_record_that_can_not_be_stored_keeps_no_other_frame_out() {
    let intake = Kept::unless(|records| {
        let bad = records.iter().any(|record| has_id(record, "2"));
        bad.then(|| Refusal::Failed { reason: "constraint".to_owned() })
    });
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&[message("1"), message("2"), message("3")].concat()).await;
    assert_eq!([peer.verdict().await, peer.verdict().await, peer.verdict().await], ["AA 1", "AE 2", "AA 3"]);
    assert_eq!(intake.records().len(), 2);
    running.stopped().await;
}

#[tokio::test]
async fn a_batch_is_stored_whole_or_not_at_all() {
    let intake = Kept::unless(|records| records.iter().any(|record| has_id(record, "2")).then(busy));
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let bare = |id: &str| String::from_utf8(message(id)).unwrap().trim_matches(['\x0b', '\x1c', '\r']).to_owned();
    let batch = format!("BHS|^~\\&|LIS\r{}\r{}\rBTS|2\r", bare("1"), bare("2"));
    peer.send(&framed(batch.as_bytes())).await;
    let answer = peer.answer().await;
    assert_eq!(answer.matches("MSA|AE|").count(), 2, "{answer:?}");
    assert!(intake.calls().is_empty());
    running.stopped().await;
}

#[tokio::test]
async fn messages_are_not_acknowledged_while_their_batchs_discrepancy_is_not_stored() {
    let intake = Kept::unless(|records| (records[0].source_ref == "mllp/batch").then(busy));
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let inner = String::from_utf8(message("1")).unwrap();
    let batch = format!("BHS|^~\\&|LIS\r{}\rBTS|5\r", inner.trim_matches(['\x0b', '\x1c', '\r']));
    peer.send(&framed(batch.as_bytes())).await;
    assert!(peer.answer().await.contains("MSA|AE|1|busy"));
    running.stopped().await;
}

#[tokio::test]
async fn a_frame_cut_off_by_the_peers_close_is_neither_stored_nor_answered() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let whole = message("1");
    peer.send(&[message("0"), whole[..whole.len() - 20].to_vec()].concat()).await;
    let answers = String::from_utf8(peer.finish().await).unwrap();
    assert_eq!(answers.matches("MSA|").count(), 1);
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn a_frame_in_single_bytes_and_without_its_cr_is_answered_while_the_peer_waits() {
    let running = start(Kept::all()).await;
    let mut peer = Peer::connect(&running).await;
    let whole = message("1");
    for byte in &whole[..whole.len() - 1] {
        peer.send(std::slice::from_ref(byte)).await;
    }
    assert_eq!(peer.verdict().await, "AA 1");
    running.stopped().await;
}

#[tokio::test]
async fn the_rejection_of_a_long_message_reaches_a_peer_that_is_still_sending() {
    let intake = Kept::all();
    let running = Running::start(&config("max_message_bytes = 1000"), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let mut long = message("1");
    long.truncate(long.len() - 2);
    long.resize(300_000, b'x');
    peer.send(&long).await;
    assert_eq!(peer.verdict().await, "AR 1");
    assert_eq!(peer.rest().await, b"");
    assert_eq!(intake.records()[0].raw.body.len(), 1000);
    running.stopped().await;
}

#[tokio::test]
async fn a_flood_outside_of_frames_is_kept_up_to_a_bound_and_ends_the_connection() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&vec![b'x'; 300_000]).await;
    assert_eq!(peer.rest().await, b"");
    let lengths: Vec<usize> = intake.records().iter().map(|record| record.raw.body.len()).collect();
    assert_eq!(lengths, [64 << 10]);
    running.stopped().await;
}

#[tokio::test]
async fn a_content_without_a_header_is_kept_and_closes_the_connection() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&framed(b"PID|1||T1\r")).await;
    assert_eq!(peer.rest().await, b"");
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn an_empty_frame_is_passed_over() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&[framed(b"\r"), message("1")].concat()).await;
    assert_eq!(peer.verdict().await, "AA 1");
    assert_eq!(intake.records().len(), 1);
    running.stopped().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_and_the_others_go_on() {
    let running = Running::start(&config("max_connections = 1"), Kept::all()).await;
    let mut first = Peer::connect(&running).await;
    first.send(&message("1")).await;
    assert_eq!(first.verdict().await, "AA 1");
    let second = Peer::connect(&running).await;
    assert_eq!(second.rest().await, b"");
    first.send(&message("2")).await;
    assert_eq!(first.verdict().await, "AA 2");
    running.stopped().await;
}

#[tokio::test]
async fn a_panic_ends_its_own_connection_only() {
    let intake = Kept::unless(|records| {
        assert!(!has_id(&records[0], "13"), "a bug");
        None
    });
    let running = start(intake).await;
    let mut other = Peer::connect(&running).await;
    let mut unlucky = Peer::connect(&running).await;
    unlucky.send(&message("13")).await;
    assert_eq!(unlucky.rest().await, b"");
    other.send(&message("1")).await;
    assert_eq!(other.verdict().await, "AA 1");
    running.stopped().await;
}

#[tokio::test]
async fn a_message_in_work_is_stored_and_answered_before_the_listener_stops() {
    let intake = Kept::gated(0, |_| None);
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    intake.arrived.notified().await;
    running.stop.cancel();
    intake.gate.add_permits(1);
    running.stopped().await;
    assert_eq!(peer.verdict().await, "AA 1");
    assert_eq!(peer.rest().await, b"");
}

#[tokio::test]
async fn a_stop_frees_the_port_and_closes_idle_connections() {
    let running = start(Kept::all()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    assert_eq!(peer.verdict().await, "AA 1");
    let address = running.address.clone();
    running.stopped().await;
    assert_eq!(peer.rest().await, b"");
    tokio::net::TcpListener::bind(&address).await.unwrap();
}

#[tokio::test]
async fn a_silent_peer_and_one_that_does_not_end_its_frame_are_closed() {
    let settings = "idle_timeout_secs = 1\nread_timeout_secs = 1";
    let intake = Kept::all();
    let running = Running::start(&config(settings), intake.clone()).await;
    let silent = Peer::connect(&running).await;
    let mut slow = Peer::connect(&running).await;
    slow.send(b"\x0bMSH|").await;
    assert_eq!(silent.rest().await, b"");
    assert_eq!(slow.rest().await, b"");
    assert!(intake.records().is_empty());
    running.stopped().await;
}
