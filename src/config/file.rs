//! The tables of the file, as they are written. The documentation's reference and the editor's
//! schema are made from these types.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use super::grammar::{Cron, Days, Hours, Id, Lasting, Zone};
use crate::model::EntityType;
use crate::model::guard::Guards;
use crate::ops::canary::CanaryPolicy;
use crate::store::{RetentionPolicy, SnapshotPolicy, StartPolicy};
use connector_api::{Mode, Secret};

/// Who and where this agent is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentTable {
    /// The upstream's id of this hospital.
    pub(crate) hospital: Id,
    /// The campus 院区 that this agent serves. It is part of every entity's key: never change it.
    #[serde(default = "main")]
    #[schemars(with = "Id", extend("default" = "main"))]
    pub(crate) campus: Id,
    /// The hospital's time zone, a name of the IANA database: schedules and wall-clock times are in it.
    pub(crate) timezone: Zone,
    /// The folder of the store. Relative to the folder of the configuration file.
    #[serde(default = "data")]
    #[schemars(length(min = 1))]
    pub(crate) data_dir: String,
    /// Below so many bytes of free disk, intake stops before anything is lost.
    #[serde(default = "one_gib")]
    #[schemars(range(min = 16_777_216))]
    pub(crate) disk_floor_bytes: u64,
    /// At so many undelivered events intake stops, and goes on by itself when a fifth of them is delivered.
    #[serde(default = "half_a_million")]
    #[schemars(range(min = 1))]
    pub(crate) outbox_max_entries: u64,
    /// At so many bytes of undelivered events (before compression) intake stops in the same way.
    #[serde(default = "four_gib")]
    #[schemars(range(min = 16_777_216))]
    pub(crate) outbox_max_bytes: u64,
    /// How long a graceful stop may take before what is in flight is left to the next start.
    #[serde(default = "half_a_minute")]
    #[schemars(with = "Lasting", extend("default" = "30s"))]
    pub(crate) shutdown_grace: Lasting,
    /// A routing label that every event carries, e.g. for a staging upstream.
    pub(crate) lane: Option<Id>,
    /// When a changed configuration takes effect: when somebody asks for it (`hisync reload`, SIGHUP), or as soon as one
    /// of its files has changed and stays the same for a few seconds.
    #[serde(default)]
    pub(crate) reload: ReloadMode,
    /// A file with days off and working weekends (调休): TOML with `off` and `work`, lists of days and ranges
    /// (`"2026-10-01..2026-10-07"`), or CSV with `date,kind`. Relative to the folder of the configuration file.
    #[schemars(length(min = 1))]
    #[expect(dead_code, reason = "checked here, read from the tree by the loader")]
    pub(crate) holidays: Option<String>,
}

/// When a changed configuration is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadMode {
    /// When somebody asks for it.
    #[default]
    OnRequest,
    /// As soon as a file has changed as well.
    OnChange,
}

/// How the store keeps what it holds.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreTable {
    /// Encrypts what the store holds of people: what was read and sent, keys, search words, findings, files.
    pub(crate) encryption: Option<EncryptionTable>,
}

/// Encryption of the store. Without this table nothing is encrypted; a store that is not encrypted yet is when the
/// agent starts with it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EncryptionTable {
    /// The key: 32 random bytes in base64 or hex, as `hisync secret new-key` writes them. Several on lines of their own
    /// while the key is being changed, the newest first. Without it nobody can read the store: keep a copy elsewhere.
    pub(crate) key: Secret,
}

/// How long what is kept. Nothing that is undelivered or held is given up, however old it is, and nothing that is
/// younger than 30 days.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RetentionTable {
    /// Raw records: as far back as a corrected mapping can be applied, and a new one tried against the past. What a
    /// catalogue now is stays for ever.
    #[schemars(with = "Lasting", extend("default" = "400d"))]
    pub(crate) archive: Lasting,
    /// Raw records are given up earlier where they take more bytes than this, as stored.
    pub(crate) archive_max_bytes: Option<u64>,
    /// Delivered versions of an entity that a newer one replaced. The newest stays for ever.
    #[schemars(with = "Lasting", extend("default" = "400d"))]
    pub(crate) versions: Lasting,
    /// Failed attempts of what is delivered since.
    #[schemars(with = "Lasting", extend("default" = "90d"))]
    pub(crate) attempts: Lasting,
    /// Held items that are closed; dismissed ones stay.
    #[schemars(with = "Lasting", extend("default" = "400d"))]
    pub(crate) held: Lasting,
    /// The audit log.
    #[schemars(with = "Lasting", extend("default" = "1095d"))]
    pub(crate) audit: Lasting,
}

