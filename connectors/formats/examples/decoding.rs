//! How fast XML, JSON and HL7 become Documents, beside the bare parser on the same bytes in the same run:
//! `cargo run --release -p connector-formats --example decoding`.
//!
//! The bare parser of XML is quick-xml's events, of JSON serde_json's values, of HL7 the splitting of the decoded text
//! into its fields. A Document has names, exact numbers, unescaped and checked text beside that.

#![expect(clippy::unwrap_used, reason = "a benchmark of its own input")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connector_formats::charset::Charset;
use connector_formats::hl7::Hl7Decoder;
use connector_formats::text::TextPolicy;
use connector_formats::xml::XmlRules;
use connector_formats::{json, xml};
use connector_testkit::bench::{Bench, Compared, setting};
use quick_xml::Reader;
use quick_xml::events::Event;

/// How long a turn is.
const TURN: Duration = Duration::from_millis(200);

/// A result message of some 2 KB, as a laboratory sends it.
fn message(charset: &str) -> String {
    let mut text = format!(
        "MSH|^~\\&|LIS|HOSP|HISYNC|EXAM|20261122080000||ORU^R01^ORU_R01|20261122000117|P|2.4||||||{charset}\r\
         PID|1||T0301170001^^^LIS||张三||19880601|M\rPV1|1|O|体检中心^^^\r\
         ORC|RE|0301170001||||||||||1007^李医生\rOBR|1|0301170001||LP01^血脂四项^L|||20261122073000||||||||S^血清\r"
    );
    for number in 1..=20 {
        text += &format!(
            "OBX|{number}|NM|TG{number:02}^甘油三酯^L||1.{number:02}|mmol/L|0.45-1.70|N|||F|||20261122075500||1007^李医生\r"
        );
    }
    text
}

/// Reports as JSON and as XML.
fn reports() -> (String, String) {
    let (mut as_json, mut as_xml) = (String::from("{\"reports\":["), String::from("<reports>"));
    for report in 0..20 {
        let comma = if report > 0 { "," } else { "" };
        write!(as_json, "{comma}{{\"no\":\"R{report:06}\",\"name\":\"张三\",\"items\":[").unwrap();
        write!(as_xml, "<report><no>R{report:06}</no><name>张三</name><items>").unwrap();
        for item in 0..15 {
            let comma = if item > 0 { "," } else { "" };
            write!(
                as_json,
                "{comma}{{\"code\":\"LP{item:02}\",\"text\":\"甘油三酯\",\"value\":1.{item}0,\"id\":{item}}}"
            )
            .unwrap();
            write!(
                as_xml,
                "<item code=\"LP{item:02}\"><text>甘油三酯</text><value>1.{item}0</value><range>0.45&lt;1.70</range></item>"
            )
            .unwrap();
        }
        as_json.push_str("]}");
        as_xml.push_str("</items></report>");
    }
    as_json.push_str("]}");
    as_xml.push_str("</reports>");
    (as_json, as_xml)
}

/// How often some work is done in a second.
fn speed(work: impl Fn()) -> f64 {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TURN {
        (0..20).for_each(|_| work());
        count += 20;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn main() {
    let mut bench = Bench::new("formats");
    let rounds = setting("HISYNC_ROUNDS", 15);
    let compared = |name, unit| Compared { name, unit, aim: Some(0.4), rounds };
    let (as_json, as_xml) = reports();
    let rules = XmlRules::default();
    bench.compare(compared("xml", "documents"), |ours| match ours {
        true => speed(|| drop(black_box(xml::parse(black_box(&as_xml), &rules).unwrap()))),
        false => speed(|| {
            let mut reader = Reader::from_str(black_box(&as_xml));
            while !matches!(black_box(reader.read_event().unwrap()), Event::Eof) {}
        }),
    });
    bench.compare(compared("json", "documents"), |ours| match ours {
        true => speed(|| drop(black_box(json::document(black_box(&as_json)).unwrap()))),
        false => speed(|| drop(black_box(serde_json::from_str::<serde_json::Value>(black_box(&as_json)).unwrap()))),
    });
    let text = message("UNICODE UTF-8");
    let gbk = Charset::Gbk.encode(&message("GBK")).map(|bytes| bytes.into_owned()).unwrap_or_default();
    let decoder = Hl7Decoder::new(TextPolicy::default());
    for (name, body, charset) in [("hl7, utf-8", text.into_bytes(), Charset::Utf8), ("hl7, gbk", gbk, Charset::Gbk)] {
        let body = Bytes::from(body);
        bench.compare(compared(name, "messages"), |ours| match ours {
            true => speed(|| drop(black_box(decoder.receive(body.clone())))),
            false => speed(|| {
                let text = charset.decode(&body).unwrap_or_default();
                let fields: Vec<Vec<&str>> = text.split('\r').map(|line| line.split('|').collect()).collect();
                black_box(fields);
            }),
        });
    }
    bench.finish();
}
