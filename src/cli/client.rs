//! Asks a running agent over its admin address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value as Json;

use crate::agent::AgentFile;
use crate::ops::http::{ACT_HEADER, RUN_HEADER};

/// A running agent.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

/// Why the agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// Nobody answers there.
    #[error("the agent does not answer")]
    Unreachable(#[source] reqwest::Error),
    /// It said no, in words.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// A client for the agent that wrote the file, if it still runs: whoever else listens there now does
    /// not speak for its data folder.
    pub(super) async fn connect(file: &AgentFile) -> Option<Client> {
        // An address on the same machine; no proxy stands in between, whatever the environment says.
        // Who it is, its run's word says; its certificate may bear names that lead here from elsewhere only.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(120))
            .tls_danger_accept_invalid_certs(file.tls)
            .build()
            .ok()?;
        let scheme = if file.tls { "https" } else { "http" };
        let client = Client { http, base: format!("{scheme}://{}", reachable(file.admin)), token: file.token.clone() };
        let asked = client.http.get(format!("{}/live", client.base)).timeout(Duration::from_secs(3));
        let answer = asked.send().await.ok()?;
        let run = answer.headers().get(RUN_HEADER)?;
        (answer.status().is_success() && run.as_bytes() == file.run.as_bytes()).then_some(client)
    }

    pub(super) async fn get<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Json, Error> {
        let query = serde_json::to_value(query).unwrap_or_default();
        let mut url =
            url::Url::parse(&format!("{}{path}", self.base)).map_err(|error| Error::Refused(error.to_string()))?;
        for (name, value) in query.as_object().into_iter().flatten() {
            match value {
                Json::Null => {}
                Json::String(text) => drop(url.query_pairs_mut().append_pair(name, text)),
                other => drop(url.query_pairs_mut().append_pair(name, &other.to_string())),
            }
        }
        answer(self.http.get(url).bearer_auth(&self.token).send().await).await
    }

    /// A page that is no JSON.
    pub(super) async fn text(&self, path: &str) -> Result<String, Error> {
        let response = self.http.get(format!("{}{path}", self.base)).send().await.map_err(Error::Unreachable)?;
        response.error_for_status().map_err(Error::Unreachable)?.text().await.map_err(Error::Unreachable)
    }

    pub(super) async fn post<B: Serialize>(&self, path: &str, body: &B) -> Result<Json, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Refused(error.to_string()))?;
        let request = self.http.post(format!("{}{path}", self.base)).header(ACT_HEADER, "1").bearer_auth(&self.token);
        answer(request.header("content-type", "application/json").body(body).send().await).await
    }
}

/// An agent that listens at every address is asked at this machine's own.
fn reachable(mut admin: SocketAddr) -> SocketAddr {
    match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => admin.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => admin.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    admin
}

async fn answer(sent: reqwest::Result<reqwest::Response>) -> Result<Json, Error> {
    let response = sent.map_err(Error::Unreachable)?;
    let fine = response.status().is_success();
    let status = response.status();
    let body = response.bytes().await.map_err(Error::Unreachable)?;
    let json: Json = serde_json::from_slice(&body).unwrap_or_default();
    if fine {
        return Ok(json);
    }
    let said = json.get("error").and_then(Json::as_str).map(str::to_owned);
    Err(Error::Refused(said.unwrap_or_else(|| format!("the agent answered {status}"))))
}
