//! One worker for each command: does it, and answers with exactly the event that the core awaits.

use super::{
    docker::{START_TIMEOUT_FACTOR, Shared, bounded, lock},
    failure::{CallError, Operation},
    labels::{NotOurs, container_name, ours},
    ledger::Ledger,
    observe, pull, timestamp,
    translate::{grace_seconds, translate},
};
use bollard::{
    errors::Error as DockerError,
    models::{ContainerCreateBody, ContainerInspectResponse},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, RemoveContainerOptions,
        StopContainerOptions,
    },
};
use holdfast_core::{
    ids::{RuntimeId, TaskId},
    task::runtime::{
        CreateContainer, Exit, Labels, ObservedStatus, PortBinding, RuntimeCommand, RuntimeEvent,
        RuntimeFailure,
    },
    time::{Span, Wall},
};
use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// What Docker may take for a stop beyond the grace.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// A create or start that takes longer hangs on something, and keeps no core busy.
const TURN_MAX: Duration = Duration::from_secs(5);

/// How long a start waits for Docker to clear up after a container that has just died.
const CLEARED_WITHIN: Duration = Duration::from_millis(200);

/// The container that a command is about.
#[derive(Clone, Debug)]
struct Target {
    task: TaskId,
    container: String,
    runtime_id: RuntimeId,
}

/// What is known of a target before it is touched.
enum Ownership {
    Ours(ObservedStatus),
    Gone,
    /// Not ours, and why; it is never touched.
    Foreign(String),
    Unknown(CallError),
}

pub(crate) async fn carry_out(shared: Arc<Shared>, command: RuntimeCommand) {
    match command {
        RuntimeCommand::Create(create) => on_create(&shared, &create).await,
        RuntimeCommand::Start {
            task,
            container,
            runtime_id,
        } => {
            on_start(
                &shared,
                Target {
                    task,
                    container,
                    runtime_id,
                },
            )
            .await;
        }
        RuntimeCommand::Stop {
            task,
            container,
            runtime_id,
            grace,
        } => {
            on_stop(
                &shared,
                Target {
                    task,
                    container,
                    runtime_id,
                },
                grace,
            )
            .await;
        }
        RuntimeCommand::Remove {
            task,
            container,
            runtime_id,
        } => {
            on_remove(
                &shared,
                Target {
                    task,
                    container,
                    runtime_id,
                },
            )
            .await;
        }
        RuntimeCommand::List => shared.list_wanted.notify_one(),
    }
}

async fn on_create(shared: &Shared, create: &CreateContainer) {
    let outcome = create_or_adopt(shared, create).await;
    let Labels {
        task, container, ..
    } = create.labels.clone();
    let event = |ledger: &mut Ledger| match outcome {
        Ok(runtime_id) => {
            ledger.on_created(runtime_id, &create.labels);
            RuntimeEvent::Created {
                task,
                container,
                runtime_id,
            }
        }
        Err(failure) => RuntimeEvent::CreateFailed {
            task,
            container,
            failure,
        },
    };
    shared.tell(event).await;
}

async fn create_or_adopt(
    shared: &Shared,
    create: &CreateContainer,
) -> Result<RuntimeId, RuntimeFailure> {
    let body = translate(create, shared.config.stop_grace_default)
        .map_err(|err| Operation::Create.permanent(&err.to_string()))?;
    let name = container_name(&create.labels);
    let image = &create.container.image;
    // Trying costs less than asking first whether the image is there: it almost always is.
    let mut outcome = create_once(shared, &name, &body).await;
    if matches!(&outcome, Err(err) if err.is_no_such_image()) {
        if !shared.config.pull {
            let text = format!("no such image: {image}; pulling is switched off on this host");
            return Err(Operation::Pull.permanent(&text));
        }
        pull::pull(shared, image).await?;
        outcome = create_once(shared, &name, &body).await;
    }
    match outcome {
        Ok(runtime_id) => Ok(runtime_id),
        Err(err) if err.is_no_such_image() => Err(Operation::Pull.failed(&err)),
        Err(err) if err.status() == Some(409) || err.leaves_doubt() => {
            adopt(shared, create, &name, &err).await
        }
        Err(err) => Err(Operation::Create.failed(&err)),
    }
}

