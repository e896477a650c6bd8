//! What of a report counts against the agent's health, each with its sentences.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::health::{Level, Reason, spoken, spoken_zh};
use super::probes::Probed;
use super::report::{Disk, Report, StreamReport};
use super::silence::ago;
use super::{TaskState, TaskStatus, standing};
use crate::delivery;
use crate::intake::{Gate, SourceStatus, StreamStatus};
use crate::model::WAITING;
use crate::store::{Ageing, Damage, Onboarding, Overview, Unreadable};

/// Undelivered for longer than this is worth a look, even if upstream seems to be there.
const OLD: Duration = Duration::from_secs(15 * 60);

/// Upstream's clock may differ by so many seconds: half of what its signatures bear.
const CLOCK_SECS: u64 = 150;

/// How long a panic is shown after the restart.
const BUG_IS_SHOWN: TimeDelta = TimeDelta::days(1);

/// What stops intake, or will.
pub(super) fn disk_reason(gate: &Gate, disk: &Disk) -> Option<Reason> {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    if let Some(closure) = gate.closed().filter(|closure| closure.code != "store-damaged") {
        let known = Reason::new(closure.code, closure.code);
        let text_zh = match closure.code {
            "disk" => format!(
                "磁盘只剩 {} MiB，低于下限 {} MiB，已停止接收",
                mib(disk.free_bytes.unwrap_or_default()),
                mib(disk.floor_bytes)
            ),
            _ => known.text_zh.clone(),
        };
        let next_zh = known.next_zh.clone();
        return Some(known.says(closure.text, text_zh).next(closure.next, next_zh));
    }
    let (free, floor) = (disk.free_bytes?, disk.floor_bytes);
    (free < floor.saturating_mul(2)).then(|| {
        Reason::new("disk-low", "disk").says(
            format!("{} MiB free on the store's disk; intake stops below {} MiB", mib(free), mib(floor)),
            format!("磁盘只剩 {} MiB；低于 {} MiB 就停止接收", mib(free), mib(floor)),
        )
    })
}

/// What concerns whole sources: none of their streams can be reached, their clock differs.
pub(super) fn source_reasons(streams: &[StreamReport]) -> Vec<Reason> {
    let mut sources: BTreeMap<&str, Vec<&StreamReport>> = BTreeMap::new();
    for stream in streams {
        let source = stream.status.id.as_str().split('/').next().unwrap_or_default();
        sources.entry(source).or_default().push(stream);
    }
    let of = |(source, streams): (&str, Vec<&StreamReport>)| {
        let statuses: Vec<&StreamStatus> = streams.iter().map(|stream| &stream.status).collect();
        let probes: Vec<&Probed> = streams.iter().filter_map(|stream| stream.probe.as_ref()).collect();
        [standing::source_down(source, &statuses), standing::clock(source, &probes)]
    };
    sources.into_iter().flat_map(of).flatten().collect()
}

pub(super) fn source_reason(source: &SourceStatus, now: DateTime<Utc>) -> Option<Reason> {
    if source.breaker.state == "closed" {
        return None;
    }
    let code = source.breaker.code.clone().unwrap_or_default();
    let away = source.breaker.since.map(|since| (now - since).to_std().unwrap_or_default()).unwrap_or_default();
    let reason = Reason::new("source-down", format!("source {}", source.id)).since(source.breaker.since);
    let again = format!("hisync sources reset {}", source.id);
    Some(match code.as_str() {
        "login" => reason
            .says(
                "it refuses the login: none of its streams asks it, so that the account is not locked",
                "来源拒绝登录：为避免锁定账号，暂停访问",
            )
            .next(
                format!("correct the account; hisync asks again by itself, at once after `{again}`"),
                format!("请核对账号；hisync 会自动再试，也可执行 {again} 立即再试。"),
            ),
        _ => reason
            .says(
                format!(
                    "it does not answer ({code}) for {}: its streams leave it alone, one probe at a time finds out",
                    spoken(away)
                ),
                format!("来源已 {} 没有应答（{code}）：数据流暂停访问，只做试探", spoken_zh(away)),
            )
            .next(
                format!("look at its network and its system; hisync asks again by itself, at once after `{again}`"),
                format!("请检查网络和来源系统；hisync 会自动再试，也可执行 {again} 立即再试。"),
            ),
    })
}

