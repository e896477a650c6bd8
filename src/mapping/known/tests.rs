//! Entities against a dictionary of two groups, one thing changed at a time.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::*;
use crate::mapping::Site;
use crate::mapping::guard::site_with;
use crate::model::Compose as _;

const REPORTS: &str = "peis/reports";

/// A dictionary by kind and code.
struct Books(BTreeMap<(EntityType, String), Json>);

impl Dictionary for Books {
    fn look(&self, source: Option<&str>, kind: EntityType, code: &str) -> Option<Vec<Arc<Entity>>> {
        assert!(source.is_none_or(|source| source == "peis"), "no other source's codes count");
        let entry = self.0.get(&(kind, code.to_owned()))?;
        Some(Entity::from_json(kind, entry.to_string().as_bytes()).ok().map(Arc::new).into_iter().collect())
    }
}

fn envelope(entity: &str) -> Json {
    json!({
        "hospital_id": "demo-001", "campus_id": "main", "source_system": "peis", "entity_type": entity,
        "business_key": "main:peis:1", "lifecycle": "active",
        "provenance": { "source_ref": "V", "adapter": "fixture" }, "issues": [],
        "manifest": { "rows_read": 0, "mapped": 0, "duplicates": 0, "excluded": [] },
    })
}

fn entry(code: &str, name: &str, unit: Option<&str>, sex: &str) -> Json {
    json!({
        "envelope": envelope("exam_item"), "item_code": code, "item_name": name, "applicable_sex": sex, "enabled": true,
        "value_type": if unit.is_some() { "numeric" } else { "coded" }, "unit_raw": unit, "unit_ucum": unit,
    })
}

fn group(code: &str, members: &[&str]) -> Json {
    let members: Vec<Json> = members.iter().map(|code| json!({ "item_code": code })).collect();
    json!({
        "envelope": envelope("exam_item_group"), "group_code": code, "group_name": code, "enabled": true,
        "members": members,
    })
}

fn books() -> Books {
    let items = [
        entry("001", "血红蛋白", Some("g/L"), "both"),
        entry("002", "白细胞计数", Some("10*9/L"), "both"),
        entry("003", "妊娠试验", None, "female"),
        entry("004", "尿糖", None, "both"),
        entry("005", "前列腺检查", None, "male"),
    ];
    let groups = [group("G1", &["001", "002", "003"]), group("G2", &["004"]), group("G3", &["005"])];
    let items = items.map(|item| ((EntityType::ExamItem, item["item_code"].as_str().unwrap().to_owned()), item));
    let groups =
        groups.map(|item| ((EntityType::ExamItemGroup, item["group_code"].as_str().unwrap().to_owned()), item));
    Books(items.into_iter().chain(groups).collect())
}

fn result(code: &str, name: &str, kind: &str, unit: Option<&str>) -> Json {
    json!({
        "item_code": code, "item_name": name, "instance": "1", "value_raw": "135", "value_kind": kind,
        "unit_raw": unit, "unit_ucum": unit, "is_critical": false,
    })
}

/// A man's report that agrees with the dictionary.
fn report() -> Json {
    json!({
        "status": "final", "examinee": { "sex": "male" },
        "visit": { "ordered_groups": [
            { "group_code": "G1", "state": "done" }, { "group_code": "G2", "state": "done" },
        ] },
        "groups": [
            { "group_code": "G1", "items": [
                result("001", "血红蛋白", "numeric", Some("g/L")), result("002", "白细胞", "numeric", Some("10*9/L")),
            ] },
            { "group_code": "G2", "items": [result("004", "尿糖", "coded", None)] },
        ],
    })
}

fn site() -> Site {
    Site::default().reading([(EntityType::ExamItem, "peis".to_owned()), (EntityType::ExamItemGroup, "peis".to_owned())])
}

fn compare_as(site: &Site, books: &Books, kind: EntityType, data: &Json) -> Compared {
    let key = EntityKey::new(kind, "main:peis:1");
    site.compare(&key, &[(REPORTS.to_owned(), data.to_string().into_bytes())], books)
}

