//! What the tests with real drivers share: the drivers, private servers, configured sources.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps nothing")]

use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A driver of Debian by its file: nothing has to be configured.
pub(crate) fn driver(file: &str) -> String {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let found = folders.map(|folder| folder.path().join("odbc").join(file)).find(|path| path.exists());
    found
        .unwrap_or_else(|| panic!("{file} is not installed: scripts/test says which package has it"))
        .display()
        .to_string()
}

pub(crate) fn sqlite(file: &Path) -> String {
    let driver = driver("libsqlite3odbc.so");
    format!("product = \"sqlite\"\nconnection = \"Driver={driver};Database={}\"", file.display())
}

/// The stream of the conformance suite.
pub(crate) const FETCH: &str =
    r#"from = "parent", key = ["key_no"], watermark = { column = "stamp", type = "timestamp", lag_secs = 60 }"#;

/// The same with the day in one column and the time of day in another.
pub(crate) const SPLIT: &str = "from = \"parent\", key = [\"key_no\"], watermark = { column = \"day\", then = [\"clock\"], \
                     type = \"timestamp\", lag_secs = 60 }";

/// A source with the given settings and streams.
pub(crate) fn configured(settings: &str, streams: &str) -> String {
    let program = option_env!("CARGO_BIN_EXE_hisync-odbc").unwrap_or("hisync-odbc");
    format!(
        "[[sources]]\nid = \"s\"\nconnector = \"odbc\"\n[sources.settings]\nprogram = \"{program}\"\n{settings}\n{streams}\n"
    )
}

/// A source with the streams of the conformance suite.
pub(crate) fn source(settings: &str, fetch: &str) -> String {
    configured(settings, &connector_testkit::tables::streams(fetch))
}

/// A source with one snapshot stream `all` of a table.
pub(crate) fn snapshot(settings: &str, fetch: &str) -> String {
    configured(settings, &format!("[[sources.streams]]\nid = \"all\"\nmode = \"snapshot\"\nfetch = {{ {fetch} }}"))
}

