//! Reading rows, the same for the writer's transaction and for readers beside it.

use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::Error;

#[cfg(test)]
thread_local! {
    /// What this thread has asked, where a test wants to know.
    pub(super) static ASKED: std::cell::RefCell<Option<Vec<String>>> = const { std::cell::RefCell::new(None) };
}

#[cfg(test)]
fn asked(sql: &str) {
    ASKED.with_borrow_mut(|asked| asked.iter_mut().for_each(|asked| asked.push(sql.to_owned())));
}

#[cfg(not(test))]
fn asked(_: &str) {}

/// The first row, where there is one.
pub(super) fn one<T>(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    asked(sql);
    let mut statement = conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
    statement.query_row(params, read).optional().map_err(Error::sqlite(operation))
}

/// All rows.
pub(super) fn all<T>(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    asked(sql);
    let mut statement = conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
    let rows = statement.query_map(params, read).map_err(Error::sqlite(operation))?;
    rows.collect::<rusqlite::Result<Vec<T>>>().map_err(Error::sqlite(operation))
}
