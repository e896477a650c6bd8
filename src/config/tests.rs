use std::path::{Path, PathBuf};

use super::{Config, load};
use crate::diagnose::{Problem, render};

pub(crate) mod kinds;

/// Loads with the tests' own connectors. Mappings are found, not compiled: they have tests of their
/// own, and each file here has another mistake.
fn load_file(path: &Path) -> Result<Config, Vec<Problem>> {
    load::load(path, kinds::KINDS, |_, _, _| Err(Vec::new()))
}

fn fixtures() -> Vec<PathBuf> {
    let folders = std::fs::read_dir("fixtures/config").unwrap();
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Compares with a committed file, or writes it where HISYNC_BLESS is set.
fn check_file(path: &Path, actual: &str) -> Result<(), String> {
    if std::env::var_os("HISYNC_BLESS").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    if expected == actual {
        return Ok(());
    }
    Err(format!("{} differs; HISYNC_BLESS=1 rewrites it. Now:\n{actual}", path.display()))
}

#[test]
fn each_mistake_is_reported_at_its_place_with_a_hint() {
    let mut wrong = Vec::new();
    let folders = fixtures();
    assert!(folders.len() >= 20, "only {} mistakes", folders.len());
    for folder in folders {
        let problems = load_file(&folder.join("hisync.toml")).expect_err("a mistake without a problem");
        wrong.extend(check_file(&folder.join("expected.txt"), &render(&problems, false)).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sources_are_in_the_hospitals_time_zone() {
    let (_folder, path) = sound_copy();
    let text = std::fs::read_to_string(&path).unwrap().replace("Asia/Shanghai", "Asia/Tokyo");
    std::fs::write(&path, text).unwrap();
    let config = super::load(&path).unwrap();
    assert!(config.sources.iter().all(|source| source.zone == chrono_tz::Asia::Tokyo), "{:?}", config.sources);
}

#[test]
fn the_page_is_for_this_machine_unless_somebody_says_otherwise() {
    let (_folder, path) = sound_copy();
    let text = std::fs::read_to_string(&path).unwrap();
    for (admin, fine) in [
        ("listen = \"0.0.0.0:8686\"", false),
        ("listen = \"[::]:8686\"\nallow_remote = false", false),
        ("listen = \"192.168.3.4:8686\"\nallow_remote = true", true),
        ("listen = \"[::1]:8686\"", true),
        ("listen = \"[::ffff:127.0.0.1]:8686\"", true),
        ("listen = \"127.0.0.2:0\"", true),
    ] {
        std::fs::write(&path, format!("{text}\n[admin]\n{admin}\n")).unwrap();
        assert_eq!(super::load(&path).is_ok(), fine, "{admin}");
    }
}

#[test]
fn a_secret_in_clear_text_is_not_shown() {
    for case in ["literal-secret", "secret-beside-another-mistake"] {
        let problems = load_file(&Path::new("fixtures/config").join(case).join("hisync.toml")).unwrap_err();
        let json = serde_json::to_string(&crate::diagnose::to_json(&problems)).unwrap();
        let shown = render(&problems, false) + &json;
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_reference_is_up_to_date() {
    let text = super::reference::markdown(crate::registry::all());
    check_file(Path::new("docs/configuration.md"), &text).unwrap();
}

#[test]
fn the_editors_schema_is_up_to_date() {
    let schema = super::reference::json_schema(crate::registry::all());
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    check_file(Path::new("config/hisync.schema.json"), &text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
}

#[test]
fn the_example_loads() {
    let problems = super::load(Path::new("config/hisync.example.toml")).err().unwrap_or_default();
    assert!(problems.is_empty(), "{}", render(&problems, false));
}

#[test]
fn a_file_that_breaks_off_anywhere_is_reported_and_rendered() {
    let whole = std::fs::read_to_string("fixtures/config/wide-characters/hisync.toml").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hisync.toml");
    for (end, _) in whole.char_indices() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let problems = load_file(&path).expect_err("a part of a file is no configuration");
        assert!(!render(&problems, false).is_empty());
    }
}

#[test]
fn a_file_that_includes_itself_under_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hisync.toml");
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    std::fs::write(&path, "include = [\"sub/../hisync.toml\"]").unwrap();
    let problems = load_file(&path).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["include-cycle"]);
}

/// What an editor says about a file and what hisync says must not contradict each other.
#[test]
fn the_editors_schema_accepts_the_example_and_refuses_an_unknown_key() {
    let schema = super::reference::json_schema(crate::registry::all());
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = std::fs::read_to_string("config/hisync.example.toml").unwrap();
    let example: toml::Value = toml::from_str(&text).unwrap();
    let json = serde_json::to_value(&example).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(&json).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    for (pointer, key) in [("/agent", "hospitol"), ("/sources/0/settings", "pth"), ("/sources/0/streams/0", "mappping")]
    {
        let mut wrong = json.clone();
        wrong.pointer_mut(pointer).unwrap()[key] = serde_json::json!("x");
        assert!(!validator.is_valid(&wrong), "{pointer}/{key} is accepted");
    }
}

/// A copy of the sound configuration with its mapping, to be changed.
fn sound_copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for part in ["check/sound", "mapping/code-flag", "mapping/code-flag/codes"] {
        let to = folder.path().join(part);
        std::fs::create_dir_all(&to).unwrap();
        for entry in std::fs::read_dir(Path::new("fixtures").join(part)).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                std::fs::copy(&from, to.join(from.file_name().unwrap())).unwrap();
            }
        }
    }
    let path = folder.path().join("check/sound/hisync.toml");
    (folder, path)
}

#[test]
fn a_sound_configuration_loads_whole() {
    let config = super::load(Path::new("fixtures/check/sound/hisync.toml")).unwrap();
    assert_eq!((config.agent.campus.as_str(), config.agent.disk_floor_bytes), ("main", 1 << 30));
    assert!(config.agent.data_dir.is_absolute() && config.agent.data_dir.ends_with("sound/data"));
    let streams: Vec<_> = config.sources.iter().flat_map(|source| &source.streams).collect();
    let ids: Vec<&str> = streams.iter().map(|stream| stream.id.as_str()).collect();
    assert_eq!(ids, ["peis/reports", "lis/results"]);
    let [reports, results] = streams[..] else { panic!("two streams") };
    assert!(reports.schedule.is_some() && results.schedule.is_none());
    assert_eq!(reports.expect.as_ref().map(|expect| (expect.within.as_secs(), expect.days[6])), Some((7200, false)));
    assert_eq!(reports.sweep.as_ref().map(|sweep| sweep.window.as_secs()), Some(30 * 86_400));
    assert!(std::sync::Arc::ptr_eq(&reports.mapping, &results.mapping), "a mapping is compiled once");
    assert_eq!(config.secrets.len(), 1);
    for source in &config.sources {
        assert!(source.build(&config.base_dir).is_ok(), "{} is not built", source.id);
    }
}

#[test]
fn the_digest_changes_with_any_byte_of_any_file_and_with_nothing_else() {
    let (folder, path) = sound_copy();
    let digest = || super::load(&path).unwrap().digest;
    let before = digest();
    assert_eq!(before, digest());
    assert_eq!(before, super::load(&sound_copy().1).unwrap().digest, "the folder does not matter");
    for file in ["check/sound/hisync.toml", "check/sound/lab.toml", "mapping/code-flag/mapping.toml"] {
        let file = folder.path().join(file);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n# changed")).unwrap();
        assert_ne!(before, digest(), "{} is not in the digest", file.display());
        std::fs::write(&file, text).unwrap();
    }
}

#[test]
fn a_mapping_of_another_entity_is_refused() {
    let (_folder, path) = sound_copy();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("exam_report", "exam_package")).unwrap();
    let problems = super::load(&path).unwrap_err();
    let refused = problems.iter().any(|problem| problem.code == "wrong-entity");
    assert!(refused, "{}", render(&problems, false));
}

