//! The web service of the outside laboratory 外送: ASMX as one meets it, over a real socket.
//!
//! | operation | answers |
//! |---|---|
//! | `Login(user, password)` | a token as plain text, `-1` for a wrong password |
//! | `GetReportList(key, strXml)` | the reports that changed in a window of time, as XML that is escaped inside the result |
//! | `GetReportItems(key, reportNo)` | the results of one report, as XML in CDATA |
//!
//! `returnCode` 1 is success, 2 is "nothing found" 未查询到数据 and no failure, -9 a token that has expired. Envelopes
//! and inner documents declare GB2312 and are UTF-8; the inner ones begin with a byte order mark. A token is good
//! until new reports are published; of those before, it still gets the results.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use chrono::NaiveDateTime;
use connector_api::{Map, Value};
use connector_formats::xml::{self, XmlRules};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::outlab::OutsideReport;

/// The password that the laboratory gave to the hospital's user; it protects nothing.
pub const PASSWORD: &str = "open-sesame";
/// The path of the service.
const PATH: &str = "/Report.asmx";
/// How the laboratory writes a window's ends.
const WINDOW: &str = "%Y-%m-%d %H:%M:%S";

/// The running service. Dropping it stops it at once.
#[derive(Debug)]
pub struct Outlab {
    address: SocketAddr,
    desk: Shared,
    stop: CancellationToken,
    server: JoinSet<()>,
}

type Shared = Arc<Mutex<Desk>>;

/// What the laboratory has published.
#[derive(Debug, Default)]
struct Desk {
    reports: BTreeMap<String, OutsideReport>,
    /// The same before the newest were published: whoever has read a list before still gets the details to it. Without
    /// that a reading could join an old list with new details, a version that nobody has published.
    before: BTreeMap<String, OutsideReport>,
    /// How often a token was made invalid.
    generation: u64,
}

/// A poisoned lock means that a handler panicked; what it guards is changed in single steps.
fn lock(desk: &Shared) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outlab {
    /// Binds the address and begins to serve; port 0 takes a free one.
    pub async fn start(listen: SocketAddr) -> std::io::Result<Outlab> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let desk = Shared::default();
        let app = Router::new().route(PATH, post(answer)).with_state(Arc::clone(&desk));
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let mut server = JoinSet::new();
        server.spawn(async move {
            if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(stopped).await {
                tracing::error!(error = &error as &dyn std::error::Error, "the outside laboratory stopped");
            }
        });
        Ok(Outlab { address, desk, stop, server })
    }

    /// Where the service is.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Shows reports, new ones and those that replace one of the same number. No list is told for older tokens after it.
    pub fn publish(&self, reports: &[OutsideReport]) {
        if reports.is_empty() {
            return;
        }
        let mut desk = lock(&self.desk);
        desk.generation += 1;
        desk.before = desk.reports.clone();
        for report in reports {
            desk.reports.insert(report.number.clone(), report.clone());
        }
    }

    /// Finishes the calls that are under way, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.server.join_next().await.is_some() {}
    }
}

impl Desk {
    fn token(&self) -> String {
        token(self.generation)
    }

    /// The result of an operation; `None` where there is no such operation.
    fn call(&self, operation: &str, parameters: &Map) -> Option<String> {
        let text = |name: &str| parameters.get(name).and_then(Value::as_text).unwrap_or_default().trim();
        if operation == "Login" {
            return Some(if text("password") == PASSWORD { self.token() } else { "-1".to_owned() });
        }
        let (now, before) = (text("key") == self.token(), text("key") == token(self.generation.saturating_sub(1)));
        let document = match operation {
            "GetReportList" if now => self.list(text("strXml")),
            "GetReportItems" if now => items(&self.reports, text("reportNo")),
            "GetReportItems" if before => items(&self.before, text("reportNo")),
            "GetReportList" | "GetReportItems" => response("-9", "令牌已过期", ""),
            _ => return None,
        };
        Some(document)
    }

    fn list(&self, request: &str) -> String {
        let Some((begin, end)) = window(request) else { return response("-3", "入参格式错误", "") };
        let found = self.reports.values().filter(|report| (begin..=end).contains(&report.updated_at));
        found_or_none(found.map(|report| element("Item", &report.fields)).collect())
    }
}

fn token(generation: u64) -> String {
    format!("WS{generation:06}")
}

fn items(reports: &BTreeMap<String, OutsideReport>, number: &str) -> String {
    let results = reports.get(number).map(|report| report.results.as_slice()).unwrap_or_default();
    found_or_none(results.iter().map(|row| element("Item", row)).collect())
}

/// The window that a list is asked for.
fn window(request: &str) -> Option<(NaiveDateTime, NaiveDateTime)> {
    let document = xml::parse(request, &XmlRules::default()).ok()?;
    let time = |name: &str| NaiveDateTime::parse_from_str(document.root.get(name)?.as_text()?.trim(), WINDOW).ok();
    Some((time("begin")?, time("end")?))
}

fn found_or_none(items: String) -> String {
    if items.is_empty() { response("2", "未查询到数据", "") } else { response("1", "成功", &items) }
}

/// An inner document, with a byte order mark and a declaration that is not true.
fn response(code: &str, says: &str, items: &str) -> String {
    format!(
        "\u{FEFF}<?xml version=\"1.0\" encoding=\"gb2312\"?><Response><returnCode>{code}</returnCode>\
         <returnDesc>{says}</returnDesc><Items>{items}</Items></Response>"
    )
}

fn element(name: &str, fields: &[(&'static str, String)]) -> String {
    let inside: String = fields.iter().map(|(name, text)| format!("<{name}>{}</{name}>", escaped(text))).collect();
    format!("<{name}>{inside}</{name}>")
}

fn escaped(text: &str) -> String {
    // `]]>` stays as it is, as careless writers leave it: whoever puts this into CDATA must cut it.
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Text in CDATA, cut in two where it holds the end of one.
fn cdata(text: &str) -> String {
    format!("<![CDATA[{}]]>", text.replace("]]>", "]]]]><![CDATA[>"))
}

/// Every answer of the service.
async fn answer(State(desk): State<Shared>, body: String) -> Response {
    let Some((operation, result)) = called(&desk, &body) else {
        let fault =
            "<soap:Fault><faultcode>soap:Client</faultcode><faultstring>无法识别的请求</faultstring></soap:Fault>";
        return envelope(StatusCode::INTERNAL_SERVER_ERROR, fault);
    };
    let result = if operation == "GetReportItems" { cdata(&result) } else { escaped(&result).replace('>', "&gt;") };
    let body = format!(
        "<{operation}Response xmlns=\"http://tempuri.org/\"><{operation}Result>{result}</{operation}Result>\
         </{operation}Response>"
    );
    envelope(StatusCode::OK, &body)
}

/// The operation that an envelope calls, and its result.
fn called(desk: &Shared, body: &str) -> Option<(String, String)> {
    let document = xml::parse(body, &XmlRules::default()).ok()?;
    let (operation, parameters) = document.root.get("Body")?.as_map()?.iter().find_map(|(name, value)| {
        let parameters = value.as_map()?;
        Some((name.to_string(), parameters.clone()))
    })?;
    let result = lock(desk).call(&operation, &parameters)?;
    Some((operation, result))
}

fn envelope(status: StatusCode, body: &str) -> Response {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"gb2312\"?><soap:Envelope \
         xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>{body}</soap:Body></soap:Envelope>"
    );
    (status, [(header::CONTENT_TYPE, "text/xml")], text).into_response()
}
