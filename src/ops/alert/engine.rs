//! Turns reasons into episodes: one message when trouble begins, one when it ends, reminders in between.
//!
//! A pure state machine over what is stored; times are handed in. What it remembers itself (how long a reason has been
//! there, or gone) may be lost: a restart then waits once more, and neither repeats nor forgets anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::ops::health::{Level, Reason};
use crate::ops::reasons;
use crate::ops::silence::ago;
use crate::store::{AlertChange, AlertSilence, Episode};

/// Episodes that ended within this time are looked at: trouble that comes back again and again flaps.
pub(super) const FLAPS_WITHIN: TimeDelta = TimeDelta::hours(2);

/// The longest that trouble must be gone before it is said to have ended.
const QUIET_MAX: Duration = Duration::from_secs(3600);

/// When to tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// Trouble that passes within this time is not told.
    pub(super) open_after: Duration,
    /// Trouble must be gone for so long; twice as long each time that it came back within two hours.
    pub(super) close_after: Duration,
    /// Of what lasts people are reminded so often.
    pub(super) remind_after: Duration,
}

/// What a look at the agent gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The time.
    pub(super) now: DateTime<Utc>,
    /// The reasons, each with the cause that explains it.
    pub(super) reasons: &'a [Reason],
    /// Subjects of which nothing can be said yet: their episodes stay as they are.
    pub(super) undecided: &'a BTreeSet<String>,
    /// The episodes that last, and those that ended lately.
    pub(super) episodes: &'a [Episode],
    /// What nobody wants to hear of.
    pub(super) silences: &'a [AlertSilence],
}

/// Who is told of what: a channel, and from which level on.
pub(super) type Audience<'a> = &'a [(String, Level)];

/// What was seen since the start.
#[derive(Debug, Default)]
pub(super) struct Engine {
    there_since: BTreeMap<String, DateTime<Utc>>,
    gone_since: BTreeMap<i64, DateTime<Utc>>,
}

impl Engine {
    /// What is to be stored and told now.
    pub(super) fn step(&mut self, policy: &Policy, audience: Audience<'_>, seen: &Seen<'_>) -> Vec<AlertChange> {
        let open: Vec<&Episode> = seen.episodes.iter().filter(|episode| episode.closed_at.is_none()).collect();
        let of = |reason: &Reason| {
            open.iter().find(|episode| episode.code == reason.code && episode.subject == reason.subject)
        };
        let mut changes = Vec::new();
        let keys: BTreeSet<String> = seen.reasons.iter().map(Reason::key).collect();
        self.there_since.retain(|key, _| keys.contains(key));
        for reason in seen.reasons {
            let quiet = reason.cause.is_some() || is_silenced(seen.silences, reason.code, &reason.subject);
            if let Some(episode) = of(reason) {
                self.gone_since.remove(&episode.id);
                let worse = reason.level > level_of(episode);
                if !quiet && (worse || ago(seen.now, episode.told_at) >= policy.remind_after) {
                    let channels = channels(audience, reason.level);
                    changes.push(AlertChange::Remind { id: episode.id, reason: json(reason), channels });
                }
            } else if quiet {
                // It begins to count when its cause is gone.
                self.there_since.remove(&reason.key());
            } else {
                let since = *self.there_since.entry(reason.key()).or_insert(seen.now);
                if ago(seen.now, since) >= policy.open_after {
                    changes.push(AlertChange::Open {
                        code: reason.code.to_owned(),
                        subject: reason.subject.clone(),
                        reason: json(reason),
                        channels: channels(audience, reason.level),
                    });
                }
            }
        }
        for episode in &open {
            let there = seen.reasons.iter().any(|reason| of(reason).is_some_and(|other| other.id == episode.id));
            let hidden = seen.undecided.contains(&episode.subject)
                || is_silenced(seen.silences, &episode.code, &episode.subject)
                || reasons::is_explained(&episode.code, &episode.subject, seen.reasons);
            if there || hidden {
                self.gone_since.remove(&episode.id);
                continue;
            }
            let since = *self.gone_since.entry(episode.id).or_insert(seen.now);
            if ago(seen.now, since) >= quiet_for(policy, episode, seen) {
                self.gone_since.remove(&episode.id);
                changes.push(AlertChange::Close { id: episode.id });
            }
        }
        let lasts: BTreeSet<i64> = open.iter().map(|episode| episode.id).collect();
        self.gone_since.retain(|id, _| lasts.contains(id));
        changes
    }
}

/// How long trouble must be gone: longer each time that it came back lately.
fn quiet_for(policy: &Policy, episode: &Episode, seen: &Seen<'_>) -> Duration {
    let same = |other: &&Episode| other.code == episode.code && other.subject == episode.subject;
    let lately = |other: &&Episode| other.closed_at.is_some_and(|at| seen.now - at < FLAPS_WITHIN);
    let flaps = seen.episodes.iter().filter(same).filter(lately).count();
    let doubled = policy.close_after.saturating_mul(1 << flaps.min(10));
    doubled.min(QUIET_MAX.max(policy.close_after))
}

/// Whether somebody said not to tell of this now.
fn is_silenced(silences: &[AlertSilence], code: &str, subject: &str) -> bool {
    silences.iter().any(|silence| {
        silence.code.as_deref().is_none_or(|of| of == code) && silence.subject.as_deref().is_none_or(|of| of == subject)
    })
}

fn channels(audience: Audience<'_>, level: Level) -> Vec<String> {
    audience.iter().filter(|(_, from)| level >= *from).map(|(id, _)| id.clone()).collect()
}

fn level_of(episode: &Episode) -> Level {
    match episode.reason["level"].as_str() {
        Some("failing") => Level::Failing,
        Some("attention") => Level::Attention,
        _ => Level::Ok,
    }
}

