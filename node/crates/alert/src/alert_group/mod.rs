//! An alert group: all that is known of the alerting of its tenants, replicated.
//!
//! Each tenant belongs to one alert group, whose log orders everything: rules, what evaluations saw, alerts from outside,
//! silences, the notification configuration, and what was told to whom. [`apply`] makes the next [`AlertGroupState`] from one
//! [`Request`] of the log; it is a function of the two and nothing else, so that all replicas agree.
//!
//! Reading order: [`command`] (what can be wanted), [`state`] (what is known), [`evaluated`] (what an evaluation tells),
//! [`apply`] and the files under it, one for each kind of command; [`requests`], [`replies`] and [`states`] are their bytes
//! (`node/docs/format/alert-group.md`).
//! **Must never know** a clock, randomness, who evaluates, or how a message is sent.

mod apply;
mod codec;
pub mod command;
pub mod evaluated;
pub mod limits;
pub mod state;

pub use apply::apply;
pub use codec::{DecodeError, replies, requests, states};
pub use command::{Command, Delivery, Limited, Outcome, ReceivedAlert, Refusal, Reply, Request, SilenceDraft};
pub use evaluated::{Evaluated, Evaluation, Found, RuleDifference, RuleResult};
pub use state::{
    Acknowledgement, AlertGroupState, GroupProgress, Health, IntegrationHealth, Intent, LinkKey, Ring, RuleKind,
    RuleProgress, RuleShape, StoredGroup, StoredNotifications, TenantState, Totals, Transition,
};
