//! `hisync completions`: shell completion.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Exit, Terminal};

/// Prints the completion script of a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bash:  hisync completions bash > /etc/bash_completion.d/hisync
  zsh:   hisync completions zsh  > \"${fpath[1]}/_hisync\"
  fish:  hisync completions fish > ~/.config/fish/completions/hisync.fish

Open a new shell afterwards.")]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, terminal: &Terminal) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hisync", &mut script);
    terminal.data(&String::from_utf8_lossy(&script));
    Exit::Fine
}
