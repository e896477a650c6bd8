//! What an answer means: the contract's table, as a pure function.
//!
//! No status ever drops an event. Where the contract is silent, the choice is the one that keeps
//! the event: see `docs/contract.md`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::retry::retry_after;

/// Upstream's words are kept up to so many characters.
const MESSAGE_MAX_CHARS: usize = 500;
/// Upstream's codes are kept up to so many characters.
const CODE_MAX_CHARS: usize = 64;

/// What came back for one request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// An answer with a status.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The `Retry-After` header.
        retry_after: Option<String>,
        /// The body; `None` where it could not be read to its end, or is too large.
        body: Option<Vec<u8>>,
    },
    /// No answer.
    Failed(Failure),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection did not come about: nothing was sent.
    Unreachable,
    /// Certificates or protocol versions don't fit.
    Tls {
        /// Whether the request may have left.
        sent: bool,
    },
    /// No answer in time: whether the request was applied is unknown.
    Timeout,
    /// The connection broke: whether the request was applied is unknown.
    ConnectionLost,
    /// The request could not be made: a secret can't be read.
    NotMade,
}

/// What an answer means for the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// One receipt per event, in the batch's order.
    Receipts(Vec<EventReceipt>),
    /// One of the events is at fault: halve the batch; a single event is held.
    Split {
        /// The code to hold a single event with.
        code: String,
        /// Upstream's words.
        message: String,
    },
    /// The same batch again, later.
    Retry {
        /// A stable word.
        code: String,
        /// Whether the request may have reached upstream.
        sent: bool,
        /// How long upstream asks to wait.
        after: Option<Duration>,
        /// Whether upstream asks this of everything, not of this batch alone.
        everything: bool,
    },
    /// The configuration is at fault: nothing else would be answered otherwise.
    Misconfigured {
        /// A stable word.
        code: String,
        /// Whether the request may have reached upstream.
        sent: bool,
    },
}

/// What upstream said of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventReceipt {
    /// `accepted` or `duplicate`.
    Delivered(&'static str),
    /// `rejected`.
    Rejected {
        /// Upstream's code.
        code: String,
        /// Upstream's words.
        message: String,
    },
    /// `retry`, not named, or named in a way that can't be understood.
    Retry {
        /// A stable word.
        code: String,
    },
}

/// Reads the answer to a batch of events.
pub(super) fn classify(reply: &Reply, events: &[Uuid], now: DateTime<Utc>) -> Answer {
    let (status, header, body) = match reply {
        Reply::Failed(failure) => return classify_failure(*failure),
        Reply::Answered { status, retry_after, body } => (*status, retry_after.as_deref(), body.as_deref()),
    };
    let after = header.and_then(|text| retry_after(text, now));
    let code = format!("http-{status}");
    let later = |everything: bool| Answer::Retry { code: code.clone(), sent: true, after, everything };
    match status {
        200..=299 => classify_success(status, body, events, after),
        400 | 422 => {
            let (word, message) = words_of(body);
            Answer::Split { code: word.unwrap_or(code), message }
        }
        413 => Answer::Split { code: "too-large".to_owned(), message: words_of(body).1 },
        429 | 503 => later(after.is_some()),
        408 | 425 | 500..=599 => later(false),
        // 401, 403, 404, 405 and 3xx as the contract says. A status that it does not name (409, 415,
        // 418, 451 …) would be the same the next time: a person must look, and nothing is lost.
        _ => Answer::Misconfigured { code, sent: true },
    }
}

fn classify_failure(failure: Failure) -> Answer {
    let retry = |code: &str, sent| Answer::Retry { code: code.to_owned(), sent, after: None, everything: false };
    let fault = |code: &str, sent| Answer::Misconfigured { code: code.to_owned(), sent };
    match failure {
        Failure::Unreachable => retry("unreachable", false),
        Failure::Timeout => retry("timeout", true),
        Failure::ConnectionLost => retry("connection-lost", true),
        Failure::Tls { sent } => fault("tls-failed", sent),
        Failure::NotMade => fault("request-not-made", false),
    }
}

fn classify_success(status: u16, body: Option<&[u8]>, events: &[Uuid], after: Option<Duration>) -> Answer {
    if body == Some(&[]) && matches!(status, 200 | 202 | 204) {
        return Answer::Receipts(vec![EventReceipt::Delivered("accepted"); events.len()]);
    }
    match body.and_then(read_receipts) {
        Some(named) => Answer::Receipts(events.iter().map(|id| receipt_of(named.get(id))).collect()),
        None => Answer::Retry { code: "receipt-unreadable".to_owned(), sent: true, after, everything: false },
    }
}

