//! Alerts: trouble from its beginning to its end, and what of it is still to be told to whom.
//!
//! A message is stored in the transaction that opens, reminds of or closes its episode, and stays until its channel took
//! it: a restart neither repeats nor loses one.

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::Row;
use serde::Serialize;
use serde_json::Value as Json;

use super::reader::time;
use super::writer::Tx;
use super::{Error, Reader, Store, held};

/// Episodes that ended longer ago are forgotten.
const KEPT: TimeDelta = TimeDelta::days(90);

/// Trouble from its beginning to its end. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Episode {
    /// Its row.
    pub id: i64,
    /// What kind of trouble.
    pub code: String,
    /// What it is about.
    pub subject: String,
    /// The reason as it was last seen: `level`, `text`, `next`, and the same in Chinese.
    pub reason: Json,
    /// When it began to count.
    pub opened_at: DateTime<Utc>,
    /// When it was last told of.
    pub told_at: DateTime<Utc>,
    /// When it had ended for good; `None` while it lasts.
    pub closed_at: Option<DateTime<Utc>>,
}

/// Why a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MessageKind {
    /// Trouble begins.
    Opened,
    /// It lasts, or got worse.
    Reminder,
    /// It ended.
    Closed,
}

impl MessageKind {
    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            MessageKind::Opened => "opened",
            MessageKind::Reminder => "reminder",
            MessageKind::Closed => "closed",
        }
    }
}

/// A message that a channel has to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertMessage {
    /// Its row.
    pub id: i64,
    /// To whom.
    pub channel: String,
    /// Why.
    pub kind: MessageKind,
    /// When it was made, UTC.
    pub made_at: DateTime<Utc>,
    /// Attempts so far.
    pub attempts: u32,
    /// What it is about.
    pub episode: Episode,
}

/// How a channel does. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelState {
    /// Its id.
    pub channel: String,
    /// Messages that wait for it.
    pub waiting: u64,
    /// The most attempts that one of those has behind it.
    pub attempts: u32,
    /// When the oldest of them was made.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Why the last attempt failed.
    pub failure: Option<String>,
}

/// What a person does not want to hear of for a while. Times are UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlertSilence {
    /// Its row.
    pub id: i64,
    /// Only of this kind.
    pub code: Option<String>,
    /// Only about this.
    pub subject: Option<String>,
    /// Until when.
    pub until: DateTime<Utc>,
    /// Who said so.
    pub who: String,
    /// Why.
    pub because: String,
}

/// A change of the episodes.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertChange {
    /// Trouble begins.
    Open {
        /// What kind.
        code: String,
        /// About what.
        subject: String,
        /// The reason.
        reason: Json,
        /// Who is told.
        channels: Vec<String>,
    },
    /// It lasts, or got worse.
    Remind {
        /// Which one.
        id: i64,
        /// The reason as it is now.
        reason: Json,
        /// Who is told.
        channels: Vec<String>,
    },
    /// It ended. Whoever was told of it is told; whoever was not yet told never hears of it.
    Close {
        /// Which one.
        id: i64,
    },
}

/// What became of an attempt to send a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageOutcome {
    /// The channel took it.
    Sent,
    /// To be sent again, not before a time.
    Retry {
        /// When.
        at: DateTime<Utc>,
        /// Why, free of secrets and personal data.
        failure: String,
    },
    /// It is too late to tell.
    GivenUp,
}

const EPISODE: &str = "e.id, e.code, e.subject, e.reason, e.opened_at, e.told_at, e.closed_at";

fn episode(row: &Row<'_>) -> rusqlite::Result<Episode> {
    Ok(Episode {
        id: row.get(0)?,
        code: row.get(1)?,
        subject: row.get(2)?,
        reason: serde_json::from_str(&row.get::<_, String>(3)?).unwrap_or_default(),
        opened_at: time(row.get(4)?),
        told_at: time(row.get(5)?),
        closed_at: row.get::<_, Option<i64>>(6)?.map(time),
    })
}

