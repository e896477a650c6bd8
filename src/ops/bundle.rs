//! What a support bundle holds: one archive that says how an agent is, and nothing of any person.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Map, Value as Json};

/// What stands in the place of a value that is not shown.
const HIDDEN: &str = "●●●";

/// Keys whose values are hidden, by a part of their name; references to secrets are shown, they name a place.
const SECRET: [&str; 10] =
    ["password", "passwd", "pwd", "secret", "token", "credential", "authorization", "apikey", "api-key", "api_key"];

/// Keys whose values name people.
const PEOPLE: [&str; 3] = ["recipients", "sender", "username"];

/// The places that a reference to a secret can name.
const REFERENCE: [&str; 3] = ["file", "env", "credential"];

/// A configuration without what is secret or names people.
pub fn redacted(config: &Json) -> Json {
    hide("", config)
}

fn hide(key: &str, value: &Json) -> Json {
    let key = key.to_lowercase();
    let secret = SECRET.iter().any(|part| key.contains(part));
    match value {
        Json::Object(entries) if secret && is_reference(entries) => value.clone(),
        Json::Object(entries) if !secret => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), hide(key, value))).collect())
        }
        _ if secret || PEOPLE.contains(&key.as_str()) => HIDDEN.into(),
        Json::Array(items) => items.iter().map(|item| hide(&key, item)).collect(),
        Json::String(text) => plain(text).into(),
        _ => value.clone(),
    }
}

fn is_reference(entries: &Map<String, Json>) -> bool {
    entries.len() == 1 && entries.keys().all(|key| REFERENCE.contains(&key.as_str()))
}

/// A text without what may be a secret inside it: the user and query of a URL, the passwords of a connection string,
/// a mail address.
fn plain(text: &str) -> String {
    if let Ok(mut url) = url::Url::parse(text)
        && url.has_host()
    {
        if !url.username().is_empty() || url.password().is_some() {
            // Of a URL with a host neither fails.
            let _ = url.set_username("hidden").and_then(|()| url.set_password(None));
        }
        if url.query().is_some() {
            url.set_query(Some("hidden"));
        }
        return url.into();
    }
    if text.contains('@') {
        return HIDDEN.to_owned();
    }
    let part = |part: &str| match part.split_once('=') {
        Some((key, _)) if SECRET.iter().any(|secret| key.to_lowercase().contains(secret)) => format!("{key}={HIDDEN}"),
        _ => part.to_owned(),
    };
    if text.contains(';') { text.split(';').map(part).collect::<Vec<_>>().join(";") } else { part(text) }
}

/// Writes a gzipped tar archive of files, in their order.
pub fn archive<W: Write>(into: W, folder: &str, files: &[(String, Vec<u8>)], now: DateTime<Utc>) -> io::Result<W> {
    let mut archive = tar::Builder::new(GzEncoder::new(into, Compression::default()));
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now.timestamp().unsigned_abs());
        archive.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice())?;
    }
    archive.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_people_are_hidden_and_the_places_of_secrets_are_not() {
        let config = json!({
            "upstream": { "url": "https://agent:pw@up.example/base?key=k", "auth": { "secret": { "env": "HISYNC" } } },
            "sources": [{ "settings": {
                "connection": "Driver=FreeTDS;Server=db;UID=reader;PWD=hunter2",
                "password": "hunter2", "token": { "value": "hunter2" }, "path": "peis.db",
            }}],
            "alerts": { "channels": [{ "recipients": ["wang@hospital.example"], "host": "mail", "note": "to li@x.cn" }] },
        });
        let shown = redacted(&config);
        assert_eq!(shown["upstream"]["url"], "https://hidden@up.example/base?hidden");
        assert_eq!(shown["upstream"]["auth"]["secret"]["env"], "HISYNC");
        let settings = &shown["sources"][0]["settings"];
        assert_eq!(settings["connection"], "Driver=FreeTDS;Server=db;UID=reader;PWD=●●●");
        assert_eq!(settings["path"], "peis.db");
        let text = shown.to_string();
        for secret in ["hunter2", "wang", "li@x.cn", "pw@", "key=k"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }

    #[test]
    fn an_archive_holds_its_files_under_one_folder() {
        let files = [("a.txt".to_owned(), b"one".to_vec()), ("config/b.json".to_owned(), b"{}".to_vec())];
        let bytes = archive(Vec::new(), "bundle", &files, DateTime::UNIX_EPOCH).unwrap();
        let mut read = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let names: Vec<String> =
            read.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        assert_eq!(names, ["bundle/a.txt", "bundle/config/b.json"]);
    }
}
