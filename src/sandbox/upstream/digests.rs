//! `POST /v1/digests`: what the sandbox has, group by group; and forgetting some of it on request.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::DateTime;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::cut::Scissors;
use super::faults::Target;
use super::ledger::Line;
use super::receive::{disturb, strike};
use super::{Shared, lock};
use crate::delivery::digests::wire::{DigestAnswer, DigestChild, DigestEntry, DigestGroup, DigestNode, DigestQuery};
use crate::model::digest::{self, Sum};
use crate::model::{EntityType, Sequence};

/// A group of no more versions is told version by version.
const ENTRIES: usize = 256;

/// Groups that one request may ask about.
const NODES: usize = 64;

pub(super) async fn digests(
    State(state): State<Shared>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = strike(&state, Target::Digests).await;
    let plain = match state.admit(&headers, &body, "application/json") {
        Ok(plain) => plain,
        Err(refused) => return refused.into_response(),
    };
    let query = match serde_json::from_slice::<DigestQuery>(&plain) {
        Ok(query) if query.nodes.len() <= NODES => query,
        _ => {
            let refusal = json!({ "code": "digest-query", "message": "the body is no question about digests" });
            return (StatusCode::BAD_REQUEST, axum::Json(refusal)).into_response();
        }
    };
    let answered = tokio::task::spawn_blocking(move || {
        let ledger = lock(&state.0.ledger);
        answer(ledger.latest(), ledger.last_sequence(), &query)
    });
    let Ok(answer) = answered.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    fault.and_then(|fault| disturb(&fault, &scissors)).unwrap_or_else(|| axum::Json(answer).into_response())
}

/// A version that is there.
struct Version<'a> {
    entity: EntityType,
    day: i64,
    place: digest::Hash,
    leaf: digest::Hash,
    line: &'a Line,
}

impl<'a> Version<'a> {
    fn of(line: &'a Line, query: &DigestQuery) -> Option<Version<'a>> {
        let text = |name: &str| line.event.get(name).and_then(Json::as_str);
        let rest = text("source")?.strip_prefix("/hospitals/")?;
        let subject = text("subject")?;
        let entity = subject.split_once('/')?.0.parse::<EntityType>().ok()?;
        let asked =
            rest.split('/').next() == Some(&query.hospital) && text("partitionkey")?.starts_with(&query.key_prefix);
        if !asked || entity == EntityType::CriticalValue {
            return None;
        }
        let sequence: Sequence = text("sequence")?.parse().ok()?;
        let mut content = digest::Hash::default();
        hex::decode_to_slice(text("contenthash")?.strip_prefix("sha256-")?, &mut content).ok()?;
        let time = DateTime::parse_from_rfc3339(text("time")?).ok()?;
        Some(Version {
            entity,
            day: digest::day_of(time.timestamp_micros()),
            place: digest::place(subject),
            leaf: digest::leaf(subject, sequence, &content),
            line,
        })
    }

    fn entry(&self) -> DigestEntry {
        let text = |name: &str| self.line.event.get(name).and_then(Json::as_str).unwrap_or_default();
        DigestEntry {
            key: text("partitionkey").to_owned(),
            sequence: text("sequence").to_owned(),
            contenthash: text("contenthash").to_owned(),
            withdrawn: text("type").ends_with(".withdrawn"),
        }
    }

    fn day_text(&self) -> String {
        DateTime::from_timestamp(self.day * 86_400, 0).unwrap_or_default().date_naive().to_string()
    }
}

fn answer<'a>(lines: impl Iterator<Item = &'a Line>, last: Option<String>, query: &DigestQuery) -> DigestAnswer {
    let versions: Vec<Version<'_>> = lines.filter_map(|line| Version::of(line, query)).collect();
    let nodes = query.nodes.iter().map(|node| group(&versions, node)).collect();
    DigestAnswer { last_sequence: last, nodes }
}

fn group(versions: &[Version<'_>], node: &DigestNode) -> DigestGroup {
    let prefix = node.prefix.as_deref().and_then(|digits| hex::decode(digits).ok()).unwrap_or_default();
    let inside: Vec<&Version<'_>> = versions
        .iter()
        .filter(|version| version.entity == node.entity_type && version.place.starts_with(&prefix))
        .filter(|version| node.day.as_ref().is_none_or(|day| *day == version.day_text()))
        .collect();
    let mut sum = Sum::default();
    inside.iter().for_each(|version| sum.add(&version.leaf));
    let mut answer = DigestGroup {
        entity_type: node.entity_type,
        day: node.day.clone(),
        prefix: node.prefix.clone(),
        count: sum.count,
        digest: hex::encode(sum.digest),
        children: None,
        entries: None,
    };
    if answer.count == node.count && answer.digest == node.digest {
        return answer;
    }
    if node.day.is_some() && inside.len() <= ENTRIES {
        answer.entries = Some(inside.iter().map(|version| version.entry()).collect());
        return answer;
    }
    let mut below: BTreeMap<String, Sum> = BTreeMap::new();
    for version in inside {
        let place = match node.day {
            None => version.day_text(),
            Some(_) => hex::encode(&version.place[..=prefix.len().min(31)]),
        };
        below.entry(place).or_default().add(&version.leaf);
    }
    let child = |(place, sum): (String, Sum)| {
        let (day, prefix) = if node.day.is_none() { (Some(place), None) } else { (None, Some(place)) };
        DigestChild { day, prefix, count: sum.count, digest: hex::encode(sum.digest) }
    };
    answer.children = Some(below.into_iter().map(child).collect());
    answer
}

/// What the sandbox is to lose, as after a disk was restored from an older copy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lose {
    /// These subjects; without them, the first ones of `entity_type`.
    #[serde(default)]
    subjects: Vec<String>,
    entity_type: Option<EntityType>,
    #[serde(default)]
    count: usize,
}

pub(super) async fn lose(State(state): State<Shared>, body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Lose>(&body) else {
        let text = "say { \"subjects\": [...] } or { \"entity_type\": \"exam_report\", \"count\": 10 }";
        return (StatusCode::BAD_REQUEST, axum::Json(json!({ "message": text }))).into_response();
    };
    let lost = tokio::task::spawn_blocking(move || {
        let mut ledger = lock(&state.0.ledger);
        let subjects = match asked.entity_type {
            Some(entity) if asked.subjects.is_empty() => ledger.subjects(entity, asked.count),
            _ => asked.subjects,
        };
        ledger.lose(&subjects)
    });
    match lost.await {
        Ok(Ok(lost)) => axum::Json(json!({ "lost": lost })).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
