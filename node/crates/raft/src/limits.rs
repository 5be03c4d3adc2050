//! The bounds of this crate's queues, batches and retries, in one place. What a node may want to choose is a default
//! here and a field of [`RaftOptions`](crate::RaftOptions).

use std::time::Duration;

/// Largest payload of one entry.
pub const ENTRY_BYTES_MAX: usize = 16 << 20;

/// Bytes of payloads proposed to one group and not yet applied. Default.
pub const GROUP_IN_FLIGHT_BYTES: usize = 32 << 20;

/// Bytes of payloads proposed to all groups of a node and not yet applied. Default.
pub const NODE_IN_FLIGHT_BYTES: usize = 64 << 20;

/// How long a proposal waits for room before it is refused. Default.
pub const ADMISSION_WAIT: Duration = Duration::from_millis(200);

/// How long a proposal in flight waits for a full disk before its caller is told that its fate is unknown.
pub const STORAGE_WAIT: Duration = Duration::from_secs(1);

/// The writer stops collecting for one write at this many bytes.
pub const WRITE_BATCH_BYTES_MAX: usize = 8 << 20;

/// How often a write that met a full disk is tried again.
pub const DISK_FULL_RETRY: Duration = Duration::from_millis(200);

/// A read of the log returns about this many bytes at a time, and at least one entry.
pub const READ_BYTES_MAX: u64 = 1 << 20;

/// A call of [`StateMachine::apply`](crate::StateMachine::apply) gets about this many bytes.
pub const APPLY_BATCH_BYTES_MAX: usize = 4 << 20;

/// A call of [`StateMachine::apply`](crate::StateMachine::apply) gets at most this many entries.
pub const APPLY_BATCH_ENTRIES_MAX: usize = 4096;

/// Bytes of a group's entries kept in memory while they are not applied; older ones are read back from the log store.
pub const UNAPPLIED_TAIL_BYTES: usize = 64 << 20;

/// Bytes of all groups' entries kept in memory. Above this each group keeps no more than applied entries may take, and
/// reads the rest back: a node that catches up with many groups applies slower than it is sent. Default.
pub const NODE_TAIL_BYTES: usize = 256 << 20;

/// Bytes of a group's applied entries kept in memory for followers that are about to ask for them. Default.
pub const APPLIED_TAIL_BYTES: usize = 256 << 10;

/// Bytes of log that a flush leaves for a replica that is behind, per group. Default.
pub const LAGGING_LOG_BYTES: u64 = 1 << 30;

/// Bytes of log that flushes leave for replicas that are behind, of all groups of a node. Default.
pub const NODE_LAGGING_LOG_BYTES: u64 = 4 << 30;

/// Bytes of log that a flush leaves where this replica does not lead: the others may lack that much when it is elected.
pub const FOLLOWER_TAIL_BYTES: u64 = 16 << 20;

/// How long the log behind a checkpoint stays for a replica that has just received it, or is about to.
pub const CHECKPOINT_GRACE: Duration = Duration::from_secs(10);

/// A replica that lacks more than this is not made a voter.
pub const PROMOTION_LAG_BYTES_MAX: u64 = 16 << 20;

/// Leadership is not handed over to a replica that lacks, or has yet to apply, more than this: until it has, nothing can be
/// proposed, and nobody gets an answer.
pub const TRANSFER_LAG_BYTES_MAX: u64 = 1 << 20;

/// How long a leader that has lost its vote tries to hand over.
pub const TRANSFER_WAIT: Duration = Duration::from_secs(3);

/// How long the others may take to take over what is handed over, elections included; then whoever led stands for election
/// again, so often at most, and waits for the election timeout after that.
pub const TAKE_OVER_WAIT: Duration = Duration::from_secs(4);
/// See [`TAKE_OVER_WAIT`].
pub const TAKE_BACK_ATTEMPTS: u64 = 8;

/// How long a flush waits for the log to be cut. Replication in flight can hold that up; the next flush catches up.
pub const PURGE_WAIT: Duration = Duration::from_secs(5);

/// Interval of heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(300);

