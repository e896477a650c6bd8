//! Doubts about changes, and about what entities say of each other: what a record alone can't show.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};

use super::apply::held;
use super::known::{self, Against};
use super::rules::{self, Findings, Weights};
use super::{Composer, Mapping, USUAL, compose};
use crate::model::dictionary::{Compared, Dictionary};
use crate::model::entity::{ApplicableSex, ExamItem, ExamItemGroup, ExamPackage, ExamReport, ReportStatus};
use crate::model::guard::{Change, Guards};
use crate::model::{Compose, Entity, EntityKey, EntityType, Finding, Held, Lanes, Outcome, Part, Severity};

/// Makes one entity from the parts that several streams gave, and knows the site: the `[rules]` of its mappings (those
/// of the stream that gives the header count), its thresholds, and which dictionaries it reads.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// The weights of each stream (`source/stream`) whose mapping changes some.
    changed: BTreeMap<String, Weights>,
    /// The thresholds of each guarded stream.
    guards: BTreeMap<String, Guards>,
    /// The sources that read a whole catalogue of such entities.
    dictionaries: BTreeSet<(EntityType, String)>,
    /// The source whose dictionary a stream's codes are of, where its mapping names one.
    named: BTreeMap<String, String>,
    /// How many days two versions of a report may lie apart, by the scope of its key, where a mapping says so.
    visit_days: BTreeMap<String, u32>,
    /// The routing labels of single entities.
    lanes: Lanes,
}

impl Site {
    /// Takes the rules of each stream's mapping.
    pub fn new<'m>(streams: impl IntoIterator<Item = (String, &'m Mapping)>) -> Site {
        let mut site = Site::default();
        for (stream, mapping) in streams {
            let plan = &mapping.plan;
            if let Some(source) = &plan.dictionary {
                site.named.insert(stream.clone(), source.clone());
            }
            if let Some(days) = plan.same_visit_days {
                let scope = plan.scope.clone().unwrap_or_else(|| source_of(&stream).to_owned());
                site.visit_days.entry(scope).and_modify(|least| *least = days.min(*least)).or_insert(days);
            }
            if !plan.weights.changed.is_empty() {
                site.changed.insert(stream, plan.weights.clone());
            }
        }
        site
    }

    /// With the thresholds of guarded streams.
    pub fn guarded(self, guards: impl IntoIterator<Item = (String, Guards)>) -> Site {
        Site { guards: guards.into_iter().collect(), ..self }
    }

    /// With the kinds of entity that are read as whole catalogues, and the source of each.
    pub fn reading(self, dictionaries: impl IntoIterator<Item = (EntityType, String)>) -> Site {
        Site { dictionaries: dictionaries.into_iter().collect(), ..self }
    }

    /// With the routing labels of single entities.
    pub fn labelled(self, lanes: Lanes) -> Site {
        Site { lanes, ..self }
    }

    fn weights(&self, stream: &str) -> &Weights {
        self.changed.get(stream).unwrap_or(&USUAL)
    }

    /// The dictionaries that what a stream gives is held against: those of its own source, unless its mapping names
    /// another one. The groups of a package may be any source's, where its own reads none.
    fn against<'s>(&'s self, entity: EntityType, stream: &'s str) -> Against<'s> {
        let source = self.named.get(stream).map_or_else(|| source_of(stream), String::as_str);
        let reads = |kind| self.dictionaries.contains(&(kind, source.to_owned())).then_some(Some(source));
        let any = |kind| self.dictionaries.iter().any(|(known, _)| *known == kind).then_some(None);
        match entity {
            EntityType::ExamPackage => Against {
                groups: reads(EntityType::ExamItemGroup).or_else(|| any(EntityType::ExamItemGroup)),
                ..Against::default()
            },
            EntityType::ExamItemGroup => Against { items: reads(EntityType::ExamItem), ..Against::default() },
            EntityType::ExamReport => Against {
                items: reads(EntityType::ExamItem),
                groups: reads(EntityType::ExamItemGroup),
                packages: reads(EntityType::ExamPackage),
            },
            EntityType::ExamItem | EntityType::CriticalValue => Against::default(),
        }
    }
}

/// The source of a stream's id.
fn source_of(stream: &str) -> &str {
    stream.split_once('/').map_or(stream, |(source, _)| source)
}

