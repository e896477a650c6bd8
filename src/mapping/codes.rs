//! Code tables: a source's local codes and what they mean, inline or as CSV.

use std::collections::HashMap;
use std::sync::Arc;

use connector_api::Value;

use super::plan::{CodeTable, PivotLine};
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
    let mut codes = HashMap::new();
    let mut places = Vec::new();
    if let Some(entry) = table.get("file") {
        match entry.tree.text() {
            Some(file) => {
                let path = beside(&entry.tree.spot.file, file);
                if let Some(text) = loader.text(&path, Some(&entry.tree.spot)) {
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
    Loaded { table: Arc::new(CodeTable { name: name.to_owned(), codes, flag }), places }
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
    codes: &mut HashMap<String, String>,
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
