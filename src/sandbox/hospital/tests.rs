//! What the simulated hospital promises.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{Datelike as _, NaiveDate};
use encoding_rs::GB18030;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::catalogue::{self, For, GROUPS, Kind, PACKAGES, fixed};
use super::lab::{Declared, Letter, Verified, oru};
use super::people::{AREA, PHONE_BLOCK, Person, Sex, check_digit};
use super::traps::{Outcome, TRAPS};
use super::visit::{CRITICAL_VISIT, Mark, REFUSING_VISIT};
use super::*;
use crate::model::EntityType;

fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 20).unwrap()
}

fn people(n: usize) -> Vec<Person> {
    (0..n).map(|index| Visit::draw(7, index, n, day()).person).collect()
}

fn whole_day(seed: u64, n: usize, peis: &mut Peis) -> (Day, Vec<Step>) {
    let mut script = Day::new(seed, n);
    let mut steps = Vec::new();
    while let Some(step) = script.next(peis).unwrap() {
        steps.push(step);
    }
    (script, steps)
}

// ---------------------------------------------------------------- people

#[test]
fn citizen_ids_are_well_formed_and_belong_to_nobody() {
    for person in people(500) {
        let id = &person.citizen_id;
        assert_eq!(id.len(), 18);
        assert!(id.starts_with(AREA), "an assigned area code could name a real person");
        assert_eq!(&id[6..14], person.birth.format("%Y%m%d").to_string());
        assert_eq!(id.chars().last(), Some(check_digit(&id[..17])));
        let odd = (id.as_bytes()[16] - b'0') % 2 == 1;
        assert_eq!(odd, person.sex == Sex::Male);
        assert!(person.phone.starts_with(PHONE_BLOCK) && person.phone.len() == 11);
        assert!((17..=80).contains(&person.age(day())), "age {} in {}", person.age(day()), day().year());
    }
}

#[test]
fn the_check_digit_is_the_standards() {
    // The specimens that GB 11643-1999 itself prints: published numbers of nobody, kept to check against
    // the standard and not against ourselves.
    assert_eq!(check_digit("11010519491231002"), 'X');
    assert_eq!(check_digit("44052418800101001"), '4');
}

// ---------------------------------------------------------------- catalogue and visits

#[test]
fn the_catalogue_agrees_with_itself() {
    let mut codes = BTreeSet::new();
    for (_, item) in catalogue::items() {
        assert!(codes.insert(item.code), "{} twice", item.code);
        for sex in [Sex::Male, Sex::Female] {
            let Some((low, high)) = item.usual.bounds(sex) else { continue };
            let Kind::Number(decimals) = item.kind else { panic!("{} has bounds and is no number", item.code) };
            assert!(fixed(low, decimals) < fixed(high, decimals), "{}", item.code);
        }
    }
    assert!((60..90).contains(&codes.len()));
    assert!(GROUPS.len() >= 15 && PACKAGES.len() >= 6);
    for package in PACKAGES {
        let members: Vec<_> = package.members().map(|(code, _)| code).collect();
        assert_eq!(members.iter().collect::<BTreeSet<_>>().len(), members.len(), "{}", package.code);
        for code in members {
            let group = catalogue::group(code).unwrap();
            assert!(group.applies == For::All || group.applies == package.applies, "{} in {}", code, package.code);
        }
        assert!(fixed(package.sale_price, 2) <= package.original_price_fen(), "{}", package.code);
    }
}

#[test]
fn results_keep_the_arithmetic_that_an_expert_checks() {
    for index in 0..400 {
        let visit = Visit::draw(11, index, 400, day());
        let values: BTreeMap<_, _> = visit
            .orders
            .iter()
            .flat_map(|order| &order.results)
            .filter_map(|row| match row.item.kind {
                Kind::Number(decimals) if !row.value.starts_with('<') => {
                    Some((row.item.short, fixed(&row.value, decimals)))
                }
                _ => None,
            })
            .collect();
        let get = |short: &str| values.get(short).copied();
        let whole: i64 = ["NEUT%", "LYM%", "MONO%", "EO%", "BASO%"].iter().filter_map(|short| get(short)).sum();
        assert_eq!(whole, 1_000, "the differential is 100.0 %");
        if let (Some(tp), Some(alb), Some(glb)) = (get("TP"), get("ALB"), get("GLB")) {
            assert_eq!(tp, alb + glb);
        }
        if let (Some(total), Some(direct), Some(indirect)) = (get("TBIL"), get("DBIL"), get("IBIL")) {
            assert_eq!(indirect, total - direct);
        }
        assert!(get("SBP") > get("DBP"));
        assert!(values.values().all(|value| *value >= 0));
    }
}

