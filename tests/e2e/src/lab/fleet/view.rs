//! What the Dockers and the kernel say of a cluster in the lab: watched, waited for, and told.

use super::LabFleet;
use crate::{
    crew,
    docker::{CLUSTER_LABEL, Container, Event},
    fleet::PATIENCE,
    wait::{holds, secs, until},
};
use std::{thread, time::Duration};

/// A Docker that does not answer in this time shows nothing.
const ASKED_FOR: Duration = secs(5);

/// What happened to a container, and on which host.
#[derive(Clone, Debug)]
pub struct Happened {
    pub host: usize,
    pub event: Event,
}

/// The containers that started and ended since a moment, in Docker's own words.
#[derive(Debug, Default)]
pub struct Moves {
    pub started: Vec<Happened>,
    pub ended: Vec<Happened>,
}

impl Moves {
    /// From a moment to the last of them.
    pub fn lasted_from(&self, nanos: u64) -> Duration {
        let all = self.started.iter().chain(&self.ended);
        let last = all.map(|happened| happened.event.at_nanos).max();
        Duration::from_nanos(last.unwrap_or(nanos).saturating_sub(nanos))
    }
}

impl LabFleet {
    /// The containers that live, by host, in the eyes of the kernel.
    pub fn living(&self) -> Vec<Vec<String>> {
        let all = 0..self.hosts.len();
        all.map(|index| self.ground(index).living()).collect()
    }

    /// How many containers live on these hosts, whoever started them.
    pub fn living_on(&self, indexes: &[usize]) -> usize {
        let each = indexes.iter().map(|index| self.ground(*index).living());
        each.map(|living| living.len()).sum()
    }

    /// All containers of the cluster on this host, whatever their state.
    pub fn containers_on(&self, index: usize) -> Result<Vec<Container>, String> {
        let engine = self.ground(index).engine();
        engine.containers_within(&self.label(), ASKED_FOR)
    }

    /// The containers of a service that run, as the Dockers of these hosts have them.
    pub fn running_on(&self, indexes: &[usize], service: &str) -> Result<Vec<Container>, String> {
        let mut all = Vec::new();
        for index in indexes {
            all.extend(self.containers_on(*index)?);
        }
        all.retain(|container| container.is_running() && container.service == service);
        all.sort_by(|a, b| (a.slot, &a.id).cmp(&(b.slot, &b.id)));
        Ok(all)
    }

    fn label(&self) -> String {
        format!("{CLUSTER_LABEL}={}", self.lab.name)
    }

    /// Waits until the hosts that have power run exactly one container for each slot.
    #[track_caller]
    pub fn await_running(&mut self, service: &str, count: u32, within: Duration) -> Vec<Container> {
        self.await_running_on(&self.on(), service, count, within)
    }

    /// Waits until these hosts run exactly one container for each slot.
    #[track_caller]
    pub fn await_running_on(
        &mut self,
        indexes: &[usize],
        service: &str,
        count: u32,
        within: Duration,
    ) -> Vec<Container> {
        let found = until(&format!("{count} of {service}"), within, || {
            // The kernel is asked first: it costs nothing, and the Dockers are busy.
            let living: usize = indexes.iter().map(|i| self.ground(*i).living().len()).sum();
            if living < count as usize {
                return Err(format!("{living} containers live"));
            }
            let running = self.running_on(indexes, service)?;
            crew::fills(&running, count)?;
            Ok(running)
        });
        self.note(&format!("{} run {count} of {service}", self.names(indexes)));
        found
    }

    /// Waits for the same, and until every agent that runs says so.
    #[track_caller]
    pub fn await_agreed(&mut self, service: &str, count: u32) -> Vec<Container> {
        let found = self.await_running(service, count, PATIENCE);
        let agents = crew::running(&mut self.hosts);
        until(
            &format!("all agree on {count} of {service}"),
            PATIENCE,
            || crew::say_so(&agents, service, count),
        );
        found
    }

    /// What the Dockers that answer tell of containers since then.
    pub fn happened_since(&self, nanos: u64) -> Vec<Happened> {
        let mut all = Vec::new();
        for host in self.on() {
            let told = self.ground(host).engine().events_since(nanos, ASKED_FOR);
            let told = told.unwrap_or_default().into_iter();
            all.extend(told.map(|event| Happened { host, event }));
        }
        all.sort_by_key(|happened| happened.event.at_nanos);
        all
    }

