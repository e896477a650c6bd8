//! Code tables as a person works with them: which local codes no table knows, and how one is added.
//!
//! A table is a CSV file beside its mapping, and stays one: whoever adds a code here or in a spreadsheet does the same
//! thing. What it concerns is mapped again when the configuration is loaded ([`super::Again::catch_up`]).

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Readers;
use crate::mapping::{EditError, Files, Mapping, add_code};
use crate::store::UnknownCode;

/// A local code that no table knows, with the table that should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unmapped {
    /// The code table of the field; `None` where no configured mapping reads the field by one.
    pub table: Option<String>,
    /// The source's name for the field.
    pub source_field: Option<String>,
    /// The code, and what it concerns.
    #[serde(flatten)]
    pub code: UnknownCode,
}

/// Names the table and the source's field of unknown codes.
pub fn unmapped(readers: &Readers, codes: Vec<UnknownCode>) -> Vec<Unmapped> {
    let named = codes.into_iter().map(|code| {
        let normaliser = readers.iter().find(|(stream, _)| stream.as_str() == code.stream).map(|(_, of)| &of.0);
        let uses = normaliser.map(|normaliser| normaliser.mapping().codes_of(&code.path)).unwrap_or_default();
        let first = uses.first();
        let source_field = first.map(|used| used.source()).filter(|field| !field.is_empty());
        Unmapped { table: first.map(|used| used.table().to_owned()), source_field, code }
    });
    named.collect()
}

/// A code table, and the words that it may lead to as far as it does already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableWords {
    /// The stream whose mapping has it.
    pub stream: String,
    /// Its name in the mapping.
    pub table: String,
    /// Whether it is a file, to which a code can be added.
    pub editable: bool,
    /// The standard codes that its local codes stand for, the first few hundred.
    pub standards: BTreeSet<String>,
}

/// Standard codes that are listed of a table.
const WORDS: usize = 300;

/// The code tables of the mappings in force, by stream and name.
pub fn tables(readers: &Readers) -> Vec<TableWords> {
    let mut tables = Vec::new();
    for (stream, (normaliser, _)) in readers {
        let mapping = normaliser.mapping();
        for (table, codes) in mapping.codes() {
            let standards: BTreeSet<String> = codes.into_values().map(str::to_owned).collect();
            tables.push(TableWords {
                stream: stream.as_str().to_owned(),
                table: table.to_owned(),
                editable: mapping.table_file(table).flatten().is_some(),
                standards: standards.into_iter().take(WORDS).collect(),
            });
        }
    }
    tables.sort_by(|a, b| (&a.stream, &a.table).cmp(&(&b.stream, &b.table)));
    tables
}

/// A code to be added to a table.
#[derive(Clone, Debug, Default, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCode {
    /// The table's name in the mapping.
    pub table: String,
    /// The source's code.
    pub local: String,
    /// The canonical word.
    pub standard: String,
    /// What the source calls it, for the column `local_name`.
    #[serde(default)]
    pub name: Option<String>,
    /// The stream whose mapping is meant (`source/stream`), where several have a table of that name.
    #[serde(default)]
    pub stream: Option<String>,
}

/// Why a code is not added.
#[derive(Debug, thiserror::Error)]
pub enum CodesError {
    /// No configured mapping has the table.
    #[error("no configured mapping has a code table {table:?}{hint}")]
    NoTable {
        /// The name that was given.
        table: String,
        /// The tables that there are.
        hint: String,
    },
    /// The table's codes stand in the mapping itself.
    #[error("the codes of {table:?} stand in the mapping itself: add `{local:?} = \"…\"` to its `inline` in {file}")]
    Inline {
        /// The table.
        table: String,
        /// The code that is to be added.
        local: String,
        /// The mapping.
        file: String,
    },
    /// Several files are meant.
    #[error("several mappings have a code table {table:?} of their own; name one with --stream: {streams}")]
    Ambiguous {
        /// The table.
        table: String,
        /// The streams that have one.
        streams: String,
    },
    /// The file can't take the code.
    #[error("{file}: {cause}")]
    Edit {
        /// The table's file.
        file: String,
        /// Why.
        #[source]
        cause: EditError,
    },
    /// A mapping would have a problem with it.
    #[error("the mapping would not accept it: {0}")]
    Refused(String),
    /// The file can't be read or written.
    #[error("{operation} {file}")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The table's file.
        file: String,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
}

