//! The breaker of each source: while a system as a whole is at fault, its streams leave it alone, and one probe at a
//! time finds out whether it is back.
//!
//! A stream that has not failed itself is never kept back by the others: what one query runs into says nothing of
//! another one. A refused login is another matter: every further try may lock the account, so it stops all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_api::{FaultClass, SourceId, StreamId};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::breaker::{Breaker, BreakerStatus, Permit};
use crate::clock::Clock;
use crate::retry::Policy;

/// The first wait of an open breaker is at most so long; it doubles with each probe that fails, up to [`LONGEST`].
const FIRST: Duration = Duration::from_secs(20);
/// A source that is back is noticed within so long.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// Jitter never makes a wait shorter than this.
const SHORTEST: Duration = Duration::from_secs(5);
/// So seldom a source is asked that refuses the login: too seldom to lock an account.
const REFUSED: Duration = Duration::from_secs(30 * 60);

/// How a source is doing.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// Its id.
    pub id: SourceId,
    /// Its connector.
    pub connector: String,
    /// Whether its streams ask it.
    pub breaker: BreakerStatus,
    /// Its streams whose last round failed since it last answered one of them.
    pub failing: Vec<StreamId>,
}

/// The breaker of one source, shared by its streams.
#[derive(Debug)]
pub struct SourceBreaker {
    id: SourceId,
    clock: Clock,
    state: Mutex<State>,
    /// Counts changes of the state: what waits looks again.
    changed: watch::Sender<u64>,
    /// Counts what people reset.
    resets: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    breaker: Breaker,
    /// The streams that failed since the last answer.
    failing: BTreeSet<StreamId>,
    /// The source refuses the login.
    refused: bool,
}

/// Leave to ask the source. Says how that ended; one that is dropped without a word leaves the question to another.
#[derive(Debug)]
pub struct Admission {
    breaker: Arc<SourceBreaker>,
    stream: StreamId,
    probe: bool,
}

impl SourceBreaker {
    /// A breaker that is closed.
    pub fn new(id: SourceId, clock: Clock) -> Arc<SourceBreaker> {
        let breaker = Breaker::new(Policy::new(FIRST, LONGEST));
        let state = Mutex::new(State { breaker, failing: BTreeSet::new(), refused: false });
        let (changed, resets) = (watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(SourceBreaker { id, clock, state, changed, resets })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Returns when a stream may ask the source. To be dropped at any time.
    pub async fn admitted(self: &Arc<Self>, stream: &StreamId) -> Admission {
        let mut changed = self.changed.subscribe();
        loop {
            let until = {
                let mut state = self.lock();
                let permit = state.breaker.permit(Instant::now());
                let unheard = !state.failing.contains(stream) && !state.refused;
                match permit {
                    Permit::Free => return self.admission(stream, false),
                    _ if unheard => return self.admission(stream, false),
                    Permit::Probe => {
                        state.breaker.begin_probe();
                        return self.admission(stream, true);
                    }
                    Permit::WaitUntil(until) => Some(until),
                    Permit::WaitForProbe => None,
                }
            };
            let wait = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                // The sender lives as long as this breaker.
                _ = changed.changed() => {}
            }
        }
    }

    /// Leave for a round that a person asked for: it is made whatever the breaker says, and counts.
    pub fn asked(self: &Arc<Self>, stream: &StreamId) -> Admission {
        self.admission(stream, false)
    }

    fn admission(self: &Arc<Self>, stream: &StreamId, probe: bool) -> Admission {
        Admission { breaker: Arc::clone(self), stream: stream.clone(), probe }
    }

    /// A person acted: the source is asked again at once, by all of its streams.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.breaker.reset();
        state.failing.clear();
        state.refused = false;
        drop(state);
        self.ring();
        self.resets.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Tells of each reset from now on.
    pub fn resets(&self) -> watch::Receiver<u64> {
        self.resets.subscribe()
    }

    /// When a stream may ask next, where it has to wait for that; UTC.
    pub fn retry_at(&self, stream: &StreamId) -> Option<chrono::DateTime<chrono::Utc>> {
        let state = self.lock();
        let status = state.breaker.status();
        let waits = state.refused || state.failing.contains(stream);
        status.retry_at.filter(|_| waits && status.state != "closed")
    }

    fn status(&self, connector: &str) -> SourceStatus {
        let state = self.lock();
        SourceStatus {
            id: self.id.clone(),
            connector: connector.to_owned(),
            breaker: state.breaker.status(),
            failing: state.failing.iter().cloned().collect(),
        }
    }
}

impl Admission {
    /// The source answered, whatever it said.
    pub fn answered(mut self) {
        self.probe = false;
        let mut state = self.breaker.lock();
        state.failing.clear();
        state.refused = false;
        let closed = state.breaker.success();
        drop(state);
        if closed {
            tracing::info!(source = %self.breaker.id, "the source answers again");
        }
        self.breaker.ring();
    }

