//! Hours in minutes: the whole way under steady load, with an eye on memory.

use std::time::Duration;

use hisync::sandbox::hospital::oru_messages;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::figures::{Aim, Figures, median};
use crate::helper::Helper;
use crate::intake::CONNECTIONS;
use crate::sender::send_all;
use crate::site::{Site, Systems};
use crate::{Failure, Scale};

/// Messages a second; with their two reports each some twenty times what a busy hospital has at its peak.
const RATE: u64 = 100;

/// Memory is looked at each time so many seconds' messages were sent.
const STEP: u64 = 5;

/// The most that memory may grow from the second fifth of the time to the last one.
const GROWTH: f64 = 1.1;

pub(crate) async fn measure(scale: &Scale, time: Duration, figures: &mut Figures) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&scale.dir)?;
    let sink = Helper::start(["sink".as_ref(), folder.path().join("taken").as_os_str()])?;
    let site = Site::new(&scale.dir, sink.address, Systems::Laboratory)?;
    let agent = Agent::start(&scale.hisync, &site).await?;
    let receiver = agent.receiver().await?;
    let steps = (time.as_secs() / STEP).max(5) as usize;
    let each = (RATE * STEP) as usize;
    let mut messages = oru_messages(1, steps * each);
    let mut resident = Vec::with_capacity(steps);
    for _ in 0..steps {
        let next = Instant::now() + Duration::from_secs(STEP);
        let share: Vec<Vec<u8>> = messages.by_ref().take(each).collect();
        send_all(receiver, CONNECTIONS, &share).await?;
        tokio::time::sleep_until(next).await;
        resident.push(agent.resident_mib()?);
    }
    let fifth = steps / 5;
    let (early, late) = (median(&resident[fifth..2 * fifth]), median(&resident[steps - fifth..]));
    figures.plain("soak_rss_early", "MiB", &[early], Aim::None);
    figures.plain("soak_rss", "MiB", &[late], Aim::None);
    figures.plain("soak_growth", "× of the beginning", &[late / early], Aim::AtMost(GROWTH));
    Ok(())
}
