//! Parts of a `multipart/form-data` body (RFC 7578), cut from bytes that lie in memory.
//!
//! The whole body is archived and cut anew whenever it is decoded, so the cut is a plain function.

use connector_api::DecodeFailure;
use mime::Mime;

/// More parts than any sender has reason for.
const MAX_PARTS: usize = 256;

/// One part.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// The form field's name.
    pub name: String,
    /// The file's name, where the part is a file.
    pub file_name: Option<String>,
    /// The content type, where the part states one that can be read.
    pub media_type: Option<Mime>,
    /// The content.
    pub bytes: &'a [u8],
}

/// Cuts a body at its boundary. A body that does not end with the closing boundary is cut off, and
/// so refused, with `multipart`.
pub fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<Part<'a>>, DecodeFailure> {
    let broken = |detail: &str| DecodeFailure::new("multipart", detail);
    let delimiter = format!("--{boundary}");
    let separator = format!("\r\n{delimiter}");
    // What precedes the first boundary means nothing.
    let start = if body.starts_with(delimiter.as_bytes()) {
        delimiter.len()
    } else {
        find(body, separator.as_bytes()).ok_or_else(|| broken("the boundary does not occur"))? + separator.len()
    };
    let mut rest = &body[start..];
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let line = find(rest, b"\r\n").ok_or_else(|| broken("the body ends in a boundary"))?;
        if !rest[..line].iter().all(|b| matches!(b, b' ' | b'\t')) {
            return Err(broken("a boundary is followed by other text"));
        }
        if parts.len() == MAX_PARTS {
            return Err(broken("more than 256 parts"));
        }
        rest = &rest[line + 2..];
        let end = find(rest, separator.as_bytes()).ok_or_else(|| broken("the body does not end with its boundary"))?;
        parts.push(part(&rest[..end])?);
        rest = &rest[end + separator.len()..];
    }
}

fn part(bytes: &[u8]) -> Result<Part<'_>, DecodeFailure> {
    let broken = |detail: &str| DecodeFailure::new("multipart", detail);
    let (head, bytes) = match bytes.strip_prefix(b"\r\n") {
        Some(bytes) => (&b""[..], bytes),
        None => {
            let end = find(bytes, b"\r\n\r\n").ok_or_else(|| broken("a part's head does not end"))?;
            (&bytes[..end], &bytes[end + 4..])
        }
    };
    let head = std::str::from_utf8(head).map_err(|_| broken("a part's head is not UTF-8"))?;
    let mut part = Part { name: String::new(), file_name: None, media_type: None, bytes };
    for line in head.split("\r\n") {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-disposition") {
            part.name = parameter(value, "name").ok_or_else(|| broken("a part has no name"))?;
            part.file_name = parameter(value, "filename");
        } else if name.eq_ignore_ascii_case("content-type") {
            part.media_type = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("content-transfer-encoding")
            && !["binary", "8bit", "7bit"].iter().any(|plain| value.trim().eq_ignore_ascii_case(plain))
        {
            return Err(broken("a part has a transfer encoding, which this kind of body does not allow"));
        }
    }
    if part.name.is_empty() { Err(broken("a part has no name")) } else { Ok(part) }
}

/// A parameter as browsers and libraries write it: quoted, `%22` for a quote, no other escapes.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (text, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (text, next) = quoted.split_once('"')?;
                (text, next.split_once(';').map_or("", |(_, next)| next))
            }
            None => after.split_once(';').unwrap_or((after, "")),
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text.trim().replace("%22", "\""));
        }
        rest = next;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::parts;

    const BODY: &str = "ignored\r\n--xx\r\nContent-Disposition: form-data; name=\"report\"\r\n\
        Content-Type: application/json\r\n\r\n{}\r\n--xx \r\ncontent-disposition: form-data; filename=\"a;b.pdf\"; \
        name=file\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n--x\r\n\r\n--xx--\r\n";

    #[test]
    fn a_body_is_cut_at_its_boundaries() {
        let parts = parts(BODY.as_bytes(), "xx").unwrap();
        let seen: Vec<_> = parts.iter().map(|part| (&*part.name, part.file_name.as_deref(), part.bytes)).collect();
        assert_eq!(seen, [("report", None, &b"{}"[..]), ("file", Some("a;b.pdf"), b"%PDF\r\n--x\r\n")]);
        assert_eq!(parts[0].media_type, Some(mime::APPLICATION_JSON));
    }

    #[test]
    fn a_body_that_is_cut_off_anywhere_is_refused() {
        let end = BODY.rfind("--\r\n").unwrap();
        for cut in 0..end {
            assert!(parts(&BODY.as_bytes()[..cut], "xx").is_err(), "{cut}");
        }
    }
}