#[test]
fn a_visit_does_not_depend_on_the_others() {
    let alone = format!("{:?}", Visit::draw(3, 5, 40, day()).orders);
    assert_eq!(alone, format!("{:?}", Visit::draw(3, 5, 40, day()).orders));
    assert_ne!(alone, format!("{:?}", Visit::draw(4, 5, 40, day()).orders));
    for seed in 0..50 {
        let refusing = Visit::draw(seed, REFUSING_VISIT, 40, day());
        assert!(refusing.orders.iter().any(|order| order.refused && order.results[0].value == "拒检"));
        let critical = Visit::draw(seed, CRITICAL_VISIT, 40, day());
        assert!(critical.orders.iter().flat_map(|order| &order.results).any(|row| row.mark == Mark::VeryHigh));
    }
}

// ---------------------------------------------------------------- the day

#[test]
fn a_day_is_the_same_under_the_same_seed() {
    let folder = tempfile::tempdir().unwrap();
    let play = |seed: u64, name: &str| {
        let mut peis = Peis::create(&folder.path().join(name)).unwrap();
        let (_, steps) = whole_day(seed, 15, &mut peis);
        (format!("{steps:?}"), dump(peis.path()))
    };
    let first = play(7, "first.db");
    assert_eq!(first, play(7, "second.db"));
    assert_ne!(first.1, play(8, "third.db").1);
}

fn dump(path: &std::path::Path) -> Vec<String> {
    let database = rusqlite::Connection::open(path).unwrap();
    let mut rows = Vec::new();
    for view in ["V_套餐", "V_体检报告", "V_体检结果", "V_登记组合", "V_体检结论"] {
        let mut statement = database.prepare(&format!("SELECT * FROM {view} ORDER BY 1, 2")).unwrap();
        let width = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let cells = (0..width).map(|at| format!("{:?}", row.get_ref(at).unwrap()));
            rows.push(cells.collect::<Vec<_>>().join(" | "));
        }
    }
    rows
}

#[test]
fn the_views_promise_what_a_reader_may_rely_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut peis = Peis::create(&folder.path().join("hospital.db")).unwrap();
    let (script, _) = whole_day(7, 40, &mut peis);
    let database = rusqlite::Connection::open(peis.path()).unwrap();
    let text = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let number = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();

    assert_eq!(text("SELECT typeof(体检号) || 体检号 FROM V_体检报告 ORDER BY 体检号 LIMIT 1"), "text0301170001");
    assert_eq!(number("SELECT count(*) FROM V_体检报告"), 41, "one of them is a re-check");
    assert_eq!(number("SELECT count(DISTINCT 性别) FROM V_体检报告"), 3, "1, 2 and one 9");
    assert!(number("SELECT count(*) FROM V_体检结果 WHERE 结果 LIKE '<%'") > 0);
    assert!(number("SELECT count(*) FROM V_体检结果 WHERE 提示 IS NULL") > 0);
    assert!(number("SELECT count(*) FROM V_体检结果 WHERE 提示 = ''") > 0);
    assert!(number("SELECT count(*) FROM V_体检结果 WHERE 结果 = '拒检'") > 0);
    assert!(number("SELECT count(*) FROM V_体检结果 WHERE 组合名称 IS NULL OR 组合序号 IS NULL") == 0);
    assert_eq!(number("SELECT count(*) FROM V_体检报告 WHERE 报告状态 = '0'"), 1, "one is never concluded");
    assert_eq!(number("SELECT count(*) FROM V_体检报告 WHERE 报告状态 = '2'"), 1);
    assert_eq!(number("SELECT count(*) FROM V_套餐 WHERE 停用标志 = '1'"), 1);
    assert!(number("SELECT count(*) - count(DISTINCT 更新时间) FROM V_体检报告") > 0, "equal timestamps occur");
    let ordered_and_missing = "SELECT count(*) FROM V_登记组合 o WHERE NOT EXISTS
        (SELECT 1 FROM V_体检结果 t WHERE t.体检号 = o.体检号 AND t.组合编码 = o.组合编码)";
    assert_eq!(number(ordered_and_missing), 0);

    // The catalogue's ledger is the catalogue, and two packages changed once.
    let ledger = script.ledger();
    assert_eq!(ledger.source(EntityType::ExamItem), peis.count("V_明细项目").unwrap());
    assert_eq!(ledger.source(EntityType::ExamItemGroup), peis.count("V_组合项目").unwrap());
    assert_eq!(ledger.source(EntityType::ExamPackage), peis.count("V_套餐").unwrap() + 2);
}

