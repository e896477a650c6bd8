//! `check` against real conditions: each failure is told apart and says what to do next.

use std::net::TcpListener;

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
    let mapping = "fixtures/mapping/code-flag/mapping.toml";
    std::fs::copy(mapping, site.path("m.toml")).unwrap();
    let codes = std::fs::read_dir("fixtures/mapping/code-flag/codes").unwrap().map(|file| file.unwrap());
    codes.for_each(|file| {
        site.write(&format!("codes/{}", file.file_name().display()), &std::fs::read_to_string(file.path()).unwrap())
    });
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
