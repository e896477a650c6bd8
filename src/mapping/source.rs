//! Names of the source: columns, nested members, HL7 segments and fields.
//!
//! `TJBH` a column of the row, `a.b` a member of a member, `"列.名"` a name with odd characters,
//! `../X` one scope up, `/X` the document, `.` the row itself, `PID-5.1` an HL7 component.

use std::borrow::Cow;
use std::sync::Arc;

use connector_api::{Map, Value};

use super::plan::PivotLine;

/// A parsed name.
#[derive(Clone, Debug)]
pub(super) struct SourcePath {
    /// As written, for findings.
    pub(super) text: Arc<str>,
    base: Base,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Base {
    Up(usize),
    Top,
}

#[derive(Clone, Debug)]
enum Kind {
    Itself,
    Names(Vec<String>),
    Segment(Segment),
}

/// `SEG[occurrence]-field[repetition].component.subcomponent`, all from 1.
#[derive(Clone, Debug)]
struct Segment {
    name: String,
    occurrence: Option<usize>,
    field: usize,
    repetition: Option<usize>,
    component: Option<usize>,
    subcomponent: Option<usize>,
}

/// What a list's rows are read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Row<'d> {
    Map(&'d Map),
    Value(&'d Value),
    /// One column of a wide row, with its line in the dictionary.
    Column(&'d Map, &'d PivotLine),
}

/// A row with the rows around it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'s, 'd> {
    pub(super) row: Row<'d>,
    pub(super) up: Option<&'s Scope<'s, 'd>>,
    /// The rows of this group, where the scope is a group of flat rows.
    pub(super) rows: Option<&'s [Row<'d>]>,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub(super) enum Found<'d> {
    /// The source has no such name here.
    Missing,
    Value(&'d Value),
    /// Several HL7 pieces that belong together.
    Joined(String),
    /// HL7 pieces of which one should be named.
    Several,
}

static NULL: Value = Value::Null;

impl SourcePath {
    /// Reads a name; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<SourcePath, String> {
        let (mut rest, mut base) = (text.trim(), Base::Up(0));
        if let Some(under) = rest.strip_prefix('/') {
            (rest, base) = (under, Base::Top);
        } else {
            let mut up = 0;
            while let Some(under) = rest.strip_prefix("../") {
                (rest, up) = (under, up + 1);
            }
            base = if up > 0 { Base::Up(up) } else { base };
        }
        let kind = if rest == "." {
            Kind::Itself
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let name = quoted.strip_suffix('"').filter(|name| !name.is_empty());
            Kind::Names(vec![name.ok_or("the closing quote is missing")?.to_owned()])
        } else if let Some(segment) = Segment::parse(rest) {
            Kind::Segment(segment)
        } else {
            let names: Vec<String> = rest.split('.').map(str::to_owned).collect();
            if names.iter().any(|name| name.trim().is_empty()) {
                return Err("a part of the name is empty".to_owned());
            }
            Kind::Names(names)
        };
        Ok(SourcePath { text: text.into(), base, kind })
    }

    /// A column of the row by its exact name.
    pub(super) fn column(name: &str, base_up: usize) -> SourcePath {
        SourcePath { text: name.into(), base: Base::Up(base_up), kind: Kind::Names(vec![name.to_owned()]) }
    }

    /// A column of the document by its exact name.
    pub(super) fn top(name: &str) -> SourcePath {
        SourcePath { text: name.into(), base: Base::Top, kind: Kind::Names(vec![name.to_owned()]) }
    }

    /// Whether it leads out of the row, to the same value for all the rows of a list.
    pub(super) fn is_outside(&self) -> bool {
        !matches!(self.base, Base::Up(0))
    }

    pub(super) fn find<'d>(&self, scope: &Scope<'_, 'd>) -> Found<'d> {
        let mut at = scope;
        match self.base {
            Base::Top => {
                while let Some(up) = at.up {
                    at = up;
                }
            }
            Base::Up(count) => {
                for _ in 0..count {
                    match at.up {
                        Some(up) => at = up,
                        None => return Found::Missing,
                    }
                }
            }
        }
        match (&self.kind, at.row) {
            (Kind::Itself, Row::Value(value)) => Found::Value(value),
            (Kind::Names(names), Row::Map(map)) => member(map, names),
            (Kind::Names(names), Row::Value(Value::Map(map))) => member(map, names),
            (Kind::Names(names), Row::Column(map, line)) if names.len() == 1 => {
                pivoted(map, line, &names[0]).map_or(Found::Missing, Found::Value)
            }
            (Kind::Segment(segment), Row::Map(map)) => match map.get(&segment.name) {
                Some(value) => segment.find(value, segment.text_type(map)),
                // A segment may be left out of a message; one that stands further out is a mistake.
                None if elsewhere(at.up, &segment.name) => Found::Missing,
                None => Found::Value(&NULL),
            },
            (Kind::Segment(segment), Row::Value(value)) => segment.find(value, TextType::Other),
            _ => Found::Missing,
        }
    }

