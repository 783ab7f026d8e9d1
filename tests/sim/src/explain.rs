//! Says what every host believes of one slot, for the trace of a failed run.

use crate::{cluster::Cluster, trace::low};
use holdfast_core::ids::{HostId, ServiceId, SlotIndex, TaskId};

impl Cluster {
    /// One line for each host: who keeps, what the slot record says, which copies are reported.
    pub(crate) fn explain_slot(&mut self, service: ServiceId, index: SlotIndex) {
        let lines: Vec<_> = (0..self.hosts.len())
            .filter_map(|place| Some((place, self.belief(place, service, index)?)))
            .collect();
        for (place, line) in lines {
            self.trace
                .line(self.now, Some(place), format_args!("believes: {line}"));
        }
    }

    pub(crate) fn explain_task(&mut self, task: TaskId) {
        let mut all = self.checks.copies.iter();
        let found = all.find(|(_, copies)| copies.iter().any(|copy| copy.task == task));
        if let Some((&(service, index), _)) = found {
            self.explain_slot(service, index);
        }
    }

    fn belief(&self, place: usize, service: ServiceId, index: SlotIndex) -> Option<String> {
        let agent = self.hosts[place].agent.as_ref()?;
        let board = agent.board();
        let name = |id: Option<HostId>| {
            let host = id.and_then(|id| self.hosts.iter().find(|host| host.id == id));
            host.map_or_else(|| "?".to_owned(), |host| format!("h{}", host.place))
        };
        let desired = board.service(service).map(|service| service.desired);
        let slot = board.slot(service, index).map(|(generation, slot)| {
            let before: Vec<_> = slot.superseded.iter().map(|at| low(at.task.0)).collect();
            format!(
                "g{generation} -> {}, adopted {:08x?}, superseded {before:08x?}",
                name(slot.host),
                slot.adopted.map(|task| low(task.0)),
            )
        });
        let reports = board.tasks_of(service).filter_map(|(host, task, report)| {
            let label = report.slot.as_ref().filter(|label| label.index == index)?;
            report.last.is_live().then(|| {
                format!(
                    "{:08x} on {}{} g{} {}{}",
                    low(task.0),
                    name(Some(host)),
                    match (board.is_up(host), board.is_fresh(host, task)) {
                        (false, _) => " (down)",
                        (true, false) => " (not said again)",
                        (true, true) => "",
                    },
                    label.generation,
                    report.last,
                    if report.replaced { " replaced" } else { "" },
                )
            })
        });
        let reports: Vec<_> = reports.collect();
        Some(format!(
            "keeper {}, desired {desired:?}, slot {}; {}",
            name(agent.keeper_of(service)),
            slot.unwrap_or_else(|| "unknown".to_owned()),
            reports.join("; ")
        ))
    }
}
