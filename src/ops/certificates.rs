//! When certificates end: upstream's as it shows it, and those in files that the configuration names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value as Json;

use super::health::{Level, Reason, spoken, spoken_zh};
use super::silence::ago;
use crate::delivery::peer::earliest_end;

/// A certificate that ends within this is told.
const SOON: TimeDelta = TimeDelta::days(21);

/// A certificate that ends within this is urgent.
const URGENT: TimeDelta = TimeDelta::days(3);

/// A file larger than this holds no certificates.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// How often the files are read.
pub const EVERY: Duration = Duration::from_secs(3600);

/// Keys of the configuration that name a file with certificates.
const KEYS: [&str; 4] = ["certificate", "certificates", "ca", "client_ca"];

/// The end of a certificate, UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateEnd {
    /// Whose it is: `upstream`, or the key of the configuration that names its file.
    pub place: String,
    /// The file, where it is one.
    pub file: Option<PathBuf>,
    /// When it ends, UTC; `None` where it can't be read.
    pub ends_at: Option<DateTime<Utc>>,
}

/// The files with certificates that a table of the configuration names, with the keys that name them.
pub fn files_named(table: &Json, place: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    match table {
        Json::Object(entries) => {
            for (key, value) in entries {
                let place = format!("{place}.{key}");
                match value {
                    Json::String(file) if KEYS.contains(&key.as_str()) && !file.is_empty() => {
                        found.push((place, PathBuf::from(file)));
                    }
                    _ => found.extend(files_named(value, &place)),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| found.extend(files_named(item, place))),
        _ => {}
    }
    found
}

/// Reads files; what is no certificate is left to whoever uses it.
pub fn read(files: &[(String, PathBuf)], base_dir: &Path) -> Vec<CertificateEnd> {
    let end = |path: &Path| {
        let small = std::fs::metadata(path).is_ok_and(|file| file.len() <= FILE_MAX_BYTES);
        small.then(|| std::fs::read(path).ok()).flatten().and_then(|pem| earliest_end(&pem))
    };
    files
        .iter()
        .map(|(place, file)| CertificateEnd {
            place: place.clone(),
            ends_at: end(&base_dir.join(file)),
            file: Some(file.clone()),
        })
        .collect()
}

/// The certificates that end soon.
pub fn reasons(certificates: &[CertificateEnd], now: DateTime<Utc>) -> Vec<Reason> {
    let soon = certificates.iter().filter_map(|certificate| Some((certificate, certificate.ends_at?)));
    soon.filter(|(_, ends)| *ends - now < SOON).map(|(certificate, ends)| reason(certificate, ends, now)).collect()
}

fn reason(certificate: &CertificateEnd, ends: DateTime<Utc>, now: DateTime<Utc>) -> Reason {
    let file = certificate.file.as_ref().map(|file| format!(" ({})", file.display())).unwrap_or_default();
    let day = ends.format("%Y-%m-%d");
    let (text, text_zh) = match ends > now {
        true => {
            let left = (ends - now).to_std().unwrap_or_default();
            (
                format!("it ends in {}, on {day}{file}", spoken(left)),
                format!("还有 {}到期（{day}）{file}", spoken_zh(left)),
            )
        }
        false => {
            let since = ago(now, ends);
            (
                format!("it ended {} ago, on {day}{file}", spoken(since)),
                format!("已过期 {}（{day}）{file}", spoken_zh(since)),
            )
        }
    };
    let level = if ends - now < URGENT { Level::Failing } else { Level::Attention };
    Reason::new("certificate", format!("certificate {}", certificate.place)).level(level).says(text, text_zh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_end_of_a_file_counts_and_is_told_in_time() {
        let folder = tempfile::tempdir().unwrap();
        connector_testkit::certificates(folder.path());
        let mut pems: Vec<PathBuf> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        pems.retain(|path| earliest_end(&std::fs::read(path).unwrap()).is_some());
        let file = pems.first().expect("a certificate").clone();
        let table =
            serde_json::json!({ "tls": { "certificate": file, "key": { "file": "k" } }, "peers": [{ "ca": "no" }] });
        let named = files_named(&table, "sources.lab");
        assert_eq!(named[1].0, "sources.lab.tls.certificate");
        assert_eq!(named[0], ("sources.lab.peers.ca".to_owned(), "no".into()));
        let read = read(&named, folder.path());
        assert_eq!(read[0].ends_at, None);
        let ends = read[1].ends_at.unwrap();
        let told = |days: i64| reasons(&read, ends - TimeDelta::days(days)).pop().map(|r| (r.level, r.text));
        assert_eq!(told(30), None);
        let (level, text) = told(20).unwrap();
        assert!(level == Level::Attention && text.starts_with("it ends in 20 d"), "{text}");
        assert_eq!(told(2).unwrap().0, Level::Failing);
        assert!(told(-5).unwrap().1.starts_with("it ended 5 d ago"));
    }
}
