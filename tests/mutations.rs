//! What becomes of a change in a correct source: five sources, each changed in many ways, each change
//! drawn many times from a fixed seed and read through the mapping beside the state before it.
//!
//! A change is **held** for a person, **told** upstream as an issue, or **carried** by an event, which
//! shows that the entity is another one than before. One that leads to none of these passed unnoticed,
//! and none may. Where a rule exists for a kind of change, less than its weight is a failure. The table
//! in docs/mutations.md is the one that this test makes; `HISYNC_BLESS=1` writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use connector_api::Document;
use fastrand::Rng;
use hisync::mapping::{Context, Files, Input, Mapping, Site};
use hisync::model::dictionary::Dictionary;
use hisync::model::{Compose, Entity, EntityKey, EntityType, Outcome, Severity, Wish};
use serde_json::{Value as Json, json};

/// How often each kind of change is drawn for each source.
const TRIES: usize = 12;

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// A correct source: where its rows are, and what stands in which of their columns (JSON pointers).
struct Source {
    name: &'static str,
    folder: &'static str,
    entity: EntityType,
    /// The lists of rows. Empty where the record is one wide row.
    rows: &'static str,
    code: &'static str,
    label: &'static str,
    value: &'static str,
    unit: &'static str,
    range: &'static str,
    flag: &'static str,
    /// Of the record itself.
    sex: (&'static str, &'static [&'static str]),
    person: &'static str,
    number: &'static str,
    birth: &'static str,
    issued: &'static str,
    status: &'static str,
}

const NONE: Source = Source {
    name: "",
    folder: "",
    entity: EntityType::ExamReport,
    rows: "",
    code: "",
    label: "",
    value: "",
    unit: "",
    range: "",
    flag: "",
    sex: ("", &[]),
    person: "",
    number: "",
    birth: "",
    issued: "",
    status: "",
};

const SOURCES: [Source; 5] = [
    Source {
        name: "relational report",
        folder: "source-peis",
        rows: "/items",
        code: "/XMBM",
        label: "/XMMC",
        value: "/JG",
        unit: "/DW",
        range: "/CKFW",
        flag: "/BZ",
        sex: ("/XB", &["1", "2"]),
        person: "/XM",
        number: "/SFZH",
        birth: "/CSRQ",
        issued: "/BGSJ",
        status: "/BGZT",
        ..NONE
    },
    Source {
        name: "wide row",
        folder: "source-wide",
        sex: ("/XB", &["1", "2"]),
        person: "/XM",
        number: "/SFZH",
        birth: "/CSRQ",
        issued: "/BGSJ",
        status: "/BGZT",
        ..NONE
    },
    Source {
        name: "HL7 laboratory",
        folder: "source-hl7",
        rows: "/results/0/observations",
        code: "/OBX/3/0/0",
        label: "/OBX/3/0/1",
        value: "/OBX/5",
        unit: "/OBX/6",
        range: "/OBX/7",
        flag: "/OBX/8",
        sex: ("/PID/8", &["M", "F"]),
        person: "/PID/5/0/0",
        number: "/PID/19",
        birth: "/PID/7",
        issued: "/MSH/7",
        ..NONE
    },
    Source {
        name: "package",
        folder: "source-package",
        entity: EntityType::ExamPackage,
        rows: "/items",
        code: "/ZHBM",
        label: "/ZHMC",
        sex: ("/XB", &["0", "1", "2"]),
        person: "/TCMC",
        ..NONE
    },
    Source {
        name: "dictionary",
        folder: "source-dictionary",
        entity: EntityType::ExamItem,
        rows: "/list",
        code: "/code",
        label: "/项目 名称",
        unit: "/unit",
        range: "/range",
        ..NONE
    },
];

/// What became of a change, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Unnoticed,
    Carried,
    Told,
    Held,
}

/// A kind of change: its name, the least that must become of it, and how it is made; false where it
/// has nothing to act on, in this source or with this draw.
type Kind = (&'static str, Fate, fn(&Source, &mut Json, &mut Rng) -> bool);

const KINDS: [Kind; 50] = [
    ("value: another number nearby", Fate::Carried, |s, d, r| {
        number(s, d, r, |n, r| n * r.choice([0.96, 0.98, 1.03]).unwrap_or(1.1))
    }),
    ("value: decimal point moved", Fate::Carried, |s, d, r| {
        number(s, d, r, |n, r| n * r.choice([0.1, 10.0]).unwrap_or(10.0))
    }),
    ("value: a thousandfold", Fate::Told, |s, d, r| number(s, d, r, |n, _| n * 1000.0)),
    ("value: a thousandth", Fate::Carried, |s, d, r| number(s, d, r, |n, _| n / 1000.0)),
    ("value: sign lost or won", Fate::Carried, |s, d, r| number(s, d, r, |n, _| -n)),
    ("value: comparator won", Fate::Carried, |s, d, r| {
        on_value(s, d, r, |text, r| Some(format!("{}{text}", r.choice(["<", "＞"])?)))
    }),
    ("value: emptied", Fate::Held, |s, d, r| !s.value.is_empty() && on_value(s, d, r, |_, _| Some(String::new()))),
    ("value: 拒检 in its place", Fate::Carried, |s, d, r| on_value(s, d, r, |_, _| Some("拒检".to_owned()))),
    ("value: of the next row", Fate::Carried, values_swapped),
    ("values: all moved by one row", Fate::Told, values_moved),
    ("values: all emptied", Fate::Held, |s, d, _| every(s, d, s.value, |_| Some(Json::Null))),
    ("unit: of another thing", Fate::Carried, |s, d, r| {
        on_row(s, d, r, s.unit, |_, r| Some(r.choice(["mmol/L", "mg/dL", "g/L", "%", "fL", "mmHg"])?.to_owned()))
    }),
    ("unit and value: in another unit", Fate::Held, value_in_another_unit),
    ("value: a word in place of a number", Fate::Told, |s, d, r| {
        on_value(s, d, r, |text, _| text.parse::<f64>().ok().map(|_| "正常".to_owned()))
    }),
    ("unit: misspelt", Fate::Told, |s, d, r| {
        on_row(s, d, r, s.unit, |_, r| Some(r.choice(["μmo1/L", "ummol/L", "moml", "g/1"])?.to_owned()))
    }),
    ("unit: emptied", Fate::Carried, |s, d, r| on_row(s, d, r, s.unit, |_, _| Some(String::new()))),
    ("range: bounds swapped", Fate::Held, |s, d, r| {
        on_row(s, d, r, s.range, |text, _| {
            text.split_once(['-', '～'])
                .filter(|(low, high)| !low.contains(':') && !high.contains(':'))
                .map(|(low, high)| format!("{high}-{low}"))
        })
    }),
    ("range: of the next row", Fate::Carried, |s, d, r| swap_rows(s, d, r, s.range)),
    ("range: of the other sex", Fate::Held, |s, d, r| {
        s.entity == EntityType::ExamReport
            && on_row(s, d, r, s.range, |text, _| text.split_once(';').map(|(_, women)| women.to_owned()))
    }),
    ("flag: inverted", Fate::Held, |s, d, r| {
        on_row(s, d, r, s.flag, |text, _| match text {
            "↑" => Some("↓".to_owned()),
            "H" => Some("L".to_owned()),
            _ => None,
        })
    }),
    ("flag: won by a normal value", Fate::Told, |s, d, r| flag_won(s, d, r)),
    ("flag: an unknown one", Fate::Told, |s, d, r| on_row(s, d, r, s.flag, |_, _| Some("g".to_owned()))),
    ("item code: another one", Fate::Carried, |s, d, r| {
        on_row(s, d, r, s.code, |text, r| Some(format!("{text}{}", r.u8(0..10))))
    }),
    ("item code: of another row", Fate::Held, |s, d, r| code_of_another(s, d, r)),
    ("item names: of two rows swapped", Fate::Held, names_swapped),
    ("item code: emptied", Fate::Held, |s, d, r| on_row(s, d, r, s.code, |_, _| Some(String::new()))),
    ("item name: damaged", Fate::Held, |s, d, r| {
        on_row(s, d, r, s.label, |text, _| Some(text.chars().next()?.to_string() + "?"))
    }),
    ("row: removed", Fate::Carried, row_removed),
    ("row: moved to another person's report", Fate::Held, |s, d, r| {
        s.entity == EntityType::ExamReport && row_removed(s, d, r)
    }),
    ("row: moved to another group", Fate::Held, row_moved),
    ("row: twice", Fate::Carried, row_twice),
    ("row: twice, with another value", Fate::Held, |s, d, r| {
        !s.value.is_empty() && row_twice(s, d, r) && last(s, d, |row| set(row, s.value, Json::from("77")))
    }),
    ("rows: of a whole group removed", Fate::Held, group_removed),
    ("rows: all removed", Fate::Held, |s, d, _| {
        s.entity != EntityType::ExamItem
            && rows(s, d).is_some_and(|rows| {
                rows.clear();
                true
            })
    }),
    ("column: renamed", Fate::Held, |s, d, r| column_renamed(s, d, r)),
    ("columns: value and unit swapped", Fate::Held, |s, d, _| columns_swapped(s, d, s.value, s.unit)),
    ("columns: value and range swapped", Fate::Told, |s, d, _| columns_swapped(s, d, s.value, s.range)),
    ("columns: unit and range swapped", Fate::Held, |s, d, _| columns_swapped(s, d, s.unit, s.range)),
    ("columns: code and name swapped", Fate::Held, |s, d, _| {
        s.entity == EntityType::ExamReport && columns_swapped(s, d, s.code, s.label) && group_codes(s, d)
    }),
    ("sex: the other one", Fate::Held, |s, d, r| {
        s.entity == EntityType::ExamReport
            && top(s, d, s.sex.0, |text| s.sex.1.iter().find(|code| **code != text).map(|code| Json::from(*code)), r)
    }),
    ("sex: an unknown code", Fate::Held, |s, d, r| top(s, d, s.sex.0, |_| Some(Json::from("9x")), r)),
    ("name: damaged", Fate::Held, |s, d, r| {
        top(s, d, s.person, |text| Some(Json::from(format!("{}?", text.chars().next()?))), r)
    }),
    ("name: another one", Fate::Carried, |s, d, r| top(s, d, s.person, |_| Some(Json::from("李试二")), r)),
    ("identity number: a digit wrong", Fate::Told, digit_wrong),
    ("birth: another day", Fate::Held, |s, d, r| {
        top(s, d, s.birth, |text| Some(Json::from(text.replace("88", "89"))), r)
    }),
    ("person: another one", Fate::Held, another_person),
    ("issue: before the exam", Fate::Held, |s, d, r| {
        !s.status.is_empty() && top(s, d, s.issued, |text| Some(Json::from(text.replace("11-20", "11-10"))), r)
    }),
    ("issue: no date", Fate::Held, |s, d, r| top(s, d, s.issued, |_| Some(Json::from("2026-13-45 99:00:00")), r)),
    ("status: an unknown one", Fate::Held, |s, d, r| top(s, d, s.status, |_| Some(Json::from("7")), r)),
    ("status: taken back", Fate::Carried, |s, d, r| top(s, d, s.status, |_| Some(Json::from("2")), r)),
];

/// Kinds that only a package has.
const OF_PACKAGES: [Kind; 12] = [
    ("package price: tenfold", Fate::Told, |s, d, r| package(s, d, "/ZHJ", "4980.000", r)),
    ("package price: below nothing", Fate::Held, |s, d, r| package(s, d, "/ZHJ", "-498", r)),
    ("package price: a part of a fen", Fate::Held, |s, d, r| package(s, d, "/YJ", "680.505", r)),
    ("package price: none", Fate::Held, |s, d, r| package(s, d, "/YJ", "0", r)),
    ("package prices: swapped", Fate::Told, |s, d, _| s.entity == EntityType::ExamPackage && swap(d, "/YJ", "/ZHJ")),
    ("item price: another one", Fate::Carried, |s, d, r| package(s, d, "/items/0/DJ", "700.50", r)),
    ("package: turned off", Fate::Carried, |s, d, r| package(s, d, "/TYBZ", "1", r)),
    ("package: an unknown switch", Fate::Held, |s, d, r| package(s, d, "/JYBZ", "X", r)),
    ("package: days swapped", Fate::Held, |s, d, _| s.entity == EntityType::ExamPackage && swap(d, "/QYRQ", "/ZZRQ")),
    ("package: ages swapped", Fate::Held, |s, d, _| s.entity == EntityType::ExamPackage && swap(d, "/NLXX", "/NLSX")),
    ("package: a choice of too many", Fate::Held, |s, d, r| package(s, d, "/choices/0/ZS", "3", r)),
    ("item: for the other sex", Fate::Held, |s, d, r| package(s, d, "/items/2/XMXB", "1", r)),
];

fn rows<'d>(source: &Source, data: &'d mut Json) -> Option<&'d mut Vec<Json>> {
    if source.rows.is_empty() { None } else { data.pointer_mut(source.rows)?.as_array_mut() }
}

