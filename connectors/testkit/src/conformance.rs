//! What every connector that is polled must do, as one suite.
//!
//! A connector's test implements [`PollerFixture`] for its source and calls [`poller_suite`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use connector_api::{
    Action, Connector, ConnectorKind, Cursor, Document, Flow, Mode, Poller, Record, Request, SettingsProblem,
    SourceError, SourceId, SourceSpec, StreamId, StreamSpec, Value, Watermark, async_trait,
};
use serde::de::DeserializeOwned;

use crate::source::{COMMON, ZONE};
use crate::{Break, Relay, Upstream};

/// How long a poller may wait for a source that says nothing. It has time limits of a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// One row of the fixture's parent table, with its children.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FixtureRow {
    /// The key, in the column `key_no`.
    pub key: String,
    /// The watermark, in the column `stamp`: `2024-01-02 08:00:00`, or null.
    pub stamp: Option<String>,
    /// Content, in the column `name`.
    pub name: String,
    /// The column `item` of the child rows, which are the list `items`.
    pub items: Vec<String>,
}

impl FixtureRow {
    /// A row with a second in the morning of 2 January 2024 as its watermark.
    pub fn at(key: &str, second: u32, name: &str) -> FixtureRow {
        let stamp = format!("2024-01-02 08:{:02}:{:02}", second / 60, second % 60);
        let items = vec![format!("{key}-1"), format!("{key}-2")];
        FixtureRow { key: key.to_owned(), stamp: Some(stamp), name: name.to_owned(), items }
    }

    /// The watermark in two columns: the day, and the time of day. Where it is null, an old day without a time.
    pub fn day_and_clock(&self) -> (&str, Option<&str>) {
        match self.stamp.as_deref().and_then(|stamp| stamp.split_once(' ')) {
            Some((day, clock)) => (day, Some(clock)),
            None => ("2020-01-01", None),
        }
    }

    /// Reads a row back from a record's document.
    pub fn of(document: &Document) -> FixtureRow {
        let text = |name: &str| document.root.get(name).and_then(Value::as_text).map(str::to_owned);
        let items = document.root.get("items").and_then(Value::as_list).unwrap_or_default();
        let item = |value: &Value| value.as_map()?.get("item")?.as_text().map(str::to_owned);
        FixtureRow {
            key: text("key_no").unwrap_or_default(),
            stamp: text("stamp"),
            name: text("name").unwrap_or_default(),
            items: items.iter().filter_map(item).collect(),
        }
    }
}

/// A source system that the suite may fill.
#[async_trait]
pub trait PollerFixture: Send + Sync {
    /// The connector under test.
    type Kind: ConnectorKind;

    /// Inserts rows, or replaces those with the same key, with their children.
    async fn put(&self, rows: &[FixtureRow]);

    /// A `[[sources]]` table with the streams `changes` (incremental, lag 60 seconds) and `all`
    /// (snapshot) of the fixture's tables.
    fn source(&self) -> String;

    /// The same for a source system that can't be reached.
    fn unreachable(&self) -> String;

    /// `[[sources]]` tables with faults, and the path at which each must be reported.
    fn bad_settings(&self) -> Vec<(String, &'static str)>;

    /// The folder that relative paths start from.
    fn base_dir(&self) -> PathBuf;

    /// The source's server, and the same `[[sources]]` table with time limits of a second or two, and
    /// with its server at a port of 127.0.0.1; `None` for a file.
    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        let _ = port;
        None
    }

    /// Whether a probe finds the newest watermark however old it is. A server that is asked for what
    /// changed since a time is asked for the last day only.
    fn probes_the_newest_at_any_time(&self) -> bool {
        true
    }
}

