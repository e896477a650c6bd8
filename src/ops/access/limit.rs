//! How often somebody may guess.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

/// Failures that cost nothing: people mistype.
const FREE: u32 = 4;
/// The longest wait. Longer, and whoever guesses keeps the operator out.
const LONGEST_SECS: i64 = 300;
/// Failures older than this are forgotten.
const FORGOTTEN_SECS: i64 = 3600;
/// Names and addresses that are remembered. Beyond it, those that failed longest ago are forgotten.
const KEPT: usize = 1024;

/// Counts failures by name and by address; each beyond the free ones doubles the wait.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<String, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    n: u32,
    last: DateTime<Utc>,
}

impl Failures {
    fn until(self) -> DateTime<Utc> {
        let beyond = self.n.saturating_sub(FREE);
        let secs = if beyond == 0 { 0 } else { LONGEST_SECS.min(1 << beyond.min(30)) };
        self.last + TimeDelta::seconds(secs)
    }
}

impl Limiter {
    /// Seconds until the next attempt is looked at; `None` where it is at once.
    pub(super) fn wait(&self, keys: &[String], now: DateTime<Utc>) -> Option<u64> {
        let until = keys.iter().filter_map(|key| self.0.get(key)).map(|failures| failures.until()).max()?;
        // A clock that went back must not lock anybody out for longer than the longest wait.
        let left = (until - now).num_milliseconds().min(LONGEST_SECS * 1000);
        (left > 0).then(|| left.unsigned_abs().div_ceil(1000))
    }

    /// One more failure.
    pub(super) fn failed(&mut self, keys: &[String], now: DateTime<Utc>) {
        self.0.retain(|_, failures| (now - failures.last).num_seconds() < FORGOTTEN_SECS);
        for key in keys {
            let failures = self.0.entry(key.clone()).or_insert(Failures { n: 0, last: now });
            *failures = Failures { n: failures.n.saturating_add(1), last: now };
        }
        while self.0.len() > KEPT {
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last).map(|(key, _)| key.clone());
            match oldest {
                Some(key) => drop(self.0.remove(&key)),
                None => break,
            }
        }
    }

    /// A success.
    pub(super) fn forget(&mut self, keys: &[String]) {
        for key in keys {
            self.0.remove(key);
        }
    }
}
