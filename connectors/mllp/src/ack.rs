//! Writes acknowledgements: `MSH` and `MSA`, what answers a master file, and the batch segments around several of them.
//!
//! An acknowledgement is a function of the message's header, the code and the time, so a message
//! that is sent again is answered alike.

use chrono::{DateTime, Utc};
use connector_formats::hl7::Header;

use crate::master::MasterFile;

/// What an acknowledgement names as its sender in place of what the message was addressed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) application: Option<String>,
    pub(crate) facility: Option<String>,
}

/// One acknowledgement code with what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    /// MSA-1.
    pub(crate) code: &'static str,
    /// Why the message was not accepted.
    pub(crate) problem: Option<String>,
}

/// The time of an acknowledgement.
#[expect(
    clippy::disallowed_methods,
    reason = "MSH-7 of an acknowledgement is for the peer's log; nothing of ours is derived from it"
)]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

/// Appends the `MSH`, `MSA` and, from version 2.5 on, `ERR` segments that answer a message.
///
/// The answer to a master file, but for the mere receipt of it, is an `MFK`. It repeats the `MFI`
/// segment, and says of each entry what became of it where MFI-6 asks for that.
pub(crate) fn write(
    out: &mut Vec<u8>,
    header: &Header,
    code: &Code,
    master: Option<&MasterFile>,
    names: &Names,
    time: DateTime<Utc>,
) {
    let version = Version::of(header);
    let master = master.filter(|_| code.code.starts_with('A'));
    let kind = if master.is_some() { ("MFK", "MFK_M01") } else { ("ACK", "ACK") };
    let mut segment = Segment::addressed("MSH", header, names, time);
    segment.sent(&["", &version.message_type(header, kind), &control_id(header.field(10))]);
    segment.sent(&[header.field(11), header.field(12)]);
    if !header.field(18).is_empty() {
        segment.sent(&["", "", "", "", "", header.field(18)]);
    }
    segment.end(out);

    let mut segment = Segment::new("MSA", header);
    segment.sent(&[code.code, header.field(10)]);
    let problem = code.problem.as_deref();
    if let Some(problem) = problem.filter(|_| version < Version(2, 7)) {
        segment.text(problem);
    }
    segment.end(out);

    if let Some(problem) = problem.filter(|_| version >= Version(2, 5)) {
        let component = header.delimiters.component;
        let error = format!("207{component}Application internal error{component}HL70357");
        let mut segment = Segment::new("ERR", header);
        segment.sent(&["", "", &error, "E", "", "", ""]);
        segment.text(problem);
        segment.end(out);
    }

    if let Some(master) = master {
        let mut segment = Segment::new("MFI", header);
        segment.sent(&[&master.identification]);
        segment.end(out);
        for entry in master.asked(problem.is_none()) {
            let [event, id, key, key_type] = entry;
            let became = if problem.is_none() { "S" } else { "U" };
            let mut segment = Segment::new("MFA", header);
            segment.sent(&[event, id, &stamp(time), became, key, key_type]);
            segment.end(out);
        }
    }
}

/// A time as HL7 writes it.
fn stamp(time: DateTime<Utc>) -> String {
    time.format("%Y%m%d%H%M%S+0000").to_string()
}

/// Appends the `BHS` segment that answers a batch or file header.
pub(crate) fn write_batch_start(out: &mut Vec<u8>, header: &Header, names: &Names, time: DateTime<Utc>) {
    let mut segment = Segment::addressed("BHS", header, names, time);
    let id = header.field(11);
    segment.sent(&["", "", "", &control_id(id), id]);
    segment.end(out);
}

/// Appends the `BTS` segment after `count` acknowledgements.
pub(crate) fn write_batch_end(out: &mut Vec<u8>, header: &Header, count: usize) {
    let mut segment = Segment::new("BTS", header);
    segment.sent(&[&count.to_string()]);
    segment.end(out);
}

/// A control id of our own for the answer to `theirs`: always the same for the same message, and
/// within the 20 characters of the older versions. The end of an id is what differs.
fn control_id(theirs: &str) -> String {
    let skipped = theirs.chars().count().saturating_sub(17);
    "ACK".chars().chain(theirs.chars().skip(skipped)).collect()
}

/// A version of the standard: 2.5.1 counts as 2.5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u8, u8);

impl Version {
    /// MSH-12; the oldest where it can't be read.
    fn of(header: &Header) -> Version {
        let mut parts = header.component(12, 1).split('.').map(|part| part.trim().parse().ok());
        match (parts.next().flatten(), parts.next().flatten()) {
            (Some(major), Some(minor)) => Version(major, minor),
            _ => Version(2, 1),
        }
    }

    fn message_type(self, header: &Header, (code, structure): (&str, &str)) -> String {
        let component = header.delimiters.component;
        match header.component(9, 2) {
            "" => code.to_owned(),
            _ if self < Version(2, 3) => code.to_owned(),
            event if self < Version(2, 4) => format!("{code}{component}{event}"),
            event => format!("{code}{component}{event}{component}{structure}"),
        }
    }
}

/// A segment being written with the delimiters and in the character set of the message.
struct Segment<'a> {
    header: &'a Header,
    text: String,
}

impl<'a> Segment<'a> {
    fn new(name: &str, header: &'a Header) -> Segment<'a> {
        Segment { header, text: name.to_owned() }
    }

    /// Fields 1 to 7 of `MSH` and `BHS`: delimiters, the two parties exchanged, the time.
    fn addressed(name: &str, header: &'a Header, names: &Names, time: DateTime<Utc>) -> Segment<'a> {
        let mut segment = Segment::new(name, header);
        segment.sent(&[header.field(2)]);
        for (own, addressed) in [(&names.application, 5), (&names.facility, 6)] {
            match own {
                Some(name) => segment.text(name),
                None => segment.sent(&[header.field(addressed)]),
            }
        }
        segment.sent(&[header.field(3), header.field(4), &stamp(time)]);
        segment
    }

    /// Appends fields that are in HL7 form already.
    fn sent(&mut self, fields: &[&str]) {
        for field in fields {
            self.text.push(self.header.delimiters.field);
            self.text.push_str(field);
        }
    }

    /// Appends a field of plain text, which must not contain delimiters.
    fn text(&mut self, text: &str) {
        let d = self.header.delimiters;
        let plain = |c: char| {
            let special = [Some(d.field), Some(d.component), d.repetition, d.escape, d.subcomponent];
            if c.is_control() || special.contains(&Some(c)) { ' ' } else { c }
        };
        self.text.push(d.field);
        self.text.extend(text.chars().map(plain));
    }

    fn end(self, out: &mut Vec<u8>) {
        match self.header.charset.encode(&self.text) {
            Some(bytes) => out.extend_from_slice(&bytes),
            // What was echoed came from this character set; only text of ours can be at fault.
            None => out.extend(self.text.chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' })),
        }
        out.push(b'\r');
    }
}