/// Builds the first source of a TOML text, as the agent would.
pub fn load_source<K: ConnectorKind>(text: &str, base_dir: &Path) -> Result<Connector, Vec<SettingsProblem>> {
    let broken = |path: &str, error: String| vec![SettingsProblem::new(path, error)];
    let table: toml::Table = toml::from_str(text).map_err(|error| broken("", error.to_string()))?;
    let sources = table.get("sources").and_then(toml::Value::as_array);
    let source = sources.and_then(|sources| sources.first()).and_then(toml::Value::as_table);
    let source = source.ok_or_else(|| broken("sources", "no [[sources]] table".to_owned()))?;
    let id = SourceId::new(source.get("id").and_then(toml::Value::as_str).unwrap_or("source"));
    let settings = source.get("settings").cloned().unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    let settings = read(settings).map_err(|error| broken("settings", error))?;
    let mut streams = Vec::new();
    for (at, stream) in source.get("streams").and_then(toml::Value::as_array).into_iter().flatten().enumerate() {
        let path = format!("streams[{at}]");
        let mut own = stream.as_table().cloned().unwrap_or_default();
        let name = own.get("id").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let mode: Mode = own
            .get("mode")
            .cloned()
            .ok_or_else(|| "mode is missing".to_owned())
            .and_then(read)
            .map_err(|error| broken(&path, error))?;
        COMMON.iter().for_each(|key| drop(own.remove(*key)));
        let settings = read(toml::Value::Table(own)).map_err(|error| broken(&path, error))?;
        streams.push(StreamSpec { id: StreamId::new(&id, &name), mode, settings });
    }
    K::build(SourceSpec { id, base_dir: base_dir.to_owned(), zone: ZONE, settings, streams })
}

fn read<T: DeserializeOwned>(value: toml::Value) -> Result<T, String> {
    value.try_into().map_err(|error: toml::de::Error| error.to_string())
}

/// The poller of the stream with that name.
pub fn poller<K: ConnectorKind>(text: &str, base_dir: &Path, stream: &str) -> Box<dyn Poller> {
    let connector = load_source::<K>(text, base_dir).unwrap_or_else(|problems| panic!("refused: {problems:?}"));
    let Flow::Poll(pollers) = connector.flow else { panic!("the connector does not poll") };
    let suffix = format!("/{stream}");
    let found = pollers.into_iter().find(|poller| poller.stream.as_str().ends_with(&suffix));
    found.unwrap_or_else(|| panic!("no stream {stream}")).poller
}

/// Runs a whole scan of changes as the agent does: every page's advance is stored at once.
pub async fn scan_changes(poller: &mut dyn Poller, stored: &mut Watermark, limit: usize) -> Vec<Record> {
    let mut records = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let request = Request::Changes { from: stored, after: after.as_ref() };
        let batch = poller.fetch(request, limit).await.expect("a page of changes");
        assert_eq!(batch.counted, None, "only a snapshot is counted");
        records.extend(batch.records);
        if let Some(advance) = batch.advance {
            assert_eq!(advance.from, *stored, "an advance starts where the stored watermark stands");
            *stored = advance.to;
        }
        match batch.next {
            Some(next) => {
                assert_ne!(after.as_ref(), Some(&next), "the cursor moves");
                after = Some(next);
            }
            None => return records,
        }
    }
}

/// Runs a whole snapshot. The second answer is what the source counted.
pub async fn scan_snapshot(poller: &mut dyn Poller, limit: usize) -> (Vec<Record>, Option<u64>) {
    let mut records = Vec::new();
    let mut after: Option<Cursor> = None;
    loop {
        let batch = poller.fetch(Request::Snapshot { after: after.as_ref() }, limit).await.expect("a snapshot's page");
        assert_eq!(batch.advance, None, "a snapshot moves no watermark");
        records.extend(batch.records);
        match batch.next {
            Some(next) => {
                assert_eq!(batch.counted, None, "a snapshot is counted on its last page");
                after = Some(next);
            }
            None => return (records, batch.counted),
        }
    }
}

/// The rows that records say, sorted.
pub fn rows(records: &[Record]) -> Vec<FixtureRow> {
    let read = |record: &Record| FixtureRow::of(record.document.as_ref().expect("a readable record"));
    let mut rows: Vec<FixtureRow> = records.iter().map(read).collect();
    rows.sort();
    rows
}

/// Runs everything that holds for any polled source. `make` gives an empty source each time.
pub async fn poller_suite<F: PollerFixture>(make: impl Fn() -> F) {
    let fixture = make();
    bad_settings_are_reported::<F::Kind>(&fixture.bad_settings(), &fixture.base_dir());
    an_unreachable_source_is_classified(&make()).await;
    a_probe_names_the_newest_watermark(&make()).await;
    a_scan_resumes_from_its_watermark(&make()).await;
    equal_watermarks_cross_pages(&make()).await;
    a_row_committed_late_is_found(&make()).await;
    a_row_without_watermark_is_found(&make()).await;
    a_snapshot_agrees_with_its_count(&make()).await;
    an_empty_source_is_an_empty_scan(&make()).await;
    a_scan_that_was_given_up_starts_again(&make()).await;
    equal_rows_have_equal_bytes(&make()).await;
    an_answer_that_breaks_off_is_read_again(&make()).await;
    a_source_that_falls_silent_is_given_up(&make()).await;
    a_poll_that_is_stopped_while_its_source_hangs_leaves_nothing_behind(&make()).await;
}

