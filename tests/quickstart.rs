//! The commands of docs/quickstart.md, run in its order, and what they print against what stands there.

#![expect(clippy::unwrap_used, reason = "a test may end where its own files or programs can't be had")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A fenced block of the document: its language and its lines.
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(language) => {
                inside = true;
                found.push((language.to_owned(), Vec::new()));
            }
            None if inside => found.last_mut().unwrap().1.push(line.to_owned()),
            None => {}
        }
    }
    found
}

/// Whether a line is as expected; `…` stands for anything.
fn fits(expected: &str, line: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Compares what was printed with what the document shows; a line `…` stands for any lines.
fn compare(command: &str, expected: &[String], printed: &str) {
    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let (mut at, mut any) = (0, false);
    for line in expected {
        if line == "…" {
            any = true;
            continue;
        }
        let found = match any {
            true => lines[at..].iter().position(|printed| fits(line, printed)),
            false => lines.get(at).and_then(|printed| fits(line, printed).then_some(0)),
        };
        let Some(skipped) = found else { panic!("`{command}` does not print {line:?} where it should:\n{printed}") };
        at += skipped + 1;
        any = false;
    }
    assert!(any || at == lines.len(), "`{command}` prints more than the document shows:\n{printed}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn shell(folder: &Path, command: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_hisync")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    // What is left running must be the program itself, so that it ends with the test.
    let last = if is_left_running(command) { command.replace("hisync ", "exec hisync ") } else { command.to_owned() };
    shell.args(["-c", &last]).current_dir(folder).env("PATH", path);
    shell.env_remove("HISYNC_LOG").env_remove("HISYNC_CONFIG").env("NO_COLOR", "1").env("COLUMNS", "110");
    shell
}

fn is_left_running(command: &str) -> bool {
    command.contains("hisync run ") || command.contains("hisync sandbox ")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_way_from_nothing_to_the_first_record_is_as_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::copy(root.join("examples/first-report/hospital.py"), folder.path().join("hospital.py")).unwrap();
    let (upstream, admin) = (free_port().to_string(), free_port().to_string());
    let document = std::fs::read_to_string(root.join("docs/quickstart.md")).unwrap();
    let document = document.replace("127.0.0.1:8787", &format!("127.0.0.1:{upstream}"));
    let document = document.replace("127.0.0.1:8686", &format!("127.0.0.1:{admin}"));

    let mut running = Vec::new();
    for (language, lines) in blocks(&document) {
        match language.as_str() {
            // Its first line names the file.
            "toml" => {
                let name = lines[0].trim_start_matches("# ");
                let (name, adds) = name.split_once(',').map_or((name, false), |(name, _)| (name, true));
                let path = folder.path().join(name);
                let before = if adds { std::fs::read_to_string(&path).unwrap() + "\n" } else { String::new() };
                std::fs::write(path, before + &lines.join("\n") + "\n").unwrap();
            }
            "console" => {
                for step in lines.chunk_by(|_, next| !next.starts_with("$ ")) {
                    let command = step[0].strip_prefix("$ ").unwrap();
                    if is_left_running(command) {
                        let child = shell(folder.path(), command).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                        running.push(Running(child.unwrap()));
                        let (port, path) =
                            if command.contains("sandbox") { (&upstream, "/") } else { (&admin, "/ready") };
                        until(command, || {
                            let asked = format!("curl -fs --noproxy '*' http://127.0.0.1:{port}{path} >/dev/null");
                            shell(folder.path(), &asked).status().unwrap().success()
                        });
                        if command.contains("hisync run ") {
                            until("the first record", || {
                                let asked = format!("curl -fs --noproxy '*' http://127.0.0.1:{upstream}/v1/received");
                                !shell(folder.path(), &asked).output().unwrap().stdout.is_empty()
                            });
                            until("its receipt", || {
                                let asked = "hisync status -c site/hisync.toml | grep -q 'outbox: 0 waiting'";
                                shell(folder.path(), asked).status().unwrap().success()
                            });
                        }
                        continue;
                    }
                    let done = shell(folder.path(), &format!("{{ {command} ; }} 2>&1")).output().unwrap();
                    compare(command, &step[1..], &String::from_utf8(done.stdout).unwrap());
                    assert!(done.status.success(), "`{command}` ends with {:?}", done.status.code());
                }
            }
            other => panic!("a block of {other:?}: the test knows toml and console"),
        }
    }
    assert_eq!(running.len(), 2, "the sandbox and the agent were started");
}
