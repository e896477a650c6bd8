//! What the probes of the sources found: whether one can log in, whether the view is there, and its newest row.
//!
//! A probe connects anew, beside the connection that reads: it tells "nothing happened" from "we stopped seeing".

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime, Utc};
use connector_api::{Probe, SourceError, StreamId};
use serde::Serialize;

use super::{mask, report::is_time};
use crate::intake::StreamFailure;

/// What the last probe of a stream found. Times are UTC, except `newest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Probed {
    /// When it was looked.
    pub at: DateTime<Utc>,
    /// The product and version, where the source tells.
    pub server: Option<String>,
    /// The newest watermark value in the source as it writes it, where that is a time; otherwise masked.
    pub newest: Option<String>,
    /// The same as a time of the source, where it can be read as one.
    pub newest_at: Option<NaiveDateTime>,
    /// The source's clock minus ours, in milliseconds, where the source tells its time.
    pub clock_difference_ms: Option<i64>,
    /// Why it could not be looked.
    pub failure: Option<StreamFailure>,
}

impl Probed {
    /// What a connector answered.
    pub fn of(answer: Result<Probe, SourceError>, at: DateTime<Utc>) -> Probed {
        match answer {
            Ok(probe) => Probed {
                at,
                server: probe.server,
                newest_at: probe.newest.as_deref().and_then(wall_clock),
                newest: probe.newest.map(|text| if is_time(&text) { text } else { mask::mask(&text) }),
                clock_difference_ms: probe.clock_difference_ms,
                failure: None,
            },
            Err(error) => Probed {
                at,
                server: None,
                newest: None,
                newest_at: None,
                clock_difference_ms: None,
                failure: Some(StreamFailure::of(&error, at)),
            },
        }
    }
}

/// The last probe of each stream, shared.
#[derive(Clone, Debug, Default)]
pub struct Probes(Arc<Mutex<BTreeMap<StreamId, Probed>>>);

impl Probes {
    /// Keeps what a probe found.
    pub fn put(&self, stream: StreamId, probed: Probed) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(stream, probed);
    }

    /// The last one of a stream.
    pub fn get(&self, stream: &StreamId) -> Option<Probed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }
}

/// A time without a zone, as databases write it: `2026-11-20 09:00:00.000`, `2026/11/20 9:00`, `20261120090000`.
pub fn wall_clock(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let forms = [
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%dT%H:%M:%S%.f",
        "%Y/%m/%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y/%m/%d %H:%M",
        "%Y%m%d%H%M%S",
    ];
    forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_row_is_told_as_a_time_and_never_as_a_number() {
        let at = DateTime::UNIX_EPOCH;
        let of = |newest: &str| {
            let probe = Probe { newest: Some(newest.to_owned()), ..Probe::default() };
            let Probed { newest, newest_at, .. } = Probed::of(Ok(probe), at);
            (newest.unwrap(), newest_at.map(|at| at.to_string()))
        };
        let time = Some("2026-11-20 09:00:00".to_owned());
        assert_eq!(of("2026-11-20 09:00:00.000"), ("2026-11-20 09:00:00.000".to_owned(), time.clone()));
        assert_eq!(of("2026/11/20 9:00"), ("2026/11/20 9:00".to_owned(), time.clone()));
        assert_eq!(of("20261120090000").1, time);
        assert_eq!(of("0301170001"), ("●●●●●●●●●●".to_owned(), None));
    }
}
