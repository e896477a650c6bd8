//! Reads results: column-wise, and row by row where values are longer than was said.
//!
//! Everything but bytes and binary floats is fetched as text: it is exact, no driver lacks it, and
//! nothing is converted on the way that could be converted wrongly.

use connector_odbc::wire::{Cell, ColumnInfo, Connect, Kind, MAX_ROW, ROWS_FRAME, Reply, write_cell};
use odbc_api::buffers::{
    AnyColumnBufferSlice, BinColumnSlice, BufferDesc, ColumnarDynBuffer, Indicator, TextColumnSlice,
};
use odbc_api::parameter::{VarBinarySliceMut, VarCharSliceMut};
use odbc_api::{ColumnDescription, Cursor, CursorRow, DataType, Error, Nullability, Nullable, ResultSetMetadata};

use crate::session::{Failure, Send};

/// What is bound for one value at most; a longer one makes the result be read row by row.
const WIDEST: usize = 4096;

/// What a column gets whose driver does not say how long its values are, or calls them long.
const UNKNOWN: usize = 1024;

/// What the bound buffers take together, at about the most.
const BUFFERS: usize = 2 * 1024 * 1024;

/// A value is read in pieces of this many bytes.
const PIECE: usize = 64 * 1024;

/// A column, and how it is fetched.
pub(crate) struct Column {
    pub(crate) info: ColumnInfo,
    /// Bytes of a value's text, as far as the driver says.
    width: usize,
    single: bool,
}

/// How a column-wise reading ended.
pub(crate) enum Outcome {
    /// All was read.
    Complete,
    /// A value was longer than its buffer.
    Truncated,
}

/// The columns of a result.
pub(crate) fn columns(cursor: &mut impl ResultSetMetadata) -> Result<Vec<Column>, Error> {
    let count = u16::try_from(cursor.num_result_cols()?).unwrap_or(0);
    (1..=count).map(|at| column(cursor, at)).collect()
}

fn column(cursor: &mut impl ResultSetMetadata, at: u16) -> Result<Column, Error> {
    let mut found = ColumnDescription::default();
    cursor.describe_col(at, &mut found)?;
    let length = found.data_type.column_size().map_or(0, |size| size.get());
    // A length is in characters, each of at most four bytes.
    let text = |length: usize| if length == 0 { UNKNOWN } else { length.saturating_mul(4) };
    let sized = |name: &str| if length == 0 { name.to_owned() } else { format!("{name}({length})") };
    let (kind, width, type_name) = match found.data_type {
        DataType::Char { .. } | DataType::WChar { .. } => (Kind::Text, text(length), sized("char")),
        DataType::Varchar { .. } | DataType::WVarchar { .. } => (Kind::Text, text(length), sized("varchar")),
        DataType::LongVarchar { .. } | DataType::WLongVarchar { .. } => (Kind::Text, UNKNOWN, "text".to_owned()),
        DataType::Numeric { precision, scale } | DataType::Decimal { precision, scale } => {
            // Oracle counts rows, and keeps whole numbers, in decimals without a fraction.
            let kind = if scale == 0 { Kind::Integer } else { Kind::Decimal };
            (kind, precision.clamp(38, 200) + 8, format!("decimal({precision},{scale})"))
        }
        DataType::TinyInt => (Kind::Integer, 24, "tinyint".to_owned()),
        DataType::SmallInt => (Kind::Integer, 24, "smallint".to_owned()),
        DataType::Integer => (Kind::Integer, 24, "integer".to_owned()),
        DataType::BigInt => (Kind::Integer, 24, "bigint".to_owned()),
        DataType::Real => (Kind::Float, 64, "real".to_owned()),
        DataType::Float { .. } => (Kind::Float, 64, "float".to_owned()),
        DataType::Double => (Kind::Float, 64, "double".to_owned()),
        DataType::Bit => (Kind::Bool, 8, "boolean".to_owned()),
        DataType::Date => (Kind::Date, 64, "date".to_owned()),
        DataType::Time { .. } => (Kind::Text, 64, "time".to_owned()),
        DataType::Timestamp { .. } => (Kind::Timestamp, 64, "timestamp".to_owned()),
        DataType::Binary { .. } => (Kind::Binary, if length == 0 { UNKNOWN } else { length }, sized("binary")),
        DataType::Varbinary { .. } => (Kind::Binary, if length == 0 { UNKNOWN } else { length }, sized("varbinary")),
        DataType::LongVarbinary { .. } => (Kind::Binary, UNKNOWN, "blob".to_owned()),
        // SQL Server's GUID and what else has no word in ODBC.
        DataType::Other { data_type, .. } => (Kind::Text, text(length.max(36)), format!("type {}", data_type.0)),
        DataType::Unknown => (Kind::Text, text(length), "unknown".to_owned()),
    };
    let nullable = match found.nullability {
        Nullability::Unknown => None,
        Nullability::Nullable => Some(true),
        Nullability::NoNulls => Some(false),
    };
    let single = found.data_type == DataType::Real;
    Ok(Column {
        info: ColumnInfo { name: found.name, kind, type_name, nullable },
        width: width.clamp(24, WIDEST),
        single,
    })
}

