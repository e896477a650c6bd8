//! Figures of what a stream says, by which swapped columns and inverted codes show: how much is empty, abnormal or
//! unknown, how the sexes are distributed, and whether they agree with identity numbers.

use std::collections::BTreeMap;

use crate::model::entity::{AbnormalFlag, ExamReport, Sex, ValueKind};
use crate::model::{Entity, EntityType};

/// Counts by name: `entities`, `held`, `unknown` (entities with an unknown code), `values`, `empty`, `flagged`, `male`,
/// `female`, `ids` (valid citizen IDs of people with a sex), `ids_agree`.
pub type Figures = BTreeMap<String, i64>;

fn add(figures: &mut Figures, name: &str, n: i64) {
    if n != 0 {
        *figures.entry(name.to_owned()).or_default() += n;
    }
}

/// Adds an entity that the mapping vouches for.
pub(super) fn of_entity(figures: &mut Figures, kind: EntityType, data: &[u8]) {
    // An alarm repeats what its report says.
    if kind == EntityType::CriticalValue {
        return;
    }
    add(figures, "entities", 1);
    let Ok(entity) = Entity::from_json(kind, data) else { return };
    let unknown = entity.envelope().issues.iter().any(|issue| issue.code == super::codes::UNKNOWN_CODE);
    add(figures, "unknown", i64::from(unknown));
    if let Entity::ExamReport(report) = entity {
        of_report(figures, &report);
    }
}

fn of_report(figures: &mut Figures, report: &ExamReport) {
    for item in report.groups.iter().flat_map(|group| &group.items) {
        add(figures, "values", 1);
        let blank = item.value_raw.as_deref().is_none_or(|value| value.trim().is_empty());
        add(figures, "empty", i64::from(blank || item.value_kind == ValueKind::Absent));
        let abnormal = item.flag_source.is_some_and(|flag| flag != AbnormalFlag::Normal);
        add(figures, "flagged", i64::from(abnormal));
    }
    let person = &report.examinee;
    let said = match person.sex {
        Sex::Male => "male",
        Sex::Female => "female",
        _ => return,
    };
    add(figures, said, 1);
    if person.id_checksum_ok == Some(true)
        && let Some(number) = person.id_number.as_deref().and_then(sex_of_number)
    {
        add(figures, "ids", 1);
        add(figures, "ids_agree", i64::from(number == said));
    }
}

/// The sex that a citizen ID of 18 digits (GB 11643) tells: odd is male.
fn sex_of_number(number: &str) -> Option<&'static str> {
    let digit = (number.len() == 18).then(|| number.as_bytes()[16])?;
    digit.is_ascii_digit().then_some(if digit % 2 == 1 { "male" } else { "female" })
}

/// Adds an entity that is held, by the codes of its findings.
pub(super) fn of_held<'f>(figures: &mut Figures, codes: impl Iterator<Item = &'f str>) {
    add(figures, "entities", 1);
    add(figures, "held", 1);
    let (mut unknown, mut disagrees) = (false, false);
    for code in codes {
        unknown |= code == super::codes::UNKNOWN_CODE;
        disagrees |= code == "id-disagrees";
    }
    add(figures, "unknown", i64::from(unknown));
    add(figures, "ids", i64::from(disagrees));
}

/// A share in percent; `None` of nothing.
pub fn share(figures: &Figures, part: &str, whole: &str) -> Option<f64> {
    let n = |name: &str| figures.get(name).copied().unwrap_or(0);
    (n(whole) > 0).then(|| n(part) as f64 * 100.0 / n(whole) as f64)
}
