//! A file's lines, each decoded by itself.

use std::ops::Range;

use connector_api::DecodeFailure;

use crate::charset::Charset;
use crate::text::without_mark;

/// What stands in the text for bytes that the character set does not define. It never leaves this
/// module's users: the row is unreadable.
pub(super) const UNDEFINED: char = char::REPLACEMENT_CHARACTER;

/// The lines of a file in its text and in its bytes.
pub(super) struct Lines<'a> {
    charset: Charset,
    bytes: &'a [u8],
    mark: usize,
    text: String,
    /// Where each line begins, in the text and in the bytes. The last one is the end of both.
    starts: Vec<(usize, usize)>,
    /// Lines that do not decode, with the offset of the first undefined byte.
    bad: Vec<(usize, usize)>,
}

impl<'a> Lines<'a> {
    /// Decodes the lines. Fails where most of those with more than ASCII do not decode: then it is
    /// the character set that is wrong, not the lines.
    pub(super) fn decode(charset: Charset, bytes: &'a [u8]) -> Result<Lines<'a>, DecodeFailure> {
        let mark = bytes.len() - without_mark(charset, bytes).len();
        let mut lines = Lines {
            charset,
            bytes,
            mark,
            text: String::with_capacity(bytes.len()),
            starts: Vec::new(),
            bad: Vec::new(),
        };
        let mut good = 0;
        let mut at = mark;
        while at < bytes.len() {
            let end = line_end(charset, bytes, at);
            let line = &bytes[at..end];
            lines.starts.push((lines.text.len(), at));
            match charset.decode(line) {
                Ok(text) => {
                    good += usize::from(!text.is_ascii());
                    lines.text += &text;
                }
                Err(error) => {
                    lines.bad.push((lines.starts.len() - 1, at + error.offset));
                    skeleton(charset, line, &mut lines.text);
                }
            }
            at = end;
        }
        lines.starts.push((lines.text.len(), bytes.len()));
        match lines.bad.first() {
            Some((_, offset)) if lines.bad.len() > good + 1 => Err(DecodeFailure::new(
                "text-charset",
                format!("{} lines are not {}, the first at byte {offset}", lines.bad.len(), charset.name()),
            )),
            _ => Ok(lines),
        }
    }

    pub(super) fn charset(&self) -> Charset {
        self.charset
    }

    pub(super) fn mark(&self) -> &'a [u8] {
        &self.bytes[..self.mark]
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Where a line begins in the text; the end where there are fewer lines.
    pub(super) fn text_start(&self, line: usize) -> usize {
        self.starts.get(line).map_or(self.text.len(), |(text, _)| *text)
    }

    /// The line that holds a place of the text.
    pub(super) fn index_of(&self, text: usize) -> usize {
        self.starts.partition_point(|(start, _)| *start <= text).saturating_sub(1)
    }

    pub(super) fn text_of(&self, lines: Range<usize>) -> &str {
        &self.text[self.starts[lines.start].0..self.starts[lines.end].0]
    }

    pub(super) fn range_of(&self, lines: Range<usize>) -> Range<usize> {
        self.starts[lines.start].1..self.starts[lines.end].1
    }

    pub(super) fn bytes_of(&self, lines: Range<usize>) -> &'a [u8] {
        &self.bytes[self.range_of(lines)]
    }

    /// The first undefined byte of some lines, by its offset in the file.
    pub(super) fn bad_within(&self, lines: Range<usize>) -> Option<usize> {
        let first = self.bad.partition_point(|(line, _)| *line < lines.start);
        self.bad.get(first).filter(|(line, _)| *line < lines.end).map(|(_, offset)| *offset)
    }
}

/// Where the line that begins at `start` ends, its line end (CR, LF or both) included.
fn line_end(charset: Charset, bytes: &[u8], start: usize) -> usize {
    let width = if charset.extends_ascii() { 1 } else { 2 };
    let is = |at: usize, sign: u8| match bytes.get(at..at + width) {
        Some([low, high]) if charset == Charset::Utf16Le => *low == sign && *high == 0,
        Some([high, low]) => *low == sign && *high == 0,
        Some([byte]) => *byte == sign,
        _ => false,
    };
    let mut at = start;
    while at < bytes.len() {
        if is(at, b'\n') || (is(at, b'\r') && !is(at + width, b'\n')) {
            return (at + width).min(bytes.len());
        }
        at += width;
    }
    bytes.len()
}

/// The ASCII of a line that does not decode, so that its fields can be told apart.
fn skeleton(charset: Charset, line: &[u8], out: &mut String) {
    if !charset.extends_ascii() {
        let units = line.chunks(2).map(|unit| match *unit {
            [low, high] if charset == Charset::Utf16Le => u16::from_le_bytes([low, high]),
            [high, low] => u16::from_be_bytes([high, low]),
            _ => 0xfffd,
        });
        out.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(UNDEFINED)));
        return;
    }
    out.extend(line.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { UNDEFINED }));
}
