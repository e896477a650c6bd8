//! Each value of an entity beside the line of the mapping that made it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;
use unicode_width::UnicodeWidthStr as _;

use crate::diagnose::shown;
use crate::mapping::{Line, Made, Mapping, paths_of, without_places};
use crate::ops::mask;

/// One value with where it came from.
#[derive(Debug, Serialize)]
pub(super) struct Value {
    /// The field: `groups[0].items[2].value_num`.
    path: String,
    value: Json,
    /// The source's name that it was found under, or what the line says where it was not found in the source.
    from: Option<String>,
    /// What stood there, where that differs from the value.
    raw: Option<String>,
    /// `mappings/x/report.toml:12`.
    line: Option<String>,
}

/// The lines of a mapping by the fields that they fill.
pub(super) struct Places<'m>(BTreeMap<&'m str, &'m Line>);

impl<'m> Places<'m> {
    pub(super) fn new(mapping: &'m Mapping) -> Places<'m> {
        Places(mapping.lines().iter().map(|line| (line.path.as_str(), line)).collect())
    }

    fn of(&self, path: &str) -> Option<&'m Line> {
        paths_of(&without_places(path)).iter().find_map(|path| self.0.get(path.as_str()).copied())
    }

    /// The leaves of `data` as they may be shown (`hidden`), each with its line.
    pub(super) fn values(&self, data: &Json, hidden: &Json, made: &[Made], personal: bool) -> Vec<Value> {
        // The last one counts: of rows that were left out as duplicates, the place is taken again.
        let made: BTreeMap<&str, &Made> = made.iter().map(|made| (made.path.as_str(), made)).collect();
        let mut values = Vec::new();
        leaves("", hidden, &mut |path, value| {
            if path.starts_with("envelope") {
                return;
            }
            let line = self.of(path);
            let found = paths_of(path).iter().find_map(|path| made.get(path.as_str()).copied());
            let found = found.filter(|_| line.is_some());
            let clear = at(data, path);
            let raw = found.filter(|found| clear.and_then(Json::as_str) != Some(&found.raw));
            let raw = raw.map(|found| if personal { found.raw.clone() } else { mask::mask(&found.raw) });
            values.push(Value {
                path: path.to_owned(),
                value: value.clone(),
                from: found.map(|found| found.from.clone()).or_else(|| line.map(|line| line.says.clone())),
                raw: raw.filter(|raw| value.as_str() != Some(raw) && !raw.is_empty()),
                line: line.map(place),
            });
        });
        values
    }

    /// Findings with the line that they are about.
    pub(super) fn findings(&self, mut findings: Json) -> Json {
        for finding in findings.as_array_mut().into_iter().flatten() {
            if let Some(line) = finding["path"].as_str().and_then(|path| self.of(path)) {
                finding["line"] = place(line).into();
                finding["says"] = line.says.clone().into();
            }
        }
        findings
    }
}

fn place(line: &Line) -> String {
    format!("{}:{}", shown(&line.file), line.line)
}

fn leaves(path: &str, json: &Json, tell: &mut impl FnMut(&str, &Json)) {
    match json {
        Json::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(&path, value, tell);
            }
        }
        Json::Array(list) if !list.is_empty() => {
            list.iter().enumerate().for_each(|(at, value)| leaves(&format!("{path}[{at}]"), value, tell));
        }
        Json::Array(_) => {}
        leaf => tell(path, leaf),
    }
}

/// The value at a path as [`leaves`] writes it.
fn at<'j>(json: &'j Json, path: &str) -> Option<&'j Json> {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    json.pointer(&pointer)
}

/// The values for people, what made them in a column of its own.
pub(super) fn text(values: &[Value]) -> String {
    let left: Vec<String> = values.iter().map(|value| format!("{} = {}", value.path, value.value)).collect();
    let width = left.iter().map(|line| line.width()).filter(|width| *width <= 64).max().unwrap_or(0);
    let mut text = String::new();
    for (left, value) in left.iter().zip(values) {
        let Some(from) = &value.from else {
            text.push_str(&format!("  {left}\n"));
            continue;
        };
        let fill = " ".repeat(width.saturating_sub(left.width()));
        let raw = value.raw.as_ref().map(|raw| format!(" {raw:?}")).unwrap_or_default();
        let line = value.line.as_deref().unwrap_or_default();
        text.push_str(&format!("  {left}{fill}   ← {from}{raw}   {line}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fields_place_is_found_through_the_line_that_fills_it() {
        for (path, line) in [
            ("groups.items.value_num", "groups.items.value"),
            ("groups.items.reference.low", "groups.items.reference"),
            ("examinee.sex_raw", "examinee.sex"),
            ("original_price_raw", "original_price_minor"),
            ("disabled_reasons", "enabled"),
        ] {
            assert!(paths_of(path).iter().any(|path| path == line), "{path}: {:?}", paths_of(path));
        }
        assert!(paths_of("groups[0].items[2].unit_raw").contains(&"groups[0].items[2].unit".to_owned()));
    }
}
