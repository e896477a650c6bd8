//! Anti-entropy: finds what upstream lost, or has and should not have, by comparing digests.
//!
//! The versions that upstream has acknowledged form a tree: entity types, days, the first bytes of the hash of the
//! subject. Only where two digests differ is the next level asked for, so the number of requests grows with the
//! difference. An upstream that can't tell (404, 405, 501) is left alone: delivery does not depend on this, and none
//! of it opens the breaker.

pub mod wire;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate};
use reqwest::Method;
use uuid::Uuid;

use super::classify::Reply;
use super::client::{Client, Outgoing};
use super::heartbeat::word;
use super::settings::Compression;
use crate::model::digest::{DEEPEST, Hash, Sum, leaf};
use crate::model::{EntityKey, EntityType, Sequence};
use crate::store::{self, Healed, Store, TheirVersion};
use wire::{DigestAnswer, DigestEntry, DigestGroup, DigestNode, DigestQuery};

/// Groups that are asked about at once.
const NODES: usize = 32;

/// Versions that the groups of one request may hold together: bounds the answer.
const EXPECTED: u64 = 8_192;

/// Versions that are compared, or noted, at once.
const PAGE: usize = 500;

/// A request that is not answered is made so often.
const ATTEMPTS: u32 = 3;

/// The types that are compared: a critical value is told once, and never again.
pub const COMPARED: [EntityType; 4] =
    [EntityType::ExamItem, EntityType::ExamItemGroup, EntityType::ExamPackage, EntityType::ExamReport];

/// Why the two sides could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Upstream has no digests. That is its right.
    #[error("upstream tells no digests ({code})")]
    Unsupported {
        /// A stable word: `http-404`.
        code: String,
    },
    /// No answer, or one that says "later".
    #[error("upstream does not answer ({code})")]
    Unavailable {
        /// A stable word: `http-503`, `timeout`.
        code: String,
    },
    /// The answer is not what the contract says.
    #[error("upstream's digests can't be read: {0}")]
    Unreadable(&'static str),
    /// The store failed.
    #[error("use the store")]
    Store(#[from] store::Error),
}

/// What a comparison found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Versions that both sides have.
    pub agreed: u64,
    /// Versions that upstream had acknowledged and does not have any more.
    pub lost: u64,
    /// Versions of upstream that are later than the acknowledged one, or say something else.
    pub differing: u64,
    /// Entities of upstream that this store does not know.
    pub unknown: u64,
    /// What was done about it.
    pub healed: Healed,
    /// Requests that it took.
    pub requests: u64,
}

/// Compares the ledger with what upstream has.
pub struct Digests {
    client: Client,
    store: Store,
    hospital: String,
    key_prefix: String,
    requests: AtomicU64,
}

/// A group whose digests may differ.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    entity: EntityType,
    day: Option<i64>,
    prefix: Vec<u8>,
    ours: Sum,
    /// How many versions upstream is known to have in it; 0 where it did not say yet.
    weight: u64,
}

impl Node {
    fn root(entity: EntityType, ours: Sum) -> Node {
        Node { entity, day: None, prefix: Vec::new(), ours, weight: 0 }
    }

    fn asked(&self) -> DigestNode {
        DigestNode {
            entity_type: self.entity,
            day: self.day.map(day_text),
            prefix: (!self.prefix.is_empty()).then(|| hex::encode(&self.prefix)),
            count: self.ours.count,
            digest: hex::encode(self.ours.digest),
        }
    }

    fn is_of(&self, group: &DigestGroup) -> bool {
        let asked = self.asked();
        let prefix = |prefix: &Option<String>| prefix.clone().filter(|digits| !digits.is_empty());
        asked.entity_type == group.entity_type && asked.day == group.day && asked.prefix == prefix(&group.prefix)
    }
}

fn day_text(day: i64) -> String {
    let at = day.checked_mul(86_400).and_then(|secs| DateTime::from_timestamp(secs, 0)).unwrap_or_default();
    at.date_naive().to_string()
}

fn read_day(text: &str) -> Result<i64, Error> {
    let date: NaiveDate = text.parse().map_err(|_| Error::Unreadable("a day is no date"))?;
    Ok(date.signed_duration_since(DateTime::UNIX_EPOCH.date_naive()).num_days())
}

fn read_hash(text: &str) -> Result<Hash, Error> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text, &mut hash).map_err(|_| Error::Unreadable("a digest has not 64 hex digits"))?;
    Ok(hash)
}

