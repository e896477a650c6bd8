//! `hisync demo`: a hospital, the agent and an upstream in one process, living through a day.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use connector_api::StreamId;
use serde::Serialize;

use super::signals::Stop;
use super::table::table;
use super::{Exit, Terminal};
use crate::agent::Agent;
use crate::clock::Clock;
use crate::config;
use crate::delivery::signature::Keys;
use crate::model::EntityType;
use crate::sandbox::hospital::{
    Day, DemoConfig, Elsewhere, LabSender, Ledger, Outlab, Patience, Peis, Phase, Step, Upstream as Expected,
    write_whole_config,
};
use crate::sandbox::upstream::{Fault, Options, Upstream};
use crate::store::Reader;

/// Signs the demo's events; it protects nothing, both ends are in this process.
const SECRET: &str = "whsec_aGlzeW5jLWRlbW8tc2VjcmV0LW5vdC1mb3ItdXNl";

/// The hospital's time zone, as its configuration says.
const ZONE: chrono_tz::Tz = chrono_tz::Asia::Shanghai;

/// How long the demo waits for one step to be finished: far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a simulated hospital, the agent, an upstream and the status page, and prints their addresses.
///
/// People arrive, results come in, a package changes, a report is corrected, another is taken back, codes are
/// unknown, the upstream fails for a while. No server is needed. All people are synthetic.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  hisync demo                    goes on until Ctrl-C; look at the addresses that it prints
  hisync demo --once             plays one day as fast as it goes, and reconciles it
  hisync demo --once --json      for scripts

Exit codes: 0 source = delivered + unchanged + held for every entity; 1 it does not add up, or was interrupted
with --once; 2 DIR holds an earlier demo; 3 something could not be started.")]
pub(super) struct Args {
    /// Where to keep its files; a temporary folder without it.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Plays one compressed day, reconciles, and ends.
    #[arg(long)]
    once: bool,
    /// Prints the reconciliation as one JSON object (with --once).
    #[arg(long, requires = "once")]
    json: bool,
    /// The same seed gives the same day.
    #[arg(long, default_value_t = 20261122)]
    seed: u64,
    /// How many people come.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(12..=5000))]
    people: u32,
    /// Runs the mappings of this folder beside the demo's own, as a candidate: `hisync shadow status` shows what they
    /// would make otherwise. It has the layout of DIR/mappings.
    #[arg(long, value_name = "FOLDER")]
    candidate: Option<PathBuf>,
    /// Where the status page listens; a free port with --once, 127.0.0.1:8686 otherwise.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
}

