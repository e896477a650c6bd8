//! What the dictionaries of a hospital say of the codes that other entities name.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Entity, EntityType, Finding};

/// The entries of the dictionaries (detail items, group items, packages) that the site has read.
pub trait Dictionary {
    /// What a source's dictionary (`None`: any source's) has under a code: `None` where it does not know the code.
    /// Empty where it knows it and the entry can't be read.
    fn look(&self, source: Option<&str>, kind: EntityType, code: &str) -> Option<Vec<Arc<Entity>>>;
}

/// What comparing an entity with the dictionaries gave.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// What contradicts them.
    pub findings: Vec<Finding>,
    /// The entries whose arrival, or change, may settle what is held for it.
    pub waits: BTreeSet<(EntityType, String)>,
}

/// The code under which other entities name an entry of a dictionary; `None` for entities that are no entries.
pub fn named(entity: &Entity) -> Option<&str> {
    match entity {
        Entity::ExamItem(item) => Some(&item.item_code),
        Entity::ExamItemGroup(group) => Some(&group.group_code),
        Entity::ExamPackage(package) => Some(&package.package_code),
        Entity::ExamReport(_) | Entity::CriticalValue(_) => None,
    }
}

/// Whether entities of this type are entries of a dictionary.
pub fn is_entry(kind: EntityType) -> bool {
    matches!(kind, EntityType::ExamItem | EntityType::ExamItemGroup | EntityType::ExamPackage)
}
