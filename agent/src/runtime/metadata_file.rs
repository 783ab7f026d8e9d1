//! Gives each container ECS's metadata file, and completes it once the container runs.

use super::{
    docker::Shared, facts::fact, given::bind, labels::container_name, observe, operations::inspect,
    timestamp, volumes,
};
use crate::{
    api::metadata_file::{self, FileHost},
    metadata::{FILE_NAME, MetadataFiles, Secret},
};
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use futures_util::{StreamExt as _, stream};
use holdfast_core::{
    ids::{RuntimeId, TaskId},
    task::{
        pause::PAUSE,
        runtime::{CreateContainer, Labels, ObservedStatus},
    },
    time::Wall,
};
use serde_json::Value;
use std::{collections::BTreeMap, convert::Infallible, future::pending, io, sync::Arc};
use tokio::{
    task::spawn_blocking,
    time::{Duration, timeout},
};
use tracing::warn;

const VARIABLE: &str = "ECS_CONTAINER_METADATA_FILE";
/// Where containers have it, each under an id of its own.
const TARGET: &str = "/opt/ecs/metadata";
/// Files that are completed at once.
const COMPLETIONS_MAX: usize = 8;
/// A container that Docker cannot answer for must not hold up the files of all others.
const INSPECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// What the files say of this host, and what the ids are made of.
#[derive(Clone, Debug)]
pub(crate) struct MetadataFileSettings {
    pub(crate) secret: Secret,
    pub(crate) host: FileHost,
}

/// Writes what is known of the container already, and has it mounted. As with ECS's agent, a
/// container whose file cannot be written is made without it.
pub(crate) async fn prepare(
    shared: &Shared,
    create: &CreateContainer,
    body: &mut ContainerCreateBody,
) {
    let Some(settings) = &shared.config.metadata_file else {
        return;
    };
    let labels = &create.labels;
    let (task, container) = (labels.task, labels.container.clone());
    let target = format!("{TARGET}/{}", settings.secret.id_of(task, &container));
    let name = container_name(labels);
    let file = metadata_file::first(&settings.host, labels, &name, &create.container.image);
    let made = on_disk(shared, move |files| files.make(task, &container, &file)).await;
    let directory = match made {
        Ok(directory) => directory,
        Err(err) => {
            let container = &labels.container;
            warn!(%task, container, %err, "Cannot write the metadata file of a container, which \
                is made without it.");
            return;
        }
    };
    let set = body.env.get_or_insert_default();
    let begin = format!("{VARIABLE}=");
    if !set.iter().any(|known| known.starts_with(&begin)) {
        set.push(format!("{begin}{target}/{FILE_NAME}"));
    }
    let host = body.host_config.get_or_insert_default();
    let mounts = host.mounts.get_or_insert_default();
    mounts.push(bind(&directory, target));
}

/// The container is gone, or was never made.
pub(crate) async fn remove_of(shared: &Shared, task: TaskId, container: &str) {
    let container = container.to_owned();
    let removed = on_disk(shared, move |files| {
        files.remove(task, &container);
        Ok(())
    });
    // It panics at the worst, and says so by itself.
    removed.await.ok();
}

/// Removes what belongs to tasks of which nothing is left. Nobody waits for the disk.
pub(crate) fn sweep(shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    spawn_blocking(move || {
        let is_here = |task| volumes::is_here(&shared, task);
        shared.metadata_files.sweep(is_here);
    });
}

