//! Makes one entity from the parts that several streams gave.

use super::apply::held;
use super::rules::{self, Findings, Weights};
use crate::model::entity::{Examinee, Manifest, ReportKind, Sex};
use crate::model::{Entity, EntityKey, ExamReport, Finding, HEADER, Held, Mapped, Outcome, Part, Severity, Wish};

/// The header's wish decides, and the other standing parts' results, conclusions and attachments join it. One
/// group has one source: where two parts differ about a group, a person has to look.
///
/// Where mappings say that they give parts, the whole waits for its header, for the parts that the header
/// names, and for the results of what was ordered. The rules weigh what the mapping of the header's stream says.
pub(super) fn compose<'w>(key: &EntityKey, parts: &[Part<'_>], weights: impl Fn(&str) -> &'w Weights) -> Outcome {
    let named_header = parts.iter().position(|part| part.assembly.is_some_and(|assembly| assembly.part == HEADER));
    let read = |part: &Part<'_>| Entity::from_json(key.entity, part.data).ok();
    let mut readable: Vec<(usize, Entity)> =
        parts.iter().enumerate().filter_map(|(at, part)| Some((at, read(part)?))).collect();
    // The report of the whole checkup is the header. Without one, the first part in stream order that
    // stands: a department that takes its own report back does not take back the others'.
    let of_the_visit = readable
        .iter()
        .position(|(at, _)| Some(*at) == named_header)
        .or_else(|| readable.iter().position(|(_, entity)| named_header.is_none() && is_of_the_visit(entity)));
    let assembled = parts.iter().any(|part| part.assembly.is_some());
    let stands = || readable.iter().position(|(at, _)| *parts[*at].wish == Wish::Present);
    let header = of_the_visit.or_else(stands).unwrap_or(0);
    let unreadable_absent = parts.iter().find(|part| *part.wish != Wish::Present && read(part).is_none());
    if let (None, Some(part)) = (of_the_visit, unreadable_absent) {
        return Outcome::Mapped(mapped(key, part.wish.clone(), part.data.to_vec(), &[]));
    }
    let mut findings = Findings::new(weights(readable.get(header).map_or("", |(at, _)| parts[*at].stream)));
    if readable.is_empty() {
        findings.add(&rules::PART_HEADER, "", "no part of the entity can be read");
        return held(key.entity, Some(key.clone()), findings.list, Vec::new());
    }
    let mut lacking: Vec<String> = Vec::new();
    if assembled && of_the_visit.is_none() {
        lacking.push(HEADER.to_owned());
    }
    let (at, mut whole) = readable.swap_remove(header);
    let wish = parts[at].wish.clone();
    if wish != Wish::Present {
        return Outcome::Mapped(mapped(key, wish, parts[at].data.to_vec(), &search(&whole)));
    }
    let standing = |name: &str| {
        let is_it = |part: &Part<'_>| part.assembly.is_some_and(|assembly| assembly.part == name);
        parts.iter().any(|part| *part.wish == Wish::Present && is_it(part))
    };
    let expected = parts[at].assembly.map(|assembly| assembly.waits_for.as_slice()).unwrap_or_default();
    lacking.extend(expected.iter().filter(|name| !standing(name)).cloned());
    let others = parts.iter().enumerate().filter(|(other, part)| *other != at && *part.wish == Wish::Present);
    for (_, part) in others {
        match read(part) {
            Some(other) => join(&mut whole, other, part.stream, &mut findings),
            None => findings.add(&rules::PART_HEADER, "", format!("the part of {} can't be read", part.stream)),
        }
    }
    if let Entity::ExamReport(report) = &mut whole {
        // What a part lacked may be in another one: the rules of the whole speak anew.
        report.envelope.issues.retain(|issue| !rules::report::is_of_the_whole(&issue.code));
        rules::report::whole(report, &mut findings);
        if assembled {
            wait(&mut findings, lacking);
        }
    }
    if !whole.envelope().manifest.adds_up() {
        findings.add(&rules::MANIFEST_MISMATCH, "envelope.manifest", "rows read and rows mapped differ");
    }
    let words = search(&whole);
    if findings.list.iter().any(|finding| finding.severity >= Severity::Hold) {
        return held(key.entity, Some(key.clone()), findings.list, words);
    }
    let issues = &mut whole.envelope_mut().issues;
    for finding in std::mem::take(&mut findings.list) {
        if !issues.contains(&finding) {
            issues.push(finding);
        }
    }
    match whole.to_canonical_json() {
        Ok(data) => Outcome::Mapped(mapped(key, wish, data, &words)),
        Err(_) => {
            let mut findings = Findings::new(findings.weights);
            findings.add(&rules::MODEL_MISMATCH, "", "the entity can't be written");
            held(key.entity, Some(key.clone()), findings.list, words)
        }
    }
}