#[test]
fn the_ledger_counts_what_a_reader_that_polls_after_each_phase_sees() {
    let folder = tempfile::tempdir().unwrap();
    let mut peis = Peis::create(&folder.path().join("hospital.db")).unwrap();
    let mut script = Day::new(7, 40);
    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    let mut before: BTreeMap<String, String> = BTreeMap::new();
    let mut newest = String::new();
    let mut letters = 0;
    let mut elsewhere = 0;
    while let Some(step) = script.next(&mut peis).unwrap() {
        let reader = rusqlite::Connection::open(peis.path()).unwrap();
        let sql = "SELECT r.体检号, r.更新时间, r.报告状态 FROM V_体检报告 r";
        let mut statement = reader.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, format!("{} {}", row.get::<_, String>(1)?, row.get::<_, String>(2)?)))
        });
        let now: BTreeMap<String, String> = rows.unwrap().map(Result::unwrap).collect();
        let start = newest.clone();
        for (exam_no, state) in &now {
            if before.get(exam_no) != Some(state) {
                *seen.entry(exam_no.clone()).or_default() += 1;
                assert!(*state > start, "update times rise from phase to phase");
                newest = newest.max(state.clone());
            }
        }
        for message in &step.letters {
            let key = |report_no: &String| format!("main:lab:{report_no}");
            let produced = |report_no| step.produced.versions(EntityType::ExamReport, &key(report_no)).is_some();
            let new = message.report_nos.iter().filter(|report_no| produced(report_no)).count();
            let all_or_none = new == message.report_nos.len() || new == 0;
            assert!(all_or_none, "a message is new, or it was sent before, or it can't be read");
            letters += new as u64;
        }
        let rows = step.drops.iter().map(|drop| drop.table.split(|byte| *byte == b'\n').count() - 2);
        elsewhere += (step.reports.len() + rows.sum::<usize>()) as u64;
        before = now;
    }
    let from_peis: u64 = seen.values().sum();
    let undecodable = 1;
    assert_eq!(script.ledger().source(EntityType::ExamReport), from_peis + letters + undecodable + elsewhere);
    for (exam_no, count) in seen {
        let key = format!("main:peis:{exam_no}");
        assert_eq!(script.ledger().versions(EntityType::ExamReport, &key).unwrap().count, count, "{key}");
    }
    let flaws: BTreeSet<_> =
        script.ledger().iter().filter_map(|(_, _, versions)| versions.flaw).map(|flaw| format!("{flaw:?}")).collect();
    assert_eq!(flaws.len(), Flaw::ALL.len());
}

#[test]
fn a_report_that_is_final_again_is_the_same_but_for_its_update_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut peis = Peis::create(&folder.path().join("hospital.db")).unwrap();
    let mut script = Day::new(7, 12);
    let mut states = Vec::new();
    while let Some(step) = script.next(&mut peis).unwrap() {
        let reader = rusqlite::Connection::open(peis.path()).unwrap();
        let sql = "SELECT 报告状态 || coalesce(总检时间, '') FROM V_体检报告 WHERE 体检号 = '0301170007'";
        let state: Option<String> = reader.query_row(sql, [], |row| row.get(0)).ok();
        states.push((step.phase, state.unwrap_or_default()));
    }
    let at = |phase: Phase| states.iter().find(|(other, _)| *other == phase).unwrap().1.clone();
    assert_eq!(at(Phase::Conclusions), at(Phase::Recovery));
    assert!(at(Phase::Reversal).starts_with('9'));
}

