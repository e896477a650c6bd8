//! The one list of connector kinds.

use connector_api::Mode;

/// A connector kind with its types erased.
#[derive(Debug)]
pub struct Kind {
    /// The name in the configuration.
    pub name: &'static str,
    /// One line on what it is.
    pub summary: &'static str,
    /// An annotated sample that loads as it stands.
    pub sample: &'static str,
    /// The modes that its streams may have.
    pub modes: &'static [Mode],
}
