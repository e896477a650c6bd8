//! From what was read to the typed report: what [`serde`] would make of the same nodes, with less on the way.
//!
//! Reports are nearly all that a hospital sends, and each has hundreds of values. Other entities are read by serde.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _};
use serde::de::{Deserialize, Error as _};

use super::node::Node;
use crate::model::entity::*;

type Error = serde_json::Error;

/// What a node can become.
pub(super) trait Typed: Sized {
    /// The value; an error where the node says none.
    fn of(node: Node<'_>) -> Result<Self, Error>;
}

/// Objects of the model, by the members that they have.
macro_rules! objects {
    ($($object:ident { $($name:ident $mode:tt),+ $(,)? })+) => {
        $(impl Typed for $object {
            fn of(node: Node<'_>) -> Result<$object, Error> {
                let Node::Map(fields) = node else {
                    return Err(Error::custom(concat!("struct ", stringify!($object), " is given as an object")));
                };
                $(let mut $name = None;)+
                for (name, node) in fields {
                    match name {
                        $(stringify!($name) => {
                            if $name.replace(Typed::of(node)?).is_some() {
                                return Err(Error::duplicate_field(stringify!($name)));
                            }
                        })+
                        other => return Err(Error::unknown_field(other, &[$(stringify!($name)),+])),
                    }
                }
                Ok($object { $($name: objects!(@$mode $name)),+ })
            }
        })+
    };
    (@! $name:ident) => {
        $name.ok_or_else(|| Error::missing_field(stringify!($name)))?
    };
    (@? $name:ident) => {
        $name.unwrap_or_default()
    };
}
report_objects!(objects);

macro_rules! leaves {
    ($($leaf:ty),+ $(,)?) => {
        $(impl Typed for $leaf {
            fn of(node: Node<'_>) -> Result<$leaf, Error> {
                <$leaf>::deserialize(node)
            }
        })+
    };
}
leaves!(
    bool,
    i64,
    u16,
    u32,
    u64,
    NaiveDate,
    ReportKind,
    ReportStatus,
    Sex,
    ApplicableSex,
    MaritalStatus,
    IdType,
    VisitState,
    OrderOrigin,
    OrderState,
    ResultStatus,
    ValueKind,
    Comparator,
    AbsentReason,
    AbnormalFlag,
    ConclusionKind,
    AttachmentKind,
);

/// The envelope is set afterwards; here it only has to be there.
impl Typed for Envelope {
    fn of(_: Node<'_>) -> Result<Envelope, Error> {
        Ok(Envelope::default())
    }
}

impl Typed for String {
    fn of(node: Node<'_>) -> Result<String, Error> {
        match node {
            Node::Text(text) => Ok(text.into_owned()),
            other => String::deserialize(other),
        }
    }
}

impl Typed for DecimalText {
    fn of(node: Node<'_>) -> Result<DecimalText, Error> {
        String::of(node).map(DecimalText)
    }
}

impl<T: Typed> Typed for Option<T> {
    fn of(node: Node<'_>) -> Result<Option<T>, Error> {
        T::of(node).map(Some)
    }
}

impl<T: Typed> Typed for Vec<T> {
    fn of(node: Node<'_>) -> Result<Vec<T>, Error> {
        match node {
            Node::List(list) => list.into_iter().map(T::of).collect(),
            _ => Err(Error::custom("a list is expected")),
        }
    }
}

impl Typed for DateTime<FixedOffset> {
    fn of(node: Node<'_>) -> Result<DateTime<FixedOffset>, Error> {
        if let Node::Text(text) = &node
            && let Some(time) = usual_time(text)
        {
            return Ok(time);
        }
        DateTime::deserialize(node)
    }
}

/// `2026-11-22T08:00:05+08:00`, as the readers write times; `None` for any other form.
pub(super) fn usual_time(text: &str) -> Option<DateTime<FixedOffset>> {
    let text: &[u8; 25] = text.as_bytes().try_into().ok()?;
    let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (22, b':')];
    if signs.iter().any(|(at, sign)| text[*at] != *sign) {
        return None;
    }
    let digits = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
    };
    let date = NaiveDate::from_ymd_opt(i32::try_from(digits(0, 4)?).ok()?, digits(5, 7)?, digits(8, 10)?)?;
    let time = NaiveTime::from_hms_opt(digits(11, 13)?, digits(14, 16)?, digits(17, 19)?)?;
    let (hours, minutes) = (digits(20, 22)?, digits(23, 25)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let east = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    let offset = match text[19] {
        b'+' => FixedOffset::east_opt(east)?,
        b'-' => FixedOffset::west_opt(east)?,
        _ => return None,
    };
    offset.from_local_datetime(&NaiveDateTime::new(date, time)).single()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mapping::node::Fields;

    /// An object with some of its members, some of them twice or of the wrong kind.
    fn any_item() -> impl Strategy<Value = Fields<'static>> {
        let names = [
            ("item_code", "0101"),
            ("item_name", "白细胞"),
            ("instance", "1"),
            ("value_kind", "numeric"),
            ("value_num", "5.30"),
            ("value_raw", "5.30"),
            ("flag_source", "high"),
            ("status", "final"),
            ("performed_at", "2026-11-22T08:00:05+08:00"),
            ("comparator", "<"),
            ("absent_reason", "no such word"),
            ("unit_ucum", "mmol/L"),
            ("nonsense", "1"),
        ];
        let field = prop_oneof![
            20 => prop::sample::select(names[..10].to_vec()).prop_map(|(name, text)| (name, Node::text(text))),
            1 => prop::sample::select(names.to_vec()).prop_map(|(name, text)| (name, Node::text(text))),
            1 => Just(("item_code", Node::Integer(1))),
            1 => Just(("performed_at", Node::text("2026-11-22 08:00"))),
            1 => Just(("reference", Node::Map(vec![("low", Node::text("1")), ("age_low", Node::Integer(70_000))]))),
            3 => Just(("reference", Node::Map(vec![("low", Node::text("1")), ("age_low", Node::Integer(18))]))),
        ];
        let critical = any::<bool>().prop_map(|truth| ("is_critical", Node::Bool(truth)));
        let needed = move || names.into_iter().take(4).map(|(name, text)| (name, Node::text(text)));
        (prop::collection::vec(field, 0..8), prop::option::weighted(0.9, critical), any::<bool>()).prop_map(
            move |(mut fields, critical, whole)| {
                if whole {
                    fields.retain(|(name, _)| names[..4].iter().all(|(needed, _)| name != needed));
                    fields.extend(needed());
                }
                fields.extend(critical);
                fields
            },
        )
    }

    proptest! {
        #[test]
        fn the_same_item_as_by_serde(fields in any_item()) {
            let serde = ResultItem::deserialize(Node::Map(fields.clone())).ok();
            prop_assert_eq!(ResultItem::of(Node::Map(fields)).ok(), serde);
        }

        #[test]
        fn the_same_time_as_by_chrono(
            day in "[0-9]{4}-[01][0-9]-[0-3][0-9]",
            time in "[0-2][0-9]:[0-6][0-9]:[0-6][0-9]",
            offset in "[+-][0-2][0-9]:[0-6][0-9]",
        ) {
            let text = format!("{day}T{time}{offset}");
            if let Some(time) = usual_time(&text) {
                prop_assert_eq!(DateTime::parse_from_rfc3339(&text), Ok(time));
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let text = "2026-11-22T08:00:05+08:00";
        assert_eq!(usual_time(text), DateTime::parse_from_rfc3339(text).ok());
        assert_eq!(usual_time("2026-11-22T08:00:05.5+08:00"), None);
    }
}