impl Compose for Site {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        compose::compose(key, parts, |stream| self.weights(stream))
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        let scope = key.key.split(':').nth(1).unwrap_or_default();
        Composer::doubts(key, before, after, self.visit_days.get(scope).copied().unwrap_or(SAME_VISIT_DAYS))
    }

    fn told_by_release(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        Composer.told_by_release(key, before, after)
    }

    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        Composer.is_news(before, after, now)
    }

    fn guards(&self, stream: &str) -> Option<Guards> {
        self.guards.get(stream).copied()
    }

    fn doubt_changes(&self, stream: &str, changes: &[Change<'_>], total: usize) -> Vec<Finding> {
        self.guards.get(stream).map(|guards| doubts(guards, changes, total)).unwrap_or_default()
    }

    fn has_lanes(&self) -> bool {
        !self.lanes.0.is_empty()
    }

    fn lane(&self, key: &EntityKey, stream: &str) -> Option<String> {
        self.lanes.of(key, stream).map(str::to_owned)
    }

    fn compares(&self, entity: EntityType, stream: &str) -> bool {
        let against = self.against(entity, stream);
        against.items.is_some() || against.groups.is_some() || against.packages.is_some()
    }

    fn compare(&self, key: &EntityKey, parts: &[(String, Vec<u8>)], dictionary: &dyn Dictionary) -> Compared {
        known::compare(key, parts, dictionary, |stream| (self.against(key.entity, stream), self.weights(stream)))
    }

    fn with_issues(&self, key: &EntityKey, data: &[u8], findings: &[Finding]) -> Option<Vec<u8>> {
        known::with_issues(key, data, findings)
    }
}

/// What is doubtful in changes that come together.
fn doubts(guards: &Guards, changes: &[Change<'_>], total: usize) -> Vec<Finding> {
    let weights = Weights::default();
    let mut findings = Findings::new(&weights);
    let mut disabled = 0_usize;
    let mut withdrawn = 0_usize;
    for change in changes {
        let read = |data| Entity::from_json(change.key.entity, data).ok();
        let Some(before) = change.before.and_then(read) else { continue };
        let Some(after) = change.after else {
            withdrawn += 1;
            continue;
        };
        let Some(after) = read(after) else { continue };
        disabled += usize::from(is_enabled(&before) && !is_enabled(&after));
        match (&before, &after) {
            (Entity::ExamPackage(before), Entity::ExamPackage(after)) => package(guards, before, after, &mut findings),
            (Entity::ExamItemGroup(before), Entity::ExamItemGroup(after)) => {
                group(guards, before, after, &mut findings);
            }
            (Entity::ExamItem(before), Entity::ExamItem(after)) => item(guards, before, after, &mut findings),
            _ => {}
        }
    }
    for (count, what) in [(disabled, "disabled"), (withdrawn, "taken back")] {
        let many = count > guards.min_disabled as usize && count * 100 > guards.disabled as usize * total;
        if many {
            findings.add(&rules::MASS_DISABLED, "", format!("{count} of {total} are {what} at once"));
        }
    }
    findings.list
}

fn is_enabled(entity: &Entity) -> bool {
    match entity {
        Entity::ExamPackage(package) => package.enabled,
        Entity::ExamItemGroup(group) => group.enabled,
        Entity::ExamItem(item) => item.enabled,
        Entity::ExamReport(_) | Entity::CriticalValue(_) => true,
    }
}

fn package(guards: &Guards, before: &ExamPackage, after: &ExamPackage, findings: &mut Findings<'_>) {
    let code = &after.package_code;
    let prices = [
        ("original_price_minor", before.original_price_minor, after.original_price_minor),
        ("sale_price_minor", before.sale_price_minor, after.sale_price_minor),
    ];
    for (path, before, after) in prices {
        price(guards, path, Some(before), Some(after), code, findings);
    }
    dropped(guards, "items", before.items.len(), after.items.len(), code, findings);
    sex(guards, Some(before.applicable_sex), Some(after.applicable_sex), code, findings);
}

fn group(guards: &Guards, before: &ExamItemGroup, after: &ExamItemGroup, findings: &mut Findings<'_>) {
    let code = &after.group_code;
    price(guards, "price_minor", before.price_minor, after.price_minor, code, findings);
    dropped(guards, "members", before.members.len(), after.members.len(), code, findings);
    sex(guards, before.applicable_sex, after.applicable_sex, code, findings);
}

fn item(guards: &Guards, before: &ExamItem, after: &ExamItem, findings: &mut Findings<'_>) {
    sex(guards, Some(before.applicable_sex), Some(after.applicable_sex), &after.item_code, findings);
    let spelt = |unit: &Option<String>| unit.clone().filter(|unit| !unit.is_empty());
    let certain = before.unit_ucum.is_some() && before.unit_ucum == after.unit_ucum;
    if guards.unit_changed
        && spelt(&before.unit_raw) != spelt(&after.unit_raw)
        && !certain
        && spelt(&before.unit_raw).is_some()
    {
        let message = "an item that is known has another unit";
        findings.add_value(&rules::UNIT_CHANGED, "unit_raw", message, &after.item_code);
    }
}

fn price(
    guards: &Guards,
    path: &str,
    before: Option<i64>,
    after: Option<i64>,
    code: &str,
    findings: &mut Findings<'_>,
) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let factor = i128::from(guards.price_factor);
    let (before, after) = (i128::from(before), i128::from(after));
    if before > 0 && (after * 100 > before * factor || before * 100 > after * factor) {
        findings.add_value(&rules::PRICE_JUMP, path, "the price changes by a large factor", code);
    }
}

