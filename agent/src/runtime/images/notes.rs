//! Which images this agent pulled, and when each was last used: noted in a file that outlives it.
//!
//! Only what is noted is ever cleaned up. So an image is noted after it was pulled, and a file that
//! is lost or damaged means images that stay, never one too many that goes.

use super::name::ImageName;
use crate::runtime::docker::lock;
use holdfast_core::time::Wall;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Mutex,
};
use tokio::task::spawn_blocking;
use tracing::warn;

const FILE: &str = "images";
const VERSION: u8 = 1;

/// By the image's id, as Docker writes it: `sha256:` and 64 digits.
pub(crate) type NotesById = BTreeMap<String, Note>;

#[derive(Debug)]
pub(crate) struct Notes {
    path: PathBuf,
    notes: Mutex<NotesById>,
    /// One writes at a time, so that the file never goes back.
    writing: tokio::sync::Mutex<()>,
}

/// What is known of one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// Each name that it was pulled by.
    pub(crate) names: BTreeSet<String>,
    pub(crate) pulled_at: Wall,
    /// When it was last pulled, or found in use by a container.
    pub(crate) used_at: Wall,
    /// It was last pulled ahead of its use, which is yet to come.
    pub(crate) is_ahead: bool,
    /// It was on the host already when it was first pulled: not ours to remove.
    pub(crate) was_here: bool,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u8,
    images: NotesById,
}

/// One pull that went well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulled<'a> {
    pub(crate) image: &'a ImageName,
    pub(crate) id: &'a str,
    pub(crate) at: Wall,
    pub(crate) is_ahead: bool,
    pub(crate) was_here: bool,
}

impl Notes {
    pub(crate) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join(FILE);
        let notes = match load(&path) {
            Ok(notes) => notes,
            Err(err) if err.kind() == io::ErrorKind::NotFound => NotesById::new(),
            Err(err) => {
                warn!(path = %path.display(), %err, "Cannot read which images were pulled: \
                     those that are here are not cleaned up.");
                NotesById::new()
            }
        };
        Self {
            path,
            notes: Mutex::new(notes),
            writing: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn on_pulled(&self, pulled: Pulled<'_>) {
        let mut notes = lock(&self.notes);
        let note = notes.entry(pulled.id.to_owned()).or_insert_with(|| Note {
            names: BTreeSet::new(),
            pulled_at: pulled.at,
            used_at: pulled.at,
            is_ahead: pulled.is_ahead,
            was_here: pulled.was_here,
        });
        note.names.insert(pulled.image.to_string());
        (note.pulled_at, note.used_at) = (pulled.at, note.used_at.max(pulled.at));
        // Who pulls ahead what was here, too, counts on finding it.
        note.is_ahead |= pulled.is_ahead;
    }

    /// A container was made of it.
    pub(crate) fn on_used(&self, image: &ImageName, now: Wall) {
        let (mut notes, name) = (lock(&self.notes), image.to_string());
        let named = notes.values_mut().filter(|note| note.names.contains(&name));
        // The name may have moved: it means what was pulled last.
        if let Some(note) = named.max_by_key(|note| note.pulled_at) {
            note.on_used(now);
        }
    }

    /// Containers have these images.
    pub(crate) fn on_seen<'a>(&self, ids: impl Iterator<Item = &'a str>, now: Wall) {
        let mut notes = lock(&self.notes);
        for id in ids {
            if let Some(note) = notes.get_mut(id) {
                note.on_used(now);
            }
        }
    }

    /// Forgets what Docker no longer has.
    pub(crate) fn retain(&self, is_here: impl Fn(&str) -> bool) {
        lock(&self.notes).retain(|id, _| is_here(id));
    }

    /// Whether this agent pulled what the name means, at any time.
    pub(crate) fn has_pulled(&self, image: &ImageName) -> bool {
        let name = image.to_string();
        lock(&self.notes)
            .values()
            .any(|note| note.names.contains(&name))
    }

