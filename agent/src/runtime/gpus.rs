//! Whether the engine gives its containers GPUs at all.

use super::{
    docker::{Shared, bounded},
    failure::{CallError, Operation},
};
use bollard::models::SystemVersion;
use holdfast_core::task::runtime::{CreateContainer, RuntimeFailure};

const PODMAN: &str = "Podman leaves out GPUs that it is asked for as Docker is, and does not say \
                      so; use Docker on this host, or set `gpus` of its agent to \"off\"";

/// Nothing is quietly made without the GPUs that it wants.
pub(crate) async fn check(shared: &Shared, create: &CreateContainer) -> Result<(), RuntimeFailure> {
    if create.gpus.is_empty() {
        return Ok(());
    }
    let failed = |err: &CallError| Operation::Create.failed(err);
    let client = shared.client().map_err(|err| failed(&err))?;
    let version = bounded(shared.config.call_timeout, client.version()).await;
    match is_podman(&version.map_err(|err| failed(&err))?) {
        true => Err(Operation::Create.permanent(PODMAN)),
        false => Ok(()),
    }
}

pub(crate) fn is_podman(version: &SystemVersion) -> bool {
    let mut components = version.components.iter().flatten();
    components.any(|one| one.name == "Podman Engine")
}
