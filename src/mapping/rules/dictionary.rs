//! Rules of detail items and group items.

use super::{
    COLUMNS_SHIFTED, DUPLICATE_ITEM, Findings, ITEM_SEX, NO_MEMBERS, PRICE_NEGATIVE, RANGE_OVERLAP, RANGE_REVERSED,
    UNIT_UNFIT, concepts, repeated,
};
use crate::mapping::readers::number::decimal;
use crate::mapping::readers::reference::is_range;
use crate::mapping::readers::unit;
use crate::model::entity::{ApplicableSex, ReferenceRange, Sex};
use crate::model::{ExamItem, ExamItemGroup};

pub(super) fn item(item: &ExamItem, findings: &mut Findings<'_>) {
    for (at, range) in item.reference_ranges.iter().enumerate() {
        if is_reversed(range) {
            findings.add(&RANGE_REVERSED, format!("reference_ranges[{at}]"), "low is above high");
        }
        if item.reference_ranges[..at].iter().any(|other| overlap(other, range)) {
            let message = "an earlier range is for the same sex and age, and says something else";
            findings.add(&RANGE_OVERLAP, format!("reference_ranges[{at}]"), message);
        }
    }
    if item.unit_ucum.is_none() && item.unit_raw.as_deref().is_some_and(is_range) {
        findings.add(&COLUMNS_SHIFTED, "unit_raw", "the unit's column holds a range");
    }
    let words = item.reference_ranges.iter().filter_map(|range| range.text.as_deref());
    if words.into_iter().any(|text| unit::ucum(text).is_some()) {
        findings.add(&COLUMNS_SHIFTED, "reference_ranges", "the range's column holds a unit");
    }
    let Some(concept) = item.standard_code.as_deref().and_then(concepts::find) else { return };
    if let Some(unit) = item.unit_ucum.as_deref()
        && !concept.has_unit(unit)
    {
        findings.add_value(&UNIT_UNFIT, "unit_raw", format!("this is no unit of {}", concept.word), unit);
    }
    let other = match concept.sex {
        Some(Sex::Male) => item.applicable_sex == ApplicableSex::Female,
        Some(Sex::Female) => item.applicable_sex == ApplicableSex::Male,
        _ => false,
    };
    if other {
        findings.add(&ITEM_SEX, "applicable_sex", format!("{} is for the other sex", concept.word));
    }
}

pub(super) fn group(group: &ExamItemGroup, findings: &mut Findings<'_>) {
    if group.members.is_empty() {
        findings.add(&NO_MEMBERS, "members", "the group has no detail items");
    }
    for at in repeated(group.members.iter().map(|member| &member.item_code)) {
        findings.add(&DUPLICATE_ITEM, format!("members[{at}].item_code"), "the item is in the group twice");
    }
    if group.price_minor.is_some_and(|price| price < 0) {
        findings.add(&PRICE_NEGATIVE, "price_minor", "the price is negative");
    }
}

/// Whether two ranges with different content are for one person at one age.
fn overlap(one: &ReferenceRange, other: &ReferenceRange) -> bool {
    use ApplicableSex::{Female, Male};
    let apart = matches!((one.sex, other.sex), (Some(Male), Some(Female)) | (Some(Female), Some(Male)));
    let before = |one: Option<u16>, other: Option<u16>| one.is_some_and(|one| other.is_some_and(|other| one < other));
    !apart && !before(one.age_high, other.age_low) && !before(other.age_high, one.age_low) && one != other
}

/// Whether a range's lower bound is above its upper bound.
pub(super) fn is_reversed(range: &ReferenceRange) -> bool {
    let bound = |text: &Option<crate::model::entity::DecimalText>| text.as_ref().and_then(|text| decimal(&text.0));
    matches!((bound(&range.low), bound(&range.high)), (Some(low), Some(high)) if low > high)
}
