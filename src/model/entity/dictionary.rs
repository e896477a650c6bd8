//! What a hospital can examine: detail items 明细项目 and the groups 组合项目 in which they are ordered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApplicableSex, DecimalText, Envelope};

/// Detail item 明细项目: what gets a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamItem {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The source's code, as text with its leading zeros.
    pub item_code: String,
    /// The name.
    #[schemars(extend("x-hisync-reader" = "name"))]
    pub item_name: String,
    /// What the item is, in hisync's own word or in LOINC, where the mapping tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "concept"))]
    pub standard_code: Option<String>,
    /// What kind of result it has.
    pub value_type: ValueType,
    /// For whom it is meant.
    pub applicable_sex: ApplicableSex,
    /// The source's word for whom it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicable_sex_raw: Option<String>,
    /// Computed from all off switches of the source.
    pub enabled: bool,
    /// Which switches turned it off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_reasons: Vec<String>,
    /// The unit as the source spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_raw: Option<String>,
    /// The unit in UCUM, only where the unit table is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_ucum: Option<String>,
    /// Reference ranges by sex and age.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reference_ranges: Vec<ReferenceRange>,
    /// Codes of the same item elsewhere: `lis`, `his`, `loinc`, `lab`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_codes: Vec<ExternalCode>,
    /// The department's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// The kind of specimen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen: Option<String>,
}

/// What kind of result a detail item has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// A number with a unit.
    Numeric,
    /// A place on a scale: −, ±, 1+, 2+.
    Ordinal,
    /// A code or a fixed word.
    Coded,
    /// Prose.
    Text,
    /// A picture.
    Image,
    /// No result of its own.
    None,
}

/// A code of the same thing in another system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalCode {
    /// Which system: `lis`, `his`, `loinc`, …
    pub system: String,
    /// The code there.
    pub code: String,
}

/// A range of values, for everybody or for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceRange {
    /// For whom; absent means everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex: Option<ApplicableSex>,
    /// From this age in years, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_low: Option<u16>,
    /// To this age in years, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_high: Option<u16>,
    /// The lower bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<DecimalText>,
    /// Whether the lower bound itself is inside; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_inclusive: Option<bool>,
    /// The upper bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<DecimalText>,
    /// Whether the upper bound itself is inside; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_inclusive: Option<bool>,
    /// A range that is a word (阴性) or prose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Group item 组合项目: what is sold and ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamItemGroup {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The source's code.
    pub group_code: String,
    /// The name.
    #[schemars(extend("x-hisync-reader" = "name"))]
    pub group_name: String,
    /// The detail items in it.
    pub members: Vec<GroupMember>,
    /// Computed from all off switches of the source.
    pub enabled: bool,
    /// Which switches turned it off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_reasons: Vec<String>,
    /// For whom it is meant, where the source says so for the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicable_sex: Option<ApplicableSex>,
    /// The source's word for whom it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicable_sex_raw: Option<String>,
    /// The price in fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "money"))]
    pub price_minor: Option<i64>,
    /// The department's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// The kind of specimen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen: Option<String>,
    /// Whether one must come without having eaten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fasting: Option<bool>,
    /// Group codes that may not be ordered together with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    /// Group codes that must be ordered with this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
}

/// A detail item's place in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupMember {
    /// The detail item's code.
    pub item_code: String,
    /// Its place in print, from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
}