fn json(reason: &Reason) -> serde_json::Value {
    serde_json::to_value(reason).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        open_after: Duration::from_secs(60),
        close_after: Duration::from_secs(300),
        remind_after: Duration::from_secs(4 * 3600),
    };

    /// An engine with a store of its own: episodes only.
    #[derive(Default)]
    struct World {
        engine: Engine,
        episodes: Vec<Episode>,
        silences: Vec<AlertSilence>,
        undecided: BTreeSet<String>,
        minute: i64,
    }

    impl World {
        /// A minute later these reasons are there; answers what is told.
        fn look(&mut self, reasons: &[Reason]) -> Vec<String> {
            self.minute += 1;
            let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(self.minute);
            let mut reasons = reasons.to_vec();
            reasons::explain(&mut reasons);
            let seen = Seen {
                now,
                reasons: &reasons,
                undecided: &self.undecided,
                episodes: &self.episodes,
                silences: &self.silences,
            };
            let audience = [("chat".to_owned(), Level::Attention), ("call".to_owned(), Level::Failing)];
            let changes = self.engine.step(&POLICY, &audience, &seen);
            changes.into_iter().map(|change| self.apply(change, now)).collect()
        }

        fn apply(&mut self, change: AlertChange, now: DateTime<Utc>) -> String {
            let at = self.minute;
            match change {
                AlertChange::Open { code, subject, reason, channels } => {
                    let id = self.episodes.len() as i64;
                    let text = format!("{at}: {code} begins ({})", channels.join(" "));
                    let opened_at = now;
                    self.episodes.push(Episode { id, code, subject, reason, opened_at, told_at: now, closed_at: None });
                    text
                }
                AlertChange::Remind { id, reason, channels } => {
                    let episode = &mut self.episodes[id as usize];
                    (episode.told_at, episode.reason) = (now, reason);
                    format!("{at}: {} lasts ({})", episode.code, channels.join(" "))
                }
                AlertChange::Close { id } => {
                    let episode = &mut self.episodes[id as usize];
                    episode.closed_at = Some(now);
                    format!("{at}: {} ends", episode.code)
                }
            }
        }

        fn run(&mut self, minutes: i64, reasons: &[Reason]) -> Vec<String> {
            (0..minutes).flat_map(|_| self.look(reasons)).collect()
        }
    }

    fn down() -> Reason {
        Reason::new("upstream-down", "upstream")
    }

    fn slow() -> Reason {
        Reason::new("upstream-slow", "upstream")
    }

    #[test]
    fn trouble_is_told_when_it_begins_and_when_it_ends_and_a_blip_is_not() {
        let mut world = World::default();
        assert!(world.run(1, &[down()]).is_empty() && world.run(9, &[]).is_empty(), "a blip");
        assert_eq!(world.run(30, &[down()]), ["12: upstream-down begins (chat call)"]);
        assert_eq!(world.run(20, &[]), ["46: upstream-down ends"]);
    }

    #[test]
    fn what_lasts_is_told_again_and_what_gets_worse_at_once() {
        let mut world = World::default();
        let attention = || slow().level(Level::Attention);
        assert_eq!(
            world.run(300, &[attention()]),
            ["2: upstream-slow begins (chat)", "242: upstream-slow lasts (chat)"]
        );
        assert_eq!(world.run(2, &[slow().level(Level::Failing)]), ["301: upstream-slow lasts (chat call)"]);
    }

    #[test]
    fn a_cause_speaks_for_what_it_explains() {
        let mut world = World::default();
        assert_eq!(world.run(60, &[slow(), down()]), ["2: upstream-down begins (chat call)"]);
        // What remains after its cause is gone is trouble of its own.
        assert_eq!(world.run(10, &[slow()]), ["62: upstream-slow begins (chat)", "66: upstream-down ends"]);
        // What was told before its cause came is not said to end while the cause hides it.
        assert_eq!(world.run(60, &[down()]), ["72: upstream-down begins (chat call)"]);
        assert_eq!(world.run(20, &[]), ["136: upstream-slow ends", "141: upstream-down ends"]);
    }

    #[test]
    fn flapping_is_one_episode() {
        let mut world = World::default();
        let told: Vec<String> = (0..8).flat_map(|_| [world.run(6, &[down()]), world.run(6, &[])].concat()).collect();
        // It ends once; from then on a pause of six minutes is none.
        assert_eq!(
            told,
            ["2: upstream-down begins (chat call)", "12: upstream-down ends", "14: upstream-down begins (chat call)"]
        );
        assert_eq!(world.run(60, &[]).len(), 1);
    }

    #[test]
    fn a_restart_neither_repeats_nor_forgets() {
        let mut world = World::default();
        assert_eq!(world.run(5, &[down()]).len(), 1);
        world.engine = Engine::default();
        assert!(world.run(5, &[down()]).is_empty());
        world.engine = Engine::default();
        world.undecided.insert("upstream".to_owned());
        assert!(world.run(10, &[]).is_empty(), "nothing can be said yet");
        world.undecided.clear();
        assert_eq!(world.run(10, &[]), ["26: upstream-down ends"]);
    }

    #[test]
    fn what_is_silenced_is_not_told_until_the_silence_ends() {
        let mut world = World::default();
        let silence = AlertSilence {
            id: 1,
            code: Some("upstream-down".to_owned()),
            subject: None,
            until: DateTime::UNIX_EPOCH,
            who: String::new(),
            because: String::new(),
        };
        world.silences.push(silence);
        assert!(world.run(10, &[down()]).is_empty());
        world.silences.clear();
        assert_eq!(world.run(10, &[down()]), ["12: upstream-down begins (chat call)"]);
    }
}
