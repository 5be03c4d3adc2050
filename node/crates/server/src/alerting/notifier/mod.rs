//! Tells receivers, on the node that leads an alert group.
//!
//! 1. When a group of alerts is due the leader proposes to look at it; what is to be told becomes an *intent* in the alert
//!    group's state.
//! 2. Each intent is sent: at once, or when its integration's earlier ones leave room ([`lanes`]). What fails and may pass is
//!    tried again, until it is late enough that the group is looked at anew.
//! 3. What became of it is proposed; with that the intent is gone.
//!
//! Whoever leads next finds the intents that have no result and sends them: at least once. Twice only if the leader went between
//! the receiver's yes and the commit of that; a leader that only lost its office still finishes what it has begun and says so,
//! for which its successor leaves it a moment.
//!
//! Reading order: [`Notifier::run`], [`delivery`] (one intent), [`lanes`] (which one is next).

mod delivery;
mod lanes;
pub mod metrics;
pub mod totals;

use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{AlertGroupState, Command};
use bellwether_alert::set_back::SetBack;
use bellwether_model::{Tenant, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::AlertGroup;
use super::send::Sender;
use crate::env::{SecretKey, WallClock};
use delivery::{Delivery, UnderWay};
use lanes::{Lane, Lanes};
use metrics::NotifierMetrics;
use totals::Totals;

/// How often is looked whether this node leads, and at the least at what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Changes of the state gather for so long: each look walks over all tenants.
const GATHER: Duration = Duration::from_millis(20);
/// Tenants whose groups are looked at in one go.
const ADVANCES_MAX: usize = 64;
/// Deliveries under way, of one alert group.
pub const DELIVERIES_MAX: usize = 256;
/// What the leader before may still have under way is left to it for so long.
pub const HAND_OVER_PAUSE: Duration = Duration::from_secs(2);
/// How long deliveries under way may take when the node stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Tells the receivers of one alert group's tenants.
pub struct Notifier {
    group: AlertGroup,
    sender: Arc<Sender>,
    external_url: Arc<str>,
    clock: Arc<dyn WallClock>,
    metrics: Arc<NotifierMetrics>,
    under_way: UnderWay,
    totals: Arc<dyn Totals>,
    links: Option<SecretKey>,
}

/// What a leader knows beside the state.
struct Term {
    /// From when on the intents below a number are sent, which the leader before has made.
    inherits: Option<(Instant, u64)>,
    /// Other intents below this number are in the lanes, under way, or done.
    seen_until: u64,
    lanes: Lanes,
    deliveries: JoinSet<Lane>,
}

impl Notifier {
    /// Of one alert group. `external_url` is where people reach the cluster; with `links` messages have some, and their keys are drawn from it.
    pub fn new(
        group: AlertGroup,
        (sender, totals): (Arc<Sender>, Arc<dyn Totals>),
        (external_url, links): (&str, Option<SecretKey>),
        clock: Arc<dyn WallClock>,
        metrics: Arc<NotifierMetrics>,
    ) -> Notifier {
        let under_way = UnderWay::default();
        Notifier { group, sender, external_url: external_url.into(), clock, metrics, under_way, totals, links }
    }

    /// Tells them whenever this node leads, until told to stop.
    pub async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut changes = self.group.changes();
        let mut term: Option<Term> = None;
        loop {
            changes.mark_unchanged();
            let until = self.look(&mut term).await;
            tokio::select! {
                () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => break,
                () = sleep(until) => {}
                _ = changes.changed() => sleep(GATHER).await,
                Some(lane) = ended(&mut term) => {
                    if let Some(term) = &mut term {
                        term.lanes.ended(&lane);
                    }
                }
            }
        }
        let Some(Term { mut deliveries, .. }) = term else { return };
        let ends = async { while deliveries.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, ends).await.is_err() {
            tracing::info!(group = self.group.number(), "notifications under way are left to the next leader");
        }
    }

    /// Does what is to be done now; returns how long there is nothing more, if nothing happens.
    async fn look(&self, term: &mut Option<Term>) -> Duration {
        if !self.group.leads() {
            // What is under way ends by itself and is told to whoever leads now.
            if let Some(Term { mut deliveries, .. }) = term.take() {
                deliveries.detach_all();
                self.metrics.leads(self.group.number(), false);
            }
            return LOOK_INTERVAL;
        }
        if term.is_none() {
            self.metrics.leads(self.group.number(), true);
        }
        let term = term.get_or_insert_with(|| Term::new(self.group.read(|state| state.next_intent)));
        while let Some(lane) = term.deliveries.try_join_next() {
            lane.iter().for_each(|lane| term.lanes.ended(lane));
        }
        self.advance().await;
        self.take_in(term);
        self.begin(term);
        self.metrics.waiting(self.group.number(), term.lanes.waiting(), term.deliveries.len());
        let now = self.clock.now_ms();
        let due = self.group.read(|state| state.next().map(|(at, _)| at));
        let until_due = due.map_or(LOOK_INTERVAL, |at| Duration::from_millis(at.saturating_sub(now).max(0) as u64));
        until_due.min(LOOK_INTERVAL).max(GATHER)
    }

    /// Has the groups looked at whose time has come.
    async fn advance(&self) {
        let due = self.group.read(|state| due(state, self.clock.now_ms()));
        for tenant in due {
            if let Err(error) = self.group.propose(Command::Advance { tenant: tenant.clone() }).await {
                tracing::debug!(group = self.group.number(), %tenant, %error, "groups of alerts are looked at later");
                return;
            }
        }
    }

    /// Notes the intents that are new to this leader, those of the one before once they are not its own any more.
    fn take_in(&self, term: &mut Term) {
        let inherited = match term.inherits {
            Some((at, until)) if at <= Instant::now() => until,
            _ => 0,
        };
        if inherited > 0 {
            term.inherits = None;
        }
        let (lanes, seen_until) = (&mut term.lanes, term.seen_until);
        term.seen_until = self.group.read(|state| {
            for (tenant, known) in &state.tenants {
                let new = known.intents.range(..inherited).chain(known.intents.range(seen_until..));
                new.for_each(|(number, intent)| lanes.add(Lane::of(tenant, intent), *number));
            }
            state.next_intent
        });
    }

    /// Begins as many deliveries as there is room for.
    fn begin(&self, term: &mut Term) {
        while term.deliveries.len() < DELIVERIES_MAX
            && let Some((lane, number, wait)) = term.lanes.next(Instant::now())
        {
            let delivery = Delivery {
                group: self.group.clone(),
                sender: self.sender.clone(),
                external_url: self.external_url.clone(),
                clock: self.clock.clone(),
                metrics: self.metrics.clone(),
                tenant: lane.tenant.clone(),
                number,
                under_way: self.under_way.clone(),
                totals: self.totals.clone(),
                links: self.links.clone(),
            };
            term.deliveries.spawn(async move {
                sleep(wait).await;
                delivery.run().await;
                lane
            });
        }
    }
}

impl Term {
    fn new(next_intent: u64) -> Term {
        Term {
            inherits: Some((Instant::now() + HAND_OVER_PAUSE, next_intent)),
            seen_until: next_intent,
            lanes: Lanes::default(),
            deliveries: JoinSet::new(),
        }
    }
}

/// Tenants with groups that are due, the first ones.
fn due(state: &AlertGroupState, now: Timestamp) -> Vec<Tenant> {
    if SetBack::of(state.time, now).is_some() {
        // Any command sets the time right.
        return state.tenants.keys().take(1).cloned().collect();
    }
    // The state's time may be a little ahead of this node's clock: then it counts.
    let now = now.max(state.time);
    let is_due = |next: Option<Timestamp>| next.is_some_and(|next| next <= now);
    let due = state.tenants.iter().filter(|(_, known)| is_due(known.next())).map(|(tenant, _)| tenant.clone());
    due.take(ADVANCES_MAX).collect()
}

/// The next delivery that ends; never, without any.
async fn ended(term: &mut Option<Term>) -> Option<Lane> {
    match term {
        Some(term) if !term.deliveries.is_empty() => term.deliveries.join_next().await.and_then(Result::ok),
        _ => std::future::pending().await,
    }
}
