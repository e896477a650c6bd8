//! The whole way: HL7 messages in, events upstream, the agent in its own process. And its start.

use std::time::{Duration, Instant};

use hisync::sandbox::hospital::oru_messages;

use crate::agent::Agent;
use crate::figures::{Aim, Figures};
use crate::helper::Helper;
use crate::intake::{CONNECTIONS, per_second};
use crate::sender::send_all;
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// After the last acknowledgement, delivery may take so long before the measurement is void.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let mut starts = Vec::new();
    for _ in 0..scale.runs.max(5) {
        let site = Site::new(&scale.dir, nobody()?, Systems::Both)?;
        let agent = Agent::start(&scale.hisync, &site).await?;
        starts.push(agent.start.as_secs_f64() * 1000.0);
    }
    figures.plain("start", "ms", &starts, Aim::AtMost(200.0));

    let messages: Vec<Vec<u8>> = oru_messages(1, scale.messages).collect();
    let events = messages.iter().map(|message| reports(message)).sum();
    let (mut rates, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..scale.runs {
        let (took, used) = run(scale, &messages, events).await?;
        rates.push(per_second(messages.len(), took));
        cpu.push(used * 10_000.0 / messages.len() as f64);
    }
    figures.plain("end_to_end", "messages/s", &rates, Aim::None);
    figures.plain("cpu_per_10k", "s", &cpu, Aim::None);
    Ok(())
}

/// How many reports a message holds; each becomes an event.
fn reports(message: &[u8]) -> u64 {
    message.split(|byte| *byte == b'\r').filter(|segment| segment.starts_with(b"OBR|")).count() as u64
}

async fn run(scale: &Scale, messages: &[Vec<u8>], events: u64) -> Result<(Duration, f64), Failure> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&scale.dir)?;
    let sink = Helper::start(["sink".as_ref(), folder.path().join("taken").as_os_str()])?;
    let site = Site::new(&scale.dir, sink.address, Systems::Laboratory)?;
    let agent = Agent::start(&scale.hisync, &site).await?;
    let receiver = agent.receiver().await?;
    let (before, began) = (agent.cpu_seconds()?, Instant::now());
    send_all(receiver, CONNECTIONS, messages).await?;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let acknowledged = Instant::now();
    loop {
        let count = http.get(format!("http://{}/count", sink.address)).send().await?.text().await?;
        if count.parse::<u64>()? >= events {
            break;
        }
        if acknowledged.elapsed() > PATIENCE {
            return Err(format!("{count} of {events} events were delivered").into());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = began.elapsed();
    let used = agent.cpu_seconds()? - before;
    Ok((took, used))
}