// ---------------------------------------------------------------- the laboratory

fn letter(declared: Declared) -> Letter<'static> {
    Letter {
        control_id: "C1".to_owned(),
        report_no: "JY1".to_owned(),
        sent_at: day().and_hms_opt(11, 0, 0).unwrap(),
        verified: Verified::Final,
        declared,
        strange_flag: None,
    }
}

fn message(control_id: &str) -> LabMessage {
    LabMessage { control_id: control_id.to_owned(), report_nos: vec!["JY1".to_owned()], bytes: b"MSH|...\r".to_vec() }
}

#[test]
fn messages_are_gb18030_whatever_msh_18_says() {
    for (declared, field) in [(Declared::Nothing, ""), (Declared::Gb18030, "GB18030")] {
        let mut visit = Visit::draw(7, 0, 40, day());
        // 䶮 has four bytes in GB18030 and none in GB 2312; 橾's second byte is a vertical bar.
        visit.person.name = "䶮橾|王".to_owned();
        let sent = oru(&visit, visit.laboratory(), &letter(declared));
        assert!(std::str::from_utf8(&sent.bytes).is_err());
        let text = GB18030.decode_without_bom_handling_and_without_replacement(&sent.bytes).unwrap();
        let segments: Vec<&str> = text.split_terminator('\r').collect();
        assert_eq!(segments[0].split('|').nth(17), Some(field), "MSH-18 is the field after the 17th bar");
        assert_eq!(segments[1].split('|').nth(5), Some("䶮橾\\F\\王"));
        assert_eq!(segments[2].split('|').nth(19), Some(visit.exam_no.as_str()));
        let results = visit.laboratory().map(|order| order.results.len()).sum::<usize>();
        assert_eq!(segments.iter().filter(|segment| segment.starts_with("OBX|")).count(), results);
        assert!(text.contains("10\\S\\9/L"), "a caret inside a unit is escaped");
        for observation in segments.iter().filter(|segment| segment.starts_with("OBX|")) {
            let fields: Vec<&str> = observation.split('|').collect();
            assert_eq!(fields[11], "F");
            assert_eq!(fields[14].len(), 14);
        }
    }
}

#[test]
fn the_generator_of_measurements_makes_reports_of_some_twenty_results() {
    let all: Vec<Vec<u8>> = oru_messages(7, 50).collect();
    assert_eq!(all, oru_messages(7, 50).collect::<Vec<_>>());
    for bytes in &all {
        let lines = bytes.split(|byte| *byte == b'\r').filter(|line| line.starts_with(b"OBX|")).count();
        assert!((15..=30).contains(&lines), "{lines}");
    }
    assert_eq!(report_rows(7, 50).collect::<Vec<_>>(), report_rows(7, 50).collect::<Vec<_>>());
}

