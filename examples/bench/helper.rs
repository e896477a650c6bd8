//! This program once more, as a process of its own: a floor or a sink.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::Failure;

/// A process that is killed when this goes.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A helper process.
pub(crate) struct Helper {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    _process: Process,
}

impl Helper {
    /// Starts a helper and reads from it where it listens.
    pub(crate) fn start<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Result<Helper, Failure> {
        let process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut process = Process(process);
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().ok_or("the helper has no output")?).read_line(&mut line)?;
        Ok(Helper { address: line.trim().parse()?, _process: process })
    }
}

/// In the helper: says where it listens, then waits until the one who started it is gone.
pub(crate) async fn announce(address: SocketAddr) -> Result<(), Failure> {
    println!("{address}");
    // The end of the input is the end of the parent, however it came.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    Ok(())
}
