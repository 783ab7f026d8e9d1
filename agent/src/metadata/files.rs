//! The files that say what a container is, as they are on this host's disk.
//!
//! `metadata/<task>/<container>/ecs-container-metadata.json` in the state directory. The container
//! has the last of these directories mounted, and not the file: it would never see a later one.

use crate::whole_file;
use holdfast_core::ids::TaskId;
use nix::fcntl::OFlag;
use serde_json::{Map, Value};
use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, TryLockError},
};
use tracing::warn;

pub(crate) const FILE_NAME: &str = "ecs-container-metadata.json";

/// Those of one agent. Everything here waits for the disk.
#[derive(Debug)]
pub(crate) struct MetadataFiles {
    root: PathBuf,
    /// Held while a directory is made and while they are swept, so that none is swept as it is
    /// made.
    making: Mutex<()>,
}

impl MetadataFiles {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            root: state_dir.join("metadata"),
            making: Mutex::default(),
        }
    }

    /// Makes the container's file, in the place of one that there was. Answers what is to be
    /// mounted.
    pub(crate) fn make(&self, task: TaskId, container: &str, file: &Value) -> io::Result<PathBuf> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory(task, container);
        for one in [&self.root, &self.task_directory(task), &directory] {
            have(one)?;
        }
        self.replace(task, container, file)?;
        Ok(directory)
    }

    /// What is mounted already shows it, too.
    pub(crate) fn replace(&self, task: TaskId, container: &str, file: &Value) -> io::Result<()> {
        let path = self.directory(task, container).join(FILE_NAME);
        whole_file::replace_for_all(&path, format!("{file:#}\n").as_bytes())
    }

    /// `None` where the container has none. It is an object.
    pub(crate) fn read(&self, task: TaskId, container: &str) -> io::Result<Option<Value>> {
        let path = self.directory(task, container).join(FILE_NAME);
        let file = match open(&path, OFlag::O_NOFOLLOW) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => io::read_to_string(opened?)?,
        };
        let members: Map<String, Value> = serde_json::from_str(&file)?;
        Ok(Some(Value::Object(members)))
    }

    /// What cannot be removed is tried again by the next sweep.
    pub(crate) fn remove(&self, task: TaskId, container: &str) {
        remove(&self.directory(task, container));
        // Other containers may have theirs there.
        fs::remove_dir(self.task_directory(task)).ok();
    }

    /// Removes those of tasks of which nothing is here; not while another sweep still does.
    pub(crate) fn sweep(&self, is_here: impl Fn(TaskId) -> bool) {
        let _making = match self.making.try_lock() {
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Poisoned(err)) => err.into_inner(),
            Ok(making) => making,
        };
        for found in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = found.file_name();
            let task = name.to_str().and_then(|name| name.parse().ok());
            if task.is_some_and(|task| !is_here(task)) {
                remove(&found.path());
            }
        }
    }

    fn task_directory(&self, task: TaskId) -> PathBuf {
        self.root.join(task.to_string())
    }

    fn directory(&self, task: TaskId, container: &str) -> PathBuf {
        self.task_directory(task).join(container)
    }
}

/// Makes the directory, unless it is there; a link to one is none.
fn have(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
        Ok(()) | Err(_) => {}
    }
    // Whatever the umask is.
    open(directory, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW)?
        .set_permissions(Permissions::from_mode(0o755))
}

fn open(path: &Path, flags: OFlag) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits()).open(path)
}

