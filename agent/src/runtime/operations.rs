//! One worker for each command: does it, and answers with exactly the event that the core awaits.

use super::{
    cgroups, checks,
    create::on_create,
    docker::{Shared, asked, bounded, lock},
    failure::{CallError, Operation},
    given, images,
    labels::{NotOurs, ours},
    ledger::Ledger,
    metadata_file, observe, timestamp,
    translate::grace_seconds,
    turns::{acquire, in_turn},
    volumes, words,
};
use bollard::{
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, RemoveContainerOptions, StopContainerOptions},
};
use holdfast_core::{
    ids::{RuntimeId, TaskId},
    task::runtime::{
        Exit, Labels, ObservedStatus, PortBinding, RuntimeCommand, RuntimeEvent, RuntimeFailure,
        is_same_end,
    },
    time::{Span, Wall},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::time::timeout;

/// What Docker may take for a stop beyond the grace.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// How long the news of a failed health check waits for what the check said.
const FAILED_CHECK_WITHIN: Duration = Duration::from_millis(500);

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
    let target = |task, container, runtime_id| Target {
        task,
        container,
        runtime_id,
    };
    match command {
        RuntimeCommand::Create(create) => on_create(&shared, &create).await,
        RuntimeCommand::Start {
            task,
            container,
            runtime_id,
            after,
        } => on_start(&shared, target(task, container, runtime_id), after).await,
        RuntimeCommand::Check {
            task,
            container,
            runtime_id,
            kind,
            probe,
            timeout,
        } => {
            if let Some(outcome) = checks::check(&shared, runtime_id, &probe, timeout).await {
                let event = RuntimeEvent::Checked {
                    task,
                    container,
                    kind,
                    outcome,
                };
                shared.tell(|_| event).await;
            }
        }
        RuntimeCommand::ReadLog {
            task,
            container,
            runtime_id,
        } => on_read_log(&shared, target(task, container, runtime_id)).await,
        RuntimeCommand::Stop {
            task,
            container,
            runtime_id,
            grace,
        } => on_stop(&shared, target(task, container, runtime_id), grace).await,
        RuntimeCommand::Remove {
            task,
            container,
            runtime_id,
        } => on_remove(&shared, target(task, container, runtime_id)).await,
        RuntimeCommand::Pull { image } => images::on_pull(&shared, image).await,
        RuntimeCommand::List => shared.list_wanted.notify_one(),
    }
}

/// Whatever cannot be read, now or ever: it is nobody's duty to have last words.
async fn on_read_log(shared: &Shared, target: Target) {
    let Some(text) = words::last(shared, target.runtime_id).await else {
        return;
    };
    let event = RuntimeEvent::LastWords {
        task: target.task,
        container: target.container,
        text,
    };
    shared.tell(|_| event).await;
}

