//! Plain tables and times for people.

use chrono::{DateTime, Utc};
use serde_json::Value as Json;
use unicode_width::UnicodeWidthStr as _;

/// Lines up columns; Chinese characters take two places. Columns whose head ends in `#` are numbers.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let right: Vec<bool> = head.iter().map(|name| name.ends_with('#')).collect();
    let names: Vec<String> = head.iter().map(|name| name.trim_end_matches('#').to_owned()).collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.width());
        }
    }
    let line = |cells: &[String]| {
        let mut text = String::new();
        for (at, cell) in cells.iter().enumerate() {
            let fill = " ".repeat(widths[at].saturating_sub(cell.width()));
            if at > 0 {
                text.push_str("  ");
            }
            if right[at] {
                text.push_str(&fill);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&fill);
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let mut text = line(&names);
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}

/// A field as text: strings as they are, null as a dash.
pub(super) fn field(json: &Json, name: &str) -> String {
    match json.get(name) {
        None | Some(Json::Null) => "-".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A time field as people read it, in UTC to the second.
pub(super) fn time(json: &Json, name: &str) -> String {
    let at = json.get(name).and_then(Json::as_str).and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    at.map_or_else(|| "-".to_owned(), |at| at.with_timezone(&Utc).format("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// The elements of a list.
pub(super) fn list<'a>(json: &'a Json, name: &str) -> &'a [Json] {
    json.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}
