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

/// True where the bytes are UTF-8 that contains a Chinese character.
///
/// Text of another multi-byte character set practically never looks like that, while UTF-8 often
/// decodes without an error as GB 18030, into other, plausible characters. Whoever decodes as
/// something else asks this first.
pub fn looks_like_chinese_utf8(bytes: &[u8]) -> bool {
    !bytes.is_ascii()
        && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c)))
}

#[cfg(test)]
mod tests;
