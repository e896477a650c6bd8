//! What has been read so far, as a tree that becomes the typed entity without a detour.

use std::borrow::Cow;

use serde::de::value::{BorrowedStrDeserializer, MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};

/// A value of the entity in the making. Absent fields are simply not there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Node<'d> {
    Bool(bool),
    Integer(i64),
    Text(Cow<'d, str>),
    List(Vec<Node<'d>>),
    Map(Fields<'d>),
}

/// The fields of one object, in the order of the mapping's plan.
pub(super) type Fields<'d> = Vec<(&'static str, Node<'d>)>;

impl Node<'_> {
    pub(super) fn text(text: &'static str) -> Node<'static> {
        Node::Text(Cow::Borrowed(text))
    }
}

/// The named field of an object.
pub(super) fn field<'n, 'd>(fields: &'n Fields<'d>, name: &str) -> Option<&'n Node<'d>> {
    fields.iter().find(|(key, _)| *key == name).map(|(_, node)| node)
}

/// The text of the named field.
pub(super) fn text_of<'n>(fields: &'n Fields<'_>, name: &str) -> Option<&'n str> {
    match field(fields, name) {
        Some(Node::Text(text)) => Some(text),
        _ => None,
    }
}

type Error = serde_json::Error;

impl<'de> IntoDeserializer<'de, Error> for Node<'de> {
    type Deserializer = Node<'de>;

    fn into_deserializer(self) -> Node<'de> {
        self
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Node::Bool(truth) => visitor.visit_bool(truth),
            Node::Integer(number) => visitor.visit_i64(number),
            Node::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Node::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Node::List(list) => SeqDeserializer::new(list.into_iter()).deserialize_any(visitor),
            Node::Map(fields) => MapDeserializer::new(fields.into_iter()).deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Node::Text(Cow::Borrowed(text)) => {
                BorrowedStrDeserializer::new(text).deserialize_enum(name, variants, visitor)
            }
            Node::Text(Cow::Owned(text)) => {
                let text: StringDeserializer<Error> = text.into_deserializer();
                text.deserialize_enum(name, variants, visitor)
            }
            _ => Err(de::Error::custom(format_args!("{name} is given as a word"))),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}
