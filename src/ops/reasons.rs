//! Every kind of trouble that hisync tells of, in one list: how bad it is, what it means, what to do next, and which
//! other trouble explains it.
//!
//! To add one: a line in [`ALL`], a chapter `## code` in `docs/runbook.md` (a test asks for it), and
//! [`Reason::new`] where it is found out.

use chrono::{DateTime, Utc};

use super::health::{Level, Reason};

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Kind {
    /// The stable word.
    pub code: &'static str,
    /// How bad it is, unless the finder knows better.
    pub level: Level,
    /// What it means, in English.
    pub title: &'static str,
    /// What it means, in Chinese.
    pub title_zh: &'static str,
    /// What to do next, in English; the finder may know better.
    pub next: &'static str,
    /// What to do next, in Chinese.
    pub next_zh: &'static str,
    /// Kinds of trouble that explain this one: of the same subject or source, or of the whole agent.
    pub causes: &'static [&'static str],
}

const fn kind(
    code: &'static str,
    level: Level,
    title: [&'static str; 2],
    next: [&'static str; 2],
    causes: &'static [&'static str],
) -> Kind {
    Kind { code, level, title: title[0], title_zh: title[1], next: next[0], next_zh: next[1], causes }
}

use Level::{Attention, Failing};

/// All of them.
pub const ALL: &[Kind] = &[
    kind(
        "no-agent",
        Failing,
        ["no agent runs on this data folder", "这个数据目录上没有运行 hisync"],
        ["start it: systemctl start hisync, or hisync run -c FILE", "请启动：systemctl start hisync"],
        &[],
    ),
    kind(
        "source-down",
        Failing,
        ["a source can't be reached: none of its streams can be read", "来源系统连不上，它的数据流都读不了"],
        [
            "ask the hospital whether the system and its network are up; hisync goes on by itself",
            "请问医院：系统和网络是否正常？恢复后 hisync 会自动继续。",
        ],
        &[],
    ),
    kind(
        "stream-failing",
        Failing,
        ["a stream can't be read at the moment", "数据流读取失败"],
        [
            "hisync tries again by itself; look at the source's network and account",
            "hisync 会自动重试；请检查来源系统、网络和账号。",
        ],
        &["source-down", "disk"],
    ),
    kind(
        "stream-stopped",
        Failing,
        ["a stream was stopped: trying again can't help", "数据流已停止，重试没有用"],
        [
            "repair what the failure names, then `systemctl reload hisync`; without it hisync tries again in half an hour",
            "请按失败说明修复，再执行 systemctl reload hisync；不执行也会在半小时内再试。",
        ],
        &["source-down"],
    ),
    kind(
        "stream-paused",
        Failing,
        ["a stream is paused: the disk is nearly full", "数据流已暂停：磁盘空间不足"],
        ["free space; reading goes on by itself", "清理磁盘后自动恢复。"],
        &["intake-paused", "disk", "outbox"],
    ),
    kind(
        "stream-silent",
        Attention,
        ["a stream is silent in hours in which it should not be", "规定时段内没有新数据"],
        [
            "ask whether the hospital's system runs; `hisync check` shows its newest row",
            "请确认医院系统在运行；hisync check 会显示来源中最新的一行。",
        ],
        &["intake-paused", "source-down", "stream-failing", "stream-stopped", "stream-paused", "stream-behind", "disk"],
    ),
    kind(
        "stream-unusual",
        Attention,
        ["a stream is silent at a time at which it never was", "往常这个时段有数据，今天没有"],
        [
            "ask whether the hospital works today; a day off belongs into the `holidays` file",
            "请问医院今天是否上班；放假请写进 holidays 文件。",
        ],
        &[
            "intake-paused",
            "source-down",
            "stream-failing",
            "stream-stopped",
            "stream-paused",
            "stream-behind",
            "stream-silent",
            "disk",
        ],
    ),
    kind(
        "stream-behind",
        Attention,
        ["a stream's source has more than was read", "来源里有数据还没有读到"],
        [
            "`hisync check` compares; the stream's watermark and filter decide what is read",
            "hisync check 可以核对；水位列和过滤条件决定读什么。",
        ],
        &["intake-paused", "source-down", "disk"],
    ),
    kind(
        "source-clock",
        Attention,
        ["a source's clock differs from this machine's", "来源系统与本机时钟不一致"],
        ["set both clocks by NTP: rows stamped in the future wait until then", "请用 NTP 校准两边的时钟。"],
        &["source-down"],
    ),
    kind(
        "onboarding",
        Attention,
        ["a new stream's events wait for its first sample", "新数据流：等待首批样本通过检查"],
        ["`hisync held list --reason onboarding` says why", "hisync held list --reason onboarding 会说明原因。"],
        &[],
    ),
    kind(
        "canary",
        Attention,
        ["a daily share jumps against what is usual", "当日比例与往常相差很大"],
        [
            "compare new records with the source: swapped columns or an inverted code look like this",
            "请与来源核对新记录：列错位或代码颠倒就是这个样子。",
        ],
        &[],
    ),
    kind(
        "upstream-down",
        Failing,
        ["delivery is paused: upstream is at fault as a whole", "发送已暂停：上游整体不可用"],
        ["see what the last answer means, and tell upstream", "请看上游最近的回答，并通知上游。"],
        &[],
    ),
    kind(
        "attachments-down",
        Failing,
        ["upstream does not take files", "上游不收文件"],
        ["see what the last answer means, and tell upstream", "请看上游最近的回答，并通知上游。"],
        &["upstream-down"],
    ),
    kind(
        "upstream-slow",
        Attention,
        ["events wait for long although upstream answers", "上游有回答，但事件等得太久"],
        ["`hisync outbox list` shows the last answers", "hisync outbox list 会显示最近的回答。"],
        &["deliveries-held", "upstream-down", "attachments-down"],
    ),
    kind(
        "upstream-clock",
        Attention,
        ["upstream's clock differs from this machine's", "上游与本机时钟不一致"],
        [
            "set this machine's clock by NTP: from five minutes on signatures are refused",
            "请用 NTP 校准本机时钟：相差五分钟签名就会被拒绝。",
        ],
        &[],
    ),
    kind(
        "certificate",
        Attention,
        ["a certificate ends soon, or has ended", "证书即将到期或已到期"],
        [
            "have it renewed before that day, then `systemctl reload hisync`",
            "请在到期前更换，再执行 systemctl reload hisync。",
        ],
        &[],
    ),
    kind(
        "held",
        Attention,
        ["items wait for a person", "有记录待人工处理"],
        ["`hisync held list`, then show, retry, release or dismiss", "请逐条查看：hisync held list。"],
        &[],
    ),
    kind(
        "held-old",
        Attention,
        ["items have waited for a person for more than a day", "有记录等待人工处理超过一天"],
        ["decide on the oldest first: `hisync held list`", "请先处理最早的：hisync held list。"],
        &[],
    ),
    kind(
        "unmapped-codes",
        Attention,
        ["local codes are in no table", "有代码表里没有的本地代码"],
        [
            "`hisync codes unmapped` lists them, `hisync codes map` adds one",
            "hisync codes unmapped 列出，hisync codes map 添加。",
        ],
        &[],
    ),
    kind(
        "reconcile-drift",
        Attention,
        ["source, store and upstream do not agree", "来源、本地库与上游对不上"],
        ["`hisync reconcile` names what differs", "hisync reconcile 会列出差异。"],
        &["upstream-down", "source-down"],
    ),
    kind(
        "reconcile-failed",
        Attention,
        ["a comparison of source, store and upstream failed", "来源、本地库与上游的核对没有完成"],
        ["`hisync reconcile run` makes it again", "hisync reconcile run 可以再做一次。"],
        &["upstream-down", "source-down", "stream-failing", "stream-stopped"],
    ),
    kind(
        "outbox",
        Failing,
        ["too much waits to be delivered: nothing is taken in", "待发送的事件太多，已停止接收"],
        [
            "see why upstream does not take them; intake goes on by itself",
            "请查上游为什么不收；发送恢复后会自动继续接收，不会丢数据。",
        ],
        &["deliveries-held", "upstream-down"],
    ),
    kind(
        "archive-short",
        Attention,
        ["the disk will not hold the archive for the configured time", "磁盘装不下配置的保存时间"],
        [
            "enlarge the store's disk, or lower retention.archive (or raise archive_max_bytes)",
            "请扩容磁盘，或调低 retention.archive（或调高 archive_max_bytes）。",
        ],
        &[],
    ),
    kind(
        "sum",
        Failing,
        ["the sums do not add up", "版本数对不上"],
        ["this is a bug: keep a copy of the data folder and report it", "这是缺陷：请保留数据目录的副本并报告。"],
        &[],
    ),
    kind(
        "task",
        Failing,
        ["a part of the agent failed and is started again", "内部任务失败，正在重启"],
        ["hisync starts it again by itself; the log says more", "hisync 会自动恢复；日志里有详情。"],
        &["source-down", "stream-failing", "stream-stopped"],
    ),
    kind(
        "disk",
        Failing,
        ["the disk is nearly full: nothing is taken in", "磁盘空间低于下限，已停止接收"],
        ["free space; intake goes on by itself", "清理磁盘后自动恢复，不会丢数据。"],
        &[],
    ),
    kind(
        "disk-low",
        Attention,
        ["the disk is getting full", "磁盘空间不多了"],
        ["free space, or give the store a larger disk, before intake stops", "请在停止接收之前清理或扩容。"],
        &["disk"],
    ),
    kind(
        "config-refused",
        Attention,
        ["the configuration on the disk is not the one in force", "磁盘上的配置没有被采用"],
        [
            "`hisync reload` shows every problem; correct them and run it again",
            "hisync reload 会列出所有问题；改正后再执行一次。",
        ],
        &[],
    ),
    kind(
        "secret-refused",
        Attention,
        ["upstream refuses the new secret; the one before it goes on being used", "上游拒绝新的密钥，仍在使用旧密钥"],
        [
            "put the right secret into its file before the old one ends; no reload is needed",
            "请在旧密钥失效之前放入正确的密钥；不需要重新加载。",
        ],
        &[],
    ),
    kind(
        "intake-paused",
        Attention,
        ["a person paused what is taken in", "有人暂停了接收"],
        ["nothing, if that is still wanted: it ends by itself", "若仍需要则不必处理，到时自动恢复。"],
        &[],
    ),
    kind(
        "deliveries-held",
        Attention,
        ["a person holds the deliveries", "有人暂停了发送"],
        ["nothing, if that is still wanted: it ends by itself", "若仍需要则不必处理，到时自动恢复。"],
        &[],
    ),
    kind(
        "switched",
        Attention,
        ["a person switched something off for a while", "有人临时关闭了某项功能"],
        ["nothing, if that is still wanted: it ends by itself", "若仍需要则不必处理，到时自动恢复。"],
        &[],
    ),
    kind(
        "alert-channel",
        Attention,
        ["a channel does not take alerts", "告警通道发送失败"],
        ["`hisync alerts test CHANNEL` says what it answers", "hisync alerts test 通道名 会显示它的回答。"],
        &[],
    ),
];

/// A kind by its code.
pub fn of(code: &str) -> Option<&'static Kind> {
    ALL.iter().find(|kind| kind.code == code)
}

