use std::path::Path;

use super::cases::{self, Verdict};

/// Cases that ship with hisync: the mappings of vendors, and those of the engine's own tests.
#[test]
fn every_case_beside_a_shipped_mapping_becomes_what_is_expected() {
    let mut mappings = Vec::new();
    for folder in ["mappings", "fixtures/mapping"] {
        cases::mappings(Path::new(folder), &mut mappings).unwrap();
    }
    let (mut wrong, mut count) = (Vec::new(), 0);
    for mapping in &mappings {
        let cases = cases::run(mapping).unwrap_or_else(|problems| panic!("{problems:?}"));
        count += cases.len();
        wrong.extend(cases.iter().filter(|case| case.verdict != Verdict::Same).map(|case| case.text(false)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 60, "{count} cases");
}

/// A vendor's folder is complete: words for the site engineer, and a case for each mapping.
#[test]
fn every_vendor_has_a_readme_and_a_case_for_each_mapping() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir("mappings").unwrap() {
        let folder = entry.unwrap().path();
        if folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("demo-")) {
            continue;
        }
        if !folder.join("README.md").exists() {
            wrong.push(format!("{}: README.md", folder.display()));
        }
        let mut mappings = Vec::new();
        cases::mappings(&folder, &mut mappings).unwrap();
        let untested = mappings.iter().filter(|mapping| cases::run(mapping).is_ok_and(|cases| cases.is_empty()));
        wrong.extend(untested.map(|mapping| format!("{}: a case", mapping.display())));
    }
    assert!(wrong.is_empty(), "missing:\n{}", wrong.join("\n"));
}
