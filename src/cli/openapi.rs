//! `hisync openapi`: the upstream contract for machines.

use std::io::Write;
use std::process::ExitCode;

use crate::delivery::openapi;

/// Prints the upstream contract as an OpenAPI 3.1 document.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

/// Prints the document to stdout.
pub async fn run(_args: Args) -> ExitCode {
    // A reader that closes the pipe early (`| head`) has seen what it wanted.
    let _ = std::io::stdout().lock().write_all(openapi::text().as_bytes());
    ExitCode::SUCCESS
}
