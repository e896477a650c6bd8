//! Measures hisync against the least that any program must do for the same promise, and against the
//! bounds that it sets itself.
//!
//! Floor and subject run by turns, several times, in the same minutes on the same disk, so that a
//! busy machine slows both down; what counts is the median of the ratios. Absolute figures are
//! those of the machine. A table goes to stderr, the figures as one JSON object to stdout.
//!
//! ```text
//! just bench                     the full run, some twenty minutes
//! just bench --quick             a short one: the same figures, less exact
//! just bench --only intake,delivery
//! just bench --only soak --soak 10   minutes under load, watching memory
//! ```

mod agent;
mod backlog;
mod delivery;
mod figures;
mod floor;
mod helper;
mod intake;
mod latency;
mod mapping;
mod replay;
mod sender;
mod sink;
mod site;
mod size;
mod soak;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use figures::Figures;

/// Whatever went wrong; the measurement is void.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measures hisync against bare floors.
#[derive(Parser)]
struct Args {
    /// A short run: the same figures, less exact.
    #[arg(long)]
    quick: bool,
    /// Only some of the measurements.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Queued events that lie in the store while memory is measured.
    #[arg(long)]
    backlog: Option<usize>,
    /// How often floor and subject run by turns.
    #[arg(long)]
    runs: Option<usize>,
    /// Records of one run of mapping; a few dozen are enough to count instructions.
    #[arg(long)]
    records: Option<usize>,
    /// Archived reports of one run of a replay.
    #[arg(long)]
    archived: Option<usize>,
    /// So many minutes under load, with an eye on memory.
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// The folder for stores; on the disk that is to be measured. Beside this program unless said otherwise.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The agent's program. The one that was built with this one unless said otherwise.
    #[arg(long)]
    hisync: Option<PathBuf>,
    #[command(subcommand)]
    helper: Option<Helper>,
}

/// What runs in a process of its own, so that it does not share a runtime with what measures it.
#[derive(Subcommand)]
enum Helper {
    /// The floor of intake.
    #[command(hide = true)]
    Floor { database: PathBuf },
    /// An upstream that takes everything.
    #[command(hide = true)]
    Sink { file: PathBuf },
}

/// A measurement.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Intake,
    Mapping,
    Size,
    Delivery,
    Latency,
    Whole,
    Backlog,
    Replay,
    Soak,
}

/// How much is measured.
struct Scale {
    runs: usize,
    /// HL7 messages of one run of intake, and of the whole way.
    messages: usize,
    /// Records of one run of mapping.
    records: usize,
    /// Archived reports of one run of a replay.
    archived: usize,
    /// Events of one run of delivery.
    events: usize,
    backlog: usize,
    /// Messages whose way upstream is timed, one after the other.
    timed: usize,
    soak: Option<Duration>,
    dir: PathBuf,
    hisync: PathBuf,
}

impl Scale {
    fn new(args: &Args) -> Result<Scale, Failure> {
        let here = std::env::current_exe()?;
        let folder = here.parent().ok_or("this program lies in no folder")?;
        // Examples lie one folder below the programs that were built with them.
        let built = folder.parent().unwrap_or(folder).join("hisync");
        let pick = |quick, full| if args.quick { quick } else { full };
        let scale = Scale {
            runs: args.runs.unwrap_or(pick(3, 5)).max(1),
            messages: pick(2_000, 10_000),
            records: args.records.unwrap_or(pick(1_000, 4_000)).max(4),
            archived: args.archived.unwrap_or(pick(5_000, 100_000)),
            events: pick(3_000, 10_000),
            backlog: args.backlog.unwrap_or(pick(50_000, 1_000_000)),
            timed: pick(200, 1_000),
            soak: args.soak.map(|minutes| Duration::from_secs(60 * minutes)),
            dir: args.dir.clone().unwrap_or_else(|| folder.to_owned()),
            hisync: args.hisync.clone().unwrap_or(built),
        };
        if !scale.hisync.is_file() {
            return Err(format!("there is no {}: build the agent first", scale.hisync.display()).into());
        }
        Ok(scale)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    match &args.helper {
        Some(Helper::Floor { database }) => {
            let address = floor::serve_intake(database).await?;
            return helper::announce(address).await;
        }
        Some(Helper::Sink { file }) => return sink::serve(file).await,
        None => {}
    }
    if cfg!(debug_assertions) {
        eprintln!("note: this is a debug build; its figures mean nothing");
    }
    let scale = Scale::new(&args)?;
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut figures = Figures::new(args.quick);
    if wanted(Part::Mapping) {
        mapping::measure(&scale, &mut figures)?;
    }
    if wanted(Part::Size) {
        size::measure(&scale, &mut figures)?;
    }
    if wanted(Part::Intake) {
        intake::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Delivery) {
        delivery::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Latency) {
        latency::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Whole) {
        whole::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Backlog) {
        backlog::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Replay) {
        replay::measure(&scale, &mut figures).await?;
    }
    if wanted(Part::Soak)
        && let Some(time) = scale.soak
    {
        soak::measure(&scale, time, &mut figures).await?;
    }
    println!("{}", figures.json());
    Ok(())
}
