//! Gives up what is outlived, a little at a time: some rows, then a rest that is many times as long as they took.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::now::Now;
use super::supervisor::{Supervisor, Task};
use crate::store::{self, Kept, RetentionPolicy, Store};
use crate::switches::PAUSE_RETENTION;

/// After a start there is other work first.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// How often everything is looked through.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// How often it is asked whether something else is wanted now.
const LOOK: Duration = Duration::from_secs(60);
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
pub(super) fn start(supervisor: &Supervisor, stop: &CancellationToken, now: &Now) -> Task {
    let (now, stop_task) = (now.clone(), stop.clone());
    supervisor.spawn("retention", stop.clone(), move || {
        let (now, stop) = (now.clone(), stop_task.clone());
        async move {
            let mut due = Instant::now() + SETTLE;
            let mut followed = now.config().retention;
            loop {
                // A policy that becomes another one is followed soon, and so is the end of a pause.
                while Instant::now() < due && now.config().retention == followed {
                    let look = (due - Instant::now()).min(LOOK);
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = tokio::time::sleep(look) => {}
                    }
                }
                let (state, policy) = (now.state(), now.config().retention);
                let paused = || state.switches.on(&PAUSE_RETENTION).is_some();
                let wanted = || !paused() && now.config().retention == policy;
                let done = pass(&state.store, policy, &stop, wanted).await;
                done.map_err(|error| format!("give up what is outlived: {error}"))?;
                if stop.is_cancelled() {
                    return Ok(());
                }
                followed = policy;
                due = Instant::now() + if paused() { LOOK } else { EVERY };
            }
        }
    })
}