impl Reader {
    /// The episodes that last, and those that ended since a time, the newest first.
    pub fn alerts(&self, ended_since: DateTime<Utc>, limit: usize) -> Result<Vec<Episode>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {EPISODE} FROM alert_episode e WHERE e.closed_at IS NULL OR e.closed_at >= ?1
             ORDER BY e.closed_at IS NOT NULL, e.id DESC LIMIT ?2"
        );
        self.all("read alerts", &sql, (ended_since.timestamp_micros(), limit), episode)
    }

    /// Messages that are due, oldest first.
    pub fn alert_messages(&self, now: DateTime<Utc>, limit: usize) -> Result<Vec<AlertMessage>, Error> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = format!(
            "SELECT {EPISODE}, m.id, m.channel, m.kind, m.made_at, m.attempts
             FROM alert_message m JOIN alert_episode e ON e.id = m.episode_id
             WHERE m.due_at <= ?1 ORDER BY m.id LIMIT ?2"
        );
        self.all("read alerts that are due", &sql, (now.timestamp_micros(), limit), |row| {
            Ok(AlertMessage {
                id: row.get(7)?,
                channel: row.get(8)?,
                kind: match row.get::<_, String>(9)?.as_str() {
                    "opened" => MessageKind::Opened,
                    "reminder" => MessageKind::Reminder,
                    _ => MessageKind::Closed,
                },
                made_at: time(row.get(10)?),
                attempts: row.get::<_, u32>(11)?,
                episode: episode(row)?,
            })
        })
    }

    /// How the channels do that have messages waiting.
    pub fn alert_channels(&self) -> Result<Vec<ChannelState>, Error> {
        // SQLite takes the bare column from the row that has the maximum.
        let sql = "SELECT channel, count(*), max(attempts), min(made_at), outcome FROM alert_message
                   WHERE due_at IS NOT NULL GROUP BY channel ORDER BY channel";
        self.all("read alert channels", sql, (), |row| {
            Ok(ChannelState {
                channel: row.get(0)?,
                waiting: row.get::<_, i64>(1)?.unsigned_abs(),
                attempts: row.get(2)?,
                oldest_at: row.get::<_, Option<i64>>(3)?.map(time),
                failure: row.get(4)?,
            })
        })
    }

    /// What nobody wants to hear of now.
    pub fn alert_silences(&self, now: DateTime<Utc>) -> Result<Vec<AlertSilence>, Error> {
        let sql = "SELECT id, code, subject, until, who, because FROM alert_silence WHERE until > ?1 ORDER BY id";
        self.all("read silences", sql, (now.timestamp_micros(),), |row| {
            Ok(AlertSilence {
                id: row.get(0)?,
                code: row.get(1)?,
                subject: row.get(2)?,
                until: time(row.get(3)?),
                who: row.get(4)?,
                because: row.get(5)?,
            })
        })
    }
}

fn tell(tx: &Tx<'_>, episode: i64, kind: MessageKind, channels: &[String]) -> Result<(), Error> {
    for channel in channels {
        let sql = "INSERT INTO alert_message (episode_id, channel, kind, made_at, due_at) VALUES (?1, ?2, ?3, ?4, ?4)";
        tx.run("store an alert", sql, (episode, channel, kind.as_str(), tx.now))?;
    }
    Ok(())
}

fn apply(tx: &Tx<'_>, change: &AlertChange) -> Result<(), Error> {
    let operation = "store an alert";
    match change {
        AlertChange::Open { code, subject, reason, channels } => {
            // The engine asks before it opens; were there one all the same, it is the same trouble.
            let sql = "INSERT INTO alert_episode (code, subject, reason, opened_at, told_at)
                       VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT DO NOTHING";
            if tx.run(operation, sql, (code, subject, reason.to_string(), tx.now))? > 0 {
                tell(tx, tx.conn.last_insert_rowid(), MessageKind::Opened, channels)?;
            }
        }
        AlertChange::Remind { id, reason, channels } => {
            let sql = "UPDATE alert_episode SET reason = ?2, told_at = ?3 WHERE id = ?1 AND closed_at IS NULL";
            if tx.run(operation, sql, (id, reason.to_string(), tx.now))? > 0 {
                // Whoever has not heard the last message yet hears the newest words of it.
                let untold = |channel: &String| -> Result<bool, Error> {
                    let sql = "SELECT 1 FROM alert_message WHERE episode_id = ?1 AND channel = ?2
                                 AND due_at IS NOT NULL";
                    Ok(tx.one(operation, sql, (id, channel), |_| Ok(()))?.is_some())
                };
                for channel in channels {
                    if !untold(channel)? {
                        tell(tx, *id, MessageKind::Reminder, std::slice::from_ref(channel))?;
                    }
                }
            }
        }
        AlertChange::Close { id } => {
            let sql = "UPDATE alert_episode SET closed_at = ?2 WHERE id = ?1 AND closed_at IS NULL";
            if tx.run(operation, sql, (id, tx.now))? == 0 {
                return Ok(());
            }
            let sql = "UPDATE alert_message SET due_at = NULL, outcome = 'superseded'
                       WHERE episode_id = ?1 AND due_at IS NOT NULL";
            tx.run(operation, sql, (id,))?;
            let sql = "SELECT DISTINCT channel FROM alert_message WHERE episode_id = ?1 AND outcome = 'sent'";
            let told: Vec<String> = tx.all(operation, sql, (id,), |row| row.get(0))?;
            tell(tx, *id, MessageKind::Closed, &told)?;
        }
    }
    Ok(())
}

