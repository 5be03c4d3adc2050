//! One intent: sent, again if that failed and may pass, and its result proposed; cut off once the intent is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::state::Notifications;
use bellwether_alert::alert_group::{self, Command, Intent, LinkKey, TenantState};
use bellwether_alert::notify::Extras;
use bellwether_alert::notify::templates::Library;
use bellwether_alert::state::alerting::ALERT_NAME;
use bellwether_alert::template::TextKind;
use bellwether_model::{Labels, Tenant, Timestamp};
use bellwether_probe::{Bug, planted};
use tokio::sync::watch;
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_64;

use super::metrics::NotifierMetrics;
use super::totals::Totals;
use super::{GATHER, has_intent};
use crate::alerting::send::{Failure, Notification, Sender};
use crate::alerting::{AlertGroup, links};
use crate::common_group::Pauses;
use crate::env::{SecretKey, Seed, WallClock};

/// Before the second attempt; doubled before each further one.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A message is given up after its group's interval, and not before that time.
const GIVE_UP_MS_MIN: i64 = 60_000;
/// That attempts of an integration fail is noted so often.
const FAILING_NOTED_MS: i64 = 30_000;
/// Keys of links are the secrets of numbers from here up to twice this: below it are tokens, and at the other end ids of silences.
const LINK_KEYS: u64 = 1 << 62;
/// Before a result is proposed again that could not be noted; doubled each time.
const PROPOSAL_PAUSE_MIN: Duration = Duration::from_millis(200);
const PROPOSAL_PAUSE_MAX: Duration = Duration::from_secs(5);

/// See the module.
pub struct Delivery {
    pub group: AlertGroup,
    pub sender: Arc<Sender>,
    pub external_url: Arc<str>,
    pub clock: Arc<dyn WallClock>,
    pub metrics: Arc<NotifierMetrics>,
    pub tenant: Tenant,
    pub number: u64,
    /// Whether this node stops.
    pub stopped: watch::Receiver<bool>,
    pub totals: Arc<dyn Totals>,
    /// What keys of links are drawn from; none if it is not known where people reach the cluster.
    pub links: Option<SecretKey>,
}

impl Delivery {
    /// Waits and sends. Ends when the intent has a result or is dropped, whatever is under way then, or when it is somebody else's.
    pub async fn run(self, wait: Duration) {
        tokio::select! {
            biased;
            () = self.gone() => {}
            () = self.deliver(wait) => {}
        }
    }

    /// Ends once the intent has a result, or is dropped: what says something else has taken its place, or nobody is to be told any more.
    async fn gone(&self) {
        let mut changes = self.group.changes();
        while self.is_there() && changes.changed().await.is_ok() {
            sleep(GATHER).await;
            changes.mark_unchanged();
        }
    }

    async fn deliver(&self, wait: Duration) {
        let (mut pause, mut attempt) = (wait, 0);
        while self.may_go_on(pause).await
            && let Some((intent, configured)) = self.wanted()
        {
            let sent = match &configured {
                Ok(notifications) => self.send(&intent, notifications).await,
                Err(problem) => Err(Failure::of_settings(problem.clone())),
            };
            let failure = match sent {
                Ok(()) => {
                    self.succeeded(&intent, attempt);
                    return self.tell(alert_group::Delivery::Sent).await;
                }
                Err(failure) => failure,
            };
            let gives_up = !failure.retryable || self.clock.now_ms() >= give_up_at(&intent, configured.as_deref().ok());
            self.failed(&intent, &failure, attempt, gives_up);
            if gives_up {
                return self.tell(alert_group::Delivery::Failed(failure.to_string())).await;
            }
            self.note_failing(&intent, &failure).await;
            pause = self.pause(attempt);
            attempt += 1;
        }
    }