/// Rows on their way out.
struct Rows<'a, 'b> {
    bytes: Vec<u8>,
    send: &'a mut Send<'b>,
}

impl<'a, 'b> Rows<'a, 'b> {
    fn new(send: &'a mut Send<'b>) -> Self {
        Rows { bytes: Vec::with_capacity(ROWS_FRAME + ROWS_FRAME / 4), send }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if !self.bytes.is_empty() {
            (self.send)(Reply::Rows(std::mem::take(&mut self.bytes)))?;
        }
        Ok(())
    }

    fn flush_if_long(&mut self) -> Result<(), Failure> {
        if self.bytes.len() < ROWS_FRAME {
            return Ok(());
        }
        self.flush()?;
        self.bytes.reserve(ROWS_FRAME + ROWS_FRAME / 4);
        Ok(())
    }
}

/// A fetched column.
enum Fetched<'a> {
    Text(TextColumnSlice<'a, u8>),
    Binary(BinColumnSlice<'a>),
    Floats(Vec<Option<String>>),
}

impl<'a> Fetched<'a> {
    fn of(column: &Column, settings: &Connect, slice: AnyColumnBufferSlice<'a>) -> Option<Fetched<'a>> {
        let float = column.info.kind == Kind::Float && settings.binary_floats;
        match column.info.kind {
            Kind::Float if float && column.single => {
                let values = slice.as_nullable_slice::<f32>()?;
                Some(Fetched::Floats(values.map(|value| value.map(|number| format!("{number:?}"))).collect()))
            }
            Kind::Float if float => {
                let values = slice.as_nullable_slice::<f64>()?;
                Some(Fetched::Floats(values.map(|value| value.map(|number| format!("{number:?}"))).collect()))
            }
            Kind::Binary => slice.as_binary().map(Fetched::Binary),
            _ => slice.as_text().map(Fetched::Text),
        }
    }

    fn is_truncated(&self) -> bool {
        match self {
            Fetched::Text(values) => values.has_truncated_values().is_some(),
            Fetched::Binary(values) => values.has_truncated_values().is_some(),
            Fetched::Floats(_) => false,
        }
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Fetched::Text(values) => values.get(row),
            Fetched::Binary(values) => values.get(row),
            Fetched::Floats(values) => values.get(row)?.as_ref().map(String::as_bytes),
        }
    }
}

/// Reads a result column-wise.
pub(crate) fn by_column(
    cursor: impl Cursor,
    columns: &[Column],
    settings: &Connect,
    send: &mut Send<'_>,
) -> Result<Outcome, Failure> {
    let descriptions = columns.iter().map(|column| match column.info.kind {
        Kind::Binary => BufferDesc::Binary { max_bytes: column.width },
        Kind::Float if settings.binary_floats && column.single => BufferDesc::F32 { nullable: true },
        Kind::Float if settings.binary_floats => BufferDesc::F64 { nullable: true },
        _ => BufferDesc::Text { max_str_len: column.width },
    });
    let width: usize = columns.iter().map(|column| column.width + 9).sum();
    let rows = (BUFFERS / width.max(1)).clamp(1, settings.fetch_rows.max(1) as usize);
    let mut cursor = cursor.bind_buffer(ColumnarDynBuffer::from_descs(rows, descriptions))?;
    let mut out = Rows::new(send);
    while let Some(batch) = cursor.fetch()? {
        let fetched: Option<Vec<Fetched<'_>>> =
            columns.iter().enumerate().map(|(at, column)| Fetched::of(column, settings, batch.column(at))).collect();
        // Every buffer is of the type that it was made as.
        let fetched = fetched.unwrap_or_default();
        if fetched.iter().any(Fetched::is_truncated) {
            return Ok(Outcome::Truncated);
        }
        for row in 0..batch.num_rows() {
            for column in &fetched {
                write_cell(&mut out.bytes, column.get(row).map_or(Cell::Null, Cell::Bytes));
            }
            out.flush_if_long()?;
        }
    }
    out.flush()?;
    Ok(Outcome::Complete)
}

/// Reads a result row by row, each value in as many pieces as it takes.
pub(crate) fn by_row(
    mut cursor: impl Cursor,
    columns: &[Column],
    settings: &Connect,
    send: &mut Send<'_>,
) -> Result<(), Failure> {
    let mut out = Rows::new(send);
    let mut piece = vec![0; PIECE];
    let mut value = Vec::new();
    while let Some(mut row) = cursor.next_row()? {
        let mut room = MAX_ROW;
        for (at, column) in (1..).zip(columns) {
            let cell = match column.info.kind {
                Kind::Float if settings.binary_floats => {
                    let mut number = Nullable::<f64>::null();
                    row.get_data(at, &mut number)?;
                    number.into_opt().map(|number| {
                        value =
                            if column.single { format!("{:?}", number as f32) } else { format!("{number:?}") }.into();
                        Cell::Bytes(&value)
                    })
                }
                kind => {
                    let most = room.min(settings.max_value as usize);
                    read_value(&mut row, at, kind, most, &mut piece, &mut value)?
                }
            };
            let cell = cell.unwrap_or(Cell::Null);
            if let Cell::Bytes(bytes) = cell {
                room -= bytes.len().min(room);
            }
            write_cell(&mut out.bytes, cell);
        }
        out.flush_if_long()?;
    }
    out.flush()
}

/// Reads one value of at most `most` bytes; `None` where it is null.
fn read_value<'v>(
    row: &mut CursorRow<'_>,
    at: u16,
    kind: Kind,
    most: usize,
    piece: &mut [u8],
    value: &'v mut Vec<u8>,
) -> Result<Option<Cell<'v>>, Failure> {
    value.clear();
    loop {
        // Text ends in a NUL that is not its own.
        let (indicator, room) = if kind == Kind::Binary {
            let mut target = VarBinarySliceMut::from_buffer(&mut *piece, Indicator::Null);
            row.get_data(at, &mut target)?;
            (target.indicator(), PIECE)
        } else {
            let mut target = VarCharSliceMut::from_buffer(&mut *piece, Indicator::Null);
            row.get_data(at, &mut target)?;
            (target.indicator(), PIECE - 1)
        };
        let left = match indicator {
            Indicator::Null => return Ok(None),
            Indicator::NoTotal => usize::MAX,
            Indicator::Length(length) => length,
        };
        let got = left.min(room);
        if value.len() + got > most {
            return Ok(Some(Cell::TooLong));
        }
        value.extend_from_slice(&piece[..got]);
        if indicator.length().is_some_and(|length| length <= room) {
            return Ok(Some(Cell::Bytes(value)));
        }
    }
}
