//! The four entities that travel upstream, and what they are made of.
//!
//! Rules that shape them (domain guide §9):
//! - every interpreted value keeps the source's literal beside it, in a field named `…_raw`;
//! - a source's abnormal flag is never overwritten: `flag_derived` stands beside `flag_source`;
//! - decimals travel as text with their digits kept, prices as whole fen;
//! - absent means "the source did not say"; it is never a default.
//!
//! The mapping engine compiles mapping files against the JSON Schemas of these types, so a field
//! added here is a field that a mapping may fill. It reads the extension `x-hisync-reader`: how text
//! becomes the value, where the type alone does not tell. `x-hisync-personal` marks personal data for
//! whoever receives it; what people see here is masked by shape and place (`ops/mask`).

use chrono::{DateTime, FixedOffset, NaiveDate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EntityKey, EntityType, Finding, Lifecycle, canonical};

/// One entity of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Entity {
    /// A detail item.
    ExamItem(Box<ExamItem>),
    /// A group item.
    ExamItemGroup(Box<ExamItemGroup>),
    /// A package.
    ExamPackage(Box<ExamPackage>),
    /// A report.
    ExamReport(Box<ExamReport>),
}

impl Entity {
    /// Which type this is.
    pub fn entity_type(&self) -> EntityType {
        match self {
            Entity::ExamItem(_) => EntityType::ExamItem,
            Entity::ExamItemGroup(_) => EntityType::ExamItemGroup,
            Entity::ExamPackage(_) => EntityType::ExamPackage,
            Entity::ExamReport(_) => EntityType::ExamReport,
        }
    }

    /// What all entities carry.
    pub fn envelope(&self) -> &Envelope {
        match self {
            Entity::ExamItem(item) => &item.envelope,
            Entity::ExamItemGroup(group) => &group.envelope,
            Entity::ExamPackage(package) => &package.envelope,
            Entity::ExamReport(report) => &report.envelope,
        }
    }

    /// What all entities carry, to be changed.
    pub fn envelope_mut(&mut self) -> &mut Envelope {
        match self {
            Entity::ExamItem(item) => &mut item.envelope,
            Entity::ExamItemGroup(group) => &mut group.envelope,
            Entity::ExamPackage(package) => &mut package.envelope,
            Entity::ExamReport(report) => &mut report.envelope,
        }
    }

    /// Its identity inside the hospital.
    pub fn key(&self) -> EntityKey {
        EntityKey::new(self.entity_type(), self.envelope().business_key.clone())
    }

    /// The event's `data`: canonical JSON (RFC 8785), so that equal entities have equal bytes.
    pub fn to_canonical_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        match self {
            Entity::ExamItem(item) => canonical::to_vec(item),
            Entity::ExamItemGroup(group) => canonical::to_vec(group),
            Entity::ExamPackage(package) => canonical::to_vec(package),
            Entity::ExamReport(report) => canonical::to_vec(report),
        }
    }

    /// Reads an event's `data`.
    pub fn from_json(entity: EntityType, json: &[u8]) -> Result<Entity, serde_json::Error> {
        Ok(match entity {
            EntityType::ExamItem => Entity::ExamItem(serde_json::from_slice(json)?),
            EntityType::ExamItemGroup => Entity::ExamItemGroup(serde_json::from_slice(json)?),
            EntityType::ExamPackage => Entity::ExamPackage(serde_json::from_slice(json)?),
            EntityType::ExamReport => Entity::ExamReport(serde_json::from_slice(json)?),
        })
    }
}

/// What all entities carry.
///
/// Only what is a property of the entity itself stands here. What differs from one reading of the
/// same content to the next (when it was read, the raw record's digest, the mapping's version, the
/// revision) travels as attributes of the event and is kept in the ledger: were it part of `data`,
/// each reading would look like a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// Upstream's id of this hospital. From the agent's configuration, never from a payload.
    pub hospital_id: String,
    /// The campus, where codes and exam numbers have their meaning.
    pub campus_id: String,
    /// The id of the source that it was read from.
    pub source_system: String,
    /// `exam_item`, `exam_item_group`, `exam_package` or `exam_report`.
    pub entity_type: String,
    /// `campus:scope:natural key`.
    pub business_key: String,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What was noticed and did not stop delivery.
    pub issues: Vec<Finding>,
    /// Proof that no child was lost on the way.
    pub manifest: Manifest,
}

/// Where an entity comes from: what stays the same from one reading to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The place inside the source: a view's name, an HL7 message type, a file pattern.
    pub source_ref: String,
    /// The connector that read it.
    pub adapter: String,
    /// The character set that was used to decode it, where that was a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
}

/// Children counted on the way in and on the way out: `rows_read = mapped + excluded + duplicates`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Child rows (HL7: result segments) that the source gave.
    pub rows_read: u32,
    /// Children that are in the entity.
    pub mapped: u32,
    /// Identical repetitions that were folded into one.
    pub duplicates: u32,
    /// Children that the mapping leaves out, by reason.
    pub excluded: Vec<Excluded>,
}

impl Manifest {
    /// Whether the sum holds. Where it does not, that is a bug in hisync, and nothing is sent.
    pub fn adds_up(&self) -> bool {
        let excluded: u64 = self.excluded.iter().map(|part| u64::from(part.count)).sum();
        u64::from(self.rows_read) == u64::from(self.mapped) + u64::from(self.duplicates) + excluded
    }
}