fn dropped(guards: &Guards, path: &str, before: usize, after: usize, code: &str, findings: &mut Findings<'_>) {
    let lost = before.saturating_sub(after);
    if lost * 100 > guards.members_dropped as usize * before {
        findings.add_value(&rules::MEMBERS_DROPPED, path, format!("{lost} of {before} members are gone"), code);
    }
}

fn sex(
    guards: &Guards,
    before: Option<ApplicableSex>,
    after: Option<ApplicableSex>,
    code: &str,
    findings: &mut Findings<'_>,
) {
    if guards.sex_changed && matches!((before, after), (Some(before), Some(after)) if before != after) {
        findings.add_value(&rules::SEX_CHANGED, "applicable_sex", "it is meant for another sex", code);
    }
}

/// The results that a report no longer has, as `group/item/instance`: a program that writes a report anew deletes its
/// rows first.
pub(super) fn vanished(before: &ExamReport, after: &ExamReport) -> Vec<String> {
    fn results(report: &ExamReport) -> impl Iterator<Item = (&str, &str, &str)> {
        report.groups.iter().flat_map(|group| {
            group.items.iter().map(|item| (group.group_code.as_str(), item.item_code.as_str(), item.instance.as_str()))
        })
    }
    let kept: BTreeSet<_> = results(after).collect();
    let gone: BTreeSet<_> = results(before).filter(|result| !kept.contains(result)).collect();
    let mut names: Vec<String> =
        gone.into_iter().map(|(group, item, instance)| format!("{group}/{item}/{instance}")).collect();
    let groups: BTreeSet<&str> = after.groups.iter().map(|group| group.group_code.as_str()).collect();
    let empty = before.groups.iter().filter(|group| group.items.is_empty());
    names.extend(empty.map(|group| group.group_code.clone()).filter(|code| !groups.contains(code.as_str())));
    if before.conclusions.len() > after.conclusions.len() && after.conclusions.is_empty() {
        names.push("conclusions".to_owned());
    }
    names
}

/// The doubt about a delivered report of which results vanish.
pub(super) fn doubt_vanished(key: &EntityKey, before: &ExamReport, after: &ExamReport) -> Option<Held> {
    let gone = vanished(before, after);
    if gone.is_empty() || after.status == ReportStatus::Withdrawn {
        return None;
    }
    let weights = Weights::default();
    let mut findings = Findings::new(&weights);
    for name in gone {
        findings.add_value(&rules::RESULT_VANISHED, "groups", "the version before had this", &name);
    }
    match held(key.entity, Some(key.clone()), findings.list, Vec::new()) {
        Outcome::Held(held) => Some(held),
        Outcome::Mapped(_) => None,
    }
}

/// The report's `data` that names what it no longer has; `None` where nothing is gone.
pub(super) fn naming_vanished(before: &ExamReport, mut after: Box<ExamReport>) -> Option<Vec<u8>> {
    let gone = vanished(before, &after);
    if gone.is_empty() {
        return None;
    }
    for name in gone {
        let message = "the version before had this; the source has removed it";
        let finding = Finding::new(rules::RESULT_VANISHED.code, Severity::Warn, "groups", message).value(name);
        after.envelope.issues.push(finding);
    }
    Entity::ExamReport(after).to_canonical_json().ok()
}

/// Reads a report's `data`.
pub(super) fn report(key: &EntityKey, data: &[u8]) -> Option<Box<ExamReport>> {
    match Entity::from_json(key.entity, data) {
        Ok(Entity::ExamReport(report)) => Some(report),
        _ => None,
    }
}

/// How many days two versions of a report may lie apart and still speak of one visit. Exam numbers come back in another
/// year; a date that is corrected moves by days.
pub(super) const SAME_VISIT_DAYS: u32 = 180;

