//! How each stream stands, in one word and one sentence.
//!
//! A pure function of what is known of a stream: what its task does, what it received, what was expected, what is
//! usual, and what a probe of its source found.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::calendar::Calendar;
use super::health::{Level, Reason, spoken, spoken_zh};
use super::probes::Probed;
use super::silence::{self, History, Overdue, Unusual, ago};
use crate::config::Expect;
use crate::intake::{StreamState, StreamStatus};

/// One failure may be a blip; so many in a row are none.
const NO_BLIP: u32 = 3;

/// A round that lasts longer than this is told.
const LONG_ROUND: Duration = Duration::from_secs(30 * 60);

/// A stream that is due for so long is not asked.
const OVERDUE: Duration = Duration::from_secs(10 * 60);

/// The source's newest row may be so much newer than what was read.
const LAG: TimeDelta = TimeDelta::minutes(15);

/// Clocks may differ by so much (two minutes).
const CLOCK_MS: u64 = 120_000;

/// A probe says something of a silence for so long.
const LOOK_LASTS: Duration = Duration::from_secs(3600);

/// After a start, senders need so long to come back: no silence is judged before.
pub const WARM_UP: Duration = Duration::from_secs(10 * 60);

/// How a stream stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It is read, and gives what it should.
    Healthy,
    /// Nothing comes, and nothing should.
    QuietAsExpected,
    /// Nothing comes, and something should.
    QuietAndSuspicious,
    /// The source has more than was read.
    Behind,
    /// It can't be read; hisync tries again.
    Failing,
    /// It needs a person.
    Stopped,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 6] = [
        Standing::Healthy,
        Standing::QuietAsExpected,
        Standing::QuietAndSuspicious,
        Standing::Behind,
        Standing::Failing,
        Standing::Stopped,
    ];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Healthy => "healthy",
            Standing::QuietAsExpected => "quiet-as-expected",
            Standing::QuietAndSuspicious => "quiet-and-suspicious",
            Standing::Behind => "behind",
            Standing::Failing => "failing",
            Standing::Stopped => "stopped",
        }
    }
}

/// How a stream stands, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamHealth {
    /// In one word.
    pub standing: Standing,
    /// Since when, UTC, where that is known.
    pub since: Option<DateTime<Utc>>,
    /// Why, one sentence.
    pub text: String,
    /// The same in Chinese.
    pub text_zh: String,
    /// What to do next; empty where there is nothing to do.
    pub next: String,
    /// The same in Chinese.
    pub next_zh: String,
    /// The code of the reason that counts against the agent's health; `None` where nothing does.
    pub code: Option<&'static str>,
}

/// What is known of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What its task does.
    pub status: &'a StreamStatus,
    /// When the last new or resent record came.
    pub last_received_at: Option<DateTime<Utc>>,
    /// Up to which time of the source it was read, where its watermark is a time.
    pub read_to: Option<NaiveDateTime>,
    /// When silence is a failure.
    pub expect: Option<&'a Expect>,
    /// Days off and working weekends.
    pub calendar: &'a Calendar,
    /// What the hours of the last weeks gave.
    pub history: Option<&'a History>,
    /// What the last probe of its source found.
    pub probe: Option<&'a Probed>,
    /// When the agent started.
    pub started_at: DateTime<Utc>,
    /// The hospital's time zone.
    pub zone: Tz,
    /// The time.
    pub now: DateTime<Utc>,
}

/// How a stream stands.
pub fn judge(facts: &Facts<'_>) -> StreamHealth {
    match reason(facts) {
        Some((standing, reason)) => StreamHealth {
            standing,
            since: reason.since,
            text: reason.text,
            text_zh: reason.text_zh,
            next: reason.next,
            next_zh: reason.next_zh,
            code: Some(reason.code),
        },
        None => in_order(facts),
    }
}