/// Children that the mapping leaves out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    /// The reason, as written in the mapping.
    pub reason: String,
    /// How many.
    pub count: u32,
}

/// A decimal as text, with exactly the digits that the source gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DecimalText(
    #[schemars(regex(pattern = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"))] pub String,
);

/// A person's sex as recorded. Codes of the source are bound in the mapping; there is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    /// Male.
    Male,
    /// Female.
    Female,
    /// The source says that it is not known.
    Unknown,
    /// The source says that it can't be determined.
    Undetermined,
}

/// For whom an item or package is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplicableSex {
    /// Men only.
    Male,
    /// Women only.
    Female,
    /// Everybody.
    Both,
}

/// Marital status, GB/T 2261.2 in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaritalStatus {
    /// Never married (10).
    Single,
    /// Married (20 to 23).
    Married,
    /// Widowed (30).
    Widowed,
    /// Divorced (40).
    Divorced,
    /// Not stated (90).
    Other,
}

// ---------------------------------------------------------------- dictionaries

/// Detail item 明细项目: what gets a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamItem {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The source's code, as text with its leading zeros.
    pub item_code: String,
    /// The name.
    pub item_name: String,
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

/// Package 套餐: what is sold to a person or a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamPackage {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The source's code.
    pub package_code: String,
    /// The name.
    pub name: String,
    /// What it is for.
    pub exam_kind: ExamKind,
    /// The source's word for what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exam_kind_raw: Option<String>,
    /// For whom it is meant. An unknown code is held, never taken as "both".
    pub applicable_sex: ApplicableSex,
    /// The source's word for whom it is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicable_sex_raw: Option<String>,
    /// ISO 4217.
    pub currency: String,
    /// The price before discount, in fen.
    #[schemars(extend("x-hisync-reader" = "money"))]
    pub original_price_minor: i64,
    /// The price before discount as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_price_raw: Option<String>,
    /// The price that is asked, in fen.
    #[schemars(extend("x-hisync-reader" = "money"))]
    pub sale_price_minor: i64,
    /// The price that is asked as the source writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sale_price_raw: Option<String>,
    /// How much of it may be chosen.
    pub selection_mode: SelectionMode,
    /// What is in it.
    pub items: Vec<PackageItem>,
    /// Computed from all off switches of the source.
    pub enabled: bool,
    /// Which switches turned it off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disabled_reasons: Vec<String>,
    /// Who may book it.
    pub scope: PackageScope,
    /// The company's code, where the scope is a company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_code: Option<String>,
    /// Whether it asks for a marital status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marital_requirement: Option<MaritalRequirement>,
    /// From this age in years, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "age"))]
    pub age_low: Option<i64>,
    /// To this age in years, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "age"))]
    pub age_high: Option<i64>,
    /// Parts of which some number is to be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choice_groups: Vec<ChoiceGroup>,
    /// Pairs of group codes that exclude each other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclusions: Vec<Exclusion>,
    /// First day on sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<NaiveDate>,
    /// Last day on sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<NaiveDate>,
}

/// What a package is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExamKind {
    /// Health checkup 健康体检.
    Health,
    /// Occupational checkup 职业健康检查.
    Occupational,
    /// Before a new job 入职体检.
    Entry,
    /// Driving licence 驾驶员体检.
    Driver,
    /// Health certificate of food workers 健康证.
    FoodCert,
    /// Students 学生体检.
    Student,
    /// Something else that the source names.
    Other,
}

/// How much of a package may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SelectionMode {
    /// Nothing: all of it is done.
    Fixed,
    /// Everything.
    Free,
    /// Some parts.
    Partial,
}

/// Who may book a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackageScope {
    /// Everybody.
    Public,
    /// The people of one company; `org_code` says which.
    Company,
}

/// Whether a package asks for a marital status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaritalRequirement {
    /// No.
    Any,
    /// Married people.
    Married,
    /// People who never married.
    Unmarried,
}

/// A group item's place in a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageItem {
    /// The group item's code.
    pub group_code: String,
    /// The group item's name, where the source repeats it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_name: Option<String>,
    /// Whether it is done in any case.
    pub role: PackageRole,
    /// Its price inside the package, in fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-hisync-reader" = "money"))]
    pub price_minor: Option<i64>,
    /// The part from which it is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choice_group_id: Option<String>,
    /// How many times it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qty: Option<i64>,
    /// Its place in print.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<i64>,
}

/// Whether a group item of a package is done in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PackageRole {
    /// It is.
    Mandatory,
    /// It may be chosen at no further price.
    Optional,
    /// It may be added at its price.
    AddOn,
}

/// A part of a package from which some number of group items is to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoiceGroup {
    /// Its id inside the package.
    pub group_id: String,
    /// At least so many.
    pub min_pick: i64,
    /// At most so many.
    pub max_pick: i64,
}

/// Two group items that may not be done in one visit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// One group code.
    pub first: String,
    /// The other.
    pub second: String,
}

// ---------------------------------------------------------------- reports

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

/// The results of one group item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultGroup {
    /// The group item's code.
    pub group_code: String,
    /// The group item's name.
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
    pub item_name: String,
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
