//! Character sets, decoded strictly.
//!
//! A byte sequence that the character set does not define is an error with its offset. The
//! replacement character is never written, because a name stored as `王?` is a wrong name.

use std::borrow::Cow;

use encoding_rs::{BIG5, DecoderResult, Encoding, GB18030, GBK, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// A character set that sources may use, by the name that a configuration writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
pub enum Charset {
    /// UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// GB 18030, the Chinese national standard; contains GBK and GB 2312.
    #[serde(rename = "gb18030")]
    Gb18030,
    /// GBK, also right for GB 2312. Reads four-byte GB 18030 sequences as well.
    #[serde(rename = "gbk")]
    Gbk,
    /// Big5 with the Hong Kong supplement.
    #[serde(rename = "big5")]
    Big5,
    /// ISO 8859-1. Bytes 80 to 9F are refused: they are control characters that no text has, and
    /// their presence means that the text is in another character set.
    #[serde(rename = "iso-8859-1")]
    Iso88591,
    /// Windows code page 1252, which software often calls ISO 8859-1.
    #[serde(rename = "windows-1252")]
    Windows1252,
    /// US-ASCII: bytes 00 to 7F.
    #[serde(rename = "us-ascii")]
    UsAscii,
    /// UTF-16, low byte first.
    #[serde(rename = "utf-16le")]
    Utf16Le,
    /// UTF-16, high byte first.
    #[serde(rename = "utf-16be")]
    Utf16Be,
}

/// Bytes that the character set does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset} does not begin a {} character", charset.name())]
pub struct CharsetError {
    /// The character set that was tried.
    pub charset: Charset,
    /// Where the first undefined sequence begins, counted from 0.
    pub offset: usize,
}

impl Charset {
    /// Every character set, in the order of the documentation.
    pub const ALL: [Charset; 9] = [
        Charset::Utf8,
        Charset::Gb18030,
        Charset::Gbk,
        Charset::Big5,
        Charset::Iso88591,
        Charset::Windows1252,
        Charset::UsAscii,
        Charset::Utf16Le,
        Charset::Utf16Be,
    ];

    /// The name in configurations and in [`connector_api::Raw::charset`].
    pub fn name(self) -> &'static str {
        match self {
            Charset::Utf8 => "utf-8",
            Charset::Gb18030 => "gb18030",
            Charset::Gbk => "gbk",
            Charset::Big5 => "big5",
            Charset::Iso88591 => "iso-8859-1",
            Charset::Windows1252 => "windows-1252",
            Charset::UsAscii => "us-ascii",
            Charset::Utf16Le => "utf-16le",
            Charset::Utf16Be => "utf-16be",
        }
    }

    /// The character set of that [`Charset::name`].
    pub fn from_name(name: &str) -> Option<Charset> {
        Charset::ALL.into_iter().find(|charset| charset.name() == name)
    }

    /// True where the bytes 00 to 7F, outside multi-byte characters, are ASCII.
    pub fn extends_ascii(self) -> bool {
        !matches!(self, Charset::Utf16Le | Charset::Utf16Be)
    }

    /// Decodes all the bytes, or says where that fails. A byte order mark is not removed.
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, CharsetError> {
        let failed = |offset| CharsetError { charset: self, offset };
        match self {
            Charset::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| failed(error.valid_up_to())),
            Charset::UsAscii => match bytes.iter().position(|byte| !byte.is_ascii()) {
                Some(offset) => Err(failed(offset)),
                None => Ok(String::from_utf8_lossy(bytes)),
            },
            Charset::Iso88591 => match bytes.iter().position(|byte| (0x80..0xa0).contains(byte)) {
                Some(offset) => Err(failed(offset)),
                None => Ok(encoding_rs::mem::decode_latin1(bytes)),
            },
            Charset::Gb18030 | Charset::Gbk => decode_with(GB18030, bytes).map_err(failed),
            Charset::Big5 => decode_with(BIG5, bytes).map_err(failed),
            Charset::Windows1252 => decode_with(WINDOWS_1252, bytes).map_err(failed),
            Charset::Utf16Le => decode_with(UTF_16LE, bytes).map_err(failed),
            Charset::Utf16Be => decode_with(UTF_16BE, bytes).map_err(failed),
        }
    }

    /// Decodes all the bytes; each byte that no character begins with becomes a mark of its own, which
    /// [`Charset::encode_marked`] turns back and [`is_marked`] finds. So one damaged record can be cut
    /// out of a text with its own bytes, and held, while the others are read.
    ///
    /// Fails where more than a thousand bytes do not decode: then it is another character set.
    pub fn decode_marked(self, bytes: &[u8]) -> Result<String, CharsetError> {
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes;
        let mut left = MOST_MARKS;
        while !rest.is_empty() {
            match self.decode(rest) {
                Ok(sound) => {
                    text.push_str(&sound);
                    break;
                }
                Err(error) if left == 0 => {
                    return Err(CharsetError { offset: bytes.len() - rest.len() + error.offset, ..error });
                }
                Err(CharsetError { offset, .. }) => {
                    left -= 1;
                    let (sound, bad) = rest.split_at(offset.min(rest.len() - 1));
                    if let Ok(sound) = self.decode(sound) {
                        text.push_str(&sound);
                    }
                    text.extend(char::from_u32(MARKS.start + u32::from(bad[0])));
                    rest = &bad[1..];
                }
            }
        }
        Ok(text)
    }

    /// Encodes text in which bytes are marked; `None` as [`Charset::encode`]. A character that has two
    /// forms in bytes, as the euro sign has in GBK, comes back in its usual one.
    pub fn encode_marked(self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(text.len());
        for piece in text.split_inclusive(is_mark) {
            let mark = piece.chars().next_back().filter(|c| is_mark(*c));
            let sound = &piece[..piece.len() - mark.map_or(0, char::len_utf8)];
            bytes.extend_from_slice(&self.encode(sound)?);
            bytes.extend(mark.map(|mark| (u32::from(mark) - MARKS.start) as u8));
        }
        Some(bytes)
    }

    /// Encodes text; `None` where a character does not exist in the character set.
    pub fn encode(self, text: &str) -> Option<Cow<'_, [u8]>> {
        let encoding = match self {
            Charset::Utf8 => return Some(Cow::Borrowed(text.as_bytes())),
            Charset::UsAscii => return text.is_ascii().then_some(Cow::Borrowed(text.as_bytes())),
            Charset::Iso88591 => {
                let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                return bytes.map(Cow::Owned);
            }
            Charset::Utf16Le => return Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
            Charset::Utf16Be => return Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
            Charset::Gb18030 => GB18030,
            Charset::Gbk => GBK,
            Charset::Big5 => BIG5,
            Charset::Windows1252 => WINDOWS_1252,
        };
        let (bytes, _, unmappable) = encoding.encode(text);
        (!unmappable).then_some(bytes)
    }
}

