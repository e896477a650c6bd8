//! Every rule with a case that it speaks of and one that it does not.
//!
//! Rules that judge an entity: a sound one, and one change to it. Rules that speak while a record is
//! read have their cases under `fixtures/mapping`; those of composing and of the program itself are
//! named with the test that has them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

use super::*;
use crate::model::EntityType;

/// Rules whose cases are tests of their own: code, where.
const ELSEWHERE: [(&str, &str); 26] = [
    ("parts-disagree", "parts_of_a_report_join_by_group_and_a_disagreement_is_held"),
    ("another-person", "a_report_may_be_corrected_and_not_become_another_persons"),
    ("part-header", "a_part_that_cannot_be_read_is_held"),
    ("manifest-mismatch", "a_manifest_that_does_not_add_up_is_rejected"),
    ("waiting-for-parts", "a_report_is_whole_when_each_ordered_group_and_each_named_part_is_there"),
    ("result-vanished", "a_report_that_loses_a_result_is_doubted_and_its_revision_names_it"),
    ("price-jump", "a_package_whose_price_sex_or_content_jumps_is_doubted"),
    ("members-dropped", "a_package_whose_price_sex_or_content_jumps_is_doubted"),
    ("sex-changed", "a_package_whose_price_sex_or_content_jumps_is_doubted"),
    ("mass-disabled", "a_catalogue_that_is_turned_off_at_once_is_doubted"),
    ("unit-changed", "an_item_that_is_known_keeps_its_unit"),
    ("older-revision", "an_older_revision_that_comes_late_is_held"),
    ("another-visit", "a_report_of_a_far_away_day_is_another_visit"),
    ("group-unknown", "a_package_is_held_for_groups_that_are_unknown_or_off_or_for_the_other_sex"),
    ("group-off", "a_package_is_held_for_groups_that_are_unknown_or_off_or_for_the_other_sex"),
    ("member-unknown", "a_group_whose_members_no_dictionary_has_is_held"),
    ("order-unknown", "codes_that_the_dictionary_does_not_have_are_held_and_wait_for_it"),
    ("package-sex", "a_package_of_the_other_sex_is_not_this_persons"),
    ("item-unknown", "codes_that_the_dictionary_does_not_have_are_held_and_wait_for_it"),
    ("item-unlisted", "a_panel_that_lacks_an_item_of_the_dictionary_is_held"),
    ("panel-incomplete", "a_panel_that_lacks_an_item_of_the_dictionary_is_held"),
    ("unit-differs", "a_result_whose_unit_is_not_the_dictionarys_is_held"),
    ("unit-missing", "a_result_whose_unit_is_not_the_dictionarys_is_held"),
    ("kind-differs", "a_result_that_is_not_what_the_dictionary_says_is_told"),
    ("name-of-another", "a_result_that_is_not_what_the_dictionary_says_is_told"),
    ("attachment-shared", "one_file_of_two_people_is_held_until_a_person_has_looked"),
];

/// Nothing that a mapping can be given leads to these.
const UNREACHABLE: [&str; 1] = ["model-mismatch"];

fn envelope(entity: &str) -> Json {
    json!({
        "hospital_id": "demo-001", "campus_id": "main", "source_system": "peis", "entity_type": entity,
        "business_key": "main:peis:1", "lifecycle": "active",
        "provenance": { "source_ref": "V", "adapter": "fixture" }, "issues": [],
        "manifest": { "rows_read": 0, "mapped": 0, "duplicates": 0, "excluded": [] },
    })
}

fn number(code: &str, concept: Json, value: &str, unit: Json) -> Json {
    json!({
        "item_code": code, "item_name": code, "standard_code": concept, "instance": "1", "value_raw": value,
        "value_kind": "numeric", "value_num": value, "unit_raw": unit, "unit_ucum": unit, "is_critical": false,
    })
}

