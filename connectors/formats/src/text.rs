//! The character set of a file or body, and its text.
//!
//! What counts, in this order: a byte order mark; what the text declares of itself (an XML
//! declaration, a `charset` of HTTP), unless the configuration is preferred; the configuration.

use std::borrow::Cow;

use connector_api::{DecodeFailure, Raw};
use encoding_rs::Encoding;

use crate::charset::{Charset, looks_like_utf8, may_be_misread_gbk};

/// Which character set counts when a text declares one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// The one that the text declares; the configured one where it declares none.
    #[default]
    Declared,
    /// The configured one, for senders whose declarations are wrong. A byte order mark counts
    /// all the same.
    Configured,
}

/// How the character set of a text is found. A byte order mark always counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextPolicy {
    /// The character set of texts that declare none.
    #[serde(default = "utf8")]
    pub default: Charset,
    /// What counts where a text declares one.
    #[serde(default)]
    pub prefer: Prefer,
}

fn utf8() -> Charset {
    Charset::Utf8
}

impl Default for TextPolicy {
    fn default() -> TextPolicy {
        TextPolicy { default: Charset::Utf8, prefer: Prefer::Declared }
    }
}

/// The byte order marks. One of them settles the character set.
const MARKS: [(&[u8], Charset); 4] = [
    (b"\xef\xbb\xbf", Charset::Utf8),
    (b"\xff\xfe", Charset::Utf16Le),
    (b"\xfe\xff", Charset::Utf16Be),
    (b"\x84\x31\x95\x33", Charset::Gb18030),
];

/// The byte order mark that the bytes begin with: its length, and what it says.
pub fn byte_order_mark(bytes: &[u8]) -> Option<(usize, Charset)> {
    MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)).map(|(mark, charset)| (mark.len(), *charset))
}

/// The bytes without a byte order mark of that character set.
pub fn without_mark(charset: Charset, bytes: &[u8]) -> &[u8] {
    match byte_order_mark(bytes) {
        Some((length, marked)) if same_family(marked, charset) => &bytes[length..],
        _ => bytes,
    }
}

fn same_family(a: Charset, b: Charset) -> bool {
    let family = |charset| if charset == Charset::Gbk { Charset::Gb18030 } else { charset };
    family(a) == family(b)
}

impl TextPolicy {
    /// The character set of a text that declares `declared`, by the name that it uses.
    ///
    /// Fails with `text-charset-unknown` where that name is not known, and with
    /// `text-charset-doubtful` where the bytes look like UTF-8 that would be misread, or like
    /// GB 18030 that would be misread as UTF-8, and nothing but the configuration speaks for it.
    pub fn choose(&self, declared: Option<&str>, bytes: &[u8]) -> Result<Charset, DecodeFailure> {
        if let Some((_, charset)) = byte_order_mark(bytes) {
            return Ok(charset);
        }
        match declared.filter(|_| self.prefer == Prefer::Declared) {
            Some(name) => {
                let charset = from_label(name).ok_or_else(|| {
                    DecodeFailure::new("text-charset-unknown", "a character set is declared that is not known")
                })?;
                doubt_utf8(charset, bytes)?;
                Ok(charset)
            }
            None => {
                doubt_utf8(self.default, bytes)?;
                if self.default == Charset::Utf8 && std::str::from_utf8(bytes).is_ok_and(may_be_misread_gbk) {
                    return Err(DecodeFailure::new(
                        "text-charset-doubtful",
                        "nothing but the configuration says that the bytes are utf-8, and they look like gb18030",
                    ));
                }
                Ok(self.default)
            }
        }
    }

    /// The character set of an archived body: the recorded one, else chosen anew.
    pub fn archived(&self, raw: &Raw, declared: Option<&str>) -> Result<Charset, DecodeFailure> {
        match &raw.charset {
            None => self.choose(declared, &raw.body),
            Some(name) => Charset::from_name(name)
                .ok_or_else(|| DecodeFailure::new("text-charset-unknown", "the archived character set is not known")),
        }
    }
}

fn doubt_utf8(charset: Charset, bytes: &[u8]) -> Result<(), DecodeFailure> {
    let multi_byte = matches!(charset, Charset::Gb18030 | Charset::Gbk | Charset::Big5);
    let single_byte = matches!(charset, Charset::Iso88591 | Charset::Windows1252);
    if (multi_byte || single_byte) && looks_like_utf8(bytes) {
        return Err(DecodeFailure::new(
            "text-charset-doubtful",
            format!("the bytes look like utf-8, and would be misread as {}", charset.name()),
        ));
    }
    Ok(())
}

/// Decodes all of the bytes under a chosen character set, without a byte order mark.
///
/// Fails with `text-charset` at the first byte that the character set does not define.
pub fn decode(charset: Charset, bytes: &[u8]) -> Result<Cow<'_, str>, DecodeFailure> {
    let content = without_mark(charset, bytes);
    let skipped = bytes.len() - content.len();
    charset.decode(content).map_err(|mut error| {
        error.offset += skipped;
        DecodeFailure::new("text-charset", error.to_string())
    })
}

/// The character set of a name as documents and HTTP headers write it: `GB2312`, `utf8`,
/// `ISO-8859-1`. `utf-16` without a byte order means the low byte first.
pub fn from_label(label: &str) -> Option<Charset> {
    let label = label.trim();
    if let Some(charset) = Charset::from_name(&label.to_ascii_lowercase()) {
        return Some(charset);
    }
    // In documents these names mean themselves, not the code page that browsers read for them.
    match label.to_ascii_lowercase().as_str() {
        "latin1" | "iso8859-1" | "iso_8859-1" => return Some(Charset::Iso88591),
        "ascii" => return Some(Charset::UsAscii),
        "cp936" | "ms936" | "936" => return Some(Charset::Gbk),
        _ => {}
    }
    Some(match Encoding::for_label(label.as_bytes())?.name() {
        "UTF-8" => Charset::Utf8,
        "gb18030" => Charset::Gb18030,
        "GBK" => Charset::Gbk,
        "Big5" => Charset::Big5,
        "windows-1252" => Charset::Windows1252,
        "UTF-16LE" => Charset::Utf16Le,
        "UTF-16BE" => Charset::Utf16Be,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