/// Looks everything through once.
async fn pass(
    store: &Store,
    policy: RetentionPolicy,
    stop: &CancellationToken,
    wanted: impl Fn() -> bool,
) -> Result<(), store::Error> {
    for kind in Kept::ALL {
        let (mut after, mut most, mut n, mut bytes) = (0, FIRST, 0, 0);
        loop {
            if !wanted() {
                return Ok(());
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use connector_api::{Raw, StreamId};

    use super::*;
    use crate::clock::Clock;
    use crate::mapping::Composer;
    use crate::model::{EntityKey, EntityType, Mapped, Outcome, Wish};
    use crate::store::{ClaimLimit, Incoming, IncomingBatch, Options, Settlement, Verdict};

    const DAY: Duration = Duration::from_secs(86_400);

    fn report(n: usize, rng: &mut fastrand::Rng) -> Incoming {
        let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(1_500).collect();
        let raw = format!("{{\"n\":{n},\"text\":\"{noise}\"}}");
        let outcome = Outcome::Mapped(Mapped {
            key: EntityKey::new(EntityType::ExamReport, format!("main:lab:{n}")),
            wish: Wish::Present,
            data: raw.clone().into_bytes(),
            search: vec![format!("no-{n}")],
            files: vec![],
            revision: None,
            assembly: None,
        });
        Incoming {
            raw: Raw { format: "application/json".into(), charset: None, body: raw.into() },
            source_ref: "ORU".into(),
            resend_key: Some(format!("LIS|{n}")),
            mapping_version: "demo@1".into(),
            archived: None,
            outcomes: vec![outcome],
        }
    }

    fn batch(records: Vec<Incoming>) -> IncomingBatch {
        let stream = StreamId::parse("lab/reports").unwrap();
        IncomingBatch { stream, records, advance: None, snapshot: None }
    }

    /// A store with so many delivered records of long ago.
    async fn old_store(dir: &std::path::Path, records: usize) -> (Store, fastrand::Rng) {
        let clock = Clock::manual(chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        let options = Options { hospital: "demo-001".into(), agent_version: "0".into(), lane: None };
        let store = Store::open(dir, options, Arc::new(Composer), clock.clone()).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for from in (0..records).step_by(200) {
            store.commit(batch((from..from + 200).map(|n| report(n, &mut rng)).collect())).await.unwrap();
            let entries = store.take(ClaimLimit { events: 1_000, bytes: usize::MAX }).await.unwrap();
            let verdict = || Verdict::Delivered { status: "accepted" };
            store
                .settle(entries.iter().map(|entry| Settlement { id: entry.id, verdict: verdict() }).collect())
                .await
                .unwrap();
        }
        while store.count_figures(chrono_tz::UTC).await.unwrap() {}
        clock.set(clock.now() + 500 * DAY);
        (store, rng)
    }

    #[tokio::test(start_paused = true)]
    async fn a_pass_gives_up_what_is_outlived_and_returns_its_space() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = old_store(dir.path(), 2_000).await;
        let status = async || {
            let now = chrono::DateTime::from_timestamp(1_743_200_000, 0).unwrap();
            store.read(move |reader| reader.archive_status(now)).await.unwrap()
        };
        let before = status().await;
        assert_eq!((before.kept_records, before.free_bytes), (2_000, 0));
        pass(&store, RetentionPolicy::default(), &CancellationToken::new(), || true).await.unwrap();
        let after = status().await;
        assert_eq!((after.kept_records, after.kept_bytes), (0, 0));
        assert!(after.free_bytes <= u64::from(SPARE) * 8192 && after.file_bytes <= before.file_bytes, "{after:?}");
        // A stop ends a pass between two steps.
        let stopped = CancellationToken::new();
        stopped.cancel();
        pass(&store, RetentionPolicy::default(), &stopped, || true).await.unwrap();
        store.close().await;
    }

    fn quantile(times: &mut [Duration], share: f64) -> Duration {
        times.sort_unstable();
        times[((times.len() - 1) as f64 * share) as usize]
    }

    /// How long a commit of one message takes, from handing it over to the answer.
    async fn commits(store: &Store, rng: &mut fastrand::Rng, from: usize, count: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(count);
        for n in from..from + count {
            let batch = batch(vec![report(n, rng)]);
            let began = Instant::now();
            store.commit(batch).await.unwrap();
            times.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        times
    }

    /// `cargo test --release -p hisync --lib -- --ignored --nocapture acknowledgements_during_retention`
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "measures: rounds without, with, without; prints, and judges nothing"]
    async fn acknowledgements_during_retention() {
        let dir = tempfile::tempdir().unwrap();
        let (store, mut rng) = old_store(dir.path(), 40_000).await;
        println!("{:>7} {:>9} {:>9} {:>9} {:>9}", "", "p50", "p90", "p99", "max");
        let line = |name: &str, times: &mut Vec<Duration>| {
            let of = |times: &mut [Duration], share| format!("{:.2} ms", quantile(times, share).as_secs_f64() * 1e3);
            println!(
                "{name:>7} {:>9} {:>9} {:>9} {:>9}",
                of(times, 0.5),
                of(times, 0.9),
                of(times, 0.99),
                of(times, 1.0)
            );
            quantile(times, 0.99).as_secs_f64()
        };
        let mut ratios = Vec::new();
        for round in 0..5 {
            let from = 1_000_000 + round * 10_000;
            let without = line("without", &mut commits(&store, &mut rng, from, 1_000).await);
            let with = {
                let (running, stop) = (store.clone(), CancellationToken::new());
                let stopped = stop.clone();
                let mut beside = tokio::task::JoinSet::new();
                beside
                    .spawn(async move { pass(&running, RetentionPolicy::default(), &stopped, || true).await.unwrap() });
                let with = line("with", &mut commits(&store, &mut rng, from + 5_000, 1_000).await);
                stop.cancel();
                beside.join_next().await.unwrap().unwrap();
                with
            };
            ratios.push(with / without);
        }
        let now = chrono::DateTime::from_timestamp(1_743_200_000, 0).unwrap();
        let status = store.read(move |reader| reader.archive_status(now)).await.unwrap();
        ratios.sort_unstable_by(f64::total_cmp);
        let [least, .., most] = ratios[..] else { return };
        println!("p99 with / without: median {:.2}, {least:.2} to {most:.2}", ratios[ratios.len() / 2]);
        println!("given up meanwhile: {} of 40000 records", 50_000_u64.saturating_sub(status.kept_records));
        store.close().await;
    }
}
