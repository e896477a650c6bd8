//! Rules of packages.

use super::{
    AGES_REVERSED, CHOICE_IMPOSSIBLE, COMPANY_MISSING, DATES_REVERSED, DUPLICATE_ITEM, Findings, ITEM_SEX,
    PACKAGE_EMPTY, PRICE_NEGATIVE, PRICE_SUM, PRICE_ZERO, SALE_ABOVE_ORIGINAL, repeated,
};
use crate::model::ExamPackage;
use crate::model::entity::{ApplicableSex, PackageItem, PackageRole, PackageScope};

pub(super) fn settle(package: &ExamPackage, findings: &mut Findings<'_>) {
    prices(package, findings);
    if package.items.is_empty() {
        findings.add(&PACKAGE_EMPTY, "items", "the package has no items");
    }
    for at in repeated(package.items.iter().map(|item| &item.group_code)) {
        findings.add(&DUPLICATE_ITEM, format!("items[{at}].group_code"), "the group is in the package twice");
    }
    for (at, item) in package.items.iter().enumerate() {
        use ApplicableSex::{Female, Male};
        if let (Male, Some(Female)) | (Female, Some(Male)) = (package.applicable_sex, item.applicable_sex) {
            let message = "the item is for the other sex than the package";
            findings.add_value(&ITEM_SEX, format!("items[{at}].applicable_sex"), message, &item.group_code);
        }
    }
    for (at, choice) in package.choice_groups.iter().enumerate() {
        let members: Vec<&PackageItem> =
            package.items.iter().filter(|item| item.choice_group_id.as_ref() == Some(&choice.group_id)).collect();
        let most = i64::try_from(most_together(package, &members)).unwrap_or(i64::MAX);
        let listed = i64::try_from(members.len()).unwrap_or(i64::MAX);
        // The highest number is a limit and need not be reached by items that exclude each other.
        if choice.min_pick <= listed && choice.min_pick > most {
            let message = format!("{} can't be chosen: of {listed}, {most} can be done together", choice.min_pick);
            findings.add(&CHOICE_IMPOSSIBLE, format!("choice_groups[{at}]"), message);
        } else if choice.min_pick < 0 || choice.max_pick < choice.min_pick || choice.max_pick > listed {
            let message = format!("{} to {} of {listed} can't be chosen", choice.min_pick, choice.max_pick);
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

/// How many of some items can be done in one visit together with what is always done. Items that
/// exclude each other are tried in every combination for up to sixteen of them, which is more
/// than any package has in one part; beyond that all of them count.
fn most_together(package: &ExamPackage, items: &[&PackageItem]) -> usize {
    let excluded = |one: &str, other: &str| {
        package
            .exclusions
            .iter()
            .any(|pair| (pair.first == one && pair.second == other) || (pair.first == other && pair.second == one))
    };
    let always = || package.items.iter().filter(|item| is_always_done(item));
    let free: Vec<&str> = items
        .iter()
        .map(|item| item.group_code.as_str())
        .filter(|code| !always().any(|done| excluded(code, &done.group_code)))
        .collect();
    // Only what excludes something else needs thought.
    let (tied, loose): (Vec<&str>, Vec<&str>) =
        free.iter().partition(|code| free.iter().any(|other| excluded(code, other)));
    if tied.len() > 16 {
        return free.len();
    }
    let conflicts: Vec<u32> = tied
        .iter()
        .map(|code| (0..tied.len()).filter(|at| excluded(code, tied[*at])).fold(0, |mask, at| mask | 1 << at))
        .collect();
    loose.len() + largest(&conflicts, 0, 0)
}

/// The size of the largest set without a conflict among the rest, where `taken` are taken.
fn largest(conflicts: &[u32], at: usize, taken: u32) -> usize {
    let Some(mask) = conflicts.get(at) else { return 0 };
    let without = largest(conflicts, at + 1, taken);
    if mask & taken != 0 || without == conflicts.len() - at {
        return without;
    }
    without.max(1 + largest(conflicts, at + 1, taken | 1 << at))
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
    let of_items = package.items.iter().filter_map(|item| item.price_minor).any(|price| price > 0);
    if package.original_price_minor == 0 && of_items {
        findings.add(&PRICE_ZERO, "original_price_minor", "the package costs nothing, and its items do");
    }
    if !adds_up(package) {
        let message = "what is always done costs another sum by its items";
        findings.add(&PRICE_SUM, "original_price_minor", message);
    }
}

/// What nobody has to choose.
pub(in crate::mapping) fn is_always_done(item: &PackageItem) -> bool {
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
