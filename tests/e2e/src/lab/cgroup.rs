//! Control groups of the lab's hosts: what freezes a host, and what really runs in it.

use super::{Outcome, host::Host, process::Process};
use crate::wait;
use nix::sys::signal::Signal;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

const ROOT: &str = "/sys/fs/cgroup";
/// Version 1 only. Not "cpu": a group with a high weight starves the kernel's own threads, which
/// the start of a container waits for, and with the default weight all hosts together get the
/// share of one process.
const CONTROLLERS: [&str; 2] = ["freezer", "cpuacct"];
/// A group that has just lost its last process may be busy for a moment more.
const EMPTY_WITHIN: Duration = wait::secs(5);

fn is_v1() -> bool {
    Path::new(ROOT).join("freezer").is_dir()
}

/// The groups of a host, the one that freezes first.
fn groups(host: &Host) -> Vec<PathBuf> {
    let name = format!("{}/{}", host.lab.name, host.name());
    if is_v1() {
        let roots = CONTROLLERS.iter().map(|name| Path::new(ROOT).join(name));
        roots
            .filter(|root| root.is_dir())
            .map(|root| root.join(&name))
            .collect()
    } else {
        vec![Path::new(ROOT).join(name)]
    }
}

/// Makes the groups for all that a host runs itself; a process joins by writing 0 to their
/// `cgroup.procs`.
pub(super) fn make(host: &Host) -> Outcome<Vec<PathBuf>> {
    let groups = groups(host).into_iter().map(|group| group.join("system"));
    let groups: Vec<_> = groups.collect();
    for group in &groups {
        fs::create_dir_all(group)
            .map_err(|err| format!("cannot make the control group {}: {err}", group.display()))?;
    }
    Ok(groups)
}

/// What dockerd is told: its containers' groups are made below it.
pub(super) fn parent_of_containers(host: &Host) -> String {
    format!("/{}/{}/docker", host.lab.name, host.name())
}

/// Stalls every process of a host, or lets them go on; returns when it is so.
pub(super) fn freeze(host: &Host, frozen: bool) -> Outcome<()> {
    let group = &groups(host)[0];
    let (file, word) = if is_v1() {
        ("freezer.state", if frozen { "FROZEN" } else { "THAWED" })
    } else {
        ("cgroup.freeze", if frozen { "1" } else { "0" })
    };
    fs::write(group.join(file), word)
        .map_err(|err| format!("cannot write {word} to {}/{file}: {err}", group.display()))?;
    wait::poll(wait::secs(5), || {
        let now = is_frozen(host);
        (now == frozen)
            .then_some(())
            .ok_or_else(|| format!("{} does not become {word}", host.name()))
    })
}

/// Whether all of it is; half frozen is not.
pub(super) fn is_frozen(host: &Host) -> bool {
    let group = &groups(host)[0];
    if is_v1() {
        let state = fs::read_to_string(group.join("freezer.state"));
        state.is_ok_and(|state| state.trim() == "FROZEN")
    } else {
        let events = fs::read_to_string(group.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
    }
}

/// CPU time of the host's own programs since it was turned on.
pub(super) fn cpu_used(host: &Host) -> Duration {
    let groups = groups(host).into_iter().map(|group| group.join("system"));
    let used = groups.filter_map(|group| {
        let version_1 = fs::read_to_string(group.join("cpuacct.usage"));
        let nanos = version_1.ok().and_then(|text| text.trim().parse().ok());
        let version_2 = fs::read_to_string(group.join("cpu.stat")).unwrap_or_default();
        let micros = version_2
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let micros = micros.and_then(|text| text.trim().parse().ok());
        nanos
            .map(Duration::from_nanos)
            .or(micros.map(Duration::from_micros))
    });
    used.max().unwrap_or_default()
}

/// The ids of the containers that have a process now. Asks the kernel alone: a Docker that hangs or
/// is gone cannot hide them.
pub(super) fn living(host: &Host) -> Vec<String> {
    let containers = groups(host)[0].join("docker");
    let entries = fs::read_dir(containers).into_iter().flatten().flatten();
    let has_process = |dir: &Path| {
        fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|pids| !pids.is_empty())
    };
    let living = entries.filter(|entry| has_process(&entry.path()));
    let mut ids: Vec<_> = living
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    ids.sort();
    ids
}

/// Ends whatever still runs in a host's groups, which nobody else puts anything into.
pub(super) fn kill(host: &Host) -> Outcome<()> {
    for group in groups(host) {
        wait::poll(EMPTY_WITHIN, || {
            let left = processes(&group);
            for process in &left {
                process.signal(Signal::SIGKILL)?;
            }
            if left.is_empty() {
                return Ok(());
            }
            Err(format!(
                "{} processes of {} do not end",
                left.len(),
                host.name()
            ))
        })?;
    }
    Ok(())
}

/// Those of the group and of all below it.
fn processes(group: &Path) -> Vec<Process> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below = below.flat_map(|entry| processes(&entry.path()));
    let pids = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = pids
        .lines()
        .filter_map(|pid| Process::of(pid.parse().ok()?));
    own.chain(below).collect()
}

/// Removes the groups of a host, in every hierarchy: the runtime makes some of its own.
pub(super) fn remove(host: &Host) -> Outcome<()> {
    remove_below(&format!("{}/{}", host.lab.name, host.name()))
}

/// Removes what is left of a lab without hosts.
pub(super) fn remove_lab(lab: &str) -> Outcome<()> {
    remove_below(lab)
}

fn remove_below(name: &str) -> Outcome<()> {
    let mut roots = vec![Path::new(ROOT).to_owned()];
    if is_v1() {
        let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
        roots = entries.map(|entry| entry.path()).collect();
    }
    for root in roots {
        let group = root.join(name);
        wait::poll(EMPTY_WITHIN, || {
            remove_tree(&group).map_err(|err| format!("{}: {err}", group.display()))
        })?;
    }
    Ok(())
}

/// Groups are removed from the leaves up; their files go with them.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}
