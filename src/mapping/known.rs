//! What entities say against the dictionaries that their site reads: units, codes, the items of a panel.
//!
//! Each part of a report is held against the dictionary of the source that gave it, since codes have no meaning beyond
//! their source. A site without dictionaries has none of these rules. One look into an index for each code; nothing
//! grows with the dictionary.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;

use super::readers::text::fold;
use super::rules::{self, Findings, Rule, Weights};
use crate::model::dictionary::{Compared, Dictionary};
use crate::model::entity::{ApplicableSex, OrderState, ReportStatus, ResultStatus, Sex, ValueKind, ValueType};
use crate::model::{Entity, EntityKey, EntityType, ExamItem, ExamItemGroup, ExamPackage, Finding, Severity};

/// The sources whose dictionaries count for a stream; `Some(None)`: any source's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Against<'s> {
    pub(super) items: Option<Option<&'s str>>,
    pub(super) groups: Option<Option<&'s str>>,
    pub(super) packages: Option<Option<&'s str>>,
}

/// As much of a report as is compared.
#[derive(Deserialize)]
struct Report<'d> {
    status: ReportStatus,
    examinee: Person,
    #[serde(borrow)]
    visit: Visit<'d>,
    #[serde(borrow)]
    groups: Vec<Group<'d>>,
}

#[derive(Deserialize)]
struct Person {
    sex: Sex,
}

#[derive(Deserialize)]
struct Visit<'d> {
    #[serde(default, borrow)]
    package_code: Option<Cow<'d, str>>,
    #[serde(default, borrow)]
    ordered_groups: Vec<Order<'d>>,
}

#[derive(Deserialize)]
struct Order<'d> {
    #[serde(borrow)]
    group_code: Cow<'d, str>,
    state: OrderState,
}

#[derive(Deserialize)]
struct Group<'d> {
    #[serde(borrow)]
    group_code: Cow<'d, str>,
    status: Option<ResultStatus>,
    #[serde(borrow)]
    items: Vec<Item<'d>>,
}

#[derive(Deserialize)]
struct Item<'d> {
    #[serde(borrow)]
    item_code: Cow<'d, str>,
    #[serde(borrow)]
    item_name: Cow<'d, str>,
    value_kind: ValueKind,
    #[serde(default, borrow)]
    unit_raw: Option<Cow<'d, str>>,
    #[serde(default, borrow)]
    unit_ucum: Option<Cow<'d, str>>,
}

/// Compares an entity with the dictionaries. `of` tells against which of them a stream's part counts, and how heavy
/// the rules of its mapping are.
pub(super) fn compare<'s>(
    key: &EntityKey,
    parts: &'s [(String, Vec<u8>)],
    dictionary: &dyn Dictionary,
    of: impl Fn(&'s str) -> (Against<'s>, &'s Weights),
) -> Compared {
    let mut compared = Compared::default();
    for (stream, data) in parts {
        let (against, weights) = of(stream);
        let mut comparison = Comparison {
            against,
            dictionary,
            alone: parts.len() == 1,
            findings: Findings::new(weights),
            waits: BTreeSet::new(),
        };
        match key.entity {
            EntityType::ExamReport => {
                // A report that can't be read is another room's to tell of.
                if let Ok(report) = serde_json::from_slice::<Report<'_>>(data)
                    && matches!(report.status, ReportStatus::Final | ReportStatus::Revised)
                {
                    comparison.report(&report);
                }
            }
            EntityType::ExamPackage | EntityType::ExamItemGroup => match Entity::from_json(key.entity, data) {
                Ok(Entity::ExamPackage(package)) if package.enabled => comparison.package(&package),
                Ok(Entity::ExamItemGroup(group)) if group.enabled => comparison.group(&group),
                _ => {}
            },
            EntityType::ExamItem | EntityType::CriticalValue => {}
        }
        compared.findings.append(&mut comparison.findings.list);
        compared.waits.append(&mut comparison.waits);
    }
    compared
}

/// The `data` with these findings among its issues.
pub(super) fn with_issues(key: &EntityKey, data: &[u8], findings: &[Finding]) -> Option<Vec<u8>> {
    let mut entity = Entity::from_json(key.entity, data).ok()?;
    let issues = &mut entity.envelope_mut().issues;
    for finding in findings {
        // What goes upstream is held no more.
        let finding = Finding { severity: finding.severity.min(Severity::Warn), ..finding.clone() };
        if !issues.contains(&finding) {
            issues.push(finding);
        }
    }
    entity.to_canonical_json().ok()
}

