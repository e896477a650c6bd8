//! What stops intake before anything is lost: a disk that is nearly full, an outbox that nobody empties (P8).
//!
//! What is not taken stays where it is: listeners refuse and say when to come again, polls pause. Deliveries go on. It
//! opens by itself, a little above the limit at which it closed, so that it does not flap.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use connector_api::StreamId;

use crate::store::Backlog;
use crate::switches::{PAUSE_INTAKE, Switches};

/// Refuses new records while there is no room for them, and admits them again by itself.
pub struct Gate {
    measure: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    backlog: Box<dyn Fn() -> Backlog + Send + Sync>,
    limits: Mutex<Limits>,
    switches: Option<Switches>,
    seen: Mutex<Option<(Instant, u64)>>,
    /// Which limits were reached, and not yet left again.
    shut: Mutex<Shut>,
}

/// Where the gate closes; another configuration may bring others.
#[derive(Clone, Copy)]
struct Limits {
    floor_bytes: u64,
    outbox: Backlog,
}

#[derive(Clone, Copy, Default)]
struct Shut {
    disk: bool,
    outbox: bool,
}

/// Why nothing may come in now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closure {
    /// A stable word: `disk`, `outbox`, or `paused` where a person wants it so.
    pub code: &'static str,
    /// What is wrong, one sentence.
    pub text: String,
    /// What to do next, one sentence.
    pub next: String,
}

/// Free space changes slowly; asking the system once a second is often enough.
const REMEMBER: Duration = Duration::from_secs(1);

