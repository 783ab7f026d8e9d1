//! Volumes that Docker keeps: made before the containers that mount them, gone with their task.

use super::{
    docker::{Shared, bounded},
    failure::{CallError, Operation},
    labels,
    list::filters,
};
use bollard::{
    models::{Volume, VolumeCreateRequest},
    query_parameters::{ListVolumesOptions, RemoveVolumeOptions},
};
use holdfast_core::{
    ids::TaskId,
    spec::volume::{self, DockerVolume, VolumeSource},
    task::runtime::{CreateContainer, Labels, RuntimeFailure},
};
use std::collections::HashMap;
use tracing::debug;

/// As Docker's mounts name it.
pub(crate) fn source(labels: &Labels, volume: &volume::Volume) -> String {
    volume.source_of(&labels.family, labels.task)
}

/// Makes those that the container mounts and that are to be made. Making one again is harmless.
pub(crate) async fn prepare(
    shared: &Shared,
    create: &CreateContainer,
) -> Result<(), RuntimeFailure> {
    for volume in &create.volumes {
        let mut mounts = create.container.mounts.iter();
        if !mounts.any(|mount| mount.source_volume == volume.name) {
            continue;
        }
        let name = source(&create.labels, volume);
        match &volume.source {
            VolumeSource::Host(_) => {}
            VolumeSource::Scratch => {
                let plain = DockerVolume::default();
                make(shared, name, &plain, labels_of(shared, create)).await?;
            }
            VolumeSource::Docker(docker) if !docker.is_shared => {
                make(shared, name, docker, labels_of(shared, create)).await?;
            }
            VolumeSource::Docker(docker) if docker.autoprovision == Some(true) => {
                make(shared, name, docker, HashMap::new()).await?;
            }
            VolumeSource::Docker(_) => find(shared, &name).await?,
        }
    }
    Ok(())
}

/// Of a task's own volumes.
fn labels_of(shared: &Shared, create: &CreateContainer) -> HashMap<String, String> {
    [
        (labels::CLUSTER, shared.config.cluster.clone()),
        (labels::HOST, shared.config.host.to_string()),
        (labels::TASK, create.labels.task.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

async fn make(
    shared: &Shared,
    name: String,
    volume: &DockerVolume,
    ours: HashMap<String, String>,
) -> Result<(), RuntimeFailure> {
    let failed = |err: &CallError| Operation::Volume.failed(err);
    let client = shared.client().map_err(|err| failed(&err))?;
    let own = volume.labels.clone().into_iter();
    let options: HashMap<_, _> = volume.driver_options.clone().into_iter().collect();
    let request = VolumeCreateRequest {
        name: Some(name),
        driver: volume.driver.clone(),
        driver_opts: Some(options).filter(|options| !options.is_empty()),
        labels: Some(own.chain(ours).collect()),
        ..VolumeCreateRequest::default()
    };
    let call = client.create_volume(request);
    let made = bounded(shared.config.call_timeout, call).await;
    made.map(drop).map_err(|err| failed(&err))
}

/// A mount would make what is not there, which nobody has asked for.
async fn find(shared: &Shared, name: &str) -> Result<(), RuntimeFailure> {
    let failed = |err: &CallError| Operation::Volume.failed(err);
    let client = shared.client().map_err(|err| failed(&err))?;
    match bounded(shared.config.call_timeout, client.inspect_volume(name)).await {
        Ok(_) => Ok(()),
        Err(err) if err.is_not_found() => Err(Operation::Volume.permanent(&format!(
            "there is no volume {name} on this host; make it, or set autoprovision to true"
        ))),
        Err(err) => Err(failed(&err)),
    }
}

/// Removes the task's own volumes as far as no container of it is left that has them.
pub(crate) async fn remove_of(shared: &Shared, task: TaskId) -> Result<(), CallError> {
    let its = format!("{}={task}", labels::TASK);
    remove(shared, Some(its), |owner| owner == task).await
}

/// Removes the volumes of tasks of which nothing is left, whatever became of them: a container that
/// could not be made, or that somebody else removed, takes no volume along.
pub(crate) async fn sweep(shared: &Shared) -> Result<(), CallError> {
    remove(shared, None, |owner| !is_here(shared, owner)).await
}

/// A container of the task is there, or being made.
pub(crate) fn is_here(shared: &Shared, task: TaskId) -> bool {
    shared.making.holds(&task) || shared.ledger().has_task(task)
}

/// Of those with our labels, and with this one, too.
async fn remove(
    shared: &Shared,
    label: Option<String>,
    is_meant: impl Fn(TaskId) -> bool,
) -> Result<(), CallError> {
    let client = shared.client()?;
    let labels = filters(shared).into_iter().chain(label).collect();
    let options = ListVolumesOptions {
        filters: Some(HashMap::from([("label".to_owned(), labels)])),
    };
    let call = client.list_volumes(Some(options));
    let found = bounded(shared.config.call_timeout, call).await?;
    for volume in found.volumes.unwrap_or_default() {
        if !owner(shared, &volume).is_some_and(&is_meant) {
            continue;
        }
        let call = client.remove_volume(&volume.name, None::<RemoveVolumeOptions>);
        match bounded(shared.config.call_timeout, call).await {
            Ok(()) => debug!(volume = volume.name, "A task's volume is removed."),
            // In use by a container that is removed later, or gone.
            Err(err) if err.status() == Some(409) || err.is_not_found() => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// By its labels and by its name, as of containers: labels alone may be copied.
fn owner(shared: &Shared, volume: &Volume) -> Option<TaskId> {
    let is = |label: &str, value: &str| volume.labels.get(label).is_some_and(|v| v == value);
    let ours = is(labels::CLUSTER, &shared.config.cluster)
        && is(labels::HOST, &shared.config.host.to_string());
    let task = volume.labels.get(labels::TASK)?;
    let is_named =
        volume.name.starts_with("holdfast-") && volume.name.ends_with(&format!("-{task}"));
    (ours && is_named).then(|| task.parse().ok()).flatten()
}
