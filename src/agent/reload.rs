//! Another configuration while the agent runs: what changes is started anew, whatever does not goes on untouched.
//!
//! 1. **Prepare**: what can be found out without touching anything is. A new port is bound while the old one is served,
//!    new settings of a source or of upstream are tried where the old ones work. A failure here refuses the whole.
//! 2. **Switch**: the parts whose print differs end, the shared knowledge is replaced, and the new parts start.
//! 3. **Roll back**, where a part can't be opened after all: the same switch, back to the configuration before.
//!
//! A kill at any point is one like any other: a start reads the configuration from the disk, and nothing of a reload
//! is needed to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_api::{Action, SourceId, chain};
use connector_listen::Opened;
use serde_json::Value as Json;
use tokio::time::Instant;

use super::pieces::{self, Ground, Hand, Piece, Want, What};
use super::sources::{self, Open};
use super::{AGENT_FILE, Agent, keeper, prints, watch};
use crate::config::Config;
use crate::delivery::{self, Delivery};
use crate::intake::StreamState;
use crate::ops;
use crate::ops::reload::{Outcome, Part, Verdict};
use crate::store;

/// How long new settings of a source may take to show that they work.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// How long all of that may take: a person waits for the answer.
const PROBES_LIMIT: Duration = Duration::from_secs(40);
/// How long an address that was just left may take to be free.
const FREE_WITHIN: Duration = Duration::from_secs(3);
const FREE_LOOK: Duration = Duration::from_millis(50);

/// What was opened and tried before anything is touched.
#[derive(Default)]
pub(super) struct Ready {
    pub(super) delivery: Option<Delivery>,
    pub(super) desk: Option<ops::alert::Desk>,
    pub(super) keeper: Option<ops::access::Doorkeeper>,
    pub(super) admin: Option<Opened>,
    pub(super) listeners: BTreeMap<String, Open>,
}

/// What becomes of a listener that can't be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// The switch fails.
    Fails,
    /// Its task opens it as soon as that is possible.
    IsRetried,
}

/// Why a switch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwitchError {
    /// Parts can't be opened.
    #[error("{}", .0.join("; "))]
    Parts(Vec<String>),
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What another configuration changes.
struct Plan {
    /// The settings that differ, as their paths.
    changed: Vec<String>,
    parts: Vec<Part>,
    /// The parts that end, start, or start anew.
    touched: BTreeSet<String>,
    notes: Vec<String>,
    /// It changes what everything stands on.
    core: Vec<String>,
}

impl Agent {
    /// Goes on under another configuration, or says what that would do. What has to start everything anew is only
    /// answered with [`Verdict::Restarting`]: the caller does it.
    pub async fn reload(&mut self, config: Arc<Config>, dry_run: bool, who: &str) -> Outcome {
        let plan = self.plan(&config);
        let now = self.base.clock.now();
        let mut outcome = Outcome::new(Verdict::Unchanged, now, who, &self.config.digest);
        outcome.changed.clone_from(&plan.changed);
        outcome.parts.clone_from(&plan.parts);
        outcome.notes.clone_from(&plan.notes);
        if !plan.core.is_empty() {
            outcome.verdict = if dry_run { Verdict::WouldRestart } else { Verdict::Restarting };
            outcome.notes.push(format!("{} is part of what everything stands on", plan.core.join(", ")));
            return outcome;
        }
        let same = plan.changed.is_empty() && plan.touched.is_empty() && config.digest == self.config.digest;
        if dry_run {
            outcome.verdict = if same { Verdict::Unchanged } else { Verdict::WouldApply };
            return outcome;
        }
        if same {
            self.revive(who);
            return outcome;
        }
        let ready = match self.prepare(&config, &plan).await {
            Ok(ready) => ready,
            Err(troubles) => {
                outcome.verdict = Verdict::Refused;
                outcome.troubles = troubles;
                return outcome;
            }
        };
        let before = self.config.clone();
        match self.switch(config.clone(), ready, Failing::Fails, who).await {
            Ok(()) => {
                outcome.verdict = Verdict::Applied;
                outcome.digest.clone_from(&config.digest);
                self.revive(who);
            }
            Err(failed) => {
                outcome.verdict = Verdict::RolledBack;
                outcome.troubles = match failed {
                    SwitchError::Parts(parts) => parts,
                    SwitchError::Store(error) => vec![chain(&error)],
                };
                if let Err(error) = self.switch(before, Ready::default(), Failing::IsRetried, who).await {
                    // The parts run; only what is noted of them is missing.
                    outcome.troubles.push(format!("note the configuration before: {error}"));
                }
            }
        }
        outcome
    }

