//! Alerts: tells people when trouble begins and when it ends.
//!
//! - `engine`: reasons become episodes, a pure state machine;
//! - `words`: episodes become messages, through templates;
//! - `robots`: HTTP to chat robots and webhooks; `mail`: SMTP;
//! - [`desk`]: the loops over what is stored, and what the page and the command line see.
//!
//! ```toml
//! [alerts]
//! language = "zh"
//!
//! [[alerts.channels]]
//! type = "wecom"
//! id = "oncall"
//! url = { file = "secrets/wecom-url" }
//! ```

pub mod desk;
mod engine;
mod mail;
mod robots;
mod words;

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::Secret;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Url;

use super::health::Level;

pub use desk::{Alerts, Desk, SendError};

/// The `[alerts]` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The language of the messages.
    pub language: Language,
    /// Trouble that passes within so many seconds is not told.
    #[schemars(range(min = 0, max = 86_400))]
    pub open_after_secs: u64,
    /// Trouble must be gone for so many seconds before it is said to have ended; twice as long each time that it came
    /// back within two hours.
    #[schemars(range(min = 10, max = 86_400))]
    pub close_after_secs: u64,
    /// Of what lasts people are reminded after so many minutes.
    #[schemars(range(min = 5, max = 44_640))]
    pub remind_after_minutes: u64,
    /// A folder with templates that replace the built-in ones: `opened.txt`, `reminder.txt`, `closed.txt`. Relative to
    /// the configuration file.
    pub templates: Option<PathBuf>,
    /// An HTTP proxy for robots and webhooks. Proxy variables of the environment are not read.
    #[schemars(with = "Option<String>")]
    pub proxy: Option<Url>,
    /// Who is told.
    pub channels: Vec<Channel>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            language: Language::default(),
            open_after_secs: 60,
            close_after_secs: 300,
            remind_after_minutes: 240,
            templates: None,
            proxy: None,
            channels: Vec::new(),
        }
    }
}

/// The language of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Chinese.
    #[default]
    Zh,
    /// English.
    En,
}

/// From which level on a channel is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// Whatever a person should look at today.
    #[default]
    Attention,
    /// Only what a person should look at now.
    Failing,
}

/// Who is told, and how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Channel {
    /// A group robot of 企业微信 (WeCom).
    Wecom {
        /// Its name, unique among the channels.
        id: String,
        /// From which level on it is told.
        #[serde(default)]
        from: From,
        /// The robot's whole address; it holds the robot's key.
        url: Secret,
    },
    /// A group robot of 钉钉 (DingTalk).
    Dingtalk {
        /// Its name, unique among the channels.
        id: String,
        /// From which level on it is told.
        #[serde(default)]
        from: From,
        /// The robot's whole address; it holds the robot's token.
        url: Secret,
        /// The secret of its security setting 加签 (`SEC…`).
        #[serde(default)]
        secret: Option<Secret>,
    },
    /// A group robot of 飞书 (Feishu, Lark).
    Feishu {
        /// Its name, unique among the channels.
        id: String,
        /// From which level on it is told.
        #[serde(default)]
        from: From,
        /// The robot's whole address; it holds the robot's token.
        url: Secret,
        /// The secret of its signature check 签名校验.
        #[serde(default)]
        secret: Option<Secret>,
    },
    /// An HTTP address that takes JSON, signed as Standard Webhooks say.
    Webhook {
        /// Its name, unique among the channels.
        id: String,
        /// From which level on it is told.
        #[serde(default)]
        from: From,
        /// The whole address.
        url: Secret,
        /// The shared secret, `whsec_…` or base64.
        secret: Secret,
    },
    /// E-mail.
    Email {
        /// Its name, unique among the channels.
        id: String,
        /// From which level on it is told.
        #[serde(default)]
        from: From,
        /// The mail server.
        host: String,
        /// Its port; 465 with `tls`, 587 with `starttls`, 25 with `none` where left out.
        #[serde(default)]
        port: Option<u16>,
        /// How the connection is protected.
        #[serde(default)]
        security: Security,
        /// A PEM file with the certificate authorities to trust instead of the machine's. Relative to the
        /// configuration file.
        #[serde(default)]
        ca: Option<PathBuf>,
        /// The user name, where the server asks for one.
        #[serde(default)]
        username: Option<String>,
        /// The password.
        #[serde(default)]
        password: Option<Secret>,
        /// Who writes: `hisync <hisync@hospital.example>`.
        sender: String,
        /// Who is written to.
        recipients: Vec<String>,
    },
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS from the beginning.
    #[default]
    Tls,
    /// TLS after a plain greeting; without it nothing is sent.
    Starttls,
    /// None: only for a server on this machine or in a network that is trusted. No password is sent.
    None,
}

impl Channel {
    /// Its name.
    pub fn id(&self) -> &str {
        match self {
            Channel::Wecom { id, .. }
            | Channel::Dingtalk { id, .. }
            | Channel::Feishu { id, .. }
            | Channel::Webhook { id, .. }
            | Channel::Email { id, .. } => id,
        }
    }

    /// Its kind, as the configuration writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Channel::Wecom { .. } => "wecom",
            Channel::Dingtalk { .. } => "dingtalk",
            Channel::Feishu { .. } => "feishu",
            Channel::Webhook { .. } => "webhook",
            Channel::Email { .. } => "email",
        }
    }

    /// From which level on it is told.
    pub fn level(&self) -> Level {
        let (Channel::Wecom { from, .. }
        | Channel::Dingtalk { from, .. }
        | Channel::Feishu { from, .. }
        | Channel::Webhook { from, .. }
        | Channel::Email { from, .. }) = self;
        match from {
            From::Attention => Level::Attention,
            From::Failing => Level::Failing,
        }
    }
}

impl Settings {
    /// Every problem that can be seen without sending: the key and what is wrong with it.
    pub fn problems(&self, base_dir: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let folder = self.templates.as_ref().map(|folder| base_dir.join(folder));
        if let Err(error) = words::Words::new(self.language, "hospital", chrono_tz::UTC, folder.as_deref()) {
            found.push(("templates".to_owned(), connector_api::chain(&error)));
        }
        for (at, channel) in self.channels.iter().enumerate() {
            let id = channel.id();
            if id.is_empty() || id.len() > 64 || !id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
                let message = "use 1 to 64 ASCII letters, digits, `-`, `_` and `.`";
                found.push((format!("channels[{at}].id"), message.to_owned()));
            }
            if self.channels[..at].iter().any(|other| other.id() == id) {
                let message = format!("another channel has the id {id:?} already");
                found.push((format!("channels[{at}].id"), message));
            }
            if let Channel::Email { sender, recipients, security, password, .. } = channel {
                found.extend(
                    mail::problems(sender, recipients).map(|(key, text)| (format!("channels[{at}].{key}"), text)),
                );
                if *security == Security::None && password.is_some() {
                    let message = "a password would be sent for everybody to read: use tls or starttls";
                    found.push((format!("channels[{at}].security"), message.to_owned()));
                }
            }
        }
        found
    }

    fn policy(&self) -> engine::Policy {
        engine::Policy {
            open_after: Duration::from_secs(self.open_after_secs),
            close_after: Duration::from_secs(self.close_after_secs),
            remind_after: Duration::from_secs(self.remind_after_minutes * 60),
        }
    }
}
