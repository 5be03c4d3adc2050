//! Everything at once: crashes, cuts, losses, disorder, hand-overs, changes of members, flushes and false alarms, as a
//! seed decides. Whatever happens, nothing acknowledged is lost and all replicas end equal.

use super::*;
use crate::MembershipError;

/// Numbers from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = mix(self.0, 1);
        self.0 % limit
    }

    fn node(&mut self, cluster: &Cluster) -> NodeId {
        let nodes: Vec<NodeId> = cluster.hosts.keys().copied().collect();
        nodes[self.below(nodes.len() as u64) as usize]
    }
}

/// Proposes through whoever leads, and gives up soon: there may be no quorum.
async fn try_propose(cluster: &mut Cluster, bytes: usize) {
    let payload = payload(cluster.next, bytes);
    cluster.next += 1;
    for host in cluster.hosts.values() {
        if host.group.state().is_leader {
            let proposed = timeout(Duration::from_secs(1), host.group.propose(payload.clone())).await;
            if let Ok(Ok(_)) = proposed {
                cluster.acknowledged.push(payload);
                return;
            }
        }
    }
    sleep(Duration::from_millis(200)).await;
}

async fn try_change(cluster: &Cluster, wanted: Members) {
    for host in cluster.hosts.values() {
        if let (true, Some(expected)) = (host.group.state().is_leader, host.group.state().membership) {
            let changed = timeout(Duration::from_secs(2), host.group.change_members(expected, wanted.clone())).await;
            if let Ok(Err(MembershipError::Refused { reason, .. })) = changed {
                panic!("{reason}");
            }
        }
    }
}

async fn step(cluster: &mut Cluster, draw: &mut Draw) {
    let (one, other) = (draw.node(cluster), draw.node(cluster));
    match draw.below(16) {
        0 => cluster.crash(one, Duration::from_millis(draw.below(3000))).await,
        1 => cluster.network.cut_off(one),
        2 => cluster.network.lose(draw.below(200)),
        3 => cluster.network.shuffle(),
        4 | 5 => cluster.network.heal(),
        6 => drop(cluster.group(one).flush().await),
        7 => drop(cluster.group(one).transfer_leadership(ReplicaId(other), Duration::from_secs(1)).await),
        8 => cluster.hosts[&one].node.peer_lost(other),
        9 => drop(cluster.hosts[&one].node.hand_over_all(Duration::from_millis(500)).await),
        10 => try_change(cluster, members([1, 2, 3], [4])).await,
        11 => try_change(cluster, members([1, 2, 3, 4], [])).await,
        12 => try_change(cluster, members([2, 3, 4], [1])).await,
        13 => cluster.network.slow_checkpoints(Duration::from_millis(draw.below(2000))),
        _ => {
            for _ in 0..draw.below(30) {
                try_propose(cluster, 50 + draw.0 as usize % 1000).await;
            }
        }
    }
    sleep(Duration::from_millis(draw.below(500))).await;
}

async fn run(seed: u64, steps: usize) {
    let mut draw = Draw(seed);
    let mut cluster = Cluster::found(3, seed).await;
    cluster.start(4, MemDisk::new(), Arc::default()).await;
    cluster.change(members([1, 2, 3], [4])).await;
    for _ in 0..steps {
        step(&mut cluster, &mut draw).await;
    }
    cluster.network.heal();
    cluster.change(members([1, 2, 3], [4])).await;
    cluster.propose_many(3).await;
    cluster.converge().await;
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens() {
    for seed in 0..6 {
        let rng_seed = RngSeed::from_bytes(&u64::to_be_bytes(seed));
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).rng_seed(rng_seed).build().unwrap();
        // Shown when it fails.
        println!("seed {seed}");
        runtime.block_on(run(seed, 60));
    }
}
