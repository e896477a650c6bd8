//! One connection: login, then statements until the client goes away.

use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use chrono::TimeDelta;
use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::Value;

use crate::login::{Agreed, Login, message, prelogin, welcome};
use crate::rpc::{Call, Parameter, Reader, from_utf16};
use crate::server::Shared;
use crate::sql::{Context, Token, statements, translate};
use crate::types::{Charset, Type, b_varchar, time_text};
use crate::wire::{ANSWER, ATTENTION, Answer, LOGIN7, Link, PRELOGIN, RPC, SQL_BATCH, TRANSACTION};
use crate::{FaultKind, Silence};

const ERROR: u8 = 0xaa;
const DONE: u8 = 0xfd;
const DONE_PROC: u8 = 0xfe;
const DONE_IN_PROC: u8 = 0xff;

/// Bits of a DONE token.
const MORE: u16 = 1;
const FAILED: u16 = 2;
const COUNTED: u16 = 16;
const ATTENTION_SEEN: u16 = 32;

/// A refusal in SQL Server's words.
type Refused = (i32, String);

pub(crate) fn serve(tcp: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let options = &shared.options;
    let mut link = Link::new(tcp);
    if options.silence == Some(Silence::Accepted) {
        return shared.wait_for_release(&link.tcp);
    }
    let Some((PRELOGIN, body)) = link.message()? else { return Ok(()) };
    let (answer, agreed) = prelogin(&body, options.encryption);
    link.packet(ANSWER, true, &answer)?;
    match agreed {
        Agreed::Refused => return Ok(()),
        Agreed::LoginOnly | Agreed::All => link.start_tls(&options.handshake, Arc::clone(&shared.tls))?,
        Agreed::Clear => {}
    }
    let Some((LOGIN7, body)) = link.message()? else { return Ok(()) };
    if agreed == Agreed::LoginOnly {
        link.end_tls();
    }
    if options.silence == Some(Silence::Login) {
        return shared.wait_for_release(&link.tcp);
    }
    let Some(login) = Login::read(&body) else { return Ok(()) };
    let charset = Charset { utf8: options.utf8_collation };
    if let Some((number, text)) = login.refused(options) {
        let tokens = [message(ERROR, number, 14, &text), done(DONE, FAILED, 0)].concat();
        return link.packet(ANSWER, true, &tokens);
    }
    let tokens = [welcome(&login, options, charset.collation()), done(DONE, 0, 0)].concat();
    link.packet(ANSWER, true, &tokens)?;
    let database = open(shared, charset).map_err(io::Error::other)?;
    let session = Session {
        shared,
        charset,
        database,
        packet_size: login.packet_size,
        nullable_rows: login.version >= 0x730b_0000,
        snapshot: false,
        transaction: false,
        prepared: HashMap::new(),
        handle: 0,
    };
    session.run(link)
}

fn done(token: u8, status: u16, rows: u64) -> Vec<u8> {
    let mut bytes = vec![token];
    bytes.extend_from_slice(&status.to_le_bytes());
    bytes.extend_from_slice(&0xc1u16.to_le_bytes());
    bytes.extend_from_slice(&rows.to_le_bytes());
    bytes
}

