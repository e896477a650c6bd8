//! Holds the tables of traps and of invariants to what they name: each line has a test or a rule, and each exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hisync::mapping::rules;

/// How many traps there are.
const TRAPS: usize = 50;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A line of the table.
struct Row {
    number: String,
    cells: Vec<String>,
}

fn rows(text: &str) -> Vec<Row> {
    let numbered = |line: &&str| {
        let cell = line.strip_prefix("| ").unwrap_or_default().split(' ').next().unwrap_or_default();
        cell.starts_with(|c: char| c.is_ascii_uppercase()) && cell.ends_with(|c: char| c.is_ascii_digit())
    };
    let lines = text.lines().filter(numbered);
    lines
        .map(|line| {
            // `\|` inside a cell is a character of its text.
            let line = line.replace("\\|", "\u{0}");
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            Row { number: cells[0].clone(), cells }
        })
        .collect()
}

/// What stands in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Why a named test or case does not exist; `None` where it does.
fn missing(named: &str) -> Option<String> {
    let (file, test) = match named.split_once("::") {
        Some((file, test)) => (file, Some(test)),
        None => (named, None),
    };
    let path = root().join(file);
    if !path.is_file() {
        return Some(format!("{file} does not exist"));
    }
    let Some(test) = test else {
        let case = file.starts_with("fixtures/");
        return (!case).then(|| format!("{file} is no case: name the test in it"));
    };
    let text = std::fs::read_to_string(&path).expect("a source file");
    if !file.ends_with(".rs") {
        // A sentence, however it is broken into lines.
        let words: Vec<&str> = text.split_whitespace().collect();
        return (!words.join(" ").contains(test)).then(|| format!("{file} does not say {test:?}"));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let declared = |line: &str| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        rest.strip_prefix("fn ").is_some_and(|rest| rest.starts_with(&format!("{test}(")))
    };
    let Some(at) = lines.iter().position(|line| declared(line)) else {
        return Some(format!("{file} has no fn {test}"));
    };
    let above = lines[..at].iter().rev().take_while(|line| !line.is_empty() && !line.starts_with('}'));
    let marked = above.into_iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    (!marked).then(|| format!("{test} in {file} is no test"))
}

#[test]
fn every_trap_names_a_test_that_exists_or_says_what_protects_instead() {
    let text = std::fs::read_to_string(root().join("tests/traps.md")).expect("the table");
    let rows = rows(&text);
    let numbers: Vec<String> = rows.iter().map(|row| row.number.clone()).collect();
    let expected: Vec<String> = (1..=TRAPS).map(|number| format!("T{number}")).collect();
    assert_eq!(numbers, expected, "each trap has one line, in order");
    let wrong = faults(&rows);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_trap_of_a_driver_names_a_test_or_a_sentence_that_exists() {
    let text = std::fs::read_to_string(root().join("tests/driver-traps.md")).expect("the table");
    let rows = rows(&text);
    let numbers: Vec<String> = rows.iter().map(|row| row.number.clone()).collect();
    let expected: Vec<String> = [("O", 35), ("S", 23), ("X", 2)]
        .into_iter()
        .flat_map(|(letter, count)| (1..=count).map(move |number| format!("{letter}{number}")))
        .collect();
    assert_eq!(numbers, expected, "each trap has one line, in order");
    let wrong = faults(&rows);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with a table's lines.
fn faults(rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in rows {
        let [_, what, does, shown] = row.cells.as_slice() else {
            wrong.push(format!("{}: a line has four cells", row.number));
            continue;
        };
        let named: Vec<&str> = quoted(shown).collect();
        wrong.extend(named.iter().filter_map(|named| missing(named)).map(|why| format!("{}: {why}", row.number)));
        // Links are held to their targets by tests/house.rs.
        if what.is_empty() || does.is_empty() || (named.is_empty() && !does.contains("](../docs/")) {
            wrong.push(format!("{}: it names no test, and no sentence that says why", row.number));
        }
    }
    wrong
}

#[test]
fn every_invariant_names_rules_and_tests_that_exist_and_every_rule_has_its_place() {
    let text = std::fs::read_to_string(root().join("tests/invariants.md")).expect("the table");
    let mut wrong = Vec::new();
    let mut placed = BTreeSet::new();
    for row in rows(&text) {
        let [what, codes, shown] = row.cells.as_slice() else {
            wrong.push(format!("{}: a line has three cells", row.number));
            continue;
        };
        let codes: Vec<&str> = quoted(codes).collect();
        let named: Vec<&str> = quoted(shown).collect();
        let unknown = codes.iter().filter(|code| rules::find(code).is_none());
        wrong.extend(unknown.map(|code| format!("{what}: there is no rule {code}")));
        wrong.extend(named.iter().filter_map(|named| missing(named)).map(|why| format!("{what}: {why}")));
        if codes.is_empty() && named.is_empty() {
            wrong.push(format!("{what}: nothing guards it"));
        }
        placed.extend(codes.into_iter().map(str::to_owned));
    }
    let unplaced = rules::all().iter().filter(|rule| !placed.contains(rule.code));
    wrong.extend(unplaced.map(|rule| format!("the rule {} guards no invariant", rule.code)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_that_leads_nowhere_is_found() {
    for (named, why) in [
        ("tests/nowhere.rs::a_test", "does not exist"),
        ("tests/traps.rs::no_such_test", "has no fn"),
        ("tests/traps.rs::missing", "is no test"),
        ("tests/traps.rs", "name the test in it"),
        ("fixtures/mapping/nowhere/input.json", "does not exist"),
        ("connectors/odbc/README.md::words that nobody wrote", "does not say"),
    ] {
        assert!(missing(named).is_some_and(|said| said.contains(why)), "{named}");
    }
    assert_eq!(missing("tests/traps.rs::a_name_that_leads_nowhere_is_found"), None);
    assert!(Path::new(&root()).join("tests/traps.md").is_file());
}
