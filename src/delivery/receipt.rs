//! What upstream answers to a batch: one receipt per event.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of a 200 answer to a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipts {
    /// One receipt per event, in any order. An event that is not named is sent again.
    pub results: Vec<Receipt>,
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The event's id.
    pub id: String,
    /// What became of it.
    pub status: ReceiptStatus,
    /// A stable word for why, where the status is `rejected` or `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Words for a person, free of personal data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What became of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptStatus {
    /// On upstream's stable storage.
    Accepted,
    /// Upstream had it already, or has a later version of the entity.
    Duplicate,
    /// Upstream will never take it as it is: a person must look.
    Rejected,
    /// Upstream can't take it now.
    Retry,
}

impl ReceiptStatus {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            ReceiptStatus::Accepted => "accepted",
            ReceiptStatus::Duplicate => "duplicate",
            ReceiptStatus::Rejected => "rejected",
            ReceiptStatus::Retry => "retry",
        }
    }
}
