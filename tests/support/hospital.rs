//! A checkup system that changes all the time, laboratories that report, and what upstream must
//! have in the end. Told by the hospital's own rows, not by the agent's mappings.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{NaiveDate, NaiveDateTime, TimeDelta};
use fastrand::Rng;
use hisync::clock::Clock;
use hisync::sandbox::hospital::catalogue::{PACKAGES, items};
use hisync::sandbox::hospital::lab::{Declared, Letter, Verified, oru};
use hisync::sandbox::hospital::peis::ReportState;
use hisync::sandbox::hospital::people::Sex;
use hisync::sandbox::hospital::{LabMessage, Peis, Visit};
use rusqlite::Connection;

use crate::machine::{Stage, Way};

/// Blood counts are in every package.
const BLOOD_COUNT: &str = "002001";
/// A flag that the laboratory's code table lacks until [`learn_flag`].
const STRANGE_FLAG: &str = "ZZ";
/// So many people come at most.
const PEOPLE: usize = 60;
/// So many messages wait for the sender at most: on a slow machine fewer are offered in all.
const BACKLOG: usize = 40;
/// So many messages are offered at most.
const LETTERS: usize = 400;

/// What is known of an entity, flat: `status`, `result 002001/00200101`…
pub(crate) type Facts = BTreeMap<String, String>;

/// What upstream must have last, by subject; `None` where it is withdrawn, or was never to be seen.
pub(crate) type Wanted = BTreeMap<String, Option<Facts>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    Registered,
    Entered,
    Concluded,
    Reversed,
}

/// The checkup system and the laboratories.
pub(crate) struct Hospital {
    rng: Rng,
    seed: u64,
    peis: Peis,
    /// For what the checkup system's own people have no form for.
    console: Connection,
    visits: Vec<(Visit, Stand)>,
    /// One for each way in which messages are sent.
    labs: Vec<Laboratory>,
}

impl Hospital {
    /// Opens with its whole catalogue.
    pub(crate) fn open(stage: &Stage, seed: u64) -> Hospital {
        let labs: Vec<Laboratory> = stage.ways().iter().map(|way| Laboratory::new(*way)).collect();
        let mut peis = Peis::create(&stage.database()).unwrap();
        peis.change(|desk| desk.publish_catalogue()).unwrap();
        let console = Connection::open(stage.database()).unwrap();
        console.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        console.execute_batch("CREATE TABLE 下架 AS SELECT * FROM 套餐 WHERE 0").unwrap();
        Hospital { rng: Rng::with_seed(seed ^ 1), seed, peis, console, visits: Vec::new(), labs }
    }

    /// One thing happens.
    pub(crate) fn happen(&mut self, stage: &Stage) {
        match self.rng.u8(0..12) {
            0..2 => self.register(),
            2..6 => self.examine(),
            6..8 => self.trade(),
            _ => {
                let lab = self.rng.choice(&mut self.labs).unwrap();
                lab.report(stage, &mut self.rng, self.seed);
            }
        }
    }

    /// Each laboratory sends so many messages with nothing odd about them.
    pub(crate) fn report(&mut self, stage: &Stage, messages: usize) {
        for lab in &mut self.labs {
            for _ in 0..messages {
                let message = lab.first(&mut self.rng, self.seed, None, false);
                lab.post(stage, message);
            }
        }
    }

    fn lab(&self, way: Way) -> &Laboratory {
        self.labs.iter().find(|lab| lab.way == way).expect("the stage has this way")
    }

    /// The control ids of all messages that were offered to a sender, in order.
    pub(crate) fn offered(&self, way: Way) -> &[String] {
        &self.lab(way).offered
    }

    /// The subjects of the reports in the first so many of the messages that were offered over MLLP.
    pub(crate) fn subjects_of(&self, messages: usize) -> Vec<String> {
        let offered = &self.lab(Way::Mllp).letters[..messages];
        offered.iter().flat_map(|message| &message.report_nos).map(|no| lab_subject(Way::Mllp, no)).collect()
    }

    /// How many records a person has to look at, once the laboratories' flags are all known.
    pub(crate) fn held(&self) -> i64 {
        self.labs.iter().map(|lab| lab.held).sum()
    }

