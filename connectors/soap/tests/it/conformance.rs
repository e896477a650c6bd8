//! The suite that every polled connector passes, on a service made with a library of others, in both
//! versions of SOAP.

use std::path::PathBuf;

use connector_api::async_trait;
use connector_soap::Soap;
use connector_testkit::Upstream;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};

struct Fixture {
    site: crate::support::Site,
    version: &'static str,
}

impl Fixture {
    fn text(&self, url: &str, changes: &str) -> String {
        let space = format!(r#"{{ name = "space_", value = "{}" }}"#, self.site.name);
        let common = format!(
            r#"records = "GetReportsResult.reports.Report"
            total = "GetReportsResult.total"
            paging = {{ by = "page", size = 50 }}
            [[sources.streams.details]]
            name = "items"
            records = "GetItemsResult.Item"
            [sources.streams.details.call]
            operation = "GetItems"
            params = [{space}, {{ name = "key", value = "{{{{ row.key_no }}}}" }}]
            answer = {{ code = "GetItemsResult.@code", ok = [""] }}
            "#
        );
        let list = |begin: &str| {
            format!(
                r#"list = {{ operation = "GetReports", params = [{space}, {{ name = "begin", value = "{begin}" }},
                    {{ name = "page", value = "{{{{ page }}}}" }}, {{ name = "size", value = "{{{{ size }}}}" }}] }}"#
            )
            .replace('\n', " ")
        };
        format!(
            r#"
            [[sources]]
            id = "s"
            [sources.settings]
            url = "{url}"
            version = "{}"
            answer = {{ code = "GetReportsResult.code", ok = ["0"] }}
            [[sources.streams]]
            id = "changes"
            mode = "incremental"
            {}
            {changes}
            {common}
            [[sources.streams]]
            id = "all"
            mode = "snapshot"
            {}
            {common}
            "#,
            self.version,
            list("{{ from }}"),
            list("")
        )
    }

    fn url(&self) -> String {
        self.site.url(if self.version == "1.1" { "soap11/" } else { "soap12/" })
    }
}

const CHANGES: &str = r#"changes = { start = "2024-01-01", field = "stamp", lag_secs = 60 }"#;

#[async_trait]
impl PollerFixture for Fixture {
    type Kind = Soap;

    async fn put(&self, rows: &[FixtureRow]) {
        self.site.put(rows).await;
    }

    fn source(&self) -> String {
        self.text(&self.url(), CHANGES)
    }

    fn unreachable(&self) -> String {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        self.text(&format!("http://{closed}/"), CHANGES)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        let with = |find: &str, put: &str| self.source().replacen(find, put, 1);
        vec![
            (self.text("service", CHANGES), "settings.url"),
            (self.text(&self.url(), ""), "streams[0].changes"),
            (with(&format!("version = \"{}\"", self.version), "version = \"2\""), "settings"),
            (with("answer =", "namespace = \"\"\nanswer ="), "settings.namespace"),
            (with("operation = \"GetReports\"", "operation = \"Get Reports\""), "streams[0].list.operation"),
            (with("name = \"begin\"", "name = \"<begin\""), "streams[0].list.params[1].name"),
            (with("{{ from }}", "{{ since }}"), "streams[0].list.params[1].value"),
            (with("{{ page }}", "1"), "streams[0].list"),
            (
                with("operation = \"GetReports\"", "action = \"a\\\"b\", operation = \"GetReports\""),
                "streams[0].list.action",
            ),
        ]
    }

    fn base_dir(&self) -> PathBuf {
        self.site.base_dir()
    }

    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        let (server, url) = crate::support::through(&self.url(), port);
        let text = self.text(&url, CHANGES);
        Some((server, text.replace("[sources.settings]", "[sources.settings]\nconnection = { timeout_secs = 1 }")))
    }

    fn probes_the_newest_at_any_time(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn soap_11_conforms() {
    poller_suite(|| Fixture { site: crate::support::site(), version: "1.1" }).await;
}

#[tokio::test]
async fn soap_12_conforms() {
    poller_suite(|| Fixture { site: crate::support::site(), version: "1.2" }).await;
}
