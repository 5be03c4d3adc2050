//! Bugs that can be planted.

/// Lists each bug once, with what is wrong in words and its name on the command line.
macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// A way in which the code can be wrong, to see whether the simulation notices.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$doc])* $bug,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug),*];

            /// What it is called on a command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)*
                }
            }
        }
    };
}

bugs! {
    /// Results that were kept are served whatever has changed.
    KeptStepsAlwaysStand = "kept-steps-always-stand",
    /// The log's writer answers before its entries are synced.
    AnswerBeforeSync = "answer-before-sync",
    /// A replica acknowledges entries before they are written at all.
    AnswerBeforeWrite = "answer-before-write",
    /// The log's writer takes a full disk for one that took the entries.
    IgnoreFullDisk = "ignore-full-disk",
    /// A vote is answered without having been stored.
    ForgetVote = "forget-vote",
    /// The end of a log that a later leader overrules goes from memory alone.
    TruncateInMemory = "truncate-in-memory",
    /// A leader takes the refusal of a later term for an acknowledgement.
    SkipTermCheck = "skip-term-check",
    /// The log is cut up to what is applied, whether it is flushed or not.
    PurgeEarly = "purge-early",
    /// A leader answers reads without asking a quorum whether it still leads.
    StaleRead = "stale-read",
    /// A flush stores the mark of the flush before: after a restart entries are applied twice.
    ApplyTwice = "apply-twice",
    /// A flush's records are not synced before the log is cut.
    FlushUnsynced = "flush-unsynced",
    /// A flush's mark is durable before its records are: it names an index whose data may not be there.
    MarkBeforeRecords = "mark-before-records",
    /// A flush drops the samples that came out of order.
    DropLateAtFlush = "drop-late-at-flush",
    /// Where layers have a sample of the same time, the older one wins.
    OldestWins = "oldest-wins",
    /// Some new series get the ref of the one that was registered before.
    ReuseSeriesRef = "reuse-series-ref",
    /// Tombstones that a flush should store are lost with a restart.
    LoseTombstones = "lose-tombstones",
    /// A merge of runs does not leave out what tombstones hide, and forgets the tombstones.
    LoseTombstonesAtSeal = "lose-tombstones-at-seal",
    /// The series that was expected next is taken for the one that came.
    TrustPrediction = "trust-prediction",
    /// Apply refuses samples while the head here is large, which is not so on all replicas.
    ApplyByOwnMemory = "apply-by-own-memory",
    /// A replica takes a copy's place in the log, and keeps the data that it had.
    InstallInNameOnly = "install-in-name-only",
    /// A replica that follows answers reads with what it happens to have.
    FollowerReadsAtOnce = "follower-reads-at-once",
    /// A write is acknowledged when only some of its groups have stored their part.
    AcknowledgePart = "acknowledge-part",
    /// A query goes on without groups that do not answer, and does not say so.
    SilentPartial = "silent-partial",
    /// A replica that is to learn founds its group anew.
    LearnerFounds = "learner-founds",
    /// A node that lost its disk comes back as the one that it was.
    RejoinAsBefore = "rejoin-as-before",
    /// A group registers series that it gave away in a split.
    ForgetRange = "forget-range",
    /// What a split copies for the child was not flushed before.
    SplitUnflushed = "split-unflushed",
    /// A read counts although the group that it read was split meanwhile.
    ReadAcrossSplit = "read-across-split",
    /// A child's replica begins empty, as the first of its group, where its parent has not made it yet.
    ChildBeginsEmpty = "child-begins-empty",
    /// An alert group takes evaluations of a ring that there is no more.
    TakeOldRing = "take-old-ring",
    /// Which alerts there are a node knows of its own evaluations alone: they begin anew where another evaluates.
    TimersOfTheEvaluator = "timers-of-the-evaluator",
    /// The key of a message depends on who sends it.
    KeyOfTheSender = "key-of-the-sender",
    /// That a message was sent is known to its sender alone.
    UncommittedResult = "uncommitted-result",
    /// A stored state of an alert group does not have what is acknowledged.
    LoseAcknowledgements = "lose-acknowledgements",
    /// A stored state of an alert group does not have silences.
    LoseSilences = "lose-silences",
}

impl std::str::FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Bug, String> {
        let found = Bug::ALL.iter().find(|bug| bug.name() == name).copied();
        found.ok_or_else(|| format!("no bug has the name {name:?}"))
    }
}

impl std::fmt::Display for Bug {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_is_known_by_its_name() {
        for bug in Bug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
        }
        assert!("answer".parse::<Bug>().is_err());
    }
}
