//! Rules that need to know what an item is: units, magnitudes, sums, and whose item it is.
//!
//! Each identity compares what the source states with what its other results give. A break does not
//! say which of them is wrong; it reveals a shifted column, a wrong unit or a mistyped value.

use rust_decimal::Decimal;

use super::concepts::{self, Concept, Fit};
use super::{
    ALBUMIN_GLOBULIN, BILIRUBIN_SUM, BMI, CHOLESTEROL_SUM, DIFFERENTIAL_COUNT, DIFFERENTIAL_SUM, Findings, HEMATOCRIT,
    IMPLAUSIBLE_VALUE, ITEM_SEX, MAGNITUDE, MCHC, PRESSURE_ORDER, PROTEIN_SUM, Rule, UNIT_UNFIT,
};
use crate::mapping::readers::number::decimal;
use crate::model::ExamReport;
use crate::model::entity::{ResultItem, Sex, ValueKind};

/// A number of this file: digits and how many of them stand behind the point.
const fn number(digits: u32, behind: u32) -> Decimal {
    Decimal::from_parts(digits, 0, 0, false, behind)
}

/// Larger numbers are no measurements; below it no sum or product here can leave the range of decimals.
const LARGEST: Decimal = number(1_000_000_000, 0);

/// What the unit and the size of one result say against it.
pub(super) fn item(item: &ResultItem, sex: Sex, path: impl Fn(&str) -> String, findings: &mut Findings<'_>) {
    let Some(concept) = item.standard_code.as_deref().and_then(concepts::find) else { return };
    if let Some(own) = concept.sex
        && matches!(sex, Sex::Male | Sex::Female)
        && sex != own
        && item.value_kind != ValueKind::Absent
    {
        findings.add_value(&ITEM_SEX, path("item_code"), "an item of the other sex has a result", &item.item_code);
    }
    let unit = item.unit_ucum.as_deref();
    // A unit that is not understood is told elsewhere, and nothing follows from it.
    if unit.is_none() && item.unit_raw.is_some() {
        return;
    }
    let stated = match item.value_kind {
        ValueKind::Numeric => item.value_num.as_ref().and_then(|number| decimal(&number.0)),
        _ => None,
    };
    let value = item.value_raw.as_deref().unwrap_or_default();
    match stated.map(|stated| concept.fit(stated, unit)) {
        Some(Fit::Plausible) | None => {}
        Some(Fit::OtherUnit) => {
            let message = format!("this is no unit of {}", concept.word);
            findings.add_value(&UNIT_UNFIT, path("unit_raw"), message, unit.unwrap_or_default());
        }
        Some(Fit::Shifted("1000")) => {
            let message = format!("no {} is like this; it is off by a factor of 1000", concept.word);
            findings.add_value(&MAGNITUDE, path("value_raw"), message, value);
        }
        Some(Fit::Shifted(other)) => {
            let message = format!("no {} is like this in its unit; it would be in {other}", concept.word);
            findings.add_value(&MAGNITUDE, path("value_raw"), message, value);
        }
        Some(Fit::Implausible) => {
            let message = format!("no {} is like this", concept.word);
            findings.add_value(&IMPLAUSIBLE_VALUE, path("value_raw"), message, value);
        }
    }
}

/// The rules that [`arithmetic`] applies.
pub(super) static ARITHMETIC: [&Rule; 10] = [
    &BMI,
    &DIFFERENTIAL_SUM,
    &DIFFERENTIAL_COUNT,
    &PROTEIN_SUM,
    &ALBUMIN_GLOBULIN,
    &BILIRUBIN_SUM,
    &MCHC,
    &HEMATOCRIT,
    &CHOLESTEROL_SUM,
    &PRESSURE_ORDER,
];

/// One measured number of a report, in its concept's first unit.
#[derive(Clone, Copy)]
struct Measured {
    value: Decimal,
    group: usize,
    item: usize,
    /// False where the report has another number for the same thing: which one counts is not known.
    only: bool,
}

struct Panel(Vec<Option<Measured>>);

impl Panel {
    fn of(report: &ExamReport) -> Option<Panel> {
        let mut panel: Option<Panel> = None;
        for (group, results) in report.groups.iter().enumerate() {
            for (item, result) in results.items.iter().enumerate() {
                let Some((concept, value)) = measured(result) else { continue };
                let panel = panel.get_or_insert_with(|| Panel(vec![None; concepts::count()]));
                let place = &mut panel.0[concept.at];
                match place {
                    Some(known) => known.only &= known.value == value,
                    None => *place = Some(Measured { value, group, item, only: true }),
                }
            }
        }
        panel
    }

    fn find(&self, word: &str) -> Option<Measured> {
        let concept = concepts::find(word)?;
        self.0.get(concept.at).copied().flatten().filter(|measured| measured.only)
    }

    fn value(&self, word: &str) -> Option<Decimal> {
        self.find(word).map(|measured| measured.value)
    }
}

fn measured(item: &ResultItem) -> Option<(&'static Concept, Decimal)> {
    let concept = concepts::find(item.standard_code.as_deref()?)?;
    if item.value_kind != ValueKind::Numeric || (item.unit_raw.is_some() && item.unit_ucum.is_none()) {
        return None;
    }
    let number = decimal(&item.value_num.as_ref()?.0)?;
    let value = concept.in_first_unit(number, item.unit_ucum.as_deref())?;
    (value.abs() < LARGEST).then_some((concept, value))
}

