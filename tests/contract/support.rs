//! An agent's delivering half, with a store of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connector_api::{Raw, Secret, StreamId};
use hisync::clock::Clock;
use hisync::delivery::{Auth, Delivery, Handle, RetrySettings, Settings, Status};
use hisync::model::entity::{Envelope, ValueType};
use hisync::model::{Compose, Entity, EntityKey, EntityType, ExamItem, Mapped, Outcome, Part, Wish};
use hisync::sandbox::upstream::{Options as UpstreamOptions, Upstream};
use hisync::store::{Incoming, IncomingBatch, Options, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Any secret will do; this one is nobody's.
pub(crate) const SECRET: &str = "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=";

/// A hung test fails after so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct NoParts;

impl Compose for NoParts {
    fn compose(&self, _: &EntityKey, _: &[Part<'_>]) -> Outcome {
        unreachable!("each entity has one part")
    }
}

/// A store and what delivers it.
pub(crate) struct Agent {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    running: Option<(JoinSet<()>, CancellationToken, Handle)>,
}

impl Agent {
    /// An agent that retries within milliseconds.
    pub(crate) fn new(url: &str) -> Agent {
        Agent::with_clock(url, Clock::system())
    }

    /// The same with another clock.
    pub(crate) fn with_clock(url: &str, clock: Clock) -> Agent {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("secret"), SECRET).unwrap();
        let mut settings =
            Settings::new(url.parse().unwrap(), Auth::WebhookSignature { secret: Secret::File("secret".into()) });
        settings.retry = RetrySettings { initial_ms: 2, max_ms: 20 };
        let store = open_store(dir.path(), &clock);
        Agent { dir, store, clock, settings, running: None }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        Delivery::new(&self.settings, self.dir.path(), self.store.clone(), self.clock.clone()).unwrap()
    }

    pub(crate) fn start(&mut self) -> Handle {
        let delivery = self.delivery();
        let (handle, stop) = (delivery.handle(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(delivery.run(stop.clone()));
        self.running = Some((tasks, stop, handle.clone()));
        handle
    }

    /// Stops gracefully.
    pub(crate) async fn stop(&mut self) {
        if let Some((mut tasks, stop, _)) = self.running.take() {
            stop.cancel();
            tokio::time::timeout(PATIENCE, tasks.join_next()).await.unwrap();
        }
    }

    /// Lets the sender and the store go in the middle of whatever they do, and opens the store again.
    pub(crate) async fn crash(&mut self) {
        if let Some((mut tasks, _, _)) = self.running.take() {
            tasks.shutdown().await;
        }
        self.store.close().await;
        self.store = open_store(self.dir.path(), &self.clock);
    }

    /// Commits items, one event each.
    pub(crate) async fn commit(&self, names: &[&str]) {
        self.commit_as(names, "first").await;
    }

    /// Commits items whose name tells their version.
    pub(crate) async fn commit_as(&self, codes: &[&str], version: &str) {
        let records = codes.iter().map(|code| record(code, version, Wish::Present)).collect();
        self.commit_records(records).await;
    }

    /// Takes items back.
    pub(crate) async fn withdraw(&self, codes: &[&str]) {
        let wish = Wish::Absent { reason: "deleted".to_owned() };
        let records = codes.iter().map(|code| record(code, "gone", wish.clone())).collect();
        self.commit_records(records).await;
    }

    async fn commit_records(&self, records: Vec<Incoming>) {
        let stream = StreamId::parse("peis/items").unwrap();
        self.store.commit(IncomingBatch { stream, records, advance: None, snapshot: None }).await.unwrap();
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut handle = self.running.as_ref().expect("a running delivery").2.clone();
        let wait = async {
            while !wanted(&handle.status()) {
                handle.changed().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        let status = handle.status();
        assert!(waited.is_ok(), "the status never became as wanted: {status:?}");
        status
    }

    /// Waits until so many events have been settled for good.
    pub(crate) async fn settled(&self, events: u64) -> Status {
        let done =
            |status: &Status| status.counts.accepted + status.counts.duplicate + status.counts.rejected >= events;
        self.until(move |status| done(status) && status.in_flight == 0).await
    }
}

fn open_store(dir: &Path, clock: &Clock) -> Store {
    let options = Options { hospital: "demo-001".into(), agent_version: "0.1.0".into(), lane: None };
    Store::open(&dir.join("store"), options, Arc::new(NoParts), clock.clone()).unwrap()
}

/// A whole, valid entity in one record.
fn record(code: &str, version: &str, wish: Wish) -> Incoming {
    let key = EntityKey::new(EntityType::ExamItem, format!("main:peis:{code}"));
    let item = Entity::ExamItem(Box::new(ExamItem {
        envelope: Envelope {
            hospital_id: "demo-001".into(),
            campus_id: "main".into(),
            source_system: "peis".into(),
            entity_type: "exam_item".into(),
            business_key: key.key.clone(),
            ..Envelope::default()
        },
        item_code: code.to_owned(),
        item_name: format!("空腹血糖 {version}"),
        standard_code: None,
        value_type: ValueType::Numeric,
        applicable_sex: hisync::model::entity::ApplicableSex::Both,
        applicable_sex_raw: None,
        enabled: true,
        disabled_reasons: vec![],
        unit_raw: Some("mmol/L".into()),
        unit_ucum: None,
        reference_ranges: vec![],
        external_codes: vec![],
        department: None,
        specimen: None,
    }));
    let data = item.to_canonical_json().unwrap();
    let raw = Raw { format: "text/plain".into(), charset: None, body: Bytes::from(format!("{code} {version}")) };
    Incoming {
        raw,
        source_ref: "V_ITEM".into(),
        resend_key: None,
        mapping_version: "test/exam_item@1".into(),
        archived: None,
        outcomes: vec![Outcome::Mapped(Mapped::new(key, wish, data, vec![]))],
    }
}

/// A sandbox that verifies signatures, on a free port.
pub(crate) async fn sandbox(dir: Option<&Path>) -> Upstream {
    let keys = Some(hisync::delivery::signature::Keys::parse(SECRET).unwrap());
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = UpstreamOptions { listen, dir: dir.map(Path::to_owned), keys, clock: Clock::system() };
    Upstream::start(options).await.unwrap()
}

/// The codes of the items in lines, in order.
pub(crate) fn codes(lines: &[hisync::sandbox::upstream::Line]) -> Vec<String> {
    let code = |line: &hisync::sandbox::upstream::Line| {
        let key = line.event["partitionkey"].as_str().unwrap();
        key.rsplit(':').next().unwrap().to_owned()
    };
    lines.iter().map(code).collect()
}

/// So many distinct codes.
pub(crate) fn many(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("I{number:04}")).collect()
}
