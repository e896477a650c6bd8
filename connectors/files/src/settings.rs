//! The settings of a `files` source and of its streams, and their checks.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::{Mode, SettingsProblem, SourceSpec, StreamId};
use connector_formats::delimited::{Column, Delimited, Fixed, Layout, Measure, Quoting, ShortRows};
use connector_formats::sheet::Sheet;
use connector_formats::text::TextPolicy;
use connector_formats::xml::{ControlCharacters, Prefixes, XmlRules};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::beside::Attachments;
use crate::format::{FileFormat, Reading, Shape};

/// The `settings` table of a `files` source.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The folder that is watched; its subfolders are not. Relative to the configuration file.
    pub folder: PathBuf,
    /// The character set of the files: `{ default = "gb18030", prefer = "declared" }`. A byte
    /// order mark counts always, what an XML or HL7 file declares of itself unless
    /// `prefer = "configured"`.
    #[serde(default)]
    pub charset: TextPolicy,
    /// How to tell that a file is complete; `{ type = "stable", secs = 10 }` where left out.
    #[serde(default)]
    pub complete: Complete,
    /// How often the folder is listed, in seconds.
    #[serde(default = "five")]
    pub poll_secs: u64,
    /// Where files go whose records are stored. Relative to the watched folder.
    #[serde(default = "done")]
    pub done_dir: PathBuf,
    /// Where files go that could not be read as a whole, after they are held. Relative to the
    /// watched folder.
    #[serde(default = "failed")]
    pub failed_dir: PathBuf,
    /// The largest file that is read, in bytes. The beginning of a larger one is held.
    #[serde(default = "sixty_four_mebibytes")]
    pub max_file_bytes: u64,
    /// Patterns of names that are never taken.
    #[serde(default = "temporary")]
    pub ignore: Vec<String>,
}

fn five() -> u64 {
    5
}

fn done() -> PathBuf {
    PathBuf::from("done")
}

fn failed() -> PathBuf {
    PathBuf::from("failed")
}

fn sixty_four_mebibytes() -> u64 {
    64 << 20
}

fn temporary() -> Vec<String> {
    [".*", "~$*", "*.tmp", "*.temp", "*.part", "*.filepart"].map(str::to_owned).into()
}

/// How to tell that a file is complete.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Complete {
    /// Its size and time of change have not moved for a while.
    Stable {
        /// For how many seconds. Longer than any pause of the writer.
        secs: u64,
    },
    /// Another file says so, which the writer makes last. It goes where the file goes.
    Marker {
        /// What is appended to the file's name: `.ok` for `report.csv.ok`.
        suffix: String,
        /// Whether the suffix stands instead of the file's extension: `report.ok` for
        /// `report.csv`. It then speaks for every file of that name.
        #[serde(default)]
        replaces_extension: bool,
    },
    /// Its name does: the writer uses a name of `ignore` and renames the file when it is complete.
    Renamed {},
}

impl Default for Complete {
    fn default() -> Complete {
        Complete::Stable { secs: 10 }
    }
}

/// What the table of a `files` source's stream holds beside the common keys.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Patterns of the names of the stream's files: `["report_*.csv"]`. Case does not matter. A
    /// file belongs to the first stream of the source that names it.
    pub files: Vec<String>,
    /// What the files hold.
    pub format: Format,
    /// Which rows of a file form one record; each row is one where left out.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// Files that lie beside a record, such as PDF files and pictures, and that a record names.
    #[serde(default)]
    pub attachments: Option<AttachmentSettings>,
}

/// Files that lie beside a record and that it names. They are archived together with it.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachmentSettings {
    /// The columns or elements that name the files: `["TPLJ"]`; names joined by dots where they
    /// are inside others: `rows.TPLJ` for a column of a unit's rows.
    pub fields: Vec<String>,
    /// The signs between the names of several files in one field.
    #[serde(default = "semicolon_or_comma")]
    pub separators: String,
    /// The folder of the files, relative to the watched folder; the watched folder where left out.
    #[serde(default)]
    pub folder: PathBuf,
    /// What the names begin with before the path below `folder`: `D:\\PACS`. Where left out, only
    /// what follows the last slash or backslash of a name counts.
    #[serde(default)]
    pub prefix: Option<String>,
    /// How long a file that is missing is waited for, in seconds, from when its record's file was
    /// complete. Then the record is held.
    #[serde(default = "ten_minutes")]
    pub wait_secs: u64,
    /// What becomes of the files after their record is stored.
    #[serde(default)]
    pub after: After,
}

fn semicolon_or_comma() -> String {
    ";,".to_owned()
}

fn ten_minutes() -> u64 {
    600
}

/// What becomes of files beside a record after it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// They stay where they are.
    #[default]
    Keep,
    /// They go where the record's file goes. Records of other files can't name them then.
    Move,
}

