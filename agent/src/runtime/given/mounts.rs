//! Files that containers are given: in memory alone, and wiped when their task has gone.
//!
//! `secret_mounts/<host>/<task>/<container>/<number>`, below directories that only root can enter:
//! a container sees the one file that is bound into it.

use holdfast_core::ids::{HostId, TaskId};
use holdfast_seal::value::Clear;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::{Path, PathBuf},
};
use tracing::warn;

/// What the kernel calls ramfs, which is in memory, too, and never swapped out.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

#[derive(Debug, thiserror::Error)]
pub(super) enum MountError {
    #[error(
        "{path} is on a disk, and secrets are kept in memory alone; set secret_mounts of this \
         host's agent to a directory on a tmpfs"
    )]
    NotInMemory { path: String },
    #[error("cannot put it into {path}: {err}")]
    Write { path: String, err: io::Error },
}

/// Whose files these are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) host: HostId,
    pub(super) task: TaskId,
    pub(super) container: String,
}

#[derive(Debug)]
pub(super) struct MountedFile {
    /// Where the container has it.
    pub(super) target: String,
    pub(super) access: Access,
    pub(super) value: Clear,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// That user alone.
    Owner(Owner),
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    uid: u32,
    gid: u32,
}

/// Root, unless the container's user is a number: what a name means, its image alone knows.
pub(super) fn owner(user: Option<&str>) -> Owner {
    let user = user.unwrap_or_default();
    let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
    let number = |text: &str| text.parse().unwrap_or(0);
    Owner {
        uid: number(uid),
        gid: number(gid),
    }
}

impl Place {
    fn task_dir(&self, root: &Path) -> PathBuf {
        host_dir(root, self.host).join(self.task.to_string())
    }

    fn dir(&self, root: &Path) -> PathBuf {
        self.task_dir(root).join(&self.container)
    }
}

fn host_dir(root: &Path, host: HostId) -> PathBuf {
    root.join(host.to_string())
}

/// Writes the files, in the place of those that there were. Answers where each is, and is to be.
pub(super) fn write(
    root: &Path,
    place: &Place,
    files: &[MountedFile],
) -> Result<Vec<(PathBuf, String)>, MountError> {
    let directory = place.dir(root);
    let failed = |path: &Path, err| MountError::Write {
        path: path.display().to_string(),
        err,
    };
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(root).map_err(|err| failed(root, err))?;
    check_in_memory(root)?;
    builder
        .create(&directory)
        .map_err(|err| failed(&directory, err))?;
    let mut written = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let path = directory.join(number.to_string());
        write_one(&path, file).map_err(|err| failed(&path, err))?;
        written.push((path, file.target.clone()));
    }
    Ok(written)
}

fn check_in_memory(root: &Path) -> Result<(), MountError> {
    let path = || root.display().to_string();
    let found = statfs(root).map_err(|err| MountError::Write {
        path: path(),
        err: err.into(),
    })?;
    match [TMPFS_MAGIC, RAMFS_MAGIC].contains(&found.filesystem_type()) {
        true => Ok(()),
        false => Err(MountError::NotInMemory { path: path() }),
    }
}

/// Whole or not at all. A container that was made of the one before keeps that.
fn write_one(path: &Path, file: &MountedFile) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    let mut made = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    made.write_all(file.value.bytes())?;
    match file.access {
        Access::Owner(Owner { uid: 0, gid: 0 }) => {}
        Access::Owner(Owner { uid, gid }) => fchown(&made, Some(uid), Some(gid))?,
        Access::All => made.set_permissions(Permissions::from_mode(0o444))?,
    }
    fs::rename(&new, path)
}

/// What cannot be removed is tried again by the next sweep.
pub(super) fn remove(root: &Path, place: &Place) {
    tell(remove_dir(&place.dir(root)));
    // Other containers may be there still.
    fs::remove_dir(place.task_dir(root)).ok();
}

/// Removes what belongs to this host's tasks of which nothing is there.
pub(super) fn sweep(root: &Path, host: HostId, is_here: impl Fn(TaskId) -> bool) {
    let Ok(tasks) = fs::read_dir(host_dir(root, host)) else {
        return;
    };
    for found in tasks.flatten() {
        let task = found
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(task) = task else { continue };
        if is_here(task) {
            continue;
        }
        for container in fs::read_dir(found.path()).into_iter().flatten().flatten() {
            tell(remove_dir(&container.path()));
        }
        fs::remove_dir(found.path()).ok();
    }
}

fn tell(removed: io::Result<()>) {
    if let Err(err) = removed {
        warn!(%err, "Cannot remove files that a task was given.");
    }
}

fn remove_dir(directory: &Path) -> io::Result<()> {
    let files = match fs::read_dir(directory) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    for file in files {
        let path = file?.path();
        wipe(&path)?;
        fs::remove_file(&path)?;
    }
    fs::remove_dir(directory)
}

/// Memory that is given back is not read by others before it is overwritten; this leaves no time.
fn wipe(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    let length = usize::try_from(file.metadata()?.size()).unwrap_or(usize::MAX);
    file.write_all(&vec![0; length.min(holdfast_core::limits::VALUE_BYTES_MAX)])
}
