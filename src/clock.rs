//! The one place that reads the system's clock.
//!
//! Everything else is handed a [`Clock`], so that a test can set the time, stop it or turn it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};

/// Tells the wall-clock time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still until [`Clock::set`] moves it.
    pub fn manual(now: DateTime<Utc>) -> Clock {
        Clock(Source::Manual(Arc::new(AtomicI64::new(now.timestamp_micros()))))
    }

    /// The time now.
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.now_micros()).unwrap_or_default()
    }

    /// The time now, in microseconds since 1970 UTC.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now_micros(&self) -> i64 {
        match &self.0 {
            Source::System => Utc::now().timestamp_micros(),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock, in either direction; the system's clock stays as it is.
    pub fn set(&self, now: DateTime<Utc>) {
        if let Source::Manual(micros) = &self.0 {
            micros.store(now.timestamp_micros(), Ordering::SeqCst);
        }
    }
}