fn told(kind: EntityType, data: &Json) -> Vec<(String, Severity, String)> {
    let findings = compare_as(&site(), &books(), kind, data).findings;
    let value = |finding: &Finding| finding.source_value.clone().unwrap_or_default();
    findings.iter().map(|finding| (finding.code.clone(), finding.severity, value(finding))).collect()
}

fn one(code: &str, severity: Severity, value: &str) -> Vec<(String, Severity, String)> {
    vec![(code.to_owned(), severity, value.to_owned())]
}

/// What a change to the sound report is told.
fn after(change: impl FnOnce(&mut Json)) -> Vec<(String, Severity, String)> {
    let mut data = report();
    change(&mut data);
    told(EntityType::ExamReport, &data)
}

#[test]
fn a_report_that_agrees_with_the_dictionary_is_told_nothing() {
    assert_eq!(told(EntityType::ExamReport, &report()), []);
    // Another spelling of the unit, and an item that is only for women missing in a man's panel.
    assert_eq!(after(|data| data["groups"][0]["items"][0]["unit_raw"] = json!(" ｇ/Ｌ ")), []);
    let mut draft = report();
    draft["status"] = json!("draft");
    draft["groups"][0]["group_code"] = json!("G9");
    assert_eq!(told(EntityType::ExamReport, &draft), [], "a draft does not leave the hospital");
}

#[test]
fn a_site_without_a_dictionary_has_none_of_these_rules() {
    let mut data = report();
    data["groups"][0]["group_code"] = json!("G9");
    assert!(!Site::default().compares(EntityType::ExamReport, REPORTS));
    assert!(compare_as(&Site::default(), &books(), EntityType::ExamReport, &data).findings.is_empty());
    // Another source's codes mean something else, unless the mapping says whose they are.
    assert!(!site().compares(EntityType::ExamReport, "lab/reports"));
    let named = site_with(site(), "lab/reports", "peis", &[]);
    assert!(named.compares(EntityType::ExamReport, "lab/reports"));
    let of_items = Site::default().reading([(EntityType::ExamItem, "peis".to_owned())]);
    assert!(compare_as(&of_items, &books(), EntityType::ExamReport, &data).findings.is_empty(), "only items are known");
}

#[test]
fn a_result_whose_unit_is_not_the_dictionarys_is_held() {
    let unit = |raw: Json, ucum: Json| {
        after(|data| {
            data["groups"][0]["items"][0]["unit_raw"] = raw;
            data["groups"][0]["items"][0]["unit_ucum"] = ucum;
        })
    };
    assert_eq!(unit(json!("mmol/L"), json!("mmol/L")), one("unit-differs", Severity::Hold, "001"));
    assert_eq!(unit(json!("g/1"), Json::Null), one("unit-differs", Severity::Warn, "001"), "it may be the same");
    assert_eq!(unit(json!(""), Json::Null), one("unit-missing", Severity::Warn, "001"));
    let word = after(|data| {
        data["groups"][0]["items"][0]["value_kind"] = json!("absent");
        data["groups"][0]["items"][0]["unit_raw"] = Json::Null;
    });
    assert_eq!(word, [], "what has no number needs no unit");
}

#[test]
fn codes_that_the_dictionary_does_not_have_are_held_and_wait_for_it() {
    let unknown = after(|data| data["groups"][1]["items"][0]["item_code"] = json!("0049"));
    let codes: Vec<&str> = unknown.iter().map(|(code, ..)| code.as_str()).collect();
    assert_eq!(codes, ["item-unlisted", "item-unknown", "panel-incomplete"]);
    let ordered = after(|data| data["visit"]["ordered_groups"][1]["group_code"] = json!("G8"));
    assert_eq!(ordered, one("order-unknown", Severity::Hold, "G8"));
    let refunded = after(|data| {
        data["visit"]["ordered_groups"][1] = json!({ "group_code": "G8", "state": "refunded" });
    });
    assert_eq!(refunded, []);
    let mut data = report();
    data["groups"][1]["group_code"] = json!("G8");
    data["groups"][1]["items"][0]["item_code"] = json!("0049");
    let waits = compare_as(&site(), &books(), EntityType::ExamReport, &data).waits;
    let expected = [(EntityType::ExamItem, "0049".to_owned()), (EntityType::ExamItemGroup, "G8".to_owned())];
    assert_eq!(waits, BTreeSet::from(expected));
}

