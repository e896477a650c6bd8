//! A day in the simulated hospital, as a script under a seed.
//!
//! ```no_run
//! use hisync::sandbox::hospital::{Day, Peis};
//! let mut peis = Peis::create("hospital.db".as_ref()).unwrap();
//! let mut day = Day::new(7, 40);
//! while let Some(step) = day.next(&mut peis).unwrap() {
//!     // send step.letters through a LabSender, let every stream finish a poll that began now,
//!     // and compare with step.produced
//! }
//! ```
//!
//! Each phase changes the PEIS in one transaction and hands out what the laboratory is to send. A
//! phase makes at most one version of an entity, so a reader that polls once after each phase sees
//! them all. Update times rise from phase to phase; inside a phase three reports share each second.
//! What is wrong or unusual on purpose is listed in [`super::traps`].

use std::collections::BTreeMap;

use chrono::{Duration, NaiveDate, NaiveDateTime};

use super::catalogue::{GROUPS, Item, PACKAGES, items};
use super::imaging::{self, FileDrop};
use super::lab::{Declared, LabMessage, Letter, Verified, oru};
use super::ledger::{Flaw, Ledger};
use super::outlab::{self, OutsideReport};
use super::peis::{Desk, Peis, PeisError, ReportState};
use super::people::Sex;
use super::visit::{Mark, Order, SUMMER_VISIT, Visit};
use crate::model::EntityType;

/// The campus in the demo's configuration, and the first part of each business key.
pub const CAMPUS: &str = "main";
/// The id of the PEIS in the demo's configuration.
pub const PEIS_SOURCE: &str = "peis";
/// The id of the laboratory in the demo's configuration.
pub const LAB_SOURCE: &str = "lab";
/// The id of the outside laboratory in the demo's configuration.
pub const OUTLAB_SOURCE: &str = "outlab";
/// The id of the electrocardiogram system in the demo's configuration.
pub const IMAGING_SOURCE: &str = "imaging";
/// Fewer people can't play all parts.
pub const FEWEST_PEOPLE: usize = 12;

// Who plays which part, by the visit's number.
const CORRECTED: usize = 0;
const UNKNOWN_SEX: usize = 1;
const UNKNOWN_FLAG: usize = 2;
const PRELIMINARY: usize = 3;
const UNKNOWN_LAB_FLAG: usize = 4;
const UNDECODABLE: usize = 5;
const REVERSED: usize = 6;
const NEVER_CONCLUDED: usize = 8;
const DECLARED_UNICODE: usize = 8;
const RESENT: usize = 10;
/// Whose first examination is repeated in the evening.
const RECHECKED: usize = SUMMER_VISIT;

/// The group item whose results are corrected, and get a flag that nobody knows: blood counts are in every package.
const CORRECTED_GROUP: &str = "002001";

/// How long a phase is, in seconds: shorter than the hour between two phases.
const PHASE_SECS: usize = 3_500;

/// A part of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The catalogue is published.
    Opening,
    /// People are registered; one with a sex code that nobody knows.
    Registration,
    /// The first examinations have results.
    FirstResults,
    /// All other results are in, and the laboratory sends its reports: one with a flag that nobody
    /// knows, one that can't be decoded, one that is not verified yet.
    Laboratory,
    /// Most reports are concluded 总检; the laboratory verifies what was preliminary.
    Conclusions,
    /// A package's price changes, another is taken off sale.
    CatalogueChange,
    /// A report is corrected in both systems; the laboratory sends an old message again.
    Correction,
    /// A delivered report is taken back 反审核; a person comes for a re-check 复查.
    Reversal,
    /// The upstream fails while the remaining reports are concluded.
    Outage,
    /// The upstream is back, and the report that was taken back is final again, unchanged.
    Recovery,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Phase; 10] = [
        Phase::Opening,
        Phase::Registration,
        Phase::FirstResults,
        Phase::Laboratory,
        Phase::Conclusions,
        Phase::CatalogueChange,
        Phase::Correction,
        Phase::Reversal,
        Phase::Outage,
        Phase::Recovery,
    ];

    /// What happens, for people who watch.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Opening => "the catalogue of items, groups and packages is published",
            Phase::Registration => "people arrive and are registered",
            Phase::FirstResults => "the first examinations have results",
            Phase::Laboratory => "the laboratory sends its reports",
            Phase::Conclusions => "the chief doctor concludes most reports",
            Phase::CatalogueChange => "a package changes its price, another goes off sale",
            Phase::Correction => "a report is corrected; the laboratory repeats a message",
            Phase::Reversal => "a delivered report is taken back; a person comes for a re-check",
            Phase::Outage => "the upstream fails while more reports are concluded",
            Phase::Recovery => "the upstream is back; the report that was taken back is final again",
        }
    }

    /// How the upstream is during this phase.
    pub fn upstream(self) -> Upstream {
        if self == Phase::Outage { Upstream::Down } else { Upstream::Up }
    }

    /// The hour at which it begins, on the hospital's wall clock.
    fn hour(self) -> u32 {
        match self {
            Phase::Opening => 7,
            Phase::Registration => 8,
            Phase::FirstResults => 10,
            Phase::Laboratory => 11,
            Phase::Conclusions => 14,
            Phase::CatalogueChange => 15,
            Phase::Correction => 16,
            Phase::Reversal => 17,
            Phase::Outage => 18,
            Phase::Recovery => 19,
        }
    }
}

