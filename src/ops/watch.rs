//! What the agent remembers to judge itself by: the calendar, probes, the hours of the last weeks, certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDateTime, Utc};
use chrono_tz::Tz;

use super::Report;
use super::calendar::Calendar;
use super::certificates::CertificateEnd;
use super::health::Reason;
use super::probes::Probes;
use super::silence::{History, Hour, WEEKS, ago, hour_of};
use super::standing::Standing;
use crate::store::TrafficHour;

/// How often the agent looks at itself.
pub const EVERY: Duration = Duration::from_secs(15);

/// How often the hours are stored; a crash loses so much of what is usual, and nothing else.
pub const STORE_EVERY: Duration = Duration::from_secs(300);

/// A pause between two looks that is longer was none in which anybody looked.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// How an hour is written in the store.
const HOUR: &str = "%Y-%m-%dT%H";

/// Finds further reasons, each time that the report is made. Must be quick, and wait for nothing.
pub type Finder = Box<dyn Fn(DateTime<Utc>) -> Vec<Reason> + Send + Sync>;

/// What is remembered, shared.
#[derive(Clone, Default)]
pub struct Watch {
    /// Days off and working weekends.
    pub calendar: Arc<Calendar>,
    /// The last probe of each stream.
    pub probes: Probes,
    histories: Arc<Mutex<BTreeMap<String, Arc<History>>>>,
    certificates: Arc<Mutex<Vec<CertificateEnd>>>,
    finders: Arc<Mutex<Vec<Finder>>>,
}

impl Watch {
    /// Remembers nothing but a calendar.
    pub fn new(calendar: Calendar) -> Watch {
        Watch { calendar: Arc::new(calendar), ..Watch::default() }
    }

    /// Adds a finder of reasons that live in another room.
    pub fn also(&self, finder: Finder) {
        self.finders.lock().unwrap_or_else(PoisonError::into_inner).push(finder);
    }

    /// The reasons that the finders find now.
    pub fn found(&self, now: DateTime<Utc>) -> Vec<Reason> {
        let finders = self.finders.lock().unwrap_or_else(PoisonError::into_inner);
        finders.iter().flat_map(|finder| finder(now)).collect()
    }

    /// What the hours of a stream (`source/stream`) gave.
    pub fn history(&self, stream: &str) -> Option<Arc<History>> {
        self.histories.lock().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    /// Replaces what is known of the hours.
    pub fn learn(&self, hours: Vec<TrafficHour>) {
        let mut histories: BTreeMap<String, History> = BTreeMap::new();
        for TrafficHour { stream, hour, records, good_secs } in hours {
            if let Ok(at) = NaiveDateTime::parse_from_str(&format!("{hour}:00"), "%Y-%m-%dT%H:%M") {
                histories.entry(stream).or_default().insert(at, Hour { records, good_secs });
            }
        }
        let histories = histories.into_iter().map(|(stream, history)| (stream, Arc::new(history))).collect();
        *self.histories.lock().unwrap_or_else(PoisonError::into_inner) = histories;
    }

    /// The certificates in files.
    pub fn certificates(&self) -> Vec<CertificateEnd> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces what is known of the certificates in files.
    pub fn put_certificates(&self, certificates: Vec<CertificateEnd>) {
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = certificates;
    }
}

/// The first hour that is kept and learnt from, as the store writes it.
pub fn kept_since(zone: Tz, now: DateTime<Utc>) -> String {
    let day = now.with_timezone(&zone).date_naive();
    let first = day.checked_sub_days(Days::new(7 * WEEKS + 1)).unwrap_or(day);
    format!("{first}T00")
}

/// Adds up what streams give, hour by hour, by looking at their sums.
#[derive(Debug, Default)]
pub struct Sampler {
    looked_at: Option<DateTime<Utc>>,
    sums: BTreeMap<String, u64>,
    hours: BTreeMap<(String, NaiveDateTime), Hour>,
    stored_at: Option<DateTime<Utc>>,
}

impl Sampler {
    /// Takes what came since the last look. What came before the first one is not counted, because nobody knows when.
    pub fn look(&mut self, report: &Report, zone: Tz) {
        let now = report.now;
        let looked = self.looked_at.replace(now).map_or(Duration::ZERO, |before| ago(now, before));
        let looked = if looked > LONGEST_LOOK { Duration::ZERO } else { looked };
        let hour = hour_of(zone, now);
        for stream in &report.streams {
            let id = stream.status.id.to_string();
            let sums = report.store.streams.iter().find(|sums| sums.stream == id);
            let sum = sums.map_or(0, |sums| (sums.records + sums.resent).max(0).unsigned_abs());
            let before = self.sums.insert(id.clone(), sum).unwrap_or(sum);
            let bad = matches!(stream.health.standing, Standing::Failing | Standing::Stopped | Standing::Behind);
            let of = self.hours.entry((id, hour)).or_default();
            of.records += sum.saturating_sub(before);
            of.good_secs += if bad { 0 } else { looked.as_secs() };
        }
    }

    /// Whether the hours are to be stored.
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.stored_at.is_none_or(|at| ago(now, at) >= STORE_EVERY)
    }

    /// What is to be added to the stored hours; afterwards it is not kept here.
    pub fn take(&mut self, now: DateTime<Utc>) -> Vec<TrafficHour> {
        self.stored_at = Some(now);
        let hours = std::mem::take(&mut self.hours).into_iter();
        let hours = hours.filter(|(_, hour)| *hour != Hour::default());
        hours
            .map(|((stream, at), Hour { records, good_secs })| TrafficHour {
                stream,
                hour: at.format(HOUR).to_string(),
                records,
                good_secs,
            })
            .collect()
    }
}