impl Gate {
    /// Watches the disk that holds `folder`.
    pub fn new(folder: impl Into<PathBuf>, floor_bytes: u64) -> Gate {
        let folder = folder.into();
        Gate::measured(floor_bytes, move || {
            let stat = rustix::fs::statvfs(&folder).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    /// Watches what `measure` says is free, in bytes.
    pub fn measured(floor_bytes: u64, measure: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Gate {
        Gate {
            measure: Box::new(measure),
            backlog: Box::new(Backlog::default),
            limits: Mutex::new(Limits { floor_bytes, outbox: Backlog { entries: u64::MAX, bytes: u64::MAX } }),
            switches: None,
            seen: Mutex::new(None),
            shut: Mutex::default(),
        }
    }

    /// Watches what waits to be delivered too: at a limit of either, nothing more comes in.
    #[must_use]
    pub fn limited(mut self, limit: Backlog, backlog: impl Fn() -> Backlog + Send + Sync + 'static) -> Gate {
        self.backlog = Box::new(backlog);
        self.set_limits(self.floor_bytes(), limit);
        self
    }

    /// Closes for what a person wants to be paused too.
    #[must_use]
    pub fn under(self, switches: Switches) -> Gate {
        Gate { switches: Some(switches), ..self }
    }

    /// Closes elsewhere from now on: below so many free bytes, at so much that waits to be delivered.
    pub fn set_limits(&self, floor_bytes: u64, outbox: Backlog) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = Limits { floor_bytes, outbox };
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Free bytes on the store's disk; `None` where the system doesn't tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, free)) = *seen
            && at.elapsed() < REMEMBER
        {
            return Some(free);
        }
        let free = (self.measure)()?;
        *seen = Some((Instant::now(), free));
        Some(free)
    }

    /// Intake stops below so many free bytes.
    pub fn floor_bytes(&self) -> u64 {
        self.limits().floor_bytes
    }

    /// Intake stops at so much that waits to be delivered.
    pub fn limit(&self) -> Backlog {
        self.limits().outbox
    }

    /// Why nothing of a stream may come in now; `None` while there is room and nobody paused it.
    pub fn closed_for(&self, stream: &StreamId) -> Option<Closure> {
        let paused = self.switches.as_ref().and_then(|switches| switches.on_for(&PAUSE_INTAKE, stream.as_str()));
        let paused = paused.map(|set| Closure {
            code: "paused",
            text: format!(
                "{} paused it until {} UTC: nothing is taken in, nothing is lost",
                set.who,
                set.until.format("%Y-%m-%d %H:%M")
            ),
            next: match set.subject.as_str() {
                "" => "hisync switch clear pause-intake".to_owned(),
                subject => format!("hisync switch clear pause-intake {subject}"),
            },
        });
        paused.or_else(|| self.closed())
    }

    /// How long a stream is left alone between two readings, where a person wants it so.
    pub fn poll_interval(&self, stream: &StreamId) -> Option<Duration> {
        self.switches.as_ref().and_then(|switches| switches.length(&crate::switches::POLL_INTERVAL, stream.as_str()))
    }

    /// What tells of switches; `None` where there are none.
    pub fn switches(&self) -> Option<&Switches> {
        self.switches.as_ref()
    }

    /// Why nothing may come in now; `None` while there is room.
    pub fn closed(&self) -> Option<Closure> {
        let free = self.free_bytes();
        let backlog = (self.backlog)();
        let Limits { floor_bytes, outbox: limit } = self.limits();
        let mut shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        // Once shut, a tenth more has to be free, and a fifth of the outbox to be delivered.
        let floor = floor_bytes.saturating_add(if shut.disk { floor_bytes / 10 } else { 0 });
        shut.disk = free.is_some_and(|free| free < floor);
        let reached = |waits: u64, limit: u64| waits >= if shut.outbox { limit - limit / 5 } else { limit };
        shut.outbox = reached(backlog.entries, limit.entries) || reached(backlog.bytes, limit.bytes);
        let mib = |bytes: u64| bytes / (1024 * 1024);
        if shut.disk {
            let free = mib(free.unwrap_or_default());
            return Some(Closure {
                code: "disk",
                text: format!(
                    "{free} MiB free on the store's disk, the floor is {} MiB: nothing is taken in, nothing is lost",
                    mib(floor_bytes)
                ),
                next: "free space on the store's disk; intake goes on by itself".to_owned(),
            });
        }
        shut.outbox.then(|| Closure {
            code: "outbox",
            text: format!(
                "{} events ({} MiB) wait to be delivered, the limit is {} ({} MiB): nothing more is taken in, nothing \
                 is lost",
                backlog.entries,
                mib(backlog.bytes),
                limit.entries,
                mib(limit.bytes)
            ),
            next: "look at upstream; intake goes on by itself when a fifth is delivered (or raise outbox_max_entries, \
                   outbox_max_bytes)"
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn a_floor_above_the_free_space_closes_the_gate() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Gate::new(folder.path(), 0).closed(), None);
        let closure = Gate::new(folder.path(), u64::MAX).closed().unwrap();
        assert!(closure.code == "disk" && closure.text.contains("floor"), "{closure:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_only_some_way_above_the_limit_at_which_it_closed() {
        let (free, entries, bytes) = (AtomicU64::new(1_000), AtomicU64::new(0), AtomicU64::new(0));
        let now = Arc::new((free, entries, bytes));
        let (disk, outbox) = (now.clone(), now.clone());
        let gate = Gate::measured(1_000, move || Some(disk.0.load(Ordering::SeqCst))).limited(
            Backlog { entries: 100, bytes: 5_000 },
            move || Backlog { entries: outbox.1.load(Ordering::SeqCst), bytes: outbox.2.load(Ordering::SeqCst) },
        );
        let check = async |free, entries, bytes, code: Option<&str>| {
            now.0.store(free, Ordering::SeqCst);
            now.1.store(entries, Ordering::SeqCst);
            now.2.store(bytes, Ordering::SeqCst);
            tokio::time::advance(REMEMBER).await;
            assert_eq!(gate.closed().map(|closure| closure.code), code, "{free} {entries} {bytes}");
        };
        check(1_000, 99, 4_999, None).await;
        check(999, 0, 0, Some("disk")).await;
        check(1_099, 0, 0, Some("disk")).await;
        check(1_100, 0, 0, None).await;
        check(1_000, 0, 0, None).await;
        check(2_000, 100, 0, Some("outbox")).await;
        check(2_000, 80, 0, Some("outbox")).await;
        check(2_000, 79, 4_000, Some("outbox")).await;
        check(2_000, 79, 3_999, None).await;
        check(2_000, 0, 5_000, Some("outbox")).await;
        check(999, 0, 0, Some("disk")).await;
    }

    #[test]
    fn what_a_person_paused_stays_out_and_everything_else_comes_in() {
        use crate::switches::{Setting, Switches};
        let clock = crate::clock::Clock::manual(chrono::DateTime::UNIX_EPOCH);
        let switches = Switches::new(clock.clone());
        let gate = Gate::measured(0, || None).under(switches.clone());
        let stream = |id: &str| StreamId::parse(id).unwrap();
        let until = clock.now() + chrono::TimeDelta::hours(1);
        let set = |subject| Setting::new("pause-intake", subject, "on", until, ("wang", "x"), clock.now()).unwrap();
        switches.replace(vec![set(Some("peis"))]);
        let closure = gate.closed_for(&stream("peis/reports")).unwrap();
        assert_eq!((closure.code, closure.next.as_str()), ("paused", "hisync switch clear pause-intake peis"));
        assert_eq!((gate.closed_for(&stream("lab/reports")), gate.closed()), (None, None));
        clock.set(until);
        assert_eq!(gate.closed_for(&stream("peis/reports")), None);
    }
}