fn read_entry(entity: EntityType, day: i64, entry: &DigestEntry) -> Result<TheirVersion, Error> {
    let digits = entry.contenthash.strip_prefix("sha256-");
    let version = TheirVersion {
        key: EntityKey::new(entity, entry.key.as_str()),
        sequence: entry.sequence.parse().map_err(|_| Error::Unreadable("a sequence is no number"))?,
        hash: read_hash(digits.ok_or(Error::Unreadable("a contenthash does not begin with sha256-"))?)?,
        withdrawn: entry.withdrawn,
        day,
    };
    if version.is_plausible() { Ok(version) } else { Err(Error::Unreadable("a sequence that no agent can have made")) }
}

impl Digests {
    pub(super) fn new(client: Client, store: Store, hospital: String, key_prefix: String) -> Digests {
        Digests { client, store, hospital, key_prefix, requests: AtomicU64::new(0) }
    }

    /// Compares everything, sends again what upstream lost, and notes what it found under a run of the store.
    pub async fn compare(&self, run: i64) -> Result<Comparison, Error> {
        self.requests.store(0, Ordering::Relaxed);
        let days = self.store.read(store::Reader::acknowledged_days).await?;
        let mut stack: Vec<Node> = Vec::new();
        for entity in COMPARED {
            let mut all = Sum::default();
            days.iter().filter(|((of, _), _)| *of == entity).for_each(|(_, sum)| merge(&mut all, sum));
            stack.push(Node::root(entity, all));
        }
        let mut found = Comparison::default();
        while !stack.is_empty() {
            for (node, group) in self.ask(&mut stack).await? {
                let theirs = sum_of(&group)?;
                if theirs == node.ours {
                    found.agreed += theirs.count;
                } else if let (Some(_), Some(day)) = (&group.entries, node.day) {
                    let theirs = versions_of(&node, day, &group)?;
                    self.versions(run, &node, day, theirs, &mut found).await?;
                } else if theirs.count == 0 {
                    self.lost(run, &node, &days, &mut found).await?;
                } else {
                    let ours = self.ours(&node, &days).await?;
                    let theirs = children(&node, &group)?;
                    let places: HashSet<i64> = theirs.iter().map(key_of).collect();
                    for (place, ours) in ours.iter().filter(|(place, _)| !places.contains(place)) {
                        self.lost(run, &below(&node, *place, *ours), &days, &mut found).await?;
                    }
                    for child in theirs {
                        let ours = ours.get(&key_of(&child)).copied().unwrap_or_default();
                        if child.ours == ours {
                            found.agreed += ours.count;
                        } else {
                            stack.push(Node { ours, ..child });
                        }
                    }
                }
            }
        }
        found.requests = self.requests.load(Ordering::Relaxed);
        Ok(found)
    }

    /// Begins a store that is new with what upstream has; answers how many entities that are. Does nothing where the
    /// store is not new.
    pub async fn learn(&self) -> Result<Option<u64>, Error> {
        if !self.store.upstream_begin_learning().await? {
            return Ok(None);
        }
        let learnt = self.walk().await;
        if matches!(learnt, Ok(_) | Err(Error::Unsupported { .. })) {
            self.store.upstream_end_learning().await?;
        }
        learnt.map(Some)
    }

    async fn walk(&self) -> Result<u64, Error> {
        let mut learnt = 0;
        let mut stack: Vec<Node> = COMPARED.map(|entity| Node::root(entity, Sum::default())).into();
        while !stack.is_empty() {
            for (node, group) in self.ask(&mut stack).await? {
                match (&group.entries, node.day) {
                    _ if group.count == 0 => {}
                    (Some(_), Some(day)) => {
                        let versions: Vec<_> = versions_of(&node, day, &group)?.into_values().collect();
                        for page in versions.chunks(PAGE) {
                            learnt += self.store.upstream_learn(page.to_vec()).await?;
                        }
                    }
                    _ => stack.extend(
                        children(&node, &group)?.into_iter().map(|child| Node { ours: Sum::default(), ..child }),
                    ),
                }
            }
        }
        Ok(learnt)
    }

