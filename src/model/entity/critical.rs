//! A critical value: told at once, without waiting for the report that it will stand in.

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AbnormalFlag, Envelope};

/// Critical value 危急值: a result that somebody has to act on before the report is written.
///
/// No more than is needed to find the person and to act: who, which item, what it says, when and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CriticalValue {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The key of the report that the result will stand in; absent where a register of critical values is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub report_key: Option<String>,
    /// The source's archive number of the person, or the exam number; never the name.
    #[schemars(extend("x-hisync-personal" = true))]
    pub examinee_key: String,
    /// `campus:exam number:registration date`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub visit_key: Option<String>,
    /// The exam number 体检号.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub exam_no: Option<String>,
    /// The group item's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_code: Option<String>,
    /// The group item's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// The detail item's code.
    pub item_code: String,
    /// The detail item's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item_name: Option<String>,
    /// What tells two results of the same item in one group apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The result, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_raw: Option<String>,
    /// The unit as the source spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_raw: Option<String>,
    /// The reference range, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_raw: Option<String>,
    /// The source's abnormal flag, in canonical words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_source: Option<AbnormalFlag>,
    /// The source's abnormal flag, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_source_raw: Option<String>,
    /// When it was found: when the result was obtained, else when the group was performed or the report issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<FixedOffset>>,
    /// When it was found, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at_raw: Option<String>,
    /// The department that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// The specimen's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen_no: Option<String>,
}

impl CriticalValue {
    /// Whether both tell the same value of the same item: what changes beside it is no new alarm.
    pub fn tells_the_same(&self, other: &CriticalValue) -> bool {
        let said = |value: &CriticalValue| (value.item_code.clone(), value.value_raw.clone(), value.unit_raw.clone());
        said(self) == said(other)
    }
}
