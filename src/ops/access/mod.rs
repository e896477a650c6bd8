//! Who may use the admin address, and for what.
//!
//! Without operators in the configuration the address trusts whoever may connect, which is this machine
//! alone. With operators each request needs one of three:
//!
//! - a session, begun with a name and a password (the page);
//! - an operator's token as `Authorization: Bearer …` (scripts and monitors);
//! - the token of this run, which only those can read who can read the data folder (hisync's own commands).
//!
//! Sessions and failures live in memory: a restart logs everybody out, and no store holds a password.

mod audit;
mod door;
mod limit;
mod password;
mod session;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use connector_api::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use audit::{ACT_LOGIN, ACT_LOGOUT, ACT_REFUSED};
pub use door::{Peer, SESSION_COOKIE, doors, routes};
pub use password::{PasswordHash, hash};

use crate::clock::Clock;
use limit::Limiter;
use session::Sessions;

/// What an operator may do. Each says only its own: who may operate need not see personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See everything but personal data. Every operator may.
    View,
    /// Retry, release, dismiss, map codes, reset breakers.
    Operate,
    /// See personal data, each time for a reason that the audit log keeps.
    Personal,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 3] = [Role::View, Role::Operate, Role::Personal];

    /// The stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Operate => "operate",
            Role::Personal => "personal",
        }
    }
}

/// A person or a program that may use the admin address.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The name to log in with; the audit log keeps it.
    pub name: String,
    /// What it may do beside looking.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The password's Argon2id hash, as `hisync operator hash` prints it. Not the password.
    #[serde(default)]
    pub password: Option<PasswordHash>,
    /// A token for programs, sent as `Authorization: Bearer …`.
    #[serde(default)]
    pub token: Option<Secret>,
}

/// The longest name of an operator, in bytes.
const LONGEST_NAME: usize = 64;
/// The shortest token, in bytes: it is never typed, so it may as well be long.
const SHORTEST_TOKEN: usize = 16;

impl Operator {
    /// Every problem of a list of operators: the place under `[admin]` and what is wrong there.
    pub fn problems(operators: &[Operator]) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (at, operator) in operators.iter().enumerate() {
            let mut wrong = |key: &str, text: &str| problems.push((format!("operators[{at}].{key}"), text.to_owned()));
            if operator.name.trim().is_empty() || operator.name.len() > LONGEST_NAME {
                wrong("name", "an operator needs a name of at most 64 bytes");
            }
            if operators[..at].iter().any(|before| before.name == operator.name) {
                wrong("name", "two operators have this name");
            }
            if operator.password.is_none() && operator.token.is_none() {
                wrong("password", "an operator needs a password's hash or a token: `hisync operator hash` makes one");
            }
            if let Some(problem) = operator.password.as_ref().and_then(PasswordHash::problem) {
                wrong("password", &problem);
            }
        }
        problems
    }
}

/// Who asks, as far as that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The operator's name; `None` where no operators are configured, and for hisync's own commands,
    /// which say who uses them.
    pub name: Option<String>,
    /// What the caller may do.
    pub roles: Vec<Role>,
    /// What a request that changes something must carry beside the session's cookie.
    pub(crate) proof: Option<String>,
}

impl Caller {
    /// One who may do everything and says who it is.
    fn trusted() -> Caller {
        Caller { name: None, roles: Role::ALL.to_vec(), proof: None }
    }

    /// Whether the caller may do what the role says.
    pub fn may(&self, role: Role) -> bool {
        role == Role::View || self.roles.contains(&role)
    }

    /// The name for the audit log: the operator's own, whatever the request claims; else what it claims.
    pub fn who<'a>(&'a self, claimed: &'a str) -> &'a str {
        self.name.as_deref().unwrap_or(claimed)
    }
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name or the password is wrong; which of them is not said.
    #[error("the name or the password is wrong")]
    Wrong,
    /// Too many failures: not before so many seconds.
    #[error("too many attempts; try again in {0} s")]
    Wait(u64),
    /// A password could not be checked. A bug, or no memory.
    #[error("the password could not be checked")]
    Broken,
}

/// A token of a session or a run, as it is compared: what leaks from memory or time is no token.
type TokenDigest = [u8; 32];

fn digest(token: &str) -> TokenDigest {
    Sha256::digest(token.as_bytes()).into()
}

/// A word of 244 random bits.
pub fn random_word() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

struct Known {
    name: String,
    roles: Vec<Role>,
    password: Option<PasswordHash>,
    token: Option<TokenDigest>,
}

/// Knows the operators, the sessions and the failures.
#[derive(Clone)]
pub struct Doorkeeper(Arc<Inner>);

struct Inner {
    operators: Vec<Known>,
    run: TokenDigest,
    secure: bool,
    sessions: Mutex<Sessions>,
    failures: Mutex<Limiter>,
    // A check takes memory on purpose: one at a time.
    checking: tokio::sync::Semaphore,
    clock: Clock,
}

