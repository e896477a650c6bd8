//! Switches: what a person on call may change while the agent runs, for a while and for a reason.
//!
//! A switch differs from the configuration in three ways: it takes effect at once, it ends by itself, and the audit log
//! says who set it and why. What is to stay belongs into the configuration.
//!
//! To add one: a constant and its line in [`ALL`], the place that asks for it, and its line in `docs/operate.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use crate::clock::Clock;

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);

/// What a switch may be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Kind {
    /// `on` or `off`.
    Bool,
    /// A whole number.
    Integer {
        /// The least.
        least: i64,
        /// The most.
        most: i64,
    },
    /// A length of time: a whole number and `s`, `m`, `h` or `d`.
    Duration {
        /// The longest, in seconds.
        most_secs: u64,
    },
    /// One of these words.
    Text {
        /// The words.
        words: &'static [&'static str],
    },
}

/// What a switch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The whole agent.
    Agent,
    /// A source, a stream (`source/stream`), or all of them.
    Source,
}

/// A switch, as it is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Switch {
    /// The stable name.
    pub name: &'static str,
    /// What it may be set to.
    pub kind: Kind,
    /// What holds while nobody sets it.
    pub default: &'static str,
    /// What it is about.
    pub scope: Scope,
    /// Who answers for its use: `on-call` or `hospital` (to be agreed with the hospital first).
    pub owner: &'static str,
    /// The longest time for which it can be set, in seconds.
    pub longest_secs: u64,
    /// What it does, in English.
    pub title: &'static str,
    /// What it does, in Chinese.
    pub title_zh: &'static str,
}

/// Nothing of a source or stream is taken in; what is sent is asked to come again later. Nothing is lost.
pub const PAUSE_INTAKE: Switch = Switch {
    name: "pause-intake",
    kind: Kind::Bool,
    default: "off",
    scope: Scope::Source,
    owner: "on-call",
    longest_secs: 7 * DAY.as_secs(),
    title: "takes nothing in from a source or stream; senders are asked to come again",
    title_zh: "暂停接收某个来源或数据流；对方会被要求稍后重发，不会丢数据",
};

/// A source is asked no more often than this.
pub const POLL_INTERVAL: Switch = Switch {
    name: "poll-interval",
    kind: Kind::Duration { most_secs: DAY.as_secs() },
    default: "as scheduled",
    scope: Scope::Source,
    owner: "hospital",
    longest_secs: 30 * DAY.as_secs(),
    title: "lets at least so much time pass between two readings of a stream",
    title_zh: "两次读取之间至少间隔这么久（医院数据库繁忙时减轻负担）",
};

/// Events wait in the outbox.
pub const HOLD_DELIVERIES: Switch = Switch {
    name: "hold-deliveries",
    kind: Kind::Bool,
    default: "off",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: 7 * DAY.as_secs(),
    title: "sends nothing upstream, critical values included; events wait in the outbox",
    title_zh: "暂停向上游发送（包括危急值）；事件在发件箱中等待",
};

/// At most so many events in a batch.
pub const DELIVERY_BATCH: Switch = Switch {
    name: "delivery-batch",
    kind: Kind::Integer { least: 1, most: 10_000 },
    default: "as configured",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: 30 * DAY.as_secs(),
    title: "sends at most so many events in a batch, where the configuration allows more",
    title_zh: "每批最多发送这么多事件（不超过配置值）",
};

/// At most so many batches on their way at once.
pub const DELIVERY_PARALLEL: Switch = Switch {
    name: "delivery-parallel",
    kind: Kind::Integer { least: 1, most: 32 },
    default: "as configured",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: 30 * DAY.as_secs(),
    title: "sends at most so many batches at once, where the configuration allows more",
    title_zh: "同时最多发送这么多批（不超过配置值）",
};

/// Nothing is given up.
pub const PAUSE_RETENTION: Switch = Switch {
    name: "pause-retention",
    kind: Kind::Bool,
    default: "off",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: 30 * DAY.as_secs(),
    title: "gives up nothing that is outlived: what an inquiry needs stays",
    title_zh: "暂停清理过期数据：调查期间保留全部记录",
};

