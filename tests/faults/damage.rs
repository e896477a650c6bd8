//! A store whose file is damaged: the agent refuses it with a clear message, or holds what is damaged. What it sends
//! is what it would have sent.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;
use rusqlite::Connection;
use serde_json::Value as Json;

use crate::machine::{Way, until};
use crate::route::Mood;
use crate::site::{Site, seed};

/// So many damaged stores are opened, unless more is asked for.
const TRIES: usize = 10;
const PAGE: usize = 8192;
/// So long an agent may be at work on a damaged store.
const AT_WORK: Duration = Duration::from_secs(6);

/// A byte behind a place is another one.
fn flip(bytes: &mut [u8], behind: usize, rng: &mut Rng) {
    let at = rng.usize(behind..bytes.len());
    bytes[at] ^= rng.u8(1..);
}

/// What happens to a file.
fn damage(bytes: &mut Vec<u8>, kind: usize, rng: &mut Rng) -> String {
    let pages = bytes.len() / PAGE;
    match kind % 7 {
        0 => {
            let at = rng.usize(PAGE..bytes.len());
            bytes[at] ^= 1 << rng.u8(0..8);
            format!("a bit of byte {at} is another one")
        }
        1 => {
            (0..40).for_each(|_| flip(bytes, PAGE, rng));
            "forty bytes are others".to_owned()
        }
        2 => {
            let page = rng.usize(1..pages);
            bytes[page * PAGE..][..PAGE].fill(0);
            format!("page {page} is empty")
        }
        3 => {
            let (from, to) = (rng.usize(1..pages), rng.usize(1..pages));
            let page = bytes[from * PAGE..][..PAGE].to_vec();
            bytes[to * PAGE..][..PAGE].copy_from_slice(&page);
            format!("page {to} is page {from}")
        }
        4 => {
            bytes.truncate(rng.usize(PAGE..bytes.len()));
            format!("it is cut off after {} bytes", bytes.len())
        }
        5 => {
            bytes[..16].fill(b'x');
            "its first bytes are others".to_owned()
        }
        _ => {
            let at = rng.usize(16..200);
            bytes[at] ^= rng.u8(1..);
            format!("byte {at} of its header is another one")
        }
    }
}

/// What an event says, and of what.
fn content(event: &Json) -> (String, String) {
    let kind = event["type"].as_str().unwrap_or_default();
    // A withdrawal names the version before it, which a damaged store may count anew.
    let data = if kind.ends_with(".withdrawn") { String::new() } else { event["data"].to_string() };
    (format!("{kind} {}", event["subject"]), data)
}

#[test]
fn a_damaged_store_is_refused_or_what_is_damaged_is_held() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut site = Site::open(seed);
    site.route.set(Mood::Refuse);
    site.start_well();
    let stage = site.stage.clone();
    until("messages", || [Way::Mllp, Way::Web, Way::Drop].iter().all(|way| stage.acked(*way) >= 5).then_some(()));
    until("the catalogue", || {
        let status = stage.live_status()?;
        (status["store"]["outbox_depth"].as_i64()? > 60).then_some(())
    });
    site.agent.take().unwrap().kill();
    let store = stage.path("data/hisync.db");
    Connection::open(&store).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let sound = std::fs::read(&store).unwrap();

    site.route.set(Mood::Pass);
    site.start();
    site.settle();
    let told: BTreeSet<_> = stage.received("").iter().map(|line| content(&line["event"])).collect();
    site.leave();

    let tries = std::env::var("HISYNC_FAULT_MINUTES").map_or(TRIES, |_| 10 * TRIES);
    let (mut refused, mut held, mut whole, mut told_of) = (0, 0, 0, 0);
    for number in 0..tries {
        let mut bytes = sound.clone();
        let what = damage(&mut bytes, number, &mut rng);
        clear(&stage.path("data"), &store, &bytes);
        let _ = std::fs::remove_dir_all(stage.path("upstream"));
        let before = stage.said("agent.log").len();
        site.revive_alone();
        let mut depth = None;
        let gone = |site: &mut Site| site.agent.as_mut().is_some_and(|agent| agent.ended().is_some());
        until("an agent that answers, or has ended", || (gone(&mut site) || stage.answers()).then_some(()));
        let (mut status, mut codes) = (None, BTreeSet::new());
        let ended = site.comes(AT_WORK, |site| {
            status = stage.live_status().or(status.take());
            let reasons = status.iter().flat_map(|status| status["health"]["reasons"].as_array()).flatten();
            codes.extend(reasons.filter_map(|reason| Some(reason["code"].as_str()?.to_owned())));
            depth = status.as_ref().and_then(|status| status["store"]["outbox_depth"].as_i64());
            depth == Some(0) || gone(site)
        });
        let applied = stage.received("");
        let code = site.agent.as_mut().and_then(|agent| agent.ended()?.code());
        let said = stage.said("agent.log").split_off(before);
        let context = format!("{what}; HISYNC_FAULT_SEED={seed}\n{said}");
        assert!(!said.contains("panicked"), "{context}");
        for line in &applied {
            let content = content(&line["event"]);
            assert!(told.contains(&content), "what was never so was sent: {}\n{context}", content.0);
        }
        let clear_words = ["damaged", "open the store: ", "can't be read"];
        let clear = clear_words.iter().any(|words| said.contains(words));
        if code.is_none() {
            // Whatever of it is damaged, its status tells the rest, and that it is.
            let status = status.unwrap_or_else(|| panic!("an agent that runs tells its status\n{context}"));
            let hidden = status["unreadable"].as_array().is_some_and(|parts| !parts.is_empty());
            let shut = said.contains("nothing more is taken in until it is examined");
            if shut || hidden {
                let known = ["store-damaged", "store-unreadable"].iter().any(|code| codes.contains(*code));
                // One that was examined and is sound was suspected for a moment alone.
                assert!(known || said.contains("is sound: intake goes on"), "{codes:?}\n{context}");
                told_of += 1;
            }
        }
        match depth {
            None if code.is_none() => held += 1,
            None => {
                assert!(code == Some(3) && clear, "it ended with {code:?}\n{context}");
                refused += 1;
            }
            Some(0) if ended && !clear => whole += 1,
            _ => held += 1,
        }
        println!("{what}: {} events sent, {}", applied.len(), if clear { "told" } else { "of no consequence" });
        site.leave();
    }
    println!(
        "survived {tries} damaged stores: {refused} refused, {held} in part, {whole} of no consequence; {told_of} times \
         the running agent shut the store and its status said so"
    );
}

fn clear(folder: &Path, store: &Path, bytes: &[u8]) {
    std::fs::remove_dir_all(folder).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(store, bytes).unwrap();
}