/// Completes the files of the containers that run, those of earlier lives of the agent, too:
/// whenever one may have begun to.
pub(crate) async fn keep(shared: &Shared) -> Infallible {
    if shared.config.metadata_file.is_none() {
        return pending().await;
    }
    // Since when each has run whose file is complete: when it runs again, its address is another.
    let mut complete = BTreeMap::new();
    let mut told = None;
    loop {
        shared.started.notified().await;
        let running = news(shared, &mut complete);
        let outcomes = running.into_iter().map(async |(id, labels, since)| {
            let outcome = complete_one(shared, id, &labels).await;
            let name = &labels.container;
            let about = |why| format!("{name} of task {}: {why}", labels.task);
            outcome.map(|()| (id, since)).map_err(about)
        });
        let outcomes = stream::iter(outcomes).buffer_unordered(COMPLETIONS_MAX);
        let outcomes: Vec<Result<_, String>> = outcomes.collect().await;
        let failed = outcomes.iter().find_map(|one| one.as_ref().err()).cloned();
        complete.extend(outcomes.into_iter().flatten());
        // Told once, however often it is tried, until the reason is another one.
        if let Some(reason) = &failed
            && told != failed
        {
            warn!(
                reason,
                "Cannot complete the metadata file of a container; trying again."
            );
        }
        told = failed;
    }
}

/// Containers that have begun to run since their files were completed.
fn news(
    shared: &Shared,
    complete: &mut BTreeMap<RuntimeId, Wall>,
) -> Vec<(RuntimeId, Labels, Wall)> {
    let ledger = shared.ledger();
    complete.retain(|id, _| ledger.status(*id).is_some());
    let running = ledger.running();
    let running = running
        .filter(|(id, labels, since)| labels.container != PAUSE && complete.get(id) != Some(since));
    let running = running.map(|(id, labels, since)| (id, labels.clone(), since));
    running.collect()
}

/// Nothing is to be done for one without a file, and for one that has ended meanwhile.
async fn complete_one(shared: &Shared, id: RuntimeId, labels: &Labels) -> Result<(), String> {
    let (task, container) = (labels.task, labels.container.clone());
    let read = on_disk(shared, move |files| files.read(task, &container)).await;
    let Some(file) = read.map_err(|err| format!("it cannot be read: {err}"))? else {
        return Ok(());
    };
    let asked = timeout(INSPECTION_TIMEOUT, completed(shared, id, file)).await;
    let asked = asked.map_err(|_| "Docker does not answer".to_owned())?;
    let Some(file) = asked? else {
        return Ok(());
    };
    let container = labels.container.clone();
    let written = on_disk(shared, move |files| files.replace(task, &container, &file)).await;
    written.map_err(|err| format!("it cannot be written: {err}"))
}

async fn completed(
    shared: &Shared,
    id: RuntimeId,
    mut file: Value,
) -> Result<Option<Value>, String> {
    let inspected = inspect(shared, &id.to_string()).await;
    let inspected = inspected.map_err(|err| err.text())?;
    if !matches!(
        observe::status(&inspected, timestamp::now()),
        ObservedStatus::Running { .. }
    ) {
        return Ok(None);
    }
    let holder = match holder_of(&inspected) {
        Some(holder) => Some(inspect(shared, holder).await.map_err(|err| err.text())?),
        None => None,
    };
    let mut known = fact(inspected.clone());
    if let Some(holder) = &holder {
        known.networks = fact(holder.clone()).networks;
    }
    let of_network = holder.as_ref().unwrap_or(&inspected);
    let bound = observe::bindings(of_network.network_settings.as_ref());
    metadata_file::complete(&mut file, id, &known, bound);
    Ok(Some(file))
}

/// Docker's id of the container whose network it has.
fn holder_of(inspected: &ContainerInspectResponse) -> Option<&str> {
    let mode = inspected.host_config.as_ref()?.network_mode.as_deref()?;
    mode.strip_prefix("container:")
}