/// No alert is sent.
pub const MUTE_ALERTS: Switch = Switch {
    name: "mute-alerts",
    kind: Kind::Bool,
    default: "off",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: DAY.as_secs(),
    title: "sends no alert; what lasts when it ends is told then",
    title_zh: "不发送任何告警；结束时仍存在的问题会再告知",
};

/// How much is logged.
pub const LOG_LEVEL: Switch = Switch {
    name: "log-level",
    kind: Kind::Text { words: &["error", "warn", "info", "debug", "trace"] },
    default: "as started",
    scope: Scope::Agent,
    owner: "on-call",
    longest_secs: 24 * HOUR.as_secs(),
    title: "logs more or less than the agent was started with",
    title_zh: "调整日志详细程度",
};

/// All of them.
pub const ALL: &[Switch] = &[
    PAUSE_INTAKE,
    POLL_INTERVAL,
    HOLD_DELIVERIES,
    DELIVERY_BATCH,
    DELIVERY_PARALLEL,
    PAUSE_RETENTION,
    MUTE_ALERTS,
    LOG_LEVEL,
];

/// A switch by its name.
pub fn of(name: &str) -> Option<&'static Switch> {
    ALL.iter().find(|switch| switch.name == name)
}

/// Why a switch can't be set like this. In words for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no such switch.
    #[error("there is no switch {0:?}; `hisync switch list` shows them")]
    Unknown(String),
    /// The value is none that it takes.
    #[error("{name} is set to {expected}, not {given:?}")]
    Value {
        /// The switch.
        name: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        given: String,
    },
    /// It is about the whole agent.
    #[error("{0} is about the whole agent, not about one source")]
    Whole(&'static str),
    /// Its end is not after now, or too far away.
    #[error("say until when {name} is set: at most {longest} from now; what is to stay belongs into the configuration")]
    Until {
        /// The switch.
        name: &'static str,
        /// The longest time.
        longest: String,
    },
    /// Nobody is named, or no reason.
    #[error("say who acts and why: the audit log keeps both")]
    Unsigned,
}

/// A whole number and `s`, `m`, `h` or `d`.
pub fn lasting(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = &text[..text.len() - unit.len_utf8()];
    let n: u64 = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()?;
    n.checked_mul(secs).map(Duration::from_secs)
}

/// A length of time as it is written, in the largest unit that fits.
pub fn written(length: Duration) -> String {
    let secs = length.as_secs();
    match secs {
        secs if secs >= 86_400 && secs.is_multiple_of(86_400) => format!("{}d", secs / 86_400),
        secs if secs >= 3600 && secs.is_multiple_of(3600) => format!("{}h", secs / 3600),
        secs if secs >= 60 && secs.is_multiple_of(60) => format!("{}m", secs / 60),
        secs => format!("{secs}s"),
    }
}

impl Switch {
    /// The value in its usual form.
    ///
    /// # Errors
    ///
    /// The value is none that this switch takes.
    pub fn value(&self, given: &str) -> Result<String, Misfit> {
        let given = given.trim();
        let misfit = |expected: String| Misfit::Value { name: self.name, expected, given: given.to_owned() };
        match self.kind {
            Kind::Bool => match given {
                "on" | "true" | "yes" => Ok("on".to_owned()),
                "off" | "false" | "no" => Ok("off".to_owned()),
                _ => Err(misfit("on or off".to_owned())),
            },
            Kind::Integer { least, most } => match given.parse::<i64>() {
                Ok(n) if (least..=most).contains(&n) => Ok(n.to_string()),
                _ => Err(misfit(format!("a whole number from {least} to {most}"))),
            },
            Kind::Duration { most_secs } => match lasting(given) {
                Some(length) if (1..=most_secs).contains(&length.as_secs()) => Ok(written(length)),
                _ => {
                    let most = written(Duration::from_secs(most_secs));
                    Err(misfit(format!("a length of time from 1s to {most} (such as 90s, 15m, 2h)")))
                }
            },
            Kind::Text { words } => match words.iter().find(|word| **word == given) {
                Some(word) => Ok((*word).to_owned()),
                None => Err(misfit(format!("one of {}", words.join(", ")))),
            },
        }
    }
}

