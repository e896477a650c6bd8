//! Finds the cases of a mapping and runs them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use connector_api::Document;
use connector_formats::{hl7, json, text::TextPolicy, xml};
use serde::Deserialize;
use serde_json::Value as Json;
use similar::{ChangeTag, TextDiff};

use crate::diagnose::{Problem, shown};
use crate::mapping::{Context, Files, Input, Mapping, expectation};

/// How deep folders are looked through.
const DEPTH: usize = 6;

/// A mapping file larger than this is none.
const LARGEST_FILE: u64 = 4 << 20;

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Differs,
    /// Nobody has said yet what is expected.
    New,
    Accepted,
    Unreadable(String),
}

/// One input with what was and what is.
#[derive(Debug)]
pub(super) struct Case {
    mapping: PathBuf,
    input: PathBuf,
    expected_at: PathBuf,
    expected: String,
    actual: String,
    pub(super) verdict: Verdict,
}

/// The mapping files at a path.
pub(super) fn mappings(path: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    if !path.exists() {
        return Err(format!("there is no file or folder {}", path.display()));
    }
    if path.is_file() {
        found.push(path.to_owned());
    } else {
        walk(path, DEPTH, found);
    }
    Ok(())
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if depth > 0 && !name.starts_with('.') && name != "cases" && name != "codes" {
                walk(&path, depth - 1, found);
            }
        } else if name.ends_with(".toml") && is_mapping(&path) {
            found.push(path);
        }
    }
}

/// Whether a file has the section of a mapping. A mapping with mistakes is still one.
fn is_mapping(path: &Path) -> bool {
    let small = path.metadata().is_ok_and(|meta| meta.len() <= LARGEST_FILE);
    let text = if small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    text.lines().any(|line| line.trim() == "[mapping]")
}

/// Files as they are on disk.
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// What a mapping knows beside the record, as `case.toml` may say it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Around {
    hospital: String,
    campus: String,
    source: String,
    adapter: String,
    timezone: String,
    source_ref: String,
}

impl Default for Around {
    fn default() -> Around {
        let text = |text: &str| text.to_owned();
        Around {
            hospital: text("demo-001"),
            campus: text("main"),
            source: text("peis"),
            adapter: text("fixture"),
            timezone: text("Asia/Shanghai"),
            source_ref: text("V_TEST"),
        }
    }
}

impl Around {
    fn context(&self) -> Option<Context> {
        Some(Context {
            hospital: self.hospital.clone(),
            campus: self.campus.clone(),
            source: self.source.clone(),
            adapter: self.adapter.clone(),
            timezone: self.timezone.parse().ok()?,
        })
    }
}

/// What a record becomes, as a case without a `case.toml` expects it. `ending` is that of the input's file.
pub(in crate::cli) fn expected(mapping: &Mapping, ending: &str, body: Vec<u8>) -> Result<String, String> {
    let around = Around::default();
    let context = around.context().ok_or("the usual time zone is unknown")?;
    let (document, charset) = document(ending, body)?;
    let input = Input { document: &document, source_ref: &around.source_ref, charset: charset.as_deref() };
    Ok(expectation(&mapping.apply(&context, input)))
}

/// Like [`expected`], as a case in this folder expects it: under its `case.toml`, where it has one.
pub(in crate::cli) fn expected_in(
    folder: &Path,
    mapping: &Mapping,
    ending: &str,
    body: Vec<u8>,
) -> Result<String, String> {
    let around = around(folder).map_err(|problems| crate::diagnose::render(&problems, false))?;
    let context = around.context().ok_or("the case.toml of the folder names an unknown time zone")?;
    let (document, charset) = document(ending, body)?;
    let input = Input { document: &document, source_ref: &around.source_ref, charset: charset.as_deref() };
    Ok(expectation(&mapping.apply(&context, input)))
}

/// Runs every case of a mapping, in the order of their names.
pub(super) fn run(path: &Path) -> Result<Vec<Case>, Vec<Problem>> {
    let Some(entity) = Mapping::entity_of(path, &Disk) else {
        // The compiler says why; any entity will do to make it.
        let problems = Mapping::compile(path, crate::model::EntityType::ExamReport, &Disk).err();
        return Err(problems.filter(|problems| !problems.is_empty()).unwrap_or_else(|| {
            vec![Problem::new(path, None, "missing-key", "[mapping] names no entity that exists")]
        }));
    };
    let mapping = Mapping::compile(path, entity, &Disk)?;
    let stem = path.file_stem().unwrap_or_default();
    let beside = path.parent().unwrap_or(Path::new(""));
    let mut folders = vec![beside.join("cases").join(stem)];
    if stem == "mapping" {
        folders.push(beside.to_owned());
    }
    let mut cases = Vec::new();
    for folder in folders {
        let inputs = inputs(&folder);
        if inputs.is_empty() {
            continue;
        }
        let around = around(&folder)?;
        let context = around.context().ok_or_else(|| {
            let message = format!("{:?} is no time zone", around.timezone);
            vec![Problem::new(folder.join("case.toml"), None, "unknown-zone", message)]
        })?;
        cases.extend(inputs.into_iter().map(|input| case(path, &mapping, &context, &around.source_ref, input)));
    }
    Ok(cases)
}

fn around(folder: &Path) -> Result<Around, Vec<Problem>> {
    let path = folder.join("case.toml");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(Around::default()) };
    toml::from_str(&text).map_err(|error| vec![Problem::new(&path, error.span(), "toml", error.message().to_owned())])
}

