//! What a record becomes, as the cases beside a mapping write it down.

use serde_json::{Value as Json, json};

use crate::model::{EntityType, Outcome, Wish};

/// Outcomes as the text of a case's expectation: a JSON list with `mapped` or `held` each, ending in a
/// line end. Equal outcomes have equal texts.
pub fn expectation(outcomes: &[Outcome]) -> String {
    let shown: Vec<Json> = outcomes.iter().map(shown).collect();
    serde_json::to_string_pretty(&shown).unwrap_or_default() + "\n"
}

fn shown(outcome: &Outcome) -> Json {
    match outcome {
        Outcome::Mapped(mapped) => {
            let data: Json = serde_json::from_slice(&mapped.data).unwrap_or_default();
            let wish = match &mapped.wish {
                Wish::Present => json!("present"),
                Wish::Absent { reason } => json!({ "absent": reason }),
            };
            json!({ "mapped": { "key": mapped.key.subject(), "wish": wish, "search": mapped.search, "data": data } })
        }
        Outcome::Held(held) => json!({ "held": {
            "entity": held.entity.map(EntityType::as_str), "key": held.key.as_ref().map(|key| key.subject()),
            "reason": held.reason, "search": held.search, "findings": held.findings,
        } }),
    }
}
