//! A hospital with one PEIS and one laboratory, an upstream, and the configuration between them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use chrono::{NaiveDate, NaiveDateTime};
use connector_api::StreamId;
use hisync::agent::Agent;
use hisync::clock::Clock;
use hisync::config::{self, Config};
use hisync::delivery::signature::Keys;
use hisync::intake::RoundReport;
use hisync::sandbox::hospital::lab::{Declared, Letter, Verified, oru};
use hisync::sandbox::hospital::peis::ReportState;
use hisync::sandbox::hospital::people::Sex;
use hisync::sandbox::hospital::{DemoConfig, LabMessage, LabSender, Patience, Peis, Sent, Visit, write_config};
use hisync::sandbox::upstream::{Options, Upstream};
use hisync::store::{HeldFilter, HeldSummary, Overview, Reader};
use serde_json::Value as Json;
use tempfile::TempDir;

/// Any secret will do; this one is nobody's.
const SECRET: &str = "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=";
/// Far longer than anything takes; a hung test fails after so long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The group whose first result gets a flag that is not in the table.
const GROUP: &str = "002001";

pub(crate) const REPORTS: &str = "peis/reports";
pub(crate) const LAB: &str = "lab/reports";

/// A hospital whose streams are read when a test asks for it, and once at the start.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) peis: Peis,
    pub(crate) upstream: Upstream,
    pub(crate) config: PathBuf,
}

impl Site {
    pub(crate) async fn new() -> Site {
        let folder = TempDir::new().unwrap();
        let mut peis = Peis::create(&folder.path().join("peis.db")).unwrap();
        peis.change(|desk| desk.publish_catalogue()).unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let keys = Some(Keys::parse(SECRET).unwrap());
        let options = Options { listen: free, dir: None, keys, clock: Clock::system() };
        let upstream = Upstream::start(options).await.unwrap();
        let demo = DemoConfig {
            upstream_url: upstream.url(),
            secret: SECRET.to_owned(),
            admin_listen: free,
            mllp_listen: free,
            database: folder.path().join("peis.db"),
            data_dir: folder.path().join("data"),
        };
        let config = write_config(folder.path(), &demo).unwrap();
        let site = Site { folder, peis, upstream, config };
        site.edit("hisync.toml", "\"* * * * * *\"", "\"0 0 3 1 1 *\"");
        site
    }

    /// Replaces a text in a file beside the configuration, wherever it occurs.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn load(&self) -> Config {
        config::load(&self.config).unwrap_or_else(|problems| panic!("{}", hisync::diagnose::render(&problems, false)))
    }

    /// Starts the agent, and waits until its streams have been read once and its listener is open.
    pub(crate) async fn start(&self) -> Agent {
        let agent = Agent::start(self.load(), Clock::system()).await.unwrap();
        eventually("every stream to have been read", async || {
            let busy = ["starting", "reading"];
            agent.board().all().iter().all(|stream| !busy.contains(&stream.state.as_str()))
        })
        .await;
        agent
    }

    /// Writes a final report with all its results. A flag replaces the first result's one.
    pub(crate) fn conclude(&mut self, visit: &Visit, hour: u32, flag: Option<&str>) {
        let at = noon(hour);
        let sex = if visit.person.sex == Sex::Male { "1" } else { "2" };
        let known = self.peis.count("体检登记").unwrap();
        self.peis
            .change(|desk| {
                if known == 0 {
                    desk.register(visit, sex)?;
                }
                for order in &visit.orders {
                    desk.enter(visit, order, flag.filter(|_| order.group.code == GROUP))?;
                }
                desk.conclude(visit, ReportState::Concluded, at)?;
                desk.touch(visit, at)
            })
            .unwrap();
    }

    /// The laboratory, connected to a running agent. It sends each message once.
    pub(crate) fn lab(&self, agent: &Agent) -> LabSender {
        let endpoint = agent.board().all().into_iter().find_map(|stream| stream.endpoint).unwrap();
        let patience = Patience { answer_within: PATIENCE, attempts: 1, pause: Duration::ZERO };
        LabSender::new(endpoint.parse().unwrap(), patience)
    }
}

