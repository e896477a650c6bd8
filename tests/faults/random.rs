//! Faults at random, alone and together.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::catalogue::{self, Fault};
use crate::site::{Site, seed};
use crate::solo::{names, play};

/// So many rounds of faults come before everything must have arrived, where they are played for a while.
const ROUNDS: usize = 30;
/// So many where nothing is asked for.
const FEW: usize = 12;
/// So long a fault's own point is waited for: with others beside it, it may never come.
const MEETING: Duration = Duration::from_secs(3);

#[test]
fn faults_at_random_and_together_lose_nothing() {
    let minutes: Option<f64> = std::env::var("HISYNC_FAULT_MINUTES").ok().map(|text| text.parse().unwrap());
    let limit = minutes.map(|minutes| Duration::from_secs_f64(minutes * 60.0));
    let rounds = if limit.is_some() { ROUNDS } else { FEW };
    let began = Instant::now();
    let mut seed = seed();
    let (mut survived, mut combined, mut lives) = (0, 0, 0);
    let over = |began: Instant| limit.is_some_and(|limit| began.elapsed() >= limit);
    loop {
        println!("under HISYNC_FAULT_SEED={seed}, after {survived} faults");
        let mut rng = Rng::with_seed(seed);
        // Every other site speaks to upstream over TLS.
        let encrypted = rng.bool();
        let all = catalogue::all(encrypted);
        let mut site = if encrypted { Site::open_encrypted(seed) } else { Site::open(seed) };
        site.start_well();
        for _ in 0..rounds {
            let count = [1, 1, 2, 2, 3][rng.usize(..5)];
            let faults: Vec<Fault> = (0..count).map(|_| *rng.choice(&all).unwrap()).collect();
            if !compatible(&faults) {
                continue;
            }
            println!("{:>6} ms  {:?}", began.elapsed().as_millis(), names(&faults));
            survived += play(&mut site, &faults, MEETING, &mut rng).len();
            combined += usize::from(faults.len() > 1);
            if over(began) {
                break;
            }
        }
        lives += site.starts;
        site.settle();
        if limit.is_none() || over(began) {
            break;
        }
        // The next site is another one, and can be played again by itself.
        seed = rng.u64(..) >> 32;
    }
    println!("survived {survived} faults, {combined} times several at once; {lives} starts of the agent");
}

/// Two faults of one thing are one fault.
fn compatible(faults: &[Fault]) -> bool {
    let kind = |fault: &Fault| match fault.1 {
        catalogue::Act::Kill(_) | catalogue::Act::KillIn(..) | catalogue::Act::KillInStart(_) => Some(0),
        // Two of them would both stop the agent, or start it.
        catalogue::Act::DiskIn(..) | catalogue::Act::DiskInStart(_) => Some(0),
        catalogue::Act::Clock(_) => Some(1),
        catalogue::Act::Route(_) => Some(2),
        catalogue::Act::Upstream(_) => Some(3),
        catalogue::Act::Cloud(_) => Some(4),
        catalogue::Act::FolderAway => Some(5),
        catalogue::Act::His(_) => Some(6),
        _ => None,
    };
    let kinds: Vec<_> = faults.iter().filter_map(kind).collect();
    let distinct: std::collections::BTreeSet<_> = kinds.iter().collect();
    kinds.len() == distinct.len()
}
