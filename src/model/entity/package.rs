//! What a hospital sells: packages 套餐 of item groups.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ApplicableSex, Envelope};

/// Package 套餐: what is sold to a person or a company.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExamPackage {
    /// What all entities carry.
    pub envelope: Envelope,
    /// The source's code.
    pub package_code: String,
    /// The name.
    #[schemars(extend("x-hisync-reader" = "name"))]
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
    #[schemars(extend("x-hisync-reader" = "name"))]
    pub group_name: Option<String>,
    /// Whether it is done in any case.
    pub role: PackageRole,
    /// For whom it is meant, where the source's package says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applicable_sex: Option<ApplicableSex>,
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
