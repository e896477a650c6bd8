//! The stream's table in the configuration, and what can be said against it before connecting.

use std::collections::HashSet;

use connector_api::{Mode, SettingsProblem, Value};
use serde::{Deserialize, Serialize};

/// What a relational stream's table holds beside the keys common to all streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableStream {
    /// The table or view with one row per record.
    pub fetch: Fetch,
    /// Tables or views with the record's parts. Each becomes a list under its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
}

/// The table or view with one row per record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fetch {
    /// Its name, as the source spells it; `schema.name` where a schema is needed.
    pub from: String,
    /// The columns that identify a record. Rows that share a key are held, not merged, unless `group` says that
    /// they belong together.
    pub key: Vec<String>,
    /// Rows that share a key are one record: what all of them say alike, and the rows as the list `rows`. For a
    /// flat view with one row per result. One row that changed brings all rows of its record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub group: bool,
    /// With `group`: the order of the list. Rows that tie are put in an order of hisync's own that never varies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// Read these columns only; all where absent. Key and watermark columns are always read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Read only rows that meet all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<Filter>,
    /// What tells new and changed rows, for an incremental stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkSettings>,
    /// For an incremental stream: it may have no row at all at times, e.g. a view that shows the last days only.
    /// Otherwise no row at all, where rows were read before, is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_empty: bool,
}

/// A condition on one column. Values are bound, never written into the query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The column.
    pub column: String,
    /// It has this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<FilterValue>,
    /// It has one of these values.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Vec<FilterValue>>,
}

/// A value to compare with: a whole number or text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum FilterValue {
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
}

impl From<&FilterValue> for Value {
    fn from(value: &FilterValue) -> Value {
        match value {
            FilterValue::Integer(number) => Value::Integer(*number),
            FilterValue::Text(text) => Value::Text(text.clone()),
        }
    }
}

impl Filter {
    /// The accepted values.
    pub(crate) fn values(&self) -> Vec<Value> {
        let listed = self.any_of.iter().flatten();
        self.equals.iter().chain(listed).map(Value::from).collect()
    }
}

/// What a watermark column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatermarkType {
    /// A date or time, typed by the source or written as text or number.
    Timestamp,
    /// A number that grows with each change.
    Number,
    /// Text that grows with each change, in the source's own order.
    Text,
    /// SQL Server's `rowversion`: eight bytes that grow with each change.
    Rowversion,
}

/// The columns that tell new and changed rows. Ties are broken by the key columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatermarkSettings {
    /// The column.
    pub column: String,
    /// Columns that go on where `column` ties. Beside a `timestamp` that says the day only: the one with the time of
    /// day. For a `number` or `text` that begins anew with each value of `column` (a year, a day): the one that
    /// holds it; `type` and `lag` are then its own. A row in which one of them is null has no watermark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<String>,
    /// What it holds; the last of `then` for a `number` or `text`.
    #[serde(rename = "type")]
    pub kind: WatermarkType,
    /// For `timestamp`: how far before the watermark each scan starts, in seconds. It must cover
    /// the longest time between a row's timestamp and its commit. 600 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_secs: Option<u64>,
    /// For `number`, `text` and `rowversion`: how far before the watermark each scan starts. A `number` and a `text`
    /// need it: they are given out before they are committed, so it must cover how many may be open at once. It is
    /// taken off the digits of a text. 0 where absent for `rowversion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// For `timestamp` columns that hold text or numbers: `unix`, `unix-millis`, or a pattern such
    /// as `%Y%m%d%H%M%S`, whose text must sort as its time does. Recognised where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

/// Long enough for a transaction of a busy system that stamps its rows first and commits later.
const DEFAULT_LAG_SECS: u64 = 600;

const LONGEST_LAG_SECS: u64 = 366 * 24 * 60 * 60;

impl WatermarkSettings {
    /// The lag in force, in seconds.
    pub(crate) fn lag_secs(&self) -> u64 {
        self.lag_secs.unwrap_or(DEFAULT_LAG_SECS)
    }

    /// All its columns, in their order.
    pub fn columns(&self) -> impl DoubleEndedIterator<Item = &String> + Clone {
        std::iter::once(&self.column).chain(&self.then)
    }

    /// How many columns it has.
    pub(crate) fn width(&self) -> usize {
        1 + self.then.len()
    }

    /// The column that holds what `type` says.
    pub fn typed_column(&self) -> &str {
        match self.kind {
            WatermarkType::Timestamp => &self.column,
            _ => self.then.last().unwrap_or(&self.column),
        }
    }
}

