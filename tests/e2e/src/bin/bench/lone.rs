//! One host of a lab alone: its agent, and the Docker that agent and plain requests start on.

use crate::{raw::Twins, rival::seconds, watching::Watching};
use e2e::{
    crew,
    docker::{CLUSTER_LABEL, Engine},
    host::Host,
    lab::fleet::LabFleet,
    wait::{secs, until, wall_nanos},
};
use nix::sys::signal::Signal;
use std::{collections::BTreeSet, time::Duration};

const SERVICE: &str = "web";
/// For 200 containers at 16 MiB each.
const MEMORY_MIB: &str = "8192";
const STARTED_WITHIN: Duration = secs(120);
const GONE_WITHIN: Duration = secs(120);
const ADOPTED_WITHIN: Duration = secs(30);

/// The host, with a service that has no tasks yet; it ends with this value.
pub(crate) struct Lone(LabFleet);

impl Lone {
    /// `None`, loudly, where there can be no lab.
    pub(crate) fn up() -> Option<Self> {
        let mut fleet = LabFleet::up(1, &[])?;
        fleet.hosts[0].set("memory-mib", MEMORY_MIB);
        // What was stopped is removed at once: the next start finds an empty Docker.
        fleet.hosts[0].set("stopped-container-retention-s", "0");
        fleet.start_all();
        fleet.create_service(SERVICE, 0);
        Some(Self(fleet))
    }

    pub(crate) fn agent(&self) -> &Host {
        &self.0.hosts[0]
    }

    fn engine(&self) -> Engine {
        self.0.ground(0).engine()
    }

    /// Asks the agent for so many tasks: from the request to the start of the last one, in s.
    pub(crate) fn start(&mut self, count: usize) -> f64 {
        let mut watching = Watching::on(&self.0, &[0]);
        let from = wall_nanos();
        self.0.scale(SERVICE, count_of(count));
        all_started(&mut watching, from, count)
    }

    /// Waits until the agent says what Docker does: so many run.
    pub(crate) fn await_running(&mut self, count: usize) {
        self.0
            .await_running(SERVICE, count_of(count), STARTED_WITHIN);
        until("the agent says so", STARTED_WITHIN, || {
            crew::say_so(&[self.agent()], SERVICE, count_of(count))
        });
    }

    /// Ends all of the agent's tasks, and waits until nothing is left of them.
    pub(crate) fn stop(&mut self) {
        self.0.scale(SERVICE, 0);
        self.await_empty();
        until("the agent says so", GONE_WITHIN, || {
            crew::say_so(&[self.agent()], SERVICE, 0)
        });
    }

    /// What Docker alone is to start: what it would be told for a task of the agent's.
    pub(crate) fn twins(&mut self) -> Twins {
        self.start(1);
        self.await_running(1);
        let engine = self.engine();
        let pattern = engine.containers(CLUSTER_LABEL);
        let twins = Twins::of(&engine, &pattern[0].id);
        self.stop();
        twins
    }

    /// As `start`, by plain requests, so many at a time; they are removed again.
    pub(crate) fn start_alone(&self, twins: &Twins, count: usize, at_once: usize) -> f64 {
        let mut watching = Watching::on(&self.0, &[0]);
        let from = wall_nanos();
        let started = twins.start(count, at_once);
        let took = all_started(&mut watching, from, count);
        drop(started);
        self.await_empty();
        took
    }

    /// Docker clears up after a container for a while in which it starts others more slowly.
    fn await_empty(&self) {
        until("no container is left", GONE_WITHIN, || {
            let living = self.0.ground(0).living().len();
            if living > 0 {
                return Err(format!("{living} containers live"));
            }
            match self.engine().containers(CLUSTER_LABEL).len() {
                0 => Ok(()),
                left => Err(format!("Docker has {left} containers")),
            }
        });
    }

    pub(crate) fn kill_agent(&mut self) {
        self.0.signal_agent(0, Signal::SIGKILL);
        self.0.hosts[0].gone();
    }

    /// Starts the agent: from then until it says that it has compared its tasks with Docker's
    /// containers and that so many run, in ms.
    pub(crate) fn adopt(&mut self, count: usize) -> f64 {
        let from = wall_nanos();
        self.0.start_agents(&[0]);
        until("the containers are adopted", ADOPTED_WITHIN, || {
            let told = self.agent().look("/v1/status");
            let tasks = &told["tasks"];
            // Until it is caught up it shows what its disk says.
            let is_known = told["caughtUp"] == true && told["docker"]["available"] == true;
            let confirmed = tasks["unconfirmed"] == 0 && tasks["byStatus"]["RUNNING"] == count;
            match is_known && confirmed {
                true => Ok(()),
                false => Err(told.to_string()),
            }
        });
        seconds(from, wall_nanos()) * 1e3
    }

    /// The containers by their ids and the moments of their starts.
    pub(crate) fn runs(&self) -> BTreeSet<(String, String)> {
        let engine = self.engine();
        let all = engine.containers(CLUSTER_LABEL).into_iter();
        all.filter(e2e::docker::Container::is_running)
            .map(|container| (engine.started_at(&container.id), container.id))
            .collect()
    }
}

fn all_started(watching: &mut Watching, from: u64, count: usize) -> f64 {
    let last = watching.nth_start(count, STARTED_WITHIN);
    seconds(from, last.expect("all of them start").at_nanos)
}

fn count_of(count: usize) -> u32 {
    u32::try_from(count).expect("it is small")
}
