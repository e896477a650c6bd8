//! What the agent and `hisync-odbc` say to each other over the process's two pipes.
//!
//! A frame is a length (four bytes, little endian, of what follows), one byte that says what it is,
//! and its content. The process speaks first ([`Reply::Hello`]); then the agent asks one thing at a
//! time. A query is answered by its columns, any number of frames with rows, and an end. Both sides
//! are of one release: [`VERSION`] says so, and nothing is negotiated.

use std::io;

/// The version of this protocol. Raised with every change.
pub const VERSION: u32 = 1;

/// No frame is longer. A longer one is a broken peer, not data.
pub const MAX_FRAME: usize = 96 * 1024 * 1024;

/// Rows are sent when about this many bytes of them are there.
pub const ROWS_FRAME: usize = 256 * 1024;

/// No row's values are longer together: what does not fit is [`Cell::TooLong`].
pub const MAX_ROW: usize = 64 * 1024 * 1024;

const NULL: u32 = u32::MAX;
const TOO_LONG: u32 = u32::MAX - 1;

/// What a column holds, as far as it decides how its text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text, and whatever no other word fits.
    Text,
    /// A whole number.
    Integer,
    /// An exact decimal.
    Decimal,
    /// A binary float, written as the shortest text that reads back to it where the driver lets it.
    Float,
    /// A truth value.
    Bool,
    /// A calendar date.
    Date,
    /// A date with a time of day.
    Timestamp,
    /// Bytes, sent as they are.
    Binary,
}

const KINDS: [Kind; 8] =
    [Kind::Text, Kind::Integer, Kind::Decimal, Kind::Float, Kind::Bool, Kind::Date, Kind::Timestamp, Kind::Binary];

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnInfo {
    /// Its name in the bytes that the driver gave.
    pub name: Vec<u8>,
    /// How its values are read.
    pub kind: Kind,
    /// Its type in words: `varchar(20)`.
    pub type_name: String,
    /// Whether it may be null, where the driver says so.
    pub nullable: Option<bool>,
}

/// A bound parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// No value.
    Null,
    /// Text in UTF-8.
    Text(String),
    /// A whole number of 64 bits.
    Integer(i64),
    /// A decimal's literal, bound as one.
    Decimal(String),
    /// Year, month, day.
    Date(i16, u16, u16),
    /// Year, month, day, hour, minute, second, nanoseconds.
    Timestamp(i16, [u16; 5], u32),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// How to connect, and the bounds of what follows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Connect {
    /// The ODBC connection string, with the password.
    pub connection: String,
    /// For the driver's own login timeout, in seconds; 0: not to be set.
    pub login_timeout_secs: u32,
    /// For the driver's own query timeout, in seconds.
    pub query_timeout_secs: u32,
    /// Without a request for so long, the process ends itself, in seconds.
    pub idle_secs: u32,
    /// The address space that the process may have, in MiB; 0: no limit.
    pub memory_mb: u32,
    /// The longest value that is read, in bytes.
    pub max_value: u32,
    /// How many rows the driver is asked for at a time, at most.
    pub fetch_rows: u32,
    /// Binary floats are fetched as such, not as the text that the driver makes of them.
    pub binary_floats: bool,
}

/// Without the connection string: it holds a password.
impl std::fmt::Debug for Connect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connect").field("memory_mb", &self.memory_mb).finish_non_exhaustive()
    }
}

/// What the agent asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Opens the connection. Answered by [`Reply::Done`].
    Connect(Connect),
    /// Runs a statement of ours that has no result.
    Execute(String),
    /// Leaves autocommit, and runs these.
    Begin(Vec<String>),
    /// Rolls back, and returns to autocommit.
    End,
    /// Runs a query.
    Query(String, Vec<Param>),
    /// Says a query's columns without running it as far as the driver can: [`Reply::Columns`].
    Describe(String),
    /// The tables and views by the driver's own catalogue function, as rows of schema, name, type.
    Tables,
    /// Disconnects and ends.
    Quit,
}

/// Where a failure happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While connecting.
    Connect,
    /// While a statement was run or its rows were read.
    Statement,
    /// In the process itself: a panic, a request in the wrong place.
    Process,
}

/// A failure as the driver told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub stage: Stage,
    /// Five characters, empty where the driver gave none.
    pub state: String,
    /// The product's own number.
    pub native: i32,
    /// In the driver's bytes; it may hold values, so it is not for everybody.
    pub message: Vec<u8>,
}

/// What the process answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The first frame: the version.
    Hello(u32),
    /// The columns of what follows.
    Columns(Vec<ColumnInfo>),
    /// Rows, as [`Cells`] reads them.
    Rows(Vec<u8>),
    /// Forget the rows so far: the result begins anew, because a value was longer than the driver
    /// had said.
    Restart,
    /// All is said.
    Done,
    /// It failed.
    Fault(Fault),
}

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// The value's bytes: text as the driver gives it, or what a binary column holds.
    Bytes(&'a [u8]),
    /// Longer than may be read.
    TooLong,
}

