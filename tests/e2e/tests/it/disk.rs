//! State directories that cannot be used, and disks that are full.

use e2e::{
    fleet::{Fleet, PATIENCE},
    host::text_of,
    is_root_or_skip,
    wait::until,
};
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Output},
};

const NOBODY: u32 = 65_534;

#[test]
fn a_second_agent_on_the_same_state_directory_is_refused() {
    let Some(mut fleet) = Fleet::start(1) else {
        return;
    };
    fleet.create_service("web", 1);
    let before = fleet.await_count("web", 1);
    let state = fleet.hosts[0].state_dir().display().to_string();
    fleet.add().set("state-dir", &state);
    let refused = fleet.hosts[1].command().output().expect("it can be run");
    let said = said(&refused);
    let pid = format!("another agent (pid {}) already uses", fleet.hosts[0].pid());
    assert!(!refused.status.success() && said.contains(&pid), "{said}");
    assert!(said.contains(&state), "it says which directory: {said}");
    assert!(fleet.hosts[0].is_running());
    assert_eq!(fleet.running("web"), before);
}

fn said(output: &Output) -> String {
    text_of(&output.stdout) + &text_of(&output.stderr)
}

#[test]
fn a_state_directory_that_cannot_be_written_is_refused_with_its_owner() {
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    if !is_root_or_skip("running an agent as another user") {
        return;
    }
    let host = fleet.add();
    let state = host.state_dir();
    fs::create_dir(&state).expect("the directory is ours");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let agent = host.command();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // The key and the log are not what this is about.
    let host_dir = host.dir.clone();
    chown(&host_dir, Some(NOBODY), Some(NOBODY)).expect("we are root");
    let refused = command
        .arg(agent.get_program())
        .args(agent.get_args())
        .output();
    let refused = refused.expect("setpriv is part of util-linux");
    let said = said(&refused);
    assert!(!refused.status.success(), "{said}");
    for part in [
        "cannot write in state directory",
        "owner uid 0",
        "as uid 65534",
        "state_dir",
    ] {
        assert!(said.contains(part), "it does not say {part:?}: {said}");
    }
}

/// A file system of a few hundred KiB; ends with this value.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).expect("the directory is ours");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs"]);
        let mounted = mount
            .arg(at)
            .output()
            .expect("mount is part of every system");
        if !mounted.status.success() {
            e2e::skip(&format!(
                "a small file system cannot be mounted: {}",
                said(&mounted)
            ));
            return None;
        }
        Some(Self(at.to_owned()))
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("ballast")).expect("it may be empty");
        let block = [0; 4_096];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).expect("it was made");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("cannot unmount {}", self.0.display());
        }
    }
}

#[test]
fn a_full_disk_stops_no_task_and_is_said_clearly() {
    if !is_root_or_skip("mounting a small file system") {
        return;
    }
    let Some(mut fleet) = Fleet::empty() else {
        return;
    };
    let at = fleet.place.dir.join("small");
    let Some(small) = Small::mount(&at) else {
        return;
    };
    let state = at.join("state").display().to_string();
    fleet.add();
    fleet.add().set("state-dir", &state);
    fleet.hosts.iter_mut().for_each(e2e::host::Host::start);
    until("both are up", PATIENCE, || {
        let up = fleet.hosts[0].look("/v1/status")["hosts"]["UP"].as_u64();
        if up == Some(2) {
            Ok(())
        } else {
            Err(format!("{up:?}"))
        }
    });
    fleet.create_service("web", 2);
    let before = fleet.await_count("web", 2);
    let watch = fleet.engine.watch(&fleet.label());

    small.fill();
    // Enough to be written that no free page of the store can take it.
    for number in 0..40 {
        fleet.create_service(&format!("filler-{number}"), 0);
    }
    until("the agent says that its disk is full", PATIENCE, || {
        let log = fleet.hosts[1].log();
        if log.contains("no space left for") {
            Ok(())
        } else {
            Err(log)
        }
    });
    assert!(
        fleet.hosts[1].is_running(),
        "a full disk does not end the agent"
    );
    assert_eq!(fleet.await_count("web", 2), before);
    assert_eq!(watch.drain(), [], "no container started or ended");

    small.free();
    fleet.scale("web", 4);
    fleet.await_count("web", 4);
}
