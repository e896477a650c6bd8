//! Fields at fixed places of a line.

use std::sync::Arc;

use connector_api::{DecodeFailure, Map, Value};

use super::lines::Lines;
use super::{Row, ShortRows, Table, Unreadable};

/// Fields at fixed places of a line. The blanks around a field's text are padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// The columns, in any order.
    pub columns: Vec<Column>,
    /// What places and widths count.
    pub measure: Measure,
    /// How many lines stand before the table.
    pub skip_lines: usize,
    /// What becomes of lines that end before the last column does.
    pub short_rows: ShortRows,
}

/// A column of a file of fixed width.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its first place, counted from 1.
    pub start: usize,
    /// How many places it has.
    pub width: usize,
}

/// What places and widths count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// Bytes of the file: a Chinese character is two in GBK.
    #[default]
    Bytes,
    /// Characters.
    Chars,
}

impl Fixed {
    pub(super) fn read(&self, lines: &Lines<'_>, skip: usize) -> Table {
        let columns: Vec<(Arc<str>, &Column)> =
            self.columns.iter().map(|column| (Arc::from(column.name.as_str()), column)).collect();
        let rows = (skip..lines.count())
            .filter(|line| !lines.text_of(*line..*line + 1).trim().is_empty())
            .map(|line| Row {
                line: line + 1,
                bytes: lines.range_of(line..line + 1),
                values: self.values(lines, line, &columns),
            })
            .collect();
        Table { charset: lines.charset(), head: lines.mark().to_vec(), rows }
    }

    fn values(&self, lines: &Lines<'_>, line: usize, columns: &[(Arc<str>, &Column)]) -> Result<Map, Unreadable> {
        let unreadable = |code, what: String, readable| Unreadable {
            failure: DecodeFailure::new(code, format!("line {}: {what}", line + 1)),
            readable,
        };
        let places = match self.measure {
            Measure::Bytes => Places::Bytes(trim_end(lines.bytes_of(line..line + 1))),
            Measure::Chars => match lines.bad_within(line..line + 1) {
                None => Places::Chars(lines.text_of(line..line + 1).trim_end_matches(['\r', '\n']).chars().collect()),
                Some(offset) => {
                    let what = format!("byte {offset} of the file does not begin a character");
                    return Err(unreadable("delimited-charset", what, Map::new()));
                }
            },
        };
        let last = self.columns.iter().map(|column| column.start.saturating_add(column.width)).max().unwrap_or(1) - 1;
        if places.count() < last && self.short_rows == ShortRows::Hold {
            let what = format!("{} places where the columns have {last}", places.count());
            return Err(unreadable("delimited-columns", what, Map::new()));
        }
        if !places.is_blank_from(last) {
            let what = format!("{} places where the columns have {last}", places.count());
            return Err(unreadable("delimited-columns", what, Map::new()));
        }
        let mut map = Map::with_capacity(columns.len());
        let mut bad = None;
        for (name, column) in columns {
            let start = column.start.saturating_sub(1);
            if start >= places.count() {
                map.push(name.clone(), Value::Null);
                continue;
            }
            match places.text(lines, start, column.width) {
                Some(text) => map.push(name.clone(), text.trim_matches([' ', '\u{3000}'])),
                None => {
                    bad.get_or_insert(&column.name);
                    map.push(name.clone(), Value::Null);
                }
            }
        }
        match bad {
            None => Ok(map),
            Some(name) => {
                let what = format!("the bytes of column {name:?} are not whole {} characters", lines.charset().name());
                Err(unreadable("delimited-charset", what, map))
            }
        }
    }
}

/// A line's places.
enum Places<'a> {
    Bytes(&'a [u8]),
    Chars(Vec<char>),
}

impl Places<'_> {
    fn count(&self) -> usize {
        match self {
            Places::Bytes(bytes) => bytes.len(),
            Places::Chars(chars) => chars.len(),
        }
    }

    fn is_blank_from(&self, start: usize) -> bool {
        match self {
            Places::Bytes(bytes) => bytes.iter().skip(start).all(|byte| *byte == b' '),
            Places::Chars(chars) => chars.iter().skip(start).all(|c| *c == ' '),
        }
    }

    fn text(&self, lines: &Lines<'_>, start: usize, width: usize) -> Option<String> {
        let end = start.saturating_add(width).min(self.count());
        match self {
            Places::Bytes(bytes) => lines.charset().decode(&bytes[start..end]).ok().map(|text| text.into_owned()),
            Places::Chars(chars) => Some(chars[start..end].iter().collect()),
        }
    }
}

fn trim_end(line: &[u8]) -> &[u8] {
    let kept = line.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    &line[..kept]
}
