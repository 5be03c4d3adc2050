//! One intent: sent, again if that failed and may pass, and its result proposed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bellwether_alert::alert_group::state::Notifications;
use bellwether_alert::alert_group::{self, Command, Intent};
use bellwether_model::{Tenant, Timestamp};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::metrics::NotifierMetrics;
use crate::alerting::AlertGroup;
use crate::alerting::send::{Failure, Notification, Sender};
use crate::env::{Seed, WallClock};

/// Before the second attempt; doubled before each further one.
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(1);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// A message is given up after its group's interval, and not before that time.
const GIVE_UP_MS_MIN: i64 = 60_000;
/// Attempts to propose a result: whoever leads next would send again.
const PROPOSALS_MAX: u32 = 5;
const PROPOSAL_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub struct Delivery {
    pub group: AlertGroup,
    pub sender: Arc<Sender>,
    pub external_url: Arc<str>,
    pub clock: Arc<dyn WallClock>,
    pub metrics: Arc<NotifierMetrics>,
    pub tenant: Tenant,
    pub number: u64,
    pub under_way: UnderWay,
}

/// The numbers of intents that this node is sending, also those of an earlier term: a leader that lost its office and has it
/// again does not send twice.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<Mutex<BTreeSet<u64>>>);

struct Begun<'u>(&'u UnderWay, u64);

impl UnderWay {
    /// Marks one, until the mark is dropped; none if it is marked.
    fn begin(&self, number: u64) -> Option<Begun<'_>> {
        self.0.lock().insert(number).then_some(Begun(self, number))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}

impl Delivery {
    /// Ends when the intent has a result, needs none any more, or is somebody else's.
    pub async fn run(self) {
        let Some(_begun) = self.under_way.begin(self.number) else { return };
        let mut attempt = 0;
        // What says something else by now has taken its place, or nobody is to be told any more.
        while let Some((intent, configured)) = self.wanted() {
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
            sleep(self.pause(attempt)).await;
            attempt += 1;
            if !self.group.leads() {
                return;
            }
        }
    }

    /// The intent and the configuration that it is sent by, while it is to be sent.
    fn wanted(&self) -> Option<(Intent, Result<Arc<Notifications>, String>)> {
        self.group.read(|state| {
            let known = state.tenants.get(&self.tenant)?;
            let intent = known.intents.get(&self.number)?.clone();
            let none = || Err("there is no notification configuration any more".to_owned());
            Some((intent, known.notifications.as_ref().map_or_else(none, |stored| stored.parsed.clone())))
        })
    }

    async fn send(&self, intent: &Intent, notifications: &Notifications) -> Result<(), Failure> {
        let Intent { message, made_at, dedup_key } = intent;
        let receiver = notifications.config.receivers.get(&message.receiver);
        let integration = receiver.and_then(|receiver| receiver.integrations.get(message.integration));
        let Some(integration) = integration.filter(|integration| integration.kind == message.kind) else {
            return Err(Failure::of_settings(format!(
                "receiver {:?} has no such integration any more",
                message.receiver
            )));
        };
        let library = &notifications.library;
        let external_url = &*self.external_url;
        let notification = Notification { integration, message, library, external_url, at: *made_at, dedup_key };
        self.sender.send(&notification).await
    }

    async fn tell(&self, result: alert_group::Delivery) {
        for _ in 0..PROPOSALS_MAX {
            let command = Command::Told { tenant: self.tenant.clone(), intent: self.number, result: result.clone() };
            match self.group.propose(command).await {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(tenant = %self.tenant, intent = self.number, %error, "the result is not noted yet");
                }
            }
            sleep(PROPOSAL_PAUSE).await;
        }
        tracing::warn!(tenant = %self.tenant, intent = self.number, "what became of a notification could not be noted");
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

/// Once its group has been looked at anew: the look after that makes another message of it.
fn give_up_at(intent: &Intent, notifications: Option<&Notifications>) -> Timestamp {
    let interval = notifications.map(|notifications| notifications.config.routes.get(intent.message.route));
    let interval_ms = interval.map_or(GIVE_UP_MS_MIN, |route| route.group_interval_ms.max(GIVE_UP_MS_MIN));
    intent.made_at.saturating_add(interval_ms)
}
