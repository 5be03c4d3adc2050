//! Tells receivers, on the node that leads an alert group.
//!
//! 1. When a group of alerts is due the leader proposes to look at it; what is to be told becomes an *intent* in the alert
//!    group's state.
//! 2. Each intent is sent: at once, or when its integration's earlier ones leave room ([`lanes`]). What fails and may pass is
//!    tried again, until it is late enough that the group is looked at anew.
//! 3. What became of it is proposed; with that the intent is gone.
//!
//! Whoever leads next finds the intents that have no result and sends them: at least once. Twice only if the leader went between
//! the receiver's yes and the commit of that. A leader that stops therefore lets what is under way end before it hands its office
//! over; one that only lost it still finishes what it has begun and says so, for which its successor leaves it a moment.
//!
//! What is told of a group by one way goes one after the other. A message that takes another's place waits until that one's
//! attempt is cut off: it may have been received all the same, but nothing of it is sent any more.
//!
//! Reading order: [`Notifiers`], [`Notifier::run`], [`delivery`] (one intent), [`lanes`] (which one is next).

mod delivery;
mod lanes;
pub mod metrics;
pub mod totals;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::{AlertGroupState, Command};
use bellwether_alert::set_back::SetBack;
use bellwether_model::{Tenant, Timestamp};
use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::AlertGroup;
use super::send::Sender;
use crate::env::{SecretKey, WallClock};
use delivery::Delivery;
use lanes::{Lanes, Turn};
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
/// How long deliveries under way may take when the node stops. Nothing else is told meanwhile.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// Tells the receivers of one alert group's tenants.
pub struct Notifier {
    group: AlertGroup,
    sender: Arc<Sender>,
    external_url: Arc<str>,
    clock: Arc<dyn WallClock>,
    metrics: Arc<NotifierMetrics>,
    totals: Arc<dyn Totals>,
    links: Option<SecretKey>,
}

/// The notifiers of a node's alert groups, running.
pub struct Notifiers {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// What is to be sent, and what is: the latter also since terms that are over.
struct Work {
    term: Option<Term>,
    lanes: Lanes,
    deliveries: JoinSet<Ended>,
    stopped: watch::Receiver<bool>,
}

/// What a leader knows beside the state.
struct Term {
    /// When what the leader before has left is its own no more.
    inherits: Option<Instant>,
    /// Intents below this number are in the lanes, under way, or done.
    seen_until: u64,
}

impl Notifiers {
    /// Has them run.
    pub fn start(notifiers: impl Iterator<Item = Notifier>) -> Notifiers {
        let stop = watch::Sender::new(false);
        let tasks = notifiers.map(|notifier| notifier.run(stop.subscribe())).collect();
        Notifiers { stop, tasks }
    }

