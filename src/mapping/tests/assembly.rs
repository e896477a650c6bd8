//! Reports of several systems: the checkup system's header, the laboratory's results, the imaging text.

use super::*;
use crate::model::WAITING;

const FOLDER: &str = "fixtures/mapping/report-grouped";

/// The mapping of the folder, as the one of a part; `kind` is what its reports are called.
fn of_part(lines: &str, kind: &str) -> Mapping {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(format!("{FOLDER}/mapping.toml")).expect("a mapping");
    let text = text.replacen("[mapping]\n", &format!("[mapping]\n{lines}\n"), 1);
    let text = text.replace("const = \"health\"", &format!("const = \"{kind}\""));
    std::fs::create_dir(folder.path().join("codes")).expect("created");
    for table in sorted(format!("{FOLDER}/codes")) {
        let name = table.file_name().expect("a name").to_owned();
        std::fs::copy(&table, folder.path().join("codes").join(name)).expect("copied");
    }
    let path = folder.path().join("mapping.toml");
    std::fs::write(&path, text).expect("written");
    compiled(&path)
}

/// The document of the folder with some members changed.
fn document(changes: &[(&str, Json)]) -> Document {
    let text = std::fs::read_to_string(format!("{FOLDER}/input.json")).expect("an input");
    let mut json: Json = serde_json::from_str(&text).expect("JSON");
    for (name, value) in changes {
        json[*name] = value.clone();
    }
    Document::from_bytes(json.to_string().as_bytes()).expect("a document")
}

fn made(mapping: &Mapping, document: &Document) -> Outcome {
    mapping.apply(&context(), Input { document, source_ref: "V_TEST", charset: None }).remove(0)
}

/// Results of one item of each of these groups.
fn results(groups: &[&str]) -> Json {
    let row = |group: &&str| {
        json!({ "ZHBM": group, "ZHMC": "组合", "KSMC": "检验科", "XMBM": "0001", "XMMC": "项目", "JG": "5.3",
                "DW": "mmol/L", "CKFW": "3.9-6.1", "BZ": null })
    };
    groups.iter().map(row).collect()
}

struct Parts {
    header: Outcome,
    lab: Outcome,
    imaging: Outcome,
}

impl Parts {
    fn new() -> Parts {
        let header = of_part("part = \"header\"\nwaits_for = [\"imaging\"]\nwait_hours = 5", "health");
        let of = |groups: &[&str]| {
            document(&[("ordered", json!([])), ("items", results(groups)), ("conclusions", json!([]))])
        };
        Parts {
            header: made(&header, &document(&[("items", json!([]))])),
            lab: made(&of_part("part = \"results\"", "lab"), &of(&["0012"])),
            imaging: made(&of_part("part = \"imaging\"", "imaging"), &of(&["0013"])),
        }
    }

    fn composed(&self, parts: &[(&str, &Outcome)]) -> Outcome {
        let Outcome::Mapped(header) = &self.header else { panic!("{:?}", self.header) };
        let parts: Vec<Part<'_>> = parts.iter().map(|(stream, outcome)| part(stream, outcome)).collect();
        Composer.compose(&header.key, &parts)
    }
}