/// A sound final report: one group of measurements with every sum in it, one of words.
fn report() -> Json {
    let measured = [
        ("height", "170.0", "cm"),
        ("weight", "65.0", "kg"),
        ("bmi", "22.5", "kg/m2"),
        ("systolic", "120", "mm[Hg]"),
        ("diastolic", "80", "mm[Hg]"),
        ("total_protein", "72.0", "g/L"),
        ("albumin", "45.0", "g/L"),
        ("globulin", "27.0", "g/L"),
        ("bilirubin_total", "12.0", "umol/L"),
        ("bilirubin_direct", "3.0", "umol/L"),
        ("bilirubin_indirect", "9.0", "umol/L"),
        ("wbc", "6.0", "10*9/L"),
        ("neutrophils", "3.60", "10*9/L"),
        ("neutrophils_percent", "60.0", "%"),
        ("lymphocytes_percent", "30.0", "%"),
        ("monocytes_percent", "6.0", "%"),
        ("eosinophils_percent", "3.0", "%"),
        ("basophils_percent", "1.0", "%"),
        ("rbc", "4.50", "10*12/L"),
        ("mcv", "90.0", "fL"),
        ("hematocrit", "40.5", "%"),
        ("hemoglobin", "135", "g/L"),
        ("mchc", "333", "g/L"),
        ("cholesterol", "4.50", "mmol/L"),
        ("hdl_cholesterol", "1.30", "mmol/L"),
        ("ldl_cholesterol", "2.60", "mmol/L"),
    ];
    let mut items: Vec<Json> =
        measured.iter().map(|(concept, value, unit)| number(concept, json!(concept), value, json!(unit))).collect();
    items.push(number("ratio", json!("albumin_globulin_ratio"), "1.67", Json::Null));
    let mut glucose = number("glucose", json!("14749-6"), "5.10", json!("mmol/L"));
    glucose["reference_raw"] = json!("3.9-6.1");
    glucose["reference"] = json!({ "low": "3.9", "low_inclusive": true, "high": "6.1", "high_inclusive": true });
    glucose["flag_source"] = json!("normal");
    items.push(glucose);
    json!({
        "envelope": envelope("exam_report"), "report_kind": "health", "status": "final",
        "issued_at": "2026-11-22T10:00:00+08:00", "concluded_by": "何试医",
        "examinee": {
            "examinee_key": "A1", "name": "张试一", "sex": "male", "birth_date": "1985-03-12",
            "id_number": "999999198503120018", "phone": "13800000000",
        },
        "visit": {
            "visit_key": "main:1:2026-11-20", "exam_no": "00012345", "registered_at": "2026-11-20T08:00:00+08:00",
            "exam_date": "2026-11-20", "stated_age": 41,
            "ordered_groups": [
                { "group_code": "G1", "state": "done" }, { "group_code": "G2", "state": "done" },
                { "group_code": "G3", "state": "refused" },
            ],
        },
        "groups": [
            { "group_code": "G1", "group_name": "测量", "items": items },
            { "group_code": "G2", "group_name": "尿常规", "items": [
                { "item_code": "GLU", "item_name": "尿糖", "instance": "1", "value_raw": "阴性", "value_kind": "coded",
                  "reference_raw": "阴性", "reference": { "text": "阴性" }, "flag_source": "negative", "is_critical": false },
            ] },
        ],
        "conclusions": [{ "seq": 1, "kind": "summary", "text": "各项指标未见明显异常。" }],
    })
}

fn package() -> Json {
    json!({
        "envelope": envelope("exam_package"), "package_code": "T1", "name": "入职套餐", "exam_kind": "health",
        "applicable_sex": "male", "currency": "CNY", "original_price_minor": 30000, "sale_price_minor": 25000,
        "selection_mode": "fixed", "enabled": true, "scope": "company", "org_code": "C1", "age_low": 18, "age_high": 60,
        "valid_from": "2026-01-01", "valid_to": "2026-12-31",
        "items": [
            { "group_code": "G1", "role": "mandatory", "price_minor": 10000 },
            { "group_code": "G2", "role": "mandatory", "price_minor": 20000, "applicable_sex": "male" },
            { "group_code": "C1", "role": "optional", "choice_group_id": "c" },
            { "group_code": "C2", "role": "optional", "choice_group_id": "c" },
            { "group_code": "C3", "role": "optional", "choice_group_id": "c" },
        ],
        "choice_groups": [{ "group_id": "c", "min_pick": 1, "max_pick": 3 }],
        "exclusions": [{ "first": "C1", "second": "C2" }],
    })
}

