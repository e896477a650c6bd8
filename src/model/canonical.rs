//! Canonical JSON (RFC 8785), so that equal entities have equal bytes and equal hashes.
//!
//! Only for what the model holds: a number is an integer that a double holds exactly, and anything
//! else is an error rather than a rounded value. Members are sorted where they stand, object by
//! object, because a report has hundreds of objects and writing them is a good part of mapping.
//! The reference upstream checks content hashes with an implementation of its own.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, Timelike as _};
use serde::Serialize;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Error, Value};

/// The largest integer up to which every one is exact in a double.
const EXACT: u64 = 1 << 53;

/// Writes a value as canonical JSON; fails where it holds a float, or an integer beyond 53 bits.
pub fn to_vec(value: &impl Serialize) -> Result<Vec<u8>, Error> {
    let mut writer = Writer { text: Vec::with_capacity(4 << 10), ..Writer::default() };
    value.serialize(&mut writer)?;
    Ok(writer.text)
}

/// Writes a value that knows its own canonical form; the bytes are those of [`to_vec`].
pub(super) fn written(value: &impl Canonical) -> Result<Vec<u8>, Error> {
    let mut writer = Writer { text: Vec::with_capacity(8 << 10), ..Writer::default() };
    value.write(&mut writer)?;
    Ok(writer.text)
}

/// What knows its own canonical form: the order of its members stands in the program, so that nothing has to be sorted
/// when it is written. [`members!`] implements it for the objects of the model.
pub(super) trait Canonical {
    /// Writes the value.
    fn write(&self, writer: &mut Writer) -> Result<(), Error>;

