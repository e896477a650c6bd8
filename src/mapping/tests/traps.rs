//! Traps of hospital data that are the mapping's to see, each told as it happens.

use super::*;

/// A report mapping with inline tables, in the words of the test.
fn report(tables: &str) -> Mapping {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!(
        r#"
[mapping]
entity = "exam_report"
[key]
parts = ["no"]
{tables}
[fields]
report_kind = {{ const = "lab", reason = "r" }}
status = {{ from = "status", codes = "status" }}
issued_at = {{ const = "2026-11-20T10:00:00+08:00", reason = "r" }}
[fields.examinee]
examinee_key = "no"
name = "name"
sex = {{ from = "sex", codes = "sex" }}
marital_status = {{ from = "marital", codes = "marital" }}
[fields.visit]
exam_no = "no"
previous_exam_no = {{ from = "before", optional = true }}
[fields.groups]
each = "items"
group_by = ["group"]
[fields.groups.fields]
group_code = "group"
group_name = "group"
[fields.groups.fields.items]
each = "rows"
[fields.groups.fields.items.fields]
item_code = "item"
item_name = "item"
value = "value"
"#
    );
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, text).expect("written");
    compiled(&path)
}

const TABLES: &str = r#"
[codes.status]
inline = { "1" = "final" }
[codes.sex]
inline = { "1" = "male", "2" = "female" }
[codes.marital]
inline = { "2" = "widowed", "3" = "divorced" }
"#;

fn row() -> Json {
    json!({
        "no": "0301170001", "name": "张试一", "sex": "1", "marital": "2", "status": "1",
        "items": [{ "group": "G1", "item": "A", "value": "1" }],
    })
}