#[test]
fn holidays_and_channels_are_checked_at_their_place() {
    let (folder, path) = sound_copy();
    let text = std::fs::read_to_string(&path).unwrap();
    let with = |agent: &str, rest: &str| {
        let text = text.replacen("[agent]\n", &format!("[agent]\n{agent}\n"), 1);
        std::fs::write(&path, format!("{text}\n{rest}\n")).unwrap();
        super::load(&path)
    };
    let holidays = |lines: &str| {
        let beside = path.parent().unwrap().join("holidays.csv");
        std::fs::write(beside, lines).unwrap();
        with("holidays = \"holidays.csv\"", "")
    };
    let off = "2026-10-01".parse().unwrap();
    assert!(holidays("date,kind\n2026-10-01..2026-10-07,休\n2026-10-10,班\n").unwrap().calendar.is_off(off));
    let problems = holidays("2026-10-01,maybe\n").unwrap_err();
    assert_eq!(problems[0].code, "holidays");
    assert!(problems[0].message.contains("line 1"), "{}", problems[0].message);
    assert_eq!(with("holidays = \"nowhere.csv\"", "").unwrap_err()[0].code, "holidays");
    let channel =
        |more: &str| format!("[alerts]\n[[alerts.channels]]\ntype = \"email\"\nid = \"mail\"\nhost = \"mail\"\n{more}");
    let sound = "sender = \"hisync <h@x.example>\"\nrecipients = [\"a@x.example\"]";
    assert_eq!(with("", &channel(sound)).unwrap().alerts.channels.len(), 1);
    let twice = format!("{}\n{}", channel(sound), channel(sound).trim_start_matches("[alerts]\n"));
    let messages = |rest: &str| -> Vec<String> {
        with("", rest).unwrap_err().into_iter().map(|problem| problem.message).collect()
    };
    assert!(messages(&twice)[0].contains("another channel has the id"));
    assert!(
        messages(&channel("sender = \"nobody\"\nrecipients = []"))
            .iter()
            .any(|text| text.contains("nobody is written to"))
    );
    let clear = channel(&format!("{sound}\nsecurity = \"none\"\nusername = \"u\"\npassword = {{ env = \"PW\" }}"));
    assert!(messages(&clear)[0].contains("everybody"));
    assert!(messages("[log]\nfile = \"l\"\nmax_bytes = 1")[0].contains("65536"));
    drop(folder);
}
