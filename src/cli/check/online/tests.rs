use std::path::Path;

use connector_api::{Mode, SourceId, SourceSpec, StreamId, StreamSpec};
use serde_json::{Value as Json, json};
use tokio::task::JoinSet;

use super::{Looked, look};
use crate::cli::Exit;
use crate::config::tests::kinds::KINDS;

/// Builds the source with one stream and looks at it.
async fn check(kind: &str, base_dir: &Path, settings: Json, stream: Json) -> Looked {
    let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
    let id = SourceId::new("peis");
    let stream = StreamSpec { id: StreamId::new(&id, "reports"), mode: Mode::Snapshot, settings: stream };
    let zone = chrono_tz::Asia::Shanghai;
    let spec = SourceSpec { id: id.clone(), base_dir: base_dir.to_owned(), zone, settings, streams: vec![stream] };
    let connector = kind.build(spec).map_err(|problems| format!("{problems:?}")).unwrap();
    let mut looks = JoinSet::new();
    look(0, &id, connector, &mut looks);
    looks.join_next().await.unwrap().unwrap().1
}

#[tokio::test]
async fn a_source_that_answers_is_fine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "1\n2\n").unwrap();
    let looked = check("lines", folder.path(), json!({ "path": "a.txt" }), json!({ "key": ["id"] })).await;
    assert_eq!((looked.exit(), looked.to_string()), (Exit::Fine, "peis/reports: fine\n    2 lines".to_owned()));
}

#[tokio::test]
async fn what_is_missing_at_a_source_is_not_fine() {
    let folder = tempfile::tempdir().unwrap();
    let looked = check("lines", folder.path(), json!({ "path": "a.txt" }), json!({ "key": ["id"] })).await;
    assert_eq!(looked.exit(), Exit::NotFine);
    assert!(looked.to_string().starts_with("peis/reports: NOT FINE (missing): read the text file: "), "{looked}");
}

#[tokio::test]
async fn a_listeners_address_is_tried_and_given_back() {
    let looked = check("port", Path::new("."), json!({ "listen": "127.0.0.1:0" }), json!({})).await;
    let address = looked.endpoint.as_ref().unwrap().0.clone();
    assert_eq!(looked.exit(), Exit::Fine);
    let taken = std::net::TcpListener::bind(&address).expect("the address is free again");
    let looked = check("port", Path::new("."), json!({ "listen": address }), json!({})).await;
    assert_eq!(looked.exit(), Exit::NotFine);
    assert!(looked.to_string().contains("if the agent runs already"), "{looked}");
    drop(taken);
}
