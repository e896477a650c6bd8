//! Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over `id.timestamp.body`.
//!
//! The body is the JSON before compression, so that a consumer verifies what it reads, with a
//! library that exists already.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The header that names the batch.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the seconds since 1970 at which the request was signed.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with one or more signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// A request signed longer ago, or further in the future, is a replay or comes from a wrong clock.
pub const TOLERANCE_SECS: i64 = 300;

/// The namespace of batch ids (UUID v5).
const BATCH_NAMESPACE: Uuid = Uuid::from_u128(0x1b0f_2f6e_6b0c_5d38_8c1d_8d0f_7a4e_c952);

const PADDING_AS_YOU_LIKE: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The id of the batch of these events, in this order: the same whenever the same batch is sent again.
pub fn batch_id(events: impl IntoIterator<Item = Uuid>) -> Uuid {
    let name: Vec<u8> = events.into_iter().flat_map(|id| id.into_bytes()).collect();
    Uuid::new_v5(&BATCH_NAMESPACE, &name)
}

/// A text that is no signing secret. Never contains any of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is none.
    #[error("the signing secret is empty")]
    Empty,
    /// Not base64.
    #[error("the signing secret is not base64 (whsec_… or base64 alone)")]
    NotBase64,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// One of the three headers is missing.
    #[error("a webhook header is missing")]
    Missing,
    /// The timestamp is no whole number of seconds.
    #[error("the webhook timestamp can't be read")]
    Timestamp,
    /// The timestamp is too far from this machine's time.
    #[error("the webhook timestamp is more than five minutes away")]
    TooFar,
    /// No signature matches.
    #[error("no webhook signature matches")]
    NoMatch,
}

/// The keys of a signing secret: one, or the new and the old one during a rotation.
#[derive(Clone)]
pub struct Keys(Vec<Vec<u8>>);

/// Shows how many, never which.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl Keys {
    /// Reads `whsec_…` or base64; several are separated by white space.
    pub fn parse(text: &str) -> Result<Keys, KeyError> {
        let keys: Vec<Vec<u8>> = text
            .split_whitespace()
            .map(|word| PADDING_AS_YOU_LIKE.decode(word.strip_prefix("whsec_").unwrap_or(word)))
            .collect::<Result<_, _>>()
            .map_err(|_| KeyError::NotBase64)?;
        if keys.is_empty() || keys.iter().any(Vec::is_empty) { Err(KeyError::Empty) } else { Ok(Keys(keys)) }
    }

    /// The value of the signature header: one signature per key.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let signatures: Vec<String> = self
            .0
            .iter()
            .map(|key| {
                let digest = mac(key, id, &timestamp.to_string(), body).finalize().into_bytes();
                format!("v1,{}", PADDING_AS_YOU_LIKE.encode(digest))
            })
            .collect();
        signatures.join(" ")
    }

    /// Verifies a request, in constant time; one matching signature is enough.
    pub fn verify(
        &self,
        id: Option<&str>,
        timestamp: Option<&str>,
        signatures: Option<&str>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), VerifyError> {
        let (Some(id), Some(timestamp), Some(signatures)) = (id, timestamp, signatures) else {
            return Err(VerifyError::Missing);
        };
        let signed_at: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
        if now.timestamp().abs_diff(signed_at) > TOLERANCE_SECS.unsigned_abs() {
            return Err(VerifyError::TooFar);
        }
        let given = signatures.split_whitespace().filter_map(|word| word.strip_prefix("v1,"));
        for signature in given.filter_map(|text| PADDING_AS_YOU_LIKE.decode(text).ok()) {
            if self.0.iter().any(|key| mac(key, id, timestamp, body).verify_slice(&signature).is_ok()) {
                return Ok(());
            }
        }
        Err(VerifyError::NoMatch)
    }
}

fn mac(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of every length");
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// The example that the specification's reference libraries test themselves with.
    #[test]
    fn the_specifications_own_example_signs_as_published() {
        let keys = Keys::parse(SECRET).unwrap();
        let signature = keys.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_signature_holds_for_its_own_id_time_and_body_only() {
        let keys = Keys::parse(SECRET).unwrap();
        let signature = keys.sign("b1", 1_000_000, b"[]");
        let verify = |id, time, body: &[u8], now| keys.verify(Some(id), Some(time), Some(&signature), body, at(now));
        assert_eq!(verify("b1", "1000000", b"[]", 1_000_300), Ok(()));
        assert_eq!(verify("b2", "1000000", b"[]", 1_000_000), Err(VerifyError::NoMatch));
        assert_eq!(verify("b1", "1000001", b"[]", 1_000_000), Err(VerifyError::NoMatch));
        assert_eq!(verify("b1", "1000000", b"[1]", 1_000_000), Err(VerifyError::NoMatch));
        assert_eq!(verify("b1", "1000000", b"[]", 1_000_301), Err(VerifyError::TooFar));
        assert_eq!(verify("b1", "1000000", b"[]", 999_699), Err(VerifyError::TooFar));
        assert_eq!(verify("b1", "soon", b"[]", 1_000_000), Err(VerifyError::Timestamp));
        assert_eq!(keys.verify(None, Some("1"), Some("v1,"), b"", at(0)), Err(VerifyError::Missing));
    }

    #[test]
    fn while_a_secret_rotates_either_side_may_be_first() {
        let both = Keys::parse(&format!("{SECRET} bmV3LXNlY3JldC1uZXctc2VjcmV0")).unwrap();
        let new = Keys::parse("bmV3LXNlY3JldC1uZXctc2VjcmV0").unwrap();
        let old = Keys::parse(SECRET).unwrap();
        let signature = both.sign("b", 5, b"x");
        for side in [&new, &old, &both] {
            assert_eq!(side.verify(Some("b"), Some("5"), Some(&signature), b"x", at(5)), Ok(()));
        }
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        assert_eq!(Keys::parse("  ").err(), Some(KeyError::Empty));
        assert_eq!(Keys::parse("whsec_").err(), Some(KeyError::Empty));
        assert_eq!(Keys::parse("whsec_not base64!").err(), Some(KeyError::NotBase64));
        assert!(!format!("{:?}", Keys::parse(SECRET).unwrap()).contains("MfKQ"));
    }

    #[test]
    fn a_batch_id_depends_on_its_events_alone() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(batch_id([a, b]), batch_id([a, b]));
        assert_ne!(batch_id([a, b]), batch_id([a]));
    }
}