async fn on_disk<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(&MetadataFiles) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let files = Arc::clone(&shared.metadata_files);
    let done = spawn_blocking(move || work(&files)).await;
    done.unwrap_or_else(|err| Err(io::Error::other(err)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::tests::{create, with_metadata_file},
        test_dir::TestDir,
    };
    use bollard::models::{HostConfig, Mount};
    use std::{fs, path::Path};
    use tokio::sync::mpsc;

    fn shared(dir: &Path) -> Shared {
        Shared::new(with_metadata_file(dir), mpsc::channel(1).0)
    }

    /// What Docker is told of a container that has a mount already, and these variables.
    async fn prepared(shared: &Shared, env: &[&str]) -> (Vec<String>, Vec<Mount>) {
        let mut body = ContainerCreateBody {
            env: Some(env.iter().map(|one| (*one).to_owned()).collect()),
            host_config: Some(HostConfig {
                mounts: Some(vec![bind(Path::new("/secret"), "/run/secret".to_owned())]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        prepare(shared, &create("web:3"), &mut body).await;
        let mounts = body.host_config.and_then(|host| host.mounts);
        (body.env.unwrap_or_default(), mounts.unwrap_or_default())
    }

    #[tokio::test]
    async fn the_file_is_mounted_beside_what_else_is_and_the_variable_says_where() {
        let dir = TestDir::new("metadata-file");
        let shared = shared(&dir);
        let labels = create("web:3").labels;
        let (env, mounts) = prepared(&shared, &["A=1"]).await;
        let settings = shared.config.metadata_file.as_ref().expect("it is set");
        let id = settings.secret.id_of(labels.task, "web");
        let path = format!("{TARGET}/{id}/ecs-container-metadata.json");
        assert_eq!(env, ["A=1", &format!("{VARIABLE}={path}")]);
        let [secret, file] = &mounts[..] else {
            panic!("{mounts:?}");
        };
        assert_eq!(secret.target.as_deref(), Some("/run/secret"));
        assert_eq!(file.target, Some(format!("{TARGET}/{id}")));
        assert_eq!(file.read_only, Some(true));
        let source = dir.join(format!("metadata/{}/web", labels.task));
        assert_eq!(file.source, Some(source.display().to_string()));
        let text = fs::read_to_string(source.join(FILE_NAME)).expect("it is written");
        assert!(text.contains("\"ImageName\": \"web:3\""), "{text}");
        assert!(!text.contains("MetadataFileStatus"), "{text}");
        remove_of(&shared, labels.task, "web").await;
        assert!(!dir.join(format!("metadata/{}", labels.task)).exists());
    }

    #[tokio::test]
    async fn the_variable_stays_as_the_definition_sets_it() {
        let dir = TestDir::new("metadata-file");
        let set = format!("{VARIABLE}=/elsewhere");
        let (env, mounts) = prepared(&shared(&dir), &[&set]).await;
        assert_eq!(env, [set]);
        assert_eq!(mounts.len(), 2, "{mounts:?}");
    }

    #[tokio::test]
    async fn a_container_whose_file_cannot_be_written_is_made_without() {
        let dir = TestDir::new("metadata-file");
        fs::write(dir.join("metadata"), "").expect("it can be written");
        let (env, mounts) = prepared(&shared(&dir), &["A=1"]).await;
        assert_eq!(env, ["A=1"]);
        assert_eq!(mounts.len(), 1, "{mounts:?}");
    }

    #[tokio::test]
    async fn a_file_is_completed_once_for_each_time_that_its_container_begins_to_run() {
        let dir = TestDir::new("metadata-file");
        let shared = shared(&dir);
        let of = |container: &str| Labels {
            container: container.to_owned(),
            ..create("web:3").labels
        };
        let id = |digit: &str| -> RuntimeId { digit.repeat(64).parse().expect("it is an id") };
        let (web, pause) = (id("1"), id("2"));
        let starts = [(web, "web"), (pause, PAUSE), (id("3"), "log")];
        for (id, name) in starts {
            shared.ledger().on_created(id, &of(name));
        }
        for id in [web, pause] {
            shared.ledger().on_started(id, Wall(1), &[]);
        }
        let mut complete = BTreeMap::new();
        let news = |complete: &mut _| -> Vec<_> {
            let news = news(&shared, complete).into_iter();
            news.map(|(id, _, since)| (id, since)).collect()
        };
        assert_eq!(news(&mut complete), [(web, Wall(1))]);
        complete.insert(web, Wall(1));
        assert_eq!(news(&mut complete), []);
        shared.ledger().on_started(web, Wall(2), &[]);
        assert_eq!(news(&mut complete), [(web, Wall(2))]);
        shared.ledger().on_gone(web);
        assert_eq!(news(&mut complete), []);
        assert!(complete.is_empty(), "nothing is kept of what is gone");
    }
}
