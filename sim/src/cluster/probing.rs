//! What the server's code asks and tells the simulation in passing: rare ways that a seed has it take, rare places that it
//! came to, and the bug that is planted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_kv::Unsynced;
use bellwether_probe::{Bug, Probe, Seen};

use super::machine::Machine;
use super::schedule::{Ambush, Strike};
use crate::random::Random;

/// A seed switches on each site with this probability, in per cent.
const SITES_ON_PERCENT: u64 = 35;
/// How often a site that is on fires, in per cent, at most.
const FIRES_PERCENT_MAX: u64 = 30;

/// And at least, where the run is about it.
const FIRES_PERCENT_MIN: u64 = 15;

/// One run's answers.
pub struct SimProbe {
    seed: u64,
    /// Sites that are on whatever the seed says.
    wanted: &'static [&'static str],
    planted: Option<Bug>,
    /// Nothing rare is forced any more.
    is_calm: Cell<bool>,
    /// Each site has a stream of its own, so that one more does not shift the others.
    sites: RefCell<BTreeMap<&'static str, Site>>,
    reached: RefCell<BTreeSet<&'static str>>,
    machines: RefCell<Vec<Arc<Machine>>>,
    ambushes: RefCell<Vec<(Ambush, Duration)>>,
    sprung: RefCell<Vec<Sprung>>,
    seen: RefCell<Vec<Seen>>,
}

/// Somebody walked into an ambush.
#[derive(Debug)]
pub struct Sprung {
    /// The machine.
    pub number: usize,
    /// The ambush.
    pub ambush: Ambush,
    /// How long whoever is struck stays down.
    pub lasts: Duration,
}

struct Site {
    random: Random,
    /// Zero where it is off.
    percent: u64,
}

impl SimProbe {
    /// What a seed says, with a bug or without, where some sites are on in any case.
    pub fn new(seed: u64, wanted: &'static [&'static str], planted: Option<Bug>) -> SimProbe {
        SimProbe {
            seed,
            wanted,
            planted,
            is_calm: Cell::new(false),
            sites: RefCell::default(),
            reached: RefCell::default(),
            machines: RefCell::default(),
            ambushes: RefCell::default(),
            sprung: RefCell::default(),
            seen: RefCell::default(),
        }
    }

    /// Those who may be struck.
    pub fn watch(&self, machines: &[Arc<Machine>]) {
        *self.machines.borrow_mut() = machines.to_vec();
    }

    /// Strikes whoever comes to a place next, and keeps it down for so long.
    pub fn lie_in_wait(&self, ambush: Ambush, lasts: Duration) {
        self.ambushes.borrow_mut().push((ambush, lasts));
    }

    /// Who walked into an ambush since this was asked last.
    pub fn sprung(&self) -> Vec<Sprung> {
        self.sprung.take()
    }

    /// What was told since this was asked last.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.take()
    }

    /// Forces nothing from now on.
    pub fn calm(&self) {
        self.is_calm.set(true);
        self.ambushes.borrow_mut().clear();
    }

    /// Where an ambush is laid here, its machine is struck. From this moment on nothing that its process does reaches the disk;
    /// the process itself ends with the step.
    fn spring(&self, mark: &str) {
        let mut ambushes = self.ambushes.borrow_mut();
        let Some(at) = ambushes.iter().position(|(ambush, _)| ambush.at == mark) else { return };
        let machines = self.machines.borrow();
        let Some(machine) = machines.iter().find(|machine| machine.is_here()) else { return };
        let (ambush, lasts) = ambushes.remove(at);
        if ambush.later.is_zero() {
            match ambush.strike {
                Strike::Crash => machine.disk().crash(),
                Strike::PowerLoss(kept) => machine.disk().power_loss(Unsynced::of(kept)),
            }
        }
        self.sprung.borrow_mut().push(Sprung { number: machine.number, ambush, lasts });
    }

    /// Whether the code has come to a place.
    pub fn has_reached(&self, mark: &str) -> bool {
        self.reached.borrow().contains(mark)
    }

    /// The places that the code came to, and the sites that fired.
    pub fn reached_so_far(&self) -> Vec<&'static str> {
        self.reached.borrow().iter().copied().collect()
    }
}

impl Probe for SimProbe {
    fn reached(&self, mark: &'static str) {
        self.reached.borrow_mut().insert(mark);
        self.spring(mark);
    }

    fn tell(&self, seen: Seen) {
        self.seen.borrow_mut().push(seen);
    }

    fn buggify(&self, site: &'static str) -> bool {
        if self.is_calm.get() {
            return false;
        }
        let mut sites = self.sites.borrow_mut();
        let site_now = sites.entry(site).or_insert_with(|| {
            let mut random = Random::of(self.seed, &format!("site {site}"));
            let is_on = random.percent(SITES_ON_PERCENT);
            let percent = 1 + random.below(FIRES_PERCENT_MAX);
            let percent = match self.wanted.contains(&site) {
                true => percent.max(FIRES_PERCENT_MIN),
                false if is_on => percent,
                false => 0,
            };
            Site { random, percent }
        });
        let fires = site_now.percent > 0 && site_now.random.percent(site_now.percent);
        drop(sites);
        if fires {
            self.reached(site);
        }
        fires
    }

    fn planted(&self) -> Option<Bug> {
        self.planted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_switches_sites_on_and_off_and_a_calm_run_forces_nothing() {
        let fires = |seed: u64, site: &'static str| {
            let probe = SimProbe::new(seed, &[], None);
            (0..200).map(|_| probe.buggify(site)).collect::<Vec<bool>>()
        };
        let on = (0..100).filter(|seed| fires(*seed, "here").contains(&true)).count();
        assert!((20..60).contains(&on), "{on}");
        assert_eq!(fires(3, "here"), fires(3, "here"));
        let seed = (0..100).find(|seed| fires(*seed, "here").contains(&true)).unwrap();
        let probe = SimProbe::new(seed, &[], None);
        probe.calm();
        assert!(!(0..200).any(|_| probe.buggify("here")));
    }
}
