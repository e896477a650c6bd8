//! Where a command writes to.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use super::ColourChoice;

/// The two streams of a command. A reader that went away (`| head`) is no error.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    colour_out: bool,
    colour_err: bool,
}

impl Terminal {
    pub(super) fn new(choice: ColourChoice) -> Terminal {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let decide = |is_terminal: bool| match choice {
            ColourChoice::Auto => allowed && is_terminal,
            ColourChoice::Always => true,
            ColourChoice::Never => false,
        };
        Terminal {
            colour_out: decide(std::io::stdout().is_terminal()),
            colour_err: decide(std::io::stderr().is_terminal()),
        }
    }

    /// Whether data may be coloured.
    pub fn colour_out(&self) -> bool {
        self.colour_out
    }

    /// Whether notes may be coloured.
    pub fn colour_err(&self) -> bool {
        self.colour_err
    }

    /// Writes data to stdout, ending the line where the text does not.
    pub fn data(&self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(format!("{text}{end}").as_bytes()).and_then(|()| out.flush());
    }

    /// Writes one JSON value to stdout.
    pub fn json<T: Serialize>(&self, value: &T) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&text),
            Err(error) => self.note(&format!("error: write JSON: {error}")),
        }
    }

    /// Writes what is not data to stderr.
    pub fn note(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let _ = std::io::stderr().lock().write_all(format!("{text}{end}").as_bytes());
    }

    /// Writes over the last such note on stderr, which must be a terminal; an empty one wipes it.
    pub fn note_in_place(&self, text: &str) {
        let _ = std::io::stderr().lock().write_all(format!("\r\x1b[2K{text}").as_bytes());
    }
}
