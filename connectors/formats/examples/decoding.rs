//! How fast JSON and XML become Documents, beside the bare parser on the same bytes in the same run.
//!
//! `cargo run --release -p connector-formats --example decoding`. Rounds of floor, ours, floor; the
//! median of their ratios is what counts, since the machine drifts.

#![expect(clippy::unwrap_used, reason = "a benchmark of its own input")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use connector_formats::xml::XmlRules;
use connector_formats::{json, xml};
use quick_xml::Reader;
use quick_xml::events::Event;

const ROUNDS: usize = 15;

fn timed(work: impl Fn()) -> Duration {
    let began = Instant::now();
    (0..200).for_each(|_| work());
    began.elapsed()
}

fn compare(name: &str, bytes: usize, floor: impl Fn(), ours: impl Fn()) {
    let mut ratios = Vec::new();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let (before, own, after) = (timed(&floor), timed(&ours), timed(&floor));
        best = best.min(own);
        ratios.push((before + after).as_secs_f64() / 2.0 / own.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    let speed = bytes as f64 * 200.0 / best.as_secs_f64() / 1e6;
    let (low, middle, high) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
    println!("{name}: {middle:.2} of the bare parser ({low:.2} to {high:.2}), {speed:.0} MB/s of {bytes} bytes");
}

fn main() {
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
    let rules = XmlRules::default();
    let bare_json = || drop(black_box(serde_json::from_str::<serde_json::Value>(black_box(&as_json)).unwrap()));
    compare("json", as_json.len(), bare_json, || drop(black_box(json::document(black_box(&as_json)).unwrap())));
    let bare_xml = || {
        let mut reader = Reader::from_str(black_box(&as_xml));
        while !matches!(black_box(reader.read_event().unwrap()), Event::Eof) {}
    };
    compare("xml", as_xml.len(), bare_xml, || drop(black_box(xml::parse(black_box(&as_xml), &rules).unwrap())));
}
