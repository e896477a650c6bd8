//! The whole day, read as the agent reads it: the real connectors, built from the demo's
//! configuration, and the demo's mappings. What is held must be what was made wrong on purpose.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono_tz::Tz;
use connector_api::{
    CancellationToken, Connector, ConnectorKind, Decoder, Flow, Intake, Mode, Poller, Receipt, Record, Refusal,
    Request, SourceId, StreamId, Watermark, async_trait,
};
use connector_files::Files as FilesConnector;
use connector_mllp::Mllp;
use connector_soap::Soap;
use connector_sqlite::Sqlite;
use connector_testkit::source_spec;

use super::config::MAPPING_FILES;
use super::*;
use crate::mapping::{Context, Files, Input, Mapping};
use crate::model::{Entity, EntityKey, EntityType, Outcome, Wish};

/// The mapping files as they are embedded.
struct Embedded;

impl Files for Embedded {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        let found = MAPPING_FILES.iter().find(|(name, _)| Path::new(name) == path);
        found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}

/// The demo's configuration in a folder of its own.
struct Configured {
    sources: Vec<toml::Table>,
    folder: tempfile::TempDir,
}

impl Configured {
    fn new() -> Configured {
        let folder = tempfile::tempdir().unwrap();
        let demo = DemoConfig {
            upstream_url: "http://127.0.0.1:1".to_owned(),
            secret: "whsec_ZGVtbw==".to_owned(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            mllp_listen: "127.0.0.1:0".parse().unwrap(),
            database: folder.path().join("hospital.db"),
            data_dir: folder.path().join("data"),
        };
        let path = write_config(folder.path(), &demo).unwrap();
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let sources: Vec<toml::Table> = table["sources"].clone().try_into().unwrap();
        Configured { sources, folder }
    }

    /// The compiled mappings of all streams.
    fn mappings(&self) -> Mappings {
        let mut streams = HashMap::new();
        for source in &self.sources {
            let id = SourceId::new(source["id"].as_str().unwrap());
            for stream in source["streams"].as_array().unwrap() {
                let entity: EntityType = stream["entity"].as_str().unwrap().parse().unwrap();
                let path = Path::new(stream["mapping"].as_str().unwrap());
                let mapping =
                    Mapping::compile(path, entity, &Embedded).unwrap_or_else(|problems| panic!("{problems:#?}"));
                streams.insert(StreamId::new(&id, stream["id"].as_str().unwrap()), mapping);
            }
        }
        Mappings(streams)
    }

    fn build<K: ConnectorKind>(&self, id: &str) -> Connector {
        let source = self.sources.iter().find(|source| source["id"].as_str() == Some(id)).unwrap();
        let alone = toml::Table::from_iter([("sources".to_owned(), toml::Value::Array(vec![source.clone().into()]))]);
        let spec = source_spec::<K>(&alone.to_string(), self.folder.path());
        K::build(spec).unwrap_or_else(|problems| panic!("{problems:?}"))
    }
}

struct Mappings(HashMap<StreamId, Mapping>);

impl Mappings {
    /// What the mapping makes of a record; a record that can't be decoded is held, as intake does.
    fn map(&self, stream: &StreamId, record: &Record) -> Vec<Outcome> {
        let Ok(document) = &record.document else { return Vec::new() };
        let found = &self.0[stream];
        let context = Context {
            hospital: "demo-001".to_owned(),
            campus: "main".to_owned(),
            source: stream.source().as_str().to_owned(),
            adapter: "test".to_owned(),
            timezone: Tz::Asia__Shanghai,
        };
        let input = Input { document, source_ref: &record.source_ref, charset: record.raw.charset.as_deref() };
        found.apply(&context, input)
    }
}

/// Reads a stream to its end and moves its watermark.
async fn poll(poller: &mut dyn Poller, mode: Mode, from: &mut Watermark) -> Vec<Record> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let stored = from.clone();
        let request = match mode {
            Mode::Snapshot => Request::Snapshot { after: after.as_ref() },
            _ => Request::Changes { from: &stored, after: after.as_ref() },
        };
        let batch = poller.fetch(request, 7).await.unwrap();
        all.extend(batch.records);
        if let Some(advance) = batch.advance {
            assert_eq!(advance.from, *from, "an advance starts where the stored watermark stands");
            *from = advance.to;
        }
        match batch.next {
            Some(next) => after = Some(next),
            None => {
                if let Some(counted) = batch.counted {
                    assert_eq!(counted, all.len() as u64);
                }
                return all;
            }
        }
    }
}

