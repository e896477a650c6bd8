//! The breaker: leaves something alone while it as a whole is at fault: upstream, or a source.
//!
//! A pure state machine; times are handed in. `closed` lets everything through. `open` lets nothing
//! through until a time. Then one attempt goes out as a probe (`half_open`): it closes the breaker or
//! opens it again, for longer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::time::Instant;

use crate::retry::Policy;

/// So many failures in a row, of whichever attempts, mean that the whole is not available.
const FAILURES_TO_OPEN: u32 = 5;

/// What kind of fault opened the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Address, credentials or certificates: a person must act.
    Configuration,
    /// It does not answer, or only with errors: passes by itself, as a rule.
    Unavailable,
}

/// What people and monitors see of the breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BreakerStatus {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// What kind of fault it is, unless closed.
    pub reason: Option<Reason>,
    /// The answer that opened it, as a stable word: `http-401`, `timeout`.
    pub code: Option<String>,
    /// Since when it is not closed.
    pub since: Option<DateTime<Utc>>,
    /// When it is tried again, or until when it asked for quiet.
    pub retry_at: Option<DateTime<Utc>>,
}

/// Whether something may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// As much as one likes.
    Free,
    /// One batch, announced by [`Breaker::begin_probe`].
    Probe,
    /// Not before a time.
    WaitUntil(Instant),
    /// Not before the probe came back.
    WaitForProbe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen,
}

#[derive(Clone, Debug)]
struct Cause {
    reason: Reason,
    code: String,
    since: DateTime<Utc>,
}

/// The state machine.
#[derive(Debug)]
pub(crate) struct Breaker {
    policy: Policy,
    state: State,
    cause: Option<Cause>,
    failures: u32,
    /// How often it opened since it was last closed.
    opened: u32,
    paused_until: Option<Instant>,
    retry_at: Option<DateTime<Utc>>,
}

impl Breaker {
    pub(crate) fn new(policy: Policy) -> Breaker {
        Breaker {
            policy,
            state: State::Closed,
            cause: None,
            failures: 0,
            opened: 0,
            paused_until: None,
            retry_at: None,
        }
    }

    /// Whether something may be sent now.
    pub(crate) fn permit(&self, now: Instant) -> Permit {
        let quiet = self.paused_until.filter(|until| *until > now);
        match (self.state, quiet) {
            (State::HalfOpen, _) => Permit::WaitForProbe,
            (State::Open { until }, quiet) if until > now => Permit::WaitUntil(quiet.map_or(until, |q| q.max(until))),
            (_, Some(until)) => Permit::WaitUntil(until),
            (State::Open { .. }, None) => Permit::Probe,
            (State::Closed, None) => Permit::Free,
        }
    }

    /// A batch goes out to find out.
    pub(crate) fn begin_probe(&mut self) {
        self.state = State::HalfOpen;
    }

    /// Upstream answered as upstream should, whatever it said. Returns whether the breaker closed by it.
    pub(crate) fn success(&mut self) -> bool {
        let was_open = self.state != State::Closed;
        // What upstream asked for in one answer holds, whatever it says in another.
        let (paused_until, retry_at) = (self.paused_until, self.retry_at);
        self.reset();
        self.paused_until = paused_until;
        self.retry_at = retry_at.filter(|_| paused_until.is_some());
        was_open
    }

