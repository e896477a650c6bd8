//! How one database product spells things.

use connector_api::Value;

use crate::WatermarkType;

/// How a database limits the number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitClause {
    /// `SELECT TOP 10 …` (SQL Server, also 2008).
    Top,
    /// `… LIMIT 10`.
    Limit,
    /// `… FETCH FIRST 10 ROWS ONLY` (Oracle 12c and later, Db2).
    FetchFirst,
    /// `SELECT * FROM (…) WHERE ROWNUM <= 10` (Oracle before 12c).
    RowNum,
}

/// The spelling of one database product. The defaults are those of the SQL standard.
pub trait Dialect: Send + Sync {
    /// Quotes one name. Names are checked to be free of quote characters when settings are read.
    fn quote(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    /// The placeholder of a query's parameter, counted from 1.
    fn placeholder(&self, at: usize) -> String {
        let _ = at;
        "?".to_owned()
    }

    /// How the number of rows is limited.
    fn limit_clause(&self) -> LimitClause;

    /// How many parameters one query may have.
    fn max_parameters(&self) -> usize;

    /// A quoted column in ORDER BY, ascending, nulls first.
    fn ascending(&self, quoted: &str) -> String {
        quoted.to_owned()
    }

    /// A placeholder that is compared with a watermark column: a cast where the bound type would
    /// otherwise be rounded differently from the column's.
    fn watermark_parameter(&self, kind: WatermarkType, placeholder: String) -> String {
        let _ = kind;
        placeholder
    }

    /// Whether a watermark column of this type may hold blank text, which counts as null.
    fn blank_watermarks(&self, kind: WatermarkType) -> bool {
        let _ = kind;
        false
    }

    /// Whether the source has to be asked which watermark columns hold text, and so may be blank: comparing any other
    /// with blank text is an error there.
    fn asks_for_types(&self) -> bool {
        false
    }

    /// Whether a column that stands in a watermark beside its typed one may hold blank text, which counts as null.
    /// Only where the comparison with it is sound whatever the column's type is.
    fn blank_text(&self, from: &str, column: &str) -> bool {
        let _ = (from, column);
        false
    }

    /// The select list that reads these columns of a table; all of them where empty. A dialect that
    /// must cast columns does so here, and its client gives the result their names again.
    fn select_list(&self, from: &str, columns: &[&str]) -> String {
        let _ = from;
        let quoted: Vec<String> = columns.iter().map(|name| self.quote(name)).collect();
        if quoted.is_empty() { "*".to_owned() } else { quoted.join(", ") }
    }

    /// A placeholder that a column of a table is compared with. `kind` where it is the watermark.
    fn parameter(
        &self,
        from: &str,
        column: &str,
        kind: Option<WatermarkType>,
        value: &Value,
        placeholder: String,
    ) -> String {
        let _ = (from, column, value);
        match kind {
            Some(kind) => self.watermark_parameter(kind, placeholder),
            None => placeholder,
        }
    }

    /// What is bound for a value that a column is compared with. A list stands for what can't be
    /// compared with that column at all; the client refuses to bind it.
    fn bound(&self, from: &str, column: &str, value: &Value) -> Value {
        let _ = (from, column);
        value.clone()
    }

    /// A condition that keeps rows out of a scan of changes whose watermark may still be overtaken:
    /// `rowversion` is given out when a row is written, not when it is committed.
    fn settled(&self, kind: WatermarkType, quoted: &str) -> Option<String> {
        let _ = (kind, quoted);
        None
    }

    /// The literals of blank watermarks: text, or MySQL's date of zeros.
    fn blank_literals(&self, kind: WatermarkType) -> &'static [&'static str] {
        if self.blank_watermarks(kind) { &["''"] } else { &[] }
    }

    /// True where a value that was read from a watermark column is one of these.
    fn is_blank(&self, kind: WatermarkType, value: &Value) -> bool {
        value.is_null()
            || value.as_text().is_some_and(|text| {
                let same = |literal: &&str| match literal.trim_matches('\'') {
                    "" => text.is_empty(),
                    zeros => text.starts_with(zeros),
                };
                self.blank_literals(kind).iter().any(same)
            })
    }
}