impl Default for RetentionTable {
    fn default() -> RetentionTable {
        let RetentionPolicy { archive, archive_max_bytes, versions, attempts, held, audit } =
            RetentionPolicy::default();
        let [archive, versions, attempts, held, audit] = [archive, versions, attempts, held, audit].map(Lasting);
        RetentionTable { archive, archive_max_bytes, versions, attempts, held, audit }
    }
}

impl RetentionTable {
    pub(crate) fn policy(self) -> RetentionPolicy {
        let RetentionTable { archive, archive_max_bytes, versions, attempts, held, audit } = self;
        RetentionPolicy {
            archive: archive.0,
            archive_max_bytes,
            versions: versions.0,
            attempts: attempts.0,
            held: held.0,
            audit: audit.0,
        }
    }

    /// Ages that are shorter than anything is kept.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let ages = [
            ("archive", self.archive),
            ("versions", self.versions),
            ("attempts", self.attempts),
            ("held", self.held),
            ("audit", self.audit),
        ];
        let short = ages.into_iter().filter(|(_, age)| age.0 < RetentionPolicy::SHORTEST);
        let text = "sweeps, reconciliation and messages that are sent again need at least 30d".to_owned();
        short.map(|(key, _)| (key, text.clone())).collect()
    }
}

/// A configured source system.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceTable {
    /// Its id, unique in this hospital. Watermarks belong to it: never change it.
    #[expect(dead_code, reason = "checked here, read from the tree by the loader")]
    pub(crate) id: Id,
    /// The name of its connector; `hisync connectors` lists them.
    #[expect(dead_code, reason = "checked here, read from the tree by the loader")]
    pub(crate) connector: String,
    /// The connector's own settings; `hisync connectors NAME` explains them.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, Json>>")]
    #[expect(dead_code, reason = "checked and handed on by the loader; here for the schema")]
    pub(crate) settings: Json,
    /// What it yields, one table for each kind of entity.
    #[schemars(with = "Vec<serde_json::Map<String, Json>>", length(min = 1))]
    #[expect(dead_code, reason = "checked and handed on by the loader; here for the schema")]
    pub(crate) streams: Json,
}

/// A stream: one kind of entity, read or received in one way. Beside these keys it has those of its
/// connector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamTable {
    /// Its id, unique in the source. The watermark belongs to it: never change it.
    pub(crate) id: Id,
    /// The kind of entity that it yields.
    pub(crate) entity: EntityType,
    /// `incremental` reads what changed, `snapshot` the whole catalogue each time, `push` receives.
    pub(crate) mode: Mode,
    /// When the source is asked: cron with seconds, in the hospital's time zone. Not with `push`.
    pub(crate) schedule: Option<Cron>,
    /// The mapping file. Relative to the folder of the configuration file.
    #[schemars(length(min = 1))]
    #[expect(dead_code, reason = "checked here, read from the tree by the loader")]
    pub(crate) mapping: String,
    /// When silence is a failure.
    pub(crate) expect: Option<ExpectTable>,
    /// A periodic re-read of a bounded window, which finds edits that did not touch the watermark. Only
    /// with `incremental`.
    pub(crate) sweep: Option<SweepTable>,
    /// A periodic comparison of a closed period between the source, the ledger and the receipts, which pulls again
    /// what is missing or differs. With `push` the source can't be asked: the ledger is compared with the receipts.
    pub(crate) reconcile: Option<ReconcileTable>,
    /// About how many records one fetch asks for.
    #[serde(default = "five_hundred")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(crate) batch_size: usize,
    /// When entities that a complete snapshot lacks may be withdrawn. Only with `snapshot`.
    pub(crate) snapshot: Option<SnapshotTable>,
    /// Which changes of packages and dictionaries are so large that a person looks first. Not for reports.
    pub(crate) guards: Option<GuardsTable>,
    /// When the first sample of a new stream is in order, so that it delivers.
    pub(crate) onboarding: Option<OnboardingTable>,
    /// When a jump of a daily share is worth a look.
    pub(crate) canaries: Option<CanariesTable>,
}

