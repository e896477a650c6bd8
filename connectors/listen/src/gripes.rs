//! Warnings about peers, each kind at most once a minute: a peer must not fill the disk with them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use connector_api::SourceId;
use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(60);

/// Says what is wrong with peers, and how often it was left unsaid.
#[derive(Debug)]
pub struct Gripes {
    source: SourceId,
    said: Mutex<HashMap<&'static str, (Instant, u64)>>,
}

impl Gripes {
    /// For the peers of one source.
    pub fn new(source: SourceId) -> Gripes {
        Gripes { source, said: Mutex::default() }
    }

    /// Logs the peer's address and the text, which must be free of personal data.
    pub fn warn(&self, kind: &'static str, peer: IpAddr, text: &str) {
        if let Some(unsaid) = self.due(kind, Instant::now()) {
            tracing::warn!(source = %self.source, %peer, unsaid, "{text}");
        }
    }

    fn due(&self, kind: &'static str, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.get_mut(kind) {
            Some((last, unsaid)) if now.duration_since(*last) < PAUSE => {
                *unsaid += 1;
                None
            }
            Some(entry) => {
                let unsaid = entry.1;
                *entry = (now, 0);
                Some(unsaid)
            }
            None => {
                said.insert(kind, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Gripes, PAUSE};

    #[test]
    fn a_kind_is_said_once_a_minute_with_the_count_of_what_was_not() {
        let gripes = Gripes::new(connector_api::SourceId::new("his"));
        let now = tokio::time::Instant::now();
        let said: Vec<_> = [0, 1, 2].map(|n| gripes.due("401", now + PAUSE / 4 * n)).into();
        assert_eq!(said, [Some(0), None, None]);
        assert_eq!(gripes.due("408", now), Some(0));
        assert_eq!(gripes.due("401", now + PAUSE), Some(2));
        assert_eq!(gripes.due("401", now + PAUSE), None);
    }
}
