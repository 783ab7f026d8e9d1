//! Small files that are replaced as a whole: after a crash there is the old one or the new one.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Only its owner may read it.
///
/// # Panics
/// If the path names no directory that the file is in.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    write(&new, bytes)?.sync_all()?;
    fs::rename(&new, path)?;
    // The rename itself is only safe from a power cut once the directory is.
    let directory = path.parent().expect("the file is in a directory");
    File::open(directory)?.sync_all()
}

/// All may read it. Nothing waits for the disk: a power cut may leave half of it.
pub(crate) fn replace_for_all(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // Whatever the umask is.
    write(&new, bytes)?.set_permissions(Permissions::from_mode(0o644))?;
    fs::rename(&new, path)
}

fn write(new: &Path, bytes: &[u8]) -> io::Result<File> {
    // What a crash left there may be readable by others.
    match fs::remove_file(new) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let mut options = File::options();
    let mut file = options.write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(bytes)?;
    Ok(file)
}