/// Which rows of a file form one record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The columns in which they agree. The record has these columns and the list `rows`.
    pub key: Vec<String>,
    /// What becomes of rows of which it can't be told to which unit they belong; `fail` where left
    /// out.
    #[serde(default)]
    pub stray_rows: StrayRows,
}

/// What becomes of rows of which it can't be told to which unit they belong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StrayRows {
    /// The whole file is held, because any unit of it may lack the row.
    #[default]
    Fail,
    /// The row alone is held, for files with title and total lines.
    Hold,
}

/// What a file holds.
#[derive(Clone, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Format {
    /// Fields between commas or other signs.
    Csv {
        /// The ASCII sign between two fields; `,` where left out.
        #[serde(default)]
        delimiter: Option<char>,
        /// How fields are quoted.
        #[serde(default)]
        quoting: Quoting,
        /// Whether the first row names the columns.
        #[serde(default = "yes")]
        header: bool,
        /// The columns' names. With a header: those that it must hold, in any order.
        #[serde(default)]
        columns: Vec<String>,
        /// How many lines stand before the table.
        #[serde(default)]
        skip_lines: usize,
        /// What becomes of rows with too few fields.
        #[serde(default)]
        short_rows: ShortRows,
    },
    /// Fields between tabulators, unquoted.
    Tsv {
        /// Whether the first row names the columns.
        #[serde(default = "yes")]
        header: bool,
        /// The columns' names. With a header: those that it must hold, in any order.
        #[serde(default)]
        columns: Vec<String>,
        /// How many lines stand before the table.
        #[serde(default)]
        skip_lines: usize,
        /// What becomes of rows with too few fields.
        #[serde(default)]
        short_rows: ShortRows,
    },
    /// Fields at fixed places of a line. Blanks around them are padding.
    Fixed {
        /// The columns: `{ name = "TJBH", start = 1, width = 10 }`.
        columns: Vec<Column>,
        /// What places and widths count.
        #[serde(default)]
        measure: Measure,
        /// How many lines stand before the table.
        #[serde(default)]
        skip_lines: usize,
        /// What becomes of lines that end before the last column does.
        #[serde(default)]
        short_rows: ShortRows,
    },
    /// A spreadsheet (`.xlsx`) whose first row names the columns.
    Sheet {
        /// The sheet's name; the first visible one where left out.
        #[serde(default)]
        sheet: Option<String>,
        /// The columns that the header must hold, in any order.
        #[serde(default)]
        columns: Vec<String>,
        /// Columns whose cells must be text, such as ids: a number there has lost leading zeros,
        /// perhaps, and its row is held.
        #[serde(default)]
        text_columns: Vec<String>,
        /// How many rows stand before the table.
        #[serde(default)]
        skip_rows: usize,
    },
    /// A dBASE or FoxPro table (`.dbf`), with its memo file where it has one.
    Dbf {},
    /// One JSON object, or a list of them.
    Json {
        /// Where the list of records is, names joined by dots; the whole file where left out.
        #[serde(default)]
        records: String,
    },
    /// One JSON object on each line.
    JsonLines {},
    /// An XML document.
    Xml {
        /// The elements that are records, names from the root element's on joined by dots:
        /// `Reports.Report`; the whole file where left out.
        #[serde(default)]
        records: String,
        /// Names of elements that are lists also where there is only one.
        #[serde(default)]
        lists: Vec<String>,
        /// What becomes of the prefixes of names.
        #[serde(default)]
        prefixes: Prefixes,
        /// What becomes of a record with control characters, which XML does not allow.
        #[serde(default)]
        control_characters: ControlCharacters,
        /// Where in a record a text is an XML or JSON document of its own (CDATA, escaped XML).
        #[serde(default)]
        inner: Option<String>,
    },
    /// HL7 version 2 messages, with or without batch segments.
    Hl7 {},
}

fn yes() -> bool {
    true
}

/// The settings, checked.
pub(crate) struct Rules {
    pub(crate) folder: PathBuf,
    pub(crate) done: PathBuf,
    pub(crate) failed: PathBuf,
    pub(crate) complete: Complete,
    pub(crate) poll: Duration,
    pub(crate) max_file_bytes: u64,
    pub(crate) ignore: GlobSet,
    pub(crate) streams: Vec<StreamRules>,
}

/// The rules of one stream.
#[derive(Clone)]
pub(crate) struct StreamRules {
    pub(crate) id: StreamId,
    pub(crate) files: GlobSet,
    /// The first pattern, which stands for a file in references: names may hold personal data.
    pub(crate) label: String,
    pub(crate) reading: Reading,
}

impl Rules {
    /// The stream that a file belongs to.
    pub(crate) fn stream_of(&self, name: &OsStr) -> Option<usize> {
        self.streams.iter().position(|stream| stream.files.is_match(name))
    }
}

