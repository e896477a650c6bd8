//! Rules of packages.

use super::{
    AGES_REVERSED, CHOICE_IMPOSSIBLE, COMPANY_MISSING, DATES_REVERSED, DUPLICATE_ITEM, Findings, PACKAGE_EMPTY,
    PRICE_NEGATIVE, PRICE_SUM, SALE_ABOVE_ORIGINAL, repeated,
};
use crate::model::ExamPackage;
use crate::model::entity::{PackageItem, PackageRole, PackageScope};

pub(super) fn settle(package: &ExamPackage, findings: &mut Findings<'_>) {
    prices(package, findings);
    if package.items.is_empty() {
        findings.add(&PACKAGE_EMPTY, "items", "the package has no items");
    }
    for at in repeated(package.items.iter().map(|item| &item.group_code)) {
        findings.add(&DUPLICATE_ITEM, format!("items[{at}].group_code"), "the group is in the package twice");
    }
    for (at, choice) in package.choice_groups.iter().enumerate() {
        let members =
            package.items.iter().filter(|item| item.choice_group_id.as_ref() == Some(&choice.group_id)).count();
        let most = i64::try_from(members).unwrap_or(i64::MAX);
        if choice.min_pick < 0 || choice.max_pick < choice.min_pick || choice.max_pick > most {
            let message = format!("{} to {} of {most} can't be chosen", choice.min_pick, choice.max_pick);
            findings.add(&CHOICE_IMPOSSIBLE, format!("choice_groups[{at}]"), message);
        }
    }
    for (at, item) in package.items.iter().enumerate() {
        let known = |id: &String| package.choice_groups.iter().any(|choice| choice.group_id == *id);
        if !package.choice_groups.is_empty() && item.choice_group_id.as_ref().is_some_and(|id| !known(id)) {
            findings.add(&CHOICE_IMPOSSIBLE, format!("items[{at}].choice_group_id"), "no such part of the package");
        }
    }
    for (at, pair) in package.exclusions.iter().enumerate() {
        let always = |code: &String| package.items.iter().any(|item| item.group_code == *code && is_always_done(item));
        if always(&pair.first) && always(&pair.second) {
            let message = "both are always done, and they exclude each other";
            findings.add(&CHOICE_IMPOSSIBLE, format!("exclusions[{at}]"), message);
        }
    }
    if matches!((package.age_low, package.age_high), (Some(low), Some(high)) if low > high) {
        findings.add(&AGES_REVERSED, "age_low", "the lowest age is above the highest");
    }
    if matches!((package.valid_from, package.valid_to), (Some(from), Some(to)) if from > to) {
        findings.add(&DATES_REVERSED, "valid_to", "the last day lies before the first");
    }
    if package.scope == PackageScope::Company && package.org_code.is_none() {
        findings.add(&COMPANY_MISSING, "org_code", "a company's package without the company");
    }
}

fn prices(package: &ExamPackage, findings: &mut Findings<'_>) {
    let named =
        [("original_price_minor", package.original_price_minor), ("sale_price_minor", package.sale_price_minor)];
    let parts = package.items.iter().enumerate().filter_map(|(at, item)| Some((at, item.price_minor?)));
    for (path, price) in named {
        if price < 0 {
            findings.add(&PRICE_NEGATIVE, path, "the price is negative");
        }
    }
    for (at, _) in parts.filter(|(_, price)| *price < 0) {
        findings.add(&PRICE_NEGATIVE, format!("items[{at}].price_minor"), "the price is negative");
    }
    if package.sale_price_minor > package.original_price_minor {
        findings.add(&SALE_ABOVE_ORIGINAL, "sale_price_minor", "the price asked is above the original price");
    }
    if !adds_up(package) {
        let message = "what is always done costs another sum by its items";
        findings.add(&PRICE_SUM, "original_price_minor", message);
    }
}

/// What nobody has to choose.
fn is_always_done(item: &PackageItem) -> bool {
    item.role == PackageRole::Mandatory && item.choice_group_id.is_none()
}

/// Whether the items' prices make the package's; true where they can't be compared, because one has
/// no price or because the package's price contains a choice.
fn adds_up(package: &ExamPackage) -> bool {
    let sum = |price: fn(&PackageItem) -> Option<i64>| {
        let items = package.items.iter().filter(|item| is_always_done(item));
        items.map(price).try_fold(0_i64, |sum, price| sum.checked_add(price?))
    };
    // Sources differ in whether a price is that of one or of all `qty`.
    let sums = [sum(|item| item.price_minor), sum(|item| item.price_minor?.checked_mul(item.qty.unwrap_or(1)))];
    let none = !package.items.iter().any(is_always_done);
    none || !package.choice_groups.is_empty()
        || sums.contains(&None)
        || sums.contains(&Some(package.original_price_minor))
}
