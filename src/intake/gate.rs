//! The disk's floor: intake stops while there is still room to finish what was begun (P8).

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Refuses new records while the store's disk is nearly full, and admits them again by itself.
pub struct Gate {
    measure: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    floor_bytes: u64,
    seen: Mutex<Option<(Instant, u64)>>,
}

/// Free space changes slowly; asking the system once a second is often enough.
const REMEMBER: Duration = Duration::from_secs(1);

impl Gate {
    /// Watches the disk that holds `folder`.
    pub fn new(folder: impl Into<PathBuf>, floor_bytes: u64) -> Gate {
        let folder = folder.into();
        Gate::measured(floor_bytes, move || {
            let stat = rustix::fs::statvfs(&folder).ok()?;
            Some(stat.f_bavail.saturating_mul(stat.f_frsize))
        })
    }

    /// Watches what `measure` says is free, in bytes.
    pub fn measured(floor_bytes: u64, measure: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Gate {
        Gate { measure: Box::new(measure), floor_bytes, seen: Mutex::new(None) }
    }

    /// Free bytes on the store's disk; `None` where the system doesn't tell.
    pub fn free_bytes(&self) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((at, free)) = *seen
            && at.elapsed() < REMEMBER
        {
            return Some(free);
        }
        let free = (self.measure)()?;
        *seen = Some((Instant::now(), free));
        Some(free)
    }

    /// Intake stops below so many free bytes.
    pub fn floor_bytes(&self) -> u64 {
        self.floor_bytes
    }

    /// Why nothing may come in now; `None` while there is room.
    pub fn closed(&self) -> Option<String> {
        let free = self.free_bytes()?;
        (free < self.floor_bytes).then(|| {
            let mib = |bytes: u64| bytes / (1024 * 1024);
            format!("{} MiB free on the store's disk, the floor is {} MiB", mib(free), mib(self.floor_bytes))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_above_the_free_space_closes_the_gate() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Gate::new(folder.path(), 0).closed(), None);
        let reason = Gate::new(folder.path(), u64::MAX).closed().unwrap();
        assert!(reason.contains("floor"), "{reason}");
    }
}
