//! A change to a mapping is found in the past before it is in force, and nothing is changed by looking.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use connector_api::{DOCUMENT_FORMAT, Raw, Record, StreamId};
use hisync::agent::sources;
use hisync::clock::Clock;
use hisync::intake::Normaliser;
use hisync::mapping::Composer;
use hisync::sandbox::hospital::report_rows;
use hisync::store::{IncomingBatch, Options, Store};
use serde_json::Value as Json;

use super::support::{REPORTS, Site, hisync, hisync_json};

pub(crate) const MAPPING: &str = "demo-peis/exam_report.toml";
pub(crate) const FLAGS: &str = "demo-peis/codes/flag.csv";
const LAST_FLAG: &str = "阳性,阳性,positive,positive";
const PEOPLE: usize = 240;

/// A store with reports of many people, one of which is held for a flag that no table knows; and what came in.
pub(crate) async fn archive() -> (Site, Vec<Json>) {
    let site = Site::new().await;
    let config = site.load();
    let of = StreamId::parse(REPORTS).unwrap();
    let source = config.sources.iter().find(|source| source.id == of.source()).unwrap();
    let stream = source.streams.iter().find(|stream| stream.id == of).unwrap();
    let decoder = source.build(&config.base_dir).unwrap().decoder;
    let normaliser: Normaliser = sources::normaliser(&config, source, stream);
    let options = Options { hospital: config.agent.hospital.clone(), agent_version: "test".to_owned(), lane: None };
    let store = Store::open(&site.data_dir(), options, Arc::new(Composer), Clock::system()).unwrap();
    let mut rows: Vec<String> = report_rows(3, PEOPLE).map(|row| String::from_utf8(row.to_bytes()).unwrap()).collect();
    let strange = rows.iter().position(|row| row.contains("\"↑\"")).unwrap();
    rows[strange] = rows[strange].replacen("\"↑\"", "\"※\"", 1);
    for rows in rows.chunks(60) {
        let records = rows.iter().map(|row| {
            let raw = Raw { format: DOCUMENT_FORMAT.to_owned(), charset: None, body: row.clone().into() };
            let document = decoder.decode(&raw);
            normaliser.received(Record { raw, document, source_ref: "V_体检报告".to_owned(), resend_key: None })
        });
        let batch = IncomingBatch { stream: of.clone(), records: records.collect(), advance: None, snapshot: None };
        store.commit(batch).await.unwrap();
    }
    let held = rows.remove(strange);
    assert!(held.contains("※"));
    (site, rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect())
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { _ = std::fs::copy(&path, target).unwrap() }
    }
}

/// The mappings with one text of one file replaced.
pub(crate) fn candidate(site: &Site, name: &str, file: &str, from: &str, to: &str) -> PathBuf {
    let folder = site.folder.path().join(name);
    copy(&site.folder.path().join("mappings"), &folder);
    site.edit(&format!("{name}/{file}"), from, to);
    folder
}

pub(crate) fn replay(site: &Site, folder: &Path) -> (i32, Json) {
    hisync_json(&site.config, &["replay", "--diff", "--mapping", folder.to_str().unwrap()])
}

/// A sum over reports: the demo's mapping tells of critical values beside them.
fn reports_of<'j>(report: &'j Json, sum: &str) -> &'j Json {
    &report["types"]["exam_report"][sum]
}

pub(crate) fn group<'j>(report: &'j Json, kind: &str, field: &str) -> &'j Json {
    let groups = report["groups"].as_array().unwrap();
    let found = groups.iter().find(|group| group["kind"] == kind && group["field"] == field);
    found.unwrap_or_else(|| panic!("no {kind} of {field} in {report:#}"))
}

fn kinds(report: &Json) -> Vec<&str> {
    report["kinds"].as_object().unwrap().keys().map(String::as_str).collect()
}