/// Whether the upstream answers; for whoever plays it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// It does.
    Up,
    /// It fails.
    Down,
}

/// What a phase did.
#[derive(Clone, Debug)]
pub struct Step {
    /// Which phase.
    pub phase: Phase,
    /// The versions that it made, those in `letters` included.
    pub produced: Ledger,
    /// What the laboratory sends, in order.
    pub letters: Vec<LabMessage>,
    /// What the outside laboratory publishes.
    pub reports: Vec<OutsideReport>,
    /// What the electrocardiogram system drops.
    pub drops: Vec<FileDrop>,
    /// How the upstream is to be while the phase is read.
    pub upstream: Upstream,
}

/// The script.
#[derive(Debug)]
pub struct Day {
    seed: u64,
    people: usize,
    date: NaiveDate,
    played: usize,
    /// Visits that are no longer as they were drawn.
    changed: BTreeMap<usize, Visit>,
    ledger: Ledger,
}

/// The day that is played unless another is asked for.
pub(super) fn default_date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 20).unwrap_or_default()
}

impl Day {
    /// A day with so many people, [`FEWEST_PEOPLE`] at least.
    pub fn new(seed: u64, people: usize) -> Day {
        Day {
            seed,
            people: people.max(FEWEST_PEOPLE),
            date: default_date(),
            played: 0,
            changed: BTreeMap::new(),
            ledger: Ledger::default(),
        }
    }

    /// Plays another day of the calendar.
    #[must_use]
    pub fn on(mut self, date: NaiveDate) -> Day {
        self.date = date;
        self
    }

    /// How many people come.
    pub fn people(&self) -> usize {
        self.people
    }

    /// What all phases so far have produced.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// A visit as it stands now.
    pub fn visit(&self, index: usize) -> Visit {
        self.changed.get(&index).cloned().unwrap_or_else(|| Visit::draw(self.seed, index, self.people, self.date))
    }

    /// Plays the next phase; `None` when the day is over. A phase that fails may be played again.
    pub fn next(&mut self, peis: &mut Peis) -> Result<Option<Step>, PeisError> {
        let Some(phase) = Phase::ALL.get(self.played).copied() else { return Ok(None) };
        let mut produced = Ledger::default();
        let mut changed = BTreeMap::new();
        peis.change(|desk| self.play(phase, desk, &mut produced, &mut changed))?;
        self.changed.append(&mut changed);
        let letters = self.letters(phase, &mut produced);
        let reports = self.outside_reports(phase, &mut produced);
        let drops = self.drops(phase, &mut produced);
        self.played += 1;
        self.ledger.add(&produced);
        Ok(Some(Step { phase, produced, letters, reports, drops, upstream: phase.upstream() }))
    }