fn open(shared: &Shared, charset: Charset) -> rusqlite::Result<Connection> {
    let database = Connection::open(&shared.path)?;
    database.busy_timeout(std::time::Duration::from_secs(10))?;
    let flags = FunctionFlags::SQLITE_UTF8;
    let read = |text: String| Type::parse(&text);
    database.create_scalar_function("tds_cast", 3, flags | FunctionFlags::SQLITE_DETERMINISTIC, move |call| {
        let value: Value = call.get(0)?;
        let from = read(call.get(1)?).unwrap_or_else(|| Type::of(&value));
        let Some(to) = read(call.get(2)?) else { return Ok(value) };
        from.cast(value, &to, charset).ok_or_else(|| rusqlite::Error::UserFunctionError("conversion failed".into()))
    })?;
    let ahead = TimeDelta::from_std(shared.options.clock_ahead).unwrap_or_default();
    #[expect(clippy::disallowed_methods, reason = "a server has a clock of its own")]
    let clock = move || Value::Text(time_text((chrono::Utc::now() + ahead).naive_utc()));
    database.create_scalar_function("tds_now", 0, flags, move |_| Ok(clock()))?;
    database.create_scalar_function("tds_utc", 0, flags, move |_| Ok(clock()))?;
    let path = shared.path.clone();
    database.create_scalar_function("tds_min_active", 0, flags, move |_| {
        // A test says which rowversion the oldest open transaction has, in a table of its own.
        let other = Connection::open(&path)?;
        let found = other.query_row("SELECT version FROM tds_min_active", [], |row| row.get::<_, Vec<u8>>(0));
        Ok(Value::Blob(found.unwrap_or_else(|_| vec![0xff; 8])))
    })?;
    database.execute_batch(
        "CREATE TEMP TABLE INFORMATION_SCHEMA_COLUMNS (TABLE_SCHEMA TEXT COLLATE NOCASE, TABLE_NAME TEXT COLLATE NOCASE,
             COLUMN_NAME TEXT, ORDINAL_POSITION INT, IS_NULLABLE TEXT, DATA_TYPE TEXT, CHARACTER_MAXIMUM_LENGTH INT,
             NUMERIC_PRECISION INT, NUMERIC_SCALE INT, DATETIME_PRECISION INT, COLLATION_NAME TEXT);
         CREATE TEMP TABLE INFORMATION_SCHEMA_TABLES (TABLE_SCHEMA TEXT, TABLE_NAME TEXT, TABLE_TYPE TEXT);
         CREATE TEMP TABLE INFORMATION_SCHEMA_ROUTINES (ROUTINE_SCHEMA TEXT, ROUTINE_NAME TEXT COLLATE NOCASE);
         CREATE TEMP TABLE sys_databases (name TEXT, snapshot_isolation_state INT);",
    )?;
    let allowed = i64::from(shared.options.snapshot_isolation);
    database.execute("INSERT INTO temp.sys_databases VALUES (?, ?)", (&shared.options.database, allowed))?;
    Ok(database)
}

struct Session<'a> {
    shared: &'a Shared,
    charset: Charset,
    database: Connection,
    packet_size: usize,
    /// Rows with nulls may travel with a bitmap (TDS 7.3 B and later).
    nullable_rows: bool,
    snapshot: bool,
    transaction: bool,
    prepared: HashMap<i64, (String, Vec<String>)>,
    handle: i64,
}

