//! The state of the agent in one struct: what `hisync status`, the admin API, the status page and
//! the heartbeat show.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use connector_api::{StreamId, Value, Watermark};
use serde::Serialize;

use super::alert::desk::{Alerts, channel_reasons};
use super::archive::Archive;
use super::certificates::CertificateEnd;
use super::health::{Health, Level, Reason, spoken, spoken_zh};
use super::probes::{Probed, wall_clock};
use super::silence::ago;
use super::standing::{self, Facts, StreamHealth};
use super::watch::Watch;
use super::{TaskState, TaskStatus, canary, certificates, mask};
use crate::clock::Clock;
use crate::config::Expect;
use crate::delivery;
use crate::intake::{Again, Board, Gate, Reconciler, SourceStatus, Sources, StreamStatus};
use crate::model::WAITING;
use crate::store::{
    self, Ageing, ArchiveStatus, Backlog, Damage, Onboarding, Overview, RetentionPolicy, Store, Unreadable,
};
use crate::switches::Switches;

/// Undelivered for longer than this is worth a look, even if upstream seems to be there.
const OLD: Duration = Duration::from_secs(15 * 60);

/// Upstream's clock may differ by so many seconds: half of what its signatures bear.
const CLOCK_SECS: u64 = 150;

/// How long a panic is shown after the restart.
const BUG_IS_SHOWN: TimeDelta = TimeDelta::days(1);

/// Who this agent is.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    /// The upstream's id of this hospital.
    pub hospital: String,
    /// The campus.
    pub campus: String,
    /// The program's version.
    pub version: String,
    /// SHA-256 (hex) over every configuration file.
    pub config_digest: String,
    /// The hospital's time zone.
    pub timezone: String,
    /// When the agent started, UTC.
    pub started_at: DateTime<Utc>,
}

/// What the admin API reads.
#[derive(Clone)]
pub struct State {
    /// Who this agent is.
    pub about: About,
    /// Who may come in, and what for.
    pub keeper: super::access::Doorkeeper,
    /// The random word of this run, by which commands know the agent of their data folder.
    pub run: String,
    /// The hospital's time zone.
    pub zone: Tz,
    /// When a jump of a daily share is worth a look.
    pub watched: super::canary::Watched,
    /// When silence of a stream is a failure.
    pub expectations: Vec<(StreamId, Expect)>,
    /// What is remembered to judge by.
    pub watch: Watch,
    /// The alerts.
    pub desk: super::alert::Desk,
    /// The store.
    pub store: Store,
    /// The statuses of the streams.
    pub board: Board,
    /// What stops intake.
    pub gate: Arc<Gate>,
    /// The breakers of the sources that are asked.
    pub breakers: Sources,
    /// How long what is kept.
    pub retention: RetentionPolicy,
    /// Maps held records again.
    pub again: Again,
    /// Asks for comparisons with sources and upstream.
    pub reconciler: Reconciler,
    /// Asks the process to load its configuration again.
    pub reload: Arc<super::reload::Reload>,
    /// What people have switched.
    pub switches: Switches,
    /// The delivery that runs now.
    pub delivery: Arc<dyn Fn() -> delivery::Handle + Send + Sync>,
    /// The statuses of the tasks.
    pub tasks: Arc<dyn Fn() -> Vec<TaskStatus> + Send + Sync>,
    /// The time.
    pub clock: Clock,
}

/// The store's disk.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Disk {
    /// Free bytes; `None` where the system doesn't tell.
    pub free_bytes: Option<u64>,
    /// Intake stops below this.
    pub floor_bytes: u64,
    /// Intake stops at so much that waits to be delivered.
    pub outbox_limit: Backlog,
}

/// The state of a running agent. Times are UTC.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// When the report was made.
    pub now: DateTime<Utc>,
    /// The verdict.
    pub health: Health,
    /// Who this agent is.
    pub agent: About,
    /// The streams.
    pub streams: Vec<StreamReport>,
    /// The sources that are asked.
    pub sources: Vec<SourceStatus>,
    /// Delivery.
    pub upstream: delivery::Status,
    /// What upstream's answers told beside what they said.
    pub peer: delivery::Peer,
    /// What the store holds.
    pub store: Overview,
    /// The store's disk.
    pub disk: Disk,
    /// How far back the archive reaches.
    pub archive: Archive,
    /// How long things have waited for a person.
    pub ageing: Ageing,
    /// When certificates end.
    pub certificates: Vec<CertificateEnd>,
    /// The alerts, without those that ended.
    pub alerts: Alerts,
    /// The agent's long-running tasks.
    pub tasks: Vec<TaskStatus>,
    /// The last comparison of each stream with its source, and with upstream.
    pub reconcile: Vec<store::ReconcileRun>,
    /// What is known of damage to the store's file; `None` where nothing is.
    pub damage: Option<Damage>,
    /// What of all this can't be read, and is left empty.
    pub unreadable: Unreadable,
    /// Subjects of which nothing can be said yet.
    #[serde(skip)]
    pub undecided: BTreeSet<String>,
}

