//! What every connector that listens must do, as one suite.
//!
//! A connector's test implements [`ListenerFixture`] for its protocol and calls [`listener_suite`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use connector_api::{
    Action, CancellationToken, ConnectorKind, Decoder, Endpoint, FaultClass, Flow, Listener, Record, Refusal,
    SourceError, async_trait,
};
use tokio::task::JoinSet;

use crate::Kept;
use crate::conformance::{bad_settings_are_reported, load_source};

/// How long anything may take that a listener must do by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// A place that senders can reach, and what to expect there.
#[async_trait]
pub trait ListenerFixture: Send + Sync {
    /// The connector under test.
    type Kind: ConnectorKind;

    /// A `[[sources]]` table with one stream, for the records of [`Sender`].
    fn source(&self) -> String;

    /// The folder that relative paths start from.
    fn base_dir(&self) -> PathBuf;

    /// `[[sources]]` tables with faults, and the path at which each must be reported.
    fn bad_settings(&self) -> Vec<(String, &'static str)>;

    /// A source that can't be opened while another one is: its port is taken, or its folder missing.
    fn blocked(&self, open: &Endpoint) -> String;

    /// A sender on a connection of its own.
    async fn sender(&self, endpoint: &Endpoint) -> Box<dyn Sender>;

    /// The name that [`Sender::begin`] gave a record.
    fn name_of(&self, record: &Record) -> String;
}

/// Whoever hands records over.
#[async_trait]
pub trait Sender: Send {
    /// Hands over the first part of the record of that name. The same name is the same record.
    async fn begin(&mut self, name: &str);

    /// Hands over the rest.
    async fn finish(&mut self);

    /// Whether an acknowledgement has come; does not wait.
    fn is_acknowledged(&mut self) -> bool;

    /// Waits for the acknowledgement.
    async fn acknowledged(&mut self);

    /// Waits for the word that the record was not taken, or sees that it is still the sender's.
    async fn refused(&mut self);

    /// Goes away without another word, as a program that crashed.
    async fn die(self: Box<Self>);
}

/// A listener that serves.
struct Serving {
    endpoint: Endpoint,
    decoder: Arc<dyn Decoder>,
    stop: CancellationToken,
    task: JoinSet<Result<(), SourceError>>,
}

impl Serving {
    async fn start<F: ListenerFixture>(fixture: &F, intake: Arc<Kept>) -> Serving {
        let (mut listener, decoder) = listener::<F::Kind>(&fixture.source(), &fixture.base_dir());
        let endpoint = listener.open().await.unwrap_or_else(|error| panic!("open: {}", error.chain()));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(listener.serve(intake, stop.clone()));
        Serving { endpoint, decoder, stop, task }
    }

    /// Waits until a listener that was told to stop has returned.
    async fn returned(mut self) {
        let served = tokio::time::timeout(LIMIT, self.task.join_next()).await.expect("the listener stops in time");
        let served = served.expect("it served").unwrap_or_else(|error| panic!("{error}"));
        served.unwrap_or_else(|error| panic!("a stop is no failure: {}", error.chain()));
    }

    async fn stopped(self) {
        self.stop.cancel();
        self.returned().await;
    }
}

fn listener<K: ConnectorKind>(text: &str, base_dir: &Path) -> (Box<dyn Listener>, Arc<dyn Decoder>) {
    let connector = load_source::<K>(text, base_dir).unwrap_or_else(|problems| panic!("refused: {problems:?}"));
    let Flow::Listen(listener) = connector.flow else { panic!("the connector does not listen") };
    (listener, connector.decoder)
}

/// Sends one record and waits for its acknowledgement.
async fn send<F: ListenerFixture>(fixture: &F, serving: &Serving, name: &str) {
    let mut sender = fixture.sender(&serving.endpoint).await;
    sender.begin(name).await;
    sender.finish().await;
    sender.acknowledged().await;
}

/// The names of what is stored, sorted.
fn stored<F: ListenerFixture>(fixture: &F, intake: &Kept) -> Vec<String> {
    let mut names: Vec<String> = intake.records().iter().map(|record| fixture.name_of(record)).collect();
    names.sort();
    names
}

/// Runs everything that holds for any connector that listens. `make` gives a new place each time.
pub async fn listener_suite<F: ListenerFixture>(make: impl Fn() -> F) {
    let fixture = make();
    bad_settings_are_reported::<F::Kind>(&fixture.bad_settings(), &fixture.base_dir());
    a_place_that_is_not_free_is_classified(&make()).await;
    a_record_is_acknowledged_when_it_is_stored(&make()).await;
    a_refused_record_stays_with_its_sender(&make()).await;
    a_record_that_is_sent_again_has_no_second_effect(&make()).await;
    records_of_many_senders_are_stored_once_each(&make()).await;
    a_sender_that_dies_half_way_leaves_nothing(&make()).await;
    a_sender_that_hangs_keeps_no_other_out(&make()).await;
    a_stop_waits_for_what_is_being_stored(&make()).await;
    a_stop_half_way_through_a_record_loses_nothing(&make()).await;
    what_is_kept_reads_as_it_did(&make()).await;
}

async fn a_place_that_is_not_free_is_classified<F: ListenerFixture>(fixture: &F) {
    let serving = Serving::start(fixture, Kept::all()).await;
    let (mut blocked, _) = listener::<F::Kind>(&fixture.blocked(&serving.endpoint), &fixture.base_dir());
    let probed = blocked.probe().await.expect_err("a probe of a place that is not free");
    for error in [probed, blocked.open().await.expect_err("a place that is not free")] {
        assert!(matches!(error.class, FaultClass::Bind | FaultClass::Missing), "{:?}: {}", error.class, error.chain());
        assert!(matches!(error.action, Action::Retry { .. }), "it may become free: {}", error.chain());
        assert!(error.hint.is_some(), "a person is told what to look at: {}", error.chain());
    }
    send(fixture, &serving, "1").await;
    serving.stopped().await;
}

async fn a_record_is_acknowledged_when_it_is_stored<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::gated(0, |_| None);
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut sender = fixture.sender(&serving.endpoint).await;
    sender.begin("1").await;
    sender.finish().await;
    intake.arrived.notified().await;
    assert!(!sender.is_acknowledged(), "nothing is stored yet");
    intake.gate.add_permits(100);
    sender.acknowledged().await;
    assert_eq!(stored(fixture, &intake), ["1"]);
    serving.stopped().await;
}

