//! Reads the text of a PDF without trusting it: a file that crashes a parser, never ends or unpacks to
//! gigabytes costs a warning, never the agent.
//!
//! The parser bounds its depth and what a stream unpacks to; here are the bounds on time, on pages and
//! on how many files may be read at once. A parser that does not come back is left behind on its
//! thread, and while two are left behind no more are started.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use lopdf::{Document, LoadOptions};

/// So long a file may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many files at once, those that never came back included.
const AT_ONCE: usize = 4;
/// No stream may unpack to more bytes.
const UNPACKED: usize = 8 << 20;
/// So many pages are read: the exam number stands on each.
const PAGES: usize = 20;
/// Parsers recurse; their stack must not be the agent's.
const STACK: usize = 16 << 20;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// What a PDF says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::mapping) enum Reading {
    /// It opens; its text may be empty (a scanned page).
    Open {
        pages: u32,
        /// `None` where it can't be read.
        text: Option<String>,
    },
    /// It asks for a password.
    Encrypted,
    /// It can't be read.
    Unreadable,
}

/// Opens a PDF and reads the text of its first pages.
pub(in crate::mapping) fn read(bytes: &Arc<[u8]>) -> Reading {
    if RUNNING.fetch_add(1, Ordering::SeqCst) >= AT_ONCE {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        return Reading::Unreadable;
    }
    let (answer, wait) = mpsc::sync_channel(1);
    let bytes = Arc::clone(bytes);
    let work = move || {
        let done = Done;
        let reading = parse(&bytes);
        // Before the answer: whoever reads file after file must not meet those that it has done with.
        drop(done);
        // Whoever asked may have given up waiting.
        let _ = answer.send(reading);
    };
    match std::thread::Builder::new().name("pdf-text".to_owned()).stack_size(STACK).spawn(work) {
        Ok(_) => wait.recv_timeout(PATIENCE).unwrap_or(Reading::Unreadable),
        Err(_) => {
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Reading::Unreadable
        }
    }
}

/// Counts down, also when the parser panics.
struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

fn parse(bytes: &[u8]) -> Reading {
    let options = LoadOptions { max_decompressed_size: Some(UNPACKED), ..LoadOptions::default() };
    let document = match Document::load_mem_with_options(bytes, options) {
        Ok(document) => document,
        Err(_) if says_encrypted(bytes) => return Reading::Encrypted,
        Err(_) => return Reading::Unreadable,
    };
    // One that opens with an empty password is only protected against changes.
    if document.is_encrypted() && !document.was_encrypted() {
        return Reading::Encrypted;
    }
    let pages: Vec<u32> = document.get_pages().into_keys().collect();
    let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
    if pages.is_empty() {
        return Reading::Unreadable;
    }
    let mut text = String::new();
    for page in pages.iter().take(PAGES) {
        match document.extract_text_with_limit(&[*page], UNPACKED) {
            Ok(part) => text.push_str(&part),
            Err(_) => return Reading::Open { pages: count, text: None },
        }
        text.push('\n');
    }
    Reading::Open { pages: count, text: Some(text) }
}

fn says_encrypted(bytes: &[u8]) -> bool {
    bytes.windows(9).any(|window| window == b"/Encrypt " || window == b"/Encrypt\n" || window == b"/Encrypt<")
}
