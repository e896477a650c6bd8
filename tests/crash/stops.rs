//! Orderly and less orderly stops, and a configuration that changes while the agent runs.

use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::hospital::Hospital;
use crate::machine::{Process, Stage, until};
use crate::verify;

/// A hospital whose laboratory has posted so many messages, its upstream and its sender.
struct Scene {
    stage: Stage,
    hospital: Hospital,
    _sandbox: Process,
    sender: Process,
}

impl Scene {
    fn with(messages: usize) -> Scene {
        let stage = Stage::new(&mut Rng::new());
        let mut hospital = Hospital::open(&stage, 7);
        hospital.report(&stage, messages);
        let sandbox = stage.sandbox();
        let sender = stage.sender();
        Scene { stage, hospital, _sandbox: sandbox, sender }
    }

    fn acked(&self, messages: usize) {
        until("acknowledgements", || (self.stage.acks().len() >= messages).then_some(()));
    }

    fn faults(&self, faults: &Json) {
        assert!(self.stage.put_faults(faults));
    }

    fn status(&self) -> Json {
        until("the agent's status", || self.stage.live_status())
    }

    /// Waits until a delivery is out and upstream lets it wait.
    fn hanging(&self) {
        until("a delivery that hangs", || {
            (self.status()["upstream"]["in_flight"].as_u64()? > 0 && self.stage.receives()).then_some(())
        });
    }

    /// Waits until the agent has seen a signal: its sources are stopped first.
    fn stopping(&self) {
        until("the receiver to close", || (!self.stage.receives()).then_some(()));
    }

    /// Everything that was acknowledged is upstream, once, and nothing waits.
    fn all_delivered(mut self) {
        // What was acknowledged is in the log now, or never will be.
        let _ = self.sender.ended();
        drop(self.sender);
        let acks = self.stage.acks().len();
        let applied = self.stage.received("");
        let subjects: Vec<&Json> = applied.iter().map(|line| &line["event"]["subject"]).collect();
        for subject in self.hospital.subjects_of(acks) {
            assert!(
                subjects.contains(&&Json::from(subject.as_str())),
                "{subject} was acknowledged and is not upstream"
            );
        }
        let store = self.stage.status().expect("the store tells without an agent")["store"].take();
        verify::sums(&self.stage, &store, None);
        verify::history(&self.stage);
        verify::integrity(&self.stage);
    }
}

#[test]
fn a_stop_in_the_middle_of_it_delivers_what_was_acknowledged() {
    let scene = Scene::with(80);
    scene.faults(&json!([{ "status": 503, "count": 1 }, { "delay_ms": 150 }]));
    let mut agent = scene.stage.agent();
    scene.acked(25);
    agent.signal(Signal::TERM);
    assert_eq!(agent.code(), Some(0), "{}", scene.stage.said("agent.log"));
    scene.all_delivered();
}

#[test]
fn a_stop_waits_for_the_next_attempt_of_what_upstream_could_not_take() {
    let scene = Scene::with(3);
    let config = std::fs::read_to_string(scene.stage.config()).unwrap();
    let slow =
        config.replace("retry = { initial_ms = 100, max_ms = 1000 }", "retry = { initial_ms = 3000, max_ms = 3000 }");
    std::fs::write(scene.stage.config(), slow).unwrap();
    scene.faults(&json!({ "status": 503, "count": 3 }));
    let mut agent = scene.stage.agent();
    scene.acked(3);
    // Packages wait for the round of their groups: what is read after the signal is for the next start.
    until("every round", || {
        let status = scene.status();
        let packages = status["streams"].as_array()?.iter().find(|stream| stream["id"] == "peis/packages")?;
        packages["last_success_at"].is_string().then_some(())
    });
    until("a batch that waits", || (scene.status()["upstream"]["waiting"].as_u64()? > 0).then_some(()));
    agent.signal(Signal::TERM);
    assert_eq!(agent.code(), Some(0), "{}", scene.stage.said("agent.log"));
    scene.all_delivered();
}