/// The inputs of a folder, sorted.
fn inputs(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut inputs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    inputs.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("input") && [".json", ".hl7", ".xml"].iter().any(|end| name.ends_with(end))
    });
    inputs.sort();
    inputs
}

fn case(path: &Path, mapping: &Mapping, context: &Context, source_ref: &str, input: PathBuf) -> Case {
    let name = input.file_stem().unwrap_or_default().to_string_lossy();
    let rest = name.strip_prefix("input").unwrap_or(&name);
    let expected_at = input.with_file_name(format!("expected{rest}.json"));
    let mut case = Case {
        mapping: path.to_owned(),
        expected: std::fs::read_to_string(&expected_at).unwrap_or_default(),
        expected_at,
        actual: String::new(),
        verdict: Verdict::Same,
        input,
    };
    match read(&case.input) {
        Err(message) => case.verdict = Verdict::Unreadable(message),
        Ok((document, charset)) => {
            let input = Input { document: &document, source_ref, charset: charset.as_deref() };
            case.actual = expectation(&mapping.apply(context, input));
            case.verdict = match (&case.expected, case.expected_at.exists()) {
                (_, false) => Verdict::New,
                (expected, true) if *expected == case.actual => Verdict::Same,
                _ => Verdict::Differs,
            };
        }
    }
    case
}

fn read(path: &Path) -> Result<(Document, Option<String>), String> {
    let body = std::fs::read(path).map_err(|error| error.to_string())?;
    document(&path.extension().unwrap_or_default().to_string_lossy(), body)
}

/// One record as its source delivers it, with the character set where that was a choice.
fn document(ending: &str, body: Vec<u8>) -> Result<(Document, Option<String>), String> {
    let read = |(raw, document): (connector_api::Raw, Result<Document, connector_api::DecodeFailure>)| {
        document.map(|document| (document, raw.charset)).map_err(|failure| failure.to_string())
    };
    match ending {
        "hl7" => {
            // An editor ends lines as it likes; HL7 ends segments with a carriage return.
            let text: Vec<u8> = body.split(|byte| *byte == b'\n').map(|line| line.trim_ascii_end()).fold(
                Vec::new(),
                |mut all, line| {
                    if !line.is_empty() {
                        all.extend_from_slice(line);
                        all.push(b'\r');
                    }
                    all
                },
            );
            read(hl7::Hl7Decoder::default().receive(Bytes::from(text)))
        }
        "xml" => {
            let decoder = xml::XmlDecoder::new(TextPolicy::default(), xml::XmlRules::default());
            read(decoder.receive(Bytes::from(body), None)).map(|(document, _)| (document, None))
        }
        // As hisync archives it, else as a system sends it.
        _ => match Document::from_bytes(&body) {
            Ok(document) => Ok((document, None)),
            Err(_) => {
                let text = String::from_utf8(body).map_err(|_| "the file is not UTF-8".to_owned())?;
                json::document(&text).map(|document| (document, None)).map_err(|failure| failure.to_string())
            }
        },
    }
}

impl Case {
    /// Takes what is for what is expected.
    pub(super) fn accept(&mut self) -> Result<(), String> {
        std::fs::write(&self.expected_at, &self.actual)
            .map_err(|error| format!("write {}: {error}", self.expected_at.display()))?;
        self.verdict = Verdict::Accepted;
        Ok(())
    }

    /// The difference for people.
    pub(super) fn text(&self, colour: bool) -> String {
        let head = format!("{} with {}", shown(&self.input), shown(&self.mapping));
        match &self.verdict {
            Verdict::Same => format!("{head}: as expected\n"),
            Verdict::Accepted => format!("{head}: accepted\n"),
            Verdict::Unreadable(why) => format!("{head}: the input can't be read: {why}\n"),
            Verdict::New => format!("{head}: nothing is expected yet; it becomes\n{}", self.diff(colour)),
            Verdict::Differs => {
                format!("{head}: differs from {}\n{}", shown(&self.expected_at), self.diff(colour))
            }
        }
    }

    fn diff(&self, colour: bool) -> String {
        let diff = TextDiff::from_lines(&self.expected, &self.actual);
        let mut text = String::new();
        for (at, group) in diff.grouped_ops(3).iter().enumerate() {
            if at > 0 {
                text.push_str("  …\n");
            }
            for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
                let (sign, on) = match change.tag() {
                    ChangeTag::Delete => ("- ", "\u{1b}[31m"),
                    ChangeTag::Insert => ("+ ", "\u{1b}[32m"),
                    ChangeTag::Equal => ("  ", ""),
                };
                let line = change.value().trim_end_matches('\n');
                match colour && !on.is_empty() {
                    true => text.push_str(&format!("{on}{sign}{line}\u{1b}[0m\n")),
                    false => text.push_str(&format!("{sign}{line}\n")),
                }
            }
        }
        text
    }

    /// The same for programs.
    pub(super) fn json(&self) -> Json {
        let (word, why) = match &self.verdict {
            Verdict::Same => ("same", None),
            Verdict::Differs => ("differs", None),
            Verdict::New => ("new", None),
            Verdict::Accepted => ("accepted", None),
            Verdict::Unreadable(why) => ("unreadable", Some(why.as_str())),
        };
        let diff = match self.verdict {
            Verdict::Same | Verdict::Unreadable(_) => None,
            _ => Some(self.diff(false)),
        };
        serde_json::json!({
            "mapping": shown(&self.mapping), "input": shown(&self.input), "expected": shown(&self.expected_at),
            "verdict": word, "why": why, "diff": diff,
        })
    }
}
