//! Directories for tests: each of its own, gone when the test ends.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
};

pub(crate) struct TestDir(PathBuf);

impl TestDir {
    pub(crate) fn new(what: &str) -> Self {
        let unique = getrandom::u64().expect("the kernel has random bytes");
        let path = std::env::temp_dir().join(format!("holdfast-{what}-{unique:016x}"));
        std::fs::create_dir(&path).expect("the temporary directory takes a new directory");
        Self(path)
    }
}

impl Deref for TestDir {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {err}", self.0.display());
        }
    }
}