    /// A probe ended without a verdict (its task was ended): somebody else may find out.
    pub(crate) fn abandon_probe(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Stays open for so long at least: what asks sooner would make things worse (a locked account).
    pub(crate) fn no_sooner(&mut self, wait: Duration, now: Instant, wall: DateTime<Utc>) {
        if let State::Open { until } = &mut self.state {
            *until = (*until).max(now + wait);
            self.retry_at = Some(self.retry_at.map_or(wall + wait, |before| before.max(wall + wait)));
        }
    }

    /// A person acted: try at once.
    pub(crate) fn reset(&mut self) {
        *self = Breaker::new(self.policy);
    }

    /// An answer that no other batch would get otherwise. Returns whether the breaker opened by it.
    pub(crate) fn misconfigured(&mut self, code: &str, now: Instant, wall: DateTime<Utc>) -> bool {
        self.open(Reason::Configuration, code, now, wall)
    }

    /// No answer, or one that says "later". Returns whether the breaker opened by it.
    pub(crate) fn unavailable(&mut self, code: &str, now: Instant, wall: DateTime<Utc>) -> bool {
        self.failures = self.failures.saturating_add(1);
        let open = self.state != State::Closed || self.failures >= FAILURES_TO_OPEN;
        open && self.open(Reason::Unavailable, code, now, wall)
    }

    /// Upstream asked for quiet (`Retry-After`): nothing at all is sent for so long.
    pub(crate) fn pause(&mut self, quiet: Duration, now: Instant, wall: DateTime<Utc>) {
        let until = now + quiet;
        if self.paused_until.is_none_or(|before| before < until) {
            self.paused_until = Some(until);
            self.retry_at = Some(wall + quiet);
        }
    }

    fn open(&mut self, reason: Reason, code: &str, now: Instant, wall: DateTime<Utc>) -> bool {
        let newly = self.state == State::Closed;
        let wait = match self.state {
            // A late answer to an older request: the breaker is open already, and stays so no longer for it.
            State::Open { until } => until.saturating_duration_since(now),
            State::Closed | State::HalfOpen => {
                let wait = self.policy.wait(self.opened);
                self.opened = self.opened.saturating_add(1);
                wait
            }
        };
        self.state = State::Open { until: now + wait };
        self.retry_at = Some(self.retry_at.map_or(wall + wait, |before| before.max(wall + wait)));
        let since = self.cause.as_ref().map_or(wall, |cause| cause.since);
        self.cause = Some(Cause { reason, code: code.to_owned(), since });
        newly
    }

    /// What people and monitors see.
    pub(crate) fn status(&self) -> BreakerStatus {
        BreakerStatus {
            state: match self.state {
                State::Closed => "closed",
                State::Open { .. } => "open",
                State::HalfOpen => "half_open",
            },
            reason: self.cause.as_ref().map(|cause| cause.reason),
            code: self.cause.as_ref().map(|cause| cause.code.clone()),
            since: self.cause.as_ref().map(|cause| cause.since),
            retry_at: self.retry_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bench {
        breaker: Breaker,
        start: Instant,
    }

    impl Bench {
        fn new() -> Bench {
            let policy = Policy::new(Duration::from_secs(1), Duration::from_secs(8));
            Bench { breaker: Breaker::new(policy), start: Instant::now() }
        }

        fn at(&self, seconds: u64) -> (Instant, DateTime<Utc>) {
            let wall = DateTime::from_timestamp(1_800_000_000 + seconds.cast_signed(), 0).unwrap();
            (self.start + Duration::from_secs(seconds), wall)
        }

        fn permit(&self, seconds: u64) -> Permit {
            self.breaker.permit(self.at(seconds).0)
        }

        fn unavailable(&mut self, seconds: u64) -> bool {
            let (now, wall) = self.at(seconds);
            self.breaker.unavailable("http-503", now, wall)
        }
    }

    #[test]
    fn a_wrong_configuration_opens_at_once_and_one_probe_decides() {
        let mut bench = Bench::new();
        let (now, wall) = bench.at(0);
        assert!(bench.breaker.misconfigured("http-401", now, wall));
        let status = bench.breaker.status();
        assert_eq!(
            (status.state, status.reason, status.code.as_deref()),
            ("open", Some(Reason::Configuration), Some("http-401"))
        );
        assert_eq!(status.since, Some(wall));
        assert_eq!(bench.permit(2), Permit::Probe);
        bench.breaker.begin_probe();
        assert_eq!(bench.permit(2), Permit::WaitForProbe);
        assert_eq!(bench.breaker.status().state, "half_open");
        let (later, later_wall) = bench.at(3);
        assert!(!bench.breaker.misconfigured("http-403", later, later_wall), "it was open before: no new alert");
        assert_eq!(bench.breaker.status().since, Some(wall), "the fault counts from its beginning");
        assert_eq!(bench.permit(30), Permit::Probe);
        bench.breaker.begin_probe();
        assert!(bench.breaker.success());
        assert_eq!(bench.permit(30), Permit::Free);
        assert_eq!(bench.breaker.status().since, None);
    }

    #[test]
    fn single_failures_between_successes_never_open() {
        let mut bench = Bench::new();
        for round in 0..20 {
            for _ in 1..FAILURES_TO_OPEN {
                assert!(!bench.unavailable(round));
            }
            assert!(!bench.breaker.success());
        }
        assert_eq!(bench.permit(20), Permit::Free);
    }

    #[test]
    fn failures_in_a_row_open_and_a_person_may_reset() {
        let mut bench = Bench::new();
        let opened: Vec<bool> = (0..FAILURES_TO_OPEN).map(|_| bench.unavailable(0)).collect();
        assert_eq!(opened, [false, false, false, false, true]);
        assert_ne!(bench.permit(0), Permit::Free);
        bench.breaker.reset();
        assert_eq!(bench.permit(0), Permit::Free);
    }

    #[test]
    fn hours_of_outage_are_probed_all_the_time_one_at_a_time_and_end_with_the_first_answer() {
        const HOURS: u64 = 12 * 3600;
        let mut bench = Bench::new();
        while !bench.unavailable(0) {}
        let mut last = 0;
        for second in 1..HOURS {
            match bench.permit(second) {
                Permit::Probe => {
                    assert!(second - last <= 9, "nobody asked from {last} s to {second} s");
                    bench.breaker.begin_probe();
                    assert_eq!(bench.permit(second), Permit::WaitForProbe);
                    assert!(!bench.unavailable(second), "it was open before: no new alert");
                    last = second;
                }
                permit => assert!(matches!(permit, Permit::WaitUntil(_)), "{permit:?} after {second} s"),
            }
        }
        assert_eq!(bench.breaker.status().since, Some(bench.at(0).1), "the outage counts from its beginning");
        assert_eq!(bench.permit(HOURS + 9), Permit::Probe);
        bench.breaker.begin_probe();
        assert!(bench.breaker.success());
        assert_eq!(bench.permit(HOURS + 9), Permit::Free);
    }

    #[test]
    fn a_request_for_quiet_holds_for_all_and_outlasts_the_breaker() {
        let mut bench = Bench::new();
        let (now, wall) = bench.at(0);
        bench.breaker.pause(Duration::from_secs(60), now, wall);
        assert_eq!(bench.permit(59), Permit::WaitUntil(bench.at(60).0));
        assert_eq!(bench.permit(60), Permit::Free);
        bench.breaker.misconfigured("http-404", now, wall);
        assert_eq!(bench.permit(59), Permit::WaitUntil(bench.at(60).0));
        assert_eq!(bench.permit(60), Permit::Probe);
    }
}
