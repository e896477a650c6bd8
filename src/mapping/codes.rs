//! Code tables: a source's local codes and what they mean, inline or as CSV.

use std::sync::Arc;

use connector_api::Value;

use super::plan::{CodeTable, Lookup, PivotLine};
use super::readers::text::trim;
use super::tree::{Loader, Spot, Table, Tree, beside};
use crate::diagnose::Problem;

/// A table with the place of each standard code, so that a wrong one can be shown.
pub(super) struct Loaded {
    pub(super) table: Arc<CodeTable>,
    pub(super) places: Vec<(String, Spot)>,
}

/// Loads a table: the file first, inline codes over it.
pub(super) fn load(name: &str, table: &Table, flag: bool, loader: &mut Loader<'_>) -> Loaded {
    let mut codes = Lookup::default();
    let mut places = Vec::new();
    let mut from = None;
    if let Some(entry) = table.get("file") {
        match entry.tree.text() {
            Some(file) => {
                let path = beside(&entry.tree.spot.file, file);
                if let Some(text) = loader.codes(&path, Some(&entry.tree.spot)) {
                    from = Some(path.clone());
                    read_csv(&text, Arc::from(path.as_path()), loader, &mut codes, &mut places);
                }
            }
            None => loader.problems.push(entry.tree.spot.problem("wrong-type", "`file` names a CSV file")),
        }
    }
    for (local, entry) in table.get("inline").and_then(|entry| entry.tree.table()).into_iter().flatten() {
        match entry.tree.text() {
            Some(standard) => {
                codes.insert(trim(local).to_owned(), standard.to_owned());
                places.push((standard.to_owned(), entry.tree.spot.clone()));
            }
            None => loader.problems.push(entry.tree.spot.problem("wrong-type", "a standard code is text in quotes")),
        }
    }
    Loaded { table: Arc::new(CodeTable { name: name.to_owned(), file: from, codes, flag }), places }
}

/// Loads the dictionary of a wide table: `column,item_code,item_name,unit,reference`, and whatever
/// else its lines are to be read by.
pub(super) fn load_pivot(tree: &Tree, loader: &mut Loader<'_>) -> Vec<PivotLine> {
    let Some(file) = tree.text() else {
        loader.problems.push(tree.spot.problem("wrong-type", "`pivot` names a CSV file"));
        return Vec::new();
    };
    let path = beside(&tree.spot.file, file);
    let Some(text) = loader.text(&path, Some(&tree.spot)) else { return Vec::new() };
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let Some(column) = headers.iter().position(|header| trim(header) == "column") else {
        let problem = Problem::new(
            &path,
            0..text.lines().next().map_or(0, str::len),
            "csv-column",
            "the column `column` is missing",
        );
        loader.problems.push(problem.hint("the first line is: column,item_code,item_name,unit,reference"));
        return Vec::new();
    };
    let mut lines: Vec<PivotLine> = Vec::new();
    for record in reader.records() {
        let at = reader_position(&record);
        let name = record.as_ref().ok().and_then(|record| record.get(column)).map(trim).unwrap_or_default();
        let place = at..at + text[at.min(text.len())..].lines().next().map_or(0, str::len);
        let Ok(record) = &record else {
            loader.problems.push(Problem::new(&path, place, "csv-line", "this line can't be read"));
            continue;
        };
        if name.is_empty() || lines.iter().any(|line| line.column == name) {
            let message =
                if name.is_empty() { "this line names no column" } else { "this column stands here a second time" };
            loader.problems.push(Problem::new(&path, place, "duplicate-code", message));
            continue;
        }
        let cell = |text: &str| if trim(text).is_empty() { Value::Null } else { Value::from(trim(text)) };
        let cells = headers.iter().zip(record.iter()).map(|(header, text)| (trim(header).to_owned(), cell(text)));
        lines.push(PivotLine { column: name.to_owned(), cells: cells.collect() });
    }
    lines
}