/// Appends a value to a frame of rows.
pub fn write_cell(out: &mut Vec<u8>, cell: Cell<'_>) {
    match cell {
        Cell::Null => out.extend_from_slice(&NULL.to_le_bytes()),
        Cell::TooLong => out.extend_from_slice(&TOO_LONG.to_le_bytes()),
        Cell::Bytes(bytes) => match u32::try_from(bytes.len()) {
            Ok(length) if length < TOO_LONG => {
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            _ => out.extend_from_slice(&TOO_LONG.to_le_bytes()),
        },
    }
}

/// Reads the values of a frame of rows, one after the other.
pub struct Cells<'a>(&'a [u8]);

impl<'a> Cells<'a> {
    /// The values of a [`Reply::Rows`].
    pub fn new(rows: &'a [u8]) -> Cells<'a> {
        Cells(rows)
    }

    /// True behind the last value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next value; an error where the frame ends within one.
    pub fn read(&mut self) -> io::Result<Cell<'a>> {
        let mut reader = Reader(self.0);
        let cell = match reader.u32()? {
            NULL => Cell::Null,
            TOO_LONG => Cell::TooLong,
            length => Cell::Bytes(reader.take(length as usize)?),
        };
        self.0 = reader.0;
        Ok(cell)
    }
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(length).ok_or_else(|| broken("a frame ends too early"))?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| broken("a frame ends too early"))
    }

    fn u8(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.u32()?;
        Ok(self.take(length as usize)?.to_vec())
    }

    fn text(&mut self) -> io::Result<String> {
        String::from_utf8(self.bytes()?).map_err(|_| broken("a text of the frame is not UTF-8"))
    }

    fn list<T>(&mut self, mut one: impl FnMut(&mut Self) -> io::Result<T>) -> io::Result<Vec<T>> {
        let count = self.u32()?;
        // A count that lies must not make room for itself: every element takes at least a byte.
        if count as usize > self.0.len() {
            return Err(broken("a list is longer than its frame"));
        }
        (0..count).map(|_| one(self)).collect()
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn frame(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }

    fn u16(&mut self, number: u16) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Nothing longer than a frame is ever sent; what would be is refused by [`Writer::end`].
    fn bytes(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn list<T>(&mut self, list: &[T], mut one: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(list.len()).unwrap_or(u32::MAX));
        list.iter().for_each(|element| one(self, element));
    }

    fn end(mut self) -> io::Result<Vec<u8>> {
        let length = self.0.len() - 4;
        let head =
            u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or_else(|| broken("a frame is too long"))?;
        self.0[..4].copy_from_slice(&head.to_le_bytes());
        Ok(self.0)
    }
}

/// The length of a frame from its first four bytes; an error where it can't be one.
pub fn frame_length(head: [u8; 4]) -> io::Result<usize> {
    let length = u32::from_le_bytes(head) as usize;
    if (1..=MAX_FRAME).contains(&length) { Ok(length) } else { Err(broken("a frame's length can't be true")) }
}

impl Request {
    /// The whole frame.
    pub fn to_frame(&self) -> io::Result<Vec<u8>> {
        let mut out = match self {
            Request::Connect(connect) => {
                let mut out = Writer::frame(1);
                out.bytes(connect.connection.as_bytes());
                let numbers = [
                    connect.login_timeout_secs,
                    connect.query_timeout_secs,
                    connect.idle_secs,
                    connect.memory_mb,
                    connect.max_value,
                    connect.fetch_rows,
                    connect.binary_floats.into(),
                ];
                numbers.into_iter().for_each(|number| out.u32(number));
                out
            }
            Request::Execute(sql) => text_frame(2, sql),
            Request::Begin(statements) => {
                let mut out = Writer::frame(3);
                out.list(statements, |out, sql| out.bytes(sql.as_bytes()));
                out
            }
            Request::End => Writer::frame(4),
            Request::Query(sql, params) => {
                let mut out = text_frame(5, sql);
                out.list(params, write_param);
                out
            }
            Request::Describe(sql) => text_frame(6, sql),
            Request::Tables => Writer::frame(7),
            Request::Quit => Writer::frame(8),
        };
        out.0.shrink_to_fit();
        out.end()
    }

    /// Reads what follows a frame's length.
    pub fn from_frame(frame: &[u8]) -> io::Result<Request> {
        let mut reader = Reader(frame);
        let request = match reader.u8()? {
            1 => Request::Connect(Connect {
                connection: reader.text()?,
                login_timeout_secs: reader.u32()?,
                query_timeout_secs: reader.u32()?,
                idle_secs: reader.u32()?,
                memory_mb: reader.u32()?,
                max_value: reader.u32()?,
                fetch_rows: reader.u32()?,
                binary_floats: reader.u32()? != 0,
            }),
            2 => Request::Execute(reader.text()?),
            3 => Request::Begin(reader.list(Reader::text)?),
            4 => Request::End,
            5 => Request::Query(reader.text()?, reader.list(read_param)?),
            6 => Request::Describe(reader.text()?),
            7 => Request::Tables,
            8 => Request::Quit,
            _ => return Err(broken("an unknown request")),
        };
        if reader.0.is_empty() { Ok(request) } else { Err(broken("a request is followed by something")) }
    }
}