    /// Whether a member with this value is left out, where its type allows that.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Implements [`Canonical`] for objects, given their members in canonical order: `name !` is always there, `name ?` is
/// left out where it is absent. A field that is not listed does not compile.
macro_rules! members {
    ($($object:ident { $($name:ident $mode:tt),+ $(,)? })+) => {
        $(impl $crate::model::canonical::Canonical for $object {
            fn write(&self, writer: &mut $crate::model::canonical::Writer) -> Result<(), serde_json::Error> {
                let $object { $($name),+ } = self;
                writer.begin();
                $($crate::model::canonical::members!(@$mode writer, $name);)+
                writer.end();
                Ok(())
            }
        })+
    };
    (@! $writer:ident, $name:ident) => {
        $writer.named(concat!("\"", stringify!($name), "\":"), $name)?
    };
    (@? $writer:ident, $name:ident) => {
        if !$crate::model::canonical::Canonical::is_absent($name) {
            $writer.named(concat!("\"", stringify!($name), "\":"), $name)?
        }
    };
}
pub(super) use members;

/// Implements [`Canonical`] for values that write themselves as single words and numbers.
macro_rules! leaves {
    ($($leaf:ty),+ $(,)?) => {
        $(impl $crate::model::canonical::Canonical for $leaf {
            fn write(&self, writer: &mut $crate::model::canonical::Writer) -> Result<(), serde_json::Error> {
                serde::Serialize::serialize(self, writer)
            }
        })+
    };
}
pub(super) use leaves;

leaves!(String, bool, i64, u16, u32, u64);

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        match self {
            Some(value) => value.write(writer),
            None => writer.serialize_unit(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Canonical> Canonical for Vec<T> {
    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        let list = writer.array("]");
        for value in self {
            value.write(list.writer)?;
            list.writer.text.push(b',');
        }
        list.finish();
        Ok(())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl Canonical for NaiveDate {
    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        match date_digits(*self) {
            Some(date) => {
                writer.text.push(b'"');
                writer.text.extend_from_slice(&date);
                writer.text.push(b'"');
                Ok(())
            }
            None => self.serialize(writer),
        }
    }
}

impl Canonical for DateTime<FixedOffset> {
    fn write(&self, writer: &mut Writer) -> Result<(), Error> {
        match time_digits(self.naive_local(), self.offset().local_minus_utc()) {
            Some(time) => {
                writer.text.push(b'"');
                writer.text.extend_from_slice(&time);
                writer.text.push(b'"');
                Ok(())
            }
            None => self.serialize(writer),
        }
    }
}

fn two(number: u32) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// `2026-11-22`; `None` for a year that has not four digits.
fn date_digits(date: NaiveDate) -> Option<[u8; 10]> {
    let year = u32::try_from(date.year()).ok().filter(|year| *year <= 9999)?;
    let ([a, b], [c, d]) = (two(year / 100), two(year % 100));
    let ([e, f], [g, h]) = (two(date.month()), two(date.day()));
    Some([a, b, c, d, b'-', e, f, b'-', g, h])
}

/// A time as RFC 3339 and canonical JSON have it alike; `None` where they differ, or a part of a second is told.
pub fn time_text(time: DateTime<FixedOffset>) -> Option<String> {
    let digits = time_digits(time.naive_local(), time.offset().local_minus_utc())?;
    String::from_utf8(digits.to_vec()).ok()
}

/// `2026-11-22T08:00:00+08:00`; `None` for what is written otherwise: parts of a second, no offset, a year of other
/// than four digits.
fn time_digits(local: NaiveDateTime, offset: i32) -> Option<[u8; 25]> {
    if local.nanosecond() != 0 || offset == 0 || offset % 60 != 0 {
        return None;
    }
    let mut text = *b"0000-00-00T00:00:00+00:00";
    text[..10].copy_from_slice(&date_digits(local.date())?);
    let minutes = offset.unsigned_abs() / 60;
    if offset < 0 {
        text[19] = b'-';
    }
    let places =
        [(11, local.hour()), (14, local.minute()), (17, local.second()), (20, minutes / 60), (23, minutes % 60)];
    for (at, number) in places {
        text[at..at + 2].copy_from_slice(&two(number));
    }
    Some(text)
}

/// Writes compact JSON and sorts the members of each object when it ends.
#[derive(Default)]
pub(super) struct Writer {
    text: Vec<u8>,
    /// The finished members of the objects that are open, the innermost last.
    members: Vec<Member>,
    /// Where members are put in order; kept, so that it is allocated once.
    moved: Vec<u8>,
    /// The orders of objects that were written before.
    orders: Orders,
}

/// A member and where it stands in the text: `"name":value,`.
struct Member {
    name: Cow<'static, str>,
    start: usize,
    end: usize,
}

impl Member {
    fn length(&self) -> usize {
        self.end - self.start
    }
}

/// The order of names by their UTF-16 code units.
fn order(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() { one.cmp(other) } else { one.encode_utf16().cmp(other.encode_utf16()) }
}

/// The order in which objects with the same members stand, so that the hundreds of results of a report are not
/// sorted one by one.
#[derive(Default)]
struct Orders {
    known: Vec<Order>,
    /// Which one is given up when there are too many.
    oldest: usize,
    /// The order of an object whose names were made for it.
    single: Vec<usize>,
}

struct Order {
    /// The members in the order of writing: names of a struct's fields, told apart by where they lie in memory.
    /// Equal ones are the same text; the same text elsewhere is only sorted once more.
    names: Vec<(*const u8, usize)>,
    /// Their places in canonical order.
    places: Vec<usize>,
}

/// More shapes than a report has.
const ORDERS: usize = 32;

impl Orders {
    /// The places of the members in canonical order.
    fn of(&mut self, members: &[Member]) -> &[usize] {
        let key = |member: &Member| (member.name.as_ptr(), member.name.len());
        // Only names that live for ever can be known by where they lie.
        let lasting = members.iter().all(|member| matches!(member.name, Cow::Borrowed(_)));
        if !lasting {
            self.single = sorted(members);
            return &self.single;
        }
        let same = |known: &Order| known.names.iter().copied().eq(members.iter().map(key));
        let at = self.known.iter().position(same).unwrap_or_else(|| {
            let found = Order { names: members.iter().map(key).collect(), places: sorted(members) };
            if self.known.len() < ORDERS {
                self.known.push(found);
                return self.known.len() - 1;
            }
            self.oldest = (self.oldest + 1) % ORDERS;
            self.known[self.oldest] = found;
            self.oldest
        });
        &self.known[at].places
    }
}

fn sorted(members: &[Member]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..members.len()).collect();
    places.sort_by(|one, other| order(&members[*one].name, &members[*other].name));
    places
}

/// How many bytes at the beginning stand in a JSON text as they are.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    // Eight bytes at a time: most texts hold nothing to escape.
    let special = |word: u64| {
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        control | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c))
    };
    let (words, _) = bytes.as_chunks::<8>();
    let clean = 8 * words.iter().take_while(|word| special(u64::from_ne_bytes(**word)) == 0).count();
    let escaped = |byte: &u8| matches!(byte, 0..=0x1f | b'"' | b'\\');
    bytes[clean..].iter().position(escaped).map_or(bytes.len(), |at| clean + at)
}

fn inexact() -> Error {
    Error::custom("a number is no integer of 53 bits: it must travel as text")
}

impl Writer {
    /// Begins an object whose members come in order.
    pub(super) fn begin(&mut self) {
        self.text.push(b'{');
    }

    /// Writes a member; `name` is quoted and has its colon.
    pub(super) fn named(&mut self, name: &'static str, value: &impl Canonical) -> Result<(), Error> {
        self.text.extend_from_slice(name.as_bytes());
        value.write(self)?;
        self.text.push(b',');
        Ok(())
    }

