//! Sealing: authenticated encryption under a key that is kept elsewhere, for secrets in a configuration and for what
//! the agent's store holds.
//!
//! AES-256-GCM-SIV throughout: it bears a nonce that repeats, so random nonces need no counting, and equal texts can be
//! sealed to equal texts where something must be found by them. Keys are derived from 32 random bytes with
//! HKDF-SHA-256, one for each purpose, and wiped from memory when they go.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// What a sealed secret begins with: the form of the rest.
const FORM: &str = "v1.";

/// What sealed secrets are bound to, so that nothing else can be passed off as one.
const SECRET: &[u8] = b"hisync secret";

/// Why something can't be sealed or opened. Never contains any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text of a key is not one.
    #[error(
        "this is no key: 32 random bytes in base64 or hex are expected, as `hisync secret new-key` writes them; \
         several on lines of their own, the newest first"
    )]
    NoKey,
    /// Sealed under another key, or changed since.
    #[error("sealed under another key, or changed since it was sealed")]
    Mismatch,
    /// The text has not the form of a sealed value.
    #[error("this is no sealed value: `hisync secret seal` makes one")]
    NoSealed,
    /// The operating system or the cryptographic library failed.
    #[error("the cryptographic library failed")]
    Failed,
}

/// 32 random bytes. `Debug` shows its fingerprint only.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_LEN]>);

impl Key {
    /// A new key.
    pub fn generate() -> Result<Key, SealError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| SealError::Failed)?;
        Ok(Key(bytes))
    }

    /// Reads a key: 32 bytes in base64 (44 characters) or hex (64).
    pub fn parse(text: &str) -> Result<Key, SealError> {
        let text = text.trim();
        let bytes = Zeroizing::new(match text.len() {
            64 => hex::decode(text).map_err(|_| SealError::NoKey)?,
            _ => STANDARD.decode(text).map_err(|_| SealError::NoKey)?,
        });
        Key::from_bytes(&bytes)
    }

    /// Takes the bytes of a key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Key, SealError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        if bytes.len() != KEY_LEN {
            return Err(SealError::NoKey);
        }
        key.copy_from_slice(bytes);
        Ok(Key(key))
    }

    /// The key in base64, to be written where only its reader can see it.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.0.as_slice()))
    }

    /// The bytes themselves, to be sealed under another key.
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// A short text that tells keys apart and tells nothing of them.
    pub fn fingerprint(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice());
        hex::encode(&hmac::sign(&key, b"hisync key fingerprint").as_ref()[..6])
    }

    /// What seals under this key for one purpose.
    pub fn sealer(&self, purpose: &str) -> Result<Sealer, SealError> {
        let secret = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, self.0.as_slice());
        let derive = |use_: &str| {
            let mut bytes = Zeroizing::new([0; KEY_LEN]);
            let info = [purpose.as_bytes(), &[0], use_.as_bytes()];
            let derived = secret.expand(&info, hkdf::HKDF_SHA256).map_err(|_| SealError::Failed)?;
            derived.fill(bytes.as_mut_slice()).map_err(|_| SealError::Failed)?;
            Ok(bytes)
        };
        let aead = |use_| {
            let key = UnboundKey::new(&AES_256_GCM_SIV, derive(use_)?.as_slice()).map_err(|_| SealError::Failed)?;
            Ok(LessSafeKey::new(key))
        };
        Ok(Sealer {
            unlike: aead("seal")?,
            alike: aead("seal alike")?,
            nonces: hmac::Key::new(hmac::HMAC_SHA256, derive("nonces")?.as_slice()),
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<key {}>", self.fingerprint())
    }
}

/// The keys that a place holds: the first seals, all of them open. So a key is changed by writing a new one before it.
#[derive(Clone, Debug)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// Reads keys, separated by white space.
    pub fn parse(text: &str) -> Result<KeyRing, SealError> {
        let keys: Vec<Key> = text.split_whitespace().map(Key::parse).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(SealError::NoKey) } else { Ok(KeyRing(keys)) }
    }

    /// The key that seals.
    pub fn newest(&self) -> &Key {
        &self.0[0]
    }

    /// All of them, the newest first.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Seals a secret as it may stand in a configuration: `{ sealed = "…" }`.
    pub fn seal_secret(&self, secret: &str) -> Result<String, SealError> {
        let sealed = self.newest().sealer("secret")?.seal(SECRET, secret.as_bytes())?;
        Ok(format!("{FORM}{}", URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// Opens a sealed secret.
    pub fn open_secret(&self, sealed: &str) -> Result<Zeroizing<String>, SealError> {
        let text = sealed.trim().strip_prefix(FORM).ok_or(SealError::NoSealed)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::NoSealed)?;
        for key in &self.0 {
            if let Ok(plain) = key.sealer("secret")?.open(SECRET, &bytes) {
                let text = std::str::from_utf8(&plain).map_err(|_| SealError::Mismatch)?;
                return Ok(Zeroizing::new(text.to_owned()));
            }
        }
        Err(SealError::Mismatch)
    }
}

/// Seals and opens under keys derived from one [`Key`] for one purpose.
pub struct Sealer {
    unlike: LessSafeKey,
    alike: LessSafeKey,
    nonces: hmac::Key,
}

impl Sealer {
    /// Bytes that sealing adds.
    pub const OVERHEAD: usize = NONCE_LEN + 16;

    /// Seals bytes; opens only with the same `context`.
    pub fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| SealError::Failed)?;
        sealed(&self.unlike, nonce, context, plain)
    }

    /// Seals equal bytes to equal bytes within one `context`: for what must be found by equality. Whoever sees the
    /// result learns which are equal, and how long they are.
    pub fn seal_alike(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut text = hmac::Context::with_key(&self.nonces);
        text.update(&(context.len() as u64).to_be_bytes());
        text.update(context);
        text.update(plain);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&text.sign().as_ref()[..NONCE_LEN]);
        sealed(&self.alike, nonce, context, plain)
    }

    /// Opens what [`seal`](Sealer::seal) made.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        opened(&self.unlike, context, sealed)
    }

    /// Opens what [`seal_alike`](Sealer::seal_alike) made.
    pub fn open_alike(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        opened(&self.alike, context, sealed)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<sealer>")
    }
}

