//! Canonical JSON (RFC 8785), so that equal entities have equal bytes and equal hashes.
//!
//! Only for what the model holds: a number is an integer that a double holds exactly, and anything
//! else is an error rather than a rounded value. Members are sorted where they stand, object by
//! object, because a report has hundreds of objects and writing them is half the work of mapping.
//! The reference upstream checks content hashes with an implementation of its own.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The largest integer up to which every one is exact in a double.
const EXACT: u64 = 1 << 53;

/// Writes a value as canonical JSON; fails where it holds a float, or an integer beyond 53 bits.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let text = RefCell::new(Vec::with_capacity(1024));
    let formatter = Sorting { text: &text, members: Vec::new(), objects: Vec::new(), sorted: Vec::new() };
    value.serialize(&mut Serializer::with_formatter(Appending(&text), formatter))?;
    Ok(text.into_inner())
}

/// Appends to the text that the formatter sorts.
struct Appending<'t>(&'t RefCell<Vec<u8>>);

impl Write for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a member stands in the text: `"name":value,`.
#[derive(Clone, Copy)]
struct Member {
    start: usize,
    /// The end of the quoted name.
    colon: usize,
    end: usize,
    /// The name is ASCII without escapes: its bytes sort as it does.
    plain: bool,
}

impl Member {
    /// The order of names by their UTF-16 code units.
    fn order(&self, other: &Member, text: &[u8]) -> Ordering {
        if self.plain && other.plain {
            // The closing quote would sort before some characters of a longer name.
            return text[self.start..self.colon - 1].cmp(&text[other.start..other.colon - 1]);
        }
        // What was just written reads back.
        let name = |of: &Member| serde_json::from_slice::<String>(&text[of.start..of.colon]).unwrap_or_default();
        name(self).encode_utf16().cmp(name(other).encode_utf16())
    }
}

/// Writes compact JSON and sorts the members of each object when it ends.
struct Sorting<'t> {
    text: &'t RefCell<Vec<u8>>,
    /// The members so far of the objects that are open, the innermost last.
    members: Vec<Member>,
    /// Where the members of each open object begin in `members`.
    objects: Vec<usize>,
    /// Where members are put in order; kept, so that it is allocated once.
    sorted: Vec<u8>,
}

impl Sorting<'_> {
    fn at(&self) -> usize {
        self.text.borrow().len()
    }

    fn member(&mut self) -> io::Result<&mut Member> {
        self.members.last_mut().ok_or_else(|| refused("no member is open"))
    }
}

fn refused(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn inexact() -> io::Error {
    refused("a number is no integer of 53 bits: it must travel as text")
}

impl Formatter for Sorting<'_> {
    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.objects.push(self.members.len());
        writer.write_all(b"{")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, _: &mut W, _: bool) -> io::Result<()> {
        let at = self.at();
        self.members.push(Member { start: at, colon: at, end: at, plain: false });
        Ok(())
    }

    fn end_object_key<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        let text = self.text;
        let text = text.borrow();
        let member = self.member()?;
        let name = &text[member.start..];
        member.plain = name.is_ascii() && !name.contains(&b'\\');
        member.colon = text.len();
        Ok(())
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b",")?;
        let at = self.at();
        self.member()?.end = at;
        Ok(())
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        let first = self.objects.pop().ok_or_else(|| refused("no object is open"))?;
        let members = &mut self.members[first..];
        if let Some(&Member { start, .. }) = members.first() {
            let mut text = self.text.borrow_mut();
            if !members.is_sorted_by(|one, next| one.order(next, &text).is_le()) {
                members.sort_by(|one, other| one.order(other, &text));
                self.sorted.clear();
                members.iter().for_each(|member| self.sorted.extend_from_slice(&text[member.start..member.end]));
                text[start..].copy_from_slice(&self.sorted);
            }
            // The last member's comma.
            text.pop();
        }
        self.members.truncate(first);
        writer.write_all(b"}")
    }

    fn write_i64<W: Write + ?Sized>(&mut self, writer: &mut W, value: i64) -> io::Result<()> {
        if value.unsigned_abs() > EXACT {
            return Err(inexact());
        }
        write!(writer, "{value}")
    }

    fn write_u64<W: Write + ?Sized>(&mut self, writer: &mut W, value: u64) -> io::Result<()> {
        if value > EXACT {
            return Err(inexact());
        }
        write!(writer, "{value}")
    }

    fn write_i128<W: Write + ?Sized>(&mut self, _: &mut W, _: i128) -> io::Result<()> {
        Err(inexact())
    }

    fn write_u128<W: Write + ?Sized>(&mut self, _: &mut W, _: u128) -> io::Result<()> {
        Err(inexact())
    }

    fn write_f32<W: Write + ?Sized>(&mut self, _: &mut W, _: f32) -> io::Result<()> {
        Err(inexact())
    }

    fn write_f64<W: Write + ?Sized>(&mut self, _: &mut W, _: f64) -> io::Result<()> {
        Err(inexact())
    }

    fn write_raw_fragment<W: Write + ?Sized>(&mut self, _: &mut W, _: &str) -> io::Result<()> {
        Err(refused("text that is JSON already is not canonical"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let name = prop_oneof!["[a-c_\"\\\\\n]{0,3}", "\\PC{0,3}", "[\u{e000}\u{ffff}\u{10000}\u{10ffff}é]{0,2}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-(1_i64 << 53)..=1 << 53).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_same_bytes_as_another_implementation(value in any_value()) {
            let other = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(to_vec(&value).unwrap(), other);
        }
    }

    #[test]
    fn members_are_sorted_whatever_the_order_of_a_struct() {
        #[derive(Serialize)]
        struct Item<'a> {
            value: i64,
            name: &'a str,
            name_of: [Option<bool>; 2],
        }
        let item = Item { value: -7, name: "葡萄糖\u{1}/", name_of: [None, Some(true)] };
        let text = String::from_utf8(to_vec(&item).unwrap()).unwrap();
        assert_eq!(text, r#"{"name":"葡萄糖\u0001/","name_of":[null,true],"value":-7}"#);
    }

    #[test]
    fn a_number_that_a_double_would_round_is_an_error() {
        for value in [json!(1.5), json!(i64::MAX), json!(u64::MAX), json!([{"a": (1_i64 << 53) + 1}])] {
            assert!(to_vec(&value).is_err(), "{value} must not be written");
        }
    }
}