/// A switch that somebody has set. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The switch's name.
    pub name: String,
    /// The source or stream that it is about; empty: all of them, or the whole agent.
    pub subject: String,
    /// Its value, in its usual form.
    pub value: String,
    /// When it was set.
    pub set_at: DateTime<Utc>,
    /// When it ends by itself.
    pub until: DateTime<Utc>,
    /// Who set it.
    pub who: String,
    /// Why.
    pub because: String,
}

impl Setting {
    /// Checks what somebody asks for.
    ///
    /// # Errors
    ///
    /// See [`Misfit`].
    pub fn new(
        name: &str,
        subject: Option<&str>,
        value: &str,
        until: DateTime<Utc>,
        (who, because): (&str, &str),
        now: DateTime<Utc>,
    ) -> Result<Setting, Misfit> {
        let switch = of(name).ok_or_else(|| Misfit::Unknown(name.to_owned()))?;
        let value = switch.value(value)?;
        let subject = subject.unwrap_or_default().trim();
        if switch.scope == Scope::Agent && !subject.is_empty() {
            return Err(Misfit::Whole(switch.name));
        }
        let longest = Duration::from_secs(switch.longest_secs);
        if !(until - now).to_std().is_ok_and(|left| !left.is_zero() && left <= longest) {
            return Err(Misfit::Until { name: switch.name, longest: written(longest) });
        }
        if who.trim().is_empty() || because.trim().is_empty() {
            return Err(Misfit::Unsigned);
        }
        Ok(Setting {
            name: switch.name.to_owned(),
            subject: subject.to_owned(),
            value,
            set_at: now,
            until,
            who: who.trim().to_owned(),
            because: because.trim().to_owned(),
        })
    }

    /// What the audit log calls it.
    pub fn place(&self) -> String {
        match self.subject.as_str() {
            "" => format!("switch/{}", self.name),
            subject => format!("switch/{}/{subject}", self.name),
        }
    }
}

/// The switches as they are now. Clones share them; one that has ended counts no more, whoever has noticed.
#[derive(Clone, Debug)]
pub struct Switches(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    set: Mutex<BTreeMap<(String, String), Setting>>,
    changed: watch::Sender<u64>,
    clock: Clock,
}

