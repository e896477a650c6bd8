//! The canonical model: what a hospital's data is turned into, and the rules of its identity.
//!
//! Everything here is plain data. The model knows no other room of the house, no disk, no network
//! and no clock.
//!
//! - [`canonical`]: the JSON that is hashed;
//! - [`changes`]: what two versions of an entity differ in;
//! - [`dictionary`]: what the dictionaries say of the codes that other entities name;
//! - [`digest`]: how two sides compare what they have;
//! - [`entity`]: the entities that travel, and what they are made of;
//! - [`identity`]: entity types, keys, sequences and event ids;
//! - [`finding`]: what a check has to say about a record;
//! - [`guard`]: changes so large that a person should look first;
//! - [`outcome`]: what a mapping makes of a record;
//! - [`event`]: the CloudEvent that carries one version of an entity upstream;
//! - [`schema`]: the JSON Schemas, made from these types.

pub mod canonical;
pub mod changes;
pub mod dictionary;
pub mod digest;
pub mod entity;
pub mod event;
pub mod finding;
pub mod guard;
pub mod identity;
pub mod lane;
pub mod outcome;
pub mod schema;

pub use entity::{CriticalValue, Entity, ExamItem, ExamItemGroup, ExamPackage, ExamReport};
pub use event::{CloudEvent, EventKind};
pub use finding::{Finding, Severity};
pub use identity::{EntityKey, EntityType, Lifecycle, Sequence};
pub use lane::{LaneRule, Lanes};
pub use outcome::{Assembly, Compose, File, HEADER, Held, Mapped, Outcome, Part, SharedComposer, WAITING, Wish};