    /// The starts and ends since then.
    pub fn moves_since(&self, nanos: u64) -> Moves {
        let mut moves = Moves::default();
        for happened in self.happened_since(nanos) {
            match happened.event.action.as_str() {
                "start" => moves.started.push(happened),
                "die" => moves.ended.push(happened),
                _ => {}
            }
        }
        moves
    }

    /// Waits until exactly so many containers live on all hosts, and watches that there are never
    /// fewer.
    #[track_caller]
    pub fn settles(&mut self, count: usize, within: Duration) {
        until(&format!("{count} containers live"), within, || {
            let living: usize = self.living().iter().map(Vec::len).sum();
            assert!(living >= count, "only {living} of {count} containers live");
            if living == count {
                Ok(())
            } else {
                Err(format!("{living} live"))
            }
        });
        self.note(&format!("{count} containers live"));
    }

    /// Watches that no container starts or ends, in the eyes of the kernel.
    #[track_caller]
    pub fn stays(&mut self, during: Duration) {
        let before = self.living();
        holds("nothing starts and nothing stops", during, || {
            let changes = self.changes(&before, &self.living());
            if changes.is_empty() {
                Ok(())
            } else {
                Err(changes.join(", "))
            }
        });
        self.note(&format!("nothing moved for {during:?}"));
    }

    /// What lives now and did not, and the other way round, as in `h2 +0123456789ab`.
    fn changes(&self, before: &[Vec<String>], now: &[Vec<String>]) -> Vec<String> {
        let mut changes = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            let (before, now) = (&before[index], &now[index]);
            let lacks = |ids: &[String], id: &String| !ids.contains(id);
            let came = now
                .iter()
                .filter(|id| lacks(before, id))
                .map(|id| ('+', id));
            let went = before
                .iter()
                .filter(|id| lacks(now, id))
                .map(|id| ('-', id));
            let told = came.chain(went);
            changes.extend(told.map(|(sign, id)| format!("{} {sign}{}", host.name, &id[..12])));
        }
        changes
    }

    /// How long after a moment the last container was started that a service needed.
    pub fn last_start_after(&self, nanos: u64) -> Duration {
        let started = self.moves_since(nanos).started;
        let last = started.last().map_or(nanos, |last| last.event.at_nanos);
        Duration::from_nanos(last.saturating_sub(nanos))
    }

    pub(super) fn tell_of_failure(&self) {
        let mut lines = self.history.clone();
        for Happened { host, event } in self.happened_since(self.begun_nanos) {
            let name = &self.hosts[host].name;
            let Event { action, id, .. } = &event;
            let text = format!(
                "{name}: {action} {} {}",
                &id[..id.len().min(12)],
                event.name
            );
            lines.push((event.at_nanos, text));
        }
        lines.sort();
        eprintln!("--- what was done, and what Docker did (seconds since the lab was up)");
        for (at, line) in lines {
            let millis = at.saturating_sub(self.begun_nanos) / 1_000_000;
            eprintln!("{:>4}.{:03}  {line}", millis / 1000, millis % 1000);
        }
        for index in 0..self.hosts.len() {
            self.tell_of_host(index);
        }
        crew::tell_last_words(&self.hosts);
        if let Some(test) = thread::current().name().filter(|name| *name != "main") {
            eprintln!("--- to repeat it: cargo test --package e2e --test lab -- --exact {test}");
        }
    }

    fn tell_of_host(&self, index: usize) {
        let ground = self.ground(index);
        let state = match (ground.is_on(), ground.is_frozen()) {
            (false, _) => "off",
            (true, true) => "frozen",
            (true, false) => "on",
        };
        let living = ground.living().len();
        eprintln!("--- {} is {state}; {living} containers live", ground.name());
        if ground.is_on() {
            let listed = self.containers_on(index);
            let listed = listed.unwrap_or_else(|why| {
                eprintln!("{why}");
                Vec::new()
            });
            for container in listed {
                let Container {
                    id, name, state, ..
                } = container;
                eprintln!("{} {name}: {state}", &id[..12]);
            }
        }
    }
}
