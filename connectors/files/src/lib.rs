//! Files that a source system puts into a folder: CSV, TSV, fixed width, spreadsheets, dBASE tables,
//! JSON, XML and HL7, with the files that lie beside their records.
//!
//! A file is moved out of the folder only after [`connector_api::Intake::accept`] returned for all
//! of its records. If the agent dies in between, the file is read again, and every record is
//! recognised by its file's name and digest and its place in the file.
//!
//! The parts: `settings` checks, `format` makes records of a file's bytes and decodes them again,
//! `beside` knows which other files a record names, `folder` lists, reads and moves, `take` reads one
//! file with what belongs to it, `watch` decides what is complete and goes in order, `look` shows a
//! person what waits.

mod beside;
mod folder;
mod format;
mod look;
mod settings;
mod take;
mod watch;

use std::sync::Arc;

use connector_api::{Connector, ConnectorKind, Flow, Mode, SettingsProblem, SourceSpec};

pub use settings::{After, AttachmentSettings, Complete, Format, Settings, StrayRows, Stream, Unit};

/// The connector kind `files`.
#[derive(Clone, Copy, Debug)]
pub struct Files;

impl ConnectorKind for Files {
    const NAME: &'static str = "files";
    const SUMMARY: &'static str = "takes tables (CSV, Excel, dBASE), JSON, XML and HL7 files from a watched folder";
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