/// What was added, and what it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The table's file.
    pub file: PathBuf,
    /// The streams whose mappings use it.
    pub streams: Vec<String>,
    /// Records in the archive that hold the code, held or delivered with an issue: they are mapped again.
    pub concerned: i64,
}

/// Checks that every mapping that uses the table accepts the code, then writes it into the table's file in one step:
/// whoever reads the file sees it without the code or with it. Blocks for the time of a few small files.
pub fn add(readers: &Readers, unknown: &[UnknownCode], new: &NewCode) -> Result<Added, CodesError> {
    let file = table_file(readers, new)?;
    let shown = file.display().to_string();
    let failed = |operation| {
        let file = shown.clone();
        move |cause| CodesError::File { operation, file, cause }
    };
    let text = std::fs::read_to_string(&file).map_err(failed("read"))?;
    let edited = add_code(&text, &new.local, &new.standard, new.name.as_deref())
        .map_err(|cause| CodesError::Edit { file: shown.clone(), cause })?;
    let edit = Edited { path: &file, text: &edited };
    let mut streams = BTreeSet::new();
    let mut concerned = 0;
    for (stream, (normaliser, _)) in readers {
        let mapping = normaliser.mapping();
        if !mapping.files().contains(&file) {
            continue;
        }
        if let Some(first) = mapping.files().first() {
            Mapping::compile(first, mapping.entity(), &edit).map_err(|problems| {
                let told = problems.iter().map(|problem| match &problem.hint {
                    Some(hint) => format!("{} ({hint})", problem.message),
                    None => problem.message.clone(),
                });
                CodesError::Refused(told.collect::<Vec<_>>().join("; "))
            })?;
        }
        streams.insert(stream.as_str().to_owned());
        let of = unknown.iter().filter(|code| code.stream == stream.as_str() && code.value == new.local);
        let read = |code: &&UnknownCode| mapping.codes_of(&code.path).iter().any(|used| used.table() == new.table);
        concerned += of.filter(read).map(|code| code.count).sum::<i64>();
    }
    replace(&file, &edited).map_err(failed("write"))?;
    Ok(Added { file, streams: streams.into_iter().collect(), concerned })
}

/// The one file that holds the table.
fn table_file(readers: &Readers, new: &NewCode) -> Result<PathBuf, CodesError> {
    let mut files: BTreeSet<&Path> = BTreeSet::new();
    let mut streams = BTreeSet::new();
    let mut inline = None;
    let mut tables = BTreeSet::new();
    for (stream, (normaliser, _)) in readers {
        let mapping = normaliser.mapping();
        tables.extend(mapping.codes().into_keys().map(str::to_owned));
        if new.stream.as_ref().is_some_and(|only| only != stream.as_str()) {
            continue;
        }
        match mapping.table_file(&new.table) {
            None => continue,
            Some(None) => inline = mapping.files().first(),
            Some(Some(file)) => _ = files.insert(file),
        }
        streams.insert(stream.as_str());
    }
    match (files.len(), inline) {
        (1, None) => Ok(files.into_iter().next().map(Path::to_owned).unwrap_or_default()),
        (0, Some(mapping)) => Err(CodesError::Inline {
            table: new.table.clone(),
            local: new.local.clone(),
            file: mapping.display().to_string(),
        }),
        (0, None) => {
            let names: Vec<String> = tables.into_iter().collect();
            let hint = if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) };
            Err(CodesError::NoTable { table: new.table.clone(), hint })
        }
        _ => {
            let streams = streams.into_iter().collect::<Vec<_>>().join(", ");
            Err(CodesError::Ambiguous { table: new.table.clone(), streams })
        }
    }
}

/// The disk, with one file as it is about to be.
struct Edited<'e> {
    path: &'e Path,
    text: &'e str,
}

impl Files for Edited<'_> {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        if path == self.path { Ok(self.text.to_owned()) } else { std::fs::read_to_string(path) }
    }
}

/// Replaces a file's content in one step that survives a crash; its permissions stay.
fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.set_permissions(std::fs::metadata(&path)?.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    };
    write().inspect_err(|_| _ = std::fs::remove_file(&beside))?;
    std::fs::File::open(folder)?.sync_all()
}
