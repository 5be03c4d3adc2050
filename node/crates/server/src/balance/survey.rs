//! What the planner reads, made of what the nodes report and of since when they do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use bellwether_placement::{GroupLoad, Inventory, Liveness, NodeInfo, Placement};
use bellwether_proto::peer::v1::{ReplicaReport, ReportAnswer};
use bellwether_raft::LogPosition;
use tokio::time::Instant;

use super::rate::Rate;
use crate::meta::MetaState;
use crate::peers::error::position;

/// A replica that lacks at most so many entries has caught up: it gets the rest within a moment.
const ENTRIES_BEHIND_MAX: u64 = 512;

/// For how long a copy cannot be opened before another is made: it is tried again meanwhile.
const DAMAGED_WAIT: Duration = Duration::from_secs(15);

/// What is known at one moment.
pub struct Survey {
    /// Who looks: the term in which it leads the meta group. Whoever has heard of a later one does nothing that it asks.
    pub mover_epoch: u64,
    /// The map, with what the reports say of leaders, loads and copies.
    pub placement: Placement,
    /// The nodes.
    pub inventory: Inventory,
    /// What the groups' leaders say of their groups.
    pub led: BTreeMap<ShardGroupId, Led>,
    /// Copies on the map that have been damaged for a while; one of each group.
    pub damaged: BTreeMap<ShardGroupId, ReplicaId>,
    /// All copies of which that is said at the moment, also those that are not on the map.
    pub said_damaged: BTreeSet<ReplicaId>,
}

/// A group as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// The node that leads.
    pub node: NodeId,
    /// Where the membership stands in the log; a change must name it.
    pub membership: LogPosition,
    /// Whether a change of voters is under way: then the members are those that it leads to.
    pub is_joint: bool,
    /// Who votes.
    pub voters: BTreeSet<ReplicaId>,
    /// Who learns.
    pub learners: BTreeSet<ReplicaId>,
    /// Where the members are.
    pub nodes: BTreeMap<ReplicaId, NodeId>,
    /// Who lacks next to nothing.
    pub caught_up: BTreeSet<ReplicaId>,
}

impl Led {
    /// Whether members can go: enough of the voters that stay are good to decide it as they are now, and to go on as they are
    /// then.
    pub fn can_part_with(&self, gone: &BTreeSet<ReplicaId>, is_good: impl Fn(&ReplicaId) -> bool) -> bool {
        let stay: Vec<&ReplicaId> = self.voters.difference(gone).collect();
        let good = stay.iter().filter(|replica| self.caught_up.contains(**replica) && is_good(replica)).count();
        good * 2 > self.voters.len() && good * 2 > stay.len()
    }
}

impl Survey {
    /// Whether a member's node is up and nobody says that its copy is damaged.
    pub fn is_good(&self, led: &Led, replica: &ReplicaId) -> bool {
        let is_up = led.nodes.get(replica).is_some_and(|node| self.inventory.is_up(*node));
        is_up && !self.said_damaged.contains(replica)
    }
}

/// What one round leaves to the next.
#[derive(Default)]
pub struct Seen {
    nodes: BTreeMap<NodeId, SeenNode>,
    rates: BTreeMap<ShardGroupId, Rate>,
    /// Since when copies are said to be damaged.
    damaged: BTreeMap<(NodeId, ReplicaId), Instant>,
}

struct SeenNode {
    is_up: bool,
    since: Instant,
    disk_bytes: u64,
    disk_used_bytes: u64,
}

impl Seen {
    /// Puts the reports of a round together.
    pub fn survey(&mut self, mover_epoch: u64, state: &MetaState, reports: Vec<(NodeId, ReportAnswer)>) -> Survey {
        let now = Instant::now();
        let reports: BTreeMap<NodeId, ReportAnswer> = reports.into_iter().collect();
        let inventory = self.inventory(state, &reports, now);
        let mut placement = state.placement.clone();
        let mut led = BTreeMap::new();
        let damaged = self.damaged(state, &reports, now);
        self.rates.retain(|group, _| state.placement.group(*group).is_some());
        for group in state.placement.groups() {
            let leader = leader_of(group.id, &reports);
            placement.observe_leader(group.id, leader.map(|(node, _)| node));
            let Some((node, report)) = leader else { continue };
            placement.observe_load(group.id, self.load(group.id, report, now));
            let Some(known) = led_of(node, report) else { continue };
            for replica in &group.replicas {
                // A node keeps the member that it has until the group goes on without it, also one that the map does not know
                // any more: no other replica of the group runs there before, unless that one is lost.
                let has_another = known.nodes.iter().any(|(id, node)| *node == replica.node && *id != replica.id);
                let is_kept_out = has_another && !runs(&reports, replica.node, group.id, replica.id);
                let caught_up = known.caught_up.contains(&replica.id) && !is_kept_out;
                placement.observe_caught_up(group.id, replica.id, caught_up);
            }
            led.insert(group.id, known);
        }
        let said = reports.values().flat_map(|report| &report.replicas).filter(|replica| replica.damaged);
        let said_damaged = said.map(|replica| ReplicaId(replica.replica)).collect();
        Survey { mover_epoch, placement, inventory, led, damaged, said_damaged }
    }

