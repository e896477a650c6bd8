//! HTTP to chat robots and webhooks. Addresses hold keys: they are in no error and no log.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_api::{Secret, SecretText};
use hmac::{Hmac, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;
use url::{Host, Url};

use super::desk::SendError;
use super::words::Message;
use super::{Channel, Settings};
use crate::clock::Clock;
use crate::delivery::signature::{ID_HEADER, Keys, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use crate::store::{Episode, MessageKind};

/// How long a robot may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// An answer longer than this is none of a robot's.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// The client for robots and webhooks.
#[derive(Clone, Debug)]
pub(super) struct Robots {
    http: reqwest::Client,
    clock: Clock,
}

/// What is told to a webhook, beside the words.
pub(super) struct Told<'a> {
    /// The message's row: a message that is sent again has the same id.
    pub(super) id: i64,
    pub(super) kind: MessageKind,
    pub(super) hospital: &'a str,
    pub(super) episode: &'a Episode,
}

impl Robots {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Result<Robots, SendError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("hisync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .no_proxy();
        if let Some(proxy) = &settings.proxy {
            builder = builder.proxy(reqwest::Proxy::all(proxy.clone()).map_err(http)?);
        }
        Ok(Robots { http: builder.build().map_err(http)?, clock })
    }

    /// Tells a robot or webhook; fine only where it says so in its own words.
    pub(super) async fn tell(
        &self,
        channel: &Channel,
        base_dir: &Path,
        message: &Message,
        told: &Told<'_>,
    ) -> Result<(), SendError> {
        let now = self.clock.now();
        let read = |secret: &Secret| secret.read(base_dir).map_err(SendError::Secret);
        match channel {
            Channel::Wecom { url, .. } => {
                let body = json!({ "msgtype": "text", "text": { "content": message.text } });
                self.robot(address(&read(url)?)?, &body, &["errcode"]).await
            }
            Channel::Dingtalk { url, secret, .. } => {
                let mut url = address(&read(url)?)?;
                if let Some(secret) = secret {
                    let millis = now.timestamp_millis();
                    let secret = read(secret)?;
                    let sign = hmac(secret.expose(), &format!("{millis}\n{}", secret.expose()))?;
                    url.query_pairs_mut().append_pair("timestamp", &millis.to_string()).append_pair("sign", &sign);
                }
                let body = json!({ "msgtype": "text", "text": { "content": message.text } });
                self.robot(url, &body, &["errcode"]).await
            }
            Channel::Feishu { url, secret, .. } => {
                let mut body = json!({ "msg_type": "text", "content": { "text": message.text } });
                if let Some(secret) = secret {
                    let seconds = now.timestamp();
                    // The text to sign is the key here, and what is signed is empty.
                    let sign = hmac(&format!("{seconds}\n{}", read(secret)?.expose()), "")?;
                    (body["timestamp"], body["sign"]) = (json!(seconds.to_string()), json!(sign));
                }
                self.robot(address(&read(url)?)?, &body, &["code", "StatusCode"]).await
            }
            Channel::Webhook { url, secret, .. } => {
                let Told { id, kind, hospital, episode } = told;
                let body = json!({
                    "type": format!("hisync.alert.{}", kind.as_str()),
                    "hospital": hospital, "message": message.text, "episode": episode,
                });
                let body = serde_json::to_vec(&body).unwrap_or_default();
                let keys = Keys::parse(read(secret)?.expose()).map_err(SendError::Key)?;
                let (id, seconds) = (format!("alert-{hospital}-{id}"), now.timestamp());
                let request = self
                    .http
                    .post(address(&read(url)?)?)
                    .header("content-type", "application/json")
                    .header(SIGNATURE_HEADER, keys.sign(&id, seconds, &body))
                    .header(TIMESTAMP_HEADER, seconds)
                    .header(ID_HEADER, id);
                answer(request.body(body).send().await.map_err(http)?).await.map(drop)
            }
            Channel::Email { .. } => Err(SendError::Refused("a mailbox is no robot".to_owned())),
        }
    }

    /// Robots answer 200 to everything; what they think of it stands in the body.
    async fn robot(&self, url: Url, body: &Json, codes: &[&str]) -> Result<(), SendError> {
        let body = serde_json::to_vec(body).unwrap_or_default();
        let request = self.http.post(url).header("content-type", "application/json").body(body);
        let said = answer(request.send().await.map_err(http)?).await?;
        let said: Json = serde_json::from_slice(&said).map_err(|_| SendError::Unreadable)?;
        match codes.iter().find_map(|key| said[*key].as_i64()) {
            Some(0) => Ok(()),
            Some(code) => {
                let words = ["errmsg", "msg", "StatusMessage"].iter().find_map(|key| said[*key].as_str());
                let words: String = words.unwrap_or_default().chars().take(120).collect();
                Err(SendError::Refused(format!("{code} {words}").trim().to_owned()))
            }
            None => Err(SendError::Unreadable),
        }
    }
}

/// The address that a secret holds. Over an open network only `https` keeps its key.
fn address(secret: &SecretText) -> Result<Url, SendError> {
    let url = Url::parse(secret.expose().trim()).map_err(|_| SendError::Address)?;
    let local = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(SendError::Address),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err(SendError::NotHttps),
    }
}

/// HMAC-SHA256 in base64.
fn hmac(key: &str, text: &str) -> Result<String, SendError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| SendError::Address)?;
    mac.update(text.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

async fn answer(mut response: reqwest::Response) -> Result<Vec<u8>, SendError> {
    let status = response.status();
    if !status.is_success() {
        return Err(SendError::Status(status.as_u16()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(http)? {
        if body.len() + chunk.len() > ANSWER_MAX_BYTES {
            return Err(SendError::Unreadable);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The address is taken out of the error: it holds a key.
fn http(error: reqwest::Error) -> SendError {
    SendError::Http(error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_over_encrypted_lines_alone() {
        let of = |text: &str| address(&SecretText::new(text)).map(String::from).map_err(|error| error.to_string());
        assert!(of("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=k").is_ok());
        assert!(of("http://127.0.0.1:9/k\n").is_ok() && of("http://localhost/k").is_ok());
        assert!(of("http://qyapi.weixin.qq.com/k").is_err());
        let error = of("not an address with a key").unwrap_err();
        assert!(!error.contains("key"), "{error}");
    }

    #[test]
    fn signatures_are_as_the_robots_makers_publish_them() {
        // Computed with Python's hmac, independently of this code.
        let sign = hmac("SECabc", "1732329600000\nSECabc").unwrap();
        assert_eq!(sign, "bdeLkYvI84yPpSdV7tK4tjR03ckDsAd3W7BXqasuo+o=");
        assert_eq!(hmac("1732329600\nfeishu-secret", "").unwrap(), "0SPb/mkpSdA2jmvgb52ZinfZKkLDNCuq067mNhtnlIU=");
    }
}
