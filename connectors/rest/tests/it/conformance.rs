//! The suite that every polled connector passes, on a server that others made.

use std::path::PathBuf;

use connector_api::async_trait;
use connector_rest::Rest;
use connector_testkit::Upstream;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};

struct Fixture(crate::support::Site);

fn source(url: &str, rest: &str) -> String {
    let common = r#"records = "data.list"
        total = "data.total"
        paging = { by = "page", size = 50 }
        details = [{ name = "items", call = { path = "items/{{ row.key_no }}" }, records = "data" }]"#;
    format!(
        r#"
        [[sources]]
        id = "s"
        [sources.settings]
        url = "{url}"
        answer = {{ code = "code", ok = ["0"] }}
        [[sources.streams]]
        id = "changes"
        mode = "incremental"
        list = {{ path = "list", query = {{ from = "{{{{ from }}}}", page = "{{{{ page }}}}", size = "{{{{ size }}}}" }} }}
        {rest}
        {common}
        [[sources.streams]]
        id = "all"
        mode = "snapshot"
        list = {{ path = "list", query = {{ page = "{{{{ page }}}}", size = "{{{{ size }}}}" }} }}
        {common}
        "#
    )
}

const CHANGES: &str = r#"changes = { start = "2024-01-01", field = "stamp", lag_secs = 60 }"#;

#[async_trait]
impl PollerFixture for Fixture {
    type Kind = Rest;

    async fn put(&self, rows: &[FixtureRow]) {
        self.0.put(rows).await;
    }

    fn source(&self) -> String {
        source(&self.0.url, CHANGES)
    }

    fn unreachable(&self) -> String {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        source(&format!("http://{closed}/"), CHANGES)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let url = &self.0.url;
        let with = |find: &str, put: &str| source(url, CHANGES).replace(find, put);
        vec![
            (source("lab", CHANGES), "settings.url"),
            (source("http://user:word@lab/", CHANGES), "settings.url"),
            (source(url, ""), "streams[0].changes"),
            (source(url, r#"changes = { start = "soon" }"#), "streams[0].changes.start"),
            (with("{{ from }}", "2024"), "streams[0].list"),
            (with("{{ from }}", "{{ since }}"), "streams[0].list.query.from"),
            (with("{{ from }}", "{{ from "), "streams[0].list.query.from"),
            (with("page = \"{{ page }}\", ", ""), "streams[0].list"),
            (with("row.key_no", "key_no"), "streams[0].details[0].call.path"),
            (with("ok = [\"0\"]", "ok = []"), "settings.answer.ok"),
            (with("size = 50", "size = 0"), "streams[0].paging.size"),
            (
                with(
                    "[[sources.streams]]\n        id = \"changes\"",
                    "timezone = \"Moon\"\n[[sources.streams]]\n id = \"changes\"",
                ),
                "settings.timezone",
            ),
            (with("path = \"list\", query", "path = \"list\", body = 'a', query"), "streams[0].list.body"),
            (
                with("path = \"list\", query", "path = \"list\", body = '{\"a\": \"{{ page }}\"}', query"),
                "streams[0].list.body",
            ),
        ]
    }

    fn base_dir(&self) -> PathBuf {
        self.0.base_dir()
    }

    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        let (server, url) = crate::support::through(&self.0.url, port);
        Some((
            server,
            source(&url, CHANGES)
                .replace("[sources.settings]", "[sources.settings]\nconnection = { timeout_secs = 1 }"),
        ))
    }

    fn probes_the_newest_at_any_time(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn rest_conforms() {
    poller_suite(|| Fixture(crate::support::site())).await;
}
