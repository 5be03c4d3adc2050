//! Where two logs have the same entry, all before it is the same, as far as both still have it; and terms ascend within a log.

use std::collections::BTreeMap;

use bellwether_raft::LogOutline;

use super::Watcher;
use crate::cluster::observe::NodeSeen;

/// See the module.
pub struct LogMatching;

impl Watcher for LogMatching {
    fn name(&self) -> &'static str {
        "logs match"
    }

    fn look(&mut self, nodes: &[NodeSeen]) -> Result<(), String> {
        let mut logs: BTreeMap<u32, Vec<(usize, &LogOutline)>> = BTreeMap::new();
        for node in nodes {
            for group in &node.groups {
                logs.entry(group.group).or_default().push((node.number, &group.log));
            }
        }
        for (group, logs) in logs {
            for (at, (number, log)) in logs.iter().enumerate() {
                if let Some(pair) = log.runs.windows(2).find(|pair| pair[1] < pair[0]) {
                    return Err(format!("group {group}: the log of node {number} has {} after {}", pair[1], pair[0]));
                }
                for (other, others) in &logs[at + 1..] {
                    if let Some(index) = parting(log, others) {
                        let (one, two) = (log.at(index), others.at(index));
                        return Err(format!(
                            "group {group} at index {index}: node {number} has {one:?}, node {other} {two:?}, and later the same"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

/// An index at which two logs differ although they are the same behind it.
fn parting(one: &LogOutline, two: &LogOutline) -> Option<u64> {
    let first = one.first().max(two.first());
    let last = one.last?.index.min(two.last?.index);
    // Within runs nothing changes: only their beginnings and the ends have to be looked at.
    let begins = one.runs.iter().chain(&two.runs).flat_map(|run| [Some(run.index), run.index.checked_sub(1)]);
    let mut looks: Vec<u64> = begins.flatten().chain([first, last]).filter(|at| (first..=last).contains(at)).collect();
    looks.sort_unstable();
    let is_same = |index: &u64| one.at(*index) == two.at(*index);
    let latest_same = looks.iter().rposition(is_same)?;
    looks[..latest_same].iter().copied().find(|index| !is_same(index))
}

#[cfg(test)]
mod tests {
    use bellwether_raft::{LogPosition, ReplicaId};

    use super::*;

    fn log(runs: &[(u64, u64)], last: u64) -> LogOutline {
        let at = |term, index| LogPosition { term, leader: ReplicaId(term), index };
        let term = runs[runs.len() - 1].0;
        let runs = runs.iter().map(|(term, index)| at(*term, *index)).collect();
        LogOutline { vote: None, cut: None, runs, last: Some(at(term, last)) }
    }

    #[test]
    fn logs_may_part_once_and_not_meet_again() {
        let one = log(&[(1, 0), (2, 5)], 9);
        assert_eq!(parting(&one, &log(&[(1, 0)], 12)), None, "they part at 5");
        assert_eq!(parting(&one, &log(&[(1, 0), (2, 5)], 20)), None, "one is longer");
        assert_eq!(parting(&one, &log(&[(1, 0), (2, 7)], 20)), Some(5), "both have 7 of term 2");
    }
}