    /// Whether the next attempt is for this node to make, after a pause. One that stops makes no more.
    async fn may_go_on(&self, pause: Duration) -> bool {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => false,
            () = sleep(pause) => self.group.leads(),
        }
    }

    fn is_there(&self) -> bool {
        self.group.read(|state| has_intent(state, &self.tenant, self.number))
    }

    /// The intent and the configuration that it is sent by, while it is to be sent.
    fn wanted(&self) -> Option<(Intent, Result<Arc<Notifications>, String>)> {
        self.group.read(|state| {
            let known = state.tenants.get(&self.tenant)?;
            let mut intent = known.intents.get(&self.number)?.clone();
            if planted(Bug::KeyOfTheSender) {
                intent.dedup_key.push_str(&self.group.node().to_string());
            }
            let none = || Err("there is no notification configuration any more".to_owned());
            Some((intent, known.notifications.as_ref().map_or_else(none, |stored| stored.parsed.clone())))
        })
    }

    async fn send(&self, intent: &Intent, notifications: &Notifications) -> Result<(), Failure> {
        let Intent { message, made_at, dedup_key } = intent;
        let receiver = notifications.config.receivers.get(&message.receiver);
        let Some(integration) = receiver.and_then(|receiver| receiver.integration(message.integration)) else {
            return Err(Failure::of_settings(format!(
                "receiver {:?} has no such integration any more",
                message.receiver
            )));
        };
        let library = &notifications.library;
        let external_url = &*self.external_url;
        let interval_ms = notifications.config.routes.get(message.route).group_interval_ms;
        let extras = &self.extras(intent, notifications).await;
        let at = *made_at;
        let notification =
            Notification { integration, message, extras, library, external_url, interval_ms, at, dedup_key };
        self.sender.send(&notification).await
    }

    /// What a message says beside its alerts. What cannot be found out is left out: whoever waits for an alert waits for no query.
    async fn extras(&self, intent: &Intent, notifications: &Notifications) -> Extras {
        let Notifications { config, library } = notifications;
        let mut extras = Extras::of(config, &intent.message);
        let summary = config.routes.get(intent.message.route).summary.as_ref();
        if let Some(summary) = summary.filter(|_| extras.summary.is_some()) {
            let total = match &summary.total {
                Some(total) => self.total(intent, (library, &extras), total).await,
                None => None,
            };
            let values = self.group.read(|state| state.tenants.get(&self.tenant).map(|known| values(known, intent)));
            let values = values.unwrap_or_default();
            extras.summary = Some(summary.of(&intent.message, total, &|labels| values.get(labels).copied()));
        }
        if let Some(key) = self.link_key().await {
            let Intent { message, made_at, .. } = intent;
            [extras.acknowledge_url, extras.silence_url] =
                links::of_message(&self.external_url, key, &self.tenant, message, *made_at);
        }
        extras
    }

    /// What links are signed with, if there are links; drawn for the tenant's first message.
    async fn link_key(&self) -> Option<LinkKey> {
        let known = || self.group.read(|state| state.tenants.get(&self.tenant)?.link_key);
        let links = self.links.as_ref()?;
        if let Some(key) = known() {
            return Some(key);
        }
        let number = LINK_KEYS | (xxh3_64(self.tenant.as_str().as_bytes()) & (LINK_KEYS - 1));
        let command = Command::SetLinkKey { tenant: self.tenant.clone(), key: links.draw(number) };
        if let Err(error) = self.group.propose(command).await {
            tracing::debug!(tenant = %self.tenant, %error, "a message has no links");
        }
        known()
    }

    /// How many there are of what is summed up.
    async fn total(&self, intent: &Intent, (library, extras): (&Library, &Extras), total: &str) -> Option<f64> {
        let Intent { message, made_at, .. } = intent;
        let text =
            library.over((message, extras), &self.external_url, *made_at).expand("total", total, TextKind::Plain);
        let asked = match text {
            Ok(text) => self.totals.total(&self.tenant, &text, *made_at).await,
            Err(error) => Err(error.to_string()),
        };
        asked.map_err(|error| tracing::info!(tenant = %self.tenant, %error, "a summary's total is not known")).ok()
    }

    /// Says what became of it until that is noted, whoever leads: before that nothing else is told by its way.
    async fn tell(&self, result: alert_group::Delivery) {
        if planted(Bug::UncommittedResult) {
            return;
        }
        let seed = self.group.seed(&format!("result of notification {}", self.number));
        let mut pauses = Pauses::new(seed, PROPOSAL_PAUSE_MIN, PROPOSAL_PAUSE_MAX);
        let mut is_logged = false;
        while self.is_there() {
            let command = Command::Told { tenant: self.tenant.clone(), intent: self.number, result: result.clone() };
            let told = self.group.propose(command).await;
            if let Err(error) = told
                && !std::mem::replace(&mut is_logged, true)
            {
                tracing::warn!(tenant = %self.tenant, intent = self.number, %error, "what became of a notification is not noted yet");
            }
            // What another node has noted is seen here later.
            if self.is_there() {
                sleep(pauses.next()).await;
            }
        }
    }

    /// Has it known that an attempt failed, unless that is known: many messages may wait for one receiver.
    async fn note_failing(&self, intent: &Intent, failure: &Failure) {
        let key = (intent.message.receiver.clone(), intent.message.integration);
        let known = self.group.read(|state| state.tenants.get(&self.tenant)?.integrations.get(&key)?.failed_at);
        if known.is_some_and(|at| self.clock.now_ms() < at.saturating_add(FAILING_NOTED_MS)) {
            return;
        }
        let (tenant, error) = (self.tenant.clone(), failure.to_string());
        if let Err(error) = self.group.propose(Command::Failing { tenant, intent: self.number, error }).await {
            tracing::debug!(tenant = %self.tenant, intent = self.number, %error, "that an attempt failed is not noted");
        }
    }

    fn succeeded(&self, intent: &Intent, attempt: u32) {
        if attempt > 0 {
            let receiver = &intent.message.receiver;
            tracing::info!(tenant = %self.tenant, %receiver, attempts = attempt + 1, "a receiver is told at last");
        }
        self.metrics.delivered(self.clock.now_ms().saturating_sub(intent.made_at));
    }

    /// Said when it begins and when it ends, so that a receiver that is down does not fill the log.
    fn failed(&self, intent: &Intent, failure: &Failure, attempt: u32, gives_up: bool) {
        let (tenant, group) = (&self.tenant, &intent.message.group_key);
        if gives_up {
            self.metrics.gave_up();
            tracing::warn!(%tenant, %group, attempts = attempt + 1, %failure, "a receiver was not told");
        } else if attempt == 0 {
            tracing::info!(%tenant, %group, %failure, "a receiver is told again later");
        }
    }

    /// Doubled each time, with half of it left to chance.
    fn pause(&self, attempt: u32) -> Duration {
        let pause = RETRY_PAUSE_MIN.saturating_mul(1 << attempt.min(10)).min(RETRY_PAUSE_MAX);
        let Seed(drawn) = self.group.seed(&format!("notification {} attempt {attempt}", self.number));
        let part = (drawn % 1024) as f64 / 1024.0;
        pause.mul_f64(0.5 + part / 2.0)
    }
}

