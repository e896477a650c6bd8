use reqwest::header::HeaderValue;

use super::*;

#[test]
fn waits_are_seconds_or_a_date_on_the_servers_own_clock() {
    let date = httpdate::parse_http_date("Sun, 22 Nov 2026 08:00:00 GMT").map(DateTime::<Utc>::from).ok();
    assert_eq!(wait_of(" 7 ", None), Some(Duration::from_secs(7)));
    assert_eq!(wait_of("Sun, 22 Nov 2026 08:01:30 GMT", date), Some(Duration::from_secs(90)));
    assert_eq!(wait_of("Sun, 22 Nov 2026 07:00:00 GMT", date), None);
    assert_eq!(wait_of("99999999999", None), Some(LONGEST_WAIT));
    assert_eq!(wait_of("soon", date), None);
}

#[test]
fn the_next_link_is_found_among_others() {
    let base = Url::parse("http://lab/api/list?page=1").unwrap();
    let next = |value: &'static str| {
        let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(value))]);
        next_link(&headers, &base).map(String::from)
    };
    assert_eq!(next("<?page=9>; rel=last, <?page=2>; rel=\"next\"").as_deref(), Some("http://lab/api/list?page=2"));
    assert_eq!(next("</a,b>; title=\"x\"; REL=\"prev next\"").as_deref(), Some("http://lab/a,b"));
    assert_eq!(next("<?page=1>; rel=\"prev\""), None);
    assert_eq!(next("nonsense"), None);
}

#[test]
fn web_pages_and_character_sets_are_seen() {
    let reply = |body: &'static str, kind: &str| Reply {
        status: 200,
        content_type: Some(kind.to_owned()),
        body: Bytes::from(body),
        date: None,
        server: None,
        next: None,
        retry_after: None,
    };
    assert!(reply("\u{feff}\n <!doctype HTML PUBLIC>", "text/xml").is_web_page());
    assert!(!reply("{\"a\":\"<html>\"}", "text/html").is_web_page());
    assert_eq!(reply("", "text/xml; Charset=\"GBK\"").charset(), Some("GBK"));
    assert_eq!(reply("", "text/xml").charset(), None);
}