async fn create_once(
    shared: &Shared,
    name: &str,
    body: &ContainerCreateBody,
) -> Result<RuntimeId, CallError> {
    let options = CreateContainerOptions {
        name: Some(name.to_owned()),
        ..CreateContainerOptions::default()
    };
    let client = shared.client()?;
    let call = client.create_container(Some(options), body.clone());
    Ok(in_turn(shared, call).await?.id.parse()?)
}

/// The name is taken, or Docker's answer was lost: if what has the name is the container that we
/// want, it is the one we made; otherwise the failure stands.
async fn adopt(
    shared: &Shared,
    create: &CreateContainer,
    name: &str,
    err: &CallError,
) -> Result<RuntimeId, RuntimeFailure> {
    let Ok(inspected) = inspect(shared, name).await else {
        return Err(Operation::Create.failed(err));
    };
    let runtime_id = inspected.id.as_deref().unwrap_or_default().parse();
    let runtime_id: RuntimeId =
        runtime_id.map_err(|err| Operation::Inspect.failed(&CallError::Id(err)))?;
    match labels(shared, &inspected) {
        Ok(labels)
            if labels.task == create.labels.task && labels.container == create.labels.container =>
        {
            Ok(runtime_id)
        }
        Ok(_) => Err(Operation::Create.failed(err)),
        Err(why) => Err(Operation::Create.permanent(&format!(
            "the name {name} is taken by container {}, which is not of this agent ({why}); \
             remove or rename it",
            runtime_id.short()
        ))),
    }
}

async fn on_start(shared: &Shared, target: Target) {
    let Target {
        task,
        container,
        runtime_id,
    } = target.clone();
    let outcome = match ownership(shared, &target).await {
        // It ran already. Docker would run it again, but a task runs once.
        Ownership::Ours(ObservedStatus::Exited(exit)) => Ok(Started {
            at: exit.at,
            status: ObservedStatus::Exited(exit),
            ports: vec![],
        }),
        Ownership::Ours(_) => start_and_inspect(shared, runtime_id).await,
        Ownership::Gone => Err(Operation::Start.permanent(&gone(runtime_id))),
        Ownership::Foreign(why) => Err(Operation::Start.permanent(&why)),
        Ownership::Unknown(err) => Err(Operation::Inspect.failed(&err)),
    };
    let Started { at, status, ports } = match outcome {
        Ok(started) => started,
        Err(failure) => {
            shared
                .tell(|_| RuntimeEvent::StartFailed {
                    task,
                    container,
                    failure,
                })
                .await;
            return;
        }
    };
    let started = |ledger: &mut Ledger| {
        ledger.on_started(runtime_id, at, &ports);
        RuntimeEvent::Started {
            task,
            container,
            runtime_id,
            at,
            ports,
        }
    };
    shared.tell(started).await;
    if let ObservedStatus::Exited(exit) = status {
        tell_exited(shared, target, exit).await;
    }
}

/// A container that was started.
struct Started {
    at: Wall,
    /// What has become of it since.
    status: ObservedStatus,
    ports: Vec<PortBinding>,
}

async fn start_and_inspect(
    shared: &Shared,
    runtime_id: RuntimeId,
) -> Result<Started, RuntimeFailure> {
    let id = runtime_id.to_string();
    let start_failed = |err: &CallError| Operation::Start.failed(err);
    let client = shared.client().map_err(|err| start_failed(&err))?;
    await_cleared(shared).await;
    let outcome = in_turn(shared, client.start_container(&id, None)).await;
    match &outcome {
        Err(err) if !err.leaves_doubt() => return Err(start_failed(err)),
        Ok(()) | Err(_) => {}
    }
    let now = timestamp::now();
    let inspected = match inspect(shared, &id).await {
        Ok(inspected) => inspected,
        Err(err) if outcome.is_ok() && err.is_not_found() => {
            let status = ObservedStatus::Exited(unknown_exit());
            return Ok(Started {
                at: now,
                status,
                ports: vec![],
            });
        }
        Err(err) => return Err(Operation::Inspect.failed(outcome.as_ref().err().unwrap_or(&err))),
    };
    let status = observe::status(&inspected, now);
    match (&outcome, &status) {
        // Docker's answer was lost, but not its deed.
        (Err(_), ObservedStatus::Running { .. }) | (Ok(()), _) => {}
        (Err(err), _) => return Err(start_failed(err)),
    }
    let ports = observe::ports(inspected.network_settings.as_ref());
    Ok(Started {
        at: observe::started_at(&inspected, now),
        status,
        ports,
    })
}

