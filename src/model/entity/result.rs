//! The results of a report: groups, result items, conclusions, attachments.

use chrono::{DateTime, FixedOffset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DecimalText, ReferenceRange};

/// The results of one group item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultGroup {
    /// The group item's code.
    pub group_code: String,
    /// The group item's name.
    #[schemars(extend("x-hisync-reader" = "name"))]
    pub group_name: String,
    /// How far it is, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ResultStatus>,
    /// The source's word for how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_raw: Option<String>,
    /// The results by detail item.
    pub items: Vec<ResultItem>,
    /// The department's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub department: Option<String>,
    /// Who performed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performer: Option<String>,
    /// Who reviewed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewer: Option<String>,
    /// When it was performed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performed_at: Option<DateTime<FixedOffset>>,
    /// When it was performed, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performed_at_raw: Option<String>,
    /// The specimen's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen_no: Option<String>,
    /// The department's summary 小结, never re-wrapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

/// How far a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ResultStatus {
    /// Not verified yet.
    Preliminary,
    /// Verified.
    Final,
    /// Replaces an earlier final result.
    Corrected,
    /// Can't be obtained.
    Cancelled,
}

/// One result. `value_raw` is what the source wrote; the rest of `value_…` is what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultItem {
    /// The detail item's code.
    pub item_code: String,
    /// The detail item's name.
    #[schemars(extend("x-hisync-reader" = "name"))]
    pub item_name: String,
    /// What the item is, in hisync's own word or in LOINC, where the mapping tells. Rules that need to
    /// know what is measured speak only of items that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "concept"))]
    pub standard_code: Option<String>,
    /// What tells two results of the same item in one group apart: side, time point, specimen.
    pub instance: String,
    /// The result, verbatim; absent where the source has null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_raw: Option<String>,
    /// What kind of value it is.
    pub value_kind: ValueKind,
    /// The number, digit for digit (`numeric`, `comparator`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_num: Option<DecimalText>,
    /// How the true value lies to `value_num` (`comparator`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparator: Option<Comparator>,
    /// The lower end (`range`), or the titre's first number (`titer`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_low: Option<DecimalText>,
    /// The upper end (`range`), or the titre's second number (`titer`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_high: Option<DecimalText>,
    /// Why there is no value (`absent`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent_reason: Option<AbsentReason>,
    /// The unit as the source spells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_raw: Option<String>,
    /// The unit in UCUM, only where the unit table is certain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_ucum: Option<String>,
    /// The reference range, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference_raw: Option<String>,
    /// The reference range, where it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceRange>,
    /// The source's abnormal flag, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_source_raw: Option<String>,
    /// The source's abnormal flag, in canonical words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_source: Option<AbnormalFlag>,
    /// What value and range say by themselves, where both could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_derived: Option<AbnormalFlag>,
    /// A critical value 危急值.
    pub is_critical: bool,
    /// How far the result is, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ResultStatus>,
    /// The source's word for how far the result is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_raw: Option<String>,
    /// When it was performed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performed_at: Option<DateTime<FixedOffset>>,
    /// When it was performed, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performed_at_raw: Option<String>,
    /// The specimen's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specimen_no: Option<String>,
    /// The method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The instrument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// What kind of value a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ValueKind {
    /// `5.30`
    Numeric,
    /// `<0.02`
    Comparator,
    /// `10-15`
    Range,
    /// `2+`, `±`
    Ordinal,
    /// `1:80`
    Titer,
    /// `阴性`
    Coded,
    /// Prose.
    Text,
    /// No value; `absent_reason` says why.
    Absent,
}

/// How a true value lies to the number that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Comparator {
    /// Below it.
    #[serde(rename = "<")]
    Less,
    /// Below it or equal.
    #[serde(rename = "<=")]
    LessOrEqual,
    /// Above it.
    #[serde(rename = ">")]
    Greater,
    /// Above it or equal.
    #[serde(rename = ">=")]
    GreaterOrEqual,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbsentReason {
    /// Refused 拒检.
    Refused,
    /// Given up 弃检.
    GivenUp,
    /// The specimen was rejected 标本退检.
    SpecimenRejected,
    /// Not done yet 未检.
    Pending,
    /// Does not apply to this person.
    NotApplicable,
    /// The instrument failed.
    InstrumentError,
}

/// Whether a result is outside what is usual, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbnormalFlag {
    /// Inside.
    Normal,
    /// Below.
    Low,
    /// Above.
    High,
    /// Dangerously below.
    CriticalLow,
    /// Dangerously above.
    CriticalHigh,
    /// Outside, the side does not apply.
    Abnormal,
    /// 阴性
    Negative,
    /// 阳性
    Positive,
    /// Can't be told.
    Indeterminate,
}

/// What a doctor concludes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conclusion {
    /// Its place, from 1.
    pub seq: i64,
    /// What kind of conclusion it is.
    pub kind: ConclusionKind,
    /// The text, never re-wrapped.
    pub text: String,
    /// A code for it (ICD-10 or local).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How grave it is, in the source's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// What the person is advised to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// Codes of the detail items that it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_items: Vec<String>,
}

/// What kind of conclusion it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConclusionKind {
    /// A diagnosis.
    Diagnosis,
    /// Something outside what is usual.
    Abnormal,
    /// Advice.
    Suggestion,
    /// A summary 综述.
    Summary,
    /// Fit or unfit for a work or licence.
    Fitness,
}

/// A file that belongs to a report. Its bytes travel apart, addressed by their digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is.
    pub kind: AttachmentKind,
    /// The media type, found by looking at the bytes.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// `sha256-<hex>` of its bytes.
    pub digest: String,
    /// How many pages it has, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_count: Option<u32>,
    /// Where the source keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ref: Option<String>,
}

/// What an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentKind {
    /// The printed report.
    ReportPdf,
    /// A picture.
    Image,
    /// An electrocardiogram.
    Ecg,
    /// A reference to images kept elsewhere.
    DicomRef,
    /// A signature.
    Signature,
}
