//! Calls of one source: logged in, signed, in their turn, and their answers judged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex as StdMutex, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use connector_api::{Action, FaultClass, Secret, SecretText, SourceError, Value};
use connector_formats::charset::Charset;
use connector_formats::xml::XmlRules;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use crate::answer::{Opened, Verdict, decode, unreadable};
use crate::call::{Call, Signer};
use crate::settings::ClientAuth;
use crate::template::Vars;
use crate::transport::{Outgoing, Reply, Transport};
use crate::window;

/// A token is renewed so long before it expires, so that none expires on its way.
const EARLY: Duration = Duration::from_secs(30);

/// How many characters of a source's message a person is shown.
const SHOWN_MESSAGE: usize = 80;

/// What is longer is no code.
const LONGEST_CODE: usize = 12;

/// How the source knows who asks.
pub(crate) enum Access {
    Open,
    Basic { user: String, secret: Secret },
    Key { header: Option<HeaderName>, prefix: String, secret: Secret },
    Call(Box<LoginCall>),
    Oauth { url: Url, client_id: String, secret: Secret, scope: Option<String>, auth: ClientAuth },
}

/// A call that gives a token.
pub(crate) struct LoginCall {
    pub(crate) call: Call,
    pub(crate) user: String,
    pub(crate) secret: Option<Secret>,
    pub(crate) token: String,
    pub(crate) expires_in: Option<String>,
    pub(crate) valid: Duration,
    pub(crate) header: Option<HeaderName>,
    pub(crate) prefix: String,
}

/// One source as all of its streams use it.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) access: Access,
    pub(crate) signer: Option<(Signer, Secret)>,
    pub(crate) charset: Option<Charset>,
    pub(crate) rules: XmlRules,
    pub(crate) zone: Tz,
    pub(crate) base_dir: PathBuf,
}

/// What all streams of a source share, although each is built by itself: the connections, the turns
/// of a rate limit, and the token. Two logins at once may cancel each other.
pub(crate) struct Shared {
    pub(crate) transport: Transport,
    token: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: SecretText,
    until: Instant,
}

/// An answer that was judged: its document, or nothing where it says that there is nothing.
pub(crate) struct Answered {
    pub(crate) opened: Option<Opened>,
    pub(crate) charset: Charset,
    pub(crate) reply: Reply,
}

impl Shared {
    /// The shared part of the source with that identity, made where nobody has it.
    pub(crate) fn of(identity: String, make: impl FnOnce() -> Transport) -> Arc<Shared> {
        static ALL: LazyLock<StdMutex<HashMap<String, Weak<Shared>>>> = LazyLock::new(StdMutex::default);
        let mut all = ALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.retain(|_, shared| shared.strong_count() > 0);
        if let Some(shared) = all.get(&identity).and_then(Weak::upgrade) {
            return shared;
        }
        let shared = Arc::new(Shared { transport: make(), token: Mutex::new(None) });
        all.insert(identity, Arc::downgrade(&shared));
        shared
    }
}

/// The machine's time. Connectors have no clock of the agent's.
#[expect(clippy::disallowed_methods, reason = "a connector is handed no clock, and a source tells its time to nobody")]
pub(crate) fn now() -> DateTime<Utc> {
    Utc::now()
}

impl Session {
    /// Now, on the hospital's clocks.
    pub(crate) fn local_now(&self) -> NaiveDateTime {
        window::local(now(), self.zone)
    }

    /// Makes a call and judges its answer. `talkative`: a source's own message is shown, which may
    /// name somebody: for a person who looks, never for a log. `link`: a whole URL to ask instead.
    pub(crate) async fn call(
        &self,
        call: &Call,
        vars: &Vars,
        link: Option<&Url>,
        talkative: bool,
    ) -> Result<Answered, SourceError> {
        let mut renewed = false;
        loop {
            let token = self.token().await?;
            let reply = self.send(call, vars.clone(), link, token.as_ref()).await?;
            let may_renew = token.is_some() && self.has_token() && !renewed;
            if reply.status == 401 && may_renew {
                self.forget(token).await;
                renewed = true;
                continue;
            }
            let (opened, charset, verdict) = match self.judge(call, &reply, talkative) {
                // Some servers say with a failure of their own kind that a token has expired.
                Err(_) if may_renew && matches!(reply.status, 400 | 403 | 500) => {
                    self.forget(token).await;
                    renewed = true;
                    continue;
                }
                judged => judged?,
            };
            match verdict {
                Verdict::Expired if may_renew => {
                    self.forget(token).await;
                    renewed = true;
                }
                Verdict::Success => return Ok(Answered { opened: Some(opened), charset, reply }),
                Verdict::NoData => return Ok(Answered { opened: None, charset, reply }),
                Verdict::Expired => {
                    let says = format!("{}: a token that was just given is refused", call.what);
                    return Err(SourceError::stop(FaultClass::Login, says)
                        .hint("check login, and that answer.expired lists nothing else"));
                }
                Verdict::Failure { code, message } => return Err(refused(call, &code, message, talkative)),
            }
        }
    }

