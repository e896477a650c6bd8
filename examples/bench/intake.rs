//! Durable intake: HL7 messages over MLLP, each acknowledged after it is on the disk.
//!
//! The subject is the real agent with the mapping of the simulated laboratory, its upstream refusing
//! connections. The floor reads frames, commits their bytes and acknowledges.

use std::time::Duration;

use hisync::sandbox::hospital::oru_messages;

use crate::agent::Agent;
use crate::figures::Figures;
use crate::helper::Helper;
use crate::sender::send_all;
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// Senders at the same time, as many as a large hospital's interface engine opens.
pub(crate) const CONNECTIONS: usize = 8;

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let messages: Vec<Vec<u8>> = oru_messages(1, scale.messages).collect();
    for (name, connections, messages) in [
        // One sender waits for each acknowledgement by itself: fewer messages tell as much.
        ("intake_1", 1, &messages[..messages.len() / 4]),
        ("intake", CONNECTIONS, &messages[..]),
        ("intake_32", 32, &messages[..]),
    ] {
        let (mut floor, mut subject) = (Vec::new(), Vec::new());
        for _ in 0..scale.runs {
            floor.push(per_second(messages.len(), run_floor(scale, connections, messages).await?));
            subject.push(per_second(messages.len(), run_subject(scale, connections, messages).await?));
        }
        figures.ratio(name, &floor, &subject, Some(0.5));
    }
    Ok(())
}

pub(crate) fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

async fn run_floor(scale: &Scale, connections: usize, messages: &[Vec<u8>]) -> Result<Duration, Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&scale.dir)?;
    let helper = Helper::start(["floor".as_ref(), folder.path().join("floor.db").as_os_str()])?;
    Ok(send_all(helper.address, connections, messages).await?)
}

async fn run_subject(scale: &Scale, connections: usize, messages: &[Vec<u8>]) -> Result<Duration, Failure> {
    let site = Site::new(&scale.dir, nobody()?, Systems::Laboratory)?;
    let agent = Agent::start(&scale.hisync, &site).await?;
    let took = send_all(agent.receiver().await?, connections, messages).await?;
    let stored = agent.status().await?["store"]["streams"][0]["records"].as_u64();
    if stored != Some(messages.len() as u64) {
        return Err(format!("{} messages were acknowledged, {stored:?} are stored", messages.len()).into());
    }
    Ok(took)
}
