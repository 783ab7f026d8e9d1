//! The host's GPUs: those of the settings, or those that NVIDIA's own program lists.

use crate::command;
use holdfast_core::{
    ids::{GpuId, GpuIdError},
    limits::GPUS_PER_HOST_MAX,
};
use std::time::Duration;
use tracing::{info, warn};

const LIST_COMMAND: [&str; 3] = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"];
/// It wakes GPUs up that nobody uses, which takes seconds. Shorter than the time that an agent
/// which is started again may be silent: a driver that hangs must not cost a host its tasks.
const LIST_TIMEOUT: Duration = Duration::from_secs(20);

/// Where the agent knows its GPUs from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GpuSource {
    /// They are asked for when the agent starts.
    Auto,
    Listed(Vec<GpuId>),
}

/// Why ids cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GpuListError {
    #[error(transparent)]
    Id(#[from] GpuIdError),
    #[error("{0} is there twice")]
    Twice(GpuId),
    #[error("there are more than {GPUS_PER_HOST_MAX}")]
    TooMany,
}

/// The GPUs to offer. A driver that does not answer costs new tasks their GPUs, but not those that
/// run, nor the agent its start.
pub(crate) async fn find(source: &GpuSource) -> Vec<GpuId> {
    let ids = match source {
        GpuSource::Listed(ids) => return ids.clone(),
        GpuSource::Auto => list(&LIST_COMMAND.map(str::to_owned), LIST_TIMEOUT).await,
    };
    match ids {
        Ok(ids) => {
            info!(count = ids.len(), "Found GPUs.");
            ids
        }
        Err(reason) => {
            let command = LIST_COMMAND.join(" ");
            warn!(
                %reason,
                "Found no GPUs by `{command}`: this host offers none until its agent is started \
                 again. See that the command works here, or name them in `gpus`."
            );
            Vec::new()
        }
    }
}

async fn list(command: &[String], wait_max: Duration) -> Result<Vec<GpuId>, String> {
    let output = command::run(command, wait_max).await?;
    let lines = output
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    parse(lines).map_err(|err| err.to_string())
}

pub(crate) fn parse<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<GpuId>, GpuListError> {
    let mut ids = Vec::new();
    for text in texts {
        let id: GpuId = text.trim().parse()?;
        if ids.contains(&id) {
            return Err(GpuListError::Twice(id));
        }
        ids.push(id);
    }
    match ids.len() > GPUS_PER_HOST_MAX {
        true => Err(GpuListError::TooMany),
        false => Ok(ids),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    async fn listed(script: &str) -> Result<Vec<String>, String> {
        let dir = TestDir::new("gpus");
        let path = dir.join("nvidia-smi");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let command = path.to_str().expect("it is text").to_owned();
        let ids = list(&[command], Duration::from_secs(1)).await;
        ids.map(|ids| ids.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn those_that_the_driver_lists_are_taken() {
        let ids = listed("echo GPU-8f6d4c1e-0a2b; echo; echo ' GPU-00112233-4455'").await;
        let expected = ["GPU-8f6d4c1e-0a2b", "GPU-00112233-4455"].map(str::to_owned);
        assert_eq!(ids, Ok(expected.to_vec()));
        assert_eq!(listed("exit 0").await, Ok(vec![]));
    }

    #[tokio::test]
    async fn a_driver_that_cannot_be_asked_is_a_reason() {
        let failed = listed("echo 'Driver/library version mismatch' >&2; exit 18").await;
        let failed = failed.expect_err("it failed");
        assert!(
            failed.contains("Driver/library version mismatch"),
            "{failed}"
        );
        let none = listed("echo No devices were found").await;
        let none = none.expect_err("that is no id");
        assert!(
            none.contains("\"No devices were found\" is not a GPU's id"),
            "{none}"
        );
        let hung = listed("exec sleep 60").await.expect_err("it hangs");
        assert!(hung.contains("had not ended after 1 s"), "{hung}");
        let missing = list(&["/nonexistent/nvidia-smi".to_owned()], LIST_TIMEOUT).await;
        let missing = missing.expect_err("it is not there");
        assert!(missing.contains("cannot run it: No such file"), "{missing}");
    }

    #[test]
    fn each_is_listed_once_and_not_too_many() {
        let parse = |text: &str| parse(text.split(',')).map_err(|err| err.to_string());
        assert_eq!(parse("0, 1").map(|ids| ids.len()), Ok(2));
        assert_eq!(parse("0,1,0"), Err("0 is there twice".to_owned()));
        let many: Vec<_> = (0..65).map(|index| index.to_string()).collect();
        assert_eq!(
            parse(&many.join(",")),
            Err("there are more than 64".to_owned())
        );
    }
}