    pub(crate) fn get(&self, id: &str) -> Option<Note> {
        lock(&self.notes).get(id).cloned()
    }

    pub(crate) fn all(&self) -> NotesById {
        lock(&self.notes).clone()
    }

    /// Whole or not at all: a new file takes the place of the old one when it is on disk.
    pub(crate) async fn save(&self) {
        let _one = self.writing.lock().await;
        let saved = Saved {
            version: VERSION,
            images: self.all(),
        };
        let bytes = serde_json::to_vec(&saved).expect("plain values always encode");
        let path = self.path.clone();
        let written = spawn_blocking(move || write(&path, &bytes)).await;
        let written = written.unwrap_or_else(|err| Err(io::Error::other(err)));
        if let Err(err) = written {
            let path = self.path.display();
            warn!(%path, %err, "Cannot save which images were pulled: after a restart those that \
                 are here are not cleaned up.");
        }
    }
}

impl Note {
    fn on_used(&mut self, now: Wall) {
        self.used_at = self.used_at.max(now);
        self.is_ahead = false;
    }
}

fn load(path: &Path) -> io::Result<NotesById> {
    let saved: Saved = serde_json::from_slice(&fs::read(path)?)?;
    match saved.version {
        VERSION => Ok(saved.images),
        other => {
            let text = format!("it has version {other}, this agent reads {VERSION}");
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;

    fn pulled<'a>(image: &'a ImageName, id: &'a str, at: u64) -> Pulled<'a> {
        Pulled {
            image,
            id,
            at: Wall(at),
            is_ahead: true,
            was_here: false,
        }
    }

    #[tokio::test]
    async fn what_was_pulled_is_known_after_a_restart_and_a_damaged_file_means_nothing_was() {
        let dir = TestDir::new("images");
        let (web, db) = (ImageName::of("web"), ImageName::of("db:2"));
        let notes = Notes::open(&dir);
        notes.on_pulled(pulled(&web, "sha256:1", 5));
        notes.on_pulled(pulled(&db, "sha256:1", 7));
        notes.save().await;
        let again = Notes::open(&dir);
        assert_eq!(again.all(), notes.all());
        assert!(again.has_pulled(&web) && !again.has_pulled(&ImageName::of("db:1")));
        for damaged in [r#"{"version":9,"images":{}}"#, "{\"version\":1,\"im", "\0"] {
            fs::write(dir.join(FILE), damaged).unwrap();
            assert_eq!(Notes::open(&dir).all(), NotesById::new());
        }
        let nowhere = Notes::open(&dir.join("absent"));
        nowhere.on_pulled(pulled(&web, "sha256:1", 5));
        nowhere.save().await;
        assert!(nowhere.has_pulled(&web), "it goes on without its file");
    }

    #[test]
    fn a_use_counts_for_what_the_name_means_and_never_goes_back() {
        let dir = TestDir::new("images");
        let web = ImageName::of("web:1");
        let notes = Notes::open(&dir);
        notes.on_pulled(pulled(&web, "sha256:old", 5));
        notes.on_pulled(pulled(&web, "sha256:new", 6));
        notes.on_used(&web, Wall(20));
        notes.on_seen(["sha256:old", "sha256:foreign"].into_iter(), Wall(9));
        notes.on_seen(["sha256:new"].into_iter(), Wall(8));
        let told = |note: Note| (note.pulled_at.0, note.used_at.0, note.is_ahead);
        let all = notes.all().into_iter().map(|(id, note)| (id, told(note)));
        assert_eq!(
            all.collect::<Vec<_>>(),
            [
                ("sha256:new".to_owned(), (6, 20, false)),
                ("sha256:old".to_owned(), (5, 9, false)),
            ]
        );
        notes.retain(|id| id == "sha256:new");
        assert_eq!(notes.all().len(), 1);
    }
}
