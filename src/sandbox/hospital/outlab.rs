//! What the outside laboratory 外送 reports: rare tests, told by a web service ([`super::soap`]).
//!
//! Its codes are its own: sex is `0` for men and `1` for women, a birthday is a number of milliseconds,
//! and a failed review (`5`) stands above a passed one (`4`).

use chrono::{NaiveDateTime, TimeZone as _};
use chrono_tz::Asia::Shanghai;
use fastrand::Rng;

use super::catalogue::printed;
use super::ledger::Flaw;
use super::people::Sex;
use super::visit::Visit;

/// No more reports than this, however many people come.
const MOST_REPORTS: usize = 40;

/// A report as the service shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutsideReport {
    /// Its number: 19 digits with leading zeros.
    pub number: String,
    /// What the service's window of time goes by; the hospital's wall clock.
    pub updated_at: NaiveDateTime,
    /// What the list says of it: names and texts.
    pub fields: Vec<(&'static str, String)>,
    /// Its results: names and texts, row by row.
    pub results: Vec<Vec<(&'static str, String)>>,
}

/// The part that a report plays; the traps in the names of its comments are those of [`super::traps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Nothing unusual; `1.30` and `<5.000E+02` among its results (T18).
    Usual,
    /// One item in two groups, with two results (T16).
    TwoGroups,
    /// The specimen was rejected 标本已退检 (T17).
    Rejected,
    /// The range stands in the unit's column (T19).
    Shifted,
    /// A value in full width, padded (T20).
    Padded,
    /// `μmo1/L` (T21).
    DoubtfulUnit,
    /// The name is damaged: `王?` (T28).
    DamagedName,
    /// The sex is that of somebody else's code table (T1).
    InvertedSex,
    /// The review failed at first (T3).
    FailedReview,
    /// A join has doubled a row (T11).
    Doubled,
    /// The report is final before its results are there (T6).
    HalfWay,
    /// Corrected later, with an older update time (T5).
    OldCorrection,
    /// A remark holds `]]>` and markup (T25).
    Markup,
}

impl Part {
    const SPECIAL: [Part; 12] = [
        Part::TwoGroups,
        Part::Rejected,
        Part::Shifted,
        Part::Padded,
        Part::DoubtfulUnit,
        Part::DamagedName,
        Part::InvertedSex,
        Part::FailedReview,
        Part::Doubled,
        Part::HalfWay,
        Part::OldCorrection,
        Part::Markup,
    ];

    pub(super) fn of(place: usize) -> Part {
        Part::SPECIAL.get(place).copied().unwrap_or(Part::Usual)
    }

    /// What the agent must hold it for, as it first comes.
    pub(super) fn flaw(self) -> Option<Flaw> {
        match self {
            Part::Shifted => Some(Flaw::ShiftedColumns),
            Part::DamagedName => Some(Flaw::DamagedName),
            Part::InvertedSex => Some(Flaw::InvertedSex),
            Part::HalfWay => Some(Flaw::HalfWay),
            _ => None,
        }
    }

    /// Whether it is published once more, in the phase of corrections.
    pub(super) fn comes_again(self) -> bool {
        matches!(self, Part::FailedReview | Part::HalfWay | Part::OldCorrection)
    }
}

/// How many reports there are in a day with so many people.
pub(super) fn reports(people: usize) -> usize {
    (people / 2).clamp(Part::SPECIAL.len() + 2, MOST_REPORTS)
}

