//! Rules of reports, and what hisync derives in them.

use std::collections::HashSet;

use chrono::NaiveDate;
use foldhash::fast::RandomState;
use rust_decimal::Decimal;

use super::{
    AGE_DISAGREES, AGE_IMPOSSIBLE, COLUMNS_SHIFTED, CONCLUSION_DENIES, CONCLUSION_MISSING, CONCLUSION_SILENT,
    DATE_ORDER, DUPLICATE_RESULT, EMPTY_VALUE, FLAG_DISAGREES, FLAG_OPPOSITE, Findings, GROUP_MISSING, GROUP_UNORDERED,
    ID_CHECKSUM, ID_DISAGREES, ISSUED_AT_MISSING, PHONE_FORM, RANGE_REVERSED, RANGE_SEX, RANGE_UNREAD, RECHECK_ITSELF,
    REPORT_EMPTY, Rule, SIGNER_MISSING, SUBSTITUTE, clinical, repeated, texts,
};
use crate::mapping::readers::number::decimal;
use crate::mapping::readers::reference::{is_range, years};
use crate::mapping::readers::result::{Polarity, polarity};
use crate::mapping::readers::text::fold;
use crate::mapping::readers::{citizen, phone, unit};
use crate::model::ExamReport;
use crate::model::entity::{
    AbnormalFlag, ApplicableSex, Comparator, DecimalText, Examinee, IdType, OrderState, ReferenceRange, ReportKind,
    ReportStatus, ResultItem, ResultStatus, Sex, ValueKind,
};

