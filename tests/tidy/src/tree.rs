//! The tree as the checks see it: every text file with its path, Rust also without its prose.

use std::{collections::BTreeSet, fs, io, path::Path};

use crate::scan;

/// What is built or private to a machine, and not ours to judge.
const SKIPPED: &[&str] = &["target", ".git", ".cargo", ".idea", ".vscode"];

#[derive(Debug)]
pub struct File {
    /// From the root of the tree, with `/` between its parts.
    pub path: String,
    pub text: String,
    /// For `.rs`: the text with comments, strings and characters blanked, line by line as long as
    /// it was; else empty.
    pub code: String,
    /// For `.rs`: for each line, whether it belongs to tests.
    pub in_test: Vec<bool>,
}

#[derive(Debug, Default)]
pub struct Tree {
    pub files: Vec<File>,
    /// Every file and folder, those that are no text too.
    pub paths: BTreeSet<String>,
}

impl Tree {
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| entry.file_name());
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            let path = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
                self.paths.insert(path);
            } else if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
                self.add(&path, text);
            } else {
                self.paths.insert(path);
            }
        }
        Ok(())
    }

    /// A tree of the given paths and texts, for self-tests.
    pub fn sample(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            let folders = path
                .match_indices('/')
                .map(|(end, _)| path[..end].to_owned());
            tree.paths.extend(folders);
            tree.add(path, (*text).to_owned());
        }
        tree
    }

    fn add(&mut self, path: &str, text: String) {
        let code = if path.ends_with(".rs") {
            scan::code_of(&text)
        } else {
            String::new()
        };
        let all_test = is_test_path(path);
        let in_test = match all_test {
            true => vec![true; code.lines().count()],
            false => scan::test_lines(&code),
        };
        self.paths.insert(path.to_owned());
        self.files.push(File {
            path: path.to_owned(),
            text,
            code,
            in_test,
        });
    }

    pub fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }

    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl File {
    /// Lines of code from 1, each with whether it belongs to tests.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        let lines = self.code.lines().zip(&self.in_test);
        lines
            .enumerate()
            .map(|(index, (line, test))| (index + 1, line, *test))
    }
}

/// Files that hold nothing but tests: `…/tests/…` inside a package, and `tests.rs` beside what it
/// tests. The packages under `tests/` have sources like any other.
fn is_test_path(path: &str) -> bool {
    let inside = path.strip_prefix("tests/").unwrap_or(path);
    inside.contains("/tests/") || inside.ends_with("/tests.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tests_is_told_by_its_path() {
        assert!(is_test_path("tests/tidy/tests/it/main.rs"));
        assert!(is_test_path("agent/core/src/task/tests.rs"));
        assert!(!is_test_path("tests/sim/src/lib.rs"));
        assert!(!is_test_path("agent/src/drive.rs"));
    }
}
