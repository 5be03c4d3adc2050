//! Whether there is room on the disk. Writes stop well before it is full, so that Raft's log never meets the end; the
//! ballast keeps room to flush and purge even if somebody else fills the disk, and its last part room for the next start.

use std::sync::Arc;

use crate::config::{ByteSize, StorageConfig};
use crate::env::{DiskSpace, Volume};

/// Writes are taken again once there is this fraction of the watermark above it.
const HYSTERESIS: u64 = 16;
/// The ballast is given up when the free space falls under this fraction of the watermark.
const BALLAST_AT: u64 = 4;
/// This much of the ballast is kept for a start: engines write a little when they open.
const START_ROOM_BYTES: u64 = 16 << 20;

/// Looks at the volume, again and again.
#[derive(Clone)]
pub struct DiskWatch {
    volume: Arc<dyn Volume>,
    min_free_bytes: u64,
    min_free_percent: u64,
    ballast_bytes: u64,
    refusing: bool,
    /// `None` until the first change: an earlier process may have left a ballast.
    held: Option<Held>,
}

/// How much of the ballast there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Nothing,
    StartRoom,
    Everything,
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
            held: None,
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

    /// Gives up the whole ballast if there is too little room to start. Blocks.
    pub fn make_room(&mut self) {
        match self.volume.space() {
            Ok(space) if space.free_bytes < START_ROOM_BYTES => self.hold(Held::Nothing),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the free space of the disk is not known"),
        }
    }

    fn keep_ballast(&mut self, free_bytes: u64, watermark: u64, resume_at: u64) {
        let is_needed = free_bytes < watermark / BALLAST_AT;
        let has_room = free_bytes > resume_at.saturating_add(self.ballast_bytes);
        let has_start_room = free_bytes > 2 * START_ROOM_BYTES;
        match self.held {
            Some(Held::Everything) | None if is_needed => self.hold(Held::StartRoom),
            Some(Held::Nothing | Held::StartRoom) | None if has_room => self.hold(Held::Everything),
            Some(Held::Nothing) if has_start_room => self.hold(Held::StartRoom),
            _ => {}
        }
    }

    fn hold(&mut self, wanted: Held) {
        if self.ballast_bytes == 0 {
            return;
        }
        let bytes = match wanted {
            Held::Nothing => 0,
            Held::StartRoom => START_ROOM_BYTES.min(self.ballast_bytes),
            Held::Everything => self.ballast_bytes,
        };
        match self.volume.reserve(bytes) {
            Ok(()) => {
                if wanted < Held::Everything && self.held.is_none_or(|held| held > wanted) {
                    tracing::warn!(left = %ByteSize(bytes), "the ballast was given up to make room");
                }
                self.held = Some(wanted);
            }
            Err(error) => {
                tracing::warn!(%error, ?wanted, "the ballast could not be changed");
                // What there was is given up before something else is taken.
                self.held = Some(Held::Nothing);
            }
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
            *free += std::mem::take(ballast);
            if bytes > *free {
                return Err(io::Error::other("no space"));
            }
            *free -= bytes;
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
        assert_eq!(*volume.0.lock(), (114 << 20, 16 << 20));
    }

    #[test]
    fn a_start_on_a_full_disk_takes_the_last_of_the_ballast_which_comes_back() {
        let (volume, mut watch) = watch();
        watch.look();
        for free in [30 << 20, 0] {
            volume.0.lock().0 = free;
            watch.make_room();
            watch.look();
        }
        // Somebody else took what had been given up, and the last part with it.
        assert_eq!(*volume.0.lock(), (16 << 20, 0));
        assert!(watch.look().refuse.is_some());
        assert_eq!(volume.0.lock().1, 0);
        volume.0.lock().0 = 40 << 20;
        watch.look();
        assert_eq!(*volume.0.lock(), (24 << 20, 16 << 20));
    }

    #[test]
    fn the_ballast_goes_when_the_disk_is_really_full_and_comes_back() {
        let (volume, mut watch) = watch();
        watch.look();
        assert_eq!(volume.0.lock().1, 100 << 20);
        volume.0.lock().0 = 30 << 20;
        watch.look();
        assert_eq!(*volume.0.lock(), (114 << 20, 16 << 20));
        volume.0.lock().0 = 200 << 20;
        watch.look();
        assert_eq!(volume.0.lock().1, 16 << 20, "there is not room for it yet");
        volume.0.lock().0 = 300 << 20;
        watch.look();
        assert_eq!(volume.0.lock().1, 100 << 20);
    }
}
