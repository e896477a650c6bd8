//! What a check has to say about a record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a finding weighs. The heaviest finding of a record decides what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A note on how a value was normalised.
    Info,
    /// Delivered, with the finding attached as an issue.
    Warn,
    /// Kept and not delivered until a person, a mapping or a code table settles it.
    Hold,
    /// Can't be represented, or has no usable identity. Kept and held like `Hold`.
    Reject,
}

impl Severity {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warn => "warn",
            Severity::Hold => "hold",
            Severity::Reject => "reject",
        }
    }
}

/// One finding. Delivered as an element of an entity's `issues`, shown with a held item.
///
/// `source_value` may be personal data: a finding goes to upstream and to an operator's screen,
/// never to a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// A stable word, e.g. `unknown-code`. `hisync explain CODE` tells more.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// Which field, as a path into the entity: `groups[3].items[0].unit_raw`.
    pub path: String,
    /// What is wrong, in words for a person. Never contains the value itself.
    pub message: String,
    /// The source's value, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_value: Option<String>,
}

impl Finding {
    /// A finding without a source value.
    pub fn new(code: &str, severity: Severity, path: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding { code: code.to_owned(), severity, path: path.into(), message: message.into(), source_value: None }
    }

    /// Adds the source's value.
    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> Finding {
        self.source_value = Some(value.into());
        self
    }
}
