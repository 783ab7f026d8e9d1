//! The events of several Dockers as they come. Asking the kernel again and again what lives would
//! hold locks that the start of a container waits for.

use e2e::{
    docker::{Event, Watch},
    lab::fleet::LabFleet,
    wait::poll,
};
use std::time::Duration;

/// What happens to containers on some hosts, from now on.
pub(crate) struct Watching {
    watches: Vec<Watch>,
    seen: Vec<Event>,
}

impl Watching {
    pub(crate) fn on(fleet: &LabFleet, hosts: &[usize]) -> Self {
        let watch = |host: &usize| fleet.ground(*host).engine().watch_all();
        Self {
            watches: hosts.iter().map(watch).collect(),
            seen: Vec::new(),
        }
    }

    /// Waits for the n-th start; `None` where it does not come in time.
    pub(crate) fn nth_start(&mut self, n: usize, within: Duration) -> Option<Event> {
        self.nth("start", n, within)
    }

    pub(crate) fn nth(&mut self, action: &str, n: usize, within: Duration) -> Option<Event> {
        let nth = poll(within, || {
            let mut meant = self.all(action);
            meant.sort_by_key(|event| event.at_nanos);
            let told = meant.len();
            meant.into_iter().nth(n - 1).ok_or(told.to_string())
        });
        nth.ok()
    }

    fn all(&mut self, action: &str) -> Vec<Event> {
        self.seen.extend(self.watches.iter().flat_map(Watch::drain));
        let meant = self.seen.iter().filter(|event| event.action == action);
        meant.cloned().collect()
    }
}
