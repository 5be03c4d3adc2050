//! `Touched`: samples were stored that critical rules may see, which this node evaluates.

use std::time::Duration;

use bellwether_alert::limits::RULES_PER_GROUP_MAX;
use bellwether_model::Tenant;
use bellwether_proto::peer::v1::{TouchedAnswer, TouchedGroup, TouchedRequest};
use tokio::time::Instant;
use tonic::Status;

use super::PeerService;
use crate::alerting::evaluator::GroupKey;
use crate::alerting::on_write::Touch;

impl PeerService {
    pub(super) fn serve_touched(&self, request: TouchedRequest) -> Result<TouchedAnswer, Status> {
        let alerting =
            self.alerting.as_ref().ok_or_else(|| Status::unimplemented("this node serves no alert groups"))?;
        let now = Instant::now();
        for TouchedGroup { tenant, namespace, group, revision, rules, age_us, newest_ms } in request.groups {
            let Ok(tenant) = Tenant::new(&tenant) else { continue };
            // What waits is bounded by the groups that there are.
            if alerting.read(&tenant, |state| state.group(&tenant, &namespace, &group).is_none()) {
                continue;
            }
            let key = GroupKey { tenant, namespace: namespace.into(), group: group.into() };
            let since = now.checked_sub(Duration::from_micros(age_us)).unwrap_or(now);
            let rules = rules.into_iter().filter(|rule| (*rule as usize) < RULES_PER_GROUP_MAX).collect();
            alerting.touches().tell(key, Touch { rules, revision, since, newest: newest_ms });
        }
        Ok(TouchedAnswer {})
    }
}
