//! Alerting, as `alerting.proto` has it: messages in, calls of the [`Desk`], messages out.

use bellwether_alert::alert_group::{self, Health, RuleProgress};
use bellwether_alert::notify::fingerprint::Fingerprint;
use bellwether_alert::notify::matchers::Matchers;
use bellwether_alert::notify::on_call::Shift;
use bellwether_alert::notify::silence::SilenceState;
use bellwether_alert::rules::Rule;
use bellwether_alert::state::alerting::Phase;
use bellwether_model::{Labels, Tenant};
use bellwether_placement::EvaluatorRing;
use bellwether_proto::v1::{
    AcknowledgeAlertsRequest, AcknowledgeAlertsResponse, Alert, DeleteNotificationsRequest,
    DeleteNotificationsResponse, DeleteOverrideRequest, DeleteOverrideResponse, DeleteRuleGroupRequest,
    DeleteRuleGroupResponse, ExpireSilenceRequest, ExpireSilenceResponse, GetNotificationsRequest,
    GetNotificationsResponse, IntegrationStatus, Label, ListAlertsRequest, ListAlertsResponse, ListOnCallRequest,
    ListOnCallResponse, ListReceiversRequest, ListReceiversResponse, ListRuleGroupsRequest, ListRuleGroupsResponse,
    ListSilencesRequest, ListSilencesResponse, ListTransitionsRequest, ListTransitionsResponse, OnCall, Override,
    ReceiverStatus, RuleGroup, RuleStatus, SetNotificationsRequest, SetNotificationsResponse, SetOverrideRequest,
    SetOverrideResponse, SetRuleGroupRequest, SetRuleGroupResponse, SetSilenceRequest, SetSilenceResponse, Silence,
    Transition, alerting_server,
};
use tonic::{Request, Response, Status};

use super::GrpcState;
use crate::alerting::desk::alerts::{AlertFilter, FiringAlert};
use crate::alerting::desk::history::{HistoryFilter, name_of};
use crate::alerting::desk::notifications;
use crate::alerting::desk::on_call::OnCall as OnCallState;
use crate::alerting::desk::{Desk, DeskError, NamedGroup, NamedSilence, SilenceWish, evaluator, read_matchers};
use crate::gateway::DEFINITIONS_NAMESPACE;

/// The service.
pub struct Alerting(pub GrpcState);

/// Calls that change something or show secrets: for those who administer.
pub const ADMINISTRATION: [&str; 10] = [
    "/bellwether.v1.Alerting/SetOverride",
    "/bellwether.v1.Alerting/DeleteOverride",
    "/bellwether.v1.Alerting/AcknowledgeAlerts",
    "/bellwether.v1.Alerting/SetRuleGroup",
    "/bellwether.v1.Alerting/DeleteRuleGroup",
    "/bellwether.v1.Alerting/SetNotifications",
    "/bellwether.v1.Alerting/GetNotifications",
    "/bellwether.v1.Alerting/DeleteNotifications",
    "/bellwether.v1.Alerting/SetSilence",
    "/bellwether.v1.Alerting/ExpireSilence",
];

impl From<DeskError> for Status {
    fn from(error: DeskError) -> Status {
        let message = error.to_string();
        match error {
            DeskError::Wrong(_) | DeskError::Invalid(_) => Status::invalid_argument(message),
            DeskError::NotFound(_) => Status::not_found(message),
            DeskError::Limit(_) => Status::resource_exhausted(message),
            DeskError::Unanswered(_) => Status::unavailable(message),
        }
    }
}

impl Alerting {
    /// The desk, and whose things a request concerns.
    fn admit<T>(&self, request: &Request<T>) -> Result<(&Desk, Tenant), Status> {
        Ok((&self.0.desk, self.0.admit(request)?))
    }
}

/// What `/v1/alerts` keeps is changed there.
fn refuse_definitions(namespace: &str) -> Result<(), Status> {
    if namespace != DEFINITIONS_NAMESPACE {
        return Ok(());
    }
    let message = format!("the namespace {namespace:?} is that of /v1/alerts: change its alerts there");
    Err(Status::invalid_argument(message))
}

