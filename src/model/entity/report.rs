//! What a visit gave: the report, the person and the visit.

use chrono::{DateTime, FixedOffset, NaiveDate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attachment, Conclusion, Envelope, MaritalStatus, ResultGroup, Sex};

/// Report 体检报告: what was found in one visit, or by one department in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamReport {
    /// What all entities carry.
    pub envelope: Envelope,
    /// What kind of report it is.
    pub report_kind: ReportKind,
    /// How far it is. Only `final` and `revised` leave the hospital; `withdrawn` takes back.
    pub status: ReportStatus,
    /// The source's word for how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_raw: Option<String>,
    /// The report's own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report_no: Option<String>,
    /// When it was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<DateTime<FixedOffset>>,
    /// When it was issued, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at_raw: Option<String>,
    /// Who reviewed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed_by: Option<String>,
    /// Who drew the final conclusion 总检.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concluded_by: Option<String>,
    /// Whose report it is.
    pub examinee: Examinee,
    /// The visit that it reports.
    pub visit: ExamVisit,
    /// The results by group item.
    pub groups: Vec<ResultGroup>,
    /// What the doctors conclude.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conclusions: Vec<Conclusion>,
    /// Files that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// What kind of report it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// The whole health checkup.
    Health,
    /// The whole occupational checkup.
    Occupational,
    /// One department's part.
    Department,
    /// A laboratory report.
    Lab,
    /// An imaging report.
    Imaging,
    /// A certificate.
    Certificate,
}

/// How far a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportStatus {
    /// Not issued.
    Draft,
    /// Issued.
    Final,
    /// Issued again with changes.
    Revised,
    /// Taken back 反审核.
    Withdrawn,
}

/// Whose report it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Examinee {
    /// The source's archive number of the person, or the exam number; never the name.
    #[schemars(extend("x-hisync-personal" = true))]
    pub examinee_key: String,
    /// The name.
    #[schemars(extend("x-hisync-personal" = true, "x-hisync-reader" = "name"))]
    pub name: String,
    /// The sex as recorded.
    pub sex: Sex,
    /// The source's word for the sex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sex_raw: Option<String>,
    /// The date of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub birth_date: Option<NaiveDate>,
    /// The date of birth as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub birth_date_raw: Option<String>,
    /// What the number is a number of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_type: Option<IdType>,
    /// The number of the identity document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true, "x-hisync-reader" = "id_number"))]
    pub id_number: Option<String>,
    /// Whether the check digit of a citizen ID holds (GB 11643); absent for other documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_checksum_ok: Option<bool>,
    /// A telephone number. Shared in families: never an identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true, "x-hisync-reader" = "phone"))]
    pub phone: Option<String>,
    /// The marital status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marital_status: Option<MaritalStatus>,
    /// The source's word for the marital status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marital_status_raw: Option<String>,
}

/// What an identity number is a number of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IdType {
    /// Resident identity card 居民身份证, GB 11643.
    CitizenId,
    /// Passport.
    Passport,
    /// Military or police officer's card.
    Officer,
    /// Permit of residents of Hong Kong, Macao or Taiwan.
    Permit,
    /// Another document that the source names.
    Other,
}

/// One attendance. A re-check is a new visit that names the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamVisit {
    /// `campus:exam number:registration date`, because exam numbers return in another year.
    #[schemars(extend("x-hisync-personal" = true))]
    pub visit_key: String,
    /// The exam number 体检号, with its leading zeros.
    #[schemars(extend("x-hisync-personal" = true))]
    pub exam_no: String,
    /// How far the visit is, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit_state: Option<VisitState>,
    /// The source's word for how far the visit is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visit_state_raw: Option<String>,
    /// When the person was registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<DateTime<FixedOffset>>,
    /// When the person was registered, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered_at_raw: Option<String>,
    /// The day of the examination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exam_date: Option<NaiveDate>,
    /// The day of the examination, as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exam_date_raw: Option<String>,
    /// The age in years that the source states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "age"))]
    pub stated_age: Option<i64>,
    /// The platform's order number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order_no: Option<String>,
    /// The company's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_code: Option<String>,
    /// The company's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_name: Option<String>,
    /// The package that was booked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_code: Option<String>,
    /// What was ordered, where the source tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ordered_groups: Vec<OrderedGroup>,
    /// The exam number that this visit re-checks 复查.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-personal" = true))]
    pub previous_exam_no: Option<String>,
    /// Whether someone else came 替检, where the source tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<bool>,
}

/// How far a visit is. The states are not ordered: a visit may go back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VisitState {
    /// Booked, not here yet.
    Booked,
    /// Registered at the counter.
    Registered,
    /// Being examined.
    InProgress,
    /// All examinations done.
    TestsComplete,
    /// Final conclusion drawn 总检.
    Concluded,
    /// Report issued.
    Reported,
    /// Report handed over.
    Delivered,
    /// Cancelled.
    Cancelled,
}

/// A group item that was ordered for a visit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderedGroup {
    /// The group item's code.
    pub group_code: String,
    /// How it came into the order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OrderOrigin>,
    /// What became of it.
    pub state: OrderState,
    /// The source's word for what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_raw: Option<String>,
}

/// How a group item came into an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderOrigin {
    /// With the package.
    Package,
    /// Added 加项.
    AddOn,
    /// In exchange for another 换项.
    Swap,
}

/// What became of an ordered group item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Ordered, not done yet.
    Ordered,
    /// Done.
    Done,
    /// Refused 拒检.
    Refused,
    /// Given up 弃检.
    GivenUp,
    /// Postponed 延期.
    Delayed,
    /// Refunded 退项.
    Refunded,
    /// Swapped for another 换项.
    SwappedOut,
}
