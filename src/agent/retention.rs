//! Gives up what is outlived, a little at a time: some rows, then a rest that is many times as long as they took.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::sources::Shared;
use super::supervisor::{Supervisor, Task};
use crate::store::{self, Kept, RetentionPolicy, Store};

/// After a start there is other work first.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// How often everything is looked through.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// Things that a step gives up at first; adapted so that a step takes about [`STEP`].
const FIRST: usize = 16;
/// The fewest and the most.
const BOUNDS: (usize, usize) = (4, 256);
/// About as long as a commit of one message takes: a sender that comes in the middle of a step waits no longer.
const STEP: Duration = Duration::from_millis(5);
/// The rest after a step, in times of the step: so seldom does a sender meet one.
const REST: u32 = 20;
/// The shortest rest.
const BREATH: Duration = Duration::from_millis(20);
/// Pages that are returned to the disk in a step.
const PAGES: u32 = 32;
/// Free pages that stay in the file for what comes next (16 MiB of 8 KiB pages).
const SPARE: u32 = 2048;

/// Starts the task.
pub(super) fn start(supervisor: &Supervisor, stop: &CancellationToken, shared: &Shared) -> Task {
    let (shared, stop_task) = (shared.clone(), stop.clone());
    supervisor.spawn("retention", stop.clone(), move || {
        let (store, policy, stop) = (shared.store.clone(), shared.config.retention, stop_task.clone());
        async move {
            let mut wait = SETTLE;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => {}
                }
                pass(&store, policy, &stop).await.map_err(|error| format!("give up what is outlived: {error}"))?;
                wait = EVERY;
            }
        }
    })
}

/// Looks everything through once.
async fn pass(store: &Store, policy: RetentionPolicy, stop: &CancellationToken) -> Result<(), store::Error> {
    for kind in Kept::ALL {
        let (mut after, mut most, mut n, mut bytes) = (0, FIRST, 0, 0);
        loop {
            let began = Instant::now();
            let stride = store.give_up(kind, policy, after, most).await?;
            let took = began.elapsed();
            n += stride.n;
            bytes += stride.bytes;
            if stride.n > 0 {
                most = if took > STEP { most / 2 } else { most * 2 }.clamp(BOUNDS.0, BOUNDS.1);
                metrics::counter!("hisync_retention_total", "kind" => kind.as_str()).increment(stride.n);
            }
            let Some(next) = stride.next else { break };
            after = next;
            if rest(took, stop).await {
                return Ok(());
            }
        }
        if n > 0 {
            tracing::info!(kind = kind.as_str(), n, bytes, "gave up what is outlived");
        }
    }
    loop {
        let began = Instant::now();
        if store.shrink(PAGES, SPARE).await? == 0 || rest(began.elapsed(), stop).await {
            return Ok(());
        }
    }
}

/// Lets everything else go first; true where it is time to stop.
async fn rest(took: Duration, stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep((took * REST).max(BREATH)) => false,
    }
}
