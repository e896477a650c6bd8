//! Who sends: proofs in headers, compared in constant time; and addresses.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_api::{Secret, SecretError};
use hmac::{Hmac, Mac as _};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::settings::{Auth, Encoding};

/// Checks proofs. Reads the secret anew for each request, so that a rotated one takes effect.
pub(crate) struct Guard {
    auth: Option<Auth>,
    base_dir: PathBuf,
}

impl Guard {
    pub(crate) fn new(auth: Option<Auth>, base_dir: PathBuf) -> Guard {
        Guard { auth, base_dir }
    }

    /// Whether the secret can be read at all.
    pub(crate) fn try_secret(&self) -> Result<(), SecretError> {
        match &self.auth {
            Some(Auth::Token { secret, .. } | Auth::Basic { secret, .. } | Auth::Hmac { secret, .. }) => {
                secret.read(&self.base_dir).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Judges what can be judged by the head alone; a hash over the body need only be there.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> Result<bool, SecretError> {
        match &self.auth {
            None => Ok(true),
            Some(Auth::Token { header, prefix, secret }) => {
                let prefix = Auth::token_prefix(header, prefix);
                self.same(secret, only(headers, header).and_then(|value| after(value, prefix)), "")
            }
            Some(Auth::Basic { user, secret }) => {
                let value = only(headers, AUTHORIZATION.as_str());
                let pair = value
                    .and_then(|value| after(value, "Basic "))
                    .and_then(|text| STANDARD.decode(text.trim_ascii()).ok());
                self.same(secret, pair.as_deref(), &format!("{user}:"))
            }
            Some(Auth::Hmac { header, .. }) => Ok(only(headers, header).is_some()),
        }
    }

    /// Judges the body as it was sent.
    pub(crate) fn admits_body(&self, headers: &HeaderMap, body: &[u8]) -> Result<bool, SecretError> {
        let Some(Auth::Hmac { header, algorithm: _, encoding, prefix, secret }) = &self.auth else { return Ok(true) };
        let Some(text) = only(headers, header).and_then(|value| after(value, prefix)) else { return Ok(false) };
        let text = text.trim_ascii();
        let given = match encoding {
            Encoding::Hex => hex::decode(text).ok(),
            Encoding::Base64 => STANDARD.decode(text).ok(),
        };
        let key = secret.read(&self.base_dir)?;
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return Ok(false) };
        mac.update(body);
        Ok(given.is_some_and(|given| mac.verify_slice(&given).is_ok()))
    }

    /// True where a proof can only be judged with the whole body.
    pub(crate) fn needs_body(&self) -> bool {
        matches!(self.auth, Some(Auth::Hmac { .. }))
    }

    /// What a refused sender is told to show.
    pub(crate) fn challenge(&self) -> &'static str {
        match self.auth {
            Some(Auth::Basic { .. }) => "Basic realm=\"hisync\", charset=\"UTF-8\"",
            Some(Auth::Hmac { .. }) => "HMAC",
            _ => "Bearer",
        }
    }

    fn same(&self, secret: &Secret, given: Option<&[u8]>, before: &str) -> Result<bool, SecretError> {
        let secret = secret.read(&self.base_dir)?;
        // Digests have one length, so not even the secret's length shows in the time taken.
        let wanted = Sha256::new().chain_update(before).chain_update(secret.expose()).finalize();
        let given = given.map(Sha256::digest);
        Ok(given.is_some_and(|given| bool::from(given.ct_eq(&wanted))))
    }
}

/// The value of a header that occurs once. Of two, nobody could say which one counts.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

fn after<'a>(value: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = value.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}