impl StreamRules {
    /// How long files that belong to another one are waited for.
    pub(crate) fn wait(&self) -> Duration {
        self.reading.attachments.as_ref().map_or(Duration::from_secs(ten_minutes()), |attachments| attachments.wait)
    }
}

impl Settings {
    /// Reports everything that is wrong at once.
    pub(crate) fn check(&self, source: &SourceSpec<Settings, Stream>) -> Result<Rules, Vec<SettingsProblem>> {
        let mut problems = Problems(Vec::new());
        let positive = [
            ("settings.poll_secs", self.poll_secs),
            ("settings.max_file_bytes", self.max_file_bytes),
            ("settings.complete.secs", if let Complete::Stable { secs } = self.complete { secs } else { 1 }),
        ];
        for (path, number) in positive {
            problems.check(number > 0, path, "must be at least 1");
        }
        if let Complete::Marker { suffix, .. } = &self.complete {
            let whole = !suffix.is_empty() && !suffix.contains(['/', '\\']);
            problems.check(whole, "settings.complete.suffix", "must be the end of a file's name, like `.ok`");
        }
        let folder = source.base_dir.join(&self.folder);
        let (done, failed) = (folder.join(&self.done_dir), folder.join(&self.failed_dir));
        for (path, dir) in [("settings.done_dir", &done), ("settings.failed_dir", &failed)] {
            problems.check(plain(dir) != plain(&folder), path, "must be another folder than the watched one");
        }
        let ignore = problems.patterns("settings.ignore", &self.ignore);
        let mut streams = Vec::with_capacity(source.streams.len());
        for (at, stream) in source.streams.iter().enumerate() {
            let path = format!("streams[{at}]");
            problems.check(stream.mode == Mode::Push, &format!("{path}.mode"), "a watched folder's streams are pushed");
            let own = &stream.settings;
            problems.check(!own.files.is_empty(), &format!("{path}.files"), "no pattern is named");
            streams.push(StreamRules {
                id: stream.id.clone(),
                files: problems.patterns(&format!("{path}.files"), &own.files),
                label: own.files.first().cloned().unwrap_or_default(),
                reading: Reading {
                    format: FileFormat { shape: problems.shape(&path, own, self.charset), charset: self.charset },
                    attachments: own.attachments.as_ref().map(|rules| problems.attachments(&path, rules, &folder)),
                },
            });
        }
        if !problems.0.is_empty() {
            return Err(problems.0);
        }
        Ok(Rules {
            folder,
            done,
            failed,
            complete: self.complete.clone(),
            poll: Duration::from_secs(self.poll_secs),
            max_file_bytes: self.max_file_bytes,
            ignore,
            streams,
        })
    }
}

/// A path without `.` parts and slashes at its end, for comparing.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

struct Problems(Vec<SettingsProblem>);

impl Problems {
    fn check(&mut self, good: bool, path: &str, message: &str) {
        if !good {
            self.0.push(SettingsProblem::new(path, message));
        }
    }

    fn patterns(&mut self, path: &str, patterns: &[String]) -> GlobSet {
        let mut set = GlobSetBuilder::new();
        for text in patterns {
            self.check(!text.is_empty() && !text.contains('/'), path, "a pattern is of a name, without a folder");
            match GlobBuilder::new(text).case_insensitive(true).build() {
                Ok(glob) => drop(set.add(glob)),
                Err(error) => self.0.push(SettingsProblem::new(path, format!("{text:?} is not a pattern: {error}"))),
            }
        }
        set.build().unwrap_or_else(|error| {
            self.0.push(SettingsProblem::new(path, format!("the patterns can't be used: {error}")));
            GlobSet::empty()
        })
    }

