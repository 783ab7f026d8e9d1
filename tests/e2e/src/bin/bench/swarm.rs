//! Docker Swarm on the hosts of a lab: formed, asked for services, and asked who is there.

use e2e::{
    http::query_escaped,
    lab::fleet::LabFleet,
    program::IMAGE,
    wait::{secs, until},
};
use serde_json::{Value, json};
use std::time::Duration;

/// The first three hosts. The first one forms the cluster and is its leader, until it is lost.
const MANAGERS: usize = 3;
const PORT: u16 = 2377;
/// A manager without a leader does not answer at all.
const ASKED_FOR: Duration = secs(5);
/// Joining asks for certificates and elects.
const JOINED_WITHIN: Duration = secs(60);
/// It was seen to take 115 s after a split.
const WELL_WITHIN: Duration = secs(180);

/// How far its settings are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tuning {
    AsItComes,
    /// Heartbeats each second, and no pause before a task is replaced.
    Tuned,
}

impl Tuning {
    fn heartbeat(self) -> Duration {
        match self {
            Self::AsItComes => secs(5),
            Self::Tuned => secs(1),
        }
    }
}

/// All hosts join, the first three as managers; returns when all are ready.
pub(crate) fn form(fleet: &mut LabFleet, tuning: Tuning) {
    let address = |index: usize| format!("{}:{PORT}", fleet.ground(index).address());
    let own = address(0);
    // Docker's durations are nanoseconds.
    let heartbeat = u64::try_from(tuning.heartbeat().as_nanos()).expect("it is some seconds");
    let spec = json!({"Dispatcher": {"HeartbeatPeriod": heartbeat}});
    let init = json!({"ListenAddr": own, "AdvertiseAddr": own, "Spec": spec});
    asked(fleet, 0, "POST", "/swarm/init", &init, JOINED_WITHIN);
    let tokens = asked(fleet, 0, "GET", "/swarm", &Value::Null, ASKED_FOR)["JoinTokens"].clone();
    for index in 1..fleet.hosts.len() {
        let role = if index < MANAGERS {
            "Manager"
        } else {
            "Worker"
        };
        let own = address(index);
        let join = json!({
            "ListenAddr": own,
            "AdvertiseAddr": own,
            "RemoteAddrs": [address(0)],
            "JoinToken": tokens[role],
        });
        asked(fleet, index, "POST", "/swarm/join", &join, JOINED_WITHIN);
    }
    await_well(fleet);
    fleet.note("Swarm is formed");
}

/// A service of the same containers as an agent's; with no pause before replacing where tuned.
pub(crate) fn create_service(fleet: &mut LabFleet, tuning: Tuning, name: &str, count: usize) {
    let mut template = json!({
        "ContainerSpec": {"Image": IMAGE},
        "Resources": {"Limits": {"MemoryBytes": 16 * 1024 * 1024}},
    });
    if tuning == Tuning::Tuned {
        template["RestartPolicy"] = json!({"Condition": "any", "Delay": 0});
    }
    let service = json!({
        "Name": name,
        "TaskTemplate": template,
        "Mode": {"Replicated": {"Replicas": count}},
        "EndpointSpec": {"Mode": "dnsrr"},
    });
    let asked_of = who_leads(fleet).expect("one leads where all is well");
    asked(
        fleet,
        asked_of,
        "POST",
        "/services/create",
        &service,
        secs(20),
    );
    fleet.note(&format!("Swarm: created {name} with {count}"));
}

pub(crate) fn remove_service(fleet: &mut LabFleet, name: &str) {
    let path = format!("/services/{name}");
    let asked_of = who_leads(fleet).expect("one leads where all is well");
    asked(fleet, asked_of, "DELETE", &path, &Value::Null, secs(20));
    fleet.note(&format!("Swarm: removed {name}"));
}

/// The host that leads, if a manager knows one.
pub(crate) fn who_leads(fleet: &LabFleet) -> Option<usize> {
    (0..MANAGERS).find_map(|index| {
        let members = members(fleet, index).ok()?;
        members.into_iter().find_map(|member| {
            let leads = member["ManagerStatus"]["Leader"] == json!(true);
            leads.then(|| host_of(&member)).flatten()
        })
    })
}

/// Waits until each manager says that all hosts are ready and all managers in reach.
#[track_caller]
pub(crate) fn await_well(fleet: &LabFleet) {
    until("Swarm is well", WELL_WITHIN, || {
        for index in 0..MANAGERS {
            let members = members(fleet, index)?;
            let ready = |member: &&Value| {
                let status = &member["ManagerStatus"];
                member["Status"]["State"] == "ready"
                    && (status.is_null() || status["Reachability"] == "reachable")
            };
            let ready = members.iter().filter(ready).count();
            if ready != fleet.hosts.len() {
                return Err(format!("{} sees {ready} ready", fleet.hosts[index].name));
            }
        }
        Ok(())
    });
}

/// Whether a manager says that so many tasks of a service run; what it says where not.
pub(crate) fn says(fleet: &LabFleet, name: &str, count: usize) -> Result<(), String> {
    let leads = who_leads(fleet).ok_or("nobody leads")?;
    let filters = json!({"service": [name], "desired-state": ["running"]}).to_string();
    let path = format!("/tasks?filters={}", query_escaped(&filters));
    let engine = fleet.ground(leads).engine();
    let tasks = engine.ask("GET", &path, &Value::Null, ASKED_FOR)?;
    let tasks = tasks.as_array().map_or(&[][..], Vec::as_slice);
    let runs = |task: &&Value| task["Status"]["State"] == "running";
    match tasks.iter().filter(runs).count() {
        running if running == count => Ok(()),
        running => Err(format!("Swarm says that {running} run")),
    }
}

/// The members of the cluster, in the eyes of a manager.
fn members(fleet: &LabFleet, index: usize) -> Result<Vec<Value>, String> {
    let engine = fleet.ground(index).engine();
    let members = engine.ask("GET", "/nodes", &Value::Null, ASKED_FOR)?;
    let list = members.as_array();
    list.cloned().ok_or_else(|| format!("no list: {members}"))
}

/// Its number, from 0: the lab calls the first one h1.
fn host_of(member: &Value) -> Option<usize> {
    let name = member["Description"]["Hostname"].as_str()?;
    name.strip_prefix('h')?
        .parse::<usize>()
        .ok()?
        .checked_sub(1)
}

/// What Docker of this host answers; it must.
#[track_caller]
fn asked(
    fleet: &LabFleet,
    index: usize,
    method: &str,
    path: &str,
    body: &Value,
    within: Duration,
) -> Value {
    let answer = fleet.ground(index).engine().ask(method, path, body, within);
    answer.unwrap_or_else(|why| panic!("{why}"))
}
