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
    let intake = Kept::unless(move |_| (!refused.swap(true, std::sync::atomic::Ordering::SeqCst)).then(busy));
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
async fn a_frame_that_has_begun_may_be_completed_after_the_stop() {
    let running = start(Kept::all()).await;
    let mut peer = Peer::connect(&running).await;
    let second = message("2");
    let (beginning, end) = second.split_at(30);
    peer.send(&[message("1").as_slice(), beginning].concat()).await;
    assert_eq!(peer.verdict().await, "AA 1");
    running.stop.cancel();
    peer.send(end).await;
    assert_eq!(peer.verdict().await, "AA 2");
    running.stopped().await;
}

#[tokio::test]
async fn a_sender_that_never_pauses_does_not_keep_the_listener_from_stopping() {
    let running = start(Kept::all()).await;
    let mut peer = Peer::connect(&running).await;
    peer.send(&message("1")).await;
    assert_eq!(peer.verdict().await, "AA 1");
    let (mut reading, mut writing) = peer.stream.into_split();
    let mut sender = tokio::task::JoinSet::new();
    sender
        .spawn(async move { while tokio::io::AsyncWriteExt::write_all(&mut writing, &message("2")).await.is_ok() {} });
    sender.spawn(async move {
        let mut answers = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut answers).await;
    });
    running.stopped().await;
    while sender.join_next().await.is_some() {}
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

#[tokio::test]
async fn peers_outside_of_the_allowed_networks_are_turned_away() {
    let intake = Kept::all();
    let running = Running::start(&config("allowed_peers = [\"10.2.0.0/16\"]"), intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    // The connection may be reset before the message is written.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.stream, &message("1")).await;
    let mut answer = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut peer.stream, &mut answer).await;
    assert_eq!(answer, b"");
    assert!(intake.calls().is_empty());
    running.stopped().await;
}

#[tokio::test]
async fn a_probe_says_what_would_be_served_and_leaves_the_port_free() {
    let folder = tempfile::tempdir().unwrap();
    connector_testkit::certificates(folder.path());
    let probe = async |settings: &str| {
        let spec = connector_testkit::source_spec::<Mllp>(&config(settings), folder.path());
        let connector_api::Flow::Listen(mut listener) = Mllp::build(spec).ok().unwrap().flow else { panic!("polls") };
        listener.probe().await
    };
    let plain = probe("").await.unwrap();
    assert_eq!(plain.findings, ["the port 127.0.0.1:0 is free", "connections are not encrypted"]);
    let files = "tls = { certificate = \"server.pem\", key = \"server.key\", client_ca = \"ca.pem\" }";
    assert!(probe(files).await.unwrap().findings[1].ends_with("peers must show certificates"));
    let mixed = files.replace("server.key", "sender.key");
    assert_eq!(probe(&mixed).await.unwrap_err().class, connector_api::FaultClass::Tls, "another key");
}

#[tokio::test]
async fn a_master_file_is_answered_entry_by_entry_where_its_sender_asks() {
    let text = |id: &str, asked: &str| {
        format!(
            "MSH|^~\\&|LIS||||||MFN^M08^MFN_M08|{id}|P|2.5\rMFI|OMA||REP|||{asked}\r\
             MFE|MAD|1||TG^甘油三酯|CE\rOM1|1|TG\rMFE|MDC|2||TC|CE\rOM1|2|TC\r"
        )
    };
    let intake = Kept::unless(|records| has_id(&records[0], "bad").then(busy));
    let config = config("").replace("ORU^R01", "MFN^*");
    let running = Running::start(&config, intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    for (id, asked, expected) in [
        ("1", "AL", &["S", "S"][..]),
        ("2", "SU", &["S", "S"]),
        ("3", "NE", &[]),
        ("4", "ER", &[]),
        ("bad", "ER", &["U", "U"]),
        ("bad2", "NE", &[]),
    ] {
        peer.send(&framed(text(id, asked).as_bytes())).await;
        let answer = peer.answer().await;
        assert!(answer.contains("|MFK^M08^MFK_M01|"), "{answer:?}");
        assert!(answer.contains(&format!("\rMFI|OMA||REP|||{asked}\r")), "{answer:?}");
        let entries: Vec<Vec<&str>> =
            answer.split('\r').filter(|line| line.starts_with("MFA")).map(|line| line.split('|').collect()).collect();
        assert_eq!(entries.iter().map(|fields| fields[4]).collect::<Vec<_>>(), expected, "{id} {asked}");
        if let [first, _] = entries.as_slice() {
            assert_eq!((first[1], first[2], first[5], first[6]), ("MAD", "1", "TG^甘油三酯", "CE"));
        }
    }
    running.stopped().await;
}

#[tokio::test]
async fn a_control_id_that_began_anew_is_another_message() {
    let intake = Kept::all();
    let running = start(intake.clone()).await;
    let mut peer = Peer::connect(&running).await;
    let other = String::from_utf8(message("1")).unwrap().replace("1.30", "1.40");
    for sent in [message("1"), message("1"), other.into_bytes()] {
        peer.send(&sent).await;
        assert_eq!(peer.verdict().await, "AA 1");
    }
    assert_eq!(intake.records().len(), 2, "the repeated one is known, the new one of the same id is not");
    running.stopped().await;
}
