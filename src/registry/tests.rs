use std::path::{Path, PathBuf};

use connector_api::Mode;

use super::{all, find};

/// What is no connector, but shared by connectors.
const SHARED: [&str; 7] = ["api", "formats", "http", "listen", "sql", "tds-testkit", "testkit"];

fn folders(path: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let paths: Vec<PathBuf> = entries.unwrap_or_default();
    paths.into_iter().filter(|path| path.is_dir()).collect()
}

#[test]
fn every_connector_folder_is_complete_and_registered() {
    let mut missing = Vec::new();
    let mut names = Vec::new();
    for folder in folders("connectors") {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if SHARED.contains(&name.as_str()) {
            continue;
        }
        if find(&name).is_none() {
            missing.push(format!("{name}: a line in src/registry.rs"));
        }
        for file in ["README.md", "sample.toml"] {
            if !folder.join(file).is_file() {
                missing.push(format!("{name}: {file}"));
            }
        }
        if folders(&format!("fixtures/{name}")).is_empty() {
            missing.push(format!("{name}: a case in fixtures/{name}"));
        }
        names.push(name);
    }
    missing.extend(
        all()
            .iter()
            .filter(|kind| !names.iter().any(|name| name == kind.name))
            .map(|kind| format!("{}: the folder connectors/{}", kind.name, kind.name)),
    );
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

/// The code of the tests of a folder, without their comments.
fn code_of_tests(folder: &Path) -> String {
    let mut code = String::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            code += &code_of_tests(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.components().any(|part| part.as_os_str() == "tests")
        {
            let text = std::fs::read_to_string(&path).unwrap();
            code.extend(
                text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")),
            );
        }
    }
    code
}

#[test]
fn every_connector_runs_the_conformance_suite_of_its_modes() {
    let mut missing = Vec::new();
    for kind in all() {
        let code = code_of_tests(&Path::new("connectors").join(kind.name));
        let (suite, fixture) = match kind.modes.contains(&Mode::Push) {
            true => ("listener_suite", "impl ListenerFixture for"),
            false => ("poller_suite", "PollerFixture for"),
        };
        if !code.contains(&format!("{suite}(")) || !code.contains(fixture) {
            missing.push(format!("{}: a test that calls connector_testkit's {suite}", kind.name));
        }
    }
    assert!(missing.is_empty(), "missing:\n{}", missing.join("\n"));
}

#[test]
fn connectors_are_listed_once() {
    let mut names: Vec<&str> = all().iter().map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all().len());
}

/// Copies the files of a folder of mappings, its code tables with them.
fn copy_mappings(from: &str, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy_mappings(path.to_str().unwrap(), &target),
            false => drop(std::fs::copy(&path, target).unwrap()),
        }
    }
}

/// Every sample loads as it stands, with mappings where it says they are.
#[test]
fn every_sample_loads() {
    for kind in all() {
        let folder = tempfile::tempdir().unwrap();
        copy_mappings("mappings/demo-peis", &folder.path().join("mappings"));
        copy_mappings("mappings/demo-lab", &folder.path().join("mappings/lab"));
        let path = folder.path().join("hisync.toml");
        let head = "[agent]\nhospital = \"h\"\ntimezone = \"Asia/Shanghai\"\n\
                    [upstream]\nurl = \"https://example.com\"\n\
                    auth = { type = \"webhook-signature\", secret = { env = \"S\" } }\n";
        std::fs::write(&path, format!("{head}\n{}", kind.sample)).unwrap();
        let problems = crate::config::load(Path::new(&path)).err().unwrap_or_default();
        assert!(problems.is_empty(), "{}", crate::diagnose::render(&problems, false));
    }
}
