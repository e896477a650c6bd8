//! Critical values: told as events of their own, whatever becomes of the report that holds them.
//!
//! Taken from what was read so far, before the report is judged: a report that is a draft, or held for
//! a reason of its own, must not keep back what somebody has to act on.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::node::{self, Fields, Node};
use super::rules;
use crate::model::entity::{AbnormalFlag, Envelope, Manifest};
use crate::model::{CriticalValue, Entity, EntityKey, EntityType, Finding, Lifecycle, Mapped, Outcome, Severity, Wish};

/// What was found longer ago is history that is read for the first time, or again: no alarm for it.
const FRESH: TimeDelta = TimeDelta::hours(72);

/// One outcome for each critical value among the fields of a report.
pub(super) fn raise(
    fields: &Fields<'_>,
    report: &Envelope,
    wish: &Wish,
    findings: &[Finding],
    search: &[String],
) -> Vec<Outcome> {
    // What is taken back can't be vouched for, and another hospital's person is not ours to alarm about.
    let drafted = |reason: &str| reason == "draft";
    let foreign = [&rules::HOSPITAL_MISMATCH, &rules::CAMPUS_MISMATCH];
    if matches!(wish, Wish::Absent { reason } if !drafted(reason))
        || findings.iter().any(|finding| foreign.iter().any(|rule| rule.code == finding.code))
    {
        return Vec::new();
    }
    let mut outcomes = Vec::new();
    let mut times: HashMap<String, u32> = HashMap::new();
    for (at, group) in maps(fields, "groups") {
        for (index, item) in maps(group, "items") {
            if !is_critical(item) {
                continue;
            }
            let path = format!("groups[{at}].items[{index}]");
            let Some(mut value) = read(fields, group, item, report) else { continue };
            value.envelope.issues = findings.iter().filter(|finding| concerns(finding, &path)).cloned().collect();
            let mut key = value.envelope.business_key;
            // One item twice in one group is doubtful, and still both values are critical.
            let time = times.entry(key.clone()).and_modify(|time| *time += 1).or_insert(1);
            if *time > 1 {
                key.push_str(&format!("/{time}"));
            }
            value.envelope.business_key = key.clone();
            let Ok(data) = Entity::CriticalValue(Box::new(value)).to_canonical_json() else { continue };
            let key = EntityKey::new(EntityType::CriticalValue, key);
            outcomes.push(Outcome::Mapped(Mapped::new(key, Wish::Present, data, search.to_vec())));
        }
    }
    outcomes
}

/// Whether what is told now is worth an alarm after what was told before.
pub(super) fn is_news(before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
    let read = |data: &[u8]| serde_json::from_slice::<CriticalValue>(data).ok();
    let Some(after) = read(after) else { return true };
    let told = before.and_then(read).is_some_and(|before| before.tells_the_same(&after));
    let old = after.observed_at.is_some_and(|at| at.with_timezone(&Utc) + FRESH < now);
    !told && !old
}

/// The objects of a list.
fn maps<'f, 'd>(fields: &'f Fields<'d>, name: &str) -> impl Iterator<Item = (usize, &'f Fields<'d>)> {
    let list = match node::field(fields, name) {
        Some(Node::List(list)) => list.as_slice(),
        _ => &[],
    };
    list.iter().enumerate().filter_map(|(at, node)| match node {
        Node::Map(fields) => Some((at, fields)),
        _ => None,
    })
}

fn object<'f, 'd>(fields: &'f Fields<'d>, name: &str) -> Option<&'f Fields<'d>> {
    match node::field(fields, name) {
        Some(Node::Map(inner)) => Some(inner),
        _ => None,
    }
}

fn is_critical(item: &Fields<'_>) -> bool {
    let marked = matches!(node::field(item, "is_critical"), Some(Node::Bool(true)));
    let flagged = matches!(node::text_of(item, "flag_source"), Some("critical_low" | "critical_high"));
    (marked || flagged) && node::text_of(item, "status") != Some("cancelled")
}

fn concerns(finding: &Finding, path: &str) -> bool {
    let about = |path: &str| {
        finding.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    finding.severity >= Severity::Warn && (about(path) || about("examinee") || about("visit"))
}

fn read(report: &Fields<'_>, group: &Fields<'_>, item: &Fields<'_>, envelope: &Envelope) -> Option<CriticalValue> {
    let of = |fields: Option<&Fields<'_>>, name: &str| {
        fields.and_then(|fields| node::text_of(fields, name)).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let (examinee, visit) = (object(report, "examinee"), object(report, "visit"));
    let (group, item) = (Some(group), Some(item));
    let item_code = of(item, "item_code").or_else(|| of(item, "item_name"))?;
    let instance = of(item, "instance");
    let group_code = of(group, "group_code");
    let key = [group_code.as_deref(), Some(&item_code), instance.as_deref()];
    let mut business_key = envelope.business_key.clone();
    for part in key {
        business_key.push('/');
        business_key.push_str(&part.unwrap_or_default().replace('%', "%25").replace('/', "%2F"));
    }
    let exam_no = of(visit, "exam_no");
    let natural = || envelope.business_key.splitn(3, ':').nth(2).map(str::to_owned);
    let places = [(item, "performed_at"), (group, "performed_at"), (Some(report), "issued_at")];
    let observed = places.into_iter().find(|(fields, name)| of(*fields, name).is_some());
    Some(CriticalValue {
        envelope: Envelope {
            entity_type: EntityType::CriticalValue.as_str().to_owned(),
            business_key,
            lifecycle: Lifecycle::Active,
            issues: Vec::new(),
            manifest: Manifest::default(),
            ..envelope.clone()
        },
        report_key: Some(envelope.business_key.clone()),
        examinee_key: of(examinee, "examinee_key").or_else(|| exam_no.clone()).or_else(natural)?,
        visit_key: of(visit, "visit_key"),
        exam_no,
        group_code,
        group_name: of(group, "group_name"),
        item_code,
        item_name: of(item, "item_name"),
        instance,
        value_raw: of(item, "value_raw"),
        unit_raw: of(item, "unit_raw"),
        reference_raw: of(item, "reference_raw"),
        flag_source: of(item, "flag_source").and_then(|word| flag(&word)),
        flag_source_raw: of(item, "flag_source_raw"),
        observed_at: observed
            .and_then(|(fields, name)| of(fields, name))
            .and_then(|text| DateTime::parse_from_rfc3339(&text).ok()),
        observed_at_raw: observed.and_then(|(fields, name)| of(fields, &format!("{name}_raw"))),
        department: of(group, "department"),
        specimen_no: of(item, "specimen_no").or_else(|| of(group, "specimen_no")),
    })
}

fn flag(word: &str) -> Option<AbnormalFlag> {
    serde_json::from_value(serde_json::Value::from(word)).ok()
}
