//! Mapping: documents in a source's own shape become canonical entities, by files that a site
//! engineer can write.
//!
//! A file is read into a tree that knows its places (`tree`), compiled against the shape of the
//! model (`shape`, `compile`) into a plan (`plan`), and the plan is followed for each record
//! (`source` finds values, `apply` and `read` make a tree of them, `rules` judge the entity).
//! `readers` know what texts of hospitals say. Everything is a pure function of file and record.

mod apply;
mod attachment;
mod codes;
mod compile;
mod compose;
mod critical;
mod guard;
mod known;
mod lines;
mod node;
mod plan;
mod read;
pub mod readers;
pub mod rules;
mod shape;
mod shown;
mod source;
mod tree;
mod typed;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use connector_api::Document;

use crate::diagnose::Problem;
pub use lines::{Line, Made, paths_of, without_places};
pub use shown::expectation;

use crate::model::{Compose, EntityKey, EntityType, Held, Outcome, Part};

pub use codes::{EditError, add_code};
pub use guard::Site;
pub use usage::CodeUse;

/// Reads the files that mappings consist of, so that the engine itself touches no disk.
pub trait Files {
    /// The whole text of a file.
    fn read(&self, path: &Path) -> std::io::Result<String>;
}

/// A compiled mapping.
#[derive(Debug)]
pub struct Mapping {
    entity: EntityType,
    version: String,
    base: String,
    tables: BTreeMap<String, Arc<plan::CodeTable>>,
    files: Vec<PathBuf>,
    plan: plan::Plan,
    lines: Vec<Line>,
}

/// What a mapping knows beside the record: the facts of the configuration.
#[derive(Clone, Debug)]
pub struct Context {
    /// The upstream's id of this hospital.
    pub hospital: String,
    /// The campus.
    pub campus: String,
    /// The source's id.
    pub source: String,
    /// The connector's name.
    pub adapter: String,
    /// The hospital's time zone, for wall-clock times of the source.
    pub timezone: Tz,
}

/// A record as the mapping sees it.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What the record says.
    pub document: &'a Document,
    /// Where it came from inside the source.
    pub source_ref: &'a str,
    /// The character set it was decoded with, where that was a choice.
    pub charset: Option<&'a str>,
}

impl Mapping {
    /// Compiles a mapping file with all that it names; every problem at once.
    pub fn compile(path: &Path, entity: EntityType, files: &dyn Files) -> Result<Mapping, Vec<Problem>> {
        let compiled = compile::compile(path, entity, files)?;
        let compile::Compiled { plan, version, base, tables, files, lines } = compiled;
        Ok(Mapping { entity, version, base, tables, files, plan, lines })
    }

    /// The entity that a mapping file says it makes, itself or through what it extends; `None` for a file that is
    /// no mapping or says none that exists.
    pub fn entity_of(path: &Path, files: &dyn Files) -> Option<EntityType> {
        compile::entity_of(path, files)
    }

    /// The line that fills each field, in the order of the fields' names.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The same as [`Mapping::apply`], each outcome with the values that were taken for it.
    pub fn explain(&self, context: &Context, input: Input<'_>) -> Vec<(Outcome, Vec<Made>)> {
        apply::explain(&self.plan, self.entity, context, input)
    }

    /// The entity that it produces.
    pub fn entity(&self) -> EntityType {
        self.entity
    }

    /// Its name and version, `tj2000/exam_report@3f9c01aa2b4d`: changes with any byte of its files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its name and a digest of all but its code tables' files: two versions with the same one differ only in the
    /// codes that they know.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Its code tables: name, local code, standard code.
    pub fn codes(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        fn pairs(table: &plan::CodeTable) -> BTreeMap<&str, &str> {
            table.codes.iter().map(|(local, standard)| (local.as_str(), standard.as_str())).collect()
        }
        self.tables.iter().map(|(name, table)| (name.as_str(), pairs(table))).collect()
    }

    /// The CSV file of a code table; `None` where there is no such table, `Some(None)` where its codes stand in the
    /// mapping itself.
    pub fn table_file(&self, table: &str) -> Option<Option<&Path>> {
        self.tables.get(table).map(|table| table.file.as_deref())
    }

    /// Which code tables a field is read by, given its path in the entity (`groups[3].items[0].flag_source`).
    pub fn codes_of(&self, path: &str) -> Vec<CodeUse<'_>> {
        usage::of(&self.plan, path)
    }

    /// The source whose dictionaries its codes are of, where it names one.
    pub fn dictionary(&self) -> Option<&str> {
        self.plan.dictionary.as_deref()
    }

    /// Every file that it was compiled from, in the order of reading.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the record becomes: one outcome for each entity in it, at least one. Pure.
    pub fn apply(&self, context: &Context, input: Input<'_>) -> Vec<Outcome> {
        apply::apply(&self.plan, self.entity, context, input)
    }
}

static USUAL: rules::Weights = rules::Weights::usual();

/// Makes one entity from the parts that several streams gave, with every rule at its usual weight. See [`Site`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Composer;

impl Compose for Composer {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        compose::compose(key, parts, |_| &USUAL)
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        Composer::doubts(key, before, after, guard::SAME_VISIT_DAYS)
    }

    fn told_by_release(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Vec<u8>> {
        guard::naming_vanished(&*guard::report(key, before)?, guard::report(key, after)?)
    }

    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        critical::is_news(before, after, now)
    }
}
