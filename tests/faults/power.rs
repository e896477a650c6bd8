//! The power fails, at any moment: what a peer was told is there, and everything goes on from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fastrand::Rng;
use rusqlite::Connection;
use rustix::process::Signal;

use crate::machine::{Stage, Way, until};
use crate::replay::{Luck, Told, Trace, World};
use crate::site::{Site, seed};

/// So many states of the disk are opened and looked through, unless each is asked for.
const LOOKS: usize = 80;
/// After so many of them the agent is started, and everything must arrive.
const STARTS: usize = 4;

/// What was there when nothing more happened.
struct Kept {
    /// By the name that it had first: the file as it is now.
    files: BTreeMap<String, (Vec<u8>, std::time::SystemTime)>,
    received: String,
    letters: Vec<(String, Vec<u8>)>,
    requests: Vec<(String, Vec<u8>)>,
}

fn folder(path: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn after_a_power_cut_at_any_sync_what_was_acknowledged_is_there_and_all_of_it_arrives() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed ^ 9);
    let mut site = Site::open(seed);
    let trace_path = site.stage.path("trace");
    site.board.trace(trace_path.clone());
    site.start_well();
    let acked = |site: &Site, count: usize| {
        let stage = site.stage.clone();
        until("acknowledgements", || {
            [Way::Mllp, Way::Web, Way::Drop].iter().all(|way| stage.acked(*way) >= count).then_some(())
        });
    };
    acked(&site, 8);
    // The store is closed, which empties its log, and opened again.
    site.stage.renew();
    site.agent.as_ref().unwrap().signal(Signal::HUP);
    acked(&site, 14);
    site.settle();
    site.leave();

    let trace = Trace::read(&trace_path);
    let (stage, data) = (site.stage.clone(), format!("{}/", site.stage.path("data").display()));
    let kept = keep(&stage, &trace, &data);
    let all = std::env::var("HISYNC_FAULT_CUTS").ok();
    let starts = all.as_deref().map_or(STARTS, |text| text.parse().unwrap_or(usize::MAX));
    let cuts = trace.cuts(&data);
    let mut states: Vec<(usize, Luck)> =
        cuts.iter().flat_map(|cut| [Luck::None, Luck::Some, Luck::All].map(|luck| (*cut, luck))).collect();
    if all.is_none() {
        rng.shuffle(&mut states);
        states.truncate(LOOKS);
    }
    // The agent is started where the most may be lost.
    let mut started: BTreeSet<usize> = (0..states.len()).filter(|at| states[*at].1 != Luck::All).collect();
    while started.len() > starts {
        let any = *rng.choice(&started.iter().copied().collect::<Vec<_>>()).unwrap();
        started.remove(&any);
    }
    let revived: Vec<(usize, Luck)> = started.into_iter().map(|at| states[at]).collect();
    states.sort_by_key(|(cut, _)| *cut);

    let mut world = World::new(&trace, &data);
    let look = tempfile::tempdir().unwrap();
    for (cut, luck) in &states {
        world.go(*cut);
        let what = format!("cut at {cut}, {luck:?} survives, HISYNC_FAULT_SEED={seed}");
        write(look.path(), &world.after_cut(*luck, &mut Rng::with_seed(seed ^ *cut as u64)));
        check(look.path(), &stage, &world.told, &what);
    }
    for (cut, luck) in &revived {
        let mut world = World::new(&trace, &data);
        world.go(*cut);
        println!("the agent goes on after a cut at {cut}, {luck:?} survives");
        write(&stage.path("data"), &world.after_cut(*luck, &mut Rng::with_seed(seed ^ *cut as u64)));
        restore(&stage, &kept, &world.told, &mut rng);
        site.revive();
        site.arrived();
        site.leave();
    }
    println!(
        "survived {} power cuts at {} places; the agent went on after {} of them",
        states.len(),
        cuts.len(),
        revived.len()
    );
}

fn keep(stage: &Stage, trace: &Trace, data: &str) -> Kept {
    let mut world = World::new(trace, data);
    world.go(*trace.cuts(data).last().unwrap());
    let files = world.told.moved.iter().map(|(first, now)| {
        let modified = fs::metadata(now).and_then(|metadata| metadata.modified()).unwrap();
        (first.clone(), (fs::read(now).unwrap(), modified))
    });
    Kept {
        files: files.collect(),
        received: fs::read_to_string(stage.path("upstream/received.jsonl")).unwrap(),
        letters: folder(&stage.path("letters")),
        requests: folder(&stage.path("web-letters")),
    }
}

