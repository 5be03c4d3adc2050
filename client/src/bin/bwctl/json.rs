//! Messages of the cluster as JSON. Names of fields stay; fields are only added.

use bellwether_client::v1::{
    ClusterStatusResponse, Event, Finding, NodeInfo, PlannedMove, Setting, ShardInfo, TokenInfo,
};
use serde_json::{Value, json};

use crate::names::{event_kind, key_range, node_state, role, severity, token_kind, token_state};

/// Nobody is null.
fn node_or_null(node: u64) -> Option<u64> {
    Some(node).filter(|node| *node != 0)
}

pub fn status(status: &ClusterStatusResponse) -> Value {
    json!({
        "cluster": status.cluster,
        "founded_ms": status.founded_ms,
        "active_version": status.active_version,
        "finalize_version": status.finalize_version,
        "placement_epoch": status.placement_epoch,
        "node": status.node,
        "meta_leader": node_or_null(status.meta_leader),
        "meta_voters": status.meta_voters,
        "nodes": {
            "joining": status.nodes_joining,
            "active": status.nodes_active,
            "draining": status.nodes_draining,
            "down": status.nodes_down,
            "clock_wrong": status.nodes_clock_wrong,
            "behind": status.nodes_behind,
        },
        "shard_groups": {
            "total": status.shard_groups,
            "without_leader": status.groups_without_leader,
            "short_of_copies": status.groups_short_of_copies,
            "in_motion": status.groups_in_motion,
        },
        "copies_wanted": status.copies_wanted,
        "bytes": status.bytes,
        "series": status.series,
    })
}

pub fn node(node: &NodeInfo) -> Value {
    json!({
        "id": node.id,
        "address": node.address,
        "http_address": node.http_address,
        "state": node_state(node.state()),
        "up": node.up,
        "zone": node.zone,
        "version": node.version,
        "joined_ms": node.joined_ms,
        "leaders": node.leaders,
        "replicas": node.replicas,
        "meta_voter": node.meta_voter,
        "capacity_bytes": node.capacity_bytes,
        "bytes": node.bytes,
        "series": node.series,
        "free_bytes": node.free_bytes,
        "clock_offset_ms": node.clock_offset_ms,
        "clock_off_ms": node.clock_off_ms,
    })
}

pub fn shard(shard: &ShardInfo) -> Value {
    let replicas = shard.replicas.iter().map(|replica| {
        json!({
            "id": replica.id,
            "node": replica.node,
            "role": role(replica.role()),
            "lag": replica.lag,
            "replaces": replica.replaces,
            "trouble": Some(&replica.trouble).filter(|text| !text.is_empty()),
        })
    });
    json!({
        "id": shard.id,
        "range": key_range(shard.first_key, shard.last_key),
        "leader": node_or_null(shard.leader),
        "replicas": replicas.collect::<Vec<_>>(),
        "bytes": shard.bytes,
        "series": shard.series,
        "split": shard.split.as_ref().map(|split| json!({"child": split.child, "at": format!("{:016x}", split.at)})),
    })
}

pub fn event(event: &Event) -> Value {
    json!({"number": event.number, "at_ms": event.at_ms, "kind": event_kind(event.kind()), "text": event.text})
}

pub fn finding(finding: &Finding) -> Value {
    json!({
        "severity": severity(finding.severity()),
        "subject": finding.subject,
        "problem": finding.problem,
        "advice": finding.advice,
    })
}

pub fn planned(planned: &PlannedMove) -> Value {
    json!({"group": planned.group, "step": planned.step, "reason": planned.reason})
}

pub fn setting(setting: &Setting) -> Value {
    json!({
        "name": setting.name,
        "value": setting.value,
        "default": setting.default_value,
        "min": setting.min,
        "max": setting.max,
        "chosen": setting.chosen,
        "help": setting.help,
    })
}

pub fn token(token: &TokenInfo) -> Value {
    json!({
        "id": token.id,
        "kind": token_kind(token.kind()),
        "state": token_state(token.state()),
        "created_ms": token.created_ms,
        "expires_ms": token.expires_ms,
        "uses": token.uses,
        "used": token.used,
    })
}