    fn judge(&self, call: &Call, reply: &Reply, talkative: bool) -> Result<(Opened, Charset, Verdict), SourceError> {
        if (!call.opener.reads_status(reply.status) || reply.is_web_page())
            && let Some(error) = reply.refused(&call.what)
        {
            return Err(error);
        }
        if reply.is_web_page() {
            // As a rule a gateway's maintenance page, which goes by itself: the stream must not wait for a person.
            return Err(SourceError::retry(FaultClass::Protocol, format!("{}: a web page was answered", call.what))
                .hint("a login page, a proxy or an error page (HTML): check url, open it in a browser"));
        }
        let decoded = decode(reply, self.charset).map_err(|failure| unreadable(&call.what, failure))?;
        if reply.status == 204 {
            let nothing = Opened::of(String::new());
            return Ok((nothing, decoded.charset, Verdict::NoData));
        }
        let opened = call.opener.open(&call.what, reply, decoded.text, &self.rules, talkative)?;
        // A status that its protocol explains by a failure, and no failure in it.
        if let Some(error) = reply.refused(&call.what) {
            return Err(error);
        }
        let verdict = match &call.answer {
            None => Verdict::Success,
            Some(answer) => answer.judge(&opened, &self.rules).map_err(|failure| unreadable(&call.what, failure))?,
        };
        Ok((opened, decoded.charset, verdict))
    }

    async fn send(
        &self,
        call: &Call,
        mut vars: Vars,
        link: Option<&Url>,
        token: Option<&SecretText>,
    ) -> Result<Reply, SourceError> {
        let at = now();
        vars.insert("timestamp", at.timestamp().into());
        vars.insert("timestamp_ms", at.timestamp_millis().into());
        let mut nonce = [0_u8; 16];
        nonce.fill_with(|| fastrand::u8(..));
        vars.insert("nonce", hex::encode(nonce).into());
        vars.insert("token", token.map_or("", SecretText::expose).into());
        let key = match &self.signer {
            Some((_, secret)) => Some(self.read(secret)?),
            None => None,
        };
        let sign = self.signer.as_ref().zip(key.as_ref()).map(|((signer, _), key)| (signer, key.expose()));
        let transport = &self.shared.transport;
        let mut outgoing = call.request(transport.base(), vars, sign)?;
        if let Some(link) = link {
            if !transport.is_home(link) {
                let says = format!("{}: the next page is on another server", call.what);
                return Err(SourceError::stop(FaultClass::Protocol, says).hint("its Link header leads elsewhere"));
            }
            outgoing.url = link.clone();
        }
        self.prove(&mut outgoing.headers, token)?;
        transport.send(&call.what, outgoing, transport.limit()).await
    }

    /// Asks for a document beside the calls, e.g. a description of the service, and decodes its text.
    pub async fn document(&self, what: &str, query: &str) -> Result<String, SourceError> {
        let mut url = self.shared.transport.base().clone();
        url.set_query(Some(query));
        let reply = self.fetch(what, url, self.shared.transport.limit()).await?;
        if let Some(error) = reply.refused(what) {
            return Err(error);
        }
        Ok(decode(&reply, None).map_err(|failure| unreadable(what, failure))?.text)
    }

    /// The time zone of the hospital's clocks.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// Fetches a file's bytes from the source, or, without any login, from another server.
    pub(crate) async fn fetch(&self, what: &str, url: Url, limit: usize) -> Result<Reply, SourceError> {
        let mut headers = HeaderMap::new();
        if self.shared.transport.is_home(&url) {
            let token = self.token().await?;
            self.prove(&mut headers, token.as_ref())?;
        }
        let outgoing = Outgoing { method: Method::GET, url, headers, body: None };
        self.shared.transport.send(what, outgoing, limit).await
    }