/// What is wrong with a stream, if anything is; the worst alone.
pub fn reason(facts: &Facts<'_>) -> Option<(Standing, Reason)> {
    let found = task(facts).or_else(|| behind(facts)).or_else(|| silent(facts));
    found.map(|(standing, reason)| (standing, Reason { subject: format!("stream {}", facts.status.id), ..reason }))
}

/// Whether silence can't be judged yet: an earlier judgement stands meanwhile.
pub fn is_undecided(facts: &Facts<'_>) -> bool {
    let unread = facts.status.state == StreamState::Starting || facts.status.last_attempt_at.is_none();
    let pushed = facts.status.mode == connector_api::Mode::Push;
    ago(facts.now, facts.started_at) < WARM_UP && (pushed || unread)
}

fn task(facts: &Facts<'_>) -> Option<(Standing, Reason)> {
    let status = facts.status;
    let (standing, code, level) = match status.state {
        StreamState::Failing if status.failures < NO_BLIP => (Standing::Failing, "stream-failing", Level::Attention),
        StreamState::Failing => (Standing::Failing, "stream-failing", Level::Failing),
        StreamState::Stopped => (Standing::Stopped, "stream-stopped", Level::Failing),
        StreamState::Paused => (Standing::Stopped, "stream-paused", Level::Failing),
        // A round is under way after a failure: it fails until one ends well.
        StreamState::Reading | StreamState::Starting if status.failures >= NO_BLIP => {
            (Standing::Failing, "stream-failing", Level::Failing)
        }
        _ => return None,
    };
    let failure = status.failure.as_ref()?;
    let reason = Reason::new(code, "").level(level).since(status.last_success_at.or(Some(failure.at)));
    let (title_zh, next_zh) = (reason.text_zh.clone(), reason.next_zh.clone());
    let text_zh = match status.failures {
        0 | 1 => format!("{title_zh}：{}", failure.message),
        n => format!("{title_zh}，已连续 {n} 次：{}", failure.message),
    };
    let next = failure.hint.clone().unwrap_or_else(|| reason.next.clone());
    let next_zh = failure.hint.clone().map_or(next_zh, |hint| format!("{hint}（{}）", reason.next_zh));
    Some((standing, reason.says(failure.message.clone(), text_zh).next(next, next_zh)))
}

fn behind(facts: &Facts<'_>) -> Option<(Standing, Reason)> {
    let Facts { status, now, .. } = *facts;
    let of = |since, text: String, text_zh: String| {
        Some((Standing::Behind, Reason::new("stream-behind", "").since(since).says(text, text_zh)))
    };
    let begun = status.last_attempt_at.filter(|_| status.state == StreamState::Reading);
    if let Some(begun) = begun.filter(|begun| ago(now, *begun) > LONG_ROUND) {
        let lasts = ago(now, begun);
        let text = format!("a round of reading has been under way for {}", spoken(lasts));
        return of(Some(begun), text, format!("一轮读取已进行 {}", spoken_zh(lasts)));
    }
    let due = status.next_at.filter(|_| status.state == StreamState::Waiting);
    if let Some(due) = due.filter(|due| ago(now, *due) > OVERDUE) {
        let late = ago(now, due);
        let text = format!("it was due to be read {} ago and was not", spoken(late));
        return of(Some(due), text, format!("应在 {}前读取，至今没有", spoken_zh(late)));
    }
    let (read_to, probe) = (facts.read_to?, facts.probe?);
    let newest = probe.newest_at.filter(|newest| *newest > read_to + LAG)?;
    // A whole round after the probe should have come so far; and no row of the future is asked for.
    let source_now = probe.at + TimeDelta::milliseconds(probe.clock_difference_ms.unwrap_or(0));
    let present = source_now.with_timezone(&facts.zone).naive_local();
    if status.last_attempt_at.is_none_or(|began| began <= probe.at)
        || status.last_success_at.is_none_or(|ended| ended <= probe.at)
        || newest > present
    {
        return None;
    }
    of(
        Some(probe.at),
        format!("the source has rows up to {newest}, and was read up to {read_to} only"),
        format!("来源最新一行是 {newest}，只读到 {read_to}"),
    )
}