impl Store {
    /// Stores changes of the episodes with the messages that they make, all or none.
    pub async fn change_alerts(&self, changes: Vec<AlertChange>) -> Result<(), Error> {
        self.write("store alerts", changes.len(), move |tx| {
            changes.iter().try_for_each(|change| apply(tx, change))?;
            let before = tx.now - KEPT.num_microseconds().unwrap_or(i64::MAX);
            let sql = "DELETE FROM alert_message WHERE episode_id IN
                         (SELECT id FROM alert_episode WHERE closed_at < ?1)";
            tx.run("forget old alerts", sql, (before,))?;
            tx.run("forget old alerts", "DELETE FROM alert_episode WHERE closed_at < ?1", (before,))?;
            tx.run("forget old silences", "DELETE FROM alert_silence WHERE until < ?1", (before,))?;
            Ok(())
        })
        .await
    }

    /// Records what became of an attempt to send a message.
    pub async fn settle_alert(&self, id: i64, outcome: MessageOutcome) -> Result<(), Error> {
        self.write("settle an alert", 1, move |tx| {
            let (due_at, word) = match &outcome {
                MessageOutcome::Sent => (None, "sent"),
                MessageOutcome::GivenUp => (None, "given-up"),
                MessageOutcome::Retry { at, failure } => (Some(at.timestamp_micros()), failure.as_str()),
            };
            // A message that was superseded while it was on its way is taken back by the one that it ended.
            let sql = "SELECT episode_id, channel FROM alert_message
                       WHERE id = ?1 AND due_at IS NULL AND outcome = 'superseded'";
            let told: Option<(i64, String)> =
                tx.one("settle an alert", sql, (id,), |row| Ok((row.get(0)?, row.get(1)?)))?;
            if let (Some((episode, channel)), MessageOutcome::Sent) = (told, &outcome) {
                tell(tx, episode, MessageKind::Closed, &[channel])?;
            }
            let sql = "UPDATE alert_message SET due_at = CASE WHEN due_at IS NULL THEN NULL ELSE ?2 END, outcome = ?3,
                         attempts = attempts + 1 WHERE id = ?1 AND (due_at IS NOT NULL OR ?3 = 'sent')";
            tx.run("settle an alert", sql, (id, due_at, word)).map(drop)
        })
        .await
    }

    /// Keeps alerts quiet until a time: of one kind, about one thing, or both; answers the silence's id.
    pub async fn silence_alerts(
        &self,
        code: Option<String>,
        subject: Option<String>,
        until: DateTime<Utc>,
        who: &str,
        because: &str,
    ) -> Result<i64, Error> {
        let (who, because) = (who.to_owned(), because.to_owned());
        self.write("silence alerts", 1, move |tx| {
            let sql = "INSERT INTO alert_silence (code, subject, until, who, because, made_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
            let values = (&code, &subject, until.timestamp_micros(), &who, &because, tx.now);
            let id = tx.insert("silence alerts", sql, values)?;
            held::audit(tx, &who, "alert-silence", &format!("silence/{id}"), &because)?;
            Ok(id)
        })
        .await
    }

    /// Ends a silence before its time.
    pub async fn end_alert_silence(&self, id: i64, who: &str) -> Result<(), Error> {
        let who = who.to_owned();
        self.write("end a silence", 1, move |tx| {
            let sql = "UPDATE alert_silence SET until = ?2 WHERE id = ?1 AND until > ?2";
            if tx.run("end a silence", sql, (id, tx.now))? == 0 {
                return Err(Error::NotFound { what: "silence", id });
            }
            held::audit(tx, &who, "alert-silence-end", &format!("silence/{id}"), "")
        })
        .await
    }
}
