//! Secrets by reference: the configuration names where a secret is, never what it is.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::seal::{KeyRing, SealError};

/// The variable that holds the key of sealed secrets.
pub const KEY_VARIABLE: &str = "HISYNC_SECRET_KEY";
/// The variable that names the file with the key of sealed secrets.
pub const KEY_FILE_VARIABLE: &str = "HISYNC_SECRET_KEY_FILE";
/// The systemd credential that holds the key of sealed secrets.
pub const KEY_CREDENTIAL: &str = "hisync-secret-key";
/// The file beside the configuration that holds the key of sealed secrets, where none of the others is given.
pub const KEY_FILE: &str = "secret.key";

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
    /// The secret itself, encrypted by `hisync secret seal`. Its key is kept elsewhere: in the variable
    /// `HISYNC_SECRET_KEY`, in the file that `HISYNC_SECRET_KEY_FILE` names, in the systemd credential
    /// `hisync-secret-key`, or in `secret.key` beside the configuration; the first of them that is there counts.
    Sealed(String),
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
    /// The key of sealed secrets is nowhere.
    #[error(
        "the key of sealed secrets is missing: give it as {KEY_VARIABLE}, as the file that {KEY_FILE_VARIABLE} names, \
         as the systemd credential {KEY_CREDENTIAL}, or in the file {KEY_FILE} beside the configuration"
    )]
    NoKey,
    /// The key of sealed secrets can't be used, or does not fit.
    #[error("open a sealed secret with the key from {place}")]
    Sealed {
        /// Where the key was found.
        place: String,
        /// The cause.
        #[source]
        cause: SealError,
    },
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
            Secret::Sealed(sealed) => {
                let (keys, place) = sealing_keys(base_dir)?;
                let mut opened = keys.open_secret(sealed).map_err(|cause| SecretError::Sealed { place, cause })?;
                std::mem::take(&mut *opened)
            }
        };
        if text.is_empty() { Err(SecretError::Empty) } else { Ok(SecretText(text)) }
    }
}

/// The keys of sealed secrets, and where they were found. They are read anew each time, so changed ones count at once.
pub fn sealing_keys(base_dir: &Path) -> Result<(KeyRing, String), SecretError> {
    let (place, source) = if std::env::var_os(KEY_VARIABLE).is_some() {
        (KEY_VARIABLE.to_owned(), Secret::Env(KEY_VARIABLE.to_owned()))
    } else if let Some(path) = std::env::var_os(KEY_FILE_VARIABLE) {
        (KEY_FILE_VARIABLE.to_owned(), Secret::File(path.into()))
    } else if let Some(folder) =
        std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| Path::new(folder).join(KEY_CREDENTIAL).exists())
    {
        (format!("the credential {KEY_CREDENTIAL}"), Secret::File(Path::new(&folder).join(KEY_CREDENTIAL)))
    } else if base_dir.join(KEY_FILE).exists() {
        (format!("the file {KEY_FILE}"), Secret::File(KEY_FILE.into()))
    } else {
        return Err(SecretError::NoKey);
    };
    let text = source.read(base_dir)?;
    let keys = KeyRing::parse(text.expose()).map_err(|cause| SecretError::Sealed { place: place.clone(), cause })?;
    Ok((keys, place))
}

fn read_file(path: PathBuf) -> Result<String, SecretError> {
    let mut text = std::fs::read_to_string(&path).map_err(|cause| SecretError::File { path, cause })?;
    // In place: a copy would stay in memory.
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
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

impl Drop for SecretText {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
