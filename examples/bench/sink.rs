//! An upstream that takes everything: reads a batch, answers a receipt for each event, keeps nothing.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// Events taken so far.
type Count = Arc<AtomicU64>;

/// What the sink reads of an event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// Serves until the parent is gone.
pub(crate) async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/v1/events", post(take))
        .route("/v1/heartbeats", post(|| async { StatusCode::NO_CONTENT }))
        .route("/count", get(|State(count): State<Count>| async move { count.load(Ordering::SeqCst).to_string() }))
        .layer(DefaultBodyLimit::disable())
        .with_state(Count::default());
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await });
    announce(address).await
}

async fn take(State(count): State<Count>, headers: HeaderMap, body: Bytes) -> Response {
    let gzip = headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
    match receipts(&body, gzip) {
        Ok(receipts) => {
            let answer = serde_json::to_vec(&receipts).unwrap_or_default();
            count.fetch_add(receipts.results.len() as u64, Ordering::SeqCst);
            ([(header::CONTENT_TYPE, "application/json")], answer).into_response()
        }
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn receipts(body: &[u8], gzip: bool) -> Result<Receipts, Failure> {
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