fn text(row: &Json, column: &str) -> String {
    row.pointer(column).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn set(row: &mut Json, column: &str, value: Json) -> bool {
    row.pointer_mut(column).map(|cell| *cell = value).is_some()
}

fn swap(data: &mut Json, one: &str, other: &str) -> bool {
    let (Some(first), Some(second)) = (data.pointer(one).cloned(), data.pointer(other).cloned()) else { return false };
    first != second && set(data, one, second) && set(data, other, first)
}

/// Changes a column of a drawn row in which something stands.
fn on_row(
    source: &Source,
    data: &mut Json,
    rng: &mut Rng,
    column: &str,
    change: impl Fn(&str, &mut Rng) -> Option<String>,
) -> bool {
    let Some(rows) = rows(source, data).filter(|_| !column.is_empty()) else { return false };
    for _ in 0..20 {
        let row = rng.usize(..rows.len());
        let before = text(&rows[row], column);
        if before.is_empty() && column != source.flag {
            continue;
        }
        match change(&before, rng) {
            Some(after) if after != before => return set(&mut rows[row], column, Json::from(after)),
            _ => {}
        }
    }
    false
}

/// The columns of a wide row.
fn wide(data: &Json) -> Vec<String> {
    let names = data.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    names.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase()) && is_result(name)).collect()
}