    /// The source's name that is meant: of a wide table's row, the column that its dictionary names.
    pub(super) fn asked<'d>(&'d self, scope: &Scope<'_, 'd>) -> &'d str {
        let (Base::Up(0), Kind::Names(names), Row::Column(_, line)) = (self.base, &self.kind, scope.row) else {
            return &self.text;
        };
        match names.as_slice() {
            [name] if name == "value" => &line.column,
            [name] => line.cell(&format!("{name}_column")).and_then(Value::as_text).unwrap_or(&self.text),
            _ => &self.text,
        }
    }

    /// The rows that a list stands for; `None` where the source has no such name.
    pub(super) fn rows<'d>(&self, scope: &Scope<'_, 'd>) -> Option<Vec<Row<'d>>> {
        if let (Base::Up(0), Kind::Names(names), Some(rows)) = (self.base, &self.kind, scope.rows)
            && names.len() == 1
            && names[0] == "rows"
        {
            return Some(rows.to_vec());
        }
        let value = match &self.kind {
            Kind::Itself => return Some(vec![scope.row]),
            Kind::Segment(_) => return None,
            // Segments that repeat (`NTE`) are named without a field.
            Kind::Names(_) => match self.find(scope) {
                Found::Value(value) => value,
                _ => return None,
            },
        };
        Some(match value {
            Value::Null => Vec::new(),
            Value::Text(text) if text.trim().is_empty() => Vec::new(),
            Value::List(list) => list.iter().map(Row::of).collect(),
            single => vec![Row::of(single)],
        })
    }
}

impl<'d> Row<'d> {
    pub(super) fn of(value: &'d Value) -> Row<'d> {
        match value {
            Value::Map(map) => Row::Map(map),
            value => Row::Value(value),
        }
    }
}

/// What a name of a pivoted row stands for: `value` is the column itself, a column of the dictionary what its line
/// says, and `flag` the source's column that the line names under `flag_column`.
fn pivoted<'d>(map: &'d Map, line: &'d PivotLine, name: &str) -> Option<&'d Value> {
    if name == "value" {
        return map.get(&line.column);
    }
    line.cell(name).or_else(|| match line.cell(&format!("{name}_column"))? {
        Value::Text(column) => map.get(column),
        _ => Some(&NULL),
    })
}

fn member<'d>(map: &'d Map, names: &[String]) -> Found<'d> {
    let Some((first, rest)) = names.split_first() else { return Found::Missing };
    match map.get(first) {
        None => Found::Missing,
        Some(value) if rest.is_empty() => Found::Value(value),
        Some(Value::Map(inner)) => member(inner, rest),
        Some(Value::Null) => Found::Value(&NULL),
        Some(_) => Found::Several,
    }
}

fn elsewhere(mut scope: Option<&Scope<'_, '_>>, name: &str) -> bool {
    while let Some(at) = scope {
        if matches!(at.row, Row::Map(map) if map.get(name).is_some()) {
            return true;
        }
        scope = at.up;
    }
    false
}

/// What OBX-2 says about the pieces of OBX-5.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextType {
    /// Structured numeric: the components read together, `<^0.02`.
    Numeric,
    /// Text: the repetitions are its lines.
    Lines,
    Other,
}

impl Segment {
    /// How the pieces of this field belong together: OBX-5 by the type in OBX-2, notes as lines.
    fn text_type(&self, map: &Map) -> TextType {
        if self.name == "NTE" {
            return TextType::Lines;
        }
        if self.name != "OBX" || self.field != 5 {
            return TextType::Other;
        }
        match map.get("OBX").and_then(Value::as_list).and_then(|fields| fields.get(2)).and_then(Value::as_text) {
            Some("SN") => TextType::Numeric,
            Some("TX" | "FT" | "ST") => TextType::Lines,
            _ => TextType::Other,
        }
    }

