//! All that would be done, in order: plans carried out on a copy of the map until one is empty.

use bellwether_model::RefEpoch;

use crate::changes::ChangeError;
use crate::{Inventory, Move, Placement, Policy, Step, plan};

/// Plans that a preview looks ahead, at most.
pub const PREVIEW_ROUNDS_MAX: usize = 1000;

/// The moves that lead from here to where nothing is left to do, as if every step went well and loads stayed as they are;
/// the first of them if there are very many.
pub fn preview(placement: &Placement, inventory: &Inventory, policy: &Policy) -> Vec<Move> {
    let (mut placement, mut inventory) = (placement.clone(), inventory.clone());
    catch_up(&mut placement, &inventory);
    let mut moves = Vec::new();
    for _ in 0..PREVIEW_ROUNDS_MAX {
        let next = plan(&placement, &inventory, policy).moves;
        if next.is_empty() {
            break;
        }
        for step in next {
            carry_out(&mut placement, &mut inventory, &step).expect("a plan's moves fit the map that it was made for");
            moves.push(step);
        }
        catch_up(&mut placement, &inventory);
    }
    moves
}

/// What the map looks like once a move is done.
fn carry_out(placement: &mut Placement, inventory: &mut Inventory, planned: &Move) -> Result<(), ChangeError> {
    let group = planned.group;
    let bytes = placement.group(group).map_or(0, |group| group.load.bytes);
    match &planned.step {
        Step::AddLearner { node, replaces } => {
            placement.add_learner(group, *node, *replaces)?;
            if let Some(info) = inventory.nodes.get_mut(node) {
                info.disk_used_bytes = info.disk_used_bytes.saturating_add(bytes);
            }
        }
        Step::ChangeVoters { voters } => {
            placement.change_voters(group, voters)?;
            let leader = placement.group(group).and_then(|group| group.leader);
            if leader.is_some_and(|leader| !voters.contains(&leader)) {
                placement.observe_leader(group, voters.first().copied());
            }
        }
        Step::RemoveReplica { node } => {
            placement.remove_replica(group, *node)?;
            if let Some(info) = inventory.nodes.get_mut(node) {
                info.disk_used_bytes = info.disk_used_bytes.saturating_sub(bytes);
            }
        }
        Step::TransferLeader { to, .. } => placement.observe_leader(group, Some(*to)),
        Step::Split { at } => {
            // The preview's child is nobody's incarnation.
            placement.begin_split(group, *at, RefEpoch(0))?;
            let child = placement.finish_split(group)?;
            let leader = placement.group(group).and_then(|group| group.leader);
            placement.observe_leader(child, leader);
        }
    }
    Ok(())
}

/// Every replica on a node that answers catches up.
fn catch_up(placement: &mut Placement, inventory: &Inventory) {
    let replicas =
        placement.groups().iter().flat_map(|group| group.replicas.iter().map(|replica| (group.id, *replica)));
    let behind: Vec<_> = replicas
        .filter(|(_, replica)| !replica.caught_up && inventory.is_up(replica.node))
        .map(|(group, replica)| (group, replica.id))
        .collect();
    for (group, replica) in behind {
        placement.observe_caught_up(group, replica, true);
    }
}
