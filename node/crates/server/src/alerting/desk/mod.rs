//! What people ask of alerting: rules, alerts, silences, whom to tell. HTTP and gRPC are two languages for this.
//!
//! What somebody writes is checked here, before it is proposed, with all that is wrong with it; what somebody asks is answered from
//! this node's copy. Reading order: the [`Desk`], then [`rules`], [`alerts`], [`history`], [`silences`], [`notifications`].

pub mod acknowledgements;
pub mod alerts;
pub mod history;
pub mod notifications;
pub mod on_call;
mod rules;
mod silences;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bellwether_alert::alert_group::{AlertGroupState, Command, Outcome, Refusal, TenantState};
use bellwether_alert::yaml::problems::Problem;
use bellwether_model::{Tenant, Timestamp};

use super::{Alerting, AlertingError};
use crate::common_group::propose::Unanswered;
use crate::config::Config;
use crate::env::{BoxFuture, SecretKey, WallClock};
pub use rules::{NamedGroup, evaluator};
pub use silences::{NamedSilence, SilenceWish, read_matchers};

/// Where alert groups are: on this node, or in the memory of a test.
pub trait AlertStates: Send + Sync {
    /// Looks at the state of a tenant's alert group.
    fn look(&self, tenant: &Tenant, look: &mut dyn FnMut(&AlertGroupState));

    /// Has a command of a tenant applied; what was changed is seen by the next look.
    fn propose<'a>(&'a self, tenant: &'a Tenant, command: Command) -> BoxFuture<'a, Result<Outcome, AlertingError>>;
}

impl AlertStates for Alerting {
    fn look(&self, tenant: &Tenant, look: &mut dyn FnMut(&AlertGroupState)) {
        self.read(tenant, |state| look(state));
    }

    fn propose<'a>(&'a self, tenant: &'a Tenant, command: Command) -> BoxFuture<'a, Result<Outcome, AlertingError>> {
        Box::pin(Alerting::propose(self, tenant, command))
    }
}

/// See the module. Clones are handles to the same.
#[derive(Clone)]
pub struct Desk {
    states: Arc<dyn AlertStates>,
    clock: Arc<dyn WallClock>,
    key: SecretKey,
    drawn: Arc<AtomicU64>,
    default_interval_ms: i64,
    external_url: Arc<str>,
}

/// Why something was not done. Nothing was changed, unless it is unknown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// A text is wrong.
    #[error("{}", lines(.0))]
    Wrong(Vec<Problem>),
    /// Something else is wrong with what was asked.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It is more than there may be.
    #[error("{0}")]
    Limit(String),
    /// Nobody could do it now; it may have been done.
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
}

/// One problem a line.
fn lines(problems: &[Problem]) -> String {
    let mut text = String::new();
    for (at, problem) in problems.iter().enumerate() {
        let _ = write!(text, "{}{problem}", if at == 0 { "" } else { "\n" });
    }
    text
}

impl From<Refusal> for DeskError {
    fn from(refusal: Refusal) -> DeskError {
        let message = refusal.to_string();
        match refusal {
            Refusal::NoRuleGroup { .. } | Refusal::NoNamespace { .. } | Refusal::NoSilence { .. } => {
                DeskError::NotFound(message)
            }
            Refusal::Limit { .. } => DeskError::Limit(message),
            _ => DeskError::Invalid(message),
        }
    }
}

impl From<AlertingError> for DeskError {
    fn from(error: AlertingError) -> DeskError {
        match error {
            AlertingError::Refused(refusal) => refusal.into(),
            AlertingError::Unanswered(error) => error.into(),
        }
    }
}

impl Desk {
    /// Over alert groups; `key` is what ids are drawn from, `http` where the node's HTTP listens.
    pub fn new(
        states: Arc<dyn AlertStates>,
        clock: Arc<dyn WallClock>,
        key: SecretKey,
        config: &Config,
        http: SocketAddr,
    ) -> Desk {
        let default_interval_ms = i64::try_from(config.alerting.evaluation_interval.as_millis()).unwrap_or(i64::MAX);
        let external_url = config.external_url(http).into();
        Desk { states, clock, key, drawn: Arc::default(), default_interval_ms, external_url }
    }

    /// Wall time.
    pub fn now_ms(&self) -> Timestamp {
        self.clock.now_ms()
    }

    /// Looks at what is known of a tenant, if anything is. To be short.
    fn look<T>(&self, tenant: &Tenant, look: impl FnOnce(Option<&TenantState>) -> T) -> T {
        self.look_at_group(tenant, |state| look(state.tenants.get(tenant)))
    }

    /// The same with all that its alert group knows.
    fn look_at_group<T>(&self, tenant: &Tenant, look: impl FnOnce(&AlertGroupState) -> T) -> T {
        let (mut look, mut seen) = (Some(look), None);
        self.states.look(tenant, &mut |state| seen = look.take().map(|look| look(state)));
        seen.expect("states are looked at once")
    }

    async fn propose(&self, tenant: &Tenant, command: Command) -> Result<Outcome, DeskError> {
        Ok(self.states.propose(tenant, command).await?)
    }

    /// A random UUID (version 4).
    fn draw_id(&self) -> String {
        // Tokens are drawn from the same key, by numbers from below: who knows an id must know nothing of them.
        let number = u64::MAX - self.drawn.fetch_add(1, Ordering::Relaxed);
        let drawn = self.key.draw(number);
        let (first, _) = drawn.split_first_chunk().expect("a hash is longer than an id");
        let bits = u128::from_be_bytes(*first) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
        let digits = format!("{bits:032x}");
        let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &digits[part]);
        format!("{a}-{b}-{c}-{d}-{e}")
    }
}
