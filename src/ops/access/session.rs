//! Sessions of people at the page.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::{Caller, TokenDigest};

/// Unused for so long, a session ends: a nurse's computer is anybody's.
const IDLE: TimeDelta = TimeDelta::minutes(30);
/// However much it is used, it ends after a shift.
const LONGEST: TimeDelta = TimeDelta::hours(12);
/// Sessions at once. Beyond it the one that was unused longest ends.
const KEPT: usize = 64;

#[derive(Debug)]
struct Session {
    caller: Caller,
    began: DateTime<Utc>,
    used: DateTime<Utc>,
}

impl Session {
    fn lives(&self, now: DateTime<Utc>) -> bool {
        now - self.used < IDLE && now - self.began < LONGEST
    }
}

/// The sessions that live.
#[derive(Debug, Default)]
pub(super) struct Sessions(HashMap<TokenDigest, Session>);

impl Sessions {
    pub(super) fn begin(&mut self, token: TokenDigest, caller: Caller, now: DateTime<Utc>) {
        self.0.retain(|_, session| session.lives(now));
        while self.0.len() >= KEPT {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used).map(|(token, _)| *token);
            match oldest {
                Some(token) => drop(self.0.remove(&token)),
                None => break,
            }
        }
        self.0.insert(token, Session { caller, began: now, used: now });
    }

    pub(super) fn used(&mut self, token: &TokenDigest, idle: bool, now: DateTime<Utc>) -> Option<Caller> {
        let session = self.0.get_mut(token).filter(|session| session.lives(now))?;
        if !idle {
            session.used = now;
        }
        Some(session.caller.clone())
    }

    pub(super) fn end(&mut self, token: &TokenDigest) {
        self.0.remove(token);
    }
}