impl Session<'_> {
    fn run(mut self, mut link: Link) -> io::Result<()> {
        while let Some((kind, body)) = link.message()? {
            match kind {
                SQL_BATCH => {
                    let mut reader = Reader(&body);
                    let Some(()) = reader.skip_headers() else { return Ok(()) };
                    let text = from_utf16(reader.0);
                    let mut answer = match self.answer(&mut link, &text)? {
                        Some(answer) => answer,
                        None => continue,
                    };
                    self.batch(&text, &[], &mut answer, false)?;
                    answer.finish()?;
                }
                RPC => {
                    let Some(call) = Call::read(&body, self.charset) else {
                        let text = "The incoming tabular data stream (TDS) remote procedure call is incorrect.";
                        let tokens = [message(ERROR, 8009, 16, text), done(DONE, FAILED, 0)].concat();
                        link.packet(ANSWER, true, &tokens)?;
                        continue;
                    };
                    self.call(&call, &mut link)?;
                }
                ATTENTION => link.packet(ANSWER, true, &done(DONE, ATTENTION_SEEN, 0))?,
                TRANSACTION => self.transaction(&body, &mut link)?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// A transaction manager request: begin (5), commit (7), roll back (8).
    fn transaction(&mut self, body: &[u8], link: &mut Link) -> io::Result<()> {
        let mut reader = Reader(body);
        let request = reader.skip_headers().and_then(|()| reader.take(2)).map(|kind| kind[0]);
        // The name's length and the name, then whether a new one is to begin at once.
        let chained = reader.0.split_first().and_then(|(length, rest)| rest.get(usize::from(*length) * 2));
        let text = match (request, chained) {
            (Some(5), _) => "BEGIN TRANSACTION",
            (Some(7), Some(1)) => "COMMIT; BEGIN TRANSACTION",
            (Some(7), _) => "COMMIT",
            (Some(8), Some(1)) => "ROLLBACK; BEGIN TRANSACTION",
            (Some(8), _) => "ROLLBACK",
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let Some(mut answer) = self.answer(link, text)? else { return Ok(()) };
        self.batch(text, &[], &mut answer, false)?;
        answer.finish()
    }

    /// Begins an answer; `None` where a fault has answered already.
    fn answer<'l>(&self, link: &'l mut Link, text: &str) -> io::Result<Option<Answer<'l>>>
    where
        Self: 'l,
    {
        self.shared.note(text);
        match self.shared.fault(text) {
            Some(FaultKind::Error { number, class, message: words }) => {
                let tokens = [message(ERROR, number, class, &words), done(DONE, FAILED, 0)].concat();
                link.packet(ANSWER, true, &tokens)?;
                Ok(None)
            }
            Some(FaultKind::Garbage(bytes)) => {
                link.packet(ANSWER, true, &bytes)?;
                Ok(None)
            }
            fault => Ok(Some(Answer::new(link, self.shared, self.packet_size, fault))),
        }
    }

    fn call(&mut self, call: &Call, link: &mut Link) -> io::Result<()> {
        let mut made = None;
        let (text, names, values) = match call.name.to_ascii_lowercase().as_str() {
            "sp_executesql" => {
                let names = declared(call.text(1).unwrap_or_default());
                (call.text(0).unwrap_or_default().to_owned(), names, call.parameters.get(2..))
            }
            name @ ("sp_prepexec" | "sp_prepare") => {
                let names = declared(call.text(1).unwrap_or_default());
                let text = call.text(2).unwrap_or_default().to_owned();
                self.handle += 1;
                self.prepared.insert(self.handle, (text.clone(), names.clone()));
                made = Some(self.handle);
                (if name == "sp_prepare" { String::new() } else { text }, names, call.parameters.get(3..))
            }
            "sp_execute" => {
                let handle = call.parameters.first().map(|first| first.value.clone());
                let Some(Value::Integer(handle)) = handle else { return Ok(()) };
                let (text, names) = self.prepared.get(&handle).cloned().unwrap_or_default();
                (text, names, call.parameters.get(1..))
            }
            "sp_unprepare" => (String::new(), Vec::new(), None),
            name => (format!("EXEC [{name}]"), Vec::new(), Some(call.parameters.as_slice())),
        };
        let mut parameters = values.unwrap_or_default().to_vec();
        for (at, parameter) in parameters.iter_mut().enumerate() {
            if parameter.name.is_empty() {
                parameter.name = names.get(at).cloned().unwrap_or_default();
            }
        }
        let Some(mut answer) = self.answer(link, &text)? else { return Ok(()) };
        let failed = self.batch(&text, &parameters, &mut answer, true)?;
        answer.push(&[0x79])?;
        answer.push(&0i32.to_le_bytes())?;
        if let Some(handle) = made {
            let mut token = vec![0xac, 0, 0];
            token.extend(b_varchar("handle"));
            token.extend([1, 0, 0, 0, 0, 0, 0, 0x26, 4, 4]);
            token.extend_from_slice(&(handle as i32).to_le_bytes());
            answer.push(&token)?;
        }
        answer.push(&done(DONE_PROC, if failed { FAILED } else { 0 }, 0))?;
        answer.finish()
    }

    /// Runs a batch; true where one of its statements failed, which ends it.
    fn batch(&mut self, text: &str, given: &[Parameter], answer: &mut Answer<'_>, inner: bool) -> io::Result<bool> {
        let statements = statements(text);
        let last = statements.len().saturating_sub(1);
        let token = if inner { DONE_IN_PROC } else { DONE };
        for (at, statement) in statements.iter().enumerate() {
            let more = if at < last || inner { MORE } else { 0 };
            let result = match statement.first() {
                Some(first) if first.is("SELECT") => self.select(statement, given, answer)?.map(Some),
                Some(first) if first.is("EXEC") || first.is("EXECUTE") => {
                    self.execute(statement, given, answer)?.map(Some)
                }
                Some(_) => self.other(statement, answer)?.map(|()| None),
                None => Ok(None),
            };
            match result {
                Ok(Some(rows)) => answer.push(&done(token, more | COUNTED, rows))?,
                Ok(None) => answer.push(&done(token, more, 0))?,
                Err((number, words)) => {
                    answer.push(&message(ERROR, number, 16, &words))?;
                    answer.push(&done(token, FAILED | if inner { MORE } else { 0 }, 0))?;
                    return Ok(true);
                }
            }
        }
        if statements.is_empty() && !inner {
            answer.push(&done(DONE, 0, 0))?;
        }
        Ok(false)
    }

    /// `EXEC procedure @a = @P1, …`: the SELECT behind it, with its parameters renamed.
    fn execute(
        &mut self,
        statement: &[Token],
        given: &[Parameter],
        answer: &mut Answer<'_>,
    ) -> io::Result<Result<u64, Refused>> {
        let name = statement.iter().skip(1).rev().find_map(|token| match token {
            Token::Name(name) => Some(name.as_str()),
            _ => None,
        });
        let name = name.unwrap_or_default();
        let Some(select) = self.shared.procedure(name) else {
            return Ok(Err((2812, format!("Could not find stored procedure '{name}'."))));
        };
        let mut parameters = given.to_vec();
        for window in statement.windows(3) {
            if let [Token::Variable(formal), Token::Sign('='), Token::Variable(actual)] = window
                && let Some(found) = given.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(actual))
            {
                parameters.push(Parameter { name: formal.clone(), value: found.value.clone() });
            }
        }
        match statements(&select).first() {
            Some(select) => self.select(select, &parameters, answer),
            None => Ok(Ok(0)),
        }
    }

    fn other(&mut self, statement: &[Token], answer: &mut Answer<'_>) -> io::Result<Result<(), Refused>> {
        let has = |word: &str| statement.iter().any(|token| token.is(word));
        if has("ISOLATION") {
            self.snapshot = has("SNAPSHOT");
        } else if has("BEGIN") {
            if self.snapshot && !self.shared.options.snapshot_isolation {
                let text = "Snapshot isolation transaction failed accessing database because snapshot isolation is not \
                            allowed in this database.";
                return Ok(Err((3952, text.to_owned())));
            }
            if self.snapshot && !self.transaction {
                self.database.execute_batch("BEGIN").map_err(io::Error::other)?;
            }
            self.transaction = true;
            answer.push(&[0xe3, 11, 0, 8, 8, 1, 0, 0, 0, 0, 0, 0, 1, 0])?;
        } else if (has("COMMIT") || has("ROLLBACK")) && self.transaction {
            if !self.database.is_autocommit() {
                self.database.execute_batch("COMMIT").map_err(io::Error::other)?;
            }
            self.transaction = false;
            let kind = if has("COMMIT") { 9 } else { 10 };
            answer.push(&[0xe3, 11, 0, kind, 0, 8, 1, 0, 0, 0, 0, 0, 0, 1])?;
        }
        Ok(Ok(()))
    }

    fn select(
        &mut self,
        statement: &[Token],
        given: &[Parameter],
        answer: &mut Answer<'_>,
    ) -> io::Result<Result<u64, Refused>> {
        if let Err(error) = self.fill_catalogue(statement) {
            return Err(io::Error::other(error));
        }
        let declared = |table: &str, column: &str| column_type(&self.database, table, column);
        let options = &self.shared.options;
        let context = Context { version: &options.version, database: &options.database, column_type: &declared };
        let translated = translate(statement, &context);
        let mut prepared = match self.database.prepare(&translated.sql) {
            Ok(prepared) => prepared,
            Err(error) => return Ok(Err(refused(&error))),
        };
        for parameter in given {
            if let Ok(Some(at)) = prepared.parameter_index(&parameter.name) {
                prepared.raw_bind_parameter(at, &parameter.value).map_err(io::Error::other)?;
            }
        }
        let names: Vec<String> = prepared.column_names().map(str::to_owned).collect();
        let mut types: Vec<Option<Type>> = Vec::with_capacity(names.len());
        let mut shown = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            let (kind, alias) = translated.items.get(at).cloned().unwrap_or((None, Some(name.clone())));
            let alias = alias.unwrap_or_else(|| name.clone());
            let table = translated.table.as_deref().unwrap_or_default();
            types.push(kind.or_else(|| declared(table, &alias)));
            shown.push(alias);
        }
        let mut rows = prepared.raw_query();
        let mut count = 0;
        let mut fixed: Option<Vec<Type>> = None;
        loop {
            let row = match rows.next() {
                Ok(row) => row,
                Err(error) if fixed.is_none() => return Ok(Err(refused(&error))),
                Err(error) => return Ok(Err((8114, error.to_string()))),
            };
            let values: Vec<Value> = match row {
                Some(row) => {
                    (0..names.len()).map(|at| row.get(at)).collect::<Result<_, _>>().map_err(io::Error::other)?
                }
                None => vec![Value::Null; names.len()],
            };
            if fixed.is_none() {
                let all: Vec<Type> = types
                    .iter()
                    .zip(&values)
                    .map(|(kind, value)| kind.clone().unwrap_or_else(|| Type::of(value)))
                    .collect();
                answer.push(&metadata(&shown, &all, self.charset))?;
                fixed = Some(all);
            }
            if row.is_none() {
                return Ok(Ok(count));
            }
            match self.row(fixed.as_deref().unwrap_or_default(), &values) {
                Some(bytes) => answer.push(&bytes)?,
                None => return Ok(Err((8114, "Error converting data type.".to_owned()))),
            }
            count += 1;
        }
    }

    fn row(&self, types: &[Type], values: &[Value]) -> Option<Vec<u8>> {
        let nulls = self.nullable_rows && values.contains(&Value::Null);
        let mut bytes = vec![if nulls { 0xd2 } else { 0xd1 }];
        if nulls {
            let mut bitmap = vec![0u8; values.len().div_ceil(8)];
            for (at, _) in values.iter().enumerate().filter(|(_, value)| **value == Value::Null) {
                bitmap[at / 8] |= 1 << (at % 8);
            }
            bytes.extend(bitmap);
        }
        for (kind, value) in types.iter().zip(values) {
            if !(nulls && *value == Value::Null) {
                kind.encode(value, self.charset, &mut bytes)?;
            }
        }
        Some(bytes)
    }

    /// The catalogue's views hold what the data's tables declare at the moment.
    fn fill_catalogue(&self, statement: &[Token]) -> rusqlite::Result<()> {
        let catalogue =
            |token: &Token| token.name().is_some_and(|name| name.eq_ignore_ascii_case("INFORMATION_SCHEMA"));
        if !statement.iter().any(catalogue) {
            return Ok(());
        }
        let database = &self.database;
        database.execute_batch(
            "DELETE FROM temp.INFORMATION_SCHEMA_COLUMNS; DELETE FROM temp.INFORMATION_SCHEMA_TABLES;
             INSERT INTO temp.INFORMATION_SCHEMA_TABLES SELECT 'dbo', name, CASE type WHEN 'view' THEN 'VIEW' ELSE
             'BASE TABLE' END FROM main.sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%';",
        )?;
        database.execute("DELETE FROM temp.INFORMATION_SCHEMA_ROUTINES", [])?;
        for name in self.shared.procedures() {
            database.execute("INSERT INTO temp.INFORMATION_SCHEMA_ROUTINES VALUES ('dbo', ?)", [name])?;
        }
        let tables: Vec<String> = database
            .prepare("SELECT TABLE_NAME FROM temp.INFORMATION_SCHEMA_TABLES")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for table in tables {
            let columns: Vec<(i64, String, String, bool)> = database
                .prepare("SELECT cid, name, type, \"notnull\" FROM pragma_table_info(?)")?
                .query_map([&table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
                .collect::<Result<_, _>>()?;
            for (at, column, declared, not_null) in columns {
                let kind = Type::parse(&declared);
                let length = match kind {
                    Some(Type::VarChar(None) | Type::NVarChar(None) | Type::VarBinary(None)) => Some(-1),
                    Some(Type::Char(width) | Type::NChar(width) | Type::Binary(width)) => Some(i64::from(width)),
                    Some(Type::VarChar(width) | Type::NVarChar(width) | Type::VarBinary(width)) => width.map(i64::from),
                    Some(Type::Text | Type::Image) => Some(i64::from(i32::MAX)),
                    Some(Type::NText) => Some(i64::from(i32::MAX / 2)),
                    _ => None,
                };
                let (precision, scale) = match kind {
                    Some(Type::Decimal { precision, scale }) => (Some(precision), Some(scale)),
                    _ => (None, None),
                };
                let text = declared.to_ascii_lowercase();
                let name = text.split('(').next().unwrap_or_default().trim();
                let name = if name == "rowversion" { "timestamp" } else { name };
                let collation = (name.contains("char") || name.contains("text")).then(|| self.charset.name());
                database.execute(
                    "INSERT INTO temp.INFORMATION_SCHEMA_COLUMNS VALUES ('dbo', ?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)",
                    rusqlite::params![
                        table,
                        column,
                        at + 1,
                        if not_null { "NO" } else { "YES" },
                        name,
                        length,
                        precision,
                        scale,
                        collation
                    ],
                )?;
            }
        }
        Ok(())
    }
}

/// The names in `@P1 int, @P2 nvarchar(4000)`.
fn declared(text: &str) -> Vec<String> {
    let names = text.split('@').skip(1);
    names.map(|rest| format!("@{}", rest.split_whitespace().next().unwrap_or_default())).collect()
}

fn column_type(database: &Connection, table: &str, column: &str) -> Option<Type> {
    let sql = "SELECT type FROM pragma_table_info(?) WHERE name = ? COLLATE NOCASE";
    let declared: String = database.prepare_cached(sql).ok()?.query_row([table, column], |row| row.get(0)).ok()?;
    Type::parse(&declared)
}

fn metadata(names: &[String], types: &[Type], charset: Charset) -> Vec<u8> {
    let mut bytes = vec![0x81];
    bytes.extend_from_slice(&(names.len() as u16).to_le_bytes());
    for (name, kind) in names.iter().zip(types) {
        bytes.extend_from_slice(&0u32.to_le_bytes());
        // Nullable, and not known to be writable.
        bytes.extend_from_slice(&9u16.to_le_bytes());
        kind.info(charset, &mut bytes);
        bytes.extend(b_varchar(name));
    }
    bytes
}

fn refused(error: &rusqlite::Error) -> Refused {
    let text = error.to_string();
    let named = |words: &str| {
        let rest = text.split_once(words)?.1;
        Some(rest.split([' ', ',']).next().unwrap_or_default().to_owned())
    };
    if let Some(name) = named("no such table: ") {
        return (208, format!("Invalid object name '{name}'."));
    }
    if let Some(name) = named("no such column: ") {
        return (207, format!("Invalid column name '{name}'."));
    }
    if text.contains("syntax error") {
        return (102, format!("Incorrect syntax: {text}"));
    }
    (8114, text)
}
