//! Bytes of the usual exchange formats, turned into [`connector_api::Document`]s. No input or
//! output happens here, and nothing is guessed: text that does not decode strictly is an error.
//!
//! - [`charset`] and [`text`]: which character set, and strict decoding under it.
//! - [`json`], [`xml`]: a whole document, or the records inside one, found by a path.
//! - [`delimited`]: CSV, TSV and fixed width, row by row.
//! - [`inner`]: documents that travel as the text of another (CDATA, escaped XML, JSON).
//! - [`sheet`], [`dbf`], [`rows`]: spreadsheets and dBASE tables, and their rows in the archive.
//! - [`hl7`]: HL7 version 2.
//! - [`bundle`], [`multipart`]: a record together with files.

pub mod bundle;
pub mod charset;
pub mod dbf;
pub mod delimited;
pub mod hl7;
pub mod inner;
pub mod json;
pub mod multipart;
pub mod rows;
pub mod sheet;
pub mod text;
pub mod xml;