/// Waits until Docker has cleared up after the last container that died, for a moment at most.
///
/// Docker tells of a death first and takes the container's network down then, which is over after
/// some 50 ms; beside a start, which wants the kernel's same lock, it takes three times as long
/// and the start, too. Meanwhile Docker holds the container's own lock, and an inspection waits
/// for that.
async fn await_cleared(shared: &Shared) {
    let died = *lock(&shared.died);
    let Some((runtime_id, at)) = died else {
        return;
    };
    if let Some(left) = CLEARED_WITHIN.checked_sub(at.elapsed()) {
        // Whatever is answered: that it is answered is what counts.
        timeout(left, inspect(shared, &runtime_id.to_string()))
            .await
            .ok();
    }
}

async fn on_stop(shared: &Shared, target: Target, grace: Span) {
    let outcome = match ownership(shared, &target).await {
        Ownership::Ours(ObservedStatus::Exited(exit)) => Ok(exit),
        Ownership::Ours(_) => stop_and_inspect(shared, target.runtime_id, grace).await,
        Ownership::Gone => Ok(unknown_exit()),
        Ownership::Foreign(why) => Err(Operation::Stop.permanent(&why)),
        Ownership::Unknown(err) => Err(Operation::Inspect.failed(&err)),
    };
    match outcome {
        Ok(exit) => tell_exited(shared, target, exit).await,
        Err(failure) => {
            let Target {
                task, container, ..
            } = target;
            shared
                .tell(|_| RuntimeEvent::StopFailed {
                    task,
                    container,
                    failure,
                })
                .await;
        }
    }
}

async fn stop_and_inspect(
    shared: &Shared,
    runtime_id: RuntimeId,
    grace: Span,
) -> Result<Exit, RuntimeFailure> {
    let id = runtime_id.to_string();
    let stop_failed = |err: &CallError| Operation::Stop.failed(err);
    let _permit = acquire(&shared.stops).await;
    let client = shared.client().map_err(|err| stop_failed(&err))?;
    let seconds = grace_seconds(grace);
    let options = StopContainerOptions {
        t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)),
        ..StopContainerOptions::default()
    };
    let limit = Duration::from_micros(grace.0) + STOP_MARGIN;
    match bounded(limit, client.stop_container(&id, Some(options))).await {
        Err(err) if !err.is_not_found() => return Err(stop_failed(&err)),
        Ok(()) | Err(_) => {}
    }
    // The `die` event has usually come by now, and has the exit code.
    if let Some(ObservedStatus::Exited(exit)) = shared.ledger().status(runtime_id) {
        return Ok(exit.clone());
    }
    match inspect(shared, &id).await {
        Ok(inspected) => match observe::status(&inspected, timestamp::now()) {
            ObservedStatus::Exited(exit) => Ok(exit),
            ObservedStatus::Created => Ok(unknown_exit()),
            ObservedStatus::Running { .. } => Err(Operation::Stop.transient(&format!(
                "container {} still runs after Docker said that it stopped",
                runtime_id.short()
            ))),
        },
        Err(err) if err.is_not_found() => Ok(unknown_exit()),
        Err(err) => Err(Operation::Inspect.failed(&err)),
    }
}

