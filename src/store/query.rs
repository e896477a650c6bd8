//! Reading rows, the same for the writer's transaction and for readers beside it.

use rusqlite::{Connection, OptionalExtension as _, Params, Row};

use super::Error;

/// The first row, where there is one.
pub(super) fn one<T>(
    conn: &Connection,
    operation: &'static str,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
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
    let mut statement = conn.prepare_cached(sql).map_err(Error::sqlite(operation))?;
    let rows = statement.query_map(params, read).map_err(Error::sqlite(operation))?;
    rows.collect::<rusqlite::Result<Vec<T>>>().map_err(Error::sqlite(operation))
}
