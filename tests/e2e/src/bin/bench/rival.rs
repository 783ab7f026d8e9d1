//! Who is compared: each makes a cluster of the lab's hosts and keeps a number of tasks there.

use crate::swarm::{self, Tuning};
use e2e::{
    crew,
    docker::{CLUSTER_LABEL, Container},
    lab::fleet::LabFleet,
    wait::{secs, until},
};
use serde_json::json;
use std::time::Duration;

pub(crate) const HOSTS: u8 = 5;
/// A service is up, or gone.
const SETTLED_WITHIN: Duration = secs(90);
/// Docker's name of a service's containers, as Swarm labels them.
const SWARM_LABEL: &str = "com.docker.swarm.service.name";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    Holdfast,
    Swarm(Tuning),
}

impl Rival {
    pub(crate) const ALL: [Self; 3] = [
        Self::Holdfast,
        Self::Swarm(Tuning::AsItComes),
        Self::Swarm(Tuning::Tuned),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Holdfast => "Holdfast",
            Self::Swarm(Tuning::AsItComes) => "Swarm",
            Self::Swarm(Tuning::Tuned) => "Swarm, tuned",
        }
    }

    /// Five hosts of its own; `None`, loudly, where there can be no lab.
    pub(crate) fn fresh(self) -> Option<LabFleet> {
        let mut fleet = LabFleet::up(HOSTS, &[])?;
        self.join(&mut fleet);
        Some(fleet)
    }

    /// Makes a cluster of all hosts.
    pub(crate) fn join(self, fleet: &mut LabFleet) {
        match self {
            Self::Holdfast => fleet.start_all(),
            Self::Swarm(tuning) => swarm::form(fleet, tuning),
        }
    }

    /// Asks for a service, and waits for nothing.
    pub(crate) fn ask_for(self, fleet: &mut LabFleet, name: &str, count: usize) {
        match self {
            Self::Holdfast => {
                let count = u32::try_from(count).expect("it is small");
                fleet.create_service(name, count);
            }
            Self::Swarm(tuning) => swarm::create_service(fleet, tuning, name, count),
        }
    }

    /// Asks for a service, and waits until all of it runs.
    pub(crate) fn create(self, fleet: &mut LabFleet, name: &str, count: usize) {
        self.ask_for(fleet, name, count);
        self.await_running(fleet, name, count);
        self.await_well(fleet);
    }

    /// Waits until so many containers of a service run, and the rival itself says so.
    #[track_caller]
    pub(crate) fn await_running(self, fleet: &mut LabFleet, name: &str, count: usize) {
        until(&format!("{count} of {name} run"), SETTLED_WITHIN, || {
            let hosts = 0..fleet.hosts.len();
            let each = hosts.map(|host| self.containers(fleet, host, name).len());
            let running: usize = each.sum();
            if running != count {
                return Err(format!("{running} run"));
            }
            match self {
                Self::Holdfast => {
                    let agents = crew::running(&mut fleet.hosts);
                    crew::say_so(&agents, name, u32::try_from(count).expect("it is small"))
                }
                Self::Swarm(_) => swarm::says(fleet, name, count),
            }
        });
    }

    /// Removes a service of so many, and waits until its containers are gone.
    pub(crate) fn remove(self, fleet: &mut LabFleet, name: &str, count: usize) {
        let before = fleet.living_on(&EVERYWHERE);
        match self {
            Self::Holdfast => {
                let removal = json!({"service": name, "force": true});
                let removed = crew::any(&mut fleet.hosts).ecs("DeleteService", &removal);
                removed.expect("the service is there");
            }
            Self::Swarm(_) => swarm::remove_service(fleet, name),
        }
        await_living(fleet, before - count);
    }

    /// Waits until it says that all hosts are there.
    pub(crate) fn await_well(self, fleet: &mut LabFleet) {
        match self {
            Self::Holdfast => fleet.await_all(),
            Self::Swarm(_) => swarm::await_well(fleet),
        }
    }

    /// Turns hosts on again, with what runs on them.
    pub(crate) fn boot(self, fleet: &mut LabFleet, hosts: &[usize]) {
        match self {
            Self::Holdfast => fleet.boot(hosts),
            Self::Swarm(_) => fleet.power_on(hosts),
        }
        self.await_well(fleet);
    }

    /// The running containers of a service on a host.
    pub(crate) fn containers(self, fleet: &LabFleet, host: usize, service: &str) -> Vec<Container> {
        let label = match self {
            Self::Holdfast => CLUSTER_LABEL.to_owned(),
            Self::Swarm(_) => format!("{SWARM_LABEL}={service}"),
        };
        let all = fleet.ground(host).engine().containers(&label).into_iter();
        // Swarm's have no label of ours.
        let meant = |one: &Container| one.is_running() && ["", service].contains(&&*one.service);
        all.filter(meant).collect()
    }
}

pub(crate) const EVERYWHERE: [usize; 5] = [0, 1, 2, 3, 4];

/// Waits until exactly so many containers live on all hosts.
#[track_caller]
pub(crate) fn await_living(fleet: &LabFleet, count: usize) {
    until(
        &format!("{count} containers live"),
        SETTLED_WITHIN,
        || match fleet.living_on(&EVERYWHERE) {
            living if living == count => Ok(()),
            living => Err(format!("{living} live")),
        },
    );
}

pub(crate) fn seconds(from_nanos: u64, to_nanos: u64) -> f64 {
    to_nanos.saturating_sub(from_nanos) as f64 / 1e9
}
