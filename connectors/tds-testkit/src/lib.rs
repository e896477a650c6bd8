//! A small TDS 7.2 to 7.4 server for tests of clients: it speaks the protocol of SQL Server, and
//! misbehaves on request.
//!
//! Its data are in a SQLite file behind a small translation of T-SQL (`sql`); the declared types
//! of the tables' columns decide how values travel. It can do what a real server can't be asked to
//! do: stall or break in the middle of a row, answer a byte at a time, hold bytes that are no text
//! in their column's character set, refuse modern TLS.
//!
//! It panics on nothing that a client sends, but it is no model of how to write a server: one
//! thread a connection, everything blocking.

mod login;
mod rpc;
mod server;
mod session;
mod sql;
mod types;
mod wire;

use std::time::Duration;

pub use server::{Browser, TdsServer};
pub use types::Type;

/// What the server says about encryption in its PRELOGIN answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// The login only, unless the client wants all.
    Off,
    /// It has no TLS.
    NotSupported,
    /// Nothing without TLS.
    Required,
}

/// How the server shakes hands over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// TLS 1.2, as SQL Server 2016 and later do inside TDS 7.
    Modern,
    /// An alert `protocol_version`: a server that knows TLS 1.0 only.
    OldAlert,
    /// Closes the connection instead.
    Closes,
    /// Says nothing.
    Silent,
}

/// Where a server falls silent before anybody is logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It accepts the connection and says nothing.
    Accepted,
    /// It does not answer the login.
    Login,
}

/// What kind of server to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// What PRELOGIN answers.
    pub encryption: Encryption,
    /// How TLS is set up.
    pub handshake: Handshake,
    /// Where it falls silent.
    pub silence: Option<Silence>,
    /// The login that is accepted.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The database; another is refused with error 4060.
    pub database: String,
    /// What `@@VERSION` says.
    pub version: String,
    /// Whether the database allows SNAPSHOT isolation.
    pub snapshot_isolation: bool,
    /// Columns of type `varchar` hold UTF-8 instead of GBK, and their collation says so.
    pub utf8_collation: bool,
    /// How far this server's clock is ahead.
    pub clock_ahead: Duration,
    /// A certificate and key in PEM; one of its own for `localhost` and 127.0.0.1 where absent.
    pub certificate: Option<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            encryption: Encryption::Off,
            handshake: Handshake::Modern,
            silence: None,
            user: "hisync".to_owned(),
            password: "p@ss 密码".to_owned(),
            database: "tj".to_owned(),
            version: "Microsoft SQL Server 2012 (SP4) - 11.0.7001.0 (X64)".to_owned(),
            snapshot_isolation: true,
            utf8_collation: false,
            clock_ahead: Duration::ZERO,
            certificate: None,
        }
    }
}

/// A fault that strikes once: the next answer to a statement that contains `when`.
#[derive(Clone, Debug)]
pub struct Fault {
    /// A part of the statement's text.
    pub when: String,
    /// What happens.
    pub kind: FaultKind,
}

/// What goes wrong with an answer. Positions are bytes from its beginning, packet headers included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Nothing comes after this byte until [`TdsServer::release`], or the client goes away.
    StallAfter(usize),
    /// The connection is reset.
    ResetAfter(usize),
    /// The connection is closed.
    CloseAfter(usize),
    /// All of it comes, in pieces of that many bytes with a pause between.
    Pieces {
        /// A piece's length.
        bytes: usize,
        /// The pause.
        pause: Duration,
    },
    /// The server answers with an error of its own instead.
    Error {
        /// Its number, e.g. 229.
        number: i32,
        /// Its severity class.
        class: u8,
        /// Its text.
        message: String,
    },
    /// Bytes that are no tokens.
    Garbage(Vec<u8>),
}

impl FaultKind {
    pub(crate) fn after(&self) -> Option<usize> {
        match self {
            FaultKind::StallAfter(at) | FaultKind::ResetAfter(at) | FaultKind::CloseAfter(at) => Some(*at),
            _ => None,
        }
    }
}
