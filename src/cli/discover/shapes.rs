//! What the values of a column look like, and whether they look like a person's.

use std::collections::BTreeSet;

use connector_api::Value;

use super::meanings::Shape;
use crate::mapping::readers::{citizen, date, flag, number, reference, result, text, unit};

/// The values of one column in a sample.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// As text, blanks at the ends taken off; empty ones left out.
    pub(super) texts: Vec<String>,
    /// How many rows there are.
    pub(super) rows: usize,
    /// The source types them as dates or times.
    typed_time: bool,
}

/// Whether values look as a field expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// They do, and this is what was seen.
    Yes(String),
    /// They don't.
    No(String),
    /// There is nothing to look at, or the field takes anything.
    Open(String),
}

/// Days that programs write for "none".
const SENTINELS: [&str; 8] =
    ["1900-01-01", "1899-12-30", "9999-12-31", "2099-12-31", "0001-01-01", "0000-00-00", "19000101", "99991231"];

/// Ways to write dates that need to be named.
const FORMATS: [&str; 9] = [
    "%Y%m%d%H%M%S",
    "%Y%m%d%H%M",
    "%Y.%m.%d",
    "%Y年%m月%d日",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "epoch_ms",
    "epoch_s",
];

impl Values {
    pub(super) fn of(values: impl Iterator<Item = Value>) -> Values {
        let mut all = Values::default();
        for value in values {
            all.rows += 1;
            let shown = match &value {
                Value::Text(text) => text::trim(text).to_owned(),
                Value::Decimal(decimal) => decimal.to_string(),
                Value::Integer(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Time(time) => {
                    all.typed_time = true;
                    time.to_string()
                }
                Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => String::new(),
            };
            if !shown.is_empty() {
                all.texts.push(shown);
            }
        }
        all
    }

    /// The distinct values, most of them codes; `None` where there are too many to be codes.
    pub(super) fn codes(&self) -> Option<BTreeSet<&str>> {
        let distinct: BTreeSet<&str> = self.texts.iter().map(String::as_str).collect();
        (distinct.len() <= 20 && distinct.iter().all(|code| code.chars().count() <= 12)).then_some(distinct)
    }

    /// The days among the values that mean none, as they are written.
    pub(super) fn sentinels(&self) -> BTreeSet<&str> {
        self.texts.iter().map(String::as_str).filter(|text| SENTINELS.iter().any(|day| text.starts_with(day))).collect()
    }

    fn share(&self, test: impl Fn(&str) -> bool) -> (usize, usize) {
        (self.texts.iter().filter(|text| test(text)).count(), self.texts.len())
    }

    /// The formats that every value but the sentinels can be read by; an empty list where none is needed.
    pub(super) fn formats(&self) -> Option<Vec<&'static str>> {
        let days: Vec<&str> =
            self.texts.iter().map(String::as_str).filter(|text| !self.sentinels().contains(text)).collect();
        let plausible = |text: &str, grammars: &[date::Grammar]| {
            date::read(&text::fold(text), grammars).is_some_and(date::Stamp::is_plausible)
        };
        if self.typed_time || days.iter().all(|text| plausible(text, &[])) {
            return Some(Vec::new());
        }
        let fitting: Vec<&str> = FORMATS
            .into_iter()
            .filter(|format| {
                date::Grammar::parse(format)
                    .is_ok_and(|grammar| days.iter().all(|text| plausible(text, std::slice::from_ref(&grammar))))
            })
            .collect();
        (!fitting.is_empty()).then_some(fitting)
    }

    /// Whether the values look as a field of that shape expects.
    pub(super) fn fit(&self, shape: Shape) -> Fit {
        if self.texts.is_empty() {
            return Fit::Open("the sample has no value".to_owned());
        }
        let all = |what: &str, test: &dyn Fn(&str) -> bool| {
            let (count, of) = self.share(test);
            // A few of a hundred may be wrong; the mapping will say which.
            if count * 20 >= of * 19 {
                Fit::Yes(format!("{count} of {of} values are {what}"))
            } else {
                Fit::No(format!("only {count} of {of} values are {what}"))
            }
        };
        match shape {
            Shape::Person => all("two to four Chinese characters or Latin words", &is_name),
            Shape::CitizenId => all("identity numbers with a good check digit", &is_citizen_id),
            Shape::Phone => all("telephone numbers", &is_phone),
            Shape::Code => all("short texts without blanks", &|text| {
                text.chars().count() <= 32 && !text.contains(char::is_whitespace) && date_only(text).is_none()
            }),
            Shape::Text => Fit::Open("any text fits".to_owned()),
            Shape::Date | Shape::Time => match self.formats() {
                Some(formats) if formats.is_empty() => Fit::Yes(format!("{} values are dates", self.texts.len())),
                Some(formats) if formats.len() == 1 => Fit::Yes(format!("every value reads as {}", formats[0])),
                Some(formats) => Fit::No(format!("the values can be read as {}", formats.join(" or as "))),
                None => Fit::No("the values are no dates that can be told".to_owned()),
            },
            Shape::Codes(_) | Shape::Switch => match self.codes() {
                Some(codes) => Fit::Yes(format!("{} different values in the sample", codes.len())),
                None => Fit::No("there are too many different values for codes".to_owned()),
            },
            Shape::Age => all("ages", &|text| number::age(&text::fold(text)).is_some_and(|age| age <= 999)),
            Shape::Count => all("whole numbers", &|text| number::integer(text).is_some()),
            Shape::Money => all("prices", &|text| {
                number::decimal(text).is_some() || number::money(text, number::Scale::Yuan).is_ok()
            }),
            Shape::Result => {
                let (read, of) = self.share(|text| !matches!(result::read(text), result::Reading::Text));
                Fit::Open(format!("{read} of {of} values are numbers, comparators, titres or words of results"))
            }
            Shape::Unit => {
                let (known, of) = self.share(|text| unit::ucum(text).is_some());
                match known * 2 >= of {
                    true => Fit::Yes(format!("{known} of {of} values are units that are certain")),
                    false => Fit::No(format!("only {known} of {of} values are units that are certain")),
                }
            }
            Shape::Range => {
                let reads = |text: &str| {
                    reference::read(text, &reference::Person::default())
                        .is_some_and(|range| range.low.is_some() || range.high.is_some())
                        || result::polarity(text).is_some()
                };
                let (read, of) = self.share(reads);
                match read * 2 >= of {
                    true => Fit::Yes(format!("{read} of {of} values are ranges")),
                    false => Fit::No(format!("only {read} of {of} values are ranges")),
                }
            }
            Shape::Bound => all("numbers", &|text| number::decimal(&text::fold(text)).is_some()),
            Shape::Flag => match self.codes() {
                Some(_) if self.are_flags() => Fit::Yes("every value is a flag that is certain".to_owned()),
                Some(_) => Fit::Open("not every value is a flag that is certain".to_owned()),
                None => Fit::No("there are too many different values for flags".to_owned()),
            },
        }
    }