fn text_frame(kind: u8, text: &str) -> Writer {
    let mut out = Writer::frame(kind);
    out.bytes(text.as_bytes());
    out
}

fn write_param(out: &mut Writer, param: &Param) {
    match param {
        Param::Null => out.0.push(0),
        Param::Text(text) => {
            out.0.push(1);
            out.bytes(text.as_bytes());
        }
        Param::Integer(number) => {
            out.0.push(2);
            out.0.extend_from_slice(&number.to_le_bytes());
        }
        Param::Decimal(literal) => {
            out.0.push(3);
            out.bytes(literal.as_bytes());
        }
        Param::Date(year, month, day) => {
            out.0.push(4);
            out.0.extend_from_slice(&year.to_le_bytes());
            [*month, *day].into_iter().for_each(|part| out.u16(part));
        }
        Param::Timestamp(year, parts, nanos) => {
            out.0.push(5);
            out.0.extend_from_slice(&year.to_le_bytes());
            parts.iter().for_each(|part| out.u16(*part));
            out.u32(*nanos);
        }
        Param::Bytes(bytes) => {
            out.0.push(6);
            out.bytes(bytes);
        }
    }
}

fn read_param(reader: &mut Reader<'_>) -> io::Result<Param> {
    let year = |reader: &mut Reader<'_>| reader.array().map(i16::from_le_bytes);
    Ok(match reader.u8()? {
        0 => Param::Null,
        1 => Param::Text(reader.text()?),
        2 => Param::Integer(i64::from_le_bytes(reader.array()?)),
        3 => Param::Decimal(reader.text()?),
        4 => Param::Date(year(reader)?, reader.u16()?, reader.u16()?),
        5 => {
            let year = year(reader)?;
            let mut parts = [0; 5];
            for part in &mut parts {
                *part = reader.u16()?;
            }
            Param::Timestamp(year, parts, reader.u32()?)
        }
        6 => Param::Bytes(reader.bytes()?),
        _ => return Err(broken("an unknown kind of parameter")),
    })
}

impl Reply {
    /// The whole frame.
    pub fn to_frame(&self) -> io::Result<Vec<u8>> {
        let mut out;
        match self {
            Reply::Hello(version) => {
                out = Writer::frame(1);
                out.u32(*version);
            }
            Reply::Columns(columns) => {
                out = Writer::frame(2);
                out.list(columns, |out, column| {
                    out.bytes(&column.name);
                    out.0.push(KINDS.iter().position(|kind| *kind == column.kind).unwrap_or(0) as u8);
                    out.bytes(column.type_name.as_bytes());
                    out.0.push(column.nullable.map_or(2, u8::from));
                });
            }
            Reply::Rows(rows) => {
                out = Writer::frame(3);
                out.0.extend_from_slice(rows);
            }
            Reply::Restart => out = Writer::frame(4),
            Reply::Done => out = Writer::frame(5),
            Reply::Fault(fault) => {
                out = Writer::frame(6);
                out.0.push(match fault.stage {
                    Stage::Connect => 0,
                    Stage::Statement => 1,
                    Stage::Process => 2,
                });
                out.bytes(fault.state.as_bytes());
                out.0.extend_from_slice(&fault.native.to_le_bytes());
                out.bytes(&fault.message);
            }
        }
        out.end()
    }

    /// Reads what follows a frame's length.
    pub fn from_frame(mut frame: Vec<u8>) -> io::Result<Reply> {
        if frame.first() == Some(&3) {
            // The bulk of all bytes: moved within the buffer that they arrived in, not copied anew.
            frame.drain(..1);
            return Ok(Reply::Rows(frame));
        }
        let mut reader = Reader(&frame);
        let reply = match reader.u8()? {
            1 => Reply::Hello(reader.u32()?),
            2 => Reply::Columns(reader.list(|reader| {
                Ok(ColumnInfo {
                    name: reader.bytes()?,
                    kind: *KINDS.get(usize::from(reader.u8()?)).ok_or_else(|| broken("an unknown kind of column"))?,
                    type_name: reader.text()?,
                    nullable: Some(reader.u8()?).filter(|word| *word < 2).map(|word| word == 1),
                })
            })?),
            4 => Reply::Restart,
            5 => Reply::Done,
            6 => Reply::Fault(Fault {
                stage: match reader.u8()? {
                    0 => Stage::Connect,
                    1 => Stage::Statement,
                    _ => Stage::Process,
                },
                state: reader.text()?,
                native: i32::from_le_bytes(reader.array()?),
                message: reader.bytes()?,
            }),
            _ => return Err(broken("an unknown reply")),
        };
        if reader.0.is_empty() { Ok(reply) } else { Err(broken("a reply is followed by something")) }
    }
}

#[cfg(test)]
mod tests;
