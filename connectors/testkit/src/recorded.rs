//! Answers of HTTP servers as they were recorded, head and body, given again to a connector.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use connector_api::{Action, ConnectorKind, Document, Request, Value, chain};
use serde_json::{Value as Json, json};

use crate::Case;
use crate::conformance::{load_source, poller};

/// What a [`Peer`] does with one connection, after it has read the request.
#[derive(Clone, Debug)]
pub enum Turn {
    /// Writes these bytes, a whole answer or the beginning of one, and closes.
    Answer(Vec<u8>),
    /// Writes these bytes, and leaves the connection open without another word.
    Hang(Vec<u8>),
}

/// A server that plays its turns, the last of them again and again, and keeps what it was asked.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens, as a URL.
    pub url: String,
    /// The requests, head and body.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// Where no port can be bound.
    pub fn start(turns: Vec<Turn>) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("its address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for (at, stream) in listener.incoming().enumerate() {
                let Ok(mut stream) = stream else { return };
                let request = read_request(&mut stream);
                kept.lock().expect("a list").push(String::from_utf8_lossy(&request).into_owned());
                match &turns[at.min(turns.len() - 1)] {
                    Turn::Answer(bytes) => {
                        // The client may have gone, as when the answer is too long for it.
                        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
                    }
                    Turn::Hang(bytes) => {
                        let _ = stream.write_all(bytes);
                        hanging.push(stream);
                    }
                }
            }
        });
        Peer { url, asked }
    }
}

fn read_request(stream: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if request.len() >= end + 4 + length.unwrap_or(0_usize) {
                return request;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return request,
            // The beginning of TLS: whoever speaks it is answered by what is no TLS.
            Ok(_) if request.is_empty() && buffer[0] == 0x16 => return request,
            Ok(read) => request.extend_from_slice(&buffer[..read]),
        }
    }
}

/// Reads a case's `input.http` through the stream `it` of its `source.toml`, where `URL` stands for
/// the server's, as a snapshot. Says what came of it, and checks that records read the same again.
///
/// # Panics
/// Where the settings are refused, or an archived record reads differently.
pub async fn read<K: ConnectorKind>(case: &Case) -> Json {
    let peer = Peer::start(vec![Turn::Answer(case.input())]);
    let text = case.text("source.toml").replace("URL", &peer.url);
    let connector = load_source::<K>(&text, &case.dir);
    let decoder = connector.unwrap_or_else(|problems| panic!("{}: {problems:?}", case.name)).decoder;
    let mut poller = poller::<K>(&text, &case.dir, "it");
    match poller.fetch(Request::Snapshot { after: None }, 100).await {
        Err(error) => json!({
            "class": error.class.as_str(),
            "action": match error.action {
                Action::Retry { after: Some(after) } => format!("retry after {} s", after.as_secs()),
                Action::Retry { after: None } => "retry".to_owned(),
                Action::Stop => "stop".to_owned(),
            },
            "error": chain(&error),
            "hint": error.hint,
        }),
        Ok(batch) => {
            let records = batch.records.iter().map(|record| {
                assert_eq!(decoder.decode(&record.raw), record.document, "{}: reads the same again", case.name);
                let document: Result<&Document, _> = record.document.as_ref();
                json!({
                    "format": record.raw.format,
                    "charset": record.raw.charset,
                    "document": document.map(|read| Json::from(&Value::Map(read.root.clone()))).ok(),
                    "held": document.err().map(ToString::to_string),
                })
            });
            json!({ "records": records.collect::<Vec<_>>(), "counted": batch.counted, "more": batch.next.is_some() })
        }
    }
}