fn is_result(name: &str) -> bool {
    std::fs::read_to_string("fixtures/mapping/source-wide/codes/wide.csv")
        .expect("the dictionary of the wide row")
        .lines()
        .any(|line| line.split(',').next() == Some(name))
}

/// Changes a drawn value, in a row or in a column of a wide row.
fn on_value(
    source: &Source,
    data: &mut Json,
    rng: &mut Rng,
    change: impl Fn(&str, &mut Rng) -> Option<String>,
) -> bool {
    if source.entity != EntityType::ExamReport {
        return false;
    }
    if !source.rows.is_empty() {
        return on_row(source, data, rng, source.value, change);
    }
    let columns = wide(data);
    let column = format!("/{}", columns[rng.usize(..columns.len())]);
    let before = text(data, &column);
    change(&before, rng).filter(|after| *after != before).is_some_and(|after| set(data, &column, Json::from(after)))
}

fn number(source: &Source, data: &mut Json, rng: &mut Rng, change: impl Fn(f64, &mut Rng) -> f64) -> bool {
    on_value(source, data, rng, |text, rng| {
        let places = text.split_once('.').map_or(0, |(_, behind)| behind.len());
        let number: f64 = text.parse().ok()?;
        let after = change(number, rng);
        // As many digits behind the point as a laboratory prints, and more where the point moved.
        let places = if after.abs() < number.abs() / 5.0 { places + 3 } else { places };
        Some(format!("{after:.places$}"))
    })
}

