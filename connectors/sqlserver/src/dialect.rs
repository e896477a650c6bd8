//! T-SQL, and which columns are read through a cast.
//!
//! tiberius reads some types wrongly: `money` becomes a float, one damaged byte in a `varchar` ends
//! the whole result, a UTF-8 collation is ignored. So the server converts these columns, and a
//! column's name in the result says what is still to be done here. The name in the result must be
//! another than the column's, because `ORDER BY [name]` would else sort by what was cast.

use std::collections::HashMap;

use connector_api::Value;
use connector_sql::{Dialect, LimitClause, WatermarkType};

/// A column of a table or view, as the server's catalogue describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ColumnType {
    pub(crate) name: String,
    /// The system type's name, lowercase.
    pub(crate) kind: String,
    /// The declared length in characters or bytes; -1 is `max`.
    pub(crate) length: Option<i64>,
    pub(crate) precision: Option<i64>,
    pub(crate) scale: Option<i64>,
    pub(crate) collation: Option<String>,
    pub(crate) nullable: bool,
}

impl ColumnType {
    fn is_text(&self) -> bool {
        matches!(self.kind.as_str(), "char" | "varchar" | "text")
    }

    fn is_wide_text(&self) -> bool {
        matches!(self.kind.as_str(), "nchar" | "nvarchar" | "ntext")
    }

    fn is_utf8(&self) -> bool {
        self.collation.as_deref().is_some_and(|name| name.to_ascii_uppercase().ends_with("_UTF8"))
    }

    /// The collation, where it is a plain name.
    fn collation_name(&self) -> Option<&str> {
        let plain = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        self.collation.as_deref().filter(plain)
    }

    /// The type as a person writes it.
    pub(crate) fn shown(&self) -> String {
        let kind = if self.kind == "timestamp" { "rowversion" } else { &self.kind };
        match (self.kind.as_str(), self.length, self.precision, self.scale) {
            ("text" | "ntext" | "image" | "xml" | "timestamp", ..) => kind.to_owned(),
            (_, Some(-1), ..) => format!("{kind}(max)"),
            (_, Some(length), ..) => format!("{kind}({length})"),
            ("decimal" | "numeric", _, Some(precision), Some(scale)) => format!("{kind}({precision},{scale})"),
            _ => kind.to_owned(),
        }
    }

    /// How it is selected, and what is to be done with what comes.
    fn selected(&self, quoted: &str, raw_gbk: bool) -> (String, Reading) {
        let padded = matches!(self.kind.as_str(), "char" | "nchar");
        let long = !self.length.is_some_and(|length| (0..=4000).contains(&length));
        let wide = if long { "nvarchar(max)" } else { "nvarchar(4000)" };
        let cast = |to: &str| format!("CAST({quoted} AS {to})");
        match self.kind.as_str() {
            _ if self.is_text() && raw_gbk && !self.is_utf8() => {
                (cast(if long { "varbinary(max)" } else { "varbinary(8000)" }), Reading { gbk: true, padded })
            }
            _ if self.is_text() => (cast(wide), Reading { gbk: false, padded }),
            "nchar" => (quoted.to_owned(), Reading { gbk: false, padded }),
            "ntext" => (cast("nvarchar(max)"), Reading::default()),
            "image" => (cast("varbinary(max)"), Reading::default()),
            "money" | "smallmoney" => (cast("decimal(19,4)"), Reading::default()),
            "sql_variant" => (cast("nvarchar(4000)"), Reading::default()),
            "bit" | "tinyint" | "smallint" | "int" | "bigint" | "decimal" | "numeric" | "float" | "real"
            | "datetime" | "smalldatetime" | "date" | "time" | "datetime2" | "datetimeoffset" | "uniqueidentifier"
            | "nvarchar" | "binary" | "varbinary" | "timestamp" => (quoted.to_owned(), Reading::default()),
            // xml, hierarchyid, geography and what is yet to come: as the server writes it.
            _ => (cast("nvarchar(max)"), Reading::default()),
        }
    }
}

/// What is to be done with a column of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// It holds the bytes of a text in GB 18030.
    pub(crate) gbk: bool,
    /// Blanks at its end fill up a fixed width.
    pub(crate) padded: bool,
}

/// The first character of a column's name in a result. Other names mean what they say.
const MARKS: [(char, Reading); 4] = [
    ('=', Reading { gbk: false, padded: false }),
    ('-', Reading { gbk: false, padded: true }),
    ('~', Reading { gbk: true, padded: false }),
    ('^', Reading { gbk: true, padded: true }),
];

/// The column's name, and what is to be done with it.
pub(crate) fn named(shown: &str) -> (&str, Reading) {
    let marked = MARKS.iter().find_map(|(mark, reading)| Some((shown.strip_prefix(*mark)?, *reading)));
    marked.unwrap_or((shown, Reading::default()))
}

/// T-SQL for the tables that one stream reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransactSql {
    pub(crate) raw_gbk: bool,
    /// What is known of the tables, by their names in the configuration.
    pub(crate) tables: HashMap<String, Vec<ColumnType>>,
    /// Where the stream's watermark stands: table and column.
    pub(crate) watermark: Option<(String, String)>,
    /// The lowest `rowversion` that a transaction still open may commit, asked for before the read
    /// began. Asked for within it, a transaction that ends between the two would be missed for ever:
    /// its rows are not seen yet, and those above them already are.
    pub(crate) open_from: Option<[u8; 8]>,
}

