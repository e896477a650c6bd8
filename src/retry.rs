//! When to try again: exponential back-off with full jitter, and `Retry-After`.
//!
//! The one module that uses the `backoff` crate, so that it can be replaced in one place.
//!
//! Full jitter (a wait anywhere between zero and the interval) spreads the retries of many agents
//! that lost the same upstream at the same moment better than a jitter around the interval does.

use std::time::Duration;

use backoff::SystemClock;
use backoff::backoff::Backoff as _;
use backoff::exponential::ExponentialBackoffBuilder;
use chrono::{DateTime, TimeDelta, Utc};

/// The longest `Retry-After` that is obeyed: a slip of the pen in a header must not stop a hospital for a year.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// After so many doublings the interval has long reached its longest.
const DOUBLINGS_MAX: u32 = 40;

/// How long to wait before the next attempt.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    initial: Duration,
    max: Duration,
}

impl Policy {
    /// Starts at `initial` and doubles up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Policy {
        Policy { initial, max: max.max(initial) }
    }

    /// A random wait between nothing and `initial × 2^failures`, at most the longest interval.
    ///
    /// A randomization factor of one spreads a wait over `0 ..= 2 × interval`: so half the interval
    /// goes in, and full jitter comes out.
    pub fn wait(&self, failures: u32) -> Duration {
        let mut backoff = ExponentialBackoffBuilder::<SystemClock>::new()
            .with_initial_interval(self.initial / 2)
            .with_max_interval(self.max / 2)
            .with_multiplier(2.0)
            .with_randomization_factor(1.0)
            .with_max_elapsed_time(None)
            .build();
        for _ in 0..failures.min(DOUBLINGS_MAX) {
            backoff.next_backoff();
        }
        backoff.next_backoff().unwrap_or(self.max).min(self.max)
    }

    /// The time of the next attempt after so many failures.
    pub fn next_time(&self, failures: u32, now: DateTime<Utc>) -> DateTime<Utc> {
        now + TimeDelta::from_std(self.wait(failures)).unwrap_or(TimeDelta::zero())
    }
}

/// A growing wait of one thing that fails as a whole: a stream, a task.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
}

impl Backoff {
    /// Starts at `initial` and doubles up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Backoff {
        Backoff { policy: Policy::new(initial, max), failures: 0 }
    }

    /// The wait before the next try, and grows. Never quite nothing, so that what fails at once isn't
    /// tried in a tight loop.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.policy.wait(self.failures);
        self.failures = self.failures.saturating_add(1);
        wait.max(self.policy.initial / 10)
    }

    /// Starts again from the initial wait, after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Reads a `Retry-After` header, in seconds or as an HTTP-date; a date that is past means now.
pub fn retry_after(header: &str, now: DateTime<Utc>) -> Option<Duration> {
    let header = header.trim();
    let wait = if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        header.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        let date: DateTime<Utc> = httpdate::parse_http_date(header).ok()?.into();
        (date - now).to_std().unwrap_or(Duration::ZERO)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_fill_the_whole_interval_and_never_leave_it() {
        let policy = Policy::new(Duration::from_millis(100), Duration::from_secs(1));
        for (failures, ceiling) in [(0, 100), (1, 200), (3, 800), (4, 1_000), (10_000, 1_000)] {
            let ceiling = Duration::from_millis(ceiling);
            let waits: Vec<Duration> = (0..400).map(|_| policy.wait(failures)).collect();
            assert!(waits.iter().all(|wait| *wait <= ceiling), "after {failures} failures");
            assert!(waits.iter().any(|wait| *wait < ceiling / 4), "the low end is used after {failures} failures");
            assert!(waits.iter().any(|wait| *wait > ceiling * 3 / 4), "the high end is used after {failures} failures");
        }
    }

    #[test]
    fn retry_after_reads_seconds_and_dates() {
        let now = DateTime::parse_from_rfc3339("2026-03-01T08:00:00Z").unwrap().to_utc();
        let check = |header, seconds: Option<u64>| {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header:?}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 01 Mar 2026 08:01:30 GMT", Some(90));
        check("Sunday, 01-Mar-26 08:01:30 GMT", Some(90));
        check("Sun, 01 Mar 2026 07:00:00 GMT", Some(0));
        check("99999999999999999999999", Some(86_400));
        check("315360000", Some(86_400));
        check("-5", None);
        check("1.5", None);
        check("soon", None);
        check("", None);
    }

    #[test]
    fn a_growing_wait_stays_above_its_floor_and_starts_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60));
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits.iter().all(|wait| (Duration::from_millis(10)..=Duration::from_secs(60)).contains(wait)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_secs(1)), "it grows");
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
