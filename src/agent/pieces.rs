//! The parts of an agent that start and end by themselves: which of them a configuration needs, how each is started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use connector_api::StreamId;
use connector_listen::Opened;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::now::Now;
use super::sources::{self, Open, Shared};
use super::supervisor::{Supervisor, Task};
use super::{DeliverySlot, canaries, prints, pulse, reconcile, retention, watch};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::intake::{Again, Custody, RoundRequest};
use crate::ops;
use crate::store::Store;
use crate::switches::{LOG_LEVEL, Switches};

/// When a part ends in a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wave {
    /// First: nothing more is taken in.
    Sources,
    /// When what is due is delivered.
    Delivery,
    /// Last: who looks at the agent sees it stop.
    Ops,
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The stream at a place of the source at a place.
    Poll(usize, usize),
    /// The source at a place.
    Listen(usize),
    Digests,
    Compared,
    Renormalise,
    Canaries,
    Retention,
    Probes,
    Switches,
    Delivery,
    Health,
    Alerts,
    Traces,
    Admin,
}

/// A part that a configuration needs.
pub(super) struct Want {
    pub(super) what: What,
    pub(super) wave: Wave,
    /// Another print needs another part.
    pub(super) print: Json,
    /// What it can take over while it runs.
    pub(super) soft: Json,
}

/// A part that runs.
pub(super) struct Piece {
    pub(super) what: What,
    pub(super) wave: Wave,
    pub(super) print: Json,
    pub(super) soft: Json,
    pub(super) stop: CancellationToken,
    /// The connections of a door that closes before them.
    pub(super) farewell: Option<CancellationToken>,
    pub(super) tasks: Vec<Task>,
    pub(super) custody: Option<Arc<Custody>>,
}

impl Piece {
    /// Tells it to end.
    pub(super) fn cancel(&self) {
        self.stop.cancel();
        self.farewell.iter().for_each(CancellationToken::cancel);
    }

    /// What tells it to end.
    pub(super) fn tokens(&self) -> Vec<CancellationToken> {
        [&self.stop].into_iter().chain(&self.farewell).cloned().collect()
    }
}

/// The parts that a configuration needs, by name.
pub(super) fn wanted(config: &Config) -> BTreeMap<String, Want> {
    let mut all = BTreeMap::new();
    let mut want = |name: String, what: What, wave: Wave, print: Json, soft: Json| {
        all.insert(name, Want { what, wave, print, soft });
    };
    for (at, source) in config.sources.iter().enumerate() {
        if sources::is_polled(source) {
            for (position, stream) in source.streams.iter().enumerate() {
                let print = prints::polled(config, source, stream);
                want(format!("stream {}", stream.id), What::Poll(at, position), Wave::Sources, print, Json::Null);
            }
        } else {
            let (print, soft) = (prints::listening(config, source), prints::reading(source));
            want(format!("listener {}", source.id), What::Listen(at), Wave::Sources, print, soft);
        }
    }
    let plain = [
        ("upstream digests", What::Digests, Wave::Sources, prints::digests(config)),
        ("reconcile listeners", What::Compared, Wave::Sources, prints::compared(config)),
        ("renormalise", What::Renormalise, Wave::Sources, prints::readers(config)),
        ("canaries", What::Canaries, Wave::Sources, Json::Null),
        ("retention", What::Retention, Wave::Sources, Json::Null),
        ("probes", What::Probes, Wave::Sources, Json::Null),
        ("switches", What::Switches, Wave::Ops, Json::Null),
        ("delivery", What::Delivery, Wave::Delivery, prints::delivery(config)),
        ("health", What::Health, Wave::Ops, Json::Null),
        ("alerts", What::Alerts, Wave::Ops, prints::alerts(config)),
        ("traces", What::Traces, Wave::Ops, prints::traces(config)),
        ("admin", What::Admin, Wave::Ops, prints::admin(config)),
    ];
    for (name, what, wave, print) in plain {
        want(name.to_owned(), what, wave, print, Json::Null);
    }
    all
}