fn noon(hour: u32) -> NaiveDateTime {
    date().and_hms_opt(hour, 0, 0).unwrap()
}

fn date() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 11, 20).unwrap()
}

/// A synthetic person's visit.
pub(crate) fn visit(index: usize) -> Visit {
    Visit::draw(7, index, 40, date())
}

/// A laboratory message with one report.
pub(crate) fn message(index: usize, control_id: &str, flag: Option<&str>) -> LabMessage {
    let visit = visit(index);
    let letter = Letter {
        control_id: control_id.to_owned(),
        report_no: format!("JY{index:06}"),
        sent_at: noon(11),
        verified: Verified::Final,
        declared: Declared::Gb18030,
        strange_flag: flag,
    };
    oru(&visit, visit.laboratory().take(1), &letter)
}

pub(crate) async fn send(lab: &mut LabSender, message: &LabMessage) -> Sent {
    tokio::time::timeout(PATIENCE, lab.send(message)).await.unwrap()
}

/// Lets a stream be read now.
pub(crate) async fn read(agent: &Agent, stream: &str) -> RoundReport {
    let stream = StreamId::parse(stream).unwrap();
    tokio::time::timeout(PATIENCE, agent.poll_now(&stream)).await.unwrap().unwrap()
}

pub(crate) async fn overview(agent: &Agent) -> Overview {
    agent.store().read(Reader::overview).await.unwrap()
}

/// Held items, open and closed.
pub(crate) async fn held(agent: &Agent) -> Vec<HeldSummary> {
    agent.store().read(|reader| reader.held_list(&HeldFilter::default(), 100, 0)).await.unwrap()
}

/// Waits until everything is delivered or held.
pub(crate) async fn delivered(agent: &Agent) {
    eventually("the outbox to empty", async || overview(agent).await.outbox_depth == 0).await;
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = std::time::Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs the real program and answers its exit code, stdout and stderr.
pub(crate) fn hisync(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
    command.args(arguments).env_remove("HISYNC_LOG").env_remove("RUST_BACKTRACE").env_remove("HISYNC_CONFIG");
    command.env("NO_COLOR", "1").env("COLUMNS", "110");
    command
}

/// Runs the real program with `--json` and a configuration, and answers its exit code and its JSON.
pub(crate) fn hisync_json(config: &Path, arguments: &[&str]) -> (i32, Json) {
    let config = config.to_string_lossy();
    let arguments = [arguments, &["-c", &config, "--json"]].concat();
    let (code, out, err) = hisync(&arguments);
    (code, serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}{err}")))
}

/// A server in Python that this project did not write, or that reads by somebody else's library. It prints its ports as
/// its first line, and what it took as further ones, each a JSON object.
pub(crate) struct Peer {
    process: std::process::Child,
    lines: std::sync::mpsc::Receiver<Json>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    /// Starts a script of `tests/peers`; answers its first line too.
    pub(crate) fn start(script: &str) -> (Peer, Json) {
        use std::io::BufRead as _;
        let python = std::env::var("HISYNC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut process = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("HISYNC_PYTHON, with the packages of tests/peers/requirements.txt: scripts/test makes it");
        let (sender, lines) = std::sync::mpsc::sync_channel(64);
        let out = std::io::BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let peer = Peer { process, lines };
        let first = peer.next();
        (peer, first)
    }

    /// The next line.
    pub(crate) fn next(&self) -> Json {
        self.lines.recv_timeout(PATIENCE).expect("the peer says something")
    }

    /// A line that was said already.
    pub(crate) fn said(&self) -> Option<Json> {
        self.lines.try_recv().ok()
    }
}
