//! Docker alone: the same containers as the rivals', created and started by plain requests.

use crate::rival::seconds;
use e2e::{
    docker::{CLUSTER_LABEL, Engine, Event, Watch},
    fleet::PATIENCE,
    lab::fleet::LabFleet,
    program::IMAGE,
    wait::wall_nanos,
};
use serde_json::{Value, json};
use std::{
    iter,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
};

const CLUSTER: &str = "raw";
/// More at once make a machine with few cores slower.
const AT_ONCE: usize = 2;

/// One host's Docker; its containers are removed with this value.
pub(crate) struct Raw {
    engine: Engine,
    watch: Watch,
    ids: Vec<String>,
}

impl Raw {
    pub(crate) fn on(fleet: &LabFleet, host: usize) -> Self {
        let engine = fleet.ground(host).engine();
        Self {
            watch: engine.watch(&format!("{CLUSTER_LABEL}={CLUSTER}")),
            engine,
            ids: Vec::new(),
        }
    }

    /// From the request to the start event, in ms.
    pub(crate) fn start(&mut self) -> f64 {
        let from = wall_nanos();
        seconds(from, self.create_and_start().at_nanos) * 1e3
    }

    /// From the end of the last one to the start event of its successor, in ms.
    pub(crate) fn replace(&mut self) -> f64 {
        let last = self.ids.last().expect("one was started before");
        self.engine.kill(last);
        let died = self.watch.expect("die", PATIENCE);
        seconds(died.at_nanos, self.create_and_start().at_nanos) * 1e3
    }

    fn create_and_start(&mut self) -> Event {
        let id = create_and_start(&self.engine, &body());
        self.ids.push(id);
        self.watch.expect("start", PATIENCE)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.engine.remove(&self.ids);
    }
}

/// Containers of Docker alone, engine by engine; they are removed with this value.
pub(crate) struct Spread(Vec<(Engine, Vec<String>)>);

impl Spread {
    /// Starts so many on each host, two at a time, on all hosts at once.
    pub(crate) fn start(fleet: &LabFleet, on_each: usize) -> Self {
        let engines = (0..fleet.hosts.len()).map(|host| fleet.ground(host).engine());
        let engines: Vec<Engine> = engines.collect();
        let body = &body();
        let ids = thread::scope(|scope| {
            let starting = engines
                .iter()
                .map(|engine| scope.spawn(move || start_several(engine, body, on_each, AT_ONCE)));
            let starting: Vec<_> = starting.collect();
            let ended = starting.into_iter().map(ended);
            ended.collect::<Vec<_>>()
        });
        Self(engines.into_iter().zip(ids).collect())
    }
}

impl Drop for Spread {
    fn drop(&mut self) {
        thread::scope(|scope| {
            for (engine, ids) in &self.0 {
                scope.spawn(|| engine.remove(ids));
            }
        });
    }
}

/// What is to be started on one Docker: containers just like one of an agent's there.
pub(crate) struct Twins {
    engine: Engine,
    body: Value,
}

impl Twins {
    /// What Docker was told for this container, and what it added, which changes nothing.
    pub(crate) fn of(engine: &Engine, id: &str) -> Self {
        let told = engine.inspect(id);
        let mut body = told["Config"].clone();
        body["HostConfig"] = told["HostConfig"].clone();
        // As many labels, but the agent has nothing to do with them.
        body["Labels"][CLUSTER_LABEL] = json!(CLUSTER);
        body["Hostname"] = json!("");
        let engine = engine.clone();
        Self { engine, body }
    }

    pub(crate) fn start(&self, count: usize, at_once: usize) -> Spread {
        let ids = start_several(&self.engine, &self.body, count, at_once);
        Spread(vec![(self.engine.clone(), ids)])
    }
}

/// Creates and starts so many, of which some are under way at any time; their ids.
fn start_several(engine: &Engine, body: &Value, count: usize, at_once: usize) -> Vec<String> {
    let begun = &AtomicUsize::new(0);
    let start_next = move || {
        let is_left = begun.fetch_add(1, Ordering::Relaxed) < count;
        is_left.then(|| create_and_start(engine, body))
    };
    thread::scope(|scope| {
        let several =
            (0..at_once).map(|_| scope.spawn(move || iter::from_fn(start_next).collect()));
        let several: Vec<ScopedJoinHandle<'_, Vec<String>>> = several.collect();
        several.into_iter().flat_map(ended).collect()
    })
}

fn ended<T>(starting: ScopedJoinHandle<'_, T>) -> T {
    starting.join().expect("Docker starts them")
}

fn create_and_start(engine: &Engine, body: &Value) -> String {
    let id = engine.create(body);
    engine.start(&id);
    id
}

fn body() -> Value {
    json!({
        "Image": IMAGE,
        "Labels": {CLUSTER_LABEL: CLUSTER},
        "HostConfig": {"Memory": 16 * 1024 * 1024, "NetworkMode": "bridge"},
    })
}