/// Which changes of a catalogue are held as one item. Shares are in percent.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GuardsTable {
    /// `false` lets every change through.
    pub(crate) enabled: bool,
    /// A package or group that loses more than this share of its members at once is held.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) members_dropped_percent: u32,
    /// A price that grows to more than this share of itself, or shrinks by as much, is held: 200 is "twice or half".
    #[schemars(range(min = 101, max = 100_000))]
    pub(crate) price_factor_percent: u32,
    /// More than this share of the catalogue turned off or taken back at once is held.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) disabled_percent: u32,
    /// So few turned off or taken back are never held, whatever their share.
    pub(crate) min_disabled: u32,
    /// Whether what is suddenly meant for another sex is held.
    pub(crate) sex_changed: bool,
    /// Whether an item with another unit than before is held.
    pub(crate) unit_changed: bool,
    /// Two equal snapshots so long apart release what is held without a person.
    #[schemars(with = "Lasting", extend("default" = "1h"))]
    pub(crate) confirm_after: Lasting,
}

impl Default for GuardsTable {
    fn default() -> GuardsTable {
        let guards = Guards::default();
        GuardsTable {
            enabled: true,
            members_dropped_percent: guards.members_dropped,
            price_factor_percent: guards.price_factor,
            disabled_percent: guards.disabled,
            min_disabled: guards.min_disabled,
            sex_changed: guards.sex_changed,
            unit_changed: guards.unit_changed,
            confirm_after: Lasting(guards.confirm_after),
        }
    }
}

impl GuardsTable {
    pub(crate) fn policy(self) -> Option<Guards> {
        self.enabled.then_some(Guards {
            members_dropped: self.members_dropped_percent,
            price_factor: self.price_factor_percent,
            disabled: self.disabled_percent,
            min_disabled: self.min_disabled,
            sex_changed: self.sex_changed,
            unit_changed: self.unit_changed,
            confirm_after: self.confirm_after.0,
        })
    }
}

/// When the first sample of a new stream is in order. Shares are in percent.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OnboardingTable {
    /// `false` delivers from the first record on.
    pub(crate) enabled: bool,
    /// It is judged once there are so many entities, or after the first complete round.
    #[schemars(range(min = 1, max = 500))]
    pub(crate) records: u32,
    /// With `push`, which has no rounds: it is judged this long after the first record at the latest.
    #[schemars(with = "Lasting", extend("default" = "10m"))]
    pub(crate) settle: Lasting,
    /// Fewer entities say nothing about shares; two people whose sex contradicts their citizen ID always do.
    pub(crate) min_sample: u32,
    /// At least so many valid citizen IDs agree with the sex.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) sex_agrees_percent: u32,
    /// At most so many values are empty.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) empty_percent: u32,
    /// At most so many values are abnormal by the source's flag.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) flagged_percent: u32,
    /// At most so many entities hold an unknown code.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) unknown_percent: u32,
}

impl Default for OnboardingTable {
    fn default() -> OnboardingTable {
        let policy = StartPolicy::default();
        OnboardingTable {
            enabled: true,
            records: policy.records,
            settle: Lasting(policy.settle),
            min_sample: policy.min_sample,
            sex_agrees_percent: policy.sex_agrees,
            empty_percent: policy.empty,
            flagged_percent: policy.flagged,
            unknown_percent: policy.unknown,
        }
    }
}

impl OnboardingTable {
    pub(crate) fn policy(self) -> Option<StartPolicy> {
        self.enabled.then_some(StartPolicy {
            records: self.records,
            settle: self.settle.0,
            min_sample: self.min_sample,
            sex_agrees: self.sex_agrees_percent,
            empty: self.empty_percent,
            flagged: self.flagged_percent,
            unknown: self.unknown_percent,
        })
    }
}

/// When a daily share jumps: of empty values, abnormal values, unknown codes, held entities, each sex.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CanariesTable {
    /// `false` watches nothing.
    pub(crate) enabled: bool,
    /// A day with fewer entities (or values) says nothing.
    pub(crate) min_sample: u32,
    /// So many days before with enough of them are needed.
    #[schemars(range(min = 1, max = 60))]
    pub(crate) min_days: u32,
    /// The median of so many days before is what is usual.
    #[schemars(range(min = 1, max = 60))]
    pub(crate) days: u32,
    /// It differs from the median by more than this many points of a hundred …
    #[schemars(range(min = 0, max = 100))]
    pub(crate) points: u32,
    /// … and is more than this share of the median, or below it by as much: 200 is "twice or half".
    #[schemars(range(min = 100, max = 100_000))]
    pub(crate) factor_percent: u32,
}

