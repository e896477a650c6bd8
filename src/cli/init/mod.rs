//! `hisync init`: a folder to start from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::discover::write_new;
use super::mapping::cases;
use super::{Exit, Terminal};
use crate::diagnose::nearest;
use crate::mapping::{Files, Mapping};
use crate::model::EntityType;
use crate::registry::{self, Kind};

/// Writes a commented configuration, a mapping to start from for each of its streams, and a case for each mapping.
///
/// What it writes passes `hisync check --offline` and `hisync mapping test` as it stands. Nothing is overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync init our-hospital --connector sqlite
  hisync check -c our-hospital/hisync.toml --offline
  hisync mapping test our-hospital/mappings

`hisync connectors` lists the connectors. Exit codes: 0 fine; 2 there is something in the way, or no such connector.")]
pub(super) struct Args {
    /// The folder; made where it does not exist.
    dir: PathBuf,
    /// The connector to begin with.
    #[arg(long, value_name = "NAME")]
    connector: String,
}

/// Mappings to start from: by how records look, and by what they become.
const COLUMNS: [(EntityType, &str, &str); 4] = [
    (EntityType::ExamReport, include_str!("columns/exam_report.toml"), include_str!("columns/exam_report.json")),
    (EntityType::ExamPackage, include_str!("columns/exam_package.toml"), include_str!("columns/exam_package.json")),
    (EntityType::ExamItem, include_str!("columns/exam_item.toml"), include_str!("columns/exam_item.json")),
    (
        EntityType::ExamItemGroup,
        include_str!("columns/exam_item_group.toml"),
        include_str!("columns/exam_item_group.json"),
    ),
];
const HL7: (&str, &str) = (include_str!("hl7/exam_report.toml"), include_str!("hl7/exam_report.hl7"));

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let Some(kind) = registry::find(&args.connector) else {
        let names: Vec<&str> = registry::all().iter().map(|kind| kind.name).collect();
        let near = nearest(&args.connector, names.iter().copied()).map(|near| format!("; did you mean {near}?"));
        let near = near.unwrap_or_default();
        terminal.note(&format!(
            "error: there is no connector {:?}{near}\nThe connectors: {}",
            args.connector,
            names.join(", ")
        ));
        return Exit::Usage;
    };
    let files = match files(kind) {
        Ok(files) => files,
        Err(message) => {
            terminal.note(&format!("error: {message}"));
            return Exit::Bug;
        }
    };
    let placed = files.into_iter().map(|(path, text)| (args.dir.join(path), text)).collect();
    if let Err(message) = write_new(&placed) {
        terminal.note(&format!("error: {message}"));
        return Exit::Usage;
    }
    placed.keys().for_each(|path| terminal.data(&format!("wrote {}", path.display())));
    let file = args.dir.join("hisync.toml");
    let (file, mappings) = (file.display(), args.dir.join("mappings"));
    terminal.note(&format!(
        "\nNext: put the hospital's id, upstream's address and the source's address into {file}, then\n  \
         hisync check -c {file} --offline\n  hisync mapping test {}\n  hisync check -c {file}",
        mappings.display()
    ));
    Exit::Fine
}

/// Everything that is written, by its path in the folder.
fn files(kind: &Kind) -> Result<BTreeMap<PathBuf, String>, String> {
    let sample: Json = toml::from_str(kind.sample).map_err(|error| format!("the sample of {}: {error}", kind.name))?;
    let mut files = BTreeMap::new();
    files.insert(PathBuf::from("hisync.toml"), format!("{}\n{}", include_str!("head.toml"), kind.sample));
    let streams = sample["sources"].as_array().into_iter().flatten().filter_map(|source| source["streams"].as_array());
    for stream in streams.flatten() {
        let (Some(path), Some(entity)) = (stream["mapping"].as_str(), stream["entity"].as_str()) else { continue };
        let entity: EntityType = entity.parse().map_err(|_| format!("the sample names an entity {entity:?}"))?;
        let path = PathBuf::from(path);
        let hl7 = stream.get("messages").is_some() && entity == EntityType::ExamReport;
        let columns = COLUMNS.iter().find(|(other, ..)| *other == entity).map(|(_, mapping, case)| (*mapping, *case));
        let Some((mapping, input)) = (if hl7 { Some(HL7) } else { columns }) else {
            return Err(format!("there is no mapping to start from for {entity}"));
        };
        let ending = if hl7 { "hl7" } else { "json" };
        let expected = expected(&path, entity, mapping, ending, input)?;
        let cases = path.parent().unwrap_or(Path::new("")).join("cases").join(path.file_stem().unwrap_or_default());
        files.insert(path, mapping.to_owned());
        files.insert(cases.join(format!("input-first.{ending}")), input.to_owned());
        files.insert(cases.join("expected-first.json"), expected);
    }
    Ok(files)
}

/// The mapping as a file that is not on disk yet.
struct One<'a>(&'a str);

impl Files for One<'_> {
    fn read(&self, _: &Path) -> std::io::Result<String> {
        Ok(self.0.to_owned())
    }
}

fn expected(path: &Path, entity: EntityType, mapping: &str, ending: &str, input: &str) -> Result<String, String> {
    let mapping = Mapping::compile(path, entity, &One(mapping)).map_err(|problems| format!("{problems:?}"))?;
    cases::expected(&mapping, ending, input.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn what_is_written_for_each_connector_is_sound_and_delivers_its_case() {
        for kind in registry::all() {
            let folder = tempfile::tempdir().unwrap();
            let files: BTreeMap<PathBuf, String> =
                files(kind).unwrap().into_iter().map(|(path, text)| (folder.path().join(path), text)).collect();
            write_new(&files).unwrap();
            let problems = config::load(&folder.path().join("hisync.toml")).err().unwrap_or_default();
            assert!(problems.is_empty(), "{}: {}", kind.name, crate::diagnose::render(&problems, false));
            let expected = files.iter().filter(|(path, _)| path.ends_with("expected-first.json"));
            for (path, text) in expected {
                assert!(text.contains("\"wish\": \"present\""), "{}: {text}", path.display());
            }
            let again = write_new(&files).unwrap_err();
            assert!(again.contains("nothing was written"), "{again}");
        }
    }
}
