//! Bodies as they lie in the file: zstd, or plain where that is smaller.

use std::sync::{Mutex, PoisonError};

use zstd::bulk::Compressor;

use super::Error;

const PLAIN: i64 = 0;
const ZSTD: i64 = 1;

/// Below this a frame's header eats what compression gains.
const SMALLEST: usize = 128;
const LEVEL: i32 = 3;

/// Compressors are a megabyte each and costly to set up: a few are kept, whatever the number of threads.
const KEPT: usize = 4;
static COMPRESSORS: Mutex<Vec<Compressor<'static>>> = Mutex::new(Vec::new());

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
    let pool = || COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = pool().pop();
    let mut compressor = match kept {
        Some(compressor) => compressor,
        None => Compressor::new(LEVEL).ok()?,
    };
    let bytes = compressor.compress(body).ok();
    let mut pool = pool();
    if pool.len() < KEPT {
        pool.push(compressor);
    }
    bytes
}

/// Reads a body back.
pub(super) fn unpack(codec: i64, size: i64, bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let size = usize::try_from(size).map_err(|_| Error::Unreadable("a body"))?;
    let body = match codec {
        PLAIN => bytes,
        ZSTD => zstd::bulk::decompress(&bytes, size).map_err(|_| Error::Unreadable("a body"))?,
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
        assert!(unpack(7, packed.size, packed.bytes).is_err());
    }
}
