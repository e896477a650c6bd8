//! HTTP without a library: the sender of requests, and what reads and writes messages.

use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::machine::Stage;

/// How long a sender waits before it looks, or tries, again.
const PAUSE: Duration = Duration::from_millis(20);

/// A head with its body, as long as its Content-Length says; `None` where the peer ends before.
pub(crate) fn read_message(stream: &mut impl Read) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(end) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if message.len() >= end + 4 + length.unwrap_or(0) {
                return Some(message);
            }
        }
        match stream.read(&mut chunk).ok()? {
            0 => return None,
            read => message.extend_from_slice(&chunk[..read]),
        }
    }
}

/// What a message says after its head.
pub(crate) fn body(message: &[u8]) -> &[u8] {
    let end = message.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(message.len(), |end| end + 4);
    &message[end..]
}

/// An answer with a body.
pub(crate) fn answer(status: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn attempt(address: SocketAddr, key: &str, message: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let head = format!(
        "POST /reports HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nidempotency-key: {key}\r\n\
         content-type: x-application/hl7-v2+er7\r\ncontent-length: {}\r\n\r\n",
        message.len()
    );
    stream.write_all(&[head.as_bytes(), message].concat()).ok()?;
    let answer = read_message(&mut stream)?;
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

/// Sends the messages of a folder in the order of their names, each until it is answered with success, and notes
/// which were. Ends at a file named END, and when told to.
pub(crate) fn send_all(stage: &Stage, over: &AtomicBool) {
    let log = |key: &str| {
        let path = stage.path("web-acks.log");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{key}").unwrap();
    };
    let mut last = String::new();
    while !over.load(Ordering::SeqCst) {
        let names = std::fs::read_dir(stage.path("web-letters")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let next = names.filter(|name| *name > last && !name.starts_with('.')).min();
        match next.as_deref() {
            None => std::thread::sleep(PAUSE),
            Some("END") => return,
            Some(name) => {
                let message = std::fs::read(stage.path("web-letters").join(name)).unwrap();
                let header = String::from_utf8_lossy(message.split(|byte| *byte == b'\r').next().unwrap()).into_owned();
                let key = header.split('|').nth(9).unwrap().to_owned();
                while !over.load(Ordering::SeqCst) {
                    match attempt(stage.web, &key, &message) {
                        Some(200..=299) => {
                            log(&key);
                            break;
                        }
                        Some(status @ 400..=499) => panic!("{key} is refused with {status}"),
                        _ => std::thread::sleep(PAUSE),
                    }
                }
                last = name.to_owned();
            }
        }
    }
}
