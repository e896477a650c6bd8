//! What connectors that ask a server over HTTP share: the connection, logins, signatures, request
//! templates, what an answer says about itself, paging, windows of dates, details, files and marks.
//!
//! A protocol adds two things: how its settings become a [`Call`], and an [`Opener`] that takes the
//! document out of an answer. Reading is the same for all:
//!
//! - a page is cut into records, each with its own bytes; one that can't be decoded is held alone.
//! - a watermark moves when a window has been read to its end, never before.
//! - what the source says of its totals is compared with what came.
//! - nothing is taken for success that the configuration does not list as success.

mod answer;
mod call;
mod decoder;
mod marks;
mod plan;
mod poller;
mod session;
pub mod settings;
mod template;
mod transport;
mod window;

pub use answer::{Kind, Opened, Opener, blank};
pub use call::{Body, Call, Piece};
pub use decoder::WebDecoder;
pub use plan::{Check, SourceParts, StreamPlan};
pub use poller::{Catalogue, WebPoller};
pub use session::{Session, masked, shown_code};
pub use template::{Place, Template, TemplateError, Vars};
pub use transport::Reply;

/// Re-exported: calls name their method by it.
pub use reqwest::{Method, header};
