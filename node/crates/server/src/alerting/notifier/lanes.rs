//! Which intent is sent next. Each integration is a lane of its own, with bounds on how many are under way and how many begin
//! in a second, so that one that hangs or is told a lot keeps no other waiting. What is told of one group goes one after the
//! other: an end that overtook its begin would leave the receiver with an alert that nobody ends.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bellwether_alert::alert_group::Intent;
use bellwether_alert::notify::config::IntegrationAt;
use bellwether_model::Tenant;
use tokio::time::Instant;

/// Deliveries under way by one integration.
pub const LANE_CONCURRENCY_MAX: usize = 4;
/// Between the begins of deliveries by one integration, once [`LANE_BURST`] have begun at a time.
const LANE_PACE: Duration = Duration::from_millis(50);
/// Deliveries that may begin at a time after a rest.
const LANE_BURST: u32 = 20;

/// An integration of a tenant's receiver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Whose.
    pub tenant: Tenant,
    /// The receiver's name.
    pub receiver: String,
    /// Which of the receiver's.
    pub integration: IntegrationAt,
}

/// An intent, as far as its turn is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// By which integration it goes.
    pub lane: Lane,
    /// Of which group it tells: [`Way::group_key`](bellwether_alert::notify::dispatch::Way).
    pub group_key: String,
    /// Its number.
    pub number: u64,
}

/// All lanes that something waits in or is under way in.
#[derive(Default)]
pub struct Lanes {
    lanes: BTreeMap<Lane, Queue>,
    /// The lane that was served last: the others come first.
    last: Option<Lane>,
    /// Ways by which the leader before may be telling something, in the order of what waits for them.
    held: Vec<(Lane, String)>,
}

#[derive(Default)]
struct Queue {
    /// By group.
    // Invariant: each has something that waits, or is not free.
    ways: BTreeMap<String, WayState>,
    /// The groups of which something is to be told that could be at once.
    // Invariant: those whose way is free and has something that waits.
    waiting: VecDeque<String>,
    under_way: usize,
    /// When the next one would begin if all had kept the pace.
    paced: Option<Instant>,
}

/// Of a group, by an integration.
#[derive(Default)]
struct WayState {
    /// What waits for it: the latest, for that takes the place of those before.
    next: Option<u64>,
    is_under_way: bool,
    is_held: bool,
}

impl Turn {
    /// An intent's.
    pub fn of(tenant: &Tenant, number: u64, intent: &Intent) -> Turn {
        let way = intent.message.way();
        let lane = Lane { tenant: tenant.clone(), receiver: way.receiver, integration: way.integration };
        Turn { lane, group_key: way.group_key, number }
    }
}

impl Lanes {
    /// Adds an intent. One of the same way that waits still is gone.
    pub fn add(&mut self, turn: Turn) {
        let queue = self.lanes.entry(turn.lane).or_default();
        let way = queue.ways.entry(turn.group_key.clone()).or_default();
        let is_first = way.next.is_none();
        way.next = way.next.max(Some(turn.number));
        if is_first && way.is_free() {
            queue.waiting.push_back(turn.group_key);
        }
    }

    /// Adds an intent that the leader before may have under way: it and what follows by its way wait for [`Lanes::release`].
    pub fn hold(&mut self, turn: Turn) {
        let way = self.lanes.entry(turn.lane.clone()).or_default().ways.entry(turn.group_key.clone()).or_default();
        way.is_held = true;
        self.held.push((turn.lane.clone(), turn.group_key.clone()));
        self.add(turn);
    }

    /// The leader before has nothing under way any more.
    pub fn release(&mut self) {
        for (lane, group_key) in std::mem::take(&mut self.held) {
            if let Some(queue) = self.lanes.get_mut(&lane) {
                queue.change(group_key, |way| way.is_held = false);
            }
        }
    }

    /// Nothing is to begin any more. What is under way is so until it has [ended](Lanes::ended).
    pub fn clear(&mut self) {
        self.held.clear();
        self.lanes.retain(|_, queue| {
            queue.waiting.clear();
            queue.ways.retain(|_, way| {
                (way.next, way.is_held) = (None, false);
                way.is_under_way
            });
            queue.is_needed()
        });
    }

    /// The next intent that there is room for, which is under way from now on, and how long it waits first.
    pub fn next(&mut self, now: Instant) -> Option<(Turn, Duration)> {
        let has_room =
            |(_, queue): &(&Lane, &Queue)| !queue.waiting.is_empty() && queue.under_way < LANE_CONCURRENCY_MAX;
        let after = self
            .last
            .iter()
            .flat_map(|last| self.lanes.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)));
        let lane = after.chain(&self.lanes).find(has_room).map(|(lane, _)| lane.clone())?;
        let queue = self.lanes.get_mut(&lane)?;
        let group_key = queue.waiting.pop_front()?;
        let way = queue.ways.get_mut(&group_key)?;
        let number = way.next.take()?;
        way.is_under_way = true;
        queue.under_way += 1;
        let earliest = queue.paced.map_or(now, |paced| paced.max(now));
        queue.paced = Some(earliest + LANE_PACE);
        let wait = earliest.duration_since(now).saturating_sub(LANE_PACE * LANE_BURST);
        self.last = Some(lane.clone());
        Some((Turn { lane, group_key, number }, wait))
    }

    /// One that was to begin has no intent any more: it takes no time of those that have.
    pub fn skipped(&mut self, turn: &Turn) {
        if let Some(queue) = self.lanes.get_mut(&turn.lane) {
            queue.paced = queue.paced.and_then(|paced| paced.checked_sub(LANE_PACE));
        }
        self.ended(turn);
    }

    /// One is not under way any more.
    pub fn ended(&mut self, turn: &Turn) {
        let Some(queue) = self.lanes.get_mut(&turn.lane) else { return };
        queue.under_way = queue.under_way.saturating_sub(1);
        queue.change(turn.group_key.clone(), |way| way.is_under_way = false);
        if !queue.is_needed() {
            self.lanes.remove(&turn.lane);
        }
    }

    /// Intents that wait.
    pub fn waiting(&self) -> usize {
        self.held.len() + self.lanes.values().map(|queue| queue.waiting.len()).sum::<usize>()
    }
}

