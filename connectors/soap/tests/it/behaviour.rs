//! What SOAP sources must survive, on a service made with spyne.

use crate::support::site;
use connector_api::{
    Action, ConnectorKind as _, FaultClass, Flow, Poller, Record, Request, SourceTime, Value, Watermark,
};
use connector_testkit::conformance::{FixtureRow, scan_changes, scan_snapshot};
use connector_testkit::recorded::{Peer, Turn};
use serde_json::json;

const ANSWER: &str = r#"answer = { code = "Response.returnCode", ok = ["1"], no_data_text = ["未查询到"], message = "Response.returnDesc" }"#;

fn string_stream(rest: &str) -> String {
    format!(
        r#"list = {{ operation = "GetString", params = [{{ name = "space_", value = "SPACE" }}, {{ name = "strXml", cdata = true, value = "<r><begin>{{{{ from }}}}</begin><end>{{{{ to }}}}</end><note>a]]&gt;b</note></r>" }}] }}
        records = "Response.Items.Item"
        {rest}"#
    )
}

fn keys(records: &[Record]) -> Vec<String> {
    let key =
        |record: &Record| record.document.as_ref().unwrap().root.get("key_no").unwrap().as_text().unwrap().to_owned();
    records.iter().map(key).collect()
}

async fn failure(poller: &mut dyn Poller) -> connector_api::SourceError {
    let start = Watermark::start();
    let changes = poller.fetch(Request::Changes { from: &start, after: None }, 100).await;
    changes.expect_err("it fails")
}

#[tokio::test]
async fn one_string_in_and_one_out_is_read_in_windows() {
    let site = site();
    site.put(&[FixtureRow::at("1", 1, "张<三>"), FixtureRow::at("2", 2, "李四")]).await;
    let changes = r#"changes = { start = "2024-01-01", days = 1, lag_secs = 3600 }"#;
    let mut poller = site.poller(ANSWER, "incremental", &string_stream(changes));
    let start = Watermark::start();
    let first = poller.fetch(Request::Changes { from: &start, after: None }, 100).await.unwrap();
    assert!(first.records.is_empty(), "nothing is no failure");
    let advance = first.advance.unwrap().to;
    let day = |text: &str| Value::Time(text.parse::<SourceTime>().unwrap());
    assert_eq!(advance.columns(), [day("2024-01-02T00:00:00")], "the end of the window that was read");
    let second = poller.fetch(Request::Changes { from: &advance, after: first.next.as_ref() }, 100).await.unwrap();
    assert_eq!(keys(&second.records), ["1", "2"]);
    assert_eq!(second.records[0].document.as_ref().unwrap().root.get("name"), Some(&Value::from("张<三>")));
    assert_eq!(second.records[0].raw.format, "application/xml");
    let asked = site.log().await;
    assert_eq!(asked[0], "2024-01-01 00:00:00 to 2024-01-02 00:00:00 for a]]>b");
    assert_eq!(asked[1], "2024-01-01 23:00:00 to 2024-01-02 23:00:00 for a]]>b", "windows overlap by the lag");
}

