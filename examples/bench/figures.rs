//! The figures: medians and spreads, as a table for people and as JSON for machines.

use serde_json::{Map, Value, json};

/// Everything that was measured so far.
pub(crate) struct Figures(Map<String, Value>);

/// Whether a figure is to be above or below its aim.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtMost(f64),
    None,
}

impl Figures {
    pub(crate) fn new(quick: bool) -> Figures {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        eprintln!("{cores} cores, {}", if quick { "a short run" } else { "a full run" });
        let mut all = Map::new();
        all.insert("quick".to_owned(), json!(quick));
        all.insert("cores".to_owned(), json!(cores));
        Figures(all)
    }

    /// What floor and subject did in a second, run by run, and the ratio that is aimed at.
    pub(crate) fn ratio(&mut self, name: &str, floor: &[f64], subject: &[f64], aim: Option<f64>) {
        let ratios: Vec<f64> = subject.iter().zip(floor).map(|(subject, floor)| subject / floor).collect();
        let ratio = median(&ratios);
        let verdict = aim.map_or(String::new(), |aim| verdict(ratio >= aim, &format!("aim ≥ {aim}")));
        eprintln!(
            "{name:<20} {:>9.0}/s of {:>9.0}/s   ratio {ratio:.2} ({})   {verdict}",
            median(subject),
            median(floor),
            spread(&ratios),
        );
        let figure = json!({
            "subject_per_s": rounded(median(subject)),
            "floor_per_s": rounded(median(floor)),
            "ratio": rounded(ratio),
            "aim": aim,
            "ratio_runs": ratios.into_iter().map(rounded).collect::<Vec<_>>(),
        });
        self.0.insert(name.to_owned(), figure);
    }

    /// A plain figure, run by run.
    pub(crate) fn plain(&mut self, name: &str, unit: &str, runs: &[f64], aim: Aim) {
        let value = median(runs);
        let (text, aim) = match aim {
            Aim::AtMost(most) => (verdict(value <= most, &format!("aim ≤ {most}")), Some(most)),
            Aim::None => (String::new(), None),
        };
        eprintln!("{name:<20} {value:>9.2} {unit} ({})   {text}", spread(runs));
        let runs: Vec<f64> = runs.iter().copied().map(rounded).collect();
        self.0.insert(name.to_owned(), json!({ "value": rounded(value), "unit": unit, "aim": aim, "runs": runs }));
    }

    pub(crate) fn json(self) -> Value {
        Value::Object(self.0)
    }
}

fn verdict(met: bool, aim: &str) -> String {
    format!("{aim}: {}", if met { "met" } else { "MISSED" })
}

/// The middle value; of an even number the mean of the two.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// The value that a share of all does not exceed.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{least:.2} to {most:.2}")
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
