//! The containers of one host: the fake runtime, and what it is busy with.

use crate::runtime::{Chore, FakeRuntime};
use holdfast_core::{
    ids::HostId,
    task::runtime::{ObservedStatus, RuntimeCommand, RuntimeEvent},
    time::Wall,
};
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Containers {
    runtime: FakeRuntime,
    /// In order of the time at which they are done, then of their beginning.
    chores: BTreeMap<(u64, u64), Chore>,
    begun: u64,
    /// Containers that were asked for.
    pub(super) wanted: u64,
}

impl Containers {
    pub(super) fn new(cluster: &str, host: HostId, seed: u64) -> Self {
        Self {
            runtime: FakeRuntime::new(cluster, host, seed),
            chores: BTreeMap::new(),
            begun: 0,
            wanted: 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        self.chores.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn on_command(&mut self, now: u64, command: RuntimeCommand) {
        self.wanted += u64::from(matches!(command, RuntimeCommand::Create(_)));
        let chore = self.runtime.command(now, command);
        self.begin(chore);
    }

    fn begin(&mut self, (at, chore): (u64, Chore)) {
        self.begun += 1;
        self.chores.insert((at, self.begun), chore);
    }

    /// What came of the next one that is done by now, if there is one.
    pub(super) fn next(&mut self, now: u64, wall: Wall) -> Option<RuntimeEvent> {
        while self.deadline().is_some_and(|at| at <= now) {
            let (_, chore) = self.chores.pop_first()?;
            let finished = self.runtime.finish(now, wall, chore);
            if let Some(then) = finished.then {
                self.begin(then);
            }
            if finished.event.is_some() {
                return finished.event;
            }
        }
        None
    }

    pub(super) fn running(&self) -> usize {
        let is_running = |status: &ObservedStatus| matches!(status, ObservedStatus::Running { .. });
        let containers = self.runtime.containers();
        containers.filter(|(_, c)| is_running(&c.status)).count()
    }
}
