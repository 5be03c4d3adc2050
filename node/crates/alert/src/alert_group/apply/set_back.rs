//! The group's time is set back where the leader's clock is far behind it: without this nothing would be evaluated and nobody told
//! before that wrong time has come.
//!
//! What people or senders gave as times of their own (when a silence is to begin and end, shifts, ends of alerts from outside) stays,
//! and so does the history: it says what was seen then.

use std::sync::Arc;

use crate::alert_group::state::{AlertGroupState, GroupProgress, IntegrationHealth, RuleProgress, TenantState};
use crate::set_back::SetBack;
use crate::state::alerting::{Alert, Phase};
use crate::state::threshold::Presence;
use crate::state::threshold::watch::Watched;

impl AlertGroupState {
    /// See the module.
    pub(super) fn set_back(&mut self, back: SetBack) {
        self.time = back.now();
        self.tenants.values_mut().for_each(|known| known.set_back(back));
    }
}

impl TenantState {
    fn set_back(&mut self, back: SetBack) {
        for group in self.namespaces.values_mut().flat_map(|groups| groups.values_mut()) {
            Arc::make_mut(group).progress.set_back(back);
        }
        self.dispatch.set_back(back);
        self.throttles.set_back(back);
        self.silences.set_back(back);
        self.acknowledged.values_mut().for_each(|known| back.happened(&mut known.at));
        self.intents.values_mut().for_each(|intent| back.happened(&mut intent.made_at));
        self.given_up.values_mut().for_each(|known| back.happened(&mut known.at));
        for IntegrationHealth { sent_at, failed_at, failing_since, .. } in self.integrations.values_mut() {
            [sent_at, failed_at, failing_since].into_iter().flatten().for_each(|at| back.happened(at));
        }
    }
}

impl GroupProgress {
    fn set_back(&mut self, back: SetBack) {
        self.last_evaluation.iter_mut().for_each(|at| back.happened(at));
        for RuleProgress { alerts, watched, .. } in &mut self.rules {
            if !alerts.is_empty() {
                Arc::make_mut(alerts).values_mut().for_each(|alert| alert.set_back(back));
            }
            if !watched.is_empty() {
                Arc::make_mut(watched).values_mut().for_each(|watched| watched.set_back(back));
            }
        }
    }
}

impl Alert {
    fn set_back(&mut self, back: SetBack) {
        back.happened(&mut self.active_at);
        back.happened(&mut self.refreshed_at);
        match &mut self.phase {
            Phase::Pending => {}
            Phase::Firing { since, kept_since } => {
                back.happened(since);
                kept_since.iter_mut().for_each(|at| back.happened(at));
            }
            Phase::Resolved { at } => back.happened(at),
        }
    }
}

impl Watched {
    fn set_back(&mut self, back: SetBack) {
        back.happened(&mut self.refreshed_at);
        self.standing.raised_at.iter_mut().for_each(|at| back.happened(at));
        if let Presence::Gone { since } = &mut self.standing.presence {
            back.happened(since);
        }
    }
}