impl TransactSql {
    /// A column as the server's catalogue has it: by its exact name, else by the only one alike.
    fn column(&self, from: &str, name: &str) -> Option<&ColumnType> {
        let columns = self.tables.get(from)?;
        let alike = || {
            let mut alike = columns.iter().filter(|column| column.name.to_lowercase() == name.to_lowercase());
            alike.next().filter(|_| alike.next().is_none())
        };
        columns.iter().find(|column| column.name == name).or_else(alike)
    }

    fn item(&self, column: &ColumnType) -> String {
        let quoted = self.quote(&column.name);
        let (expression, reading) = column.selected(&quoted, self.raw_gbk);
        let plain = expression == quoted && reading == Reading::default() && named(&column.name).0 == column.name;
        let mark = MARKS.iter().find(|(_, own)| *own == reading).map(|(mark, _)| *mark).filter(|_| !plain);
        match mark {
            None => quoted,
            Some(mark) => format!("{expression} AS {}", self.quote(&format!("{mark}{}", column.name))),
        }
    }
}

impl Dialect for TransactSql {
    fn quote(&self, name: &str) -> String {
        format!("[{name}]")
    }

    fn placeholder(&self, at: usize) -> String {
        format!("@P{at}")
    }

    fn limit_clause(&self) -> LimitClause {
        LimitClause::Top
    }

    /// 2100, less the two that `sp_executesql` itself takes.
    fn max_parameters(&self) -> usize {
        2098
    }

    fn blank_watermarks(&self, _: WatermarkType) -> bool {
        self.watermark.as_ref().is_some_and(|(from, name)| self.blank_text(from, name))
    }

    /// Of text alone: a number or time compared with '' is compared with 0 or 1900-01-01.
    fn blank_text(&self, from: &str, column: &str) -> bool {
        self.column(from, column).is_some_and(|column| column.is_text() || column.is_wide_text())
    }

    fn select_list(&self, from: &str, columns: &[&str]) -> String {
        let Some(known) = self.tables.get(from) else {
            let quoted: Vec<String> = columns.iter().map(|name| self.quote(name)).collect();
            return if quoted.is_empty() { "*".to_owned() } else { quoted.join(", ") };
        };
        let items: Vec<String> = match columns {
            [] => known.iter().map(|column| self.item(column)).collect(),
            names => {
                let item = |name: &&str| self.column(from, name).map_or_else(|| self.quote(name), |c| self.item(c));
                names.iter().map(item).collect()
            }
        };
        items.join(", ")
    }

    /// A parameter takes the column's type where the server would else convert the column, which
    /// reads the whole table, or would round the two sides differently.
    fn parameter(
        &self,
        from: &str,
        column: &str,
        _: Option<WatermarkType>,
        value: &Value,
        placeholder: String,
    ) -> String {
        let Some(column) = self.column(from, column) else { return placeholder };
        let to = match (column.kind.as_str(), value) {
            ("char" | "varchar", Value::Text(text)) if text.is_ascii() => "varchar(8000)",
            // In the column's character set, and ordered by its rules: those for nvarchar may differ.
            ("char" | "varchar", Value::Text(_)) => {
                return match column.collation_name() {
                    Some(collation) => format!("CAST({placeholder} COLLATE {collation} AS varchar(8000))"),
                    None => placeholder,
                };
            }
            ("char" | "varchar", Value::Integer(_)) => "varchar(30)",
            ("nchar" | "nvarchar", Value::Integer(_)) => "nvarchar(30)",
            ("datetime" | "smalldatetime", Value::Time(_) | Value::Text(_)) => "datetime",
            ("float" | "real", Value::Decimal(_)) => "float",
            ("money" | "smallmoney", Value::Decimal(_)) => "money",
            ("timestamp", Value::Bytes(_)) => "binary(8)",
            ("uniqueidentifier", Value::Text(_)) => "uniqueidentifier",
            _ => return placeholder,
        };
        format!("CAST({placeholder} AS {to})")
    }

    /// GBK bytes in a column of code page 1252 are sent as the text that the server stores as these
    /// bytes; its own conversion of the Chinese text would be question marks, which equal nothing.
    fn bound(&self, from: &str, column: &str, value: &Value) -> Value {
        let (Some(column), Value::Text(text)) = (self.column(from, column), value) else { return value.clone() };
        if !self.raw_gbk || text.is_ascii() || !column.is_text() || column.is_utf8() {
            return value.clone();
        }
        match column.collation.as_deref().map(str::to_ascii_uppercase).as_deref() {
            // Not said: in tables of temporary or foreign kinds. The server decides.
            None => value.clone(),
            Some(name) if name.starts_with("CHINESE_PRC_") || name.starts_with("CHINESE_SIMPLIFIED_") => value.clone(),
            Some(name) if name.starts_with("LATIN1_GENERAL_") || name.starts_with("SQL_LATIN1_GENERAL_CP1_") => {
                let (bytes, _, _) = encoding_rs::GB18030.encode(text);
                Value::Text(encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes).0.into_owned())
            }
            Some(_) => Value::List(Vec::new()),
        }
    }

    /// A version is given out when a row is written. Transactions that are still open may commit
    /// rows with lower ones than those that can be read already.
    fn settled(&self, kind: WatermarkType, quoted: &str) -> Option<String> {
        let open_from = self.open_from.filter(|_| kind == WatermarkType::Rowversion)?;
        Some(format!("{quoted} < 0x{}", hex::encode_upper(open_from)))
    }
}

#[cfg(test)]
mod tests;