    /// Puts the login into the headers.
    fn prove(&self, headers: &mut HeaderMap, token: Option<&SecretText>) -> Result<(), SourceError> {
        let (name, value) = match (&self.access, token) {
            (Access::Basic { user, secret }, _) => {
                let pair = format!("{user}:{}", self.read(secret)?.expose());
                (AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
            }
            (Access::Key { header: Some(header), prefix, .. }, Some(token)) => {
                (header.clone(), format!("{prefix}{}", token.expose()))
            }
            (Access::Call(login), Some(token)) => match &login.header {
                Some(header) => (header.clone(), format!("{}{}", login.prefix, token.expose())),
                None => return Ok(()),
            },
            (Access::Oauth { .. }, Some(token)) => (AUTHORIZATION, format!("Bearer {}", token.expose())),
            _ => return Ok(()),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            SourceError::stop(FaultClass::Login, "send the login in a header").hint("it holds odd signs")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }

    fn read(&self, secret: &Secret) -> Result<SecretText, SourceError> {
        secret
            .read(&self.base_dir)
            .map_err(|error| SourceError::stop(FaultClass::Login, "read a secret of the source").because(error))
    }

    fn has_token(&self) -> bool {
        matches!(self.access, Access::Call(_) | Access::Oauth { .. })
    }

    /// The token: a fixed key, the one that is kept, or a new one.
    async fn token(&self) -> Result<Option<SecretText>, SourceError> {
        match &self.access {
            Access::Open | Access::Basic { .. } => Ok(None),
            Access::Key { secret, .. } => self.read(secret).map(Some),
            Access::Call(_) | Access::Oauth { .. } => {
                let mut kept = self.shared.token.lock().await;
                if let Some(token) = kept.as_ref().filter(|token| token.until > Instant::now()) {
                    return Ok(Some(token.text.clone()));
                }
                let (text, valid) = match &self.access {
                    Access::Call(login) => self.log_in(login).await?,
                    _ => self.oauth().await?,
                };
                let until = Instant::now() + valid.saturating_sub(EARLY).max(valid / 2);
                *kept = Some(Token { text: text.clone(), until });
                Ok(Some(text))
            }
        }
    }

    /// Forgets a token that was refused, unless another stream has a new one already.
    async fn forget(&self, refused: Option<SecretText>) {
        let mut kept = self.shared.token.lock().await;
        if kept.as_ref().map(|token| &token.text) == refused.as_ref() {
            *kept = None;
        }
    }

    async fn log_in(&self, login: &LoginCall) -> Result<(SecretText, Duration), SourceError> {
        let what = &login.call.what;
        let mut vars = Vars::from([("user", login.user.as_str().into())]);
        let password = login.secret.as_ref().map(|secret| self.read(secret)).transpose()?;
        vars.insert("password", password.as_ref().map_or("", SecretText::expose).into());
        let reply = self.send(&login.call, vars, None, None).await?;
        let (opened, _, verdict) = self.judge(&login.call, &reply, false).map_err(as_login)?;
        let no_token = |words: &str| SourceError::stop(FaultClass::Login, format!("{what}: {words}"));
        match verdict {
            Verdict::Success => {}
            Verdict::Failure { code, .. } => {
                return Err(no_token(&format!("the login was refused with code {}", shown_code(&code, false)))
                    .hint("check user and secret; if that code means success, list it in answer.ok"));
            }
            Verdict::NoData | Verdict::Expired => return Err(no_token("the login gave no token")),
        }
        let unread = |failure| unreadable(what, failure);
        let path = if login.token.is_empty() { "." } else { &login.token };
        let token = opened.word(path, &self.rules).map_err(unread)?.filter(|token| !token.is_empty());
        let token = token.ok_or_else(|| no_token("the answer has no token").hint("set login.token to where it is"))?;
        let said = match &login.expires_in {
            Some(path) => opened.word(path, &self.rules).map_err(unread)?.and_then(|text| text.parse().ok()),
            None => None,
        };
        Ok((SecretText::new(token), said.map_or(login.valid, Duration::from_secs)))
    }

    /// OAuth 2, client credentials (RFC 6749, section 4.4).
    async fn oauth(&self) -> Result<(SecretText, Duration), SourceError> {
        let Access::Oauth { url, client_id, secret, scope, auth } = &self.access else {
            return Err(SourceError::stop(FaultClass::Login, "log in"));
        };
        let what = "ask for an OAuth token";
        let secret = self.read(secret)?;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(scope.as_deref().map(|scope| ("scope", scope)));
        let mut headers = HeaderMap::new();
        match auth {
            ClientAuth::Form => form.extend([("client_id", client_id.as_str()), ("client_secret", secret.expose())]),
            ClientAuth::Basic => {
                // Both are form-encoded before they are joined, which most servers undo (section 2.3.1).
                let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose())));
                if let Ok(mut value) = HeaderValue::from_str(&format!("Basic {pair}")) {
                    value.set_sensitive(true);
                    headers.insert(AUTHORIZATION, value);
                }
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let outgoing = Outgoing { method: Method::POST, url: url.clone(), headers, body: Some(Bytes::from(body)) };
        let transport = &self.shared.transport;
        let reply = transport.send(what, outgoing, transport.limit().min(1 << 20)).await?;
        if matches!(reply.status, 400 | 401 | 403) {
            let says = format!("{what}: the client was refused (HTTP {})", reply.status);
            return Err(SourceError::stop(FaultClass::Login, says)
                .hint("check client_id and secret, scope, and client_auth = \"form\""));
        }
        if let Some(error) = reply.refused(what) {
            return Err(error);
        }
        let decoded = decode(&reply, None).map_err(|failure| unreadable(what, failure))?;
        let opened = Opened::of(decoded.text);
        let word = |path| opened.word(path, &self.rules).map_err(|failure| unreadable(what, failure));
        let token = word("access_token")?.filter(|token| !token.is_empty()).ok_or_else(|| {
            SourceError::stop(FaultClass::Login, format!("{what}: the answer has no access_token"))
                .hint("check token_url")
        })?;
        let seconds = word("expires_in")?.and_then(|text| text.parse().ok()).unwrap_or(3600);
        Ok((SecretText::new(token), Duration::from_secs(seconds)))
    }
}

/// A login that can't be understood or is forbidden is a failure of the login.
fn as_login(error: SourceError) -> SourceError {
    match error.action {
        Action::Stop => SourceError { class: FaultClass::Login, ..error },
        Action::Retry { .. } => error,
    }
}

fn refused(call: &Call, code: &str, message: Option<String>, talkative: bool) -> SourceError {
    let said = message.filter(|_| talkative).map(|message| format!(": {}", masked(&message))).unwrap_or_default();
    let what = &call.what;
    let says = if code.is_empty() {
        format!("{what}: the source answers without a code of success{said}")
    } else {
        format!("{what}: the source answers code {}{said}", shown_code(code, talkative))
    };
    SourceError::retry(FaultClass::Data, says).hint(
        "only codes in answer.ok and answer.no_data, and words in answer.no_data_text, are taken; `hisync check` shows \
         the source's own message",
    )
}

/// A source's code for messages. Where its place holds free text, that may name somebody: only a
/// `talkative` message shows it.
pub fn shown_code(code: &str, talkative: bool) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if talkative || (code.len() <= LONGEST_CODE && code.chars().all(plain)) {
        return format!("{:?}", masked(code));
    }
    format!("({} characters of text)", code.chars().count())
}

