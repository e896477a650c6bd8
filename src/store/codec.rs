//! Bodies as they lie in the file: zstd, or plain where that is smaller.

use std::io;
use std::sync::{Mutex, PoisonError};

use zstd::bulk::{Compressor, Decompressor};

use super::Error;
use super::vault::SEALED;

const PLAIN: i64 = 0;
const ZSTD: i64 = 1;

/// Below this a frame's header eats what compression gains.
const SMALLEST: usize = 128;
/// Bodies are a few kilobytes: higher levels take longer and make them hardly smaller.
const LEVEL: i32 = 1;

/// Compressors and decompressors are large and costly to set up: a few are kept, whatever the number of threads.
const KEPT: usize = 4;
static COMPRESSORS: Pool<Compressor<'static>> = Pool(Mutex::new(Vec::new()));
static DECOMPRESSORS: Pool<Decompressor<'static>> = Pool(Mutex::new(Vec::new()));

struct Pool<T>(Mutex<Vec<T>>);

impl<T> Pool<T> {
    /// Works with one that is kept, or with a new one. `None` where either fails.
    fn with<R>(&self, new: fn() -> io::Result<T>, work: impl FnOnce(&mut T) -> io::Result<R>) -> Option<R> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The lock is not held while it works.
        let free = kept().pop();
        let mut one = match free {
            Some(one) => one,
            None => new().ok()?,
        };
        let result = work(&mut one).ok();
        let mut kept = kept();
        if kept.len() < KEPT {
            kept.push(one);
        }
        result
    }
}

/// A body ready to be stored.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) codec: i64,
    /// Bytes before packing.
    pub(super) size: i64,
    pub(super) bytes: Vec<u8>,
}

/// Packs a body. Costs CPU: called before the writer gets the job.
pub(super) fn pack(body: &[u8]) -> Packed {
    let size = body.len() as i64;
    if body.len() >= SMALLEST
        && let Some(bytes) = compress(body)
        && bytes.len() < body.len()
    {
        return Packed { codec: ZSTD, size, bytes };
    }
    Packed { codec: PLAIN, size, bytes: body.to_vec() }
}

fn compress(body: &[u8]) -> Option<Vec<u8>> {
    COMPRESSORS.with(|| Compressor::new(LEVEL), |compressor| compressor.compress(body))
}

/// Reads a body back.
pub(super) fn unpack(codec: i64, size: i64, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let size = usize::try_from(size).map_err(|_| Error::Unreadable("a body"))?;
    // A sealed body was opened by the statement that read it, or is longer than it may be.
    let body = match codec & !SEALED {
        PLAIN => bytes,
        ZSTD => DECOMPRESSORS
            .with(Decompressor::new, |decompressor| decompressor.decompress(&bytes, size))
            .ok_or(Error::Unreadable("a body"))?,
        _ => return Err(Error::Unreadable("a body")),
    };
    if body.len() == size { Ok(body) } else { Err(Error::Unreadable("a body")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_back_whatever_their_size() {
        for body in [vec![], b"short".to_vec(), vec![b'x'; 100_000], (0..=255).collect::<Vec<u8>>()] {
            let packed = pack(&body);
            assert!(packed.bytes.len() <= body.len(), "packing must not make a body longer");
            assert_eq!(unpack(packed.codec, packed.size, packed.bytes).unwrap(), body);
        }
    }

    #[test]
    fn a_damaged_body_is_an_error() {
        let packed = pack(&vec![b'x'; 1000]);
        assert!(unpack(packed.codec, packed.size, packed.bytes[..4].to_vec()).is_err());
        assert!(unpack(packed.codec, packed.size - 1, packed.bytes.clone()).is_err());
        assert!(unpack(5, packed.size, packed.bytes).is_err());
    }
}