/// The reconciliation of one day.
#[derive(Debug, Serialize)]
struct Reconciliation {
    /// Every entity adds up, and upstream holds what was delivered.
    reconciled: bool,
    /// How often an event was sent in vain while the upstream failed.
    refused: usize,
    /// By entity type.
    entities: BTreeMap<&'static str, Sums>,
    /// What does not add up, in words; empty where all does.
    problems: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sums {
    /// Versions that the simulated hospital produced.
    source: i64,
    /// Versions that upstream has.
    delivered: i64,
    /// Versions that say what was said before, and drafts that upstream never saw.
    unchanged: i64,
    /// Versions held for a person.
    held: i64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn run(args: Args, terminal: &Terminal) -> Exit {
    let failed = |what: &str, error: std::io::Error| {
        terminal.note(&format!("error: {what}: {error}"));
        Exit::Unreachable
    };
    let mut stop = match Stop::new() {
        Ok(stop) => stop,
        Err(error) => return failed("wait for signals", error),
    };
    let temporary = match args.dir.is_none().then(tempdir).transpose() {
        Ok(folder) => folder,
        Err(error) => return failed("make a temporary folder", error),
    };
    let folder = args.dir.clone().or_else(|| temporary.as_ref().map(|folder| folder.0.clone())).unwrap_or_default();
    if folder.join("data").exists() || folder.join("peis.db").exists() {
        terminal.note(&format!("error: {} holds an earlier demo; name an empty folder", folder.display()));
        return Exit::Usage;
    }
    match play(&args, &folder, &mut stop, terminal).await {
        Ok(exit) => exit,
        Err(error) => {
            let text = connector_api::chain(error.as_ref());
            terminal.note(&format!("error: {text}"));
            Exit::Unreachable
        }
    }
}

/// A folder that is removed at the end.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What can't be removed is the system's to clean: it is in its temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tempdir() -> std::io::Result<Temporary> {
    let folder = std::env::temp_dir().join(format!("hisync-demo-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&folder)?;
    Ok(Temporary(folder))
}

/// Everything that the demo runs.
struct Stage {
    peis: Peis,
    lab: LabSender,
    outlab: Outlab,
    inbox: PathBuf,
    upstream: Upstream,
    agent: Agent,
    clock: Clock,
    day: Day,
}

async fn play(args: &Args, folder: &Path, stop: &mut Stop, terminal: &Terminal) -> Result<Exit, Failure> {
    std::fs::create_dir_all(folder)?;
    let interrupted = if args.once { Exit::NotFine } else { Exit::Fine };
    let mut stage = tokio::select! {
        stage = set_up(args, folder) => stage?,
        () = stop.asked() => return Ok(interrupted),
    };
    if !args.once {
        let file = folder.join("hisync.toml");
        let file = file.display();
        terminal.data(&format!(
            "status page   http://{}/\nupstream      {}/\nconfiguration {file}\n\n\
             The day begins; Ctrl-C ends it. In another terminal:\n  \
             hisync status -c {file}\n  hisync held list -c {file}\n",
            stage.agent.admin_address(),
            stage.upstream.url(),
        ));
    }
    // Wherever the day is when somebody has seen enough: it ends in order, and its folder goes.
    let played = tokio::select! {
        played = live(args, &mut stage, terminal) => played.map(Some),
        () = stop.asked() => Ok(None),
    };
    if !args.once && matches!(played, Ok(Some(_))) {
        terminal.note("the day is over; the agent goes on until Ctrl-C");
        stop.asked().await;
    }
    tokio::select! {
        () = end(stage) => {}
        () = stop.asked() => terminal.note("stopped at once by a second signal"),
    }
    Ok(match played? {
        Some(true) => Exit::Fine,
        Some(false) => Exit::NotFine,
        None => interrupted,
    })
}

/// Lives through the day, and tells whether it adds up.
async fn live(args: &Args, stage: &mut Stage, terminal: &Terminal) -> Result<bool, Failure> {
    let began = tokio::time::Instant::now();
    while let Some(step) = stage.day.next(&mut stage.peis)? {
        terminal.note(&format!("{:>5.1} s  {}", began.elapsed().as_secs_f32(), step.phase.title()));
        act(stage, &step).await?;
        if !args.once {
            tokio::time::sleep(Duration::from_secs(6)).await;
        }
    }
    settle(stage).await?;
    followed(stage).await?;
    let reconciliation = reconcile(stage).await?;
    if args.json {
        terminal.json(&reconciliation);
    } else {
        terminal.data(&text(&reconciliation));
    }
    Ok(reconciliation.reconciled)
}

async fn set_up(args: &Args, folder: &Path) -> Result<Stage, Failure> {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let clock = Clock::system();
    let peis = Peis::create(&folder.join("peis.db"))?;
    let options = Options {
        listen: free,
        dir: Some(folder.join("upstream")),
        keys: Some(Keys::parse(SECRET)?),
        clock: clock.clone(),
    };
    let upstream = Upstream::start(options).await?;
    let page = if args.once { free } else { SocketAddr::from(([127, 0, 0, 1], 8686)) };
    let demo = DemoConfig {
        upstream_url: upstream.url(),
        secret: SECRET.to_owned(),
        admin_listen: args.admin.unwrap_or(page),
        mllp_listen: free,
        database: std::path::absolute(folder.join("peis.db"))?,
        data_dir: std::path::absolute(folder.join("data"))?,
    };
    // Yesterday: all of it lies behind the clock, and its critical values are still news.
    let today = clock.now().with_timezone(&ZONE).date_naive();
    let date = today.pred_opt().unwrap_or(today);
    let outlab = Outlab::start(free).await?;
    let inbox = std::path::absolute(folder.join("inbox"))?;
    std::fs::create_dir_all(&inbox)?;
    let elsewhere = Elsewhere { outlab_url: outlab.url(), day: date, inbox: inbox.clone() };
    let path = write_whole_config(folder, &demo, &elsewhere)?;
    if let Some(candidate) = &args.candidate {
        let candidate = toml::Value::from(std::path::absolute(candidate)?.to_string_lossy().into_owned());
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}\n[shadow]\ncandidate = {candidate}\n"))?;
    }
    let config = config::load(&path).map_err(|problems| crate::diagnose::render(&problems, false))?;
    let agent = Agent::start(config, clock.clone()).await?;
    let receiver = within("the laboratory's receiver", async {
        loop {
            let mut endpoints = agent.board().all().into_iter().filter_map(|stream| stream.endpoint);
            if let Some(address) = endpoints.find_map(|endpoint| endpoint.parse().ok()) {
                return Ok(address);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await?;
    let day = Day::new(args.seed, args.people as usize).on(date);
    let lab = LabSender::new(receiver, Patience::default());
    Ok(Stage { peis, lab, outlab, inbox, upstream, agent, clock, day })
}

/// Plays what a step asks of the laboratory and the upstream, and waits until the agent has seen it.
async fn act(stage: &mut Stage, step: &Step) -> Result<(), Failure> {
    let began = stage.clock.now();
    match step.upstream {
        Expected::Down => stage.upstream.put_faults(vec![Fault { status: Some(503), ..Fault::default() }]),
        Expected::Up => {
            stage.upstream.put_faults(Vec::new());
            stage.agent.reset_breaker();
        }
    }
    for letter in &step.letters {
        stage.lab.send(letter).await;
    }
    stage.outlab.publish(&step.reports);
    for drop in &step.drops {
        drop.write(&stage.inbox)?;
    }
    read_all(&stage.agent).await?;
    taken(&stage.inbox, step).await?;
    if step.upstream == Expected::Down {
        meet_outage(stage, began).await?;
    }
    // A report can only be taken back after it was delivered.
    if step.upstream == Expected::Up && step.phase != Phase::Outage {
        settle(stage).await?;
    }
    Ok(())
}

/// Waits until delivery was refused since the outage began, where there is anything to deliver: an outage that
/// nobody meets shows nothing.
async fn meet_outage(stage: &Stage, began: DateTime<Utc>) -> Result<(), Failure> {
    if stage.agent.store().read(Reader::overview).await?.outbox_depth == 0 {
        return Ok(());
    }
    within("delivery to meet the outage", async {
        loop {
            let refused = stage.agent.delivery().last_failure;
            if refused.is_some_and(|failure| failure.at >= began && failure.code == "http-503") {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// Waits until the agent has stored the tables of a step, and moved them.
async fn taken(inbox: &Path, step: &Step) -> Result<(), Failure> {
    within("the tables to be taken", async {
        while step.drops.iter().any(|drop| inbox.join(&drop.name).exists()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    })
    .await
}

/// Lets every polled stream finish a round that begins now.
async fn read_all(agent: &Agent) -> Result<(), Failure> {
    let streams: Vec<StreamId> = agent.polled_streams();
    for stream in streams {
        within("a stream's round", async { Ok(agent.poll_now(&stream).await?) }).await?;
    }
    Ok(())
}

/// Waits until the candidate, where one runs, has seen the whole day.
async fn followed(stage: &Stage) -> Result<(), Failure> {
    within("the candidate to follow", async {
        loop {
            let run = stage.agent.store().read(Reader::shadow_run).await?;
            if run.is_none_or(|run| run.state != "running" || run.behind == 0) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

/// Waits until everything is delivered or held.
async fn settle(stage: &Stage) -> Result<(), Failure> {
    stage.upstream.put_faults(Vec::new());
    stage.agent.reset_breaker();
    within("the outbox to empty", async {
        loop {
            let overview = stage.agent.store().read(Reader::overview).await?;
            if overview.outbox_depth == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn within<T>(what: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("waited {} s for {what}", PATIENCE.as_secs()).into()),
    }
}

/// Compares what the hospital produced, what the store accounts for, and what upstream holds.
async fn reconcile(stage: &Stage) -> Result<Reconciliation, Failure> {
    let overview = stage.agent.store().read(Reader::overview).await?;
    let ledger: &Ledger = stage.day.ledger();
    let mut entities = BTreeMap::new();
    let mut problems = Vec::new();
    for entity in EntityType::ALL {
        let totals = overview.totals.get(entity.as_str()).copied().unwrap_or_default();
        let source = i64::try_from(ledger.source(entity))?;
        let sums = Sums { source, delivered: totals.delivered, unchanged: totals.unchanged, held: totals.held };
        let accounted = sums.delivered + sums.unchanged + sums.held;
        if accounted != source {
            problems.push(format!("{entity}: the hospital produced {source} versions, {accounted} are accounted for"));
        }
        let received = stage.upstream.received().iter().filter(|line| subject_is(line, entity)).count();
        if i64::try_from(received)? != sums.delivered {
            problems.push(format!("{entity}: {} versions are delivered, upstream applied {received}", sums.delivered));
        }
        entities.insert(entity.as_str(), sums);
    }
    if overview.outbox_depth != 0 {
        problems.push(format!("{} events are not delivered yet", overview.outbox_depth));
    }
    let refused = stage.upstream.attempts().iter().filter(|line| line.status == "fault").count();
    Ok(Reconciliation { reconciled: problems.is_empty(), refused, entities, problems })
}

fn subject_is(line: &crate::sandbox::upstream::Line, entity: EntityType) -> bool {
    let subject = line.event["subject"].as_str().unwrap_or_default();
    subject.split('/').next() == Some(entity.as_str())
}

fn text(reconciliation: &Reconciliation) -> String {
    let rows = reconciliation.entities.iter().map(|(entity, sums)| {
        let numbers = [sums.source, sums.delivered, sums.unchanged, sums.held];
        std::iter::once((*entity).to_owned()).chain(numbers.map(|n| n.to_string())).collect()
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = table(&["entity", "source#", "delivered#", "unchanged#", "held#"], &rows);
    if reconciliation.reconciled {
        text.push_str("\nreconciled: source = delivered + unchanged + held for every entity\n");
    } else {
        text.push_str("\nNOT RECONCILED\n");
        reconciliation.problems.iter().for_each(|problem| text.push_str(&format!("  {problem}\n")));
    }
    text
}

async fn end(stage: Stage) {
    // What still waits may go: nobody wants to wait for an outage that is only played.
    stage.upstream.put_faults(Vec::new());
    stage.agent.stop().await;
    stage.outlab.stop().await;
    stage.upstream.stop().await;
}
