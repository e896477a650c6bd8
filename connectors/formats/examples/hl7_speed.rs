//! Decoding of HL7 messages against the bare splitting of their fields, on the same bytes, by turns.
//!
//! ```text
//! cargo run --release -p connector-formats --example hl7_speed
//! ```
//! Prints messages per second of both, and the ratio's median with its range. The aim is 0.4: a
//! document with names, escapes and strict character sets may cost two and a half times a split.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use connector_formats::charset::Charset;
use connector_formats::hl7::Hl7Decoder;
use connector_formats::text::TextPolicy;

/// How often both take their turn.
const ROUNDS: usize = 15;

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

/// Messages per second of some work on one message.
fn speed(work: impl Fn()) -> f64 {
    let begun = Instant::now();
    let mut count = 0_u32;
    while begun.elapsed() < TURN {
        for _ in 0..100 {
            work();
        }
        count += 100;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> (f64, f64, f64) {
    figures.sort_by(f64::total_cmp);
    let at = |part: usize| figures.get(part).copied().unwrap_or_default();
    (at(figures.len() / 2), at(0), at(figures.len().saturating_sub(1)))
}

fn main() {
    let text = message("UNICODE UTF-8");
    let gbk = Charset::Gbk.encode(&message("GBK")).map(|bytes| bytes.into_owned()).unwrap_or_default();
    let decoder = Hl7Decoder::new(TextPolicy::default());
    for (name, body, charset) in [("utf-8", text.into_bytes(), Charset::Utf8), ("gbk", gbk, Charset::Gbk)] {
        let body = Bytes::from(body);
        let split = || {
            let text = charset.decode(&body).unwrap_or_default();
            let fields: Vec<Vec<&str>> = text.split('\r').map(|line| line.split('|').collect()).collect();
            black_box(fields);
        };
        let decode = || drop(black_box(decoder.receive(body.clone())));
        let (mut floors, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (before, own, after) = (speed(split), speed(decode), speed(split));
            floors.push((before + after) / 2.0);
            ours.push(own);
            ratios.push(own * 2.0 / (before + after));
        }
        let (ratio, least, most) = median(ratios);
        println!(
            "{name}, {} bytes: split {:.0}/s, decoded {:.0}/s, ratio {ratio:.2} ({least:.2} to {most:.2})",
            body.len(),
            median(floors).0,
            median(ours).0,
        );
    }
}
