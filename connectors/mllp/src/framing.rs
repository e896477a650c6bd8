//! Cuts a byte stream into MLLP frames: VT, content, FS, CR.
//!
//! Real senders leave out the CR, write line ends between frames, start a frame anew without
//! having ended the one before, or send something else altogether. How the bytes are cut never
//! depends on how the network delivered them.

use bytes::{Buf as _, Bytes, BytesMut};

const VT: u8 = 0x0b;
const FS: u8 = 0x1c;

/// How much of what is sent outside of frames is taken up in one piece.
pub(crate) const OUTSIDE_LIMIT: usize = 64 << 10;

/// What the byte stream contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The content of a complete frame.
    Frame(Bytes),
    /// Bytes in no complete frame; a piece of [`OUTSIDE_LIMIT`] bytes may be followed by more.
    Outside(Bytes),
    /// The beginning, as long as the limit, of a frame that is longer. Nothing follows.
    TooLong(Bytes),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Outside,
    Inside,
    Closed,
}

/// The cutter: fill [`Framer::buffer`], then take events until there are none.
#[derive(Debug)]
pub(crate) struct Framer {
    /// Where received bytes are appended.
    pub(crate) buffer: BytesMut,
    /// How much of the buffer has been looked at.
    scanned: usize,
    state: State,
    limit: usize,
}

impl Framer {
    /// A cutter for frames of at most `limit` bytes.
    pub(crate) fn new(limit: usize) -> Framer {
        Framer { buffer: BytesMut::new(), scanned: 0, state: State::Outside, limit }
    }

    /// The next event in the bytes so far.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            match self.state {
                State::Closed => return None,
                State::Inside => return self.inside(),
                State::Outside => {
                    if let Some(event) = self.outside() {
                        return Some(event);
                    }
                    if self.state == State::Outside {
                        return None;
                    }
                }
            }
        }
    }

    fn outside(&mut self) -> Option<Event> {
        let blanks = self.buffer.iter().take_while(|byte| is_blank(**byte)).count();
        self.buffer.advance(blanks);
        self.scanned = self.scanned.saturating_sub(blanks);
        let start = self.buffer[self.scanned..].iter().position(|byte| *byte == VT).map(|n| self.scanned + n);
        let length = start.unwrap_or(self.buffer.len());
        self.scanned = length;
        if start == Some(0) {
            self.buffer.advance(1);
            self.state = State::Inside;
            return None;
        }
        if start.is_none() && length < OUTSIDE_LIMIT {
            return None;
        }
        self.scanned = 0;
        Some(Event::Outside(self.buffer.split_to(length.min(OUTSIDE_LIMIT)).freeze()))
    }

    fn inside(&mut self) -> Option<Event> {
        loop {
            let found = self.buffer[self.scanned..].iter().position(|byte| matches!(*byte, VT | FS));
            let at = found.map_or(self.buffer.len(), |n| self.scanned + n);
            if at > self.limit {
                self.state = State::Closed;
                return Some(Event::TooLong(self.buffer.split_to(self.limit).freeze()));
            }
            self.scanned = at;
            found?;
            let after = &self.buffer[at + 1..];
            if self.buffer[at] == FS {
                match after.first().copied() {
                    None => return None,
                    Some(VT | b'\r' | b'\n') => return Some(self.end_frame(at)),
                    Some(_) => {}
                }
            } else {
                match begins_message(after) {
                    None => return None,
                    Some(true) => {
                        self.state = State::Outside;
                        self.scanned = 0;
                        return match at {
                            0 => self.next(),
                            at => Some(Event::Outside(self.buffer.split_to(at).freeze())),
                        };
                    }
                    Some(false) => {}
                }
            }
            // The byte is content.
            self.scanned = at + 1;
        }
    }

    fn end_frame(&mut self, at: usize) -> Event {
        let content = self.buffer.split_to(at).freeze();
        self.buffer.advance(1);
        self.scanned = 0;
        self.state = State::Outside;
        Event::Frame(content)
    }

    /// True where a frame has its FS, and nothing has come after it.
    pub(crate) fn awaits_cr(&self) -> bool {
        self.state == State::Inside && self.scanned + 1 == self.buffer.len() && self.buffer[self.scanned] == FS
    }

    /// The frame of [`Framer::awaits_cr`], for a sender that does not write the CR.
    pub(crate) fn end_without_cr(&mut self) -> Option<Event> {
        self.awaits_cr().then(|| self.end_frame(self.scanned))
    }

    /// How many bytes of a frame that has not ended have been received.
    pub(crate) fn partial(&self) -> Option<usize> {
        (self.state == State::Inside).then_some(self.buffer.len())
    }

    /// Takes what came outside of frames and is not complete either, when no more is awaited.
    pub(crate) fn take_outside(&mut self) -> Option<Event> {
        if self.state != State::Outside || self.buffer.is_empty() {
            return None;
        }
        self.scanned = 0;
        Some(Event::Outside(self.buffer.split().freeze()))
    }

    /// True between frames, with nothing received yet of what comes next.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Outside && self.buffer.is_empty()
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t' | 0)
}

