//! An upstream that takes everything, doing the least that the contract asks of one: it reads the
//! events' ids, puts the batch on stable storage with fsync, and answers a receipt for each event.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hisync::delivery::receipt::{Receipt, ReceiptStatus, Receipts};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::Failure;
use crate::helper::announce;

/// The file is written from its beginning again after so many bytes: nobody reads it.
const KEPT_BYTES: u64 = 64 << 20;

struct Sink {
    /// Events taken so far.
    count: AtomicU64,
    file: Mutex<File>,
}

/// What the sink reads of an event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// Serves until the parent is gone.
pub(crate) async fn serve(file: &Path) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v1/events", post(take))
        .route("/v1/heartbeats", post(|| async { StatusCode::NO_CONTENT }))
        .route("/count", get(count))
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(Sink { count: AtomicU64::new(0), file: Mutex::new(File::create(file)?) }));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    announce(address).await
}

async fn count(State(sink): State<Arc<Sink>>) -> String {
    sink.count.load(Ordering::SeqCst).to_string()
}

async fn take(State(sink): State<Arc<Sink>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(receipts) = receipts(&headers, &body) else { return StatusCode::BAD_REQUEST.into_response() };
    let keeper = sink.clone();
    if !matches!(tokio::task::spawn_blocking(move || keeper.keep(&body)).await, Ok(Ok(()))) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    sink.count.fetch_add(receipts.results.len() as u64, Ordering::SeqCst);
    written(&receipts)
}

/// A receipt for each event of a batch, which is kept nowhere.
pub(crate) fn answer(headers: &HeaderMap, body: &[u8]) -> Response {
    receipts(headers, body).map_or_else(|_| StatusCode::BAD_REQUEST.into_response(), |receipts| written(&receipts))
}

fn written(receipts: &Receipts) -> Response {
    let answer = serde_json::to_vec(receipts).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

impl Sink {
    fn keep(&self, body: &[u8]) -> std::io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.stream_position()? > KEPT_BYTES {
            file.rewind()?;
        }
        file.write_all(body)?;
        file.sync_data()
    }
}

fn receipts(headers: &HeaderMap, body: &[u8]) -> Result<Receipts, Failure> {
    let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    let mut plain = Vec::new();
    if gzip {
        flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?;
    }
    let events: Vec<Event<'_>> = serde_json::from_slice(if gzip { &plain } else { body })?;
    let receipt = |event: Event<'_>| Receipt {
        id: event.id.into_owned(),
        status: ReceiptStatus::Accepted,
        code: None,
        message: None,
    };
    Ok(Receipts { results: events.into_iter().map(receipt).collect() })
}