/// A table or view with parts of its parent's records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Child {
    /// The name of the list in the record.
    pub name: String,
    /// The table or view.
    pub from: String,
    /// Its columns that name the parent.
    pub key: Vec<String>,
    /// The parent's columns that `key` is compared with, in the same order. Where absent: the
    /// record's key for a child of the record, and columns of the same names for a child's child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_key: Option<Vec<String>>,
    /// The order of the list. Rows that tie are put in an order of hisync's own that never varies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order_by: Vec<String>,
    /// Read these columns only; all where absent. Key and order columns are always read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Read only rows that meet all of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter: Vec<Filter>,
    /// Parts of these parts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Child>,
}

/// Says everything that is wrong with a stream's table. `path` is where the stream stands, e.g.
/// `streams[0]`.
pub fn check_stream(path: &str, mode: Mode, stream: &TableStream) -> Vec<SettingsProblem> {
    let mut check = Check { problems: Vec::new() };
    let at = format!("{path}.fetch");
    check.table(&format!("{at}.from"), &stream.fetch.from);
    check.key(&format!("{at}.key"), &stream.fetch.key);
    check.names(&format!("{at}.columns"), &stream.fetch.columns);
    check.filters(&at, &stream.fetch.filter);
    check.group(&at, &stream.fetch);
    match (&stream.fetch.watermark, mode) {
        (Some(watermark), Mode::Incremental) => check.watermark(&format!("{at}.watermark"), watermark),
        (None, Mode::Incremental) => check.problem(
            at.clone(),
            "an incremental stream needs a watermark",
            r#"add watermark = { column = "GXSJ", type = "timestamp" }, or use mode = "snapshot""#,
        ),
        (Some(_), Mode::Snapshot) => check.problem(
            format!("{at}.watermark"),
            "a snapshot stream reads everything and has no watermark",
            r#"remove it, or use mode = "incremental""#,
        ),
        (None, Mode::Snapshot) if stream.fetch.may_be_empty => check.problem(
            format!("{at}.may_be_empty"),
            "how much of a snapshot may be gone is the stream's snapshot policy",
            "remove it",
        ),
        (None, Mode::Snapshot) => {}
        (_, Mode::Push) => {
            check.problem(format!("{path}.mode"), "a database is asked, it does not push", r#"use "incremental""#);
        }
    }
    let rows = [crate::units::LIST.to_owned()];
    let taken = if stream.fetch.group { &rows[..] } else { &stream.fetch.columns };
    check.children(&format!("{path}.children"), &stream.children, Some(&stream.fetch.key), taken);
    check.problems
}

struct Check {
    problems: Vec<SettingsProblem>,
}

impl Check {
    fn problem(&mut self, path: String, message: impl Into<String>, hint: &str) {
        self.problems.push(SettingsProblem::new(path, message).hint(hint));
    }

    fn name(&mut self, path: &str, name: &str) {
        let quote = |c: char| matches!(c, '"' | '\'' | '`' | '[' | ']' | ';') || c.is_control();
        if name.trim().is_empty() {
            self.problem(path.to_owned(), "the name is empty", "write the name as `hisync discover` lists it");
        } else if name.contains(quote) {
            let message = format!("the name {name:?} has a quote, bracket, semicolon or control character");
            self.problem(path.to_owned(), message, "write the bare name; hisync quotes it");
        }
    }

    fn table(&mut self, path: &str, name: &str) {
        name.split('.').for_each(|part| self.name(path, part));
    }

    fn names(&mut self, path: &str, names: &[String]) {
        let mut seen = HashSet::new();
        for (at, name) in names.iter().enumerate() {
            self.name(&format!("{path}[{at}]"), name);
            if !seen.insert(name) {
                self.problem(format!("{path}[{at}]"), format!("the column {name:?} is named twice"), "name it once");
            }
        }
    }

    fn key(&mut self, path: &str, key: &[String]) {
        if key.is_empty() {
            self.problem(path.to_owned(), "the key has no columns", r#"name them: key = ["TJBH"]"#);
        }
        self.names(path, key);
    }

    fn group(&mut self, path: &str, fetch: &Fetch) {
        self.names(&format!("{path}.order_by"), &fetch.order_by);
        if !fetch.group && !fetch.order_by.is_empty() {
            let message = "records are read in the order of their key; only the rows of a group have another";
            self.problem(format!("{path}.order_by"), message, "add group = true, or remove it");
        }
        if fetch.group && fetch.key.iter().any(|name| name.eq_ignore_ascii_case(crate::units::LIST)) {
            let message = "a grouped record has the list `rows`, so that no key column can have this name";
            self.problem(format!("{path}.key"), message, "give the column another name in the view");
        }
    }

    fn filters(&mut self, path: &str, filters: &[Filter]) {
        for (at, filter) in filters.iter().enumerate() {
            let path = format!("{path}.filter[{at}]");
            self.name(&format!("{path}.column"), &filter.column);
            if filter.equals.is_some() == filter.any_of.is_some() || filter.values().is_empty() {
                self.problem(path, "a filter has one of `equals` and `in`, with a value", r#"in = ["1", "2"]"#);
            }
        }
    }

    fn watermark(&mut self, path: &str, watermark: &WatermarkSettings) {
        self.name(&format!("{path}.column"), &watermark.column);
        self.names(&format!("{path}.then"), &watermark.then);
        let timestamp = watermark.kind == WatermarkType::Timestamp;
        let then = match watermark.kind {
            _ if watermark.then.contains(&watermark.column) => Some("the column stands in `then` once more"),
            WatermarkType::Timestamp if watermark.then.len() > 1 => {
                Some("a timestamp in two columns is a day and a time of day; no column goes on after that")
            }
            WatermarkType::Timestamp if watermark.format.as_deref().is_some_and(|it| it.starts_with("unix")) => {
                Some("what counts from 1970 says the time of day itself")
            }
            WatermarkType::Rowversion => Some("no two rows have the same rowversion, so that no column goes on"),
            _ => None,
        };
        if let Some(message) = then.filter(|_| !watermark.then.is_empty()) {
            self.problem(format!("{path}.then"), message, "remove it; the key's columns break ties by themselves");
        }
        if watermark.lag_secs.is_some() && !timestamp {
            self.problem(format!("{path}.lag_secs"), "only a timestamp has a lag in seconds", "use lag, or remove it");
        }
        if watermark.lag.is_some() && timestamp {
            self.problem(format!("{path}.lag"), "a timestamp has no such lag", "use lag_secs");
        }
        if watermark.lag.is_none() && matches!(watermark.kind, WatermarkType::Number | WatermarkType::Text) {
            let message = "a number or text has no lag: a row that is committed after one with a higher number would be \
                           missed";
            let hint =
                "numbers are given out before they are committed: write how many may be open at once, e.g. lag = 1000";
            self.problem(format!("{path}.lag"), message, hint);
        }
        if watermark.lag_secs.is_some_and(|secs| secs > LONGEST_LAG_SECS) {
            self.problem(format!("{path}.lag_secs"), "the lag is longer than a year", "600 is usual; see sweep");
        }
        if let Some(format) = &watermark.format {
            if !timestamp {
                self.problem(format!("{path}.format"), "only a timestamp has a format", "remove it");
            } else if !crate::watermark::is_usable_format(format) {
                let message = format!("{format:?} is no pattern of a date or time that sorts as its time does");
                self.problem(format!("{path}.format"), message, "use unix, unix-millis or e.g. %Y-%m-%d %H:%M:%S");
            }
        }
    }

    fn children(&mut self, path: &str, children: &[Child], parent: Option<&[String]>, columns: &[String]) {
        let mut seen = HashSet::new();
        for (at, child) in children.iter().enumerate() {
            let path = format!("{path}[{at}]");
            if child.name.is_empty() || !seen.insert(&child.name) {
                let hint = "give every list a name of its own";
                self.problem(format!("{path}.name"), "the list's name is empty or taken", hint);
            }
            if columns.contains(&child.name) {
                let message = format!("the list {:?} has the name of a column", child.name);
                self.problem(format!("{path}.name"), message, "give the list another name");
            }
            self.table(&format!("{path}.from"), &child.from);
            self.key(&format!("{path}.key"), &child.key);
            self.names(&format!("{path}.columns"), &child.columns);
            self.names(&format!("{path}.order_by"), &child.order_by);
            self.filters(&path, &child.filter);
            let parent_key = child.parent_key.as_deref();
            if let Some(names) = parent_key {
                self.names(&format!("{path}.parent_key"), names);
            }
            if let Some(wanted) = parent_key.or(parent)
                && wanted.len() != child.key.len()
            {
                let message = format!("the key has {} columns, the parent's has {}", child.key.len(), wanted.len());
                self.problem(format!("{path}.key"), message, "name as many columns, in the same order");
            }
            self.children(&format!("{path}.children"), &child.children, None, &child.columns);
        }
    }
}