    fn register(&mut self) {
        if self.visits.len() < PEOPLE {
            let visit = Visit::draw(self.seed, self.visits.len(), PEOPLE, day());
            let sex = if visit.person.sex == Sex::Male { "1" } else { "2" };
            self.peis.change(|desk| desk.register(&visit, sex).and_then(|()| desk.touch(&visit, now()))).unwrap();
            self.visits.push((visit, Stand::Registered));
        }
    }

    /// A report goes one step on: results, conclusion, correction, 反审核, conclusion again.
    fn examine(&mut self) {
        if self.visits.is_empty() {
            return self.register();
        }
        let (visit, stand) = self.rng.choice(&mut self.visits).unwrap();
        let correct = *stand == Stand::Concluded && self.rng.bool();
        // Somebody wrote to the table directly: only a sweep can find that.
        let silent = correct && self.rng.u8(0..4) == 0;
        if correct {
            correct_blood_count(visit, &mut self.rng);
        }
        let (at, was) = (now(), *stand);
        self.peis
            .change(|desk| {
                if was == Stand::Registered || correct {
                    visit.orders.iter().try_for_each(|order| desk.enter(visit, order, None))?;
                }
                match was {
                    Stand::Registered => desk.visit_state(visit, "3")?,
                    Stand::Entered => desk.conclude(visit, ReportState::Concluded, at)?,
                    Stand::Concluded if correct => desk.conclude(visit, ReportState::Revised, at)?,
                    Stand::Concluded => desk.set_state(visit, ReportState::Reversed)?,
                    Stand::Reversed => desk.set_state(visit, ReportState::Concluded)?,
                }
                if silent { Ok(()) } else { desk.touch(visit, at) }
            })
            .unwrap();
        *stand = match was {
            Stand::Registered => Stand::Entered,
            Stand::Concluded if !correct => Stand::Reversed,
            _ => Stand::Concluded,
        };
    }

    /// The catalogue changes: prices, switches, names; a package goes, and comes back.
    fn trade(&mut self) {
        let package = self.rng.choice(PACKAGES).unwrap().code;
        match self.rng.u8(0..8) {
            0..3 => {
                let yuan = format!("{}.{:02}", self.rng.u32(50..900), self.rng.u32(0..100));
                self.peis.change(|desk| desk.reprice(package, &yuan)).unwrap();
            }
            3 => self.peis.change(|desk| desk.switch_off(package)).unwrap(),
            4 => drop(self.console.execute("UPDATE 套餐 SET 停用标志 = NULL WHERE 套餐编码 = ?1", [package]).unwrap()),
            5 => {
                let item = self.rng.choice(items().collect::<Vec<_>>()).unwrap().1;
                let name = format!("{}({})", item.name, self.rng.u32(0..1000));
                let sql = "UPDATE 明细项目 SET 明细名称 = ?2 WHERE 明细编码 = ?1";
                self.console.execute(sql, [item.code, &name]).unwrap();
            }
            // One at most is gone at a time: more at once would rightly be held as a bulk withdrawal.
            6 => self
                .console
                .execute_batch(&format!(
                    "BEGIN IMMEDIATE; INSERT INTO 套餐 SELECT * FROM 下架; DELETE FROM 下架;
                     INSERT INTO 下架 SELECT * FROM 套餐 WHERE 套餐编码 = '{package}';
                     DELETE FROM 套餐 WHERE 套餐编码 = '{package}'; COMMIT"
                ))
                .unwrap(),
            _ => self
                .console
                .execute_batch("BEGIN IMMEDIATE; INSERT INTO 套餐 SELECT * FROM 下架; DELETE FROM 下架; COMMIT")
                .unwrap(),
        }
    }

