//! Two ways of doing the same work, measured by turns in one run: what is compared is their ratio, because a busy
//! machine slows both down.
//!
//! A table goes to stderr while it is measured, one line of JSON to stdout when all is done.

use serde_json::{Value, json};

use crate::memory::Memory;

/// The figures of one program.
#[derive(Debug)]
pub struct Bench {
    name: String,
    figures: Vec<Value>,
    memory: Vec<Value>,
}

/// What is compared, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is counted per second: `rows`, `messages`, `documents`.
    pub unit: &'a str,
    /// The ratio that is aimed at; `None` where it is told for comparison only.
    pub aim: Option<f64>,
    /// How many rounds of floor, ours, floor.
    pub rounds: usize,
}

impl Bench {
    /// Begins a run.
    pub fn new(name: &str) -> Bench {
        eprintln!("{name}: {}", if cfg!(debug_assertions) { "a debug build, whose figures say nothing" } else { "" });
        Bench { name: name.to_owned(), figures: Vec::new(), memory: Vec::new() }
    }

    /// Compares two ways, each of which answers how many it did in a second. `work` is called with `false` for the
    /// floor and `true` for ours.
    pub fn compare(&mut self, compared: Compared<'_>, mut work: impl FnMut(bool) -> f64) {
        let rounds = compared.rounds.max(1);
        let (mut floors, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (before, own, after) = (work(false), work(true), work(false));
            floors.push((before + after) / 2.0);
            ours.push(own);
            ratios.push(own * 2.0 / (before + after));
        }
        let [floor, ours] = [middle(&mut floors), middle(&mut ours)];
        let ratio = middle(&mut ratios);
        let (least, most) = (ratios.first().copied().unwrap_or(ratio), ratios.last().copied().unwrap_or(ratio));
        let Compared { name, unit, aim, .. } = compared;
        let met = aim.map(|aim| ratio >= aim);
        let aimed = match (aim, met) {
            (Some(aim), Some(true)) => format!("aim {aim}: met"),
            (Some(aim), _) => format!("aim {aim}: MISSED"),
            (None, _) => String::new(),
        };
        eprintln!(
            "  {name:<24} {ours:>12.0} {unit}/s of {floor:>12.0}  ratio {ratio:.2} ({least:.2} to {most:.2})  {aimed}"
        );
        let two = |number: f64| (number * 1000.0).round() / 1000.0;
        self.figures.push(json!({
            "name": name, "unit": format!("{unit}/s"), "rounds": rounds, "floor": floor.round(), "ours": ours.round(),
            "ratio": two(ratio), "ratio_least": two(least), "ratio_most": two(most), "aim": aim, "met": met,
        }));
    }

    /// Adds what a scan took of memory.
    pub fn memory(&mut self, name: &str, memory: Memory) {
        let Memory { rows, before_kib, peak_kib, driver_kib } = memory;
        let grown = memory.grown_kib() as f64 / 1024.0;
        let met = memory.is_within_bounds();
        let aimed = if met { "met" } else { "MISSED" };
        eprintln!("  {name:<24} {rows:>12} rows took {grown:.1} MiB of memory more than before  aim 64: {aimed}");
        self.memory.push(json!({
            "name": name, "rows": rows, "before_kib": before_kib, "peak_kib": peak_kib, "driver_kib": driver_kib,
            "grown_mib": (grown * 10.0).round() / 10.0, "aim_mib": 64, "met": met,
        }));
    }

    /// Prints the figures.
    pub fn finish(self) {
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let all = json!({
            "bench": self.name, "build": build, "figures": self.figures, "memory": self.memory,
        });
        println!("{all}");
    }
}

fn middle(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A number in the environment, e.g. `HISYNC_ROWS`, or `usual` where that is not set.
pub fn setting(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
