//! An encrypted store from outside: what lies on the disk, what commands say, and what becomes of keys.

use std::process::Stdio;

use hisync::sandbox::hospital::Visit;
use hisync::sandbox::upstream::Fault;
use serde_json::json;

use super::privacy::words;
use super::support::{Site, command, delivered, hisync, hisync_json, message, send, visit};

/// A site whose store is encrypted under `store.key`.
async fn sealed_site() -> Site {
    let site = Site::new().await;
    let key = site.folder.path().join("store.key");
    let (code, _, err) = hisync(&["secret", "new-key", &key.to_string_lossy()]);
    assert_eq!(code, 0, "{err}");
    encrypt(&site);
    site
}

fn encrypt(site: &Site) {
    site.edit("hisync.toml", "[upstream]", "[store]\nencryption = { key = { file = \"store.key\" } }\n\n[upstream]");
}

/// Bytes as a text with one character for each: searching in texts is fast also in a test's build.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// What no file of the data folder may hold: neither as UTF-8 nor as the laboratory sends it.
fn assert_tells_nothing(site: &Site, visits: &[Visit]) {
    let mut looked_at = Vec::new();
    for entry in std::fs::read_dir(site.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = text(&std::fs::read(&path).unwrap());
        for word in visits.iter().flat_map(words) {
            for form in [word.as_bytes(), &encoding_rs::GB18030.encode(&word).0] {
                assert!(!bytes.contains(&text(form)), "{} holds {word:?}", path.display());
            }
        }
        looked_at.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    assert!(looked_at.contains(&"hisync.db".to_owned()), "{looked_at:?}");
}

/// One report delivered, one refused in words that name its person, one held for an unknown code.
async fn a_day(site: &mut Site) -> [Visit; 3] {
    let visits = [visit(0), visit(1), visit(2)];
    let agent = site.start().await;
    let text = format!("no such person: {} {}", visits[1].person.name, visits[1].person.citizen_id);
    site.conclude(&visits[0], 9, None);
    super::support::read(&agent, super::support::REPORTS).await;
    delivered(&agent).await;
    site.upstream.put_faults(vec![Fault { status: Some(422), body: text, count: Some(1), ..Fault::default() }]);
    let mut lab = site.lab(&agent);
    send(&mut lab, &message(1, "C1", None)).await;
    send(&mut lab, &message(2, "C2", Some("ZZ"))).await;
    delivered(&agent).await;
    // While the agent runs, most of it lies in the log.
    assert!(site.data_dir().join("hisync.db-wal").metadata().unwrap().len() > 0);
    assert_tells_nothing(site, &visits);
    agent.stop().await;
    visits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_leaves_nothing_readable_on_the_disk_and_commands_read_it_all() {
    let mut site = sealed_site().await;
    let visits = a_day(&mut site).await;
    assert_tells_nothing(&site, &visits);
    let config = site.config.to_string_lossy().into_owned();
    let (code, life) = hisync_json(&site.config, &["explain", &visits[0].exam_no]);
    assert_eq!((code, life["entities"][0]["state"].as_str()), (0, Some("present")), "{life}");
    let (code, verified) = hisync_json(&site.config, &["store", "verify"]);
    assert_eq!((code, &verified["encrypted"], &verified["faults"]), (0, &json!(true), &json!([])), "{verified}");

    // Without the configuration there is no key, and with another key it is not the store's.
    let data = site.data_dir().to_string_lossy().into_owned();
    let (code, _, err) = hisync(&["held", "list", "--data-dir", &data]);
    assert!(code == 2 && err.contains("[store] encryption"), "{code} {err}");
    let file = site.data_dir().join("hisync.db");
    let before = std::fs::read(&file).unwrap();
    let key = site.folder.path().join("store.key");
    let right = std::fs::read_to_string(&key).unwrap();
    let other = hisync(&["secret", "new-key"]).1;
    std::fs::write(&key, &other).unwrap();
    for arguments in [["run", "-c", &config], ["status", "-c", &config]] {
        let (code, out, err) = hisync(&arguments);
        assert!(code == 2 && err.contains("encrypted under another key"), "{arguments:?}: {code} {out}{err}");
    }
    std::fs::write(&key, "not a key").unwrap();
    let (code, _, err) = hisync(&["run", "-c", &config]);
    assert!(code == 2 && err.contains("[bad-key]") && !err.contains("not a key"), "{code} {err}");
    assert_eq!(std::fs::read(&file).unwrap(), before, "a store that is refused is not touched");

    // The key is changed: both for a moment, then the new one alone.
    std::fs::write(&key, format!("{other}{right}")).unwrap();
    let (code, out, err) = hisync(&["store", "rekey", "-c", &config]);
    assert!(code == 0 && out.contains("newest key now"), "{code} {out}{err}");
    std::fs::write(&key, &other).unwrap();
    let (code, out, err) = hisync(&["store", "rekey", "--rewrite", "-c", &config]);
    assert!(code == 0 && out.contains("new key"), "{code} {out}{err}");
    assert_tells_nothing(&site, &visits);
    let agent = site.start().await;
    let (code, again) = hisync_json(&site.config, &["explain", &visits[0].exam_no]);
    assert_eq!((code, &again), (0, &life));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_encrypted_backed_up_lost_and_put_back() {
    let mut site = Site::new().await;
    let visits = {
        site.conclude(&visit(0), 9, None);
        let agent = site.start().await;
        delivered(&agent).await;
        agent.stop().await;
        [visit(0)]
    };
    let path = |name: &str| site.folder.path().join(name).to_string_lossy().into_owned();
    assert_eq!(hisync(&["secret", "new-key", &path("store.key")]).0, 0);
    assert_eq!(hisync(&["secret", "new-key", &path("store.key")]).0, 3, "a key is never overwritten");
    encrypt(&site);
    // The next start encrypts what was there before.
    let agent = site.start().await;
    assert_tells_nothing(&site, &visits);
    let (code, copied) = hisync_json(&site.config, &["store", "backup", &path("copy.db")]);
    assert_eq!((code, &copied["whole"]), (0, &json!(true)), "beside a running agent: {copied}");
    let config = path("hisync.toml");
    let (code, _, err) = hisync(&["store", "restore", &path("copy.db"), "--to", &path("data"), "-c", &config]);
    assert!(code == 3 && err.contains("another agent"), "{code} {err}");
    agent.stop().await;
    std::fs::remove_dir_all(site.data_dir()).unwrap();
    let (code, restored) = hisync_json(&site.config, &["store", "restore", &path("copy.db"), "--to", &path("data")]);
    assert_eq!((code, &restored["whole"]), (0, &json!(true)), "{restored}");
    let agent = site.start().await;
    let before = site.upstream.received().len();
    delivered(&agent).await;
    assert_eq!(site.upstream.received().len(), before, "nothing is sent that upstream has");
    agent.stop().await;
    let (code, _, err) = hisync(&["store", "verify", "--file", &path("copy.db"), "-c", &config]);
    assert_eq!(code, 0, "{err}");
    let bytes = std::fs::read(path("copy.db")).unwrap();
    std::fs::write(path("copy.db"), &bytes[..bytes.len() / 2]).unwrap();
    let (code, _, err) = hisync(&["store", "verify", "--file", &path("copy.db"), "-c", &config]);
    assert!(code == 1 || code == 3, "half a file is not a store: {code} {err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_secret_stands_in_the_configuration_and_its_key_elsewhere() {
    let site = Site::new().await;
    let config = site.config.to_string_lossy().into_owned();
    let plain = std::fs::read_to_string(site.folder.path().join("upstream.secret")).unwrap();
    let seal = |arguments: &[&str], text: &str| {
        let arguments = [&["secret", "seal", "-c", &config], arguments].concat();
        let mut child =
            command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, err) = seal(&[], &plain);
    assert!(code == 2 && err.contains("HISYNC_SECRET_KEY"), "{code} {err}");
    let key = site.folder.path().join("secret.key");
    assert_eq!(hisync(&["secret", "new-key", &key.to_string_lossy()]).0, 0);
    let (code, sealed, err) = seal(&[], &plain);
    assert!(code == 0 && !sealed.contains(plain.trim()) && !err.contains(plain.trim()), "{code} {sealed}{err}");
    std::fs::remove_file(site.folder.path().join("upstream.secret")).unwrap();
    site.edit("hisync.toml", "{ file = \"upstream.secret\" }", sealed.trim());
    let agent = site.start().await;
    delivered(&agent).await;
    assert!(!site.upstream.received().is_empty(), "upstream knows the signature");

    // Its key is changed beside the running agent: a new one before the old one, sealed again, the old one dropped.
    let old = std::fs::read_to_string(&key).unwrap();
    let new = hisync(&["secret", "new-key"]).1;
    std::fs::write(&key, format!("{new}{old}")).unwrap();
    let value = sealed.trim().trim_start_matches("{ sealed = \"").trim_end_matches("\" }");
    let (code, resealed, err) = seal(&["--again"], value);
    assert_eq!(code, 0, "{err}");
    site.edit("hisync.toml", sealed.trim(), resealed.trim());
    std::fs::write(&key, &new).unwrap();
    assert!(hisync::config::unreadable_secrets(&site.load()).is_empty());
    let (code, names) = hisync_json(&site.config, &["secret", "show-names"]);
    let shown = names.as_array().unwrap().iter().find(|name| name["kind"] == "sealed").unwrap();
    assert_eq!((code, &shown["readable"], &shown["name"]), (0, &json!(true), &json!("")), "{names}");
    assert!(shown["place"].as_str().unwrap().contains("hisync.toml:"), "{names}");
    agent.stop().await;
    std::fs::write(&key, &old).unwrap();
    let (code, names) = hisync_json(&site.config, &["secret", "show-names"]);
    assert!(code == 1 && !names.to_string().contains(plain.trim()), "{code} {names}");
    let (code, _, err) = hisync(&["run", "-c", &config]);
    assert!(code == 2 && err.contains("[unreadable-secret]"), "{code} {err}");
}
