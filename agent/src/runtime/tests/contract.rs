//! The contract's scripts, which the simulator's fake obeys, played against a real Docker Engine.
//!
//! Needs `HOLDFAST_TEST_DOCKER_IMAGE`, an image of `tests/e2e/workload`; skipped, loudly, without.

use super::{client, config, connect, docker_image};
use crate::runtime::{Docker, DockerConfig, labels};
use bollard::{
    Docker as Client,
    query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder},
};
use holdfast_core::{
    ids::TaskId,
    task::runtime::{Labels, RuntimeCommand, RuntimeEvent},
    time::Span,
};
use sim::contract::{CLUSTER, Driver, HOST, Script, container_of, play, scripts};
use std::{process, time::Duration};
use tokio::{
    runtime::{self, Runtime},
    sync::mpsc,
    time::timeout,
};

/// One script's container on a real Docker, in a cluster of its own.
struct RealDriver {
    runtime: Runtime,
    docker: Docker,
    events: mpsc::Receiver<RuntimeEvent>,
    client: Client,
    image: String,
    labels: Labels,
    /// Docker's event and the answer to our call both tell of an end, in either order, and a
    /// repetition is harmless to whoever listens: for each cause, one of the two is let through.
    exit_due: bool,
    removal_due: bool,
}

impl RealDriver {
    fn new(image: &str, task: TaskId, number: usize) -> Self {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let cluster = format!("{CLUSTER}-{}-{number}", process::id());
        let config = DockerConfig {
            cluster: cluster.clone(),
            host: HOST,
            ..config()
        };
        let (docker, events) = runtime.block_on(connect(&config));
        let labels = container_of(sim::contract::Kind::Sleeper, task).labels;
        Self {
            runtime,
            docker,
            events,
            client: client(),
            image: image.to_owned(),
            labels: Labels { cluster, ..labels },
            exit_due: true,
            removal_due: true,
        }
    }

    fn is_due(&mut self, event: &RuntimeEvent) -> bool {
        match event {
            RuntimeEvent::Exited { .. } => std::mem::take(&mut self.exit_due),
            RuntimeEvent::Removed { .. } => std::mem::take(&mut self.removal_due),
            _ => true,
        }
    }

    fn name(&self) -> String {
        labels::container_name(&self.labels)
    }
}

impl Driver for RealDriver {
    fn command(&mut self, mut command: RuntimeCommand) {
        match &mut command {
            RuntimeCommand::Create(create) => {
                create.labels.cluster.clone_from(&self.labels.cluster);
                if create.container.image.starts_with("sleeper") {
                    create.container.image.clone_from(&self.image);
                } else {
                    create.container.image = "holdfast-no-such-image:none".to_owned();
                }
            }
            RuntimeCommand::Stop { .. } => self.exit_due = true,
            RuntimeCommand::Remove { .. } => self.removal_due = true,
            RuntimeCommand::Start { .. }
            | RuntimeCommand::Check { .. }
            | RuntimeCommand::ReadLog { .. }
            | RuntimeCommand::Pull { .. }
            | RuntimeCommand::List => {}
        }
        let _entered = self.runtime.enter();
        self.docker.carry_out(command);
    }

    fn next_event(&mut self, within: Span) -> Option<RuntimeEvent> {
        loop {
            // A timer is made inside the runtime that drives it.
            let next = self.runtime.block_on(async {
                timeout(Duration::from_micros(within.0), self.events.recv()).await
            });
            let event = next.ok()?.expect("the runtime lives");
            if self.is_due(&event) {
                return Some(event);
            }
        }
    }

    fn kill(&mut self, _task: TaskId, _container: &str) {
        let kill = KillContainerOptionsBuilder::new().signal("KILL").build();
        let name = self.name();
        let killed = self.client.kill_container(&name, Some(kill));
        self.runtime.block_on(killed).expect("it runs");
    }

    fn remove_by_force(&mut self, _task: TaskId, _container: &str) {
        let force = RemoveContainerOptionsBuilder::new().force(true).build();
        let name = self.name();
        let removed = self.client.remove_container(&name, Some(force));
        self.runtime.block_on(removed).expect("it is there");
    }
}

impl Drop for RealDriver {
    fn drop(&mut self) {
        let force = RemoveContainerOptionsBuilder::new()
            .force(true)
            .v(true)
            .build();
        let name = self.name();
        // Most scripts leave one behind, some have removed it.
        let removed = self.client.remove_container(&name, Some(force));
        self.runtime.block_on(removed).unwrap_or_default();
    }
}

#[test]
fn docker_keeps_the_contract_that_the_fake_keeps() {
    let Some(image) = docker_image() else {
        return;
    };
    let broken = |(number, script): (usize, &Script)| {
        let task = TaskId(u128::from(process::id()) << 96 | 0xc0 << 64 | number as u128);
        let mut driver = RealDriver::new(&image, task, number);
        play(script, task, &mut driver).err()
    };
    let scripts = scripts();
    let broken: Vec<String> = scripts.iter().enumerate().filter_map(broken).collect();
    assert!(
        broken.is_empty(),
        "{} of {} scripts went otherwise on Docker:\n{}",
        broken.len(),
        scripts.len(),
        broken.join("\n")
    );
}