    fn play(
        &self,
        phase: Phase,
        desk: &Desk<'_>,
        produced: &mut Ledger,
        changed: &mut BTreeMap<usize, Visit>,
    ) -> rusqlite::Result<()> {
        match phase {
            Phase::Opening => {
                desk.publish_catalogue()?;
                items().for_each(|(_, item)| produced.version(EntityType::ExamItem, peis_key(item.code)));
                GROUPS.iter().for_each(|group| produced.version(EntityType::ExamItemGroup, peis_key(group.code)));
                PACKAGES.iter().for_each(|package| produced.version(EntityType::ExamPackage, peis_key(package.code)));
            }
            Phase::Registration => {
                for index in 0..self.people {
                    let visit = self.visit(index);
                    let code = match (index, visit.person.sex) {
                        (UNKNOWN_SEX, _) => "9",
                        (_, Sex::Male) => "1",
                        (_, Sex::Female) => "2",
                    };
                    desk.register(&visit, code)?;
                    report_version(produced, index, &visit, Entered::Nothing);
                }
            }
            Phase::FirstResults => {
                for index in (0..self.people).step_by(2) {
                    let visit = self.visit(index);
                    for order in visit.orders.iter().filter(|order| order.group.specimen.is_none()) {
                        desk.enter(&visit, order, None)?;
                    }
                    desk.visit_state(&visit, "3")?;
                    desk.touch(&visit, self.at(phase, index))?;
                    report_version(produced, index, &visit, Entered::First);
                }
            }
            Phase::Laboratory => {
                for index in 0..self.people {
                    let visit = self.visit(index);
                    for order in &visit.orders {
                        let strange = index == UNKNOWN_FLAG && order.group.code == CORRECTED_GROUP;
                        desk.enter(&visit, order, strange.then_some("※"))?;
                    }
                    desk.visit_state(&visit, "3")?;
                    desk.touch(&visit, self.at(phase, index))?;
                    report_version(produced, index, &visit, Entered::All);
                }
            }
            Phase::Conclusions | Phase::Outage => {
                let early = phase == Phase::Conclusions;
                let now = |index: &usize| concluded_early(*index) == early && *index != NEVER_CONCLUDED;
                for index in (0..self.people).filter(now) {
                    let visit = self.visit(index);
                    let at = self.at(phase, index);
                    desk.conclude(&visit, ReportState::Concluded, at)?;
                    desk.touch(&visit, at)?;
                    report_version(produced, index, &visit, Entered::All);
                }
            }
            Phase::CatalogueChange => {
                desk.reprice("TC002", "458.80")?;
                desk.switch_off("TC006")?;
                produced.version(EntityType::ExamPackage, peis_key("TC002"));
                produced.version(EntityType::ExamPackage, peis_key("TC006"));
            }
            Phase::Correction => {
                let mut visit = self.visit(CORRECTED);
                let sex = visit.person.sex;
                if let Some(order) = visit.order_mut(CORRECTED_GROUP) {
                    order.results[0].correct("11.20", sex);
                }
                visit.orders.iter().try_for_each(|order| desk.enter(&visit, order, None))?;
                let at = self.at(phase, CORRECTED);
                desk.conclude(&visit, ReportState::Revised, at)?;
                desk.touch(&visit, at)?;
                report_version(produced, CORRECTED, &visit, Entered::All);
                changed.insert(CORRECTED, visit);
            }
            Phase::Reversal | Phase::Recovery => {
                let visit = self.visit(REVERSED);
                let taken_back = phase == Phase::Reversal;
                desk.set_state(&visit, if taken_back { ReportState::Reversed } else { ReportState::Concluded })?;
                desk.touch(&visit, self.at(phase, REVERSED))?;
                let entered = if taken_back { Entered::TakenBack } else { Entered::All };
                report_version(produced, REVERSED, &visit, entered);
                if taken_back {
                    self.recheck(phase, desk, produced)?;
                }
            }
        }
        Ok(())
    }

    /// A person comes again in the evening; the re-check is concluded at once.
    fn recheck(&self, phase: Phase, desk: &Desk<'_>, produced: &mut Ledger) -> rusqlite::Result<()> {
        let at = self.at(phase, RECHECKED);
        let visit = self.visit(RECHECKED).recheck(at);
        desk.register(&visit, if visit.person.sex == Sex::Male { "1" } else { "2" })?;
        visit.orders.iter().try_for_each(|order| desk.enter(&visit, order, None))?;
        desk.conclude(&visit, ReportState::Concluded, at)?;
        desk.touch(&visit, at)?;
        report_version(produced, RECHECKED, &visit, Entered::All);
        Ok(())
    }

