//! Composes SQL text with bound parameters.

use connector_api::Value;

use crate::{Dialect, Filter, LimitClause, WatermarkType};

/// A query's text and its parameters, in the placeholders' order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The text. It holds names and whole numbers of our own, never a value.
    pub sql: String,
    /// What is bound.
    pub params: Vec<Value>,
}

/// A column in a condition; `kind` where it is the watermark, `text` where it is known to hold text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Term<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: Option<WatermarkType>,
    pub(crate) text: bool,
}

impl<'a> Term<'a> {
    pub(crate) fn plain(name: &'a str) -> Term<'a> {
        Term { name, kind: None, text: false }
    }
}

/// What a row must meet.
#[derive(Clone, Debug)]
pub(crate) enum Condition<'a> {
    /// The columns come after these values in ascending order, nulls first.
    After(&'a [Term<'a>], &'a [Value]),
    /// The columns come before these values, none of which is null.
    Before(&'a [Term<'a>], &'a [Value]),
    /// The columns, as many as there are values, are at or after these; or (if `blanks`) one of all the columns
    /// has no value.
    AtLeast { terms: &'a [Term<'a>], values: Vec<Value>, blanks: bool },
    /// The columns equal one of these tuples. Null equals null.
    AnyOf(&'a [Term<'a>], &'a [Vec<Value>]),
    /// The site's own filter.
    Meets(&'a Filter),
    /// One of the columns is null or blank.
    Blank(&'a [Term<'a>]),
    /// The column is neither null nor blank.
    NotBlank(Term<'a>),
    /// No earlier watermark can be committed any more.
    Settled(Term<'a>),
}

/// What is selected.
pub(crate) enum Select<'a> {
    /// These columns; all where empty.
    Columns(&'a [String]),
    /// How many rows there are.
    Count,
    /// The tuples of these columns that occur more than once.
    Repeated(&'a [Term<'a>]),
    /// The tuples of these columns, each with its number of rows.
    Tally(&'a [Term<'a>]),
}

/// A query under construction.
pub(crate) struct Composer<'a> {
    pub(crate) dialect: &'a dyn Dialect,
    pub(crate) select: Select<'a>,
    pub(crate) from: &'a str,
    pub(crate) conditions: Vec<Condition<'a>>,
    pub(crate) order: Vec<&'a str>,
    pub(crate) descending: bool,
    pub(crate) limit: Option<usize>,
}

impl<'a> Composer<'a> {
    /// Selects from a table or view, under the site's filters.
    pub(crate) fn new(dialect: &'a dyn Dialect, select: Select<'a>, from: &'a str, filters: &'a [Filter]) -> Self {
        let conditions = filters.iter().map(Condition::Meets).collect();
        Composer { dialect, select, from, conditions, order: Vec::new(), descending: false, limit: None }
    }

    pub(crate) fn compose(&self) -> Query {
        let sql = String::from("SELECT ");
        let mut text = Text { dialect: self.dialect, from: self.from, sql, params: Vec::new() };
        let limit = self.limit.map(|rows| (self.dialect.limit_clause(), rows));
        if let Some((LimitClause::Top, rows)) = limit {
            text.sql.push_str(&format!("TOP {rows} "));
        }
        match &self.select {
            Select::Columns(names) => text.select_list(names.iter().map(String::as_str)),
            Select::Count => text.sql.push_str("COUNT(*)"),
            Select::Repeated(terms) | Select::Tally(terms) => {
                text.select_list(terms.iter().map(|term| term.name));
                text.sql.push_str(", COUNT(*)");
            }
        }
        text.sql.push_str(" FROM ");
        let parts: Vec<String> = self.from.split('.').map(|part| self.dialect.quote(part)).collect();
        text.sql.push_str(&parts.join("."));
        for (at, condition) in self.conditions.iter().enumerate() {
            text.sql.push_str(if at == 0 { " WHERE " } else { " AND " });
            text.condition(condition);
        }
        if let Select::Repeated(terms) | Select::Tally(terms) = &self.select {
            text.sql.push_str(" GROUP BY ");
            text.list(terms.iter().map(|term| term.name));
        }
        if let Select::Repeated(_) = &self.select {
            text.sql.push_str(" HAVING COUNT(*) > 1");
        }
        if !self.order.is_empty() {
            let terms = self.order.iter().map(|name| {
                let quoted = self.dialect.quote(name);
                if self.descending { format!("{quoted} DESC") } else { self.dialect.ascending(&quoted) }
            });
            text.sql.push_str(" ORDER BY ");
            text.sql.push_str(&terms.collect::<Vec<_>>().join(", "));
        }
        match limit {
            Some((LimitClause::Limit, rows)) => text.sql.push_str(&format!(" LIMIT {rows}")),
            Some((LimitClause::FetchFirst, rows)) => text.sql.push_str(&format!(" FETCH FIRST {rows} ROWS ONLY")),
            Some((LimitClause::RowNum, rows)) => {
                text.sql = format!("SELECT * FROM ({}) WHERE ROWNUM <= {rows}", text.sql);
            }
            Some((LimitClause::Top, _)) | None => {}
        }
        Query { sql: text.sql, params: text.params }
    }
}

