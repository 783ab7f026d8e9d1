//! Records that crash their reader: what a driver keeps through a crash, and which is to blame.
//!
//! A driver tells its journal before each step what the core is about to read, and after it that
//! the core came through. If the process dies in between, the next one finds there what it was
//! reading. Those records are suspects: they are held back, and tried a few at a time, the most
//! suspect first and in the end one alone. One that crashes its reader alone, and had done so
//! before, is set aside: kept and passed on as bytes, not read.

use crate::{cluster::record::Record, limits};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Crashes of its reader until a record is set aside.
const CRASHES: u32 = 2;

/// What a driver has to keep. A crash of the process must not lose it; a loss of power may, since
/// that is not a crash of the reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    pub present: Present,
    pub blame: Blame,
}

/// What the core is reading; changes with each step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {
    reading: Reading,
    /// Hashes of the records that were read last.
    recent: Vec<u64>,
    /// Hashes of the records that are tried now.
    trial: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Reading {
    /// Between two steps: whoever ends here was killed, or lost its power.
    #[default]
    Nothing,
    /// All that is on the disk, at the start.
    Disk,
    /// No record: what was read before has its effect.
    Step,
    Records(Vec<u64>),
}

/// What a step reads of the records that others wrote.
#[derive(Clone, Copy, Debug)]
pub enum Reads<'a> {
    Nothing,
    Records(&'a [Arc<Record>]),
    /// Those that are tried.
    Trial,
}

/// Who is under suspicion; changes seldom. Records are known by their hashes, which cover key and
/// version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blame {
    /// Crashes in which a record was being read, or had just been.
    pub crashes: BTreeMap<u64, u32>,
    pub set_aside: BTreeSet<u64>,
}

impl Journal {
    /// A process starts: whoever was being read when the last one died is blamed for it. Until
    /// [`Self::end`] is called, the disk is being read.
    pub fn take_up(&mut self, on_disk: impl Iterator<Item = u64>) {
        let Present {
            reading, recent, ..
        } = std::mem::take(&mut self.present);
        let blamed: BTreeSet<u64> = match reading {
            Reading::Nothing => BTreeSet::new(),
            Reading::Records(hashes) => hashes.into_iter().collect(),
            Reading::Step if !recent.is_empty() => recent.into_iter().collect(),
            Reading::Step | Reading::Disk => on_disk.collect(),
        };
        for hash in &blamed {
            *self.blame.crashes.entry(*hash).or_default() += 1;
        }
        let alone = blamed.first().filter(|_| blamed.len() == 1);
        if let Some(alone) = alone.filter(|alone| self.blame.crashes[alone] >= CRASHES)
            && !planted!(SetsNothingAside)
        {
            self.blame.crashes.remove(alone);
            if self.blame.set_aside.len() < limits::SET_ASIDE_MAX {
                self.blame.set_aside.insert(*alone);
            }
        }
        self.present.reading = Reading::Disk;
    }

    /// The core is about to take a step that reads this.
    pub fn begin(&mut self, reads: Reads<'_>) {
        self.present.reading = match reads {
            Reads::Records(records) => {
                Reading::Records(records.iter().map(|record| record.hash()).collect())
            }
            Reads::Trial => Reading::Records(self.present.trial.clone()),
            Reads::Nothing => Reading::Step,
        };
    }

    /// The core came through.
    pub fn end(&mut self) {
        let read = std::mem::take(&mut self.present.reading);
        if let Reading::Records(hashes) = read {
            let recent = &mut self.present.recent;
            recent.extend(hashes);
            let beyond = recent.len().saturating_sub(limits::RECENTLY_READ_MAX);
            recent.drain(..beyond);
        }
    }

    /// The core is about to try these: from now on they are the first to blame.
    pub fn on_trial(&mut self, hashes: Vec<u64>) {
        self.present.recent.clear();
        self.present.trial = hashes;
    }

    /// These crash nobody.
    pub fn acquit(&mut self, hashes: &[u64]) {
        for hash in hashes {
            self.blame.crashes.remove(hash);
            self.blame.set_aside.remove(hash);
        }
    }
}

impl Blame {
    pub fn is_empty(&self) -> bool {
        self.crashes.is_empty() && self.set_aside.is_empty()
    }

    /// The record must not be read now.
    pub fn holds(&self, record: &Record) -> bool {
        if self.is_empty() {
            return false;
        }
        let hash = record.hash();
        self.crashes.contains_key(&hash) || self.set_aside.contains(&hash)
    }
}