/// What a receiver does with one block that it read.
enum Reply {
    Code(&'static str),
    WrongId,
    Hang,
    Drop,
}

/// A receiver on a real socket that follows a script; yields the blocks that it read.
async fn receive(listener: TcpListener, script: Vec<Reply>) -> Vec<Vec<u8>> {
    let mut blocks = Vec::new();
    let mut connection: Option<TcpStream> = None;
    let mut hung = Vec::new();
    for reply in script {
        let mut open = match connection.take() {
            Some(open) => open,
            None => listener.accept().await.unwrap().0,
        };
        let mut block = Vec::new();
        while !block.ends_with(&[0x1C, 0x0D]) {
            assert_ne!(open.read_buf(&mut block).await.unwrap(), 0, "the sender went away");
        }
        blocks.push(block);
        let answer = match reply {
            Reply::Code(code) => format!("\x0bMSH|^~\\&|A|B|C|D|1||ACK|1|P|2.4\rMSA|{code}|C1\r\x1c\r"),
            Reply::WrongId => "\x0bMSH|^~\\&|A|B|C|D|1||ACK|1|P|2.4\rMSA|AA|C9\r\x1c\r".to_owned(),
            Reply::Drop => continue,
            Reply::Hang => {
                hung.push(open);
                continue;
            }
        };
        open.write_all(answer.as_bytes()).await.unwrap();
        // The sender hangs up on an answer that it can't match.
        connection = Some(open).filter(|_| matches!(reply, Reply::Code(_)));
    }
    blocks
}

async fn check(script: Vec<Reply>, patience: Patience, expected: (u32, Answer)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut sender = LabSender::new(address, patience);
    let message = message("C1");
    let (blocks, sent) = tokio::join!(receive(listener, script), sender.send(&message));
    assert_eq!((sent.attempts, sent.answer), expected);
    assert!(blocks.windows(2).all(|pair| pair[0] == pair[1]), "a resend has the same bytes and control id");
    assert_eq!(blocks.len(), expected.0 as usize);
    assert_eq!(blocks[0][0], 0x0B);
}

const EAGER: Patience = Patience { answer_within: Duration::from_secs(30), attempts: 5, pause: Duration::ZERO };

#[tokio::test]
async fn an_accepted_message_is_sent_once() {
    check(vec![Reply::Code("AA")], EAGER, (1, Answer::Accepted)).await;
    check(vec![Reply::Code("CA")], EAGER, (1, Answer::Accepted)).await;
}

#[tokio::test]
async fn an_error_answer_or_a_lost_connection_brings_the_same_message_again() {
    check(vec![Reply::Code("AE"), Reply::Code("AA")], EAGER, (2, Answer::Accepted)).await;
    check(vec![Reply::Drop, Reply::Code("AA")], EAGER, (2, Answer::Accepted)).await;
    check(vec![Reply::WrongId, Reply::Code("AA")], EAGER, (2, Answer::Accepted)).await;
    check(vec![Reply::Drop, Reply::Code("AE"), Reply::Code("AA")], EAGER, (3, Answer::Accepted)).await;
}

#[tokio::test]
async fn a_receiver_that_says_nothing_is_asked_again() {
    let patience = Patience { answer_within: Duration::from_millis(200), ..EAGER };
    check(vec![Reply::Hang, Reply::Hang], Patience { attempts: 2, ..patience }, (2, Answer::Silence)).await;
}

#[tokio::test]
async fn a_rejected_message_is_not_sent_again_and_patience_ends() {
    check(vec![Reply::Code("AR")], EAGER, (1, Answer::Refused("AR".to_owned()))).await;
    let errors = (0..5).map(|_| Reply::Code("AE")).collect();
    check(errors, EAGER, (5, Answer::Refused("AE".to_owned()))).await;
}

// ---------------------------------------------------------------- the configuration

#[test]
fn the_configuration_is_written_with_all_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let demo = DemoConfig {
        upstream_url: "http://127.0.0.1:1/".to_owned(),
        secret: "whsec_ZGVtbw==".to_owned(),
        admin_listen: "127.0.0.1:0".parse().unwrap(),
        mllp_listen: "127.0.0.1:0".parse().unwrap(),
        database: folder.path().join("a \"quoted\" folder/hospital.db"),
        data_dir: folder.path().join("data"),
    };
    let elsewhere = Elsewhere {
        outlab_url: "http://127.0.0.1:1/Report.asmx".to_owned(),
        day: day(),
        inbox: folder.path().join("an \"inbox\""),
    };
    std::fs::create_dir(&elsewhere.inbox).unwrap();
    let path = write_whole_config(folder.path(), &demo, &elsewhere).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert!(!text.contains("whsec_") && !text.contains(super::soap::PASSWORD), "a configuration holds no secret");
    let sources = table["sources"].as_array().unwrap();
    let database = sources[0]["settings"]["path"].as_str().unwrap();
    assert_eq!(database, demo.database.to_str().unwrap());
    for stream in sources.iter().flat_map(|source| source["streams"].as_array().unwrap()) {
        assert!(folder.path().join(stream["mapping"].as_str().unwrap()).is_file());
    }
    if let Err(problems) = crate::config::load(&folder.path().join("hisync.toml")) {
        panic!("{problems:#?}");
    }
}

