//! What a node measures about its exchange with others, by node.

use std::time::Duration;

use bellwether_model::NodeId;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Of all nodes.
pub struct PeerMetrics {
    raft_bytes: IntCounterVec,
    raft_messages: IntCounterVec,
    raft_batches: IntCounterVec,
    connects: IntCounterVec,
    in_flight: IntGaugeVec,
    up: IntGaugeVec,
    round_trip: GaugeVec,
    clock_offset: GaugeVec,
    checkpoint_bytes: IntCounterVec,
    /// Checkpoints by direction and outcome.
    pub checkpoints: IntCounterVec,
}

/// Of one node.
#[derive(Clone)]
pub struct LinkMetrics {
    /// Raft messages to it, in bytes.
    pub sent_bytes: IntCounter,
    /// Raft messages to it.
    pub sent_messages: IntCounter,
    /// Batches of them.
    pub sent_batches: IntCounter,
    /// Its answers, in bytes.
    pub received_bytes: IntCounter,
    /// Its answers.
    pub received_messages: IntCounter,
    /// Batches of them.
    pub received_batches: IntCounter,
    /// Connections made.
    pub connected: IntCounter,
    /// Attempts that failed.
    pub failed: IntCounter,
    /// Raft messages that wait or are under way.
    pub in_flight: IntGauge,
    /// 1 while there is a connection.
    pub up: IntGauge,
    round_trip: prometheus::Gauge,
    clock_offset: prometheus::Gauge,
}

const SENT: &str = "sent";
const RECEIVED: &str = "received";
const CONNECTED: &str = "connected";
const FAILED: &str = "failed";

impl PeerMetrics {
    /// Registers everything; fails only if a name is taken.
    pub fn new(registry: &Registry) -> prometheus::Result<PeerMetrics> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let family = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let gauges = |name: &str, help: &str| -> prometheus::Result<IntGaugeVec> {
            let family = IntGaugeVec::new(Opts::new(name, help), &["peer"])?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let seconds = |name: &str, help: &str| -> prometheus::Result<GaugeVec> {
            let family = GaugeVec::new(Opts::new(name, help), &["peer"])?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let by_direction = &["peer", "direction"];
        Ok(PeerMetrics {
            raft_bytes: counters(
                "bellwether_peer_raft_bytes_total",
                "Bytes of Raft requests sent to a node, and of its answers received.",
                by_direction,
            )?,
            raft_messages: counters(
                "bellwether_peer_raft_messages_total",
                "Raft requests sent to a node, and its answers received.",
                by_direction,
            )?,
            raft_batches: counters(
                "bellwether_peer_raft_batches_total",
                "Batches of Raft requests sent to a node, and of its answers received.",
                by_direction,
            )?,
            connects: counters(
                "bellwether_peer_connects_total",
                "Attempts to connect to a node for Raft, by outcome.",
                &["peer", "outcome"],
            )?,
            in_flight: gauges("bellwether_peer_raft_in_flight", "Raft requests to a node without an answer yet.")?,
            up: gauges("bellwether_peer_up", "1 while this node has a connection for Raft to the other.")?,
            round_trip: seconds("bellwether_peer_round_trip_seconds", "Shortest of the last round trips to a node.")?,
            clock_offset: seconds("bellwether_peer_clock_offset_seconds", "A node's wall clock minus this node's.")?,
            checkpoint_bytes: counters(
                "bellwether_peer_checkpoint_bytes_total",
                "Bytes of replicas' checkpoints, by direction.",
                &["direction"],
            )?,
            checkpoints: counters(
                "bellwether_peer_checkpoints_total",
                "Transfers of replicas' checkpoints, by direction and outcome.",
                &["direction", "outcome"],
            )?,
        })
    }

    /// Those of one node.
    pub fn of_peer(&self, node: NodeId) -> LinkMetrics {
        let peer = &*node.to_string();
        LinkMetrics {
            sent_bytes: self.raft_bytes.with_label_values(&[peer, SENT]),
            sent_messages: self.raft_messages.with_label_values(&[peer, SENT]),
            sent_batches: self.raft_batches.with_label_values(&[peer, SENT]),
            received_bytes: self.raft_bytes.with_label_values(&[peer, RECEIVED]),
            received_messages: self.raft_messages.with_label_values(&[peer, RECEIVED]),
            received_batches: self.raft_batches.with_label_values(&[peer, RECEIVED]),
            connected: self.connects.with_label_values(&[peer, CONNECTED]),
            failed: self.connects.with_label_values(&[peer, FAILED]),
            in_flight: self.in_flight.with_label_values(&[peer]),
            up: self.up.with_label_values(&[peer]),
            round_trip: self.round_trip.with_label_values(&[peer]),
            clock_offset: self.clock_offset.with_label_values(&[peer]),
        }
    }

    /// Forgets a node that is gone.
    pub fn forget(&self, node: NodeId) {
        let peer = &*node.to_string();
        for direction in [SENT, RECEIVED] {
            for family in [&self.raft_bytes, &self.raft_messages, &self.raft_batches] {
                // An error means that it was never there.
                let _ = family.remove_label_values(&[peer, direction]);
            }
        }
        for outcome in [CONNECTED, FAILED] {
            let _ = self.connects.remove_label_values(&[peer, outcome]);
        }
        for family in [&self.in_flight, &self.up] {
            let _ = family.remove_label_values(&[peer]);
        }
        for family in [&self.round_trip, &self.clock_offset] {
            let _ = family.remove_label_values(&[peer]);
        }
    }

    /// Bytes of checkpoints sent.
    pub fn checkpoint_bytes_sent(&self) -> IntCounter {
        self.checkpoint_bytes.with_label_values(&[SENT])
    }

    /// Bytes of checkpoints received.
    pub fn checkpoint_bytes_received(&self) -> IntCounter {
        self.checkpoint_bytes.with_label_values(&[RECEIVED])
    }
}

impl LinkMetrics {
    /// What the clocks' comparison says now.
    pub fn set_clock(&self, round_trip: Duration, offset_ms: i64) {
        self.round_trip.set(round_trip.as_secs_f64());
        self.clock_offset.set(offset_ms as f64 / 1000.0);
    }
}