    fn letters(&self, phase: Phase, produced: &mut Ledger) -> Vec<LabMessage> {
        match phase {
            Phase::Laboratory => (0..self.people).map(|index| self.first_letter(index, produced)).collect(),
            Phase::Conclusions => vec![self.later_letter(phase, PRELIMINARY, Verified::Final, produced)],
            Phase::Correction => {
                let corrected = self.later_letter(phase, CORRECTED, Verified::Corrected, produced);
                // The laboratory lost the acknowledgement, hours later: the same bytes again.
                let again = self.first_letter(RESENT, &mut Ledger::default());
                vec![corrected, again]
            }
            _ => Vec::new(),
        }
    }

    fn first_letter(&self, index: usize, produced: &mut Ledger) -> LabMessage {
        let verified = if index == PRELIMINARY { Verified::Preliminary } else { Verified::Final };
        let mut letter = self.letter(Phase::Laboratory, index, verified);
        letter.strange_flag = (index == UNKNOWN_LAB_FLAG).then_some("ZZ");
        let visit = self.visit(index);
        let mut message = oru(&visit, visit.laboratory(), &letter);
        if index == UNDECODABLE {
            damage(&mut message.bytes);
        }
        match index {
            // Nobody can tell how many reports are in what can't be read: it is one.
            UNDECODABLE => produced.flawed(EntityType::ExamReport, lab_key(&letter.report_no), Flaw::Undecodable),
            _ => {
                for (place, (report_no, order)) in message.report_nos.iter().zip(visit.laboratory()).enumerate() {
                    let key = lab_key(report_no);
                    critical_versions(produced, &key, [order], |item| item.short);
                    match (index, place) {
                        (UNKNOWN_LAB_FLAG, 0) => produced.flawed(EntityType::ExamReport, key, Flaw::UnknownLabFlag),
                        _ => produced.version(EntityType::ExamReport, key),
                    }
                }
            }
        }
        message
    }

    fn later_letter(&self, phase: Phase, index: usize, verified: Verified, produced: &mut Ledger) -> LabMessage {
        let visit = self.visit(index);
        // A correction brings the corrected report alone.
        let concerned = |order: &&Order| verified != Verified::Corrected || order.group.code == CORRECTED_GROUP;
        let mut letter = self.letter(phase, index, verified);
        if verified == Verified::Corrected {
            // The laboratory's counter began anew: this MSH-10 was there before, with another content.
            letter.control_id = self.letter(Phase::Laboratory, index, verified).control_id;
        }
        let message = oru(&visit, visit.laboratory().filter(concerned), &letter);
        for (report_no, order) in message.report_nos.iter().zip(visit.laboratory().filter(concerned)) {
            critical_versions(produced, &lab_key(report_no), [order], |item| item.short);
            produced.version(EntityType::ExamReport, lab_key(report_no));
        }
        message
    }

