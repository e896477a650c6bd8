//! The real binary: exit code, stdout and stderr of each case in `fixtures/cli`.
//!
//! A case is one file: its first line `$ hisync …`, the rest what that does. HISYNC_BLESS=1 rewrites
//! the rest. Paths are relative to the root of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

fn run(arguments: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hisync"))
        .args(arguments.split_whitespace())
        .env_remove("HISYNC_LOG")
        .env_remove("HISYNC_CONFIG")
        .env_remove("RUST_BACKTRACE")
        // Nothing of the machine decides how help is wrapped or coloured.
        .env("COLUMNS", "110")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary starts");
    let code = output.status.code().map_or("signal".to_owned(), |code| code.to_string());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
    format!("exit {code}\n--- stdout\n{}--- stderr\n{}", text(&output.stdout), text(&output.stderr))
}

fn check(case: &Path) -> Result<(), String> {
    let written = std::fs::read_to_string(case).expect("a readable case");
    let command = written.lines().next().unwrap_or_default();
    let arguments = command.strip_prefix("$ hisync").expect("a case begins with `$ hisync`");
    let now = format!("{command}\n{}", run(arguments));
    if std::env::var_os("HISYNC_BLESS").is_some() {
        std::fs::write(case, &now).expect("a writable case");
        return Ok(());
    }
    if now == written { Ok(()) } else { Err(format!("{} differs; now:\n{now}", case.display())) }
}

#[test]
fn commands_answer_as_their_cases_say() {
    let cases = std::fs::read_dir("fixtures/cli").expect("the cases");
    let mut cases: Vec<PathBuf> = cases.map(|entry| entry.expect("a case").path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    let wrong: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_bug() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hisync"))
        .arg("schema")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the binary ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