/// The doubt about a report that turns into the one of another visit: its exam number was given again.
fn doubt_visit(key: &EntityKey, before: &ExamReport, after: &ExamReport, days: u32) -> Option<Held> {
    let registered = |report: &ExamReport| report.visit.registered_at.map(|at| at.date_naive());
    let both = |date: fn(&ExamReport) -> Option<NaiveDate>| date(before).zip(date(after));
    let exam = |report: &ExamReport| report.visit.exam_date;
    let issued = |report: &ExamReport| report.issued_at.map(|at| at.date_naive());
    let (path, (one, other)) = both(registered)
        .map(|dates| ("visit.registered_at", dates))
        .or_else(|| Some(("visit.exam_date", both(exam)?)))
        .or_else(|| Some(("issued_at", both(issued)?)))?;
    if one.signed_duration_since(other).num_days().unsigned_abs() <= u64::from(days) {
        return None;
    }
    let weights = Weights::default();
    let mut findings = Findings::new(&weights);
    findings.add(&rules::ANOTHER_VISIT, path, format!("more than {days} days from the version before"));
    match held(key.entity, Some(key.clone()), findings.list, vec![after.visit.exam_no.clone()]) {
        Outcome::Held(held) => Some(held),
        Outcome::Mapped(_) => None,
    }
}

impl Composer {
    /// The doubts about a change that every site has.
    pub(super) fn doubts(key: &EntityKey, before: &[u8], after: &[u8], days: u32) -> Option<Held> {
        let (before, after) = (report(key, before)?, report(key, after)?);
        compose::doubt_change(key, &before, &after)
            .or_else(|| doubt_visit(key, &before, &after, days))
            .or_else(|| doubt_vanished(key, &before, &after))
    }
}

