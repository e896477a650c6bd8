//! The loops over what is stored, and what the page and the command line see of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use connector_api::SecretError;
use serde::Serialize;
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, FLAPS_WITHIN, Policy, Seen};
use super::robots::{Robots, Told};
use super::words::{Words, WordsError, sample};
use super::{Channel, Settings, mail};
use crate::clock::Clock;
use crate::delivery::signature::KeyError;
use crate::ops::health::{Level, Reason};
use crate::retry;
use crate::store::{
    self, AlertMessage, AlertSilence, ChannelState, Episode, MessageKind, MessageOutcome, Reader, Store,
};
use crate::switches::{MUTE_ALERTS, Setting, Switches};

/// How often stored messages are looked at, beside when one is made.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A message that could not be sent for so long is no news any more.
const TOO_LATE: TimeDelta = TimeDelta::hours(24);

/// So many attempts in a row are more than a blip.
const NO_BLIP: u32 = 3;

/// Messages that are read at once.
const STEP: usize = 200;

/// Episodes that ended so long ago are shown.
const SHOWN: TimeDelta = TimeDelta::days(14);

/// Why a message was not sent. Holds no secret and no address that has one.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// There is no such channel.
    #[error("there is no channel {0:?}; the configuration has: {1}")]
    Unknown(String, String),
    /// A secret can't be read.
    #[error("read the channel's secret")]
    Secret(#[source] SecretError),
    /// The signing secret can't be used.
    #[error("use the channel's secret")]
    Key(#[source] KeyError),
    /// The secret holds no address.
    #[error("the channel's address is no URL or mail address")]
    Address,
    /// The address is not encrypted.
    #[error("the channel's address must begin with https://, because it holds a key")]
    NotHttps,
    /// The request failed.
    #[error("ask the channel's server")]
    Http(#[source] reqwest::Error),
    /// The server answered with a status that is no success.
    #[error("the channel's server answered {0}")]
    Status(u16),
    /// The server refused the message, in its own words.
    #[error("the channel's server refuses: {0}")]
    Refused(String),
    /// The server's answer can't be read.
    #[error("the channel's server answered something that can't be read: is the address right?")]
    Unreadable,
    /// A template can't be used.
    #[error(transparent)]
    Words(#[from] WordsError),
    /// A certificate file can't be read.
    #[error("read the file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The mail can't be written.
    #[error("write the mail")]
    Mail(#[source] lettre::error::Error),
    /// The mail server refused it, or could not be reached.
    #[error("send the mail")]
    Smtp(#[source] lettre::transport::smtp::Error),
}

/// The alerts of an agent. Clones share them.
#[derive(Clone)]
pub struct Desk(Arc<Inner>);

struct Inner {
    settings: Settings,
    base_dir: PathBuf,
    hospital: String,
    words: Words,
    robots: Robots,
    store: Store,
    clock: Clock,
    engine: Mutex<Engine>,
    bell: Notify,
    switches: Switches,
}

/// Everything of the alerts that people see. Times are UTC.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Alerts {
    /// Trouble that lasts, the newest first.
    pub open: Vec<Episode>,
    /// Trouble of the last two weeks that ended, the newest first.
    pub ended: Vec<Episode>,
    /// Who is told.
    pub channels: Vec<ChannelView>,
    /// What nobody wants to hear of now.
    pub silences: Vec<AlertSilence>,
}

/// A channel as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelView {
    /// Its id.
    pub id: String,
    /// `wecom`, `dingtalk`, `feishu`, `webhook` or `email`; `None` where the configuration does not name it any more.
    pub kind: Option<&'static str>,
    /// From which level on it is told.
    pub from: Option<Level>,
    /// Messages that wait for it.
    pub waiting: u64,
    /// Attempts that failed in a row.
    pub attempts: u32,
    /// Why the last one failed.
    pub failure: Option<String>,
}

impl Alerts {
    /// Reads them; `channels` are those of the configuration, where that is at hand.
    pub fn read(reader: &Reader, channels: &[Channel], now: DateTime<Utc>) -> Result<Alerts, store::Error> {
        Alerts::since(reader, channels, now, now - SHOWN)
    }

    fn since(
        reader: &Reader,
        channels: &[Channel],
        now: DateTime<Utc>,
        ended_since: DateTime<Utc>,
    ) -> Result<Alerts, store::Error> {
        let (ended, open): (Vec<_>, Vec<_>) =
            reader.alerts(ended_since, 500)?.into_iter().partition(|episode| episode.closed_at.is_some());
        let states = reader.alert_channels()?;
        let state = |id: &str| states.iter().find(|state| state.channel == id);
        let view = |id: &str, channel: Option<&Channel>, state: Option<&ChannelState>| ChannelView {
            id: id.to_owned(),
            kind: channel.map(Channel::kind),
            from: channel.map(Channel::level),
            waiting: state.map_or(0, |state| state.waiting),
            attempts: state.map_or(0, |state| state.attempts),
            failure: state.and_then(|state| state.failure.clone()),
        };
        let mut shown: Vec<ChannelView> =
            channels.iter().map(|channel| view(channel.id(), Some(channel), state(channel.id()))).collect();
        let unknown = states.iter().filter(|state| channels.iter().all(|channel| channel.id() != state.channel));
        shown.extend(unknown.map(|state| view(&state.channel, None, Some(state))));
        Ok(Alerts { open, ended, channels: shown, silences: reader.alert_silences(now)? })
    }
}

impl Desk {
    /// Checks the settings and reads the templates; connects to nothing.
    pub fn new(
        settings: &Settings,
        base_dir: &Path,
        (hospital, zone): (&str, Tz),
        store: Store,
        clock: Clock,
    ) -> Result<Desk, SendError> {
        let folder = settings.templates.as_ref().map(|folder| base_dir.join(folder));
        Ok(Desk(Arc::new(Inner {
            words: Words::new(settings.language, hospital, zone, folder.as_deref())?,
            robots: Robots::new(settings, clock.clone())?,
            settings: settings.clone(),
            base_dir: base_dir.to_owned(),
            hospital: hospital.to_owned(),
            store,
            engine: Mutex::default(),
            bell: Notify::new(),
            switches: Switches::new(clock.clone()),
            clock,
        })))
    }

    /// Is quiet while a person wants it so. Before the desk is shared.
    #[must_use]
    pub fn under(self, switches: Switches) -> Desk {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Desk(Arc::new(Inner { switches, ..inner })),
            Err(shared) => Desk(shared),
        }
    }

    /// The silence that a switch makes.
    fn muted(&self) -> Option<AlertSilence> {
        let Setting { until, who, because, .. } = self.0.switches.on(&MUTE_ALERTS)?;
        Some(AlertSilence { id: 0, code: None, subject: None, until, who, because })
    }

    /// Compares what is wrong now with the episodes, and stores what changed with the messages that it makes.
    pub async fn look(&self, reasons: &[Reason], undecided: &BTreeSet<String>) -> Result<(), store::Error> {
        let inner = &self.0;
        let now = inner.clock.now();
        let read = move |reader: &Reader| Ok((reader.alerts(now - FLAPS_WITHIN, 5000)?, reader.alert_silences(now)?));
        let (episodes, mut silences) = inner.store.read(read).await?;
        silences.extend(self.muted());
        let audience: Vec<(String, Level)> =
            inner.settings.channels.iter().map(|channel| (channel.id().to_owned(), channel.level())).collect();
        let seen = Seen { now, reasons, undecided, episodes: &episodes, silences: &silences };
        let policy: Policy = inner.settings.policy();
        // A channel that fails can't be told of by itself: others are told, the log and the page show it.
        let changes = inner.engine.lock().await.step(&policy, &audience, &seen);
        if !changes.is_empty() {
            inner.store.change_alerts(changes).await?;
            inner.bell.notify_one();
        }
        Ok(())
    }

    /// Sends what is to be told, until `stop`.
    pub async fn send(&self, stop: &CancellationToken) -> Result<(), store::Error> {
        while !stop.is_cancelled() {
            self.send_due().await?;
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.0.bell.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        Ok(())
    }

    /// Sends what is due now, each channel's messages in order; after a failure a channel's others wait.
    pub async fn send_due(&self) -> Result<(), store::Error> {
        if self.muted().is_some() {
            return Ok(());
        }
        let now = self.0.clock.now();
        let due = self.0.store.read(move |reader| reader.alert_messages(now, STEP)).await?;
        let mut failing: BTreeSet<String> = BTreeSet::new();
        for message in due {
            if failing.contains(&message.channel) {
                continue;
            }
            let outcome = self.attempt(&message).await;
            if matches!(outcome, MessageOutcome::Retry { .. }) {
                failing.insert(message.channel.clone());
            }
            let word = match &outcome {
                MessageOutcome::Sent => "sent",
                MessageOutcome::Retry { .. } => "retry",
                MessageOutcome::GivenUp => "given-up",
            };
            let channel = message.channel.clone();
            metrics::counter!("hisync_alert_messages_total", "channel" => channel, "outcome" => word).increment(1);
            self.0.store.settle_alert(message.id, outcome).await?;
        }
        Ok(())
    }

    async fn attempt(&self, message: &AlertMessage) -> MessageOutcome {
        let now = self.0.clock.now();
        let channel = self.0.settings.channels.iter().find(|channel| channel.id() == message.channel);
        let Some(channel) = channel.filter(|_| now - message.made_at < TOO_LATE) else {
            return MessageOutcome::GivenUp;
        };
        match self.tell(channel, message.id, message.kind, &message.episode).await {
            Ok(()) => MessageOutcome::Sent,
            Err(error) => {
                let failure = connector_api::chain(&error);
                tracing::warn!(channel = message.channel, "an alert was not taken: {failure}");
                let policy = retry::Policy::new(Duration::from_secs(30), Duration::from_secs(30 * 60));
                MessageOutcome::Retry { at: policy.next_time(message.attempts, now), failure }
            }
        }
    }

    async fn tell(&self, channel: &Channel, id: i64, kind: MessageKind, episode: &Episode) -> Result<(), SendError> {
        let inner = &self.0;
        let message = inner.words.write(kind, episode, inner.clock.now())?;
        match channel {
            Channel::Email { .. } => mail::send(channel, &inner.base_dir, &message).await,
            _ => {
                let told = Told { id, kind, hospital: &inner.hospital, episode };
                inner.robots.tell(channel, &inner.base_dir, &message, &told).await
            }
        }
    }

    /// Sends a trial message to a channel now.
    pub async fn test(&self, id: &str) -> Result<(), SendError> {
        let channels = &self.0.settings.channels;
        let Some(channel) = channels.iter().find(|channel| channel.id() == id) else {
            let ids: Vec<&str> = channels.iter().map(Channel::id).collect();
            let known = if ids.is_empty() { "none".to_owned() } else { ids.join(", ") };
            return Err(SendError::Unknown(id.to_owned(), known));
        };
        let now = self.0.clock.now();
        let mut episode = Episode { opened_at: now, told_at: now, ..sample() };
        episode.reason["since"] = serde_json::json!(now);
        self.tell(channel, 0, MessageKind::Opened, &episode).await
    }

    /// What lasts, without what ended: for a report that is made often.
    pub async fn lasting(&self) -> Result<Alerts, store::Error> {
        let (channels, now) = (self.0.settings.channels.clone(), self.0.clock.now());
        self.0.store.read(move |reader| Alerts::since(reader, &channels, now, DateTime::<Utc>::MAX_UTC)).await
    }

    /// Everything that people see.
    pub async fn alerts(&self) -> Result<Alerts, store::Error> {
        let (channels, now) = (self.0.settings.channels.clone(), self.0.clock.now());
        self.0.store.read(move |reader| Alerts::read(reader, &channels, now)).await
    }
}

/// The channels that do not take what they are told.
pub fn channel_reasons(channels: &[ChannelView]) -> Vec<Reason> {
    let failing = channels.iter().filter(|channel| channel.attempts >= NO_BLIP && channel.kind.is_some());
    let reason = |channel: &ChannelView| {
        let (n, failure) = (channel.attempts, channel.failure.as_deref().unwrap_or("it does not answer"));
        Reason::new("alert-channel", format!("channel {}", channel.id)).says(
            format!("{n} attempts to send an alert failed: {failure}"),
            format!("告警已连续 {n} 次发送失败：{failure}"),
        )
    };
    failing.map(reason).collect()
}
