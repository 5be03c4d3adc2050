//! Which intent is sent next. Each integration is a lane of its own, with bounds on how many are under way and how many begin
//! in a second, so that one that hangs or is told a lot keeps no other waiting.

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

/// All lanes that something waits in or is under way in.
#[derive(Default)]
pub struct Lanes {
    lanes: BTreeMap<Lane, Queue>,
    /// The lane that was served last: the others come first.
    last: Option<Lane>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<u64>,
    under_way: usize,
    /// When the next one would begin if all had kept the pace.
    paced: Option<Instant>,
}

impl Lane {
    /// The lane of an intent.
    pub fn of(tenant: &Tenant, intent: &Intent) -> Lane {
        let message = &intent.message;
        Lane { tenant: tenant.clone(), receiver: message.receiver.clone(), integration: message.integration }
    }
}

impl Lanes {
    /// Adds an intent.
    pub fn add(&mut self, lane: Lane, number: u64) {
        self.lanes.entry(lane).or_default().waiting.push_back(number);
    }

    /// The next intent that there is room for, which is under way from now on, and how long it waits first.
    pub fn next(&mut self, now: Instant) -> Option<(Lane, u64, Duration)> {
        let has_room =
            |(_, queue): &(&Lane, &Queue)| !queue.waiting.is_empty() && queue.under_way < LANE_CONCURRENCY_MAX;
        let after = self
            .last
            .iter()
            .flat_map(|last| self.lanes.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)));
        let lane = after.chain(&self.lanes).find(has_room).map(|(lane, _)| lane.clone())?;
        let queue = self.lanes.get_mut(&lane)?;
        let number = queue.waiting.pop_front()?;
        queue.under_way += 1;
        let earliest = queue.paced.map_or(now, |paced| paced.max(now));
        queue.paced = Some(earliest + LANE_PACE);
        let wait = earliest.duration_since(now).saturating_sub(LANE_PACE * LANE_BURST);
        self.last = Some(lane.clone());
        Some((lane, number, wait))
    }

    /// One of a lane is not under way any more.
    pub fn ended(&mut self, lane: &Lane) {
        let Some(queue) = self.lanes.get_mut(lane) else { return };
        queue.under_way = queue.under_way.saturating_sub(1);
        let is_ahead = queue.paced.is_some_and(|paced| paced > Instant::now());
        if queue.under_way == 0 && queue.waiting.is_empty() && !is_ahead {
            self.lanes.remove(lane);
        }
    }

    /// Intents that wait for room.
    pub fn waiting(&self) -> usize {
        self.lanes.values().map(|queue| queue.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use bellwether_alert::notify::config::kinds::Kind;

    use super::*;

    fn lane(receiver: &str) -> Lane {
        let integration = IntegrationAt { kind: Kind::Webhook, number: 0 };
        Lane { tenant: Tenant::default_tenant(), receiver: receiver.to_owned(), integration }
    }

    #[tokio::test(start_paused = true)]
    async fn one_lane_keeps_no_other_waiting() {
        let mut lanes = Lanes::default();
        (0..10).for_each(|number| lanes.add(lane("a"), number));
        (10..12).for_each(|number| lanes.add(lane("b"), number));
        let begun = |lanes: &mut Lanes| -> Vec<u64> {
            std::iter::from_fn(|| lanes.next(Instant::now())).map(|(_, number, _)| number).collect()
        };
        assert_eq!(begun(&mut lanes), [0, 10, 1, 11, 2, 3]);
        lanes.ended(&lane("a"));
        assert_eq!((begun(&mut lanes), lanes.waiting()), (vec![4], 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_keeps_its_pace() {
        let mut lanes = Lanes::default();
        (0..100).for_each(|number| lanes.add(lane("a"), number));
        let mut waits = Vec::new();
        for _ in 0..100 {
            let (lane, _, wait) = lanes.next(Instant::now()).unwrap();
            waits.push(wait);
            lanes.ended(&lane);
        }
        assert_eq!(waits[..20], [Duration::ZERO; 20]);
        assert_eq!((waits[21], waits[99]), (LANE_PACE, LANE_PACE * 79));
        tokio::time::advance(Duration::from_secs(10)).await;
        lanes.add(lane("a"), 100);
        assert_eq!(lanes.next(Instant::now()).unwrap().2, Duration::ZERO);
    }
}