/// A stream, and how it stands.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// What its task does.
    #[serde(flatten)]
    pub status: StreamStatus,
    /// How it stands, and why.
    pub health: StreamHealth,
    /// What the last probe of its source found.
    pub probe: Option<Probed>,
}

impl Report {
    /// The report as programs see it: what can't be read is `null`.
    pub fn json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(self).unwrap_or_default();
        self.unreadable.blank(&mut json);
        json
    }
}

/// What the report takes from the store.
#[derive(Default)]
struct Stored {
    overview: Overview,
    archive: ArchiveStatus,
    days: Vec<store::CanaryDay>,
    waiting: Vec<Onboarding>,
    ageing: Ageing,
    reconcile: Vec<store::ReconcileRun>,
    unreadable: Unreadable,
}

impl State {
    /// Reads what the store can tell; where some of its file is damaged, the rest.
    async fn stored(&self, now: DateTime<Utc>) -> Result<Stored, store::Error> {
        let (watched, zone) = (self.watched.clone(), self.zone);
        let read = move |reader: &store::Reader| {
            let mut unreadable = Unreadable::default();
            let stored = Stored {
                overview: reader.overview_in_parts(&mut unreadable),
                archive: unreadable.part("/archive", reader.archive_status(now)),
                days: unreadable.part("/canaries", canary::read(reader, &watched, zone, now)),
                waiting: unreadable.part("/onboarding", reader.onboarding()),
                ageing: unreadable.part("/ageing", reader.ageing(now)),
                reconcile: unreadable.part("/reconcile", reader.reconcile_latest()),
                unreadable: Unreadable::default(),
            };
            Ok(Stored { unreadable, ..stored })
        };
        match self.store.read(read).await {
            Err(error @ store::Error::Closed) => Err(error),
            // Not even its layout can be read.
            Err(error) => {
                let mut stored = Stored::default();
                stored.unreadable.part::<()>("/store", Err(error));
                Ok(stored)
            }
            stored => stored,
        }
    }

    /// Makes the report. Fails where the store is closed; of a damaged one it tells what can be read.
    pub async fn report(&self) -> Result<Report, store::Error> {
        let now = self.clock.now();
        let Stored { overview, archive, days, waiting, ageing, reconcile, mut unreadable } = self.stored(now).await?;
        let alerts = unreadable.part("/alerts", self.desk.lasting().await);
        self.store.distrust(&unreadable);
        let overview = discreet(overview);
        let (free_bytes, floor_bytes) = (self.gate.free_bytes(), self.gate.floor_bytes());
        let disk = Disk { free_bytes, floor_bytes, outbox_limit: self.gate.limit() };
        let delivery = (self.delivery)();
        let peer = delivery.peer();
        let mut certificates = self.watch.certificates();
        certificates.extend(peer.certificate_ends_at.map(|ends| CertificateEnd {
            place: "upstream".to_owned(),
            file: None,
            ends_at: Some(ends),
        }));
        let mut report = Report {
            now,
            health: Health::default(),
            agent: self.about.clone(),
            streams: Vec::new(),
            sources: self.breakers.all(),
            upstream: delivery.status(),
            peer,
            store: overview,
            disk,
            archive: Archive::of(archive, &self.retention, &disk, now),
            ageing,
            certificates,
            alerts,
            tasks: (self.tasks)(),
            reconcile,
            damage: self.store.damage(),
            unreadable,
            undecided: BTreeSet::new(),
        };
        let mut reasons = self.judge_streams(&mut report);
        reasons.extend(report.sources.iter().filter_map(|source| source_reason(source, report.now)));
        // A breaker knows more of its source than what its streams look like.
        let open: BTreeSet<String> = reasons.iter().map(Reason::key).collect();
        reasons.extend(source_reasons(&report.streams).into_iter().filter(|reason| !open.contains(&reason.key())));
        reasons.extend(report.archive.reason());
        reasons.extend(canary::reasons(&days, &self.watched, self.zone, report.now));
        reasons.extend(waiting.iter().map(onboarding_reason));
        reasons.extend(report.reconcile.iter().filter_map(super::reconcile::reason));
        reasons.extend(upstream_reason(&report));
        reasons.extend(upstream_clock(&report));
        reasons.extend(store_reasons(&report.store));
        reasons.extend(ageing_reasons(&report));
        reasons.extend(certificates::reasons(&report.certificates, report.now));
        reasons.extend(channel_reasons(&report.alerts.channels));
        reasons.extend(report.tasks.iter().filter_map(|task| task_reason(task, report.now)));
        reasons.extend(self.disk_reason(&report.disk));
        reasons.extend(damage_reasons(report.damage.as_ref(), &report.unreadable));
        reasons.extend(self.watch.found(report.now));
        reasons.extend(self.reload.reason());
        reasons.extend(super::switching::reasons(&self.switches));
        reasons.extend(secret_reason(&report.peer));
        report.health = Health::of(reasons);
        Ok(report)
    }

