//! Bugs that tests plant inside the core, each of which some check must catch; no daemon has them.
//!
//! `planted!(Bug)` is the constant `false` unless the feature `planted` is on, which only the
//! simulator turns on. A bug is planted for what runs on one thread meanwhile.

/// Whether this bug is planted in the run of this thread.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}

/// Whether this bug is planted: never, in a build without the feature.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

/// Dies where the simulator has poisoned what is read; nothing in a build without the feature.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! poisoned {
    ($text:expr) => {
        $crate::planted::die_of($text)
    };
}

/// Dies where the simulator has poisoned what is read: never, in a build without the feature.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! poisoned {
    ($text:expr) => {};
}

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    macro_rules! bugs {
        ($($(#[doc = $text:literal])+ $name:ident,)*) => {
            #[derive(Clone, Copy, Debug, PartialEq, Eq)]
            pub enum Bug {
                $($(#[doc = $text])+ $name,)*
            }

            impl Bug {
                pub const ALL: &[Self] = &[$(Self::$name),*];

                /// What is wrong while it is planted, in a few words.
                pub fn says(self) -> String {
                    match self {
                        $(Self::$name => concat!($($text),+).trim().to_owned(),)*
                    }
                }
            }
        };
    }

    bugs! {
        /// answers a command before it is on the disk
        AnswersBeforeDisk,
        /// calls a task ready that its checks have not found well
        ReadyBeforeItsChecks,
        /// leaves a task where it is that is unhealthy
        KeepsTheUnhealthy,
        /// leaves tasks as they are whose secrets were set anew
        KeepsOldValues,
        /// takes what it seals anew for what was set anew
        SealsOverLaterWords,
        /// makes containers by the tag of their image, whatever the others run
        MakesByTag,
        /// runs a container again whose policy does not say so
        RunsAgainUnasked,
        /// forgets the tasks of its earlier life
        ForgetsItsTasks,
        /// forgets which GPUs the tasks of its earlier life have
        ForgetsItsGpus,
        /// takes a frozen agent's host for a dead one
        TakesAFrozenAgentForDead,
        /// does not adopt containers that it has no report of
        LeavesStrangersRunning,
        /// takes a container that has exited for one that still runs
        TakesExitedForRunning,
        /// goes on although another machine has its id
        ToleratesATwin,
        /// does not raise its incarnation above what peers remember of it
        IgnoresItsPast,
        /// drops records of a kind that it does not know
        DropsTheUnknown,
        /// moves tasks away from a container runtime that only hangs
        MovesFromAHungRuntime,
        /// never offers itself again after its container runtime was away
        StaysOutOfService,
        /// never compares in full, so that a lost event stays lost
        NeverCompares,
        /// learns nothing from a full comparison that no answer told before
        TrustsOnlyAnswers,
        /// takes a stop that failed for the end
        TakesAFailedStopForTheEnd,
        /// tries the host that failed again and again
        TriesTheSameHostForEver,
        /// does not notice containers that somebody removed
        IgnoresRemovals,
        /// begins tasks of a run again that have ended
        RunsWhatHasEnded,
        /// lets tasks of a run go on when their time is over
        ForgetsTheTime,
        /// begins tasks of a run elsewhere that are only to be reported lost
        RunsTheLostAgain,
        /// runs a tick that it finds late without listening to others first
        TicksWithoutListening,
        /// calls the run of a tick by a name of its own
        NamesRunsAnew,
        /// runs no tick that its keeper could not run in time
        DropsLateTicks,
        /// runs a tick while an earlier run goes on that forbids it
        LetsRunsOverlap,
        /// replaces what crashes without waiting
        NeverBacksOff,
        /// starts containers before those that they wait for
        StartsOutOfOrder,
        /// stops a container while others that depend on it run
        StopsOutOfOrder,
        /// lets a task go on without an essential container
        IgnoresTheEssential,
        /// replaces at once whatever was lost, however much it was
        NeverBrakes,
        /// leaves tasks on a host that is drained
        LeavesTasksWhereTheyDrain,
        /// never compares boards
        NeverRepairs,
        /// judges by what it hears itself, and asks nobody
        JudgesAlone,
        /// takes an alarm for a verdict
        TakesAlarmForVerdict,
        /// counts observers that are cut off themselves
        CountsTheAbsent,
        /// judges the others although it hears none of them
        JudgesThoughDeaf,
        /// counts a silence from the last answer, not from the first probe without one
        CountsFromTheLastAnswer,
        /// judges when the limit is over, although its latest probe went out before
        JudgesUnasked,
        /// looks by datagram alone whether a host is there
        ProbesByDatagramAlone,
        /// goes on sending datagrams where none arrives
        KeepsToDatagrams,
        /// compares boards by datagrams of any size
        RepairsByDatagram,
        /// never chooses between two copies of a slot
        NeverReconciles,
        /// tells others only what it wrote itself
        TellsOnlyItsOwn,
        /// an answer does not clear the suspect
        HoldsAGrudge,
        /// an older version replaces a newer one
        LastWordWins,
        /// never looks for hosts that were judged down
        NeverProbesTheDown,
        /// believes its disk, however old that is
        BelievesAnOldDisk,
        /// goes on with what was deleted before the others forgot it
        ServesWhatNobodyKnows,
        /// ignores what it is told of where first peers are
        IgnoresNewAddresses,
        /// waits for a board although nobody can have one yet
        WaitsForABoard,
        /// believes any epoch
        BelievesAnyEpoch,
        /// stamps follow the wall clock back
        FollowsTheWallClock,
        /// keeps stamps that are ahead of time
        KeepsItsOwnTime,
        /// goes by its own clock, whatever the others show
        FollowsItsOwnClock,
        /// takes the first clock that it hears for those of most
        BelievesTheFirstClock,
        /// does not say that it lives when it was judged down
        DoesNotRefute,
        /// takes containers of another cluster for its own
        TakesAnothersContainers,
        /// keeps its own word against a later one
        KeepsItsOwnWord,
        /// starts what was stopped meanwhile
        StartsWhatWasStopped,
        /// looks again at once for room where there is none
        LooksAgainAtOnce,
        /// reads again and again what crashes its reader
        SetsNothingAside,
        /// never refuses an offer
        NeverRefuses,
        /// takes again what came before
        TakesReplays,
        /// replaces under `majority` while the lease may still run
        ReplacesWithinTheLease,
        /// runs on under `majority` when the lease is over
        HoldsBeyondTheLease,
        /// takes itself for a majority
        CountsAsMajorityAlone,
        /// reads lists of any length
        ReadsAnyLength,
        /// stops tasks that are protected, as it would others
        StopsTheProtected,
        /// begins, under stop-first, while the old copy still runs
        BeginsBeforeTheEnd,
        /// does not give a definition another number whose own was given before
        KeepsTheLostNumber,
        /// says nothing to those whose service yields to one of the same name
        YieldsInSilence,
        /// has one tag for all that are put on a thing
        HasOneTagForAll,
        /// takes a cluster for gone though something is in it
        ForgetsFullClusters,
        /// panics when it is asked to end
        PanicsAtTheEnd,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Whoever reads this name dies of it.
    pub const POISON: &str = "poison";

    /// How a reader died, for the simulator to tell from a check that failed.
    #[derive(Debug)]
    pub struct Poisoned;

    pub fn die_of(text: &str) {
        if text == POISON {
            std::panic::resume_unwind(Box::new(Poisoned));
        }
    }

    /// Takes the bug out again when it is dropped, also by a panic.
    #[derive(Debug)]
    struct Restore(Option<Bug>);

    impl Drop for Restore {
        fn drop(&mut self) {
            PLANTED.set(self.0);
        }
    }

    /// Runs `story` with this bug in every core on this thread, or with none.
    pub fn with<R>(bug: Option<Bug>, story: impl FnOnce() -> R) -> R {
        let _restore = Restore(PLANTED.replace(bug));
        story()
    }
}

#[cfg(feature = "planted")]
pub use switch::{Bug, POISON, Poisoned, die_of, is_planted, with};
