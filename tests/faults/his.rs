//! A database server that speaks the protocol of SQL Server: a table of items that change, and the ways in which such
//! servers fail.

use std::sync::Mutex;
use std::time::Duration;

use connector_tds_testkit::{Encryption, FaultKind, Options, TdsServer};
use hisync::clock::Clock;
use rusqlite::Connection;

use crate::hospital::{Facts, Wanted};
use crate::machine::Stage;

/// A fault strikes so many answers.
const STRIKES: usize = 3;
/// What the statements that read the items have.
const TABLE: &str = "[items]";

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// An answer stops in the middle of a row, and the connection stays open.
    Stall,
    /// The connection is reset in the middle of a row.
    Reset,
    /// The connection ends after the head of an answer.
    Close,
    /// Answers come a few bytes at a time.
    Drip,
    /// The reader is the victim of a deadlock.
    Deadlock,
    /// The server is shutting down.
    Shutdown,
    /// What comes is no answer.
    Garbage,
}

/// The server.
pub(crate) struct His {
    server: TdsServer,
    console: Mutex<Connection>,
}

impl His {
    /// Opens it, and adds it to an agent's configuration.
    pub(crate) fn open(stage: &Stage) -> His {
        let options = Options { encryption: Encryption::NotSupported, ..Options::default() };
        std::fs::write(stage.path("his.password"), &options.password).unwrap();
        let server = TdsServer::start(options);
        server.execute(
            "CREATE TABLE items (code varchar(10), name nvarchar(40), kind char(1), sex char(1), off char(1),
               unit nvarchar(20), department nvarchar(20), specimen nvarchar(20), updated datetime)",
        );
        let source = include_str!("his.toml").replace("@port@", &server.port().to_string());
        stage.edit(|text| text + &source);
        let console = Mutex::new(server.data());
        His { server, console }
    }

    /// From now on some answers are like this.
    pub(crate) fn set(&self, mood: Mood) {
        let error = |number, class| FaultKind::Error { number, class, message: "on purpose".to_owned() };
        let kind = match mood {
            Mood::Stall => FaultKind::StallAfter(300),
            Mood::Reset => FaultKind::ResetAfter(300),
            Mood::Close => FaultKind::CloseAfter(20),
            Mood::Drip => FaultKind::Pieces { bytes: 7, pause: Duration::from_millis(1) },
            Mood::Deadlock => error(1205, 13),
            Mood::Shutdown => error(6005, 17),
            Mood::Garbage => FaultKind::Garbage(vec![0x81, 0xff, 0x7f, 1, 2, 3]),
        };
        for _ in 0..STRIKES {
            self.server.inject(TABLE, kind.clone());
        }
    }

    /// How many answers were struck.
    pub(crate) fn met(&self) -> u32 {
        (STRIKES - self.server.faults_left().min(STRIKES)) as u32
    }

    /// All is well again.
    pub(crate) fn well(&self) {
        self.server.forget_faults();
        self.server.release();
    }

    /// Every connection ends, as when the server is started again.
    pub(crate) fn restart(&self) {
        self.server.cut();
    }

    /// An item is new, or has another name.
    pub(crate) fn change(&self, code: u32, name: u32) {
        // A fraction that a datetime can have: the server compares its times as texts.
        let at = Clock::system().now().format("%Y-%m-%d %H:%M:%S.003").to_string();
        let (code, name) = (format!("H{code:03}"), format!("项目 {name}"));
        let console = self.console.lock().unwrap();
        let known = console.execute("UPDATE items SET name = ?2, updated = ?3 WHERE code = ?1", (&code, &name, &at));
        if known.unwrap() == 0 {
            let sql = "INSERT INTO items VALUES (?1, ?2, '1', '0', '', 'mmol/L', '检验科', '血清', ?3)";
            console.execute(sql, (&code, &name, &at)).unwrap();
        }
    }

    /// What upstream must have.
    pub(crate) fn wanted(&self) -> Wanted {
        let console = self.console.lock().unwrap();
        let mut statement = console.prepare("SELECT code, name FROM items").unwrap();
        let rows = statement.query_map([], |row| {
            let facts = [("name", row.get::<_, String>(1)?), ("price", String::new()), ("enabled", "true".to_owned())];
            let facts: Facts = facts.map(|(key, value)| (key.to_owned(), value)).into();
            Ok((format!("exam_item/main:his:{}", row.get::<_, String>(0)?), Some(facts)))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}
