//! Counts daily figures behind the intake.

use tokio_util::sync::CancellationToken;

use super::now::Now;
use super::streams;
use super::supervisor::{Supervisor, Task};
use crate::{ops, store};

/// Counts daily figures, tells the log of shares that jump, and judges new streams that have no rounds.
pub(super) fn start(supervisor: &Supervisor, stop: &CancellationToken, moment: &Now) -> Task {
    let (moment, stop_task) = (moment.clone(), stop.clone());
    supervisor.spawn("canaries", stop.clone(), move || {
        let (moment, stop) = (moment.clone(), stop_task.clone());
        async move {
            let mut told: Vec<(String, String)> = Vec::new();
            loop {
                let (config, state) = (moment.config(), moment.state());
                let (store, watched, zone) = (&state.store, state.watched.clone(), state.zone);
                while store.count_figures(zone).await.map_err(|error| error.to_string())? && !stop.is_cancelled() {}
                for stream in streams(&config) {
                    let judged = store.judge(&stream.id, store::Moment::Tick).await;
                    judged.map_err(|error| error.to_string())?;
                }
                let (asked, now) = (watched.clone(), state.clock.now());
                let days = store.read(move |reader| ops::canary::read(reader, &asked, zone, now)).await;
                let reasons = ops::canary::reasons(&days.map_err(|error| error.to_string())?, &watched, zone, now);
                let day = now.with_timezone(&zone).date_naive().to_string();
                told.retain(|(of, _)| *of == day);
                for reason in reasons {
                    // Once a day for each share; its figures move all day.
                    let what = reason.text.split(" % ").nth(1).and_then(|rest| rest.split(" today").next());
                    let key = (day.clone(), format!("{}: {}", reason.subject, what.unwrap_or_default()));
                    if !told.contains(&key) {
                        tracing::warn!(subject = reason.subject, "a daily share jumps: {}", reason.text);
                        told.push(key);
                    }
                }
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(ops::canary::EVERY) => {}
                }
            }
        }
    })
}
