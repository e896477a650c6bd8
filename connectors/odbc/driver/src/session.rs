//! The connection, and what is asked of it.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use connector_odbc::wire::{Cell, ColumnInfo, Connect, Fault, Kind, Param, Reply, Request, Stage, write_cell};
use odbc_api::parameter::{InputParameter, VarBinaryBox, VarCharBox, WithDataType};
use odbc_api::sys::{Date, Timestamp};
use odbc_api::{Connection, ConnectionOptions, Cursor, DataType, Error, IntoParameter, Nullable, environment};
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::fetch::{self, Outcome};

/// How many queries are remembered to have values longer than their columns were said to hold.
const REMEMBERED: usize = 256;

/// Where replies go.
pub(crate) type Send<'a> = dyn FnMut(Reply) -> io::Result<()> + 'a;

/// Why a request has no answer.
pub(crate) enum Failure {
    /// The agent has gone.
    Pipe(io::Error),
    /// The driver said so.
    Driver(Fault),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Pipe(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Driver(fault(Stage::Statement, error))
    }
}

fn fault(stage: Stage, error: Error) -> Fault {
    let record = match error {
        Error::Diagnostics { record, .. }
        | Error::UnsupportedOdbcApiVersion(record)
        | Error::InvalidRowArraySize { record, .. }
        | Error::UnableToRepresentNull(record)
        | Error::OracleOdbcDriverDoesNotSupport64Bit(record) => record,
        other => return Fault { stage, state: String::new(), native: 0, message: other.to_string().into_bytes() },
    };
    Fault { stage, state: record.state.as_str().to_owned(), native: record.native_error, message: record.message }
}

fn out_of_place(what: &str) -> Failure {
    let message = what.as_bytes().to_vec();
    Failure::Driver(Fault { stage: Stage::Process, state: String::new(), native: 0, message })
}

/// One connection of one driver.
#[derive(Default)]
pub(crate) struct Session {
    settings: Connect,
    connection: Option<Connection<'static>>,
    /// Queries that are read row by row.
    long: HashSet<String>,
}

impl Session {
    /// How long to wait for a request.
    pub(crate) fn idle(&self) -> Option<Duration> {
        self.connection.as_ref().map(|_| Duration::from_secs(self.settings.idle_secs.max(1).into()))
    }

