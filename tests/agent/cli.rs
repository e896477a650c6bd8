//! The real program beside a running agent, without one, and with nothing at all.

use hisync::agent::{AGENT_FILE, AgentFile};
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use super::support::{
    LAB, REPORTS, Site, command, delivered, held, hisync, hisync_json, message, overview, send, visit,
};

fn names(json: &Json) -> Vec<&str> {
    let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_the_same_beside_a_running_agent_and_without_one() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", Some("ZZ"))).await;
    delivered(&agent).await;
    let totals = serde_json::to_value(overview(&agent).await.totals).unwrap();
    let config = site.config.to_string_lossy().into_owned();
    let exam_no = visit(0).exam_no;

    let running = everything(&site, &exam_no);
    let (code, status) = hisync_json(&site.config, &["status"]);
    assert_eq!((code, &status["health"]["level"]), (1, &json!("attention")), "a held item is worth a look: {status}");
    assert_eq!(status["store"]["totals"], totals);
    let (code, text, _) = hisync(&["status", "-c", &config]);
    assert_eq!(code, 1);
    for wanted in ["ATTENTION", "held items", "peis/reports", "exam_report", "adds up", "held: 1 unknown-code"] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    agent.stop().await;

    assert_eq!(everything(&site, &exam_no), running, "the store tells the same as the agent");
    let (code, offline) = hisync_json(&site.config, &["status"]);
    assert_eq!((code, &offline["health"]["level"], &offline["agent"]), (1, &json!("failing"), &Json::Null));
    assert_eq!(names(&offline), names(&status), "programs read one shape");
    let reason = |status: &Json| status["health"]["reasons"][0].clone();
    assert_eq!(names(&reason(&offline)), names(&reason(&status)));
    assert_eq!(reason(&offline)["code"], "no-agent");
    assert_eq!(offline["store"]["totals"], totals);
    let (_, text, _) = hisync(&["status", "-c", &config]);
    assert!(text.contains("no agent runs") && text.contains("systemctl start hisync"), "{text}");
}

