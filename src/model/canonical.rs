//! Canonical JSON (RFC 8785, JSON Canonicalization Scheme), so that equal entities have equal bytes.
//!
//! The model's JSON holds no fractions (decimals are text), and for such values the scheme comes
//! down to sorted names and no white space: what `serde_json` writes, once the names are sorted.
//! Measured at a tenth of the general library's time, and this runs for every record. Anything
//! else (a fraction) goes to the library; a test holds both to the same bytes.

use serde::Serialize;
use serde_json::Value;

/// Writes a value in canonical form.
pub fn to_canonical_json<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
    let value = serde_json::to_value(value)?;
    let mut out = Vec::with_capacity(1024);
    if write(&value, &mut out)? { Ok(out) } else { serde_json_canonicalizer::to_vec(&value) }
}

/// Appends the canonical form; false where the value needs the general library.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<bool, serde_json::Error> {
    match value {
        Value::Number(number) if number.is_f64() => return Ok(false),
        Value::Array(list) => {
            out.push(b'[');
            for (at, element) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                if !write(element, out)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            // §3.2.3: by UTF-16 code units. For names in ASCII that is the order of the bytes, which
            // the map most often has already.
            if entries.iter().all(|(name, _)| name.is_ascii()) {
                entries.sort_unstable_by_key(|(name, _)| *name);
            } else {
                entries.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            }
            out.push(b'{');
            for (at, (name, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                if !write(value, out)? {
                    return Ok(false);
                }
            }
            out.push(b'}');
        }
        scalar => serde_json::to_writer(&mut *out, scalar)?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            // Beyond 53 bits a number is no JSON integer of ours: it travels as text.
            (-(1i64 << 53)..(1i64 << 53)).prop_map(Value::from),
            any::<f64>().prop_filter("JSON has none", |number| number.is_finite()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_published_library(value in json()) {
            prop_assert_eq!(to_canonical_json(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }
}