pub(super) fn onboarding_reason(waiting: &Onboarding) -> Reason {
    let reason = Reason::new("onboarding", format!("stream {}", waiting.stream)).since(waiting.since);
    match waiting.held_id {
        Some(id) => reason
            .says(
                "its first sample is not in order: its events are kept and not delivered",
                "首批样本没有通过检查：事件已保留，暂不发送",
            )
            .next(
                format!(
                    "`hisync held show {id}` says why; correct the mapping, or let it start: `hisync held release {id}`"
                ),
                format!("hisync held show {id} 会说明原因；请改正映射，或放行：hisync held release {id}。"),
            ),
        None => reason
            .says("new: its events are delivered once its first sample is judged", "新数据流：首批样本检查后开始发送")
            .next("nothing; the stream's `onboarding` says when that is", "无需处理；时间见数据流的 onboarding 配置。"),
    }
}

pub(super) fn upstream_reason(report: &Report) -> Option<Reason> {
    let breaker = &report.upstream.breaker;
    let waiting = report.store.outbox_depth;
    let next = |failure: Option<&delivery::LastFailure>| {
        let next = failure.map_or("see the log", |failure| failure.text).to_owned();
        let code = failure.map(|failure| failure.code.clone()).unwrap_or_default();
        let kind = super::reasons::of("upstream-down").map_or("", |kind| kind.next_zh);
        (next, format!("{kind}（{code}）"))
    };
    if breaker.state != "closed" {
        let code = breaker.code.clone().unwrap_or_default();
        let since = breaker.since.map(|since| ago(report.now, since));
        let (next, next_zh) = next(report.upstream.last_failure.as_ref());
        let text = format!(
            "delivery is paused ({code}) for {}; {waiting} events wait, all are kept",
            since.map_or_else(|| "a moment".to_owned(), spoken)
        );
        let lasts = since.map_or_else(|| "片刻".to_owned(), spoken_zh);
        let text_zh = format!("发送已暂停 {lasts}（{code}）；{waiting} 条事件在排队，全部保留");
        return Some(
            Reason::new("upstream-down", "upstream").since(breaker.since).says(text, text_zh).next(next, next_zh),
        );
    }
    let files = &report.upstream.attachments;
    if files.breaker.state != "closed" {
        let code = files.breaker.code.clone().unwrap_or_default();
        let (next, next_zh) = next(files.last_failure.as_ref());
        let reason = Reason::new("attachments-down", "upstream").since(files.breaker.since).says(
            format!("files are not taken ({code}): the events that name them wait, all are kept"),
            format!("上游不收文件（{code}）：引用它们的事件在排队，全部保留"),
        );
        return Some(reason.next(next, next_zh));
    }
    let oldest = ago(report.now, report.store.oldest_undelivered_at?);
    (oldest > OLD).then(|| {
        Reason::new("upstream-slow", "upstream").since(report.store.oldest_undelivered_at).says(
            format!("the oldest of {waiting} undelivered events is {} old", spoken(oldest)),
            format!("最早的未送达事件已等 {}，共 {waiting} 条", spoken_zh(oldest)),
        )
    })
}

/// Upstream takes the old secret alone.
pub(super) fn secret_reason(peer: &delivery::Peer) -> Option<Reason> {
    peer.secret_refused_since.map(|since| Reason::new("secret-refused", "upstream").since(since))
}

pub(super) fn upstream_clock(report: &Report) -> Option<Reason> {
    let secs = report.peer.clock_difference_secs.filter(|secs| secs.unsigned_abs() > CLOCK_SECS)?;
    let by = Duration::from_secs(secs.unsigned_abs());
    let (en, zh) = if secs > 0 { ("ahead of", "快") } else { ("behind", "慢") };
    Some(Reason::new("upstream-clock", "upstream").since(report.peer.answered_at).says(
        format!("its clock is {} {en} this machine's", spoken(by)),
        format!("上游时钟比本机{zh} {}", spoken_zh(by)),
    ))
}

pub(super) fn store_reasons(store: &Overview) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let open = store.held_for_people();
    if open > 0 {
        let for_people = store.held_open.iter().filter(|held| held.reason != WAITING);
        let mut kinds: Vec<_> = for_people.map(|held| format!("{} {}", held.count, held.reason)).collect();
        kinds.truncate(4);
        let kinds = kinds.join(", ");
        let text = format!("{open} waiting for a person: {kinds}");
        reasons.push(Reason::new("held", "held items").says(text, format!("{open} 条记录待人工处理：{kinds}")));
    }
    for (entity, totals) in store.totals.iter().filter(|(_, totals)| !totals.adds_up) {
        let parts = totals.delivered + totals.unchanged + totals.held + totals.queued;
        reasons.push(Reason::new("sum", entity.clone()).says(
            format!("{} versions came in, {parts} are accounted for", totals.source),
            format!("收到 {} 个版本，只有 {parts} 个有下落", totals.source),
        ));
    }
    reasons
}