impl Reason {
    /// Trouble of a kind, as the list describes it.
    pub fn new(code: &'static str, subject: impl Into<String>) -> Reason {
        let kind = of(code);
        let word = |pick: fn(&Kind) -> &'static str| kind.map_or(code, pick).to_owned();
        Reason {
            code,
            level: kind.map_or(Attention, |kind| kind.level),
            since: None,
            subject: subject.into(),
            text: word(|kind| kind.title),
            next: word(|kind| kind.next),
            text_zh: word(|kind| kind.title_zh),
            next_zh: word(|kind| kind.next_zh),
            cause: None,
        }
    }

    /// It is as bad as this.
    #[must_use]
    pub fn level(self, level: Level) -> Reason {
        Reason { level, ..self }
    }

    /// Since when, UTC, where that is known.
    #[must_use]
    pub fn since(self, since: impl Into<Option<DateTime<Utc>>>) -> Reason {
        Reason { since: since.into(), ..self }
    }

    /// What is wrong, one sentence in English and in Chinese.
    #[must_use]
    pub fn says(self, text: impl Into<String>, text_zh: impl Into<String>) -> Reason {
        Reason { text: text.into(), text_zh: text_zh.into(), ..self }
    }

    /// What to do next, one sentence in English and in Chinese.
    #[must_use]
    pub fn next(self, next: impl Into<String>, next_zh: impl Into<String>) -> Reason {
        Reason { next: next.into(), next_zh: next_zh.into(), ..self }
    }

