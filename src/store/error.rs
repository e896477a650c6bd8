//! What can go wrong in the store, classified for those who must decide what to do next.

use connector_api::DecodeFailure;
use rusqlite::ErrorCode;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite failed in a way that none of the other variants names.
    #[error("{operation}")]
    Sqlite {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
    /// The disk is full. Nothing was stored; it works again when there is room.
    #[error("{operation}: the disk is full")]
    Full {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
    /// The disk or the file system failed. The store reopens its file before the next attempt.
    #[error("{operation}: the disk failed")]
    Io {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
    /// Somebody else holds the file for longer than the store waits.
    #[error("{operation}: the store is busy")]
    Busy {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
    /// The file is damaged, or is no store.
    #[error(
        "{operation}: the store's file is damaged: keep a copy of the data folder, and put a backup back with \
         `hisync store restore`"
    )]
    Corrupt {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: rusqlite::Error,
    },
    /// A row holds something that this version did not write.
    #[error("{0} in the store can't be read")]
    Unreadable(&'static str),
    /// A file operation outside SQLite failed.
    #[error("{operation}")]
    File {
        /// What was attempted.
        operation: &'static str,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// Another agent has this store open.
    #[error("another agent has this store open")]
    Locked,
    /// There is no store in the folder.
    #[error("there is no store in this folder")]
    Missing,
    /// What the store holds is sealed, and no key was given.
    #[error(
        "the store is encrypted, and no key is configured: name its key as [store] encryption = {{ key = … }}, \
         and the configuration with -c FILE"
    )]
    NoKey,
    /// What the store holds is sealed under other keys than those given.
    #[error(
        "the store is encrypted under another key than the configured one (its fingerprint is {given}): put the key \
         that it was last opened with back, on a line of its own below the new one where the key is being changed"
    )]
    WrongKey {
        /// The fingerprint of the newest key given.
        given: String,
    },
    /// Sealing failed.
    #[error("seal what the store holds")]
    Seal(#[source] connector_api::seal::SealError),
    /// The file belongs to another program.
    #[error("the file is not a hisync store")]
    Foreign,
    /// The store was written by a newer hisync.
    #[error("the store has layout {found}, this hisync knows up to {known}: use the newer hisync")]
    Newer {
        /// The store's layout.
        found: i64,
        /// The newest layout that this program knows.
        known: i64,
    },
    /// The advance does not start at the stored watermark: nothing of the batch was stored.
    #[error("the watermark of stream {stream} is not where the batch starts")]
    WatermarkMoved {
        /// The stream.
        stream: String,
    },
    /// A stored watermark can't be read.
    #[error("read the watermark of stream {stream}")]
    Watermark {
        /// The stream.
        stream: String,
        /// The cause.
        #[source]
        cause: DecodeFailure,
    },
    /// There is no such thing.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its id.
        id: i64,
    },
    /// A newer version of the entity is queued or delivered: the old event is not sent any more.
    #[error("a newer version of this entity is queued or delivered")]
    Superseded,
    /// The act does not fit the state of the thing.
    #[error("{0}")]
    Refused(&'static str),
    /// The work panicked; its changes were rolled back, the store goes on.
    #[error("{operation} panicked")]
    Panicked {
        /// What was attempted.
        operation: &'static str,
    },
    /// Another job in the same transaction broke it: nothing of this one was stored.
    #[error("the transaction that this shared was rolled back")]
    RolledBack,
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// Turns an error of SQLite into the variant that says what to do about it.
    pub(super) fn sqlite(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
        move |cause| match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full { operation, cause },
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
                Error::Io { operation, cause }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy { operation, cause },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Corrupt { operation, cause },
            _ => Error::Sqlite { operation, cause },
        }
    }

    /// True where the store can't take anything at the moment and the same call may work later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Error::Full { .. } | Error::Io { .. } | Error::Busy { .. } | Error::RolledBack | Error::Panicked { .. }
        )
    }

    /// True where the connection can't be trusted any more.
    pub(super) fn breaks_connection(&self) -> bool {
        matches!(self, Error::Full { .. } | Error::Io { .. } | Error::Corrupt { .. } | Error::Busy { .. })
    }

    /// The same failure once more, for another job that shared the transaction.
    pub(super) fn again(&self) -> Error {
        let copy = |cause: &rusqlite::Error| match cause {
            rusqlite::Error::SqliteFailure(code, message) => rusqlite::Error::SqliteFailure(*code, message.clone()),
            _ => rusqlite::Error::InvalidQuery,
        };
        match self {
            Error::Full { operation, cause } => Error::Full { operation, cause: copy(cause) },
            Error::Io { operation, cause } => Error::Io { operation, cause: copy(cause) },
            Error::Busy { operation, cause } => Error::Busy { operation, cause: copy(cause) },
            Error::Corrupt { operation, cause } => Error::Corrupt { operation, cause: copy(cause) },
            _ => Error::RolledBack,
        }
    }
}