    /// Begins nothing more, and lets deliveries under way end, for a bounded time. To be called while this node leads still: what has
    /// no result by then is sent by whoever leads next.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a notifier ended badly");
            }
        }
    }
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
        Notifier { group, sender, external_url: external_url.into(), clock, metrics, totals, links }
    }

    /// Tells them whenever this node leads, until told to stop; what is under way then ends first.
    async fn run(self, mut stopped: watch::Receiver<bool>) {
        let (lanes, deliveries) = (Lanes::default(), JoinSet::new());
        let mut work = Work { term: None, lanes, deliveries, stopped: stopped.clone() };
        tokio::select! {
            biased;
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {}
            () = self.tell(&mut work) => {}
        }
        let ends = async { while work.deliveries.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, ends).await.is_err() {
            tracing::info!(group = self.group.number(), "notifications under way are left to the next leader");
        }
    }

    async fn tell(&self, work: &mut Work) {
        let mut changes = self.group.changes();
        loop {
            changes.mark_unchanged();
            let until = self.look(work).await;
            tokio::select! {
                () = sleep(until) => {}
                _ = changes.changed() => sleep(GATHER).await,
                Some(ended) = work.deliveries.join_next() => ended.iter().for_each(|ended| self.ended(work, ended)),
            }
        }
    }

    /// Does what is to be done now; returns how long there is nothing more, if nothing happens.
    async fn look(&self, work: &mut Work) -> Duration {
        while let Some(ended) = work.deliveries.try_join_next() {
            ended.iter().for_each(|ended| self.ended(work, ended));
        }
        if !self.group.leads() {
            // What is under way ends by itself and is told to whoever leads now.
            if work.term.take().is_some() {
                work.lanes.clear();
                self.metrics.leads(self.group.number(), false);
            }
            return LOOK_INTERVAL;
        }
        if work.term.is_none() {
            self.metrics.leads(self.group.number(), true);
            work.term = Some(self.inherit(&mut work.lanes));
        }
        self.advance().await;
        self.take_in(work);
        self.begin(work);
        self.metrics.waiting(self.group.number(), work.lanes.waiting(), work.deliveries.len());
        let now = self.clock.now_ms();
        let due = self.group.read(|state| state.next().map(|(at, _)| at));
        let until_due = due.map_or(LOOK_INTERVAL, |at| Duration::from_millis(at.saturating_sub(now).max(0) as u64));
        until_due.min(LOOK_INTERVAL).max(GATHER)
    }

    /// A delivery is not under way any more. If its intent is there still, this node had lost the lead, and may have it by now. One that
    /// broke off would do so again: it is left to the next leader, or to what takes its place.
    fn ended(&self, work: &mut Work, Ended { turn, broke_off }: &Ended) {
        work.lanes.ended(turn);
        if *broke_off {
            tracing::error!(group = self.group.number(), intent = turn.number, "a notification broke off");
        } else if work.term.is_some() && self.is_there(turn) {
            work.lanes.add(turn.clone());
        }
    }

    fn is_there(&self, turn: &Turn) -> bool {
        self.group.read(|state| has_intent(state, &turn.lane.tenant, turn.number))
    }

    /// Notes what the leader before has left, which it may have under way for a while.
    fn inherit(&self, lanes: &mut Lanes) -> Term {
        let seen_until = self.group.read(|state| {
            for (tenant, known) in &state.tenants {
                known.intents.iter().for_each(|(number, intent)| lanes.hold(Turn::of(tenant, *number, intent)));
            }
            state.next_intent
        });
        Term { inherits: Some(Instant::now() + HAND_OVER_PAUSE), seen_until }
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

    /// Notes the intents that are new to this leader.
    fn take_in(&self, Work { term, lanes, .. }: &mut Work) {
        let Some(Term { inherits, seen_until }) = term else { return };
        if inherits.take_if(|at| *at <= Instant::now()).is_some() {
            lanes.release();
        }
        *seen_until = self.group.read(|state| {
            for (tenant, known) in &state.tenants {
                let new = known.intents.range(*seen_until..);
                new.for_each(|(number, intent)| lanes.add(Turn::of(tenant, *number, intent)));
            }
            state.next_intent
        });
    }

    /// Begins as many deliveries as there is room for.
    fn begin(&self, Work { lanes, deliveries, stopped, .. }: &mut Work) {
        while deliveries.len() < DELIVERIES_MAX
            && let Some((turn, wait)) = lanes.next(Instant::now())
        {
            if !self.is_there(&turn) {
                lanes.skipped(&turn);
                continue;
            }
            let delivery = Delivery {
                group: self.group.clone(),
                sender: self.sender.clone(),
                external_url: self.external_url.clone(),
                clock: self.clock.clone(),
                metrics: self.metrics.clone(),
                tenant: turn.lane.tenant.clone(),
                number: turn.number,
                stopped: stopped.clone(),
                totals: self.totals.clone(),
                links: self.links.clone(),
            };
            deliveries.spawn(async move {
                // Its way is not to wait for ever for one that broke off.
                let broke_off = AssertUnwindSafe(delivery.run(wait)).catch_unwind().await.is_err();
                Ended { turn, broke_off }
            });
        }
    }
}

/// What has come of a delivery.
struct Ended {
    turn: Turn,
    /// It panicked.
    broke_off: bool,
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

/// Whether an intent has no result yet, and is not dropped.
fn has_intent(state: &AlertGroupState, tenant: &Tenant, number: u64) -> bool {
    state.tenants.get(tenant).is_some_and(|known| known.intents.contains_key(&number))
}
