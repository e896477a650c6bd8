//! Rules of reports, and what hisync derives in them.

use chrono::{Datelike as _, NaiveDate};
use rust_decimal::Decimal;

use super::dictionary::is_reversed;
use super::{
    AGE_DISAGREES, DATE_ORDER, DUPLICATE_RESULT, EMPTY_VALUE, FLAG_DISAGREES, FLAG_OPPOSITE, Findings, GROUP_MISSING,
    GROUP_UNORDERED, ID_CHECKSUM, ID_DISAGREES, ISSUED_AT_MISSING, RANGE_REVERSED, RECHECK_ITSELF, REPORT_EMPTY,
    SUBSTITUTE, repeated,
};
use crate::mapping::readers::citizen;
use crate::mapping::readers::number::decimal;
use crate::mapping::readers::result::{Polarity, polarity};
use crate::mapping::readers::text::fold;
use crate::model::ExamReport;
use crate::model::entity::{
    AbnormalFlag, Comparator, DecimalText, Examinee, IdType, OrderState, ReferenceRange, ReportKind, ReportStatus,
    ResultItem, ResultStatus, Sex, ValueKind,
};

pub(super) fn settle(report: &mut ExamReport, findings: &mut Findings<'_>) {
    identity(&mut report.examinee, findings);
    for (at, group) in report.groups.iter_mut().enumerate() {
        for (index, item) in group.items.iter_mut().enumerate() {
            item.flag_derived = derive_flag(item);
            let critical = [Some(AbnormalFlag::CriticalLow), Some(AbnormalFlag::CriticalHigh)];
            item.is_critical |= critical.contains(&item.flag_source);
            if let Some((rule, message)) = check_item(item) {
                let path = format!("groups[{at}].items[{index}].{}", rule.1);
                findings.add_value(rule.0, path, message, item.value_raw.as_deref().unwrap_or_default());
            }
        }
        for index in repeated(group.items.iter().map(|item| (&item.item_code, &item.instance))) {
            let path = format!("groups[{at}].items[{index}].item_code");
            findings.add_value(
                &DUPLICATE_RESULT,
                path,
                "another result of this item differs",
                &group.items[index].item_code,
            );
        }
    }
    for at in repeated(report.groups.iter().map(|group| (&group.group_code, &group.specimen_no))) {
        let path = format!("groups[{at}].group_code");
        findings.add_value(
            &DUPLICATE_RESULT,
            path,
            "the group stands in the report twice",
            &report.groups[at].group_code,
        );
    }
    whole(report, findings);
}

/// The rules that [`whole`] applies.
pub(in crate::mapping) static OF_THE_WHOLE: [&super::Rule; 9] = [
    &EMPTY_VALUE,
    &REPORT_EMPTY,
    &GROUP_MISSING,
    &GROUP_UNORDERED,
    &DATE_ORDER,
    &AGE_DISAGREES,
    &ISSUED_AT_MISSING,
    &RECHECK_ITSELF,
    &SUBSTITUTE,
];

/// Whether a rule is one of those.
pub(in crate::mapping) fn is_of_the_whole(code: &str) -> bool {
    OF_THE_WHOLE.iter().any(|rule| rule.code == code)
}

/// The rules that concern a report as a whole; they run again when it is composed of parts.
pub(in crate::mapping) fn whole(report: &ExamReport, findings: &mut Findings<'_>) {
    if matches!(report.status, ReportStatus::Final | ReportStatus::Revised) {
        empty_values(report, findings);
        if says_nothing(report) {
            findings.add(&REPORT_EMPTY, "groups", "no results, no summaries, no conclusions, no attachments");
        }
        if report.issued_at.is_none() {
            findings.add(&ISSUED_AT_MISSING, "issued_at", "final, and nothing says since when");
        }
        completeness(report, findings);
    }
    dates(report, findings);
    if report.visit.previous_exam_no.as_ref() == Some(&report.visit.exam_no) {
        findings.add(&RECHECK_ITSELF, "visit.previous_exam_no", "the same number as the visit's own");
    }
    if report.visit.substitute == Some(true) {
        findings.add(&SUBSTITUTE, "visit.substitute", "someone else came to the exam");
    }
}