/// What the reading commands answer, with their names checked.
fn everything(site: &Site, exam_no: &str) -> Vec<Json> {
    let (code, held) = hisync_json(&site.config, &["held", "list"]);
    assert_eq!((code, held.as_array().unwrap().len()), (0, 1));
    let summary = [
        "archive_id",
        "closed_at",
        "closed_by",
        "entity",
        "id",
        "key",
        "leg",
        "mapping_version",
        "note",
        "opened_at",
        "outbox_id",
        "reason",
        "state",
        "stream",
        "waits_until",
    ];
    assert_eq!(names(&held[0]), summary);
    let id = held[0]["id"].to_string();
    let (code, item) = hisync_json(&site.config, &["held", "show", &id]);
    assert_eq!(code, 0);
    assert_eq!(names(&item), ["event", "findings", "history", "item", "raw_text", "record"]);
    let person = visit(1).person;
    assert!(!item.to_string().contains(&person.name) && !item.to_string().contains(&person.phone), "{item}");

    let (code, waiting) = hisync_json(&site.config, &["outbox", "list"]);
    assert_eq!((code, &waiting), (0, &json!([])));
    let (code, sent) = hisync_json(&site.config, &["outbox", "list", "--state", "delivered", "--limit", "1"]);
    assert_eq!((code, sent.as_array().unwrap().len()), (0, 1));
    let (code, entry) = hisync_json(&site.config, &["outbox", "show", &sent[0]["id"].to_string()]);
    assert_eq!((code, names(&entry)), (0, vec!["entry", "event", "history"]));

    let (code, life) = hisync_json(&site.config, &["explain", exam_no]);
    assert_eq!((code, names(&life)), (0, vec!["entities", "held", "record"]));
    assert_eq!(life["entities"][0]["versions"][0]["entry"]["state"], "delivered");
    let (code, nothing) = hisync_json(&site.config, &["explain", "no-such-thing"]);
    assert_eq!((code, &nothing["entities"]), (1, &json!([])));
    vec![held, item, sent, entry, life]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_found_where_the_agent_put_it() {
    let site = Site::new().await;
    let dir = toml::Value::String(site.data_dir().to_string_lossy().into_owned());
    let status = |what: &str| {
        let (code, report) = hisync_json(&site.config, &["status"]);
        assert_eq!((code, &report["agent"]), (1, &Json::Null), "{what}");
        assert!(report["store"].is_object(), "{what}");
    };
    // Left out, the default holds for whoever runs and for whoever asks.
    site.edit("hisync.toml", &format!("data_dir = {dir}\n"), "");
    site.start().await.stop().await;
    status("the default folder");
    // A table in an included file is as good as one in the file itself.
    let text = std::fs::read_to_string(&site.config).unwrap();
    let (start, end) = (text.find("[agent]").unwrap(), text.find("[upstream]").unwrap());
    std::fs::write(site.folder.path().join("who.toml"), &text[start..end]).unwrap();
    let rest = format!("include = [\"who.toml\"]\n{}{}", &text[..start], &text[end..]);
    std::fs::write(&site.config, rest).unwrap();
    site.load();
    status("an included table");
    // What is broken elsewhere does not hinder a look.
    for mapping in ["exam_report", "exam_item"] {
        std::fs::write(site.folder.path().join(format!("mappings/demo-peis/{mapping}.toml")), "broken").unwrap();
    }
    status("broken mappings");
    std::fs::write(site.folder.path().join("who.toml"), "[agent]\ndata_dir = 7").unwrap();
    let (code, _, err) = hisync(&["status", "-c", &site.config.to_string_lossy()]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("data_dir"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_does_not_answer_for_the_data_folder_of_another() {
    let (gone, runs) = (Site::new().await, Site::new().await);
    let agent = gone.start().await;
    let left_behind = std::fs::read(gone.data_dir().join(AGENT_FILE)).unwrap();
    agent.stop().await;
    let agent = runs.start().await;
    // The file of an agent that was killed, whose address another one has now.
    let mut left_behind: AgentFile = serde_json::from_slice(&left_behind).unwrap();
    left_behind.admin = agent.admin_address();
    std::fs::write(gone.data_dir().join(AGENT_FILE), serde_json::to_vec(&left_behind).unwrap()).unwrap();
    let (_, report) = hisync_json(&gone.config, &["status"]);
    assert_eq!(report["health"]["reasons"][0]["code"], "no-agent", "{report}");
    let (_, report) = hisync_json(&runs.config, &["status"]);
    assert!(report["agent"].is_object(), "{report}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_item_is_shown_from_the_store_alone() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, Some("※"));
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", Some("ZZ"))).await;
    let items = held(&agent).await;
    agent.stop().await;
    let id = |stream: &str| items.iter().find(|item| item.stream == stream).unwrap().id.to_string();
    let folder = site.data_dir().to_string_lossy().into_owned();
    let bare =
        |id: &str, more: &[&str]| hisync(&[&["held", "show", id, "--json", "--data-dir", &folder], more].concat());
    let raw = |out: &str| serde_json::from_str::<Json>(out).unwrap()["raw_text"].as_str().unwrap().to_owned();

    // A row is kept in a form of hisync's own; a message is the sender's.
    let (code, row, err) = bare(&id(REPORTS), &[]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (_, whole) = hisync_json(&site.config, &["held", "show", &id(REPORTS)]);
    assert_eq!(serde_json::from_str::<Json>(&row).unwrap(), whole);
    assert!(raw(&row).contains("体检号") && !raw(&row).contains(&visit(0).person.name), "{row}");
    let (code, letter, _) = bare(&id(LAB), &[]);
    assert_eq!(code, 0);
    assert!(raw(&letter).contains("only a configuration with the stream lab/reports can read"), "{letter}");
    let (_, whole) = hisync_json(&site.config, &["held", "show", &id(LAB)]);
    assert!(whole["raw_text"].as_str().unwrap().contains("ZZ"), "{whole}");

    // Who looks at a person is written down, by whoever may write.
    let personal = ["--show-personal", "--because", "compare"];
    assert_eq!(bare(&id(REPORTS), &personal).0, 2);
    let (code, shown) = hisync_json(&site.config, &[&["held", "show", &id(REPORTS)], &personal[..]].concat());
    assert_eq!(code, 0);
    assert!(shown["raw_text"].as_str().unwrap().contains(&visit(0).person.name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_for_people_name_what_matters_and_hide_persons() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, None);
    let agent = site.start().await;
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", Some("ZZ"))).await;
    delivered(&agent).await;
    let config = site.config.to_string_lossy().into_owned();
    let exam_no = visit(0).exam_no;
    for (arguments, code, wanted) in [
        (vec!["held", "list"], 0, vec!["unknown-code", "lab/reports", "exam_report"]),
        (vec!["held", "show", "1"], 0, vec!["unknown-code", "ZZ"]),
        (vec!["outbox", "list"], 0, vec!["nothing waits"]),
        (vec!["outbox", "show", "1"], 0, vec!["delivered", "event"]),
        (vec!["explain", exam_no.as_str()], 0, vec!["exam_report/", "delivered", "mapping demo-peis/exam_report"]),
        (vec!["held", "dismiss", "1", "--because", "a test"], 0, vec!["1 settled, 0 still held"]),
    ] {
        let (got, out, err) = hisync(&[&arguments[..], &["-c", &config]].concat());
        assert_eq!((got, err.as_str()), (code, ""), "{arguments:?}: {out}");
        for word in wanted {
            assert!(out.contains(word), "{arguments:?} lacks {word}:\n{out}");
        }
        for person in [visit(0).person, visit(1).person] {
            assert!(!out.contains(&person.name) && !out.contains(&person.citizen_id), "{arguments:?}:\n{out}");
        }
    }
    let (code, _, err) = hisync(&["held", "show", "99", "-c", &config]);
    assert_eq!(code, 1, "{err}");
    assert!(err.starts_with("error: ") && err.contains("99"), "{err}");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_shows_what_would_be_sent_and_stores_nothing() {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, Some("※"));
    let (code, shown) = hisync_json(&site.config, &["preview", "--stream", "peis/reports"]);
    assert_eq!((code, shown.as_array().unwrap().len()), (1, 1), "{shown}");
    let outcome = &shown[0]["outcomes"][0];
    assert_eq!(names(outcome), ["entity", "fate", "findings", "key", "lines", "normalised", "reason"]);
    assert_eq!((&outcome["fate"], &outcome["reason"]), (&json!("held"), &json!("unknown-code")));
    assert!(!shown.to_string().contains(&visit(0).person.name), "{shown}");
    let (code, packages) = hisync_json(&site.config, &["preview", "--stream", "peis/packages", "--limit", "2"]);
    assert_eq!((code, &packages[0]["outcomes"][0]["fate"]), (0, &json!("deliver")), "{packages}");
    assert!(!site.data_dir().join("hisync.db").exists());
    let config = site.config.to_string_lossy().into_owned();
    let (code, _, err) = hisync(&["preview", "--stream", "peis/nothing", "-c", &config]);
    assert_eq!(code, 2);
    assert!(err.contains("the streams: ") && err.contains("peis/packages"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_is_missing_and_end_with_their_code() {
    let site = Site::new().await;
    let config = site.config.to_string_lossy().into_owned();
    let nowhere = site.folder.path().join("nowhere.toml").to_string_lossy().into_owned();
    for arguments in [vec!["status"], vec!["held", "list"], vec!["outbox", "list"], vec!["explain", "x"]] {
        let (code, out, err) = hisync(&[&arguments[..], &["-c", &config]].concat());
        assert_eq!((code, out.as_str()), (3, ""), "{arguments:?}: {err}");
        assert!(err.contains("holds no store"), "{err}");
        let (code, out, err) = hisync(&[&arguments[..], &["-c", &nowhere]].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}: {err}");
        assert!(err.contains("nowhere.toml"), "{err}");
        let empty = site.folder.path().to_string_lossy().into_owned();
        let (code, _, _) = hisync(&[&arguments[..], &["--data-dir", &empty]].concat());
        assert_eq!(code, 3, "{arguments:?}");
    }
    let (code, _, err) = hisync(&["held", "retry", "-c", &config]);
    assert_eq!(code, 2, "what is to be retried must be said: {err}");
    let mut bare = super::support::command(&["status"]);
    let output = bare.current_dir(site.data_dir().parent().unwrap().join("mappings")).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("name one with -c FILE"), "{err}");
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = hisync(&["completions", shell]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains("hisync") && out.lines().count() > 20, "{shell}");
    }
}

#[test]
fn the_demos_day_adds_up_under_any_seed() {
    for seed in ["3", "20261123"] {
        let (code, out, err) = hisync(&["demo", "--once", "--json", "--people", "14", "--seed", seed]);
        assert_eq!(code, 0, "seed {seed}: {out}{err}");
        let day: Json = serde_json::from_str(&out).unwrap();
        assert_eq!(names(&day), ["entities", "problems", "reconciled", "refused"]);
        assert_eq!((&day["reconciled"], &day["problems"]), (&json!(true), &json!([])));
        assert!(day["refused"].as_u64().unwrap() > 0, "the outage was not met: {day}");
        for (entity, sums) in day["entities"].as_object().unwrap() {
            let n = |name: &str| sums[name].as_i64().unwrap();
            assert_eq!(n("source"), n("delivered") + n("unchanged") + n("held"), "{entity}");
            assert!(n("source") > 0, "{entity}");
        }
        assert!(!err.is_empty(), "what goes on is told beside the data");
    }
}

#[test]
fn a_demo_ends_in_order_when_it_is_told_to() {
    use std::io::BufRead as _;

    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = command(&["demo", "--people", "12", "--admin", "127.0.0.1:0"])
            .env("TMPDIR", folder.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let begun = told.find(|line| line.contains("people arrive"));
        assert!(begun.is_some() && std::fs::read_dir(folder.path()).unwrap().count() == 1);
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{:?}", told.collect::<Vec<_>>());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "its folder is removed");
    }
}

#[test]
fn a_demo_does_not_go_on_in_a_used_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let (code, out, err) = hisync(&["demo", "--once", "--dir", &folder.path().to_string_lossy()]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("holds an earlier demo"), "{err}");
}
