//! The whole day, read as the agent reads it: the real connectors, built from the demo's
//! configuration, and the demo's mappings. What is held must be what was made wrong on purpose.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono_tz::Tz;
use connector_api::{
    CancellationToken, Connector, ConnectorKind, Decoder, Flow, Intake, Mode, Poller, Receipt, Record, Refusal,
    Request, SourceId, StreamId, Watermark, async_trait,
};
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
    fn new(outlab_url: String, day: chrono::NaiveDate) -> Configured {
        let folder = tempfile::tempdir().unwrap();
        let demo = DemoConfig {
            upstream_url: "http://127.0.0.1:1".to_owned(),
            secret: "whsec_ZGVtbw==".to_owned(),
            admin_listen: "127.0.0.1:0".parse().unwrap(),
            mllp_listen: "127.0.0.1:0".parse().unwrap(),
            database: folder.path().join("hospital.db"),
            data_dir: folder.path().join("data"),
        };
        let inbox = folder.path().join("inbox");
        std::fs::create_dir(&inbox).unwrap();
        let path = write_whole_config(folder.path(), &demo, &Elsewhere { outlab_url, day, inbox }).unwrap();
        let table: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let sources: Vec<toml::Table> = table["sources"].clone().try_into().unwrap();
        Configured { sources, folder }
    }

    /// One of which the outside laboratory's service is not asked.
    fn at_home() -> Configured {
        Configured::new("http://127.0.0.1:1/Report.asmx".to_owned(), super::day::default_date())
    }

    fn inbox(&self) -> PathBuf {
        self.folder.path().join("inbox")
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

/// Takes custody of so many records, and then stops the listener.
struct Awaiting {
    custody: Custody,
    records: usize,
    stop: CancellationToken,
}

#[async_trait]
impl Intake for Awaiting {
    async fn accept(&self, stream: Option<&StreamId>, records: Vec<Record>) -> Result<Vec<Receipt>, Refusal> {
        let receipts = self.custody.accept(stream, records).await?;
        if self.custody.0.lock().unwrap().len() >= self.records {
            self.stop.cancel();
        }
        Ok(receipts)
    }
}

/// What the watcher of the folder takes, up to so many records.
async fn watch(configured: &Configured, records: usize) -> Vec<Record> {
    let Flow::Listen(mut listener) = configured.build::<connector_files::Files>("imaging").flow else {
        panic!("a folder is watched")
    };
    listener.open().await.unwrap();
    let stop = CancellationToken::new();
    let awaiting = Arc::new(Awaiting { custody: Custody::default(), records, stop: stop.clone() });
    listener.serve(awaiting.clone(), stop).await.unwrap();
    let stored = std::mem::take(&mut *awaiting.custody.0.lock().unwrap());
    stored.into_iter().map(|(_, record)| record).collect()
}

/// The reason for which a record without a readable key is held.
fn unread(record: &Record) -> Option<&'static str> {
    record.document.as_ref().err().map(|failure| failure.code)
}

