//! What must have happened somewhere in a sweep: a simulation in which nothing rare happens proves little.

use std::collections::BTreeSet;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// A process was killed.
    Crash,
    /// A process was asked to stop.
    Stop,
    /// A machine lost power.
    PowerLoss,
    /// A machine came back with an empty disk.
    LostDisk,
    /// Hosts could not reach each other.
    Partition,
    /// A disk had no room.
    DiskFull,
    /// A machine did nothing for a while.
    Pause,
    /// A clock jumped.
    ClockJump,
    /// A process ended itself after a failed sync.
    ProcessEndedItself,
    /// A group was led by another replica than before.
    LeaderChanged,
    /// A replica took a copy in place of a log.
    CheckpointReceived,
    /// A replica's membership was a joint one.
    JointMembership,
    /// A node that had lost its disk was replaced everywhere.
    LostNodeReplaced,
    /// A write was answered with an error, or not at all.
    WriteUnknown,
    /// A write was sent again and acknowledged.
    WriteRepeated,
    /// A time was written again with another value.
    Overwritten,
    /// A query failed.
    QueryFailed,
    /// A flush cut a log.
    LogCut,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 18] = [
        Mark::Crash,
        Mark::Stop,
        Mark::PowerLoss,
        Mark::LostDisk,
        Mark::Partition,
        Mark::DiskFull,
        Mark::Pause,
        Mark::ClockJump,
        Mark::ProcessEndedItself,
        Mark::LeaderChanged,
        Mark::CheckpointReceived,
        Mark::JointMembership,
        Mark::LostNodeReplaced,
        Mark::WriteUnknown,
        Mark::WriteRepeated,
        Mark::Overwritten,
        Mark::QueryFailed,
        Mark::LogCut,
    ];
}

/// The marks of a run, or of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(BTreeSet<Mark>);

impl Marks {
    /// It happened.
    pub fn reach(&mut self, mark: Mark) {
        self.0.insert(mark);
    }

    /// Adds the marks of another run.
    pub fn add(&mut self, other: &Marks) {
        self.0.extend(&other.0);
    }

    /// What happened, by name.
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|mark| format!("{mark:?}")).collect()
    }

    /// The marks with these names.
    pub fn named(names: &[String]) -> Marks {
        let is_named = |mark: &Mark| names.contains(&format!("{mark:?}"));
        Marks(Mark::ALL.into_iter().filter(is_named).collect())
    }

    /// What did not happen.
    pub fn missing(&self) -> Vec<Mark> {
        Mark::ALL.into_iter().filter(|mark| !self.0.contains(mark)).collect()
    }
}