/// What one number should be by the others: `stated` against `computed`, and how far they may differ.
struct Identity {
    rule: &'static Rule,
    stated: &'static str,
    computed: fn(&Panel) -> Option<Decimal>,
    /// Absolute, and as a share of the computed value: both sides are rounded in print.
    tolerance: (Decimal, Decimal),
}

static IDENTITIES: [Identity; 7] = [
    Identity {
        rule: &BMI,
        stated: "bmi",
        computed: |panel| {
            let height = panel.value("height")? / Decimal::ONE_HUNDRED;
            panel.value("weight")?.checked_div(height * height)
        },
        tolerance: (number(3, 1), number(1, 2)),
    },
    Identity {
        rule: &PROTEIN_SUM,
        stated: "total_protein",
        computed: |panel| Some(panel.value("albumin")? + panel.value("globulin")?),
        tolerance: (number(5, 1), number(1, 2)),
    },
    Identity {
        rule: &ALBUMIN_GLOBULIN,
        stated: "albumin_globulin_ratio",
        computed: |panel| panel.value("albumin")?.checked_div(panel.value("globulin")?),
        tolerance: (number(6, 2), number(2, 2)),
    },
    Identity {
        rule: &BILIRUBIN_SUM,
        stated: "bilirubin_total",
        computed: |panel| Some(panel.value("bilirubin_direct")? + panel.value("bilirubin_indirect")?),
        tolerance: (number(3, 1), number(3, 2)),
    },
    Identity {
        rule: &MCHC,
        stated: "mchc",
        computed: |panel| (panel.value("hemoglobin")? * Decimal::ONE_HUNDRED).checked_div(panel.value("hematocrit")?),
        tolerance: (number(5, 0), number(3, 2)),
    },
    Identity {
        rule: &HEMATOCRIT,
        stated: "hematocrit",
        computed: |panel| Some(panel.value("rbc")? * panel.value("mcv")? / Decimal::TEN),
        tolerance: (number(1, 0), number(3, 2)),
    },
    Identity {
        rule: &DIFFERENTIAL_SUM,
        stated: "neutrophils_percent",
        computed: |panel| {
            let others = ["lymphocytes_percent", "monocytes_percent", "eosinophils_percent", "basophils_percent"];
            let sum = others.into_iter().try_fold(Decimal::ZERO, |sum, word| Some(sum + panel.value(word)?))?;
            Some(Decimal::ONE_HUNDRED - sum)
        },
        tolerance: (number(2, 0), number(0, 0)),
    },
];

/// Absolute counts against white cells and their share.
const COUNTS: [(&str, &str); 5] = [
    ("neutrophils", "neutrophils_percent"),
    ("lymphocytes", "lymphocytes_percent"),
    ("monocytes", "monocytes_percent"),
    ("eosinophils", "eosinophils_percent"),
    ("basophils", "basophils_percent"),
];

/// What the numbers of a report say about each other.
pub(super) fn arithmetic(report: &ExamReport, findings: &mut Findings<'_>) {
    let Some(panel) = Panel::of(report) else { return };
    let path = |measured: Measured| format!("groups[{}].items[{}].value_raw", measured.group, measured.item);
    for identity in &IDENTITIES {
        let Some(stated) = panel.find(identity.stated) else { continue };
        let Some(computed) = (identity.computed)(&panel) else { continue };
        let (absolute, share) = identity.tolerance;
        tell(identity.rule, path(stated), stated.value, computed, absolute + share * computed.abs(), findings);
    }
    if let Some(white) = panel.value("wbc") {
        for (count, share) in COUNTS {
            let (Some(stated), Some(share)) = (panel.find(count), panel.value(share)) else { continue };
            let computed = white * share / Decimal::ONE_HUNDRED;
            let tolerance = number(1, 1) + number(5, 2) * computed.abs();
            tell(&DIFFERENTIAL_COUNT, path(stated), stated.value, computed, tolerance, findings);
        }
    }
    if let (Some(all), Some(high), Some(low)) =
        (panel.find("cholesterol"), panel.value("hdl_cholesterol"), panel.value("ldl_cholesterol"))
        && high + low > all.value * number(11, 1) + number(2, 1)
    {
        let both = format!("{} < {} + {}", all.value.normalize(), high.normalize(), low.normalize());
        findings.add_value(&CHOLESTEROL_SUM, path(all), "the parts are more than the whole", &both);
    }
    if let (Some(systolic), Some(diastolic)) = (panel.find("systolic"), panel.value("diastolic"))
        && systolic.value <= diastolic
    {
        let both = format!("{}/{}", systolic.value.normalize(), diastolic.normalize());
        findings.add_value(&PRESSURE_ORDER, path(systolic), "systolic is not above diastolic", &both);
    }
}

fn tell(
    rule: &Rule,
    path: String,
    stated: Decimal,
    computed: Decimal,
    tolerance: Decimal,
    findings: &mut Findings<'_>,
) {
    if (stated - computed).abs() > tolerance {
        let both = format!("{} ≠ {}", stated.normalize(), computed.round_dp(2).normalize());
        findings.add_value(rule, path, rule.title, &both);
    }
}
