//! Fixture cases: folders with an input and what is expected of it.
//!
//! A case is a folder `fixtures/<connector>/<case>/` with `source.toml`, one `input.*` and
//! `expected.json`. A fixed bug becomes a folder named after it. With the environment variable
//! `HISYNC_BLESS=1` the expectations are rewritten; the difference is then for review.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

/// The environment variable that makes [`Case::expect`] rewrite the expectation.
const BLESS: &str = "HISYNC_BLESS";

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
}

/// The cases in a folder, by name.
///
/// # Panics
/// Where the folder can't be read or holds no case: a test that checks nothing must not pass.
pub fn cases(dir: impl AsRef<Path>) -> Vec<Case> {
    let dir = dir.as_ref();
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("read the cases in {}: {error}", dir.display()));
    let mut cases: Vec<Case> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| Case { name: entry.file_name().to_string_lossy().into_owned(), dir: entry.path() })
        .collect();
    assert!(!cases.is_empty(), "there are no cases in {}", dir.display());
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    /// A text file of the case.
    ///
    /// # Panics
    /// Where it can't be read.
    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.dir.join(file)).unwrap_or_else(|error| panic!("{}: read {file}: {error}", self.name))
    }

    /// The bytes of the case's only `input.*` file.
    ///
    /// # Panics
    /// Where there is not exactly one.
    pub fn input(&self) -> Vec<u8> {
        let entries = fs::read_dir(&self.dir).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let inputs: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.file_stem().is_some_and(|stem| stem == "input"))
            .collect();
        let [input] = inputs.as_slice() else { panic!("{}: {} input files", self.name, inputs.len()) };
        fs::read(input).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// Compares with `expected.json`, or writes it where `HISYNC_BLESS=1` is set.
    ///
    /// # Panics
    /// Where they differ.
    pub fn expect(&self, actual: &Json) {
        let file = self.dir.join("expected.json");
        let text = format!("{actual:#}\n");
        if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
            fs::write(&file, text).unwrap_or_else(|error| panic!("{}: write expected.json: {error}", self.name));
            return;
        }
        let expected: Json = serde_json::from_str(&self.text("expected.json"))
            .unwrap_or_else(|error| panic!("{}: expected.json: {error}", self.name));
        assert!(
            expected == *actual,
            "{}: not as expected; {BLESS}=1 rewrites the expectation\n--- expected\n{expected:#}\n--- actual\n{actual:#}",
            self.name
        );
    }
}