    /// What tells it apart from other trouble.
    pub fn key(&self) -> String {
        format!("{} {}", self.code, self.subject)
    }
}

/// Says of each reason which other one explains it, where one does.
///
/// A cause of the whole agent (upstream, the disk) explains whatever its kind may explain; one of a source or stream
/// only what is of the same source or stream.
pub fn explain(reasons: &mut [Reason]) {
    let known: Vec<(String, &'static str, String)> =
        reasons.iter().map(|reason| (reason.key(), reason.code, reason.subject.clone())).collect();
    for reason in reasons {
        let causes = of(reason.code).map_or(&[][..], |kind| kind.causes);
        // In the order of the list: the first is the one that explains most.
        let found = causes.iter().find_map(|cause| {
            let explains = |(_, code, subject): &&(String, &'static str, String)| {
                code == cause && covers(subject, &reason.subject)
            };
            known.iter().find(explains)
        });
        reason.cause = found.map(|(key, ..)| key.clone());
    }
}

/// Whether one of these reasons explains trouble of a kind and subject, so that nothing is known of it now.
pub fn is_explained(code: &str, subject: &str, reasons: &[Reason]) -> bool {
    let causes = of(code).map_or(&[][..], |kind| kind.causes);
    reasons.iter().any(|reason| causes.contains(&reason.code) && covers(&reason.subject, subject))
}

/// Whether trouble of one subject may explain trouble of another.
fn covers(cause: &str, of: &str) -> bool {
    match (place(cause), place(of)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(cause), Some(of)) => cause == of || of.strip_prefix(cause).is_some_and(|rest| rest.starts_with('/')),
    }
}

