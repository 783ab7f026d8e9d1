//! The control group of a task, which limits what its containers use together (cgroups v1 and v2).
//!
//! Docker makes the containers' own groups below it. Its driver `systemd` wants a slice instead,
//! which only systemd can limit: there each container is held to what the whole task may use.

use super::{
    docker::{Shared, bounded},
    failure::{CallError, Operation},
    translate::bytes,
};
use bollard::models::{ContainerCreateBody, SystemInfoCgroupDriverEnum};
use holdfast_core::{
    ids::{HostId, TaskId},
    task::runtime::{CreateContainer, RuntimeFailure},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tracing::warn;

const ROOT: &str = "/sys/fs/cgroup";
/// Below it each task has a group.
const OURS: &str = "holdfast";
/// As long as Docker's own for `--cpus`.
const PERIOD_US: u64 = 100_000;
const UNITS_PER_CORE: u64 = 1_024;
/// The kernel takes no less for a quota.
const QUOTA_US_MIN: u64 = 1_000;

#[derive(Debug, thiserror::Error)]
#[error(
    "cannot limit the task as a whole: {}: {cause}; leave out cpu and memory of the task, or let \
     the agent write there",
    .path.display()
)]
pub(crate) struct CgroupError {
    path: PathBuf,
    cause: io::Error,
}

/// Sees to it that the task is limited as a whole, or else its containers one by one.
pub(crate) async fn limit(
    shared: &Shared,
    create: &CreateContainer,
    body: &mut ContainerCreateBody,
) -> Result<(), RuntimeFailure> {
    let pids = shared.config.task_pids_limit;
    if parent(create).is_none() {
        limit_pids(pids, body);
        return Ok(());
    }
    let failed = |err: &CallError| Operation::Create.failed(err);
    let client = shared.client().map_err(|err| failed(&err))?;
    let info = bounded(shared.config.call_timeout, client.info()).await;
    let info = info.map_err(|err| failed(&err))?;
    if info.cgroup_driver != Some(SystemInfoCgroupDriverEnum::CGROUPFS) {
        one_by_one(create, pids, body);
        return Ok(());
    }
    match prepare_in(Path::new(ROOT), create, pids) {
        Ok(()) => Ok(()),
        Err(err) if err.is_forbidden() => {
            warn!(%err, "Limits each container to what its whole task may use.");
            one_by_one(create, pids, body);
            Ok(())
        }
        Err(err) => Err(Operation::Create.permanent(&err.to_string())),
    }
}

/// The container alone: so many processes and threads.
fn limit_pids(pids: Option<u32>, body: &mut ContainerCreateBody) {
    if let Some(pids) = pids {
        let host = body.host_config.get_or_insert_default();
        host.pids_limit = Some(i64::from(pids));
    }
}

fn one_by_one(create: &CreateContainer, pids: Option<u32>, body: &mut ContainerCreateBody) {
    limit_pids(pids, body);
    let (cpu, memory) = (create.shared.cpu, create.shared.memory_mib);
    let host = body.host_config.get_or_insert_default();
    host.cgroup_parent = None;
    host.memory = host.memory.or(memory.map(bytes));
    let quota = cpu.map(|units| quota_us(u64::from(units)));
    host.cpu_quota = quota.and_then(|quota| i64::try_from(quota).ok());
    host.cpu_period = quota.and(i64::try_from(PERIOD_US).ok());
}

const fn quota_us(units: u64) -> u64 {
    let quota = units * PERIOD_US / UNITS_PER_CORE;
    if quota < QUOTA_US_MIN {
        QUOTA_US_MIN
    } else {
        quota
    }
}

impl CgroupError {
    fn is_forbidden(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(self.cause.kind(), PermissionDenied | ReadOnlyFilesystem)
    }
}

/// What Docker is told; absent where the task has no limit of its own.
pub(crate) fn parent(create: &CreateContainer) -> Option<String> {
    let is_limited = create.shared.cpu.is_some() || create.shared.memory_mib.is_some();
    is_limited.then(|| format!("/{OURS}/{}", create.labels.task))
}

