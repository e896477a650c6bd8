//! Problems as people and as programs read them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ariadne::{Color, Config, IndexType, Label, Report, ReportKind, Source};
use serde::Serialize;

use super::Problem;

/// A [`Problem`] as `--json` prints it. Lines and columns start at 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemJson {
    /// The file, relative to the working directory where it lies below it.
    pub file: String,
    /// The line; absent where the problem is about the file as a whole.
    pub line: Option<usize>,
    /// The column; absent where the problem is about the file as a whole.
    pub column: Option<usize>,
    /// The stable word for this kind of problem.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Renders problems with an excerpt of the file, a caret and the hint, in the order of the files.
///
/// The files are read again; one that can't be read is named without an excerpt.
pub fn render(problems: &[Problem], colour: bool) -> String {
    let mut texts = Texts::new(problems);
    let mut out = String::new();
    for problem in ordered(problems) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&render_one(problem, &mut texts, colour));
    }
    out
}

/// The same problems, in the same order, for programs.
pub fn to_json(problems: &[Problem]) -> Vec<ProblemJson> {
    let mut texts = Texts::new(problems);
    let place = |problem: &Problem, texts: &mut Texts<'_>| {
        let text = texts.get(problem)?;
        let start = clip(&text, problem.span.as_ref()?).start;
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[..start].matches('\n').count() + 1;
        Some((line, text[line_start..start].chars().count() + 1))
    };
    ordered(problems)
        .into_iter()
        .map(|problem| {
            let place = place(problem, &mut texts);
            ProblemJson {
                file: shown(&problem.file),
                line: place.map(|(line, _)| line),
                column: place.map(|(_, column)| column),
                code: problem.code,
                message: problem.message.clone(),
                hint: problem.hint.clone(),
            }
        })
        .collect()
}

/// By file, then by place, whole-file problems first: the same input gives the same report.
fn ordered(problems: &[Problem]) -> Vec<&Problem> {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    let place = |problem: &Problem| problem.span.as_ref().map(|span| (span.start, span.end));
    sorted.sort_by(|a, b| (&a.file, place(a), &a.message).cmp(&(&b.file, place(b), &b.message)));
    sorted.dedup();
    sorted
}

fn render_one(problem: &Problem, texts: &mut Texts<'_>, colour: bool) -> String {
    let file = shown(&problem.file);
    let (Some(text), Some(span)) = (texts.get(problem), problem.span.as_ref()) else {
        let hint = problem.hint.as_ref().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
        return format!("[{}] Error: {}\n  in {file}\n{hint}", problem.code, problem.message);
    };
    let span = clip(&text, span);
    let config = Config::default().with_color(colour).with_index_type(IndexType::Byte).with_tab_width(4);
    let mut report = Report::build(ReportKind::Error, (file.clone(), span.clone()))
        .with_config(config)
        .with_code(problem.code)
        .with_message(&problem.message)
        .with_label(Label::new((file.clone(), span)).with_message("here").with_color(Color::Red));
    if let Some(hint) = &problem.hint {
        report = report.with_help(hint);
    }
    let mut bytes = Vec::new();
    // Writing to memory can't fail; an excerpt that can't be drawn leaves the plain words.
    if report.finish().write((file.clone(), Source::from(text)), &mut bytes).is_err() {
        return format!("[{}] Error: {}\n  in {file}\n", problem.code, problem.message);
    }
    let drawn = String::from_utf8_lossy(&bytes);
    drawn.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The first line of the span, on character boundaries and never empty where there is text: the file
/// may have changed since it was checked, and a caret under a whole table says less than one under
/// its head.
fn clip(text: &str, span: &Range<usize>) -> Range<usize> {
    let floor = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(span.start);
    let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
    let end = floor(span.end).min(line_end);
    if end > start {
        return start..end;
    }
    let next = text[start..].chars().next().map_or(start, |first| start + first.len_utf8());
    start..next
}

/// The path as people type it: relative to the working directory where it lies below it.
pub fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// The files' texts, read when first asked for, without the secrets that stand in them.
struct Texts<'a> {
    problems: &'a [Problem],
    read: BTreeMap<PathBuf, Option<String>>,
}

impl<'a> Texts<'a> {
    fn new(problems: &'a [Problem]) -> Texts<'a> {
        Texts { problems, read: BTreeMap::new() }
    }

    /// The text that a problem points into.
    fn get(&mut self, problem: &Problem) -> Option<String> {
        if let Some(known) = self.read.get(&problem.file) {
            return known.clone();
        }
        let text = self.masked(&problem.file);
        self.read.insert(problem.file.clone(), text.clone());
        text
    }

    /// A secret in clear text is not repeated on a terminal or in a log, not even in the excerpt of
    /// another problem on its line: each of its bytes is shown as a star.
    fn masked(&self, file: &Path) -> Option<String> {
        let mut text = std::fs::read_to_string(file).ok()?;
        let here = |problem: &&Problem| problem.code == super::LITERAL_SECRET && problem.file == file;
        for span in self.problems.iter().filter(here).filter_map(|problem| problem.span.clone()) {
            let span = span.start..span.end.min(text.len());
            // As many bytes as before, line ends kept: no other place moves.
            if let Some(secret) = text.get(span.clone()) {
                let stars: String = secret.bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
                text.replace_range(span, &stars);
            }
        }
        Some(text)
    }
}
