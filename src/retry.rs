//! How long to wait before trying again: exponential back-off with full jitter.
//!
//! The one module that uses the `backoff` crate, so that it can be replaced in one place.
//!
//! Full jitter (a wait anywhere between zero and the interval) spreads the retries of many agents
//! that lost the same upstream at the same moment better than a jitter around the interval does.

use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff as _;

/// A growing wait. One per thing that fails as a whole: an upstream, a stream, a task.
#[derive(Debug)]
pub struct Backoff {
    interval: backoff::exponential::ExponentialBackoff<backoff::SystemClock>,
    floor: Duration,
    jitter: fastrand::Rng,
}

impl Backoff {
    /// Starts at `initial` and doubles up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Backoff {
        let interval = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial)
            .with_max_interval(max.max(initial))
            .with_multiplier(2.0)
            // The crate's own jitter is around the interval; ours is full, below.
            .with_randomization_factor(0.0)
            .with_max_elapsed_time(None)
            .build();
        // Never quite zero, so that a peer that fails at once isn't asked in a tight loop.
        Backoff { interval, floor: initial / 10, jitter: fastrand::Rng::new() }
    }

    /// The same sequence of waits each time, for tests.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Backoff {
        self.jitter = fastrand::Rng::with_seed(seed);
        self
    }

    /// The wait before the next try, and grows.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = self.interval.next_backoff().unwrap_or(self.interval.max_interval);
        ceiling.mul_f64(self.jitter.f64()).max(self.floor)
    }

    /// Starts again from the initial wait, after a success.
    pub fn reset(&mut self) {
        self.interval.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_stay_below_a_doubling_ceiling_and_above_the_floor() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2)).seeded(7);
        let mut ceiling = Duration::from_millis(100);
        for _ in 0..20 {
            let wait = backoff.next_wait();
            assert!(wait <= ceiling, "{wait:?} is above {ceiling:?}");
            assert!(wait >= Duration::from_millis(10));
            ceiling = (ceiling * 2).min(Duration::from_secs(2));
        }
    }

    #[test]
    fn a_success_starts_the_waits_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(60)).seeded(1);
        for _ in 0..12 {
            backoff.next_wait();
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
