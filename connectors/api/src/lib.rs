//! The contract between hisync and the code that talks to one kind of source system.
//!
//! A connector turns a protocol or product into [`Record`]s: what was received, byte for byte,
//! and the [`Document`] that it says. It keeps the source's shape; what a value *means* is the
//! mapping's job. Schedules, retries, mapping and storage belong to the agent.
//!
//! Two kinds of connector exist:
//! - a [`Poller`] is asked for one page at a time and returns it. It has no loop, no sleep, no
//!   retry and no database of ours.
//! - a [`Listener`] is handed data by the source system. It acknowledges only after
//!   [`Intake::accept`] returned, which means "on stable storage" (promise P1).
//!
//! ```
//! use connector_api::{Document, Map, Value};
//!
//! let row = Map::from_iter([("TJBH", Value::from("0301170001")), ("JG", Value::decimal("1.30").unwrap())]);
//! let document = Document::new(row);
//! let stored = document.to_bytes();
//! assert_eq!(Document::from_bytes(&stored).unwrap(), document);
//! ```

mod document;
mod error;
mod kind;
mod record;
pub mod seal;
mod secret;
mod value;

pub use document::{DOCUMENT_FORMAT, Document, DocumentDecoder};
pub use error::{Action, FaultClass, SettingsProblem, SourceError, chain};
pub use kind::{
    Batch, Column, Connector, ConnectorKind, Cursor, Discovered, Endpoint, Flow, Intake, Listener, Mode, Poller, Probe,
    Receipt, Refusal, Request, SourceSpec, StreamPoller, StreamSpec,
};
pub use record::{Advance, DecodeFailure, Decoder, Raw, Record, SourceId, StreamId, Watermark};
pub use secret::{
    KEY_CREDENTIAL, KEY_FILE, KEY_FILE_VARIABLE, KEY_VARIABLE, Secret, SecretError, SecretText, sealing_keys,
};
pub use value::{Decimal, Map, SourceTime, Value};

/// Re-exported so that a connector implements the traits with the same macro.
pub use async_trait::async_trait;
/// Re-exported so that a listener waits on the same token type that the agent cancels.
pub use tokio_util::sync::CancellationToken;