#[tonic::async_trait]
impl alerting_server::Alerting for Alerting {
    async fn set_rule_group(
        &self,
        request: Request<SetRuleGroupRequest>,
    ) -> Result<Response<SetRuleGroupResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let SetRuleGroupRequest { namespace, text } = request.into_inner();
        refuse_definitions(&namespace)?;
        let (group, revision) = desk.set_rule_group(&tenant, &namespace, &text).await?;
        Ok(Response::new(SetRuleGroupResponse { group, revision }))
    }

    async fn list_rule_groups(
        &self,
        request: Request<ListRuleGroupsRequest>,
    ) -> Result<Response<ListRuleGroupsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let ListRuleGroupsRequest { namespace, group, without_texts } = request.into_inner();
        let ring = desk.evaluators(&tenant);
        let groups = desk.rule_groups(&tenant, Some(namespace.as_str()).filter(|name| !name.is_empty()));
        let wanted = groups.iter().filter(|named| group.is_empty() || named.name == group);
        let groups = wanted.map(|named| group_message(desk, named, (&ring, &tenant), without_texts)).collect();
        Ok(Response::new(ListRuleGroupsResponse { groups }))
    }

    async fn delete_rule_group(
        &self,
        request: Request<DeleteRuleGroupRequest>,
    ) -> Result<Response<DeleteRuleGroupResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let DeleteRuleGroupRequest { namespace, group } = request.into_inner();
        refuse_definitions(&namespace)?;
        match group.as_str() {
            "" => desk.delete_namespace(&tenant, &namespace).await?,
            group => desk.delete_rule_group(&tenant, &namespace, group).await?,
        }
        Ok(Response::new(DeleteRuleGroupResponse {}))
    }

    async fn set_notifications(
        &self,
        request: Request<SetNotificationsRequest>,
    ) -> Result<Response<SetNotificationsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let SetNotificationsRequest { config, templates } = request.into_inner();
        let (revision, warnings) = desk.set_notifications(&tenant, config, templates).await?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Response::new(SetNotificationsResponse { revision, warnings }))
    }

    async fn get_notifications(
        &self,
        request: Request<GetNotificationsRequest>,
    ) -> Result<Response<GetNotificationsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let stored = desk.notifications(&tenant).map(|stored| GetNotificationsResponse {
            config: stored.config.to_string(),
            templates: (*stored.templates).clone(),
            revision: stored.revision,
        });
        Ok(Response::new(stored.unwrap_or_default()))
    }

    async fn delete_notifications(
        &self,
        request: Request<DeleteNotificationsRequest>,
    ) -> Result<Response<DeleteNotificationsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        desk.delete_notifications(&tenant).await?;
        Ok(Response::new(DeleteNotificationsResponse {}))
    }

    async fn list_receivers(
        &self,
        request: Request<ListReceiversRequest>,
    ) -> Result<Response<ListReceiversResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let receivers = desk.receiver_statuses(&tenant).into_iter().map(receiver_message).collect();
        Ok(Response::new(ListReceiversResponse { receivers }))
    }

    async fn list_on_call(&self, request: Request<ListOnCallRequest>) -> Result<Response<ListOnCallResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let at = if request.get_ref().at_ms == 0 { desk.now_ms() } else { request.get_ref().at_ms };
        let schedules = desk.on_call(&tenant, at).into_iter().map(on_call_message).collect();
        Ok(Response::new(ListOnCallResponse { schedules }))
    }

    async fn set_override(
        &self,
        request: Request<SetOverrideRequest>,
    ) -> Result<Response<SetOverrideResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let wanted = request.into_inner().r#override.ok_or_else(|| Status::invalid_argument("there is no override"))?;
        let begins_at = if wanted.begins_ms == 0 { desk.now_ms() } else { wanted.begins_ms };
        let shift = Shift { user: wanted.user, begins_at, ends_at: wanted.ends_ms };
        let id = desk.set_override(&tenant, wanted.schedule, shift, wanted.created_by).await?;
        Ok(Response::new(SetOverrideResponse { id }))
    }

    async fn delete_override(
        &self,
        request: Request<DeleteOverrideRequest>,
    ) -> Result<Response<DeleteOverrideResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        desk.delete_override(&tenant, &request.get_ref().id).await?;
        Ok(Response::new(DeleteOverrideResponse {}))
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Result<Response<ListAlertsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let matchers = read_matchers(request.get_ref().filter.iter().map(String::as_str))?;
        let groups = desk.rule_groups(&tenant, None);
        let mut alerts = of_rules(&groups, &matchers);
        let filter = AlertFilter { matchers, ..AlertFilter::default() };
        for firing in desk.firing(&tenant, &filter) {
            add_firing(&mut alerts, firing);
        }
        let alerts = alerts.into_values().collect();
        Ok(Response::new(ListAlertsResponse { alerts }))
    }

    async fn list_transitions(
        &self,
        request: Request<ListTransitionsRequest>,
    ) -> Result<Response<ListTransitionsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let ListTransitionsRequest { filter, first_ms, last_ms, limit } = request.into_inner();
        let matchers = read_matchers(filter.iter().map(String::as_str))?;
        let [first, last] = [first_ms, last_ms].map(|ms| (ms != 0).then_some(ms));
        let limit = usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let history = desk.history(&tenant, &HistoryFilter::new(matchers, first, last, limit));
        let transition = |transition: alert_group::Transition| Transition {
            at_ms: transition.at,
            labels: labels_message(&transition.labels),
            state: name_of(transition.change).to_owned(),
            value: transition.value,
        };
        let transitions = history.transitions.into_iter().map(transition).collect();
        Ok(Response::new(ListTransitionsResponse { transitions, truncated: history.is_cut }))
    }

    async fn acknowledge_alerts(
        &self,
        request: Request<AcknowledgeAlertsRequest>,
    ) -> Result<Response<AcknowledgeAlertsResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let AcknowledgeAlertsRequest { filter, by } = request.into_inner();
        let matchers = read_matchers(filter.iter().map(String::as_str))?;
        let alerts = desk.acknowledge(&tenant, &matchers, &by).await?;
        Ok(Response::new(AcknowledgeAlertsResponse { alerts }))
    }

    async fn set_silence(&self, request: Request<SetSilenceRequest>) -> Result<Response<SetSilenceResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let silence = request.into_inner().silence.ok_or_else(|| Status::invalid_argument("there is no silence"))?;
        let wish = SilenceWish {
            id: Some(silence.id).filter(|id| !id.is_empty()),
            matchers: read_matchers([silence.matchers.as_str()])?,
            during: match silence.while_firing.as_str() {
                "" => None,
                during => Some(read_matchers([during])?),
            },
            begins_at: if silence.begins_ms == 0 { desk.now_ms() } else { silence.begins_ms },
            ends_at: silence.ends_ms,
            created_by: silence.created_by,
            comment: silence.comment,
        };
        let id = desk.set_silence(&tenant, wish).await?;
        Ok(Response::new(SetSilenceResponse { id }))
    }

    async fn list_silences(
        &self,
        request: Request<ListSilencesRequest>,
    ) -> Result<Response<ListSilencesResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        let silences = desk.silences(&tenant).into_iter();
        let wanted = silences.filter(|named| request.get_ref().expired || named.state != SilenceState::Expired);
        Ok(Response::new(ListSilencesResponse { silences: wanted.map(silence_message).collect() }))
    }

    async fn expire_silence(
        &self,
        request: Request<ExpireSilenceRequest>,
    ) -> Result<Response<ExpireSilenceResponse>, Status> {
        let (desk, tenant) = self.admit(&request)?;
        desk.expire_silence(&tenant, &request.get_ref().id).await?;
        Ok(Response::new(ExpireSilenceResponse {}))
    }
}