    fn plan(&self, config: &Config) -> Plan {
        let mut changed = prints::differences(&self.config.written, &config.written);
        let mut notes = Vec::new();
        // Secrets are compared as they were when they came into force: their files may be other ones by now.
        let core = prints::differences(&self.core, &prints::core(config));
        let credentials = prints::differences(&self.credentials, &prints::credentials(config));
        let outside = credentials.into_iter().filter(|path| path.contains("(the "));
        changed.extend(outside.map(|path| format!("upstream: {path}")));
        for (id, before, after) in self.mappings(config) {
            changed.push(format!("the mapping of {id}: {before} becomes {after}"));
        }
        if self.config.calendar != config.calendar {
            changed.push("the file of holidays".to_owned());
        }
        if self.config.written.get("log") != config.written.get("log") {
            notes.push("[log] takes effect at the next start of the process".to_owned());
        }
        let (mut parts, mut touched) = (Vec::new(), BTreeSet::new());
        let wanted = pieces::wanted(config);
        let mut part = |name: &String, effect: &str, because: Vec<String>| {
            parts.push(Part { part: name.clone(), effect: effect.to_owned(), because });
        };
        for (name, want) in &wanted {
            match self.pieces.get(name) {
                None => part(name, "starts", Vec::new()),
                Some(piece) if piece.print != want.print => {
                    part(name, "starts anew", prints::differences(&piece.print, &want.print));
                }
                Some(piece) if piece.soft != want.soft => {
                    part(name, "goes on, and reads by the new mapping", Vec::new());
                    continue;
                }
                Some(_) => continue,
            }
            touched.insert(name.clone());
        }
        for name in self.pieces.keys().filter(|name| !wanted.contains_key(*name)) {
            part(name, "ends", Vec::new());
            touched.insert(name.clone());
        }
        if prints::operators(config) != self.operators {
            parts.push(Part { part: "operators".to_owned(), effect: "log in anew".to_owned(), because: Vec::new() });
            changed.push("admin.operators".to_owned());
        }
        changed.dedup();
        Plan { changed, parts, touched, notes, core }
    }

    /// The streams of both configurations that are read by another version of a mapping.
    fn mappings(&self, config: &Config) -> Vec<(String, String, String)> {
        let versions = |config: &Config| -> BTreeMap<String, String> {
            let of =
                |stream: &crate::config::StreamConfig| (stream.id.to_string(), stream.mapping.version().to_owned());
            super::streams(config).map(of).collect()
        };
        let (before, after) = (versions(&self.config), versions(config));
        let both = before.into_iter().filter_map(|(id, before)| {
            let after = after.get(&id)?;
            (before != *after).then(|| (id, before, after.clone()))
        });
        both.collect()
    }