fn swap_rows(source: &Source, data: &mut Json, rng: &mut Rng, column: &str) -> bool {
    let Some(rows) = rows(source, data).filter(|rows| rows.len() > 1 && !column.is_empty()) else { return false };
    let at = rng.usize(..rows.len() - 1);
    let (one, other) = (rows[at].pointer(column).cloned(), rows[at + 1].pointer(column).cloned());
    let (Some(one), Some(other)) = (one, other) else { return false };
    one != other && set(&mut rows[at], column, other) && set(&mut rows[at + 1], column, one)
}

fn values_swapped(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    if source.entity == EntityType::ExamReport && source.rows.is_empty() {
        let columns = wide(data);
        let at = rng.usize(..columns.len() - 1);
        return swap(data, &format!("/{}", columns[at]), &format!("/{}", columns[at + 1]));
    }
    swap_rows(source, data, rng, source.value)
}

fn values_moved(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    if source.entity != EntityType::ExamReport {
        return false;
    }
    let by = if rng.bool() { 1 } else { usize::MAX };
    if source.rows.is_empty() {
        let columns = wide(data);
        let values: Vec<Json> = columns.iter().map(|column| data[column.as_str()].clone()).collect();
        for (at, column) in columns.iter().enumerate() {
            data[column.as_str()] = values[at.wrapping_add(by).min(usize::MAX - 1) % values.len()].clone();
        }
        return true;
    }
    let column = source.value;
    let Some(rows) = rows(source, data) else { return false };
    let values: Vec<Json> = rows.iter().map(|row| row.pointer(column).cloned().unwrap_or_default()).collect();
    for (at, row) in rows.iter_mut().enumerate() {
        set(row, column, values[(at + values.len()).wrapping_add(by) % values.len()].clone());
    }
    true
}