/// The receipts by event, `None` where the body is none of ours. A single element that can't be
/// understood spoils its own event only.
fn read_receipts(body: &[u8]) -> Option<HashMap<Uuid, Vec<EventReceipt>>> {
    usual_receipts(body).or_else(|| any_receipts(body))
}

/// What [`any_receipts`] reads where every element is written as the contract has it; `None` for any other body.
fn usual_receipts(body: &[u8]) -> Option<HashMap<Uuid, Vec<EventReceipt>>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        results: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct One<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
        #[serde(borrow)]
        status: Cow<'a, str>,
    }
    // A struct may also be read from a list, which is none of ours.
    let object = |text: &[u8]| text.first() == Some(&b'{');
    if !object(body) {
        return None;
    }
    let answer: Answer<'_> = serde_json::from_slice(body).ok()?;
    let mut named = HashMap::with_capacity(answer.results.len());
    for one in answer.results.into_iter().map(RawValue::get) {
        if !object(one.as_bytes()) {
            return None;
        }
        let one: One<'_> = serde_json::from_str(one).ok()?;
        let status = match &*one.status {
            "accepted" => "accepted",
            "duplicate" => "duplicate",
            _ => return None,
        };
        let id = Uuid::try_parse(&one.id).ok()?;
        if named.insert(id, vec![EventReceipt::Delivered(status)]).is_some() {
            return None;
        }
    }
    Some(named)
}

fn any_receipts(body: &[u8]) -> Option<HashMap<Uuid, Vec<EventReceipt>>> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let mut named: HashMap<Uuid, Vec<EventReceipt>> = HashMap::new();
    for result in json.get("results")?.as_array()? {
        if let Some(id) = result.get("id").and_then(Json::as_str).and_then(|id| Uuid::try_parse(id).ok()) {
            named.entry(id).or_default().push(read_receipt(result));
        }
    }
    Some(named)
}

fn read_receipt(result: &Json) -> EventReceipt {
    let code = result.get("code").and_then(Json::as_str).and_then(as_code);
    match result.get("status").and_then(Json::as_str) {
        Some("accepted") => EventReceipt::Delivered("accepted"),
        Some("duplicate") => EventReceipt::Delivered("duplicate"),
        Some("rejected") => EventReceipt::Rejected {
            code: code.unwrap_or_else(|| "rejected".to_owned()),
            message: result.get("message").and_then(Json::as_str).map(shorten).unwrap_or_default(),
        },
        Some("retry") => EventReceipt::Retry { code: code.unwrap_or_else(|| "retry".to_owned()) },
        _ => EventReceipt::Retry { code: "receipt-unknown-status".to_owned() },
    }
}

fn receipt_of(named: Option<&Vec<EventReceipt>>) -> EventReceipt {
    let retry = |code: &str| EventReceipt::Retry { code: code.to_owned() };
    match named.map(Vec::as_slice) {
        None | Some([]) => retry("receipt-missing"),
        Some([first, rest @ ..]) if rest.iter().all(|other| other == first) => first.clone(),
        Some(_) => retry("receipt-contradictory"),
    }
}

/// The code and the words of an error body: `{"code","message"}`, a problem document, or one receipt.
pub(super) fn words_of(body: Option<&[u8]>) -> (Option<String>, String) {
    let Some(body) = body else { return (None, String::new()) };
    let Ok(json) = serde_json::from_slice::<Json>(body) else {
        return (None, shorten(&String::from_utf8_lossy(body)));
    };
    let source = match json.get("results").and_then(Json::as_array).map(Vec::as_slice) {
        Some([only]) => only,
        _ => &json,
    };
    let text = |key| source.get(key).and_then(Json::as_str);
    let message = text("message").or(text("detail")).or(text("title")).map(shorten).unwrap_or_default();
    (text("code").and_then(as_code), message)
}

/// A code is a short word of printable ASCII, or none at all: it ends up in metrics and listings.
fn as_code(text: &str) -> Option<String> {
    let fine = !text.is_empty() && text.len() <= CODE_MAX_CHARS && text.bytes().all(|byte| byte.is_ascii_graphic());
    fine.then(|| text.to_owned())
}

fn shorten(text: &str) -> String {
    text.chars().take(MESSAGE_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests;