/// What a part may be handed when it starts.
#[derive(Default)]
pub(super) struct Hand {
    pub(super) inbox: Option<mpsc::Receiver<RoundRequest>>,
    pub(super) open: Option<Open>,
    pub(super) asked: Option<mpsc::Receiver<i64>>,
    pub(super) delivery: Option<Delivery>,
    pub(super) door: Option<Opened>,
}

/// What every part is started with.
pub(super) struct Ground<'a> {
    pub(super) supervisor: &'a Supervisor,
    pub(super) shared: &'a Shared,
    pub(super) now: &'a Now,
    pub(super) pages: &'a ops::Pages,
    pub(super) slot: &'a DeliverySlot,
    pub(super) switches: &'a Switches,
    /// Where the admin address is, or was last.
    pub(super) admin: SocketAddr,
}

impl Ground<'_> {
    /// Starts a part.
    pub(super) fn start(&self, want: Want, hand: Hand) -> Piece {
        let Ground { supervisor, shared, now, .. } = *self;
        let Want { what, wave, print, soft } = want;
        let stop = CancellationToken::new();
        let (mut custody, mut farewell) = (None, None);
        let config = &shared.config;
        let tasks = match what {
            What::Poll(at, position) => {
                sources::show(shared, &config.sources[at], &config.sources[at].streams[position]);
                let inbox = hand.inbox.unwrap_or_else(|| mpsc::channel(1).1);
                vec![sources::poll(shared, supervisor, &stop, (at, position), inbox)]
            }
            What::Listen(at) => {
                let source = &config.sources[at];
                source.streams.iter().for_each(|stream| sources::show(shared, source, stream));
                let takes = sources::custody(shared, source);
                custody = Some(takes.clone());
                vec![sources::listen(shared, supervisor, &stop, at, takes, hand.open)]
            }
            What::Digests => {
                let of = reconcile::WithUpstream {
                    config: config.clone(),
                    store: shared.store.clone(),
                    board: shared.board.clone(),
                    clock: shared.clock.clone(),
                };
                let asked = hand.asked.unwrap_or_else(|| mpsc::channel(1).1);
                vec![reconcile::with_upstream(of, supervisor, &stop, asked, shared.learnt.clone())]
            }
            What::Compared => reconcile::listeners(shared, supervisor, &stop).into_iter().collect(),
            What::Renormalise => vec![renormalise(supervisor, &stop, now.state().again.clone())],
            What::Canaries => vec![canaries::start(supervisor, &stop, now)],
            What::Retention => vec![retention::start(supervisor, &stop, now)],
            What::Probes => vec![watch::probes(supervisor, &stop, now)],
            What::Switches => vec![keep_switches(supervisor, &stop, &shared.store, self.switches)],
            What::Delivery => self.deliver(&stop, hand.delivery),
            What::Health => vec![watch::health(supervisor, &stop, now)],
            What::Alerts => vec![watch::alerts(supervisor, &stop, &now.state().desk)],
            What::Traces => watch::traces(supervisor, &stop, config, now).into_iter().collect(),
            What::Admin => {
                let last = CancellationToken::new();
                farewell = Some(last.clone());
                vec![serve(supervisor, &stop, last, config, (self.admin, hand.door), self.pages)]
            }
        };
        Piece { what, wave, print, soft, stop, farewell, tasks, custody }
    }

    fn deliver(&self, stop: &CancellationToken, first: Option<Delivery>) -> Vec<Task> {
        let Ground { supervisor, shared, slot, switches, .. } = *self;
        let pulse = Arc::new(pulse::AgentPulse(self.now.clone()));
        let mut beats = first.as_ref().map(|delivery| delivery.heartbeats(pulse.clone()));
        let make = {
            let (config, store, clock) = (shared.config.clone(), shared.store.clone(), shared.clock.clone());
            let switches = switches.clone();
            move || {
                Delivery::new(&config.upstream, &config.base_dir, store.clone(), clock.clone())
                    .map(|delivery| delivery.under(switches.clone()))
            }
        };
        let again = make.clone();
        let mut first = first;
        let (store, slot, stop_task) = (shared.store.clone(), slot.clone(), stop.clone());
        let sender = supervisor.spawn("delivery", stop.clone(), move || {
            let delivery = first.take().map_or_else(&make, Ok);
            let (slot, stop, store) = (slot.clone(), stop_task.clone(), store.clone());
            async move {
                let delivery = delivery.map_err(|error| error.to_string())?;
                // After a panic: what the lost sender had claimed goes back, under the same ids.
                store.unclaim().await.map_err(|error| error.to_string())?;
                slot.set(delivery.handle());
                delivery.run(stop).await;
                Ok(())
            }
        });
        let stop_task = stop.clone();
        let heart = supervisor.spawn("heartbeat", stop.clone(), move || {
            let beats = beats.take().map_or_else(|| again().map(|delivery| delivery.heartbeats(pulse.clone())), Ok);
            let stop = stop_task.clone();
            async move {
                beats.map_err(|error| error.to_string())?.run(stop).await;
                Ok(())
            }
        });
        vec![sender, heart]
    }
}