/// The values of a message's alerts that rules have. A rule's alerts have its name, so that the others' are not looked at.
fn values(known: &TenantState, intent: &Intent) -> BTreeMap<Labels, f64> {
    let mut values = BTreeMap::new();
    let names: BTreeSet<&str> = intent.message.firing.iter().filter_map(|alert| alert.labels.get(ALERT_NAME)).collect();
    for group in known.namespaces.values().flat_map(BTreeMap::values) {
        let Ok(parsed) = &group.parsed else { continue };
        for (rule, progress) in parsed.rules.iter().zip(&group.progress.rules) {
            if progress.alerts.is_empty() || !names.contains(rule.name()) {
                continue;
            }
            for alert in &intent.message.firing {
                if let Some(known) = progress.alerts.get(&alert.labels) {
                    values.insert(alert.labels.clone(), known.value);
                }
            }
        }
    }
    values
}

/// Once its group has been looked at anew: the look after that makes another message of it.
fn give_up_at(intent: &Intent, notifications: Option<&Notifications>) -> Timestamp {
    let interval = notifications.map(|notifications| notifications.config.routes.get(intent.message.route));
    let interval_ms = interval.map_or(GIVE_UP_MS_MIN, |route| route.group_interval_ms.max(GIVE_UP_MS_MIN));
    intent.made_at.saturating_add(interval_ms)
}
