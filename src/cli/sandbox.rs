//! `hisync sandbox`: the reference upstream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use super::signals::Stop;
use crate::clock::Clock;
use crate::delivery::signature::Keys;
use crate::sandbox::upstream::{Options, Upstream};

/// The variable that an agent's configuration names by convention.
const SECRET_VARIABLE: &str = "HISYNC_UPSTREAM_SECRET";

/// Runs the reference upstream: verifies signatures and schemas, keeps and shows what it received.
///
/// The page is at /, what was received at /v1/received as JSON lines; PUT /faults makes it fail.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8787")]
    pub listen: SocketAddr,
    /// Where to keep what was received; in memory only without it.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The environment variable with the signing secret (whsec_… or base64). HISYNC_UPSTREAM_SECRET
    /// unless given; signatures are not verified where that is not set.
    #[arg(long, value_name = "NAME")]
    pub secret_env: Option<String>,
}

/// Serves until SIGTERM or SIGINT. Prints the address to stdout once it listens.
pub async fn run(args: Args) -> ExitCode {
    let name = args.secret_env.as_deref().unwrap_or(SECRET_VARIABLE);
    let keys = match std::env::var(name) {
        Ok(text) => match Keys::parse(&text) {
            Ok(keys) => Some(keys),
            Err(error) => return fail(2, &format!("{name}: {error}")),
        },
        Err(_) if args.secret_env.is_some() => return fail(2, &format!("the variable {name} is not set")),
        Err(_) => {
            eprintln!("hisync sandbox: {SECRET_VARIABLE} is not set: signatures are not verified");
            None
        }
    };
    let mut stop = match Stop::new() {
        Ok(stop) => stop,
        Err(error) => return fail(3, &format!("wait for signals: {error}")),
    };
    let options = Options { listen: args.listen, dir: args.dir, keys, clock: Clock::system() };
    let upstream = match Upstream::start(options).await {
        Ok(upstream) => upstream,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            return fail(3, &format!("{error}{cause}"));
        }
    };
    println!("{}", upstream.url());
    stop.asked().await;
    upstream.stop().await;
    ExitCode::SUCCESS
}

fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("hisync sandbox: {message}");
    ExitCode::from(code)
}