/// Where a record of a CSV file, or the error in its place, stands.
fn reader_position(record: &Result<csv::StringRecord, csv::Error>) -> usize {
    let position = match record {
        Ok(record) => record.position().map(csv::Position::byte),
        Err(error) => error.position().map(csv::Position::byte),
    };
    position.and_then(|byte| usize::try_from(byte).ok()).unwrap_or(0)
}

fn read_csv(
    text: &str,
    file: Arc<std::path::Path>,
    loader: &mut Loader<'_>,
    codes: &mut Lookup<String, String>,
    places: &mut Vec<(String, Spot)>,
) {
    let skipped = text.len() - text.trim_start_matches('\u{feff}').len();
    let text = &text[skipped..];
    let spot = |from: usize| {
        let line = text
            .get(from..)
            .map_or(0, |rest| rest.trim_start_matches(['\r', '\n']).find(['\r', '\n']).unwrap_or(rest.len()));
        let lead = text.get(from..).map_or(0, |rest| rest.len() - rest.trim_start_matches(['\r', '\n']).len());
        Spot { file: Arc::clone(&file), span: from + lead + skipped..from + lead + line + skipped }
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let (Some(local), Some(standard)) = (column("local_code"), column("standard_code")) else {
        let missing = if column("local_code").is_none() { "local_code" } else { "standard_code" };
        let problem = spot(0).problem("csv-column", format!("the column `{missing}` is missing"));
        loader.problems.push(problem.hint("the first line is: local_code,local_name,standard_code,standard_name"));
        return;
    };
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let at = error.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
                loader.problems.push(spot(at).problem("csv-line", "this line can't be read"));
                continue;
            }
        };
        let at = record.position().map_or(0, |position| usize::try_from(position.byte()).unwrap_or(0));
        let place = spot(at);
        let (Some(local), Some(standard)) = (record.get(local), record.get(standard)) else {
            let problem = place.problem("csv-line", "this line has too few columns");
            loader.problems.push(problem);
            continue;
        };
        let (local, standard) = (trim(local), trim(standard));
        // A code that is listed and not decided yet is as unknown as one that is not listed.
        if standard.is_empty() {
            continue;
        }
        if codes.insert(local.to_owned(), standard.to_owned()).is_some() {
            loader
                .problems
                .push(place.problem("duplicate-code", format!("the code {local:?} stands here a second time")));
        }
        places.push((standard.to_owned(), place));
    }
}

/// Why a code can't be written into a table's file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The file does not say which columns hold the codes.
    #[error("the first line does not name the columns local_code and standard_code")]
    NoColumns,
    /// A line can't be read, so that what it says of the code is not known.
    #[error("line {0} can't be read as CSV: correct it first")]
    Unreadable(u64),
    /// The table has the code already.
    #[error("line {line} says already that this code is {standard:?}; where that is wrong, correct the line")]
    Known {
        /// Where, counted from 1.
        line: u64,
        /// What it is mapped to.
        standard: String,
    },
    /// One of the texts can't stand in a table.
    #[error("{0} must not be empty, nor begin or end with a blank, nor contain a line break")]
    Unwritable(&'static str),
}