fn sealed(key: &LessSafeKey, nonce: [u8; NONCE_LEN], context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut bytes = Vec::with_capacity(Sealer::OVERHEAD + plain.len());
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(context), &mut bytes[NONCE_LEN..])
        .map_err(|_| SealError::Failed)?;
    bytes.extend_from_slice(tag.as_ref());
    Ok(bytes)
}

fn opened(key: &LessSafeKey, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Mismatch)?;
    let mut bytes = Zeroizing::new(rest.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(context), &mut bytes).map_err(|_| SealError::Mismatch)?.len();
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_under_its_key_and_context_alone() {
        let sealer = Key::generate().unwrap().sealer("test").unwrap();
        let sealed = sealer.seal(b"row 1", b"plain").unwrap();
        assert_ne!(sealed, sealer.seal(b"row 1", b"plain").unwrap());
        assert_eq!(sealer.open(b"row 1", &sealed).unwrap().as_slice(), b"plain");
        assert_eq!(sealer.open(b"row 2", &sealed), Err(SealError::Mismatch));
        assert_eq!(sealer.open_alike(b"row 1", &sealed), Err(SealError::Mismatch));
        let other = Key::generate().unwrap().sealer("test").unwrap();
        assert_eq!(other.open(b"row 1", &sealed), Err(SealError::Mismatch));
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(sealer.open(b"row 1", &changed), Err(SealError::Mismatch));
            assert_eq!(sealer.open(b"row 1", &sealed[..n]), Err(SealError::Mismatch));
        }
    }

    #[test]
    fn equal_texts_are_sealed_alike_within_a_context() {
        let sealer = Key::generate().unwrap().sealer("test").unwrap();
        let sealed = sealer.seal_alike(b"key", b"0301170001").unwrap();
        assert_eq!(sealed, sealer.seal_alike(b"key", b"0301170001").unwrap());
        assert_ne!(sealed, sealer.seal_alike(b"word", b"0301170001").unwrap());
        assert_ne!(sealed[..NONCE_LEN], sealer.seal_alike(b"key", b"0301170002").unwrap()[..NONCE_LEN]);
        assert_eq!(sealer.open_alike(b"key", &sealed).unwrap().as_slice(), b"0301170001");
    }

    #[test]
    fn keys_are_read_in_base64_and_hex_and_nothing_else_is_one() {
        let key = Key::generate().unwrap();
        let hex = hex::encode(key.bytes());
        assert_eq!(Key::parse(&key.to_text()).unwrap().bytes(), key.bytes());
        assert_eq!(Key::parse(&format!(" {hex}\n")).unwrap().fingerprint(), key.fingerprint());
        for text in ["", "secret", &hex[2..], "c2hvcnQ="] {
            assert_eq!(Key::parse(text).unwrap_err(), SealError::NoKey, "{text}");
        }
        assert!(!format!("{key:?}").contains(key.to_text().as_str()));
    }

    #[test]
    fn a_secret_opens_under_any_key_of_the_ring_and_is_sealed_under_the_first() {
        let [old, new] = [Key::generate().unwrap(), Key::generate().unwrap()].map(|key| key.to_text().to_string());
        let before = KeyRing::parse(&old).unwrap();
        let sealed = before.seal_secret("密码").unwrap();
        let both = KeyRing::parse(&format!("{new}\n{old}\n")).unwrap();
        assert_eq!(both.open_secret(&sealed).unwrap().as_str(), "密码");
        assert_eq!(before.open_secret(&both.seal_secret("密码").unwrap()), Err(SealError::Mismatch));
        assert_eq!(both.open_secret("密码"), Err(SealError::NoSealed));
    }
}