/// Why the operators of a configuration can't be taken on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A token can't be read.
    #[error("read the token of the operator {name:?}")]
    Token {
        /// The operator.
        name: String,
        /// The cause.
        #[source]
        cause: connector_api::SecretError,
    },
    /// A token is so short that it may be guessed.
    #[error("the token of the operator {name:?} has fewer than 16 bytes: `head -c 24 /dev/urandom | base64` makes one")]
    ShortToken {
        /// The operator.
        name: String,
    },
}

/// A session that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The cookie's value.
    pub token: String,
    /// What acts must carry.
    pub proof: String,
    /// The operator's.
    pub roles: Vec<Role>,
}

impl Doorkeeper {
    /// Takes on the operators of a configuration. `run` is the token of this run; `secure` says that the
    /// address is encrypted, so that cookies never travel otherwise.
    ///
    /// # Errors
    ///
    /// A token can't be read, or is too short.
    pub fn new(
        operators: &[Operator],
        base_dir: &Path,
        run: &str,
        secure: bool,
        clock: Clock,
    ) -> Result<Doorkeeper, Error> {
        let known = |operator: &Operator| {
            let name = operator.name.clone();
            let token = match &operator.token {
                None => None,
                Some(secret) => {
                    let text = secret.read(base_dir).map_err(|cause| Error::Token { name: name.clone(), cause })?;
                    if text.expose().len() < SHORTEST_TOKEN {
                        return Err(Error::ShortToken { name });
                    }
                    Some(digest(text.expose()))
                }
            };
            Ok(Known { name, roles: operator.roles.clone(), password: operator.password.clone(), token })
        };
        Ok(Doorkeeper(Arc::new(Inner {
            operators: operators.iter().map(known).collect::<Result<_, _>>()?,
            run: digest(run),
            secure,
            sessions: Mutex::default(),
            failures: Mutex::default(),
            checking: tokio::sync::Semaphore::new(1),
            clock,
        })))
    }

    /// Whether everybody who can connect is trusted.
    pub fn is_open(&self) -> bool {
        self.0.operators.is_empty()
    }

    /// Whose token this is.
    pub fn by_token(&self, token: &str) -> Option<Caller> {
        let shown = digest(token);
        if shown == self.0.run {
            return Some(Caller::trusted());
        }
        let known = self.0.operators.iter().find(|known| known.token == Some(shown))?;
        Some(Caller { name: Some(known.name.clone()), roles: known.roles.clone(), proof: None })
    }

    /// Whose session this is. Using it keeps it alive, unless nobody but the page itself does (`idle`).
    pub fn by_session(&self, token: &str, idle: bool) -> Option<Caller> {
        self.sessions().used(&digest(token), idle, self.now())
    }

    /// Begins a session.
    ///
    /// # Errors
    ///
    /// A wrong name or password, and for a while after too many of those from one address or for one name:
    /// then not even the right one is looked at.
    pub async fn log_in(&self, name: &str, password: &str, peer: IpAddr) -> Result<Begun, Refusal> {
        let keys = [format!("name {name}"), format!("peer {peer}")];
        if let Some(wait) = self.failures().wait(&keys, self.now()) {
            return Err(Refusal::Wait(wait));
        }
        let known = self.0.operators.iter().find(|known| known.name == name && known.password.is_some());
        // An unknown name takes as long as a known one.
        let hash = known.and_then(|known| known.password.clone()).unwrap_or_default();
        let right = {
            let _turn = self.0.checking.acquire().await.map_err(|_| Refusal::Broken)?;
            let password = password.to_owned();
            tokio::task::spawn_blocking(move || hash.fits(&password)).await.map_err(|_| Refusal::Broken)?
        };
        let Some(known) = known.filter(|_| right) else {
            self.failures().failed(&keys, self.now());
            return Err(Refusal::Wrong);
        };
        self.failures().forget(&keys);
        let begun = Begun { token: random_word(), proof: random_word(), roles: known.roles.clone() };
        let caller =
            Caller { name: Some(known.name.clone()), roles: known.roles.clone(), proof: Some(begun.proof.clone()) };
        self.sessions().begin(digest(&begun.token), caller, self.now());
        Ok(begun)
    }

    /// Ends a session.
    pub fn log_out(&self, token: &str) {
        self.sessions().end(&digest(token));
    }

    /// The operator's name where there is one with it: what somebody typed may be a password.
    pub fn known_name(&self, name: &str) -> Option<&str> {
        self.0.operators.iter().find(|known| known.name == name).map(|known| known.name.as_str())
    }

    /// Whether cookies travel encrypted alone.
    pub fn is_secure(&self) -> bool {
        self.0.secure
    }

    fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failures(&self) -> MutexGuard<'_, Limiter> {
        self.0.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