/// Of a link, the link itself.
fn remove(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            let path = directory.display();
            warn!(%path, %err, "Cannot remove the metadata file of a container.");
        }
        Ok(()) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use serde_json::json;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    const ONE: TaskId = TaskId(1);
    const OTHER: TaskId = TaskId(2);

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o777
    }

    #[test]
    fn a_file_is_read_by_all_and_replaced_where_it_is_mounted() {
        let dir = TestDir::new("metadata-files");
        let files = MetadataFiles::new(&dir);
        let first = json!({"ContainerName": "web"});
        let mounted = files.make(ONE, "web", &first).expect("it is made");
        assert_eq!(
            mounted,
            dir.join("metadata").join(ONE.to_string()).join("web")
        );
        let modes = [mode(&mounted), mode(&mounted.join(FILE_NAME))];
        assert_eq!(modes, [0o755, 0o644]);
        // As a mount does, this stays with the directory.
        let held = File::open(&mounted).expect("it can be opened");
        let full = json!({"ContainerName": "web", "MetadataFileStatus": "READY"});
        files.replace(ONE, "web", &full).expect("it is replaced");
        assert_eq!(files.read(ONE, "web").expect("it is read"), Some(full));
        let inode = held.metadata().expect("it is open").ino();
        assert_eq!(fs::metadata(&mounted).expect("it is there").ino(), inode);
        let names = fs::read_dir(&mounted).expect("it is a directory").count();
        assert_eq!(names, 1, "nothing else is in it");
        files.make(ONE, "web", &first).expect("it is made again");
        assert_eq!(files.read(ONE, "web").expect("it is read"), Some(first));
        assert_eq!(files.read(ONE, "log").expect("it is looked for"), None);
    }

    #[test]
    fn what_is_no_file_of_ours_is_an_error() {
        let dir = TestDir::new("metadata-files");
        let files = MetadataFiles::new(&dir);
        let mounted = files.make(ONE, "web", &json!({})).expect("it is made");
        for text in ["[]", "{\"Cluster\":", ""] {
            fs::write(mounted.join(FILE_NAME), text).expect("it can be written");
            assert!(files.read(ONE, "web").is_err(), "{text}");
        }
    }

    #[test]
    fn links_are_not_followed() {
        let (dir, elsewhere) = (TestDir::new("metadata-files"), TestDir::new("elsewhere"));
        let files = MetadataFiles::new(&dir);
        files.make(ONE, "web", &json!({})).expect("it is made");
        symlink(&*elsewhere, files.directory(ONE, "log")).expect("it is linked");
        assert!(files.make(ONE, "log", &json!({})).is_err());
        fs::write(elsewhere.join("kept"), "").expect("it can be written");
        fs::write(elsewhere.join("file"), "{}").expect("it can be written");
        let path = files.directory(ONE, "web").join(FILE_NAME);
        fs::remove_file(&path).expect("it is there");
        symlink(elsewhere.join("file"), &path).expect("it is linked");
        assert!(files.read(ONE, "web").is_err());
        files.remove(ONE, "log");
        files.sweep(|_| false);
        assert!(elsewhere.join("kept").exists());
        assert!(!files.task_directory(ONE).exists());
    }

    #[test]
    fn a_directory_goes_with_its_container_and_the_rest_with_its_task() {
        let dir = TestDir::new("metadata-files");
        let files = MetadataFiles::new(&dir);
        for (task, container) in [(ONE, "web"), (ONE, "log"), (OTHER, "web")] {
            let made = files.make(task, container, &json!({}));
            made.expect("it is made");
        }
        files.remove(ONE, "web");
        assert!(!files.directory(ONE, "web").exists());
        assert!(files.directory(ONE, "log").exists());
        let foreign = files.root.join("somebody's");
        fs::create_dir(&foreign).expect("it can be made");
        files.sweep(|task| task == ONE);
        assert!(files.directory(ONE, "log").exists());
        assert!(!files.task_directory(OTHER).exists());
        assert!(foreign.exists(), "it is none of a task");
        files.remove(ONE, "log");
        files.remove(ONE, "log");
        assert!(!files.task_directory(ONE).exists());
        // One sweep at a time, however long the disk takes.
        let _sweeping = files.making.lock().expect("nothing panics");
        files.sweep(|_| panic!("another one is under way"));
    }
}