impl Default for CanariesTable {
    fn default() -> CanariesTable {
        let CanaryPolicy { min_sample, min_days, days, points, factor } = CanaryPolicy::default();
        CanariesTable { enabled: true, min_sample, min_days, days, points, factor_percent: factor }
    }
}

impl CanariesTable {
    pub(crate) fn policy(self) -> Option<CanaryPolicy> {
        let CanariesTable { enabled, min_sample, min_days, days, points, factor_percent } = self;
        enabled.then_some(CanaryPolicy { min_sample, min_days, days, points, factor: factor_percent })
    }
}

/// When silence is a failure.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectTable {
    /// How long a silence is normal: a whole number and s, m, h or d.
    pub(crate) within: Lasting,
    /// The part of the day that counts, in the hospital's time zone.
    #[serde(default = "Hours::whole_day")]
    #[schemars(with = "Hours", extend("default" = "00:00-24:00"))]
    pub(crate) between: Hours,
    /// The days that count: `Mon-Sat` or `Mon,Wed,Fri`.
    #[serde(default = "every_day")]
    #[schemars(with = "Days", extend("default" = "Mon-Sun"))]
    pub(crate) days: Days,
}

/// A periodic re-read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SweepTable {
    /// When: cron with seconds, in the hospital's time zone.
    pub(crate) schedule: Cron,
    /// How far back it reads: a whole number and s, m, h or d.
    pub(crate) window: Lasting,
}

/// A periodic comparison.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReconcileTable {
    /// When: cron with seconds, in the hospital's time zone.
    pub(crate) schedule: Cron,
    /// How long the period is that is compared: whole days where it is a day or longer, else whole hours.
    #[serde(default = "a_week")]
    #[schemars(with = "Lasting", extend("default" = "7d"))]
    pub(crate) window: Lasting,
    /// A period is closed so long after its end: what a source writes late, or a poll has not read yet, is no difference.
    #[serde(default = "an_hour")]
    #[schemars(with = "Lasting", extend("default" = "1h"))]
    pub(crate) lag: Lasting,
    /// An event that upstream has not acknowledged for so long is reported.
    #[serde(default = "an_hour")]
    #[schemars(with = "Lasting", extend("default" = "1h"))]
    pub(crate) undelivered_after: Lasting,
}

/// When entities that a complete snapshot lacks may be withdrawn.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SnapshotTable {
    /// An entity is withdrawn after it was missing from so many complete snapshots in a row.
    #[schemars(range(min = 1, max = 100))]
    pub(crate) reads: u32,
    /// More missing than this share of the stream's active entities is held for a person.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) max_share_percent: u32,
    /// So few missing are never "bulk", whatever their share.
    pub(crate) min_bulk: u32,
}

impl Default for SnapshotTable {
    fn default() -> SnapshotTable {
        let SnapshotPolicy { reads, max_share_percent, min_bulk } = SnapshotPolicy::default();
        SnapshotTable { reads, max_share_percent, min_bulk }
    }
}

impl From<SnapshotTable> for SnapshotPolicy {
    fn from(table: SnapshotTable) -> SnapshotPolicy {
        let SnapshotTable { reads, max_share_percent, min_bulk } = table;
        SnapshotPolicy { reads, max_share_percent, min_bulk }
    }
}

fn main() -> Id {
    Id("main".to_owned())
}

/// The folder of the store where the configuration names none.
pub(super) fn data() -> String {
    "data".to_owned()
}

fn one_gib() -> u64 {
    1 << 30
}

fn half_a_million() -> u64 {
    500_000
}

fn four_gib() -> u64 {
    4 << 30
}

fn half_a_minute() -> Lasting {
    Lasting(std::time::Duration::from_secs(30))
}

fn a_week() -> Lasting {
    Lasting(std::time::Duration::from_secs(7 * 86_400))
}

fn an_hour() -> Lasting {
    Lasting(std::time::Duration::from_secs(3600))
}

fn every_day() -> Days {
    Days([true; 7])
}

fn five_hundred() -> usize {
    500
}
