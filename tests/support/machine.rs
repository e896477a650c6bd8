//! The processes: agents, the sandbox upstream, the laboratory's sender.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use hisync::sandbox::hospital::{DemoConfig, write_config};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

/// Any secret will do; this one is nobody's.
const SECRET: &str = "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=";

/// A test that waits so long for one thing has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How often a wait looks again.
const GLANCE: Duration = Duration::from_millis(5);

/// Waits until something is so.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "waited {} s for {what}", PATIENCE.as_secs());
        sleep(GLANCE);
    }
}

/// How a laboratory's messages reach the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Way {
    /// Over MLLP, answered by an acknowledgement.
    Mllp,
    /// As the body of an HTTP request, answered by a status.
    Web,
    /// As a file in a folder, moved away once it is stored.
    Drop,
}

impl Way {
    /// The source's id.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Way::Mllp => "lab",
            Way::Web => "web",
            Way::Drop => "drop",
        }
    }

    /// What control ids begin with.
    pub(crate) fn initial(self) -> char {
        match self {
            Way::Mllp => 'C',
            Way::Web => 'W',
            Way::Drop => 'D',
        }
    }
}

/// A folder with a hospital, an agent's configuration, and the addresses that all keep over restarts.
pub(crate) struct Stage {
    folder: tempfile::TempDir,
    upstream: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) mllp: SocketAddr,
    /// Where the agent sends to: upstream, or somebody in between.
    pub(crate) route: SocketAddr,
    /// Where the agent receives HTTP requests.
    pub(crate) web: SocketAddr,
    /// Where a source with an HTTP interface is.
    pub(crate) cloud: SocketAddr,
    ways: &'static [Way],
}

impl Stage {
    /// With a checkup system and a laboratory that speaks MLLP.
    pub(crate) fn new(rng: &mut Rng) -> Stage {
        let upstream = free(rng);
        Stage::with(rng, upstream, upstream, &[Way::Mllp])
    }

    /// With a source for each way of the laboratory, one with an HTTP interface, and room for somebody between the
    /// agent and upstream.
    pub(crate) fn whole(rng: &mut Rng) -> Stage {
        let (upstream, route) = (free(rng), free(rng));
        let stage = Stage::with(rng, upstream, route, &[Way::Mllp, Way::Web, Way::Drop]);
        std::fs::create_dir_all(stage.path("inbox")).unwrap();
        std::fs::create_dir_all(stage.path("web-letters")).unwrap();
        let mapping = include_str!("cloud_item.toml");
        std::fs::write(stage.path("mappings/cloud_item.toml"), mapping).unwrap();
        let more = include_str!("more.toml")
            .replace("@web@", &stage.web.to_string())
            .replace("@cloud@", &stage.cloud.to_string());
        // What is sent is looked at.
        let quick = "heartbeat_secs = 5\ncompression = \"none\"\ntimeout_secs = 15\nconnect_timeout_secs = 5";
        stage.edit(|text| text.replace("heartbeat_secs = 5", quick) + &more);
        stage
    }

    fn with(rng: &mut Rng, upstream: SocketAddr, route: SocketAddr, ways: &'static [Way]) -> Stage {
        let mut folder = tempfile::Builder::new().prefix("hisync-crash-").tempdir().unwrap();
        if std::env::var_os("HISYNC_CRASH_KEEP").is_some() {
            folder.disable_cleanup(true);
            println!("kept: {}", folder.path().display());
        }
        let [admin, mllp, web, cloud] = std::array::from_fn(|_| free(rng));
        let stage = Stage { folder, upstream, admin, mllp, route, web, cloud, ways };
        let demo = DemoConfig {
            upstream_url: format!("http://{}", stage.route),
            secret: SECRET.to_owned(),
            admin_listen: stage.admin,
            mllp_listen: stage.mllp,
            database: stage.database(),
            data_dir: stage.path("data"),
        };
        let path = write_config(stage.folder.path(), &demo).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        // Small pages and batches, so that there is much that a kill can fall between.
        let text = text
            .replace(
                "lag_secs = 60 } }",
                "lag_secs = 20 } }\nbatch_size = 7\nsweep = { schedule = \"*/3 * * * * *\", window = \"1d\" }",
            )
            // The hospital deals wildly with prices, and an agent that was dead reads it all at once: rightly held, and
            // not what is tested here.
            .replace(
                "mapping = \"mappings/demo-peis/exam_package.toml\"",
                "mapping = \"mappings/demo-peis/exam_package.toml\"
                 guards = { price_factor_percent = 100000, disabled_percent = 100 }",
            )
            .replace("heartbeat_secs = 5", "heartbeat_secs = 5\nbatch_max_events = 10\nparallel = 2");
        std::fs::write(&path, text).unwrap();
        std::fs::create_dir_all(stage.path("letters")).unwrap();
        File::create(stage.acks_path()).unwrap();
        stage
    }

