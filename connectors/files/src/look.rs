//! What a person is shown of the folder: whether it can be used, and what waits in it. Nothing is
//! changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use connector_api::{Column, Discovered, FaultClass, Map, Probe, SourceError};
use rustix::fs::{Access, access};

use crate::folder::{self, Entry};
use crate::settings::Rules;
use crate::take::{self, written};
use crate::watch::{file_failed, listing_failed};

/// How many records of a file are shown.
const SAMPLE: usize = 5;

/// Whether the folders can be used, and how many files wait.
pub(crate) fn probe(rules: &Rules) -> Result<Probe, SourceError> {
    let entries = folder::look(&rules.folder).map_err(listing_failed)?;
    may(&rules.folder, "write to the watched folder")?;
    let mut findings = vec!["the folder can be listed and written to".to_owned()];
    for (word, dir) in [("done_dir", &rules.done), ("failed_dir", &rules.failed)] {
        findings.push(target(rules, word, dir)?);
    }
    for stream in rules.streams.iter().filter_map(|stream| stream.reading.attachments.as_ref()) {
        fs::read_dir(&stream.folder).map_err(|error| {
            file_failed("list the folder of attachments", error).hint("look at `attachments.folder` of the stream")
        })?;
    }
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &entries {
        *waiting.entry(kind(rules, entry)).or_default() += 1;
    }
    match waiting.is_empty() {
        true => findings.push("no file waits".to_owned()),
        false => findings.extend(waiting.into_iter().map(|(kind, count)| format!("{count} × {kind}"))),
    }
    Ok(Probe { findings, ..Probe::default() })
}

/// What is to be said of a folder into which files are moved.
fn target(rules: &Rules, word: &str, dir: &Path) -> Result<String, SourceError> {
    let existing = dir.ancestors().find(|dir| dir.exists()).unwrap_or(&rules.folder);
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev());
    may(existing, &format!("write to {word}"))?;
    let missing = if existing == dir { "" } else { ", and will be made" };
    let same = device(existing).ok() == device(&rules.folder).ok();
    Ok(match same {
        true => format!("{word} is on the folder's file system{missing}: a move is one step"),
        false => format!("{word} is on another file system{missing}: files are copied there before they are removed"),
    })
}

fn may(path: &Path, operation: &str) -> Result<(), SourceError> {
    access(path, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| file_failed(operation, error.into()))
}

/// What a file is to the source.
fn kind(rules: &Rules, entry: &Entry) -> String {
    match rules.stream_of(&entry.name) {
        _ if rules.ignore.is_match(&entry.name) => "ignored".to_owned(),
        Some(at) => format!("file of {}", rules.streams[at].id),
        None => "file of no stream".to_owned(),
    }
}

/// The files that wait, or the columns and first records of one.
pub(crate) fn discover(rules: &Rules, name: Option<&str>) -> Result<Vec<Discovered>, SourceError> {
    let mut entries = folder::look(&rules.folder).map_err(listing_failed)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let Some(name) = name else {
        let file = |entry: &Entry| Discovered {
            name: written(&entry.name),
            kind: kind(rules, entry),
            ..Discovered::default()
        };
        return Ok(entries.iter().map(file).collect());
    };
    let missing =
        |what: &str, hint: &str| SourceError::stop(FaultClass::Missing, what.to_owned()).hint(hint.to_owned());
    let entry = entries
        .iter()
        .find(|entry| written(&entry.name) == name)
        .ok_or_else(|| missing("find the file in the watched folder", "list the files by leaving its name out"))?;
    let stream = rules
        .stream_of(&entry.name)
        .map(|at| &rules.streams[at])
        .ok_or_else(|| missing("find the stream of the file", "no stream's `files` has a pattern for this name"))?;
    let read = take::read(rules, entry).map_err(|error| file_failed("read the file", error))?;
    let file = read.ok_or_else(|| SourceError::retry(FaultClass::Data, "read a file that is being written"))?;
    let (documents, count) = file.sample(stream, SAMPLE).map_err(|failure| {
        SourceError::stop(FaultClass::Data, "read the file by the settings of its stream").because(failure)
    })?;
    Ok(vec![Discovered {
        name: name.to_owned(),
        kind: kind(rules, entry),
        columns: documents.first().map(columns).unwrap_or_default(),
        rows: Some(count as u64),
        sample: documents,
    }])
}

fn columns(document: &Map) -> Vec<Column> {
    let column = |(name, value): (&std::sync::Arc<str>, &connector_api::Value)| Column {
        name: name.to_string(),
        type_name: value.kind().to_owned(),
        nullable: None,
    };
    document.iter().map(column).collect()
}
