//! Runs everything that lives as long as the agent: named, restarted after a failure or a panic,
//! with a status that people can read (P7).

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ops::{TaskState, TaskStatus};
use crate::retry::Backoff;

/// Starts tasks and keeps them running.
#[derive(Clone, Debug)]
pub struct Supervisor {
    tasks: Arc<Mutex<Known>>,
    clock: Clock,
}

/// The tasks by name, each with its number: one that is leaving says nothing of the one that took its place.
#[derive(Debug, Default)]
struct Known {
    started: u64,
    tasks: BTreeMap<String, (u64, TaskStatus)>,
}

/// A started task; it ends when its stop token is cancelled.
#[derive(Debug)]
pub struct Task {
    name: String,
    handle: JoinHandle<()>,
}

impl Task {
    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the task has ended, at most until `deadline`; then it is aborted. True where it
    /// ended by itself.
    pub async fn ended_by(mut self, deadline: tokio::time::Instant) -> bool {
        if tokio::time::timeout_at(deadline, &mut self.handle).await.is_ok() {
            return true;
        }
        tracing::warn!(task = self.name, "did not end in time and is cut off; nothing acknowledged is lost by that");
        self.handle.abort();
        false
    }
}

impl Supervisor {
    /// A supervisor without tasks.
    pub fn new(clock: Clock) -> Supervisor {
        Supervisor { tasks: Arc::default(), clock }
    }

    /// The statuses of all tasks, by name.
    pub fn statuses(&self) -> Vec<TaskStatus> {
        self.lock().tasks.values().map(|(_, status)| status.clone()).collect()
    }

    /// Forgets a task that is over and not wanted any more.
    pub fn forget(&self, name: &str) {
        self.lock().tasks.remove(name);
    }

