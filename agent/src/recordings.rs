//! Recordings on disk: what the agent was told, as the simulator repeats it; few, and root's alone.

use crate::api::introspection::rfc3339;
use holdfast_core::{recording::Cause, time::Wall};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Files that are kept of each cause, the newest: an agent that panics at each start must neither
/// fill the disk nor take away what somebody asked for.
const KEPT_MAX: usize = 4;
const SUFFIX: &str = ".hfrec";

/// The folder in the state directory. It is made when it is first needed.
#[derive(Clone, Debug)]
pub(crate) struct Recordings {
    folder: PathBuf,
}

impl Recordings {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join("recordings"),
        }
    }

    /// Writes one, whole or not at all, and removes the oldest that are too many. It holds task
    /// definitions with their environment: nobody but the owner may read it.
    pub(crate) fn save(&self, cause: &Cause, at: Wall, bytes: &[u8]) -> io::Result<PathBuf> {
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&self.folder)?;
        let kind = match cause {
            Cause::Asked => "asked",
            Cause::Panicked(_) => "panic",
        };
        let end = format!("-{kind}{SUFFIX}");
        let time = rfc3339(at).replace(':', "");
        let path = self.folder.join(format!("{time}{end}"));
        let new = path.with_extension("new");
        let written = write(&new, bytes).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // A full disk has the more room for it; that it is there at all was the failure.
            fs::remove_file(&new).ok();
        }
        written?;
        File::open(&self.folder)?.sync_all()?;
        self.thin_out(&end)?;
        Ok(path)
    }

    /// Names begin with the time, so that they are in order of it.
    fn thin_out(&self, end: &str) -> io::Result<()> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(end) {
                paths.push(path);
            }
        }
        paths.sort();
        let too_many = paths.len().saturating_sub(KEPT_MAX);
        paths[..too_many].iter().try_for_each(fs::remove_file)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join("recordings")).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries
            .map(|entry| name(entry).into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_newest_of_each_cause_are_kept_and_only_the_owner_reads_them() {
        let dir = TestDir::new("recordings");
        let recordings = Recordings::new(&dir);
        let at = |second: u64| Wall(1_800_000_000_000 + second * 1_000);
        let asked = recordings.save(&Cause::Asked, at(0), b"asked").unwrap();
        for second in 1..10 {
            let cause = Cause::Panicked("again".to_owned());
            recordings
                .save(&cause, at(second), &[second as u8])
                .unwrap();
        }
        assert_eq!(
            names(&dir),
            [
                "2027-01-15T080000.000Z-asked.hfrec",
                "2027-01-15T080006.000Z-panic.hfrec",
                "2027-01-15T080007.000Z-panic.hfrec",
                "2027-01-15T080008.000Z-panic.hfrec",
                "2027-01-15T080009.000Z-panic.hfrec",
            ]
        );
        assert_eq!(fs::read(&asked).unwrap(), b"asked");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&asked), mode(&dir.join("recordings"))),
            (0o600, 0o700)
        );
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let dir = TestDir::new("recordings");
        let recordings = Recordings::new(&dir);
        recordings.save(&Cause::Asked, Wall(0), b"first").unwrap();
        // A folder stands where the file should be.
        let name = names(&dir).remove(0);
        let taken = dir.join("recordings").join(name);
        fs::remove_file(&taken).unwrap();
        fs::create_dir(&taken).unwrap();
        recordings
            .save(&Cause::Asked, Wall(0), b"second")
            .unwrap_err();
        assert_eq!(names(&dir).len(), 1);
    }
}
