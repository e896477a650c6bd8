//! The traps of hospital data that a simulated day holds, by their numbers in `tests/traps.md`.
//!
//! The ledger counts each of them, `hisync demo --once` reconciles them, and a test reads the whole day
//! and compares what is held, and why, with [`Flaw`](super::Flaw).

/// What a complete and careful reading makes of a trap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is delivered as it is meant.
    Delivered,
    /// It is held for a person, for this reason.
    Held(&'static str),
    /// It is held until what was missing is there, then delivered.
    HeldThenDelivered(&'static str),
    /// It is delivered with an issue of this code.
    Told(&'static str),
    /// It changes nothing.
    Unchanged,
}

/// A trap, where it is in the day, and what must become of it.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    /// Its number, the 5 of T5.
    pub number: u8,
    /// The source by which it comes.
    pub source: &'static str,
    /// What is there.
    pub what: &'static str,
    /// What must become of it.
    pub outcome: Outcome,
}

const fn trap(number: u8, source: &'static str, what: &'static str, outcome: Outcome) -> Trap {
    Trap { number, source, what, outcome }
}

use Outcome::{Delivered, Held, HeldThenDelivered, Told, Unchanged};

/// The traps of a day, by number.
pub const TRAPS: &[Trap] = &[
    trap(1, "outlab", "a sex by the PEIS's table contradicts the identity number", Held("id-disagrees")),
    trap(2, "outlab", "0 and 1 are the sexes that are 1 and 2 in the PEIS", Delivered),
    trap(3, "outlab", "5, a failed review, stands above 4, a passed one; then it passes", Delivered),
    trap(4, "peis", "a delivered report is taken back", Delivered),
    trap(5, "outlab", "a correction in the afternoon bears a time of the morning", Delivered),
    trap(6, "outlab", "a report is final before its results are there", HeldThenDelivered("report-empty")),
    trap(7, "peis", "three reports share each moment", Delivered),
    trap(11, "outlab", "a row of results is there twice", Delivered),
    trap(13, "outlab", "nothing found has a code of its own, which is no failure", Unchanged),
    trap(14, "outlab", "returnCode 1 is success, 2 is nothing found, -9 a token that expired", Delivered),
    trap(16, "outlab", "vitamin D in two groups, with two results", Delivered),
    trap(17, "outlab", "the specimen was rejected 标本已退检", Delivered),
    trap(17, "peis", "the film was refused 拒检", Delivered),
    trap(18, "outlab", "1.30 and <5.000E+02 keep their digits", Delivered),
    trap(19, "outlab", "the range stands in the unit's column", Held("columns-shifted")),
    trap(20, "outlab", "a number in full width, padded", Delivered),
    trap(20, "peis", "names of CHAR(10), results with blanks behind them", Delivered),
    trap(21, "outlab", "μmo1/L", Told("unit-unknown")),
    trap(22, "lab", "the second byte of a character of the name is HL7's field separator", Delivered),
    trap(23, "lab", "MSH-18 says UNICODE, the bytes are UTF-8", Delivered),
    trap(23, "lab", "MSH-18 is empty, the bytes are GB18030", Delivered),
    trap(
        24,
        "outlab",
        "envelopes and inner documents declare GB2312 and are UTF-8, the inner ones with a mark",
        Delivered,
    ),
    trap(25, "outlab", "one answer is escaped, one is CDATA cut in two by a remark with ]]>", Delivered),
    trap(27, "lab", "a message with bytes that are no GB18030", Held("hl7-charset")),
    trap(27, "imaging", "a row with bytes that are no GBK, between good ones", Held("delimited-charset")),
    trap(28, "outlab", "a name whose second character was lost", Held("damaged-text")),
    trap(29, "outlab", "a birthday of 1988-06-01 in milliseconds", Delivered),
    trap(30, "peis", "packages that are valid until 9999-12-31", Delivered),
    trap(30, "outlab", "not reviewed yet is 1900-01-01 00:00:00", Unchanged),
    trap(31, "peis", "a re-check shares nine places of its number with the visit before", Delivered),
    trap(33, "peis", "exam numbers with a leading zero", Delivered),
    trap(33, "outlab", "report numbers of 19 digits with leading zeros", Delivered),
    trap(35, "peis", "a package of which one or two groups are chosen", Delivered),
    trap(36, "peis", "one of three off switches is set, the others are NULL or 0", Delivered),
    trap(37, "peis", "a package changes its price after it was booked", Delivered),
    trap(39, "lab", "the same message under the same MSH-10, hours later", Unchanged),
    trap(39, "lab", "another message under an MSH-10 that was used before", Delivered),
    trap(41, "imaging", "a web page that says 404, saved as PDF", Held("attachment-content")),
    trap(41, "imaging", "a PDF that shows another exam number", Held("attachment-other-number")),
    trap(42, "imaging", "of two pages in one column, the second never comes", Held("attachment-missing")),
    trap(47, "peis", "a re-check is a visit of its own that names the one before", Delivered),
    trap(48, "peis", "the report that was taken back is final again, unchanged", Delivered),
    trap(49, "peis", "items, groups, packages and reports come by streams that know nothing of each other", Delivered),
];