fn group_message(
    desk: &Desk,
    named: &NamedGroup,
    (ring, tenant): (&EvaluatorRing, &Tenant),
    without_texts: bool,
) -> RuleGroup {
    let (group, progress) = (&named.group, &named.group.progress);
    let rules = named.rules().map_or(&[][..], |rules| &rules.rules[..]);
    RuleGroup {
        namespace: named.namespace.clone(),
        name: named.name.clone(),
        text: if without_texts { String::new() } else { group.text.to_string() },
        revision: group.revision,
        unreadable_because: group.parsed.as_ref().err().cloned().unwrap_or_default(),
        interval_ms: desk.interval_ms(named),
        last_evaluation_ms: progress.last_evaluation.unwrap_or(0),
        duration_us: progress.duration_us.into(),
        missed: progress.missed,
        evaluator: evaluator(ring, tenant, &named.namespace, &named.name).map_or(0, |node| node.0),
        rules: rules.iter().zip(&progress.rules).map(|(rule, known)| rule_message(rule, known)).collect(),
    }
}

fn rule_message(rule: &Rule, known: &RuleProgress) -> RuleStatus {
    let (health, last_error) = match &known.health {
        Health::Unknown => ("unknown", ""),
        Health::Ok => ("ok", ""),
        Health::Failed(error) => ("err", error.as_str()),
    };
    let count = |is_wanted: fn(&Phase) -> bool| {
        let wanted = known.alerts.values().filter(|alert| is_wanted(&alert.phase)).count();
        u32::try_from(wanted).unwrap_or(u32::MAX)
    };
    RuleStatus {
        name: rule.name().to_owned(),
        alerting: matches!(rule, Rule::Alerting(_)),
        query: rule.query().text.clone(),
        health: health.to_owned(),
        last_error: last_error.to_owned(),
        duration_us: known.duration_us.into(),
        pending: count(|phase| matches!(phase, Phase::Pending)),
        firing: count(|phase| matches!(phase, Phase::Firing { .. })),
        critical: known.shape.critical,
    }
}