    /// Ends an object that was begun.
    pub(super) fn end(&mut self) {
        match self.text.last_mut() {
            // No value ends in a comma.
            Some(last) if *last == b',' => *last = b'}',
            _ => self.text.push(b'}'),
        }
    }

    fn quoted(&mut self, text: &str) {
        self.text.push(b'"');
        self.escaped(text);
        self.text.push(b'"');
    }

    fn escaped(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        loop {
            let at = plain(rest);
            self.text.extend_from_slice(&rest[..at]);
            if at == rest.len() {
                return;
            }
            let short = match rest[at] {
                b'"' => b'"',
                b'\\' => b'\\',
                0x08 => b'b',
                0x09 => b't',
                0x0a => b'n',
                0x0c => b'f',
                0x0d => b'r',
                control => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    let (high, low) = (HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]);
                    self.text.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
                    rest = &rest[at + 1..];
                    continue;
                }
            };
            self.text.extend_from_slice(&[b'\\', short]);
            rest = &rest[at + 1..];
        }
    }

    fn integer(&mut self, negative: bool, magnitude: u64) -> Result<(), Error> {
        if magnitude > EXACT {
            return Err(inexact());
        }
        if negative {
            self.text.push(b'-');
        }
        self.text.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
        Ok(())
    }

    fn object(&mut self, close: &'static str) -> Object<'_> {
        self.text.push(b'{');
        Object { first: self.members.len(), writer: self, name: None, close }
    }

    fn array(&mut self, close: &'static str) -> Array<'_> {
        self.text.push(b'[');
        Array { writer: self, close }
    }

    /// The beginning of an enum's variant with content: an object of one member.
    fn variant(&mut self, name: &'static str) {
        self.text.push(b'{');
        self.quoted(name);
        self.text.push(b':');
    }
}

/// Escapes what is written through a formatter.
struct Escaping<'w>(&'w mut Writer);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.escaped(text);
        Ok(())
    }
}

/// An object that is being written.
pub(super) struct Object<'w> {
    writer: &'w mut Writer,
    /// Where its members begin.
    first: usize,
    /// The name of the value that comes next, in a map.
    name: Option<String>,
    close: &'static str,
}

impl Object<'_> {
    fn member<T: Serialize + ?Sized>(&mut self, name: Cow<'static, str>, value: &T) -> Result<(), Error> {
        let start = self.writer.text.len();
        self.writer.quoted(&name);
        self.writer.text.push(b':');
        value.serialize(&mut *self.writer)?;
        self.writer.text.push(b',');
        self.writer.members.push(Member { name, start, end: self.writer.text.len() });
        Ok(())
    }

    fn finish(self) {
        let Writer { text, members, moved, orders } = self.writer;
        let own = &members[self.first..];
        if !own.is_empty() {
            put_in_order(text, own, orders.of(own), moved);
            // The last member's comma.
            text.pop();
        }
        members.truncate(self.first);
        text.extend_from_slice(self.close.as_bytes());
    }
}

/// Moves members to their places. The longest one, which may be all the results of a report, is moved once within
/// the text; the others are copied out and back.
fn put_in_order(text: &mut [u8], own: &[Member], places: &[usize], moved: &mut Vec<u8>) {
    if places.is_sorted() {
        return;
    }
    let longest = own.iter().enumerate().max_by_key(|(_, member)| member.length()).map_or(0, |(at, _)| at);
    moved.clear();
    let mut at = own[0].start;
    let mut target = at;
    for place in places {
        let member = &own[*place];
        if *place == longest {
            target = at;
        } else {
            moved.extend_from_slice(&text[member.start..member.end]);
        }
        at += member.length();
    }
    text.copy_within(own[longest].start..own[longest].end, target);
    let (before, after) = moved.split_at(target - own[0].start);
    text[own[0].start..target].copy_from_slice(before);
    text[target + own[longest].length()..at].copy_from_slice(after);
}

/// An array that is being written.
pub(super) struct Array<'w> {
    writer: &'w mut Writer,
    close: &'static str,
}

impl Array<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        value.serialize(&mut *self.writer)?;
        self.writer.text.push(b',');
        Ok(())
    }

    fn finish(self) {
        // No value ends in a comma.
        if self.writer.text.last() == Some(&b',') {
            self.writer.text.pop();
        }
        self.writer.text.extend_from_slice(self.close.as_bytes());
    }
}

impl<'w> Serializer for &'w mut Writer {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Array<'w>;
    type SerializeTuple = Array<'w>;
    type SerializeTupleStruct = Array<'w>;
    type SerializeTupleVariant = Array<'w>;
    type SerializeMap = Object<'w>;
    type SerializeStruct = Object<'w>;
    type SerializeStructVariant = Object<'w>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.text.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Error> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Error> {
        self.integer(value < 0, value.unsigned_abs())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Error> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Error> {
        self.integer(false, value)
    }

