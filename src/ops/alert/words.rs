//! The words of a message: templates, built in or from a folder.

use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;

use super::Language;
use crate::ops::health::{spoken, spoken_zh};
use crate::ops::reasons;
use crate::ops::silence::ago;
use crate::store::{Episode, MessageKind};

/// Longer messages are cut: chat robots refuse them (2048 bytes is the least that one of them takes).
const MAX_BYTES: usize = 2000;

const ZH: [(&str, &str); 3] = [
    (
        "opened",
        "【hisync {{ hospital }}】{{ title }}（{{ severity }}）\n{{ subject }}：{{ text }}\n开始：{{ since }}\n\
         处理：{{ next }}\n说明：hisync explain {{ code }}",
    ),
    (
        "reminder",
        "【hisync {{ hospital }}】仍未恢复：{{ title }}（{{ severity }}）\n{{ subject }}：{{ text }}\n\
         已持续 {{ lasted }}，自 {{ since }}\n处理：{{ next }}\n说明：hisync explain {{ code }}",
    ),
    (
        "closed",
        "【hisync {{ hospital }}】已恢复：{{ title }}\n{{ subject }}\n持续 {{ lasted }}，{{ since }} 至 {{ until }}",
    ),
];

const EN: [(&str, &str); 3] = [
    (
        "opened",
        "[hisync {{ hospital }}] {{ title }} ({{ severity }})\n{{ subject }}: {{ text }}\nsince {{ since }}\n\
         next: {{ next }}\nmore: hisync explain {{ code }}",
    ),
    (
        "reminder",
        "[hisync {{ hospital }}] still: {{ title }} ({{ severity }})\n{{ subject }}: {{ text }}\n\
         for {{ lasted }}, since {{ since }}\nnext: {{ next }}\nmore: hisync explain {{ code }}",
    ),
    (
        "closed",
        "[hisync {{ hospital }}] ended: {{ title }}\n{{ subject }}\nlasted {{ lasted }}, {{ since }} to {{ until }}",
    ),
];

/// Why a message can't be written.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    /// A template can't be read.
    #[error("read the template {0}")]
    Unreadable(String, #[source] std::io::Error),
    /// A template is wrong.
    #[error("use the template {0}")]
    Template(String, #[source] minijinja::Error),
}

/// A message in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Message {
    /// Its first line: the subject of a mail.
    pub(super) title: String,
    /// All of it, the first line included.
    pub(super) text: String,
}

/// Writes messages.
#[derive(Debug)]
pub(super) struct Words {
    language: Language,
    hospital: String,
    zone: Tz,
    templates: Environment<'static>,
}

impl Words {
    /// The built-in templates, and those of a folder before them. A file that is missing is built in.
    pub(super) fn new(
        language: Language,
        hospital: &str,
        zone: Tz,
        folder: Option<&Path>,
    ) -> Result<Words, WordsError> {
        let mut templates = Environment::empty();
        // A misspelt name in a template is told when it is loaded, not by a message with a hole in it.
        templates.set_undefined_behavior(UndefinedBehavior::Strict);
        let built_in = if language == Language::Zh { ZH } else { EN };
        for (name, text) in built_in {
            let file = format!("{name}.txt");
            let own = match folder.map(|folder| std::fs::read_to_string(folder.join(&file))) {
                Some(Ok(text)) => Some(text),
                Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(WordsError::Unreadable(file, error));
                }
                _ => None,
            };
            let text = own.unwrap_or_else(|| text.to_owned());
            templates.add_template_owned(name, text).map_err(|error| WordsError::Template(file, error))?;
        }
        let words = Words { language, hospital: hospital.to_owned(), zone, templates };
        for kind in [MessageKind::Opened, MessageKind::Reminder, MessageKind::Closed] {
            words.write(kind, &sample(), DateTime::UNIX_EPOCH)?;
        }
        Ok(words)
    }

    /// What is said of an episode.
    pub(super) fn write(
        &self,
        kind: MessageKind,
        episode: &Episode,
        now: DateTime<Utc>,
    ) -> Result<Message, WordsError> {
        let name = kind.as_str();
        let failed = |error| WordsError::Template(format!("{name}.txt"), error);
        let text = self.templates.get_template(name).and_then(|template| template.render(self.context(episode, now)));
        let text = shortened(text.map_err(failed)?.trim());
        let title = text.lines().next().unwrap_or_default().to_owned();
        Ok(Message { title, text })
    }

    fn context(&self, episode: &Episode, now: DateTime<Utc>) -> Value {
        let zh = self.language == Language::Zh;
        let reason = |key: &str| {
            let chinese = episode.reason[format!("{key}_zh")].as_str().filter(|text| zh && !text.is_empty());
            chinese.or(episode.reason[key].as_str()).unwrap_or_default().to_owned()
        };
        let kind = reasons::of(&episode.code);
        let title = kind.map_or(episode.code.as_str(), |kind| if zh { kind.title_zh } else { kind.title });
        let since = episode.reason["since"].as_str().and_then(|text| text.parse::<DateTime<Utc>>().ok());
        let since = since.unwrap_or(episode.opened_at);
        let until = episode.closed_at.unwrap_or(now);
        let lasted: Duration = ago(until, since);
        let local = |at: DateTime<Utc>| at.with_timezone(&self.zone).format("%Y-%m-%d %H:%M").to_string();
        let failing = episode.reason["level"] == "failing";
        let severity = match (zh, failing) {
            (true, true) => "请立即处理",
            (true, false) => "请今天处理",
            (false, true) => "look now",
            (false, false) => "look today",
        };
        context! {
            hospital => self.hospital.clone(),
            code => episode.code.clone(),
            level => episode.reason["level"].as_str(),
            severity => severity,
            title => title,
            subject => if zh { subject_zh(&episode.subject) } else { episode.subject.clone() },
            text => reason("text"),
            next => reason("next"),
            since => local(since),
            until => local(until),
            lasted => if zh { spoken_zh(lasted) } else { spoken(lasted) },
        }
    }
}

