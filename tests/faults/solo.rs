//! One fault after the other, each alone, at its named point; and how a fault is played.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::json;

use crate::catalogue::{self, Act, Door, Fault};
use crate::machine::{Process, until};
use crate::shim::{Rule, Standing};
use crate::site::{Site, seed};
use crate::{cloud, route};

/// So long a fault's own point is waited for.
const MEETING: Duration = Duration::from_secs(60);
/// So long a fault goes on after it was met, at most.
const LASTING: Duration = Duration::from_millis(900);
/// A fault that is met so often has shown what it does.
const ENOUGH: u32 = 3;

/// A fault that is being played.
pub(crate) enum Played {
    Rule(Standing, Deadly),
    Clock,
    Route,
    Upstream,
    Cloud,
    His,
    Peer(TcpStream),
    Folder,
    /// It is over as soon as it has begun.
    Passing,
}

/// Whether a rule kills.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deadly {
    Yes,
    No,
}

/// Begins a fault. The agent runs.
pub(crate) fn strike(site: &mut Site, act: Act, rng: &mut Rng) -> Played {
    let rule = |site: &mut Site, rule: Rule, deadly| Played::Rule(site.board.set(rule), deadly);
    match act {
        Act::Kill(kill) => rule(site, kill.after(kill.skip + rng.u32(0..4)), Deadly::Yes),
        Act::KillIn(signal, fault) | Act::DiskIn(signal, fault) => {
            let deadly = if matches!(act, Act::KillIn(..)) { Deadly::Yes } else { Deadly::No };
            let played = rule(site, fault, deadly);
            if let Some(agent) = &site.agent {
                if signal == Signal::HUP {
                    site.stage.renew();
                }
                agent.signal(signal);
            }
            played
        }
        Act::KillInStart(fault) | Act::DiskInStart(fault) => {
            if let Some(mut agent) = site.agent.take() {
                // It may have been killed by another fault.
                if agent.ended().is_none() {
                    agent.signal(Signal::TERM);
                    agent.code();
                }
            }
            let deadly = if matches!(act, Act::KillInStart(_)) { Deadly::Yes } else { Deadly::No };
            let played = rule(site, fault, deadly);
            site.start();
            played
        }
        Act::Disk(fault) => rule(site, fault, Deadly::No),
        Act::Clock(secs) => {
            site.board.shift_clock(secs);
            Played::Clock
        }
        Act::Route(mood) => {
            site.route.set(mood);
            Played::Route
        }
        Act::Upstream(faults) => {
            assert!(site.stage.put_faults(&faults(rng)));
            Played::Upstream
        }
        Act::Cloud(mood) => {
            site.cloud.set(mood);
            Played::Cloud
        }
        Act::His(mood) => {
            site.his.set(mood);
            Played::His
        }
        Act::HisRestarts => {
            site.his.restart();
            Played::Passing
        }
        Act::HalfSender(bytes, door) => {
            let address = match door {
                Door::Mllp => site.stage.mllp,
                Door::Web => site.stage.web,
            };
            let mut stream = until("the port", || TcpStream::connect(address).ok());
            // The agent may be gone already.
            let _ = stream.write_all(bytes);
            Played::Peer(stream)
        }
        Act::FolderAway => {
            // A file may be on its way into it.
            let _ = std::fs::rename(site.stage.path("inbox"), site.stage.path("inbox-away"));
            let _ = std::fs::write(site.stage.path("inbox"), "");
            Played::Folder
        }
        Act::Reload => {
            if let Some(agent) = &site.agent {
                site.stage.renew();
                agent.signal(Signal::HUP);
            }
            Played::Passing
        }
    }
}

/// Whether a fault has been met, and how often where that can be told.
fn met(site: &Site, played: &Played) -> Option<u32> {
    match played {
        Played::Rule(standing, _) => Some(site.board.fired(standing)),
        Played::Route => Some(site.route.met()),
        Played::Cloud => Some(site.cloud.met()),
        Played::His => Some(site.his.met()),
        _ => None,
    }
}

