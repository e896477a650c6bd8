//! Problems of files that people write: what is wrong, where exactly, and what to write instead.
//!
//! Configuration and mapping files are checked as a whole: every problem is reported at once, with
//! file, line, a caret and a hint, and a file with any problem replaces nothing (P10).

mod render;

use std::ops::Range;
use std::path::PathBuf;

pub use render::{ProblemJson, render, shown, to_json};

/// One thing that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The bytes of the file that it is about; `None` for the file as a whole.
    pub span: Option<Range<usize>>,
    /// A stable word, e.g. `unknown-key`.
    pub code: &'static str,
    /// What is wrong: a lowercase fragment.
    pub message: String,
    /// What to write instead, or where to look.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem of a span of a file.
    pub fn new(
        file: impl Into<PathBuf>,
        span: impl Into<Option<Range<usize>>>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Problem {
        Problem { file: file.into(), span: span.into(), code, message: message.into(), hint: None }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Problem {
        self.hint = Some(hint.into());
        self
    }
}

/// The code of a problem whose span is a secret in clear text; the span is never shown.
pub const LITERAL_SECRET: &str = "literal-secret";

/// The candidate that a person most likely meant, if any is near enough to be worth naming.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = written.to_lowercase();
    let allowed = (folded.chars().count() / 3).max(2);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&folded, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests;
