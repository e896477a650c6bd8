//! The bare floors: the least that any program must do for the same promise, and nothing else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

type Job = (Vec<u8>, oneshot::Sender<()>);

/// Serves MLLP with nothing but a commit: takes a frame, commits its bytes to SQLite (WAL, FULL)
/// in groups, acknowledges. Serves until the process ends.
pub(crate) async fn serve_intake(database: &Path) -> std::io::Result<SocketAddr> {
    let (jobs, waiting) = mpsc::channel::<Job>(256);
    let connection = open(database).map_err(std::io::Error::other)?;
    std::thread::spawn(move || write_groups(&connection, waiting));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let jobs = Arc::new(jobs);
    #[expect(clippy::disallowed_methods, reason = "a floor has no supervisor: it is what hisync is measured against")]
    tokio::spawn(async move {
        while let Ok((peer, _)) = listener.accept().await {
            let jobs = jobs.clone();
            tokio::spawn(async move {
                // A peer that goes away ends its connection; nothing else is to be done.
                let _ = serve_peer(peer, &jobs).await;
            });
        }
    });
    Ok(address)
}

fn open(database: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE IF NOT EXISTS raw (id INTEGER PRIMARY KEY, body BLOB NOT NULL)", ())?;
    Ok(connection)
}

fn write_groups(connection: &Connection, mut waiting: mpsc::Receiver<Job>) {
    while let Some(first) = waiting.blocking_recv() {
        let mut group = vec![first];
        while group.len() < 256
            && let Ok(job) = waiting.try_recv()
        {
            group.push(job);
        }
        let committed = commit(connection, &group);
        for (_, answer) in group {
            if committed.is_ok() {
                // The peer may have gone.
                let _ = answer.send(());
            }
        }
    }
}

fn commit(connection: &Connection, group: &[Job]) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut insert = connection.prepare_cached("INSERT INTO raw (body) VALUES (?1)")?;
    for (body, _) in group {
        insert.execute([body])?;
    }
    connection.execute_batch("COMMIT")
}

async fn serve_peer(mut peer: TcpStream, jobs: &mpsc::Sender<Job>) -> std::io::Result<()> {
    peer.set_nodelay(true)?;
    let mut buffer = Vec::new();
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let read = peer.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        buffer.extend_from_slice(&chunk[..read]);
        while let Some(end) = buffer.windows(2).position(|pair| pair == [0x1c, b'\r']) {
            let frame: Vec<u8> = buffer.drain(..end + 2).collect();
            let (answer, answered) = oneshot::channel();
            jobs.send((frame[1..end].to_vec(), answer)).await.map_err(std::io::Error::other)?;
            answered.await.map_err(std::io::Error::other)?;
            peer.write_all(b"\x0bMSH|^~\\&|||||||ACK|1|P|2.4\rMSA|AA|1\r\x1c\r").await?;
        }
    }
}
