//! What happens if nobody takes care of alerts: others are told, step by step.
//!
//! The first step's time runs from when a group is looked at that has an alert which fires and nobody has acknowledged; each further
//! one's from the step before. Whom a step tells belongs to the group from then on: he is told what changes and what ends, as the
//! route's receiver is. Who was told already is told again. With the acknowledgement of all that fires the steps end; what fires
//! anew begins with the first.

use std::collections::BTreeSet;

use bellwether_model::Timestamp;

use super::config::IntegrationAt;

/// Steps of a policy.
pub const STEPS_MAX: usize = 50;
/// How often all steps are repeated.
pub const REPEATS_MAX: i64 = 100;

/// An escalation policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its steps; not empty.
    pub steps: Vec<Step>,
    /// How often they are begun again.
    pub repeat: u32,
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Who is told.
    pub whom: Whom,
    /// How long after the step before.
    pub after_ms: i64,
}

/// Who is told by a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// A receiver.
    Receiver(String),
    /// Who is on call by a schedule then.
    OnCall(String),
}

/// How far the escalation of a group has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Escalation {
    /// Steps that were made.
    pub step: u32,
    /// When the next one is due, if nobody takes care.
    pub next: Option<Timestamp>,
    /// Who is told beside the route's receiver.
    pub receivers: BTreeSet<String>,
    /// Integrations of these whose messages of the last look are not sent yet.
    pub unsent: BTreeSet<(String, IntegrationAt)>,
}

impl Policy {
    /// All steps, those included that are repeated.
    pub fn count(&self) -> u32 {
        (self.steps.len() as u32).saturating_mul(self.repeat.saturating_add(1))
    }

    /// The step of a number below the count.
    pub fn step(&self, number: u32) -> &Step {
        &self.steps[number as usize % self.steps.len()]
    }
}