/// Maps again what was held or mapped under another version, once after each start.
fn renormalise(supervisor: &Supervisor, stop: &CancellationToken, again: Again) -> Task {
    let stop_task = stop.clone();
    supervisor.spawn("renormalise", stop.clone(), move || {
        let (again, stop) = (again.clone(), stop_task.clone());
        async move {
            again.catch_up(&stop).await.map_err(|error| format!("map again what another mapping made: {error}"))?;
            stop.cancelled().await;
            Ok(())
        }
    })
}

/// Lets switches end by themselves, and the log follow its own.
fn keep_switches(supervisor: &Supervisor, stop: &CancellationToken, store: &Store, switches: &Switches) -> Task {
    /// A clock that is set forward is noticed so soon.
    const LOOK: std::time::Duration = std::time::Duration::from_secs(5);
    let (store, switches, stop_task) = (store.clone(), switches.clone(), stop.clone());
    supervisor.spawn("switches", stop.clone(), move || {
        let (store, switches, stop) = (store.clone(), switches.clone(), stop_task.clone());
        async move {
            let mut changes = switches.changes();
            let mut level: Option<String> = None;
            loop {
                let ended = switches.ended();
                if !ended.is_empty() {
                    store.end_switches().await.map_err(|error| error.to_string())?;
                    ops::switching::refresh(&store, &switches).await.map_err(|error| error.to_string())?;
                    for set in ended {
                        tracing::info!(switch = set.name, subject = set.subject, "a switch has ended by itself");
                    }
                }
                let asked = switches.word(&LOG_LEVEL);
                if asked != level {
                    ops::log::set_level(asked.as_deref());
                    level = asked;
                }
                tokio::select! {
                    () = stop.cancelled() => {
                        ops::log::set_level(None);
                        return Ok(());
                    }
                    // The switches live as long as this task.
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        }
    })
}

fn serve(
    supervisor: &Supervisor,
    stop: &CancellationToken,
    farewell: CancellationToken,
    config: &Arc<Config>,
    (address, mut first): (SocketAddr, Option<Opened>),
    pages: &ops::Pages,
) -> Task {
    let (stop_task, config, pages) = (stop.clone(), config.clone(), pages.clone());
    supervisor.spawn("admin", stop.clone(), move || {
        let (opened, pages, config) = (first.take(), pages.clone(), config.clone());
        let (stop, farewell) = (stop_task.clone(), farewell.clone());
        async move {
            let opened = match opened {
                Some(opened) => opened,
                None => config
                    .admin
                    .open(&config.base_dir, Some(address))
                    .await
                    .map_err(|error| connector_api::chain(&error))?,
            };
            ops::serve(opened, pages, stop, farewell).await.map_err(|error| error.to_string())
        }
    })
}

/// The senders through which polled streams are asked, with the receivers that their tasks get.
pub(super) fn channels(streams: impl IntoIterator<Item = StreamId>) -> Vec<Channel> {
    let channel = |stream| {
        let (sender, receiver) = mpsc::channel(8);
        (stream, sender, receiver)
    };
    streams.into_iter().map(channel).collect()
}

/// A stream with both ends of its channel.
pub(super) type Channel = (StreamId, mpsc::Sender<RoundRequest>, mpsc::Receiver<RoundRequest>);