    /// Asks about the groups on top of the stack, and takes them off it.
    async fn ask(&self, stack: &mut Vec<Node>) -> Result<Vec<(Node, DigestGroup)>, Error> {
        let mut nodes: Vec<Node> = Vec::new();
        let mut expected = 0_u64;
        while let Some(node) = stack.last() {
            expected = expected.saturating_add(node.weight);
            if !nodes.is_empty() && (nodes.len() == NODES || expected > EXPECTED) {
                break;
            }
            nodes.extend(stack.pop());
        }
        let query = DigestQuery {
            hospital: self.hospital.clone(),
            key_prefix: self.key_prefix.clone(),
            nodes: nodes.iter().map(Node::asked).collect(),
        };
        let answer = self.send(&query).await?;
        if let Some(text) = &answer.last_sequence {
            let highest: Sequence = text.parse().map_err(|_| Error::Unreadable("last_sequence is no number"))?;
            self.store.upstream_sequence(highest).await?;
        }
        let mut groups = answer.nodes;
        let mut answered = Vec::with_capacity(nodes.len());
        for node in nodes {
            let place = groups.iter().position(|group| node.is_of(group));
            let place = place.ok_or(Error::Unreadable("a group that was asked for is not answered"))?;
            answered.push((node, groups.swap_remove(place)));
        }
        Ok(answered)
    }

    async fn send(&self, query: &DigestQuery) -> Result<DigestAnswer, Error> {
        let body = serde_json::to_vec(query).map_err(|_| Error::Unreadable("the question can't be written"))?;
        let policy = self.client.settings().retry.policy();
        let mut attempt = 0;
        loop {
            let outgoing = Outgoing {
                method: Method::POST,
                path: "/v1/digests".to_owned(),
                media_type: "application/json".to_owned(),
                id: Uuid::new_v4().to_string(),
                body: Bytes::from(body.clone()),
                compression: Compression::None,
            };
            self.requests.fetch_add(1, Ordering::Relaxed);
            let code = match self.client.send(outgoing).await.reply {
                Reply::Answered { status: 200, body: Some(body), .. } => {
                    return serde_json::from_slice(&body)
                        .map_err(|_| Error::Unreadable("the answer is not as the contract says"));
                }
                // An upstream that says yes to everything without a word has no digests either.
                Reply::Answered { status: status @ (202 | 204 | 404 | 405 | 501), .. } => {
                    return Err(Error::Unsupported { code: format!("http-{status}") });
                }
                Reply::Answered { status: status @ (408 | 425 | 429 | 500..=599), .. } => format!("http-{status}"),
                Reply::Answered { status, .. } => {
                    return Err(Error::Unavailable { code: format!("http-{status}") });
                }
                Reply::Failed(failure) => word(failure).to_owned(),
            };
            attempt += 1;
            if attempt == ATTEMPTS {
                return Err(Error::Unavailable { code });
            }
            tokio::time::sleep(policy.wait(attempt - 1).min(Duration::from_secs(10))).await;
        }
    }

    /// The groups below a node as the ledger has them: by day, or by the next byte of the prefix.
    async fn ours(&self, node: &Node, days: &Days) -> Result<BTreeMap<i64, Sum>, Error> {
        let Some(day) = node.day else {
            let of_type = days.iter().filter(|((entity, _), _)| *entity == node.entity);
            return Ok(of_type.map(|((_, day), sum)| (*day, *sum)).collect());
        };
        let (entity, prefix) = (node.entity, node.prefix.clone());
        let groups = self.store.read(move |reader| reader.acknowledged_groups(entity, day, &prefix)).await?;
        Ok(groups.into_iter().map(|(byte, sum)| (i64::from(byte), sum)).collect())
    }

    /// Upstream has nothing of a group.
    async fn lost(&self, run: i64, node: &Node, days: &Days, found: &mut Comparison) -> Result<(), Error> {
        match node.day {
            Some(day) => self.versions(run, node, day, HashMap::new(), found).await,
            None => {
                for (entity, day) in days.keys().filter(|(entity, _)| *entity == node.entity) {
                    let of_day = Node { entity: *entity, day: Some(*day), ..node.clone() };
                    self.versions(run, &of_day, *day, HashMap::new(), found).await?;
                }
                Ok(())
            }
        }
    }