    /// What upstream must have once everything is read and delivered.
    pub(crate) fn wanted(&self) -> Wanted {
        let reports = self.labs.iter().flat_map(|lab| lab.reports.iter().map(|(no, facts)| (lab.way, no, facts)));
        let mut wanted: Wanted = reports.map(|(way, no, facts)| (lab_subject(way, no), Some(facts.clone()))).collect();
        wanted.extend(self.catalogue("exam_item", "SELECT 明细编码, 明细名称, '', 停用标志 IS NULL FROM 明细项目"));
        wanted
            .extend(self.catalogue("exam_item_group", "SELECT 组合编码, 组合名称, '', 停用标志 IS NULL FROM 组合项目"));
        wanted.extend(self.catalogue("exam_package", "SELECT 套餐编码, 套餐名称, 售价, 停用标志 IS NULL FROM 套餐"));
        let mut statement =
            self.console.prepare("SELECT 体检号, 报告号, 报告状态, trim(姓名), 更新时间 FROM V_体检报告").unwrap();
        let text = |row: &rusqlite::Row<'_>, at: usize| row.get::<_, String>(at).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let exam_no = text(row, 0);
            let status = match text(row, 2).as_str() {
                "1" => Some("final"),
                "2" => Some("revised"),
                _ => None,
            };
            let facts = status.map(|status| {
                let mut facts = Facts::from([
                    ("status".to_owned(), status.to_owned()),
                    ("number".to_owned(), text(row, 1)),
                    ("name".to_owned(), text(row, 3)),
                ]);
                facts.extend(self.pairs(
                    "SELECT 'result ' || 组合编码 || '/' || 明细编码, 结果 FROM 体检结果 WHERE 体检号 = ?1",
                    &exam_no,
                ));
                let sql = "SELECT 'conclusion ' || 序号, 内容 FROM 总检结论 WHERE 体检号 = ?1";
                facts.extend(self.pairs(sql, &exam_no));
                facts
            });
            wanted.insert(format!("exam_report/main:peis:{exam_no}"), facts);
        }
        wanted
    }

    fn pairs(&self, sql: &str, exam_no: &str) -> Facts {
        let mut statement = self.console.prepare_cached(sql).unwrap();
        let rows = statement.query_map([exam_no], |row| Ok((row.get(0)?, plain(&row.get::<_, String>(1)?)))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn catalogue(&self, entity: &str, sql: &str) -> Wanted {
        let mut statement = self.console.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let facts = Facts::from([
                ("name".to_owned(), row.get(1)?),
                ("price".to_owned(), row.get(2)?),
                ("enabled".to_owned(), row.get::<_, bool>(3)?.to_string()),
            ]);
            Ok((format!("{entity}/main:peis:{}", row.get::<_, String>(0)?), Some(facts)))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

/// Somebody adds the laboratory's strange flag to the code table: what was held for it, and whatever
/// else the mapping made, is to be mapped again from the next start on.
pub(crate) fn learn_flag(stage: &Stage) {
    let table = stage.path("mappings/demo-lab/codes/flag.csv");
    let known = std::fs::read_to_string(&table).unwrap();
    std::fs::write(table, format!("{known}{STRANGE_FLAG},异常,abnormal,unusual in one way or another\n")).unwrap();
}

/// A text without blanks and line ends, which the agent may set differently.
pub(crate) fn plain(text: &str) -> String {
    text.split_whitespace().collect()
}

fn lab_subject(way: Way, report_no: &str) -> String {
    format!("exam_report/main:{}:{report_no}", way.source())
}

fn day() -> NaiveDate {
    now().date()
}

/// By how many seconds the hospital is in the future.
static LATER: AtomicI64 = AtomicI64::new(0);

/// The hospital is in the future while this is there.
#[derive(Default)]
pub(crate) struct Later(i64);

impl Later {
    /// By so many seconds more; answers by how many in all.
    pub(crate) fn by(&mut self, secs: i64) -> i64 {
        self.0 += secs;
        LATER.store(self.0, Ordering::SeqCst);
        self.0
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        LATER.store(0, Ordering::SeqCst);
    }
}

/// The hospital's wall clock.
fn now() -> NaiveDateTime {
    let later = TimeDelta::seconds(LATER.load(Ordering::SeqCst));
    Clock::system().now().naive_utc() + TimeDelta::hours(8) + later
}

fn correct_blood_count(visit: &mut Visit, rng: &mut Rng) {
    let (sex, value) = (visit.person.sex, format!("{}.{:02}", rng.u32(3..12), rng.u32(0..100)));
    visit.order_mut(BLOOD_COUNT).expect("blood counts are in every package").results[0].correct(&value, sex);
}

/// A laboratory's side.
struct Laboratory {
    way: Way,
    /// People whose reports can be corrected, with the number that their reports begin with.
    visits: Vec<(Visit, String)>,
    /// Those without reports can't be read.
    letters: Vec<LabMessage>,
    /// With those that were offered again.
    offered: Vec<String>,
    /// What each report says last.
    reports: BTreeMap<String, Facts>,
    held: i64,
}

impl Laboratory {
    fn new(way: Way) -> Laboratory {
        Laboratory {
            way,
            visits: Vec::new(),
            letters: Vec::new(),
            offered: Vec::new(),
            reports: BTreeMap::new(),
            held: 0,
        }
    }

    fn report(&mut self, stage: &Stage, rng: &mut Rng, seed: u64) {
        if self.offered.len() >= LETTERS || self.offered.len() >= stage.acked(self.way) + BACKLOG {
            return;
        }
        let message = match rng.u8(0..20) {
            // A file that is written again is a new file: an old one of it would be an older version.
            0..3 if !self.letters.is_empty() && self.way != Way::Drop => {
                // Hours later, the same bytes: nothing may come of it, least of all an older version.
                let again = rng.choice(&self.letters).unwrap().clone();
                return self.offer(stage, &again);
            }
            3..8 if !self.visits.is_empty() => self.correction(rng),
            8 | 9 => self.first(rng, seed, Some(STRANGE_FLAG), false),
            10 => self.first(rng, seed, None, true),
            _ => self.first(rng, seed, None, false),
        };
        self.post(stage, message);
    }

    fn post(&mut self, stage: &Stage, message: LabMessage) {
        self.offer(stage, &message);
        self.letters.push(message);
    }

    fn offer(&mut self, stage: &Stage, message: &LabMessage) {
        stage.post(self.way, self.offered.len(), &message.bytes);
        self.offered.push(message.control_id.clone());
    }

    fn first(&mut self, rng: &mut Rng, seed: u64, strange_flag: Option<&str>, damaged: bool) -> LabMessage {
        let number = self.letters.len();
        let visit = Visit::draw(seed ^ (2 + self.way as u64), number, LETTERS, day());
        let report_no = format!("JY{number:06}");
        let letter = self.letter(&report_no, Verified::Final, rng, strange_flag);
        let orders: Vec<_> = visit.laboratory().take(3).collect();
        let mut message = oru(&visit, orders.iter().copied(), &letter);
        if damaged {
            // 0xFF begins no character of GB18030.
            let name = message.bytes.windows(5).position(|bytes| bytes == b"PID|1").unwrap();
            message.bytes.splice(name + 5..name + 5, [0xFF, 0xFF]);
            message.report_nos.clear();
            self.held += 1;
            return message;
        }
        for (report_no, order) in message.report_nos.iter().zip(&orders) {
            self.reports.insert(report_no.clone(), lab_facts(&visit, order, report_no, "final"));
        }
        if orders.iter().any(|order| order.group.code == BLOOD_COUNT) {
            self.visits.push((visit, report_no));
        }
        message
    }

    fn correction(&mut self, rng: &mut Rng) -> LabMessage {
        let at = rng.usize(..self.visits.len());
        let (mut visit, report_no) = self.visits[at].clone();
        correct_blood_count(&mut visit, rng);
        let letter = self.letter(&report_no, Verified::Corrected, rng, None);
        let order = visit.laboratory().find(|order| order.group.code == BLOOD_COUNT).unwrap();
        let message = oru(&visit, std::iter::once(order), &letter);
        let facts = lab_facts(&visit, order, &message.report_nos[0], "revised");
        self.reports.insert(message.report_nos[0].clone(), facts);
        self.visits[at].0 = visit;
        message
    }

    fn letter<'a>(
        &self,
        report_no: &str,
        verified: Verified,
        rng: &mut Rng,
        strange_flag: Option<&'a str>,
    ) -> Letter<'a> {
        Letter {
            control_id: format!("{}{:06}", self.way.initial(), self.letters.len()),
            report_no: report_no.to_owned(),
            sent_at: now(),
            verified,
            declared: if rng.bool() { Declared::Gb18030 } else { Declared::Nothing },
            strange_flag,
        }
    }
}

fn lab_facts(visit: &Visit, order: &hisync::sandbox::hospital::visit::Order, report_no: &str, status: &str) -> Facts {
    let mut facts = Facts::from([
        ("status".to_owned(), status.to_owned()),
        ("number".to_owned(), report_no.to_owned()),
        ("name".to_owned(), visit.person.name.clone()),
    ]);
    facts.extend(
        order.results.iter().map(|row| (format!("result {}/{}", order.group.code, row.item.short), plain(&row.value))),
    );
    facts
}
