//! What the planner reads, made of what the nodes report and of since when they do.

use std::collections::{BTreeMap, BTreeSet};

use bellwether_model::{NodeId, ReplicaId, ShardGroupId};
use bellwether_placement::{GroupLoad, Inventory, Liveness, NodeInfo, Placement};
use bellwether_proto::peer::v1::{ReplicaReport, ReportAnswer};
use bellwether_raft::LogPosition;
use tokio::time::Instant;

use crate::meta::MetaState;
use crate::peers::error::position;

/// A replica that lacks at most so many entries has caught up: it gets the rest within a moment.
const ENTRIES_BEHIND_MAX: u64 = 512;

/// What is known at one moment.
pub struct Survey {
    /// The map, with what the reports say of leaders, loads and copies.
    pub placement: Placement,
    /// The nodes.
    pub inventory: Inventory,
    /// What the groups' leaders say of their groups.
    pub led: BTreeMap<ShardGroupId, Led>,
}

/// A group as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Led {
    /// The node that leads.
    pub node: NodeId,
    /// Where the membership stands in the log; a change must name it.
    pub membership: LogPosition,
    /// Who votes.
    pub voters: BTreeSet<ReplicaId>,
    /// Who learns.
    pub learners: BTreeSet<ReplicaId>,
    /// Who lacks next to nothing.
    pub caught_up: BTreeSet<ReplicaId>,
}

/// What one round leaves to the next.
#[derive(Default)]
pub struct Seen {
    nodes: BTreeMap<NodeId, SeenNode>,
    samples: BTreeMap<ShardGroupId, (u64, Instant)>,
}

struct SeenNode {
    is_up: bool,
    since: Instant,
    disk_bytes: u64,
    disk_used_bytes: u64,
}

impl Seen {
    /// Puts the reports of a round together.
    pub fn survey(&mut self, state: &MetaState, reports: Vec<(NodeId, ReportAnswer)>) -> Survey {
        let now = Instant::now();
        let reports: BTreeMap<NodeId, ReportAnswer> = reports.into_iter().collect();
        let inventory = self.inventory(state, &reports, now);
        let mut placement = state.placement.clone();
        let mut led = BTreeMap::new();
        for group in state.placement.groups() {
            let leader = leader_of(group.id, &reports);
            placement.observe_leader(group.id, leader.map(|(node, _)| node));
            let Some((node, report)) = leader else { continue };
            placement.observe_load(group.id, self.load(group.id, report, now));
            let Some(known) = led_of(node, report) else { continue };
            for replica in &group.replicas {
                placement.observe_caught_up(group.id, replica.id, known.caught_up.contains(&replica.id));
            }
            led.insert(group.id, known);
        }
        Survey { placement, inventory, led }
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
                disk_full: false,
            };
            (*id, info)
        });
        Inventory { nodes: nodes.collect() }
    }

    fn load(&mut self, group: ShardGroupId, report: &ReplicaReport, now: Instant) -> GroupLoad {
        let before = self.samples.insert(group, (report.samples, now));
        let samples_per_second = before.map_or(0, |(samples, at)| {
            let seconds = now.duration_since(at).as_secs_f64().max(1.0);
            (report.samples.saturating_sub(samples) as f64 / seconds) as u64
        });
        GroupLoad { bytes: report.disk_bytes, series: report.series, samples_per_second, middle: None }
    }
}

/// The report of the replica that leads; of several that believe so, the one with the newest term.
pub fn leader_of(group: ShardGroupId, reports: &BTreeMap<NodeId, ReportAnswer>) -> Option<(NodeId, &ReplicaReport)> {
    let of_group = reports.iter().flat_map(|(node, report)| report.replicas.iter().map(|replica| (*node, replica)));
    of_group
        .filter(|(_, replica)| replica.group == group.0 && replica.leads && replica.trouble.is_empty())
        .max_by_key(|(_, replica)| replica.term)
}

/// What a leader says; none while its membership changes.
fn led_of(node: NodeId, report: &ReplicaReport) -> Option<Led> {
    let members = report.members.as_ref()?;
    let of = |members: &[bellwether_proto::peer::v1::Member]| {
        members.iter().map(|member| ReplicaId(member.replica)).collect()
    };
    let near = report.progress.iter().filter(|progress| progress.behind <= ENTRIES_BEHIND_MAX);
    let own = std::iter::once(ReplicaId(report.replica));
    Some(Led {
        node,
        membership: position(report.membership?),
        voters: of(&members.voters),
        learners: of(&members.learners),
        caught_up: near.map(|progress| ReplicaId(progress.replica)).chain(own).collect(),
    })
}
