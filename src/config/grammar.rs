//! The small grammars of configuration values: durations, hours, days, schedules, zones, ids.
//!
//! Each is a type that reads itself from text; its JSON Schema `format` lets the file checker find
//! the same reader, so that a bad value is reported at its place together with everything else.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveTime;
use chrono_tz::Tz;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::diagnose::nearest;

/// Why a text does not fit its grammar.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Misfit {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Misfit {
    fn new(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Misfit {
        Misfit { code, message: message.into(), hint: Some(hint.into()) }
    }
}

/// A text type: its schema names a format, its reader is `FromStr`.
macro_rules! text_types {
    ($($name:ident = $format:literal, $example:literal;)*) => {
        $(
            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                }
            }

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({ "type": "string", "format": $format, "examples": [$example] })
                }
            }
        )*

        /// Checks a text against the grammar that a schema's `format` names; formats that are not
        /// ours fit everything.
        pub(crate) fn fits(format: &str, text: &str) -> Result<(), Misfit> {
            match format {
                $($format => text.parse::<$name>().map(drop),)*
                "uri" => url::Url::parse(text).map(drop).map_err(|cause| {
                    let hint = "write it whole: \"https://host/path\"";
                    Misfit::new("bad-url", format!("{text:?} is no URL: {cause}"), hint)
                }),
                "socket-address" => text.parse::<std::net::SocketAddr>().map(drop).map_err(|_| {
                    Misfit::new(
                        "bad-address",
                        format!("{text:?} is no socket address"),
                        "write an IP address and a port: \"127.0.0.1:8686\"",
                    )
                }),
                _ => Ok(()),
            }
        }
    };
}

text_types! {
    Id = "hisync-id", "peis";
    Lasting = "hisync-duration", "2h";
    Hours = "hisync-hours", "08:30-17:30";
    Days = "hisync-days", "Mon-Sat";
    Cron = "hisync-cron", "0 */5 6-20 * * *";
    Zone = "hisync-timezone", "Asia/Shanghai";
}

/// An id: in event sources, file names and metrics, so its characters are few.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id(pub(crate) String);

impl FromStr for Id {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Id, Misfit> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let sound =
            text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed);
        let hint = "use 1 to 64 ASCII letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
        if sound {
            Ok(Id(text.to_owned()))
        } else {
            Err(Misfit::new("bad-id", format!("{text:?} can't be an id"), hint))
        }
    }
}

/// A length of time: a whole number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lasting(pub(crate) Duration);

impl FromStr for Lasting {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Lasting, Misfit> {
        let misfit = || {
            let message = format!("{text:?} is no length of time");
            Misfit::new("bad-duration", message, "write a whole number and s, m, h or d: \"15m\", \"2h\", \"30d\"")
        };
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(misfit()),
        };
        let digits = &text[..text.len() - 1];
        let count = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u32>().ok()).flatten();
        match count {
            Some(0) => Err(Misfit::new("bad-duration", format!("{text:?} is no time at all"), "write at least 1")),
            Some(count) => Ok(Lasting(Duration::from_secs(u64::from(count) * unit))),
            None => Err(misfit()),
        }
    }
}

/// A part of the day, from and to; to the end of the day is `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hours(pub(crate) NaiveTime, pub(crate) NaiveTime);

impl Hours {
    /// The whole day; `24:00` is its last second, because the type has no time after it.
    pub(crate) fn whole_day() -> Hours {
        let last = NaiveTime::from_num_seconds_from_midnight_opt(86_399, 0).unwrap_or_default();
        Hours(NaiveTime::MIN, last)
    }
}

impl FromStr for Hours {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Hours, Misfit> {
        let misfit = |what: &str| {
            Misfit::new("bad-hours", format!("{text:?} {what}"), "write from and to as HH:MM-HH:MM: \"08:30-17:30\"")
        };
        let time = |text: &str| match text.trim() {
            "24:00" => Some(Hours::whole_day().1),
            other if other.len() == 5 => NaiveTime::parse_from_str(other, "%H:%M").ok(),
            _ => None,
        };
        let (from, to) = text.split_once('-').ok_or_else(|| misfit("is no part of the day"))?;
        match (time(from), time(to)) {
            (Some(from), Some(to)) if from < to => Ok(Hours(from, to)),
            (Some(_), Some(_)) => Err(misfit("ends before it begins")),
            _ => Err(misfit("is no part of the day")),
        }
    }
}

/// Days of the week, Monday first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days(pub(crate) [bool; 7]);

const DAY_NAMES: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl FromStr for Days {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Days, Misfit> {
        let day = |name: &str| {
            DAY_NAMES.iter().position(|day| day.eq_ignore_ascii_case(name.trim())).ok_or_else(|| {
                let message = format!("{:?} is no day of the week", name.trim());
                Misfit::new(
                    "bad-days",
                    message,
                    "write Mon, Tue, Wed, Thu, Fri, Sat, Sun: \"Mon-Sat\" or \"Mon,Wed,Fri\"",
                )
            })
        };
        let mut days = [false; 7];
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (mut at, last) = (day(first)?, day(last)?);
            days[at] = true;
            while at != last {
                at = (at + 1) % 7;
                days[at] = true;
            }
        }
        Ok(Days(days))
    }
}

/// A cron schedule with seconds, in the hospital's time zone.
#[derive(Clone, Debug)]
pub(crate) struct Cron(pub(crate) cron::Schedule);

impl FromStr for Cron {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Cron, Misfit> {
        let fields = text.split_whitespace().count();
        if !text.starts_with('@') && !(6..=7).contains(&fields) {
            let hint = match fields {
                5 => format!("seconds come first: \"0 {text}\""),
                _ => "six fields: second minute hour day month weekday, e.g. \"0 */5 6-20 * * *\"".to_owned(),
            };
            return Err(Misfit::new("bad-schedule", format!("{text:?} has {fields} fields instead of six"), hint));
        }
        let hint = "six fields: second minute hour day month weekday (1 or Sun is Sunday), e.g. \"0 */5 6-20 * * *\"";
        match text.parse::<cron::Schedule>() {
            // A day that no month has would never fire: worse than an error, because nobody notices.
            Ok(schedule) if schedule.after(&chrono::DateTime::UNIX_EPOCH).next().is_none() => {
                Err(Misfit::new("bad-schedule", format!("{text:?} never comes"), hint))
            }
            Ok(schedule) => Ok(Cron(schedule)),
            Err(_) => Err(Misfit::new("bad-schedule", format!("{text:?} is no schedule"), hint)),
        }
    }
}

/// A time zone of the IANA database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Zone(pub(crate) Tz);

impl FromStr for Zone {
    type Err = Misfit;

    fn from_str(text: &str) -> Result<Zone, Misfit> {
        text.parse::<Tz>().map(Zone).map_err(|_| {
            let near = nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            let hint = match near {
                Some(name) => format!("did you mean {name:?}?"),
                None => "use a name of the IANA database, e.g. \"Asia/Shanghai\"".to_owned(),
            };
            Misfit::new("bad-timezone", format!("{text:?} is no time zone"), hint)
        })
    }
}

#[cfg(test)]
mod tests;
