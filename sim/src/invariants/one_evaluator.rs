//! By each ring a rule group is evaluated by one node alone, and its alert group takes what came of that while the ring is the same, each
//! time for a later time: who was replaced comes to nothing. As of [`super::alert_kept`], times are not compared once one was set back.

use std::collections::BTreeMap;

use bellwether_probe::Seen;

/// See the module.
#[derive(Debug, Default)]
pub struct OneEvaluator {
    /// Who evaluates, by rule group and epoch of the ring.
    evaluators: BTreeMap<(String, u64), u64>,
    /// Epochs and times of what was taken, by rule group and entry of the log.
    taken: BTreeMap<String, BTreeMap<u64, (u64, i64)>>,
}

impl OneEvaluator {
    /// Judges what was done, by what was done before.
    pub fn judge(&mut self, seen: &Seen, is_set_back: bool) -> Result<(), String> {
        let judged = match seen {
            Seen::Evaluated { node, rule_group, epoch, .. } => self.evaluated(*node, rule_group, *epoch),
            Seen::Taken { entry, ring, rule_group, epoch, at } => {
                self.taken(rule_group, (*entry, *ring), (*epoch, *at), is_set_back)
            }
        };
        judged.map_err(|reason| format!("rule groups have one evaluator: {reason}"))
    }

    fn evaluated(&mut self, node: u64, rule_group: &str, epoch: u64) -> Result<(), String> {
        let known = *self.evaluators.entry((rule_group.to_owned(), epoch)).or_insert(node);
        if known == node {
            return Ok(());
        }
        Err(format!("by the ring {epoch} nodes {known} and {node} evaluate {rule_group}"))
    }

    fn taken(
        &mut self,
        rule_group: &str,
        (entry, ring): (u64, u64),
        (epoch, at): (u64, i64),
        is_set_back: bool,
    ) -> Result<(), String> {
        if epoch != ring {
            return Err(format!("{rule_group}: entry {entry} is by the ring {epoch}, and taken by the ring {ring}"));
        }
        let all = self.taken.entry(rule_group.to_owned()).or_default();
        let known = *all.entry(entry).or_insert((epoch, at));
        if known != (epoch, at) {
            return Err(format!("{rule_group}: entry {entry} is {known:?} and {:?}", (epoch, at)));
        }
        let before = all.range(..entry).next_back().map(|(_, (_, at))| *at);
        let after = all.range(entry + 1..).next().map(|(_, (_, at))| *at);
        if !is_set_back && (before.is_some_and(|before| before >= at) || after.is_some_and(|after| after <= at)) {
            return Err(format!("{rule_group}: entry {entry} is for {at}, after {before:?} and before {after:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluated(node: u64, epoch: u64) -> Seen {
        Seen::Evaluated { node, rule_group: "g".to_owned(), epoch, at: 0 }
    }

    fn taken(entry: u64, ring: u64, epoch: u64, at: i64) -> Seen {
        Seen::Taken { entry, ring, rule_group: "g".to_owned(), epoch, at }
    }

    fn judged(all: &[Seen], is_set_back: bool) -> bool {
        let mut evaluators = OneEvaluator::default();
        all.iter().all(|seen| evaluators.judge(seen, is_set_back).is_ok())
    }

    #[test]
    fn a_second_evaluator_is_noticed() {
        assert!(judged(&[evaluated(1, 5), evaluated(1, 5), evaluated(2, 6)], false));
        assert!(!judged(&[evaluated(1, 5), evaluated(2, 5)], false));
    }

    #[test]
    fn an_evaluation_of_an_old_ring_is_noticed_and_one_for_an_earlier_time() {
        let in_order = [taken(7, 5, 5, 100), taken(9, 5, 5, 200), taken(7, 5, 5, 100), taken(8, 5, 5, 150)];
        assert!(judged(&in_order, false));
        assert!(!judged(&[taken(7, 6, 5, 100)], false));
        for back in [[taken(7, 5, 5, 100), taken(8, 5, 5, 90)], [taken(8, 5, 5, 90), taken(7, 5, 5, 100)]] {
            assert!(!judged(&back, false) && judged(&back, true));
        }
        assert!(!judged(&[taken(7, 5, 5, 100), taken(7, 5, 5, 110)], true), "replicas take the same");
    }
}
