//! The nodes that a client knows, and which of them to take next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::connect::{Connect, channel, is_address};

/// A node that could not be reached rests for so long, twice as long after each further failure.
const REST_FIRST: Duration = Duration::from_millis(200);
/// No node rests for longer.
const REST_MAX: Duration = Duration::from_secs(10);

/// See the module.
pub struct Nodes {
    connect: Arc<dyn Connect>,
    known: Mutex<Known>,
}

struct Known {
    given: Vec<String>,
    /// What the cluster said; empty until it has.
    found: Vec<String>,
    links: BTreeMap<String, Link>,
    /// Rises with each choice: calls are spread over the nodes.
    turn: usize,
}

#[derive(Default)]
struct Link {
    /// Made when it is first needed.
    channel: Option<Channel>,
    failures: u32,
    rests_until: Option<Instant>,
}

impl Nodes {
    /// `given` are addresses, at least one.
    pub fn new(given: Vec<String>, connect: Arc<dyn Connect>) -> Nodes {
        let known = Known { given, found: Vec::new(), links: BTreeMap::new(), turn: 0 };
        Nodes { connect, known: Mutex::new(known) }
    }

    /// Follows what the cluster says of its nodes. What cannot be an address for others is left out.
    pub fn found(&self, addresses: impl IntoIterator<Item = String>) {
        let mut known = self.known.lock();
        let addresses: BTreeSet<String> = addresses.into_iter().filter(|address| is_reachable(address)).collect();
        known.found = addresses.into_iter().collect();
        let Known { given, found, links, .. } = &mut *known;
        links.retain(|address, _| given.contains(address) || found.contains(address));
    }

    /// Addresses, those that the cluster named first.
    pub fn addresses(&self) -> Vec<String> {
        let known = self.known.lock();
        let given = known.given.iter().filter(|address| !known.found.contains(address));
        known.found.iter().chain(given).cloned().collect()
    }

    /// A node, rather one that was not tried and does not rest.
    pub fn pick(&self, tried: &BTreeMap<String, u32>) -> Result<(String, Channel), (String, tonic::transport::Error)> {
        let addresses = self.addresses();
        let mut known = self.known.lock();
        let (now, turn) = (Instant::now(), known.turn);
        known.turn = known.turn.wrapping_add(1);
        let found = known.found.len();
        let cost = |(position, address): &(usize, String)| {
            let rests = known.links.get(address).and_then(|link| link.rests_until).is_some_and(|until| now < until);
            let times = tried.get(address).copied().unwrap_or(0);
            // Those that the cluster named take turns; those that were given are for when these fail, or while there are
            // none, in their order.
            let place = if *position < found { (position + found - turn % found) % found } else { *position };
            (times, rests, place)
        };
        let all = addresses.into_iter().enumerate();
        let (_, address) = all.min_by_key(cost).expect("a client has an address");
        let link = known.links.entry(address.clone()).or_default();
        let channel = match &link.channel {
            Some(channel) => channel.clone(),
            None => match channel(&address, self.connect.clone()) {
                Ok(channel) => link.channel.insert(channel).clone(),
                Err(error) => return Err((address, error)),
            },
        };
        Ok((address, channel))
    }

    /// The node answered.
    pub fn worked(&self, address: &str) {
        if let Some(link) = self.known.lock().links.get_mut(address) {
            (link.failures, link.rests_until) = (0, None);
        }
    }

    /// The node could not be reached.
    pub fn failed(&self, address: &str) {
        if let Some(link) = self.known.lock().links.get_mut(address) {
            let rest = REST_FIRST.saturating_mul(1 << link.failures.min(16)).min(REST_MAX);
            link.failures = link.failures.saturating_add(1);
            link.rests_until = Some(Instant::now() + rest);
        }
    }
}

/// Whether an address can mean a node from elsewhere: one that listens everywhere has said nothing.
fn is_reachable(address: &str) -> bool {
    is_address(address) && !address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Tcp;

    fn nodes(given: &[&str]) -> Nodes {
        Nodes::new(given.iter().map(ToString::to_string).collect(), Arc::new(Tcp))
    }

    fn pick(nodes: &Nodes, tried: &[&str]) -> String {
        let tried = tried.iter().map(|address| (address.to_string(), 1)).collect();
        nodes.pick(&tried).unwrap().0
    }

    #[tokio::test(start_paused = true)]
    async fn given_nodes_are_taken_in_order_until_the_cluster_names_its_own() {
        let nodes = nodes(&["a:1", "b:1"]);
        assert_eq!([pick(&nodes, &[]), pick(&nodes, &[])], ["a:1", "a:1"]);
        assert_eq!(pick(&nodes, &["a:1"]), "b:1");
        nodes.found(["b:1", "c:1", "0.0.0.0:1", ""].map(str::to_owned));
        let taken: BTreeSet<String> = (0..4).map(|_| pick(&nodes, &[])).collect();
        assert_eq!(taken, BTreeSet::from(["b:1".to_owned(), "c:1".to_owned()]));
        assert_eq!(pick(&nodes, &["b:1", "c:1"]), "a:1");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_cannot_be_reached_rests() {
        let nodes = nodes(&["a:1", "b:1"]);
        assert_eq!(pick(&nodes, &[]), "a:1");
        nodes.failed("a:1");
        assert_eq!(pick(&nodes, &[]), "b:1");
        // Nobody else is left.
        nodes.failed("b:1");
        assert_eq!(pick(&nodes, &[]), "a:1");
        nodes.worked("b:1");
        assert_eq!(pick(&nodes, &[]), "b:1");
        tokio::time::advance(REST_FIRST * 2).await;
        assert_eq!(pick(&nodes, &[]), "a:1");
    }
}