/// A source's words for a person: short, and without long numbers, which may be somebody's.
pub fn masked(text: &str) -> String {
    let mut out = String::new();
    let mut digits = String::new();
    for c in text.chars().take(SHOWN_MESSAGE).chain([' ']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        out.push_str(if digits.len() > 5 { "…" } else { &digits });
        digits.clear();
        out.push(if c.is_control() { ' ' } else { c });
    }
    out.trim_end().to_owned()
}

/// The value of a download's field as a URL of the source or of a host that is allowed.
pub(crate) fn file_url(base: &Url, text: &str, hosts: &[String]) -> Option<Url> {
    let url = base.join(text.trim()).ok()?;
    let allowed = url.origin() == base.origin()
        || (matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))));
    (allowed && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// The text of a value, for keys and numbers.
pub(crate) fn number(value: &Value) -> Option<u64> {
    crate::answer::word(value)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_in_the_place_of_a_code_is_shown_to_a_person_alone() {
        for code in ["-1", "40101", "E_NO.7"] {
            assert!(shown_code(code, false).contains(code), "{code}");
        }
        for text in ["张三未查询到", "patient Zhang", "no such person", "1101011990030700001"] {
            let shown = shown_code(text, false);
            assert!(!shown.contains(text) && shown.contains("characters of text"), "{shown}");
        }
        assert_eq!(shown_code("查询失败", true), "\"查询失败\"");
    }
}
