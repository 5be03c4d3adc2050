//! Whether there is room on the disk. Writes stop well before it is full, so that Raft's log never meets the end; the
//! ballast keeps room to flush and purge even if somebody else fills the disk.

use std::sync::Arc;

use crate::config::{ByteSize, StorageConfig};
use crate::env::{DiskSpace, Volume};

/// Writes are taken again once there is this fraction of the watermark above it.
const HYSTERESIS: u64 = 16;
/// The ballast is given up when the free space falls under this fraction of the watermark.
const BALLAST_AT: u64 = 4;

/// Looks at the volume, again and again.
#[derive(Clone)]
pub struct DiskWatch {
    volume: Arc<dyn Volume>,
    min_free_bytes: u64,
    min_free_percent: u64,
    ballast_bytes: u64,
    refusing: bool,
    /// `None` until the first change: an earlier process may have left a ballast.
    has_ballast: Option<bool>,
}

/// What a look says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why writes must be refused, if they must.
    pub refuse: Option<String>,
}

impl DiskWatch {
    /// As configured.
    pub fn new(config: &StorageConfig, volume: Arc<dyn Volume>) -> DiskWatch {
        DiskWatch {
            volume,
            min_free_bytes: config.min_free_bytes.0,
            min_free_percent: u64::from(config.min_free_percent),
            ballast_bytes: config.ballast_bytes.0,
            refusing: false,
            has_ballast: None,
        }
    }

    /// Looks once: keeps or gives up the ballast, and says whether writes may go on. Blocks.
    pub fn look(&mut self) -> Verdict {
        let space = match self.volume.space() {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "the free space of the disk is not known");
                return Verdict::default();
            }
        };
        let watermark = self.watermark(space);
        let resume_at = watermark + watermark / HYSTERESIS;
        self.keep_ballast(space.free_bytes, watermark, resume_at);
        self.refusing = space.free_bytes < if self.refusing { resume_at } else { watermark };
        let refuse = self.refusing.then(|| {
            let needed = if self.refusing { resume_at } else { watermark };
            format!(
                "the disk is nearly full: {} free of {}, writes need {}; reads go on, and writes once there is room",
                megabytes(space.free_bytes),
                megabytes(space.total_bytes),
                megabytes(needed)
            )
        });
        Verdict { refuse }
    }

    fn watermark(&self, space: DiskSpace) -> u64 {
        self.min_free_bytes.max(space.total_bytes / 100 * self.min_free_percent)
    }

    fn keep_ballast(&mut self, free_bytes: u64, watermark: u64, resume_at: u64) {
        let is_needed = free_bytes < watermark / BALLAST_AT;
        let has_room = free_bytes > resume_at.saturating_add(self.ballast_bytes);
        let wanted = match self.has_ballast {
            Some(true) | None if is_needed => false,
            Some(false) | None if has_room => true,
            _ => return,
        };
        if self.ballast_bytes == 0 {
            return;
        }
        match self.volume.reserve(if wanted { self.ballast_bytes } else { 0 }) {
            Ok(()) => {
                self.has_ballast = Some(wanted);
                if !wanted {
                    tracing::warn!(freed = %ByteSize(self.ballast_bytes), "the ballast was given up to make room");
                }
            }
            Err(error) => tracing::warn!(%error, wanted, "the ballast could not be changed"),
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io;

    /// Free bytes, ballast bytes.
    struct FakeVolume(Mutex<(u64, u64)>);

    impl Volume for FakeVolume {
        fn space(&self) -> io::Result<DiskSpace> {
            Ok(DiskSpace { free_bytes: self.0.lock().0, total_bytes: 1000 << 20 })
        }

        fn reserve(&self, bytes: u64) -> io::Result<()> {
            let (free, ballast) = &mut *self.0.lock();
            *free = *free + *ballast - bytes;
            *ballast = bytes;
            Ok(())
        }
    }

    fn watch() -> (Arc<FakeVolume>, DiskWatch) {
        let volume = Arc::new(FakeVolume(Mutex::new((800 << 20, 0))));
        let config = StorageConfig {
            min_free_bytes: ByteSize(160 << 20),
            min_free_percent: 5,
            ballast_bytes: ByteSize(100 << 20),
            ..crate::Config::default().storage
        };
        (volume.clone(), DiskWatch::new(&config, volume))
    }

    #[test]
    fn writes_stop_below_the_watermark_and_resume_above_it() {
        let (volume, mut watch) = watch();
        assert_eq!(watch.look(), Verdict::default());
        volume.0.lock().0 = 159 << 20;
        let reason = watch.look().refuse.unwrap();
        assert!(
            reason.starts_with("the disk is nearly full: 159.0 MB free of 1000.0 MB, writes need 170.0 MB"),
            "{reason}"
        );
        volume.0.lock().0 = 165 << 20;
        assert!(watch.look().refuse.is_some(), "just above the watermark is not enough");
        volume.0.lock().0 = 171 << 20;
        assert_eq!(watch.look(), Verdict::default());
    }

    #[test]
    fn the_larger_of_bytes_and_per_cent_holds() {
        let (volume, mut watch) = watch();
        watch.min_free_percent = 50;
        volume.0.lock().0 = 400 << 20;
        assert!(watch.look().refuse.is_some());
    }

    #[test]
    fn a_ballast_of_an_earlier_process_is_given_up_as_well() {
        let (volume, mut watch) = watch();
        *volume.0.lock() = (30 << 20, 100 << 20);
        watch.look();
        assert_eq!(*volume.0.lock(), (130 << 20, 0));
    }

    #[test]
    fn the_ballast_goes_when_the_disk_is_really_full_and_comes_back() {
        let (volume, mut watch) = watch();
        watch.look();
        assert_eq!(volume.0.lock().1, 100 << 20);
        volume.0.lock().0 = 30 << 20;
        watch.look();
        assert_eq!(*volume.0.lock(), (130 << 20, 0));
        volume.0.lock().0 = 200 << 20;
        watch.look();
        assert_eq!(volume.0.lock().1, 0, "there is not room for it yet");
        volume.0.lock().0 = 300 << 20;
        watch.look();
        assert_eq!(volume.0.lock().1, 100 << 20);
    }
}
