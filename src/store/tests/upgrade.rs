//! Stores of older layouts: each opens, keeps what it holds and goes on; a migration that fails, or dies in the middle,
//! leaves the store as it was.
//!
//! `fixtures/store/layout-N.sql` is a store of layout N as it lay on a disk. When a layout is added, the one before it
//! gets its fixture: `cargo nextest run -p hisync --lib --run-ignored only make_the_fixtures`.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::path::Path;

use rusqlite::Connection;

use super::attachments::with_files;
use super::*;

const FIXTURES: &str = "fixtures/store";
/// Names the store's folder to the process that dies in the middle of a migration.
const DYING: &str = "HISYNC_TEST_DYING_STORE";

fn start() -> Clock {
    Clock::manual(Utc.with_ymd_and_hms(2026, 3, 2, 8, 0, 0).unwrap())
}

/// The store of a fixture, as an older program left it.
fn old_store(layout: usize) -> TempDir {
    let dir = TempDir::new().unwrap();
    let sql = std::fs::read_to_string(format!("{FIXTURES}/layout-{layout}.sql")).unwrap();
    Connection::open(schema::file(dir.path())).unwrap().execute_batch(&sql).unwrap();
    dir
}

/// Everything in a file, as SQL.
fn dump(path: &Path) -> String {
    let conn = schema::look(path).unwrap();
    let rows = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let rows = statement.query_map((), |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    };
    let pragma = |name: &str| -> i64 { conn.pragma_query_value(None, name, |row| row.get(0)).unwrap() };
    let mut text = String::from("PRAGMA journal_mode = WAL;\n");
    for name in ["application_id", "user_version"] {
        writeln!(text, "PRAGMA {name} = {};", pragma(name)).unwrap();
    }
    let own = "name NOT LIKE 'sqlite_%' AND sql IS NOT NULL";
    for kind in ["table", "index"] {
        for sql in rows(&format!("SELECT sql FROM sqlite_schema WHERE type = '{kind}' AND {own} ORDER BY rowid")) {
            writeln!(text, "{sql};").unwrap();
        }
    }
    let mut tables = rows(&format!("SELECT name FROM sqlite_schema WHERE type = 'table' AND {own} ORDER BY rowid"));
    tables.push("sqlite_sequence".to_owned());
    for table in tables {
        if table == "sqlite_sequence" {
            // The rows before have made some by themselves.
            text.push_str("DELETE FROM sqlite_sequence;\n");
        }
        let columns = rows(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote(\"{column}\")")).collect();
        for values in rows(&format!("SELECT {} FROM \"{table}\" ORDER BY 1", quoted.join(" || ', ' || "))) {
            writeln!(text, "INSERT INTO {table} ({}) VALUES ({values});", columns.join(", ")).unwrap();
        }
    }
    text
}

/// A store with one of each: delivered, queued, refused, held, a file that waits, a withdrawn entity, a watermark.
async fn fill(files: bool) -> World {
    let world = World::new();
    let mut first = batch("peis/reports", vec![says("sent", "a"), says("refused", "a"), says("gone", "a")]);
    first.advance = Some(Advance { from: Watermark::start(), to: Watermark::at(vec![Value::Text("0042".into())]) });
    world.store.commit(first).await.unwrap();
    for entry in world.claim().await {
        let verdict = match entry.key.key.ends_with("refused") {
            true => Verdict::Held { code: "schema".into(), message: "no".into() },
            false => Verdict::Delivered { status: "accepted" },
        };
        world.verdict(entry.id, verdict).await;
    }
    world.wait(60);
    let held = record("?", vec![doubtful(Some(key("doubted")), "unknown-code")]);
    let gone = record("gone=", vec![absent("gone", "reversed")]);
    world.give(vec![says("queued", "a"), gone, held]).await;
    if files {
        world.give(vec![with_files("with-file", "a", &[("a file", Some("somebody"))])]).await;
    }
    world.store.audit("op", "show-personal", "held/1", "because").await.unwrap();
    world
}

