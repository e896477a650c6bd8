//! Documents inside of results: `OBX-5` of the type `ED`, source, type, subtype, encoding and data.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use connector_api::Value;

/// Where the data's encoding is, and the data.
const ENCODING: usize = 3;
const DATA: usize = 4;

/// Base64 of HL7 table 0299. Some senders leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes the data of an `OBX` segment, once. Says what is wrong where that fails.
pub(super) fn decode(segment: &mut Value) -> Result<(), &'static str> {
    let Value::List(fields) = segment else { return Ok(()) };
    if fields.get(2).and_then(Value::as_text) != Some("ED") {
        return Ok(());
    }
    let Some(Value::List(repetitions)) = fields.get_mut(5) else { return Ok(()) };
    for repetition in repetitions {
        let Value::List(components) = repetition else { continue };
        let encoding = components.get(ENCODING).and_then(Value::as_text).unwrap_or_default().to_ascii_lowercase();
        let Some(Value::Text(data)) = components.get(DATA) else { continue };
        // Lines of the data arrive as resolved escapes.
        let plain = || -> String { data.chars().filter(|c| !c.is_ascii_whitespace()).collect() };
        let bytes = match encoding.as_str() {
            "base64" => BASE64.decode(plain()).map_err(|_| "the embedded document is no whole Base64 text")?,
            "hex" => hex::decode(plain()).map_err(|_| "the embedded document is no whole hexadecimal text")?,
            _ => continue,
        };
        components[DATA] = Value::Bytes(bytes);
    }
    Ok(())
}
