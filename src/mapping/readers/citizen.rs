//! Resident identity numbers, GB 11643.

use chrono::{Datelike as _, NaiveDate};

use crate::model::entity::Sex;

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: &[u8; 11] = b"10X98765432";

/// What an identity number says about its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Citizen {
    /// Whether the check digit holds; `None` for the 15-digit form, which has none.
    pub checksum_ok: Option<bool>,
    /// The date of birth, where it is a date.
    pub birth: Option<NaiveDate>,
    /// The sex.
    pub sex: Sex,
}

/// Reads 18 digits (the last may be `X` or `x`) or the old 15; `None` for any other text.
pub fn read(text: &str) -> Option<Citizen> {
    let bytes = text.as_bytes();
    let digit = |at: usize| u32::from(bytes[at] - b'0');
    let number = |from: usize, to: usize| (from..to).fold(0, |sum, at| sum * 10 + digit(at));
    match bytes.len() {
        18 if bytes[..17].iter().all(u8::is_ascii_digit)
            && (bytes[17].is_ascii_digit() || matches!(bytes[17], b'X' | b'x')) =>
        {
            let sum: u32 = (0..17).map(|at| digit(at) * WEIGHTS[at]).sum();
            let check = CHECKS[(sum % 11) as usize];
            Some(Citizen {
                checksum_ok: Some(bytes[17].to_ascii_uppercase() == check),
                birth: date(number(6, 10), number(10, 12), number(12, 14)),
                sex: sex(digit(16)),
            })
        }
        // Serials 996 to 999 meant people born in the 1800s, so the century is not certain there.
        15 if bytes.iter().all(u8::is_ascii_digit) => Some(Citizen {
            checksum_ok: None,
            birth: date(1900 + number(6, 8), number(8, 10), number(10, 12)).filter(|_| number(12, 15) < 996),
            sex: sex(digit(14)),
        }),
        _ => None,
    }
}

fn date(year: u32, month: u32, day: u32) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day).filter(|date| date.year() >= 1850)
}

fn sex(digit: u32) -> Sex {
    if digit % 2 == 1 { Sex::Male } else { Sex::Female }
}
