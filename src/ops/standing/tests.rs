use chrono::NaiveTime;
use connector_api::{Mode, StreamId};

use super::*;
use crate::model::EntityType;

const ZONE: Tz = chrono_tz::Asia::Shanghai;

fn time(text: &str) -> DateTime<Utc> {
    local(text).and_local_timezone(ZONE).unwrap().to_utc()
}

fn local(text: &str) -> NaiveDateTime {
    NaiveDateTime::parse_from_str(&format!("2026-11-20 {text}"), "%Y-%m-%d %H:%M").unwrap()
}

/// A polled stream that is read each few minutes, on a Friday at noon.
fn status(state: StreamState) -> StreamStatus {
    StreamStatus {
        id: StreamId::parse("peis/reports").unwrap(),
        connector: "sqlserver".to_owned(),
        entity: EntityType::ExamReport,
        mode: Mode::Incremental,
        mapping_version: String::new(),
        state,
        endpoint: None,
        last_attempt_at: Some(time("11:58")),
        last_success_at: Some(time("11:58")),
        last_record_at: None,
        next_at: Some(time("12:03")),
        rounds: 7,
        records: 7,
        failures: 0,
        failure: None,
    }
}

fn failing(state: StreamState, failures: u32) -> StreamStatus {
    let failure = crate::intake::StreamFailure {
        at: time("11:40"),
        class: "login".to_owned(),
        message: "log in as \"hisync\"".to_owned(),
        hint: None,
    };
    StreamStatus { failures, failure: Some(failure), last_success_at: Some(time("11:30")), ..status(state) }
}

fn expect() -> Expect {
    let time = |text| NaiveTime::parse_from_str(text, "%H:%M").unwrap();
    Expect {
        within: Duration::from_secs(2 * 3600),
        between: (time("08:30"), time("17:30")),
        days: [true, true, true, true, true, true, false],
    }
}

fn probed(newest: &str) -> Probed {
    let probe = connector_api::Probe {
        newest: Some(format!("2026-11-20 {newest}:00")),
        clock_difference_ms: Some(0),
        ..Default::default()
    };
    Probed::of(Ok(probe), time("11:50"))
}

/// What a test changes about a stream that is in order.
struct Case {
    status: StreamStatus,
    last: Option<&'static str>,
    read_to: &'static str,
    expect: Option<Expect>,
    probe: Option<Probed>,
    holiday: bool,
    started: &'static str,
    now: &'static str,
}

impl Default for Case {
    fn default() -> Case {
        Case {
            status: status(StreamState::Waiting),
            last: Some("11:30"),
            read_to: "11:30",
            expect: Some(expect()),
            probe: None,
            holiday: false,
            started: "07:00",
            now: "12:00",
        }
    }
}

fn check(case: Case, standing: Standing, text: &str) -> StreamHealth {
    let off = if case.holiday { "off = [\"2026-11-20\"]" } else { "" };
    let calendar = Calendar::parse("h.toml", off).unwrap();
    let facts = Facts {
        status: &case.status,
        last_received_at: case.last.map(time),
        read_to: Some(local(case.read_to)),
        expect: case.expect.as_ref(),
        calendar: &calendar,
        history: None,
        probe: case.probe.as_ref(),
        started_at: time(case.started),
        zone: ZONE,
        now: time(case.now),
    };
    let health = judge(&facts);
    assert_eq!(health.standing, standing, "{health:?}");
    assert!(health.text.contains(text), "{:?} has no {text:?}", health.text);
    assert!(!health.text_zh.is_empty());
    assert_eq!(health.code.is_some(), !health.next.is_empty(), "{health:?}");
    health
}

#[test]
fn a_stream_that_gives_what_it_should_is_healthy() {
    check(Case::default(), Standing::Healthy, "the last record came 30 min ago");
    let catalogue = StreamStatus { mode: Mode::Snapshot, ..status(StreamState::Waiting) };
    let case = Case { status: catalogue, last: Some("07:30"), expect: None, ..Case::default() };
    check(case, Standing::Healthy, "nothing of the catalogue changed for 4 h 30 min");
}

#[test]
fn nights_holidays_and_starts_are_quiet_as_expected() {
    let night = Case { last: Some("16:30"), now: "23:00", status: waiting("23:03"), ..Case::default() };
    check(night, Standing::QuietAsExpected, "outside of its expected hours");
    let holiday = Case { last: Some("07:10"), holiday: true, ..Case::default() };
    check(holiday, Standing::QuietAsExpected, "today is a day off");
    let early = Case { last: Some("06:00"), now: "09:00", status: waiting("09:03"), ..Case::default() };
    check(early, Standing::QuietAsExpected, "began lately");
    let without = Case { last: Some("07:10"), expect: None, ..Case::default() };
    check(without, Standing::QuietAsExpected, "no hours are configured");
    let fresh = StreamStatus { rounds: 0, last_attempt_at: None, ..status(StreamState::Starting) };
    check(Case { status: fresh, last: None, started: "11:59", ..Case::default() }, Standing::QuietAsExpected, "starts");
}

