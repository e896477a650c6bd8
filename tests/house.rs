//! The rules of the house that the compiler doesn't know: which way the arrows between the rooms
//! point, that links lead somewhere, that the status page suits old browsers.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which rooms a room may name. A room that is missing here is a room without a decision.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("diagnose", &[]),
    ("clock", &[]),
    ("retry", &[]),
    ("breaker", &["retry"]),
    ("switches", &["clock"]),
    ("mapping", &["model", "diagnose"]),
    ("store", &["model", "clock", "switches"]),
    ("intake", &["mapping", "store", "model", "clock", "retry", "breaker", "switches"]),
    ("delivery", &["store", "model", "clock", "retry", "breaker", "switches"]),
    ("registry", &[]),
    // The rooms' settings types live with the rooms; the configuration reads all of them.
    ("config", &["registry", "mapping", "model", "store", "delivery", "ops", "diagnose"]),
    ("ops", &["store", "intake", "delivery", "diagnose", "model", "clock", "config", "retry", "switches"]),
    (
        "agent",
        &[
            "config", "diagnose", "intake", "store", "delivery", "ops", "mapping", "model", "clock", "retry",
            "registry", "switches",
        ],
    ),
    ("release", &["intake", "mapping", "store", "model", "ops"]),
    ("sandbox", &["model", "delivery", "clock"]),
    (
        "cli",
        &[
            "agent", "clock", "config", "delivery", "diagnose", "intake", "mapping", "model", "ops", "registry",
            "release", "sandbox", "store", "switches",
        ],
    ),
];

/// Words that belong to one room: (word, where it may stand).
const HOMES: &[(&str, &[&str])] = &[
    ("rusqlite", &["src/store/", "src/sandbox/hospital/"]),
    // Upstream is delivery's alone; the command line talks to the admin API of its agent, alerts to
    // chat robots, traces to a collector.
    ("reqwest", &["src/delivery/", "src/cli/client.rs", "src/ops/alert/", "src/ops/traces.rs"]),
    ("lettre", &["src/ops/alert/"]),
    ("connector_files", &["src/registry.rs"]),
    ("connector_sqlite", &["src/registry.rs"]),
    ("connector_sqlserver", &["src/registry.rs"]),
    ("connector_mllp", &["src/registry.rs"]),
    ("connector_odbc", &["src/registry.rs"]),
    ("connector_webhook", &["src/registry.rs"]),
    ("connector_rest", &["src/registry.rs"]),
    ("connector_soap", &["src/registry.rs"]),
    ("backoff::", &["src/retry.rs"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without its comments and its unit tests: those may name anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]"));
    lines.map(|line| if line.trim_start().starts_with("//") { "" } else { line }).collect::<Vec<_>>().join("\n")
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Where the code names rooms, as `crate::room` or inside `use crate::{room, …}`.
fn rooms_named(code: &str) -> Vec<(usize, String)> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `some_crate::` are other things.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let Some(list) = rest.strip_prefix('{') else {
            rooms.push((line_of(code, at), word(rest)));
            continue;
        };
        let mut depth = 0;
        for part in list.split_inclusive([',', '{', '}']) {
            if depth == 0 {
                rooms.push((line_of(code, at), word(part.trim_start())));
            }
            depth += i32::from(part.ends_with('{')) - i32::from(part.ends_with('}'));
            if depth < 0 {
                break;
            }
        }
    }
    rooms.retain(|(_, room)| !room.is_empty());
    rooms
}

fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"))
        || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn rooms_name_only_the_rooms_that_they_may_know() {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    for path in files.iter().filter(|path| !is_test(path)) {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let room = relative.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        if room == "lib" || room == "main" {
            continue;
        }
        let Some(allowed) = arrows.get(room.as_str()) else {
            wrong.push(format!("src/{}: the room {room} has no line in ARROWS", relative.display()));
            continue;
        };
        for (line, named) in rooms_named(&code(path)) {
            if named != room && !allowed.contains(&named.as_str()) && arrows.contains_key(named.as_str()) {
                wrong.push(format!("src/{}:{line}: {room} names {named}", relative.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that must not be:\n{}", wrong.join("\n"));
}

#[test]
fn what_belongs_to_one_room_is_used_in_that_room_alone() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let mut wrong = Vec::new();
    for path in files.iter().filter(|path| !is_test(path)) {
        let relative = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let code = code(path);
        for (word, homes) in HOMES {
            if let Some(at) = code.find(word)
                && !homes.iter().any(|home| relative.starts_with(home))
            {
                wrong.push(format!("{relative}:{}: {word} belongs to {homes:?}", line_of(&code, at)));
            }
        }
    }
    assert!(wrong.is_empty(), "words away from home:\n{}", wrong.join("\n"));
}

#[test]
fn connectors_depend_on_the_contract_and_never_on_a_sibling() {
    for entry in fs::read_dir(root().join("connectors")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let manifest: toml::Table = fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap();
        let allowed: &[&str] = match name.as_str() {
            "api" => &[],
            "formats" | "listen" | "testkit" => &["connector-api"],
            "sql" => &["connector-api"],
            "http" => &["connector-api", "connector-formats"],
            _ => &["connector-api", "connector-formats", "connector-sql", "connector-http", "connector-listen"],
        };
        let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
        for dependency in dependencies.into_iter().flat_map(toml::Table::keys) {
            let ours = dependency.starts_with("connector-") || dependency == "hisync";
            assert!(
                !ours || allowed.contains(&dependency.as_str()),
                "connectors/{name} depends on {dependency}, which it must not know"
            );
        }
    }
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

/// Where the links of a document lead: `[text](here)`, code blocks and code in lines left out.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut code = false;
    for (index, line) in text.lines().enumerate() {
        code ^= line.trim_start().starts_with("```");
        if code {
            continue;
        }
        let plain: String = line.split('`').step_by(2).collect();
        for part in plain.split("](").skip(1) {
            links.push((index + 1, part.split(')').next().unwrap_or_default().to_owned()));
        }
    }
    links
}

/// The anchor that a heading gets where Markdown is shown.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut found = Vec::new();
    documents(&root(), &mut found);
    let mut wrong = Vec::new();
    for path in &found {
        let text = fs::read_to_string(path).unwrap();
        for (line, link) in links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, place) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let leads = target.exists()
                && (place.is_empty()
                    || fs::read_to_string(&target)
                        .unwrap_or_default()
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == place));
            if !leads {
                let document = path.strip_prefix(root()).unwrap();
                wrong.push(format!("{}:{line}: {link}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn every_guide_is_in_the_list_of_guides() {
    let list = fs::read_to_string(root().join("docs/README.md")).unwrap();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let listed = !name.ends_with(".md") || name == "README.md" || list.contains(&format!("({name})"));
        assert!(listed, "docs/README.md does not list {name}");
    }
}

/// A hospital's computers run old browsers and see no other network.
#[test]
fn the_status_page_suits_old_browsers_without_a_network() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("src/ops/web")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let newer: &[&str] = match name.rsplit('.').next() {
            Some("js") => &["=>", "`", "let ", "const ", "class ", "async ", "await ", "fetch(", "innerHTML", "eval("],
            Some("css") => &["var(", "grid", "@import", "url("],
            _ => &["type=\"module\"", "onclick"],
        };
        // The namespace of SVG is a name, not an address that is asked.
        let outside = ["http://", "https://", "//cdn"].map(|word| (word, "www.w3.org/2000/svg"));
        for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.trim_start().starts_with("/*")) {
            wrong.extend(
                newer.iter().filter(|word| text.contains(*word)).map(|word| format!("{name}:{}: {word}", line + 1)),
            );
            let asks = outside.iter().any(|(word, but)| text.contains(word) && !text.contains(but));
            wrong.extend(asks.then(|| format!("{name}:{}: asks another server", line + 1)));
        }
    }
    assert!(wrong.is_empty(), "not for old browsers:\n{}", wrong.join("\n"));
}