fn item() -> Json {
    json!({
        "envelope": envelope("exam_item"), "item_code": "I1", "item_name": "血红蛋白", "standard_code": "hemoglobin",
        "value_type": "numeric", "applicable_sex": "both", "enabled": true, "unit_raw": "g/L", "unit_ucum": "g/L",
        "reference_ranges": [
            { "sex": "male", "low": "130", "high": "175" }, { "sex": "female", "low": "115", "high": "150" },
        ],
    })
}

fn group() -> Json {
    json!({
        "envelope": envelope("exam_item_group"), "group_code": "G1", "group_name": "血常规", "enabled": true,
        "price_minor": 2000, "members": [{ "item_code": "I1" }, { "item_code": "I2" }],
    })
}

/// The codes that a whole entity is told.
fn told(entity: EntityType, data: &Json) -> BTreeSet<String> {
    let mut entity = Entity::from_json(entity, &serde_json::to_vec(data).expect("JSON")).expect("an entity");
    let weights = Weights::usual();
    let mut findings = Findings::new(&weights);
    settle(&mut entity, &mut findings);
    findings.list.into_iter().map(|finding| finding.code).collect()
}

/// Sets the value at a JSON pointer; a pointer that ends in `/-` appends.
fn set(data: &mut Json, changes: &[(&str, Json)]) {
    for (path, value) in changes {
        match path.strip_suffix("/-") {
            Some(list) => {
                let list = data.pointer_mut(list).and_then(Json::as_array_mut).expect("a list");
                list.push(value.clone());
            }
            None => {
                let (parent, name) = path.rsplit_once('/').expect("a pointer");
                let parent = if parent.is_empty() { &mut *data } else { data.pointer_mut(parent).expect("a parent") };
                match parent {
                    Json::Array(list) => list[name.parse::<usize>().expect("a place")] = value.clone(),
                    parent => parent[name] = value.clone(),
                }
            }
        }
    }
}

/// Where the named concept stands in the sound report.
fn at(concept: &str) -> String {
    let report = report();
    let items = report["groups"][0]["items"].as_array().expect("items");
    let place = items.iter().position(|item| item["standard_code"] == concept).expect("a measurement");
    format!("/groups/0/items/{place}")
}

fn value(concept: &str, value: &str) -> Vec<(String, Json)> {
    let at = at(concept);
    vec![(format!("{at}/value_num"), json!(value)), (format!("{at}/value_raw"), json!(value))]
}

