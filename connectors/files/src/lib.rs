//! Files that a source system puts into a folder: CSV, TSV, fixed width, JSON, XML and HL7.
//!
//! A file is moved out of the folder only after [`connector_api::Intake::accept`] returned for all
//! of its records. If the agent dies in between, the file is read again, and every record is
//! recognised by its file's name and digest and its place in the file.
//!
//! The parts: `settings` checks, `format` makes records of a file's bytes and decodes them again,
//! `folder` lists, reads and moves, `watch` decides what is complete and goes in order.

mod folder;
mod format;
mod settings;
mod watch;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec};

pub use settings::{Complete, Format, Settings, StrayRows, Stream, Unit};

/// The connector kind `files`.
#[derive(Clone, Copy, Debug)]
pub struct Files;

impl ConnectorKind for Files {
    const NAME: &'static str = "files";
    const SUMMARY: &'static str = "takes CSV, fixed-width, JSON, XML and HL7 files from a watched folder";
    const SAMPLE: &'static str = include_str!("../sample.toml");
    const MODES: &'static [Mode] = &[Mode::Push];
    type Settings = Settings;
    type Stream = Stream;

    fn build(source: SourceSpec<Settings, Stream>) -> Result<Connector, Vec<SettingsProblem>> {
        let rules = source.settings.check(&source)?;
        let decoder = Arc::new(format::FilesDecoder::new(&rules.streams));
        let watcher = watch::Watcher::new(source.id, rules);
        Ok(Connector { decoder, flow: Flow::Listen(Box::new(watcher)) })
    }
}