impl Switches {
    /// All of them as they are by default.
    pub fn new(clock: Clock) -> Switches {
        Switches(Arc::new(Inner { set: Mutex::default(), changed: watch::Sender::new(0), clock }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Setting>> {
        self.0.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is set, instead of whatever was.
    pub fn replace(&self, settings: Vec<Setting>) {
        let settings = settings.into_iter().map(|set| ((set.name.clone(), set.subject.clone()), set)).collect();
        *self.lock() = settings;
        self.0.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Tells of each change from now on, not of switches that end by themselves.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// What is set now, by name and subject.
    pub fn all(&self) -> Vec<Setting> {
        let now = self.0.clock.now();
        self.lock().values().filter(|set| set.until > now).cloned().collect()
    }

    /// What has ended and is still noted.
    pub fn ended(&self) -> Vec<Setting> {
        let now = self.0.clock.now();
        self.lock().values().filter(|set| set.until <= now).cloned().collect()
    }

    /// When the next one ends, ended ones included.
    pub fn next_end(&self) -> Option<DateTime<Utc>> {
        self.lock().values().map(|set| set.until).min()
    }

    /// What is set for a subject: for its stream, else for its source, else for all.
    fn setting(&self, switch: &Switch, subject: &str) -> Option<Setting> {
        let set = self.lock();
        if set.is_empty() {
            return None;
        }
        let now = self.0.clock.now();
        let source = subject.split('/').next().unwrap_or_default();
        [subject, source, ""].into_iter().find_map(|subject| {
            set.get(&(switch.name.to_owned(), subject.to_owned())).filter(|set| set.until > now).cloned()
        })
    }

    /// A switch of the whole agent that is on, with what is known of it.
    pub fn on(&self, switch: &Switch) -> Option<Setting> {
        self.on_for(switch, "")
    }

    /// A switch that is on for a source or stream, with what is known of it.
    pub fn on_for(&self, switch: &Switch, subject: &str) -> Option<Setting> {
        self.setting(switch, subject).filter(|set| set.value == "on")
    }

    /// A number that is set.
    pub fn number(&self, switch: &Switch) -> Option<usize> {
        self.setting(switch, "").and_then(|set| set.value.parse().ok())
    }

    /// A length of time that is set for a source or stream.
    pub fn length(&self, switch: &Switch, subject: &str) -> Option<Duration> {
        self.setting(switch, subject).and_then(|set| lasting(&set.value))
    }

    /// A word that is set.
    pub fn word(&self, switch: &Switch) -> Option<String> {
        self.setting(switch, "").map(|set| set.value)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn start() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn set(name: &str, subject: Option<&str>, value: &str, secs: i64) -> Result<Setting, Misfit> {
        Setting::new(name, subject, value, start() + TimeDelta::seconds(secs), ("wang", "night"), start())
    }

    #[test]
    fn names_are_said_once_and_every_default_is_what_holds_without_a_setting() {
        let mut names: Vec<&str> = ALL.iter().map(|switch| switch.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for switch in ALL {
            let chinese = switch.title_zh.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
            assert!(chinese && switch.longest_secs > 0, "{}", switch.name);
            assert!(switch.kind != Kind::Bool || switch.default == "off", "{}", switch.name);
        }
    }

    #[test]
    fn values_are_checked_and_written_in_one_form() {
        assert_eq!(PAUSE_INTAKE.value("true"), Ok("on".to_owned()));
        assert!(PAUSE_INTAKE.value("maybe").is_err());
        assert_eq!(DELIVERY_BATCH.value(" 20 "), Ok("20".to_owned()));
        assert!(DELIVERY_BATCH.value("0").is_err() && DELIVERY_BATCH.value("x").is_err());
        assert_eq!(POLL_INTERVAL.value("120s"), Ok("2m".to_owned()));
        for wrong in ["", "5", "m", "-5m", "2d", "0s", "九m", "99999999999999999999d"] {
            assert!(POLL_INTERVAL.value(wrong).is_err(), "{wrong}");
        }
        assert_eq!(LOG_LEVEL.value("debug"), Ok("debug".to_owned()));
        assert!(LOG_LEVEL.value("loud").unwrap_err().to_string().contains("error, warn, info"));
    }

    #[test]
    fn a_switch_needs_a_person_a_reason_and_an_end() {
        assert!(set("nothing", None, "on", 60).is_err());
        assert_eq!(set("hold-deliveries", Some("peis"), "on", 60), Err(Misfit::Whole("hold-deliveries")));
        assert!(set("hold-deliveries", None, "on", 0).is_err());
        assert!(set("mute-alerts", None, "on", 2 * 86_400).unwrap_err().to_string().contains("at most 1d"));
        let unsigned = Setting::new("mute-alerts", None, "on", start() + TimeDelta::hours(1), (" ", "x"), start());
        assert_eq!(unsigned, Err(Misfit::Unsigned));
    }

    #[test]
    fn the_nearest_setting_counts_and_ends_by_itself() {
        let clock = Clock::manual(start());
        let switches = Switches::new(clock.clone());
        let mut changes = switches.changes();
        changes.mark_unchanged();
        switches.replace(vec![
            set("pause-intake", None, "on", 60).unwrap(),
            set("pause-intake", Some("peis/reports"), "off", 30).unwrap(),
            set("poll-interval", Some("peis"), "15m", 60).unwrap(),
        ]);
        assert!(changes.has_changed().unwrap());
        assert!(switches.on_for(&PAUSE_INTAKE, "lab/reports").is_some());
        assert!(switches.on_for(&PAUSE_INTAKE, "peis/reports").is_none(), "this stream is let through");
        assert_eq!(switches.length(&POLL_INTERVAL, "peis/reports"), Some(Duration::from_secs(900)));
        assert_eq!(switches.length(&POLL_INTERVAL, "lab/reports"), None);
        clock.set(start() + TimeDelta::seconds(30));
        assert!(switches.on_for(&PAUSE_INTAKE, "peis/reports").is_some());
        assert_eq!(switches.ended().len(), 1);
        clock.set(start() + TimeDelta::seconds(60));
        assert!(switches.all().is_empty() && switches.on_for(&PAUSE_INTAKE, "lab/reports").is_none());
        assert_eq!(switches.next_end(), Some(start() + TimeDelta::seconds(30)));
    }
}