fn identity(examinee: &mut Examinee, findings: &mut Findings<'_>) {
    let Some(number) = &examinee.id_number else { return };
    let read = match examinee.id_type {
        None | Some(IdType::CitizenId) => citizen::read(number),
        Some(_) => return,
    };
    let Some(read) = read else {
        if examinee.id_type == Some(IdType::CitizenId) {
            examinee.id_checksum_ok = Some(false);
            findings.add(&ID_CHECKSUM, "examinee.id_number", "a citizen's number has 18 or 15 places");
        }
        return;
    };
    examinee.id_checksum_ok = read.checksum_ok;
    if read.checksum_ok == Some(false) {
        findings.add(&ID_CHECKSUM, "examinee.id_number", "the check digit is wrong");
        return;
    }
    if matches!(examinee.sex, Sex::Male | Sex::Female) && examinee.sex != read.sex {
        findings.add(&ID_DISAGREES, "examinee.sex", "the identity number says the other sex");
    }
    match (examinee.birth_date, read.birth) {
        (Some(stated), Some(birth)) if stated != birth => {
            findings.add(&ID_DISAGREES, "examinee.birth_date", "the identity number says another day");
        }
        _ => {}
    }
}

fn check_item(item: &ResultItem) -> Option<((&'static super::Rule, &'static str), &'static str)> {
    use AbnormalFlag::{CriticalHigh, CriticalLow, High, Low, Negative, Normal, Positive};
    if item.reference.as_ref().is_some_and(is_reversed) {
        return Some(((&RANGE_REVERSED, "reference"), "low is above high"));
    }
    let (source, derived) = (item.flag_source?, item.flag_derived?);
    let opposite = matches!(
        (source, derived),
        (Low | CriticalLow, High)
            | (High | CriticalHigh, Low)
            | (Positive | High | CriticalHigh, Negative)
            | (Negative, Positive)
    );
    if opposite {
        return Some(((&FLAG_OPPOSITE, "flag_source"), "flag and value point to opposite sides"));
    }
    let calm = |flag| matches!(flag, Normal | Negative);
    let told = |flag| matches!(flag, Low | High | CriticalLow | CriticalHigh | Positive);
    if (calm(source) && told(derived)) || (told(source) && calm(derived)) {
        return Some(((&FLAG_DISAGREES, "flag_source"), "only one of flag and range calls the value normal"));
    }
    None
}

/// What value and range say by themselves; `None` where either could not be read.
fn derive_flag(item: &ResultItem) -> Option<AbnormalFlag> {
    let reference = item.reference.as_ref()?;
    if let Some(expected) = &reference.text {
        let said = polarity(&fold(item.value_raw.as_deref()?))?;
        return (polarity(&fold(expected))? == Polarity::Negative).then_some(match said {
            Polarity::Negative => AbnormalFlag::Negative,
            Polarity::Positive => AbnormalFlag::Positive,
            Polarity::Between => AbnormalFlag::Indeterminate,
        });
    }
    let number = |text: &Option<DecimalText>| text.as_ref().and_then(|text| decimal(&text.0));
    // The value as an interval; an open end is `None`. The flags say whether an end itself is inside.
    let (low, high, low_in, high_in) = match item.value_kind {
        ValueKind::Numeric => {
            let value = number(&item.value_num)?;
            (Some(value), Some(value), true, true)
        }
        ValueKind::Comparator => {
            let bound = number(&item.value_num)?;
            match item.comparator? {
                Comparator::Less => (None, Some(bound), false, false),
                Comparator::LessOrEqual => (None, Some(bound), false, true),
                Comparator::Greater => (Some(bound), None, false, false),
                Comparator::GreaterOrEqual => (Some(bound), None, true, false),
            }
        }
        ValueKind::Range => (Some(number(&item.value_low)?), Some(number(&item.value_high)?), true, true),
        _ => return None,
    };
    place((low, low_in), (high, high_in), reference)
}