    fn serialize_f32(self, _: f32) -> Result<(), Error> {
        Err(inexact())
    }

    fn serialize_f64(self, _: f64) -> Result<(), Error> {
        Err(inexact())
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.quoted(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.quoted(value);
        Ok(())
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        Err(Error::custom("bytes have no canonical form"))
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.text.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        self.variant(variant);
        value.serialize(&mut *self)?;
        self.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Array<'w>, Error> {
        Ok(self.array("]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Array<'w>, Error> {
        Ok(self.array("]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Array<'w>, Error> {
        Ok(self.array("]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Array<'w>, Error> {
        self.variant(variant);
        Ok(self.array("]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Object<'w>, Error> {
        Ok(self.object("}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Object<'w>, Error> {
        if name.starts_with("$serde_json") {
            return Err(Error::custom("text that is JSON already is not canonical"));
        }
        Ok(self.object("}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Object<'w>, Error> {
        self.variant(variant);
        Ok(self.object("}}"))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        self.text.push(b'"');
        write!(Escaping(&mut *self), "{value}").map_err(Error::custom)?;
        self.text.push(b'"');
        Ok(())
    }
}

macro_rules! elements {
    ($($compound:ident $element:ident;)*) => {
        $(impl $compound for Array<'_> {
            type Ok = ();
            type Error = Error;

            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.element(value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

elements! {
    SerializeSeq serialize_element;
    SerializeTuple serialize_element;
    SerializeTupleStruct serialize_field;
    SerializeTupleVariant serialize_field;
}

macro_rules! fields {
    ($($compound:ident;)*) => {
        $(impl $compound for Object<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.member(Cow::Borrowed(name), value)
            }

            fn end(self) -> Result<(), Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        match serde_json::to_value(key)? {
            Value::String(name) => self.name = Some(name),
            Value::Number(number) => self.name = Some(number.to_string()),
            _ => return Err(Error::custom("a member's name is no text")),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let name = self.name.take().ok_or_else(|| Error::custom("a value has no name"))?;
        self.member(Cow::Owned(name), value)
    }

    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
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
    fn objects_of_more_shapes_than_are_remembered_are_each_sorted_by_their_own_members() {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Row {
            #[serde(skip_serializing_if = "Option::is_none")]
            z: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            a_b: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none")]
            m: Option<Vec<u8>>,
            #[serde(skip_serializing_if = "Option::is_none", rename = "项")]
            item: Option<u8>,
            #[serde(skip_serializing_if = "Option::is_none", rename = "\"")]
            quote: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            a: Option<Box<Row>>,
        }
        let row = |bits: u8, inner| Row {
            z: (bits & 1 > 0).then(|| "z".repeat(usize::from(bits))),
            a_b: (bits & 2 > 0).then_some(bits),
            m: (bits & 4 > 0).then(|| vec![bits; usize::from(bits % 7)]),
            item: (bits & 8 > 0).then_some(0),
            quote: (bits & 16 > 0).then(|| "\\".repeat(usize::from(bits % 5))),
            a: inner,
        };
        // Twice, so that shapes are met again that were given up meanwhile.
        let rows: Vec<Row> =
            (0..128).map(|bits| row(bits % 32, (bits > 64).then(|| Box::new(row(bits / 3, None))))).collect();
        assert_eq!(to_vec(&rows).unwrap(), serde_json_canonicalizer::to_vec(&rows).unwrap());
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
    fn every_kind_of_value_is_written_as_serde_json_writes_it() {
        #[derive(Serialize)]
        enum Kind {
            Unit,
            One(i8),
            Two(u8, char),
            Named { b: (), a: Option<u16> },
        }
        #[derive(Serialize)]
        struct Wrapped(String);
        #[derive(Serialize)]
        struct Pair(bool, Wrapped);
        let kinds = (Kind::Unit, Kind::One(-1), Kind::Two(2, '"'), Kind::Named { b: (), a: None });
        let names = std::collections::BTreeMap::from([(10, "ten"), (9, "nine")]);
        let text = "\u{8}\t\n\u{c}\r\u{1}\u{1f}\u{7f}\"\\/é汉\u{10ffff}";
        let value = (kinds, names, Pair(true, Wrapped(text.to_owned())), [0_i16; 0]);
        let other = serde_json_canonicalizer::to_vec(&value).unwrap();
        assert_eq!(String::from_utf8(to_vec(&value).unwrap()), String::from_utf8(other));
    }

    #[test]
    fn a_number_that_a_double_would_round_is_an_error() {
        for value in [json!(1.5), json!(i64::MAX), json!(u64::MAX), json!([{"a": (1_i64 << 53) + 1}])] {
            assert!(to_vec(&value).is_err(), "{value} must not be written");
        }
    }
}