fn mapped_in(mapping: &Mapping, context: &Context, row: &Json) -> Outcome {
    let document = Document::from_bytes(&serde_json::to_vec(row).expect("JSON")).expect("a document");
    let mut all = mapping.apply(context, Input { document: &document, source_ref: "V", charset: None });
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn data(mapping: &Mapping, row: &Json) -> Json {
    match mapped_in(mapping, &context(), row) {
        Outcome::Mapped(mapped) => serde_json::from_slice(&mapped.data).expect("JSON"),
        Outcome::Held(held) => panic!("held: {held:?}"),
    }
}

fn key(mapping: &Mapping, context: &Context, row: &Json) -> String {
    match mapped_in(mapping, context, row) {
        Outcome::Mapped(mapped) => mapped.key.key,
        Outcome::Held(held) => panic!("held: {held:?}"),
    }
}

#[test]
fn one_digit_means_what_the_table_of_its_own_source_says() {
    let other = TABLES.replace(r#""2" = "widowed", "3" = "divorced""#, r#""3" = "widowed", "2" = "divorced""#);
    let [here, there] = [TABLES, other.as_str()].map(|tables| data(&report(tables), &row()));
    assert_eq!(here["examinee"]["marital_status"], "widowed");
    assert_eq!(there["examinee"]["marital_status"], "divorced");
    assert_eq!(
        (&here["examinee"]["marital_status_raw"], &there["examinee"]["marital_status_raw"]),
        (&json!("2"), &json!("2"))
    );
    let inverted = TABLES.replace(r#""1" = "male", "2" = "female""#, r#""0" = "male", "1" = "female""#);
    assert_eq!(data(&report(&inverted), &row())["examinee"]["sex"], "female");
    // And a digit that its own table lacks is nobody's default.
    let mut unknown = row();
    unknown["marital"] = json!("9");
    assert!(
        matches!(mapped_in(&report(TABLES), &context(), &unknown), Outcome::Held(held) if held.reason == "unknown-code")
    );
}

#[test]
fn states_are_a_table_and_never_a_scale() {
    // 3 first review passed, 4 failed, 5 second passed, 6 failed, 7 concluded, 8 conclusion failed.
    let scale = r#"{ "3" = "draft", "4" = "draft", "5" = "draft", "6" = "draft", "7" = "final", "8" = "withdrawn" }"#;
    let mapping = report(&TABLES.replace(r#"{ "1" = "final" }"#, scale));
    let wish = |state: &str| {
        let mut row = row();
        row["status"] = json!(state);
        match mapped_in(&mapping, &context(), &row) {
            Outcome::Mapped(mapped) => Some(mapped.wish),
            Outcome::Held(_) => None,
        }
    };
    let absent = |reason: &str| Some(Wish::Absent { reason: reason.to_owned() });
    for failed in ["4", "6"] {
        assert_eq!(wish(failed), absent("draft"), "{failed}: a failed review is no report, high as its number is");
    }
    assert_eq!(wish("7"), Some(Wish::Present));
    assert_eq!(wish("8"), absent("reversed"), "a conclusion that failed takes the report back");
    assert_eq!(wish("9"), None, "a state that nobody has decided is held");
}

#[test]
fn one_item_in_two_groups_has_two_results() {
    let mut row = row();
    row["items"] = json!([
        { "group": "G1", "item": "A", "value": "1" }, { "group": "G2", "item": "A", "value": "2" },
    ]);
    let data = data(&report(TABLES), &row);
    let values: Vec<&Json> = (0..2).map(|at| &data["groups"][at]["items"][0]["value_raw"]).collect();
    assert_eq!(values, [&json!("1"), &json!("2")]);
}

#[test]
fn a_number_is_a_key_with_every_place_of_it() {
    let mapping = report(TABLES);
    let of = |number: Json| {
        let mut row = row();
        row["no"] = number;
        key(&mapping, &context(), &row)
    };
    // What some laboratories know by its last eight places is two visits.
    assert_ne!(of(json!("030117000123")), of(json!("17000123")));
    assert_ne!(of(json!("030117000123")), of(json!("040117000123")));
    assert_ne!(of(json!("0017")), of(json!("17")));
    assert_ne!(of(json!({ "$int": "9007199254740993" })), of(json!({ "$int": "9007199254740992" })));
    assert_eq!(of(json!("9007199254740993123")), "main:peis:9007199254740993123");
}

#[test]
fn one_code_at_two_campuses_is_two_entities() {
    let mapping = report(TABLES);
    let east = Context { campus: "east".to_owned(), ..context() };
    let west = Context { campus: "west".to_owned(), ..context() };
    assert_ne!(key(&mapping, &east, &row()), key(&mapping, &west, &row()));
}

#[test]
fn a_recheck_is_a_visit_of_its_own_that_names_the_one_before() {
    let mapping = report(TABLES);
    let mut again = row();
    again["no"] = json!("0301170002");
    again["before"] = json!("0301170001");
    assert_ne!(key(&mapping, &context(), &again), key(&mapping, &context(), &row()));
    assert_eq!(data(&mapping, &again)["visit"]["previous_exam_no"], "0301170001");
    // One that names itself is a correction under a wrong name.
    again["no"] = json!("0301170001");
    assert!(matches!(mapped_in(&mapping, &context(), &again), Outcome::Held(held) if held.reason == "recheck-itself"));
}

#[test]
fn padding_is_no_content_and_null_is_no_empty_text() {
    let mapping = report(TABLES);
    let mut padded = row();
    padded["no"] = json!("0301170001   ");
    padded["name"] = json!("\u{feff}张试一\u{3000}\u{a0}\0");
    padded["sex"] = json!("1 ");
    padded["items"][0]["value"] = json!(" １.30\u{3000}");
    let read = data(&mapping, &padded);
    assert_eq!(read["visit"]["exam_no"], "0301170001");
    assert_eq!(read["examinee"]["name"], "张试一");
    // The literal keeps its width; the number is read.
    assert_eq!(
        (&read["groups"][0]["items"][0]["value_raw"], &read["groups"][0]["items"][0]["value_num"]),
        (&json!("１.30"), &json!("1.30"))
    );
    let value = |value: Json| {
        let mut row = row();
        row["status"] = json!("1");
        row["items"] =
            json!([{ "group": "G1", "item": "A", "value": value }, { "group": "G1", "item": "B", "value": "1" }]);
        match mapped_in(&mapping, &context(), &row) {
            Outcome::Held(held) => held.reason,
            Outcome::Mapped(mapped) => panic!("an empty result was sent: {mapped:?}"),
        }
    };
    assert_eq!(value(Json::Null), "empty-value");
    assert_eq!(value(json!("")), "empty-value");
}