    fn inventory(&mut self, state: &MetaState, reports: &BTreeMap<NodeId, ReportAnswer>, now: Instant) -> Inventory {
        self.nodes.retain(|node, _| state.nodes.contains_key(node));
        let nodes = state.nodes.iter().map(|(id, record)| {
            let report = reports.get(id);
            let seen = self.nodes.entry(*id).or_insert_with(|| SeenNode {
                is_up: report.is_some(),
                since: now,
                disk_bytes: record.facts.capacity_bytes,
                disk_used_bytes: 0,
            });
            if seen.is_up != report.is_some() {
                (seen.is_up, seen.since) = (report.is_some(), now);
            }
            if let Some(report) = report.filter(|report| report.total_bytes > 0) {
                seen.disk_bytes = report.total_bytes;
                seen.disk_used_bytes = report.total_bytes.saturating_sub(report.free_bytes);
            }
            let for_ms = u64::try_from(now.duration_since(seen.since).as_millis()).unwrap_or(u64::MAX);
            let info = NodeInfo {
                zone: record.facts.zone.clone(),
                state: record.state,
                liveness: if seen.is_up { Liveness::Up { for_ms } } else { Liveness::Down { for_ms } },
                disk_bytes: if seen.disk_bytes == 0 { u64::MAX } else { seen.disk_bytes },
                disk_used_bytes: seen.disk_used_bytes,
                disk_full: report.is_some_and(|report| !report.disk_full.is_empty()),
                clock_wrong: report.is_some_and(|report| report.clock_off_ms.is_some()),
            };
            (*id, info)
        });
        Inventory { nodes: nodes.collect(), ..Inventory::default() }
    }

    /// Of the copies that cannot be opened, or are damaged where somebody read them, those that have been so for long enough
    /// not to be a matter of a moment.
    fn damaged(
        &mut self,
        state: &MetaState,
        reports: &BTreeMap<NodeId, ReportAnswer>,
        now: Instant,
    ) -> BTreeMap<ShardGroupId, ReplicaId> {
        let all = reports.iter().flat_map(|(node, report)| report.replicas.iter().map(|replica| (*node, replica)));
        let damaged = all.filter(|(_, replica)| replica.damaged).filter_map(|(node, report)| {
            let group = ShardGroupId(report.group);
            let replica = state.placement.group(group)?.on(node)?.id;
            (replica.0 == report.replica).then_some((group, node, replica))
        });
        let damaged: Vec<(ShardGroupId, NodeId, ReplicaId)> = damaged.collect();
        self.damaged.retain(|seen, _| damaged.iter().any(|(_, node, replica)| *seen == (*node, *replica)));
        let mut lasting = BTreeMap::new();
        for (group, node, replica) in damaged {
            let since = *self.damaged.entry((node, replica)).or_insert(now);
            if now.duration_since(since) >= DAMAGED_WAIT {
                lasting.entry(group).or_insert(replica);
            }
        }
        lasting
    }

    fn load(&mut self, group: ShardGroupId, report: &ReplicaReport, now: Instant) -> GroupLoad {
        let replica = ReplicaId(report.replica);
        let rate = self.rates.entry(group).or_insert_with(|| Rate::begin(replica, report.samples, now));
        rate.look(replica, report.samples, now);
        let samples_per_second = rate.per_second();
        // What was given away in a split is still there until runs are merged: no reason for the next split.
        let bytes = report.disk_bytes.saturating_sub(report.foreign_bytes);
        GroupLoad { bytes, series: report.series, samples_per_second, middle: None }
    }
}

/// Whether a node says that it runs a replica.
fn runs(reports: &BTreeMap<NodeId, ReportAnswer>, node: NodeId, group: ShardGroupId, replica: ReplicaId) -> bool {
    let is_it = |report: &ReplicaReport| report.group == group.0 && report.replica == replica.0;
    reports.get(&node).is_some_and(|report| report.replicas.iter().any(is_it))
}

/// The report of the replica that leads; of several that believe so, the one with the newest term.
pub fn leader_of(group: ShardGroupId, reports: &BTreeMap<NodeId, ReportAnswer>) -> Option<(NodeId, &ReplicaReport)> {
    let of_group = reports.iter().flat_map(|(node, report)| report.replicas.iter().map(|replica| (*node, replica)));
    of_group
        .filter(|(_, replica)| replica.group == group.0 && replica.leads && replica.trouble.is_empty())
        .max_by_key(|(_, replica)| replica.term)
}

