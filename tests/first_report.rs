//! The five minutes that the README promises: its commands, its files, the real program.

#![expect(clippy::unwrap_used, reason = "a test may end where its own files or programs can't be had")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Far longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The commands that the README tells to type, in its order.
const TYPED: [&str; 10] = [
    "python3 hospital.py create",
    "hisync sandbox",
    "hisync check -c hisync.toml",
    "hisync preview -c hisync.toml --stream peis/reports",
    "hisync run -c hisync.toml",
    "hisync status -c hisync.toml",
    "hisync explain -c hisync.toml 2026000001",
    "python3 hospital.py correct",
    "python3 hospital.py mistake",
    "hisync held list -c hisync.toml",
];

/// A program that ends with the test.
struct Running(Child);

impl Running {
    /// Asks it to stop as a terminal or systemd would, and waits for it.
    fn stop(mut self) -> Option<i32> {
        let kill = format!("kill -TERM {}", self.0.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Walk {
    folder: tempfile::TempDir,
}

impl Walk {
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        command.env_remove("HISYNC_LOG").env_remove("HISYNC_CONFIG").env("NO_COLOR", "1");
        command
    }

    /// Runs a command to its end; answers its exit code and what it printed.
    fn hisync(&self, arguments: &str) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    }

    fn start(&self) -> Running {
        Running(self.command("run -c hisync.toml").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn hospital(&self, verb: &str) {
        let python = std::env::var("HISYNC_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let done = Command::new(python).args(["hospital.py", verb]).current_dir(self.folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.folder.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} says {from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
    }

    /// Asks for the status until the reports' row is as expected.
    fn reports(&self, name: &str, expected: i64) {
        let start = Instant::now();
        loop {
            let output = self.command("status -c hisync.toml --json").output().unwrap();
            let json: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
            let reports = &json["store"]["totals"]["exam_report"];
            if reports[name] == expected {
                assert_eq!(reports["adds_up"], true, "{reports}");
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{name} is not {expected}: {json}");
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        match name.to_str().unwrap() {
            // What somebody left who followed the README here.
            "data" | "upstream.secret" => {}
            name if name.starts_with("hospital.db") => {}
            _ if path.is_dir() => copy(&path, &to.join(name)),
            _ => drop(std::fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}

#[test]
fn the_commands_are_those_of_the_readme() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut rest = readme.as_str();
    for command in TYPED {
        let at = rest.find(command).unwrap_or_else(|| panic!("the README does not tell {command:?} in this order"));
        rest = &rest[at + command.len()..];
    }
}

#[test]
fn five_minutes_lead_to_the_first_report() {
    let walk = Walk { folder: tempfile::tempdir().unwrap() };
    copy(&root().join("examples/first-report"), walk.folder.path());
    walk.hospital("create");

    // Only the addresses differ from what a reader has: tests take free ones.
    let secret = "c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=";
    std::fs::write(walk.folder.path().join("upstream.secret"), secret).unwrap();
    let mut sandbox = walk.command("sandbox --listen 127.0.0.1:0");
    let sandbox = sandbox.env("HISYNC_UPSTREAM_SECRET", secret).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut sandbox = Running(sandbox.spawn().unwrap());
    let mut lines = BufReader::new(sandbox.0.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| Some(line.unwrap().split_once("http://")?.1.trim_end_matches('/').to_owned()));
    let address = url.unwrap().split(['/', ' ']).next().unwrap().to_owned();
    walk.edit("hisync.toml", "127.0.0.1:8787", &address);
    walk.edit("hisync.toml", "127.0.0.1:8686", "127.0.0.1:0");
    walk.edit("hisync.toml", "*/5 * * * * *", "* * * * * *");

    let (code, text) = walk.hisync("check -c hisync.toml");
    assert_eq!(code, 0, "{text}");
    let (code, text) = walk.hisync("preview -c hisync.toml --stream peis/reports");
    assert_eq!((code, text.contains("DELIVER"), text.contains("测试甲")), (0, true, false), "{text}");

    let agent = walk.start();
    walk.reports("delivered", 1);
    let (code, text) = walk.hisync("status -c hisync.toml");
    assert_eq!((code, text.starts_with("OK")), (0, true), "{text}");
    let (code, text) = walk.hisync("explain -c hisync.toml 2026000001");
    assert_eq!((code, text.contains("(accepted)")), (0, true), "{text}");

    walk.hospital("correct");
    walk.reports("delivered", 2);
    walk.hospital("mistake");
    walk.reports("held", 1);
    let (code, text) = walk.hisync("held list -c hisync.toml");
    assert_eq!((code, text.contains("unknown-code")), (0, true), "{text}");

    assert_eq!(agent.stop(), Some(0));
    walk.edit("mappings/exam_report.toml", r#""F" = "female" }"#, r#""F" = "female", "X" = "unknown" }"#);
    let agent = walk.start();
    walk.reports("held", 0);
    walk.reports("delivered", 3);
    assert_eq!(agent.stop(), Some(0));
}
