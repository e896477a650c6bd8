//! A listener on a real socket, and a peer.

#![allow(dead_code, clippy::unwrap_used, reason = "tests; each test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;

use connector_api::{CancellationToken, ConnectorKind as _, Decoder, Flow, SourceError};
pub(crate) use connector_testkit::Kept;
use connector_webhook::Webhook;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A running listener.
pub(crate) struct Running {
    /// Host and port.
    pub(crate) address: String,
    /// With the scheme.
    pub(crate) url: String,
    pub(crate) decoder: Arc<dyn Decoder>,
    pub(crate) stop: CancellationToken,
    task: JoinSet<Result<(), SourceError>>,
}

impl Running {
    /// Builds and starts the source of a configuration text.
    pub(crate) async fn start(config: &str, intake: Arc<Kept>) -> Running {
        Running::start_in(config, Path::new("."), intake).await
    }

    /// The same with a folder for the files that the configuration names.
    pub(crate) async fn start_in(config: &str, folder: &Path, intake: Arc<Kept>) -> Running {
        let spec = connector_testkit::source_spec::<Webhook>(config, folder);
        let connector = Webhook::build(spec).map_err(|problems| format!("{problems:?}")).unwrap();
        let Flow::Listen(mut listener) = connector.flow else { panic!("not a listener") };
        let url = listener.open().await.map_err(|error| error.chain()).unwrap().0;
        let address = url.split_once("://").unwrap().1.to_owned();
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(listener.serve(intake, stop.clone()));
        Running { address, url, decoder: connector.decoder, stop, task }
    }

    /// Stops the listener and waits until it has returned.
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// A source without proofs, with one stream for JSON at `/reports`; further settings of both.
pub(crate) fn config(settings: &str, stream: &str) -> String {
    format!(
        "[[sources]]\nid = \"his\"\nconnector = \"webhook\"\n[sources.settings]\nlisten = \"127.0.0.1:0\"\n{settings}\n\
         [[sources.streams]]\nid = \"reports\"\nmode = \"push\"\npath = \"/reports\"\nformat = \"json\"\n{stream}\n"
    )
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header lines, names in lower case.
    pub(crate) head: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// A sender that writes its bytes itself.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    pub(crate) async fn connect(running: &Running) -> Peer {
        Peer::connect_to(&running.address).await
    }

    pub(crate) async fn connect_to(address: &str) -> Peer {
        Peer { stream: TcpStream::connect(address).await.unwrap(), received: Vec::new() }
    }

    /// Whether what has come begins so; does not wait.
    pub(crate) fn has_received(&mut self, beginning: &str) -> bool {
        let _ = self.stream.try_read_buf(&mut self.received);
        self.received.starts_with(beginning.as_bytes())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                return self.body(String::from_utf8(head).unwrap()).await;
            }
            self.more().await;
        }
    }

    async fn body(&mut self, head: String) -> Answer {
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let mut answer = Answer { status, head: lines.filter_map(pair).collect(), body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.received.len() < length {
            self.more().await;
        }
        answer.body = String::from_utf8(self.received.drain(..length).collect()).unwrap();
        answer
    }

    async fn more(&mut self) {
        let read = self.stream.read_buf(&mut self.received).await.unwrap();
        assert!(read > 0, "closed before an answer; left: {:?}", String::from_utf8_lossy(&self.received));
    }

    /// Everything up to the other's close, which may be a reset.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let _ = self.stream.read_to_end(&mut self.received).await;
        self.received
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        self.answer().await
    }
}

/// A request to `/reports` with JSON.
pub(crate) fn json(headers: &str, body: &str) -> Vec<u8> {
    request("POST /reports", &format!("Content-Type: application/json\r\n{headers}"), body.as_bytes())
}

/// A request; `headers` are lines that end with CRLF.
pub(crate) fn request(line: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{line} HTTP/1.1\r\nHost: hisync\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Sends one request on a connection of its own.
pub(crate) async fn ask(running: &Running, request: &[u8]) -> Answer {
    Peer::connect(running).await.ask(request).await
}