pub(super) fn settle(report: &mut ExamReport, findings: &mut Findings<'_>) {
    identity(&mut report.examinee, findings);
    let sex = report.examinee.sex;
    for (at, group) in report.groups.iter_mut().enumerate() {
        for (index, item) in group.items.iter_mut().enumerate() {
            let ends = item.reference.as_ref().map(Ends::of);
            item.flag_derived = derive_flag(item, ends, sex);
            let critical = [Some(AbnormalFlag::CriticalLow), Some(AbnormalFlag::CriticalHigh)];
            item.is_critical |= critical.contains(&item.flag_source);
            let path = |field: &str| format!("groups[{at}].items[{index}].{field}");
            check_item(item, ends, |rule, field, message, value| {
                findings.add_value(rule, path(field), message, value);
            });
            if is_for_another(item, sex) {
                let range = item.reference_raw.as_deref().unwrap_or_default();
                findings.add_value(&RANGE_SEX, path("reference_raw"), "the range is for the other sex", range);
            }
            clinical::item(item, sex, path, findings);
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
    texts::lengths(report, findings);
    whole(report, findings);
}

/// The rules that [`whole`] applies, beside those of arithmetic.
static OF_THE_WHOLE: [&Rule; 14] = [
    &EMPTY_VALUE,
    &REPORT_EMPTY,
    &GROUP_MISSING,
    &GROUP_UNORDERED,
    &DATE_ORDER,
    &AGE_DISAGREES,
    &AGE_IMPOSSIBLE,
    &ISSUED_AT_MISSING,
    &SIGNER_MISSING,
    &CONCLUSION_MISSING,
    &CONCLUSION_DENIES,
    &CONCLUSION_SILENT,
    &RECHECK_ITSELF,
    &SUBSTITUTE,
];

/// Whether a rule speaks of a report as a whole, so that what it said of a part counts no more.
pub(in crate::mapping) fn is_of_the_whole(code: &str) -> bool {
    OF_THE_WHOLE.iter().chain(&clinical::ARITHMETIC).any(|rule| rule.code == code)
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
        let of_the_visit = matches!(report.report_kind, ReportKind::Health | ReportKind::Occupational);
        if of_the_visit && report.concluded_by.is_none() && report.reviewed_by.is_none() {
            findings.add(&SIGNER_MISSING, "concluded_by", "final, and nothing says by whom");
        }
        texts::conclusions(report, findings);
        completeness(report, findings);
    }
    dates(report, findings);
    clinical::arithmetic(report, findings);
    if report.visit.previous_exam_no.as_ref() == Some(&report.visit.exam_no) {
        findings.add(&RECHECK_ITSELF, "visit.previous_exam_no", "the same number as the visit's own");
    }
    if report.visit.substitute == Some(true) {
        findings.add(&SUBSTITUTE, "visit.substitute", "someone else came to the exam");
    }
}

fn identity(examinee: &mut Examinee, findings: &mut Findings<'_>) {
    if examinee.phone.as_deref().is_some_and(|number| !phone::is_phone(number)) {
        findings.add(&PHONE_FORM, "examinee.phone", "this is no single complete telephone number");
    }
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

/// Whether a result's range says that it is for the other sex.
fn is_for_another(item: &ResultItem, sex: Sex) -> bool {
    let range = item.reference.as_ref().and_then(|range| range.sex);
    matches!((range, sex), (Some(ApplicableSex::Male), Sex::Female) | (Some(ApplicableSex::Female), Sex::Male))
}

/// Tells what value, unit, range and flag of one result say against each other: rule, field, message
/// and the source's value.
fn check_item(item: &ResultItem, ends: Option<Ends>, mut tell: impl FnMut(&'static Rule, &str, &str, &str)) {
    let value = item.value_raw.as_deref().unwrap_or_default();
    if ends.is_some_and(Ends::are_reversed) {
        tell(&RANGE_REVERSED, "reference", "low is above high", item.reference_raw.as_deref().unwrap_or_default());
        return;
    }
    shifted(item, &mut tell);
    if let Some((rule, message)) = check_flag(item) {
        tell(rule, "flag_source", message, value);
    }
}

/// A range in the unit's column, a unit in the range's or the value's; and a range that nobody can read.
fn shifted(item: &ResultItem, tell: &mut impl FnMut(&'static Rule, &str, &str, &str)) {
    if let Some(text) = item.unit_raw.as_deref()
        && item.unit_ucum.is_none()
        && is_range(text)
    {
        tell(&COLUMNS_SHIFTED, "unit_raw", "the unit's column holds a range", text);
    }
    if let Some(value) = item.value_raw.as_deref()
        && item.value_kind == ValueKind::Text
        && value.len() <= 16
        && value.contains('/')
        && unit::ucum(value).is_some()
    {
        tell(&COLUMNS_SHIFTED, "value_raw", "the value's column holds a unit", value);
    }
    if let Some(text) = item.reference.as_ref().and_then(|range| range.text.as_deref()) {
        let counted = matches!(item.value_kind, ValueKind::Numeric | ValueKind::Comparator | ValueKind::Range);
        if unit::ucum(text).is_some() {
            tell(&COLUMNS_SHIFTED, "reference_raw", "the range's column holds a unit", text);
        } else if counted && polarity(&fold(text)).is_none() {
            tell(&RANGE_UNREAD, "reference_raw", "this range could not be read", text);
        }
    }
}

fn check_flag(item: &ResultItem) -> Option<(&'static Rule, &'static str)> {
    use AbnormalFlag::{CriticalHigh, CriticalLow, High, Low, Negative, Normal, Positive};
    let source = item.flag_source?;
    if matches!(item.value_kind, ValueKind::Coded | ValueKind::Ordinal) {
        let said = item.value_raw.as_deref().and_then(|value| polarity(&fold(value)));
        let contradicts = match said {
            Some(Polarity::Negative) => matches!(source, High | CriticalHigh | Positive),
            Some(Polarity::Positive) => source == Negative,
            _ => false,
        };
        if contradicts {
            return Some((&FLAG_OPPOSITE, "the flag contradicts the word"));
        }
    }
    let derived = item.flag_derived?;
    let opposite = matches!(
        (source, derived),
        (Low | CriticalLow, High)
            | (High | CriticalHigh, Low)
            | (Positive | High | CriticalHigh, Negative)
            | (Negative, Positive)
    );
    if opposite {
        return Some((&FLAG_OPPOSITE, "flag and value point to opposite sides"));
    }
    let calm = |flag| matches!(flag, Normal | Negative);
    let told = |flag| matches!(flag, Low | High | CriticalLow | CriticalHigh | Positive);
    if (calm(source) && told(derived)) || (told(source) && calm(derived)) {
        return Some((&FLAG_DISAGREES, "only one of flag and range calls the value normal"));
    }
    None
}

/// What value and range say by themselves; `None` where either could not be read.
fn derive_flag(item: &ResultItem, ends: Option<Ends>, sex: Sex) -> Option<AbnormalFlag> {
    let reference = item.reference.as_ref()?;
    if is_for_another(item, sex) {
        return None;
    }
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
    place((low, low_in), (high, high_in), reference, ends?)
}

/// The ends of a range as numbers: `Some(None)` where it has none, `None` where it is not to be read.
#[derive(Clone, Copy)]
struct Ends {
    low: Option<Option<Decimal>>,
    high: Option<Option<Decimal>>,
}

impl Ends {
    fn of(range: &ReferenceRange) -> Ends {
        let end = |text: &Option<DecimalText>| match text {
            None => Some(None),
            Some(text) => decimal(&text.0).map(Some),
        };
        Ends { low: end(&range.low), high: end(&range.high) }
    }

    fn are_reversed(self) -> bool {
        matches!((self.low, self.high), (Some(Some(low)), Some(Some(high))) if low > high)
    }
}

fn place(
    low: (Option<Decimal>, bool),
    high: (Option<Decimal>, bool),
    range: &ReferenceRange,
    ends: Ends,
) -> Option<AbnormalFlag> {
    let (floor, ceiling) = (ends.low?, ends.high?);
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
    // A laboratory's remark on a specimen is no result.
    let words_count = report.report_kind != ReportKind::Lab;
    let told = report.groups.iter().any(|group| !group.items.is_empty() || (words_count && group.summary.is_some()));
    !told && report.conclusions.is_empty() && report.attachments.is_empty()
}

/// A department's report speaks of its own groups only.
fn completeness(report: &ExamReport, findings: &mut Findings<'_>) {
    let ordered = &report.visit.ordered_groups;
    if ordered.is_empty() {
        return;
    }
    let results: HashSet<&str, RandomState> =
        report.groups.iter().filter(|group| !group.items.is_empty()).map(|group| &*group.group_code).collect();
    if matches!(report.report_kind, ReportKind::Health | ReportKind::Occupational) {
        for (at, group) in ordered.iter().enumerate() {
            let expected = matches!(group.state, OrderState::Ordered | OrderState::Done);
            if expected && !results.contains(&*group.group_code) {
                let path = format!("visit.ordered_groups[{at}]");
                findings.add_value(&GROUP_MISSING, path, "ordered, and without results or reason", &group.group_code);
            }
        }
    }
    let ordered: HashSet<&str, RandomState> = ordered.iter().map(|order| &*order.group_code).collect();
    for (at, group) in report.groups.iter().enumerate() {
        if !ordered.contains(&*group.group_code) {
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
    let on = on.or(report.issued_at.map(|time| time.date_naive()));
    let Some(age) = report.examinee.birth_date.zip(on).map(|(birth, on)| years(birth, on)) else { return };
    if age > 130 {
        findings.add(&AGE_IMPOSSIBLE, "examinee.birth_date", "the person would be older than 130 years");
    }
    if visit.stated_age.is_some_and(|stated| (age - stated).abs() > 1) {
        findings.add(&AGE_DISAGREES, "visit.stated_age", "more than a year off the date of birth");
    }
}
