//! What a file is, and whether it is whole: by its bytes, never by its name.

pub(super) mod pdf;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::rules::{self, Rule};

/// The largest file that a mapping takes unless it says otherwise, in bytes.
pub(super) const MAX_BYTES: usize = 20 << 20;
/// The most that a mapping may allow, in bytes: a file is held in memory more than once.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// Sources pad, or don't.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The bytes that a text stands for: base64, possibly broken into lines, possibly as a `data:` URL.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = match text.strip_prefix("data:") {
        Some(url) => url.split_once(";base64,")?.1,
        None => text,
    };
    let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    LENIENT.decode(plain).ok()
}

/// The media type of some bytes; `None` where they begin like nothing that belongs to a report.
pub(super) fn sniff(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(1024)];
    let starts = |magic: &[u8]| bytes.starts_with(magic);
    Some(match () {
        () if find(head, b"%PDF-").is_some() => "application/pdf",
        () if starts(&[0xff, 0xd8, 0xff]) => "image/jpeg",
        () if starts(b"\x89PNG\r\n\x1a\n") => "image/png",
        () if starts(b"GIF87a") || starts(b"GIF89a") => "image/gif",
        () if starts(b"BM") && bytes.len() > 26 && bytes[6..10] == [0; 4] => "image/bmp",
        () if starts(b"II*\0") || starts(b"MM\0*") => "image/tiff",
        () if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => "image/webp",
        () if bytes.get(128..132) == Some(b"DICM") => "application/dicom",
        () => return markup(head),
    })
}

fn markup(head: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)).to_ascii_lowercase();
    let text = text.trim_start();
    let page = ["<!doctype html", "<html", "<head", "<body", "<script", "<title", "<h1"];
    if page.iter().any(|tag| text.starts_with(tag)) || (text.starts_with('<') && text.contains("<html")) {
        return Some("text/html");
    }
    text.starts_with("<?xml").then_some("application/xml")
}

/// Whether a source's word for a media type says something that the bytes can't be asked.
pub(super) fn is_beyond_sniffing(declared: &str) -> bool {
    const SNIFFED: [&str; 11] = [
        "application/pdf",
        "image/jpeg",
        "image/jpg",
        "image/png",
        "image/gif",
        "image/bmp",
        "image/tiff",
        "image/webp",
        "application/dicom",
        "application/xml",
        "text/html",
    ];
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    declared.split_once('/').is_some_and(|(kind, sub)| word(kind) && word(sub)) && !SNIFFED.contains(&declared)
}

/// Whether a source's word (`image/jpg`, `PDF`, `.pdf`, `1.pdf`) may mean a media type.
pub(super) fn means(declared: &str, media_type: &str) -> bool {
    let word = declared.trim().to_ascii_lowercase();
    if word == media_type {
        return true;
    }
    let ending = word.rsplit(['.', '/']).next().unwrap_or_default();
    let ending = ending.strip_prefix("x-").unwrap_or(ending);
    match media_type {
        "application/pdf" => ending == "pdf",
        "image/jpeg" => matches!(ending, "jpg" | "jpeg" | "pjpeg" | "jpe"),
        "image/tiff" => matches!(ending, "tif" | "tiff"),
        "image/bmp" => matches!(ending, "bmp" | "ms-bmp"),
        "application/dicom" => matches!(ending, "dcm" | "dicom"),
        "application/xml" => ending == "xml",
        other => other.rsplit('/').next() == Some(ending),
    }
}

/// What is wrong with bytes of a media type, where that can be seen without reading all of them.
pub(super) fn fault(bytes: &[u8], media_type: &str) -> Option<(&'static Rule, &'static str)> {
    let tail = |length: usize| &bytes[bytes.len().saturating_sub(length)..];
    let whole = match media_type {
        "text/html" => return Some((&rules::ATTACHMENT_ERROR_PAGE, "the bytes are a web page")),
        "application/pdf" => find(tail(2048), b"%%EOF").is_some(),
        // Cameras and scanners append their own data behind the end.
        "image/jpeg" => find(tail(64 * 1024), &[0xff, 0xd9]).is_some(),
        "image/png" => find(tail(4096), b"IEND\xaeB`\x82").is_some(),
        "image/gif" => tail(16).contains(&0x3b),
        "image/bmp" => stated(bytes, 2) <= bytes.len(),
        "image/webp" => stated(bytes, 4).saturating_add(8) <= bytes.len(),
        "application/xml" => bytes.trim_ascii_end().last() == Some(&b'>'),
        _ => true,
    };
    (!whole).then_some((&rules::ATTACHMENT_TRUNCATED, "the mark of its end is missing"))
}

/// The length that a header states, four bytes little-endian.
fn stated(bytes: &[u8], at: usize) -> usize {
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    four.map_or(usize::MAX, |four| u32::from_le_bytes(four) as usize)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What stands before an exam number on a printed report.
const LABELS: [&str; 6] = ["体检号", "体检编号", "体检号码", "体检登记号", "登记流水号", "登记号"];

/// Whether a printed report speaks of another exam number than its own: one behind a label that is
/// another, or, where its own is nowhere, one that differs from it only in the last places.
pub(super) fn shows_other_number(text: &str, own: &str) -> bool {
    let own = own.trim();
    if own.len() < 4 {
        return false;
    }
    let part_of_number = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let mut labelled = Vec::new();
    for label in LABELS {
        for (at, _) in text.match_indices(label) {
            let rest =
                text[at + label.len()..].trim_start_matches(|c: char| c.is_whitespace() || ":：.码为".contains(c));
            let number: String = rest.chars().take_while(|c| part_of_number(*c)).collect();
            // Behind a label in a table's head a date may stand.
            let alike = number.contains('-') == own.contains('-');
            if alike && number.len() >= 4 && number.bytes().any(|b| b.is_ascii_digit()) {
                labelled.push(number);
            }
        }
    }
    // A report may print the number of the visit before, beside its own.
    if text.split(|c| !part_of_number(c)).any(|word| word == own) || labelled.iter().any(|number| number == own) {
        return false;
    }
    if !labelled.is_empty() {
        return true;
    }
    if own.len() < 8 || !own.is_ascii() {
        return false;
    }
    let stem = &own[..own.len() - 4];
    text.split(|c| !part_of_number(c)).any(|word| word.len() == own.len() && word.starts_with(stem))
}

#[cfg(test)]
mod tests;