async fn a_refused_record_stays_with_its_sender<F: ListenerFixture>(fixture: &F) {
    let busy = Refusal::Busy { reason: "disk floor".to_owned(), retry_after: Duration::from_secs(1) };
    let failed = Refusal::Failed { reason: "disk full".to_owned() };
    for (name, refusal) in [("1", busy), ("2", failed)] {
        let intake = Kept::all();
        intake.refuse(move |_| Some(refusal.clone()));
        let serving = Serving::start(fixture, intake.clone()).await;
        let mut sender = fixture.sender(&serving.endpoint).await;
        sender.begin(name).await;
        sender.finish().await;
        intake.refused.notified().await;
        sender.refused().await;
        assert!(intake.records().is_empty());
        intake.refuse(|_| None);
        send(fixture, &serving, name).await;
        assert_eq!(stored(fixture, &intake), [name]);
        serving.stopped().await;
    }
}

async fn a_record_that_is_sent_again_has_no_second_effect<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    for name in ["1", "2", "1", "1", "2"] {
        send(fixture, &serving, name).await;
    }
    assert_eq!(stored(fixture, &intake), ["1", "2"]);
    serving.stopped().await;
    // As after a crash between storing and acknowledging: another process is told the same.
    let serving = Serving::start(fixture, intake.clone()).await;
    send(fixture, &serving, "2").await;
    serving.stopped().await;
    assert_eq!(stored(fixture, &intake), ["1", "2"]);
}

async fn records_of_many_senders_are_stored_once_each<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut senders = JoinSet::new();
    for sender in 0..8 {
        let mut peer = fixture.sender(&serving.endpoint).await;
        senders.spawn(async move {
            for record in 0..5 {
                peer.begin(&format!("{sender}{record}")).await;
                peer.finish().await;
                peer.acknowledged().await;
            }
        });
    }
    while let Some(ended) = senders.join_next().await {
        ended.unwrap_or_else(|error| panic!("{error}"));
    }
    serving.stopped().await;
    let mut sent: Vec<String> = (0..8).flat_map(|a| (0..5).map(move |b| format!("{a}{b}"))).collect();
    sent.sort();
    assert_eq!(stored(fixture, &intake), sent);
}

async fn a_sender_that_dies_half_way_leaves_nothing<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut sender = fixture.sender(&serving.endpoint).await;
    sender.begin("1").await;
    sender.die().await;
    send(fixture, &serving, "2").await;
    assert_eq!(stored(fixture, &intake), ["2"]);
    send(fixture, &serving, "1").await;
    serving.stopped().await;
    assert_eq!(stored(fixture, &intake), ["1", "2"]);
}

async fn a_sender_that_hangs_keeps_no_other_out<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut hanging = fixture.sender(&serving.endpoint).await;
    hanging.begin("1").await;
    for name in ["2", "3"] {
        tokio::time::timeout(LIMIT, send(fixture, &serving, name)).await.expect("others are served");
    }
    assert_eq!(stored(fixture, &intake), ["2", "3"]);
    hanging.finish().await;
    hanging.acknowledged().await;
    serving.stopped().await;
    assert_eq!(stored(fixture, &intake), ["1", "2", "3"]);
}

async fn a_stop_waits_for_what_is_being_stored<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::gated(0, |_| None);
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut sender = fixture.sender(&serving.endpoint).await;
    sender.begin("1").await;
    sender.finish().await;
    intake.arrived.notified().await;
    serving.stop.cancel();
    intake.gate.add_permits(100);
    sender.acknowledged().await;
    serving.returned().await;
    assert_eq!(stored(fixture, &intake), ["1"]);
}

async fn a_stop_half_way_through_a_record_loses_nothing<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    let mut sender = fixture.sender(&serving.endpoint).await;
    sender.begin("1").await;
    send(fixture, &serving, "2").await;
    serving.stopped().await;
    assert!(!sender.is_acknowledged(), "half a record is nobody's");
    sender.die().await;
    assert_eq!(stored(fixture, &intake), ["2"]);
    let serving = Serving::start(fixture, intake.clone()).await;
    send(fixture, &serving, "1").await;
    serving.stopped().await;
    assert_eq!(stored(fixture, &intake), ["1", "2"]);
}

async fn what_is_kept_reads_as_it_did<F: ListenerFixture>(fixture: &F) {
    let intake = Kept::all();
    let serving = Serving::start(fixture, intake.clone()).await;
    send(fixture, &serving, "1").await;
    send(fixture, &serving, "2").await;
    for record in intake.records() {
        assert!(record.document.is_ok(), "{:?}", record.document);
        assert!(record.resend_key.is_some(), "a record that is sent again must be known");
        assert_eq!(serving.decoder.decode(&record.raw), record.document);
    }
    serving.stopped().await;
}
