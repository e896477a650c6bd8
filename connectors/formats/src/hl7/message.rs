//! The document of one message.

use std::sync::Arc;

use connector_api::{DecodeFailure, Document, Map, Value};

use super::syntax::Syntax;
use super::{Delimiters, Header, embedded};
use crate::charset::Charset;

/// Parses the decoded text of one message; `charset` is what `\X..\` escapes are written in.
pub(super) fn parse(text: &str, charset: Charset) -> Result<Document, DecodeFailure> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split(['\r', '\n']).filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default().trim_start();
    if !first.starts_with("MSH") {
        return Err(DecodeFailure::new("hl7-no-header", "the message does not begin with an MSH segment"));
    }
    let delimiters = Delimiters::read(first)?;
    let header = Header::read_line(first.as_bytes(), Charset::Utf8)?;
    let syntax = Syntax::new(delimiters, charset);

    let mut segments = vec![("MSH", syntax.segment(first))];
    for (line, number) in lines.zip(2..) {
        let name = segment_name(line, delimiters.field).ok_or_else(|| {
            DecodeFailure::new("hl7-segment", format!("line {number} does not begin with a segment name"))
        })?;
        if name == "MSH" {
            return Err(DecodeFailure::new("hl7-several-messages", format!("line {number} begins another message")));
        }
        let mut segment = syntax.segment(line);
        if name == "OBX" {
            embedded::decode(&mut segment)
                .map_err(|what| DecodeFailure::new("hl7-embedded", format!("line {number}: {what}")))?;
        }
        segments.push((name, segment));
    }

    let mut root = Map::with_capacity(8);
    root.push("type", header.message_type());
    let ordered = segments.iter().any(|(name, _)| *name == "OBR");
    if header.component(9, 1) == "ORU" || (header.component(9, 2) == "R01" && ordered) {
        results(&mut root, segments)?;
    } else if header.component(9, 1) == "MFN" {
        entries(&mut root, segments);
    } else {
        root.push("MSH", segments[0].1.clone());
        root.push("segments", segments.into_iter().map(|(_, segment)| segment).collect::<Vec<_>>());
    }
    Ok(Document::new(root))
}

fn segment_name(line: &str, separator: char) -> Option<&str> {
    let name = line.get(..3)?;
    let named = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let ended = line[3..].chars().next().is_none_or(|c| c == separator);
    (named && ended).then_some(name)
}

/// An `OBX` with its notes.
struct Observation {
    obx: Value,
    notes: Vec<Value>,
}

/// An order with its results.
#[derive(Default)]
struct Group {
    orc: Option<Value>,
    obr: Option<Value>,
    notes: Vec<Value>,
    observations: Vec<Observation>,
    others: Vec<Value>,
}

impl Group {
    fn into_value(self, keys: &Keys) -> Value {
        let mut map = Map::with_capacity(5);
        for (key, segment) in [(&keys.orc, self.orc), (&keys.obr, self.obr)] {
            if let Some(segment) = segment {
                map.push(Arc::clone(key), segment);
            }
        }
        map.push(Arc::clone(&keys.nte), self.notes);
        let observations = self.observations.into_iter().map(|observation| {
            let entries = [(&keys.obx, observation.obx), (&keys.nte, Value::List(observation.notes))];
            Value::Map(entries.into_iter().map(|(key, value)| (Arc::clone(key), value)).collect())
        });
        map.push(Arc::clone(&keys.observations), observations.collect::<Vec<_>>());
        if !self.others.is_empty() {
            map.push(Arc::clone(&keys.segments), self.others);
        }
        Value::Map(map)
    }
}

/// The names that repeat, shared by all the groups of a message.
struct Keys {
    orc: Arc<str>,
    obr: Arc<str>,
    obx: Arc<str>,
    nte: Arc<str>,
    observations: Arc<str>,
    segments: Arc<str>,
}

fn results(root: &mut Map, segments: Vec<(&str, Value)>) -> Result<(), DecodeFailure> {
    let mut groups: Vec<Group> = Vec::new();
    let mut others = Vec::new();
    let mut patients = 0;
    for (name, segment) in segments {
        if name == "PID" {
            patients += 1;
            if patients > 1 {
                return Err(DecodeFailure::new("hl7-several-patients", "the message has more than one PID segment"));
            }
        }
        match (name, groups.last_mut()) {
            ("ORC", _) => groups.push(Group { orc: Some(segment), ..Group::default() }),
            // An OBR completes the group that its ORC began, unless something has come between.
            ("OBR", Some(group)) if group.obr.is_none() && group.observations.is_empty() => group.obr = Some(segment),
            ("OBR", _) => groups.push(Group { obr: Some(segment), ..Group::default() }),
            ("OBX", Some(group)) => group.observations.push(Observation { obx: segment, notes: Vec::new() }),
            ("NTE", Some(group)) => match group.observations.last_mut() {
                Some(observation) => observation.notes.push(segment),
                None => group.notes.push(segment),
            },
            (_, Some(group)) => group.others.push(segment),
            (_, None) if root.get(name).is_none() => root.push(name, segment),
            (_, None) => others.push(segment),
        }
    }
    let keys = Keys {
        orc: "ORC".into(),
        obr: "OBR".into(),
        obx: "OBX".into(),
        nte: "NTE".into(),
        observations: "observations".into(),
        segments: "segments".into(),
    };
    root.push("results", groups.into_iter().map(|group| group.into_value(&keys)).collect::<Vec<_>>());
    if !others.is_empty() {
        root.push("segments", others);
    }
    Ok(())
}

/// The entries of a master file, each from its `MFE` to the next.
fn entries(root: &mut Map, segments: Vec<(&str, Value)>) {
    let mut entries: Vec<Map> = Vec::new();
    let mut others: Vec<Vec<Value>> = vec![Vec::new()];
    for (name, segment) in segments {
        if name == "MFE" {
            entries.push(Map::new());
            others.push(Vec::new());
        }
        let place = entries.last_mut().unwrap_or(root);
        if place.get(name).is_none() {
            place.push(name, segment);
        } else if let Some(others) = others.last_mut() {
            others.push(segment);
        }
    }
    let mut others = others.into_iter();
    let before = others.next().unwrap_or_default();
    for (entry, others) in entries.iter_mut().zip(others).filter(|(_, others)| !others.is_empty()) {
        entry.push("segments", others);
    }
    root.push("entries", entries.into_iter().map(Value::Map).collect::<Vec<_>>());
    if !before.is_empty() {
        root.push("segments", before);
    }
}
