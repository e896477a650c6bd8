//! Arguments, runtime, exit code; nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use hisync::cli::{self, Cli, Exit};

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::guarded(|| match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(cause) => {
            eprintln!("error: start the runtime: {cause}");
            Exit::Unreachable.into()
        }
    })
}
