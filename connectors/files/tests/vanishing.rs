//! A share that disappears while a file of it is read, and comes back.

#![expect(clippy::unwrap_used, reason = "the helpers of a test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use connector_api::{Action, FaultClass};
use support::{Kept, Place, RENAMED, config};

/// More than are stored in one transaction.
const RECORDS: usize = 700;

/// How the share goes, and how it comes back.
trait Share {
    fn goes(&self);
    fn returns(&self);
}

/// The folder itself is gone, as with a network drive.
struct Moved(PathBuf);

impl Share for Moved {
    fn goes(&self) {
        fs::rename(&self.0, self.0.with_file_name("away")).unwrap();
    }

    fn returns(&self) {
        fs::rename(self.0.with_file_name("away"), &self.0).unwrap();
    }
}

/// The share is unmounted, and an empty folder lies in its place.
struct Mounted(PathBuf);

fn run(program: &str, arguments: &[&str], path: &Path) {
    assert!(Command::new(program).args(arguments).arg(path).status().unwrap().success(), "{program} {arguments:?}");
}

impl Mounted {
    fn new(folder: PathBuf) -> Mounted {
        let disk = folder.with_file_name("disk");
        fs::create_dir(&disk).unwrap();
        run("mount", &["-t", "tmpfs", "none"], &disk);
        let share = Mounted(folder);
        share.returns();
        share
    }
}

impl Share for Mounted {
    fn goes(&self) {
        run("umount", &["--lazy"], &self.0);
        assert_eq!(fs::read_dir(&self.0).unwrap().count(), 0);
    }

    fn returns(&self) {
        let disk = self.0.with_file_name("disk");
        run("mount", &["--bind", disk.to_str().unwrap()], &self.0);
    }
}

async fn a_share_goes_in_mid_read_and_nothing_is_lost_or_taken_twice(share: impl FnOnce(PathBuf) -> Box<dyn Share>) {
    let place = Place::new();
    let share = share(place.inbox());
    let mut table = "no,files\n".to_owned();
    for record in 0..RECORDS {
        place.put(&format!("{record}.pdf"), "%PDF-1.7");
        table += &format!("{record},{record}.pdf\n");
    }
    place.put("t.csv", table);
    let config = config(RENAMED) + "attachments = { fields = [\"files\"], after = \"move\" }\n";
    let intake = Kept::gated(0);
    let running = place.start(&config, intake.clone()).await;
    intake.arrivals(1).await;
    let first = intake.stored().len();
    assert!(0 < first && first < RECORDS, "in the middle of the file");
    share.goes();
    intake.gate.add_permits(1000);
    let error = running.ended().await.unwrap_err();
    assert_eq!((error.class, error.action), (FaultClass::Missing, Action::Retry { after: None }), "{}", error.chain());
    assert!(error.hint.is_some());
    assert_eq!(intake.stored().len(), first, "no record is held for a file that could not be there");

    share.returns();
    let running = place.start(&config, intake.clone()).await;
    place.arrives("done", "t.csv").await;
    running.stopped().await;
    let expected: Vec<String> = (0..RECORDS).map(|record| record.to_string()).collect();
    assert_eq!(intake.column("no"), expected);
    assert_eq!(place.names("done").len(), RECORDS + 1);
    assert_eq!(place.names("."), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_folder_that_disappears_in_mid_read() {
    a_share_goes_in_mid_read_and_nothing_is_lost_or_taken_twice(|folder| Box::new(Moved(folder))).await;
}

/// Runs in a name space of its own, where anybody may mount.
#[tokio::test(start_paused = true)]
async fn a_share_that_is_unmounted_in_mid_read() {
    const INSIDE: &str = "HISYNC_TEST_IN_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return a_share_goes_in_mid_read_and_nothing_is_lost_or_taken_twice(|folder| Box::new(Mounted::new(folder)))
            .await;
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount"]);
        command
    };
    if !unshare().arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("not run: this system lets nobody mount in a name space");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let status =
        unshare().arg(own).args(["--exact", "a_share_that_is_unmounted_in_mid_read"]).env(INSIDE, "1").status();
    assert!(status.unwrap().success());
}