fn every(source: &Source, data: &mut Json, column: &str, change: impl Fn(&Json) -> Option<Json>) -> bool {
    let Some(rows) = rows(source, data).filter(|_| !column.is_empty()) else { return false };
    let mut changed = false;
    for row in rows {
        if let Some(after) = row.pointer(column).and_then(&change) {
            changed |= set(row, column, after);
        }
    }
    changed
}

fn flag_won(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let Some(rows) = rows(source, data).filter(|_| !source.flag.is_empty()) else { return false };
    let calm: Vec<usize> = (0..rows.len())
        .filter(|at| {
            let row = &rows[*at];
            let judged = !text(row, source.range).is_empty() && !text(row, source.value).starts_with('<');
            judged && matches!(text(row, source.flag).as_str(), "" | "N")
        })
        .collect();
    let row = calm[rng.usize(..calm.len())];
    let flag = if source.flag == "/BZ" { "↑" } else { "H" };
    set(&mut rows[row], source.flag, Json::from(flag))
}

/// The code of another row of the same group, so that one item has two results.
fn code_of_another(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let Some(rows) = rows(source, data).filter(|_| !source.code.is_empty()) else { return false };
    let at = rng.usize(..rows.len() - 1);
    let group = |row: &Json| text(row, "/ZHBM");
    if source.folder == "source-peis" && group(&rows[at]) != group(&rows[at + 1]) {
        return false;
    }
    let code = text(&rows[at], source.code);
    set(&mut rows[at + 1], source.code, Json::from(code))
}

/// A mass per litre becomes the same mass per decilitre: right in itself, and not comparable with what was before.
fn value_in_another_unit(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let Some(rows) = rows(source, data).filter(|_| source.entity == EntityType::ExamReport) else { return false };
    let fit: Vec<usize> = (0..rows.len())
        .filter(|at| text(&rows[*at], source.unit) == "g/L" && text(&rows[*at], source.value).parse::<f64>().is_ok())
        .collect();
    let Some(at) = rng.choice(&fit) else { return false };
    let value: f64 = text(&rows[*at], source.value).parse().unwrap_or_default();
    set(&mut rows[*at], source.range, Json::from(""));
    set(&mut rows[*at], source.unit, Json::from("g/dL"))
        && set(&mut rows[*at], source.value, Json::from(format!("{:.1}", value / 10.0)))
}

/// The names of two neighbours of one group change places.
fn names_swapped(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let Some(rows) = rows(source, data).filter(|_| source.entity == EntityType::ExamReport) else { return false };
    let at = rng.usize(..rows.len() - 1);
    if text(&rows[at], "/ZHBM") != text(&rows[at + 1], "/ZHBM") {
        return false;
    }
    let (one, other) = (text(&rows[at], source.label), text(&rows[at + 1], source.label));
    one != other
        && set(&mut rows[at], source.label, Json::from(other))
        && set(&mut rows[at + 1], source.label, Json::from(one))
}

/// A row goes over to another group of the same report.
fn row_moved(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    if source.folder != "source-peis" {
        return false;
    }
    let Some(rows) = rows(source, data) else { return false };
    let at = rng.usize(..rows.len());
    let Some(to) = rows.iter().find(|row| text(row, "/ZHBM") != text(&rows[at], "/ZHBM")).cloned() else {
        return false;
    };
    let mut row = rows.remove(at);
    for column in ["/ZHBM", "/ZHMC", "/KSMC"] {
        set(&mut row, column, Json::from(text(&to, column)));
    }
    rows.insert(0, row);
    true
}

fn row_removed(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let Some(rows) = rows(source, data) else { return false };
    rows.remove(rng.usize(..rows.len()));
    true
}

fn row_twice(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    // A dictionary that names an item twice with the same words says nothing else than before.
    if source.entity == EntityType::ExamItem {
        return false;
    }
    let Some(rows) = rows(source, data) else { return false };
    let row = rows[rng.usize(..rows.len())].clone();
    rows.push(row);
    true
}

fn last(source: &Source, data: &mut Json, change: impl Fn(&mut Json) -> bool) -> bool {
    rows(source, data).and_then(|rows| rows.last_mut()).is_some_and(change)
}

fn group_removed(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    if source.folder != "source-peis" {
        return false;
    }
    let Some(rows) = rows(source, data) else { return false };
    let group = text(&rows[rng.usize(..rows.len())], "/ZHBM");
    rows.retain(|row| text(row, "/ZHBM") != group);
    true
}

