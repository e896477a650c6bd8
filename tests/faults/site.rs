//! A hospital with all its sources, an upstream, whoever is in between, and an agent to which things happen.

use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use serde_json::json;

use crate::cloud::Cloud;
use crate::his::His;
use crate::hospital::{Hospital, Wanted, learn_flag};
use crate::machine::{PATIENCE, Process, Stage, Way, until};
use crate::route::Route;
use crate::shim::Board;
use crate::tls::Tls;
use crate::{verify, web};

/// Everything, and what the checker knows of it.
pub(crate) struct Site {
    pub(crate) stage: Arc<Stage>,
    pub(crate) board: Board,
    pub(crate) route: Route,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) his: Arc<His>,
    pub(crate) agent: Option<Process>,
    pub(crate) starts: usize,
    hospital: Arc<Mutex<Hospital>>,
    /// `None` while it is away.
    sandbox: Option<Process>,
    sender: Process,
    /// The one that lets things happen, and the sender of requests.
    threads: Vec<JoinHandle<()>>,
    quiet: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Site {
    /// Opens everything but the agent. Things happen until told otherwise.
    pub(crate) fn open(seed: u64) -> Site {
        Site::open_with(seed, false)
    }

    /// The same with TLS between the agent and upstream.
    pub(crate) fn open_encrypted(seed: u64) -> Site {
        Site::open_with(seed, true)
    }

    fn open_with(seed: u64, encrypted: bool) -> Site {
        let mut rng = Rng::with_seed(seed);
        let stage = Arc::new(Stage::whole(&mut rng));
        let his = Arc::new(His::open(&stage));
        let tls = encrypted.then(|| {
            let plain = format!("url = \"http://{}\"", stage.route);
            stage.edit(|text| {
                assert!(text.contains(&plain), "the address of upstream");
                text.replace(&plain, &format!("url = \"https://{}\"\nca = \"ca.pem\"", stage.route))
            });
            connector_testkit::server_certificates(&stage.path(""));
            Tls::read(&stage.path(""))
        });
        let hospital = Arc::new(Mutex::new(Hospital::open(&stage, seed)));
        learn_flag(&stage);
        let cloud = Arc::new(Cloud::open(stage.cloud));
        let (quiet, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let life = {
            let (stage, hospital, quiet) = (stage.clone(), hospital.clone(), quiet.clone());
            let (cloud, his) = (cloud.clone(), his.clone());
            spawn(move || live(&stage, &hospital, (&cloud, &his), &quiet, Rng::with_seed(seed ^ 3)))
        };
        let requests = {
            let (stage, over) = (stage.clone(), over.clone());
            spawn(move || web::send_all(&stage, &over))
        };
        Site {
            board: Board::new(&stage.path("")),
            route: Route::open(stage.route, stage.upstream(), tls),
            cloud,
            his,
            agent: None,
            starts: 0,
            hospital,
            sandbox: Some(stage.sandbox()),
            sender: stage.sender(),
            threads: vec![life, requests],
            quiet,
            over,
            stage,
        }
    }

    /// Starts the agent.
    pub(crate) fn start(&mut self) {
        self.agent = Some(self.stage.agent_with(&self.board.variables()));
        self.starts += 1;
    }

    /// Starts the agent, and waits until it answers.
    pub(crate) fn start_well(&mut self) {
        self.start();
        until("the agent's status", || {
            self.assert_alive();
            self.stage.live_status().map(drop)
        });
    }

    /// The agent must not have ended.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.agent.as_mut().and_then(Process::ended);
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}\n{}", self.last("agent.log"));
    }

    /// Whether the agent is dead; it must have been killed, or have found a store that it could not open.
    pub(crate) fn died(&mut self, may_refuse: bool) -> bool {
        let Some(agent) = &mut self.agent else { return true };
        let Some(status) = agent.ended() else { return false };
        let refused = may_refuse && status.code() == Some(3);
        assert!(status.signal() == Some(9) || refused, "the agent ended: {status}\n{}", self.last("agent.log"));
        self.agent = None;
        true
    }

    /// Waits for something that is to come of what has been done, however the agent is.
    pub(crate) fn comes(&mut self, patience: Duration, mut look: impl FnMut(&mut Site) -> bool) -> bool {
        let since = Instant::now();
        while since.elapsed() < patience {
            if look(self) {
                return true;
            }
            let failed = self.sender.ended().is_some_and(|status| !status.success());
            assert!(!failed, "the sender ended: {}", self.last("sender.log"));
            sleep(Duration::from_millis(5));
        }
        false
    }

    /// The last lines of what a process said.
    pub(crate) fn last(&self, log: &str) -> String {
        let said = self.stage.said(log);
        let lines: Vec<&str> = said.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Nothing happens any more, and the senders end with what they have.
    pub(crate) fn hush(&mut self) {
        self.quiet.store(true, Ordering::SeqCst);
        self.threads.remove(0).join().expect("what happens, happens without panic");
        self.stage.post_nothing_more();
        std::fs::write(self.stage.path("web-letters/END"), "").unwrap();
    }

    /// What upstream must have.
    pub(crate) fn wanted(&self) -> Wanted {
        let mut wanted = self.hospital.lock().unwrap().wanted();
        wanted.extend(self.cloud.wanted());
        wanted.extend(self.his.wanted());
        wanted
    }

    /// Nothing is wrong any more: everything arrives, and adds up. Answers how many events were applied.
    pub(crate) fn settle(&mut self) -> usize {
        self.hush();
        assert!(self.stage.put_faults(&json!([])));
        if self.agent.is_none() {
            self.start();
        }
        self.sent_and_arrived()
    }

    fn sent_and_arrived(&mut self) -> usize {
        self.all_sent();
        let (mllp, requested, dropped) = {
            let hospital = self.hospital.lock().unwrap();
            let offered = |way| hospital.offered(way).to_vec();
            (offered(Way::Mllp), offered(Way::Web), offered(Way::Drop).len())
        };
        assert_eq!(self.stage.acks(), mllp, "every message is acknowledged once, in order");
        assert_eq!(self.stage.web_acks(), requested, "every request is answered once, in order");
        until("the files to be taken", || (self.stage.acked(Way::Drop) == dropped).then_some(()));
        self.arrived()
    }

    /// Upstream, the senders and the agent go on with what is in the folder. Nothing happens any more.
    pub(crate) fn revive(&mut self) {
        self.sandbox = Some(self.stage.sandbox());
        self.senders();
        self.agent = Some(self.stage.agent());
        self.starts += 1;
        self.all_sent();
    }

    fn senders(&mut self) {
        self.sender = self.stage.sender();
        let (stage, over) = (self.stage.clone(), self.over.clone());
        self.threads.push(spawn(move || web::send_all(&stage, &over)));
    }

    /// After [`Site::settle`] and [`Site::leave`]: everybody goes on so many seconds later, the agent under its board.
    /// Answers the board of upstream, which must last as long.
    pub(crate) fn go_on_later(&mut self, secs: i64) -> Board {
        let elsewhere = self.stage.path("upstream-clock");
        std::fs::create_dir_all(&elsewhere).unwrap();
        let board = Board::new(&elsewhere);
        board.shift_clock(secs);
        self.board.shift_clock(secs);
        self.sandbox = Some(self.stage.sandbox_with(&board.variables()));
        for folder in ["letters", "web-letters"] {
            std::fs::remove_dir_all(self.stage.path(folder)).unwrap();
            std::fs::create_dir_all(self.stage.path(folder)).unwrap();
        }
        self.senders();
        self.start_well();
        board
    }

    /// Each laboratory sends so many messages with nothing odd about them.
    pub(crate) fn report(&self, messages: usize) {
        self.hospital.lock().unwrap().report(&self.stage, messages);
    }

    /// How many messages were offered in a way.
    pub(crate) fn offered(&self, way: Way) -> usize {
        self.hospital.lock().unwrap().offered(way).len()
    }

    /// Nobody sends anything more, and everything arrives.
    pub(crate) fn settle_again(&mut self) -> usize {
        self.stage.post_nothing_more();
        std::fs::write(self.stage.path("web-letters/END"), "").unwrap();
        self.sent_and_arrived()
    }

    /// Upstream and the agent go on with what is in the folder; nobody sends anything.
    pub(crate) fn revive_alone(&mut self) {
        self.sandbox = Some(self.stage.sandbox());
        self.agent = Some(self.stage.agent());
        self.starts += 1;
    }

    /// Upstream and the agent end; what they wrote stays.
    pub(crate) fn leave(&mut self) {
        self.agent = None;
        self.sandbox = None;
    }

    /// The senders end when they have sent everything.
    fn all_sent(&mut self) {
        assert_eq!(self.sender.code(), Some(0), "the sender has sent everything: {}", self.last("sender.log"));
        let requests = self.threads.remove(0);
        until("the requests", || requests.is_finished().then_some(()));
        requests.join().expect("no request is refused");
    }

    /// Everything that the sources have is upstream, once.
    pub(crate) fn arrived(&mut self) -> usize {
        let wanted = self.wanted();
        let (mut since, mut last) = (Instant::now(), (0, None));
        loop {
            self.assert_alive();
            let store = self.stage.live_status().map(|mut status| status["store"].take());
            let differences = verify::differences(&self.stage.received(""), &wanted);
            if store.as_ref().is_some_and(|store| store["outbox_depth"] == 0) && differences.is_empty() {
                break;
            }
            // As long as something arrives, the rest may.
            let now = (differences.len(), store.as_ref().map(|store| store["outbox_depth"].clone()));
            if now != last {
                (since, last) = (Instant::now(), now);
            }
            assert!(
                since.elapsed() < PATIENCE,
                "{} differences:\n{}\n{:#}\n{}",
                differences.len(),
                differences[..differences.len().min(20)].join("\n"),
                store.unwrap_or_default(),
                self.last("agent.log")
            );
            sleep(Duration::from_millis(100));
        }
        let agent = self.agent.as_mut().expect("it runs");
        agent.signal(Signal::TERM);
        assert_eq!(agent.code(), Some(0), "{}", self.last("agent.log"));
        let status = self.stage.status().expect("the store tells without an agent");
        verify::sums(&self.stage, &status["store"], Some(self.hospital.lock().unwrap().held()));
        let (applied, _) = verify::history(&self.stage);
        verify::integrity(&self.stage);
        for log in ["agent.log", "sandbox.log"] {
            assert!(!self.stage.said(log).contains("panicked"), "a panic is a bug:\n{}", self.stage.said(log));
        }
        assert!(self.sandbox.as_mut().is_some_and(|sandbox| sandbox.ended().is_none()));
        applied
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.quiet.store(true, Ordering::SeqCst);
        if std::thread::panicking() {
            for log in ["agent.log", "sandbox.log", "sender.log"] {
                println!("--- the end of {log}\n{}", self.last(log));
            }
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Things happen, at an uneven pace.
fn live(stage: &Stage, hospital: &Mutex<Hospital>, (cloud, his): (&Cloud, &His), quiet: &AtomicBool, mut rng: Rng) {
    while !quiet.load(Ordering::SeqCst) {
        match rng.u8(0..10) {
            0 => cloud.change(rng.u32(0..30), rng.u32(..)),
            1 => his.change(rng.u32(0..30), rng.u32(..)),
            _ => hospital.lock().unwrap().happen(stage),
        }
        sleep(Duration::from_millis(rng.u64(10..80)));
    }
}

/// The seed of a test: the one that is asked for, or any. Printed, so that a failure can be played again.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var("HISYNC_FAULT_SEED").ok();
    let seed =
        asked.map_or_else(|| fastrand::u64(..) >> 32, |text| text.parse().expect("HISYNC_FAULT_SEED is a number"));
    println!("HISYNC_FAULT_SEED={seed}");
    seed
}