/// How many results, and of how many reports, are so.
pub(crate) fn count(rows: &[Json], is: impl Fn(&Json) -> bool) -> (u64, u64) {
    let of = |row: &Json| row["items"].as_array().unwrap().iter().filter(|item| is(item)).count() as u64;
    let counts: Vec<u64> = rows.iter().map(of).collect();
    (counts.iter().sum(), counts.iter().filter(|n| **n > 0).count() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seeded_change_of_a_mapping_is_found_in_the_archive_with_exact_counts() {
    let (site, rows) = archive().await;
    let database = site.data_dir().join("hisync.db");
    let before = std::fs::read(&database).unwrap();
    let people = Json::from(PEOPLE);

    // A mapping that only looks different changes nothing.
    let same = candidate(&site, "same", MAPPING, "[fields.visit]", "# A comment.\n[fields.visit]");
    let (code, report) = replay(&site, &same);
    assert_eq!((code, &report["changed"], &report["still_held"]), (0, &Json::from(0), &Json::from(1)), "{report:#}");
    assert_eq!((reports_of(&report, "entities"), &report["records"]), (&people, &people), "{report:#}");
    let pair = report["mappings"].as_array().unwrap().iter().find(|pair| pair["stream"] == REPORTS).unwrap();
    assert_ne!(pair["configured"], pair["tried"]);

    // A unit.
    let unit = "unit = { const = \"g/dL\", reason = \"a mistake\" }";
    let (code, report) = replay(&site, &candidate(&site, "unit", MAPPING, "unit = \"单位\"", unit));
    let (results, reports) = count(&rows, |item| item["单位"].as_str().is_some_and(|unit| unit != "g/dL"));
    let found = group(&report, "unit", "groups.items.unit_raw");
    assert_eq!((code, &found["changes"], &found["entities"]), (1, &results.into(), &reports.into()), "{report:#}");
    assert_eq!(reports_of(&report, "changed"), reports, "{report:#}");
    let pairs = found["pairs"].as_array().unwrap();
    let sum: u64 = pairs.iter().map(|pair| pair["count"].as_u64().unwrap()).sum();
    assert!(pairs.iter().all(|pair| pair["after"] == "g/dL") && sum == results, "{found:#}");

    // A code.
    let high = "↑,偏高,high,above";
    let (code, report) = replay(&site, &candidate(&site, "code", FLAGS, high, "↑,偏高,abnormal,above"));
    let (results, reports) = count(&rows, |item| item["提示"] == "↑");
    let found = group(&report, "flag", "groups.items.flag_source");
    assert_eq!((code, &found["changes"], &found["entities"]), (1, &results.into(), &reports.into()), "{report:#}");
    assert_eq!(reports_of(&report, "changed"), reports, "{report:#}");

    // A date's grammar: day and month change places.
    let date = "exam_date = { from = \"体检日期\", format = [\"%Y/%m/%d\"] }";
    let (code, report) = replay(&site, &candidate(&site, "date", MAPPING, date, &date.replace("%m/%d", "%d/%m")));
    let swapped = |row: &&Json| {
        let parts: Vec<&str> = row["体检日期"].as_str().unwrap().split('/').collect();
        parts[1] != parts[2]
    };
    let changed = rows.iter().filter(swapped).count();
    assert_eq!((code, reports_of(&report, "changed")), (1, &changed.into()), "{report:#}");
    assert!(changed > 0 && kinds(&report) == ["held-now"], "{report:#}");
    assert_eq!(group(&report, "held-now", "unreadable-value")["entities"], changed, "{report:#}");

    // A code that was not known.
    let known = format!("{LAST_FLAG}\n※,异常,abnormal,seen");
    let released = candidate(&site, "released", FLAGS, LAST_FLAG, &known);
    let page = site.folder.path().join("replay.html");
    let page_name = page.to_str().unwrap();
    let (code, report) = hisync_json(
        &site.config,
        &["replay", "--mapping", released.to_str().unwrap(), "--html", page_name, "--threads", "1"],
    );
    assert_eq!((code, kinds(&report)), (1, vec!["released-now"]), "{report:#}");
    assert_eq!((&report["changed"], &report["still_held"]), (&Json::from(1), &Json::from(0)), "{report:#}");
    assert_eq!(group(&report, "released-now", "unknown-code")["entities"], 1);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("released-now") && page.contains("unknown-code") && !page.contains("<script"), "{page}");

    assert!(std::fs::read(&database).unwrap() == before, "a replay only reads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_is_narrowed_and_what_it_cannot_do_is_said() {
    let (site, rows) = archive().await;
    let config = site.config.to_str().unwrap();
    let (code, report) = hisync_json(&site.config, &["replay", "--diff", "--since", "2100-01-01"]);
    assert_eq!((code, &report["entities"]), (0, &Json::from(0)), "{report:#}");
    let exam_no = rows[0]["体检号"].as_str().unwrap();
    let (code, report) = hisync_json(&site.config, &["replay", "--key", exam_no, "--stream", REPORTS]);
    assert_eq!((code, &report["entities"], &report["changed"]), (0, &Json::from(1), &Json::from(0)), "{report:#}");
    let (code, out, _) = hisync(&["replay", "-c", config, "--diff"]);
    assert!(code == 0 && out.starts_with("0 of ") && out.contains("240 records mapped"), "{out}");

    let refused = |arguments: &[&str]| {
        let (code, out, err) = hisync(&[&["replay", "-c", config], arguments].concat());
        assert!(out.is_empty(), "{out}");
        (code, err)
    };
    let empty = site.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    for (arguments, exit, told) in [
        (["--since", "yesterday"], 2, "neither a day"),
        (["--stream", "peis/nothing"], 2, "it has: "),
        (["--mapping", empty], 2, "none of the mapping files"),
        (["--key", "nobody"], 2, "knows nothing by this name"),
        (["--data-dir", empty], 3, "holds no store"),
    ] {
        let (code, err) = refused(&arguments);
        assert!(code == exit && err.contains(told), "{arguments:?}: {code} {err}");
    }
}