    /// Opens and tries what can be before anything is touched; says everything that does not work.
    async fn prepare(&self, config: &Arc<Config>, plan: &Plan) -> Result<Ready, Vec<String>> {
        let mut troubles = Vec::new();
        let mut ready = Ready::default();
        let deadline = Instant::now() + PROBES_LIMIT;
        let touched = |name: &str| plan.touched.contains(name);
        if touched("delivery") {
            let (store, clock) = (self.base.store.clone(), self.base.clock.clone());
            match Delivery::new(&config.upstream, &config.base_dir, store, clock) {
                Ok(delivery) => {
                    let delivery = delivery.under(self.base.switches.clone());
                    let same = self.config.upstream.url == config.upstream.url;
                    let before = self.base.delivery.get();
                    ready.delivery = Some(if same { delivery.after(&before) } else { delivery });
                }
                Err(error) => troubles.push(format!("upstream: {}", chain(&error))),
            }
        }
        if troubles.is_empty() {
            troubles.extend(self.try_upstream(config, touched("delivery")).await);
        }
        if touched("alerts") {
            match self.base.desk(config) {
                Ok(desk) => ready.desk = Some(desk),
                Err(error) => troubles.push(format!("alerts: {}", chain(&error))),
            }
        }
        if prints::operators(config) != self.operators {
            match keeper(config, &self.file.token, &self.base.clock) {
                Ok(keeper) => ready.keeper = Some(keeper),
                Err(error) => troubles.push(format!("admin.operators: {}", chain(&error))),
            }
        }
        if touched("admin") && self.config.admin.listen != config.admin.listen {
            match config.admin.open(&config.base_dir, None).await {
                Ok(opened) => ready.admin = Some(opened),
                Err(error) => troubles.push(format!("admin.listen: {}", told(&error))),
            }
        }
        for (at, source) in config.sources.iter().enumerate() {
            let name = format!("listener {}", source.id);
            if sources::is_polled(source) || !touched(&name) || !self.opens_beside(at, config) {
                continue;
            }
            match sources::open(source, &config.base_dir).await {
                Ok(open) => drop(ready.listeners.insert(name, open)),
                Err(error) => troubles.push(format!("source {}: {error}", source.id)),
            }
        }
        troubles.extend(self.try_sources(config, plan, deadline).await);
        if troubles.is_empty() { Ok(ready) } else { Err(troubles) }
    }

    /// Whether a listener can be opened while the one before it is served: another address, or none at all.
    fn opens_beside(&self, at: usize, config: &Config) -> bool {
        let source = &config.sources[at];
        let Some(before) = self.config.sources.iter().find(|before| before.id == source.id) else { return true };
        let listen = |settings: &Json| settings.get("listen").cloned();
        let (before, after) = (listen(&before.settings), listen(&source.settings));
        // Another source may leave the address in the same reload.
        let left = self.config.sources.iter().any(|other| other.id != source.id && listen(&other.settings) == after);
        after.is_none() || (before != after && !left)
    }

    /// Sends upstream an empty batch under new credentials: those that it refuses must not replace those that it takes.
    async fn try_upstream(&self, config: &Config, elsewhere: bool) -> Option<String> {
        let status = self.base.delivery.status();
        let works = status.breaker.state == "closed"
            && status
                .last_failure
                .as_ref()
                .is_none_or(|failure| status.last_success.is_some_and(|success| success > failure.at));
        if prints::credentials(config) == self.credentials || !works {
            return None;
        }
        let found = delivery::probe(&config.upstream, &config.base_dir, self.base.clock.clone()).await;
        match found {
            Ok(found) if matches!(found.code.as_str(), "http-401" | "http-403") => Some(format!(
                "upstream refuses the new credentials ({}): those before go on being used; {}",
                found.code, found.text
            )),
            Ok(found) if !found.reached && elsewhere => Some(format!(
                "upstream can't be reached as it is configured now ({}), and can be as it was before: {}",
                found.code, found.text
            )),
            // Whether upstream is there at all is its status, not a fault of the configuration.
            Ok(_) => None,
            Err(error) => Some(format!("upstream: {}", chain(&error))),
        }
    }