impl Queue {
    /// Frees a way, of which something may wait.
    fn change(&mut self, group_key: String, free: impl FnOnce(&mut WayState)) {
        let Some(way) = self.ways.get_mut(&group_key) else { return };
        let was_free = way.is_free();
        free(way);
        match (way.is_free(), way.next) {
            (true, Some(_)) if !was_free => self.waiting.push_back(group_key),
            (true, None) => drop(self.ways.remove(&group_key)),
            _ => {}
        }
    }

    fn is_needed(&self) -> bool {
        let is_ahead = self.paced.is_some_and(|paced| paced > Instant::now());
        is_ahead || !self.ways.is_empty()
    }
}

impl WayState {
    fn is_free(&self) -> bool {
        !(self.is_under_way || self.is_held)
    }
}

#[cfg(test)]
mod tests {
    use bellwether_alert::notify::config::kinds::Kind;

    use super::*;

    fn turn(receiver: &str, group: u64, number: u64) -> Turn {
        let integration = IntegrationAt { kind: Kind::Webhook, number: 0 };
        let lane = Lane { tenant: Tenant::default_tenant(), receiver: receiver.to_owned(), integration };
        Turn { lane, group_key: format!("group {group}"), number }
    }

    /// The numbers of what begins now.
    fn begun(lanes: &mut Lanes) -> Vec<u64> {
        std::iter::from_fn(|| lanes.next(Instant::now())).map(|(turn, _)| turn.number).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_lane_keeps_no_other_waiting() {
        let mut lanes = Lanes::default();
        (0..10).for_each(|number| lanes.add(turn("a", number, number)));
        (10..12).for_each(|number| lanes.add(turn("b", number, number)));
        assert_eq!(begun(&mut lanes), [0, 10, 1, 11, 2, 3]);
        lanes.ended(&turn("a", 0, 0));
        assert_eq!((begun(&mut lanes), lanes.waiting()), (vec![4], 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_keeps_its_pace() {
        let mut lanes = Lanes::default();
        (0..100).for_each(|number| lanes.add(turn("a", number, number)));
        let mut waits = Vec::new();
        for _ in 0..100 {
            let (turn, wait) = lanes.next(Instant::now()).unwrap();
            waits.push(wait);
            lanes.ended(&turn);
        }
        assert_eq!(waits[..20], [Duration::ZERO; 20]);
        assert_eq!((waits[21], waits[99]), (LANE_PACE, LANE_PACE * 79));
        tokio::time::advance(Duration::from_secs(10)).await;
        lanes.add(turn("a", 100, 100));
        assert_eq!(lanes.next(Instant::now()).unwrap().1, Duration::ZERO);
        (200..300).for_each(|number| lanes.add(turn("a", number, number)));
        for _ in 0..99 {
            let (turn, _) = lanes.next(Instant::now()).unwrap();
            lanes.skipped(&turn);
        }
        assert_eq!(lanes.next(Instant::now()).unwrap().1, Duration::ZERO, "what is gone takes no time");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_told_of_a_group_goes_one_after_the_other() {
        let mut lanes = Lanes::default();
        lanes.add(turn("a", 1, 1));
        assert_eq!(begun(&mut lanes), [1]);
        lanes.add(turn("a", 1, 2));
        lanes.add(turn("a", 2, 3));
        lanes.add(turn("b", 1, 4));
        assert_eq!(begun(&mut lanes), [4, 3], "other groups and receivers wait for nothing");
        lanes.add(turn("a", 1, 5));
        lanes.ended(&turn("a", 1, 1));
        assert_eq!(begun(&mut lanes), [5], "the last one is in the place of those before");
        lanes.ended(&turn("a", 1, 5));
        assert_eq!((begun(&mut lanes), lanes.waiting()), (vec![], 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_leader_before_may_be_telling_is_overtaken_by_nothing() {
        let mut lanes = Lanes::default();
        (1..=3).for_each(|number| lanes.hold(turn("a", number, number)));
        lanes.add(turn("a", 1, 4));
        lanes.add(turn("a", 5, 5));
        assert_eq!((begun(&mut lanes), lanes.waiting()), (vec![5], 3));
        lanes.release();
        assert_eq!(begun(&mut lanes), [4, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_keeps_its_way_when_all_else_is_cleared() {
        let mut lanes = Lanes::default();
        (1..=6).for_each(|number| lanes.add(turn("a", number, number)));
        assert_eq!(begun(&mut lanes), [1, 2, 3, 4]);
        lanes.clear();
        assert_eq!((begun(&mut lanes), lanes.waiting()), (vec![], 0));
        (1..=6).for_each(|number| lanes.hold(turn("a", number, number)));
        lanes.release();
        assert!(begun(&mut lanes).is_empty(), "four are under way still");
        lanes.ended(&turn("a", 1, 1));
        lanes.ended(&turn("a", 2, 2));
        assert_eq!(begun(&mut lanes), [5, 6], "the first ones are behind them now");
    }
}