    /// The round failed. Whether that speaks of the source as a whole, its class says.
    pub fn failed(mut self, class: FaultClass) {
        match class {
            // It was reached, and let us in: what it lacks concerns the stream alone.
            FaultClass::Permission | FaultClass::Missing | FaultClass::Charset | FaultClass::Data => {
                return self.answered();
            }
            FaultClass::NameResolution
            | FaultClass::Unreachable
            | FaultClass::Tls
            | FaultClass::Login
            | FaultClass::Timeout
            | FaultClass::Protocol
            | FaultClass::Bind
            | FaultClass::Other => {}
        }
        self.probe = false;
        let (now, wall) = (Instant::now(), self.breaker.clock.now());
        let mut state = self.breaker.lock();
        state.failing.insert(self.stream.clone());
        let opened = if class == FaultClass::Login {
            state.refused = true;
            let opened = state.breaker.misconfigured(class.as_str(), now, wall);
            state.breaker.no_sooner(REFUSED, now, wall);
            opened
        } else {
            let opened = state.breaker.unavailable(class.as_str(), now, wall);
            state.breaker.no_sooner(SHORTEST, now, wall);
            opened
        };
        drop(state);
        if opened {
            let source = &self.breaker.id;
            tracing::error!(%source, class = class.as_str(), "the source is left alone for a while");
        }
        self.breaker.ring();
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.lock().breaker.abandon_probe(Instant::now());
            self.breaker.ring();
        }
    }
}

/// The breakers of all sources that are asked, with their connectors.
#[derive(Clone, Debug, Default)]
pub struct Sources(Arc<Mutex<Breakers>>);

type Breakers = BTreeMap<SourceId, (String, Arc<SourceBreaker>)>;

impl Sources {
    /// One breaker for each source: its id and its connector.
    pub fn new(sources: impl IntoIterator<Item = (SourceId, String)>, clock: &Clock) -> Sources {
        let breaker =
            |(id, connector): (SourceId, String)| (id.clone(), (connector, SourceBreaker::new(id, clock.clone())));
        Sources(Arc::new(Mutex::new(sources.into_iter().map(breaker).collect())))
    }

    fn lock(&self) -> MutexGuard<'_, Breakers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the breakers of these sources as they are, begins those of new ones and forgets the others.
    pub fn keep(&self, sources: impl IntoIterator<Item = (SourceId, String)>, clock: &Clock) {
        let mut breakers = self.lock();
        let mut kept = Breakers::new();
        for (id, connector) in sources {
            let known = breakers.remove(&id).filter(|(before, _)| *before == connector);
            let breaker = known.map_or_else(|| SourceBreaker::new(id.clone(), clock.clone()), |(_, breaker)| breaker);
            kept.insert(id, (connector, breaker));
        }
        *breakers = kept;
    }

    /// The breaker of a source; `None` where nobody asks it, because it listens.
    pub fn of(&self, source: &SourceId) -> Option<Arc<SourceBreaker>> {
        self.lock().get(source).map(|(_, breaker)| breaker.clone())
    }

    /// How all of them are doing, by id.
    pub fn all(&self) -> Vec<SourceStatus> {
        self.lock().values().map(|(connector, breaker)| breaker.status(connector)).collect()
    }