/// What a subject is called in Chinese.
fn subject_zh(subject: &str) -> String {
    let words = [
        ("stream ", "数据流 "),
        ("source ", "来源 "),
        ("listener ", "监听 "),
        ("channel ", "告警通道 "),
        ("certificate ", "证书 "),
        ("upstream", "上游"),
        ("held items", "待处理记录"),
        ("disk", "磁盘"),
        ("codes", "代码表"),
    ];
    let found = words.iter().find_map(|(en, zh)| Some(format!("{zh}{}", subject.strip_prefix(en)?)));
    found.unwrap_or_else(|| subject.to_owned())
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_BYTES {
        return text.to_owned();
    }
    let end = (0..=MAX_BYTES - 3).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

/// An episode to try templates with.
pub(super) fn sample() -> Episode {
    let at = DateTime::UNIX_EPOCH;
    let reason = serde_json::json!({ "level": "attention", "text": "a trial", "text_zh": "测试消息",
        "next": "nothing", "next_zh": "无需处理", "since": at });
    Episode {
        id: 0,
        code: "test".to_owned(),
        subject: "hisync".to_owned(),
        reason,
        opened_at: at,
        told_at: at,
        closed_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::health::Reason;

    fn episode() -> Episode {
        let opened_at = "2026-11-20T01:00:00Z".parse().unwrap();
        let reason = Reason::new("stream-silent", "stream peis/reports")
            .since("2026-11-20T00:30:00Z".parse::<DateTime<Utc>>().unwrap())
            .says("nothing new for 3 h", "已 3 小时没有新数据");
        Episode {
            code: "stream-silent".to_owned(),
            subject: "stream peis/reports".to_owned(),
            reason: serde_json::to_value(reason).unwrap(),
            opened_at,
            ..sample()
        }
    }

    fn written(language: Language, kind: MessageKind, folder: Option<&Path>) -> Result<String, String> {
        let words = Words::new(language, "demo", chrono_tz::Asia::Shanghai, folder);
        let words = words.map_err(|error| connector_api::chain(&error))?;
        let now = "2026-11-20T03:30:00Z".parse().unwrap();
        Ok(words.write(kind, &episode(), now).unwrap().text)
    }

    #[test]
    fn messages_say_what_since_when_and_what_to_do() {
        let zh = written(Language::Zh, MessageKind::Opened, None).unwrap();
        assert_eq!(
            zh,
            "【hisync demo】规定时段内没有新数据（请今天处理）\n数据流 peis/reports：已 3 小时没有新数据\n\
             开始：2026-11-20 08:30\n处理：请确认医院系统在运行；hisync check 会显示来源中最新的一行。\n\
             说明：hisync explain stream-silent"
        );
        let en = written(Language::En, MessageKind::Closed, None).unwrap();
        assert_eq!(
            en,
            "[hisync demo] ended: a stream is silent in hours in which it should not be\nstream peis/reports\n\
             lasted 3 h, 2026-11-20 08:30 to 2026-11-20 11:30"
        );
    }

    #[test]
    fn a_folder_replaces_templates_and_a_mistake_in_one_is_told_before_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("opened.txt"), text).unwrap();
        write("{{ hospital }}: {{ code }} / {{ lasted }}");
        let of = |kind| written(Language::En, kind, Some(folder.path()));
        assert_eq!(of(MessageKind::Opened).as_deref(), Ok("demo: stream-silent / 3 h"));
        assert!(of(MessageKind::Closed).unwrap().starts_with("[hisync demo] ended"));
        write("{{ hospitl }}");
        assert!(of(MessageKind::Opened).unwrap_err().contains("opened.txt"));
        write("{{ hospital ");
        assert!(of(MessageKind::Closed).is_err());
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let text = shortened(&"停".repeat(1000));
        assert!(text.len() <= MAX_BYTES && text.ends_with('…'));
    }
}