/// Turns "there are no results" into "they have not come yet", where nothing else is wrong.
fn wait(findings: &mut Findings<'_>, lacking: Vec<String>) {
    // Without its header a report says nothing of a visit, and may well be empty.
    let of_parts = [&rules::GROUP_MISSING, &rules::REPORT_EMPTY];
    let open =
        |finding: &Finding| finding.severity >= Severity::Hold && of_parts.iter().any(|rule| rule.code == finding.code);
    let missing = findings.list.iter().filter(|finding| open(finding) && finding.code == rules::GROUP_MISSING.code);
    let groups: Vec<&str> = missing.filter_map(|finding| finding.source_value.as_deref()).collect();
    let groups = groups.join(", ");
    if lacking.is_empty() && !findings.list.iter().any(open) {
        return;
    }
    if !lacking.is_empty() {
        // Nothing can be said of the whole before they are here.
        findings.list.retain(|finding| !rules::report::is_of_the_whole(&finding.code));
    }
    findings.list.retain(|finding| !open(finding));
    let mut told = Vec::new();
    if !lacking.is_empty() {
        told.push(format!("the part {}", lacking.join(", ")));
    }
    if !groups.is_empty() {
        told.push(format!("the results of {groups}"));
    }
    if told.is_empty() {
        told.push("results".to_owned());
    }
    findings.add(&rules::WAITING_FOR_PARTS, "", format!("waiting for {}", told.join(" and ")));
}

/// A report that turns into another person's: exam numbers are used again, and mistyped.
pub(super) fn doubt_change(key: &EntityKey, before: &ExamReport, after: &ExamReport) -> Option<Held> {
    if !is_another(&before.examinee, &after.examinee) {
        return None;
    }
    let weights = Weights::default();
    let mut findings = Findings::new(&weights);
    findings.add(&rules::ANOTHER_PERSON, "examinee", "the version before speaks of another person");
    match held(key.entity, Some(key.clone()), findings.list, words(after)) {
        Outcome::Held(held) => Some(held),
        Outcome::Mapped(_) => None,
    }
}

/// Whether two versions can't be one person's. A name or a number alone is often corrected.
fn is_another(one: &Examinee, other: &Examinee) -> bool {
    fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
        matches!((one, other), (Some(one), Some(other)) if one != other)
    }
    let told = |sex: Sex| matches!(sex, Sex::Male | Sex::Female).then_some(sex);
    let number = |person: &Examinee| person.id_number.as_deref().map(str::to_ascii_uppercase);
    if one.name == other.name {
        return false;
    }
    match (number(one), number(other)) {
        (Some(one), Some(other)) => one != other,
        _ => differ(one.birth_date, other.birth_date) || differ(told(one.sex), told(other.sex)),
    }
}

/// Whether this is the report of a whole visit, and not one department's.
fn is_of_the_visit(entity: &Entity) -> bool {
    matches!(entity, Entity::ExamReport(report)
        if matches!(report.report_kind, ReportKind::Health | ReportKind::Occupational))
}

/// Whether two parts may speak of one person; what only one of them says is no contradiction.
fn same_person(one: &Examinee, other: &Examinee) -> bool {
    fn agree<T: PartialEq>(one: &Option<T>, other: &Option<T>) -> bool {
        one.is_none() || other.is_none() || one == other
    }
    let told = |sex: Sex| matches!(sex, Sex::Male | Sex::Female).then_some(sex);
    one.name == other.name
        && agree(&told(one.sex), &told(other.sex))
        && agree(&one.birth_date, &other.birth_date)
        && agree(&one.id_number, &other.id_number)
}