    /// Closes the breaker of a source: its streams ask it at once. `false` where there is none.
    pub fn reset(&self, source: &str) -> bool {
        let found = self.lock().iter().find(|(id, _)| id.as_str() == source).map(|(_, (_, breaker))| breaker.clone());
        found.map(|breaker| breaker.reset()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn breaker() -> Arc<SourceBreaker> {
        SourceBreaker::new(SourceId::new("peis"), Clock::manual(chrono::DateTime::UNIX_EPOCH))
    }

    fn stream(name: &str) -> StreamId {
        StreamId::new(&SourceId::new("peis"), name)
    }

    fn state(breaker: &SourceBreaker) -> &'static str {
        breaker.status("sqlserver").breaker.state
    }

    /// Whether a stream would be let in right now.
    fn now(breaker: &Arc<SourceBreaker>, name: &str) -> Option<Admission> {
        let of = stream(name);
        let admitted = pin!(breaker.admitted(&of));
        match admitted.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(admission) => Some(admission),
            Poll::Pending => None,
        }
    }

    fn fail(breaker: &Arc<SourceBreaker>, name: &str, times: usize, class: FaultClass) {
        (0..times).for_each(|_| breaker.asked(&stream(name)).failed(class));
    }

    #[tokio::test(start_paused = true)]
    async fn after_failures_in_a_row_one_probe_finds_out_and_waits_grow() {
        let breaker = breaker();
        fail(&breaker, "reports", 4, FaultClass::Unreachable);
        assert_eq!(state(&breaker), "closed");
        fail(&breaker, "reports", 1, FaultClass::Unreachable);
        fail(&breaker, "items", 1, FaultClass::Unreachable);
        assert_eq!(state(&breaker), "open");
        assert!(now(&breaker, "reports").is_none() && now(&breaker, "items").is_none());
        assert!(breaker.retry_at(&stream("reports")).is_some());
        let began = Instant::now();
        let probe = breaker.admitted(&stream("reports")).await;
        assert!((SHORTEST..=FIRST).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(state(&breaker), "half_open");
        assert!(now(&breaker, "items").is_none(), "one probe at a time");
        probe.failed(FaultClass::Timeout);
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            breaker.admitted(&stream("items")).await.failed(FaultClass::Timeout);
            longest = longest.max(began.elapsed());
            assert!((SHORTEST..=LONGEST).contains(&began.elapsed()));
        }
        assert!(longest > FIRST, "waits grow");
        breaker.admitted(&stream("items")).await.answered();
        assert_eq!(state(&breaker), "closed");
        assert!(now(&breaker, "reports").is_some() && breaker.retry_at(&stream("reports")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_did_not_fail_is_kept_back_by_nobody() {
        let breaker = breaker();
        fail(&breaker, "heavy", 9, FaultClass::Timeout);
        assert!(now(&breaker, "heavy").is_none());
        now(&breaker, "light").unwrap().answered();
        assert_eq!(state(&breaker), "closed", "the source answers: it is the query that does not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_login_stops_all_streams_at_once_for_half_an_hour() {
        let breaker = breaker();
        fail(&breaker, "reports", 1, FaultClass::Login);
        assert!(now(&breaker, "items").is_none(), "each further try may lock the account");
        let began = Instant::now();
        drop(breaker.admitted(&stream("items")).await);
        assert!(began.elapsed() >= REFUSED);
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_resets_one_source_and_a_lost_probe_leaves_the_question_to_another() {
        let sources = Sources::new([(SourceId::new("peis"), "sqlserver".to_owned())], &Clock::system());
        let breaker = sources.of(&SourceId::new("peis")).unwrap().clone();
        fail(&breaker, "reports", 5, FaultClass::Unreachable);
        let mut resets = breaker.resets();
        assert!(!sources.reset("lis"));
        assert!(sources.reset("peis"));
        resets.changed().await.unwrap();
        assert_eq!(sources.all()[0].breaker.state, "closed");
        fail(&breaker, "reports", 5, FaultClass::Unreachable);
        fail(&breaker, "items", 1, FaultClass::Unreachable);
        drop(breaker.admitted(&stream("reports")).await);
        assert_eq!(state(&breaker), "open");
        assert!(now(&breaker, "items").is_some(), "its task was ended: another stream finds out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_concerns_a_stream_alone_is_no_fault_of_its_source() {
        let breaker = breaker();
        for class in [FaultClass::Permission, FaultClass::Missing, FaultClass::Charset, FaultClass::Data] {
            fail(&breaker, "reports", 9, class);
            assert_eq!(state(&breaker), "closed", "{class:?}");
        }
    }
}
