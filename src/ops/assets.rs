//! The status page's files, in the program: no build step, no other server.

use std::io::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// The scripts in the order in which they run; served as one.
const SCRIPTS: [&str; 18] = [
    include_str!("web/words.js"),
    include_str!("web/words.zh.js"),
    include_str!("web/words.codes.js"),
    include_str!("web/words.en.js"),
    include_str!("web/tools.js"),
    include_str!("web/access.js"),
    include_str!("web/form.js"),
    include_str!("web/chart.js"),
    include_str!("web/overview.js"),
    include_str!("web/streams.js"),
    include_str!("web/held.js"),
    include_str!("web/codes.js"),
    include_str!("web/records.js"),
    include_str!("web/alerts.js"),
    include_str!("web/watch.js"),
    include_str!("web/live.js"),
    include_str!("web/config.js"),
    include_str!("web/page.js"),
];

/// The styles; served as one. What holds for a phone comes last.
const STYLES: [&str; 3] = [include_str!("web/page.css"), include_str!("web/parts.css"), include_str!("web/phone.css")];

static PAGE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/html; charset=utf-8", include_str!("web/page.html").as_bytes()));
static STYLE: LazyLock<Asset> = LazyLock::new(|| Asset::new("text/css; charset=utf-8", STYLES.concat().as_bytes()));
static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("text/javascript; charset=utf-8", SCRIPTS.concat().as_bytes()));

/// A file as it is sent.
struct Asset {
    media_type: &'static str,
    plain: Bytes,
    packed: Bytes,
    /// Changes with the content: a page that is loaded again is not sent again.
    tag: String,
}

impl Asset {
    fn new(media_type: &'static str, plain: &[u8]) -> Asset {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        // Writing into memory does not fail; if it did, the plain file serves.
        let packed = encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap_or_default();
        let tag = format!("\"{}\"", hex::encode(&Sha256::digest(plain)[..8]));
        Asset { media_type, plain: Bytes::copy_from_slice(plain), packed: packed.into(), tag }
    }

    fn answer(&self, asked: &HeaderMap) -> Response {
        let says = |name: HeaderName, word: &str| {
            asked.get(name).and_then(|value| value.to_str().ok()).is_some_and(|text| text.contains(word))
        };
        let head = [
            (header::CONTENT_TYPE, self.media_type),
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "accept-encoding"),
            (header::ETAG, self.tag.as_str()),
        ];
        if says(header::IF_NONE_MATCH, &self.tag) {
            return (StatusCode::NOT_MODIFIED, head).into_response();
        }
        if says(header::ACCEPT_ENCODING, "gzip") && !self.packed.is_empty() {
            return (head, [(header::CONTENT_ENCODING, "gzip")], self.packed.clone()).into_response();
        }
        (head, self.plain.clone()).into_response()
    }
}

/// The page and its files.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { PAGE.answer(&headers) }))
        .route("/page.css", get(|headers: HeaderMap| async move { STYLE.answer(&headers) }))
        .route("/page.js", get(|headers: HeaderMap| async move { SCRIPT.answer(&headers) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking<'c>(words: &str, codes: impl Iterator<Item = &'c str>) -> Vec<&'c str> {
        let lacks = |code: &&str| !words.contains(&format!("{code}: ")) && !words.contains(&format!("\"{code}\": "));
        codes.filter(lacks).collect()
    }

    #[test]
    fn the_page_has_chinese_words_for_every_rule() {
        let words = include_str!("web/words.codes.js");
        let missing = lacking(words, crate::mapping::rules::all().iter().map(|rule| rule.code));
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn both_languages_have_the_same_words() {
        let names = |text: &'static str| {
            let name = |line: &'static str| {
                let line = line.strip_prefix("    ").filter(|line| !line.starts_with(' '))?;
                line.split_once(": ").map(|(name, _)| name.trim_matches('"'))
            };
            let words = text.split("\n};").next().unwrap();
            words.lines().filter_map(name).collect::<std::collections::BTreeSet<_>>()
        };
        let (zh, en) = (names(include_str!("web/words.zh.js")), names(include_str!("web/words.en.js")));
        let differ: Vec<_> = zh.symmetric_difference(&en).collect();
        assert!(differ.is_empty() && zh.len() > 100, "{differ:?}");
    }

    #[test]
    fn a_page_that_is_known_is_not_sent_again_and_old_browsers_get_it_plain() {
        let mut asked = HeaderMap::new();
        assert!(STYLE.answer(&asked).headers().get(header::CONTENT_ENCODING).is_none());
        asked.insert(header::ACCEPT_ENCODING, "gzip, deflate".parse().unwrap());
        assert_eq!(STYLE.answer(&asked).headers()[header::CONTENT_ENCODING], "gzip");
        asked.insert(header::IF_NONE_MATCH, STYLE.tag.parse().unwrap());
        assert_eq!(STYLE.answer(&asked).status(), StatusCode::NOT_MODIFIED);
    }
}