    fn parse(text: &str) -> Option<Segment> {
        let (head, tail) = text.split_once('-')?;
        let (name, occurrence) = indexed(head)?;
        let first = name.starts_with(|c: char| c.is_ascii_uppercase());
        if name.len() != 3 || !first || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            return None;
        }
        let mut parts = tail.split('.');
        let (field, repetition) = indexed(parts.next()?)?;
        let mut number = || parts.next().map(|part| part.parse::<usize>().ok().filter(|n| *n > 0));
        let (component, subcomponent) = (number(), number());
        if component == Some(None) || subcomponent == Some(None) || parts.next().is_some() {
            return None;
        }
        Some(Segment {
            name: name.to_owned(),
            occurrence,
            field: field.parse().ok()?,
            repetition,
            component: component.flatten(),
            subcomponent: subcomponent.flatten(),
        })
    }

    fn find<'d>(&self, value: &'d Value, text_type: TextType) -> Found<'d> {
        let Value::List(list) = value else { return Found::Value(&NULL) };
        if !matches!(list.first(), Some(Value::List(_))) {
            return self.field(list, text_type);
        }
        // The segment repeats: one is named, or the texts of all are lines.
        if let Some(occurrence) = self.occurrence {
            return match list.get(occurrence.wrapping_sub(1)) {
                Some(Value::List(fields)) => self.field(fields, text_type),
                _ => Found::Value(&NULL),
            };
        }
        let mut lines: Vec<Cow<'_, str>> = Vec::new();
        for segment in list {
            match segment.as_list().map(|fields| self.field(fields, TextType::Lines)) {
                Some(Found::Value(Value::Text(line))) => lines.push(Cow::Borrowed(line)),
                Some(Found::Joined(text)) => lines.push(Cow::Owned(text)),
                Some(Found::Several) => return Found::Several,
                _ => {}
            }
        }
        if lines.is_empty() { Found::Value(&NULL) } else { Found::Joined(lines.join("\n")) }
    }

    fn field<'d>(&self, fields: &'d [Value], text_type: TextType) -> Found<'d> {
        let value = fields.get(self.field).unwrap_or(&NULL);
        let Value::List(repetitions) = value else {
            // A plain text is its own first component.
            let beyond = self.component.is_some_and(|at| at > 1) || self.repetition.is_some_and(|at| at > 1);
            return explicit(if beyond { &NULL } else { value });
        };
        let repetition = match self.repetition {
            Some(at) => repetitions.get(at.wrapping_sub(1)).unwrap_or(&NULL),
            None if repetitions.len() == 1 => &repetitions[0],
            None if text_type == TextType::Lines && self.component.is_none() => {
                let lines: Option<Vec<&str>> =
                    repetitions.iter().map(|line| if line.is_null() { Some("") } else { line.as_text() }).collect();
                return lines.map_or(Found::Several, |lines| Found::Joined(lines.join("\n")));
            }
            None => return Found::Several,
        };
        let Value::List(components) = repetition else {
            return explicit(if self.component.is_some_and(|at| at > 1) { &NULL } else { repetition });
        };
        let component = match self.component {
            Some(at) => components.get(at.wrapping_sub(1)).unwrap_or(&NULL),
            None if text_type == TextType::Numeric => {
                return Found::Joined(components.iter().filter_map(Value::as_text).collect());
            }
            None if components.iter().skip(1).all(is_blank) => components.first().unwrap_or(&NULL),
            None => return Found::Several,
        };
        let Value::List(subcomponents) = component else {
            return explicit(if self.subcomponent.is_some_and(|at| at > 1) { &NULL } else { component });
        };
        match self.subcomponent {
            Some(at) => explicit(subcomponents.get(at.wrapping_sub(1)).unwrap_or(&NULL)),
            None if subcomponents.iter().skip(1).all(is_blank) => explicit(subcomponents.first().unwrap_or(&NULL)),
            None => Found::Several,
        }
    }
}

/// `""` in HL7 says "no value", unlike an empty field, which says nothing; both are null here.
fn explicit(value: &Value) -> Found<'_> {
    Found::Value(if matches!(value, Value::Text(text) if text == "\"\"") { &NULL } else { value })
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        Value::List(list) => list.iter().all(is_blank),
        _ => false,
    }
}

/// `PID[2]` as name and number.
fn indexed(text: &str) -> Option<(&str, Option<usize>)> {
    match text.split_once('[') {
        None => Some((text, None)),
        Some((name, index)) => Some((name, Some(index.strip_suffix(']')?.parse().ok().filter(|at| *at > 0)?))),
    }
}