#[test]
fn a_panel_that_lacks_an_item_of_the_dictionary_is_held() {
    let remove = |data: &mut Json| {
        data["groups"][0]["items"].as_array_mut().unwrap().pop();
    };
    assert_eq!(after(remove), one("panel-incomplete", Severity::Hold, "G1/002"));
    let preliminary = after(|data| {
        remove(data);
        data["groups"][0]["status"] = json!("preliminary");
    });
    assert_eq!(preliminary, []);
    let mut off = books();
    off.0.get_mut(&(EntityType::ExamItem, "002".to_owned())).unwrap()["enabled"] = json!(false);
    let mut data = report();
    remove(&mut data);
    assert!(compare_as(&site(), &off, EntityType::ExamReport, &data).findings.is_empty(), "nobody does it any more");
    // A woman's panel has one item more.
    let woman = after(|data| data["examinee"]["sex"] = json!("female"));
    assert_eq!(woman, one("panel-incomplete", Severity::Hold, "G1/003"));
    // A result under the wrong group.
    let moved = after(|data| {
        let row = data["groups"][0]["items"][1].clone();
        data["groups"][1]["items"].as_array_mut().unwrap().push(row);
    });
    assert_eq!(moved, one("item-unlisted", Severity::Warn, "G2/002"));
}

#[test]
fn a_result_that_is_not_what_the_dictionary_says_is_told() {
    let row = |at: usize, field: &str, value: Json| after(|data| data["groups"][0]["items"][at][field] = value);
    assert_eq!(row(0, "value_kind", json!("coded")), one("kind-differs", Severity::Warn, "001"));
    assert_eq!(row(0, "item_name", json!("白细胞计数")), one("name-of-another", Severity::Hold, "001 / 002"));
    assert_eq!(row(0, "item_name", json!("血色素")), [], "another name of it");
    let mans = after(|data| {
        data["examinee"]["sex"] = json!("female");
        let group = json!({ "group_code": "G3", "items": [result("005", "前列腺检查", "coded", None)] });
        data["groups"].as_array_mut().unwrap()[0] = group;
        data["visit"]["ordered_groups"] = json!([]);
    });
    assert_eq!(mans, one("item-sex", Severity::Hold, "005"));
}

#[test]
fn a_mapping_weighs_these_rules() {
    let mut data = report();
    data["groups"][0]["items"].as_array_mut().unwrap().pop();
    let lenient = site_with(site(), REPORTS, "peis", &[("panel-incomplete", Severity::Warn)]);
    let findings = compare_as(&lenient, &books(), EntityType::ExamReport, &data).findings;
    assert_eq!((findings.len(), findings[0].severity), (1, Severity::Warn));
}

#[test]
fn a_group_whose_members_no_dictionary_has_is_held() {
    assert_eq!(told(EntityType::ExamItemGroup, &group("G1", &["001"])), []);
    let unknown = group("G1", &["001", "009"]);
    assert_eq!(told(EntityType::ExamItemGroup, &unknown), one("member-unknown", Severity::Hold, "009"));
    let mut off = unknown;
    off["enabled"] = json!(false);
    assert_eq!(told(EntityType::ExamItemGroup, &off), []);
}

fn package(groups: &[&str]) -> Json {
    let items: Vec<Json> = groups.iter().map(|code| json!({ "group_code": code, "role": "mandatory" })).collect();
    json!({
        "envelope": envelope("exam_package"), "package_code": "T1", "name": "入职套餐", "exam_kind": "health",
        "applicable_sex": "male", "currency": "CNY", "original_price_minor": 30000, "sale_price_minor": 25000,
        "selection_mode": "fixed", "enabled": true, "scope": "public", "items": items,
    })
}

