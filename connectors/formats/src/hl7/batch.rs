//! Several messages in one piece: with the batch and file envelopes, or one after another.

use bytes::Bytes;

use super::UTF8_MARK;

/// What one transmission holds, cut by its segments' names alone. Nothing is decoded.
///
/// Cutting at line ends is safe on the bytes of every character set that a transmission can be
/// in: no byte of a multi-byte character equals a line end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interchange {
    /// The messages, each from its `MSH` to before the next header or trailer.
    pub messages: Vec<Bytes>,
    /// The batch and file segments, where there are any.
    pub envelope: Option<Envelope>,
    /// Lines that belong to no message, each run of them in one piece.
    pub stray: Vec<Bytes>,
}

/// The `FHS`, `BHS`, `BTS` and `FTS` segments around messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The first `BHS`, else the first `FHS`; empty where the sender left both out.
    pub header: Bytes,
    /// All of the segments, in order, ended by CR.
    pub segments: Bytes,
    /// Where the trailers do not agree with what was received, one sentence each.
    pub discrepancies: Vec<String>,
}

impl Interchange {
    /// Cuts a transmission.
    pub fn split(body: &Bytes) -> Interchange {
        let start = if body.starts_with(UTF8_MARK) { UTF8_MARK.len() } else { 0 };
        let mut cut = Cut::default();
        let mut piece: Option<(Kind, usize)> = None;
        let mut at = start;
        while at < body.len() {
            let end = body[at..].iter().position(|b| matches!(b, b'\r' | b'\n')).map_or(body.len(), |n| at + n);
            let line = &body[at..end];
            let kind = Kind::of(line);
            // Lines that continue the current piece, and blank ones, move nothing.
            if kind.begins_after(piece.map(|(kind, _)| kind)) {
                cut.close(body, piece.take(), at);
                match kind {
                    Kind::Envelope => cut.envelope(body.slice(at..end)),
                    kind => piece = Some((kind, at)),
                }
            }
            at = end + 1;
        }
        cut.close(body, piece, body.len());
        // The byte order mark is kept with the message that it says something about.
        if start > 0
            && let Some(first) = cut.found.messages.first_mut()
        {
            let marked = [UTF8_MARK, first].concat();
            *first = Bytes::from(marked);
        }
        cut.finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Blank,
    Message,
    Envelope,
    Other,
}

impl Kind {
    fn of(line: &[u8]) -> Kind {
        let text = line.trim_ascii_start();
        match text.get(..3) {
            _ if text.is_empty() => Kind::Blank,
            Some(b"MSH") => Kind::Message,
            Some(b"FHS" | b"BHS" | b"BTS" | b"FTS") => Kind::Envelope,
            _ => Kind::Other,
        }
    }

    fn begins_after(self, current: Option<Kind>) -> bool {
        match self {
            Kind::Blank => false,
            Kind::Message | Kind::Envelope => true,
            Kind::Other => current.is_none(),
        }
    }
}

/// The state of cutting: what was found, and the counts of the batch and file that are open.
#[derive(Default)]
struct Cut {
    found: Interchange,
    segments: Vec<u8>,
    batch: Option<usize>,
    file: Option<usize>,
}

impl Cut {
    fn close(&mut self, body: &Bytes, piece: Option<(Kind, usize)>, end: usize) {
        match piece {
            Some((Kind::Message, start)) => {
                self.found.messages.push(body.slice(start..end));
                self.batch = self.batch.map(|count| count + 1);
            }
            Some((_, start)) => self.found.stray.push(body.slice(start..end)),
            None => {}
        }
    }

    fn envelope(&mut self, line: Bytes) {
        self.segments.extend_from_slice(line.trim_ascii());
        self.segments.push(b'\r');
        let text = line.trim_ascii_start();
        let stated = stated_count(text);
        let name = text.get(..3);
        let envelope = self.found.envelope.get_or_insert_default();
        let better = |name: Option<&[u8]>| match name {
            Some(b"BHS") => !envelope.header.starts_with(b"BHS"),
            Some(b"FHS") => envelope.header.is_empty(),
            _ => false,
        };
        if better(name) {
            envelope.header = line.slice_ref(text);
        }
        match name {
            Some(b"FHS") => {
                self.end_file(None);
                self.file = Some(0);
            }
            Some(b"BHS") => {
                self.end_batch(None);
                self.batch = Some(0);
                self.file = self.file.map(|count| count + 1);
            }
            Some(b"BTS") => self.end_batch(Some(stated)),
            _ => self.end_file(Some(stated)),
        }
    }

    /// Ends the open batch with its trailer, or without one.
    fn end_batch(&mut self, trailer: Option<Stated>) {
        let counted = self.batch.take();
        self.compare("batch", "BTS", "messages", trailer, counted);
    }

    fn end_file(&mut self, trailer: Option<Stated>) {
        self.end_batch(None);
        let counted = self.file.take();
        self.compare("file", "FTS", "batches", trailer, counted);
    }

    fn compare(&mut self, whole: &str, name: &str, parts: &str, trailer: Option<Stated>, counted: Option<usize>) {
        let problem = match (trailer, counted) {
            (None, None) => None,
            (None, Some(counted)) => Some(format!("a {whole} of {counted} {parts} has no {name} segment")),
            (Some(_), None) => Some(format!("a {name} segment ends a {whole} that was not begun")),
            (Some(Stated::Nothing), Some(_)) => None,
            (Some(Stated::Count(stated)), Some(counted)) if stated == counted => None,
            (Some(Stated::Count(stated)), Some(counted)) => {
                Some(format!("{name}-1 states {stated} {parts}, and {counted} were received"))
            }
            (Some(Stated::Unreadable), Some(counted)) => {
                Some(format!("{name}-1 is not a number, and {counted} {parts} were received"))
            }
        };
        if let (Some(problem), Some(envelope)) = (problem, &mut self.found.envelope) {
            envelope.discrepancies.push(problem);
        }
    }

    fn finish(mut self) -> Interchange {
        self.end_file(None);
        if let Some(envelope) = &mut self.found.envelope {
            envelope.segments = Bytes::from(self.segments);
        }
        self.found
    }
}

/// What a trailer says about the number of parts.
#[derive(Clone, Copy)]
enum Stated {
    Nothing,
    Count(usize),
    Unreadable,
}

fn stated_count(segment: &[u8]) -> Stated {
    let Some(separator) = segment.get(3) else { return Stated::Nothing };
    let field = segment.split(|byte| byte == separator).nth(1).unwrap_or_default().trim_ascii();
    if field.is_empty() {
        return Stated::Nothing;
    }
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).map_or(Stated::Unreadable, Stated::Count)
}
