//! Alerting: rules, notifications, alerts and silences of the client's tenant. The messages are those of `alerting.proto`.

use std::collections::BTreeMap;

use tonic::transport::Channel;

use crate::Error;
use crate::call::{Client, Repeat, ask};
use crate::v1::alerting_client::AlertingClient;
use crate::v1::{
    AcknowledgeAlertsRequest, Alert, DeleteNotificationsRequest, DeleteOverrideRequest, DeleteRuleGroupRequest,
    ExpireSilenceRequest, GetNotificationsRequest, GetNotificationsResponse, ListAlertsRequest, ListOnCallRequest,
    ListReceiversRequest, ListRuleGroupsRequest, ListSilencesRequest, ListTransitionsRequest, ListTransitionsResponse,
    OnCall, Override, ReceiverStatus, RuleGroup, SetNotificationsRequest, SetNotificationsResponse, SetOverrideRequest,
    SetRuleGroupRequest, SetRuleGroupResponse, SetSilenceRequest, Silence,
};

/// Alerting. From [`Client::alerting`].
pub struct Alerting<'a>(&'a Client);

impl Client {
    /// Rules, notifications, alerts and silences of this client's tenant.
    pub fn alerting(&self) -> Alerting<'_> {
        Alerting(self)
    }
}

impl Alerting<'_> {
    /// Takes a rule group as YAML, new or in place of the one of that name.
    pub async fn set_rule_group(&self, namespace: &str, text: &str) -> Result<SetRuleGroupResponse, Error> {
        let request = SetRuleGroupRequest { namespace: namespace.to_owned(), text: text.to_owned() };
        Ok(ask!(self, Always, set_rule_group, request)?.0)
    }

    /// Rule groups with how they fare: all, or those of a namespace, or of a name.
    pub async fn rule_groups(&self, request: ListRuleGroupsRequest) -> Result<Vec<RuleGroup>, Error> {
        Ok(ask!(self, Always, list_rule_groups, request)?.0.groups)
    }

    /// Forgets a rule group, or all of a namespace.
    pub async fn delete_rule_group(&self, namespace: &str, group: Option<&str>) -> Result<(), Error> {
        let group = group.unwrap_or_default().to_owned();
        let request = DeleteRuleGroupRequest { namespace: namespace.to_owned(), group };
        ask!(self, Always, delete_rule_group, request)?;
        Ok(())
    }

    /// Takes a notification configuration, with the files of templates that it names.
    pub async fn set_notifications(
        &self,
        config: &str,
        templates: BTreeMap<String, String>,
    ) -> Result<SetNotificationsResponse, Error> {
        let request = SetNotificationsRequest { config: config.to_owned(), templates };
        Ok(ask!(self, Always, set_notifications, request)?.0)
    }

    /// The notification configuration; an empty one if there is none.
    pub async fn notifications(&self) -> Result<GetNotificationsResponse, Error> {
        Ok(ask!(self, Always, get_notifications, GetNotificationsRequest {})?.0)
    }

    /// Forgets the notification configuration: nobody is told.
    pub async fn delete_notifications(&self) -> Result<(), Error> {
        ask!(self, Always, delete_notifications, DeleteNotificationsRequest {})?;
        Ok(())
    }

    /// How the receivers fare, by name.
    pub async fn receivers(&self) -> Result<Vec<ReceiverStatus>, Error> {
        Ok(ask!(self, Always, list_receivers, ListReceiversRequest {})?.0.receivers)
    }

    /// Who is on call by each schedule at a time (milliseconds since the Unix epoch; 0: now).
    pub async fn on_call(&self, at_ms: i64) -> Result<Vec<OnCall>, Error> {
        Ok(ask!(self, Always, list_on_call, ListOnCallRequest { at_ms })?.0.schedules)
    }

    /// Has somebody on call instead of another, and returns the override's id.
    pub async fn set_override(&self, wanted: Override) -> Result<String, Error> {
        let request = SetOverrideRequest { r#override: Some(wanted) };
        Ok(ask!(self, IfUnsent, set_override, request)?.0.id)
    }

    /// Ends an override.
    pub async fn delete_override(&self, id: &str) -> Result<(), Error> {
        ask!(self, Always, delete_override, DeleteOverrideRequest { id: id.to_owned() })?;
        Ok(())
    }

    /// Alerts that fire or are pending and meet all of these matchers.
    pub async fn alerts(&self, filter: &[String]) -> Result<Vec<Alert>, Error> {
        Ok(ask!(self, Always, list_alerts, ListAlertsRequest { filter: filter.to_vec() })?.0.alerts)
    }

    /// What became of alerts of rules, the latest first.
    pub async fn transitions(&self, request: ListTransitionsRequest) -> Result<ListTransitionsResponse, Error> {
        Ok(ask!(self, Always, list_transitions, request)?.0)
    }

    /// Says that somebody takes care of the alerts that fire and meet all of these matchers; of how many nobody did.
    pub async fn acknowledge(&self, filter: &[String], by: &str) -> Result<u64, Error> {
        let request = AcknowledgeAlertsRequest { filter: filter.to_vec(), by: by.to_owned() };
        Ok(ask!(self, Always, acknowledge_alerts, request)?.0.alerts)
    }

    /// Takes a silence, new or changed, and returns its id.
    pub async fn set_silence(&self, silence: Silence) -> Result<String, Error> {
        let request = SetSilenceRequest { silence: Some(silence) };
        Ok(ask!(self, IfUnsent, set_silence, request)?.0.id)
    }

    /// Silences, those that are over too if wanted.
    pub async fn silences(&self, expired: bool) -> Result<Vec<Silence>, Error> {
        Ok(ask!(self, Always, list_silences, ListSilencesRequest { expired })?.0.silences)
    }

    /// Ends a silence now.
    pub async fn expire_silence(&self, id: &str) -> Result<(), Error> {
        ask!(self, Always, expire_silence, ExpireSilenceRequest { id: id.to_owned() })?;
        Ok(())
    }

    fn service(&self, channel: Channel) -> AlertingClient<Channel> {
        AlertingClient::new(channel).max_decoding_message_size(self.0.options().answer_bytes_max)
    }
}