/// A column of the rows, or of the record, that the source calls by another name.
fn column_renamed(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let columns: Vec<&str> = [source.code, source.label, source.value, source.unit, source.range, source.flag]
        .into_iter()
        .filter(|column| !column.is_empty() && column.matches('/').count() == 1)
        .collect();
    let rename = |row: &mut Json, column: &str| {
        let Some(map) = row.as_object_mut() else { return false };
        map.remove(&column[1..]).map(|cell| map.insert(format!("{}_NEW", &column[1..]), cell)).is_some()
    };
    if let (Some(column), Some(rows)) = (rng.choice(&columns).copied(), rows(source, data)) {
        return rows.iter_mut().all(|row| rename(row, column));
    }
    if source.rows.is_empty() {
        let columns = wide(data);
        let column = format!("/{}", columns[rng.usize(..columns.len())]);
        return rename(data, &column);
    }
    false
}

fn columns_swapped(source: &Source, data: &mut Json, one: &str, other: &str) -> bool {
    let Some(rows) = rows(source, data).filter(|_| !one.is_empty() && !other.is_empty()) else { return false };
    let mut changed = false;
    for row in rows {
        changed |= swap(row, one, other);
    }
    changed
}

/// Codes and names of the groups as well: nothing about the items tells that they changed places, so
/// the orders must.
fn group_codes(source: &Source, data: &mut Json) -> bool {
    source.folder == "source-peis" && columns_swapped(source, data, "/ZHBM", "/ZHMC")
}

fn top(_: &Source, data: &mut Json, column: &str, change: impl Fn(&str) -> Option<Json>, _: &mut Rng) -> bool {
    let before = text(data, column);
    if column.is_empty() || before.is_empty() {
        return false;
    }
    change(&before)
        .filter(|after| after.as_str() != Some(before.as_str()))
        .is_some_and(|after| set(data, column, after))
}

fn digit_wrong(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    let at = rng.usize(..17);
    top(
        source,
        data,
        source.number,
        |number| {
            let mut digits = number.as_bytes().to_vec();
            digits[at] = b'0' + (digits[at] - b'0' + 1) % 10;
            String::from_utf8(digits).ok().map(Json::from)
        },
        &mut Rng::with_seed(0),
    )
}

fn another_person(source: &Source, data: &mut Json, rng: &mut Rng) -> bool {
    if source.entity != EntityType::ExamReport {
        return false;
    }
    let birth = if text(data, source.birth).contains('-') { "1970-01-01" } else { "19700101" };
    let number = "999999197001010017";
    let all = [(source.person, "李试二"), (source.birth, birth), (source.number, number)];
    // The age goes with the person.
    let _ = set(data, "/NL", Json::from("56"));
    all.iter().all(|(column, value)| top(source, data, column, |_| Some(Json::from(*value)), rng))
}

fn package(source: &Source, data: &mut Json, column: &str, value: &str, _: &mut Rng) -> bool {
    source.entity == EntityType::ExamPackage && set(data, column, Json::from(value))
}

fn context() -> Context {
    Context {
        hospital: "demo-001".to_owned(),
        campus: "main".to_owned(),
        source: "peis".to_owned(),
        adapter: "fixture".to_owned(),
        timezone: chrono_tz::Asia::Shanghai,
    }
}

/// The stream that gives the source.
const STREAM: &str = "peis/reports";

/// A site that reads the dictionaries of its source.
fn site() -> Site {
    let kinds = [EntityType::ExamItem, EntityType::ExamItemGroup];
    Site::default().reading(kinds.map(|kind| (kind, "peis".to_owned())))
}

/// The dictionary of a source: what is in it while nothing is wrong.
#[derive(Default)]
struct Books(BTreeMap<(EntityType, String), Arc<Entity>>);

impl Dictionary for Books {
    fn look(&self, _: Option<&str>, kind: EntityType, code: &str) -> Option<Vec<Arc<Entity>>> {
        self.0.get(&(kind, code.to_owned())).map(|entry| vec![entry.clone()])
    }
}

