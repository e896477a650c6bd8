//! The checkup system: a SQLite file with Chinese names, three levels of catalogue, and views for
//! the agent's read-only account.
//!
//! hisync's own SQLite lives in `store` and nowhere else. This one is the *hospital's*: the agent
//! meets it as any other source system, through a connector, and hisync never writes to it.
//!
//! What a real one does, this one does: exam numbers are text with a leading zero, sex is `1` or `2`,
//! each date column has a format of its own, numbers are text padded with blanks, an off switch that
//! is NULL means "on", an empty flag may be `''` or NULL, and 反审核 sets a report back.

use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use rusqlite::{Connection, Transaction, params};

use super::catalogue::{self, GROUPS, PACKAGES, Role, Usual};
use super::people::{Person, Sex};
use super::visit::{Mark, Order, ResultRow, Visit};

const SCHEMA: &str = include_str!("peis.sql");

/// What went wrong in the simulated checkup system.
#[derive(Debug, thiserror::Error)]
pub enum PeisError {
    /// The database file could not be made.
    #[error("create the hospital's database {path:?}")]
    Create {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A change could not be written.
    #[error("write to the hospital's database")]
    Write(#[source] rusqlite::Error),
    /// The database could not be read.
    #[error("read the hospital's database")]
    Read(#[source] rusqlite::Error),
}

/// How far a report is, by the PEIS's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportState {
    /// `0`, no conclusion yet.
    Open,
    /// `1`, concluded 总检.
    Concluded,
    /// `2`, concluded again after a correction.
    Revised,
    /// `9`, taken back 反审核.
    Reversed,
}

impl ReportState {
    /// The PEIS's code.
    pub fn code(self) -> &'static str {
        match self {
            ReportState::Open => "0",
            ReportState::Concluded => "1",
            ReportState::Revised => "2",
            ReportState::Reversed => "9",
        }
    }
}

/// The checkup system's database and its only writer.
#[derive(Debug)]
pub struct Peis {
    connection: Connection,
    path: PathBuf,
}

impl Peis {
    /// Makes an empty database, replacing a file that is there.
    pub fn create(path: &Path) -> Result<Peis, PeisError> {
        let failed = |source| PeisError::Create { path: path.to_owned(), source };
        let file = path.to_string_lossy().into_owned();
        for leftover in [file.clone(), format!("{file}-wal"), format!("{file}-shm")] {
            // Absent is what we want; anything else shows when the file is opened.
            let _ = std::fs::remove_file(leftover);
        }
        let connection = Connection::open(path).map_err(failed)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
        // The hospital may lose its last seconds in a power cut; that is its business.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        Ok(Peis { connection, path: path.to_owned() })
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Applies changes in one transaction: all of them or none.
    pub fn change<T>(&mut self, apply: impl FnOnce(&Desk<'_>) -> rusqlite::Result<T>) -> Result<T, PeisError> {
        let transaction = self.connection.transaction().map_err(PeisError::Write)?;
        let done = apply(&Desk { transaction: &transaction }).map_err(PeisError::Write)?;
        transaction.commit().map_err(PeisError::Write)?;
        Ok(done)
    }

    /// How many rows a table or view has.
    pub fn count(&self, name: &str) -> Result<u64, PeisError> {
        let sql = format!("SELECT count(*) FROM \"{}\"", name.replace('"', "\"\""));
        self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs).map_err(PeisError::Read)
    }
}

/// What the hospital's people do, inside one transaction.
#[derive(Debug)]
pub struct Desk<'a> {
    transaction: &'a Transaction<'a>,
}

impl Desk<'_> {
    /// Publishes the whole catalogue.
    pub fn publish_catalogue(&self) -> rusqlite::Result<()> {
        for (group, item) in catalogue::items() {
            self.transaction.prepare_cached("INSERT INTO 明细项目 VALUES (?,?,?,?,?,?,?,?,?,NULL,NULL)")?.execute(
                params![
                    item.code,
                    item.name,
                    item.kind.code(),
                    (!item.unit.is_empty()).then_some(item.unit),
                    item.usual.bounds(Sex::Male).map(|_| item.usual.printed(Sex::Male)),
                    group.applies.code(),
                    group.department,
                    group.specimen,
                    item.short,
                ],
            )?;
            for (sex, low, high, text) in ranges(item.usual) {
                let sql = "INSERT INTO 明细参考 VALUES (?,?,?,?,?)";
                self.transaction.prepare_cached(sql)?.execute(params![item.code, sex, low, high, text])?;
            }
        }
        for group in GROUPS {
            let sql = "INSERT INTO 组合项目 VALUES (?,?,?,?,?,?,?,NULL,NULL)";
            self.transaction.prepare_cached(sql)?.execute(params![
                group.code,
                group.name,
                group.applies.code(),
                group.price,
                group.department,
                group.specimen,
                if group.fasting { "1" } else { "0" },
            ])?;
            for (place, item) in group.items.iter().enumerate() {
                let sql = "INSERT INTO 组合明细 VALUES (?,?,?)";
                self.transaction.prepare_cached(sql)?.execute(params![group.code, item.code, nth(place)])?;
            }
        }
        PACKAGES.iter().try_for_each(|package| self.publish_package(package))
    }