/// What was seen of one key: how many versions, what became of them, in which order.
#[derive(Debug, Default)]
struct Seen {
    last: Vec<u8>,
    versions: u64,
    held: BTreeSet<String>,
    wishes: Vec<bool>,
    /// What would be delivered, version by version.
    data: Vec<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Sight {
    keys: BTreeMap<(EntityType, String), Seen>,
    issues: BTreeMap<String, u32>,
}

impl Sight {
    fn see(&mut self, key: EntityKey, content: &[u8], outcome: &Outcome) {
        let seen = self.keys.entry((key.entity, key.key)).or_default();
        if seen.last == content {
            return;
        }
        content.clone_into(&mut seen.last);
        seen.versions += 1;
        match outcome {
            Outcome::Held(held) => drop(seen.held.insert(held.reason.clone())),
            Outcome::Mapped(mapped) => {
                seen.wishes.push(mapped.wish == Wish::Present);
                if mapped.wish != Wish::Present {
                    // What is taken back goes at once, as far as it can be read.
                    return;
                }
                seen.data.push(mapped.data.clone());
                let entity = Entity::from_json(mapped.key.entity, &mapped.data).unwrap();
                for issue in &entity.envelope().issues {
                    *self.issues.entry(format!("{} {}", issue.code, issue.message)).or_default() += 1;
                }
            }
        }
    }
}

fn key_of(outcome: &Outcome) -> EntityKey {
    match outcome {
        Outcome::Mapped(mapped) => mapped.key.clone(),
        Outcome::Held(held) => held.key.clone().unwrap_or_else(|| panic!("{held:?} has no key")),
    }
}

#[tokio::test]
async fn a_day_is_read_whole_and_only_what_is_wrong_on_purpose_is_held() {
    for (seed, people) in [(7, 40), (3, 12)] {
        read_day(seed, people).await;
    }
}

async fn read_day(seed: u64, people: usize) {
    let configured = Configured::new();
    let mappings = configured.mappings();
    let mut peis = Peis::create(&configured.folder.path().join("hospital.db")).unwrap();
    let mut script = Day::new(seed, people);
    let sqlite = configured.build::<Sqlite>("peis");
    let decoder: Arc<dyn Decoder> = configured.build::<Mllp>("lab").decoder;
    let Flow::Poll(mut pollers) = sqlite.flow else { panic!("a database is asked") };
    let mut marks: HashMap<StreamId, Watermark> = HashMap::new();
    let mut sight = Sight::default();
    let mut undecodable = 0;
    let lab = StreamId::parse("lab/reports").unwrap();

    while let Some(step) = script.next(&mut peis).unwrap() {
        for poller in &mut pollers {
            let mode = if poller.stream.as_str() == "peis/reports" { Mode::Incremental } else { Mode::Snapshot };
            let mark = marks.entry(poller.stream.clone()).or_default();
            for record in poll(poller.poller.as_mut(), mode, mark).await {
                let outcomes = mappings.map(&poller.stream, &record);
                let (first, alarms) = outcomes.split_first().unwrap();
                assert_eq!(key_of(first).entity, mappings.0[&poller.stream].entity());
                assert!(alarms.iter().all(|alarm| key_of(alarm).entity == EntityType::CriticalValue));
                outcomes.iter().for_each(|outcome| sight.see(key_of(outcome), &record.raw.body, outcome));
            }
        }
        for message in &step.letters {
            let raw = connector_api::Raw {
                format: "application/hl7-v2".to_owned(),
                charset: None,
                body: message.bytes.clone().into(),
            };
            let document = decoder.decode(&raw);
            undecodable += u32::from(document.is_err());
            let record = Record { raw, document, source_ref: "ORU^R01".to_owned(), resend_key: None };
            for outcome in mappings.map(&lab, &record) {
                sight.see(key_of(&outcome), &record.raw.body, &outcome);
            }
        }
    }

    let seen = |key: &str| &sight.keys[&(EntityType::ExamReport, key.to_owned())];
    let reversed = seen("main:peis:0301170007");
    assert!(reversed.wishes.ends_with(&[true, false, true]), "concluded, taken back, concluded again");
    assert_eq!(reversed.data[0], reversed.data[1], "it is final again as it was");
    assert_eq!(seen("main:lab:JY261120000003-002001").wishes, [false, true], "preliminary, then verified");
    assert_eq!(seen("main:lab:JY261120000000-002001").wishes, [true, true], "final, then corrected");

    let mut wrong = Vec::new();
    for (entity, key, versions) in script.ledger().iter() {
        let seen = sight.keys.remove(&(entity, key.to_owned())).unwrap_or_default();
        match versions.flaw {
            Some(Flaw::Undecodable) => assert_eq!(seen.versions, 0),
            flaw => {
                if seen.versions != versions.count || seen.held.is_empty() == flaw.is_some() {
                    wrong.push(format!("{entity} {key}: {versions:?}, seen {} {:?}", seen.versions, seen.held));
                }
                if flaw.is_none() && entity != EntityType::ExamReport {
                    assert!(seen.wishes.iter().all(|present| *present), "{key}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(undecodable, 1);
    assert!(sight.keys.is_empty(), "{:?}", sight.keys);
    assert!(sight.issues.is_empty(), "{:#?}", sight.issues);
}

#[tokio::test]
async fn report_rows_are_what_the_connector_reads_from_the_views() {
    let configured = Configured::new();
    let mut peis = Peis::create(&configured.folder.path().join("hospital.db")).unwrap();
    let day = super::day::default_date();
    let visits: Vec<Visit> = (0..12).map(|index| Visit::draw(7, index, 12, day)).collect();
    let publish = |desk: &super::peis::Desk<'_>| {
        desk.publish_catalogue()?;
        visits.iter().try_for_each(|visit| {
            desk.register(visit, if visit.person.sex == super::people::Sex::Male { "1" } else { "2" })?;
            visit.orders.iter().try_for_each(|order| desk.enter(visit, order, None))?;
            let at = visit.registered_at + chrono::Duration::hours(6);
            desk.conclude(visit, super::peis::ReportState::Concluded, at)?;
            desk.touch(visit, at)
        })
    };
    peis.change(publish).unwrap();
    let Flow::Poll(mut pollers) = configured.build::<Sqlite>("peis").flow else { panic!("a database is asked") };
    let reports = pollers.iter_mut().find(|poller| poller.stream.as_str() == "peis/reports").unwrap();
    let records = poll(reports.poller.as_mut(), Mode::Incremental, &mut Watermark::start()).await;
    let read: Vec<_> = records.into_iter().map(|record| record.document.unwrap()).collect();
    assert_eq!(read, report_rows(7, 12).collect::<Vec<_>>());
}

/// Takes custody in memory and answers as the store would.
#[derive(Default)]
struct Custody(Mutex<Vec<(Option<StreamId>, Record)>>);

#[async_trait]
impl Intake for Custody {
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal> {
        let mut stored = self.0.lock().unwrap();
        let receipts = records.into_iter().map(|record| {
            let resent =
                stored.iter().any(|(_, other)| other.resend_key == record.resend_key && other.raw == record.raw);
            stored.push((stream.cloned(), record));
            if resent { Receipt::Duplicate } else { Receipt::Stored }
        });
        Ok(receipts.collect())
    }
}

#[tokio::test]
async fn the_agents_listener_takes_every_letter_of_the_laboratory() {
    let configured = Configured::new();
    let mut peis = Peis::create(&configured.folder.path().join("hospital.db")).unwrap();
    let Flow::Listen(mut listener) = configured.build::<Mllp>("lab").flow else { panic!("a listener is sent to") };
    let address = listener.open().await.unwrap().0.parse().unwrap();
    let custody = Arc::new(Custody::default());
    let stop = CancellationToken::new();
    let talk = async {
        let mut sender = LabSender::new(address, Patience::default());
        let mut script = Day::new(7, 12);
        let mut sent = Vec::new();
        while let Some(step) = script.next(&mut peis).unwrap() {
            sent.extend(sender.send_all(&step.letters).await);
        }
        stop.cancel();
        sent
    };
    let (served, sent) = tokio::join!(listener.serve(custody.clone(), stop.clone()), talk);
    served.unwrap();
    assert!(sent.iter().all(|sent| sent.answer == Answer::Accepted && sent.attempts == 1), "{sent:?}");
    let stored = custody.0.lock().unwrap();
    assert_eq!(stored.len(), sent.len());
    assert!(stored.iter().all(|(stream, _)| stream.as_ref().is_some_and(|stream| stream.as_str() == "lab/reports")));
    assert_eq!(stored.iter().filter(|(_, record)| record.document.is_err()).count(), 1);
    let again =
        stored.iter().filter(|(_, record)| stored.iter().filter(|(_, other)| other.raw == record.raw).count() == 2);
    assert_eq!(again.count(), 2, "one message was sent twice");
}
