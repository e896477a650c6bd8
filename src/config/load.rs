//! From the files to a [`Config`], or to the list of everything that is wrong with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono_tz::Tz;
use connector_api::{Mode, Secret, SourceId, StreamId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::disk::{Disk, why};
use super::file::{self, AgentTable, LaneTable, RetentionTable, ShadowTable, SourceTable, StoreTable, StreamTable};
use super::schema::{self, Found, unknown_key};
use super::tree::{self, Node, Tree};
use super::{
    Agent, Candidate, Config, Expect, Look, Reconcile, Shadow, SourceConfig, StoreConfig, StreamConfig, Sweep,
    replacement,
};
use crate::diagnose::{Problem, nearest};
use crate::mapping::{Files, Mapping};
use crate::model::dictionary::is_entry;
use crate::model::{EntityType, Lanes};
use crate::ops::calendar::Calendar;
use crate::registry::{Kind, schema_of};
use crate::store::{Backlog, SnapshotPolicy};
use crate::{delivery, ops};

/// The keys at the top of the file.
const TOP: [&str; 11] =
    ["include", "agent", "store", "upstream", "admin", "retention", "alerts", "log", "traces", "shadow", "sources"];
/// The keys of a stream's table that every connector's streams have.
pub(super) const STREAM_KEYS: [&str; 13] = [
    "id",
    "entity",
    "mode",
    "schedule",
    "mapping",
    "expect",
    "sweep",
    "reconcile",
    "batch_size",
    "snapshot",
    "guards",
    "onboarding",
    "canaries",
];

/// How a mapping file is compiled: [`Mapping::compile`], except in tests of what surrounds it.
pub(super) type Compile = fn(&Path, EntityType, &dyn Files) -> Result<Mapping, Vec<Problem>>;

pub(super) fn load(path: &Path, kinds: &'static [Kind], compile: Compile) -> Result<Config, Vec<Problem>> {
    let path = std::path::absolute(path).map_err(|cause| {
        vec![Problem::new(path, None, "unreadable-file", format!("can't find its folder: {cause}"))]
    })?;
    let base_dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut loader = Loader {
        kinds,
        compile,
        base_dir,
        zone: USUAL_ZONE,
        disk: Disk::default(),
        found: Found::default(),
        mapping_problems: Vec::new(),
        mappings: BTreeMap::new(),
    };
    let root = tree::read(&path, &loader.disk, &mut loader.found.problems);
    if !loader.found.problems.is_empty() {
        // What a broken file would have said is unknown: more problems would be guesses.
        return Err(loader.found.problems);
    }
    loader.zone = zone_of(&root);
    loader.config(&root)
}

/// The zone of sources where the file does not say it, which is refused, or is not asked for it.
const USUAL_ZONE: Tz = chrono_tz::Asia::Shanghai;

/// The hospital's time zone, which connectors need before all of the file is read.
fn zone_of(root: &Node) -> Tz {
    let written = root.get("agent").and_then(|agent| agent.get("timezone")).and_then(Node::text);
    written.and_then(|name| name.parse().ok()).unwrap_or(USUAL_ZONE)
}

/// The data folder alone. Files that can't be read matter only where they may be the ones that name it.
pub(super) fn data_dir(path: &Path) -> Result<PathBuf, Vec<Problem>> {
    let unknown = |message: String| vec![Problem::new(path, None, "unreadable-file", message)];
    let path = std::path::absolute(path).map_err(|cause| unknown(format!("can't find its folder: {cause}")))?;
    let mut problems = Vec::new();
    let root = tree::read(&path, &Disk::default(), &mut problems);
    let folder = match root.get("agent").map(|agent| agent.get("data_dir")) {
        None if problems.is_empty() => Err(unknown("the table [agent] is missing".to_owned())),
        None => Err(problems),
        Some(None) => Ok(file::data()),
        Some(Some(node)) => match node.text().filter(|text| !text.is_empty()) {
            Some(text) => Ok(text.to_owned()),
            None => Err(vec![node.at.problem("wrong-type", "agent.data_dir is no name of a folder")]),
        },
    }?;
    Ok(path.parent().unwrap_or(Path::new("/")).join(folder))
}

/// The key of the store alone, and the folder that it is read relative to.
pub(super) fn store_key(path: &Path) -> Result<(Option<Secret>, PathBuf), Vec<Problem>> {
    let unknown = |message: String| vec![Problem::new(path, None, "unreadable-file", message)];
    let path = std::path::absolute(path).map_err(|cause| unknown(format!("can't find its folder: {cause}")))?;
    let mut problems = Vec::new();
    let root = tree::read(&path, &Disk::default(), &mut problems);
    let base_dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let Some(node) = root.get("store").and_then(|store| store.get("encryption")) else {
        // The file that can't be read may be the one that names it.
        return if problems.is_empty() { Ok((None, base_dir)) } else { Err(problems) };
    };
    let key = node.get("key").map(|key| serde_json::from_value(key.to_json()));
    match key {
        Some(Ok(secret)) => Ok((Some(secret), base_dir)),
        _ => Err(vec![node.at.problem("wrong-type", "store.encryption.key says not where the key is")]),
    }
}

/// The files as they are written, joined.
pub(super) fn as_written(path: &Path) -> Result<Json, Vec<Problem>> {
    let mut problems = Vec::new();
    let root = tree::read(path, &Disk::default(), &mut problems);
    if problems.is_empty() { Ok(root.to_json()) } else { Err(problems) }
}

/// One source, its mappings and the tables beside `sources` left aside.
pub(super) fn look(path: &Path, id: &str, kinds: &'static [Kind]) -> Result<Look, Vec<Problem>> {
    let path = std::path::absolute(path).map_err(|cause| {
        vec![Problem::new(path, None, "unreadable-file", format!("can't find its folder: {cause}"))]
    })?;
    let base_dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut loader = Loader {
        kinds,
        compile: Mapping::compile,
        base_dir,
        zone: USUAL_ZONE,
        disk: Disk::default(),
        found: Found::default(),
        mapping_problems: Vec::new(),
        mappings: BTreeMap::new(),
    };
    let root = tree::read(&path, &loader.disk, &mut loader.found.problems);
    if !loader.found.problems.is_empty() {
        return Err(loader.found.problems);
    }
    let listed = root.get("sources").map(Node::items).unwrap_or_default();
    let name = |node: &Node| node.get("id").and_then(Node::text).unwrap_or_default().to_owned();
    let Some(node) = listed.iter().find(|node| name(node) == id) else {
        let names: Vec<String> = listed.iter().map(name).collect();
        let problem = root.at.problem("unknown-source", format!("there is no source \"{id}\""));
        return Err(vec![problem.hint(format!("the sources: {}", names.join(", ")))]);
    };
    let settings = node.get("settings").cloned().unwrap_or_else(|| Node::empty_table(node.at.clone()));
    let kind = loader.kind(node);
    if let Some(kind) = kind {
        schema::check(&settings, &kind.settings_schema(), &[], &mut loader.found);
    }
    let Some(kind) = kind.filter(|_| loader.found.problems.is_empty()) else { return Err(loader.found.problems) };
    let id = SourceId::new(id);
    let own = node.get("streams").map(Node::items).unwrap_or_default();
    let build = |streams: Vec<connector_api::StreamSpec<Json>>| {
        let (id, base_dir, zone) = (id.clone(), loader.base_dir.clone(), zone_of(&root));
        kind.build(connector_api::SourceSpec { id, base_dir, zone, settings: settings.to_json(), streams })
    };
    let own: Vec<_> = own.iter().filter_map(|stream| spec(stream, &id)).collect();
    let built = match build(own.clone()) {
        Ok(connector) if !own.is_empty() => Ok(connector),
        outcome => build(sample_streams(kind, &id)).map_err(|problems| outcome.err().unwrap_or(problems)),
    };
    built.map(|connector| Look { kind, connector }).map_err(|problems| {
        let place = |wrong: connector_api::SettingsProblem| {
            let mut problem = node.locate(&wrong.path).problem("connector-settings", wrong.message);
            problem.hint = wrong.hint;
            problem
        };
        problems.into_iter().map(place).collect()
    })
}

/// A stream's table as its connector gets it; `None` where it is not even a stream.
fn spec(stream: &Node, source: &SourceId) -> Option<connector_api::StreamSpec<Json>> {
    if !matches!(stream.value, Tree::Table(_)) {
        return None;
    }
    let (common, own) = stream.split(is_common);
    let mode = serde_json::from_value(common.get("mode")?.to_json()).ok()?;
    let id = StreamId::new(source, common.get("id")?.text()?);
    Some(connector_api::StreamSpec { id, mode, settings: own.to_json() })
}

/// The streams of a connector's sample.
fn sample_streams(kind: &Kind, source: &SourceId) -> Vec<connector_api::StreamSpec<Json>> {
    let sample: Json = toml::from_str(kind.sample).unwrap_or_default();
    let streams = sample.pointer("/sources/0/streams").and_then(Json::as_array).cloned().unwrap_or_default();
    let spec = |stream: Json| {
        let Json::Object(mut own) = stream else { return None };
        let mode = serde_json::from_value(own.get("mode")?.clone()).ok()?;
        let id = StreamId::new(source, own.get("id")?.as_str()?);
        own.retain(|key, _| !is_common(key));
        Some(connector_api::StreamSpec { id, mode, settings: Json::Object(own) })
    };
    streams.into_iter().filter_map(spec).collect()
}

struct Loader {
    kinds: &'static [Kind],
    compile: Compile,
    base_dir: PathBuf,
    zone: Tz,
    disk: Disk,
    found: Found,
    /// Problems of mapping files: they lie outside the source's table, whose connector can still
    /// check its settings.
    mapping_problems: Vec<Problem>,
    /// Each mapping is compiled once, however many streams use it; `None` where it has problems.
    mappings: BTreeMap<(PathBuf, EntityType), Option<Arc<Mapping>>>,
}

impl Loader {
    fn config(mut self, root: &Node) -> Result<Config, Vec<Problem>> {
        for entry in root.entries().iter().filter(|entry| !TOP.contains(&entry.key.as_str())) {
            self.report(unknown_key(entry, &TOP));
        }
        let agent = self.required(root, "agent").and_then(|node| self.typed::<AgentTable>(node));
        let upstream = self.required(root, "upstream").and_then(|node| self.upstream(node));
        let admin = match root.get("admin") {
            Some(node) => self.admin(node),
            None => Some(ops::Settings::default()),
        };
        let store = match root.get("store") {
            Some(node) => self.store(node),
            None => Some(StoreConfig::default()),
        };
        let retention = match root.get("retention") {
            Some(node) => self.retention(node),
            None => Some(RetentionTable::default()),
        };
        let alerts = match root.get("alerts") {
            Some(node) => self.alerts(node),
            None => Some(ops::alert::Settings::default()),
        };
        let log = match root.get("log") {
            Some(node) => self.typed::<ops::log::Settings>(node),
            None => Some(ops::log::Settings::default()),
        };
        let traces = root.get("traces").and_then(|node| self.typed::<ops::traces::Settings>(node));
        let calendar = self.calendar(root.get("agent").and_then(|agent| agent.get("holidays")));
        let mut sources = self.required(root, "sources").map(|node| self.sources(node)).unwrap_or_default();
        let shadow = root.get("shadow").and_then(|node| Some((node, self.typed::<ShadowTable>(node)?)));
        let shadow = shadow.map(|(node, table)| self.shadow(node, table, &mut sources)).unwrap_or_default();
        self.found.problems.append(&mut self.mapping_problems);
        let whole = root.get("sources").is_some_and(|list| list.items().len() == sources.len());
        if !whole && self.found.problems.is_empty() {
            // Nothing that was written may be left out: a source that was refused says why.
            self.report(root.at.problem("incomplete", "a source could not be read, and nothing says why"));
        }
        match (agent, upstream, admin, store, retention, alerts, log) {
            (Some(agent), Some(upstream), Some(admin), Some(store), Some(retention), Some(alerts), Some(log))
                if self.found.problems.is_empty() =>
            {
                Ok(Config {
                    agent: self.agent(agent),
                    store,
                    upstream,
                    admin,
                    retention: retention.policy(),
                    retention_schedule: retention.schedule.map(|schedule| schedule.0),
                    alerts,
                    log,
                    traces,
                    calendar,
                    shadow,
                    sources,
                    digest: self.disk.digest(&self.base_dir),
                    files: self.disk.files(),
                    base_dir: self.base_dir,
                    secrets: self.found.secrets,
                    written: root.to_json(),
                })
            }
            _ => Err(self.found.problems),
        }
    }

    fn report(&mut self, problem: Problem) {
        self.found.problems.push(problem);
    }

    fn required<'n>(&mut self, root: &'n Node, key: &str) -> Option<&'n Node> {
        let found = root.get(key);
        let misspelt = |entry: &tree::Entry| nearest(&entry.key, TOP) == Some(key);
        if found.is_none() && !root.entries().iter().any(misspelt) {
            let header = if key == "sources" { "[[sources]]".to_owned() } else { format!("[{key}]") };
            let problem = root.at.problem("missing-key", format!("the table {header} is missing"));
            self.report(problem.hint("`hisync schema config` and docs/configuration.md say what belongs into it"));
        }
        found
    }

    fn upstream(&mut self, node: &Node) -> Option<delivery::Settings> {
        let settings = self.typed::<delivery::Settings>(node)?;
        for (key, message) in settings.problems() {
            self.report(node.locate(key).problem("upstream-settings", message));
        }
        Some(settings)
    }

    fn admin(&mut self, node: &Node) -> Option<ops::Settings> {
        let settings = self.typed::<ops::Settings>(node)?;
        for (key, message) in settings.problems() {
            self.report(node.locate(&key).problem("admin-settings", message));
        }
        Some(settings)
    }

    fn store(&mut self, node: &Node) -> Option<StoreConfig> {
        let before = self.found.secrets.len();
        let table = self.typed::<StoreTable>(node)?;
        let key = table.encryption.map(|encryption| encryption.key);
        let place = self.found.secrets[before..].iter().find(|place| Some(&place.secret) == key.as_ref());
        Some(StoreConfig { key: place.cloned() })
    }

    fn retention(&mut self, node: &Node) -> Option<RetentionTable> {
        let table = self.typed::<RetentionTable>(node)?;
        for (key, message) in table.problems() {
            self.report(node.locate(key).problem("retention-settings", message));
        }
        Some(table)
    }

    fn alerts(&mut self, node: &Node) -> Option<ops::alert::Settings> {
        let settings = self.typed::<ops::alert::Settings>(node)?;
        for (path, message) in settings.problems(&self.base_dir) {
            self.report(node.locate(&path).problem("alerts-settings", message));
        }
        Some(settings)
    }

    /// The file of days off; empty where none is named, or it has problems, which are reported.
    fn calendar(&mut self, node: Option<&Node>) -> Calendar {
        let Some((node, name)) = node.and_then(|node| Some((node, node.text()?))) else { return Calendar::default() };
        let read = self.disk.read(&self.base_dir.join(name));
        let read = read.map_err(|cause| format!("can't read the file of holidays \"{name}\": {}", why(&cause)));
        let parsed = read.and_then(|text| {
            Calendar::parse(name, &text).map_err(|error| format!("in the file of holidays \"{name}\": {error}"))
        });
        parsed.unwrap_or_else(|message| {
            self.report(node.at.problem("holidays", message));
            Calendar::default()
        })
    }

    /// Checks a node against the schema of a type and reads it; problems are reported.
    fn typed<T: DeserializeOwned + JsonSchema>(&mut self, node: &Node) -> Option<T> {
        let before = self.found.problems.len();
        schema::check(node, &schema_of::<T>(), &[], &mut self.found);
        if self.found.problems.len() > before { None } else { self.deserialise(node) }
    }

    fn deserialise<T: DeserializeOwned>(&mut self, node: &Node) -> Option<T> {
        match serde_path_to_error::deserialize(node.to_json()) {
            Ok(typed) => Some(typed),
            Err(error) => {
                let at = node.locate(&error.path().to_string());
                let message = error.into_inner().to_string();
                let mut problem = at.problem("bad-value", message.as_str());
                // The two kinds of value that settings types of other rooms read by themselves.
                if message.contains("URL") {
                    problem = problem.hint("write it whole: \"https://host/path\"");
                } else if message.contains("socket address") {
                    problem = problem.hint("write an IP address and a port: \"127.0.0.1:8686\"");
                }
                self.report(problem);
                None
            }
        }
    }

    fn agent(&self, table: AgentTable) -> Agent {
        Agent {
            hospital: table.hospital.0,
            campus: table.campus.0,
            timezone: table.timezone.0,
            data_dir: self.base_dir.join(table.data_dir),
            disk_floor_bytes: table.disk_floor_bytes,
            outbox_limit: Backlog { entries: table.outbox_max_entries, bytes: table.outbox_max_bytes },
            shutdown_grace: table.shutdown_grace.0,
            lane: table.lane.map(|lane| lane.0),
            lanes: Lanes(table.lanes.into_iter().map(LaneTable::rule).collect()),
            reload: table.reload,
        }
    }

    fn sources(&mut self, list: &Node) -> Vec<SourceConfig> {
        if !matches!(list.value, Tree::List(_)) {
            let problem =
                list.at.problem("wrong-type", format!("this is {}, but a list of tables is expected", list.kind()));
            self.report(problem.hint("write [[sources]] with two brackets"));
            return Vec::new();
        }
        if list.items().is_empty() {
            self.report(list.at.problem("missing-key", "no source is configured"));
        }
        self.unique_ids(list.items(), "source");
        let sources: Vec<SourceConfig> = list.items().iter().filter_map(|source| self.source(source)).collect();
        if sources.len() == list.items().len() {
            self.dictionaries(list, &sources);
        }
        sources
    }

    /// A mapping that names the dictionary of a source that reads none would be compared with nothing, silently.
    fn dictionaries(&mut self, list: &Node, sources: &[SourceConfig]) {
        let reads = |name: &str| {
            let mut streams = sources.iter().filter(|source| source.id.as_str() == name).flat_map(|it| &it.streams);
            streams.any(|stream| stream.mode == Mode::Snapshot && is_entry(stream.entity))
        };
        for stream in sources.iter().flat_map(|source| &source.streams) {
            if let Some(name) = stream.mapping.dictionary().filter(|name| !reads(name)) {
                let message =
                    format!("the mapping of {} names the dictionary of \"{name}\", which reads none", stream.id);
                let hint = "a dictionary is a stream of exam_item or exam_item_group with mode = \"snapshot\"";
                self.report(list.at.problem("no-dictionary", message).hint(hint));
            }
        }
    }

    /// Compiles the candidate. Whatever is wrong with it is no problem of the configuration: what is in force goes on.
    fn shadow(&self, node: &Node, table: ShadowTable, sources: &mut [SourceConfig]) -> Shadow {
        let mut shadow = Shadow { agent: table.agent, ..Shadow::default() };
        let Some(name) = table.candidate else { return shadow };
        let folder = self.base_dir.join(&name);
        let mut found = false;
        for stream in sources.iter_mut().flat_map(|source| &mut source.streams) {
            let file = stream.mapping.files().first();
            let Some(path) = file.and_then(|file| replacement(&folder, &self.base_dir, file)) else { continue };
            found = true;
            let mapping = match (self.compile)(&path, stream.entity, &self.disk) {
                Ok(mapping) if mapping.entity() == stream.entity => Ok(Arc::new(mapping)),
                Ok(mapping) => {
                    let message =
                        format!("this mapping yields {}, but {} is of {}", mapping.entity(), stream.id, stream.entity);
                    Err(vec![Problem::new(&path, None, "entity-mismatch", message)])
                }
                Err(problems) => Err(problems),
            };
            let same = mapping.as_ref().is_ok_and(|mapping| mapping.version() == stream.mapping.version());
            stream.candidate = (!same).then_some(Candidate { mapping });
        }
        if !found {
            let message = format!("\"{name}\" has none of the mapping files that the streams name");
            let hint = "a candidate is a copy of the folder of the mappings, edited";
            shadow.problems.push(node.locate("candidate").problem("no-candidate", message).hint(hint));
        }
        shadow.candidate = Some(folder);
        shadow
    }

    fn unique_ids(&mut self, tables: &[Node], what: &str) {
        let mut seen = std::collections::BTreeSet::new();
        for node in tables.iter().filter_map(|table| table.get("id")) {
            if let Some(id) = node.text()
                && !seen.insert(id)
            {
                let problem = node.at.problem("duplicate-id", format!("another {what} has the id \"{id}\" already"));
                self.report(problem.hint("watermarks and history belong to the id: give each its own"));
            }
        }
    }

    fn source(&mut self, node: &Node) -> Option<SourceConfig> {
        let before = self.found.problems.len();
        let head: Option<SourceTable> = self.typed(node);
        let kind = self.kind(node);
        let streams = node.get("streams").map(Node::items).unwrap_or_default();
        self.unique_ids(streams, "stream of this source");
        let written = node.get("settings");
        let settings = written.cloned().unwrap_or_else(|| Node::empty_table(node.at.clone()));
        if let Some(schema) = kind.map(Kind::settings_schema) {
            let needed = schema.get("required").and_then(Json::as_array).filter(|needed| !needed.is_empty());
            match (written, needed) {
                (None, Some(needed)) => {
                    let keys: Vec<&str> = needed.iter().filter_map(Json::as_str).collect();
                    let problem = node.at.problem("missing-key", "the key `settings` is missing");
                    self.report(problem.hint(format!("settings = {{ … }} with the keys {}", keys.join(", "))));
                }
                _ => schema::check(&settings, &schema, &[], &mut self.found),
            }
        }
        let id = node.get("id").and_then(Node::text).unwrap_or_default();
        let id = SourceId::new(id);
        let streams: Vec<Option<StreamConfig>> = streams.iter().map(|stream| self.stream(stream, &id, kind)).collect();
        // The connector looks at its settings only where each of them is well-formed.
        let (kind, _) = (kind?, head?);
        if self.found.problems.len() > before {
            return None;
        }
        self.try_build(node, kind, &id, &settings);
        let streams = streams.into_iter().collect::<Option<Vec<_>>>()?;
        Some(SourceConfig { id, kind, settings: settings.to_json(), zone: self.zone, streams })
    }

    /// Lets the connector check what only it can; its paths become places.
    fn try_build(&mut self, node: &Node, kind: &Kind, id: &SourceId, settings: &Node) {
        let streams = node.get("streams").map(Node::items).unwrap_or_default();
        let specs = streams.iter().filter_map(|stream| spec(stream, id));
        let spec = connector_api::SourceSpec {
            id: id.clone(),
            base_dir: self.base_dir.clone(),
            zone: self.zone,
            settings: settings.to_json(),
            streams: specs.collect(),
        };
        for wrong in kind.build(spec).err().into_iter().flatten() {
            let mut problem = node.locate(&wrong.path).problem("connector-settings", wrong.message);
            problem.hint = wrong.hint;
            self.report(problem);
        }
    }

    fn kind(&mut self, source: &Node) -> Option<&'static Kind> {
        let node = source.get("connector")?;
        let name = node.text()?;
        let found = self.kinds.iter().find(|kind| kind.name == name);
        if found.is_none() {
            let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
            let near = nearest(name, names.iter().copied()).map(|near| format!("did you mean \"{near}\"? "));
            let hint = format!("{}this build has: {}", near.unwrap_or_default(), names.join(", "));
            self.report(node.at.problem("unknown-connector", format!("there is no connector \"{name}\"")).hint(hint));
        }
        found
    }

    fn stream(&mut self, node: &Node, source: &SourceId, kind: Option<&'static Kind>) -> Option<StreamConfig> {
        if !matches!(node.value, Tree::Table(_)) {
            return None;
        }
        let (common, own) = node.split(is_common);
        let table: Option<StreamTable> = self.typed(&common);
        if let Some(kind) = kind {
            schema::check(&own, &kind.stream_schema(), &STREAM_KEYS, &mut self.found);
        }
        self.modes(&common, kind);
        let entity = common.get("entity").and_then(Node::text).and_then(|name| name.parse::<EntityType>().ok());
        let mapping = match (entity, common.get("mapping")) {
            (Some(entity), Some(path)) => self.mapping(path, entity),
            _ => None,
        };
        let table = table?;
        Some(StreamConfig {
            id: StreamId::new(source, &table.id.0),
            entity: table.entity,
            mode: table.mode,
            schedule: table.schedule.map(|cron| cron.0),
            mapping: mapping?,
            candidate: None,
            expect: table.expect.map(|expect| Expect {
                within: expect.within.0,
                between: (expect.between.0, expect.between.1),
                days: expect.days.0,
            }),
            sweep: table.sweep.map(|sweep| Sweep { schedule: sweep.schedule.0, window: sweep.window.0 }),
            reconcile: table.reconcile.map(|table| Reconcile {
                schedule: table.schedule.0,
                window: table.window.0,
                lag: table.lag.0,
                undelivered_after: table.undelivered_after.0,
            }),
            batch_size: table.batch_size,
            snapshot: table.snapshot.map(SnapshotPolicy::from).unwrap_or_default(),
            guards: table.guards.unwrap_or_default().policy().filter(|_| table.entity != EntityType::ExamReport),
            onboarding: table.onboarding.unwrap_or_default().policy(),
            canaries: table.canaries.unwrap_or_default().policy(),
            settings: own.to_json(),
        })
    }

    /// What the mode asks for and what it excludes.
    fn modes(&mut self, common: &Node, kind: Option<&Kind>) {
        let Some(node) = common.get("mode") else { return };
        let Ok(mode) = serde_json::from_value::<Mode>(node.to_json()) else { return };
        let word = node.text().unwrap_or_default();
        if let Some(kind) = kind
            && !kind.modes.contains(&mode)
        {
            let modes: Vec<String> = kind.modes.iter().map(|mode| Json::to_string(&serde_json::json!(mode))).collect();
            let problem =
                node.at.problem("unsupported-mode", format!("the connector \"{}\" has no mode \"{word}\"", kind.name));
            self.report(problem.hint(format!("use {}", modes.join(" or "))));
        }
        if mode != Mode::Push && common.get("schedule").is_none() {
            let message = format!("a stream of mode \"{word}\" needs a `schedule`");
            let hint = "schedule = \"0 */5 6-20 * * *\"   # second minute hour day month weekday";
            self.report(common.at.problem("missing-key", message).hint(hint));
        }
        let misplaced = [
            ("schedule", mode == Mode::Push),
            ("sweep", mode != Mode::Incremental),
            ("snapshot", mode != Mode::Snapshot),
        ];
        for (key, misplaced) in misplaced {
            if let (true, Some(entry)) = (misplaced, common.entry(key)) {
                let problem =
                    entry.key_at.problem("misplaced-key", format!("a stream of mode \"{word}\" has no `{key}`"));
                self.report(problem.hint("take it out, or change the mode"));
            }
        }
    }

    fn mapping(&mut self, node: &Node, entity: EntityType) -> Option<Arc<Mapping>> {
        let path = self.base_dir.join(node.text().filter(|text| !text.is_empty())?);
        let key = (path.clone(), entity);
        if let Some(known) = self.mappings.get(&key) {
            return known.clone();
        }
        let compiled = match self.disk.read(&path) {
            Err(cause) => {
                let problem = self.unreadable_mapping(node, &cause);
                self.mapping_problems.push(problem);
                None
            }
            Ok(_) => match (self.compile)(&path, entity, &self.disk) {
                Ok(mapping) if mapping.entity() == entity => Some(Arc::new(mapping)),
                Ok(mapping) => {
                    let message = format!("this mapping yields {}, but the stream is of {entity}", mapping.entity());
                    self.mapping_problems.push(node.at.problem("entity-mismatch", message));
                    None
                }
                Err(problems) => {
                    self.mapping_problems.extend(problems);
                    None
                }
            },
        };
        self.mappings.insert(key, compiled.clone());
        compiled
    }

    fn unreadable_mapping(&self, node: &Node, cause: &std::io::Error) -> Problem {
        let written = node.text().unwrap_or_default();
        let problem =
            node.at.problem("missing-file", format!("can't read the mapping file \"{written}\": {}", why(cause)));
        let mut present = Vec::new();
        toml_files(&self.base_dir.join("mappings"), 4, &mut present);
        let names = present.iter().filter_map(|path| path.strip_prefix(&self.base_dir).ok()?.to_str());
        match nearest(written, names) {
            Some(near) => problem.hint(format!("did you mean \"{near}\"?")),
            None => problem.hint("the path is relative to the folder of the configuration file"),
        }
    }
}

fn is_common(key: &str) -> bool {
    STREAM_KEYS.contains(&key)
}

/// The mapping files below a folder, for a hint: not too deep and not too many.
fn toml_files(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if found.len() >= 1000 {
            return;
        }
        if path.is_dir() && depth > 0 {
            toml_files(&path, depth - 1, found);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
}
