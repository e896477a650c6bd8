//! The suite that every polled connector passes, on private servers read through their drivers.

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use connector_api::async_trait;
use connector_odbc::Odbc;
use connector_testkit::Upstream;
use connector_testkit::conformance::{FixtureRow, PollerFixture, poller_suite};

use support::{FETCH, Mariadb, Postgres, SPLIT, bad_settings, source};

/// What fills the suite's tables, in the SQL that both products speak.
fn statements(rows: &[FixtureRow]) -> String {
    let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut sql = String::new();
    for row in rows {
        let (key, name) = (text(&row.key), text(&row.name));
        let stamp = row.stamp.as_deref().map_or("NULL".to_owned(), text);
        sql += &format!("DELETE FROM parent WHERE key_no = {key}; DELETE FROM child WHERE key_no = {key};");
        let (day, clock) = row.day_and_clock();
        let clock = clock.map_or("NULL".to_owned(), text);
        sql += &format!("INSERT INTO parent VALUES ({key}, {stamp}, {name}, {}, {clock});", text(day));
        for item in &row.items {
            sql += &format!("INSERT INTO child VALUES ({key}, {});", text(item));
        }
    }
    format!("BEGIN;{sql}COMMIT;")
}

const TABLES: &str = "DROP TABLE IF EXISTS parent; DROP TABLE IF EXISTS child;
    CREATE TABLE parent (key_no VARCHAR(20) PRIMARY KEY, stamp VARCHAR(30), name VARCHAR(40), day DATE, clock TIME);
    CREATE TABLE child (key_no VARCHAR(20), item VARCHAR(40));";

struct Served<S> {
    server: Arc<S>,
    settings: String,
    sql: fn(&S, &str),
    socket: Upstream,
    by_port: fn(&str, u16) -> String,
    fetch: &'static str,
}

/// The settings with the values of connection options replaced, and short time limits.
fn with_options(settings: &str, options: &[(&str, &str)]) -> String {
    let option = |part: &str| {
        let (name, _) = part.split_once('=')?;
        options.iter().find(|(own, _)| *own == name).map(|(own, value)| format!("{own}={value}"))
    };
    let lines = settings.lines().map(|line| match line.split_once("connection = \"") {
        Some((_, connection)) => {
            let parts = connection.trim_end_matches('"').split(';');
            let parts: Vec<String> = parts.map(|part| option(part).unwrap_or_else(|| part.to_owned())).collect();
            format!("connection = \"{}\"", parts.join(";"))
        }
        None => line.to_owned(),
    });
    lines.chain(["login_timeout_secs = 2\nquery_timeout_secs = 1".to_owned()]).collect::<Vec<_>>().join("\n")
}

#[async_trait]
impl<S: Send + Sync> PollerFixture for Served<S> {
    type Kind = Odbc;

    async fn put(&self, rows: &[FixtureRow]) {
        (self.sql)(&self.server, &statements(rows));
    }

    fn source(&self) -> String {
        source(&self.settings, self.fetch)
    }

    fn unreachable(&self) -> String {
        let gone = self.settings.replace("Port=5432", "Port=5433").replace("/socket;", "/absent;");
        source(&gone, self.fetch)
    }

    fn bad_settings(&self) -> Vec<(String, &'static str)> {
        bad_settings()
    }

    fn through(&self, port: u16) -> Option<(Upstream, String)> {
        Some((self.socket.clone(), source(&(self.by_port)(&self.settings, port), self.fetch)))
    }

    fn base_dir(&self) -> PathBuf {
        PathBuf::from("/")
    }
}

#[tokio::test]
async fn postgresql_conforms() {
    postgresql(FETCH).await;
}

#[tokio::test]
async fn postgresql_conforms_with_a_watermark_of_two_columns() {
    postgresql(SPLIT).await;
}

#[tokio::test]
async fn mariadb_conforms() {
    mariadb(FETCH).await;
}

#[tokio::test]
async fn mariadb_conforms_with_a_watermark_of_two_columns() {
    mariadb(SPLIT).await;
}

async fn postgresql(fetch: &'static str) {
    let server = Arc::new(Postgres::start());
    poller_suite(|| {
        server.sql(TABLES);
        Served {
            fetch,
            settings: server.settings("postgres"),
            server: Arc::clone(&server),
            sql: Postgres::sql,
            socket: Upstream::Unix(server.folder.path().join(".s.PGSQL.5432")),
            by_port: |settings, port| with_options(settings, &[("Server", "127.0.0.1"), ("Port", &port.to_string())]),
        }
    })
    .await;
}

async fn mariadb(fetch: &'static str) {
    let server = Arc::new(Mariadb::start(&[]));
    let sql: fn(&Mariadb, &str) = |server, sql| server.sql(&format!("USE peis; {sql}"));
    poller_suite(|| {
        sql(&server, TABLES);
        Served {
            fetch,
            settings: server.settings(),
            server: Arc::clone(&server),
            sql,
            socket: Upstream::Unix(server.folder.path().join("socket")),
            // The option that named the socket names the port.
            by_port: |settings, port| {
                let port = port.to_string();
                with_options(&settings.replace("Socket=", "Port="), &[("Server", "127.0.0.1"), ("Port", &port)])
            },
        }
    })
    .await;
}