    /// Starts a task. `make` is called for each start; a task that fails, panics or ends before
    /// `stop` is started again after a growing wait.
    #[expect(clippy::disallowed_methods, reason = "the supervisor is the one place that spawns")]
    pub fn spawn<F, Fut>(&self, name: impl Into<String>, stop: CancellationToken, mut make: F) -> Task
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        let name = name.into();
        let status = TaskStatus {
            name: name.clone(),
            state: TaskState::Running,
            restarts: 0,
            panics: 0,
            since: self.clock.now(),
            last_failure: None,
            last_failure_at: None,
        };
        let number = {
            let mut known = self.lock();
            known.started += 1;
            let number = known.started;
            known.tasks.insert(name.clone(), (number, status));
            number
        };
        let supervisor = self.clone();
        let task = name.clone();
        let handle = tokio::spawn(async move {
            let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
            while !stop.is_cancelled() {
                let now = supervisor.clock.now();
                supervisor.update(&task, number, |status| {
                    status.state = TaskState::Running;
                    status.since = now;
                });
                let started = tokio::time::Instant::now();
                // A task of its own, so that a panic ends it and not the supervisor. Aborted with
                // the supervisor's loop, so that nothing outlives a hard stop.
                let ended = match catch_unwind(AssertUnwindSafe(&mut make)) {
                    Ok(work) => {
                        let mut inner = AbortOnDrop(tokio::spawn(work));
                        (&mut inner.0).await.map_err(drop)
                    }
                    Err(_) => Err(()),
                };
                if stop.is_cancelled() {
                    break;
                }
                let (failure, panicked) = match ended {
                    Ok(Ok(())) => ("it ended before it was asked to".to_owned(), false),
                    Ok(Err(failure)) => (failure, false),
                    // The panic's own words may quote data; the panic hook logs where it happened.
                    Err(()) => ("it panicked: a bug in hisync".to_owned(), true),
                };
                if started.elapsed() > Duration::from_secs(120) {
                    backoff.reset();
                }
                let wait = backoff.next_wait();
                tracing::error!(task, wait_ms = wait.as_millis() as u64, "task is started again: {failure}");
                metrics::counter!("hisync_task_restarts_total", "task" => task.clone()).increment(1);
                let now = supervisor.clock.now();
                supervisor.update(&task, number, |status| {
                    status.state = TaskState::Restarting;
                    status.last_failure_at = Some(now);
                    status.restarts += 1;
                    status.panics += u64::from(panicked);
                    status.last_failure = Some(failure);
                });
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(wait) => {}
                }
            }
            supervisor.update(&task, number, |status| status.state = TaskState::Ended);
        });
        Task { name, handle }
    }

    fn update(&self, name: &str, number: u64, change: impl FnOnce(&mut TaskStatus)) {
        if let Some((of, status)) = self.lock().tasks.get_mut(name)
            && *of == number
        {
            change(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_panic_restarts_the_task_and_leaves_the_others_running() {
        let supervisor = Supervisor::new(Clock::system());
        let stop = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        let (counted, healthy) = (starts.clone(), CancellationToken::new());
        let (third, seen) = (CancellationToken::new(), healthy.clone());
        let signal = third.clone();
        let bad = supervisor.spawn("bad", stop.clone(), move || {
            let (count, signal) = (counted.fetch_add(1, Ordering::SeqCst) + 1, signal.clone());
            async move {
                if count >= 3 {
                    signal.cancel();
                    std::future::pending::<()>().await;
                }
                panic!("on purpose");
            }
        });
        let wait = stop.clone();
        let good = supervisor.spawn("good", stop.clone(), move || {
            seen.cancel();
            let wait = wait.clone();
            async move {
                wait.cancelled().await;
                Ok(())
            }
        });
        healthy.cancelled().await;
        third.cancelled().await;
        let statuses = supervisor.statuses();
        assert_eq!((statuses[0].restarts, statuses[0].panics), (2, 2));
        assert_eq!((statuses[1].state, statuses[1].restarts), (TaskState::Running, 0));
        stop.cancel();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        assert!(good.ended_by(deadline).await);
        assert!(!bad.ended_by(deadline).await, "a task that ignores its stop is cut off at the deadline");
    }

    /// A task whose first start does `first`, and whose second start runs until the stop.
    async fn second_start_after(first: impl Fn() -> Option<Result<(), String>> + Send + 'static) -> TaskStatus {
        let supervisor = Supervisor::new(Clock::manual(chrono::DateTime::UNIX_EPOCH));
        let (stop, second) = (CancellationToken::new(), CancellationToken::new());
        let (mut starts, wait, signal) = (0, stop.clone(), second.clone());
        let task = supervisor.spawn("task", stop.clone(), move || {
            starts += 1;
            let early = if starts == 1 { first() } else { None };
            let (wait, signal, starts) = (wait.clone(), signal.clone(), starts);
            async move {
                if let Some(early) = early {
                    return early;
                }
                assert!(starts > 1, "on purpose");
                signal.cancel();
                wait.cancelled().await;
                Ok(())
            }
        });
        second.cancelled().await;
        let status = supervisor.statuses().remove(0);
        stop.cancel();
        assert!(task.ended_by(tokio::time::Instant::now() + Duration::from_secs(5)).await);
        assert_eq!(supervisor.statuses()[0].state, TaskState::Ended);
        status
    }

    async fn check(first: impl Fn() -> Option<Result<(), String>> + Send + 'static, panics: u64, failure: &str) {
        let status = second_start_after(first).await;
        assert_eq!((status.state, status.restarts, status.panics), (TaskState::Running, 1, panics));
        assert!(status.last_failure.as_deref().is_some_and(|text| text.contains(failure)), "{status:?}");
        assert!(status.last_failure_at.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_ends_a_task_early_it_is_started_again_and_says_why() {
        check(|| Some(Ok(())), 0, "before it was asked to").await;
        check(|| Some(Err("no route to the host".to_owned())), 0, "no route").await;
        check(|| None, 1, "panicked").await;
        check(|| panic!("on purpose, before there is a task"), 1, "panicked").await;
    }
}
