//! Bytes of the usual exchange formats, turned into [`connector_api::Document`]s. No input or
//! output happens here, and nothing is guessed: text that does not decode strictly is an error.

pub mod charset;
pub mod hl7;
