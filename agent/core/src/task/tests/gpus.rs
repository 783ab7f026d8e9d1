//! Which container has which of its task's GPUs, and that this outlives the agent.

use crate::{
    cluster::body::{ServiceRevision, TaskReport},
    effect::{Effect, Effects},
    ids::{Digest, GpuId, HostId, RuntimeId, TaskId},
    spec::task_definition::{Container, NetworkMode, TaskDefinition},
    task::{
        machine::{Defined, Owner, Task},
        pause::PAUSE,
        runtime::{CreateContainer, Observed, ObservedStatus, RuntimeCommand},
    },
    time::{Mono, Now, Wall},
    timings::Timings,
};
use std::collections::BTreeMap;

const NOW: Now = Now {
    mono: Mono(0),
    wall: Wall(1_000),
};

/// One GPU, none, and two; and a container that holds the network.
fn definition() -> TaskDefinition {
    let container = |(name, gpus): (&str, u32)| Container {
        name: name.to_owned(),
        gpus,
        ..Container::default()
    };
    TaskDefinition {
        network: NetworkMode::Task,
        containers: [("one", 1), ("none", 0), ("two", 2)].map(container).into(),
        ..TaskDefinition::default()
    }
}

fn begun() -> TaskReport {
    let revision = ServiceRevision {
        definition: Digest([1; 32]),
        family: "shop".to_owned(),
        revision: 1,
        renewals: 0,
    };
    TaskReport::begin(revision, None, NOW.wall)
}

fn owner() -> Owner {
    Owner {
        cluster: "test".into(),
        host: HostId(1),
    }
}

fn gpus(ids: &[&str]) -> Vec<GpuId> {
    ids.iter()
        .map(|id| id.parse().expect("it is an id"))
        .collect()
}

/// A task that was just accepted, and what it asks for.
fn new() -> (Task, Vec<CreateContainer>) {
    let mut fx = Effects::new();
    let defined = Defined {
        definition: definition(),
        images: BTreeMap::new(),
        gpus: gpus(&["0", "1", "2"]),
    };
    let mut task = Task::new(TaskId(7), begun(), defined, owner(), &Timings::default());
    task.go(NOW, &mut fx);
    (task, creates(fx))
}

fn creates(mut fx: Effects) -> Vec<CreateContainer> {
    let created = fx.drain().filter_map(|effect| match effect {
        Effect::Runtime(RuntimeCommand::Create(create)) => Some(*create),
        _ => None,
    });
    created.collect()
}

fn reported(task: &Task) -> BTreeMap<&str, Vec<GpuId>> {
    let containers = task.report.containers.iter();
    containers
        .map(|one| (&*one.name, one.gpus.to_vec()))
        .collect()
}

fn dealt() -> BTreeMap<&'static str, Vec<GpuId>> {
    [("one", &["0"][..]), ("none", &[]), ("two", &["1", "2"])]
        .map(|(name, ids)| (name, gpus(ids)))
        .into()
}

#[test]
fn gpus_are_dealt_in_the_order_of_the_definition_and_each_label_names_all() {
    let (task, creates) = new();
    assert_eq!(reported(&task), dealt());
    assert_eq!(creates.len(), 4);
    for create in creates {
        let name = create.container.name.as_str();
        let its = dealt().remove(name).unwrap_or_default();
        assert_eq!(create.gpus.to_vec(), its, "{name}");
        assert_eq!(
            create.labels.gpus.to_vec(),
            gpus(&["0", "1", "2"]),
            "{name}"
        );
    }
}

#[test]
fn an_agent_that_was_restarted_knows_them_from_its_own_report() {
    let report = new().0.report;
    let definition = Some(definition());
    let task = Task::remembered(TaskId(7), report, definition, owner(), &Timings::default());
    assert_eq!(task.needs().gpu_ids, gpus(&["0", "1", "2"]));
    assert_eq!(task.needs().gpus, 3);
}

#[test]
fn an_agent_that_lost_its_disk_knows_them_from_any_container_of_the_task() {
    let (_, creates) = new();
    let holder = creates.iter().find(|one| one.container.name == PAUSE);
    let holder = holder.expect("the network is shared");
    let timings = Timings::default();
    let mut task = Task::remembered(TaskId(7), begun(), None, owner(), &timings);
    let mut fx = Effects::new();
    let found = Observed {
        runtime_id: RuntimeId([1; 32]),
        labels: holder.labels.clone(),
        status: ObservedStatus::Created,
    };
    task.on_observed(NOW, found, &mut fx);
    // They are promised before the definition says what for.
    assert_eq!(task.needs().gpu_ids, gpus(&["0", "1", "2"]));
    task.on_definition(NOW, definition(), &timings, &mut fx);
    task.on_missing(NOW, &[PAUSE], &mut fx);
    assert_eq!(reported(&task), dealt());
    for create in self::creates(fx) {
        let its = dealt().remove(create.container.name.as_str());
        assert_eq!(Some(create.gpus.to_vec()), its);
    }
}