fn open<F: PollerFixture>(fixture: &F, stream: &str) -> Box<dyn Poller> {
    poller::<F::Kind>(&fixture.source(), &fixture.base_dir(), stream)
}

/// Forty rows, four to a second.
fn many() -> Vec<FixtureRow> {
    (0..40).map(|at| FixtureRow::at(&format!("{at:06}"), at / 4, "first")).collect()
}

/// The sample loads, and each text is refused at its path.
pub(crate) fn bad_settings_are_reported<K: ConnectorKind>(cases: &[(String, &str)], base_dir: &Path) {
    load_source::<K>(K::SAMPLE, Path::new(".")).map(drop).unwrap_or_else(|problems| panic!("{problems:?}"));
    for (text, path) in cases {
        let Err(problems) = load_source::<K>(text, base_dir) else { panic!("accepted although {path} is wrong") };
        let named = problems.iter().any(|problem| problem.path.starts_with(path));
        assert!(named, "{path} is not named in {problems:?}");
    }
}

async fn an_unreachable_source_is_classified<F: PollerFixture>(fixture: &F) {
    let mut poller = poller::<F::Kind>(&fixture.unreachable(), &fixture.base_dir(), "changes");
    let start = Watermark::start();
    let fetched = poller.fetch(Request::Changes { from: &start, after: None }, 10).await.expect_err("no source");
    for error in [poller.probe().await.expect_err("no source"), fetched] {
        assert!(matches!(error.action, Action::Retry { .. }), "an outage passes by itself: {}", error.chain());
        assert!(error.hint.is_some(), "a person is told what to look at: {}", error.chain());
    }
}

async fn a_probe_names_the_newest_watermark<F: PollerFixture>(fixture: &F) {
    fixture.put(&many()).await;
    let probe = open(fixture, "changes").probe().await.expect("a probe");
    let asked = fixture.probes_the_newest_at_any_time();
    assert!(!asked || probe.newest.is_some_and(|newest| newest.contains("08:00:09")), "{:?}", probe.findings);
}

async fn a_scan_resumes_from_its_watermark<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    let mut stored = Watermark::start();
    assert_eq!(rows(&scan_changes(&mut *open(fixture, "changes"), &mut stored, 7).await), all);
    let stood = stored.clone();
    let later = [FixtureRow::at("000003", 600, "second"), FixtureRow::at("900000", 601, "new")];
    fixture.put(&later).await;
    let mut poller = open(fixture, "changes");
    stored = Watermark::from_text(&stored.to_text()).expect("a stored watermark");
    let found = rows(&scan_changes(&mut *poller, &mut stored, 7).await);
    assert!(later.iter().all(|row| found.contains(row)), "new and changed rows are found");
    assert_ne!(stored, stood, "the watermark moved");
    let moved = stored.clone();
    assert_eq!(rows(&scan_changes(&mut *poller, &mut stored, 7).await), later, "the overlap is read again, no more");
    assert_eq!(stored, moved, "a scan without news leaves the watermark");
}

async fn equal_watermarks_cross_pages<F: PollerFixture>(fixture: &F) {
    let all: Vec<FixtureRow> = (0..9).map(|at| FixtureRow::at(&format!("{at:06}"), 5, "same second")).collect();
    fixture.put(&all).await;
    for limit in 1..=10 {
        let mut stored = Watermark::start();
        assert_eq!(
            rows(&scan_changes(&mut *open(fixture, "changes"), &mut stored, limit).await),
            all,
            "pages of {limit}"
        );
    }
}

async fn a_row_committed_late_is_found<F: PollerFixture>(fixture: &F) {
    fixture.put(&[FixtureRow::at("000001", 100, "on time")]).await;
    let mut poller = open(fixture, "changes");
    let mut stored = Watermark::start();
    scan_changes(&mut *poller, &mut stored, 7).await;
    let late = FixtureRow::at("000000", 50, "stamped before, committed after");
    fixture.put(std::slice::from_ref(&late)).await;
    let before = stored.clone();
    assert!(rows(&scan_changes(&mut *poller, &mut stored, 1).await).contains(&late));
    assert_eq!(stored, before, "the watermark never goes back");
}

