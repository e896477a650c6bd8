//! What a mapping makes of a record: entities that can be vouched for, and what is held for a person.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::dictionary::{Compared, Dictionary};
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
    /// The files that `data` names, to be stored with it.
    pub files: Vec<File>,
    /// How it joins other parts, where the mapping says that it is only one; boxed, for few are.
    pub assembly: Option<Box<Assembly>>,
    /// The source's own number (or time) of this version, where its mapping says that the source orders versions by it.
    pub revision: Option<String>,
}

impl Mapped {
    /// An entity without files that is whole by itself.
    pub fn new(key: EntityKey, wish: Wish, data: Vec<u8>, search: Vec<String>) -> Mapped {
        Mapped { key, wish, data, search, files: Vec::new(), assembly: None, revision: None }
    }
}

/// The bytes of a file that a report names.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// SHA-256 of the bytes.
    pub digest: [u8; 32],
    /// What the bytes are.
    pub media_type: String,
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Whose it is, where it can only be one person's; absent for what many reports share (a signature).
    pub owner: Option<String>,
}

/// Without the bytes and the person: neither belongs into a log.
impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("File").field("media_type", &self.media_type).field("size", &self.bytes.len()).finish()
    }
}

/// The name of the part that says what the whole consists of.
pub const HEADER: &str = "header";

/// The reason code of an entity whose parts have not all come. Nobody is called for it before its time is over.
pub const WAITING: &str = "waiting-for-parts";

/// How a part joins the other parts of its entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assembly {
    /// What it is called: [`HEADER`], `results`, `imaging`.
    pub part: String,
    /// The parts that must have come, beside what was ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// How many hours to wait for them before a person is called.
    pub wait_hours: u32,
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

    /// Whether what a stream (`source/stream`) gives of such an entity is compared with a dictionary.
    fn compares(&self, entity: EntityType, stream: &str) -> bool {
        let _ = (entity, stream);
        false
    }

    /// What an entity says against the dictionaries: `parts` are the streams that give it, each with its `data`.
    fn compare(&self, key: &EntityKey, parts: &[(String, Vec<u8>)], dictionary: &dyn Dictionary) -> Compared {
        let _ = (key, parts, dictionary);
        Compared::default()
    }

    /// The `data` with these findings among its issues: what goes upstream although it contradicts a dictionary.
    /// `None` where it can't be written.
    fn with_issues(&self, key: &EntityKey, data: &[u8], findings: &[Finding]) -> Option<Vec<u8>> {
        let _ = (key, data, findings);
        None
    }

    /// Whether single entities have routing labels of their own.
    fn has_lanes(&self) -> bool {
        false
    }

    /// The routing label of an entity that a stream (`source/stream`) gives; `None` where the hospital's counts.
    fn lane(&self, key: &EntityKey, stream: &str) -> Option<String> {
        let _ = (key, stream);
        None
    }

    /// Whether an entity that only tells of something (a critical value) tells anything new: `before` is
    /// what was told last. Asked for no other entities.
    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        let _ = now;
        before != Some(after)
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
    /// How it joins the others; `None` where its mapping says nothing of it.
    pub assembly: Option<&'a Assembly>,
}

/// A composer that several threads share.
pub type SharedComposer = Arc<dyn Compose>;