fn waiting_for(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Held(held) if held.reason == WAITING => held.findings[0].message.clone(),
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn a_report_is_whole_when_each_ordered_group_and_each_named_part_is_there() {
    let parts = Parts::new();
    let (header, lab, imaging) = (("peis/a", &parts.header), ("lis/b", &parts.lab), ("pacs/c", &parts.imaging));
    assert_eq!(waiting_for(&parts.composed(&[lab])), "waiting for the part header");
    assert_eq!(waiting_for(&parts.composed(&[imaging, lab])), "waiting for the part header");
    let both = "waiting for the part imaging and the results of 0012, 0013";
    assert_eq!(waiting_for(&parts.composed(&[header])), both);
    assert_eq!(waiting_for(&parts.composed(&[header, imaging])), "waiting for the results of 0012");
    let Outcome::Mapped(whole) = parts.composed(&[lab, imaging, header]) else { panic!("it is whole") };
    let data: Json = serde_json::from_slice(&whole.data).expect("JSON");
    assert_eq!((data["groups"].as_array().map(Vec::len), &data["report_kind"]), (Some(2), &json!("health")));
    assert!(whole.assembly.is_none(), "the whole is no part");
}

#[test]
fn a_part_that_is_taken_back_is_waited_for_and_a_header_that_is_takes_all_back() {
    let parts = Parts::new();
    let reversed = |outcome: &Outcome| match outcome {
        Outcome::Mapped(mapped) => {
            Outcome::Mapped(Mapped { wish: Wish::Absent { reason: "reversed".to_owned() }, ..mapped.clone() })
        }
        Outcome::Held(held) => panic!("{held:?}"),
    };
    let (lab, header) = (reversed(&parts.lab), reversed(&parts.header));
    let outcome = parts.composed(&[("peis/a", &parts.header), ("lis/b", &lab), ("pacs/c", &parts.imaging)]);
    assert_eq!(waiting_for(&outcome), "waiting for the results of 0012");
    let outcome = parts.composed(&[("peis/a", &header), ("lis/b", &parts.lab)]);
    assert!(matches!(outcome, Outcome::Mapped(Mapped { wish: Wish::Absent { .. }, .. })), "{outcome:?}");
}

#[test]
fn what_is_wrong_beside_the_wait_needs_a_person_now() {
    let parts = Parts::new();
    let Outcome::Mapped(lab) = &parts.lab else { panic!("{:?}", parts.lab) };
    let stranger = String::from_utf8(lab.data.clone()).expect("UTF-8").replace("张试一", "张试二");
    let stranger = Outcome::Mapped(Mapped { data: stranger.into_bytes(), ..lab.clone() });
    let Outcome::Held(held) = parts.composed(&[("peis/a", &parts.header), ("lis/b", &stranger)]) else {
        panic!("another person's results were joined")
    };
    assert_eq!(held.reason, "parts-disagree");
    let Outcome::Mapped(header) = &parts.header else { panic!("{:?}", parts.header) };
    let damaged = Outcome::Mapped(Mapped { data: b"{}".to_vec(), ..header.clone() });
    let Outcome::Held(held) = parts.composed(&[("peis/a", &damaged), ("lis/b", &parts.lab)]) else { panic!("joined") };
    assert_eq!(held.reason, "part-header");
}

#[test]
fn the_headers_weights_hold_for_the_whole() {
    let parts = Parts::new();
    let Outcome::Mapped(header) = &parts.header else { panic!("{:?}", parts.header) };
    let mut assembly = header.assembly.clone().expect("a part");
    assembly.waits_for.clear();
    let header = Outcome::Mapped(Mapped { assembly: Some(assembly), ..header.clone() });
    let usual = rules::Weights::usual();
    let lenient =
        rules::Weights { changed: vec![(rules::GROUP_MISSING.code, crate::model::Severity::Warn)], ..usual.clone() };
    let of = |stream: &str| if stream == "peis/a" { &lenient } else { &usual };
    let key = EntityKey::new(EntityType::ExamReport, "main:visit:1");
    let given = [part("peis/a", &header), part("lis/b", &parts.lab)];
    let Outcome::Mapped(whole) = compose::compose(&key, &given, of) else {
        panic!("the site sends it without the missing group")
    };
    let data: Json = serde_json::from_slice(&whole.data).expect("JSON");
    assert_eq!(data["envelope"]["issues"][0]["code"], "group-missing");
}

#[test]
fn a_critical_value_is_news_once_and_while_it_is_fresh() {
    let mapping = compiled(Path::new("fixtures/mapping/report-critical/mapping.toml"));
    let alarm = |input: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(format!("fixtures/mapping/report-critical/{input}")).expect("an input");
        let document = Document::from_bytes(text.replace(from, to).as_bytes()).expect("a document");
        match mapping.apply(&context(), Input { document: &document, source_ref: "V", charset: None }).remove(1) {
            Outcome::Mapped(mapped) => mapped.data,
            Outcome::Held(held) => panic!("{held:?}"),
        }
    };
    let now = "2026-11-18T10:00:00+08:00".parse().expect("a time");
    let first = alarm("input.json", "0301", "0301");
    let draft = alarm("input-draft.json", "DA000017", "DA000018");
    let corrected = alarm("input.json", "\"7.1\"", "\"7.4\"");
    assert!(Composer.is_news(None, &first, now));
    assert!(!Composer.is_news(Some(&first), &draft, now), "only the person's number was corrected");
    assert!(Composer.is_news(Some(&first), &corrected, now));
    assert!(!Composer.is_news(None, &first, now + chrono::TimeDelta::hours(72)), "history is no alarm");
}