async fn a_row_without_watermark_is_found<F: PollerFixture>(fixture: &F) {
    fixture.put(&many()).await;
    let mut poller = open(fixture, "changes");
    let mut stored = Watermark::start();
    scan_changes(&mut *poller, &mut stored, 7).await;
    let undated = |key: &str| FixtureRow { stamp: None, ..FixtureRow::at(key, 0, "undated") };
    let added = [undated("700000"), undated("700001"), undated("700002")];
    fixture.put(&added).await;
    for limit in [1, 2, 3, 50] {
        let found = rows(&scan_changes(&mut *poller, &mut stored, limit).await);
        assert!(added.iter().all(|row| found.contains(row)), "pages of {limit}");
    }
}

async fn a_snapshot_agrees_with_its_count<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    for limit in [1, 7, 40, 41, 1000] {
        let (records, counted) = scan_snapshot(&mut *open(fixture, "all"), limit).await;
        assert_eq!(counted, Some(records.len() as u64));
        assert_eq!(rows(&records), all);
    }
}

async fn an_empty_source_is_an_empty_scan<F: PollerFixture>(fixture: &F) {
    let mut stored = Watermark::start();
    assert!(scan_changes(&mut *open(fixture, "changes"), &mut stored, 7).await.is_empty());
    assert!(stored.is_start());
    let (records, counted) = scan_snapshot(&mut *open(fixture, "all"), 7).await;
    assert_eq!((records.len(), counted), (0, Some(0)));
}

async fn a_scan_that_was_given_up_starts_again<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    let mut poller = open(fixture, "all");
    let first = poller.fetch(Request::Snapshot { after: None }, 7).await.expect("a first page");
    let cursor = first.next.expect("there is more");
    // Given up between two pages: the same poller begins anew, another one can't go on.
    assert_eq!(rows(&scan_snapshot(&mut *poller, 7).await.0), all);
    let stale = poller.fetch(Request::Snapshot { after: Some(&cursor) }, 7).await;
    assert!(matches!(stale.expect_err("a stale cursor").action, Action::Retry { .. }));
    // Given up while it waits for the source.
    {
        let mut call = std::pin::pin!(poller.fetch(Request::Snapshot { after: None }, 7));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = call.as_mut().poll(&mut context);
    }
    let (records, counted) = scan_snapshot(&mut *poller, 7).await;
    assert_eq!((rows(&records), counted), (all.clone(), Some(40)));
    // The same for changes: what was not committed is read again.
    let mut poller = open(fixture, "changes");
    let start = Watermark::start();
    poller.fetch(Request::Changes { from: &start, after: None }, 7).await.expect("a first page");
    assert_eq!(rows(&scan_changes(&mut *poller, &mut Watermark::start(), 7).await), all);
}

async fn equal_rows_have_equal_bytes<F: PollerFixture>(fixture: &F) {
    fixture.put(&many()).await;
    let source = load_source::<F::Kind>(&fixture.source(), &fixture.base_dir());
    let decoder = source.map(|source| source.decoder).unwrap_or_else(|problems| panic!("{problems:?}"));
    let digests = |records: Vec<Record>| {
        let again = records.iter().all(|record| decoder.decode(&record.raw) == record.document);
        assert!(again, "what is archived reads as it did at first");
        records.iter().map(|record| record.raw.digest()).collect::<Vec<_>>()
    };
    let first = digests(scan_snapshot(&mut *open(fixture, "all"), 7).await.0);
    assert_eq!(first, digests(scan_snapshot(&mut *open(fixture, "all"), 11).await.0));
}

/// A way to the fixture's server that can be broken, and the poller of a stream that goes this way.
fn relayed<F: PollerFixture>(fixture: &F, stream: &str) -> Option<(Relay, Box<dyn Poller>)> {
    let relay = Relay::start();
    let (server, text) = fixture.through(relay.port)?;
    relay.leads_to(server);
    Some((relay, poller::<F::Kind>(&text, &fixture.base_dir(), stream)))
}

