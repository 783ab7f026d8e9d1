//! `holdfast image seal`: takes out of a machine image what only one host may have.

use super::{
    failure::Failure,
    output::{Output, say, say_json},
};
use crate::{
    config::BakedSettings,
    identity::{LOCK, StateDir},
};
use nix::libc::O_NOFOLLOW;
use serde_json::json;
use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The one from which hosts tell themselves apart; empty, it is made anew at the next boot.
const MACHINE_ID: &str = "etc/machine-id";

/// Made anew by whoever needs them.
const OF_ONE_MACHINE: [&str; 5] = [
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "etc/docker/key.json",
    "var/lib/docker/engine-id",
];

/// Hosts would be taken for one another by whoever logs in.
const SSH: &str = "etc/ssh";
const SSH_KEYS: (&str, &str) = ("ssh_host_", "_key");

/// An image's file system, beyond which nothing is touched.
struct Image {
    root: PathBuf,
}

pub(super) fn run(output: Output, root: &Path, allow_key: bool) -> Result<(), Failure> {
    let image = Image::at(root)?;
    let settings = BakedSettings::read(&image.root).map_err(|err| {
        let source = std::error::Error::source(&err);
        let source = source.map(|source| format!(": {source}"));
        Failure::Refused(format!("{err}{}", source.unwrap_or_default()))
    })?;
    let shared = image.shared(&settings, allow_key)?;
    if !shared.is_empty() {
        return Err(Failure::Refused(format!(
            "all hosts of this image would share what is to be one's own; nothing was \
             changed:\n{}",
            shared.join("\n")
        )));
    }
    let removed = image.seal(&settings)?;
    match output {
        Output::Json => say_json(&json!({"removed": removed, "emptied": [in_image(MACHINE_ID)]})),
        Output::Table => {
            for path in &removed {
                say(&format!("removed  {path}"))?;
            }
            say(&format!("emptied  {}", in_image(MACHINE_ID)))?;
            say("Sealed: each host that starts from this image makes an identity of its own.")
        }
    }
}

impl Image {
    fn at(root: &Path) -> Result<Self, Failure> {
        let root = root.canonicalize().map_err(|err| failed(root, &err))?;
        match root.join("etc").is_dir() {
            true => Ok(Self { root }),
            false => Err(Failure::Refused(format!(
                "{} is no root of an image: there is no /etc in it",
                root.display()
            ))),
        }
    }

    /// What is not ours to remove, and what to do about each.
    fn shared(&self, settings: &BakedSettings, allow_key: bool) -> Result<Vec<String>, Failure> {
        let mut shared = Vec::new();
        let key = settings.key_file.as_deref().filter(|_| !allow_key);
        if let Some(path) = key
            && self.find(path)?.is_some()
        {
            shared.push(format!(
                "  the cluster key {}: whoever has the image could join. Remove it and give it \
                 to hosts as they boot, or seal with --allow-key",
                path.display()
            ));
        }
        let directory = self.find(Path::new(SSH))?;
        let entries = directory.map(|path| fs::read_dir(&path).map_err(|err| failed(&path, &err)));
        for entry in entries.transpose()?.into_iter().flatten() {
            let name = entry
                .map_err(|err| failed(Path::new(SSH), &err))?
                .file_name();
            let name = name.to_string_lossy();
            if name.starts_with(SSH_KEYS.0) && name.ends_with(SSH_KEYS.1) {
                shared.push(format!(
                    "  the SSH host key /{SSH}/{name}. Remove it, and see that it is made at \
                     boot: cloud-init does, or `ssh-keygen -A` before sshd starts"
                ));
            }
        }
        shared.sort();
        Ok(shared)
    }

    /// Says what was removed.
    fn seal(&self, settings: &BakedSettings) -> Result<Vec<String>, Failure> {
        let mut removed = Vec::new();
        if let Some(state) = self.find(&settings.state_dir)? {
            // Of an agent that runs, nothing is taken away.
            let lock = StateDir::open(&state).map_err(|err| Failure::Refused(err.to_string()))?;
            self.empty_directory(&state, &mut removed)?;
            drop(lock);
        }
        for path in OF_ONE_MACHINE {
            let Some(found) = self.find(Path::new(path))? else {
                continue;
            };
            // A link leads to what is empty by then.
            if !found.is_symlink() {
                fs::remove_file(&found).map_err(|err| failed(&found, &err))?;
                removed.push(in_image(path));
            }
        }
        self.empty_machine_id()?;
        Ok(removed)
    }

    fn empty_directory(&self, path: &Path, removed: &mut Vec<String>) -> Result<(), Failure> {
        let entries = fs::read_dir(path).map_err(|err| failed(path, &err))?;
        let entries: io::Result<Vec<_>> = entries.collect();
        let mut entries = entries.map_err(|err| failed(path, &err))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let kind = entry.file_type().map_err(|err| failed(&path, &err))?;
            let gone = match kind.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            gone.map_err(|err| failed(&path, &err))?;
            let inside = path.strip_prefix(&self.root).unwrap_or(&path);
            // The lock we have made ourselves.
            if inside.file_name() != Some(OsStr::new(LOCK)) {
                removed.push(format!("/{}", inside.display()));
            }
        }
        Ok(())
    }

    fn empty_machine_id(&self) -> Result<(), Failure> {
        let path = self.root.join(MACHINE_ID);
        // Without the file, what is read-only at boot would have none.
        let emptied = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(O_NOFOLLOW)
            .open(&path);
        emptied.map(drop).map_err(|err| failed(&path, &err))
    }

    /// Where it is, if it is there. What lies outside by way of a link is refused.
    fn find(&self, path: &Path) -> Result<Option<PathBuf>, Failure> {
        let path = self.root.join(path.strip_prefix("/").unwrap_or(path));
        if path.symlink_metadata().is_err() {
            return Ok(None);
        }
        let parent = path.parent().unwrap_or(&self.root);
        let real = parent.canonicalize().map_err(|err| failed(parent, &err))?;
        let path = path
            .file_name()
            .map_or(real.clone(), |name| real.join(name));
        match real.starts_with(&self.root) {
            true => Ok(Some(path)),
            false => Err(Failure::Refused(format!(
                "{} leads out of {}; make it a place of the image",
                parent.display(),
                self.root.display()
            ))),
        }
    }
}