/// Whether the bytes after a VT begin a message, which makes the VT a new start rather than
/// content; `None` where more bytes are needed to tell.
fn begins_message(after: &[u8]) -> Option<bool> {
    let names: [&[u8]; 3] = [b"MSH", b"BHS", b"FHS"];
    if after.len() >= 3 {
        return Some(names.contains(&&after[..3]));
    }
    if names.iter().any(|name| name.starts_with(after)) { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the chunks and collects all events, including those at the stream's end.
    fn events(chunks: &[&[u8]], limit: usize) -> Vec<Event> {
        let mut framer = Framer::new(limit);
        let mut events = Vec::new();
        for chunk in chunks {
            framer.buffer.extend_from_slice(chunk);
            events.extend(std::iter::from_fn(|| framer.next()));
        }
        events.extend(framer.end_without_cr());
        events.extend(framer.take_outside());
        events
    }

    fn frame(text: &'static str) -> Event {
        Event::Frame(Bytes::from(text))
    }

    fn outside(text: &'static str) -> Event {
        Event::Outside(Bytes::from(text))
    }

    fn check(sent: &str, expected: &[Event]) {
        assert_eq!(events(&[sent.as_bytes()], 20), expected, "{sent:?}");
        let bytes: Vec<&[u8]> = sent.as_bytes().chunks(1).collect();
        assert_eq!(events(&bytes, 20), expected, "byte by byte: {sent:?}");
    }

    #[test]
    fn frames_are_cut_at_their_ends() {
        check("\x0bone\x1c\r", &[frame("one")]);
        check("\x0bone\x1c\r\x0btwo\x1c\r\n", &[frame("one"), frame("two")]);
        check("\x0bone\x1c\x0btwo\x1c", &[frame("one"), frame("two")]);
        check("\x0b\x1c\r", &[frame("")]);
        check("\x0bone", &[]);
    }

    #[test]
    fn fs_and_vt_within_text_are_content() {
        check("\x0bon\x1ce\x0b2\x1c\r", &[frame("on\x1ce\x0b2")]);
    }

    #[test]
    fn what_is_outside_of_frames_is_told_apart() {
        check("junk\x0bone\x1c\r", &[outside("junk"), frame("one")]);
        check("\r\n \x0bone\x1c\r\r\njunk\r", &[frame("one"), outside("junk\r")]);
    }

    #[test]
    fn a_frame_that_begins_anew_gives_up_its_first_part() {
        check("\x0bMSH|1\x0bMSH|2\x1c\r", &[outside("MSH|1"), frame("MSH|2")]);
        check("\x0b\x0bMSH|2\x1c\r", &[frame("MSH|2")]);
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit_and_no_longer() {
        check("\x0b12345678901234567890\x1c\r", &[frame("12345678901234567890")]);
        let cut = Event::TooLong(Bytes::from("12345678901234567890"));
        check("\x0b123456789012345678901\x1c\r\x0bnext\x1c\r", std::slice::from_ref(&cut));
        check("\x0b123456789012345678901", &[cut]);
    }

    #[test]
    fn what_is_outside_of_frames_is_taken_in_bounded_pieces() {
        let junk = vec![b'x'; 2 * OUTSIDE_LIMIT + 5];
        let lengths: Vec<usize> = events(&[&junk], 20)
            .iter()
            .map(|event| match event {
                Event::Outside(bytes) => bytes.len(),
                _ => 0,
            })
            .collect();
        assert_eq!(lengths, [OUTSIDE_LIMIT, OUTSIDE_LIMIT, 5]);
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            pieces in prop::collection::vec(
                prop_oneof![
                    Just(&b"\x0b"[..]), Just(&b"\x1c\r"[..]), Just(&b"\x1c"[..]), Just(&b"\r"[..]),
                    Just(&b"MSH|"[..]), Just(&b"M"[..]), Just(&b"text"[..]), Just(&b"\xd5\xc5\n"[..]),
                ],
                0..40,
            ),
            cuts in prop::collection::vec(0usize..200, 0..10),
        ) {
            let sent = pieces.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(sent.len())).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &sent[pair[0]..pair[1]]).collect();
            prop_assert_eq!(events(&chunks, 30), events(&[&sent], 30));
        }
    }
}
