//! The part of the node that is not one which is about alerting: it keeps what it is given.

use bellwether_client::v1::*;
use tonic::{Request, Response, Status};

use super::FakeNode;

/// What was given.
#[derive(Default)]
pub struct Alerting {
    pub groups: Vec<RuleGroup>,
    pub notifications: GetNotificationsResponse,
    pub alerts: Vec<Alert>,
    pub silences: Vec<Silence>,
    pub transitions: Vec<Transition>,
    pub receivers: Vec<ReceiverStatus>,
    pub on_call: Vec<OnCall>,
}

fn name_of(text: &str) -> String {
    text.lines().next().unwrap().trim_start_matches("name: ").to_owned()
}

#[tonic::async_trait]
impl alerting_server::Alerting for FakeNode {
    async fn set_rule_group(
        &self,
        request: Request<SetRuleGroupRequest>,
    ) -> Result<Response<SetRuleGroupResponse>, Status> {
        self.note_tenant(&request);
        self.answer(|script| {
            let SetRuleGroupRequest { namespace, text } = request.into_inner();
            let name = name_of(&text);
            script.asked.push(format!("set {namespace}/{name}"));
            script.alerting.groups.retain(|group| (&group.namespace, &group.name) != (&namespace, &name));
            let group = name.clone();
            script.alerting.groups.push(RuleGroup { namespace, name, text, revision: 7, ..RuleGroup::default() });
            SetRuleGroupResponse { group, revision: 7 }
        })
    }

    async fn list_rule_groups(
        &self,
        request: Request<ListRuleGroupsRequest>,
    ) -> Result<Response<ListRuleGroupsResponse>, Status> {
        let ListRuleGroupsRequest { namespace, group, .. } = request.into_inner();
        self.answer(|script| {
            let wanted = script.alerting.groups.iter().filter(|known| {
                (namespace.is_empty() || known.namespace == namespace) && (group.is_empty() || known.name == group)
            });
            ListRuleGroupsResponse { groups: wanted.cloned().collect() }
        })
    }

    async fn delete_rule_group(
        &self,
        request: Request<DeleteRuleGroupRequest>,
    ) -> Result<Response<DeleteRuleGroupResponse>, Status> {
        self.answer(|script| {
            let DeleteRuleGroupRequest { namespace, group } = request.into_inner();
            script.asked.push(format!("delete {namespace}/{group}"));
            DeleteRuleGroupResponse {}
        })
    }

    async fn set_notifications(
        &self,
        request: Request<SetNotificationsRequest>,
    ) -> Result<Response<SetNotificationsResponse>, Status> {
        self.answer(|script| {
            let SetNotificationsRequest { config, templates } = request.into_inner();
            script.alerting.notifications = GetNotificationsResponse { config, templates, revision: 9 };
            SetNotificationsResponse { revision: 9, warnings: vec!["3:1: careful".to_owned()] }
        })
    }

    async fn get_notifications(
        &self,
        _: Request<GetNotificationsRequest>,
    ) -> Result<Response<GetNotificationsResponse>, Status> {
        self.answer(|script| script.alerting.notifications.clone())
    }

    async fn delete_notifications(
        &self,
        _: Request<DeleteNotificationsRequest>,
    ) -> Result<Response<DeleteNotificationsResponse>, Status> {
        self.answer(|script| {
            script.asked.push("delete notifications".to_owned());
            DeleteNotificationsResponse {}
        })
    }

    async fn list_receivers(
        &self,
        _: Request<ListReceiversRequest>,
    ) -> Result<Response<ListReceiversResponse>, Status> {
        self.answer(|script| ListReceiversResponse { receivers: script.alerting.receivers.clone() })
    }

    async fn list_on_call(&self, _: Request<ListOnCallRequest>) -> Result<Response<ListOnCallResponse>, Status> {
        self.answer(|script| ListOnCallResponse { schedules: script.alerting.on_call.clone() })
    }

    async fn set_override(
        &self,
        request: Request<SetOverrideRequest>,
    ) -> Result<Response<SetOverrideResponse>, Status> {
        self.answer(|script| {
            let Override { schedule, user, begins_ms, created_by, .. } = request.into_inner().r#override.unwrap();
            script.asked.push(format!("{user} for {schedule} from {begins_ms} by {created_by}"));
            SetOverrideResponse { id: "an-id".to_owned() }
        })
    }

    async fn delete_override(
        &self,
        request: Request<DeleteOverrideRequest>,
    ) -> Result<Response<DeleteOverrideResponse>, Status> {
        self.answer(|script| {
            script.asked.push(format!("delete override {}", request.into_inner().id));
            DeleteOverrideResponse {}
        })
    }

    async fn acknowledge_alerts(
        &self,
        request: Request<AcknowledgeAlertsRequest>,
    ) -> Result<Response<AcknowledgeAlertsResponse>, Status> {
        self.answer(|script| {
            let AcknowledgeAlertsRequest { filter, by } = request.into_inner();
            script.asked.push(format!("acknowledge {filter:?} by {by}"));
            AcknowledgeAlertsResponse { alerts: 2 }
        })
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Result<Response<ListAlertsResponse>, Status> {
        self.answer(|script| {
            script.asked.push(format!("alerts {:?}", request.into_inner().filter));
            ListAlertsResponse { alerts: script.alerting.alerts.clone() }
        })
    }

    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        self.answer(|script| {
            let ListTransitionsRequest { filter, first_ms, last_ms, limit } = request.into_inner();
            script.asked.push(format!("history {filter:?} {first_ms} {last_ms} {limit}"));
            ListTransitionsResponse { transitions: script.alerting.transitions.clone(), truncated: true }
        })
    }

    async fn set_silence(&self, request: Request<SetSilenceRequest>) -> Result<Response<SetSilenceResponse>, Status> {
        self.answer(|script| {
            let silence = request.into_inner().silence.unwrap();
            let Silence { matchers, begins_ms, created_by, comment, .. } = silence;
            script.asked.push(format!("silence {matchers} from {begins_ms} by {created_by}: {comment}"));
            SetSilenceResponse { id: "an-id".to_owned() }
        })
    }

    async fn list_silences(&self, _: Request<ListSilencesRequest>) -> Result<Response<ListSilencesResponse>, Status> {
        self.answer(|script| ListSilencesResponse { silences: script.alerting.silences.clone() })
    }

    async fn expire_silence(
        &self,
        request: Request<ExpireSilenceRequest>,
    ) -> Result<Response<ExpireSilenceResponse>, Status> {
        self.answer(|script| {
            script.asked.push(format!("expire {}", request.into_inner().id));
            ExpireSilenceResponse {}
        })
    }
}
