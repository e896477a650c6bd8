//! Operators at the admin address: who comes in, what for, and what the audit log says of it.

use std::path::Path;
use std::process::Command;

use hisync::agent::Agent;
use serde_json::{Value as Json, json};

use super::support::{Site, held, hisync_json, visit};

pub(super) const PASSWORD: &str = "a long enough password";
const TOKEN: &str = "a-token-that-a-monitor-shows";

/// A hospital with one held report and three operators.
pub(super) async fn guarded(tls: bool) -> (Site, Agent) {
    let mut site = Site::new().await;
    site.conclude(&visit(0), 9, Some("?"));
    let hash = hisync::ops::access::hash(PASSWORD).unwrap();
    std::fs::write(site.folder.path().join("monitor.token"), TOKEN).unwrap();
    let mut tables = format!(
        "[[admin.operators]]\nname = \"wang\"\nroles = [\"operate\", \"personal\"]\npassword = \"{hash}\"\n\
         [[admin.operators]]\nname = \"li\"\npassword = \"{hash}\"\n\
         [[admin.operators]]\nname = \"monitor\"\ntoken = {{ file = \"monitor.token\" }}\n"
    );
    if tls {
        certificate(site.folder.path());
        tables += "[admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin.key\"\n";
    }
    let text = std::fs::read_to_string(&site.config).unwrap();
    std::fs::write(&site.config, format!("{text}\n{tables}")).unwrap();
    let agent = site.start().await;
    (site, agent)
}

fn certificate(folder: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=hisync",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            "admin.key",
            "-out",
            "admin.pem",
        ])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A browser, as far as it matters here: it keeps the cookie and shows the session's word.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookie: Option<String>,
    proof: String,
}

impl Browser {
    fn new(agent: &Agent) -> Browser {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Browser { http, base: format!("http://{}", agent.admin_address()), cookie: None, proof: "1".to_owned() }
    }