impl Books {
    fn of(ledger: &Ledger) -> Books {
        let mut books = Books::default();
        for (key, (_, data)) in ledger {
            let data: Json = serde_json::from_slice(data).expect("JSON");
            let groups = data["groups"].as_array().or(data["items"].as_array()).cloned().unwrap_or_default();
            if matches!(key.entity, EntityType::ExamReport | EntityType::ExamPackage) {
                groups.iter().for_each(|group| books.group(group));
                let ordered = data["visit"]["ordered_groups"].as_array().cloned().unwrap_or_default();
                ordered.iter().for_each(|group| books.group(group));
            }
        }
        books
    }

    fn group(&mut self, group: &Json) {
        let items = group["items"].as_array().cloned().unwrap_or_default();
        let members: Vec<Json> = items.iter().map(|item| json!({ "item_code": item["item_code"] })).collect();
        let code = group["group_code"].as_str().expect("a code");
        let entry = json!({ "group_code": code, "group_name": code, "members": members, "enabled": true });
        self.add(EntityType::ExamItemGroup, code, entry);
        for item in items {
            let code = item["item_code"].as_str().expect("a code");
            let counted = ["numeric", "comparator", "range"].map(Json::from).contains(&item["value_kind"]);
            let mut entry = json!({
                "item_code": code, "item_name": item["item_name"], "applicable_sex": "both", "enabled": true,
                "value_type": if counted { "numeric" } else { "text" },
            });
            for unit in ["unit_raw", "unit_ucum"] {
                entry[unit] = item[unit].clone();
            }
            self.add(EntityType::ExamItem, code, entry);
        }
    }

    fn add(&mut self, kind: EntityType, code: &str, mut entry: Json) {
        entry["envelope"] = json!({
            "hospital_id": "demo-001", "campus_id": "main", "source_system": "peis", "entity_type": kind.as_str(),
            "business_key": format!("main:peis:{code}"), "lifecycle": "active", "issues": [],
            "provenance": { "source_ref": "V", "adapter": "fixture" },
            "manifest": { "rows_read": 0, "mapped": 0, "duplicates": 0, "excluded": [] },
        });
        let entity = Entity::from_json(kind, entry.to_string().as_bytes()).expect("an entry");
        self.0.entry((kind, code.to_owned())).or_insert_with(|| Arc::new(entity));
    }

    /// How heavy what contradicts the dictionary is.
    fn contradicts(&self, key: &EntityKey, data: &[u8]) -> Option<Severity> {
        let compared = site().compare(key, &[(STREAM.to_owned(), data.to_vec())], self);
        compared.findings.iter().map(|finding| finding.severity).max()
    }
}

/// The state of the ledger: what each entity was when the source was correct.
type Ledger = BTreeMap<EntityKey, (Wish, Vec<u8>)>;

fn outcomes(mapping: &Mapping, data: &Json) -> Vec<Outcome> {
    let document = Document::from_bytes(&serde_json::to_vec(data).expect("JSON")).expect("an archived document");
    mapping.apply(&context(), Input { document: &document, source_ref: "V_TEST", charset: None })
}

fn codes(data: &[u8]) -> BTreeSet<String> {
    let data: Json = serde_json::from_slice(data).expect("JSON");
    let issues = data["envelope"]["issues"].as_array().cloned().unwrap_or_default();
    issues.iter().map(|issue| format!("{}{}{}", issue["code"], issue["path"], issue["source_value"])).collect()
}

fn fate(before: &Ledger, books: &Books, after: Vec<Outcome>) -> Fate {
    let mut worst = Fate::Unnoticed;
    let mut seen = BTreeSet::new();
    for outcome in after {
        let found = match outcome {
            Outcome::Held(held) => {
                seen.extend(held.key);
                Fate::Held
            }
            Outcome::Mapped(mapped) => {
                seen.insert(mapped.key.clone());
                match before.get(&mapped.key) {
                    None if books.contradicts(&mapped.key, &mapped.data) >= Some(Severity::Hold) => Fate::Held,
                    None => Fate::Carried,
                    Some((wish, data)) if *wish == mapped.wish && *data == mapped.data => Fate::Unnoticed,
                    Some((_, data)) => {
                        let present = mapped.wish == Wish::Present;
                        let contradicts = books.contradicts(&mapped.key, &mapped.data).filter(|_| present);
                        let doubted = present && site().doubt_change(&mapped.key, data, &mapped.data).is_some();
                        if doubted || contradicts >= Some(Severity::Hold) {
                            Fate::Held
                        } else if contradicts >= Some(Severity::Warn)
                            || (present && !codes(&mapped.data).is_subset(&codes(data)))
                        {
                            Fate::Told
                        } else {
                            Fate::Carried
                        }
                    }
                }
            }
        };
        worst = worst.max(found);
    }
    // An entity that a snapshot lacks is withdrawn after two complete reads, by an event.
    let gone = before.keys().any(|key| !seen.contains(key));
    if gone { worst.max(Fate::Carried) } else { worst }
}

