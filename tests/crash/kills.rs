//! SIGKILL at any moment, again and again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value as Json, json};

use crate::hospital::{Hospital, learn_flag};
use crate::machine::{PATIENCE, Process, Stage, Way, until};
use crate::verify;

/// So long at most a start of the agent may go on without any progress before it is killed all the same.
const NO_PROGRESS: Duration = Duration::from_millis(1000);

fn variable<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Prints what is needed to play the same again, where the test fails.
struct Told<'a>(u64, &'a Stage);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = |name: &str| {
                let said = self.1.said(name);
                let lines: Vec<&str> = said.lines().rev().take(25).collect();
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            };
            println!("failed under HISYNC_CRASH_SEED={}", self.0);
            for name in ["agent.log", "sandbox.log", "sender.log"] {
                println!("--- the end of {name}\n{}", last(name));
            }
        }
    }
}

/// The upstream's troubles: outages, cut connections before and after applying, partial receipts.
fn faults(rng: &mut Rng) -> Json {
    let count = rng.u32(1..4);
    match rng.u8(0..9) {
        0 => json!({ "status": 503, "count": count }),
        1 => json!({ "status": 500, "when": "after", "count": count }),
        2 => json!({ "cut": true, "when": "after", "count": count }),
        3 => json!({ "cut": true, "count": count }),
        4 => json!({ "receipts": { "every": rng.usize(1..4), "change": "omit" }, "count": count }),
        5 => json!({ "receipts": { "every": rng.usize(1..4), "change": "retry" }, "count": count }),
        6 => json!({ "garbage": true, "when": "after", "count": count }),
        7 => json!({ "delay_ms": rng.u32(50..600), "count": count }),
        _ => json!({ "status": 429, "headers": { "retry-after": "1" }, "count": 1 }),
    }
}

/// Lets an agent live for a while, with trouble at upstream meanwhile, and kills it.
fn life(stage: &Stage, rng: &mut Rng, upstream: &mut Upstream) {
    let mut agent = stage.agent();
    let began = Instant::now();
    if rng.u8(0..6) == 0 {
        upstream.trouble(stage, rng);
        sleep(Duration::from_millis(rng.u64(0..80)));
    } else {
        let before = stage.progress();
        while stage.progress() == before && began.elapsed() < NO_PROGRESS {
            assert!(agent.ended().is_none(), "the agent ended by itself");
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis(rng.u64(0..150)));
        upstream.trouble(stage, rng);
        sleep(Duration::from_millis(rng.u64(0..150)));
    }
    agent.kill();
}

/// The upstream with its own trouble, beside the agent's.
struct Upstream {
    sandbox: Option<Process>,
    kills: usize,
}

impl Upstream {
    fn trouble(&mut self, stage: &Stage, rng: &mut Rng) {
        match self.sandbox.take() {
            Some(running) if rng.u8(0..8) == 0 => {
                running.kill();
                self.kills += 1;
                // Away for a moment, or for some lives of the agent.
                if rng.bool() {
                    self.sandbox = Some(stage.sandbox());
                }
            }
            Some(running) => {
                if rng.u8(0..5) < 2 {
                    assert!(stage.put_faults(&faults(rng)));
                }
                self.sandbox = Some(running);
            }
            None if rng.u8(0..3) == 0 => {}
            None => self.sandbox = Some(stage.sandbox()),
        }
    }
}

#[test]
fn nothing_is_lost_or_applied_twice_however_often_the_agent_is_killed() {
    let kills: usize = variable("HISYNC_CRASHES").unwrap_or(50);
    let seed: u64 = variable("HISYNC_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..) >> 32);
    println!("HISYNC_CRASH_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let stage = Stage::new(&mut rng);
    let _told = Told(seed, &stage);
    let mut hospital = Hospital::open(&stage, seed);
    let mut upstream = Upstream { sandbox: Some(stage.sandbox()), kills: 0 };
    let mut sender = stage.sender();
    let killed = AtomicBool::new(false);

    scope(|scope| {
        // Whatever ends the scope ends the thread as well.
        struct Over<'a>(&'a AtomicBool);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::SeqCst);
            }
        }
        let _over = Over(&killed);
        let (hospital, stage, killed) = (&mut hospital, &stage, &killed);
        let mut pace = Rng::with_seed(seed ^ 3);
        scope.spawn(move || {
            while !killed.load(Ordering::SeqCst) {
                hospital.happen(stage);
                sleep(Duration::from_millis(pace.u64(5..70)));
            }
        });
        for life_no in 0..kills {
            if life_no == kills / 2 {
                learn_flag(stage);
            }
            life(stage, &mut rng, &mut upstream);
            assert!(sender.ended().is_none(), "the sender ended by itself");
        }
    });
    stage.post_nothing_more();
    let mut sandbox = upstream.sandbox.unwrap_or_else(|| stage.sandbox());
    assert!(stage.put_faults(&json!([])));
    let mut agent = stage.agent();
    assert_eq!(sender.code(), Some(0), "the sender has sent everything");
    assert_eq!(stage.acks(), hospital.offered(Way::Mllp), "every message is acknowledged once, in order");

    let wanted = hospital.wanted();
    let since = Instant::now();
    loop {
        let store = until("the agent's status", || stage.live_status())["store"].take();
        let differences = verify::differences(&stage.received(""), &wanted);
        if store["outbox_depth"] == 0 && differences.is_empty() {
            break;
        }
        assert!(
            since.elapsed() < PATIENCE,
            "{} events wait; {} differences:\n{}",
            store["outbox_depth"],
            differences.len(),
            differences[..differences.len().min(20)].join("\n")
        );
        sleep(Duration::from_millis(200));
    }
    agent.signal(rustix::process::Signal::TERM);
    assert_eq!(agent.code(), Some(0));
    let status = stage.status().expect("the store tells without an agent");
    verify::sums(&stage, &status["store"], Some(hospital.held()));
    let (applied, duplicates) = verify::history(&stage);
    verify::integrity(&stage);
    for log in ["agent.log", "sandbox.log"] {
        assert!(!stage.said(log).contains("panicked"), "a panic is a bug: see {log}");
    }
    assert!(sandbox.ended().is_none());
    println!(
        "kills {kills}, restarts {kills}, upstream's kills {}, messages acknowledged {}, events applied {applied}, \
         duplicates answered {duplicates}",
        upstream.kills,
        hospital.offered(Way::Mllp).len()
    );
}
