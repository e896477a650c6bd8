//! A folder with a checkup system's database, and the binary run in it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use rusqlite::Connection;

/// Views as a hospital grants them: a header with the person, and the results.
const SCHEMA: &str = "
    CREATE TABLE TJ_BG (TJBH TEXT NOT NULL, DAH TEXT, XM TEXT, XB TEXT, CSRQ TEXT, SFZH TEXT, BGZT TEXT, BGSJ TEXT,
                        TJRQ TEXT, GXSJ TEXT);
    INSERT INTO TJ_BG VALUES
      ('0301170001','D1','张试一','1','1988-06-01','999999198806010019','1','2026-11-20 16:05:33','2026-11-18','2026-11-20 16:05:33'),
      ('0301170002','D2','赵试二','2','1970-01-01','999999197001010025','1','2026-11-20 16:07:10','2026-11-18','2026-11-20 16:07:10'),
      ('0301170003','D3','钱试三','7','1990-05-02',NULL,'1','2026-11-20 17:00:00','2026-11-18','2026-11-20 17:00:00');
    CREATE TABLE TJ_MX (TJBH TEXT, ZHBM TEXT, ZHMC TEXT, XMDM TEXT, XMMC TEXT, JG TEXT, DW TEXT, CKFW TEXT, TS TEXT);
    INSERT INTO TJ_MX VALUES
      ('0301170001','0012','肝功能','0101','谷丙转氨酶','23.0','U/L','9-50',''),
      ('0301170001','0012','肝功能','0102','总胆红素','25.1','μmol/L','0-23','↑'),
      ('0301170002','0012','肝功能','0101','谷丙转氨酶','18.0','U/L','7-40',''),
      ('0301170003','0012','肝功能','0101','谷丙转氨酶','18.0','U/L','7-40','');
    CREATE VIEW V_TJ_BG AS SELECT * FROM TJ_BG;
    CREATE VIEW V_TJ_MX AS SELECT * FROM TJ_MX;
";

pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Site {
    /// A database, and a configuration with a source that has no stream yet.
    pub(crate) fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        Connection::open(site.path("peis.db")).unwrap().execute_batch(SCHEMA).unwrap();
        site.write(
            "hisync.toml",
            "[[sources]]\nid = \"peis\"\nconnector = \"sqlite\"\nsettings = { path = \"peis.db\" }\n",
        );
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// A configuration with these sources; upstream refuses connections.
    pub(crate) fn configure(&self, sources: &str) {
        let head = "[agent]\nhospital = \"demo-001\"\ntimezone = \"Asia/Shanghai\"\ndisk_floor_bytes = 16777216\n\
                    [upstream]\nurl = \"http://127.0.0.1:1\"\n\
                    auth = { type = \"webhook-signature\", secret = { env = \"HISYNC_TEST_SECRET\" } }\n\
                    [admin]\nlisten = \"127.0.0.1:0\"\n";
        self.write("hisync.toml", &format!("{head}{sources}"));
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hisync"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("HISYNC_LOG")
            .env_remove("HISYNC_CONFIG")
            .env("HISYNC_TEST_SECRET", "whsec_c3ludGhldGljLXNlY3JldC1mb3ItdGVzdHM=")
            .env("COLUMNS", "110")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}
