//! Reads archived rows again, with the same verdict as at first.

use std::sync::Arc;

use connector_api::{DecodeFailure, Decoder, Document, DocumentDecoder, Map, Raw, Value};

/// The entry of an archived row in which it says why it was held. Without it, a replay would take a
/// row for sound that was archived because it is not.
const HELD: &str = "hisync.held";

/// What a row can be held for. A client's own words for undecodable values stand here too.
const CODES: [&str; 8] = [
    "duplicate-key",
    "null-key",
    "child-key-ambiguous",
    "unit-too-large",
    "text-encoding",
    "not-a-number",
    "value-too-long",
    OTHER_CODE,
];

const OTHER_CODE: &str = "row";

/// Writes into an archived row why it is held.
pub(crate) fn mark_held(map: &mut Map, failure: &DecodeFailure) {
    map.push(HELD, Map::from_iter([("code", failure.code), ("detail", failure.detail.as_str())]));
}

/// The decoder of every relational source's records.
#[derive(Clone, Copy, Debug, Default)]
pub struct RowDecoder;

impl RowDecoder {
    /// This decoder as the trait object that a [`connector_api::Connector`] holds.
    pub fn shared() -> Arc<dyn Decoder> {
        Arc::new(RowDecoder)
    }
}

impl Decoder for RowDecoder {
    fn decode(&self, raw: &Raw) -> Result<Document, DecodeFailure> {
        let document = DocumentDecoder.decode(raw)?;
        let Some(Value::Map(held)) = document.root.get(HELD) else { return Ok(document) };
        let text = |name: &str| held.get(name).and_then(Value::as_text).unwrap_or_default();
        let code = CODES.into_iter().find(|code| *code == text("code")).unwrap_or(OTHER_CODE);
        Err(DecodeFailure::new(code, text("detail")))
    }
}