/// What a leader says; none while no quorum has its membership.
fn led_of(node: NodeId, report: &ReplicaReport) -> Option<Led> {
    let members = report.members.as_ref()?;
    let of = |members: &[bellwether_proto::peer::v1::Member]| {
        members.iter().map(|member| ReplicaId(member.replica)).collect()
    };
    let nodes = members.voters.iter().chain(&members.learners);
    let near = report.progress.iter().filter(|progress| progress.behind <= ENTRIES_BEHIND_MAX);
    let own = std::iter::once(ReplicaId(report.replica));
    Some(Led {
        node,
        membership: position(report.membership?),
        is_joint: report.is_joint,
        voters: of(&members.voters),
        learners: of(&members.learners),
        nodes: nodes.map(|member| (ReplicaId(member.replica), NodeId(member.node))).collect(),
        caught_up: near.map(|progress| ReplicaId(progress.replica)).chain(own).collect(),
    })
}

#[cfg(test)]
mod tests {
    use bellwether_proto::peer::v1::{Member, Members, Progress};

    use super::*;
    use crate::env::Seed;
    use crate::meta::MetaCommand;
    use crate::meta::apply::apply;
    use crate::meta::command::{Founding, Request};
    use crate::meta::founding::initial_placement;
    use crate::meta::state::NodeFacts;
    use crate::peers::error::wire_position;

    const NODE: NodeId = NodeId(1);
    const GROUP: ShardGroupId = ShardGroupId(0);

    /// One node with one group, whose replica is number 1.
    fn state() -> MetaState {
        let text = |text: &str| text.to_owned();
        let facts = NodeFacts { grpc: text("n1:1"), http: text("n1:2"), version: text("1"), ..NodeFacts::default() };
        let facts = NodeFacts { lowest_format: 1, highest_format: 1, capacity_bytes: 7, ..facts };
        let founding = Founding { cluster: 1, facts, nonce: 1, rules: 1, placement: initial_placement(1, Seed(1)) };
        let mut state = None;
        let command = MetaCommand::Found(Box::new(founding));
        apply(&mut state, Request { id: 1, proposed_ms: 0, command }, 0).unwrap();
        state.unwrap()
    }

    fn node(seen: &mut Seen, report: ReportAnswer) -> NodeInfo {
        seen.survey(1, &state(), vec![(NODE, report)]).inventory.nodes.remove(&NODE).unwrap()
    }

    #[test]
    fn what_a_node_says_of_its_disk_and_its_clock_reaches_the_planner() {
        let mut seen = Seen::default();
        let said = ReportAnswer { total_bytes: 100, free_bytes: 30, ..ReportAnswer::default() };
        let info = node(&mut seen, said.clone());
        assert_eq!((info.disk_bytes, info.disk_used_bytes, info.disk_full, info.clock_wrong), (100, 70, false, false));
        let info = node(&mut seen, ReportAnswer { disk_full: "nearly".to_owned(), ..said.clone() });
        assert!(info.disk_full);
        assert!(node(&mut seen, ReportAnswer { clock_off_ms: Some(-6000), ..said }).clock_wrong);
    }

    #[test]
    fn no_replica_has_caught_up_where_another_one_that_is_a_member_runs() {
        let caught_up = |member: u64, runs: u64| {
            let voters = vec![Member { replica: member, node: NODE.0 }];
            let replica = ReplicaReport {
                group: 0,
                replica: runs,
                leads: true,
                members: Some(Members { voters, learners: Vec::new() }),
                membership: Some(wire_position(LogPosition {
                    term: 1,
                    leader: bellwether_raft::ReplicaId(member),
                    index: 1,
                })),
                progress: vec![Progress { replica: 1, ..Progress::default() }],
                ..ReplicaReport::default()
            };
            let report = ReportAnswer { replicas: vec![replica], ..ReportAnswer::default() };
            let survey = Seen::default().survey(1, &state(), vec![(NODE, report)]);
            survey.placement.group(GROUP).unwrap().on(NODE).unwrap().caught_up
        };
        assert!(caught_up(1, 1));
        assert!(!caught_up(9, 9), "the map says 1, and the node has 9");
        assert!(caught_up(9, 1), "9 is a member still, and lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_counts_as_damaged_once_it_has_been_for_a_while() {
        let mut seen = Seen::default();
        let mut damaged = |is_damaged| {
            let replica = ReplicaReport { group: 0, replica: 1, damaged: is_damaged, ..ReplicaReport::default() };
            let report = ReportAnswer { replicas: vec![replica], ..ReportAnswer::default() };
            seen.survey(1, &state(), vec![(NODE, report)]).damaged
        };
        assert!(damaged(true).is_empty());
        tokio::time::advance(DAMAGED_WAIT).await;
        assert_eq!(damaged(true), BTreeMap::from([(GROUP, ReplicaId(1))]));
        assert!(damaged(false).is_empty());
        assert!(damaged(true).is_empty(), "it has served in between");
    }
}