    /// What a stream's files are read as. The answer is of no use where a problem was found.
    fn shape(&mut self, path: &str, stream: &Stream, charset: TextPolicy) -> Shape {
        let layout = match &stream.format {
            Format::Csv { delimiter, quoting, header, columns, skip_lines, short_rows } => {
                let sign = delimiter.unwrap_or(',');
                let good = sign.is_ascii() && !matches!(sign, '"' | '\\' | '\r' | '\n' | '\0');
                self.check(good, &format!("{path}.format.delimiter"), "must be one ASCII sign, and no quote");
                self.columns(path, *header, columns);
                Layout::Delimited(Delimited {
                    delimiter: u8::try_from(sign).unwrap_or(b','),
                    quoting: *quoting,
                    header: *header,
                    columns: columns.clone(),
                    skip_lines: *skip_lines,
                    short_rows: *short_rows,
                })
            }
            Format::Tsv { header, columns, skip_lines, short_rows } => {
                self.columns(path, *header, columns);
                Layout::Delimited(Delimited {
                    delimiter: b'\t',
                    quoting: Quoting::None,
                    header: *header,
                    columns: columns.clone(),
                    skip_lines: *skip_lines,
                    short_rows: *short_rows,
                })
            }
            Format::Fixed { columns, measure, skip_lines, short_rows } => {
                let at = format!("{path}.format.columns");
                let placed = columns.iter().all(|column| column.start > 0 && column.width > 0);
                self.check(placed, &at, "places are counted from 1, and a column has at least one");
                self.check(!columns.is_empty(), &at, "no column is named");
                self.names(&at, columns.iter().map(|column| column.name.as_str()));
                let bytes = charset.default.extends_ascii() || *measure == Measure::Chars;
                self.check(bytes, &format!("{path}.format.measure"), "UTF-16 has places of characters only");
                let (columns, skip_lines, short_rows) = (columns.clone(), *skip_lines, *short_rows);
                Layout::Fixed(Fixed { columns, measure: *measure, skip_lines, short_rows })
            }
            Format::Sheet { sheet, columns, text_columns, skip_rows } => {
                self.names(&format!("{path}.format.columns"), columns.iter().map(String::as_str));
                self.names(&format!("{path}.format.text_columns"), text_columns.iter().map(String::as_str));
                self.unit(path, stream.unit.as_ref(), None);
                let (name, skip_rows) = (sheet.clone(), *skip_rows);
                let sheet = Sheet { name, skip_rows, columns: columns.clone(), text_columns: text_columns.clone() };
                return Shape::Sheet { sheet, unit: stream.unit.clone() };
            }
            Format::Dbf {} => {
                self.unit(path, stream.unit.as_ref(), None);
                return Shape::Dbf { unit: stream.unit.clone() };
            }
            other => {
                let table = format!("{path}.unit");
                self.check(stream.unit.is_none(), &table, "only rows of tables can form units");
                return plain_shape(other);
            }
        };
        let known: Option<Vec<&str>> = match &layout {
            Layout::Delimited(delimited) if delimited.header => None,
            Layout::Delimited(delimited) => Some(delimited.columns.iter().map(String::as_str).collect()),
            Layout::Fixed(fixed) => Some(fixed.columns.iter().map(|column| column.name.as_str()).collect()),
        };
        self.unit(path, stream.unit.as_ref(), known.as_deref());
        Shape::Table { layout, unit: stream.unit.clone() }
    }

    /// Checks the key of a unit; `known` are the columns, where the settings name all of them.
    fn unit(&mut self, path: &str, unit: Option<&Unit>, known: Option<&[&str]>) {
        if let Some(unit) = unit {
            let at = format!("{path}.unit.key");
            self.check(!unit.key.is_empty(), &at, "no column is named");
            self.names(&at, unit.key.iter().map(String::as_str));
            let named = known.is_none_or(|known| unit.key.iter().all(|key| known.contains(&key.as_str())));
            self.check(named, &at, "names a column that the format does not have");
        }
    }

    fn attachments(&mut self, path: &str, settings: &AttachmentSettings, folder: &Path) -> Attachments {
        let path = format!("{path}.attachments");
        self.check(!settings.fields.is_empty(), &format!("{path}.fields"), "no field is named");
        self.names(&format!("{path}.fields"), settings.fields.iter().map(String::as_str));
        let separators: Vec<char> = settings.separators.chars().collect();
        let slashed = separators.iter().any(|sign| matches!(sign, '/' | '\\'));
        self.check(!slashed, &format!("{path}.separators"), "a slash is a part of names");
        let prefix = settings.prefix.as_ref().map(|prefix| prefix.replace('\\', "/"));
        Attachments {
            fields: settings.fields.clone(),
            separators,
            folder: plain(&folder.join(&settings.folder)),
            prefix,
            wait: Duration::from_secs(settings.wait_secs),
            after: settings.after,
        }
    }

    fn columns(&mut self, path: &str, header: bool, columns: &[String]) {
        let at = format!("{path}.format.columns");
        self.check(header || !columns.is_empty(), &at, "without a header the columns must be named here");
        self.names(&at, columns.iter().map(String::as_str));
    }

    fn names<'a>(&mut self, path: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = HashSet::new();
        for name in names {
            self.check(!name.is_empty() && seen.insert(name), path, "names must be filled and different");
        }
    }
}

fn plain_shape(format: &Format) -> Shape {
    match format {
        Format::Json { records } => Shape::Json { records: records.clone() },
        Format::Xml { records, lists, prefixes, control_characters, inner } => Shape::Xml {
            records: records.clone(),
            rules: XmlRules { lists: lists.clone(), prefixes: *prefixes, control_characters: *control_characters },
            inner: inner.clone(),
        },
        Format::Hl7 {} => Shape::Hl7,
        _ => Shape::JsonLines,
    }
}