    /// Whether each value is a flag that needs no code table.
    pub(super) fn are_flags(&self) -> bool {
        self.texts.iter().all(|text| flag::read(&text::fold(text)).is_some())
    }

    /// What the values are by their look alone, where that is beyond doubt.
    pub(super) fn certain_shape(&self) -> Option<Shape> {
        if self.texts.len() < 5 {
            return None;
        }
        [Shape::CitizenId, Shape::Phone].into_iter().find(|shape| matches!(self.fit(*shape), Fit::Yes(_)))
    }
}

fn date_only(text: &str) -> Option<()> {
    let delimited = text.len() >= 8 && text.contains(['-', '/']);
    (delimited && date::read(text, &[]).is_some()).then_some(())
}

fn is_name(text: &str) -> bool {
    let han = |c: char| ('\u{3400}'..='\u{9fff}').contains(&c) || ('\u{20000}'..='\u{3134f}').contains(&c) || c == '·';
    let count = text.chars().count();
    (text.chars().all(han) && (2..=4).contains(&count))
        || (text.chars().all(|c| han(c) || c.is_ascii_alphabetic() || " ^·.".contains(c)) && (2..=40).contains(&count))
}

pub(super) fn is_citizen_id(text: &str) -> bool {
    citizen::read(text).is_some_and(|citizen| citizen.checksum_ok == Some(true))
}

pub(super) fn is_phone(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let mobile = text.len() == 11 && digits == 11 && text.starts_with('1');
    mobile || (text.starts_with('0') && text.contains('-') && (10..=12).contains(&digits))
}

/// Whether a value looks like one that tells who somebody is, whatever its column is called.
pub(super) fn is_personal(text: &str) -> bool {
    let long_number = text.bytes().filter(u8::is_ascii_digit).count() >= 8 && !text.contains(['-', '/', ':', '.']);
    citizen::read(text).is_some() || is_phone(text) || long_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Values {
        Values::of(texts.iter().map(|text| Value::from(*text)))
    }

    #[test]
    fn shapes_are_told_by_values() {
        assert!(matches!(values(&["999999198806010018"; 5]).fit(Shape::CitizenId), Fit::No(_)));
        assert!(matches!(values(&["mmol/L", "g/L", "10^9/L", ""]).fit(Shape::Unit), Fit::Yes(_)));
        assert!(matches!(values(&["3.5-9.5", "<0.02", "阴性"]).fit(Shape::Range), Fit::Yes(_)));
        assert!(matches!(values(&["某某公司", "试点公司"]).fit(Shape::Unit), Fit::No(_)));
        assert!(matches!(values(&[]).fit(Shape::Date), Fit::Open(_)));
    }

    #[test]
    fn a_date_that_could_be_two_days_is_not_settled() {
        assert_eq!(values(&["2026-11-22", "1900-01-01"]).formats(), Some(Vec::new()));
        assert_eq!(values(&["03/04/2020"]).formats(), Some(vec!["%d/%m/%Y", "%m/%d/%Y"]));
        assert_eq!(values(&["23/04/2020"]).formats(), Some(vec!["%d/%m/%Y"]));
        assert_eq!(values(&["soon"]).formats(), None);
    }

    #[test]
    fn numbers_that_tell_who_somebody_is_are_personal_in_any_column() {
        for text in ["15400001111", "999999198806010019", "0301170001"] {
            assert!(is_personal(text), "{text}");
        }
        for text in ["3.5-9.5", "2026-11-22", "血糖", "12.5"] {
            assert!(!is_personal(text), "{text}");
        }
    }
}