    fn publish_package(&self, package: &catalogue::Package) -> rusqlite::Result<()> {
        let sql = "INSERT INTO 套餐 VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,NULL,'0',NULL)";
        self.transaction.prepare_cached(sql)?.execute(params![
            package.code,
            package.name,
            package.kind,
            package.applies.code(),
            catalogue::printed(package.original_price_fen(), 2),
            package.sale_price,
            if package.choice.is_empty() { "0" } else { "2" },
            if package.company.is_some() { "1" } else { "0" },
            package.company,
            package.ages.map(|(from, _)| from),
            package.ages.map(|(_, to)| to),
            "20260101",
            package.valid_to,
        ])?;
        for (place, (code, role)) in package.members().enumerate() {
            let sql = "INSERT INTO 套餐明细 VALUES (?,?,?,?,?,1,?)";
            let price = catalogue::group(code).map(|group| group.price);
            let choice = (role == Role::Choice).then_some("A");
            self.transaction.prepare_cached(sql)?.execute(params![
                package.code,
                code,
                role.code(),
                price,
                choice,
                nth(place)
            ])?;
        }
        if !package.choice.is_empty() {
            self.transaction.execute("INSERT INTO 套餐选择组 VALUES (?,'A',1,2)", [package.code])?;
        }
        Ok(())
    }

    /// Changes the price that is asked for a package; yuan, as text.
    pub fn reprice(&self, package: &str, yuan: &str) -> rusqlite::Result<()> {
        self.transaction.execute("UPDATE 套餐 SET 售价 = ?2 WHERE 套餐编码 = ?1", [package, yuan]).map(drop)
    }

    /// Takes a package off sale by one of its three switches.
    pub fn switch_off(&self, package: &str) -> rusqlite::Result<()> {
        self.transaction.execute("UPDATE 套餐 SET 停用标志 = '1' WHERE 套餐编码 = ?1", [package]).map(drop)
    }

    /// Registers a person with what was ordered. `sex` is the code that is written down.
    pub fn register(&self, visit: &Visit, sex: &str) -> rusqlite::Result<()> {
        let person = &visit.person;
        let day = visit.registered_at.date();
        let sql = "INSERT INTO 体检登记 VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,'1',?)";
        self.transaction.prepare_cached(sql)?.execute(params![
            visit.exam_no,
            person.archive_no,
            padded_name(person),
            sex,
            person.birth.format("%Y%m%d").to_string(),
            person.citizen_id,
            person.phone,
            person.marital,
            person.company.map(|(code, _)| code),
            person.company.map(|(_, name)| name),
            visit.package.code,
            stamp(visit.registered_at),
            day.format("%Y/%-m/%-d").to_string(),
            format!("{}岁", person.age(day)),
            visit.previous,
        ])?;
        for (place, order) in visit.orders.iter().enumerate() {
            let origin = if order.role == Role::AddOn { "2" } else { "1" };
            let sql = "INSERT INTO 登记组合 VALUES (?,?,?,'N',NULL,?)";
            let row = params![visit.exam_no, order.group.code, origin, nth(place)];
            self.transaction.prepare_cached(sql)?.execute(row)?;
        }
        let sql = "INSERT INTO 体检报告 VALUES (?,?,'0',NULL,NULL,NULL,?)";
        let report_no = format!("BG{}", visit.exam_no);
        self.transaction.prepare_cached(sql)?.execute(params![visit.exam_no, report_no, stamp(visit.registered_at)])?;
        Ok(())
    }

    /// Enters the results of one order. `strange_flag` replaces the first result's flag.
    pub fn enter(&self, visit: &Visit, order: &Order, strange_flag: Option<&str>) -> rusqlite::Result<()> {
        let (exam_no, group) = (&visit.exam_no, order.group);
        let sql = "DELETE FROM 体检结果 WHERE 体检号 = ?1 AND 组合编码 = ?2";
        self.transaction.prepare_cached(sql)?.execute([exam_no.as_str(), group.code])?;
        for (place, row) in order.results.iter().enumerate() {
            let columns = result_columns(row, place, strange_flag);
            let sql = "INSERT INTO 体检结果 VALUES (?,?,?,?,?,?,?,?,?,?,?,?)";
            self.transaction.prepare_cached(sql)?.execute(params![
                exam_no,
                group.code,
                row.item.code,
                row.item.name,
                columns.value,
                columns.unit,
                columns.reference,
                columns.flag,
                columns.critical,
                nth(place),
                order.performed_at.format("%Y-%m-%d %H:%M").to_string(),
                order.performer,
            ])?;
        }
        let sql = "UPDATE 登记组合 SET 状态 = ?3, 小结 = ?4 WHERE 体检号 = ?1 AND 组合编码 = ?2";
        self.transaction.prepare_cached(sql)?.execute([
            exam_no.as_str(),
            group.code,
            order.state(),
            order.summary(),
        ])?;
        Ok(())
    }