/// Reads changes until the source fails. What was answered whole is stored, as the agent does it.
async fn scan_until_failure(
    poller: &mut dyn Poller,
    stored: &mut Watermark,
    found: &mut Vec<Record>,
) -> Result<(), SourceError> {
    let mut after: Option<Cursor> = None;
    loop {
        let call = poller.fetch(Request::Changes { from: stored, after: after.as_ref() }, 7);
        let batch = tokio::time::timeout(PATIENCE, call).await.expect("a fetch ends by itself")?;
        found.extend(batch.records);
        if let Some(advance) = batch.advance {
            *stored = advance.to;
        }
        after = batch.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// The rows that records say, sorted, each once.
fn distinct(records: &[Record]) -> Vec<FixtureRow> {
    let mut rows = rows(records);
    rows.dedup();
    rows
}

async fn an_answer_that_breaks_off_is_read_again<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    let Some((relay, mut poller)) = relayed(fixture, "changes") else { return };
    assert_eq!(rows(&scan_changes(&mut *poller, &mut Watermark::start(), 7).await), all);
    let answered = relay.answered();
    assert!(answered > 0, "the poller goes through the relay");
    for part in 0..10 {
        let (relay, mut poller) = relayed(fixture, "changes").expect("a relay");
        let (mut stored, mut found) = (Watermark::start(), Vec::new());
        relay.breaks_after(answered * part / 10, Break::Cut);
        let failure = scan_until_failure(&mut *poller, &mut stored, &mut found).await.expect_err("it broke off");
        assert!(matches!(failure.action, Action::Retry { .. }), "an outage passes by itself: {}", failure.chain());
        assert!(distinct(&found).iter().all(|row| all.contains(row)), "no half of a row");
        relay.mends();
        scan_until_failure(&mut *poller, &mut stored, &mut found).await.expect("the source is back");
        assert_eq!(distinct(&found), all, "broken off after {part} tenths of {answered} bytes");
    }
    // A snapshot that broke off is none.
    let (relay, mut poller) = relayed(fixture, "all").expect("a relay");
    scan_snapshot(&mut *poller, 7).await;
    relay.breaks_after(relay.answered() / 4, Break::Cut);
    let mut after: Option<Cursor> = None;
    let failed = loop {
        match poller.fetch(Request::Snapshot { after: after.as_ref() }, 7).await {
            Ok(batch) => after = Some(batch.next.expect("a snapshot that breaks off has no last page")),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed.action, Action::Retry { .. }), "{}", failed.chain());
    relay.mends();
    let (records, counted) = scan_snapshot(&mut *poller, 7).await;
    assert_eq!((rows(&records), counted), (all, Some(40)));
}

async fn a_source_that_falls_silent_is_given_up<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    let Some((relay, mut poller)) = relayed(fixture, "changes") else { return };
    scan_changes(&mut *poller, &mut Watermark::start(), 7).await;
    let answered = relay.answered();
    for part in [0, 5, 9] {
        let (relay, mut poller) = relayed(fixture, "changes").expect("a relay");
        let (mut stored, mut found) = (Watermark::start(), Vec::new());
        relay.breaks_after(answered * part / 10, Break::Hang);
        let failure = scan_until_failure(&mut *poller, &mut stored, &mut found).await.expect_err("it fell silent");
        assert!(matches!(failure.action, Action::Retry { .. }), "{}", failure.chain());
        relay.mends();
        scan_until_failure(&mut *poller, &mut stored, &mut found).await.expect("the source is back");
        assert_eq!(distinct(&found), all, "silent after {part} tenths");
    }
}

async fn a_poll_that_is_stopped_while_its_source_hangs_leaves_nothing_behind<F: PollerFixture>(fixture: &F) {
    let all = many();
    fixture.put(&all).await;
    let Some((relay, mut poller)) = relayed(fixture, "changes") else { return };
    scan_changes(&mut *poller, &mut Watermark::start(), 7).await;
    relay.breaks_after(relay.answered() / 2, Break::Hang);
    let (mut stored, mut found) = (Watermark::start(), Vec::new());
    tokio::select! {
        biased;
        () = relay.broken() => {}
        scanned = scan_until_failure(&mut *poller, &mut stored, &mut found) => panic!("not hung: {scanned:?}"),
    }
    relay.mends();
    scan_until_failure(&mut *poller, &mut stored, &mut found).await.expect("the source is back");
    assert_eq!(distinct(&found), all);
}