    /// Looks at the sources whose connection is another one: settings that don't work must not replace those that do.
    async fn try_sources(&self, config: &Config, plan: &Plan, deadline: Instant) -> Vec<String> {
        let mut troubles = Vec::new();
        for source in config.sources.iter().filter(|source| sources::is_polled(source)) {
            for stream in &source.streams {
                let name = format!("stream {}", stream.id);
                let Some(piece) = self.pieces.get(&name).filter(|_| plan.touched.contains(&name)) else { continue };
                let print = prints::polled(config, source, stream);
                let works = self.base.board.of(&stream.id).is_some_and(|status| {
                    status.failures == 0 && (status.rounds > 0 || status.state == StreamState::Waiting)
                });
                if !works || piece.print.get("connection") == print.get("connection") || Instant::now() > deadline {
                    continue;
                }
                if let Err(error) = watch::probe(source, &config.base_dir, &stream.id, PROBE_LIMIT).await {
                    troubles
                        .push(format!("{name}: the new settings do not work where the old ones do: {}", told(&error)));
                    // Another try could lock the account.
                    break;
                }
            }
        }
        troubles
    }

    /// Ends what differs, replaces what is shared, starts what is missing.
    pub(super) async fn switch(
        &mut self,
        config: Arc<Config>,
        mut ready: Ready,
        failing: Failing,
        who: &str,
    ) -> Result<(), SwitchError> {
        let mut wanted = pieces::wanted(&config);
        let differs = |name: &String, piece: &Piece| wanted.get(name).is_none_or(|want| want.print != piece.print);
        let leaving: Vec<String> =
            self.pieces.iter().filter(|(name, piece)| differs(name, piece)).map(|(name, _)| name.clone()).collect();
        // Delivery drains for some seconds; nothing else waits for it.
        let (slow, quick): (Vec<String>, Vec<String>) = leaving.into_iter().partition(|name| name == "delivery");
        let grace = Instant::now() + self.config.agent.shutdown_grace;
        self.end(quick, &wanted, grace).await;

        // What listens is opened before anything counts: a failure is the last thing that can go wrong.
        let mut troubles = Vec::new();
        for (at, source) in config.sources.iter().enumerate() {
            let name = format!("listener {}", source.id);
            let missing = !sources::is_polled(source) && !self.pieces.contains_key(&name);
            if failing == Failing::IsRetried || !missing || ready.listeners.contains_key(&name) {
                continue;
            }
            match opened(|| sources::open(&config.sources[at], &config.base_dir)).await {
                Ok(open) => drop(ready.listeners.insert(name, open)),
                Err(error) => troubles.push(format!("source {}: {error}", source.id)),
            }
        }
        if !self.pieces.contains_key("admin") && ready.admin.is_none() {
            let at: Option<SocketAddr> = (self.config.admin.listen == config.admin.listen).then_some(self.admin);
            match opened(|| config.admin.open(&config.base_dir, at)).await {
                Ok(open) => ready.admin = Some(open),
                Err(error) => troubles.push(format!("admin.listen: {}", told(&error))),
            }
        }
        if !troubles.is_empty() && failing == Failing::Fails {
            return Err(SwitchError::Parts(troubles));
        }

        self.take_over(&config, &mut ready, who, &mut wanted).await?;
        self.end(slow, &wanted, grace).await;
        if !self.pieces.contains_key("delivery") {
            self.begin(&config, "delivery", &mut wanted, Hand { delivery: ready.delivery.take(), ..Hand::default() });
        }
        Ok(())
    }

    /// Tells parts to end, and waits for that.
    async fn end(&mut self, names: Vec<String>, wanted: &BTreeMap<String, Want>, deadline: Instant) {
        let pieces: Vec<(String, Piece)> =
            names.into_iter().filter_map(|name| Some((name.clone(), self.pieces.remove(&name)?))).collect();
        for (_, piece) in &pieces {
            piece.stop.cancel();
        }
        for (name, piece) in pieces {
            if piece.what == What::Admin {
                // Whoever asked for this over the old door still gets the answer.
                let farewell = piece.farewell.unwrap_or_default();
                self.leaving.extend(piece.tasks.into_iter().map(|task| (farewell.clone(), task)));
                continue;
            }
            for task in piece.tasks {
                task.ended_by(deadline).await;
            }
            if !wanted.contains_key(&name) {
                self.base.supervisor.forget(&name);
            }
        }
    }

