//! Problems of files that people write: what is wrong, where exactly, and what to write instead.
//!
//! Configuration and mapping files are checked as a whole: every problem is reported at once, with
//! file, line, a caret and a hint, and a file with any problem replaces nothing (P10).

use std::ops::Range;
use std::path::PathBuf;

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
