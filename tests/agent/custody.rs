//! What the laboratory sends: acknowledged after the commit, never before.

use hisync::sandbox::hospital::{Answer, LabMessage};
use hisync::store::Reader;

use super::support::{LAB, Site, eventually, held, message, overview, send};

fn replaced(message: &LabMessage, from: &[u8], to: &[u8]) -> LabMessage {
    let at = message.bytes.windows(from.len()).position(|window| window == from).unwrap();
    let mut changed = message.clone();
    changed.bytes.splice(at..at + from.len(), to.iter().copied());
    changed
}

#[tokio::test]
async fn what_is_acknowledged_is_in_the_archive_byte_for_byte() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    let letter = message(0, "C1", None);
    assert_eq!(send(&mut lab, &letter).await.answer, Answer::Accepted);
    // Read by another connection than the one that wrote: what it sees is committed.
    let reader = Reader::open(&site.data_dir()).unwrap();
    let newest = overview(&agent).await.streams.iter().map(|stream| stream.records).sum();
    let archived = reader.archived(newest).unwrap();
    assert_eq!((archived.stream.as_str(), archived.body.as_ref()), (LAB, letter.bytes.as_slice()));
    let status = agent.board().all().into_iter().find(|stream| stream.id.as_str() == LAB).unwrap();
    assert!((status.records, status.last_record_at.is_some()) == (1, true), "{status:?}");
    agent.stop().await;
}

#[tokio::test]
async fn a_resent_message_is_acknowledged_again_and_has_no_effect() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    let letter = message(0, "C1", None);
    for _ in 0..3 {
        assert_eq!(send(&mut lab, &letter).await.answer, Answer::Accepted);
    }
    let overview = overview(&agent).await;
    let stream = overview.streams.iter().find(|stream| stream.stream == LAB).unwrap();
    assert_eq!((stream.records, stream.resent, stream.totals.source), (1, 2, 1));
    agent.stop().await;
}

#[tokio::test]
async fn what_fits_no_stream_is_kept_and_held_under_no_guessed_type() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    let foreign = replaced(&message(0, "C1", None), b"ORU^R01", b"ADT^A01");
    assert_eq!(send(&mut lab, &foreign).await.answer, Answer::Accepted);
    let items = held(&agent).await;
    assert_eq!(items.len(), 1);
    let item = &items[0];
    let expected = ("unrouted", "unrouted", "lab/unrouted");
    assert_eq!((item.reason.as_str(), item.entity.as_str(), item.stream.as_str()), expected);
    let archived = Reader::open(&site.data_dir()).unwrap().archived(item.archive_id.unwrap()).unwrap();
    assert_eq!(archived.body.as_ref(), foreign.bytes);
    let totals = overview(&agent).await.totals;
    assert!(totals["unrouted"].adds_up && totals["unrouted"].held == 1, "{totals:?}");
    assert!(!totals.contains_key("exam_report"), "{totals:?}");
    agent.stop().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_kept_and_held() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    // 0xFF begins no character of GB18030.
    let broken = replaced(&message(0, "C1", None), b"PID|1||", b"PID|1||\xFF\xFF");
    assert_eq!(send(&mut lab, &broken).await.answer, Answer::Accepted);
    let items = held(&agent).await;
    assert_eq!(items.len(), 1);
    assert_eq!((items[0].leg.as_str(), items[0].entity.as_str()), ("record", "exam_report"));
    let archived = Reader::open(&site.data_dir()).unwrap().archived(items[0].archive_id.unwrap()).unwrap();
    assert_eq!(archived.body.as_ref(), broken.bytes);
    agent.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_commit_is_a_refusal() {
    let site = Site::new().await;
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    agent.store().close().await;
    assert_eq!(send(&mut lab, &message(0, "C1", None)).await.answer, Answer::Refused("AE".to_owned()));
    agent.stop().await;
    // The sender kept it: the next start takes it.
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    assert_eq!(send(&mut lab, &message(0, "C1", None)).await.answer, Answer::Accepted);
    agent.stop().await;
}

#[tokio::test]
async fn below_the_disks_floor_nothing_is_taken_in_and_everything_goes_on_afterwards() {
    let site = Site::new().await;
    let (floor, beyond) = ("disk_floor_bytes = 67108864", "disk_floor_bytes = 9007199254740991");
    site.edit("hisync.toml", floor, beyond);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    let letter = message(0, "C1", None);
    assert_eq!(send(&mut lab, &letter).await.answer, Answer::Refused("AE".to_owned()));
    eventually("the polled streams to pause", async || {
        let paused = agent.board().all();
        paused.iter().filter(|stream| stream.state.as_str() == "paused").count() == 4
    })
    .await;
    assert!(overview(&agent).await.totals.is_empty());
    agent.stop().await;

    site.edit("hisync.toml", beyond, floor);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    assert_eq!(send(&mut lab, &letter).await.answer, Answer::Accepted);
    assert!(overview(&agent).await.totals.contains_key("exam_package"));
    agent.stop().await;
}