    fn judge_streams(&self, report: &mut Report) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for status in self.board.all() {
            let progress = report.store.streams.iter().find(|progress| progress.stream == status.id.as_str());
            let expect = self.expectations.iter().find(|(id, _)| *id == status.id).map(|(_, expect)| expect);
            let history = self.watch.history(status.id.as_str());
            let probe = self.watch.probes.get(&status.id);
            let facts = Facts {
                status: &status,
                last_received_at: progress.and_then(|progress| progress.last_received_at),
                read_to: progress.and_then(|progress| wall_clock(progress.watermark.as_deref()?)),
                expect,
                calendar: &self.watch.calendar,
                history: history.as_deref(),
                probe: probe.as_ref(),
                started_at: self.about.started_at,
                zone: self.zone,
                now: report.now,
            };
            reasons.extend(standing::reason(&facts).map(|(_, reason)| reason));
            if standing::is_undecided(&facts) {
                report.undecided.insert(format!("stream {}", status.id));
            }
            let health = standing::judge(&facts);
            report.streams.push(StreamReport { status, health, probe });
        }
        reasons
    }

    /// What stops intake, or will.
    fn disk_reason(&self, disk: &Disk) -> Option<Reason> {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        if let Some(closure) = self.gate.closed().filter(|closure| closure.code != "store-damaged") {
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
}

/// The overview without what it holds of persons: a watermark ends in the key of its last row, which may be
/// an exam number. Its first column stays where that is a time.
pub fn discreet(mut overview: Overview) -> Overview {
    for stream in &mut overview.streams {
        stream.watermark = stream.watermark.take().map(|stored| {
            let first = Watermark::from_text(&stored).ok().and_then(|at| at.columns().first().cloned());
            match first {
                Some(Value::Time(time)) => time.to_string(),
                Some(Value::Text(text)) if is_time(&text) => text.to_string(),
                _ => mask::mask(&stored),
            }
        });
    }
    overview
}

/// True for `2026-11-22…` and `2026/11/22…`: no number of a person is written so.
pub(super) fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, ['-', '/']);
    let mut digits = |most: usize| {
        parts
            .next()
            .is_some_and(|part| part.len() <= most && part.len() > 1 && part.bytes().all(|b| b.is_ascii_digit()))
    };
    digits(4) && digits(2) && text.chars().all(|c| c.is_ascii_digit() || "-/:. T+Z".contains(c))
}

/// What concerns whole sources: none of their streams can be reached, their clock differs.
fn source_reasons(streams: &[StreamReport]) -> Vec<Reason> {
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

fn source_reason(source: &SourceStatus, now: DateTime<Utc>) -> Option<Reason> {
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

fn onboarding_reason(waiting: &Onboarding) -> Reason {
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

fn upstream_reason(report: &Report) -> Option<Reason> {
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
fn secret_reason(peer: &delivery::Peer) -> Option<Reason> {
    peer.secret_refused_since.map(|since| Reason::new("secret-refused", "upstream").since(since))
}

fn upstream_clock(report: &Report) -> Option<Reason> {
    let secs = report.peer.clock_difference_secs.filter(|secs| secs.unsigned_abs() > CLOCK_SECS)?;
    let by = Duration::from_secs(secs.unsigned_abs());
    let (en, zh) = if secs > 0 { ("ahead of", "快") } else { ("behind", "慢") };
    Some(Reason::new("upstream-clock", "upstream").since(report.peer.answered_at).says(
        format!("its clock is {} {en} this machine's", spoken(by)),
        format!("上游时钟比本机{zh} {}", spoken_zh(by)),
    ))
}

fn store_reasons(store: &Overview) -> Vec<Reason> {
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

fn ageing_reasons(report: &Report) -> Vec<Reason> {
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
pub fn damage_reasons(damage: Option<&Damage>, unreadable: &Unreadable) -> Vec<Reason> {
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

fn task_reason(task: &TaskStatus, now: DateTime<Utc>) -> Option<Reason> {
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

#[cfg(test)]
mod tests {
    use connector_api::Value;

    use super::*;

    fn check(columns: Vec<Value>, expected: &str) {
        let at = Watermark::at(columns).to_text();
        let stream = store::StreamProgress {
            stream: "peis/reports".to_owned(),
            watermark: Some(at),
            watermark_at: None,
            records: 0,
            resent: 0,
            reread: 0,
            snapshots: 0,
            last_received_at: None,
            last_commit_at: None,
            totals: store::Totals::default(),
        };
        let overview = Overview {
            size_bytes: 0,
            outbox_depth: 0,
            outbox: Default::default(),
            oldest_undelivered_at: None,
            held_open: Vec::new(),
            totals: Default::default(),
            streams: vec![stream],
        };
        assert_eq!(discreet(overview).streams[0].watermark.as_deref(), Some(expected));
    }

    #[test]
    fn a_watermark_shows_its_time_and_no_number_of_a_person() {
        check(vec!["2026-11-20 09:00:00".into(), "0301170001".into()], "2026-11-20 09:00:00");
        check(vec!["2026/11/20 9:00".into(), "0301170001".into()], "2026/11/20 9:00");
        check(vec!["0301170001".into()], "{\"●●\":[\"●●●●●●●●●●\"]}");
    }
}
