//! Which node evaluates which alert rule: consistent hashing of rule ids over the live nodes.
//!
//! A pure function of the nodes and the rule's id, so that everybody who knows the ring agrees. A node that comes or goes
//! moves only the rules that it takes or leaves.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};

use bellwether_model::NodeId;
use hashring::HashRing;
use xxhash_rust::xxh3::Xxh3;

/// Points of each node on the ring: more spread rules more evenly and cost more memory.
pub const POINTS_PER_NODE: u32 = 128;

/// Who evaluates what.
#[derive(Debug, Clone)]
pub struct EvaluatorRing {
    ring: HashRing<Point, RingHash>,
    nodes: BTreeSet<NodeId>,
}

/// One of a node's points on the ring.
#[derive(Debug, Clone, Copy)]
struct Point {
    node: NodeId,
    number: u32,
}

/// Every node must come to the same ring: the hash is fixed, and fed in one byte order.
#[derive(Debug, Clone, Copy)]
struct RingHash;

struct RingHasher(Xxh3);

impl std::hash::Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.node.0.to_le_bytes());
        state.write(&self.number.to_le_bytes());
    }
}

/// A rule's id, fed as its bytes alone.
struct RuleKey<'a>(&'a [u8]);

impl std::hash::Hash for RuleKey<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

impl BuildHasher for RingHash {
    type Hasher = RingHasher;

    fn build_hasher(&self) -> RingHasher {
        RingHasher(Xxh3::new())
    }
}

impl Hasher for RingHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.digest()
    }
}

impl EvaluatorRing {
    /// The ring of these nodes.
    pub fn new(nodes: BTreeSet<NodeId>) -> EvaluatorRing {
        let mut ring = HashRing::with_hasher(RingHash);
        let points = |node| (0..POINTS_PER_NODE).map(move |number| Point { node, number });
        ring.batch_add(nodes.iter().copied().flat_map(points).collect());
        EvaluatorRing { ring, nodes }
    }

    /// The nodes on it.
    pub fn nodes(&self) -> &BTreeSet<NodeId> {
        &self.nodes
    }

    /// The node that evaluates the rule; none while there are no nodes.
    pub fn evaluator(&self, rule_id: &[u8]) -> Option<NodeId> {
        self.ring.get(&RuleKey(rule_id)).map(|point| point.node)
    }

    /// The nodes that evaluate the rule, each should the ones before it be gone; all different, `count` at most.
    pub fn evaluators(&self, rule_id: &[u8], count: usize) -> Vec<NodeId> {
        // What hashring calls replicas can be one node several times: take the whole ring, keep the first distinct nodes.
        let around = self.ring.get_with_replicas(&RuleKey(rule_id), self.ring.len()).unwrap_or_default();
        let wanted = count.min(self.nodes.len());
        let mut found = Vec::with_capacity(wanted);
        for Point { node, .. } in around {
            if found.len() == wanted {
                break;
            }
            if !found.contains(&node) {
                found.push(node);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const RULES: u32 = 4000;

    fn ring(nodes: impl IntoIterator<Item = u64>) -> EvaluatorRing {
        EvaluatorRing::new(nodes.into_iter().map(NodeId).collect())
    }

    fn rules() -> impl Iterator<Item = Vec<u8>> {
        (0..RULES).map(|number| format!("rule-{number}").into_bytes())
    }

    /// Frozen: nodes that disagree would evaluate a rule twice or not at all.
    #[test]
    fn who_evaluates_what_is_golden() {
        let ring = ring(1..=5);
        let lines: Vec<String> = ["", "a", "tenant/group/HighLatency", "rule-7"]
            .map(|rule| {
                let nodes =
                    ring.evaluators(rule.as_bytes(), 3).iter().map(|node| node.0.to_string()).collect::<Vec<_>>();
                format!("{rule}: {}", nodes.join(" "))
            })
            .into();
        expect_test::expect![[r#"
            : 4 1 5
            a: 2 4 5
            tenant/group/HighLatency: 1 4 2
            rule-7: 2 1 5"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn evaluators_are_different_nodes_and_begin_with_the_first() {
        let ring = ring([3, 5, 9]);
        for rule in rules().take(200) {
            let all = ring.evaluators(&rule, 10);
            assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), *ring.nodes());
            assert_eq!(all.len(), 3);
            assert_eq!(ring.evaluators(&rule, 1), [ring.evaluator(&rule).unwrap()]);
            assert_eq!(ring.evaluators(&rule, 2), all[..2]);
        }
    }

    #[test]
    fn rules_are_spread_over_the_nodes() {
        let ring = ring(1..=5);
        let mut counts = BTreeMap::<NodeId, u32>::new();
        rules().for_each(|rule| *counts.entry(ring.evaluator(&rule).unwrap()).or_default() += 1);
        let mean = RULES / 5;
        assert!(counts.values().all(|count| (mean * 7 / 10..mean * 13 / 10).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_node_that_comes_only_takes() {
        let (before, after) = (ring(1..=5), ring(1..=6));
        let moved: Vec<_> = rules().filter(|rule| before.evaluator(rule) != after.evaluator(rule)).collect();
        assert!(moved.iter().all(|rule| after.evaluator(rule) == Some(NodeId(6))));
        let fair = RULES as usize / 6;
        assert!((fair * 6 / 10..fair * 14 / 10).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn a_node_that_goes_leaves_its_rules_to_the_next_in_line() {
        let (before, after) = (ring(1..=4), ring(1..=3));
        for rule in rules() {
            let next = before.evaluators(&rule, 2).into_iter().find(|node| *node != NodeId(4));
            assert_eq!(after.evaluator(&rule), next);
        }
    }

    #[test]
    fn an_empty_ring_evaluates_nothing() {
        assert_eq!(ring([]).evaluator(b"a"), None);
        assert_eq!(ring([]).evaluators(b"a", 3), []);
    }
}