#[tokio::test]
async fn strings_that_were_escaped_twice_are_read_as_well() {
    let site = site();
    site.put(&[FixtureRow::at("1", 1, "A&B")]).await;
    site.set(json!({"twice": true})).await;
    let mut poller = site.poller(ANSWER, "incremental", &string_stream(r#"changes = { start = "2024-01-01" }"#));
    let mut stored = Watermark::start();
    let records = scan_changes(&mut *poller, &mut stored, 10).await;
    assert_eq!(records[0].document.as_ref().unwrap().root.get("name"), Some(&Value::from("A&B")));
}

#[tokio::test]
async fn a_code_that_is_not_listed_is_a_failure_and_moves_nothing() {
    let site = site();
    for answer in [
        "<Response><returnCode>9</returnCode><Items/></Response>",
        "<Response><returnDesc>ok</returnDesc><Items/></Response>",
        "系统忙",
        "",
    ] {
        site.set(json!({"answer": answer})).await;
        let mut poller = site.poller(ANSWER, "incremental", &string_stream(r#"changes = { start = "2024-01-01" }"#));
        let error = failure(&mut *poller).await;
        assert_eq!(error.class, FaultClass::Data, "{answer}: {}", error.chain());
    }
    site.set(json!({"answer": "未查询到数据"})).await;
    let mut poller = site.poller(ANSWER, "incremental", &string_stream(r#"changes = { start = "2024-01-01" }"#));
    let start = Watermark::start();
    assert!(poller.fetch(Request::Changes { from: &start, after: None }, 9).await.unwrap().records.is_empty());
}

const LOGIN: &str = r#"
login = { type = "call", call = { operation = "Login", params = [{ name = "user", value = "{{ user }}" }, { name = "password", value = "{{ password }}" }], answer = { code = ".", ok = ["*"], failed = ["-1"] } }, user = "user of SPACE", secret = { file = "secret" } }
answer = { code = "code", ok = ["1"], expired = ["-9"] }"#;
const JSON: &str = r#"
list = { operation = "GetJson", params = [{ name = "key", value = "{{ token }}" }] }
records = "data.*.item""#;

#[tokio::test]
async fn json_in_numbered_texts_is_read_with_a_token_that_is_renewed_once_it_expires() {
    let site = site();
    site.put(&[FixtureRow::at("1", 1, "张三"), FixtureRow::at("2", 2, "李四")]).await;
    site.set(json!({"uses": 2})).await;
    let settings = LOGIN.replace("SPACE", &site.name);
    let mut poller = site.poller(&settings, "snapshot", JSON);
    for _ in 0..5 {
        let (records, _) = scan_snapshot(&mut *poller, 10).await;
        assert_eq!(keys(&records), ["1", "2"]);
        let id = records[0].document.as_ref().unwrap().root.get("id").cloned();
        assert_eq!(id, Some(Value::Integer(1_234_567_890_123_456_789)), "digit for digit");
    }
}

#[tokio::test]
async fn a_refused_login_stops_the_stream_without_showing_the_password() {
    let site = site();
    std::fs::write(site.folder.path().join("secret"), "wrong word").unwrap();
    let mut poller = site.poller(&LOGIN.replace("SPACE", &site.name), "snapshot", JSON);
    let error = poller.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Login, Action::Stop));
    assert!(!error.chain().contains("wrong word"), "{}", error.chain());
}

#[tokio::test]
async fn a_detail_that_fails_fails_its_page_and_names_nobody() {
    let site = site();
    site.put(&[FixtureRow::at("1", 1, "张三"), FixtureRow::at("2", 2, "李四")]).await;
    site.set(json!({"failing": ["2"]})).await;
    let stream = r#"
        list = { operation = "GetReports", params = [{ name = "space_", value = "SPACE" }, { name = "begin", value = "{{ from }}" }, { name = "page", value = "1" }, { name = "size", value = "100" }] }
        records = "GetReportsResult.reports.Report"
        changes = { start = "2024-01-01", field = "stamp" }
        details = [{ name = "items", records = "GetItemsResult.Item", call = { operation = "GetItems", params = [{ name = "space_", value = "SPACE" }, { name = "key", value = "{{ row.key_no }}" }] } }]"#;
    let mut poller = site.poller("", "incremental", stream);
    let error = failure(&mut *poller).await;
    assert_eq!((error.class, error.action), (FaultClass::Protocol, Action::Retry { after: None }));
    assert!(error.chain().contains("fault \"Server\"") && !error.chain().contains("张三"), "{}", error.chain());
    site.set(json!({"failing": []})).await;
    let mut stored = Watermark::start();
    let records = scan_changes(&mut *poller, &mut stored, 10).await;
    let items = records[1].document.as_ref().unwrap().root.get("items").unwrap().as_list().unwrap().len();
    assert_eq!((records.len(), items), (2, 2));
    assert!(!stored.is_start());
}

#[tokio::test]
async fn the_wsdl_lists_operations_with_parameters_and_an_envelope() {
    let site = site();
    let mut poller = site.poller(ANSWER, "incremental", &string_stream(r#"changes = { start = "2024-01-01" }"#));
    let listed = poller.discover(None).await.unwrap();
    assert!(listed.iter().any(|found| found.name == "Login" && found.columns.len() == 2), "{listed:?}");
    let found = poller.discover(Some("GetReports")).await.unwrap();
    let names: Vec<&str> = found[0].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names[..4], ["space_", "begin", "page", "size"]);
    let said = |name: &str| found[0].columns.iter().find(|column| column.name == name).unwrap().type_name.clone();
    assert_eq!(said("(namespace)"), "http://tempuri.org/");
    assert!(
        said("(answer)").contains("GetReportsResult(") && said("(answer)").contains("Report("),
        "{}",
        said("(answer)")
    );
    let envelope = said("(request)");
    assert!(envelope.contains("<GetReports xmlns=\"http://tempuri.org/\"><space_>string</space_>"), "{envelope}");
    assert!(poller.discover(Some("Nothing")).await.is_err());
}

#[tokio::test]
async fn a_fault_is_told_from_a_failing_server() {
    for (code, body, expected) in [
        (
            500,
            "<e:Envelope xmlns:e='u'><e:Body><e:Fault><faultcode>e:Client</faultcode><faultstring>no 张三</faultstring></e:Fault></e:Body></e:Envelope>",
            Action::Stop,
        ),
        (
            500,
            "<e:Envelope xmlns:e='u'><e:Body><e:Fault><e:Code><e:Value>e:Receiver</e:Value></e:Code></e:Fault></e:Body></e:Envelope>",
            Action::Retry { after: None },
        ),
        (500, "<html><body>Server Error in '/' Application.</body></html>", Action::Retry { after: None }),
        (200, "<!DOCTYPE html><html><body>login</body></html>", Action::Retry { after: None }),
        (200, "<e:Envelope xmlns:e='u'><e:Body><a><b>", Action::Retry { after: None }),
    ] {
        let head = format!("HTTP/1.1 {code} x\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", body.len());
        let peer = Peer::start(vec![Turn::Answer([head.as_bytes(), body.as_bytes()].concat())]);
        let text = format!(
            "[[sources]]\nid = \"s\"\nsettings = {{ url = \"{}\" }}\n[[sources.streams]]\nid = \"it\"\nmode = \"snapshot\"\nlist = {{ operation = \"A\" }}\n",
            peer.url
        );
        let mut poller =
            connector_testkit::conformance::poller::<connector_soap::Soap>(&text, std::path::Path::new("."), "it");
        let error = poller.fetch(Request::Snapshot { after: None }, 10).await.unwrap_err();
        assert_eq!((error.class, error.action), (FaultClass::Protocol, expected), "{}", error.chain());
        assert!(!error.chain().contains("张三"));
        let asked = peer.asked.lock().unwrap()[0].to_ascii_lowercase();
        assert!(asked.contains("soapaction: \"http://tempuri.org/a\""), "{asked}");
    }
}

#[tokio::test]
async fn times_are_in_the_hospitals_zone_unless_the_source_has_one_of_its_own() {
    // Half past eight in Tokyo, and in UTC.
    for (own, from) in [("", "1704151800"), (", timezone = \"UTC\"", "1704184200")] {
        let peer = Peer::start(vec![Turn::Answer(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n".to_vec())]);
        let text = format!(
            "[[sources]]\nid = \"s\"\nconnector = \"soap\"\nsettings = {{ url = \"{}\"{own} }}\n[[sources.streams]]\n\
             id = \"it\"\nmode = \"incremental\"\nlist = {{ operation = \"A\", params = [{{ name = \"from\", value = \
             \"{{{{ from }}}}\" }}] }}\nchanges = {{ start = \"2024-01-01\", format = \"unix\" }}\n",
            peer.url
        );
        let mut source = connector_testkit::source_spec::<connector_soap::Soap>(&text, std::path::Path::new("."));
        source.zone = "Asia/Tokyo".parse().unwrap();
        let Flow::Poll(mut pollers) = connector_soap::Soap::build(source).unwrap().flow else { panic!("it is polled") };
        let since = "2024-01-02T08:30:00".parse().unwrap();
        pollers[0].poller.fetch(Request::Window { since, after: None }, 10).await.unwrap_err();
        let asked = peer.asked.lock().unwrap()[0].clone();
        assert!(asked.contains(&format!(">{from}<")), "{asked}");
    }
}