#[test]
fn a_second_signal_ends_the_agent_at_once_and_loses_nothing() {
    let scene = Scene::with(20);
    scene.faults(&json!({ "delay_ms": 60_000 }));
    let mut agent = scene.stage.agent();
    scene.acked(20);
    scene.hanging();
    agent.signal(Signal::TERM);
    scene.stopping();
    assert!(agent.ended().is_none(), "it waits for upstream");
    agent.signal(Signal::TERM);
    let since = Instant::now();
    assert_eq!(agent.code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(5), "the grace time is 30 s, this is at once: {:?}", since.elapsed());
    scene.faults(&json!([]));
    let mut agent = scene.stage.agent();
    until("the outbox to empty", || (scene.status()["store"]["outbox_depth"] == 0).then_some(()));
    agent.signal(Signal::TERM);
    assert_eq!(agent.code(), Some(0));
    scene.all_delivered();
}

#[test]
fn a_broken_configuration_is_refused_while_the_old_one_goes_on_and_a_good_one_takes_over() {
    let mut scene = Scene::with(5);
    let mut agent = scene.stage.agent();
    scene.acked(5);
    let digest = |scene: &Scene| scene.status()["agent"]["config_digest"].clone();
    let (good, old) = (std::fs::read_to_string(scene.stage.config()).unwrap(), digest(&scene));

    std::fs::write(scene.stage.config(), format!("{good}\n[nonsense]\nkey = 1\n")).unwrap();
    agent.signal(Signal::HUP);
    until("the refusal", || scene.stage.said("agent.log").contains("nonsense").then_some(()));
    assert!(scene.stage.said("agent.log").contains("the old one goes on"), "{}", scene.stage.said("agent.log"));
    scene.hospital.report(&scene.stage, 5);
    scene.acked(10);
    assert_eq!(digest(&scene), old);

    std::fs::write(scene.stage.config(), good.replace("batch_max_events = 10", "batch_max_events = 11")).unwrap();
    agent.signal(Signal::HUP);
    until("the new configuration", || {
        let now = scene.stage.live_status()?["agent"]["config_digest"].take();
        (now.is_string() && now != old).then_some(())
    });
    scene.hospital.report(&scene.stage, 5);
    scene.acked(15);
    assert!(agent.ended().is_none(), "it is the same process");
    agent.signal(Signal::TERM);
    assert_eq!(agent.code(), Some(0));
    scene.all_delivered();
}

#[test]
fn a_stop_while_the_configuration_changes_is_a_stop_in_order() {
    let scene = Scene::with(10);
    let config = std::fs::read_to_string(scene.stage.config()).unwrap();
    std::fs::write(scene.stage.config(), config.replace("[agent]", "[agent]\nshutdown_grace = \"2s\"")).unwrap();
    scene.faults(&json!({ "delay_ms": 60_000 }));
    let mut agent = scene.stage.agent();
    scene.acked(10);
    scene.hanging();
    scene.stage.renew();
    agent.signal(Signal::HUP);
    scene.stopping();
    agent.signal(Signal::TERM);
    assert_eq!(agent.code(), Some(0), "{}", scene.stage.said("agent.log"));
}

#[test]
fn a_kill_while_the_store_is_made_leaves_one_that_can_be_opened() {
    let mut rng = Rng::new();
    let stage = Stage::new(&mut rng);
    Hospital::open(&stage, 7);
    for delay in (0..16).map(|step| Duration::from_micros(step * 700)) {
        let agent = stage.agent();
        until("the store's file", || stage.path("data/hisync.db").exists().then_some(()));
        std::thread::sleep(delay);
        agent.kill();
        let mut agent = stage.agent();
        until("the agent's status", || {
            assert!(agent.ended().is_none(), "after {delay:?}: {}", stage.said("agent.log"));
            stage.live_status()
        });
        agent.kill();
        verify::integrity(&stage);
        std::fs::remove_dir_all(stage.path("data")).unwrap();
    }
}
