//! What the hospital produced: the `source` side of the reconciliation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::EntityType;

/// Versions by entity type and key.
///
/// A version is a state of one entity that a complete reading must see: drafts count, since they
/// pass the agent (which finds nothing to deliver); a message that is sent twice counts once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Ledger(BTreeMap<EntityType, BTreeMap<String, Versions>>);

/// The versions of one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Versions {
    /// How many there were.
    pub count: u64,
    /// What is wrong with them on purpose, so that the agent must hold them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flaw: Option<Flaw>,
}

/// What a version has wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Flaw {
    /// The sex has a code that no table knows.
    UnknownSex,
    /// A result of the PEIS has a flag that no table knows.
    UnknownFlag,
    /// A result of the laboratory has a flag that no table knows.
    UnknownLabFlag,
    /// The bytes are no GB18030.
    Undecodable,
    /// The range of a result stands in the column of the unit.
    ShiftedColumns,
    /// A character of the name was lost.
    DamagedName,
    /// The sex contradicts the identity number.
    InvertedSex,
    /// The report is final, and its results are not there yet.
    HalfWay,
    /// A web page lies where a PDF should.
    ErrorPage,
    /// A PDF names another person's exam.
    OtherPersonsFile,
    /// A file that the record names does not come.
    MissingFile,
    /// One row of a table is no GBK.
    UndecodableRow,
}

impl Flaw {
    /// All of them.
    pub const ALL: [Flaw; 12] = [
        Flaw::UnknownSex,
        Flaw::UnknownFlag,
        Flaw::UnknownLabFlag,
        Flaw::Undecodable,
        Flaw::ShiftedColumns,
        Flaw::DamagedName,
        Flaw::InvertedSex,
        Flaw::HalfWay,
        Flaw::ErrorPage,
        Flaw::OtherPersonsFile,
        Flaw::MissingFile,
        Flaw::UndecodableRow,
    ];

    /// The reason for which the agent must hold the record.
    pub fn reason(self) -> &'static str {
        match self {
            Flaw::UnknownSex | Flaw::UnknownFlag | Flaw::UnknownLabFlag => "unknown-code",
            Flaw::Undecodable => "hl7-charset",
            Flaw::ShiftedColumns => "columns-shifted",
            Flaw::DamagedName => "damaged-text",
            Flaw::InvertedSex => "id-disagrees",
            Flaw::HalfWay => "report-empty",
            Flaw::ErrorPage => "attachment-content",
            Flaw::OtherPersonsFile => "attachment-other-number",
            Flaw::MissingFile => "attachment-missing",
            Flaw::UndecodableRow => "delimited-charset",
        }
    }

    /// Whether the record can't be decoded, so that nobody knows its key.
    pub fn hides_the_key(self) -> bool {
        matches!(self, Flaw::Undecodable | Flaw::ErrorPage | Flaw::MissingFile | Flaw::UndecodableRow)
    }
}

impl Ledger {
    /// Counts one more version of an entity.
    pub fn version(&mut self, entity: EntityType, key: impl Into<String>) {
        self.entry(entity, key.into()).count += 1;
    }

    /// Counts one more version with something wrong on purpose.
    pub fn flawed(&mut self, entity: EntityType, key: impl Into<String>, flaw: Flaw) {
        let entry = self.entry(entity, key.into());
        entry.count += 1;
        entry.flaw = Some(flaw);
    }

    fn entry(&mut self, entity: EntityType, key: String) -> &mut Versions {
        self.0.entry(entity).or_default().entry(key).or_default()
    }

    /// Adds what another ledger counted.
    pub fn add(&mut self, other: &Ledger) {
        for (entity, key, versions) in other.iter() {
            let entry = self.entry(entity, key.to_owned());
            entry.count += versions.count;
            entry.flaw = entry.flaw.or(versions.flaw);
        }
    }

    /// How many versions of a type there were in all.
    pub fn source(&self, entity: EntityType) -> u64 {
        self.0.get(&entity).map_or(0, |keys| keys.values().map(|versions| versions.count).sum())
    }

    /// The versions of one entity.
    pub fn versions(&self, entity: EntityType, key: &str) -> Option<&Versions> {
        self.0.get(&entity)?.get(key)
    }

    /// Everything, by type and key.
    pub fn iter(&self) -> impl Iterator<Item = (EntityType, &str, &Versions)> {
        self.0.iter().flat_map(|(entity, keys)| keys.iter().map(|(key, versions)| (*entity, key.as_str(), versions)))
    }
}
