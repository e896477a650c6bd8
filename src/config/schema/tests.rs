use std::collections::BTreeMap;

use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Found, check};
use crate::config::disk::Disk;
use crate::config::tree;
use crate::registry::schema_of;

/// Every form of type that settings may have.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is looked at")]
struct Everything {
    text: Option<String>,
    exact: Option<f64>,
    names: Option<BTreeMap<String, u8>>,
    any: Option<serde_json::Value>,
    secret: Option<Secret>,
    secrets: Option<Vec<Secret>>,
    value: Option<TextOrNumber>,
    inner: Option<Box<Everything>>,
    target: Option<Target>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is looked at")]
enum TextOrNumber {
    Number(i64),
    Text(String),
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is looked at")]
enum Target {
    /// A word.
    Nowhere,
    /// A table of one key.
    File(String),
    /// Another.
    Db { name: String },
}

fn checked(text: &str) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    std::fs::write(&path, text).unwrap();
    let mut found = Found::default();
    let root = tree::read(&path, &Disk::default(), &mut found.problems);
    check(&root, &schema_of::<Everything>(), &[], &mut found);
    found
}

/// The codes of the problems with the text that each points at.
#[track_caller]
fn check_codes(text: &str, expected: &[(&str, &str)]) {
    let found = checked(text);
    let codes: Vec<(&str, &str)> =
        found.problems.iter().map(|problem| (problem.code, &text[problem.span.clone().unwrap()])).collect();
    assert_eq!(codes, expected, "{text}");
}

#[test]
fn every_form_of_type_is_accepted() {
    check_codes("text = \"a\"\nexact = 1\nnames = { x = 1 }\nany = [1, { a = 2020-01-01 }]\nvalue = 1", &[]);
    check_codes("exact = 1.5\nvalue = \"a\"\ntarget = \"nowhere\"\ninner = { inner = { text = \"a\" } }", &[]);
    check_codes("target = { file = \"a\" }\nsecret = { file = \"s\" }\nsecrets = [{ env = \"A\" }]", &[]);
    check_codes("target = { db = { name = \"x\" } }", &[]);
}

#[test]
fn every_form_of_type_refuses_others_at_their_place() {
    check_codes("exact = \"a\"", &[("wrong-type", "\"a\"")]);
    check_codes("names = { x = 256, y = -1 }", &[("out-of-range", "256"), ("out-of-range", "-1")]);
    check_codes("value = true", &[("wrong-type", "true")]);
    check_codes("target = \"nowere\"", &[("not-allowed", "\"nowere\"")]);
    check_codes("target = { fil = \"a\" }", &[("unknown-key", "fil")]);
    check_codes("target = { file = 1 }", &[("wrong-type", "1")]);
    check_codes("target = { db = { nam = 1 } }", &[("unknown-key", "nam")]);
    check_codes("inner = { inner = { txt = 1 } }", &[("unknown-key", "txt")]);
    check_codes("secret = \"x\"\nsecrets = [\"y\"]", &[("literal-secret", "\"x\""), ("literal-secret", "\"y\"")]);
    check_codes("secret = 5", &[("wrong-type", "5")]);
}

#[test]
fn secrets_are_collected_with_their_places() {
    let found = checked("secret = { file = \"s\" }\ninner = { secrets = [{ env = \"A\" }, { credential = \"c\" }] }");
    let secrets: Vec<Secret> = found.secrets.into_iter().map(|place| place.secret).collect();
    let expected = [Secret::File("s".into()), Secret::Env("A".into()), Secret::Credential("c".into())];
    assert_eq!(secrets, expected);
}

#[test]
fn a_secret_that_cannot_be_read_is_named_at_its_place_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("there"), "hunter2\n").unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    let text =
        "secrets = [{ file = \"there\" }, { file = \"gone\" }, { file = \"empty\" }, { env = \"HISYNC_NOT_SET\" }]";
    let problems: Vec<_> = checked(text).secrets.iter().filter_map(|place| place.unreadable(folder.path())).collect();
    let places: Vec<&str> = problems.iter().map(|problem| &text[problem.span.clone().unwrap()]).collect();
    assert_eq!(places, ["{ file = \"gone\" }", "{ file = \"empty\" }", "{ env = \"HISYNC_NOT_SET\" }"]);
    assert!(problems.iter().all(|problem| !problem.message.contains("hunter2")));
}