pub(super) fn ageing_reasons(report: &Report) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let Ageing { held_oldest_at, held_over_a_day, held_over_a_week, unmapped_codes } = report.ageing;
    if let Some(oldest) = held_oldest_at.filter(|_| held_over_a_day > 0) {
        let age = ago(report.now, oldest);
        let weeks = match held_over_a_week {
            0 => (String::new(), String::new()),
            n => (format!(", {n} for more than a week"), format!("，其中 {n} 条超过一周")),
        };
        reasons.push(Reason::new("held-old", "held items").since(oldest).says(
            format!("{held_over_a_day} have waited for more than a day{}; the oldest for {}", weeks.0, spoken(age)),
            format!("{held_over_a_day} 条等待超过一天{}；最早的已等 {}", weeks.1, spoken_zh(age)),
        ));
    }
    if unmapped_codes > 0 {
        reasons.push(Reason::new("unmapped-codes", "codes").says(
            format!("{unmapped_codes} local codes are in no table"),
            format!("有 {unmapped_codes} 个本地代码不在代码表里"),
        ));
    }
    reasons
}

/// What is wrong with the store's file, and what of it can't be read.
pub(crate) fn damage_reasons(damage: Option<&Damage>, unreadable: &Unreadable) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let places: Vec<&str> = unreadable.parts().iter().map(|part| part.place).collect();
    let (hidden, hidden_zh) = match places.join(", ") {
        places if places.is_empty() => (String::new(), String::new()),
        places => (format!("; not readable, and left out here: {places}"), format!("；读不出、此处不显示：{places}")),
    };
    let of_the_file = damage.filter(|damage| damage.is_of_the_file());
    if let Some(damage) = of_the_file {
        let (sign, sign_zh) = match (damage.confirmed, damage.found.first().or(damage.met.first())) {
            (true, Some(found)) => (format!("it was examined: {found}"), format!("检查结果：{found}")),
            (false, Some(met)) => (format!("met in \"{met}\", being examined"), format!("在“{met}”时发现，正在检查")),
            (_, None) => ("it was examined".to_owned(), "已检查".to_owned()),
        };
        let text = format!("{sign}; nothing more is taken in, what is whole is delivered{hidden}");
        let text_zh = format!("{sign_zh}；已停止接收，完好的继续发送{hidden_zh}");
        reasons.push(Reason::new("store-damaged", "store").since(damage.since).says(text, text_zh));
    } else if let Some(part) = unreadable.parts().first() {
        let (text, text_zh) = (format!("{}{hidden}", part.why), format!("{}{hidden_zh}", part.why));
        reasons.push(Reason::new("store-unreadable", "store").says(text, text_zh));
    }
    if let Some(damage) = damage.filter(|damage| !damage.rows.is_empty()) {
        let places: Vec<&str> = damage.rows.iter().take(5).map(|fault| fault.place.as_str()).collect();
        let (n, places) = (damage.rows.len(), places.join(", "));
        reasons.push(Reason::new("rows-damaged", "store").since(damage.since).says(
            format!("{n} rows are not what was written, {places} among them; none of them is sent"),
            format!("有 {n} 行与写入时不同（如 {places}）；这些不会被发送"),
        ));
    }
    reasons
}

pub(super) fn task_reason(task: &TaskStatus, now: DateTime<Utc>) -> Option<Reason> {
    let failure = task.last_failure.as_deref().unwrap_or("it ended");
    if task.state == TaskState::Restarting {
        let reason = Reason::new("task", task.name.clone()).since(task.since);
        return Some(reason.says(failure, format!("内部任务失败，正在重启：{failure}")));
    }
    // A bug that a restart hides for a while is still one.
    let lately = task.last_failure_at.is_some_and(|at| now - at < BUG_IS_SHOWN);
    (task.panics > 0 && lately).then(|| {
        let n = task.panics;
        let reason = Reason::new("task", task.name.clone()).level(Level::Attention).since(task.last_failure_at);
        reason
            .says(
                format!("it panicked and was started again, {n} times since the start"),
                format!("发生内部错误后已重启，启动以来共 {n} 次"),
            )
            .next(
                "report it with the log's line \"panicked\", which says where",
                "请连同日志里带 panicked 的那一行一起报告。",
            )
    })
}
