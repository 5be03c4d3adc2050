//! A majority that is gone for ever: two machines die, and with them most voters of some groups. An operator begins those anew
//! with what is left of them. Everything was at rest, so that nothing may be missing.

use super::{EXAMINATION_MAX, REST_MAX, Run};
use crate::cluster::clients::Phase;
use crate::cluster::coverage::Mark;
use crate::cluster::observe::is_common;
use crate::cluster::observe::{GroupSeen, NodeSeen, observe};
use crate::cluster::operator::Task;
use crate::cluster::schedule::Kind;
use crate::invariants::{content_equal, watchers};
use crate::random::Random;
use crate::work::lock;

/// Of fewer machines two are all but one of a group's voters, and of the meta group's.
const MACHINES_MIN: usize = 4;

/// Two machines, and what their loss does.
struct Loss {
    machines: [usize; 2],
    nodes: Vec<u64>,
    groups: Vec<u32>,
}

impl Run {
    /// Two machines die for ever, where the seed says so. Nothing is under way any more.
    pub(super) fn lose_a_majority(&mut self) -> Result<(), String> {
        let options = self.world.options.clone();
        if options.nodes < MACHINES_MIN || !options.kinds.contains(&Kind::LostMajority) {
            return Ok(());
        }
        // Of three copies one alone is left: it must not be one whose damage nobody has found yet.
        if self.nemesis.has_rot() {
            return Ok(());
        }
        let nodes = observe(&self.world.machines)?;
        let mut losses: Vec<Loss> = (1..=options.nodes)
            .flat_map(|first| (first + 1..=options.nodes).map(move |second| [first, second]))
            .filter_map(|machines| loss_of(machines, &nodes))
            .collect();
        if losses.is_empty() {
            return Ok(());
        }
        let chosen = Random::of(options.seed, "a majority").below(losses.len() as u64) as usize;
        let Loss { machines, nodes: lost, groups } = losses.swap_remove(chosen);
        self.world.event(format!("machines {machines:?} die for ever: groups {groups:?} lose their majority"));
        for machine in machines {
            self.nemesis.lose_for_ever(machine, &mut self.world);
        }
        self.unwatched = groups.iter().copied().collect();
        self.operators.ask(Task::Recover(groups, lost));
        self.until("groups begin anew", REST_MAX, |run, _| run.operators.at_rest())?;
        let alive: Vec<usize> = (1..=options.nodes).filter(|number| !machines.contains(number)).collect();
        self.until("what is left comes to rest", REST_MAX, |run, nodes| run.is_at_rest(nodes, &alive))?;
        // A group that began anew began at the first term again: it is another one to whoever watches.
        self.watchers = watchers();
        self.unwatched.clear();
        self.seen.clear();
        self.leaders.clear();
        lock(&self.shared.passed).clear();
        self.phase(Phase::Examine(alive.clone()));
        self.until("what is left takes writes and answers", EXAMINATION_MAX, |run, _| {
            if lock(&run.shared.passed).len() == alive.len() { Ok(()) } else { Err(lock(&run.shared.stuck).clone()) }
        })?;
        self.phase(Phase::Idle);
        self.until("what is left is equal", REST_MAX, |run, nodes| run.is_at_rest(nodes, &alive))?;
        content_equal::check(&self.world.machines, options.workload.tenants, None)?;
        self.marks.reach(Mark::MajorityLost);
        Ok(())
    }
}

/// What becomes of the groups without two machines. None where no group loses its majority, or one, or a group of all nodes, more.
fn loss_of(machines: [usize; 2], nodes: &[NodeSeen]) -> Option<Loss> {
    let lost: Vec<u64> = nodes.iter().filter(|node| machines.contains(&node.number)).map(|node| node.node).collect();
    let led: Vec<&GroupSeen> = nodes.iter().flat_map(|node| &node.groups).filter(|group| group.is_leader).collect();
    let mut groups = Vec::new();
    for group in led {
        let (all, gone) = (group.voters.len(), group.voters.iter().filter(|voter| lost.contains(voter)).count());
        match (all - gone) * 2 > all {
            true => {}
            false if is_common(group.group) || gone == all => return None,
            false => groups.push(group.group),
        }
    }
    (lost.len() == machines.len() && !groups.is_empty()).then_some(Loss { machines, nodes: lost, groups })
}