/// The source or stream that a subject names; `None` where it is about the whole agent.
fn place(subject: &str) -> Option<&str> {
    ["stream ", "source ", "listener "].iter().find_map(|word| subject.strip_prefix(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_said_once_and_in_both_languages() {
        let mut codes: Vec<&str> = ALL.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), ALL.len());
        for kind in ALL {
            let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..'\u{9fff}').contains(&c));
            assert!(chinese(kind.title_zh) && chinese(kind.next_zh), "{}", kind.code);
            assert!(kind.causes.iter().all(|cause| of(cause).is_some()), "{}", kind.code);
        }
    }

    #[test]
    fn every_code_has_a_chapter_in_the_runbook() {
        for kind in ALL {
            assert!(crate::ops::runbook::chapter(kind.code).is_some(), "docs/runbook.md has no `## {}`", kind.code);
        }
    }

    #[test]
    fn a_cause_explains_what_is_of_the_same_source_and_nothing_else() {
        let mut reasons = vec![
            Reason::new("source-down", "source peis"),
            Reason::new("stream-failing", "stream peis/reports"),
            Reason::new("stream-silent", "stream peis/packages"),
            Reason::new("stream-failing", "stream peis2/reports"),
            Reason::new("upstream-slow", "upstream"),
            Reason::new("upstream-down", "upstream"),
            Reason::new("stream-unusual", "stream peis/reports"),
        ];
        explain(&mut reasons);
        let causes: Vec<Option<&str>> = reasons.iter().map(|reason| reason.cause.as_deref()).collect();
        let source = Some("source-down source peis");
        assert_eq!(causes, [None, source, source, None, Some("upstream-down upstream"), None, source]);
    }
}