fn in_image(path: &str) -> String {
    format!("/{path}")
}

fn failed(path: &Path, err: &io::Error) -> Failure {
    Failure::Refused(format!("{}: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::symlink;

    fn write(dir: &TestDir, paths: &[&str]) {
        for path in paths {
            write_one(dir, path);
        }
    }

    fn write_one(dir: &TestDir, path: &str) {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "of one host\n").unwrap();
    }

    fn sealed(dir: &TestDir, allow_key: bool) -> Result<(), String> {
        let text = |err: Failure| err.to_string().replace(dir.to_str().unwrap(), "ROOT");
        run(Output::Json, dir, allow_key).map_err(text)
    }

    #[test]
    fn what_only_one_host_may_have_goes_and_all_else_stays() {
        let dir = TestDir::new("seal");
        for path in [
            "host-id",
            "holdfast.redb",
            "recordings/1",
            "first-boot/holdfast.key",
        ] {
            write_one(&dir, &format!("var/lib/holdfast/{path}"));
        }
        write(&dir, &OF_ONE_MACHINE);
        write(
            &dir,
            &[
                "etc/machine-id",
                "etc/holdfast/other",
                "var/lib/docker/image",
            ],
        );
        sealed(&dir, false).unwrap();
        assert_eq!(
            fs::read_dir(dir.join("var/lib/holdfast")).unwrap().count(),
            0
        );
        assert!(OF_ONE_MACHINE.iter().all(|path| !dir.join(path).exists()));
        assert_eq!(fs::read(dir.join("etc/machine-id")).unwrap(), b"");
        assert!(dir.join("etc/holdfast/other").exists());
        assert!(dir.join("var/lib/docker/image").exists());
        // It may be done again.
        sealed(&dir, false).unwrap();
    }

    #[test]
    fn what_would_be_shared_is_named_and_nothing_is_changed() {
        let dir = TestDir::new("seal");
        let state = "var/lib/holdfast/host-id";
        write(
            &dir,
            &[
                "etc/holdfast/cluster.key",
                "etc/ssh/ssh_host_rsa_key",
                state,
            ],
        );
        write_one(&dir, "etc/ssh/ssh_host_rsa_key.pub");
        let settings = "key_file = \"/etc/holdfast/cluster.key\"";
        fs::write(dir.join("etc/holdfast/holdfast.toml"), settings).unwrap();
        let refused = sealed(&dir, false).unwrap_err();
        assert!(
            refused.contains("the cluster key /etc/holdfast/cluster.key"),
            "{refused}"
        );
        assert!(
            refused.contains("the SSH host key /etc/ssh/ssh_host_rsa_key."),
            "{refused}"
        );
        assert_eq!(refused.lines().count(), 3, "{refused}");
        assert!(dir.join(state).exists());
        fs::remove_file(dir.join("etc/ssh/ssh_host_rsa_key")).unwrap();
        sealed(&dir, true).unwrap();
        assert!(!dir.join(state).exists());
        assert!(dir.join("etc/holdfast/cluster.key").exists());
    }

    #[test]
    fn the_state_lies_where_the_images_settings_say() {
        let dir = TestDir::new("seal");
        write(&dir, &["data/host-id", "var/lib/holdfast/other"]);
        write_one(&dir, "etc/holdfast/x");
        fs::write(
            dir.join("etc/holdfast/holdfast.toml"),
            "state_dir = \"/data\"",
        )
        .unwrap();
        sealed(&dir, false).unwrap();
        assert!(!dir.join("data/host-id").exists());
        assert!(dir.join("var/lib/holdfast/other").exists());
        fs::write(dir.join("etc/holdfast/holdfast.toml"), "zoom = 1").unwrap();
        let refused = sealed(&dir, false).unwrap_err();
        assert!(refused.contains("unknown key \"zoom\""), "{refused}");
    }

    #[test]
    fn neither_a_running_agent_nor_another_root_is_touched() {
        let (dir, other) = (TestDir::new("seal"), TestDir::new("seal"));
        write(&dir, &["var/lib/holdfast/host-id", "etc/x"]);
        let agent = StateDir::open(&dir.join("var/lib/holdfast")).unwrap();
        let refused = sealed(&dir, false).unwrap_err();
        assert!(refused.contains("another agent"), "{refused}");
        drop(agent);
        fs::remove_dir_all(dir.join("var")).unwrap();
        write_one(&other, "lib/holdfast/host-id");
        symlink(&*other, dir.join("var")).unwrap();
        let refused = sealed(&dir, false).unwrap_err();
        assert!(refused.contains("leads out of ROOT"), "{refused}");
        assert!(other.join("lib/holdfast/host-id").exists());
        let refused = sealed(&other, false).unwrap_err();
        assert_eq!(
            refused,
            "ROOT is no root of an image: there is no /etc in it"
        );
    }
}