fn waiting(next: &str) -> StreamStatus {
    StreamStatus { next_at: Some(time(next)), ..status(StreamState::Waiting) }
}

#[test]
fn a_silence_says_whether_nothing_happened_or_nothing_is_seen() {
    let case = || Case { last: Some("09:00"), read_to: "09:00", ..Case::default() };
    let health = check(case(), Standing::QuietAndSuspicious, "nothing new for 3 h in its expected hours");
    assert_eq!((health.code, health.since), (Some("stream-silent"), Some(time("09:00"))));
    let nothing = Case { probe: Some(probed("09:00")), ..case() };
    check(
        nothing,
        Standing::QuietAndSuspicious,
        "has nothing newer than 2026-11-20 09:00:00: nothing is written there",
    );
    let error = connector_api::SourceError::stop(connector_api::FaultClass::Missing, "read view \"V_TJ_BG\"");
    let lost = Case { probe: Some(Probed::of(Err(error), time("11:50"))), ..case() };
    check(lost, Standing::QuietAndSuspicious, "and its source can't be looked at: read view \"V_TJ_BG\"");
    // The source goes on and we don't see it: that is no silence.
    let unseen = Case { probe: Some(probed("11:45")), ..case() };
    let health =
        check(unseen, Standing::Behind, "rows up to 2026-11-20 11:45:00, and was read up to 2026-11-20 09:00:00");
    assert_eq!(health.code, Some("stream-behind"));
    // A row of the future proves nothing.
    check(Case { probe: Some(probed("23:59")), ..case() }, Standing::QuietAndSuspicious, "newest row says");
    // Nor does a probe after which no whole round was made.
    let later = StreamStatus { last_attempt_at: Some(time("11:49")), ..status(StreamState::Waiting) };
    check(
        Case { probe: Some(probed("11:45")), status: later, ..case() },
        Standing::QuietAndSuspicious,
        "newest row says",
    );
}

#[test]
fn nothing_is_said_of_a_silence_right_after_a_start() {
    let pushed = StreamStatus { mode: Mode::Push, next_at: None, ..status(StreamState::Listening) };
    let case = |started| Case { status: pushed.clone(), last: Some("09:00"), started, ..Case::default() };
    check(case("11:55"), Standing::QuietAsExpected, "");
    check(case("11:45"), Standing::QuietAndSuspicious, "nothing new for 3 h");
}

#[test]
fn failures_stops_and_stuck_rounds_have_their_own_words() {
    let of = |status| Case { status, ..Case::default() };
    let blip = check(of(failing(StreamState::Failing, 1)), Standing::Failing, "log in as");
    assert_eq!(blip.since, Some(time("11:30")));
    check(of(failing(StreamState::Failing, 5)), Standing::Failing, "log in as");
    // A round that tries again is no recovery.
    check(of(failing(StreamState::Reading, 5)), Standing::Failing, "log in as");
    check(of(failing(StreamState::Stopped, 1)), Standing::Stopped, "log in as");
    check(of(failing(StreamState::Paused, 1)), Standing::Stopped, "log in as");
    let long = StreamStatus { last_attempt_at: Some(time("11:15")), ..status(StreamState::Reading) };
    check(of(long), Standing::Behind, "under way for 45 min");
    check(of(waiting("11:40")), Standing::Behind, "it was due to be read 20 min ago");
}

#[test]
fn a_source_is_down_when_none_of_its_streams_can_be_reached() {
    let down = |failures| StreamStatus { failures, ..failing(StreamState::Failing, 3) };
    let found = |streams: &[StreamStatus]| source_down("peis", &streams.iter().collect::<Vec<_>>());
    let reason = found(&[down(3), down(4)]).unwrap();
    assert_eq!((reason.code, reason.subject.as_str()), ("source-down", "source peis"));
    assert!(reason.text.starts_with("none of its 2 streams can be read (login)"), "{}", reason.text);
    assert_eq!(reason.since, Some(time("11:30")));
    assert_eq!(found(&[down(3), down(1)]), None, "one failure may be a blip");
    assert_eq!(found(&[down(3)]), None, "one stream speaks for itself");
    assert_eq!(found(&[down(3), status(StreamState::Waiting)]), None);
}

#[test]
fn clocks_may_differ_by_two_minutes() {
    let probe = |millis| Probed { clock_difference_ms: Some(millis), ..probed("11:45") };
    let text = |millis| clock("peis", &[&probe(millis)]).map(|reason| reason.text);
    assert_eq!(text(119_000), None);
    assert_eq!(text(600_000).as_deref(), Some("its clock is 10 min ahead of this machine's"));
    assert_eq!(text(-7_200_000).as_deref(), Some("its clock is 2 h behind this machine's"));
}
