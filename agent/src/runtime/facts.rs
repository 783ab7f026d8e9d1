//! What Docker knows of a container beside what the core is told: asked when somebody reads it.
//!
//! Containers read it, so Docker is asked by few of them at once, not for long, and not for each of
//! their questions: an answer serves for a moment, and for longer while Docker gives none.

use super::{
    docker::{Shared, asked},
    failure::CallError,
    labels::ours,
    list::filters,
    operations,
};
use crate::http::{Address, client};
use bollard::{
    models::{ContainerInspectResponse, EndpointSettings},
    query_parameters::ListContainersOptions,
};
use bytes::Bytes;
use holdfast_core::{ids::TaskId, task::runtime::Labels};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Mutex, Semaphore},
    time::timeout,
};

/// So long an answer of Docker's serves.
const FRESH: Duration = Duration::from_secs(1);
/// So long it serves at the most while Docker gives no other one, and a sample of what a container
/// uses while nobody asks for the next.
const KEPT: Duration = Duration::from_secs(600);
/// As long as ECS's agent takes for an answer. Docker's first sample takes up to 2 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Enough for all containers of a task at once, each of which may wait for Docker's next sample.
const CALLS_MAX: usize = 16;
const STATS_BYTES_MAX: usize = 256 * 1024;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    shared: Arc<Shared>,
    calls: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

/// By the names of containers.
#[derive(Debug, Default)]
struct Known {
    facts: BTreeMap<String, (Instant, Arc<Fact>)>,
    samples: BTreeMap<String, (Instant, Sample)>,
    places: Option<(Instant, Arc<BTreeMap<IpAddr, Place>>)>,
}

/// What one container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) image_id: String,
    /// As Docker writes them: RFC 3339, with nanoseconds.
    pub(crate) created_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) finished_at: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) networks: Vec<Network>,
    /// What Docker's last look at its health found.
    pub(crate) check: Option<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Docker's name of the network.
    pub(crate) name: String,
    pub(crate) address: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) ended_at: Option<String>,
    pub(crate) exit_code: Option<i64>,
    pub(crate) output: String,
}

/// Who is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) task: TaskId,
    pub(crate) container: String,
}

/// What a container used at a moment.
#[derive(Clone, Debug)]
struct Sample {
    raw: Value,
    /// With what it used before, and how fast it sends and receives.
    shown: Value,
}

impl Facts {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            known: Arc::default(),
        }
    }

    /// Of this agent's container with that name; `None` where there is none, or where Docker has
    /// not answered for long.
    pub(crate) async fn of(&self, name: &str) -> Option<Arc<Fact>> {
        let known = self.known.lock().await.facts.get(name).cloned();
        if let Some((at, fact)) = &known
            && at.elapsed() < FRESH
        {
            return Some(Arc::clone(fact));
        }
        let inspected = self.call(operations::inspect(&self.shared, name)).await;
        let mut known_now = self.known.lock().await;
        match inspected {
            Some(Ok(inspected)) if operations::labels(&self.shared, &inspected).is_ok() => {
                let fact = Arc::new(fact(inspected));
                let entry = (Instant::now(), Arc::clone(&fact));
                known_now.facts.insert(name.to_owned(), entry);
                known_now
                    .facts
                    .retain(|_, (at, _)| Instant::elapsed(at) < KEPT);
                Some(fact)
            }
            Some(Ok(_)) => None,
            Some(Err(err)) if err.is_not_found() => {
                known_now.facts.remove(name);
                None
            }
            Some(Err(_)) | None => {
                let (at, fact) = known?;
                (at.elapsed() < KEPT).then_some(fact)
            }
        }
    }

    /// Who of this agent's running containers has the address.
    pub(crate) async fn at(&self, address: IpAddr) -> Option<Place> {
        let known = self.known.lock().await.places.clone();
        if let Some((at, places)) = &known
            && at.elapsed() < FRESH
        {
            return places.get(&address).cloned();
        }
        let listed = self.call(self.list()).await;
        match listed {
            Some(Ok(places)) => {
                let found = places.get(&address).cloned();
                self.known.lock().await.places = Some((Instant::now(), Arc::new(places)));
                found
            }
            Some(Err(_)) | None => {
                let (_, places) = known.filter(|(at, _)| at.elapsed() < KEPT)?;
                places.get(&address).cloned()
            }
        }
    }

    async fn list(&self) -> Result<BTreeMap<IpAddr, Place>, CallError> {
        let client = self.shared.client()?;
        let options = ListContainersOptions {
            filters: Some(HashMap::from([("label".to_owned(), filters(&self.shared))])),
            ..ListContainersOptions::default()
        };
        let list = || client.list_containers(Some(options.clone()));
        let running = asked(CALL_TIMEOUT, list).await?;
        let mut places = BTreeMap::new();
        for one in running {
            let name = one.names.iter().flatten().next();
            let name = name.map(String::as_str).unwrap_or_default();
            let labelled = one.labels.unwrap_or_default();
            let Ok(Labels {
                task, container, ..
            }) = ours(&self.shared.config, &labelled, name)
            else {
                continue;
            };
            let networks = one.network_settings.and_then(|settings| settings.networks);
            for network in networks.iter().flatten().filter_map(|(_, n)| address_of(n)) {
                let container = container.clone();
                places.insert(network, Place { task, container });
            }
        }
        Ok(places)
    }

    /// What the container uses, in Docker's own words, with what it used when that was asked last,
    /// and how fast it sends and receives since then. `None` where it does not run.
    pub(crate) async fn stats(&self, name: &str) -> Option<Value> {
        let known = self.known.lock().await.samples.get(name).cloned();
        if let Some((at, sample)) = &known
            && at.elapsed() < FRESH
        {
            return Some(sample.shown.clone());
        }
        // Without a sample from before, Docker takes two of its own, a second apart.
        let before = known.filter(|(at, _)| at.elapsed() < KEPT);
        let raw = self
            .call(sample(&self.shared, name, before.is_some()))
            .await??;
        let shown = match &before {
            Some((at, before)) => since(&raw, &before.raw, at.elapsed()),
            None => raw.clone(),
        };
        let entry = (
            Instant::now(),
            Sample {
                raw,
                shown: shown.clone(),
            },
        );
        let mut known = self.known.lock().await;
        known.samples.insert(name.to_owned(), entry);
        known
            .samples
            .retain(|_, (at, _)| Instant::elapsed(at) < KEPT);
        Some(shown)
    }

    /// `None` where Docker takes too long, or too many wait for it.
    async fn call<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let in_turn = async {
            let _permit = self.calls.acquire().await;
            call.await
        };
        timeout(CALL_TIMEOUT, in_turn).await.ok()
    }
}