#[test]
fn a_package_is_held_for_groups_that_are_unknown_or_off_or_for_the_other_sex() {
    assert_eq!(told(EntityType::ExamPackage, &package(&["G1", "G2"])), []);
    let unknown = package(&["G1", "G7"]);
    assert_eq!(told(EntityType::ExamPackage, &unknown), one("group-unknown", Severity::Hold, "G7"));
    let mut changed = books();
    let group = |books: &mut Books, field: &str, value: Json| {
        books.0.get_mut(&(EntityType::ExamItemGroup, "G1".to_owned())).unwrap()[field] = value;
    };
    group(&mut changed, "enabled", json!(false));
    let found = |books: &Books, data: &Json| {
        let compared = compare_as(&site(), books, EntityType::ExamPackage, data);
        (compared.findings.first().map(|finding| finding.code.clone()), compared.waits.len())
    };
    assert_eq!(found(&changed, &package(&["G1"])), (Some("group-off".to_owned()), 1));
    group(&mut changed, "enabled", json!(true));
    group(&mut changed, "applicable_sex", json!("female"));
    assert_eq!(found(&changed, &package(&["G1"])), (Some("item-sex".to_owned()), 1));
    // What is disabled itself may name what it likes, and a group that can't be read is known.
    let mut off = unknown;
    off["enabled"] = json!(false);
    assert_eq!(told(EntityType::ExamPackage, &off), []);
    changed.0.insert((EntityType::ExamItemGroup, "G1".to_owned()), json!({}));
    assert_eq!(found(&changed, &package(&["G1"])), (None, 0));
    // Where a package's own source reads no groups, any other's count.
    let elsewhere = Site::default().reading([(EntityType::ExamItemGroup, "his".to_owned())]);
    assert!(
        elsewhere.compares(EntityType::ExamPackage, REPORTS) && !elsewhere.compares(EntityType::ExamReport, REPORTS)
    );
}

#[test]
fn a_package_of_the_other_sex_is_not_this_persons() {
    let site = Site::default().reading([(EntityType::ExamPackage, "peis".to_owned())]);
    let mut books = books();
    books.0.insert((EntityType::ExamPackage, "T1".to_owned()), package(&["G1"]));
    let mut data = report();
    data["visit"]["package_code"] = json!("T1");
    let found = |data: &Json| {
        let findings = compare_as(&site, &books, EntityType::ExamReport, data).findings;
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    assert!(found(&data).is_empty());
    data["examinee"]["sex"] = json!("female");
    assert_eq!(found(&data), ["package-sex"]);
    data["visit"]["package_code"] = json!("T9");
    assert!(found(&data).is_empty(), "off sale for long");
}

#[test]
fn a_package_is_held_where_its_groups_exclude_or_need_others() {
    let mut books = books();
    let found = |books: &Books, data: &Json| {
        let findings = compare_as(&site(), books, EntityType::ExamPackage, data).findings;
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    books.0.get_mut(&(EntityType::ExamItemGroup, "G1".to_owned())).unwrap()["excludes"] = json!(["G2"]);
    assert_eq!(found(&books, &package(&["G1", "G2"])), ["choice-impossible"]);
    let mut optional = package(&["G1", "G2"]);
    optional["items"][1]["role"] = json!("optional");
    assert!(found(&books, &optional).is_empty(), "one need not have both");
    books.0.get_mut(&(EntityType::ExamItemGroup, "G1".to_owned())).unwrap()["requires"] = json!(["G3"]);
    assert_eq!(found(&books, &package(&["G1"])), ["choice-impossible"]);
    assert!(found(&books, &package(&["G1", "G3"])).is_empty());
}

#[test]
fn what_goes_upstream_all_the_same_says_what_contradicts_the_dictionary() {
    let key = EntityKey::new(EntityType::ExamPackage, "main:peis:T1");
    let data = package(&["G7"]);
    let findings = compare_as(&site(), &books(), EntityType::ExamPackage, &data).findings;
    let told = with_issues(&key, data.to_string().as_bytes(), &findings).unwrap();
    let told: Json = serde_json::from_slice(&told).unwrap();
    let issue = &told["envelope"]["issues"][0];
    assert_eq!((&issue["code"], &issue["severity"]), (&json!("group-unknown"), &json!("warn")));
    let again = with_issues(&key, told.to_string().as_bytes(), &findings).unwrap();
    assert_eq!(again, told.to_string().into_bytes(), "once is enough");
}
