//! Sends HL7 messages over several connections and measures how fast they are acknowledged.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Sends each connection's share of the messages, one after the other, each after the
/// acknowledgement of the one before. Answers how long all of it took.
pub(crate) async fn send_all(peer: SocketAddr, connections: usize, messages: &[Vec<u8>]) -> std::io::Result<Duration> {
    let mut senders = JoinSet::new();
    let began = Instant::now();
    for at in 0..connections {
        let share: Vec<Vec<u8>> = messages.iter().skip(at).step_by(connections).cloned().collect();
        senders.spawn(send_share(peer, share));
    }
    while let Some(sent) = senders.join_next().await {
        sent.map_err(std::io::Error::other)??;
    }
    Ok(began.elapsed())
}

async fn send_share(peer: SocketAddr, share: Vec<Vec<u8>>) -> std::io::Result<()> {
    let mut connection = Connection::open(peer).await?;
    for message in share {
        connection.send(&message).await?;
    }
    Ok(())
}

/// A sender's connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(peer: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        Ok(Connection(stream))
    }

    /// Sends a message and waits until it is accepted.
    pub(crate) async fn send(&mut self, message: &[u8]) -> std::io::Result<()> {
        let mut frame = Vec::with_capacity(message.len() + 3);
        frame.push(0x0b);
        frame.extend_from_slice(message);
        frame.extend_from_slice(&[0x1c, b'\r']);
        self.0.write_all(&frame).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(&[0x1c, b'\r']) {
            let mut chunk = [0; 2048];
            let read = self.0.read(&mut chunk).await?;
            if read == 0 {
                return Err(std::io::Error::other("the peer closed the connection"));
            }
            answer.extend_from_slice(&chunk[..read]);
        }
        let accepted = answer.windows(7).any(|part| part == b"MSA|AA|");
        if accepted { Ok(()) } else { Err(std::io::Error::other("the peer did not accept a message")) }
    }
}
