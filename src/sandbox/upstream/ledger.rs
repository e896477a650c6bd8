//! What the sandbox has received: an append-only file of JSON lines, and what follows from it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Error;
use super::validate::{Checked, Validator};
use crate::delivery::receipt::{Receipt, ReceiptStatus};
use crate::model::EntityType;

/// One event of one request, as received.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counts from 1.
    pub number: u64,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// The `webhook-id` of the request.
    pub batch_id: String,
    /// What the answer said of it, or `fault` where the request was made to fail before anything was stored.
    pub status: String,
    /// Why, where there is a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether it changed what the sandbox knows.
    pub applied: bool,
    /// The event, as received.
    pub event: Json,
}

/// The file's name in the folder.
const FILE: &str = "received.jsonl";

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    file: Option<(File, PathBuf)>,
    lines: Vec<Line>,
    /// The content hash of each event that was taken.
    seen: HashMap<String, String>,
    /// By subject: the sequence, and the place of the line.
    latest: BTreeMap<String, (String, usize)>,
}

impl Ledger {
    /// Opens the folder's ledger, or one that lives in memory only. A line that a crash left half
    /// written was never acknowledged, and is cut off.
    pub(super) fn open(dir: Option<&Path>) -> Result<Ledger, Error> {
        let mut ledger = Ledger { file: None, lines: Vec::new(), seen: HashMap::new(), latest: BTreeMap::new() };
        let Some(dir) = dir else { return Ok(ledger) };
        let path = dir.join(FILE);
        let failed = |cause| Error::Disk { path: path.clone(), cause };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for text in bytes[..whole].split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let line: Line = serde_json::from_slice(text).map_err(|cause| Error::Line {
                path: path.clone(),
                number: ledger.lines.len() + 1,
                cause,
            })?;
            ledger.remember(line);
        }
        if whole < bytes.len() {
            file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        ledger.file = Some((file, path));
        Ok(ledger)
    }

    /// Judges one event and remembers it; [`Ledger::append`] makes it durable.
    pub(super) fn judge(&self, pending: &[Line], validator: &Validator, event: &Json) -> (ReceiptStatus, Verdict) {
        let checked = match validator.check(event) {
            Ok(checked) => checked,
            Err(refusal) => return (ReceiptStatus::Rejected, Verdict::because(refusal.code, &refusal.message)),
        };
        let Checked { id, subject, sequence, content_hash } = checked;
        let earlier = pending.iter().filter(|line| line.applied && line.event["id"] == id);
        let seen = self
            .seen
            .get(id)
            .map(String::as_str)
            .or_else(|| earlier.into_iter().find_map(|line| line.event["contenthash"].as_str()));
        match seen {
            Some(hash) if hash == content_hash => return (ReceiptStatus::Duplicate, Verdict::default()),
            Some(_) => {
                let message = "another content was received under the same id";
                return (ReceiptStatus::Rejected, Verdict::because("id-conflict", message));
            }
            None => {}
        }
        let in_batch = pending.iter().any(|line| line.applied && line.event["subject"] == subject);
        if in_batch {
            let message = "two events of one subject in one batch";
            return (ReceiptStatus::Rejected, Verdict::because("subject-repeated", message));
        }
        match self.latest.get(subject) {
            Some((last, _)) if last.as_str() >= sequence => {
                let message = "a later version of the subject is here already";
                (ReceiptStatus::Duplicate, Verdict::because("superseded", message))
            }
            _ => (ReceiptStatus::Accepted, Verdict::default()),
        }
    }

    pub(super) fn next_number(&self) -> u64 {
        self.lines.len() as u64 + 1
    }

    /// Writes lines with fsync, then remembers them.
    pub(super) fn append(&mut self, lines: Vec<Line>) -> Result<(), Error> {
        if let Some((file, path)) = &mut self.file {
            let mut bytes = Vec::new();
            for line in &lines {
                serde_json::to_writer(&mut bytes, line).map_err(|cause| Error::Line {
                    path: path.clone(),
                    number: 0,
                    cause,
                })?;
                bytes.push(b'\n');
            }
            let before = file.metadata().map(|metadata| metadata.len());
            if let Err(cause) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
                // What is half written must not stand before what comes next.
                if let Ok(before) = before {
                    let _ = file.set_len(before);
                }
                return Err(Error::Disk { path: path.clone(), cause });
            }
        }
        for line in lines {
            self.remember(line);
        }
        Ok(())
    }

    fn remember(&mut self, line: Line) {
        if line.applied {
            let text = |key: &str| line.event[key].as_str().unwrap_or_default().to_owned();
            self.seen.insert(text("id"), text("contenthash"));
            self.latest.insert(text("subject"), (text("sequence"), self.lines.len()));
        }
        self.lines.push(line);
    }

    /// Loses the latest version of subjects, as an upstream may whose disk was restored from an older copy: what was
    /// there before is the latest again. Answers the subjects that lost one.
    pub(super) fn lose(&mut self, subjects: &[String]) -> Result<Vec<String>, Error> {
        let mut lost = Vec::new();
        for subject in subjects {
            let Some((_, place)) = self.latest.remove(subject) else { continue };
            let line = &mut self.lines[place];
            line.applied = false;
            "lost".clone_into(&mut line.status);
            if let Some(id) = line.event["id"].as_str() {
                self.seen.remove(id);
            }
            let before = |(_, line): &(usize, &Line)| line.applied && line.event["subject"] == subject.as_str();
            if let Some((place, line)) = self.lines[..place].iter().enumerate().rev().find(before) {
                let sequence = line.event["sequence"].as_str().unwrap_or_default().to_owned();
                self.latest.insert(subject.clone(), (sequence, place));
            }
            lost.push(subject.clone());
        }
        self.rewrite()?;
        Ok(lost)
    }

    /// The first subjects of a type.
    pub(super) fn subjects(&self, entity: EntityType, count: usize) -> Vec<String> {
        let prefix = format!("{entity}/");
        let of_type = self.latest.keys().filter(|subject| subject.starts_with(&prefix));
        of_type.take(count).cloned().collect()
    }

    /// The highest sequence that was ever taken.
    pub(super) fn last_sequence(&self) -> Option<String> {
        self.latest.values().map(|(sequence, _)| sequence).max().cloned()
    }

    /// Writes the file anew, whole or not at all.
    fn rewrite(&mut self) -> Result<(), Error> {
        let Some((_, path)) = &self.file else { return Ok(()) };
        let path = path.clone();
        let failed = |cause| Error::Disk { path: path.clone(), cause };
        let mut bytes = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            serde_json::to_writer(&mut bytes, line).map_err(|cause| Error::Line {
                path: path.clone(),
                number: number + 1,
                cause,
            })?;
            bytes.push(b'\n');
        }
        let half = path.with_extension("part");
        let mut file = File::create(&half).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        std::fs::rename(&half, &path).map_err(failed)?;
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(failed)?;
        self.file = Some((file, path));
        Ok(())
    }

    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line of the latest version of each subject, in the order of the subjects.
    pub(super) fn latest(&self) -> impl Iterator<Item = &Line> {
        self.latest.values().map(|(_, place)| &self.lines[*place])
    }
}

/// The reason beside a status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

impl Verdict {
    pub(super) fn because(code: &str, message: &str) -> Verdict {
        Verdict { code: Some(code.to_owned()), message: Some(message.to_owned()) }
    }

    pub(super) fn receipt(self, id: String, status: ReceiptStatus) -> Receipt {
        Receipt { id, status, code: self.code, message: self.message }
    }
}
