//! The bounds of what nodes say to each other, in one place.

use std::time::Duration;

use bellwether_raft::limits as raft;

/// How long a connection may take, the first exchange on it included.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(3);

/// Pause after a failed attempt to connect; doubles up to [`RECONNECT_PAUSE_MAX`].
pub const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(50);

/// Longest pause between attempts to connect.
pub const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection that carries Raft is asked for a sign of life after this silence.
pub const RAFT_KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// Any other connection is asked for a sign of life after this silence.
pub const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a sign of life may take before the connection counts as dead.
pub const KEEP_ALIVE_DEADLINE: Duration = Duration::from_secs(2);

/// Bytes of messages in one batch; one message that is larger travels alone.
pub const BATCH_BYTES_MAX: usize = 1 << 20;

/// Messages in one batch.
pub const BATCH_MESSAGES_MAX: usize = 4096;

/// Bytes of Raft messages that wait or are under way to one node; more wait within their deadlines.
pub const LINK_BYTES_MAX: usize = 64 << 20;

/// Raft messages that wait or are under way to one node; more are refused.
pub const LINK_MESSAGES_MAX: usize = 65_536;

/// Messages up to this size (heartbeats, votes, answers) need no room among [`LINK_BYTES_MAX`]: they must not wait behind
/// appends. [`LINK_MESSAGES_MAX`] bounds them.
pub const SMALL_MESSAGE_BYTES: usize = 1 << 10;

/// Bytes of one node's Raft messages that are being handled here; more are not read.
pub const HANDLED_BYTES_MAX: usize = 64 << 20;

/// One node's Raft messages that are being handled here; more are not read.
pub const HANDLED_MESSAGES_MAX: usize = 65_536;

/// How long handling a Raft message may take before its place is given to others. Whoever sent it gave up long before.
pub const HANDLE_DEADLINE: Duration = Duration::from_secs(10);

/// Largest message of the service: a Raft message alone in its batch, or frames for a group's leader.
pub const MESSAGE_BYTES_MAX: usize = raft::MESSAGE_BYTES_MAX + (64 << 10);

/// How often clocks are compared where nothing else is said.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(2);

/// Comparisons of clocks that the best one is chosen from.
pub const CLOCK_SAMPLES: usize = 8;

/// Batches whose sending times are remembered until they are echoed.
pub const ECHOES_MAX: usize = 64;

/// Bytes of a checkpoint's file in one message.
pub const CHECKPOINT_CHUNK_BYTES: usize = 1 << 20;

/// Chunks of a checkpoint that wait for the connection to take them.
pub const CHECKPOINT_CHUNKS_WAITING_MAX: usize = 2;

/// Least that a node's copies may be given together: a chunk takes no more than a second.
pub const COPY_BYTES_PER_SECOND_MIN: u64 = CHECKPOINT_CHUNK_BYTES as u64;

/// Checkpoints that a node receives at a time; more are refused for the moment.
pub const CHECKPOINTS_RECEIVED_MAX: usize = 2;

/// A transfer of a checkpoint in which nothing moves for so long is given up.
pub const CHECKPOINT_SILENCE_MAX: Duration = Duration::from_secs(30);

/// How long installing a checkpoint may take once it has arrived.
pub const CHECKPOINT_INSTALL_DEADLINE: Duration = Duration::from_secs(120);

/// How often, and how far apart, it is tried to remove a checkpoint that is still being read.
pub const CHECKPOINT_REMOVE_ATTEMPTS: u32 = 50;
/// See [`CHECKPOINT_REMOVE_ATTEMPTS`].
pub const CHECKPOINT_REMOVE_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(BATCH_BYTES_MAX <= raft::MESSAGE_BYTES_MAX);
const _: () = assert!(raft::MESSAGE_BYTES_MAX <= LINK_BYTES_MAX);
const _: () = assert!(raft::MESSAGE_BYTES_MAX <= HANDLED_BYTES_MAX);
const _: () = assert!(LINK_MESSAGES_MAX * SMALL_MESSAGE_BYTES <= LINK_BYTES_MAX);
const _: () = assert!(CHECKPOINT_CHUNK_BYTES < MESSAGE_BYTES_MAX);
// However many copies share the slowest budget, each moves before it counts as silent.
const _: () = assert!(
    CHECKPOINT_CHUNK_BYTES as u64 * (raft::CHECKPOINTS_AT_ONCE as u64 + 1) / COPY_BYTES_PER_SECOND_MIN
        < CHECKPOINT_SILENCE_MAX.as_secs()
);
// What is said of each message in a batch takes less than this.
const _: () = assert!(BATCH_BYTES_MAX + BATCH_MESSAGES_MAX * 64 <= MESSAGE_BYTES_MAX);