/// Makes the task's group and sets its limits; doing it again changes nothing.
fn prepare_in(root: &Path, create: &CreateContainer, pids: Option<u32>) -> Result<(), CgroupError> {
    let (cpu, memory) = (create.shared.cpu.map(u64::from), create.shared.memory_mib);
    let memory = memory.map(bytes);
    let task = create.labels.task.to_string();
    if is_v2(root) {
        // A group's children have the controllers that it passes on.
        let controllers = match pids {
            Some(_) => "+cpu +memory +pids",
            None => "+cpu +memory",
        };
        for group in [root.to_owned(), root.join(OURS)] {
            make(&group)?;
            write(&group, "cgroup.subtree_control", controllers)?;
        }
        let group = root.join(OURS).join(&task);
        make(&group)?;
        if let Some(units) = cpu {
            write(
                &group,
                "cpu.max",
                &format!("{} {PERIOD_US}", quota_us(units)),
            )?;
        }
        if let Some(limit) = memory {
            write(&group, "memory.max", &limit.to_string())?;
        }
        if let Some(limit) = pids {
            write(&group, "pids.max", &limit.to_string())?;
        }
        // Whether its containers' groups can have limits of their own.
        return write(&group, "cgroup.subtree_control", controllers);
    }
    if let Some(units) = cpu {
        let group = root.join("cpu").join(OURS).join(&task);
        make(&group)?;
        write(&group, "cpu.shares", &units.max(2).to_string())?;
        write(&group, "cpu.cfs_period_us", &PERIOD_US.to_string())?;
        write(&group, "cpu.cfs_quota_us", &quota_us(units).to_string())?;
    }
    if let Some(limit) = memory {
        let group = root.join("memory").join(OURS).join(&task);
        make(&group)?;
        write(&group, "memory.use_hierarchy", "1").unwrap_or_default();
        write(&group, "memory.limit_in_bytes", &limit.to_string())?;
    }
    if let Some(limit) = pids {
        let group = root.join("pids").join(OURS).join(&task);
        make(&group)?;
        write(&group, "pids.max", &limit.to_string())?;
    }
    Ok(())
}

/// Removes the groups of a task of which nothing is left; what is in use the kernel keeps.
pub(crate) fn remove_of(task: TaskId) {
    remove_in(Path::new(ROOT), task);
}

/// As [`remove_of`], of all tasks of this host of which nothing is left.
pub(crate) fn sweep(host: HostId, is_here: impl Fn(TaskId) -> bool) {
    sweep_in(Path::new(ROOT), host, is_here);
}

fn sweep_in(root: &Path, host: HostId, is_here: impl Fn(TaskId) -> bool) {
    // One that was in use when its task ended may be left in some of the hierarchies alone.
    for hierarchy in hierarchies(root) {
        let groups = fs::read_dir(hierarchy.join(OURS));
        for entry in groups.into_iter().flatten().flatten() {
            let task = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            // The machine may have other agents.
            let own = |task: &TaskId| task.minter() == (host.0 >> 96) as u32;
            if task.filter(own).is_some_and(|task| !is_here(task)) {
                remove_unused(&entry.path());
            }
        }
    }
}

fn remove_in(root: &Path, task: TaskId) {
    for hierarchy in hierarchies(root) {
        remove_unused(&hierarchy.join(OURS).join(task.to_string()));
    }
}

/// Docker makes a group in each of them.
fn hierarchies(root: &Path) -> Vec<PathBuf> {
    if is_v2(root) {
        return vec![root.to_owned()];
    }
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Podman leaves a group in it, in which its monitor of the container was.
fn remove_unused(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        // What is no group is no directory, either.
        fs::remove_dir(entry.path()).unwrap_or_default();
    }
    fs::remove_dir(group).unwrap_or_default();
}