fn silent(facts: &Facts<'_>) -> Option<(Standing, Reason)> {
    if is_undecided(facts) {
        return None;
    }
    let Facts { calendar, zone, now, .. } = *facts;
    let today = now.with_timezone(&zone).date_naive();
    let last = facts.last_received_at;
    let overdue = facts.expect.and_then(|expect| Some((expect, silence::overdue(expect, calendar, zone, last, now)?)));
    let reason = match overdue {
        Some((expect, overdue)) => by_hours(expect, overdue, facts),
        // The configured hours are a person's word; what is usual is asked where they say nothing.
        None => {
            let unusual = silence::unusual(facts.history?, calendar, zone, last?, now)?;
            let (text, text_zh) = (unusual.text(today), unusual.text_zh(today));
            Reason::new("stream-unusual", "").since(began(&unusual, zone)).says(text, text_zh)
        }
    };
    let (seen, seen_zh) = seen(facts);
    let (text, text_zh) = (format!("{}{seen}", reason.text), format!("{}{seen_zh}", reason.text_zh));
    Some((Standing::QuietAndSuspicious, reason.says(text, text_zh)))
}

fn by_hours(expect: &Expect, overdue: Overdue, facts: &Facts<'_>) -> Reason {
    let silent = ago(facts.now, overdue.since);
    let hours = format!("{}-{}", expect.between.0.format("%H:%M"), expect.between.1.format("%H:%M"));
    let (text, text_zh) = match overdue.open {
        true => (
            format!("nothing new for {} in its expected hours ({hours})", spoken(silent)),
            format!("规定时段（{hours}）内已 {} 没有新数据", spoken_zh(silent)),
        ),
        false => {
            let since = overdue.since.with_timezone(&facts.zone).format("%m-%d %H:%M");
            (
                format!("nothing new since {since}: its expected hours ({hours}) closed without it"),
                format!("自 {since} 起没有新数据，规定时段（{hours}）已过"),
            )
        }
    };
    Reason::new("stream-silent", "").since(overdue.since).says(text, text_zh)
}

/// Since when it is unusual: the beginning of the first hour without a record.
fn began(unusual: &Unusual, zone: Tz) -> Option<DateTime<Utc>> {
    let local = unusual.day.and_hms_opt(unusual.from_hour, 0, 0)?;
    Some(local.and_local_timezone(zone).earliest()?.to_utc())
}

/// What the probe says of a silence: whether nothing happened, or nothing is seen.
fn seen(facts: &Facts<'_>) -> (String, String) {
    // An older look says nothing of now.
    let Some(probe) = facts.probe.filter(|probe| ago(facts.now, probe.at) < LOOK_LASTS) else {
        return (String::new(), String::new());
    };
    if let Some(failure) = &probe.failure {
        return (
            format!("; and its source can't be looked at: {}", failure.message),
            format!("；并且查看来源失败：{}", failure.message),
        );
    }
    let read = |newest: NaiveDateTime| facts.read_to.is_some_and(|to| newest <= to + LAG);
    match &probe.newest {
        Some(newest) if probe.newest_at.is_none_or(|at| !read(at)) => (
            format!("; its source can be read, its newest row says {newest}"),
            format!("；来源可以读取，最新一行写着 {newest}"),
        ),
        Some(newest) => (
            format!("; its source can be read and has nothing newer than {newest}: nothing is written there"),
            format!("；来源可以读取，最新一行是 {newest}：来源本身没有新数据"),
        ),
        None => ("; its source can be read".to_owned(), "；来源可以读取".to_owned()),
    }
}