fn address_of(network: &EndpointSettings) -> Option<IpAddr> {
    network.ip_address.as_deref()?.parse().ok()
}

pub(super) fn fact(inspected: ContainerInspectResponse) -> Fact {
    // Docker's word for never.
    let time = |text: Option<String>| text.filter(|text| !text.starts_with("0001-"));
    let state = inspected.state.unwrap_or_default();
    let networks = inspected.network_settings.and_then(|s| s.networks);
    let mut networks: Vec<Network> = networks
        .into_iter()
        .flatten()
        .map(|(name, network)| Network {
            address: address_of(&network),
            name,
        })
        .collect();
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    let log = state.health.and_then(|health| health.log);
    let check = log.into_iter().flatten().next_back().map(|result| Check {
        ended_at: time(result.end),
        exit_code: result.exit_code,
        output: result.output.unwrap_or_default(),
    });
    let labels = inspected.config.and_then(|config| config.labels);
    Fact {
        image_id: inspected.image.unwrap_or_default(),
        created_at: time(inspected.created),
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        labels: labels.into_iter().flatten().collect(),
        networks,
        check,
    }
}

/// As Docker writes it, word for word: who reads it may rely on what our client library leaves out.
async fn sample(shared: &Shared, name: &str, one_shot: bool) -> Option<Value> {
    let socket: Address = shared.config.socket.to_str()?.parse().ok()?;
    let path = format!("/containers/{name}/stats?stream=false&one-shot={one_shot}");
    let answer = client::send(&socket, Request::get(path), Full::<Bytes>::default()).await;
    let answer = answer.ok().filter(|answer| answer.status().is_success())?;
    let body = Limited::new(answer.into_body(), STATS_BYTES_MAX);
    let body = body.collect().await.ok()?.to_bytes();
    let raw: Value = serde_json::from_slice(&body).ok()?;
    // Of one that does not run, Docker has zeros.
    let has_run = raw["read"]
        .as_str()
        .is_some_and(|at| !at.starts_with("0001-"));
    has_run.then_some(raw)
}

/// The sample with the one before it, as Docker has it when it takes both itself.
fn since(raw: &Value, before: &Value, elapsed: Duration) -> Value {
    let mut shown = raw.clone();
    shown["precpu_stats"] = before["cpu_stats"].clone();
    shown["preread"] = before["read"].clone();
    let bytes = |stats: &Value, which: &str| -> f64 {
        let networks = stats["networks"].as_object().into_iter().flatten();
        networks.filter_map(|(_, one)| one[which].as_f64()).sum()
    };
    if raw["networks"].is_object() {
        let rate = |which| {
            let more = bytes(raw, which) - bytes(before, which);
            more.max(0.0) / elapsed.as_secs_f64().max(0.001)
        };
        shown["network_rate_stats"] = json!({
            "rx_bytes_per_sec": rate("rx_bytes"),
            "tx_bytes_per_sec": rate("tx_bytes"),
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_tells_what_came_since_the_one_before() {
        let sample = |read: &str, cpu: u32, received: u32| {
            json!({
                "read": read, "preread": "0001-01-01T00:00:00Z", "precpu_stats": {},
                "cpu_stats": {"cpu_usage": {"total_usage": cpu}},
                "networks": {"eth0": {"rx_bytes": received, "tx_bytes": 0}},
            })
        };
        let (first, second) = (sample("t1", 100, 1_000), sample("t2", 150, 5_000));
        let shown = since(&second, &first, Duration::from_secs(2));
        assert_eq!(shown["preread"], "t1");
        assert_eq!(shown["precpu_stats"], first["cpu_stats"]);
        let rate = &shown["network_rate_stats"];
        assert_eq!(rate["rx_bytes_per_sec"], 2_000.0);
        assert_eq!(rate["tx_bytes_per_sec"], 0.0);
    }
}