/// How long a follower that has heard its leader votes for nobody else. It elects when it has heard nothing for that long
/// and a random time between [`ELECTION_TIMEOUT_MIN`] and this more: after 1.35 to 1.8 s.
pub const ELECTION_TIMEOUT_MAX: Duration = Duration::from_millis(900);

/// See [`ELECTION_TIMEOUT_MAX`].
pub const ELECTION_TIMEOUT_MIN: Duration = Duration::from_millis(450);

/// A leader that no quorum has answered for this long refuses proposals, and gives up those that wait. The others have
/// elected one of them by then, if they can. Default.
pub const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(3);

/// Followers of a leader whose process is gone elect within this time, each at a random moment of it.
pub const LOST_LEADER_JITTER: Duration = Duration::from_millis(100);

/// How often such an election is tried: other followers may learn of the loss later. After that they wait for the
/// election timeout.
pub const LOST_LEADER_ATTEMPTS: u64 = 8;

/// The first leader of a group that others begin at about the same time is elected so often, with such a pause between.
/// After that its replicas wait for the election timeout.
pub const FIRST_LEADER_ATTEMPTS: u32 = 20;
/// See [`FIRST_LEADER_ATTEMPTS`].
pub const FIRST_LEADER_PAUSE: Duration = Duration::from_millis(50);

/// Entries in one message to a follower; their bytes are bounded by [`READ_BYTES_MAX`].
pub const ENTRIES_PER_MESSAGE_MAX: u64 = 1024;

/// Appends on their way to one replica of a group, not yet answered. What is proposed meanwhile gathers in the next one:
/// with more, each proposal would be a message of its own.
pub const APPENDS_ON_THE_WAY_MAX: usize = 4;

/// See [`StateMachine::commit_notice_delay`](crate::StateMachine::commit_notice_delay).
pub const COMMIT_NOTICE_DELAY: Duration = Duration::from_millis(30);

/// Bytes of appends on their way to one replica of a group; the one that reaches this is the last.
pub const APPEND_BYTES_ON_THE_WAY: usize = 4 << 20;

/// Bytes of appends on their way to all replicas on one node. Above this, each gets one message at a time.
pub const PEER_APPEND_BYTES_ON_THE_WAY: usize = 16 << 20;

/// Deadline of an append with entries: for its way, for the disk of the follower, and for those before it.
pub const APPEND_DEADLINE: Duration = Duration::from_secs(2);

/// Pauses between attempts to send to a replica that cannot be reached: doubled up to the last.
pub const UNREACHABLE_BACKOFF: &str = "100ms 200ms ...2s";

/// Checkpoints that a node sends at a time.
pub const CHECKPOINTS_AT_ONCE: usize = 2;

/// Largest message that a transport has to carry: one entry, or several within [`READ_BYTES_MAX`], and what is said of them.
pub const MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + (1 << 20);

/// Replicas in one membership, on disk and on the wire.
pub const MEMBERS_MAX: usize = 64;

/// Sets of voters in one membership: two while a change is under way.
pub const VOTER_SETS_MAX: usize = 4;

/// Messages waiting for one group; the bytes behind them are bounded by the admission limits.
pub const GROUP_QUEUE_MESSAGES: u64 = 65_536;

const _: () = assert!(ENTRY_BYTES_MAX <= GROUP_IN_FLIGHT_BYTES);
const _: () = assert!(GROUP_IN_FLIGHT_BYTES <= NODE_IN_FLIGHT_BYTES);
const _: () = assert!(NODE_IN_FLIGHT_BYTES <= u32::MAX as usize);
const _: () = assert!(COMMIT_NOTICE_DELAY.as_millis() * 4 <= HEARTBEAT.as_millis());
const _: () = assert!(HEARTBEAT.as_millis() * 3 <= ELECTION_TIMEOUT_MAX.as_millis());
const _: () = assert!(ELECTION_TIMEOUT_MAX.as_millis() * 4 < TAKE_OVER_WAIT.as_millis());
const _: () = assert!(ELECTION_TIMEOUT_MAX.as_millis() * 2 < QUORUM_SILENCE_MAX.as_millis());
const _: () = assert!(ELECTION_TIMEOUT_MIN.as_millis() < ELECTION_TIMEOUT_MAX.as_millis());
