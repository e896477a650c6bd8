//! A report with its PDF, from a sender's HTTP request to the upstream's disk.

use hisync::sandbox::upstream::{Fault, Target};

use super::support::{Site, delivered, eventually, overview};

/// A PDF of one page that prints a text.
fn pdf(text: &str) -> Vec<u8> {
    let shown = format!("BT /F1 12 Tf 72 600 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{shown}\nendstream", shown.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = String::new();
    for (number, object) in (1..).zip(&objects) {
        places.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{number} 0 obj\n{object}\nendobj\n"));
    }
    let start = file.len();
    file.push_str(&format!("xref\n0 6\n0000000000 65535 f \n{places}trailer\n<< /Size 6 /Root 1 0 R >>\n"));
    file.push_str(&format!("startxref\n{start}\n%%EOF\n"));
    file.into_bytes()
}

/// Adds a source to which reports are pushed, as a form with the record and its file.
fn add_push(site: &Site) {
    let mapping = std::fs::read_to_string("fixtures/mapping/report-attachments/mapping.toml").unwrap();
    let mapping = mapping.replace("each = \"files\"", "each = \"attachments\"");
    let mapping = mapping.replace("content = \"NR\"", "content = \"bytes\"");
    let mapping =
        mapping.replace("{ from = \"LB\", codes = \"file\" }", "{ const = \"report_pdf\", reason = \"one PDF\" }");
    let mapping = mapping.replace("media_type = \"LX\"", "media_type = \"media_type\"");
    let mapping = mapping.replace("source_ref = \"LJ\"", "source_ref = \"file_name\"");
    std::fs::write(site.folder.path().join("push.toml"), mapping).unwrap();
    let mut config = std::fs::read_to_string(&site.config).unwrap();
    config.push_str(
        r#"
[[sources]]
id = "push"
connector = "webhook"
settings = { listen = "127.0.0.1:0" }

[[sources.streams]]
id = "reports"
entity = "exam_report"
mode = "push"
mapping = "push.toml"
path = "/reports"
format = "json"
document_part = "report"
onboarding = { records = 1 }
"#,
    );
    std::fs::write(&site.config, config).unwrap();
}

fn form(number: &str, file: &[u8]) -> (String, Vec<u8>) {
    let record = std::fs::read_to_string("fixtures/mapping/report-values/input.json").unwrap();
    let record = record.replace("0301170001", number);
    let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["DJSJ"] = "2026-11-18T07:41:02".into();
    record["TJRQ"] = "2026-11-18".into();
    let mut body = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"report\"\r\nContent-Type: application/json\r\n\r\n{record}\r\n\
         --edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{number}.pdf\"\r\n\
         Content-Type: application/pdf\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--edge--\r\n");
    ("multipart/form-data; boundary=edge".to_owned(), body)
}

#[tokio::test]
async fn a_pdf_travels_from_the_sender_to_upstream_before_its_report_and_through_a_restart() {
    let site = Site::new().await;
    add_push(&site);
    let refused = Fault { on: Target::Attachments, status: Some(503), ..Fault::default() };
    site.upstream.put_faults(vec![refused]);
    let agent = site.start().await;
    let endpoint = || {
        let streams = agent.board().all();
        streams.into_iter().find(|stream| stream.id.as_str() == "push/reports").and_then(|stream| stream.endpoint)
    };
    eventually("the port to be open", async || endpoint().is_some()).await;
    let address = endpoint().unwrap();
    let address = address.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    for (number, shown) in [("0301170001", "0301170001"), ("0301170005", "0301170009")] {
        let (media_type, body) = form(number, &pdf(&format!("No. {shown}")));
        let request = reqwest::Client::new().post(format!("http://{address}/reports"));
        let answer = request.header("content-type", media_type).body(body).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    eventually("the file to be tried", async || agent.delivery().attachments.retried > 0).await;
    agent.stop().await;
    let reports = || {
        let received = site.upstream.received().into_iter().map(|line| line.event);
        received.filter(|event| event["data"]["report_no"] == "R0301170001").collect::<Vec<_>>()
    };
    assert!(reports().is_empty() && site.upstream.attachments().is_empty());

    site.upstream.put_faults(vec![]);
    let agent = site.start().await;
    delivered(&agent).await;
    let digest = reports()[0]["data"]["attachments"][0]["digest"].as_str().unwrap().to_owned();
    let stored: Vec<String> =
        site.upstream.attachments().into_keys().map(|sha256| format!("sha256-{sha256}")).collect();
    assert_eq!(stored, [digest], "the other report's PDF shows another exam number");
    let held: Vec<String> = overview(&agent).await.held_open.into_iter().map(|held| held.reason).collect();
    assert_eq!(held, ["attachment-other-number"]);
    agent.stop().await;
}
