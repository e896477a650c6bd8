//! What one report costs by its size: the aim of a common report, and that cost grows with the items
//! and not faster. One thread, in the processor time that it got.

use std::hint::black_box;
use std::time::Duration;

use connector_api::{DOCUMENT_FORMAT, Document, Map, Raw, Value};
use hisync::model::Outcome;
use hisync::sandbox::hospital::report_rows;

use crate::figures::{Aim, Figures};
use crate::mapping::{Stream, outcomes, stream, thread_time};
use crate::site::{Site, Systems, nobody};
use crate::{Failure, Scale};

/// A common report: groups, items, and the most that normalising it may take, in µs.
const COMMON: (usize, usize, f64) = (25, 120, 250.0);

/// Sizes that tell how the cost grows.
const SIZES: [usize; 3] = [10, 100, 1000];

/// The most that an item of a report of 1000 may cost, as a multiple of an item of one of 100. A cost
/// that grows with the square of the items would be at ten.
const GROWTH: f64 = 1.5;

pub(crate) fn measure(scale: &Scale, figures: &mut Figures) -> Result<(), Failure> {
    let site = Site::new(&scale.dir, nobody()?, Systems::Both)?;
    let stream = stream(&site, "peis/reports")?;
    let template = report_rows(1, 1).next().ok_or("the simulated hospital has no report")?;

    let (groups, items, most) = COMMON;
    let runs = timed(&stream, &report(&template, groups, items), scale)?;
    figures.plain("report_120", "µs per report, normalised", &runs.normalised, Aim::AtMost(most));
    figures.plain("report_120_archived", "µs per report, from its bytes", &runs.from_bytes, Aim::None);

    let mut per_item = Vec::new();
    for items in SIZES {
        // As many items to a group as in the common report.
        let groups = (items * COMMON.0 / COMMON.1).max(1);
        let runs = timed(&stream, &report(&template, groups, items), scale)?;
        let each: Vec<f64> = runs.normalised.iter().map(|micros| micros / items as f64).collect();
        figures.plain(&format!("report_items_{items}"), "µs per item", &each, Aim::None);
        per_item.push(each);
    }
    let growth: Vec<f64> = per_item[2].iter().zip(&per_item[1]).map(|(many, few)| many / few).collect();
    figures.plain("report_growth", "× per item, 1000 against 100", &growth, Aim::AtMost(GROWTH));
    Ok(())
}

struct Runs {
    /// Document to canonical JSON.
    normalised: Vec<f64>,
    /// Archived bytes to canonical JSON.
    from_bytes: Vec<f64>,
}

fn timed(stream: &Stream, document: &Document, scale: &Scale) -> Result<Runs, Failure> {
    let raw = Raw { format: DOCUMENT_FORMAT.to_owned(), charset: None, body: document.to_bytes().into() };
    let document = Ok(document.clone());
    // What is held is cheap to make: it must not stand for what is delivered.
    for outcome in outcomes(stream, &raw, &document) {
        if let Outcome::Held(held) = outcome {
            return Err(format!("the measured report is held: {}", held.reason).into());
        }
    }
    let times = (scale.records * 40 / document.as_ref().map_or(1, size)).max(5);
    let mut runs = Runs { normalised: Vec::new(), from_bytes: Vec::new() };
    for _ in 0..scale.runs {
        let began = thread_time()?;
        for _ in 0..times {
            black_box(outcomes(stream, &raw, black_box(&document)));
        }
        runs.normalised.push(micros(thread_time()? - began, times));
        let began = thread_time()?;
        for _ in 0..times {
            black_box(outcomes(stream, &raw, &stream.decoder.decode(black_box(&raw))));
        }
        runs.from_bytes.push(micros(thread_time()? - began, times));
    }
    Ok(runs)
}

fn micros(time: Duration, times: usize) -> f64 {
    time.as_secs_f64() * 1e6 / times as f64
}

fn size(document: &Document) -> usize {
    document.root.get("items").and_then(Value::as_list).map_or(1, <[Value]>::len).max(1)
}

/// A final report with that many groups and items; the head is that of a simulated person.
fn report(template: &Document, groups: usize, items: usize) -> Document {
    let mut root = Map::with_capacity(template.root.len());
    for (name, value) in template.root.iter() {
        match &**name {
            "items" => root.push("items", (0..items).map(|at| item(at, groups)).collect::<Vec<_>>()),
            "orders" => root.push("orders", (0..groups).map(order).collect::<Vec<_>>()),
            _ => root.push(std::sync::Arc::clone(name), value.clone()),
        }
    }
    Document::new(root)
}

fn order(group: usize) -> Value {
    Value::Map(Map::from_iter([
        ("组合编码", Value::from(format!("Z{group:05}"))),
        ("来源", Value::from("1")),
        ("状态", Value::from("Y")),
    ]))
}

/// The forms of results in the share in which checkups have them: mostly numbers with a range.
fn item(at: usize, groups: usize) -> Value {
    let group = at % groups;
    let (value, unit, range, flag) = match at % 10 {
        0 => ("6.81", "mmol/L", "3.90～6.10", "↑"),
        1 => ("<0.02", "ng/mL", "<0.02", ""),
        2 => ("阴性", "", "阴性", ""),
        3 => ("2+", "", "阴性", "阳性"),
        4 => ("双肺野清晰，肺纹理走行自然，心影不大，膈面光整。", "", "", ""),
        5 => ("118", "×10⁹/L", "125-350", "↓"),
        6 => ("22.5", "μmol/L", "男:9-50;女:7-40", ""),
        _ => ("4.52", "10^12/L", "3.8-5.1", ""),
    };
    let text = |text: &str| if text.is_empty() { Value::Null } else { Value::from(text) };
    Value::Map(Map::from_iter([
        ("组合编码", Value::from(format!("Z{group:05}"))),
        ("组合名称", Value::from(format!("组合项目{group}"))),
        ("科室", Value::from("检验科")),
        ("小结", Value::from("详见各项结果")),
        ("明细编码", Value::from(format!("{at:06}"))),
        ("明细名称", Value::from(format!("明细项目{at}"))),
        ("结果", Value::from(value)),
        ("单位", text(unit)),
        ("参考范围", text(range)),
        ("提示", text(flag)),
        ("危急标志", Value::from("0")),
        ("检查时间", Value::from("2026-11-20 09:15")),
        ("检查医生", Value::from("何试医")),
    ]))
}
