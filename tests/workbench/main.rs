//! What a site engineer does with the real binary, from an empty folder to a mapping with cases; and what an agent
//! costs in memory.

#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;
mod check;
mod commands;
mod site;