struct Comparison<'c> {
    against: Against<'c>,
    dictionary: &'c dyn Dictionary,
    /// The part is the whole: its paths are the entity's.
    alone: bool,
    findings: Findings<'c>,
    waits: BTreeSet<(EntityType, String)>,
}

impl Comparison<'_> {
    fn tell(&mut self, rule: &Rule, path: String, message: impl Into<String>, value: &str) {
        let path = if self.alone { path } else { "groups".to_owned() };
        self.findings.add_value(rule, path, message, value);
    }

    fn wait(&mut self, kind: EntityType, code: &str) {
        self.waits.insert((kind, code.to_owned()));
    }

    /// What the dictionary of items has under a code; `None` where there is no such dictionary.
    fn item(&self, code: &str) -> Option<Option<Vec<Arc<Entity>>>> {
        Some(self.dictionary.look(self.against.items?, EntityType::ExamItem, code))
    }

    /// The same for groups.
    fn group_entry(&self, code: &str) -> Option<Option<Vec<Arc<Entity>>>> {
        Some(self.dictionary.look(self.against.groups?, EntityType::ExamItemGroup, code))
    }

    fn package(&mut self, package: &ExamPackage) {
        let always = |code: &str| {
            package.items.iter().any(|item| item.group_code == code && rules::package::is_always_done(item))
        };
        for (at, item) in package.items.iter().enumerate() {
            let code = item.group_code.as_str();
            let path = format!("items[{at}].group_code");
            let before = self.findings.list.len();
            match self.group_entry(code) {
                None => return,
                Some(None) => self.tell(&rules::GROUP_UNKNOWN, path, "no dictionary has this group", code),
                Some(Some(entries)) => {
                    let groups: Vec<&ExamItemGroup> = entries.iter().filter_map(|entry| as_group(entry)).collect();
                    // A group that can't be read is known all the same; its own held item says what is wrong.
                    if !groups.is_empty() && groups.iter().all(|group| !group.enabled) {
                        self.tell(&rules::GROUP_OFF, path, "the group is disabled, the package is not", code);
                    } else if let Some(group) = groups.first()
                        && are_opposite(Some(package.applicable_sex), group.applicable_sex)
                    {
                        let message = "by the dictionary the group is for the other sex than the package";
                        self.tell(&rules::ITEM_SEX, path, message, code);
                    } else if let Some(group) = groups.first()
                        && always(code)
                        && let Some(other) = group.excludes.iter().find(|other| always(other))
                    {
                        let message = format!("always done, and by the dictionary {other} excludes it");
                        self.tell(&rules::CHOICE_IMPOSSIBLE, path, message, code);
                    } else if let Some(group) = groups.first()
                        && let Some(other) = group
                            .requires
                            .iter()
                            .find(|other| !package.items.iter().any(|item| item.group_code == **other))
                    {
                        let message = format!("by the dictionary it needs {other}, which the package does not have");
                        self.tell(&rules::CHOICE_IMPOSSIBLE, path, message, code);
                    }
                }
            }
            if self.findings.list.len() > before {
                self.wait(EntityType::ExamItemGroup, code);
            }
        }
    }

    fn group(&mut self, group: &ExamItemGroup) {
        for (at, member) in group.members.iter().enumerate() {
            if let Some(None) = self.item(&member.item_code) {
                let path = format!("members[{at}].item_code");
                self.tell(&rules::MEMBER_UNKNOWN, path, "no dictionary has this item", &member.item_code);
                self.wait(EntityType::ExamItem, &member.item_code);
            }
        }
    }

    fn report(&mut self, report: &Report<'_>) {
        self.package_of(report);
        let mut unknown: BTreeSet<&str> = BTreeSet::new();
        for (at, order) in report.visit.ordered_groups.iter().enumerate() {
            let counts = !matches!(order.state, OrderState::Refunded | OrderState::SwappedOut);
            if counts && matches!(self.group_entry(&order.group_code), Some(None)) && unknown.insert(&order.group_code)
            {
                self.unknown_group(format!("visit.ordered_groups[{at}].group_code"), &order.group_code);
            }
        }
        for (at, group) in report.groups.iter().enumerate() {
            let entry = self.group_entry(&group.group_code);
            if matches!(entry, Some(None)) && unknown.insert(&group.group_code) {
                self.unknown_group(format!("groups[{at}].group_code"), &group.group_code);
            }
            let entry = entry.flatten().unwrap_or_default();
            let listed = entry.iter().find_map(|entry| as_group(entry));
            let members = listed.map(|listed| self.members(listed, report.examinee.sex)).unwrap_or_default();
            for (index, item) in group.items.iter().enumerate() {
                self.result(report.examinee.sex, (at, index), group, item, &members);
            }
            self.panel(at, group, &members);
        }
    }

    /// The package that was booked is for this person. One that the dictionary does not have may be off sale for long.
    fn package_of(&mut self, report: &Report<'_>) {
        let (Some(source), Some(code)) = (self.against.packages, report.visit.package_code.as_deref()) else { return };
        let entries = self.dictionary.look(source, EntityType::ExamPackage, code).unwrap_or_default();
        let packages: Vec<ApplicableSex> = entries
            .iter()
            .filter_map(|entry| match &**entry {
                Entity::ExamPackage(package) => Some(package.applicable_sex),
                _ => None,
            })
            .collect();
        if !packages.is_empty() && packages.iter().all(|sex| are_opposite(applicable(report.examinee.sex), Some(*sex)))
        {
            let message = "the package is for the other sex than the person";
            self.tell(&rules::PACKAGE_SEX, "visit.package_code".to_owned(), message, code);
            self.wait(EntityType::ExamPackage, code);
        }
    }

    fn unknown_group(&mut self, path: String, code: &str) {
        self.tell(&rules::ORDER_UNKNOWN, path, "the dictionary has no such group", code);
        self.wait(EntityType::ExamItemGroup, code);
    }

    /// One result against its entry. What holds it waits for the entry to be read anew.
    fn result(
        &mut self,
        sex: Sex,
        (at, index): (usize, usize),
        group: &Group<'_>,
        item: &Item<'_>,
        members: &[Member],
    ) {
        let code = item.item_code.as_ref();
        let path = |field: &str| format!("groups[{at}].items[{index}].{field}");
        if !members.is_empty() && !members.iter().any(|member| member.code == code) {
            let message = "by the dictionary the group has no such item";
            self.tell(&rules::ITEM_UNLISTED, path("item_code"), message, &format!("{}/{code}", group.group_code));
        }
        let Some(entries) = self.item(code) else { return };
        let before = self.findings.list.len();
        match entries {
            None => self.tell(&rules::ITEM_UNKNOWN, path("item_code"), "the dictionary has no such item", code),
            Some(entries) => {
                let known: Vec<&ExamItem> = entries.iter().filter_map(|entry| as_item(entry)).collect();
                if let Some(first) = known.first() {
                    self.value(sex, &path, item, first);
                    self.unit(&path, item, &known);
                    self.name(&path, item, first, members);
                }
            }
        }
        if self.findings.list.len() > before {
            self.wait(EntityType::ExamItem, code);
        }
    }

    fn value(&mut self, sex: Sex, path: &impl Fn(&str) -> String, item: &Item<'_>, known: &ExamItem) {
        if item.value_kind != ValueKind::Absent && are_opposite(applicable(sex), Some(known.applicable_sex)) {
            let message = "by the dictionary the item is for the other sex";
            self.tell(&rules::ITEM_SEX, path("item_code"), message, &item.item_code);
        }
        let is_word = matches!(item.value_kind, ValueKind::Coded | ValueKind::Ordinal | ValueKind::Text);
        if known.value_type == ValueType::Numeric && is_word {
            self.tell(&rules::KIND_DIFFERS, path("value_raw"), "the dictionary expects a number", &item.item_code);
        }
    }

    fn unit(&mut self, path: &impl Fn(&str) -> String, item: &Item<'_>, known: &[&ExamItem]) {
        if !matches!(item.value_kind, ValueKind::Numeric | ValueKind::Comparator | ValueKind::Range) {
            return;
        }
        let spelt = |unit: Option<&str>| unit.map(|unit| fold(unit).into_owned()).filter(|unit| !unit.is_empty());
        let own = spelt(item.unit_raw.as_deref());
        let theirs: Vec<&&ExamItem> = known.iter().filter(|known| spelt(known.unit_raw.as_deref()).is_some()).collect();
        if theirs.is_empty() || theirs.len() < known.len() {
            return;
        }
        let Some(own) = own else {
            let message = "the dictionary has a unit for it";
            self.tell(&rules::UNIT_MISSING, path("unit_raw"), message, &item.item_code);
            return;
        };
        let agrees = |known: &ExamItem| {
            spelt(known.unit_raw.as_deref()).as_ref() == Some(&own)
                || (item.unit_ucum.is_some() && item.unit_ucum.as_deref() == known.unit_ucum.as_deref())
        };
        if theirs.iter().any(|known| agrees(known)) {
            return;
        }
        let certain = item.unit_ucum.is_some() && theirs.iter().all(|known| known.unit_ucum.is_some());
        self.tell(&rules::UNIT_DIFFERS, path("unit_raw"), "the dictionary has another unit for it", &item.item_code);
        if !certain && let Some(finding) = self.findings.list.last_mut() {
            finding.severity = finding.severity.min(Severity::Warn);
            "it is spelt in another way than in the dictionary, and may be the same".clone_into(&mut finding.message);
        }
    }

    /// A name that differs is a matter of taste; the name of the neighbour is not.
    fn name(&mut self, path: &impl Fn(&str) -> String, item: &Item<'_>, known: &ExamItem, members: &[Member]) {
        let name = fold(&item.item_name);
        if name.is_empty() || name == fold(&known.item_name) {
            return;
        }
        let mut others = members.iter().filter(|member| member.code != item.item_code);
        if let Some(another) = others.find(|member| member.name == name) {
            let message = "by the dictionary this is the name of another item of the group";
            let value = format!("{} / {}", item.item_code, another.code);
            self.tell(&rules::NAME_OF_ANOTHER, path("item_name"), message, &value);
        }
    }

    /// The items that the dictionary lists for a group, and that the report's group does not have.
    fn panel(&mut self, at: usize, group: &Group<'_>, members: &[Member]) {
        let done = !matches!(group.status, Some(ResultStatus::Preliminary | ResultStatus::Cancelled));
        if !done || group.items.is_empty() {
            return;
        }
        for member in members.iter().filter(|member| member.expected) {
            if !group.items.iter().any(|item| item.item_code == member.code) {
                let value = format!("{}/{}", group.group_code, member.code);
                let message = "by the dictionary this item belongs to the group";
                self.tell(&rules::PANEL_INCOMPLETE, format!("groups[{at}].items"), message, &value);
                self.wait(EntityType::ExamItemGroup, &group.group_code);
            }
        }
    }

    /// The items of a group, each looked up once.
    fn members(&self, listed: &ExamItemGroup, sex: Sex) -> Vec<Member> {
        let member = |code: &String| {
            let entries = self.item(code).flatten().unwrap_or_default();
            let item = entries.iter().find_map(|entry| as_item(entry));
            let fits = |item: &ExamItem| match item.applicable_sex {
                ApplicableSex::Male => sex == Sex::Male,
                ApplicableSex::Female => sex == Sex::Female,
                ApplicableSex::Both => true,
            };
            let has_results = |item: &ExamItem| !matches!(item.value_type, ValueType::Image | ValueType::None);
            Member {
                code: code.clone(),
                name: item.map(|item| fold(&item.item_name).into_owned()).unwrap_or_default(),
                expected: item.is_none_or(|item| item.enabled && fits(item) && has_results(item)),
            }
        };
        listed.members.iter().map(|listed| member(&listed.item_code)).collect()
    }
}

/// An item that the dictionary lists for a group.
struct Member {
    code: String,
    /// Its name as it is compared.
    name: String,
    /// The person gets a result of it.
    expected: bool,
}

fn as_item(entity: &Entity) -> Option<&ExamItem> {
    match entity {
        Entity::ExamItem(item) => Some(item),
        _ => None,
    }
}

fn as_group(entity: &Entity) -> Option<&ExamItemGroup> {
    match entity {
        Entity::ExamItemGroup(group) => Some(group),
        _ => None,
    }
}

/// For whom something must be meant that a person of this sex has.
fn applicable(sex: Sex) -> Option<ApplicableSex> {
    match sex {
        Sex::Male => Some(ApplicableSex::Male),
        Sex::Female => Some(ApplicableSex::Female),
        Sex::Unknown | Sex::Undetermined => None,
    }
}

fn are_opposite(one: Option<ApplicableSex>, other: Option<ApplicableSex>) -> bool {
    use ApplicableSex::{Female, Male};
    matches!((one, other), (Some(Male), Some(Female)) | (Some(Female), Some(Male)))
}

#[cfg(test)]
mod tests;