    /// Closes the connections of doors that were left; whoever asked has been answered.
    pub fn say_farewell(&mut self) {
        self.leaving.iter().for_each(|(farewell, _)| farewell.cancel());
        self.leaving.retain(|(_, task)| !task.is_over());
    }

    /// Replaces what all parts share, and starts those that are missing but delivery.
    async fn take_over(
        &mut self,
        config: &Arc<Config>,
        ready: &mut Ready,
        who: &str,
        wanted: &mut BTreeMap<String, Want>,
    ) -> Result<(), SwitchError> {
        let detail = serde_json::json!({ "changed": prints::differences(&self.config.written, &config.written) });
        let base = &self.base;
        base.site.put(sources::site(config));
        base.gate.set_limits(config.agent.disk_floor_bytes, config.agent.outbox_limit);
        let polled = config.sources.iter().filter(|source| sources::is_polled(source));
        let polled: Vec<(SourceId, String)> =
            polled.map(|source| (source.id.clone(), source.kind.name.to_owned())).collect();
        base.breakers.keep(polled, &base.clock);
        let configured: BTreeSet<String> = super::streams(config).map(|stream| stream.id.to_string()).collect();
        base.board.keep(|id| configured.contains(id.as_str()));
        self.keeper = ready.keeper.take().unwrap_or_else(|| self.keeper.clone());
        self.desk = ready.desk.take().unwrap_or_else(|| self.desk.clone());
        let noted = async {
            base.store.judge_starts(super::starts(config)).await?;
            let id = base.store.config_in_force(&config.digest, who, detail).await?;
            base.store.keep_config(id, &ops::bundle::redacted(&config.written)).await
        };
        // An agent that begins can't begin without the store. One that runs goes on whatever it says: what is read is
        // committed later, or not acknowledged.
        let noted = match noted.await {
            Err(error) if self.pieces.is_empty() => return Err(SwitchError::Store(error)),
            noted => noted,
        };

        let polls = wanted.values().filter_map(|want| match want.what {
            What::Poll(at, position) => Some(config.sources[at].streams[position].id.clone()),
            _ => None,
        });
        let (missing, kept): (Vec<_>, Vec<_>) =
            polls.partition(|id| !self.pieces.contains_key(&format!("stream {id}")));
        // The judgement of an open breaker is about the connection before.
        let renewed: BTreeSet<String> = missing.iter().map(|id| id.source().to_string()).collect();
        for source in self.base.breakers.all() {
            if source.breaker.state != "closed" && renewed.contains(source.id.as_str()) {
                self.base.breakers.reset(source.id.as_str());
            }
        }
        let mut rounds = sources::Rounds::default();
        for id in kept {
            if let Some(task) = self.rounds.sender(&id) {
                rounds.insert(id, task);
            }
        }
        let mut inboxes = BTreeMap::new();
        for (id, sender, receiver) in pieces::channels(missing) {
            inboxes.insert(format!("stream {id}"), receiver);
            rounds.insert(id, sender);
        }
        self.rounds = rounds;
        let mut asked = None;
        if !self.pieces.contains_key("upstream digests") {
            let (sender, receiver) = tokio::sync::mpsc::channel(1);
            (self.upstream, asked) = (sender, Some(receiver));
        }
        self.config = config.clone();
        self.credentials = prints::credentials(config);
        self.operators = prints::operators(config);
        self.publish();

        let at: BTreeMap<String, usize> =
            (0..).zip(&config.sources).map(|(at, of)| (format!("listener {}", of.id), at)).collect();
        for (name, want) in wanted.iter() {
            let (Some(piece), Some(at)) = (self.pieces.get_mut(name), at.get(name)) else { continue };
            if piece.soft != want.soft {
                let source = &config.sources[*at];
                if let Some(custody) = &piece.custody {
                    custody.read_by(sources::normalisers(config, source));
                }
                for stream in &source.streams {
                    let version = stream.mapping.version().to_owned();
                    self.base.board.update(&stream.id, |status| {
                        status.mapping_version = version;
                        status.entity = stream.entity;
                    });
                }
                piece.soft = want.soft.clone();
            }
        }
        let missing: Vec<String> = wanted.keys().filter(|name| !self.pieces.contains_key(*name)).cloned().collect();
        for name in missing.into_iter().filter(|name| name != "delivery") {
            let hand = Hand {
                inbox: inboxes.remove(&name),
                open: ready.listeners.remove(&name),
                asked: if name == "upstream digests" { asked.take() } else { None },
                delivery: None,
                door: if name == "admin" { ready.admin.take() } else { None },
            };
            self.begin(config, &name, wanted, hand);
        }
        noted?;
        Ok(())
    }