const BLANK: &str = "''";

/// The literals that stand for null in a column.
fn blanks(dialect: &dyn Dialect, from: &str, term: Term<'_>) -> Vec<&'static str> {
    let mut literals = term.kind.map_or(&[][..], |kind| dialect.blank_literals(kind)).to_vec();
    let text = term.text || (term.kind.is_none() && dialect.blank_text(from, term.name));
    if text && !literals.contains(&BLANK) {
        literals.push(BLANK);
    }
    literals
}

/// True where a value that was read from the column stands for null.
pub(crate) fn is_blank(dialect: &dyn Dialect, from: &str, term: Term<'_>, value: &Value) -> bool {
    value.is_null()
        || term.kind.is_some_and(|kind| dialect.is_blank(kind, value))
        || (value.as_text() == Some("") && blanks(dialect, from, term).contains(&BLANK))
}

struct Text<'a> {
    dialect: &'a dyn Dialect,
    from: &'a str,
    sql: String,
    params: Vec<Value>,
}

impl Text<'_> {
    fn list<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let quoted: Vec<String> = names.map(|name| self.dialect.quote(name)).collect();
        self.sql.push_str(&quoted.join(", "));
    }

    fn select_list<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        let list = self.dialect.select_list(self.from, &names.collect::<Vec<_>>());
        self.sql.push_str(&list);
    }

    fn bind(&mut self, term: Term<'_>, value: &Value) {
        self.params.push(self.dialect.bound(self.from, term.name, value));
        let placeholder = self.dialect.placeholder(self.params.len());
        let placeholder = self.dialect.parameter(self.from, term.name, term.kind, value, placeholder);
        self.sql.push_str(&placeholder);
    }

    fn compare(&mut self, term: Term<'_>, operator: &str, value: &Value) {
        self.sql.push_str(&self.dialect.quote(term.name));
        match (operator, value) {
            ("=", Value::Null) => self.sql.push_str(" IS NULL"),
            (_, Value::Null) => self.sql.push_str(" IS NOT NULL"),
            _ => {
                self.sql.push_str(&format!(" {operator} "));
                self.bind(term, value);
            }
        }
    }

    fn condition(&mut self, condition: &Condition<'_>) {
        match condition {
            Condition::After(terms, values) => self.after(terms, values),
            Condition::Before(terms, values) => {
                self.sql.push('(');
                self.chain("<", terms, values);
                self.sql.push(')');
            }
            Condition::AtLeast { terms, values, blanks: true } => {
                self.sql.push('(');
                self.blank(terms);
                self.sql.push_str(" OR ");
                self.at_least(terms, values);
                self.sql.push(')');
            }
            Condition::AtLeast { terms, values, blanks: false } => self.at_least(terms, values),
            Condition::AnyOf(terms, tuples) => self.any_of(terms, tuples),
            Condition::Meets(filter) => {
                let tuples: Vec<Vec<Value>> = filter.values().into_iter().map(|value| vec![value]).collect();
                self.any_of(&[Term::plain(&filter.column)], &tuples);
            }
            // Composed only where the dialect has such a condition.
            Condition::Settled(term) => {
                let quoted = self.dialect.quote(term.name);
                let settled = term.kind.and_then(|kind| self.dialect.settled(kind, &quoted));
                self.sql.push_str(settled.as_deref().unwrap_or("1 = 1"));
            }
            Condition::Blank(terms) => {
                self.sql.push('(');
                self.blank(terms);
                self.sql.push(')');
            }
            Condition::NotBlank(term) => {
                let quoted = self.dialect.quote(term.name);
                self.sql.push_str(&format!("{quoted} IS NOT NULL"));
                for blank in self.blanks(*term) {
                    self.sql.push_str(&format!(" AND {quoted} <> {blank}"));
                }
            }
        }
    }

    fn blanks(&self, term: Term<'_>) -> Vec<&'static str> {
        blanks(self.dialect, self.from, term)
    }

    fn blank(&mut self, terms: &[Term<'_>]) {
        for (at, term) in terms.iter().enumerate() {
            let quoted = self.dialect.quote(term.name);
            self.sql.push_str(if at == 0 { "" } else { " OR " });
            self.sql.push_str(&format!("{quoted} IS NULL"));
            for blank in self.blanks(*term) {
                self.sql.push_str(&format!(" OR {quoted} = {blank}"));
            }
        }
    }

    /// `(a, b) >= (x, y)` as `a >= x AND (a > x OR b >= y)`.
    fn at_least(&mut self, terms: &[Term<'_>], values: &[Value]) {
        let mut left = terms.iter().zip(values).peekable();
        let mut open = 0;
        while let Some((term, value)) = left.next() {
            self.compare(*term, ">=", value);
            if left.peek().is_some() {
                self.sql.push_str(" AND (");
                self.compare(*term, ">", value);
                self.sql.push_str(" OR ");
                open += 1;
            }
        }
        self.sql.push_str(&")".repeat(open));
    }

    /// `(a, b) > (x, y)` as `a >= x AND (a > x OR a = x AND b > y)`: the row-value comparison is
    /// unknown to SQL Server, and the first part lets an index be used.
    fn after(&mut self, terms: &[Term<'_>], values: &[Value]) {
        if let (Some(term), Some(value)) = (terms.first(), values.first())
            && !value.is_null()
            && terms.len() > 1
        {
            self.compare(*term, ">=", value);
            self.sql.push_str(" AND ");
        }
        self.sql.push('(');
        self.chain(">", terms, values);
        self.sql.push(')');
    }

    /// `a > x OR a = x AND b > y`, or the same with `<`.
    fn chain(&mut self, operator: &str, terms: &[Term<'_>], values: &[Value]) {
        for last in 0..terms.len() {
            self.sql.push_str(if last == 0 { "" } else { " OR " });
            for (at, (term, value)) in terms.iter().zip(values).take(last + 1).enumerate() {
                self.sql.push_str(if at == 0 { "" } else { " AND " });
                self.compare(*term, if at == last { operator } else { "=" }, value);
            }
        }
    }

    fn any_of(&mut self, terms: &[Term<'_>], tuples: &[Vec<Value>]) {
        if let [term] = terms
            && tuples.iter().flatten().all(|value| !value.is_null())
        {
            self.sql.push_str(&format!("{} IN (", self.dialect.quote(term.name)));
            for (at, value) in tuples.iter().flatten().enumerate() {
                self.sql.push_str(if at == 0 { "" } else { ", " });
                self.bind(*term, value);
            }
            self.sql.push(')');
            return;
        }
        self.sql.push('(');
        for (at, tuple) in tuples.iter().enumerate() {
            self.sql.push_str(if at == 0 { "" } else { " OR " });
            for (at, (term, value)) in terms.iter().zip(tuple).enumerate() {
                self.sql.push_str(if at == 0 { "" } else { " AND " });
                self.compare(*term, "=", value);
            }
        }
        self.sql.push(')');
    }
}

#[cfg(test)]
mod tests;
