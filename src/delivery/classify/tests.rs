use serde_json::json;

use super::*;

const A: Uuid = Uuid::from_u128(0xa);
const B: Uuid = Uuid::from_u128(0xb);
const C: Uuid = Uuid::from_u128(0xc);

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2026-03-01T08:00:00Z").unwrap().to_utc()
}

fn answered(status: u16, retry_after: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
    let reply = Reply::Answered { status, retry_after: retry_after.map(str::to_owned), body: Some(body.into()) };
    classify(&reply, &[A, B], now())
}

fn receipts(results: Json) -> Answer {
    answered(200, None, json!({ "results": results }).to_string())
}

fn delivered() -> EventReceipt {
    EventReceipt::Delivered("accepted")
}

fn again(code: &str) -> EventReceipt {
    EventReceipt::Retry { code: code.to_owned() }
}

fn retry(code: &str, after: Option<u64>, everything: bool) -> Answer {
    Answer::Retry { code: code.to_owned(), sent: true, after: after.map(Duration::from_secs), everything }
}

#[test]
fn receipts_say_what_became_of_each_event() {
    let answer = receipts(json!([
        { "id": A.to_string(), "status": "duplicate" },
        { "id": B.to_string(), "status": "rejected", "code": "unknown-package", "message": "no such package" },
    ]));
    let rejected = EventReceipt::Rejected { code: "unknown-package".into(), message: "no such package".into() };
    assert_eq!(answer, Answer::Receipts(vec![EventReceipt::Delivered("duplicate"), rejected]));
    let answer = receipts(
        json!([{ "id": A.to_string(), "status": "accepted" }, { "id": B.to_string(), "status": "retry", "code": "busy" }]),
    );
    assert_eq!(answer, Answer::Receipts(vec![delivered(), again("busy")]));
}

#[test]
fn an_event_that_is_not_named_is_sent_again() {
    assert_eq!(receipts(json!([])), Answer::Receipts(vec![again("receipt-missing"), again("receipt-missing")]));
    let answer = receipts(json!([{ "id": B.to_string(), "status": "accepted" }]));
    assert_eq!(answer, Answer::Receipts(vec![again("receipt-missing"), delivered()]));
}

#[test]
fn events_that_were_never_sent_and_unreadable_elements_change_nothing() {
    let answer = receipts(json!([
        { "id": C.to_string(), "status": "rejected" }, { "status": "accepted" }, 7, null,
        { "id": "nonsense", "status": "accepted" }, { "id": A.to_string(), "status": "accepted" },
    ]));
    assert_eq!(answer, Answer::Receipts(vec![delivered(), again("receipt-missing")]));
}

#[test]
fn words_that_are_not_understood_mean_again() {
    for status in [json!("ok"), json!("ACCEPTED"), json!(true), json!(1), json!(null)] {
        let answer =
            receipts(json!([{ "id": A.to_string(), "status": status }, { "id": B.to_string(), "status": "accepted" }]));
        assert_eq!(answer, Answer::Receipts(vec![again("receipt-unknown-status"), delivered()]), "{status}");
    }
}

#[test]
fn receipts_that_contradict_each_other_mean_again() {
    let answer = receipts(json!([
        { "id": A.to_string(), "status": "accepted" }, { "id": A.to_string(), "status": "rejected" },
        { "id": B.to_string(), "status": "accepted" }, { "id": B.to_string(), "status": "accepted" },
    ]));
    assert_eq!(answer, Answer::Receipts(vec![again("receipt-contradictory"), delivered()]));
}

#[test]
fn success_without_a_body_accepts_all() {
    for status in [200, 202, 204] {
        assert_eq!(answered(status, None, ""), Answer::Receipts(vec![delivered(), delivered()]), "{status}");
    }
}

#[test]
fn success_with_a_body_that_cannot_be_read_is_ambiguous() {
    let unreadable = retry("receipt-unreadable", None, false);
    for body in ["<html>welcome</html>", "{}", "[]", "true", "\"ok\"", r#"{"results":true}"#, r#"{"results":[{"#, " "] {
        for status in [200, 202, 207] {
            assert_eq!(answered(status, None, body), unreadable, "{status} {body}");
        }
    }
    assert_eq!(answered(201, None, ""), unreadable, "a success that the contract does not name proves nothing");
    let cut = Reply::Answered { status: 200, retry_after: None, body: None };
    assert_eq!(classify(&cut, &[A], now()), unreadable);
}

