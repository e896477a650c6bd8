//! `check` against real conditions: each failure is told apart and says what to do next.

use std::net::TcpListener;

use connector_testkit::recorded::{Peer, Turn};

use super::site::Site;

const MAPPING: &str = "mapping = \"m.toml\"\n";

fn sqlite(id: &str, path: &str, fetch: &str) -> String {
    format!(
        "[[sources]]\nid = \"{id}\"\nconnector = \"sqlite\"\nsettings = {{ path = \"{path}\" }}\n[[sources.streams]]\n\
         id = \"r\"\nentity = \"exam_report\"\nmode = \"snapshot\"\nschedule = \"0 0 3 * * *\"\n{MAPPING}fetch = {{ {fetch} }}\n"
    )
}

#[test]
fn failures_are_told_apart_and_none_hides_another() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let good = "from = \"V_TJ_BG\", key = [\"TJBH\"]";
    site.write("none.db", "this is no database, it is a text that is long enough to be looked at as one");
    let listener = format!(
        "[[sources]]\nid = \"lis\"\nconnector = \"mllp\"\nsettings = {{ listen = \"{}\" }}\n[[sources.streams]]\n\
         id = \"r\"\nentity = \"exam_report\"\nmode = \"push\"\n{MAPPING}messages = [\"ORU^R01\"]\n",
        taken.local_addr().unwrap()
    );
    let sources = [
        sqlite("fine", "peis.db", good),
        sqlite("nofile", "gone/peis.db", good),
        sqlite("noview", "peis.db", "from = \"V_TJ_BGG\", key = [\"TJBH\"]"),
        sqlite("nocolumn", "peis.db", "from = \"V_TJ_BG\", key = [\"TJBHH\"]"),
        sqlite("nodatabase", "none.db", good),
        listener,
    ];
    site.configure(&sources.concat());
    write_mapping(&site);
    let checked = site.run(&["check", "-c", "hisync.toml"]);
    for told in [
        "fine/r: fine, SQLite",
        "nofile/r: NOT FINE (unreachable)",
        "noview/r: NOT FINE (missing): find table or view \"V_TJ_BGG\"\n    hint: did you mean \"V_TJ_BG\"?",
        "nocolumn/r: NOT FINE (missing): find column \"TJBHH\"",
        "nodatabase/r: NOT FINE (data)",
        "lis: NOT FINE (bind)",
        "upstream: NOT FINE",
    ] {
        assert!(checked.out.contains(told), "{told} is not in\n{}\n{}", checked.out, checked.err);
    }
    assert_eq!(checked.out.matches("hint:").count(), 5, "each failure has its hint: {}", checked.out);
    assert_eq!(checked.code, Some(3), "upstream and a file could not be reached");
    let json: serde_json::Value =
        serde_json::from_str(&site.run(&["check", "-c", "hisync.toml", "--json"]).out).unwrap();
    let ids: Vec<&str> = json["sources"].as_array().unwrap().iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, ["fine/r", "nofile/r", "noview/r", "nocolumn/r", "nodatabase/r", "lis"], "in the file's order");
}

/// A mapping with its code tables.
fn write_mapping(site: &Site) {
    std::fs::copy("fixtures/mapping/code-flag/mapping.toml", site.path("m.toml")).unwrap();
    for file in std::fs::read_dir("fixtures/mapping/code-flag/codes").unwrap().map(Result::unwrap) {
        let text = std::fs::read_to_string(file.path()).unwrap();
        site.write(&format!("codes/{}", file.file_name().display()), &text);
    }
}

fn rest(id: &str, url: &str) -> String {
    format!(
        "[[sources]]\nid = \"{id}\"\nconnector = \"rest\"\nsettings = {{ url = \"{url}\" }}\n[[sources.streams]]\n\
         id = \"r\"\nentity = \"exam_report\"\nmode = \"snapshot\"\nschedule = \"0 0 3 * * *\"\n{MAPPING}\
         list = {{ path = \"reports\" }}\nrecords = \"list\"\n"
    )
}

#[test]
fn failures_of_the_network_and_of_a_server_are_told_apart() {
    let site = Site::new();
    let answer = |status: &str, head: &str, body: &[u8]| {
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n");
        Peer::start(vec![Turn::Answer([head.as_bytes(), body].concat())])
    };
    let json = "Content-Type: application/json\r\n";
    let list = b"{\"list\": [{\"TJBH\": \"1\"}]}";
    let old = format!("{json}Date: Sat, 01 Jan 2000 00:00:00 GMT\r\n");
    let gbk = b"{\"list\": [{\"XM\": \"\xd5\xc5\xc8\xfd\"}, {\"XM\": \"\xd5\xc5\xc8\xfd\"}]}";
    let peers = [
        ("nologin", answer("401 Unauthorized", json, b"{}"), "NOT FINE (login)"),
        ("forbidden", answer("403 Forbidden", json, b"{}"), "NOT FINE (permission)"),
        ("nopath", answer("404 Not Found", json, b"{}"), "NOT FINE (missing)"),
        ("gbk", answer("200 OK", json, gbk), "NOT FINE (charset)"),
        ("clock", answer("200 OK", &old, list), "NOT FINE (clock)"),
        ("well", answer("200 OK", json, list), "fine"),
    ];
    let plain = answer("200 OK", json, list);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut sources: Vec<String> = peers.iter().map(|(id, peer, _)| rest(id, &peer.url)).collect();
    sources.push(rest("noname", "http://no-such-host.invalid/"));
    sources.push(rest("closed", &format!("http://{closed}/")));
    sources.push(rest("notls", &plain.url.replace("http:", "https:")));
    site.configure(&sources.concat());
    write_mapping(&site);
    let checked = site.run(&["check", "-c", "hisync.toml"]);
    let more =
        [("noname", "NOT FINE (name-resolution)"), ("closed", "NOT FINE (unreachable)"), ("notls", "NOT FINE (tls)")];
    for (id, verdict) in peers.iter().map(|(id, _, verdict)| (*id, *verdict)).chain(more) {
        let told = format!("{id}/r: {verdict}");
        assert!(checked.out.contains(&told), "{told} is not in\n{}\n{}", checked.out, checked.err);
    }
    assert_eq!(checked.out.matches("hint:").count(), 8, "each failure has its hint: {}", checked.out);
}

#[test]
fn a_name_that_nobody_knows_is_no_closed_port() {
    let site = Site::new();
    site.configure(&sqlite("fine", "peis.db", "from = \"V_TJ_BG\", key = [\"TJBH\"]"));
    std::fs::copy("fixtures/mapping/package-money/mapping.toml", site.path("m.toml")).unwrap();
    let text = site.read("hisync.toml").replace("exam_report", "exam_package");
    site.write("hisync.toml", &text);
    let closed = site.run(&["check", "-c", "hisync.toml"]);
    let refused = closed.out.lines().find(|line| line.starts_with("upstream")).unwrap().to_owned();
    site.write("hisync.toml", &text.replace("http://127.0.0.1:1", "https://no-such-host.invalid"));
    let unknown = site.run(&["check", "-c", "hisync.toml"]);
    let unresolved = unknown.out.lines().find(|line| line.starts_with("upstream")).unwrap().to_owned();
    assert!(refused.contains("(unreachable)") && unresolved.contains("(name-resolution)"), "{refused}\n{unresolved}");
    assert_eq!((closed.code, unknown.code), (Some(3), Some(3)), "{refused}\n{unresolved}");
}