async fn on_start(shared: &Shared, target: Target, after: Option<Wall>) {
    let Target {
        task,
        container,
        runtime_id,
    } = target.clone();
    let outcome = match ownership(shared, &target).await {
        // It ran already. Docker would run it again, but a task runs once, unless that very end
        // is to be made good.
        Ownership::Ours(ObservedStatus::Exited(exit))
            if after.is_none_or(|after| !is_same_end(after, exit.at)) =>
        {
            Ok(Started {
                at: exit.at,
                status: ObservedStatus::Exited(exit),
                ports: vec![],
            })
        }
        Ownership::Ours(_) => {
            let outcome = start_and_inspect(shared, runtime_id, after).await;
            if outcome.is_err() {
                // It may run all the same.
                shared.ledger().forget(runtime_id);
            }
            outcome
        }
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
    shared.started.notify_one();
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
    after: Option<Wall>,
) -> Result<Started, RuntimeFailure> {
    let id = runtime_id.to_string();
    let start_failed = |err: &CallError| Operation::Start.failed(err);
    let client = shared.client().map_err(|err| start_failed(&err))?;
    await_cleared(shared).await;
    let outcome = in_turn(shared, &shared.starts, client.start_container(&id, None)).await;
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
        Err(err) => {
            return Err(match &outcome {
                Err(first) => start_failed(first),
                Ok(()) => Operation::Inspect.failed(&err),
            });
        }
    };
    let status = observe::status(&inspected, now);
    match (&outcome, &status) {
        // Docker's answer was lost, but not its deed, even if it is over by now.
        (Err(_), ObservedStatus::Running { .. }) | (Ok(()), _) => {}
        (Err(err), ObservedStatus::Exited(exit))
            if err.status().is_none() && after.is_none_or(|after| !is_same_end(after, exit.at)) => {
        }
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

/// What the last health check of the container said that failed; empty where nobody knows.
pub(crate) async fn failed_check(shared: &Shared, runtime_id: RuntimeId) -> String {
    // Of a container that hangs Docker answers nothing, and other news must not wait for it.
    let inspected = timeout(
        FAILED_CHECK_WITHIN,
        inspect(shared, &runtime_id.to_string()),
    )
    .await;
    match inspected {
        Ok(Ok(inspected)) => observe::failed_check(&inspected),
        Ok(Err(_)) | Err(_) => String::new(),
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
    let outcome = bounded(limit, client.stop_container(&id, Some(options))).await;
    match &outcome {
        Err(err) if !err.is_not_found() && !err.leaves_doubt() => return Err(stop_failed(err)),
        Ok(()) | Err(_) => {}
    }
    // The `die` event has usually come by now, and has the exit code.
    if let Some(ObservedStatus::Exited(exit)) = shared.ledger().status(runtime_id) {
        return Ok(exit.clone());
    }
    let inspected = inspect(shared, &id).await;
    if outcome.is_err() && inspected.as_ref().is_ok_and(observe::is_paused) {
        // Podman stops nothing that is paused; when it is asked again, it will.
        let unpaused = client.unpause_container(&id);
        bounded(shared.config.call_timeout, unpaused).await.ok();
    }
    match inspected {
        Ok(inspected) => match observe::status(&inspected, timestamp::now()) {
            ObservedStatus::Exited(exit) => Ok(exit),
            ObservedStatus::Created => Ok(unknown_exit()),
            ObservedStatus::Running { .. } => Err(match &outcome {
                Err(err) => stop_failed(err),
                Ok(()) => Operation::Stop.transient(&format!(
                    "container {} still runs after Docker said that it stopped",
                    runtime_id.short()
                )),
            }),
        },
        Err(err) if err.is_not_found() => Ok(unknown_exit()),
        Err(err) => Err(match &outcome {
            Err(first) => stop_failed(first),
            Ok(()) => Operation::Inspect.failed(&err),
        }),
    }
}

async fn on_remove(shared: &Shared, target: Target) {
    let outcome = match ownership(shared, &target).await {
        Ownership::Ours(_) => remove(shared, &target).await,
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

async fn remove(shared: &Shared, target: &Target) -> Result<(), RuntimeFailure> {
    let remove_failed = |err: &CallError| Operation::Remove.failed(err);
    let _permit = acquire(&shared.stops).await;
    let client = shared.client().map_err(|err| remove_failed(&err))?;
    let options = RemoveContainerOptions {
        v: true,
        force: false,
        link: false,
    };
    let id = target.runtime_id.to_string();
    let call = client.remove_container(&id, Some(options));
    match bounded(shared.config.call_timeout, call).await {
        // Docker's answer was lost, perhaps not its deed.
        Err(err) if err.leaves_doubt() => match inspect(shared, &id).await {
            Err(now) if now.is_not_found() => {}
            Ok(_) | Err(_) => return Err(remove_failed(&err)),
        },
        Err(err) if !err.is_not_found() => return Err(remove_failed(&err)),
        Ok(()) | Err(_) => {}
    }
    lock(&shared.addresses).remove(&target.runtime_id);
    cgroups::remove_of(target.task);
    given::remove_of(shared, target.task, &target.container);
    metadata_file::remove_of(shared, target.task, &target.container).await;
    // The container would be removed again, and again be gone.
    volumes::remove_of(shared, target.task)
        .await
        .map_err(|err| remove_failed(&err))
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

pub(crate) async fn inspect(
    shared: &Shared,
    container: &str,
) -> Result<ContainerInspectResponse, CallError> {
    let client = shared.client()?;
    let inspect = || client.inspect_container(container, None::<InspectContainerOptions>);
    asked(shared.config.call_timeout, inspect).await
}

pub(crate) fn labels(
    shared: &Shared,
    inspected: &ContainerInspectResponse,
) -> Result<Labels, NotOurs> {
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
        let exit = ledger.on_exited(runtime_id, &exit).unwrap_or(exit);
        RuntimeEvent::Exited {
            task,
            container,
            exit,
        }
    };
    shared.tell(event).await;
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
