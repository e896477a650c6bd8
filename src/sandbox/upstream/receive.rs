//! The contract's requests.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path as UrlPath, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::cut::Scissors;
use super::faults::{Change, Fault, Target, When};
use super::ledger::{Line, Verdict};
use super::validate::files_of;
use super::{BODY_MAX_BYTES, Error, Shared, lock};
use crate::delivery::heartbeat::Heartbeat;
use crate::delivery::receipt::{Receipt, ReceiptStatus, Receipts};
use crate::delivery::signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::delivery::{BAGGAGE_HEADER, BATCH_MEDIA_TYPE, LANE_HEADER};

/// A request that is refused as a whole.
#[derive(Debug)]
pub(super) struct Refused(StatusCode, &'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({ "code": self.1, "message": self.2 }))).into_response()
    }
}

pub(super) async fn events(
    State(state): State<Shared>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = strike(&state, Target::Events).await;
    let batch = state.admit(&headers, &body, BATCH_MEDIA_TYPE).and_then(|plain| {
        serde_json::from_slice::<Vec<Json>>(&plain)
            .map_err(|_| Refused(StatusCode::BAD_REQUEST, "not-a-batch", "the body is no JSON array".to_owned()))
    });
    let batch = batch.and_then(|batch| lanes_agree(&headers, &batch).map(|()| batch));
    let batch = match batch {
        Ok(batch) => batch,
        Err(refused) => return refused.into_response(),
    };
    let id = header(&headers, ID_HEADER).unwrap_or_default().to_owned();
    let before = fault.as_ref().is_some_and(|fault| fault.when == When::Before && is_total(fault));
    let task = {
        let (state, fault) = (state.clone(), fault.clone());
        // Blocking, because it ends with an fsync.
        tokio::task::spawn_blocking(move || state.take(&id, batch, fault.as_ref(), before)).await
    };
    let receipts = match task {
        Ok(Ok(receipts)) => receipts,
        Ok(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the sandbox can't keep what it received");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        Err(_) => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    };
    state.0.received.send_modify(|count| *count += 1);
    fault.and_then(|fault| disturb(&fault, &scissors)).unwrap_or_else(|| axum::Json(receipts).into_response())
}

/// Whoever routes by the headers must come to the same end as whoever reads the events.
fn lanes_agree(headers: &HeaderMap, batch: &[Json]) -> Result<(), Refused> {
    let lane = header(headers, LANE_HEADER);
    // Others may have put something of theirs beside it.
    let baggage = header(headers, BAGGAGE_HEADER).into_iter().flat_map(|list| list.split(','));
    let baggage = baggage.map(str::trim).find(|member| member.starts_with("lane="));
    let expected = lane.map(|lane| format!("lane={lane}"));
    if baggage != expected.as_deref() || batch.iter().any(|event| event["lane"].as_str() != lane) {
        let text = "the routing label of the headers is not that of each event".to_owned();
        return Err(Refused(StatusCode::BAD_REQUEST, "lane-differs", text));
    }
    Ok(())
}

pub(super) async fn heartbeat(
    State(state): State<Shared>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = strike(&state, Target::Heartbeats).await;
    let read = state.admit(&headers, &body, "application/json").and_then(|plain| {
        serde_json::from_slice::<Heartbeat>(&plain)
            .map_err(|_| Refused(StatusCode::BAD_REQUEST, "heartbeat", "the body is no heartbeat".to_owned()))
    });
    let beat = match read {
        Ok(beat) => beat,
        Err(refused) => return refused.into_response(),
    };
    if !fault.as_ref().is_some_and(|fault| fault.when == When::Before && is_total(fault)) {
        let shown = json!({ "received_at": state.0.clock.now(), "heartbeat": beat });
        lock(&state.0.heartbeats).insert(beat.hospital, shown);
        state.0.received.send_modify(|count| *count += 1);
    }
    fault.and_then(|fault| disturb(&fault, &scissors)).unwrap_or_else(|| StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn attachment(
    State(state): State<Shared>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    UrlPath(sha256): UrlPath<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = strike(&state, Target::Attachments).await;
    let plain = match state.verified(&headers, &body) {
        Ok(plain) => plain,
        Err(refused) => return refused.into_response(),
    };
    if hex::encode(Sha256::digest(&plain)) != sha256 {
        let message = "the address is not the SHA-256 of the body".to_owned();
        return Refused(StatusCode::UNPROCESSABLE_ENTITY, "digest", message).into_response();
    }
    let mut answer = StatusCode::CREATED;
    if !fault.as_ref().is_some_and(|fault| fault.when == When::Before && is_total(fault)) {
        if lock(&state.0.attachments).contains_key(&sha256) {
            answer = StatusCode::CONFLICT;
        } else {
            let (dir, name, size) = (state.0.dir.clone(), sha256.clone(), plain.len());
            let kept = tokio::task::spawn_blocking(move || keep(dir.as_deref(), &name, &plain)).await;
            if !matches!(kept, Ok(Ok(()))) {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            lock(&state.0.attachments).insert(sha256, size);
            state.0.received.send_modify(|count| *count += 1);
        }
    }
    fault.and_then(|fault| disturb(&fault, &scissors)).unwrap_or_else(|| answer.into_response())
}

/// The attachments that the folder holds, with their sizes in bytes.
pub(super) fn stored_attachments(dir: Option<&Path>) -> Result<BTreeMap<String, usize>, Error> {
    let mut found = BTreeMap::new();
    let Some(folder) = dir.map(|dir| dir.join("attachments")).filter(|folder| folder.is_dir()) else {
        return Ok(found);
    };
    let failed = |cause| Error::Disk { path: folder.clone(), cause };
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.len() == 64 {
            let size = entry.metadata().map_err(failed)?.len();
            found.insert(name, usize::try_from(size).unwrap_or(usize::MAX));
        }
    }
    Ok(found)
}

/// Writes a file whole or not at all.
fn keep(dir: Option<&Path>, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let Some(folder) = dir.map(|dir| dir.join("attachments")) else { return Ok(()) };
    std::fs::create_dir_all(&folder)?;
    let half = folder.join(format!("{name}.part"));
    let mut file = std::fs::File::create(&half)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&half, folder.join(name))?;
    std::fs::File::open(&folder)?.sync_all()
}

impl Shared {
    /// Verifies who sent this and what it is; gives the body as it was before compression.
    pub(super) fn admit(&self, headers: &HeaderMap, body: &Bytes, media_type: &str) -> Result<Bytes, Refused> {
        let given = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default().trim();
        if !given.eq_ignore_ascii_case(media_type) {
            let message = format!("the content type is not {media_type}");
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", message));
        }
        self.verified(headers, body)
    }

    fn verified(&self, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, Refused> {
        let plain = decompress(header(headers, CONTENT_ENCODING.as_str()), body)?;
        if let Some(keys) = &self.0.keys {
            let get = |name| header(headers, name);
            let now = self.0.clock.now();
            keys.verify(get(ID_HEADER), get(TIMESTAMP_HEADER), get(SIGNATURE_HEADER), &plain, now)
                .map_err(|error| Refused(StatusCode::UNAUTHORIZED, "signature", error.to_string()))?;
        }
        Ok(plain)
    }

    /// Whether an event names a file that has not been received.
    fn lacks_files(&self, event: &Json) -> bool {
        let stored = lock(&self.0.attachments);
        files_of(event).any(|sha256| !stored.contains_key(sha256))
    }

    /// Judges a batch and keeps it, with fsync, before anything is answered.
    fn take(&self, id: &str, batch: Vec<Json>, fault: Option<&Fault>, before: bool) -> Result<Receipts, Error> {
        let mut ledger = lock(&self.0.ledger);
        let (first, received_at) = (ledger.next_number(), self.0.clock.now());
        let mut lines: Vec<Line> = Vec::with_capacity(batch.len());
        let mut results = Vec::with_capacity(batch.len());
        for (place, event) in batch.into_iter().enumerate() {
            let change = fault.and_then(|fault| fault.receipts.as_ref());
            let change = change.filter(|partial| (place + 1).is_multiple_of(partial.every.max(1)));
            let (status, verdict) = match change.map(|partial| partial.change) {
                Some(Change::Retry) => (ReceiptStatus::Retry, Verdict::because("fault", "told to")),
                Some(Change::Reject) => (ReceiptStatus::Rejected, Verdict::because("fault", "told to")),
                Some(Change::Omit) | None => ledger.judge(&lines, &self.0.validator, &event),
            };
            let (status, verdict) = match status {
                ReceiptStatus::Accepted if self.lacks_files(&event) => {
                    let message = "it names a file that is not here";
                    (ReceiptStatus::Retry, Verdict::because("attachment-unknown", message))
                }
                status => (status, verdict),
            };
            let event_id = event.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
            lines.push(Line {
                number: first + place as u64,
                received_at,
                batch_id: id.to_owned(),
                status: if before { "fault" } else { status.as_str() }.to_owned(),
                code: verdict.code.clone(),
                applied: status == ReceiptStatus::Accepted && !before,
                event,
            });
            if change.is_none_or(|partial| partial.change != Change::Omit) {
                results.push(verdict.receipt(event_id, status));
            }
        }
        ledger.append(lines)?;
        Ok(Receipts { results: results.into_iter().filter(|receipt: &Receipt| !receipt.id.is_empty()).collect() })
    }
}

/// The fault that strikes this request, after its delay.
pub(super) async fn strike(state: &Shared, target: Target) -> Option<Fault> {
    let fault = lock(&state.0.faults).strike(target)?;
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    Some(fault)
}

/// Whether a fault takes the place of the answer.
fn is_total(fault: &Fault) -> bool {
    fault.cut || fault.garbage || fault.status.is_some()
}

/// What a fault makes of the answer; `None` where it leaves it alone.
pub(super) fn disturb(fault: &Fault, scissors: &Scissors) -> Option<Response> {
    if fault.cut {
        scissors.cut();
        return Some(StatusCode::OK.into_response());
    }
    if fault.garbage {
        return Some(axum::response::Html("<html><body>Welcome to the guest network</body></html>").into_response());
    }
    let status = StatusCode::from_u16(fault.status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, fault.body.clone()).into_response();
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    Some(response)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Undoes the compression, never to more than the limit: a small body can hold a large one.
fn decompress(encoding: Option<&str>, body: &Bytes) -> Result<Bytes, Refused> {
    let reader: Box<dyn Read> = match encoding.map(str::trim) {
        None | Some("" | "identity") => return Ok(body.clone()),
        Some("gzip") => Box::new(flate2::read::MultiGzDecoder::new(&body[..])),
        Some("zstd") => match zstd::stream::read::Decoder::new(&body[..]) {
            Ok(decoder) => Box::new(decoder),
            Err(_) => return Err(Refused(StatusCode::BAD_REQUEST, "content-encoding", "zstd".to_owned())),
        },
        Some(_) => {
            let message = "only gzip and zstd are understood".to_owned();
            return Err(Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", message));
        }
    };
    let mut plain = Vec::new();
    let limit = BODY_MAX_BYTES as u64;
    reader.take(limit + 1).read_to_end(&mut plain).map_err(|_| {
        Refused(StatusCode::BAD_REQUEST, "content-encoding", "the body can't be decompressed".to_owned())
    })?;
    if plain.len() > BODY_MAX_BYTES {
        let message = "the body is too large".to_owned();
        return Err(Refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message));
    }
    Ok(plain.into())
}
