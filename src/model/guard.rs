//! When a change is so large that a person should look before it goes upstream.

use std::time::Duration;

use super::EntityKey;

/// Thresholds of one stream's catalogue. A share is in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// A package (or a group) that loses more than this share of its members at once is doubted.
    pub members_dropped: u32,
    /// A price that grows to more than this share of itself, or shrinks by as much, is doubted: 200 is "twice".
    pub price_factor: u32,
    /// More than this share of a catalogue disabled (or taken back row by row) at once is doubted.
    pub disabled: u32,
    /// So few disabled or taken back are never "at once", whatever their share.
    pub min_disabled: u32,
    /// Whether it is doubted that an item, group or package is suddenly meant for another sex.
    pub sex_changed: bool,
    /// Whether it is doubted that an item has another unit.
    pub unit_changed: bool,
    /// Two equal snapshots so long apart confirm a doubted change; zero: only a person does.
    pub confirm_after: Duration,
}

impl Default for Guards {
    fn default() -> Guards {
        Guards {
            members_dropped: 30,
            price_factor: 200,
            disabled: 50,
            min_disabled: 3,
            sex_changed: true,
            unit_changed: true,
            confirm_after: Duration::from_secs(60 * 60),
        }
    }
}

/// How one entity of a catalogue changes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Which entity.
    pub key: &'a EntityKey,
    /// The `data` of its newest version; `None` where upstream has none.
    pub before: Option<&'a [u8]>,
    /// The `data` that is to follow; `None` where it is to be withdrawn.
    pub after: Option<&'a [u8]>,
}