fn is_v2(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

fn make(group: &Path) -> Result<(), CgroupError> {
    fs::create_dir_all(group).map_err(|cause| CgroupError {
        path: group.to_owned(),
        cause,
    })
}

fn write(group: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = group.join(file);
    fs::write(&path, value).map_err(|cause| CgroupError { path, cause })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::{tests, translate::translate},
        test_dir::TestDir,
    };
    use expect_test::expect;
    use holdfast_core::time::Span;

    fn limited() -> CreateContainer {
        let mut create = tests::create("web:1");
        (create.shared.cpu, create.shared.memory_mib) = (Some(512), Some(64));
        create
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(path).expect("it was written")
    }

    #[test]
    fn a_task_without_limits_has_no_group() {
        assert_eq!(parent(&tests::create("web:1")), None);
        let task = tests::labels().task;
        assert_eq!(parent(&limited()), Some(format!("/holdfast/{task}")));
    }

    #[test]
    fn where_systemd_has_the_groups_each_container_is_limited() {
        let mut body = ContainerCreateBody::default();
        one_by_one(&limited(), Some(50), &mut body);
        let host = body.host_config.expect("it is set now");
        assert_eq!(host.cgroup_parent, None);
        assert_eq!(host.memory, Some(64 * 1_024 * 1_024));
        assert_eq!(
            (host.cpu_quota, host.cpu_period),
            (Some(50_000), Some(100_000))
        );
        assert_eq!(host.pids_limit, Some(50));
    }

    #[test]
    fn without_a_group_each_container_has_the_limit_of_processes() {
        let base = tests::create("web:1");
        let grace = Span::from_secs(30);
        let mut body = translate(&base, grace).expect("it can be said");
        let before = body.clone();
        limit_pids(None, &mut body);
        assert_eq!(body, before);
        limit_pids(Some(50), &mut body);
        let value = serde_json::to_value(body.host_config).expect("it always encodes");
        expect![[r#"
            {
              "AutoRemove": false,
              "NetworkMode": "bridge",
              "PidsLimit": 50,
              "RestartPolicy": {
                "Name": "no"
              }
            }"#]]
        .assert_eq(&serde_json::to_string_pretty(&value).expect("so does this"));
    }

    #[test]
    fn what_is_left_of_a_task_in_one_hierarchy_alone_goes_too() {
        let root = TestDir::new("cgroup");
        let host = HostId(7 << 96);
        let named = |minter: u128, number: u128| TaskId(minter << 96 | number);
        let (gone, here, foreign) = (named(7, 1), named(7, 2), named(8, 3));
        let groups = [gone, here, foreign].map(|task| {
            let group = root.join("pids").join(OURS).join(task.to_string());
            fs::create_dir_all(group.join("libpod-conmon")).expect("the directory is ours");
            group
        });
        sweep_in(&root, host, |task| task == here);
        assert_eq!(groups.map(|group| group.exists()), [false, true, true]);
    }

    #[test]
    fn limits_are_written_where_each_version_has_them() {
        let (task, create) = (tests::labels().task.to_string(), limited());
        let v1 = TestDir::new("cgroup");
        prepare_in(&v1, &create, Some(50)).expect("it can be written");
        let cpu = v1.join("cpu/holdfast").join(&task);
        assert_eq!(read(cpu.join("cpu.cfs_quota_us")), "50000");
        let memory = v1.join("memory/holdfast").join(&task);
        assert_eq!(read(memory.join("memory.limit_in_bytes")), "67108864");
        let pids = v1.join("pids/holdfast").join(&task);
        assert_eq!(read(pids.join("pids.max")), "50");

        let v2 = TestDir::new("cgroup");
        fs::write(v2.join("cgroup.controllers"), "cpu memory pids").expect("it can be written");
        prepare_in(&v2, &create, None).expect("it can be written");
        let group = v2.join("holdfast").join(&task);
        assert_eq!(read(group.join("cpu.max")), "50000 100000");
        assert_eq!(read(group.join("memory.max")), "67108864");
        assert!(!group.join("pids.max").exists());
        let passed_on = || read(v2.join("holdfast/cgroup.subtree_control"));
        assert_eq!(passed_on(), "+cpu +memory");
        prepare_in(&v2, &create, Some(50)).expect("it can be written");
        assert_eq!(read(group.join("pids.max")), "50");
        assert_eq!(passed_on(), "+cpu +memory +pids");
    }
}
