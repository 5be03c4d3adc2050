//! Points in the code that the simulation knows: places that a sweep of seeds must reach, decisions that a seed may force, deeds
//! that it judges, and bugs that are planted to see whether it catches them.
//!
//! Without the feature `simulation`, which no released binary has, every function here is a constant. With it they ask what
//! [`install`] gave this thread (a simulated cluster is one thread), and are the same constants where nothing was installed.

mod bug;
#[cfg(feature = "simulation")]
mod installed;
mod seen;

pub use bug::Bug;
#[cfg(feature = "simulation")]
pub use installed::{Installed, Probe, install};
pub use seen::Seen;

/// Says that something rare has happened, in words.
#[inline(always)]
pub fn reached(mark: &'static str) {
    #[cfg(feature = "simulation")]
    installed::ask((), |probe| probe.reached(mark));
    #[cfg(not(feature = "simulation"))]
    let _ = mark;
}

/// Tells of something that was done, for who judges it. Nothing is asked where nobody does.
#[inline(always)]
pub fn tell(seen: impl FnOnce() -> Seen) {
    #[cfg(feature = "simulation")]
    installed::ask((), |probe| probe.tell(seen()));
    #[cfg(not(feature = "simulation"))]
    let _ = seen;
}

/// Whether the rare but correct way is to be taken at this place, although nothing demands it. Each call is drawn anew.
#[inline(always)]
pub fn buggify(site: &'static str) -> bool {
    #[cfg(feature = "simulation")]
    return installed::ask(false, |probe| probe.buggify(site));
    #[cfg(not(feature = "simulation"))]
    {
        let _ = site;
        false
    }
}

/// Whether the code is to be wrong in this way.
#[inline(always)]
pub fn planted(bug: Bug) -> bool {
    #[cfg(feature = "simulation")]
    return installed::ask(false, |probe| probe.planted() == Some(bug));
    #[cfg(not(feature = "simulation"))]
    {
        let _ = bug;
        false
    }
}
