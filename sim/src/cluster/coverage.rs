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
    /// Messages were lost now and then.
    Loss,
    /// Something on a disk was damaged.
    Rot,
    /// A node could not live with what was damaged on its disk, and came back as a new one.
    RottenNodeReplaced,
    /// A disk had no room.
    DiskFull,
    /// Reads and writes of a disk failed now and then.
    DiskErrors,
    /// A machine did nothing for a while.
    Pause,
    /// A clock jumped.
    ClockJump,
    /// All clocks leapt by hours.
    Leapt,
    /// A process was struck at a moment that was waited for.
    Ambushed,
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
    /// A write was acknowledged to the client library.
    Gathered,
    /// A time was written again with another value.
    Overwritten,
    /// A deletion was acknowledged.
    Deleted,
    /// Samples were refused for their times.
    Refused,
    /// A node had no memory for a write, and said so.
    Overloaded,
    /// An answer was declared partial.
    PartialAnswer,
    /// A query failed.
    QueryFailed,
    /// A flush cut a log.
    LogCut,
    /// A group was split by an operator.
    GroupSplit,
    /// A replica was given to another node by an operator.
    CopyGiven,
    /// A leadership was handed over by an operator.
    LeaderTransferred,
    /// A node was to be emptied.
    DrainBegun,
    /// A node was emptied and removed, and its machine began anew.
    NodeRetired,
    /// A node that was lost with its disk was removed.
    LostNodeForgotten,
    /// Groups that had lost their majority for ever began anew.
    MajorityLost,
    /// A node joined late.
    NodeJoinedLate,
    /// A setting was chosen.
    SettingChosen,
    /// A backup was made.
    BackupMade,
    /// A backup was compared with what it should be.
    BackupVerified,
    /// A new cluster was made of a backup.
    BackupRestored,
    /// A process was started with a newer program.
    Upgraded,
    /// All nodes use a newer version of what is replicated.
    UpgradeFinalized,
    /// A rule group was set.
    RuleGroupSet,
    /// A rule group was deleted.
    RuleGroupDeleted,
    /// Rules of a group were edited.
    RuleGroupEdited,
    /// A silence was deleted.
    SilenceDeleted,
    /// A receiver was told of an alert.
    Notified,
    /// An alert was acknowledged.
    Acknowledged,
    /// Somebody else was told of an alert that nobody had acknowledged.
    Escalated,
}

impl Mark {
    /// All of them.
    pub const ALL: [Mark; 50] = [
        Mark::Crash,
        Mark::Stop,
        Mark::PowerLoss,
        Mark::LostDisk,
        Mark::Partition,
        Mark::Loss,
        Mark::Rot,
        Mark::RottenNodeReplaced,
        Mark::DiskFull,
        Mark::DiskErrors,
        Mark::Pause,
        Mark::ClockJump,
        Mark::Leapt,
        Mark::Ambushed,
        Mark::ProcessEndedItself,
        Mark::LeaderChanged,
        Mark::CheckpointReceived,
        Mark::JointMembership,
        Mark::LostNodeReplaced,
        Mark::WriteUnknown,
        Mark::WriteRepeated,
        Mark::Gathered,
        Mark::Overwritten,
        Mark::Deleted,
        Mark::Refused,
        Mark::Overloaded,
        Mark::PartialAnswer,
        Mark::QueryFailed,
        Mark::LogCut,
        Mark::GroupSplit,
        Mark::CopyGiven,
        Mark::LeaderTransferred,
        Mark::DrainBegun,
        Mark::NodeRetired,
        Mark::LostNodeForgotten,
        Mark::MajorityLost,
        Mark::NodeJoinedLate,
        Mark::SettingChosen,
        Mark::BackupMade,
        Mark::BackupVerified,
        Mark::BackupRestored,
        Mark::Upgraded,
        Mark::UpgradeFinalized,
        Mark::RuleGroupSet,
        Mark::RuleGroupDeleted,
        Mark::RuleGroupEdited,
        Mark::SilenceDeleted,
        Mark::Notified,
        Mark::Acknowledged,
        Mark::Escalated,
    ];
}

