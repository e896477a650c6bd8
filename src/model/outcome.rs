//! What a mapping makes of a record: entities that can be vouched for, and what is held for a person.

use std::sync::Arc;

use super::guard::{Change, Guards};
use super::{EntityKey, EntityType, Finding};

/// What the mapping made of one entity in a record.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It can be vouched for.
    Mapped(Mapped),
    /// It is held for a person.
    Held(Held),
}

/// An entity (or one stream's part of it) that can be vouched for.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// Its identity.
    pub key: EntityKey,
    /// Whether it should be upstream.
    pub wish: Wish,
    /// The event's `data`: canonical JSON (RFC 8785).
    pub data: Vec<u8>,
    /// The words by which `hisync explain` finds it: exam number, code.
    pub search: Vec<String>,
}

/// Whether an entity should be upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It should, as `data` says.
    Present,
    /// It should not: a draft, or a report that was taken back. Where upstream has it, it is
    /// withdrawn for this reason (`reversed`, `deleted`); where upstream has nothing, nothing is asked for.
    Absent {
        /// A stable word.
        reason: String,
    },
}

/// An entity that is held for a person.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it would be; `None` where that is not known, because the record fits no stream.
    pub entity: Option<EntityType>,
    /// Its key, where that could be read.
    pub key: Option<EntityKey>,
    /// The reason code: that of its heaviest finding.
    pub reason: String,
    /// All findings.
    pub findings: Vec<Finding>,
    /// The words by which `hisync explain` finds it.
    pub search: Vec<String>,
}

/// Makes one entity from the latest parts that several streams gave for the same key.
///
/// A pure function, called inside the store's transaction where an entity has more than one part,
/// so that two streams that change at the same moment can't miss each other.
pub trait Compose: Send + Sync {
    /// Composes the entity, or says why it can't be vouched for as a whole.
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome;

    /// Why a version may not follow the newest one by itself, although it is fine alone; `None` where
    /// it may. Both are the `data` of an entity that should be upstream. A person may release it.
    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        let _ = (key, before, after);
        None
    }

    /// The `data` of a version that was doubted because of what it lacks, with an issue that names this: what goes
    /// upstream once the doubt is settled. `None` where the version goes as it is.
    fn told_by_release(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        let _ = (key, before, after);
        None
    }

    /// The thresholds of a stream's catalogue (`source/stream`); `None` where its changes are not guarded.
    fn guards(&self, stream: &str) -> Option<Guards> {
        let _ = stream;
        None
    }

    /// What is doubtful in changes of a catalogue that come together. `total` is how many entities the catalogue has.
    fn doubt_changes(&self, stream: &str, changes: &[Change<'_>], total: usize) -> Vec<Finding> {
        let _ = (stream, changes, total);
        Vec::new()
    }

    /// The codes of the groups that an entity is made of, where a dictionary of groups is read and should know them.
    fn named_groups(&self, key: &EntityKey, data: &[u8]) -> Vec<String> {
        let _ = (key, data);
        Vec::new()
    }

    /// Why an entity may not go upstream beside these groups: each code with the `data` that the dictionary has for
    /// it, `None` where it has none.
    fn doubt_groups(&self, key: &EntityKey, groups: &[(String, Option<Vec<u8>>)]) -> Option<Held> {
        let _ = (key, groups);
        None
    }
}

/// The latest part of an entity from one stream.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// The id of the stream that gave it.
    pub stream: &'a str,
    /// Whether it asks for the entity to be upstream.
    pub wish: &'a Wish,
    /// The part's `data`.
    pub data: &'a [u8],
}

/// A composer that several threads share.
pub type SharedComposer = Arc<dyn Compose>;