/// Sources with faults, and where each must be reported.
pub(crate) fn bad_settings() -> Vec<(String, &'static str)> {
    let with = |connection: &str| source(&format!("product = \"generic\"\nconnection = \"{connection}\""), FETCH);
    let watermark = |rest: &str| {
        let fetch = format!(r#"from = "p", key = ["k"], watermark = {{ {rest} }}"#);
        source("product = \"generic\"\nconnection = \"DSN=x\"", &fetch)
    };
    let timeout = "product = \"dm\"\nconnection = \"DSN=x\"\nquery_timeout_secs = 0";
    vec![
        (with("Server=h"), "settings.connection"),
        (with("DSN=x;PWD=y"), "settings.connection"),
        (source("product = \"db2\"\nconnection = \"DSN=x\"", FETCH), "settings"),
        (source(timeout, FETCH), "settings.query_timeout_secs"),
        (watermark(r#"column = "c", type = "timestamp", lag = 1"#), "streams[0].fetch.watermark.lag"),
        (watermark(r#"column = "c", type = "number""#), "streams[0].fetch.watermark.lag"),
        (watermark(r#"column = "c", type = "rowversion""#), "streams[0].fetch.watermark.type"),
    ]
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn id_of_nobody(which: &str) -> u32 {
    let output = Command::new("id").args([which, "nobody"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// A command that ends with its test, and never runs as root: PostgreSQL refuses that.
fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
    }
    command.arg("--").arg(program).current_dir("/").env("LC_ALL", "C.UTF-8");
    command
}

/// A folder that such a command may write to.
fn folder_for_nobody() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    if is_root() {
        chown(folder.path(), Some(id_of_nobody("-u")), Some(id_of_nobody("-g"))).unwrap();
    }
    folder
}

fn must_succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Feeds a client program; true where it succeeded.
fn feed(command: &mut Command, sql: &str) -> Result<(), String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // A client that could not connect does not read.
    let _ = child.stdin.take().unwrap().write_all(sql.as_bytes());
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Waits until a server answers.
fn answers(mut asked: impl FnMut() -> Result<(), String>) {
    let limit = Instant::now() + Duration::from_secs(60);
    while let Err(error) = asked() {
        assert!(Instant::now() < limit, "the server does not answer: {error}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The password of every private server.
pub(crate) const PASSWORD: &str = "p;w}d {x";

/// A private PostgreSQL server on a socket of its own.
pub(crate) struct Postgres {
    pub(crate) folder: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    pub(crate) fn start() -> Postgres {
        let folder = folder_for_nobody();
        let (data, password) = (folder.path().join("data"), folder.path().join("password"));
        std::fs::write(&password, PASSWORD).unwrap();
        let mut init = as_nobody(Self::program("initdb"));
        init.args(["-E", "UTF8", "--locale=C", "-U", "hisync", "-A", "scram-sha-256", "-N", "--pwfile"]);
        must_succeed(init.arg(&password).arg("-D").arg(&data));
        let mut command = as_nobody(Self::program("postgres"));
        command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=30", "-k"]);
        command.arg(folder.path()).arg("-D").arg(&data).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Postgres { server: command.spawn().unwrap(), folder };
        answers(|| server.run("postgres", "SELECT 1"));
        server
    }

    fn program(name: &str) -> PathBuf {
        let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql is installed").flatten();
        let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin").join(name)).collect();
        found.retain(|path| path.exists());
        found.sort();
        found.pop().expect("postgresql is installed")
    }

    pub(crate) fn run(&self, database: &str, sql: &str) -> Result<(), String> {
        let mut client = Command::new(Self::program("psql"));
        client
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "hisync", "-d", database, "-h"])
            .arg(self.folder.path());
        feed(client.env("PGPASSWORD", PASSWORD).env("PGCLIENTENCODING", "UTF8"), sql)
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.run("postgres", sql).unwrap();
    }

    /// Settings of a source; the password is in a file beside.
    pub(crate) fn settings(&self, database: &str) -> String {
        let (driver, folder) = (driver("psqlodbcw.so"), self.folder.path().display());
        format!(
            "product = \"postgresql\"\nconnection = \"Driver={driver};Server={folder};Port=5432;Database={database}\"\n\
             user = \"hisync\"\npassword = {{ file = \"{folder}/password\" }}"
        )
    }

    /// Ends the server at once, with all its sessions.
    pub(crate) fn crash(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::QUIT).unwrap();
        self.server.wait().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        if matches!(self.server.try_wait(), Ok(None)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = self.server.wait();
        }
    }
}

/// A private MariaDB server on a socket of its own.
pub(crate) struct Mariadb {
    pub(crate) folder: tempfile::TempDir,
    server: Child,
}

impl Mariadb {
    /// Starts one with the given options beside its own.
    pub(crate) fn start(options: &[&str]) -> Mariadb {
        let folder = folder_for_nobody();
        let data = format!("--datadir={}", folder.path().join("data").display());
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let mut init = as_nobody("mariadb-install-db");
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]).arg(&data);
        must_succeed(init.env("TMPDIR", folder.path()).env("HOME", folder.path()));
        let mut command = as_nobody("mariadbd");
        command.args(["--no-defaults", "--skip-networking", "--innodb-flush-log-at-trx-commit=0"]).arg(&data);
        command.args(["--character-set-server=utf8mb4", "--innodb-buffer-pool-size=64M"]);
        command.arg(format!("--socket={}", folder.path().join("socket").display()));
        command.arg(format!("--pid-file={}", folder.path().join("pid").display()));
        command.arg(format!("--tmpdir={}", folder.path().display())).args(options);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").stdout(Stdio::null()).stderr(Stdio::null());
        let server = Mariadb { server: command.spawn().unwrap(), folder };
        answers(|| server.run("SELECT 1"));
        server.sql(&format!(
            "SET sql_mode = ''; CREATE DATABASE peis CHARACTER SET utf8mb4;
             CREATE USER hisync@localhost IDENTIFIED BY '{PASSWORD}'; GRANT SELECT ON peis.* TO hisync@localhost;"
        ));
        server
    }

    fn run(&self, sql: &str) -> Result<(), String> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--default-character-set=utf8mb4", "--user=root"]);
        feed(client.arg(format!("--socket={}", self.folder.path().join("socket").display())), sql)
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.run(sql).unwrap();
    }

    /// Settings of a source; the password is in a file beside.
    pub(crate) fn settings(&self) -> String {
        let (driver, folder) = (driver("libmaodbc.so"), self.folder.path().display());
        format!(
            "product = \"mariadb\"\nconnection = \"Driver={driver};Socket={folder}/socket;Server=localhost;Database=peis\"\n\
             user = \"hisync\"\npassword = {{ file = \"{folder}/password\" }}"
        )
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