/// The report of this place as it first comes, or as it comes again.
pub(super) fn report(seed: u64, place: usize, visit: &Visit, at: NaiveDateTime, again: bool) -> OutsideReport {
    let part = Part::of(place);
    let person = &visit.person;
    let male = (person.sex == Sex::Male) != (part == Part::InvertedSex);
    let state = match (part, again) {
        (Part::FailedReview, false) => "5",
        (Part::OldCorrection, true) => "6",
        _ => "4",
    };
    let name = match part {
        // A code page that lacks the second character has left its mark.
        Part::DamagedName => person.name.chars().next().into_iter().chain("?".chars()).collect(),
        _ => person.name.clone(),
    };
    let birth = Shanghai.from_local_datetime(&person.birth.and_time(chrono::NaiveTime::MIN)).earliest();
    let number = format!("00{}{place:09}", visit.registered_at.format("%Y%m%d"));
    let fields = vec![
        ("reportNo", number.clone()),
        ("examNo", visit.exam_no.clone()),
        ("patientNo", person.archive_no.clone()),
        ("name", name),
        ("sex", if male { "0" } else { "1" }.to_owned()),
        ("birth", birth.map(|birth| birth.timestamp_millis().to_string()).unwrap_or_default()),
        ("idNo", person.citizen_id.clone()),
        ("state", state.to_owned()),
        ("receivedAt", visit.registered_at.format("%Y/%-m/%-d %H:%M:%S").to_string()),
        // Who has not been there yet is written as the oldest day that the program knows.
        ("checkedAt", if state == "5" { "1900-01-01 00:00:00".to_owned() } else { stamp(at) }),
        ("updatedAt", stamp(at)),
    ];
    let results = if part == Part::HalfWay && !again { Vec::new() } else { results(seed, place, part, again) };
    OutsideReport { number, updated_at: at, fields, results }
}

fn stamp(at: NaiveDateTime) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What one row of results says.
#[derive(Clone)]
struct Row {
    group: (&'static str, &'static str),
    item: (&'static str, &'static str),
    value: String,
    unit: &'static str,
    range: &'static str,
    remark: &'static str,
}

const VITAMINS: (&str, &str) = ("W01", "维生素检测");
const VIRUS: (&str, &str) = ("W02", "乙肝病毒核酸定量");
const ACIDS: (&str, &str) = ("W03", "总胆汁酸");

fn results(seed: u64, place: usize, part: Part, again: bool) -> Vec<Vec<(&'static str, String)>> {
    let mut rng = Rng::with_seed(seed ^ (place as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03));
    let row = |group, item, value: String, unit, range| Row { group, item, value, unit, range, remark: "" };
    let vitamin = printed(rng.i64(3_000..9_000), 2);
    let mut rows = vec![
        row(VITAMINS, ("25OHD", "25羟基维生素D"), vitamin, "ng/mL", "30.00-100.00"),
        row(VITAMINS, ("VB12", "维生素B12"), rng.i64(190..800).to_string(), "pg/mL", "180-914"),
        row(VIRUS, ("HBVDNA", "乙肝病毒DNA"), "<5.000E+02".to_owned(), "IU/mL", "<5.000E+02"),
        row(ACIDS, ("TBA", "总胆汁酸"), "1.30".to_owned(), "μmol/L", "0.00-10.00"),
    ];
    match part {
        Part::TwoGroups => {
            rows.push(row(("W04", "骨代谢"), ("25OHD", "25羟基维生素D"), "41.20".to_owned(), "ng/mL", "30.00-100.00"))
        }
        Part::Rejected => rows[1].value = "标本已退检".to_owned(),
        Part::Shifted => (rows[0].unit, rows[0].range) = ("30.00-100.00", "ng/mL"),
        Part::Padded => rows[3].value = "１．３０　 ".to_owned(),
        Part::DoubtfulUnit => rows[3].unit = "μmo1/L",
        Part::Doubled => rows.insert(1, rows[0].clone()),
        Part::OldCorrection if again => rows[0].value = "30.10".to_owned(),
        Part::Markup => rows[0].remark = "方法学:<LC-MS/MS> & 结果[[复核]]>一次",
        _ => {}
    }
    rows.into_iter()
        .map(|row| {
            vec![
                ("groupCode", row.group.0.to_owned()),
                ("groupName", row.group.1.to_owned()),
                ("itemCode", row.item.0.to_owned()),
                ("itemName", row.item.1.to_owned()),
                ("value", row.value),
                ("unit", row.unit.to_owned()),
                ("range", row.range.to_owned()),
                ("flag", String::new()),
                ("remark", row.remark.to_owned()),
            ]
        })
        .collect()
}
