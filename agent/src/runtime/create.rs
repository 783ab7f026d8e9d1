//! Makes a container, or finds that it is there already.

use super::{
    cgroups,
    docker::{LogDriver, Shared},
    failure::{CallError, Operation},
    given, gpus,
    images::{ImageName, Wanted, digest_of},
    labels::container_name,
    ledger::Ledger,
    metadata_file,
    operations::{inspect, labels},
    pause,
    translate::{keep_logs_short, translate},
    turns::in_turn,
    volumes,
};
use bollard::{models::ContainerCreateBody, query_parameters::CreateContainerOptions};
use holdfast_core::{
    ids::{ImageDigest, RuntimeId},
    spec::task_definition::NetworkMode,
    task::{
        pause::PAUSE,
        runtime::{CreateContainer, FailureKind, Labels, RuntimeEvent, RuntimeFailure},
    },
};

/// A container, and what its image is.
type Made = (RuntimeId, Option<ImageDigest>);

pub(crate) async fn on_create(shared: &Shared, create: &CreateContainer) {
    // What is made for the task is not to be swept away meanwhile.
    let _making = shared.making.hold(create.labels.task);
    let outcome = create_or_adopt(shared, create).await;
    if matches!(&outcome, Err(failure) if failure.kind == FailureKind::Permanent) {
        // Nothing was made that has them. After another failure nobody knows.
        let (task, container) = (create.labels.task, &create.container.name);
        given::remove_of(shared, task, container);
        metadata_file::remove_of(shared, task, container).await;
    }
    let Labels {
        task, container, ..
    } = create.labels.clone();
    let event = |ledger: &mut Ledger| match outcome {
        Ok((runtime_id, image)) => {
            ledger.on_created(runtime_id, &create.labels);
            RuntimeEvent::Created {
                task,
                container,
                runtime_id,
                image,
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
) -> Result<Made, RuntimeFailure> {
    let mut body = translate(create, shared.config.stop_grace_default)
        .map_err(|err| Operation::Create.permanent(&err.to_string()))?;
    let is_podman = shared.engine().is_some_and(|engine| engine.is_podman);
    // Podman has no such driver.
    if shared.config.log_driver == LogDriver::Local && !is_podman {
        keep_logs_short(&mut body);
    }
    tell_where_to_ask(shared, create, &mut body);
    let name = container_name(&create.labels);
    prepare(shared, create, &mut body).await?;
    if create.container.name == PAUSE {
        body.image = Some(pause_image(shared).await?);
        let outcome = create_once(shared, &name, &body).await.map(|id| (id, None));
        return settle(shared, create, &name, outcome).await;
    }
    given::prepare(shared, create, &mut body).await?;
    metadata_file::prepare(shared, create, &mut body).await;
    let mut image = Wanted::claim(shared, create).await;
    image.before().await?;
    // Trying costs less than asking first whether the image is there: it almost always is.
    let mut outcome = create_with_digest(shared, &name, &body, &image).await;
    if matches!(&outcome, Err(err) if err.is_no_such_image()) {
        image.on_missing().await?;
        // That may have taken long.
        prepare(shared, create, &mut body).await?;
        outcome = create_with_digest(shared, &name, &body, &image).await;
    }
    if outcome.is_ok() {
        image.on_made();
    }
    settle(shared, create, &name, outcome).await
}

async fn prepare(
    shared: &Shared,
    create: &CreateContainer,
    body: &mut ContainerCreateBody,
) -> Result<(), RuntimeFailure> {
    gpus::check(shared, create).await?;
    volumes::prepare(shared, create).await?;
    cgroups::limit(shared, create, body).await
}

/// By ECS's variables, except those that the definition sets. Who has no network reaches nobody.
fn tell_where_to_ask(shared: &Shared, create: &CreateContainer, body: &mut ContainerCreateBody) {
    let Some(paths) = &shared.config.metadata else {
        return;
    };
    let Labels {
        task, container, ..
    } = &create.labels;
    if container == PAUSE || create.shared.network == NetworkMode::None {
        return;
    }
    let defined = &create.container.environment;
    let told = paths.variables(*task, container).into_iter();
    let told = told.filter(|(name, _)| !defined.contains_key(*name));
    let told = told.map(|(name, value)| format!("{name}={value}"));
    body.env.get_or_insert_default().extend(told);
}

async fn settle(
    shared: &Shared,
    create: &CreateContainer,
    name: &str,
    outcome: Result<Made, CallError>,
) -> Result<Made, RuntimeFailure> {
    match outcome {
        Ok(made) => Ok(made),
        Err(err) if err.is_no_such_image() => Err(Operation::Pull.failed(&err)),
        Err(err) if err.status() == Some(409) || err.leaves_doubt() => {
            adopt(shared, create, name, &err).await
        }
        Err(err) => Err(Operation::Create.failed(&err)),
    }
}

async fn pause_image(shared: &Shared) -> Result<String, RuntimeFailure> {
    let failed = |err: &CallError| Operation::Pull.failed(err);
    let client = shared.client().map_err(|err| failed(&err))?;
    let image = pause::image(&client, shared.config.call_timeout).await;
    image.map_err(|err| failed(&err))
}

/// What its image is costs no time of its own: it is asked while the container is made, and not
/// waited for where that fails.
async fn create_with_digest(
    shared: &Shared,
    name: &str,
    body: &ContainerCreateBody,
    image: &Wanted<'_>,
) -> Result<Made, CallError> {
    let digest = async { Ok(image.digest().await) };
    tokio::try_join!(create_once(shared, name, body), digest)
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
    Ok(in_turn(shared, &shared.creates, call).await?.id.parse()?)
}

/// The name is taken, or Docker's answer was lost: if what has the name is the container that we
/// want, it is the one we made; otherwise the failure stands.
async fn adopt(
    shared: &Shared,
    create: &CreateContainer,
    name: &str,
    err: &CallError,
) -> Result<Made, RuntimeFailure> {
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
            let image = ImageName::of(&create.container.image);
            let id = inspected.image.unwrap_or_default();
            Ok((runtime_id, digest_of(shared, &image, &id).await))
        }
        Ok(_) => Err(Operation::Create.failed(err)),
        Err(why) => Err(Operation::Create.permanent(&format!(
            "the name {name} is taken by container {}, which is not of this agent ({why}); \
             remove or rename it",
            runtime_id.short()
        ))),
    }
}
