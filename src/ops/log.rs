//! Log files: where they are, when a new one is begun, how many are kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::clock::Clock;

/// The `[log]` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The log file, beside what goes to stderr (the journal, under systemd). Relative to the configuration file. None
    /// where left out.
    #[schemars(length(min = 1))]
    pub file: Option<String>,
    /// How lines of the file look.
    pub format: Format,
    /// A new file is begun when this one has so many bytes.
    #[schemars(range(min = 65_536))]
    pub max_bytes: u64,
    /// A new file is begun when this one is so many hours old.
    #[schemars(range(min = 1, max = 8_760))]
    pub max_age_hours: u64,
    /// So many older files are kept: `hisync.log.1` is the newest of them.
    #[schemars(range(min = 0, max = 1_000))]
    pub keep: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { file: None, format: Format::default(), max_bytes: 50 << 20, max_age_hours: 7 * 24, keep: 8 }
    }
}

/// How lines of a log file look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    #[default]
    Json,
    /// For people.
    Human,
}

/// Makes the log say more or less: a level, or `None` for that of the start.
type Control = Box<dyn Fn(Option<&str>) + Send + Sync>;

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Says how the level of the log is changed while the process runs. The first one counts.
pub fn set_control(control: impl Fn(Option<&str>) + Send + Sync + 'static) {
    let _ = CONTROL.set(Box::new(control));
}

/// Logs at a level (`debug`), or as at the start of the process. Nothing happens where nobody logs.
pub fn set_level(level: Option<&str>) {
    if let Some(control) = CONTROL.get() {
        control(level);
    }
}

/// A log file that begins anew by size and age. Clones share it.
#[derive(Clone, Debug)]
pub struct Rotating(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    max_bytes: u64,
    max_age: Duration,
    keep: u32,
    clock: Clock,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    begun: DateTime<Utc>,
}

impl Rotating {
    /// Opens the file for more; its folder is made where it is missing.
    pub fn open(settings: &Settings, path: PathBuf, clock: Clock) -> io::Result<Rotating> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let Settings { max_bytes, keep, max_age_hours, .. } = *settings;
        let max_age = Duration::from_secs(max_age_hours.saturating_mul(3600));
        let mut inner = Inner { path, max_bytes, max_age, keep, clock, open: None };
        inner.opened()?;
        Ok(Rotating(Arc::new(Mutex::new(inner))))
    }
}

impl Inner {
    fn opened(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            let found = file.metadata()?;
            // The age of a file that was begun by an earlier run is not written anywhere; its creation is near enough.
            let begun = found.created().map_or_else(|_| self.clock.now(), DateTime::<Utc>::from);
            self.open = Some(Open { file, bytes: found.len(), begun });
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("the log file is not open"))
    }

    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let (now, max_bytes, max_age) = (self.clock.now(), self.max_bytes, self.max_age);
        let open = self.opened()?;
        let full = open.bytes > 0 && open.bytes + line.len() as u64 > max_bytes;
        let old = open.bytes > 0 && (now - open.begun).to_std().is_ok_and(|age| age > max_age);
        if full || old {
            // Where a file can't be renamed (somebody has it open, on Windows), the same one goes on: lines count more.
            let _ = self.rotate();
        }
        let open = self.opened()?;
        open.file.write_all(line)?;
        open.bytes += line.len() as u64;
        Ok(())
    }

    /// `log` becomes `log.1`, `log.1` becomes `log.2`; the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        self.open = None;
        let numbered = |n: u32| numbered(&self.path, n);
        let ignore_missing = |done: io::Result<()>| match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        if self.keep == 0 {
            return ignore_missing(std::fs::remove_file(&self.path));
        }
        ignore_missing(std::fs::remove_file(numbered(self.keep)))?;
        for n in (1..self.keep).rev() {
            ignore_missing(std::fs::rename(numbered(n), numbered(n + 1)))?;
        }
        ignore_missing(std::fs::rename(&self.path, numbered(1)))?;
        self.opened()?.begun = self.clock.now();
        Ok(())
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

impl Write for Rotating {
    /// Takes whole lines: the layer that writes hands over one at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(line)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.open.as_mut().map_or(Ok(()), |open| open.file.flush())
    }
}

/// The end of a log, at most so many bytes of it, from the file and the one before it; whole lines.
pub fn tail(path: &Path, max_bytes: u64) -> io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut text = String::new();
    for path in [numbered(path, 1), path.to_owned()] {
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let length = file.metadata()?.len();
        let skip = length.saturating_sub(max_bytes);
        file.seek(SeekFrom::Start(skip))?;
        let mut bytes = Vec::new();
        file.take(max_bytes).read_to_end(&mut bytes)?;
        let part = String::from_utf8_lossy(&bytes);
        let from = if skip > 0 { part.find('\n').map_or(part.len(), |at| at + 1) } else { 0 };
        text.push_str(&part[from..]);
    }
    let cut = text.len().saturating_sub(usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let from =
        if cut > 0 { text.bytes().skip(cut).position(|b| b == b'\n').map_or(text.len(), |at| cut + at + 1) } else { 0 };
    Ok(text[from..].to_owned())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn lines(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_full_or_old_file_makes_room_for_a_new_one_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/hisync.log");
        // The system gives the first file its age.
        let clock = Clock::manual(Clock::system().now());
        let settings = Settings { max_bytes: 10, max_age_hours: 24, keep: 2, ..Settings::default() };
        let mut log = Rotating::open(&settings, path.clone(), clock.clone()).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            log.write_all(line.as_bytes()).unwrap();
        }
        assert_eq!(lines(&path), ["four"]);
        assert_eq!(lines(&numbered(&path, 1)), ["three"]);
        assert_eq!(lines(&numbered(&path, 2)), ["one", "two"]);
        clock.set(clock.now() + TimeDelta::hours(25));
        log.write_all(b"five\n").unwrap();
        assert_eq!(lines(&path), ["five"]);
        assert_eq!(lines(&numbered(&path, 2)), ["three"]);
        assert!(!numbered(&path, 3).exists());
        assert_eq!(tail(&path, 100).unwrap(), "four\nfive\n");
        assert_eq!(tail(&path, 7).unwrap(), "five\n");
        // A new run goes on in the same file.
        drop(log);
        Rotating::open(&settings, path.clone(), Clock::system()).unwrap().write_all(b"six\n").unwrap();
        assert_eq!(lines(&path), ["five", "six"]);
    }
}