    fn letter(&self, phase: Phase, index: usize, verified: Verified) -> Letter<'static> {
        let day = self.date.format("%y%m%d");
        Letter {
            control_id: format!("L{day}{:02}{index:06}", phase.hour()),
            report_no: format!("JY{day}{index:06}"),
            sent_at: self.at(phase, index),
            verified,
            declared: match index {
                DECLARED_UNICODE => Declared::Unicode,
                _ if index.is_multiple_of(3) => Declared::Nothing,
                _ => Declared::Gb18030,
            },
            strange_flag: None,
        }
    }

    fn outside_reports(&self, phase: Phase, produced: &mut Ledger) -> Vec<OutsideReport> {
        let mut all = Vec::new();
        for place in 0..outlab::reports(self.people) {
            let part = outlab::Part::of(place);
            let first =
                if part == outlab::Part::Usual && place % 2 == 1 { Phase::Conclusions } else { Phase::Laboratory };
            let again = phase == Phase::Correction && part.comes_again();
            if phase != first && !again {
                continue;
            }
            // A correction on the same evening keeps the time of the first entry.
            let old = again && part == outlab::Part::OldCorrection;
            let at = self.at(if old { Phase::FirstResults } else { phase }, place % self.people);
            let report = outlab::report(self.seed, place, &self.visit(place % self.people), at, again);
            produce(produced, key(OUTLAB_SOURCE, &report.number), part.flaw().filter(|_| !again));
            all.push(report);
        }
        all
    }

    fn drops(&self, phase: Phase, produced: &mut Ledger) -> Vec<FileDrop> {
        let wanted = |part| match phase {
            Phase::FirstResults => part == imaging::Part::Usual,
            Phase::Laboratory => part != imaging::Part::Usual && part != imaging::Part::MissingPage,
            Phase::Conclusions => part == imaging::Part::MissingPage,
            _ => false,
        };
        let records: Vec<(imaging::Part, Visit)> = (0..imaging::records(self.people))
            .filter(|place| wanted(imaging::Part::of(*place)))
            .map(|place| (imaging::Part::of(place), self.visit(place)))
            .collect();
        if records.is_empty() {
            return Vec::new();
        }
        for (part, visit) in &records {
            produce(produced, key(IMAGING_SOURCE, &imaging::number(visit)), part.flaw());
        }
        let name = format!("ecg_{}_{:02}.csv", self.date.format("%Y%m%d"), phase.hour());
        vec![imaging::table(name, &records, self.at(phase, 0))]
    }

    /// When a phase comes to a visit: three visits share each moment, as a batch update has it.
    fn at(&self, phase: Phase, index: usize) -> NaiveDateTime {
        let start = self.date.and_hms_opt(phase.hour(), 0, 0).unwrap_or_default();
        start + Duration::seconds((index / 3 * 3 * PHASE_SECS / self.people) as i64)
    }
}

fn concluded_early(index: usize) -> bool {
    index % 5 < 3
}

fn peis_key(natural: &str) -> String {
    key(PEIS_SOURCE, natural)
}

fn lab_key(report_no: &str) -> String {
    key(LAB_SOURCE, report_no)
}

fn key(source: &str, natural: &str) -> String {
    format!("{CAMPUS}:{source}:{natural}")
}

/// Counts a report's version.
fn produce(produced: &mut Ledger, key: String, flaw: Option<Flaw>) {
    match flaw {
        Some(flaw) => produced.flawed(EntityType::ExamReport, key, flaw),
        None => produced.version(EntityType::ExamReport, key),
    }
}

/// How much of a visit is in its report.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entered {
    Nothing,
    /// What the laboratory has no part in.
    First,
    All,
    /// All of it, and nobody stands by it.
    TakenBack,
}

/// Counts a report's version with the critical values in it.
fn report_version(produced: &mut Ledger, index: usize, visit: &Visit, entered: Entered) {
    let key = peis_key(&visit.exam_no);
    let results = matches!(entered, Entered::All | Entered::TakenBack);
    let orders = visit.orders.iter().filter(|order| match entered {
        Entered::Nothing | Entered::TakenBack => false,
        Entered::First => order.group.specimen.is_none(),
        Entered::All => true,
    });
    critical_versions(produced, &key, orders, |item| item.code);
    match index {
        UNKNOWN_SEX => produced.flawed(EntityType::ExamReport, key, Flaw::UnknownSex),
        UNKNOWN_FLAG if results => produced.flawed(EntityType::ExamReport, key, Flaw::UnknownFlag),
        _ => produced.version(EntityType::ExamReport, key),
    }
}

/// Counts the critical values in the results of orders that a report holds, by the system's code of an item.
fn critical_versions<'o>(
    produced: &mut Ledger,
    report: &str,
    orders: impl IntoIterator<Item = &'o Order>,
    code: fn(&'static Item) -> &'static str,
) {
    for order in orders {
        for row in order.results.iter().filter(|row| row.mark == Mark::VeryHigh) {
            let key = format!("{report}/{}/{}/1", order.group.code, code(row.item));
            produced.version(EntityType::CriticalValue, key);
        }
    }
}

/// Breaks the person's name: 0xFF begins no character of GB18030.
fn damage(bytes: &mut Vec<u8>) {
    let name = bytes.windows(4).position(|window| window == b"PID|").map_or(bytes.len(), |pid| {
        let mut fields = bytes[pid..].iter().enumerate().filter(|(_, byte)| **byte == b'|').map(|(at, _)| pid + at + 1);
        fields.nth(4).unwrap_or(bytes.len())
    });
    bytes.splice(name..name, [0xFF, 0xFF]);
}