/// A site whose stream says in its mapping whose dictionary counts, and what rules weigh.
#[cfg(test)]
pub(super) fn site_with(mut site: Site, stream: &str, dictionary: &str, rules: &[(&'static str, Severity)]) -> Site {
    site.named.insert(stream.to_owned(), dictionary.to_owned());
    site.changed.insert(stream.to_owned(), Weights { changed: rules.to_vec(), ..Weights::default() });
    site
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn data(path: &str) -> Json {
        let text = std::fs::read_to_string(format!("fixtures/mapping/{path}")).unwrap();
        let shown: Json = serde_json::from_str(&text).unwrap();
        shown.pointer("/0/mapped/data").unwrap().clone()
    }

    fn codes(kind: EntityType, before: &Json, after: &Json) -> Vec<String> {
        let key = EntityKey::new(kind, "main:peis:1".to_owned());
        let (before, after) = (before.to_string(), after.to_string());
        let change = Change { key: &key, before: Some(before.as_bytes()), after: Some(after.as_bytes()) };
        doubts(&Guards::default(), &[change], 100).into_iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn a_package_whose_price_sex_or_content_jumps_is_doubted() {
        let before = data("package-three-levels/expected.json");
        let changed = |path: &str, to: Json| {
            let mut after = before.clone();
            *after.pointer_mut(path).unwrap() = to;
            codes(EntityType::ExamPackage, &before, &after)
        };
        let price = before["sale_price_minor"].as_i64().unwrap();
        assert!(changed("/sale_price_minor", json!(price * 2)).is_empty());
        assert_eq!(changed("/sale_price_minor", json!(price * 2 + 1)), ["price-jump"]);
        assert_eq!(changed("/sale_price_minor", json!(price / 100)), ["price-jump"]);
        assert_eq!(changed("/sale_price_minor", json!(0)), ["price-jump"]);
        let sex = if before["applicable_sex"] == "female" { "male" } else { "female" };
        assert_eq!(changed("/applicable_sex", json!(sex)), ["sex-changed"]);
        let items = before["items"].as_array().unwrap();
        assert_eq!(changed("/items", json!(items[..items.len() / 2])), ["members-dropped"]);
        assert!(changed("/name", json!("另一个名称")).is_empty());
    }

    #[test]
    fn an_item_that_is_known_keeps_its_unit() {
        let before = data("item-dictionary/expected.json");
        let mut after = before.clone();
        after["unit_raw"] = json!("另一单位");
        after.as_object_mut().unwrap().remove("unit_ucum");
        assert_eq!(codes(EntityType::ExamItem, &before, &after), ["unit-changed"]);
        let key = EntityKey::new(EntityType::ExamItem, "main:peis:1".to_owned());
        let (one, other) = (before.to_string(), after.to_string());
        let change = Change { key: &key, before: Some(one.as_bytes()), after: Some(other.as_bytes()) };
        let lax = Guards { unit_changed: false, ..Guards::default() };
        assert!(doubts(&lax, &[change], 100).is_empty(), "a site may switch it off");
        // Another spelling of the same unit is none.
        let mut after = before.clone();
        after["unit_raw"] = json!(format!(" {}", before["unit_raw"].as_str().unwrap()));
        assert!(before["unit_ucum"].is_null() || codes(EntityType::ExamItem, &before, &after).is_empty());
    }

    #[test]
    fn a_catalogue_that_is_turned_off_at_once_is_doubted() {
        let before = data("package-three-levels/expected.json");
        let (mut on, mut off) = (before.clone(), before);
        (on["enabled"], off["enabled"]) = (json!(true), json!(false));
        let (on, off) = (on.to_string(), off.to_string());
        let key = EntityKey::new(EntityType::ExamPackage, "main:peis:1".to_owned());
        let change = Change { key: &key, before: Some(on.as_bytes()), after: Some(off.as_bytes()) };
        let doubted = |count: usize, total: usize| !doubts(&Guards::default(), &vec![change; count], total).is_empty();
        assert!(doubted(4, 4) && doubted(6, 10));
        assert!(!doubted(3, 3) && !doubted(5, 10), "few, or no more than half");
        let gone = Change { after: None, ..change };
        assert_eq!(doubts(&Guards::default(), &[gone; 4], 4).len(), 1);
    }

    #[test]
    fn a_report_that_loses_a_result_is_doubted_and_its_revision_names_it() {
        let before = data("report-absence/expected-words.json");
        let mut after = before.clone();
        let gone = after.pointer_mut("/groups/0/items").unwrap().as_array_mut().unwrap().remove(0);
        let key = EntityKey::new(EntityType::ExamReport, "main:visit:1".to_owned());
        let (before, after) = (before.to_string(), after.to_string());
        let (before, after) = (before.as_bytes(), after.as_bytes());
        let held = Composer.doubt_change(&key, before, after).unwrap();
        assert_eq!((held.reason.as_str(), held.findings.len()), ("result-vanished", 1));
        assert!(Composer.doubt_change(&key, after, before).is_none(), "more is no loss");
        let told = Composer.told_by_release(&key, before, after).unwrap();
        let told: Json = serde_json::from_slice(&told).unwrap();
        let issue = told["envelope"]["issues"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&issue["code"], &issue["severity"]), (&json!("result-vanished"), &json!("warn")));
        let code = gone["item_code"].as_str().unwrap();
        assert!(issue["source_value"].as_str().unwrap().contains(code), "{issue}");
        assert!(Composer.told_by_release(&key, after, before).is_none());
    }

    #[test]
    fn a_report_of_a_far_away_day_is_another_visit() {
        let before = data("report-absence/expected-words.json");
        let key = EntityKey::new(EntityType::ExamReport, "main:visit:1".to_owned());
        let moved = |to: &str| {
            let mut after = before.clone();
            for path in ["/visit/registered_at", "/visit/exam_date", "/issued_at"] {
                let Some(date) = after.pointer_mut(path) else { continue };
                let text = date.as_str().unwrap_or_default();
                *date = json!(format!("{to}{}", text.get(10..).unwrap_or_default()));
            }
            after
        };
        let doubt = |site: &Site, after: &Json| {
            let (before, after) = (before.to_string(), after.to_string());
            site.doubt_change(&key, before.as_bytes(), after.as_bytes()).map(|held| held.reason)
        };
        let visited = before["visit"]["exam_date"].as_str().or(before["visit"]["registered_at"].as_str());
        let year: i32 = visited.or(before["issued_at"].as_str()).unwrap()[..4].parse().unwrap();
        let next = moved(&format!("{}-11-20", year + 1));
        assert_eq!(doubt(&Site::default(), &next).as_deref(), Some("another-visit"));
        let near = moved(&format!("{year}-11-25"));
        assert_eq!(doubt(&Site::default(), &near), None, "a date may be corrected");
        let strict = Site { visit_days: BTreeMap::from([("visit".to_owned(), 1)]), ..Site::default() };
        assert_eq!(doubt(&strict, &near).as_deref(), Some("another-visit"));
        let lax = Site { visit_days: BTreeMap::from([("visit".to_owned(), 400)]), ..Site::default() };
        assert_eq!(doubt(&lax, &next), None);
    }
}
