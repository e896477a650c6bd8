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

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use connector_api::Document;

use crate::diagnose::Problem;
pub use lines::{Line, Made, paths_of, without_places};
pub use shown::expectation;

use crate::model::{Compose, EntityKey, EntityType, Held, Outcome, Part};

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
        Ok(Mapping {
            entity,
            version: compiled.version,
            files: compiled.files,
            plan: compiled.plan,
            lines: compiled.lines,
        })
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

    /// Every file that it was compiled from, in the order of reading.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What the record becomes: one outcome for each entity in it, at least one. Pure.
    pub fn apply(&self, context: &Context, input: Input<'_>) -> Vec<Outcome> {
        apply::apply(&self.plan, self.entity, context, input)
    }
}

/// Makes one entity from the parts that several streams gave, with every rule at its usual weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Composer;

impl Compose for Composer {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        static USUAL: rules::Weights = rules::Weights::usual();
        compose::compose(key, parts, |_| &USUAL)
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        compose::doubt_change(key, before, after)
    }

    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        critical::is_news(before, after, now)
    }
}

/// Makes one entity from the parts that several streams gave, under the `[rules]` of their mappings:
/// those of the stream that gives the header count.
#[derive(Clone, Debug, Default)]
pub struct SiteComposer {
    /// By stream, only those that change something.
    changed: BTreeMap<String, rules::Weights>,
}

impl SiteComposer {
    /// Takes the rules of each stream's mapping.
    pub fn new<'m>(streams: impl IntoIterator<Item = (String, &'m Mapping)>) -> SiteComposer {
        let changed = streams.into_iter().filter(|(_, mapping)| !mapping.plan.weights.changed.is_empty());
        SiteComposer { changed: changed.map(|(stream, mapping)| (stream, mapping.plan.weights.clone())).collect() }
    }
}

impl Compose for SiteComposer {
    fn compose(&self, key: &EntityKey, parts: &[Part<'_>]) -> Outcome {
        static USUAL: rules::Weights = rules::Weights::usual();
        compose::compose(key, parts, |stream| self.changed.get(stream).unwrap_or(&USUAL))
    }

    fn doubt_change(&self, key: &EntityKey, before: &[u8], after: &[u8]) -> Option<Held> {
        compose::doubt_change(key, before, after)
    }

    fn is_news(&self, before: Option<&[u8]>, after: &[u8], now: DateTime<Utc>) -> bool {
        critical::is_news(before, after, now)
    }
}