/// Waits until a fault has been met and has lasted for a while; false where it was not met.
fn endure(site: &mut Site, played: &Played, patience: Duration) -> bool {
    let deadly = matches!(played, Played::Rule(_, Deadly::Yes));
    let met_once = site.comes(patience, |site| {
        met(site, played).is_none_or(|times| times > 0)
            || site.agent.as_mut().is_some_and(|agent| agent.ended().is_some())
    });
    if !met_once {
        return false;
    }
    // It may have ended as it was told to, without coming to the point.
    if met(site, played) == Some(0) {
        return false;
    }
    if deadly {
        return site.comes(patience, |site| site.died(true));
    }
    site.comes(LASTING, |site| met(site, played).is_some_and(|times| times >= ENOUGH));
    true
}

/// Ends a fault.
pub(crate) fn lift(site: &mut Site, played: Played) {
    match played {
        Played::Rule(standing, _) => site.board.lift(standing),
        Played::Clock => site.board.shift_clock(0),
        Played::Route => site.route.set(route::Mood::Pass),
        Played::Upstream => assert!(site.stage.put_faults(&json!([]))),
        Played::Cloud => site.cloud.set(cloud::Mood::Well),
        Played::His => site.his.well(),
        Played::Peer(stream) => drop(stream),
        Played::Folder => {
            std::fs::remove_file(site.stage.path("inbox")).unwrap();
            std::fs::rename(site.stage.path("inbox-away"), site.stage.path("inbox")).unwrap();
        }
        Played::Passing => {}
    }
}

/// Plays faults together. Answers how many were met.
pub(crate) fn play(site: &mut Site, faults: &[Fault], patience: Duration, rng: &mut Rng) -> Vec<&'static str> {
    let before = site.stage.said("agent.log").len();
    let played: Vec<_> = faults.iter().map(|(name, act)| (*name, strike(site, *act, rng))).collect();
    let mut found = Vec::new();
    for (name, fault) in &played {
        if endure(site, fault, patience) {
            found.push(*name);
        }
    }
    for (_, fault) in played {
        lift(site, fault);
    }
    let stops = |act: &Act| matches!(act, Act::KillIn(Signal::TERM, _) | Act::DiskIn(Signal::TERM, _));
    if faults.iter().any(|(_, act)| stops(act)) && site.agent.is_some() {
        // The stop went on without the point at which it was to be the last.
        site.agent.as_mut().map(Process::code);
        site.agent = None;
    }
    // It works again by itself; but for what was killed, and what could not open its store.
    let may_end = |act: &Act| matches!(act, Act::Disk(_) | Act::DiskIn(..) | Act::DiskInStart(_));
    let may_end = faults.iter().any(|(_, act)| may_end(act));
    until("the agent to answer", || {
        if site.died(may_end) {
            site.start();
        }
        site.stage.live_status().map(drop)
    });
    let said = site.stage.said("agent.log");
    let said = said.get(before..).unwrap_or_default();
    assert!(!said.contains("panicked"), "{:?}: a panic is a bug:\n{said}", names(faults));
    found
}

/// The names of faults.
pub(crate) fn names(faults: &[Fault]) -> Vec<&'static str> {
    faults.iter().map(|(name, _)| *name).collect()
}

fn each_alone(faults: &[Fault]) {
    each_alone_at(faults, Site::open);
}

fn each_alone_at(faults: &[Fault], open: fn(u64) -> Site) {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let mut site = open(seed);
    site.start_well();
    for fault in faults {
        let began = std::time::Instant::now();
        let found = play(&mut site, &[*fault], MEETING, &mut rng);
        println!("{:>5} ms  {}", began.elapsed().as_millis(), fault.0);
        assert_eq!(found, [fault.0], "it is met");
    }
    let starts = site.starts;
    let applied = site.settle();
    println!("survived {} faults, each alone; starts {starts}, events applied {applied}", faults.len());
}

#[test]
fn a_kill_at_each_named_point_loses_nothing_and_repeats_nothing() {
    each_alone(catalogue::KILLS);
}

#[test]
fn each_fault_of_the_disk_passes_without_loss() {
    each_alone(catalogue::DISK);
}

#[test]
fn each_fault_of_a_source_passes_without_loss() {
    each_alone(catalogue::SOURCES);
}

#[test]
fn each_fault_of_the_network_passes_without_loss() {
    each_alone(catalogue::NETWORK);
}

#[test]
fn each_fault_of_a_handshake_passes_without_loss() {
    each_alone_at(catalogue::HANDSHAKES, Site::open_encrypted);
}

#[test]
fn each_fault_of_the_clock_passes_without_loss() {
    each_alone(catalogue::CLOCK);
}