    async fn ask(&mut self, method: &str, path: &str, body: Option<Json>) -> (u16, Json) {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.base));
        request = request.header("x-hisync", &self.proof);
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("other=1; {cookie}"));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        if let Some(set) = answer.headers().get("set-cookie").map(|set| set.to_str().unwrap().to_owned()) {
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
            self.cookie = Some(set.split(';').next().unwrap().to_owned());
        }
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        (status, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn log_in(&mut self, name: &str, password: &str) -> u16 {
        let (status, found) = self.ask("POST", "/api/login", Some(json!({"name": name, "password": password}))).await;
        if let Some(proof) = found["proof"].as_str() {
            self.proof = proof.to_owned();
        }
        status
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_or_does_anything_without_logging_in() {
    let (site, agent) = guarded(false).await;
    let mut browser = Browser::new(&agent);
    for path in
        ["/api/status", "/api/held", "/api/held/1", "/api/outbox", "/api/explain?q=1", "/api/codes", "/api/audit"]
    {
        assert_eq!(browser.ask("GET", path, None).await.0, 401, "{path}");
    }
    assert_eq!(browser.ask("POST", "/api/held/retry", Some(json!({"who": "x", "on": {"all": true}}))).await.0, 401);
    for path in ["/", "/page.js", "/live", "/ready", "/metrics"] {
        assert_eq!(browser.ask("GET", path, None).await.0, 200, "{path}");
    }
    assert_eq!(
        browser.ask("GET", "/api/me", None).await.1,
        json!({"open": false, "name": null, "roles": [], "proof": null})
    );
    assert_eq!(browser.log_in("wang", "wrong").await, 401);
    assert_eq!(browser.log_in("wang", PASSWORD).await, 200);
    assert_eq!(browser.ask("GET", "/api/status", None).await.0, 200);
    assert_eq!(browser.ask("GET", "/api/me", None).await.1["name"], "wang");
    // hisync's own commands are of this machine and need no password.
    assert_eq!(hisync_json(&site.config, &["held", "list"]).0, 0);
    assert_eq!(browser.ask("POST", "/api/logout", Some(json!({}))).await.0, 200);
    assert_eq!(browser.ask("GET", "/api/status", None).await.0, 401);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acts_bear_the_operators_name_and_the_audit_log_shows_when_it_is_changed() {
    let (site, agent) = guarded(false).await;
    let item = held(&agent).await[0].id;
    let mut wang = Browser::new(&agent);
    assert_eq!(wang.log_in("wang", PASSWORD).await, 200);
    let look = format!("/api/held/{item}?personal=compare&who=somebody");
    assert_eq!(wang.ask("GET", &look, None).await.0, 200);

    let dismiss = json!({"who": "somebody else", "because": "a test"});
    let path = format!("/api/held/{item}/dismiss");
    let proof = std::mem::replace(&mut wang.proof, "1".to_owned());
    assert_eq!(wang.ask("POST", &path, Some(dismiss.clone())).await.0, 403, "the cookie alone is not enough");
    wang.proof = proof;
    assert_eq!(wang.ask("POST", &path, Some(dismiss)).await.0, 200);

    let lines = wang.ask("GET", "/api/audit", None).await.1;
    let acts: Vec<(&str, &str)> = lines
        .as_array()
        .unwrap()
        .iter()
        .map(|line| (line["who"].as_str().unwrap(), line["act"].as_str().unwrap()))
        .collect();
    assert_eq!(acts, [("wang", "held-dismiss"), ("wang", "show-personal"), ("wang", "login")]);
    assert_eq!(hisync_json(&site.config, &["audit", "verify"]).0, 0);
    agent.stop().await;

    let db = rusqlite::Connection::open(site.data_dir().join("hisync.db")).unwrap();
    let sql = "UPDATE audit SET who = 'nobody' WHERE act = 'show-personal'";
    assert!(db.execute(sql, ()).unwrap_err().to_string().contains("only appended"));
    db.execute_batch(&format!("DROP TRIGGER audit_is_not_rewritten; {sql};")).unwrap();
    let (code, found) = hisync_json(&site.config, &["audit", "verify"]);
    assert_eq!((code, &found["broken_at"]), (1, &json!(2)));
    db.execute_batch("DELETE FROM audit WHERE act = 'show-personal'").unwrap();
    let (code, found) = hisync_json(&site.config, &["audit", "verify"]);
    assert_eq!((code, &found["broken_at"]), (1, &json!(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_say_who_may_act_and_who_may_see_personal_data() {
    let (_site, agent) = guarded(false).await;
    let item = held(&agent).await[0].id;
    let mut li = Browser::new(&agent);
    assert_eq!(li.log_in("li", PASSWORD).await, 200);
    assert_eq!(li.ask("GET", &format!("/api/held/{item}"), None).await.0, 200);
    assert_eq!(li.ask("GET", &format!("/api/held/{item}?personal=x&who=li"), None).await.0, 403);
    assert_eq!(li.ask("GET", &format!("/api/held/{item}?%70ersonal=x&who=li"), None).await.0, 403);
    assert_eq!(li.ask("POST", &format!("/api/held/{item}/retry"), Some(json!({}))).await.0, 403);
    assert_eq!(li.ask("POST", "/api/upstream/reset", None).await.0, 403);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let shown = |token: &'static str| {
        client.get(format!("http://{}/api/status", agent.admin_address())).bearer_auth(token).send()
    };
    assert_eq!(shown(TOKEN).await.unwrap().status(), 200);
    assert_eq!(shown("guessed").await.unwrap().status(), 401);
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_is_encrypted_where_the_configuration_says_so() {
    let (site, agent) = guarded(true).await;
    let authority = site.folder.path().join("admin.pem");
    let curl = |arguments: &[&str]| {
        let mut command = Command::new("curl");
        let done = command.args(["-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments);
        String::from_utf8(done.output().unwrap().stdout).unwrap()
    };
    let address = agent.admin_address();
    let secure = format!("https://{address}/api/me");
    assert_eq!(curl(&["--cacert", authority.to_str().unwrap(), &secure]), "200");
    assert_eq!(curl(&[&format!("http://{address}/api/me")]), "000", "nothing is said in the clear");
    let body = json!({"name": "wang", "password": PASSWORD}).to_string();
    let headers = site.folder.path().join("headers");
    let login = format!("https://{address}/api/login");
    let sent = curl(&[
        "--cacert",
        authority.to_str().unwrap(),
        "-D",
        headers.to_str().unwrap(),
        "-H",
        "x-hisync: 1",
        "-H",
        "content-type: application/json",
        "-d",
        &body,
        &login,
    ]);
    assert_eq!(sent, "200");
    assert!(std::fs::read_to_string(headers).unwrap().contains("; Secure"));
    assert_eq!(hisync_json(&site.config, &["held", "list"]).0, 0, "commands reach it too");
    agent.stop().await;
}