    /// Rolls back what is open and disconnects.
    pub(crate) fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.rollback();
        }
    }

    /// Answers a request, but for its last word.
    pub(crate) fn run(&mut self, request: Request, send: &mut Send<'_>) -> Result<(), Failure> {
        match request {
            Request::Connect(settings) => self.connect(settings),
            Request::Execute(sql) => self.execute(&sql),
            Request::Begin(statements) => {
                self.connection()?.set_autocommit(false)?;
                statements.iter().try_for_each(|sql| self.execute(sql))
            }
            Request::End => {
                self.connection()?.rollback()?;
                Ok(self.connection()?.set_autocommit(true)?)
            }
            Request::Query(sql, params) => self.query(&sql, &params, send),
            Request::Describe(sql) => self.describe(&sql, send),
            Request::Tables => self.tables(send),
            Request::Quit => Ok(()),
        }
    }

    fn connect(&mut self, settings: Connect) -> Result<(), Failure> {
        if self.connection.is_some() {
            return Err(out_of_place("connected already"));
        }
        if settings.memory_mb > 0 {
            let most = Some(u64::from(settings.memory_mb) * 1024 * 1024);
            setrlimit(Resource::As, Rlimit { current: most, maximum: most }).map_err(io::Error::from)?;
        }
        let failed = |error| Failure::Driver(fault(Stage::Connect, error));
        let login_timeout_sec = Some(settings.login_timeout_secs).filter(|secs| *secs > 0);
        let options = ConnectionOptions { login_timeout_sec, ..ConnectionOptions::default() };
        let environment = environment().map_err(failed)?;
        let connected = environment.connect_with_connection_string(&settings.connection, options);
        self.connection = Some(connected.map_err(failed)?);
        self.settings = Connect { connection: String::new(), ..settings };
        Ok(())
    }

    fn connection(&self) -> Result<&Connection<'static>, Failure> {
        self.connection.as_ref().ok_or_else(|| out_of_place("not connected"))
    }

    fn execute(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.connection()?.execute(sql, (), None).map(drop)?)
    }

    fn describe(&self, sql: &str, send: &mut Send<'_>) -> Result<(), Failure> {
        let mut cursor = self.connection()?.execute(sql, (), None)?.ok_or_else(no_result)?;
        let columns = fetch::columns(&mut cursor)?.into_iter().map(|column| column.info).collect();
        Ok(send(Reply::Columns(columns))?)
    }

    fn query(&mut self, sql: &str, params: &[Param], send: &mut Send<'_>) -> Result<(), Failure> {
        let Session { settings, connection, long } = self;
        let connection = connection.as_ref().ok_or_else(|| out_of_place("not connected"))?;
        let bound: Vec<Box<dyn InputParameter>> = params.iter().map(bind).collect();
        loop {
            // A new one for the second reading: SQLite3ODBC finds no data in one that was left early.
            let mut statement = connection.preallocate()?;
            // Drivers may refuse it, or ignore it: the agent watches the clock in any case.
            let _ = statement.set_query_timeout_sec(settings.query_timeout_secs as usize);
            let mut cursor = statement.execute(sql, bound.as_slice())?.ok_or_else(no_result)?;
            let columns = fetch::columns(&mut cursor)?;
            send(Reply::Columns(columns.iter().map(|column| column.info.clone()).collect()))?;
            if long.contains(sql) {
                return fetch::by_row(cursor, &columns, settings, send);
            }
            match fetch::by_column(cursor, &columns, settings, send)? {
                Outcome::Complete => return Ok(()),
                Outcome::Truncated => send(Reply::Restart)?,
            }
            if long.len() >= REMEMBERED {
                long.clear();
            }
            long.insert(sql.to_owned());
        }
    }

    fn tables(&self, send: &mut Send<'_>) -> Result<(), Failure> {
        let text = |name: &str| ColumnInfo {
            name: name.as_bytes().to_vec(),
            kind: Kind::Text,
            type_name: String::new(),
            nullable: None,
        };
        send(Reply::Columns(vec![text("schema"), text("name"), text("type")]))?;
        let mut statement = self.connection()?.preallocate()?;
        let mut cursor = statement.tables_cursor("", "", "", "")?;
        let mut rows = Vec::new();
        let mut value = Vec::new();
        while let Some(mut row) = cursor.next_row()? {
            for column in 2..=4 {
                let found = row.get_text(column, &mut value)?;
                write_cell(&mut rows, if found { Cell::Bytes(&value) } else { Cell::Null });
            }
        }
        Ok(send(Reply::Rows(rows))?)
    }
}

fn no_result() -> Failure {
    out_of_place("the query has no result")
}

fn bind(param: &Param) -> Box<dyn InputParameter> {
    match param {
        Param::Null => Box::new(VarCharBox::null()),
        // A length of nothing is refused by some drivers.
        Param::Text(text) if text.is_empty() => {
            let data_type = DataType::Varchar { length: NonZeroUsize::new(1) };
            Box::new(WithDataType { value: VarCharBox::from_string(String::new()), data_type })
        }
        Param::Text(text) => Box::new(VarCharBox::from_string(text.clone())),
        Param::Integer(number) => Box::new(Nullable::new(*number)),
        Param::Decimal(literal) => {
            let digits = literal.bytes().filter(u8::is_ascii_digit).count();
            let scale = literal.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            // More than a decimal of ODBC can say; the server reads it from text.
            if literal.contains(['e', 'E']) || digits > 38 {
                return Box::new(VarCharBox::from_string(literal.clone()));
            }
            let data_type = DataType::Decimal { precision: digits, scale: scale as i16 };
            Box::new(WithDataType { value: VarCharBox::from_string(literal.clone()), data_type })
        }
        Param::Date(year, month, day) => Box::new(Date { year: *year, month: *month, day: *day }.into_parameter()),
        Param::Timestamp(year, [month, day, hour, minute, second], nanos) => {
            let value = Timestamp {
                year: *year,
                month: *month,
                day: *day,
                hour: *hour,
                minute: *minute,
                second: *second,
                fraction: *nanos,
            };
            // More digits than there are would be refused by a server that has fewer.
            let precision = match nanos {
                0 => 0,
                nanos if nanos % 1_000_000 == 0 => 3,
                nanos if nanos % 1_000 == 0 => 6,
                _ => 9,
            };
            Box::new(WithDataType { value, data_type: DataType::Timestamp { precision } })
        }
        Param::Bytes(bytes) => Box::new(VarBinaryBox::from_vec(bytes.clone())),
    }
}
