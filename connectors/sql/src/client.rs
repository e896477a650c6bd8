//! What a database's driver must offer.

use std::sync::Arc;

use chrono::{NaiveDateTime, TimeZone as _};
use chrono_tz::Tz;
use connector_api::{Column, Discovered, Map, SourceError, Value, async_trait};

use crate::{Dialect, Now, Query};

/// One row. Its values stand in the order of [`Rows::columns`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The values.
    pub values: Vec<Value>,
    /// Which values could not be decoded, with a stable word for why. Such a value holds what
    /// could be read, e.g. the undecoded bytes.
    pub broken: Vec<(usize, &'static str)>,
}

impl Row {
    /// True where the value at that position could not be decoded.
    pub fn is_broken(&self, at: usize) -> bool {
        self.broken.iter().any(|(column, _)| *column == at)
    }

    /// The values at some positions.
    pub(crate) fn pick(&self, positions: &[usize]) -> Vec<Value> {
        positions.iter().map(|at| self.values.get(*at).cloned().unwrap_or_default()).collect()
    }
}

/// A query's whole result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The columns' names, as the source spells them.
    pub columns: Vec<Arc<str>>,
    /// The rows, in the source's order.
    pub rows: Vec<Row>,
}

impl Rows {
    /// Where a column stands: by its exact name, else by the only name that differs in case.
    pub fn position(&self, name: &str) -> Option<usize> {
        find_name(self.columns.iter().map(|column| &**column), name)
    }

    /// A row as a map, in the columns' order.
    pub(crate) fn map(&self, row: &Row) -> Map {
        self.columns.iter().cloned().zip(row.values.iter().cloned()).collect()
    }

    /// The first value of the first row.
    pub(crate) fn scalar(&self) -> Option<&Value> {
        self.rows.first()?.values.first()
    }
}

/// A COUNT, in whatever type of number the database counts.
pub(crate) fn count_of(value: &Value) -> Option<u64> {
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::Decimal(number) => {
            let (whole, fraction) = number.as_str().split_once('.').unwrap_or((number.as_str(), ""));
            whole.parse().ok().filter(|_| fraction.bytes().all(|digit| digit == b'0'))
        }
        _ => None,
    }
}

/// Finds a name exactly, else the only one that is equal but for ASCII case.
pub(crate) fn find_name<'a>(names: impl Iterator<Item = &'a str>, wanted: &str) -> Option<usize> {
    let mut alike = None;
    let mut several = false;
    for (at, name) in names.enumerate() {
        if name == wanted {
            return Some(at);
        }
        if name.eq_ignore_ascii_case(wanted) {
            several |= alike.replace(at).is_some();
        }
    }
    alike.filter(|_| !several)
}

/// A connection to one database, read only.
///
/// It connects when it is first used. Every method may be dropped while it waits; the next call is
/// then [`RelationalClient::reset`].
#[async_trait]
pub trait RelationalClient: Send {
    /// How this database spells things.
    fn dialect(&self) -> &dyn Dialect;

    /// Runs a query and reads its whole result. A value that can't be decoded marks its row as
    /// broken; it does not end the result.
    async fn query(&mut self, query: &Query) -> Result<Rows, SourceError>;

    /// Begins a consistent read: until [`RelationalClient::end`], every query sees one state of
    /// the database, as far as that is to be had without blocking its writers.
    async fn begin(&mut self) -> Result<(), SourceError>;

    /// Ends the consistent read.
    async fn end(&mut self) -> Result<(), SourceError>;

    /// Gives up whatever is under way. The next call starts afresh.
    async fn reset(&mut self);

    /// The product and its version.
    async fn server(&mut self) -> Result<Option<String>, SourceError>;

    /// What a person should know about this connection, one sentence each, beside what is read.
    fn findings(&self) -> Vec<String> {
        Vec::new()
    }

    /// The source's clock, in UTC, where it tells.
    async fn now_utc(&mut self) -> Result<Option<NaiveDateTime>, SourceError>;

    /// What the source's clock shows on its wall, in the zone in which it stamps its rows, where it
    /// tells.
    async fn now_local(&mut self) -> Result<Option<NaiveDateTime>, SourceError>;

    /// What time it is where the source stamps its rows. A source that tells no time has this machine's; one that
    /// tells none of its wall has the hospital's zone, whatever the machine's own zone is.
    async fn now(&mut self, zone: Tz) -> Result<Now, SourceError> {
        #[expect(clippy::disallowed_methods, reason = "where the source tells no time, this machine's clock must do")]
        let ours = || chrono::Utc::now().naive_utc();
        let utc = self.now_utc().await?.unwrap_or_else(ours);
        let local = self.now_local().await?;
        Ok(Now { utc, local: local.unwrap_or_else(|| zone.from_utc_datetime(&utc).naive_local()) })
    }

    /// The tables and views, without columns and row counts.
    async fn tables(&mut self) -> Result<Vec<Discovered>, SourceError>;

    /// The columns of a table or view; `None` where there is no such thing.
    async fn columns(&mut self, table: &str) -> Result<Option<Vec<Column>>, SourceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_in_whatever_type_it_comes() {
        let decimal = |text: &str| count_of(&Value::decimal(text).unwrap());
        assert_eq!(
            (count_of(&Value::Integer(100)), decimal("100"), decimal("100.00")),
            (Some(100), Some(100), Some(100))
        );
        assert_eq!((count_of(&Value::Integer(-1)), decimal("1.5"), count_of(&Value::Null)), (None, None, None));
    }
}
