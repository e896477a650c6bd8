//! Value readers: small pure functions from the text of a source to what it says.
//!
//! None of them guesses. What can't be read is told to the caller, who keeps the literal and makes
//! a finding of it.

pub mod citizen;
pub mod date;
pub mod flag;
pub mod number;
pub mod phone;
pub mod reference;
pub mod result;
pub mod text;
pub mod unit;

#[cfg(test)]
mod tests;
