//! What is wrong with a cluster, or will be soon, and what to do about it.

use std::collections::BTreeSet;

use bellwether_model::NodeId;
use bellwether_placement::NodeState;
use bellwether_proto::v1::{Finding, Severity};

use super::picture::Picture;

/// Clocks that differ by more than this are told of: group time follows the leader's clock.
const CLOCK_OFFSET_MS_WARNING: u64 = 500;
/// Clocks that differ by more than this make samples look too old or too new.
const CLOCK_OFFSET_MS_ERROR: u64 = 60_000;
/// A replica that lacks more entries than this is told of.
const LAG_ENTRIES_WARNING: u64 = 10_000;

/// Findings, worst first.
pub fn findings(picture: &Picture) -> Vec<Finding> {
    let mut found = Vec::new();
    meta_group(picture, &mut found);
    nodes(picture, &mut found);
    clocks(picture, &mut found);
    disks(picture, &mut found);
    groups(picture, &mut found);
    versions(picture, &mut found);
    held(picture, &mut found);
    let mut found = together(found);
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// What is the same for many shard groups or nodes is told once.
fn together(found: Vec<Finding>) -> Vec<Finding> {
    let mut told: Vec<(Finding, Vec<String>)> = Vec::new();
    for finding in found {
        let subject = finding.subject.clone();
        let same = |told: &&mut (Finding, Vec<String>)| {
            let (before, _) = told;
            let kind = |finding: &Finding| finding.subject.rsplit_once(' ').map(|(kind, _)| kind.to_owned());
            let alike = kind(before).is_some() && kind(before) == kind(&finding);
            alike
                && (before.severity, &before.problem, &before.advice)
                    == (finding.severity, &finding.problem, &finding.advice)
        };
        match told.iter_mut().find(same) {
            Some((_, subjects)) => subjects.push(subject),
            None => told.push((finding, vec![subject])),
        }
    }
    told.into_iter().map(|(finding, subjects)| Finding { subject: name(&subjects), ..finding }).collect()
}

/// `shard group 3`, or `shard groups 3, 4, 7`.
fn name(subjects: &[String]) -> String {
    match subjects {
        [only] => only.clone(),
        many => {
            let parts = many.iter().filter_map(|subject| subject.rsplit_once(' '));
            let kind = parts.clone().map(|(kind, _)| kind).next().unwrap_or_default();
            format!("{kind}s {}", parts.map(|(_, id)| id).collect::<Vec<_>>().join(", "))
        }
    }
}

fn held(picture: &Picture, found: &mut Vec<Finding>) {
    for text in picture.held() {
        // A plan says `group 7: why`.
        let (subject, problem) = match text.split_once(": ") {
            Some((group, problem)) if group.starts_with("group ") => (format!("shard {group}"), problem.to_owned()),
            _ => ("balance".to_owned(), text),
        };
        found.push(warning(subject, problem, "it is done as soon as that is possible: bwctl rebalance --dry-run"));
    }
}

fn warning(subject: impl Into<String>, problem: impl Into<String>, advice: impl Into<String>) -> Finding {
    let severity = Severity::Warning.into();
    Finding { severity, subject: subject.into(), problem: problem.into(), advice: advice.into() }
}

fn error(subject: impl Into<String>, problem: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { severity: Severity::Error.into(), ..warning(subject, problem, advice) }
}

/// The voters that do not answer, where they are so many that the others are no quorum. A leader that nobody hears any more may go
/// on believing that it leads.
fn quorum_lost(voters: &BTreeSet<NodeId>, is_up: impl Fn(NodeId) -> bool) -> Option<String> {
    let down: Vec<NodeId> = voters.iter().copied().filter(|node| !is_up(*node)).collect();
    (down.len() * 2 >= voters.len().max(1)).then(|| list(down.into_iter()))
}

fn meta_group(picture: &Picture, found: &mut Vec<Finding>) {
    let voters = &picture.meta_voters;
    if let Some(down) = quorum_lost(voters, |node| picture.is_up(node)) {
        let problem = "more than half of its voters must answer, and do not: nothing of the cluster can be changed";
        let advice = format!(
            "start {down}, of {}; if they are gone for ever: stop this node and start it once with --recover-meta-group",
            list(voters.iter().copied())
        );
        found.push(error("meta group", problem, advice));
        // Its voters are those of the alert groups, too.
        let problem = "nothing can be changed of alerts, and nobody is told of them";
        found.push(error("alerting", problem, "as for the meta group"));
        return;
    }
    if picture.meta_leader.is_none() {
        let advice = "an election is under way: ask again in some seconds";
        found.push(error("meta group", "no node leads it: nothing of the cluster can be changed", advice));
    }
    for group in &picture.alert_groups_without_leader {
        let problem = "no node leads it: rules of its tenants are not evaluated, and nobody is told of alerts";
        found.push(error(
            format!("alert group {group}"),
            problem,
            "an election is under way: ask again in some seconds",
        ));
    }
}

fn nodes(picture: &Picture, found: &mut Vec<Finding>) {
    let grace = std::time::Duration::from_millis(picture.policy.grace_ms);
    for (id, node) in picture.down_nodes() {
        let advice = format!(
            "start it; if it is gone: bwctl node replace {id} NEW. After {grace:?} of silence (setting \
             repair.grace) its copies are made again elsewhere"
        );
        found.push(warning(format!("node {id}"), format!("does not answer at {}", node.facts.grpc), advice));
    }
    let (members, factor) = (picture.state.active_nodes().count(), picture.policy.replication_factor as usize);
    if members < factor {
        let problem = format!("{factor} copies are wanted, {members} nodes are there to hold them");
        found.push(warning("cluster", problem, "add nodes: bwctl node add"));
    }
    for (id, node) in picture.state.present_nodes() {
        let replicas = picture.state.replicas_on(id);
        if node.state == NodeState::Draining && replicas == 0 {
            let advice = format!("bwctl node remove {id}: its process ends by itself");
            found.push(warning(format!("node {id}"), "is drained and holds nothing any more", advice));
        }
    }
}

fn clocks(picture: &Picture, found: &mut Vec<Finding>) {
    for (id, off_ms) in picture.wrong_clocks() {
        let problem = format!("its clock differs by {off_ms:+} ms from most nodes' clocks, so it leads nothing");
        found.push(error(format!("node {id}"), problem, "set its clock by NTP: it leads again by itself"));
    }
    let wrong: BTreeSet<NodeId> = picture.wrong_clocks().map(|(node, _)| node).collect();
    for (id, _) in picture.state.present_nodes() {
        // Where it is known who is wrong, differences from that one say nothing.
        if wrong.contains(&id) || wrong.contains(&picture.own) {
            continue;
        }
        let Some(offset) = picture.clock_offset_ms(id) else { continue };
        let finding: fn(String, String, String) -> Finding = match offset.unsigned_abs() {
            CLOCK_OFFSET_MS_ERROR.. => error,
            CLOCK_OFFSET_MS_WARNING.. => warning,
            _ => continue,
        };
        let problem = format!("its clock differs by {offset:+} ms from that of node {}", picture.own);
        found.push(finding(format!("node {id}"), problem, "set the clocks by NTP on all nodes".to_owned()));
    }
}

fn disks(picture: &Picture, found: &mut Vec<Finding>) {
    for (id, report) in &picture.reports {
        if !report.disk_full.is_empty() {
            let advice = "it takes no samples, leads nothing where others can, and is not given anything: make room, add a \
                          node, or shorten the retention";
            found.push(error(format!("node {id}"), report.disk_full.clone(), advice));
            continue;
        }
        if report.total_bytes == 0 {
            continue;
        }
        let percent = report.free_bytes.saturating_mul(100) / report.total_bytes;
        let is_low = report.free_bytes < picture.policy.free_disk_bytes_min
            || percent < u64::from(picture.policy.free_disk_percent_min);
        if is_low {
            let problem = format!("{percent} % of its disk are free ({} MiB)", report.free_bytes >> 20);
            let advice = "nothing is moved there any more, and writes stop before it is full: make room, add a node, or \
                          shorten the retention";
            found.push(warning(format!("node {id}"), problem, advice));
        }
    }
}

fn groups(picture: &Picture, found: &mut Vec<Finding>) {
    let wanted = picture.copies_wanted();
    for group in picture.state.placement.groups() {
        let subject = || format!("shard group {}", group.id);
        let voters = group.voters().map(|replica| replica.node).collect();
        if let Some(down) = quorum_lost(&voters, |node| picture.is_up(node)) {
            let problem = "more than half of its voters must answer, and do not: its series cannot be written";
            let advice = format!("start {down}; if they are gone for ever: bwctl group recover {}", group.id);
            found.push(error(subject(), problem, advice));
        } else if picture.leader(group.id).is_none() {
            let advice = "an election is under way, or its replicas are in trouble: ask again in some seconds";
            found.push(error(subject(), "no replica leads: its series cannot be written", advice));
        }
        match picture.copies_serving(group) {
            0 => found.push(error(subject(), "no copy serves", "start its nodes; their logs say more")),
            1 if wanted > 1 => {
                let problem = format!("1 copy of {wanted} serves: one more failure stops it");
                found.push(error(subject(), problem, "see what is said of its nodes"));
            }
            serving if serving < wanted => {
                let problem = format!("{serving} copies of {wanted} serve");
                found.push(warning(subject(), problem, "see what is said of its nodes; copies are made by themselves"));
            }
            _ => {}
        }
        for replica in &group.replicas {
            let Some(report) = picture.replica(group.id, replica.node) else { continue };
            if !report.trouble.is_empty() {
                let problem = format!("the copy on node {} does not serve: {}", replica.node, report.trouble);
                found.push(warning(subject(), problem, "the node's log says more; it is tried again by itself"));
            }
            if let Some(lag) = picture.lag(group.id, replica.node).filter(|lag| *lag > LAG_ENTRIES_WARNING) {
                let problem = format!("the copy on node {} is {lag} entries behind", replica.node);
                found.push(warning(subject(), problem, "it catches up by itself, unless its node is overloaded"));
            }
        }
    }
}

fn versions(picture: &Picture, found: &mut Vec<Finding>) {
    let versions: BTreeSet<&str> = picture.state.present_nodes().map(|(_, node)| node.facts.version.as_str()).collect();
    if versions.len() > 1 {
        let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
        found.push(warning("cluster", format!("nodes run versions {versions}"), "end the upgrade on all nodes"));
    } else if picture.finalize_version() > picture.state.active_version {
        let problem =
            format!("all nodes know version {} of what is replicated, none uses it", picture.finalize_version());
        found.push(warning("cluster", problem, "when you are content with the upgrade: bwctl cluster finalize"));
    }
}

/// `nodes 1 and 3`, or nothing.
pub(super) fn list(nodes: impl Iterator<Item = NodeId>) -> String {
    let nodes: Vec<String> = nodes.map(|node| node.to_string()).collect();
    match nodes.split_last() {
        None => String::new(),
        Some((only, [])) => format!("node {only}"),
        Some((last, others)) => format!("nodes {} and {last}", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_told_once() {
        let of = |subject: &str, problem: &str| warning(subject, problem, "wait");
        let found = together(vec![
            of("shard group 0", "2 copies of 3 serve"),
            of("node 2", "2 copies of 3 serve"),
            of("shard group 3", "2 copies of 3 serve"),
            of("cluster", "x"),
            of("shard group 4", "no copy serves"),
        ]);
        let subjects: Vec<&str> = found.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["shard groups 0, 3", "node 2", "cluster", "shard group 4"]);
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters() {
        let lost = |voters: &[u64], up: &[u64]| {
            quorum_lost(&voters.iter().copied().map(NodeId).collect(), |node| up.contains(&node.0))
        };
        assert_eq!(lost(&[1, 2, 3], &[1, 3]), None);
        assert_eq!(lost(&[1, 2, 3], &[1]).as_deref(), Some("nodes 2 and 3"));
        assert_eq!(lost(&[1, 2], &[1]).as_deref(), Some("node 2"));
        assert_eq!(lost(&[1], &[1]), None);
        assert_eq!(lost(&[], &[]), None);
    }

    #[test]
    fn nodes_are_listed_for_people() {
        let of = |nodes: &[u64]| list(nodes.iter().copied().map(NodeId));
        assert_eq!([of(&[]), of(&[1]), of(&[1, 2, 3])], ["", "node 1", "nodes 1, 2 and 3"]);
    }
}