    /// Compares the versions of a group one by one, and heals what differs.
    async fn versions(
        &self,
        run: i64,
        node: &Node,
        day: i64,
        mut theirs: HashMap<String, TheirVersion>,
        found: &mut Comparison,
    ) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let (entity, prefix) = (node.entity, node.prefix.clone());
            let read = move |reader: &store::Reader| reader.acknowledged_versions(entity, day, &prefix, after, PAGE);
            let ours = self.store.read(read).await?;
            let Some(last) = ours.last() else { break };
            after = last.entity_id;
            let (mut lost, mut other, mut notes) = (Vec::new(), Vec::new(), Vec::new());
            for version in ours {
                let their = theirs.remove(&version.key);
                let key = EntityKey::new(entity, version.key);
                match their {
                    Some(their) if their.sequence == version.sequence && their.hash == version.hash => {
                        found.agreed += 1;
                    }
                    Some(their) if their.sequence >= version.sequence => {
                        notes.push(("differing", key));
                        other.push(their);
                    }
                    _ => {
                        notes.push(("missing", key));
                        lost.push(version.entity_id);
                    }
                }
            }
            found.lost += lost.len() as u64;
            found.differing += other.len() as u64;
            self.heal(run, lost, other, notes, found).await?;
        }
        let rest: Vec<TheirVersion> = theirs.into_values().collect();
        for page in rest.chunks(PAGE) {
            self.heal(run, Vec::new(), page.to_vec(), Vec::new(), found).await?;
        }
        Ok(())
    }

    async fn heal(
        &self,
        run: i64,
        lost: Vec<i64>,
        theirs: Vec<TheirVersion>,
        notes: Vec<(&'static str, EntityKey)>,
        found: &mut Comparison,
    ) -> Result<(), Error> {
        if lost.is_empty() && theirs.is_empty() {
            return Ok(());
        }
        if !notes.is_empty() {
            self.store.reconcile_note(run, notes).await?;
        }
        let healed = self.store.upstream_heal(lost, theirs).await?;
        found.unknown += healed.seeded;
        found.healed.add(healed);
        Ok(())
    }
}

type Days = BTreeMap<(EntityType, i64), Sum>;

fn merge(all: &mut Sum, part: &Sum) {
    all.count += part.count;
    for (sum, byte) in all.digest.iter_mut().zip(part.digest) {
        *sum ^= byte;
    }
}

/// What tells a group from the others on its level: its day, or the last byte of its prefix.
fn key_of(node: &Node) -> i64 {
    match node.prefix.last() {
        Some(byte) => i64::from(*byte),
        None => node.day.unwrap_or_default(),
    }
}

/// The group below a node that a key tells.
fn below(node: &Node, key: i64, ours: Sum) -> Node {
    let mut child = Node { ours, weight: 0, ..node.clone() };
    match node.day {
        None => child.day = Some(key),
        Some(_) => child.prefix.push(u8::try_from(key).unwrap_or_default()),
    }
    child
}

/// The smaller groups of an answer, with upstream's sums in the place of ours.
fn children(node: &Node, group: &DigestGroup) -> Result<Vec<Node>, Error> {
    let children = group.children.as_deref();
    let children = children.ok_or(Error::Unreadable("a group that differs has neither children nor entries"))?;
    if node.prefix.len() >= DEEPEST {
        return Err(Error::Unreadable("a prefix is too long"));
    }
    let read = |child: &wire::DigestChild| {
        let key = match (node.day, &child.day, &child.prefix) {
            (None, Some(day), _) => read_day(day)?,
            (Some(_), _, Some(prefix)) => {
                let prefix = hex::decode(prefix).map_err(|_| Error::Unreadable("a prefix is no hex"))?;
                match prefix.split_last() {
                    Some((last, rest)) if rest == node.prefix => i64::from(*last),
                    _ => return Err(Error::Unreadable("a child does not lie in its group")),
                }
            }
            _ => return Err(Error::Unreadable("a child has neither a day nor a prefix")),
        };
        let sum = Sum { count: child.count, digest: read_hash(&child.digest)? };
        Ok(Node { weight: child.count, ..below(node, key, sum) })
    };
    let children: Vec<Node> = children.iter().map(read).collect::<Result<_, _>>()?;
    let mut all = Sum::default();
    children.iter().for_each(|child| merge(&mut all, &child.ours));
    // Half an answer would make whole groups seem lost.
    if all != sum_of(group)? {
        return Err(Error::Unreadable("the children of a group do not add up to it"));
    }
    Ok(children)
}

fn sum_of(group: &DigestGroup) -> Result<Sum, Error> {
    Ok(Sum { count: group.count, digest: read_hash(&group.digest)? })
}

/// The versions of an answer, by their keys.
fn versions_of(node: &Node, day: i64, group: &DigestGroup) -> Result<HashMap<String, TheirVersion>, Error> {
    let entries = group.entries.as_deref().unwrap_or_default();
    let mut versions = HashMap::with_capacity(entries.len());
    let mut all = Sum::default();
    for entry in entries {
        let version = read_entry(node.entity, day, entry)?;
        all.add(&leaf(&version.key.subject(), version.sequence, &version.hash));
        versions.insert(entry.key.clone(), version);
    }
    if all != sum_of(group)? {
        return Err(Error::Unreadable("the versions of a group do not add up to it"));
    }
    Ok(versions)
}
