//! Processes, told from later ones with the same pid by when they started.

use super::Outcome;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{fs, path::Path};

/// One process of this machine, which may have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// In the kernel's ticks since the machine was booted.
    started: u64,
}

struct Stat {
    name: String,
    state: char,
    started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let started = stat(pid)?.started;
        Some(Self { pid, started })
    }

    /// The process that was saved there, if it still lives.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        let process = Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        };
        process.is_alive().then_some(process)
    }

    pub(super) fn save(self, path: &Path) -> Outcome<()> {
        let text = format!("{} {}\n", self.pid, self.started);
        fs::write(path, text).map_err(|err| format!("cannot write {}: {err}", path.display()))
    }

    /// A process that has ended and was not reaped yet is not alive.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|now| now.started == self.started && now.state != 'Z')
    }

    /// That it has ended meanwhile is no failure.
    pub fn signal(self, signal: Signal) -> Outcome<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).expect("the kernel's pids are positive");
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(err) => Err(format!("{signal} to process {pid}: {err}")),
        }
    }
}

/// Those in the same PID namespace as this one, but not in a namespace below it (a container's):
/// the pid as the machine sees it, and the name.
pub(super) fn neighbours(of: Process) -> Vec<(u32, String)> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(home) = namespace(of.pid) else {
        return Vec::new();
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| namespace(*pid).as_ref() == Some(&home))
        .filter_map(|pid| Some((pid, stat(pid)?.name)))
        .collect()
}

/// The process that its own namespace, which is that of `init`, knows by the pid `inner`.
pub(super) fn outer(init: Process, inner: u32) -> Option<Process> {
    let inner = inner.to_string();
    let found = neighbours(init).into_iter().find(|(pid, _)| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        pids.and_then(|pids| pids.split_whitespace().last()) == Some(&inner)
    });
    Process::of(found?.0)
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may have some of its own.
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // proc(5): the state is field 3, the time of the start is field 22.
    let started = fields.nth(18)?.parse().ok()?;
    Some(Stat {
        name,
        state,
        started,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_itself_and_no_later_one() {
        let me = Process::of(std::process::id()).expect("I run");
        assert!(me.is_alive());
        let other = Process {
            started: me.started + 1,
            ..me
        };
        assert!(!other.is_alive(), "it only has the same pid");
        assert!(neighbours(me).iter().any(|(pid, _)| *pid == me.pid));
    }
}
