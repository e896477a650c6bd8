//! Rules of detail items and group items.

use super::{DUPLICATE_ITEM, Findings, NO_MEMBERS, PRICE_NEGATIVE, RANGE_REVERSED, repeated};
use crate::mapping::readers::number::decimal;
use crate::model::entity::ReferenceRange;
use crate::model::{ExamItem, ExamItemGroup};

pub(super) fn item(item: &ExamItem, findings: &mut Findings<'_>) {
    for (at, range) in item.reference_ranges.iter().enumerate() {
        if is_reversed(range) {
            findings.add(&RANGE_REVERSED, format!("reference_ranges[{at}]"), "low is above high");
        }
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

/// Whether a range's lower bound is above its upper bound.
pub(super) fn is_reversed(range: &ReferenceRange) -> bool {
    let bound = |text: &Option<crate::model::entity::DecimalText>| text.as_ref().and_then(|text| decimal(&text.0));
    matches!((bound(&range.low), bound(&range.high)), (Some(low), Some(high)) if low > high)
}
