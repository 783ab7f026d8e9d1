//! Room for a fleet on this machine: a directory, loopback addresses, and not too many at once.

use crate::{docker::CLUSTER_LABEL, docker::Engine, silence, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};
use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    process,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

/// Fleets at the same time, over all processes: more would only measure each other.
const PLACES: u8 = 2;
const PREFIX: &str = "e2e";

/// One fleet's room. Its directory is removed with it.
#[derive(Debug)]
pub struct Place {
    /// Also the cluster's name: `e2e-<pid>-<number>`.
    pub name: String,
    pub dir: PathBuf,
    /// The first three bytes of its hosts' addresses, all of them loopback.
    pub network: [u8; 3],
    _turn: File,
}

impl Place {
    /// Waits for a turn, then clears away what dead runs of ours left.
    pub fn take(engine: &Engine) -> Self {
        static CLEARED: Once = Once::new();
        static FLEETS: AtomicU32 = AtomicU32::new(0);
        CLEARED.call_once(|| clear_dead_runs(engine));
        let (turn, lock) = wait::until("a turn to run a fleet", wait::secs(900), || {
            let turns = (0..PLACES).find_map(|turn| Some((turn, lock(turn)?)));
            turns.ok_or_else(|| format!("{PLACES} other fleets run"))
        });
        let number = FLEETS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", process::id());
        let dir = base().join(&name);
        fs::create_dir(&dir).unwrap_or_else(|err| panic!("create {}: {err}", dir.display()));
        let third = u8::try_from(number % 250).expect("it is below 250");
        Self {
            name,
            dir,
            network: [127, 100 + turn, third],
            _turn: lock,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(err) = fs::remove_dir_all(&self.dir) {
            eprintln!("cannot remove {}: {err}", self.dir.display());
        }
    }
}

/// Where all runs of this user live. Short, because a socket's path may have 107 bytes.
pub fn base() -> PathBuf {
    let base = env::temp_dir().join(format!("holdfast-e2e-{}", geteuid()));
    fs::create_dir_all(&base).unwrap_or_else(|err| panic!("create {}: {err}", base.display()));
    base
}

fn lock(turn: u8) -> Option<File> {
    let path = base().join(format!("turn-{turn}"));
    let file = File::create(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    file.try_lock().ok().map(|()| file)
}

/// Ends the agents of runs that were killed before they could, then removes what these left. Only
/// what names such a run: a pid that was given anew keeps its rests until the next time.
fn clear_dead_runs(engine: &Engine) {
    let dead =
        |name: &str| run_pid(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    end_agents(dead);
    silence::clear(dead);
    let entries = fs::read_dir(base())
        .expect("the base was made just now")
        .flatten();
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !dead(&name) {
            continue;
        }
        if entry.path().is_dir() {
            // A tmpfs of a dead run; where there is none, there is nothing to do.
            let mounted = entry.path().join("small");
            if mounted.exists() {
                process::Command::new("umount").arg(&mounted).status().ok();
            }
            fs::remove_dir_all(entry.path()).ok();
        } else {
            fs::remove_file(entry.path()).ok();
        }
    }
    let is_left = |cluster: &str| cluster.starts_with(PREFIX) && dead(cluster);
    let left = engine.containers(CLUSTER_LABEL).into_iter();
    let left = left.filter(|container| is_left(&container.cluster));
    engine.remove(&left.map(|container| container.id).collect::<Vec<_>>());
    let left = engine.volumes(CLUSTER_LABEL).into_iter();
    engine.remove_volumes(left.filter(|volume| is_left(&volume.cluster)));
}

/// Of `e2e-<pid>-<number>` and of the copy of the program, `holdfast-<pid>`.
fn run_pid(name: &str) -> Option<u32> {
    let rest = name
        .strip_prefix(PREFIX)
        .or_else(|| name.strip_prefix("holdfast"))?;
    rest.strip_prefix('-')?.split('-').next()?.parse().ok()
}

/// Also those whose directory is gone: their arguments still name it.
fn end_agents(is_dead: impl Fn(&str) -> bool) {
    let base = format!("{}/", base().display());
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let pid = entry.file_name().to_string_lossy().parse::<i32>();
        let Ok(pid) = pid else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(String::from_utf8_lossy)
            .collect();
        let mut runs = words
            .iter()
            .filter_map(|word| word.strip_prefix(&base)?.split('/').next());
        let agent = words.get(1).is_some_and(|word| word == "agent");
        if agent && runs.any(&is_dead) {
            // It may have ended in this moment.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}
