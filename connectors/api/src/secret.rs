//! Secrets by reference: the configuration names where a secret is, never what it is.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a secret is to be read from.
///
/// It is read when it is needed, so a rotated file takes effect at the next connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Secret {
    /// The content of a file, without the line end at its end.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A systemd credential (`LoadCredential=`), by name.
    Credential(String),
}

/// Why a secret can't be read. Never contains any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("read the secret file {path:?}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The environment variable is not set or is not text.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// The process was not started with systemd credentials.
    #[error("the credential {0:?} was asked for, but CREDENTIALS_DIRECTORY is not set (not started by systemd?)")]
    NoCredentials(String),
    /// The secret is empty.
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    /// Reads the secret. Relative file names are relative to `base_dir`.
    pub fn read(&self, base_dir: &Path) -> Result<SecretText, SecretError> {
        let text = match self {
            Secret::File(path) => read_file(base_dir.join(path))?,
            Secret::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
            Secret::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or_else(|| SecretError::NoCredentials(name.clone()))?;
                read_file(Path::new(&folder).join(name))?
            }
        };
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(SecretText(text)) }
    }
}

fn read_file(path: PathBuf) -> Result<String, SecretError> {
    let text = std::fs::read_to_string(&path).map_err(|cause| SecretError::File { path, cause })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// A secret in memory. Neither `Debug` nor `Display` shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> SecretText {
        SecretText(text.into())
    }

    /// The secret itself. Each call is a place to look at in review.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
