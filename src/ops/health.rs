//! Whether the sync is healthy, in one verdict and sentences that say what to do next.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Nothing to do.
    #[default]
    Ok,
    /// A person should look today.
    Attention,
    /// A person should look now.
    Failing,
}

impl Level {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Attention => "attention",
            Level::Failing => "failing",
        }
    }
}

/// One reason why the verdict is not `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// What kind of reason it is, a stable word: `stream-failing`, `upstream-down`, `held`…
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// Since when, UTC, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// What it is about: `stream peis/reports`, `upstream`, `disk`.
    pub subject: String,
    /// What is wrong, one sentence.
    pub text: String,
    /// What to do next, one sentence.
    pub next: String,
    /// What is wrong, in Chinese.
    pub text_zh: String,
    /// What to do next, in Chinese.
    pub next_zh: String,
    /// The [key](Reason::key) of the reason that explains this one, where one does.
    pub cause: Option<String>,
}

/// The verdict with its reasons, the worst first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The worst level of all reasons.
    pub level: Level,
    /// Why.
    pub reasons: Vec<Reason>,
}

impl Health {
    /// Sorts the reasons, says which explains which, and takes the worst level.
    pub fn of(mut reasons: Vec<Reason>) -> Health {
        super::reasons::explain(&mut reasons);
        reasons.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.subject.cmp(&b.subject)));
        Health { level: reasons.first().map_or(Level::Ok, |reason| reason.level), reasons }
    }
}

/// A duration as a person says it: `3 h 20 min`, `45 s`.
pub fn spoken(duration: Duration) -> String {
    let secs = duration.as_secs();
    match (secs / 86_400, secs / 3600 % 24, secs / 60 % 60) {
        (0, 0, 0) => format!("{secs} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// The same in Chinese: `3 小时 20 分`.
pub fn spoken_zh(duration: Duration) -> String {
    let words = [(" min", " 分钟"), (" s", " 秒"), (" h", " 小时"), (" d", " 天")];
    words.iter().fold(spoken(duration), |text, (en, zh)| text.replace(en, zh))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        let spoken = |secs| spoken(Duration::from_secs(secs));
        assert_eq!(
            [spoken(45), spoken(600), spoken(12_000), spoken(90_000)],
            ["45 s", "10 min", "3 h 20 min", "1 d 1 h"]
        );
    }
}