/// Private-use characters at the end of Unicode that stand for single undecodable bytes.
const MARKS: std::ops::Range<u32> = 0x10_ff00..0x11_0000;

/// More undecodable bytes than this are no damage but another character set.
const MOST_MARKS: usize = 1000;

fn is_mark(c: char) -> bool {
    MARKS.contains(&u32::from(c))
}

/// True where a text from [`Charset::decode_marked`] has bytes that did not decode.
pub fn is_marked(text: &str) -> bool {
    text.contains(is_mark)
}

fn decode_with<'a>(encoding: &'static Encoding, bytes: &'a [u8]) -> Result<Cow<'a, str>, usize> {
    encoding.decode_without_bom_handling_and_without_replacement(bytes).ok_or_else(|| first_malformed(encoding, bytes))
}

/// The offset of the first sequence that does not decode; the length where there is none.
fn first_malformed(encoding: &'static Encoding, bytes: &[u8]) -> usize {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut out = [0; 1024];
    let mut at = 0;
    loop {
        let (result, read, _) = decoder.decode_to_utf8_without_replacement(&bytes[at..], &mut out, true);
        at += read;
        match result {
            DecoderResult::OutputFull => {}
            DecoderResult::InputEmpty => return bytes.len(),
            DecoderResult::Malformed(bad, after) => return at.saturating_sub(usize::from(bad) + usize::from(after)),
        }
    }
}

/// True where the bytes are most likely UTF-8, although they may decode as something else.
///
/// UTF-8 often decodes without an error as GB 18030, into other, plausible characters, and may
/// swallow a delimiter on the way. Text of another multi-byte character set is practically never
/// valid UTF-8 with three-byte characters, or with the signs of units and nothing else. Whoever
/// decodes as something else asks this first.
pub fn looks_like_utf8(bytes: &[u8]) -> bool {
    if bytes.is_ascii() {
        return false;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    text.chars().any(beyond_two_bytes) || text.chars().all(|c| c.is_ascii() || is_unit_sign(c))
}

/// True where text that decoded as UTF-8 may as well be a few GBK characters: it has letters that
/// neither a Chinese nor a western text has, and none that only UTF-8 explains.
pub fn may_be_misread_gbk(text: &str) -> bool {
    let western = |c: char| c <= '\u{ff}' || is_unit_sign(c);
    !text.is_ascii()
        && !text.chars().any(beyond_two_bytes)
        && !text.chars().all(western)
        && Charset::Gb18030.decode(text.as_bytes()).is_ok()
}

fn beyond_two_bytes(c: char) -> bool {
    c >= '\u{800}'
}

/// Signs that stand in units, quantities and test names: `µ`, `°`, `±`, `²`, `γ`.
fn is_unit_sign(c: char) -> bool {
    matches!(c, '°' | '±' | '²' | '³' | 'µ' | '·' | '×' | '÷' | '\u{391}'..='\u{3c9}')
}

#[cfg(test)]
mod tests;
