//! Passwords, of which only Argon2id hashes are known.

use std::fmt;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{self, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params};
use schemars::JsonSchema;
use serde::Deserialize;

/// The most memory that checking a password may take, in KiB: a hash made elsewhere may ask for any amount.
const MOST_MEMORY: u32 = 128 * 1024;
/// The most passes over it.
const MOST_PASSES: u32 = 16;

/// The shortest password, in characters (NIST SP 800-63B, 5.1.1.2 asks for at least 8).
const SHORTEST: usize = 8;

/// A hash that no password fits and that takes as long as any.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$aGlzeW5jLW5vYm9keQ$c3RhbmRzIGZvciBubyBwYXNzd29yZCBhdCBhbGwhISE";

/// An Argon2id hash in PHC form, `$argon2id$…`. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct PasswordHash(String);

impl Default for PasswordHash {
    fn default() -> PasswordHash {
        PasswordHash(NOBODY.to_owned())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hash>")
    }
}

impl PasswordHash {
    /// What is wrong with it; never contains it.
    pub fn problem(&self) -> Option<String> {
        let hint = "`hisync operator hash` asks for a password and prints its hash";
        let Ok(parsed) = password_hash::PasswordHash::new(&self.0) else {
            return Some(format!("this is no hash of a password: {hint}"));
        };
        if Algorithm::try_from(parsed.algorithm).ok() != Some(Algorithm::Argon2id) || parsed.hash.is_none() {
            return Some(format!("this is no Argon2id hash: {hint}"));
        }
        match Params::try_from(&parsed) {
            Ok(params) if params.m_cost() <= MOST_MEMORY && params.t_cost() <= MOST_PASSES => None,
            _ => Some(format!("checking this hash would take too much memory or time: {hint}")),
        }
    }

    /// Whether it is the password's. Takes tens of milliseconds and some 20 MB, on purpose.
    pub fn fits(&self, password: &str) -> bool {
        let Ok(parsed) = password_hash::PasswordHash::new(&self.0) else { return false };
        Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok()
    }
}

/// Hashes a password with a new salt (Argon2id, 19 MiB, 2 passes: the least that OWASP recommends).
///
/// # Errors
///
/// Too short a password, in words.
pub fn hash(password: &str) -> Result<String, String> {
    if password.chars().count() < SHORTEST {
        return Err(format!("a password needs at least {SHORTEST} characters"));
    }
    let salt = SaltString::generate(&mut OsRng);
    let hashed = Argon2::default().hash_password(password.as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}
