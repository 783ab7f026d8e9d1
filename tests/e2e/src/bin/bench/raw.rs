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
use std::thread;

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
        let id = create_and_start(&self.engine);
        self.ids.push(id);
        self.watch.expect("start", PATIENCE)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.engine.remove(&self.ids);
    }
}

/// Containers of Docker alone on all hosts; they are removed with this value.
pub(crate) struct Spread(Vec<(Engine, Vec<String>)>);

impl Spread {
    /// Starts so many on each host, two at a time, on all hosts at once.
    pub(crate) fn start(fleet: &LabFleet, on_each: usize) -> Self {
        let engines = (0..fleet.hosts.len()).map(|host| fleet.ground(host).engine());
        let engines: Vec<Engine> = engines.collect();
        let ids = thread::scope(|scope| {
            let starting = engines.iter().map(|engine| {
                let several = (0..AT_ONCE).map(|turn| {
                    let mine = (turn..on_each).step_by(AT_ONCE);
                    scope.spawn(move || mine.map(|_| create_and_start(engine)).collect())
                });
                several.collect::<Vec<_>>()
            });
            let starting: Vec<Vec<thread::ScopedJoinHandle<'_, Vec<String>>>> = starting.collect();
            let ended = starting.into_iter().map(|several| {
                let each = several
                    .into_iter()
                    .flat_map(|one| one.join().expect("Docker starts them"));
                each.collect::<Vec<String>>()
            });
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

fn create_and_start(engine: &Engine) -> String {
    let id = engine.create(&body());
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
