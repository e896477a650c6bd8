//! A listener on a real socket, an intake that keeps what it takes in memory, and a peer.

#![allow(dead_code, clippy::unwrap_used, reason = "tests; each test binary uses its own part")]

use std::path::Path;
use std::sync::Arc;

use connector_api::{CancellationToken, ConnectorKind as _, Flow, SourceError};
use connector_mllp::Mllp;
pub(crate) use connector_testkit::Kept;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A running listener.
pub(crate) struct Running {
    pub(crate) address: String,
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
        let spec = connector_testkit::source_spec::<Mllp>(config, folder);
        let connector = Mllp::build(spec).map_err(|problems| format!("{problems:?}")).unwrap();
        let Flow::Listen(mut listener) = connector.flow else { panic!("not a listener") };
        let address = listener.open().await.unwrap().0;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(listener.serve(intake, stop.clone()));
        Running { address, stop, task }
    }

    /// Stops the listener and waits until it has returned.
    pub(crate) async fn stopped(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

/// A source with one stream for `ORU^R01` and further settings.
pub(crate) fn config(settings: &str) -> String {
    format!(
        "[[sources]]\nid = \"lis\"\nconnector = \"mllp\"\n[sources.settings]\nlisten = \"127.0.0.1:0\"\n{settings}\n\
         [[sources.streams]]\nid = \"results\"\nmode = \"push\"\nmessages = [\"ORU^R01\"]\n"
    )
}

/// A sender.
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

    /// Whether anything has come; does not wait.
    pub(crate) fn has_been_written_to(&mut self) -> bool {
        !matches!(self.stream.try_read_buf(&mut self.received), Ok(0)) && !self.received.is_empty()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer's content.
    pub(crate) async fn answer(&mut self) -> String {
        loop {
            if let Some(end) = self.received.windows(2).position(|pair| pair == b"\x1c\r") {
                let frame: Vec<u8> = self.received.drain(..end + 2).collect();
                assert_eq!(frame[0], 0x0b);
                return String::from_utf8(frame[1..end].to_vec()).unwrap();
            }
            let read = self.stream.read_buf(&mut self.received).await.unwrap();
            assert!(read > 0, "closed before an answer; left: {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The code of the next answer with the control id that it names: `AA 17`.
    pub(crate) async fn verdict(&mut self) -> String {
        let answer = self.answer().await;
        let msa = answer.split('\r').find(|segment| segment.starts_with("MSA")).unwrap();
        let fields: Vec<&str> = msa.split('|').collect();
        format!("{} {}", fields[1], fields[2])
    }

    /// Everything up to the peer's close.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        self.stream.read_to_end(&mut self.received).await.unwrap();
        self.received
    }

    /// Ends our side, then reads everything up to the other's close.
    pub(crate) async fn finish(mut self) -> Vec<u8> {
        self.stream.shutdown().await.unwrap();
        self.rest().await
    }
}

/// A framed result message.
pub(crate) fn message(control_id: &str) -> Vec<u8> {
    let text = format!(
        "MSH|^~\\&|LIS|HOSP|HISYNC|EXAM|20261122080000||ORU^R01|{control_id}|P|2.4\rPID|1||T1\rOBR|1\r\
         OBX|1|NM|TG||1.30|mmol/L\r"
    );
    framed(text.as_bytes())
}

pub(crate) fn framed(content: &[u8]) -> Vec<u8> {
    [b"\x0b", content, b"\x1c\r"].concat()
}
