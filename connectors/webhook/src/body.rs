//! A request's body: read within bounds of size and time, and decompressed within the same size.

use std::io::Read as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use connector_api::CancellationToken;
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

/// How much of a body that is too long is kept for a person to see what it is.
pub(crate) const BEGINNING: usize = 64 << 10;

/// How much of a body that is refused is read all the same, in multiples of the longest body.
/// Closing with unread input resets the connection, and the answer with it.
const DRAIN_FACTOR: usize = 8;

/// How long a body that is being received may take once the agent stops.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(5);

/// A body as far as it may be taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// All of it.
    Whole(Bytes),
    /// The beginning of one that is too long.
    TooLong(Bytes),
}

/// Why the rest of a body does not come.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended, or the peer broke the protocol.
    Cut(hyper::Error),
    /// It took too long.
    Late,
    /// The agent is stopping and could wait no longer.
    Stopping,
}

/// Reads one request's body.
pub(crate) struct Inlet {
    body: Incoming,
    deadline: Instant,
    stop: CancellationToken,
    stopping: bool,
    ended: bool,
    /// The peer waits for our word before it sends the body; reading gives that word.
    waits: bool,
    /// How many bytes have been read.
    pub(crate) read: usize,
}

impl Inlet {
    pub(crate) fn new(body: Incoming, time: Duration, stop: CancellationToken, waits: bool) -> Inlet {
        Inlet { body, deadline: Instant::now() + time, stop, stopping: false, ended: false, waits, read: 0 }
    }

    /// Reads the body, or of a longer one just more than `limit`.
    pub(crate) async fn take(&mut self, limit: usize) -> Result<Body, Broken> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
            if whole.len() > limit {
                whole.truncate(limit.min(BEGINNING));
                return Ok(Body::TooLong(whole.freeze()));
            }
        }
        Ok(Body::Whole(whole.freeze()))
    }

    /// Reads and forgets the rest, so that the peer sees the answer. True where all was read and
    /// the connection can be used again.
    pub(crate) async fn drain(&mut self, limit: usize) -> bool {
        if self.waits {
            return false;
        }
        let budget = self.read.saturating_add(limit.saturating_mul(DRAIN_FACTOR));
        while !self.ended && self.read < budget {
            if self.next().await.is_err() {
                return false;
            }
        }
        self.ended
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        self.waits = false;
        loop {
            tokio::select! {
                biased;
                frame = self.body.frame() => match frame {
                    None => {
                        self.ended = true;
                        return Ok(None);
                    }
                    Some(Err(error)) => return Err(Broken::Cut(error)),
                    // Trailers say nothing that we use.
                    Some(Ok(frame)) => if let Ok(data) = frame.into_data() {
                        self.read += data.len();
                        return Ok(Some(data));
                    },
                },
                () = self.stop.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    self.deadline = self.deadline.min(Instant::now() + STOP_WAIT);
                }
                () = sleep_until(self.deadline) => {
                    return Err(if self.stopping { Broken::Stopping } else { Broken::Late });
                }
            }
        }
    }
}

/// Decompresses a gzip body of one or more members; `None` where it is not one, or not to its end.
pub(crate) fn gunzip(body: &[u8], limit: usize) -> Option<Body> {
    let mut whole = Vec::new();
    // One byte more than allowed tells "too long" from "just fits".
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(body).take(bound).read_to_end(&mut whole).ok()?;
    if whole.len() > limit {
        whole.truncate(limit.min(BEGINNING));
        return Some(Body::TooLong(whole.into()));
    }
    Some(Body::Whole(whole.into()))
}

#[cfg(test)]
mod tests {
    use super::{BEGINNING, Body, gunzip};
    use std::io::Write as _;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_gzip_body_is_read_to_its_end_and_no_further_than_the_limit() {
        let body = gzip(&[b'a'; 100]);
        assert_eq!(gunzip(&body, 100), Some(Body::Whole(vec![b'a'; 100].into())));
        assert_eq!(gunzip(&body, 99), Some(Body::TooLong(vec![b'a'; 99].into())));
        assert_eq!(gunzip(&body[..body.len() - 1], 100), None, "cut off");
        assert_eq!(gunzip(b"{}", 100), None, "no gzip");
        assert_eq!(gunzip(&[gzip(b"a"), gzip(b"b")].concat(), 100), Some(Body::Whole("ab".into())), "two members");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let body = gzip(&vec![0; 4 << 20]);
        let Some(Body::TooLong(beginning)) = gunzip(&body, 1 << 20) else { panic!("taken") };
        assert_eq!(beginning.len(), BEGINNING);
    }
}
