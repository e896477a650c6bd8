//! What items are, where a mapping tells: the table of concepts that rules know something about.
//!
//! An item gets its identity from a code table (`standard_code`), in hisync's own word or in LOINC. An
//! item without one is never guessed from its name, and the rules here leave it alone.

use std::sync::LazyLock;

use rust_decimal::Decimal;

use crate::mapping::plan::Lookup;
use crate::model::entity::Sex;

/// `concept,name,loinc,sex,low,high,units`: LOINC codes apart by blanks; bounds of what is seen in
/// living people, in the first unit; units as `UCUM:factor` to the first one, the factor empty where a
/// unit is right and is not a multiple.
const TABLE: &str = include_str!("concepts.csv");

/// One thing that can be measured or examined.
#[derive(Debug)]
pub(in crate::mapping) struct Concept {
    /// Its place in the table.
    pub(super) at: usize,
    /// hisync's own word.
    pub(in crate::mapping) word: &'static str,
    /// Its name in Chinese, for documents.
    pub(in crate::mapping) name: &'static str,
    loinc: Vec<&'static str>,
    /// Whose alone it is.
    pub(super) sex: Option<Sex>,
    low: Option<Decimal>,
    high: Option<Decimal>,
    units: Vec<(&'static str, Option<Decimal>)>,
}

static CONCEPTS: LazyLock<Vec<Concept>> = LazyLock::new(|| {
    let lines = TABLE.lines().skip(1).map(|line| line.split(',').collect::<Vec<&'static str>>());
    lines
        .enumerate()
        .filter_map(|(at, cells)| {
            let [word, name, loinc, sex, low, high, units] = cells.as_slice() else { return None };
            let units = units.split_whitespace().filter_map(|unit| unit.rsplit_once(':'));
            Some(Concept {
                at,
                word,
                name,
                loinc: loinc.split_whitespace().collect(),
                sex: match *sex {
                    "male" => Some(Sex::Male),
                    "female" => Some(Sex::Female),
                    _ => None,
                },
                low: low.parse().ok(),
                high: high.parse().ok(),
                units: units.map(|(unit, factor)| (unit, factor.parse().ok())).collect(),
            })
        })
        .collect()
});

static BY_CODE: LazyLock<Lookup<&'static str, &'static Concept>> = LazyLock::new(|| {
    let codes = CONCEPTS
        .iter()
        .flat_map(|concept| concept.loinc.iter().copied().chain([concept.word]).map(move |code| (code, concept)));
    codes.collect()
});

/// The concept with this word or LOINC code.
pub(super) fn find(code: &str) -> Option<&'static Concept> {
    BY_CODE.get(code).copied()
}

/// How many there are.
pub(super) fn count() -> usize {
    CONCEPTS.len()
}

/// All of them, in the order of the documents.
pub(super) fn all() -> &'static [Concept] {
    &CONCEPTS
}

/// hisync's own words.
pub(in crate::mapping) fn words() -> impl Iterator<Item = &'static str> + Clone {
    CONCEPTS.iter().map(|concept| concept.word)
}

/// Whether a text can say what an item is: a concept's word, or the form of a LOINC code.
pub(in crate::mapping) fn is_code(text: &str) -> bool {
    let loinc = |text: &str| {
        text.split_once('-').is_some_and(|(number, check)| {
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            (1..=7).contains(&number.len()) && digits(number) && check.len() == 1 && digits(check)
        })
    };
    BY_CODE.contains_key(text) || loinc(text)
}

/// How a number fits what is seen in living people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It can be.
    Plausible,
    /// The unit is none of this concept.
    OtherUnit,
    /// It can't be, and it could be if it were counted in this unit, or a thousandth or thousandfold.
    Shifted(&'static str),
    /// It can't be.
    Implausible,
}

impl Concept {
    /// The number in the first unit, where its unit is a multiple of it.
    pub(super) fn in_first_unit(&self, value: Decimal, unit: Option<&str>) -> Option<Decimal> {
        value.checked_mul(self.factor(unit)??)
    }

    /// How a number with that unit fits. Without a unit only what has none can be judged.
    pub(super) fn fit(&self, value: Decimal, unit: Option<&str>) -> Fit {
        let Some(factor) = self.factor(unit) else {
            return if unit.is_some() && !self.units.is_empty() { Fit::OtherUnit } else { Fit::Plausible };
        };
        let Some(factor) = factor else { return Fit::Plausible };
        let holds = |factor: Decimal| value.checked_mul(factor).is_some_and(|value| self.holds(value));
        if holds(factor) {
            return Fit::Plausible;
        }
        let others = self.units.iter().filter(|(other, _)| Some(*other) != unit);
        if let Some((other, _)) = others.into_iter().find(|(_, other)| other.is_some_and(holds)) {
            return Fit::Shifted(other);
        }
        // A tenfold or hundredfold may be an exponent of disease; a thousandfold is another unit.
        if holds(factor * Decimal::ONE_THOUSAND) || holds(factor / Decimal::ONE_THOUSAND) {
            return Fit::Shifted("1000");
        }
        Fit::Implausible
    }

    /// Whether this is one of its units; true where it has none to tell.
    pub(super) fn has_unit(&self, unit: &str) -> bool {
        self.units.is_empty() || self.factor(Some(unit)).is_some()
    }

    fn factor(&self, unit: Option<&str>) -> Option<Option<Decimal>> {
        let unit = unit.unwrap_or("1");
        self.units.iter().find(|(known, _)| *known == unit).map(|(_, factor)| *factor)
    }

    fn holds(&self, value: Decimal) -> bool {
        self.low.is_none_or(|low| low <= value) && self.high.is_none_or(|high| value <= high)
    }
}