/// What the server's code says of itself: its calls of `reached`, and of `buggify` where the rare way was taken.
pub const TOLD: &[&str] = &[
    "Windows were dropped",
    "a batch with refs from before a split",
    "a batch with refs of an old epoch",
    "a change of members came too late",
    "a child waited for its parent's replica",
    "a clock is trusted soon",
    "a copy breaks off",
    "a copy came from behind a split",
    "a copy in small pieces",
    "a damaged copy left its group",
    "a deletion was done again after a split",
    "a copy took the place of a replica's data",
    "a fast clock leads nothing",
    "a flush while a checkpoint was on its way",
    "a flush was stored",
    "a group gave a part of itself away",
    "a group was split while a backup was made",
    "a group was split while it was read",
    "a half-done change of voters was ended by the mover",
    "a hand-over that nobody took was taken back",
    "a late answer to a proposal",
    "a leader without a quorum refused a proposal",
    "a learner was too far behind to vote",
    "a mover acts late",
    "a node heard of others that it was removed",
    "a node joined where another was",
    "a proposal was overwritten by another leader",
    "a read by another map than the group's",
    "a read went on by a newer map",
    "a removed node was turned away",
    "a series was registered where it no longer is",
    "a shorter end of a log is durable",
    "a slow clock leads nothing",
    "a small entry",
    "a split was applied again after a crash",
    "a split was proposed twice",
    "a split was refused by its group's log",
    "a stale mover was refused",
    "an early flush",
    "an early flush of an alert group",
    "an early look at Windows",
    "an early merge",
    "an early seal",
    "an evaluation of an old ring was refused",
    "damage was found in a copy that served",
    "few entries in a message",
    "few frames in a call",
    "leaderships handed over",
    "little room for heads",
    "log cut while a follower lagged",
    "no log is kept",
    "nobody knows who leads",
    "quiet Windows were sealed",
    "samples were refused while a quorum's disks were full",
    "series expired",
    "steps of a query were taken from the cache",
    "the end of a log was cut off",
    "the map is followed late",
    "the time of an alert group is set back",
];

/// The marks of a run, or of a sweep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    seen: BTreeSet<Mark>,
    told: BTreeSet<String>,
}

impl Marks {
    /// It happened.
    pub fn reach(&mut self, mark: Mark) {
        self.seen.insert(mark);
    }

    /// The server's code says that it happened.
    pub fn hear(&mut self, told: &str) {
        self.told.insert(told.to_owned());
    }

    /// Whether it happened.
    pub fn contains(&self, mark: Mark) -> bool {
        self.seen.contains(&mark)
    }

    /// Adds the marks of another run.
    pub fn add(&mut self, other: &Marks) {
        self.seen.extend(&other.seen);
        self.told.extend(other.told.iter().cloned());
    }

    /// What happened, by name.
    pub fn names(&self) -> Vec<String> {
        self.seen.iter().map(|mark| format!("{mark:?}")).chain(self.told.iter().cloned()).collect()
    }

    /// The marks with these names.
    pub fn named(names: &[String]) -> Marks {
        let mark = |name: &String| Mark::ALL.into_iter().find(|mark| format!("{mark:?}") == *name);
        let seen = names.iter().filter_map(mark).collect();
        let told = names.iter().filter(|name| mark(name).is_none()).cloned().collect();
        Marks { seen, told }
    }

    /// What did not happen, by name.
    pub fn missing(&self) -> Vec<String> {
        let seen = Mark::ALL.into_iter().filter(|mark| !self.seen.contains(mark)).map(|mark| format!("{mark:?}"));
        seen.chain(TOLD.iter().filter(|told| !self.told.contains(**told)).map(|told| (*told).to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The names in calls of `call` in all code below a directory.
    fn names(below: &Path, call: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(below).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("probe") {
                names(&path, call, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split(call).skip(1);
                found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }

    #[test]
    fn what_the_server_can_tell_is_what_a_sweep_waits_for() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/crates");
        let mut found = BTreeSet::new();
        for call in ["reached(\"", "buggify(\""] {
            names(&crates, call, &mut found);
        }
        assert_eq!(found, TOLD.iter().map(|told| (*told).to_owned()).collect());
    }

    #[test]
    fn marks_travel_by_name() {
        let mut marks = Marks::default();
        marks.reach(Mark::Crash);
        marks.hear("something rare");
        assert_eq!(Marks::named(&marks.names()), marks);
    }
}