fn place(low: (Option<Decimal>, bool), high: (Option<Decimal>, bool), range: &ReferenceRange) -> Option<AbnormalFlag> {
    let bound = |text: &Option<DecimalText>| match text {
        None => Some(None),
        Some(text) => decimal(&text.0).map(Some),
    };
    let (floor, ceiling) = (bound(&range.low)?, bound(&range.high)?);
    let (floor_in, ceiling_in) = (range.low_inclusive == Some(true), range.high_inclusive == Some(true));
    if floor.is_none() && ceiling.is_none() {
        return None;
    }
    let above = matches!((low.0, ceiling), (Some(l), Some(c)) if l > c || (l == c && !(low.1 && ceiling_in)));
    let below = matches!((high.0, floor), (Some(h), Some(f)) if h < f || (h == f && !(high.1 && floor_in)));
    if above != below {
        return Some(if above { AbnormalFlag::High } else { AbnormalFlag::Low });
    }
    let under_ceiling = match (ceiling, high.0) {
        (None, _) => true,
        (Some(c), Some(h)) => h < c || (h == c && (ceiling_in || !high.1)),
        (Some(_), None) => false,
    };
    let over_floor = match (floor, low.0) {
        (None, _) => true,
        (Some(f), Some(l)) => l > f || (l == f && (floor_in || !low.1)),
        // `<0.02` against `0-0.02`: amounts are not negative.
        (Some(f), None) => f <= Decimal::ZERO,
    };
    (under_ceiling && over_floor).then_some(AbnormalFlag::Normal)
}

fn empty_values(report: &ExamReport, findings: &mut Findings<'_>) {
    for (at, group) in report.groups.iter().enumerate() {
        for (index, item) in group.items.iter().enumerate() {
            let done = !matches!(item.status, Some(ResultStatus::Preliminary | ResultStatus::Cancelled));
            if item.value_kind == ValueKind::Absent && item.absent_reason.is_none() && done {
                let path = format!("groups[{at}].items[{index}].value_raw");
                findings.add(&EMPTY_VALUE, path, "the result is empty and nothing says why");
            }
        }
    }
}

/// No results and nothing instead of them: what is seen while a source deletes and inserts anew.
fn says_nothing(report: &ExamReport) -> bool {
    let told = report.groups.iter().any(|group| !group.items.is_empty() || group.summary.is_some());
    !told && report.conclusions.is_empty() && report.attachments.is_empty()
}

/// A department's report speaks of its own groups only.
fn completeness(report: &ExamReport, findings: &mut Findings<'_>) {
    let ordered = &report.visit.ordered_groups;
    if ordered.is_empty() {
        return;
    }
    let has = |code: &str| report.groups.iter().any(|group| group.group_code == code && !group.items.is_empty());
    if matches!(report.report_kind, ReportKind::Health | ReportKind::Occupational) {
        for (at, group) in ordered.iter().enumerate() {
            if matches!(group.state, OrderState::Ordered | OrderState::Done) && !has(&group.group_code) {
                let path = format!("visit.ordered_groups[{at}]");
                findings.add_value(&GROUP_MISSING, path, "ordered, and without results or reason", &group.group_code);
            }
        }
    }
    for (at, group) in report.groups.iter().enumerate() {
        if !ordered.iter().any(|order| order.group_code == group.group_code) {
            let path = format!("groups[{at}].group_code");
            findings.add_value(&GROUP_UNORDERED, path, "has results and was not ordered", &group.group_code);
        }
    }
}

fn dates(report: &ExamReport, findings: &mut Findings<'_>) {
    let visit = &report.visit;
    let chain: [(&str, Option<NaiveDate>); 4] = [
        ("examinee.birth_date", report.examinee.birth_date),
        ("visit.registered_at", visit.registered_at.map(|time| time.date_naive())),
        ("visit.exam_date", visit.exam_date),
        ("issued_at", report.issued_at.map(|time| time.date_naive())),
    ];
    let known: Vec<(&str, NaiveDate)> = chain.iter().filter_map(|(path, date)| Some((*path, (*date)?))).collect();
    for pair in known.windows(2) {
        if pair[1].1 < pair[0].1 {
            findings.add(&DATE_ORDER, pair[1].0, format!("lies before {}", pair[0].0));
        }
    }
    let on = visit.exam_date.or(visit.registered_at.map(|time| time.date_naive()));
    if let (Some(birth), Some(on), Some(stated)) = (report.examinee.birth_date, on, visit.stated_age) {
        let before = (on.month(), on.day()) < (birth.month(), birth.day());
        let age = i64::from(on.year() - birth.year()) - i64::from(before);
        if (age - stated).abs() > 1 {
            findings.add(&AGE_DISAGREES, "visit.stated_age", "more than a year off the date of birth");
        }
    }
}