#[tokio::test]
#[ignore = "makes the fixtures of older layouts; run when a layout is added"]
async fn make_the_fixtures() {
    std::fs::create_dir_all(FIXTURES).unwrap();
    for layout in 1..schema::MIGRATIONS.len() {
        let path = format!("{FIXTURES}/layout-{layout}.sql");
        if Path::new(&path).exists() {
            continue;
        }
        let world = fill(layout >= 2).await;
        world.store.close().await;
        let dir = TempDir::new().unwrap();
        let old = dir.path().join("old.db");
        let mut conn = Connection::open(&old).unwrap();
        schema::migrate(&mut conn, &schema::MIGRATIONS[..layout]).unwrap();
        conn.execute("ATTACH ?1 AS new", (schema::file(world.dir.path()).to_str().unwrap(),)).unwrap();
        let list = |sql: &str| -> Vec<String> {
            let mut statement = conn.prepare(sql).unwrap();
            statement.query_map((), |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
        };
        conn.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        for table in list("SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY rowid") {
            let columns = list(&format!(
                "SELECT o.name FROM pragma_table_info('{table}', 'main') o
                 JOIN pragma_table_info('{table}', 'new') n ON n.name = o.name"
            ));
            let columns = columns.join(", ");
            let copy = format!(
                "DELETE FROM main.{table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"
            );
            conn.execute_batch(&copy).unwrap();
        }
        let unknown = "DELETE FROM main.sqlite_sequence WHERE name NOT IN (SELECT name FROM main.sqlite_schema)";
        conn.execute_batch(unknown).unwrap();
        if layout < 6 {
            // That layout brings this sum.
            conn.execute("DELETE FROM main.counter WHERE scope = 'outbox-bytes'", ()).unwrap();
        }
        conn.execute_batch("DETACH new").unwrap();
        drop(conn);
        std::fs::write(path, dump(&old)).unwrap();
    }
}

#[tokio::test]
async fn a_store_of_each_older_layout_opens_keeps_what_it_holds_and_goes_on() {
    for layout in 1..schema::MIGRATIONS.len() {
        let clock = start();
        clock.set(clock.now() + TimeDelta::hours(1));
        let dir = old_store(layout);
        assert!(matches!(Reader::open(dir.path()), Err(Error::Refused(_))), "only the agent migrates");
        let world = World { store: open(dir.path(), &clock), clock, dir };
        let found: i64 = world.raw_sql("PRAGMA user_version");
        assert_eq!(found, schema::MIGRATIONS.len() as i64);
        let overview = world.store.read(Reader::overview).await.unwrap();
        let (queued, held) = (overview.outbox_depth, overview.held_open.iter().map(|held| held.count).sum::<i64>());
        assert_eq!((queued, held), (if layout >= 2 { 3 } else { 2 }, 2), "layout {layout}");
        let stream = StreamId::parse("peis/reports").unwrap();
        let asked = stream.clone();
        let mark = world.store.read(move |reader| reader.watermark(&asked)).await.unwrap();
        assert_eq!(mark, Watermark::at(vec![Value::Text("0042".into())]));
        let verified = world.store.read(|reader| reader.verify(&mut |_, _| {})).await.unwrap();
        assert!(verified.faults.is_empty(), "layout {layout}: {:?}", verified.faults);
        // What it knows is no news, and what is news follows what it knows.
        assert_eq!(world.give(vec![says("sent", "a")]).await, [RecordReceipt::Reread]);
        world.give(vec![says("sent", "b")]).await;
        let sent: Vec<(String, String)> =
            world.deliver().await.into_iter().map(|event| (event.subject, event.sequence)).collect();
        let subjects: Vec<&str> = sent.iter().map(|(subject, _)| subject.rsplit(':').next().unwrap()).collect();
        assert_eq!(subjects, ["queued", "gone", "sent"]);
        assert!(sent[2].1 > sent[0].1);
        if layout >= 2 {
            assert_eq!(world.store.file_due().await.unwrap().unwrap().bytes.unwrap().as_ref(), b"a file");
            super::attachments::settle(&world, "a file", FileVerdict::Stored).await;
            assert_eq!(world.deliver().await.len(), 1);
        }
        let refused = world.store.read(|reader| reader.held_list(&HeldFilter::default(), 10, 0)).await.unwrap();
        world
            .store
            .held_retry_outbox(refused.iter().find(|item| item.leg == "outbox").unwrap().id, "op")
            .await
            .unwrap();
        assert_eq!(world.deliver().await.len(), 1);
        assert!(super::acts::totals(&world).await.adds_up);
    }
}

#[test]
fn a_newer_store_is_refused_in_words_and_not_touched() {
    let dir = old_store(1);
    let path = schema::file(dir.path());
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let before = std::fs::read(&path).unwrap();
    let error = schema::open_writer(&path, None, 0).err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("the store has layout 99, this hisync knows up to {}: use the newer hisync", schema::MIGRATIONS.len())
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_migration_that_fails_leaves_the_store_as_it_was() {
    let dir = old_store(1);
    let path = schema::file(dir.path());
    let before = dump(&path);
    let mut broken = schema::MIGRATIONS.to_vec();
    broken
        .push("CREATE TABLE half (id INTEGER); UPDATE outbox SET state = 'delivered'; INSERT INTO nowhere VALUES (1);");
    let mut conn = schema::connect(&path).unwrap();
    assert!(matches!(schema::migrate(&mut conn, &broken), Err(Error::Sqlite { .. })));
    // And with a disk that has no room for it.
    conn.query_row("PRAGMA max_page_count = 1", (), |_| Ok(())).unwrap();
    assert!(matches!(schema::migrate(&mut conn, schema::MIGRATIONS), Err(Error::Full { .. })));
    drop(conn);
    assert_eq!(dump(&path), before);
    open(dir.path(), &start());
}

#[test]
#[ignore = "the process that the next test kills"]
fn dies_in_the_middle_of_a_migration() {
    let Some(dir) = std::env::var_os(DYING) else { return };
    let mut conn = schema::connect(&schema::file(Path::new(&dir))).unwrap();
    let flags = rusqlite::functions::FunctionFlags::SQLITE_UTF8;
    let stall = move |_: &rusqlite::functions::Context<'_>| -> rusqlite::Result<i64> {
        println!("\nmidway");
        loop {
            std::thread::park();
        }
    };
    conn.create_scalar_function("stall", 0, flags, stall).unwrap();
    // A cache of one page: what the migration has changed so far lies in the log already.
    conn.execute_batch("PRAGMA cache_size = 1").unwrap();
    let mut migrations = schema::MIGRATIONS.to_vec();
    migrations.push(
        "CREATE TABLE half AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000)
           SELECT i, randomblob(1000) AS body FROM n;
         UPDATE outbox SET state = 'delivered'; SELECT stall();",
    );
    schema::migrate(&mut conn, &migrations).unwrap();
}

#[test]
fn a_kill_in_the_middle_of_a_migration_leaves_the_store_as_it_was() {
    let dir = old_store(2);
    let path = schema::file(dir.path());
    let before = dump(&path);
    let name = "store::tests::upgrade::dies_in_the_middle_of_a_migration";
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(DYING, dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(said.map_while(Result::ok).any(|line| line == "midway"), "it never came so far");
    // SIGKILL: nothing of it gets to tidy up.
    child.kill().unwrap();
    child.wait().unwrap();
    let log = std::fs::metadata(dir.path().join("hisync.db-wal")).unwrap().len();
    assert!(log > 1_000_000, "half of the migration lies in the log: {log} bytes");
    assert_eq!(dump(&path), before);
    let store = open(dir.path(), &start());
    drop(store);
    assert!(Reader::open(dir.path()).unwrap().verify(&mut |_, _| {}).unwrap().faults.is_empty());
}