/// A rule's code, an entity, and changes to the sound one that break the rule.
type Break = (&'static str, EntityType, Vec<(String, Json)>);

/// What breaks each rule of a whole entity.
fn breaks() -> Vec<Break> {
    use EntityType::{ExamItem, ExamItemGroup, ExamPackage, ExamReport};
    let mut all = Vec::new();
    let mut add = |code, entity, changes: &[(&str, Json)]| {
        all.push((code, entity, changes.iter().map(|(path, value)| ((*path).to_owned(), value.clone())).collect()));
    };
    add("price-negative", ExamPackage, &[("/items/0/price_minor", json!(-1))]);
    add("sale-above-original", ExamPackage, &[("/sale_price_minor", json!(30001))]);
    add("price-zero", ExamPackage, &[("/original_price_minor", json!(0)), ("/sale_price_minor", json!(0))]);
    let prices = [("/choice_groups", json!([])), ("/items/0/price_minor", json!(9000))];
    add("price-sum", ExamPackage, &prices);
    add("package-empty", ExamPackage, &[("/items", json!([]))]);
    add("duplicate-item", ExamPackage, &[("/items/1/group_code", json!("G1"))]);
    add("choice-impossible", ExamPackage, &[("/choice_groups/0/min_pick", json!(3))]);
    add("choice-impossible", ExamPackage, &[("/choice_groups/0/max_pick", json!(4))]);
    add("choice-impossible", ExamPackage, &[("/exclusions/-", json!({ "first": "G2", "second": "G1" }))]);
    add("choice-impossible", ExamPackage, &[("/items/2/choice_group_id", json!("d"))]);
    add("item-sex", ExamPackage, &[("/items/1/applicable_sex", json!("female"))]);
    add("ages-reversed", ExamPackage, &[("/age_low", json!(61))]);
    add("dates-reversed", ExamPackage, &[("/valid_to", json!("2025-12-31"))]);
    add("company-missing", ExamPackage, &[("/org_code", Json::Null)]);
    add("range-reversed", ExamItem, &[("/reference_ranges/0/low", json!("176"))]);
    add("range-overlap", ExamItem, &[("/reference_ranges/1/sex", json!("both"))]);
    add("unit-unfit", ExamItem, &[("/unit_ucum", json!("mmol/L"))]);
    add("item-sex", ExamItem, &[("/standard_code", json!("psa")), ("/applicable_sex", json!("female"))]);
    add("columns-shifted", ExamItem, &[("/unit_ucum", Json::Null), ("/unit_raw", json!("130-175"))]);
    add("columns-shifted", ExamItem, &[("/reference_ranges/0", json!({ "text": "g/L" }))]);
    add("no-members", ExamItemGroup, &[("/members", json!([]))]);
    add("duplicate-item", ExamItemGroup, &[("/members/1/item_code", json!("I1"))]);
    add("price-negative", ExamItemGroup, &[("/price_minor", json!(-1))]);

    let glucose = at("14749-6");
    let glucose = |field: &str| format!("{glucose}/{field}");
    add("id-checksum", ExamReport, &[("/examinee/id_number", json!("999999198503120017"))]);
    add("id-disagrees", ExamReport, &[("/examinee/birth_date", json!("1985-03-13"))]);
    add("id-disagrees", ExamReport, &[("/examinee/sex", json!("female"))]);
    add("phone-form", ExamReport, &[("/examinee/phone", json!("138****0000"))]);
    add("date-order", ExamReport, &[("/issued_at", json!("2026-11-19T10:00:00+08:00"))]);
    add("date-order", ExamReport, &[("/visit/exam_date", json!("2026-11-19"))]);
    let born = [("/examinee/birth_date", json!("2027-03-12")), ("/examinee/id_number", Json::Null)];
    add("date-order", ExamReport, &born);
    add("age-disagrees", ExamReport, &[("/visit/stated_age", json!(43))]);
    let old = [("/examinee/birth_date", json!("1885-03-12")), ("/examinee/id_number", Json::Null)];
    add("age-impossible", ExamReport, &old);
    add("issued-at-missing", ExamReport, &[("/issued_at", Json::Null)]);
    add("signer-missing", ExamReport, &[("/concluded_by", Json::Null)]);
    add("conclusion-missing", ExamReport, &[("/conclusions", json!([]))]);
    add("conclusion-denies", ExamReport, &[(&glucose("is_critical"), json!(true))]);
    add(
        "conclusion-silent",
        ExamReport,
        &[
            (&glucose("value_num"), json!("7.1")),
            (&glucose("value_raw"), json!("7.1")),
            (&glucose("flag_source"), json!("high")),
        ],
    );
    add("text-at-limit", ExamReport, &[("/conclusions/0/text", json!("肺".repeat(100)))]);
    add("recheck-itself", ExamReport, &[("/visit/previous_exam_no", json!("00012345"))]);
    add("substitute", ExamReport, &[("/visit/substitute", json!(true))]);
    add(
        "empty-value",
        ExamReport,
        &[
            (&glucose("value_kind"), json!("absent")),
            (&glucose("value_num"), Json::Null),
            (&glucose("value_raw"), Json::Null),
        ],
    );
    add("duplicate-result", ExamReport, &[("/groups/0/items/1/item_code", json!("height"))]);
    add("duplicate-result", ExamReport, &[("/groups/1/group_code", json!("G1"))]);
    add(
        "flag-opposite",
        ExamReport,
        &[
            (&glucose("value_num"), json!("3.1")),
            (&glucose("value_raw"), json!("3.1")),
            (&glucose("flag_source"), json!("high")),
        ],
    );
    add("flag-opposite", ExamReport, &[("/groups/1/items/0/flag_source", json!("high"))]);
    add(
        "flag-opposite",
        ExamReport,
        &[("/groups/1/items/0/flag_source", json!("high")), ("/groups/1/items/0/reference", Json::Null)],
    );
    add("flag-disagrees", ExamReport, &[(&glucose("flag_source"), json!("high"))]);
    add("range-unread", ExamReport, &[(&glucose("reference"), json!({ "text": "见说明" }))]);
    add("range-sex", ExamReport, &[(&glucose("reference"), json!({ "sex": "female", "low": "1", "high": "9" }))]);
    add("range-reversed", ExamReport, &[(&glucose("reference"), json!({ "low": "9", "high": "1" }))]);
    add(
        "columns-shifted",
        ExamReport,
        &[(&glucose("unit_raw"), json!("3.9-6.1")), (&glucose("unit_ucum"), Json::Null)],
    );
    add("columns-shifted", ExamReport, &[(&glucose("reference"), json!({ "text": "mmol/L" }))]);
    add(
        "columns-shifted",
        ExamReport,
        &[
            (&glucose("value_raw"), json!("mmol/L")),
            (&glucose("value_kind"), json!("text")),
            (&glucose("value_num"), Json::Null),
        ],
    );
    add("item-sex", ExamReport, &[("/groups/1/items/0/standard_code", json!("cervical_cytology"))]);
    add("unit-unfit", ExamReport, &[(&glucose("unit_ucum"), json!("g/L"))]);
    add("magnitude", ExamReport, &[(&glucose("unit_ucum"), json!("mg/dL"))]);
    add("group-missing", ExamReport, &[("/visit/ordered_groups/2/state", json!("done"))]);
    let nothing = [("/groups", json!([])), ("/conclusions", json!([])), ("/visit/ordered_groups", json!([]))];
    add("report-empty", ExamReport, &nothing);
    let specimen = json!([{ "group_code": "G1", "group_name": "血常规", "items": [], "summary": "标本良好" }]);
    let lab = [
        ("/report_kind", json!("lab")),
        ("/groups", specimen),
        ("/conclusions", json!([])),
        ("/visit/ordered_groups", json!([])),
    ];
    add("report-empty", ExamReport, &lab);
    add("group-unordered", ExamReport, &[("/groups/1/group_code", json!("G9"))]);

    for (code, concept, number) in [
        ("magnitude", "14749-6", "92"),
        ("magnitude", "hemoglobin", "13.5"),
        ("magnitude", "neutrophils_percent", "60000"),
        ("implausible-value", "systolic", "420"),
        ("implausible-value", "height", "17.0"),
        ("bmi", "weight", "85.0"),
        ("differential-sum", "lymphocytes_percent", "36.0"),
        ("differential-count", "neutrophils", "1.60"),
        ("protein-sum", "total_protein", "27.0"),
        ("albumin-globulin", "albumin_globulin_ratio", "1.20"),
        ("bilirubin-sum", "bilirubin_indirect", "3.0"),
        ("mchc", "mchc", "390"),
        ("hematocrit", "rbc", "5.40"),
        ("cholesterol-sum", "cholesterol", "2.60"),
        ("pressure-order", "systolic", "78"),
    ] {
        all.push((code, ExamReport, value(concept, number)));
    }
    all
}

fn sound(entity: EntityType) -> Json {
    match entity {
        EntityType::ExamItem => item(),
        EntityType::ExamItemGroup => group(),
        EntityType::ExamPackage => package(),
        EntityType::ExamReport => report(),
        // Made from a report's item; no rule speaks of it.
        EntityType::CriticalValue => Json::Null,
    }
}

#[test]
fn a_sound_entity_is_told_nothing() {
    for entity in EntityType::ALL.into_iter().filter(|entity| *entity != EntityType::CriticalValue) {
        assert_eq!(told(entity, &sound(entity)), BTreeSet::new(), "{entity}");
    }
}

#[test]
fn each_rule_of_a_whole_entity_speaks_of_what_breaks_it() {
    for (code, entity, changes) in breaks() {
        let mut broken = sound(entity);
        let changes: Vec<(&str, Json)> = changes.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
        set(&mut broken, &changes);
        assert!(told(entity, &broken).contains(code), "{code} by {changes:?}: {:?}", told(entity, &broken));
    }
}

/// The findings of every case under `fixtures/mapping`, by the folder that has them.
fn in_fixtures() -> BTreeMap<String, BTreeSet<String>> {
    fn walk(value: &Json, found: &mut BTreeSet<String>) {
        match value {
            Json::Object(map) => {
                if let (Some(Json::String(code)), true) = (map.get("code"), map.contains_key("severity")) {
                    found.insert(code.clone());
                }
                map.values().for_each(|value| walk(value, found));
            }
            Json::Array(list) => list.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for folder in std::fs::read_dir("fixtures/mapping").expect("cases") {
        for file in std::fs::read_dir(folder.expect("a case").path()).expect("files") {
            let path = file.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("expected") {
                let data: Json = serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("JSON");
                walk(&data, cases.entry(path.display().to_string()).or_default());
            }
        }
    }
    cases
}

#[test]
fn every_rule_has_a_case_that_breaks_it_and_one_that_does_not() {
    let cases = in_fixtures();
    let table: BTreeSet<&str> = breaks().iter().map(|(code, ..)| *code).collect();
    let files = [
        "src/mapping/tests.rs",
        "src/mapping/tests/assembly.rs",
        "src/mapping/guard.rs",
        "src/mapping/known/tests.rs",
        "src/store/tests/attachments.rs",
        "src/store/tests/acts.rs",
    ];
    let tests = files.map(|file| std::fs::read_to_string(file).expect("tests")).concat();
    let mut lacking = Vec::new();
    for rule in all() {
        let code = rule.code;
        let breaking = cases.values().any(|codes| codes.contains(code));
        let quiet = cases.values().any(|codes| !codes.contains(code));
        let elsewhere = ELSEWHERE.iter().find(|(other, _)| *other == code);
        // A case of the table has its quiet one in the sound entity.
        let here = table.contains(code) || elsewhere.is_some_and(|(_, test)| tests.contains(&format!("fn {test}(")));
        if !(here || (breaking && quiet) || UNREACHABLE.contains(&code)) {
            lacking.push(code);
        }
    }
    assert!(lacking.is_empty(), "no case breaks {lacking:?}");
}

#[test]
fn concepts_are_told_apart_and_their_units_are_codes() {
    let mut codes = BTreeSet::new();
    for concept in concepts::all() {
        assert!(!concept.name.is_empty(), "{} has a name", concept.word);
        assert!(codes.insert(concept.word), "{} stands twice", concept.word);
        assert!(concepts::is_code(concept.word));
    }
    let table = include_str!("concepts.csv");
    assert_eq!(table.lines().count() - 1, concepts::all().len(), "every line of the table is read");
    let loinc: Vec<&str> =
        table.lines().skip(1).flat_map(|line| line.split(',').nth(2).unwrap_or("").split(' ')).collect();
    for code in loinc.into_iter().filter(|code| !code.is_empty()) {
        assert!(codes.insert(code), "{code} stands twice");
        assert!(concepts::is_code(code), "{code} has the form of LOINC");
        // The last digit of a LOINC code is a check digit (mod 10, as of bank cards).
        let (digits, check) = code.split_once('-').expect("a hyphen");
        let sum: u32 = digits
            .bytes()
            .rev()
            .enumerate()
            .map(|(place, digit)| u32::from(digit - b'0') * if place % 2 == 0 { 2 } else { 1 })
            .map(|product| product / 10 + product % 10)
            .sum();
        assert_eq!(check, ((10 - sum % 10) % 10).to_string(), "the check digit of {code}");
    }
    for line in table.lines().skip(1) {
        for unit in line.rsplit(',').next().unwrap_or("").split_whitespace() {
            let code = unit.rsplit_once(':').expect("a factor").0;
            let known = code == "1" || include_str!("../readers/units.csv").contains(&format!(",{code},certain"));
            assert!(known, "{code} is a unit that some spelling leads to");
        }
    }
}

#[test]
fn a_rule_of_identity_leaves_items_without_one_alone() {
    let mut data = report();
    set(
        &mut data,
        &[
            (&format!("{}/unit_ucum", at("14749-6")), json!("mg/dL")),
            (&format!("{}/standard_code", at("14749-6")), Json::Null),
        ],
    );
    assert_eq!(told(EntityType::ExamReport, &data), BTreeSet::new());
}

#[test]
fn odd_numbers_do_not_panic_in_sums() {
    for odd in ["0", "0.0000000000000000000000000001", "9999999999999999999999999999", "-5", "1e20"] {
        for concept in ["height", "globulin", "hematocrit", "wbc", "cholesterol", "systolic", "14749-6"] {
            let mut data = report();
            let changes = value(concept, odd);
            let changes: Vec<(&str, Json)> =
                changes.iter().map(|(path, value)| (path.as_str(), value.clone())).collect();
            set(&mut data, &changes);
            told(EntityType::ExamReport, &data);
        }
    }
}
