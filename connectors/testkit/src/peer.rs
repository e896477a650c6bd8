//! Servers of other makers that a test starts: programs in Python that say their port and end with their input.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Upstream;

/// A server's process. It ends when its input is closed, which the end of this process does.
#[derive(Debug)]
pub struct PythonPeer {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    _process: Child,
}

impl PythonPeer {
    /// Starts `tests/peers/SCRIPT`.
    ///
    /// # Panics
    /// Where `HISYNC_PYTHON` names no interpreter, or the server does not say its port.
    pub fn start(script: &str) -> PythonPeer {
        let python = std::env::var_os("HISYNC_PYTHON").expect(
            "HISYNC_PYTHON names no Python interpreter with the peers' packages: run the project's test command `just test`",
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers").join(script);
        let mut process = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the interpreter starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("its output is text");
        PythonPeer { port: line.trim().parse().expect("the server says its port"), _process: process }
    }

    /// The server's address, and a URL of it with another port.
    pub fn through(&self, url: &str, port: u16) -> (Upstream, String) {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        (Upstream::Tcp(address), url.replacen(&format!(":{}/", self.port), &format!(":{port}/"), 1))
    }
}