    /// Writes the conclusions anew and sets the report's state.
    pub fn conclude(&self, visit: &Visit, state: ReportState, at: NaiveDateTime) -> rusqlite::Result<()> {
        let sql = "DELETE FROM 总检结论 WHERE 体检号 = ?1";
        self.transaction.prepare_cached(sql)?.execute([&visit.exam_no])?;
        for (place, conclusion) in visit.conclusions().iter().enumerate() {
            let sql = "INSERT INTO 总检结论 VALUES (?,?,?,?,?)";
            let row = params![visit.exam_no, nth(place), conclusion.kind, conclusion.text, conclusion.advice];
            self.transaction.prepare_cached(sql)?.execute(row)?;
        }
        let sql = "UPDATE 体检报告 SET 报告状态 = ?2, 总检时间 = ?3, 总检医生 = ?4, 审核医生 = ?4 WHERE 体检号 = ?1";
        let row = params![visit.exam_no, state.code(), stamp(at), visit.chief];
        self.transaction.prepare_cached(sql)?.execute(row)?;
        self.visit_state(visit, "6")
    }

    /// Takes a concluded report back, or concludes it again as it was; nothing else changes.
    pub fn set_state(&self, visit: &Visit, state: ReportState) -> rusqlite::Result<()> {
        let sql = "UPDATE 体检报告 SET 报告状态 = ?2 WHERE 体检号 = ?1";
        self.transaction.prepare_cached(sql)?.execute([visit.exam_no.as_str(), state.code()]).map(drop)
    }

    /// Sets how far the visit is: `1` registered, `3` in progress, `6` concluded.
    pub fn visit_state(&self, visit: &Visit, state: &str) -> rusqlite::Result<()> {
        let sql = "UPDATE 体检登记 SET 状态 = ?2 WHERE 体检号 = ?1";
        self.transaction.prepare_cached(sql)?.execute([visit.exam_no.as_str(), state]).map(drop)
    }

    /// Sets the report's update time, which is all that an incremental reader goes by.
    pub fn touch(&self, visit: &Visit, at: NaiveDateTime) -> rusqlite::Result<()> {
        let sql = "UPDATE 体检报告 SET 更新时间 = ?2 WHERE 体检号 = ?1";
        self.transaction.prepare_cached(sql)?.execute([&visit.exam_no, &stamp(at)]).map(drop)
    }
}

/// A place in a list, counted from 1.
fn nth(place: usize) -> i64 {
    place as i64 + 1
}

type Range = (&'static str, Option<&'static str>, Option<&'static str>, Option<String>);

/// The rows of 明细参考 for an item: sex code, low, high, text.
fn ranges(usual: Usual) -> Vec<Range> {
    match usual {
        Usual::Between(low, high, _) => vec![("0", Some(low), Some(high), None)],
        Usual::BySex(men, women) => {
            vec![("1", Some(men[0]), Some(men[1]), None), ("2", Some(women[0]), Some(women[1]), None)]
        }
        Usual::Below(..) | Usual::Word(_) => vec![("0", None, None, Some(usual.printed(Sex::Male)))],
        Usual::Unstated => Vec::new(),
    }
}

/// What a result's row has in the columns that clerks fill by habit.
pub(super) struct ResultColumns<'a> {
    pub(super) value: String,
    pub(super) unit: Option<&'a str>,
    pub(super) reference: Option<&'a str>,
    pub(super) flag: Option<&'a str>,
    pub(super) critical: &'static str,
}

/// The columns of the result in this place of its group; a strange flag goes to the first one.
pub(super) fn result_columns<'a>(row: &'a ResultRow, place: usize, strange_flag: Option<&'a str>) -> ResultColumns<'a> {
    // Two clerks, two habits: one leaves "as usual" empty, the other leaves it out.
    let usual_flag = Some(row.mark.peis()).filter(|flag| !flag.is_empty() || place % 2 == 1);
    ResultColumns {
        value: format!("{}{}", row.value, if place % 5 == 4 { "  " } else { "" }),
        unit: Some(row.item.unit).filter(|unit| !unit.is_empty()),
        reference: Some(row.reference.as_str()).filter(|range| !range.is_empty()),
        flag: strange_flag.filter(|_| place == 0).or(usual_flag),
        critical: if row.mark == Mark::VeryHigh { "1" } else { "0" },
    }
}

/// The name's column is CHAR(10) in the original product, so it comes padded.
pub(super) fn padded_name(person: &Person) -> String {
    format!("{:<10}", person.name)
}

/// `2026-11-22 08:05:11`, the hospital's wall clock.
pub(super) fn stamp(at: NaiveDateTime) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}