fn in_order(facts: &Facts<'_>) -> StreamHealth {
    let Facts { status, calendar, zone, now, .. } = *facts;
    let of = |standing, text: String, text_zh: String| StreamHealth {
        standing,
        since: None,
        text,
        text_zh,
        next: String::new(),
        next_zh: String::new(),
        code: None,
    };
    if status.state == StreamState::Starting && status.rounds == 0 {
        let (text, text_zh) = ("it starts, and was not read yet", "刚启动，还没有读取");
        return of(Standing::QuietAsExpected, text.to_owned(), text_zh.to_owned());
    }
    let Some(last) = facts.last_received_at else {
        let (text, text_zh) = ("it can be read, and has given nothing yet", "可以读取，还没有数据");
        return of(Standing::QuietAsExpected, text.to_owned(), text_zh.to_owned());
    };
    let silent = ago(now, last);
    let (age, age_zh) = (spoken(silent), spoken_zh(silent));
    let fresh = facts.expect.map_or(Duration::from_secs(3600), |expect| expect.within);
    if silent <= fresh {
        return of(Standing::Healthy, format!("the last record came {age} ago"), format!("最近一条记录在 {age_zh}前"));
    }
    if status.mode == connector_api::Mode::Snapshot {
        let text = format!("it is read; nothing of the catalogue changed for {age}");
        return of(Standing::Healthy, text, format!("读取正常，目录已 {age_zh}没有变化"));
    }
    let today = now.with_timezone(&zone).date_naive();
    let (why, why_zh) = match facts.expect {
        _ if calendar.is_off(today) => ("today is a day off", "今天放假"),
        Some(expect) if !silence::is_expected_now(expect, calendar, zone, now) => {
            ("outside of its expected hours", "不在规定时段内")
        }
        Some(_) => ("its expected hours began lately", "规定时段刚开始"),
        None => ("no hours are configured in which it must not be", "没有配置必须有数据的时段"),
    };
    of(Standing::QuietAsExpected, format!("nothing new for {age}: {why}"), format!("已 {age_zh}没有新数据：{why_zh}"))
}

/// Whether a source's clock differs from ours, by its probes.
pub fn clock(source: &str, probes: &[&Probed]) -> Option<Reason> {
    let latest = probes.iter().filter(|probe| probe.clock_difference_ms.is_some()).max_by_key(|probe| probe.at)?;
    let millis = latest.clock_difference_ms?;
    (millis.unsigned_abs() > CLOCK_MS).then(|| {
        let (by, by_zh) = (Duration::from_millis(millis.unsigned_abs()), millis > 0);
        Reason::new("source-clock", format!("source {source}")).since(latest.at).says(
            format!("its clock is {} {} this machine's", spoken(by), if millis > 0 { "ahead of" } else { "behind" }),
            format!("它的时钟比本机{} {}", if by_zh { "快" } else { "慢" }, spoken_zh(by)),
        )
    })
}

/// A source none of whose streams can be reached: one reason that explains theirs.
pub fn source_down(source: &str, streams: &[&StreamStatus]) -> Option<Reason> {
    let away = ["unreachable", "name-resolution", "timeout", "tls", "login", "protocol"];
    let down = |stream: &&StreamStatus| {
        let failing = stream.failures >= NO_BLIP || stream.state == StreamState::Stopped;
        stream.failure.as_ref().filter(|failure| failing && away.contains(&failure.class.as_str())).cloned()
    };
    let failures: Option<Vec<_>> = streams.iter().map(down).collect();
    let failures = failures.filter(|failures| failures.len() > 1)?;
    let first = failures.iter().min_by_key(|failure| failure.at)?;
    let since = streams.iter().filter_map(|stream| stream.last_success_at).max().unwrap_or(first.at);
    let n = failures.len();
    Some(Reason::new("source-down", format!("source {source}")).since(since).says(
        format!("none of its {n} streams can be read ({}): {}", first.class, first.message),
        format!("它的 {n} 个数据流都读不了（{}）：{}", first.class, first.message),
    ))
}

#[cfg(test)]
mod tests;
