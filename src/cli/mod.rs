//! The commands, one file each.

pub mod openapi;
pub mod sandbox;
