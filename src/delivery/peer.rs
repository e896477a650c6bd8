//! What upstream's answers tell beside what they say: when its certificate ends, and what time it is there.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use reqwest::header::DATE;
use reqwest::tls::TlsInfo;
use serde::Serialize;

/// What the last answers told. Times are UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// When the certificate ends that upstream showed last; `None` over `http://`.
    pub certificate_ends_at: Option<DateTime<Utc>>,
    /// Upstream's clock minus ours, in seconds, as its last answer told it.
    pub clock_difference_secs: Option<i64>,
    /// When it answered last.
    pub answered_at: Option<DateTime<Utc>>,
    /// Since when it refuses the secret that is configured now, and takes the one before it, which goes on being used.
    pub secret_refused_since: Option<DateTime<Utc>>,
}

/// Shared by the clones of a client.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<(Peer, Vec<u8>)>>);

impl Heard {
    /// Takes note of an answer.
    pub(super) fn note(&self, response: &reqwest::Response, now: DateTime<Utc>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, known) = &mut *heard;
        if let Some(shown) = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate)
            && shown != known.as_slice()
        {
            *known = shown.to_vec();
            peer.certificate_ends_at = end_of(shown);
        }
        let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            peer.clock_difference_secs = Some((DateTime::<Utc>::from(date) - now).num_seconds());
        }
        peer.answered_at = Some(now);
    }

    /// Takes note of whether the configured secret is refused; true where that is news.
    pub(super) fn secret(&self, refused: bool, now: DateTime<Utc>) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = &mut heard.0.secret_refused_since;
        let news = since.is_some() != refused;
        *since = refused.then(|| since.unwrap_or(now));
        news
    }

    pub(super) fn peer(&self) -> Peer {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The end of a certificate in DER; `None` where it is none.
pub fn end_of(der: &[u8]) -> Option<DateTime<Utc>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)
}

/// The earliest end of the certificates in a PEM file; `None` where it holds none.
pub fn earliest_end(pem: &[u8]) -> Option<DateTime<Utc>> {
    let blocks = x509_parser::pem::Pem::iter_from_buffer(pem).filter_map(Result::ok);
    blocks.filter(|block| block.label == "CERTIFICATE").filter_map(|block| end_of(&block.contents)).min()
}