#[test]
fn any_success_with_receipts_is_read_by_them() {
    let body = json!({ "results": [{ "id": A.to_string(), "status": "rejected" }] }).to_string();
    let rejected = EventReceipt::Rejected { code: "rejected".into(), message: String::new() };
    assert_eq!(answered(202, None, body), Answer::Receipts(vec![rejected, again("receipt-missing")]));
}

#[test]
fn a_batch_that_is_refused_is_split() {
    let split = |code: &str, message: &str| Answer::Split { code: code.into(), message: message.into() };
    assert_eq!(answered(400, None, ""), split("http-400", ""));
    assert_eq!(answered(422, None, "no good"), split("http-422", "no good"));
    assert_eq!(answered(422, None, r#"{"code":"schema","message":"field x"}"#), split("schema", "field x"));
    assert_eq!(answered(400, None, r#"{"title":"Bad","detail":"worse"}"#), split("http-400", "worse"));
    assert_eq!(answered(400, None, r#"{"results":[{"code":"c1","message":"m"}]}"#), split("c1", "m"));
    assert_eq!(answered(413, None, r#"{"code":"x"}"#), split("too-large", ""));
    assert_eq!(answered(400, None, r#"{"code":"张三的报告"}"#), split("http-400", ""), "a code is a plain word");
}

#[test]
fn the_configurations_faults_open_the_breaker() {
    for status in [300, 301, 302, 303, 307, 308, 401, 403, 404, 405] {
        let fault = Answer::Misconfigured { code: format!("http-{status}"), sent: true };
        assert_eq!(answered(status, Some("5"), "whatever"), fault);
    }
    for sent in [false, true] {
        let answer = classify(&Reply::Failed(Failure::Tls { sent }), &[A], now());
        assert_eq!(answer, Answer::Misconfigured { code: "tls-failed".into(), sent });
    }
}

#[test]
fn a_status_that_the_contract_does_not_name_keeps_everything() {
    for status in [100, 402, 406, 407, 409, 410, 411, 415, 418, 421, 426, 428, 431, 451, 499, 600, 999] {
        let fault = Answer::Misconfigured { code: format!("http-{status}"), sent: true };
        assert_eq!(answered(status, None, ""), fault);
    }
}

#[test]
fn what_passes_by_itself_is_tried_again() {
    for status in [408, 425, 429, 500, 501, 502, 503, 504, 511, 599] {
        assert_eq!(answered(status, None, "x"), retry(&format!("http-{status}"), None, false));
        assert_eq!(answered(status, Some("soon"), "x"), retry(&format!("http-{status}"), None, false));
    }
    let failed = |failure| classify(&Reply::Failed(failure), &[A], now());
    assert_eq!(failed(Failure::Timeout), retry("timeout", None, false));
    assert_eq!(failed(Failure::ConnectionLost), retry("connection-lost", None, false));
    let unreachable = Answer::Retry { code: "unreachable".into(), sent: false, after: None, everything: false };
    assert_eq!(failed(Failure::Unreachable), unreachable);
}

#[test]
fn retry_after_holds_for_everything_where_upstream_is_overloaded() {
    assert_eq!(answered(503, Some("7"), ""), retry("http-503", Some(7), true));
    assert_eq!(answered(429, Some("Sun, 01 Mar 2026 08:01:00 GMT"), ""), retry("http-429", Some(60), true));
    assert_eq!(answered(500, Some("7"), ""), retry("http-500", Some(7), false));
    assert_eq!(answered(408, Some("7"), ""), retry("http-408", Some(7), false));
}

#[test]
fn what_is_read_the_short_way_is_what_is_read_the_long_way() {
    let (a, b) = (A.to_string(), B.to_string());
    let bodies = [
        json!({ "results": [{ "id": a, "status": "accepted" }, { "id": b, "status": "duplicate", "code": 7 }] }),
        json!({ "results": [{ "id": a, "status": "accepted", "more": [{}] }], "more": null }),
        json!({ "results": [[a, "accepted"], { "id": b, "status": "accepted" }] }),
        json!({ "results": [{ "id": a, "status": "accepted" }, { "id": a, "status": "duplicate" }] }),
        json!({ "results": [{ "id": a, "status": "rejected", "code": "x" }, { "id": b, "status": "accepted" }] }),
        json!([[{ "id": a, "status": "accepted" }]]),
        json!({ "results": {} }),
    ];
    for body in bodies.map(|body| body.to_string()) {
        for body in [body.clone(), format!(" {body}\n")] {
            let short = usual_receipts(body.as_bytes());
            assert!(short.is_none() || short == any_receipts(body.as_bytes()), "{body}");
        }
    }
}