/// Alerts by their labels.
type Alerts = std::collections::BTreeMap<Labels, Alert>;

/// Those of rules, pending and firing; who is told is not known of them.
fn of_rules(groups: &[NamedGroup], matchers: &Matchers) -> Alerts {
    let mut alerts = Alerts::new();
    for known in groups.iter().flat_map(|named| &named.group.progress.rules) {
        for (labels, alert) in known.alerts.iter().filter(|(labels, _)| matchers.match_labels(labels)) {
            let state = match alert.phase {
                Phase::Pending => "pending",
                Phase::Firing { .. } => "firing",
                Phase::Resolved { .. } => continue,
            };
            let annotations = alert.annotations.iter();
            let annotations = annotations.map(|(name, value)| Label { name: name.clone(), value: value.clone() });
            let message = Alert {
                labels: labels_message(labels),
                annotations: annotations.collect(),
                state: state.to_owned(),
                active_since_ms: alert.active_at,
                value: Some(alert.value),
                fingerprint: Fingerprint::of(labels).to_string(),
                ..Alert::default()
            };
            alerts.insert(labels.clone(), message);
        }
    }
    alerts
}

/// What is known of one that fires, whoever told of it.
fn add_firing(alerts: &mut Alerts, firing: FiringAlert) {
    let is_suppressed = firing.is_suppressed();
    let alert = alerts.entry(firing.labels.clone()).or_insert_with(|| Alert {
        labels: labels_message(&firing.labels),
        annotations: labels_message(&firing.annotations),
        state: "firing".to_owned(),
        active_since_ms: firing.begins_at,
        fingerprint: firing.fingerprint.to_string(),
        ..Alert::default()
    });
    if is_suppressed {
        alert.state = "suppressed".to_owned();
    }
    if let Some(acknowledged) = firing.acknowledged {
        alert.acknowledged_by = acknowledged.by.to_string();
        alert.acknowledged_ms = acknowledged.at;
    }
    alert.receivers = firing.receivers;
    alert.silenced_by = firing.silenced_by;
    alert.muted_by = firing.muted_by;
    alert.inhibited_by = firing.inhibited_by.iter().map(ToString::to_string).collect();
}

fn labels_message(labels: &Labels) -> Vec<Label> {
    let label =
        |label: bellwether_model::Label<'_>| Label { name: label.name.to_owned(), value: label.value.to_owned() };
    labels.iter().map(label).collect()
}

fn on_call_message(on_call: OnCallState) -> OnCall {
    let overrides = on_call.overrides.into_iter().map(|(id, one)| Override {
        id,
        schedule: one.schedule,
        user: one.shift.user,
        begins_ms: one.shift.begins_at,
        ends_ms: one.shift.ends_at,
        created_by: one.created_by.to_string(),
    });
    OnCall { schedule: on_call.schedule, user: on_call.user.unwrap_or_default(), overrides: overrides.collect() }
}

fn receiver_message(receiver: notifications::ReceiverStatus) -> ReceiverStatus {
    let integrations = receiver.integrations.into_iter().map(|integration| IntegrationStatus {
        kind: integration.kind.name().to_owned(),
        health: integration.word().to_owned(),
        sent_ms: integration.health.sent_at.unwrap_or(0),
        failing_since_ms: integration.health.failing_since.unwrap_or(0),
        failed_ms: integration.health.failed_at.unwrap_or(0),
        last_error: integration.health.last_error.unwrap_or_default(),
        given_up: integration.health.failures,
        waiting: integration.waiting,
        waiting_since_ms: integration.waiting_since.unwrap_or(0),
    });
    let (held_back_groups, held_back_messages) = receiver.held_back;
    let integrations = integrations.collect();
    ReceiverStatus { name: receiver.name, integrations, held_back_groups, held_back_messages }
}

fn silence_message(named: NamedSilence) -> Silence {
    let NamedSilence { id, silence, state } = named;
    let state = match state {
        SilenceState::Pending => "pending",
        SilenceState::Active => "active",
        SilenceState::Expired => "expired",
    };
    Silence {
        id,
        matchers: silence.matchers.to_string(),
        begins_ms: silence.begins_at,
        ends_ms: silence.ends_at,
        created_by: silence.created_by.to_string(),
        comment: silence.comment.to_string(),
        state: state.to_owned(),
        updated_ms: silence.updated_at,
        while_firing: silence.during.map(|(text, _)| text.to_string()).unwrap_or_default(),
    }
}
