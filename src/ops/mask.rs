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
    hidden(text)
}

/// Keeps length and punctuation only.
fn hidden(text: &str) -> String {
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

/// Words of our own lists and names of the catalogue: not about a person, in whatever object they stand.
const OPEN: &[&str] = &[
    "entity_type",
    "lifecycle",
    "adapter",
    "charset",
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
];

/// Names that are open inside one member alone, because elsewhere they speak of a person: a
/// diagnosis has a `code`, and the place of a file often has the person's name in it.
const OPEN_INSIDE: &[(&str, &[&str])] = &[("provenance", &["source_ref"]), ("external_codes", &["system", "code"])];

/// What stands here is about a person however short it is: `I10` is a diagnosis.
const PERSONAL: &[&str] = &["examinee", "conclusions"];

/// The members of a finding that are words of ours; its `source_value` is not.
const OF_A_FINDING: [&str; 4] = ["code", "severity", "path", "message"];

/// What was read for a field, as it may be shown: a path is `examinee.name` or `groups[0].items[2].value`.
pub fn mask_at(path: &str, text: &str) -> String {
    let mut names = path.split('.').map(|name| name.split('[').next().unwrap_or(name));
    let last = names.clone().next_back().unwrap_or_default();
    match names.any(|name| PERSONAL.contains(&name)) {
        true => hidden(text),
        false if OPEN.contains(&last) => text.to_owned(),
        false => mask(text),
    }
}

/// The names under which lists of the store hold an exam number, or words that upstream wrote.
const KEYS: [&str; 2] = ["key", "last_message"];

/// The same JSON with the keys of entities and the words of upstream masked.
pub fn without_keys(json: serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::Array(list) => list.into_iter().map(without_keys).collect(),
        serde_json::Value::Object(map) => {
            let shown = |(name, value): (String, serde_json::Value)| {
                let value = match value {
                    serde_json::Value::String(text) if KEYS.contains(&name.as_str()) => hidden(&text).into(),
                    value => without_keys(value),
                };
                (name, value)
            };
            map.into_iter().map(shown).collect()
        }
        other => other,
    }
}

/// JSON with every text masked, except under names that hold words of ours.
pub fn masked_json(json: &serde_json::Value) -> serde_json::Value {
    inside("", json)
}

/// Masks what stands in the member `place`, or in a list there.
fn inside(place: &str, json: &serde_json::Value) -> serde_json::Value {
    match json {
        serde_json::Value::String(text) if PERSONAL.contains(&place) => hidden(text).into(),
        serde_json::Value::String(text) => mask(text).into(),
        serde_json::Value::Array(list) => list.iter().map(|element| inside(place, element)).collect(),
        serde_json::Value::Object(map) => {
            let finding = OF_A_FINDING.iter().all(|name| map.contains_key(*name));
            let here = OPEN_INSIDE.iter().find(|(member, _)| *member == place).map_or(&[][..], |(_, names)| names);
            let shown = |(name, value): (&String, &serde_json::Value)| {
                let name_is_open =
                    OPEN.contains(&&**name) || here.contains(&&**name) || (finding && OF_A_FINDING.contains(&&**name));
                let value = match value {
                    serde_json::Value::String(_) if name_is_open => value.clone(),
                    serde_json::Value::String(_) | serde_json::Value::Array(_) if PERSONAL.contains(&place) => {
                        inside(place, value)
                    }
                    _ => inside(name, value),
                };
                (name.clone(), value)
            };
            map.iter().map(shown).collect()
        }
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
    fn what_was_read_for_a_field_of_a_person_is_hidden_however_short_it_is() {
        assert_eq!(mask_at("examinee.sex", "1"), "●");
        assert_eq!(mask_at("conclusions[0].code", "I10"), "●●●");
        assert_eq!(mask_at("groups[0].items[2].value", "5.6"), "5.6");
        assert_eq!(mask_at("groups[0].items[2].item_name", "空腹血糖"), "空腹血糖");
        assert_eq!(mask_at("business_key", "0301170001"), "●●●●●●●●●●");
        let listed = serde_json::json!([{ "id": 1, "key": "main:peis:0301170001", "versions": [{ "key": "1" }] }]);
        let shown = serde_json::json!([{ "id": 1, "key": "●●●●:●●●●:●●●●●●●●●●", "versions": [{ "key": "●" }] }]);
        assert_eq!(without_keys(listed), shown);
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
    fn a_diagnosis_is_hidden_by_its_code_too_and_a_finding_is_not() {
        let finding = serde_json::json!(
            { "code": "unknown-code", "severity": "hold", "path": "conclusions[0].code", "message": "not in the table",
              "source_value": "二型糖尿病" }
        );
        let report = serde_json::json!({
            "envelope": { "provenance": { "source_ref": "V_TJ_BG" }, "issues": [finding] },
            "examinee": { "name": "王明", "sex": "male", "sex_raw": "1" },
            "conclusions": [{ "seq": 1, "kind": "diagnosis", "code": "I10", "severity": "2", "text": "高",
                              "advice": "复查", "source_items": ["GLU"] }],
            "groups": [{ "group_code": "G01", "items": [{ "item_name": "HIV 抗体", "flag_derived": "positive",
                         "instance": "SP20260301" }] }],
            "attachments": [{ "kind": "report_pdf", "source_ref": "王明/1.pdf" }],
        });
        let mut hidden_finding = finding.clone();
        hidden_finding["source_value"] = "●●●●●".into();
        let expected = serde_json::json!({
            "envelope": { "provenance": { "source_ref": "V_TJ_BG" }, "issues": [hidden_finding] },
            "examinee": { "name": "●●", "sex": "●●●●", "sex_raw": "●" },
            "conclusions": [{ "seq": 1, "kind": "diagnosis", "code": "●●●", "severity": "●", "text": "●",
                              "advice": "●●", "source_items": ["●●●"] }],
            "groups": [{ "group_code": "G01", "items": [{ "item_name": "HIV 抗体", "flag_derived": "●●●●●●●●",
                         "instance": "●●●●●●●●●●" }] }],
            "attachments": [{ "kind": "report_pdf", "source_ref": "●●/●.●●●" }],
        });
        assert_eq!(masked_json(&report), expected);
        assert_eq!(masked_json(&serde_json::json!([finding])), serde_json::json!([hidden_finding]));
    }

    #[test]
    fn short_codes_and_small_numbers_stay_readable() {
        for text in ["1", "H", "<0.02", "3.5-9.5", "↑", "", "1.30"] {
            let expected = if text == "↑" { "↑" } else { text };
            assert_eq!(mask(text), expected);
        }
    }
}
