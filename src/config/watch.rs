//! Notices that files of the configuration have changed.
//!
//! By looking, not by being told: hospitals keep configurations on shares and in mounted folders, where the system
//! tells of changes late, twice or not at all. A change counts once two looks have seen the same.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Config;
use connector_api::Secret;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(2);

/// When a file was written last and how long it is; `None` where it is not there.
type Stamp = Option<(Option<SystemTime>, u64)>;

/// Looks at the files of a configuration.
#[derive(Debug)]
pub struct FileWatch {
    files: Vec<PathBuf>,
    seen: Vec<Stamp>,
}

impl FileWatch {
    /// Looks at every file that a configuration was read from, and at those of its secrets, as they are now.
    pub async fn new(config: &Config) -> FileWatch {
        let secrets = config.secrets.iter().filter_map(|place| match &place.secret {
            Secret::File(file) => Some(config.base_dir.join(file)),
            _ => None,
        });
        let mut files: Vec<PathBuf> = config.files.iter().cloned().chain(secrets).collect();
        files.sort();
        files.dedup();
        let seen = stamps(files.clone()).await;
        FileWatch { files, seen }
    }

    /// Returns when a file has changed, and then stayed as it is for a moment. May be dropped at any time.
    pub async fn changed(&mut self) {
        let mut before: Option<Vec<Stamp>> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            let now = stamps(self.files.clone()).await;
            if now == self.seen {
                before = None;
            } else if before.as_ref() == Some(&now) {
                self.seen = now;
                return;
            } else {
                before = Some(now);
            }
        }
    }
}

async fn stamps(files: Vec<PathBuf>) -> Vec<Stamp> {
    let look = move || {
        let stamp = |file: &PathBuf| std::fs::metadata(file).ok().map(|found| (found.modified().ok(), found.len()));
        files.iter().map(stamp).collect()
    };
    // On a share that hangs, this look waits and nothing else does.
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}