async fn read_day(seed: u64, people: usize) {
    let outlab = Outlab::start("127.0.0.1:0".parse().unwrap()).await.unwrap();
    // A service is asked up to now, so the day must be over.
    let date = (crate::clock::Clock::system().now() - chrono::Duration::days(1)).with_timezone(&Tz::Asia__Shanghai);
    let date = date.date_naive();
    let configured = Configured::new(outlab.url(), date);
    let mappings = configured.mappings();
    let mut peis = Peis::create(&configured.folder.path().join("hospital.db")).unwrap();
    let mut script = Day::new(seed, people).on(date);
    let sqlite = configured.build::<Sqlite>("peis");
    let decoder: Arc<dyn Decoder> = configured.build::<Mllp>("lab").decoder;
    let Flow::Poll(mut pollers) = sqlite.flow else { panic!("a database is asked") };
    let Flow::Poll(services) = configured.build::<Soap>("outlab").flow else { panic!("a service is asked") };
    pollers.extend(services);
    let mut marks: HashMap<StreamId, Watermark> = HashMap::new();
    let mut sight = Sight::default();
    // Why records without a key are held.
    let mut keyless: Vec<&str> = Vec::new();
    let mut rows = 0;
    let lab = StreamId::parse("lab/reports").unwrap();

    while let Some(step) = script.next(&mut peis).unwrap() {
        outlab.publish(&step.reports);
        for drop in &step.drops {
            drop.write(&configured.inbox()).unwrap();
            rows += drop.table.split(|byte| *byte == b'\n').count() - 2;
        }
        for poller in &mut pollers {
            let mode = if poller.stream.as_str().ends_with("/reports") { Mode::Incremental } else { Mode::Snapshot };
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
            let record = Record { raw, document, source_ref: "ORU^R01".to_owned(), resend_key: None };
            keyless.extend(unread(&record));
            for outcome in mappings.map(&lab, &record) {
                sight.see(key_of(&outcome), &record.raw.body, &outcome);
            }
        }
    }

    let imaging = StreamId::parse("imaging/reports").unwrap();
    for record in watch(&configured, rows).await {
        keyless.extend(unread(&record));
        for outcome in mappings.map(&imaging, &record) {
            sight.see(key_of(&outcome), &record.raw.body, &outcome);
        }
    }
    outlab.stop().await;

    let seen = |key: &str| &sight.keys[&(EntityType::ExamReport, key.to_owned())];
    let reversed = seen("main:peis:0301170007");
    assert!(reversed.wishes.ends_with(&[true, false, true]), "concluded, taken back, concluded again");
    assert_eq!(reversed.data[0], reversed.data[1], "it is final again as it was");
    let day = date.format("%y%m%d");
    let lab_report = |index: u32| seen(&format!("main:lab:JY{day}{index:06}-002001"));
    assert_eq!(lab_report(3).wishes, [false, true], "preliminary, then verified");
    assert_eq!(lab_report(0).wishes, [true, true], "final, then corrected");
    let outside = |place: u32| seen(&format!("main:outlab:0020{day}{place:09}"));
    assert_eq!(outside(7).wishes, [false, true], "the review failed, then it passed");
    assert_eq!((&outside(9).wishes[..], outside(9).held.len()), (&[true][..], 1), "half of it, then all");
    assert_eq!(outside(10).wishes, [true, true], "corrected under an older time");
    let says = |seen: &Seen, what: &str| assert!(String::from_utf8_lossy(&seen.data[0]).contains(what), "{what}");
    says(outside(0), "41.20");
    says(outside(0), "\"value_raw\":\"1.30\"");
    says(outside(0), "<5.000E+02");
    says(outside(1), "specimen_rejected");
    says(outside(8), "\"duplicates\":1");
    says(outside(11), "[[复核]]>");
    says(outside(11), "\"birth_date\":\"1988-06-01\"");
    says(seen("main:peis:9301170012"), "\"previous_exam_no\":\"0301170012\"");
    says(seen("main:imaging:XD0301170011"), "陈東");
    says(lab_report(10), "陈東");

    let mut wrong = Vec::new();
    for (entity, key, versions) in script.ledger().iter() {
        let seen = sight.keys.remove(&(entity, key.to_owned())).unwrap_or_default();
        match versions.flaw {
            Some(flaw) if flaw.hides_the_key() => {
                assert_eq!(seen.versions, 0);
                let at = keyless.iter().position(|reason| *reason == flaw.reason());
                keyless.remove(at.unwrap_or_else(|| panic!("{key}: {flaw:?} is not among {keyless:?}")));
            }
            flaw => {
                let reasons: BTreeSet<String> = flaw.iter().map(|flaw| flaw.reason().to_owned()).collect();
                if seen.versions != versions.count || seen.held != reasons {
                    wrong.push(format!("{entity} {key}: {versions:?}, seen {} {:?}", seen.versions, seen.held));
                }
                if flaw.is_none() && entity != EntityType::ExamReport {
                    assert!(seen.wishes.iter().all(|present| *present), "{key}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(keyless.is_empty(), "{keyless:?}");
    assert!(sight.keys.is_empty(), "{:?}", sight.keys);
    let issues: Vec<&str> = sight.issues.keys().map(String::as_str).collect();
    assert_eq!(issues, ["unit-unknown this unit is not certain; umol/L may be meant"]);
}

#[tokio::test]
async fn report_rows_are_what_the_connector_reads_from_the_views() {
    let configured = Configured::at_home();
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
    let configured = Configured::at_home();
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