fn mapped(key: &EntityKey, wish: Wish, data: Vec<u8>, search: &[String]) -> Mapped {
    Mapped::new(key.clone(), wish, data, search.to_vec())
}

fn words(report: &ExamReport) -> Vec<String> {
    std::iter::once(report.visit.exam_no.clone()).chain(report.report_no.clone()).collect()
}

fn search(entity: &Entity) -> Vec<String> {
    match entity {
        Entity::ExamReport(report) => words(report),
        Entity::ExamPackage(package) => vec![package.package_code.clone()],
        Entity::ExamItemGroup(group) => vec![group.group_code.clone()],
        Entity::ExamItem(item) => vec![item.item_code.clone()],
        Entity::CriticalValue(value) => value.exam_no.iter().chain([&value.item_code]).cloned().collect(),
    }
}

fn join(whole: &mut Entity, other: Entity, stream: &str, findings: &mut Findings<'_>) {
    match (whole, other) {
        (Entity::ExamReport(whole), Entity::ExamReport(other)) => {
            if !same_person(&whole.examinee, &other.examinee) || whole.visit.exam_no != other.visit.exam_no {
                findings.add(&rules::PARTS_DISAGREE, "examinee", format!("{stream} speaks of another person or visit"));
            }
            join_report(whole, *other, stream, findings);
        }
        (whole, other) => {
            let same = {
                let mut plain = other.clone();
                *plain.envelope_mut() = whole.envelope().clone();
                plain == *whole
            };
            if !same {
                findings.add(&rules::PARTS_DISAGREE, "", format!("{stream} gives another content"));
            }
        }
    }
}

fn join_report(whole: &mut ExamReport, other: ExamReport, stream: &str, findings: &mut Findings<'_>) {
    let before = whole.groups.len();
    let mut places = Vec::with_capacity(other.groups.len());
    for group in other.groups {
        let same_code = whole.groups[..before].iter().position(|known| known.group_code == group.group_code);
        match same_code {
            None => {
                whole.groups.push(group);
                places.push(Some(whole.groups.len() - 1));
                continue;
            }
            Some(at) if whole.groups[at] == group => {}
            // A header often names the groups before their results are there.
            Some(at) if whole.groups[at].items.is_empty() => whole.groups[at] = group,
            Some(_) if group.items.is_empty() => {}
            Some(at) => {
                let path = format!("groups[{at}]");
                findings.add_value(
                    &rules::PARTS_DISAGREE,
                    path,
                    format!("{stream} gives another content"),
                    &group.group_code,
                );
            }
        }
    }
    for mut conclusion in other.conclusions {
        let known =
            |mine: &crate::model::entity::Conclusion| mine.kind == conclusion.kind && mine.text == conclusion.text;
        if !whole.conclusions.iter().any(known) {
            let last = whole.conclusions.iter().map(|mine| mine.seq).max().unwrap_or(0);
            conclusion.seq = last + 1;
            whole.conclusions.push(conclusion);
        }
    }
    for attachment in other.attachments {
        if !whole.attachments.iter().any(|mine| mine.digest == attachment.digest) {
            whole.attachments.push(attachment);
        }
    }
    add(&mut whole.envelope.manifest, other.envelope.manifest);
    for mut issue in other.envelope.issues {
        issue.path = moved(&issue.path, &places);
        if !whole.envelope.issues.contains(&issue) {
            whole.envelope.issues.push(issue);
        }
    }
}

/// The path of a finding after its group took another place.
fn moved(path: &str, places: &[Option<usize>]) -> String {
    let group = path.strip_prefix("groups[").and_then(|rest| rest.split_once(']'));
    match group.and_then(|(at, rest)| Some((places.get(at.parse::<usize>().ok()?).copied().flatten()?, rest))) {
        Some((place, rest)) => format!("groups[{place}]{rest}"),
        None => path.to_owned(),
    }
}

fn add(sum: &mut Manifest, part: Manifest) {
    sum.rows_read += part.rows_read;
    sum.mapped += part.mapped;
    sum.duplicates += part.duplicates;
    for excluded in part.excluded {
        match sum.excluded.iter_mut().find(|known| known.reason == excluded.reason) {
            Some(known) => known.count += excluded.count,
            None => sum.excluded.push(excluded),
        }
    }
}