/// The text of a code table's file with one more code; all else stays as it is, byte for byte: a code that is listed
/// without a standard code is completed in its line, any other is added at the end.
pub fn add_code(text: &str, local: &str, standard: &str, name: Option<&str>) -> Result<String, EditError> {
    let fit = |text: &str| !text.is_empty() && trim(text) == text && !text.contains(['\r', '\n']);
    for (what, written) in [("the local code", Some(local)), ("the standard code", Some(standard)), ("the name", name)]
    {
        if written.is_some_and(|text| !fit(text)) {
            return Err(EditError::Unwritable(what));
        }
    }
    let body = text.trim_start_matches('\u{feff}');
    let skipped = text.len() - body.len();
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(body.as_bytes());
    let headers = reader.headers().cloned().unwrap_or_default();
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let (Some(at_local), Some(at_standard)) = (column("local_code"), column("standard_code")) else {
        return Err(EditError::NoColumns);
    };
    let at_name = column("local_name");
    let ending = if body.contains("\r\n") { "\r\n" } else { "\n" };
    for record in reader.records() {
        let record = record.map_err(|error| EditError::Unreadable(error.position().map_or(0, csv::Position::line)))?;
        if record.get(at_local).map(trim) != Some(local) {
            continue;
        }
        let position = record.position().cloned().unwrap_or_else(csv::Position::new);
        let known = record.get(at_standard).map(trim).unwrap_or_default();
        if !known.is_empty() {
            return Err(EditError::Known { line: position.line(), standard: known.to_owned() });
        }
        let mut cells: Vec<&str> = record.iter().collect();
        cells.resize(cells.len().max(at_standard + 1), "");
        cells[at_standard] = standard;
        if let (Some(at), Some(name)) = (at_name, name) {
            cells.resize(cells.len().max(at + 1), "");
            cells[at] = name;
        }
        let from = usize::try_from(position.byte()).unwrap_or(0);
        // The reader counts the line's end of the record before as this one's beginning where it is CRLF.
        let from = from + body[from..].len() - body[from..].trim_start_matches(['\r', '\n']).len();
        let to = from + line_length(&body[from..]);
        return Ok(format!("{}{}{}", &text[..skipped + from], written(&cells), &body[to..]));
    }
    let mut cells = vec![""; headers.len()];
    (cells[at_local], cells[at_standard]) = (local, standard);
    if let (Some(at), Some(name)) = (at_name, name) {
        cells[at] = name;
    }
    let between = if body.ends_with(['\n', '\r']) { "" } else { ending };
    Ok(format!("{text}{between}{}{ending}", written(&cells)))
}

/// How long the first record of a text is, without its line end: a quoted cell may hold line breaks.
fn line_length(text: &str) -> usize {
    let mut quoted = false;
    let end = text.char_indices().find(|(_, c)| {
        quoted ^= *c == '"';
        !quoted && matches!(c, '\r' | '\n')
    });
    end.map_or(text.len(), |(at, _)| at)
}

/// Cells as one line of CSV.
fn written(cells: &[&str]) -> String {
    let quote = |cell: &&str| match cell.contains([',', '"', '\r', '\n']) || trim(cell) != *cell {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => (*cell).to_owned(),
    };
    cells.iter().map(quote).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{EditError, add_code};

    const TABLE: &str = "local_code,local_name,standard_code,standard_name\n1,男,male,\n2,女,,\n";

    #[test]
    fn a_code_is_added_at_the_end_and_all_else_stays() {
        assert_eq!(add_code(TABLE, "9", "unknown", None), Ok(format!("{TABLE}9,,unknown,\n")));
        let crlf = "\u{feff}standard_code,local_code\r\nmale,1";
        let added = add_code(crlf, "a,\"b", "female", Some("女")).unwrap();
        assert_eq!(added, format!("{crlf}\r\nfemale,\"a,\"\"b\"\r\n"));
    }

    #[test]
    fn a_code_that_nobody_had_decided_is_completed_in_its_line() {
        let expected = "local_code,local_name,standard_code,standard_name\n1,男,male,\n2,女,female,\n";
        assert_eq!(add_code(TABLE, "2", "female", None).as_deref(), Ok(expected));
        let crlf = TABLE.replace('\n', "\r\n");
        assert_eq!(add_code(&crlf, "2", "female", None), Ok(expected.replace('\n', "\r\n")));
    }

    #[test]
    fn a_code_that_is_decided_is_left_alone() {
        let known = EditError::Known { line: 2, standard: "male".to_owned() };
        assert_eq!(add_code(TABLE, "1", "female", None), Err(known));
        assert_eq!(add_code("a,b\n", "1", "female", None), Err(EditError::NoColumns));
        assert_eq!(add_code(TABLE, " 3", "female", None), Err(EditError::Unwritable("the local code")));
        assert_eq!(add_code(TABLE, "3", "fe\nmale", None), Err(EditError::Unwritable("the standard code")));
    }
}
