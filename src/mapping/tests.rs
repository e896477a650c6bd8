//! Walks the golden cases: `fixtures/mapping/<case>` (a mapping, inputs, what becomes of them) and
//! `fixtures/mapping-mistakes/<mistake>` (a bad file and what is said about it).
//! `HISYNC_BLESS=1` rewrites the expectations.

mod assembly;

use std::path::{Path, PathBuf};

use connector_api::Document;
use serde_json::{Value as Json, json};

use super::*;
use crate::model::{Mapped, Wish};

mod traps;

struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

fn context() -> Context {
    Context {
        hospital: "demo-001".to_owned(),
        campus: "main".to_owned(),
        source: "peis".to_owned(),
        adapter: "fixture".to_owned(),
        timezone: chrono_tz::Asia::Shanghai,
    }
}

fn entity_of(path: &Path) -> EntityType {
    let text = std::fs::read_to_string(path).expect("a mapping");
    let word = text.lines().find_map(|line| line.trim().strip_prefix("entity")).unwrap_or("= \"exam_report\"");
    word.trim_matches([' ', '=', '"']).parse().unwrap_or(EntityType::ExamReport)
}

fn sorted(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Compares with the file, or writes it where expectations are blessed.
fn expect(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("HISYNC_BLESS").is_some() {
        std::fs::write(path, actual).expect("an expectation can be written");
        return Ok(());
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual { Ok(()) } else { Err(format!("{}:\nexpected {expected}\nactual {actual}", path.display())) }
}

fn compiled(path: &Path) -> Mapping {
    match Mapping::compile(path, entity_of(path), &Disk) {
        Ok(mapping) => mapping,
        Err(problems) => panic!("{}", rendered(&problems)),
    }
}

fn outcomes(mapping: &Mapping, input: &Path) -> Vec<Outcome> {
    let document = Document::from_bytes(&std::fs::read(input).expect("an input")).expect("an archived document");
    mapping.apply(&context(), Input { document: &document, source_ref: "V_TEST", charset: None })
}

#[test]
fn every_case_becomes_what_is_expected() {
    let mut wrong = Vec::new();
    let schema = |entity| {
        jsonschema::validator_for(&crate::model::schema::entity_schema(entity).to_value()).expect("a valid schema")
    };
    for case in sorted("fixtures/mapping") {
        let mapping = compiled(&case.join("mapping.toml"));
        for input in sorted(&case) {
            let name = input.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let Some(rest) = name.strip_prefix("input") else { continue };
            let outcomes = outcomes(&mapping, &input);
            assert!(!outcomes.is_empty(), "{} has an outcome", input.display());
            for outcome in &outcomes {
                if let Outcome::Mapped(Mapped { data, wish: Wish::Present, key, .. }) = outcome {
                    let data: Json = serde_json::from_slice(data).expect("data is JSON");
                    assert!(schema(key.entity).is_valid(&data), "{} breaks its schema", input.display());
                }
            }
            let text = expectation(&outcomes);
            wrong.extend(expect(&case.join(format!("expected{rest}")), &text).err());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn rendered(problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        let text = std::fs::read_to_string(&problem.file).unwrap_or_default();
        let at = problem.span.as_ref().map(|span| {
            let before = &text[..span.start.min(text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            format!("{line}:{column}")
        });
        let file = problem.file.strip_prefix("fixtures/mapping-mistakes").unwrap_or(&problem.file).display();
        let hint = problem.hint.as_deref().unwrap_or("-");
        out.push_str(&format!("{file}:{} {} {} | {hint}\n", at.unwrap_or_default(), problem.code, problem.message));
    }
    out
}

#[test]
fn every_mistake_is_told_with_its_place_and_a_hint() {
    let mut wrong = Vec::new();
    for mistake in sorted("fixtures/mapping-mistakes") {
        let path = mistake.join("mapping.toml");
        let problems = Mapping::compile(&path, entity_of(&path), &Disk).err().unwrap_or_default();
        assert!(!problems.is_empty(), "{} compiles", path.display());
        wrong.extend(expect(&mistake.join("expected.txt"), &rendered(&problems)).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_version_names_the_mapping_and_changes_with_any_of_its_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mapping.toml");
    let source = std::fs::read_to_string("fixtures/mapping/package-three-levels/mapping.toml").expect("a mapping");
    std::fs::write(&path, &source).expect("written");
    let first = compiled(&path);
    std::fs::write(&path, format!("{source}\n# another byte\n")).expect("written");
    let second = compiled(&path);
    assert_ne!(first.version(), second.version());
    assert_eq!(first.version(), compiled(Path::new("fixtures/mapping/package-three-levels/mapping.toml")).version());
    assert_eq!(first.files(), [path]);
}

#[test]
fn every_rule_code_is_unique_and_explained() {
    let codes: std::collections::BTreeSet<&str> = rules::all().iter().map(|rule| rule.code).collect();
    assert_eq!(codes.len(), rules::all().len());
    assert!(rules::all().iter().all(|rule| !rule.title.is_empty() && !rule.help.is_empty()));
}

#[test]
fn the_list_of_rules_in_the_documents_is_the_registry() {
    let mut page = "# Rules\n\nWhat a record is held to. A mapping may change a weight in `[rules]`, except where it \
                    says *fixed*. Of a report that several streams give together, the `[rules]` of the stream that \
                    gives the header count.\n\n| rule | weighs | says | what to do |\n|---|---|---|---|\n"
        .to_owned();
    for rule in rules::all() {
        let fixed = if rule.fixed { ", fixed" } else { "" };
        page.push_str(&format!(
            "| `{}` | {}{fixed} | {} | {} |\n",
            rule.code,
            rule.severity.as_str(),
            rule.title,
            rule.help
        ));
    }
    page.push_str(
        "\n## What items are\n\nRules about magnitudes, units, sums and the sex of an item need to know what is \
         measured. An item's `standard_code` says it: one of these words, or the LOINC code of the same thing. An item \
         without one is never guessed from its name, and these rules leave it alone.\n\n| word | item |\n|---|---|\n",
    );
    for (word, name) in rules::concepts() {
        page.push_str(&format!("| `{word}` | {name} |\n"));
    }
    assert_eq!(expect(Path::new("docs/rules.md"), &page), Ok(()));
}

#[test]
fn a_plain_name_in_a_hospitals_file_replaces_the_column_and_keeps_the_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let parent = std::fs::read_to_string("fixtures/mapping/package-three-levels/mapping.toml").expect("a mapping");
    std::fs::write(folder.path().join("base.toml"), parent).expect("written");
    let child = "[mapping]\nentity = \"exam_package\"\nextends = \"base.toml\"\n\
                 [fields]\noriginal_price_minor = \"价格\"\nvalid_to = { default = \"2030-01-01\", reason = \"r\" }\n";
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, child).expect("written");
    let mapping = compiled(&path);
    let mut text = std::fs::read_to_string("fixtures/mapping/package-three-levels/input.json").expect("an input");
    text = text.replace("\"YJ\"", "\"价格\"");
    let input = folder.path().join("input.json");
    std::fs::write(&input, text).expect("written");
    let Outcome::Mapped(mapped) = outcomes(&mapping, &input).remove(0) else { panic!("held") };
    let data: Json = serde_json::from_slice(&mapped.data).expect("JSON");
    assert_eq!(data["original_price_minor"], 68050);
    assert_eq!(data["valid_to"], "2030-01-01");
}

#[test]
fn a_record_read_again_from_the_archive_gives_the_same_bytes() {
    let mapping = compiled(Path::new("fixtures/mapping/hl7-oru/mapping.toml"));
    let bytes = std::fs::read("fixtures/mapping/hl7-oru/input.json").expect("an input");
    let first = Document::from_bytes(&bytes).expect("a document");
    let again = Document::from_bytes(&first.to_bytes()).expect("a document");
    let data = |document: &Document| match mapping
        .apply(&context(), Input { document, source_ref: "ORU^R01", charset: Some("GB18030") })
        .remove(0)
    {
        Outcome::Mapped(mapped) => mapped.data,
        Outcome::Held(held) => panic!("held: {held:?}"),
    };
    assert_eq!(data(&first), data(&again));
}

#[test]
fn every_example_of_the_guide_compiles() {
    let guide = std::fs::read_to_string("docs/mapping.md").expect("the guide");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("codes")).expect("created");
    let mut count = 0;
    for example in guide.split("```toml\n").skip(1) {
        let text = example.split("```").next().unwrap_or_default();
        if !text.contains("[mapping]") {
            continue;
        }
        for csv in guide.split("```csv\n").skip(1) {
            let csv = csv.split("```").next().unwrap_or_default();
            std::fs::write(folder.path().join("codes/state.csv"), csv).expect("written");
        }
        let path = folder.path().join(format!("example{count}.toml"));
        std::fs::write(&path, text).expect("written");
        if let Err(problems) = Mapping::compile(&path, entity_of(&path), &Disk) {
            panic!("example {count}: {}", rendered(&problems));
        }
        count += 1;
    }
    assert!(count >= 2, "the guide has examples");
}

fn part<'a>(stream: &'a str, outcome: &'a Outcome) -> Part<'a> {
    match outcome {
        Outcome::Mapped(mapped) => {
            Part { stream, wish: &mapped.wish, data: &mapped.data, assembly: mapped.assembly.as_deref() }
        }
        Outcome::Held(held) => panic!("held: {held:?}"),
    }
}

#[test]
fn parts_of_a_report_join_by_group_and_a_disagreement_is_held() {
    let mapping = compiled(Path::new("fixtures/mapping/report-grouped/mapping.toml"));
    let header = outcomes(&mapping, Path::new("fixtures/mapping/report-grouped/input.json")).remove(0);
    let other = outcomes(&mapping, Path::new("fixtures/mapping/report-grouped/input-other-groups.json")).remove(0);
    let key = match &header {
        Outcome::Mapped(mapped) => mapped.key.clone(),
        Outcome::Held(held) => panic!("held: {held:?}"),
    };
    let whole = Composer.compose(&key, &[part("peis/reports", &header), part("lis/results", &other)]);
    let Outcome::Mapped(whole) = whole else { panic!("{whole:?}") };
    let data: Json = serde_json::from_slice(&whole.data).expect("JSON");
    assert_eq!(data["groups"].as_array().map(Vec::len), Some(3));
    assert_eq!(data["envelope"]["manifest"]["rows_read"], 7);

    let text = String::from_utf8(part("", &header).data.to_vec()).expect("UTF-8");
    let changed = text.replace("\"5.30\"", "\"5.40\"").into_bytes();
    let disagreeing = Part { stream: "lis/results", wish: &Wish::Present, data: &changed, assembly: None };
    let Outcome::Held(held) = Composer.compose(&key, &[part("peis/reports", &header), disagreeing]) else {
        panic!("two results for one group were joined")
    };
    assert_eq!(held.reason, "parts-disagree");

    let changed = text.replace("张试一", "张试二").into_bytes();
    let stranger = Part { stream: "lis/results", wish: &Wish::Present, data: &changed, assembly: None };
    let outcome = Composer.compose(&key, &[part("peis/reports", &header), stranger]);
    assert!(matches!(outcome, Outcome::Held(_)), "another person's results were joined");

    let absent = Wish::Absent { reason: "reversed".to_owned() };
    let withdrawn = Part { stream: "peis/reports", wish: &absent, data: part("", &header).data, assembly: None };
    let outcome = Composer.compose(&key, &[withdrawn, part("lis/results", &other)]);
    assert!(matches!(outcome, Outcome::Mapped(Mapped { wish: Wish::Absent { .. }, .. })), "{outcome:?}");
}

#[test]
fn a_department_that_takes_its_report_back_leaves_the_others_standing() {
    let mapping = compiled(Path::new("fixtures/mapping/report-grouped/mapping.toml"));
    let of = |input: &str| outcomes(&mapping, &Path::new("fixtures/mapping/report-grouped").join(input)).remove(0);
    let (one, other) = (of("input.json"), of("input-other-groups.json"));
    let kind = |outcome: &Outcome| {
        let text = String::from_utf8(part("", outcome).data.to_vec()).expect("UTF-8");
        text.replace("\"report_kind\":\"health\"", "\"report_kind\":\"lab\"").into_bytes()
    };
    let (one, other) = (kind(&one), kind(&other));
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let absent = Wish::Absent { reason: "reversed".to_owned() };
    let part = |stream, wish, data| Part { stream, wish, data, assembly: None };
    for parts in [
        [part("lis/results", &absent, &*one), part("pacs/results", &Wish::Present, &*other)],
        [part("lis/results", &Wish::Present, &*other), part("pacs/results", &absent, &*one)],
    ] {
        let outcome = Composer.compose(&key, &parts);
        assert!(matches!(outcome, Outcome::Mapped(Mapped { wish: Wish::Present, .. })), "{outcome:?}");
    }
    let gone = [part("lis/results", &absent, &*one), part("pacs/results", &absent, &*other)];
    let outcome = Composer.compose(&key, &gone);
    assert!(matches!(outcome, Outcome::Mapped(Mapped { wish: Wish::Absent { .. }, .. })), "{outcome:?}");
}

#[test]
fn a_part_that_cannot_be_read_is_held() {
    let mapping = compiled(Path::new("fixtures/mapping/report-grouped/mapping.toml"));
    let header = outcomes(&mapping, Path::new("fixtures/mapping/report-grouped/input.json")).remove(0);
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let broken = Part { stream: "lis/results", wish: &Wish::Present, data: b"{}", assembly: None };
    for parts in [vec![broken.clone()], vec![part("peis/reports", &header), broken]] {
        let Outcome::Held(held) = Composer.compose(&key, &parts) else { panic!("a part was left out") };
        assert_eq!(held.reason, "part-header");
    }
}

#[test]
fn a_manifest_that_does_not_add_up_is_rejected() {
    let mapping = compiled(Path::new("fixtures/mapping/report-grouped/mapping.toml"));
    let header = outcomes(&mapping, Path::new("fixtures/mapping/report-grouped/input.json")).remove(0);
    let mut data: Json = serde_json::from_slice(part("", &header).data).expect("JSON");
    data["envelope"]["manifest"]["rows_read"] = json!(99);
    let data = serde_json::to_vec(&data).expect("JSON");
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let parts = [Part { stream: "peis/reports", wish: &Wish::Present, data: &data, assembly: None }];
    let Outcome::Held(held) = Composer.compose(&key, &parts) else { panic!("a row was lost on the way") };
    assert_eq!(held.reason, "manifest-mismatch");
}

#[test]
fn a_report_of_several_streams_is_held_to_the_rules_of_its_headers_mapping() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = Path::new("fixtures/mapping/report-grouped");
    let text = std::fs::read_to_string(base.join("mapping.toml")).expect("a mapping");
    let text =
        text.replace("codes/state.csv", &format!("{}/codes/state.csv", base.canonicalize().expect("a path").display()));
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, format!("{text}\n[rules]\n\"group-unordered\" = \"hold\"\n")).expect("written");
    let (usual, strict) = (compiled(&base.join("mapping.toml")), compiled(&path));
    let header = outcomes(&usual, &base.join("input.json")).remove(0);
    let mut other: Json =
        serde_json::from_slice(part("", &outcomes(&usual, &base.join("input-other-groups.json")).remove(0)).data)
            .expect("JSON");
    other["groups"][0]["group_code"] = json!("UNORDERED");
    let mut head: Json = serde_json::from_slice(part("", &header).data).expect("JSON");
    let codes: Vec<Json> =
        head["groups"].as_array().expect("groups").iter().map(|group| group["group_code"].clone()).collect();
    let orders = codes.into_iter().map(|code| json!({ "group_code": code, "state": "done" })).collect::<Vec<_>>();
    head["visit"]["ordered_groups"] = json!(orders);
    let [head, other] = [head, other].map(|data| serde_json::to_vec(&data).expect("JSON"));
    let parts = [
        Part { stream: "peis/reports", wish: &Wish::Present, data: &head, assembly: None },
        Part { stream: "lis/results", wish: &Wish::Present, data: &other, assembly: None },
    ];
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let under = |header: &Mapping, other: &Mapping| {
        let streams = [("peis/reports".to_owned(), header), ("lis/results".to_owned(), other)];
        Site::new(streams).compose(&key, &parts)
    };
    assert!(matches!(under(&usual, &strict), Outcome::Mapped(_)), "{:?}", under(&usual, &strict));
    let Outcome::Held(held) = under(&strict, &usual) else { panic!("the site's rule was not heard") };
    assert_eq!(held.reason, "group-unordered");
}

#[test]
fn a_report_may_be_corrected_and_not_become_another_persons() {
    let mapping = compiled(Path::new("fixtures/mapping/report-grouped/mapping.toml"));
    let report = outcomes(&mapping, Path::new("fixtures/mapping/report-grouped/input.json")).remove(0);
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let before: Json = serde_json::from_slice(part("", &report).data).expect("JSON");
    let doubted = |changes: &[(&str, Json)]| {
        let mut after = before.clone();
        for (name, value) in changes {
            after["examinee"][*name] = value.clone();
        }
        let [before, after] = [&before, &after].map(|data| serde_json::to_vec(data).expect("JSON"));
        Composer.doubt_change(&key, &before, &after).map(|held| held.reason)
    };
    let (name, number, birth) =
        (("name", json!("赵试六")), ("id_number", json!("999999197001010017")), ("birth_date", json!("1970-01-01")));
    assert_eq!(doubted(std::slice::from_ref(&name)), None, "a name was mistyped");
    assert_eq!(doubted(std::slice::from_ref(&number)), None, "a number was mistyped");
    assert_eq!(doubted(&[name.clone(), number]).as_deref(), Some("another-person"));
    assert_eq!(doubted(&[name.clone(), birth.clone()]), None, "the number is the same");
    assert_eq!(doubted(&[name, birth, ("id_number", Json::Null)]).as_deref(), Some("another-person"));
}
