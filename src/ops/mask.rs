//! Hides personal data where a person looks without having given a reason.
//!
//! What a raw column means is not known, so the rule goes by shape and errs towards hiding: short
//! codes and small numbers stay readable, everything else keeps its length and punctuation only.

use connector_api::{Map, Value};

/// A value as it may be shown to anyone who may see the status page.
pub fn mask(text: &str) -> String {
    let harmless_number = text.chars().filter(char::is_ascii_digit).count() <= 5
        && text.chars().all(|c| c.is_ascii_digit() || " .<>=+-~/%".contains(c));
    let short_code = text.len() <= 3 && text.is_ascii();
    if harmless_number || short_code {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_alphanumeric() { '●' } else { c }).collect()
}

/// The same value with every text in it masked; names of columns stay.
pub fn masked(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(mask(text)),
        Value::Decimal(decimal) => Value::Text(mask(decimal.as_str())),
        Value::Integer(number) => Value::Text(mask(&number.to_string())),
        Value::Time(time) => Value::Text(mask(&time.to_string())),
        Value::Bytes(bytes) => Value::Text(format!("<{} bytes>", bytes.len())),
        Value::List(list) => Value::List(list.iter().map(masked).collect()),
        Value::Map(map) => Value::Map(masked_map(map)),
        Value::Null | Value::Bool(_) => value.clone(),
    }
}

/// A document's values masked.
pub fn masked_map(map: &Map) -> Map {
    map.iter().map(|(name, value)| (name.clone(), masked(value))).collect()
}

/// JSON with every text masked, except under names that hold words of ours.
pub fn masked_json(json: &serde_json::Value) -> serde_json::Value {
    /// Stable words, codes of the catalogue and texts of ours: not about a person.
    const OPEN: &[&str] = &[
        "code",
        "severity",
        "path",
        "message",
        "entity_type",
        "lifecycle",
        "adapter",
        "charset",
        "source_ref",
        "source_system",
        "hospital_id",
        "campus_id",
        "item_code",
        "item_name",
        "group_code",
        "group_name",
        "package_code",
        "unit_raw",
        "unit_ucum",
        "reference_raw",
        "status",
        "report_kind",
        "value_kind",
        "flag_source",
        "flag_derived",
        "reason",
        "kind",
        "department",
        "currency",
        "role",
        "exam_kind",
        "selection_mode",
        "scope",
        "value_type",
        "applicable_sex",
        "state",
        "origin",
        "comparator",
        "low",
        "high",
        "instance",
    ];
    match json {
        serde_json::Value::String(text) => mask(text).into(),
        serde_json::Value::Array(list) => list.iter().map(masked_json).collect(),
        serde_json::Value::Object(map) => map
            .iter()
            .map(|(name, value)| {
                let open = value.is_string() && OPEN.contains(&name.as_str());
                (name.clone(), if open { value.clone() } else { masked_json(value) })
            })
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_dates_of_people_are_hidden() {
        for (text, expected) in [
            ("王小明", "●●●"),
            ("ZHANG^SAN", "●●●●●^●●●"),
            ("999999198806010019", "●●●●●●●●●●●●●●●●●●"),
            ("15400001111", "●●●●●●●●●●●"),
            ("1988-06-01", "●●●●-●●-●●"),
            ("0301170001", "●●●●●●●●●●"),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn what_a_doctor_wrote_is_hidden_and_what_the_catalogue_says_is_not() {
        let report =
            serde_json::json!({ "item_name": "空腹血糖", "conclusions": [{ "kind": "summary", "text": "血糖升高" }] });
        let expected =
            serde_json::json!({ "item_name": "空腹血糖", "conclusions": [{ "kind": "summary", "text": "●●●●" }] });
        assert_eq!(masked_json(&report), expected);
    }

    #[test]
    fn short_codes_and_small_numbers_stay_readable() {
        for text in ["1", "H", "<0.02", "3.5-9.5", "↑", "", "1.30"] {
            let expected = if text == "↑" { "↑" } else { text };
            assert_eq!(mask(text), expected);
        }
    }
}
