//! `hisync mapping`: the cases beside the mappings.

pub(super) mod cases;

use std::path::PathBuf;

use serde_json::json;

use self::cases::{Case, Verdict};
use super::{Exit, Terminal};
use crate::diagnose::{self, Problem, shown};

/// Works on mapping files, without a configuration and without a source.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync mapping test                   all cases below ./mappings
  hisync mapping test --accept --help   the layout of cases, and what is accepted")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What is done.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Test(TestArgs),
}

/// Runs the cases beside the mappings: inputs, and what is expected to become of them.
///
/// The cases of `mappings/VENDOR/exam_report.toml` are in `mappings/VENDOR/cases/exam_report/`: `input-NAME.json`
/// (the record as hisync archives it, or plain JSON), `.hl7` or `.xml`, each with `expected-NAME.json`. For a file
/// that is called `mapping.toml` they may lie beside it. A `case.toml` there may set `hospital`, `campus`, `source`,
/// `adapter`, `timezone` and `source_ref`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync mapping test                           all cases below ./mappings
  hisync mapping test mappings/tj2000           those of one vendor
  hisync mapping test mappings/tj2000 --accept  shows each difference, then takes it as expected

Exit codes: 0 every case becomes what is expected; 1 some don't, or have no expectation yet; 2 a mapping or an
input can't be read, or nothing is there to test.")]
struct TestArgs {
    /// Mapping files, or folders with mappings; ./mappings where absent.
    paths: Vec<PathBuf>,
    /// Rewrites expectations that differ, after showing the difference.
    #[arg(long)]
    accept: bool,
    /// Prints one JSON object: `cases`, `untested`, `problems`.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let Command::Test(args) = &args.command;
    test(args, terminal)
}

fn test(args: &TestArgs, terminal: &Terminal) -> Exit {
    let paths = if args.paths.is_empty() { vec![PathBuf::from("mappings")] } else { args.paths.clone() };
    let mut mappings = Vec::new();
    for path in &paths {
        if let Err(message) = cases::mappings(path, &mut mappings) {
            terminal.note(&format!("error: {message}"));
            return Exit::Usage;
        }
    }
    mappings.sort();
    mappings.dedup();
    if mappings.is_empty() {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        terminal.note(&format!("error: there is no mapping in {}", places.join(", ")));
        return Exit::Usage;
    }
    let (mut run, mut problems, mut untested): (Vec<Case>, Vec<Problem>, Vec<PathBuf>) = Default::default();
    for mapping in &mappings {
        match cases::run(mapping) {
            Ok(cases) if cases.is_empty() => untested.push(mapping.clone()),
            Ok(cases) => run.extend(cases),
            Err(found) => problems.extend(found),
        }
    }
    let mut unwritten = false;
    for case in run.iter_mut().filter(|case| args.accept && case.verdict != Verdict::Same) {
        if let Verdict::Unreadable(_) = case.verdict {
            continue;
        }
        if !args.json {
            terminal.data(&case.text(terminal.colour_out()));
        }
        if let Err(message) = case.accept() {
            terminal.note(&format!("error: {message}"));
            unwritten = true;
        }
    }
    if args.json {
        let cases: Vec<_> = run.iter().map(Case::json).collect();
        let untested: Vec<String> = untested.iter().map(|path| shown(path)).collect();
        terminal.json(&json!({ "cases": cases, "untested": untested, "problems": diagnose::to_json(&problems) }));
    } else {
        for case in run.iter().filter(|case| !matches!(case.verdict, Verdict::Same | Verdict::Accepted)) {
            terminal.data(&case.text(terminal.colour_out()));
        }
        terminal.note(&diagnose::render(&problems, terminal.colour_err()));
        terminal.data(&summary(&run, &untested, problems.len()));
    }
    let unreadable = run.iter().any(|case| matches!(case.verdict, Verdict::Unreadable(_)));
    if unreadable || unwritten || !problems.is_empty() {
        Exit::Usage
    } else if run.iter().any(|case| matches!(case.verdict, Verdict::Differs | Verdict::New)) {
        Exit::NotFine
    } else {
        Exit::Fine
    }
}

fn summary(run: &[Case], untested: &[PathBuf], problems: usize) -> String {
    let count = |verdict: &Verdict| run.iter().filter(|case| case.verdict == *verdict).count();
    let mut text = format!("{} cases: {} as expected", run.len(), count(&Verdict::Same));
    let unreadable = run.iter().filter(|case| matches!(case.verdict, Verdict::Unreadable(_))).count();
    for (word, count) in [
        ("differ", count(&Verdict::Differs)),
        ("without an expectation (--accept writes it)", count(&Verdict::New)),
        ("accepted", count(&Verdict::Accepted)),
        ("unreadable", unreadable),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {word}"));
        }
    }
    if problems > 0 {
        text.push_str(&format!("; {problems} problem(s) in mappings"));
    }
    for path in untested {
        text.push_str(&format!("\nno case: {}", shown(path)));
    }
    text
}

#[cfg(test)]
mod tests;