    /// Shows the configuration in force.
    fn publish(&mut self) {
        let parts = (&self.keeper, &self.desk);
        let state = self.base.state(&self.config, parts, &self.file.run, &self.rounds, self.upstream.clone());
        self.now.put(self.config.clone(), state.clone());
        self.pages.put(state);
    }

    fn begin(&mut self, config: &Arc<Config>, name: &str, wanted: &mut BTreeMap<String, Want>, hand: Hand) {
        let Some(want) = wanted.remove(name) else { return };
        if let Some(door) = &hand.door {
            self.admin = door.address;
            self.file.admin = door.address;
            self.file.tls = config.admin.tls.is_some();
            if let Err(error) = self.file.write(&config.agent.data_dir) {
                tracing::warn!(%error, "could not write {AGENT_FILE}; commands will look at the store directly");
            }
        }
        let shared = self.base.shared(config);
        let ground = Ground {
            supervisor: &self.base.supervisor,
            shared: &shared,
            now: &self.now,
            pages: &self.pages,
            slot: &self.base.delivery,
            switches: &self.base.switches,
            admin: self.admin,
        };
        self.pieces.insert(name.to_owned(), ground.start(want, hand));
    }

    /// Whoever asks for the configuration again has repaired something: what fails is tried again at once.
    fn revive(&self, who: &str) {
        if who == ops::reload::BY_FILE {
            return;
        }
        let failing = |state: StreamState| matches!(state, StreamState::Failing | StreamState::Stopped);
        let sources: BTreeSet<String> = self
            .base
            .board
            .all()
            .into_iter()
            .filter(|stream| failing(stream.state))
            .map(|stream| stream.id.source().to_string())
            .collect();
        let open = self.base.breakers.all().into_iter().filter(|source| source.breaker.state != "closed");
        for source in sources.into_iter().chain(open.map(|source| source.id.to_string())).collect::<BTreeSet<_>>() {
            self.base.breakers.reset(&source);
        }
        if self.base.delivery.status().breaker.state != "closed" {
            self.reset_breaker();
        }
    }
}

/// Opens what may be at an address that was left a moment ago.
async fn opened<T, E>(mut open: impl AsyncFnMut() -> Result<T, E>) -> Result<T, E> {
    let until = Instant::now() + FREE_WITHIN;
    loop {
        match open().await {
            Err(_) if Instant::now() < until => tokio::time::sleep(FREE_LOOK).await,
            done => return done,
        }
    }
}

/// A failure with what to do about it.
fn told(error: &connector_api::SourceError) -> String {
    let needs_person = if matches!(error.action, Action::Stop) { "" } else { " (perhaps for a moment only)" };
    match &error.hint {
        Some(hint) => format!("{}{needs_person}: {hint}", error.chain()),
        None => format!("{}{needs_person}", error.chain()),
    }
}