fn write(folder: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Everybody else is as they were at the moment: what they were told, they have put away.
fn restore(stage: &Stage, kept: &Kept, told: &Told, rng: &mut Rng) {
    for name in ["inbox", "letters", "web-letters"] {
        fs::remove_dir_all(stage.path(name)).unwrap();
        fs::create_dir_all(stage.path(name)).unwrap();
    }
    for (first, (bytes, modified)) in &kept.files {
        let now = told.moved.get(first).unwrap_or(first);
        fs::create_dir_all(Path::new(now).parent().unwrap()).unwrap();
        fs::write(now, bytes).unwrap();
        fs::File::options().write(true).open(now).unwrap().set_modified(*modified).unwrap();
    }
    let unacknowledged = |letters: &[(String, Vec<u8>)], folder: &str, told: usize| {
        for (name, bytes) in letters.iter().filter(|(name, _)| name != "END").skip(told) {
            fs::write(stage.path(folder).join(name), bytes).unwrap();
        }
        fs::write(stage.path(folder).join("END"), "").unwrap();
    };
    unacknowledged(&kept.letters, "letters", told.mllp.len());
    unacknowledged(&kept.requests, "web-letters", told.web.len());
    // Upstream has what it answered, and perhaps what it was sent.
    let mut luck: BTreeMap<String, bool> = BTreeMap::new();
    let lines = kept.received.lines().filter(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let batch = line["batch_id"].as_str().unwrap().to_owned();
        let has = told.answered.contains(&batch) || told.sent.contains(&batch) && rng.bool();
        *luck.entry(batch).or_insert(has)
    });
    let received: String = lines.flat_map(|line| [line, "\n"]).collect();
    fs::write(stage.path("upstream/received.jsonl"), received).unwrap();
}

/// The store can be opened, is sound, and has what anybody was told.
fn check(folder: &Path, stage: &Stage, told: &Told, what: &str) {
    let path = folder.join("hisync.db");
    let quiet = told.mllp.is_empty() && told.web.is_empty() && told.receipts.is_empty();
    let conn = Connection::open(&path).unwrap();
    let texts = |sql: &str| -> BTreeSet<String> {
        let mut statement = conn.prepare(sql).unwrap_or_else(|error| panic!("{what}: {error}"));
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(texts("PRAGMA quick_check"), BTreeSet::from(["ok".to_owned()]), "{what}");
    if texts("SELECT name FROM sqlite_schema WHERE name = 'archive'").is_empty() {
        assert!(quiet, "{what}: there is no store, and somebody was told that something is in it");
        return;
    }
    assert_eq!(texts("SELECT \"table\" FROM pragma_foreign_key_check"), BTreeSet::new(), "{what}");

    let keys = texts("SELECT resend_key FROM archive WHERE resend_key IS NOT NULL");
    for id in told.mllp.iter().chain(&told.web) {
        assert!(keys.iter().any(|key| key.contains(id.as_str())), "{what}: {id} was acknowledged and is lost");
    }
    let away = told.moved.values().filter(|now| now.contains("/done/") || now.contains("/failed/")).count();
    let taken: i64 = conn
        .query_row(
            "SELECT count(*) FROM archive a JOIN stream s ON s.id = a.stream_id WHERE s.name = 'drop/reports'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(taken >= away as i64, "{what}: {away} files were put away, {taken} records of them are there");

    let delivered = texts("SELECT lower(hex(event_id)) FROM event JOIN outbox USING (id) WHERE state = 'delivered'");
    let receipts: BTreeSet<String> = told.receipts.iter().map(|id| id.replace('-', "")).collect();
    let unheard: Vec<_> = delivered.difference(&receipts).collect();
    assert!(unheard.is_empty(), "{what}: marked as delivered without a receipt: {unheard:?}");

    let wrong = texts(
        "SELECT scope || ' ' || kind FROM counter WHERE scope <> 'outbox' AND scope <> 'held' GROUP BY scope, kind
         HAVING sum(iif(name = 'source', n, 0))
           <> sum(iif(name IN ('queued', 'delivered', 'unchanged', 'held'), n, 0))",
    );
    assert!(wrong.is_empty(), "{what}: the sums do not add up: {wrong:?}");
    let wrong = texts(
        "SELECT name FROM counter c WHERE scope = 'outbox'
           AND n <> (SELECT count(*) FROM outbox o WHERE o.state = c.name)",
    );
    assert!(wrong.is_empty(), "{what}: the outbox is miscounted: {wrong:?}");
    watermarks(&conn, stage, &texts, what);
}

/// No watermark is ahead of its data.
fn watermarks(conn: &Connection, stage: &Stage, texts: &dyn Fn(&str) -> BTreeSet<String>, what: &str) {
    let mark: Option<String> =
        conn.query_row("SELECT max(watermark) FROM stream WHERE name = 'peis/reports'", [], |row| row.get(0)).unwrap();
    let Some(mark) = mark else { return };
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).take(14).collect::<String>();
    let reached = digits(&mark);
    assert_eq!(reached.len(), 14, "a time: {mark}");
    let known = texts("SELECT key FROM entity WHERE type = 'exam_report'");
    let source = Connection::open(stage.database()).unwrap();
    let mut statement = source.prepare("SELECT 体检号, 更新时间 FROM V_体检报告").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (exam_no, at): (String, String) = (row.get(0).unwrap(), row.get(1).unwrap());
        if digits(&at) <= reached {
            assert!(
                known.contains(&format!("main:peis:{exam_no}")),
                "{what}: the watermark {mark} is beyond {exam_no}"
            );
        }
    }
}