// ---------------------------------------------------------------- the traps

#[test]
fn the_day_holds_at_least_twenty_traps_and_each_flaw_is_one() {
    let numbers: Vec<u8> = TRAPS.iter().map(|trap| trap.number).collect();
    assert!(numbers.is_sorted() && numbers.iter().all(|number| (1..=50).contains(number)));
    assert!(numbers.iter().collect::<BTreeSet<_>>().len() >= 20);
    let reasons: BTreeSet<&str> = TRAPS
        .iter()
        .filter_map(|trap| match trap.outcome {
            Outcome::Held(reason) | Outcome::HeldThenDelivered(reason) => Some(reason),
            _ => None,
        })
        .collect();
    // Codes that nobody knows are no trap of the table, and the first thing that is met in any hospital.
    let flaws = Flaw::ALL.map(Flaw::reason).into_iter().filter(|reason| *reason != "unknown-code");
    assert_eq!(reasons, flaws.collect());
    let sources = ["peis", "lab", "outlab", "imaging"];
    assert!(TRAPS.iter().all(|trap| sources.contains(&trap.source)));
}

// ---------------------------------------------------------------- the outside laboratory

#[tokio::test]
async fn the_outside_laboratory_answers_as_its_table_of_codes_says() {
    let outlab = Outlab::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |content: &str| {
        let body = format!(
            "<e:Envelope xmlns:e=\"http://schemas.xmlsoap.org/soap/envelope/\"><e:Body>{content}</e:Body></e:Envelope>"
        );
        let reply = client.post(outlab.url()).body(body).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    };
    let list = |token: &str, window: &str| {
        format!("<GetReportList><key>{token}</key><strXml><![CDATA[{window}]]></strXml></GetReportList>")
    };
    let window = "<r><begin>2026-11-20 00:00:00</begin><end>2026-11-20 23:59:59</end></r>";
    assert!(ask("<Login><password>guess</password></Login>").await.1.contains("<LoginResult>-1<"));
    let login = ask(&format!("<Login><password>{}</password></Login>", super::soap::PASSWORD)).await.1;
    let token = login.split_once("<LoginResult>").unwrap().1.split_once('<').unwrap().0.to_owned();
    for (content, code) in
        [(list(&token, window), "2&lt;"), (list(&token, "<r>"), "-3&lt;"), (list("stale", window), "-9&lt;")]
    {
        let (status, text) = ask(&content).await;
        assert!(status == 200 && text.contains(&format!("returnCode&gt;{code}")), "{content}: {text}");
    }
    assert_eq!(ask("<DropAll/>").await.0, 500);
    let report = OutsideReport {
        number: "0020261120000000001".to_owned(),
        updated_at: day().and_hms_opt(11, 0, 0).unwrap(),
        fields: vec![("name", "甲 <乙>".to_owned())],
        results: vec![vec![("remark", "]]>".to_owned())]],
    };
    outlab.publish(std::slice::from_ref(&report));
    assert!(ask(&list(&token, window)).await.1.contains("returnCode&gt;-9&lt;"), "a token lives until the next report");
    let text = ask(&list("WS000001", window)).await.1;
    assert!(text.contains("returnCode&gt;1&lt;") && text.contains("甲 &amp;lt;乙"), "{text}");
    let items = "<GetReportItems><key>WS000001</key><reportNo>0020261120000000001</reportNo></GetReportItems>";
    assert!(ask(items).await.1.contains("<remark>]]]]><![CDATA[></remark>"));
    outlab.publish(&[OutsideReport { results: vec![vec![("remark", "new".to_owned())]], ..report }]);
    assert!(ask(items).await.1.contains("<remark>]]]]><![CDATA[></remark>"), "the results to the list before");
    assert!(ask(&items.replace("01</key>", "02</key>")).await.1.contains("<remark>new</remark>"));
    outlab.stop().await;
}