async fn on_remove(shared: &Shared, target: Target) {
    let outcome = match ownership(shared, &target).await {
        Ownership::Ours(_) => remove(shared, target.runtime_id).await,
        Ownership::Gone => Ok(()),
        Ownership::Foreign(why) => Err(Operation::Remove.permanent(&why)),
        Ownership::Unknown(err) => Err(Operation::Inspect.failed(&err)),
    };
    let Target {
        task,
        container,
        runtime_id,
    } = target;
    let event = |ledger: &mut Ledger| match outcome {
        Ok(()) => {
            ledger.on_gone(runtime_id);
            RuntimeEvent::Removed { task, container }
        }
        Err(failure) => RuntimeEvent::RemoveFailed {
            task,
            container,
            failure,
        },
    };
    shared.tell(event).await;
}

async fn remove(shared: &Shared, runtime_id: RuntimeId) -> Result<(), RuntimeFailure> {
    let remove_failed = |err: &CallError| Operation::Remove.failed(err);
    let _permit = acquire(&shared.stops).await;
    let client = shared.client().map_err(|err| remove_failed(&err))?;
    let options = RemoveContainerOptions {
        v: true,
        force: false,
        link: false,
    };
    let id = runtime_id.to_string();
    let call = client.remove_container(&id, Some(options));
    match bounded(shared.config.call_timeout, call).await {
        Err(err) if !err.is_not_found() => Err(remove_failed(&err)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// From what we know already; only a container that we don't know is inspected.
async fn ownership(shared: &Shared, target: &Target) -> Ownership {
    let Target {
        task,
        container,
        runtime_id,
    } = target;
    if let Some(known) = shared.ledger().get(*runtime_id, *task, container) {
        return Ownership::Ours(known.status.clone());
    }
    let inspected = match inspect(shared, &runtime_id.to_string()).await {
        Ok(inspected) => inspected,
        Err(err) if err.is_not_found() => return Ownership::Gone,
        Err(err) => return Ownership::Unknown(err),
    };
    let foreign = |why: String| {
        let id = runtime_id.short();
        Ownership::Foreign(format!("container {id} is left alone: {why}"))
    };
    match labels(shared, &inspected) {
        Ok(labels) if labels.task == *task && labels.container == *container => {
            shared.ledger().on_created(*runtime_id, &labels);
            Ownership::Ours(observe::status(&inspected, timestamp::now()))
        }
        Ok(labels) => foreign(format!(
            "it is {} of task {}",
            labels.container, labels.task
        )),
        Err(why) => foreign(why.to_string()),
    }
}

async fn inspect(shared: &Shared, container: &str) -> Result<ContainerInspectResponse, CallError> {
    let client = shared.client()?;
    let call = client.inspect_container(container, None::<InspectContainerOptions>);
    bounded(shared.config.call_timeout, call).await
}

fn labels(shared: &Shared, inspected: &ContainerInspectResponse) -> Result<Labels, NotOurs> {
    let none = HashMap::new();
    let map = inspected
        .config
        .as_ref()
        .and_then(|config| config.labels.as_ref());
    ours(
        &shared.config,
        map.unwrap_or(&none),
        inspected.name.as_deref().unwrap_or_default(),
    )
}

async fn tell_exited(shared: &Shared, target: Target, exit: Exit) {
    let Target {
        task,
        container,
        runtime_id,
    } = target;
    let event = |ledger: &mut Ledger| {
        ledger.on_exited(runtime_id, &exit);
        RuntimeEvent::Exited {
            task,
            container,
            exit,
        }
    };
    shared.tell(event).await;
}

/// Creating and starting take turns, but a call that hangs doesn't keep its turn.
async fn in_turn<T>(
    shared: &Shared,
    call: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, CallError> {
    let permit = acquire(&shared.starts).await;
    let mut call = pin!(bounded(
        shared.config.call_timeout * START_TIMEOUT_FACTOR,
        call
    ));
    if let Ok(outcome) = timeout(TURN_MAX, &mut call).await {
        return outcome;
    }
    drop(permit);
    call.await
}

async fn acquire(semaphore: &Semaphore) -> SemaphorePermit<'_> {
    semaphore
        .acquire()
        .await
        .expect("the semaphore is never closed")
}

fn unknown_exit() -> Exit {
    Exit {
        code: None,
        out_of_memory: false,
        at: timestamp::now(),
    }
}

fn gone(runtime_id: RuntimeId) -> String {
    format!("container {} is gone", runtime_id.short())
}