/// A source as it is when nothing is wrong, and what the ledger then has.
fn correct(source: &Source) -> (Mapping, Json, Ledger, Books) {
    let folder = Path::new("fixtures/mapping").join(source.folder);
    let mapping = Mapping::compile(&folder.join("mapping.toml"), source.entity, &Disk).expect("a mapping");
    let data: Json = serde_json::from_slice(&std::fs::read(folder.join("input.json")).expect("read")).expect("JSON");
    let ledger = outcomes(&mapping, &data).into_iter().map(|outcome| match outcome {
        Outcome::Mapped(mapped) => (mapped.key, (mapped.wish, mapped.data)),
        Outcome::Held(held) => panic!("the correct {} is held: {held:?}", source.name),
    });
    let ledger: Ledger = ledger.collect();
    let books = Books::of(&ledger);
    for (key, (_, data)) in &ledger {
        assert_eq!(books.contradicts(key, data), None, "the correct {} contradicts its dictionary", source.name);
    }
    (mapping, data, ledger, books)
}

/// How often each fate was met.
#[derive(Default)]
struct Count([usize; 4]);

#[test]
fn every_change_in_a_correct_source_is_held_told_or_carried_by_an_event() {
    let mut counts: Vec<(&str, Fate, Count)> = Vec::new();
    let mut wrong = Vec::new();
    let read: Vec<(Mapping, Json, Ledger, Books)> = SOURCES.iter().map(correct).collect();
    for (name, least, change) in KINDS.iter().chain(&OF_PACKAGES) {
        let mut count = Count::default();
        for (source, (mapping, correct, before, books)) in SOURCES.iter().zip(&read) {
            let mut rng = Rng::with_seed(0x6869_7379_6e63);
            for _ in 0..TRIES {
                let mut changed = correct.clone();
                if !change(source, &mut changed, &mut rng) || changed == *correct {
                    continue;
                }
                let fate = fate(before, books, outcomes(mapping, &changed));
                count.0[fate as usize] += 1;
                if fate < *least {
                    let lines = difference(correct, &changed);
                    wrong.push(format!("{name} in the {}: {fate:?}, not {least:?}: {lines}", source.name));
                }
            }
        }
        assert!(count.0.iter().sum::<usize>() > 0, "{name} acts on no source");
        counts.push((name, *least, count));
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_table(&counts);
}

/// The first places where two records differ.
fn difference(one: &Json, other: &Json) -> String {
    let lines = |data| serde_json::to_string_pretty(data).expect("JSON").lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let different = one.iter().zip(&other).filter(|(one, other)| one != other).take(3);
    different.map(|(one, other)| format!("{} → {}", one.trim(), other.trim())).collect::<Vec<_>>().join("; ")
}

fn assert_table(counts: &[(&str, Fate, Count)]) {
    let mut page = include_str!("mutations/head.md").to_owned();
    let share = |part: usize, all: usize| match part * 100 / all.max(1) {
        _ if part == 0 => "–".to_owned(),
        0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    };
    let mut sum = Count::default();
    for (name, least, Count(count)) in counts {
        let all: usize = count.iter().sum();
        let [unnoticed, carried, told, held] = *count;
        let least = match least {
            Fate::Held => "held",
            Fate::Told => "told",
            _ => "carried",
        };
        page.push_str(&format!(
            "| {name} | {all} | {} | {} | {} | {unnoticed} | {least} |\n",
            share(held, all),
            share(told, all),
            share(carried, all)
        ));
        sum.0.iter_mut().zip(count).for_each(|(sum, count)| *sum += count);
    }
    let all: usize = sum.0.iter().sum();
    let [unnoticed, carried, told, held] = sum.0;
    let (held, told, carried) = (share(held, all), share(told, all), share(carried, all));
    page.push_str(&format!("| **all** | {all} | {held} | {told} | {carried} | {unnoticed} | |\n"));
    let path = Path::new("docs/mutations.md");
    if std::env::var_os("HISYNC_BLESS").is_some() {
        std::fs::write(path, &page).expect("the table can be written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/mutations.md is not the table of this run; HISYNC_BLESS=1 writes it:\n{page}");
}