    /// Changes the agent's configuration.
    pub(crate) fn edit(&self, change: impl FnOnce(String) -> String) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), change(text)).unwrap();
    }

    /// How messages can be sent.
    pub(crate) fn ways(&self) -> &'static [Way] {
        self.ways
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("hisync.toml")
    }

    /// Writes the configuration so that everything starts anew at the next reload, the store too, and nothing else is
    /// another: the same time zone under its other name.
    pub(crate) fn renew(&self) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let (one, other) = ("\"Asia/Shanghai\"", "\"PRC\"");
        let text = if text.contains(one) { text.replace(one, other) } else { text.replace(other, one) };
        // In one step: a kill may come at any moment.
        let new = self.path("hisync.toml.new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.config()).unwrap();
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path("peis.db")
    }

    fn acks_path(&self) -> PathBuf {
        self.path("acks.log")
    }

    /// The control ids that the sender got an AA or CA for, in order.
    pub(crate) fn acks(&self) -> Vec<String> {
        std::fs::read_to_string(self.acks_path()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The control ids that were answered with success over HTTP, in order.
    pub(crate) fn web_acks(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.path("web-acks.log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }

    /// How many messages that were sent in a way are acknowledged.
    pub(crate) fn acked(&self, way: Way) -> usize {
        match way {
            Way::Mllp => self.acks().len(),
            Way::Web => self.web_acks().len(),
            Way::Drop => {
                let count = |name: &str| std::fs::read_dir(self.path(name)).map_or(0, Iterator::count);
                count("inbox/done") + count("inbox/failed")
            }
        }
    }

    /// What grows with each acknowledgement to the sender and each event at upstream.
    pub(crate) fn progress(&self) -> (u64, u64) {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        (size(self.acks_path()), size(self.path("upstream/received.jsonl")))
    }

    /// Hands a message to the laboratory's sender.
    pub(crate) fn post(&self, way: Way, place: usize, message: &[u8]) {
        let (folder, name) = match way {
            Way::Mllp => ("letters", format!("{place:06}")),
            Way::Web => ("web-letters", format!("{place:06}")),
            Way::Drop => ("inbox", format!("report_{place:06}.hl7")),
        };
        let (hidden, target) = (self.path(&format!("{folder}/.next")), self.path(folder).join(name));
        // The folder may be away for a while.
        until("the folder of messages", || {
            std::fs::write(&hidden, message).and_then(|()| std::fs::rename(&hidden, &target)).ok()
        });
    }

    /// Lets the sender end when it has sent everything.
    pub(crate) fn post_nothing_more(&self) {
        File::create(self.path("letters/END")).unwrap();
    }

    pub(crate) fn agent(&self) -> Process {
        self.agent_with(&[])
    }

    /// An agent with more variables in its environment.
    pub(crate) fn agent_with(&self, variables: &[(&str, PathBuf)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        command.args(["run", "-c"]).arg(self.config()).env("HISYNC_LOG", "info").env("NO_COLOR", "1");
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Process::start("agent", command.stdout(Stdio::null()).stderr(self.log("agent.log")))
    }

    /// Starts the sandbox upstream; returns when it listens.
    pub(crate) fn sandbox(&self) -> Process {
        self.sandbox_with(&[])
    }

    /// One with more variables in its environment.
    pub(crate) fn sandbox_with(&self, variables: &[(&str, PathBuf)]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        command.args(["sandbox", "--listen", &self.upstream.to_string(), "--dir"]).arg(self.path("upstream"));
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("HISYNC_UPSTREAM_SECRET", SECRET).stdout(Stdio::piped()).stderr(self.log("sandbox.log"));
        let mut sandbox = Process::start("sandbox", &mut command);
        let mut line = String::new();
        BufReader::new(sandbox.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("http://{}", self.upstream), "{}", self.said("sandbox.log"));
        sandbox
    }

    pub(crate) fn sender(&self) -> Process {
        let python = std::env::var_os("HISYNC_PYTHON").expect(
            "HISYNC_PYTHON names no Python interpreter with the package hl7: run the project's test command `just test`",
        );
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/mllp_sender.py"));
        command.args([self.mllp.ip().to_string(), self.mllp.port().to_string()]);
        command.args([self.path("letters"), self.acks_path()]);
        Process::start("sender", command.stdout(Stdio::null()).stderr(self.log("sender.log")))
    }

    fn log(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap()
    }

    /// What a process wrote to stderr, over all its starts.
    pub(crate) fn said(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// `hisync status --json`: the running agent's, or the store's where none runs.
    pub(crate) fn status(&self) -> Option<Json> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        let output = command.args(["status", "--json", "-c"]).arg(self.config()).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Has a command look at the store; what it prints as JSON.
    pub(crate) fn verified(&self) -> Json {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        let output = command.args(["store", "verify", "--json", "-c"]).arg(self.config()).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// The running agent's status; `None` while it does not answer.
    pub(crate) fn live_status(&self) -> Option<Json> {
        let (code, body) = http(self.admin, "GET", "/api/status", "")?;
        (code == 200).then(|| serde_json::from_str(&body).unwrap())
    }

    /// Whether the agent says anything at all: its status may lie in what is damaged.
    pub(crate) fn answers(&self) -> bool {
        http(self.admin, "GET", "/live", "").is_some()
    }

    /// Whether the agent's receiver takes connections.
    pub(crate) fn receives(&self) -> bool {
        TcpStream::connect(self.mllp).is_ok()
    }

    /// Where upstream is, without anybody in between.
    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    /// Makes the sandbox fail. False where it is not there.
    pub(crate) fn put_faults(&self, faults: &Json) -> bool {
        http(self.upstream, "PUT", "/faults", &faults.to_string()).is_some_and(|(code, _)| code == 204)
    }

    /// JSON lines that the sandbox shows.
    pub(crate) fn received(&self, query: &str) -> Vec<Json> {
        let (code, body) =
            http(self.upstream, "GET", &format!("/v1/received{query}"), "").expect("the sandbox answers");
        assert_eq!(code, 200);
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// A free port outside the range from which outgoing connections take theirs: nobody takes it while
/// a process that was killed is started again.
fn free(rng: &mut Rng) -> SocketAddr {
    until("a free port", || {
        let address = SocketAddr::from(([127, 0, 0, 1], rng.u16(15_000..32_000)));
        TcpListener::bind(address).is_ok().then_some(address)
    })
}

/// One request on a connection of its own; `None` where no whole answer comes.
fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    // HTTP/1.0: the answer ends where the connection does.
    let head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// A process that is killed when the test lets go of it.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    fn start(name: &'static str, command: &mut Command) -> Process {
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|error| panic!("start the {name}: {error}"));
        Process { name, child }
    }

    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends SIGKILL; it must have been alive.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the {} had ended by itself: {status}", self.name);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn code(&mut self) -> Option<i32> {
        let name = self.name;
        until(&format!("the {name} to end"), || self.ended()).code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
