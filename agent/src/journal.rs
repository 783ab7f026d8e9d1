//! What the core is reading, on disk: so that after a crash it is known which record was to blame.
//!
//! Two files in the state directory. `reading` is written before and after each step, in place and
//! without a sync: the kernel keeps it when the process dies, and a loss of power is no crash of
//! the reader. `blame` holds suspects and what is set aside, and is written when that changes.

use holdfast_core::{
    cluster::{
        quarantine::{Blame, Journal},
        record::Record,
    },
    input::Input,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tracing::warn;

/// The journal of this process, with the files that outlive it.
#[derive(Debug)]
pub(crate) struct JournalFile {
    journal: Journal,
    /// `None` where it cannot be written: then a crash blames nobody.
    reading: Option<File>,
    blame: PathBuf,
}

/// Both files hold one value behind its version; any other is of no use.
#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u8,
    value: T,
}

const VERSION: u8 = 1;

impl JournalFile {
    /// Looks how the process before this one ended. Until the next [`Self::end`], what is on the
    /// disk is being read.
    pub(crate) fn open(state_dir: &Path, on_disk: &[Arc<Record>]) -> Self {
        let (path, blame) = (state_dir.join("reading"), state_dir.join("blame"));
        let mut journal = Journal {
            present: load(&path),
            blame: load(&blame),
        };
        let before = journal.blame.clone();
        journal.take_up(on_disk.iter().map(|record| record.hash()));
        let mut options = OpenOptions::new();
        let reading = options.create(true).truncate(false).write(true).mode(0o600);
        let reading = reading.open(&path);
        let reading = reading.inspect_err(|err| {
            warn!(path = %path.display(), %err, "Cannot note what is read: a crash blames nobody.");
        });
        let opened = Self {
            journal,
            reading: reading.ok(),
            blame,
        };
        if opened.journal.blame != before {
            let blame = &opened.journal.blame;
            warn!(
                suspects = blame.crashes.len(),
                set_aside = blame.set_aside.len(),
                "The last agent died while it read records. They are tried before they are taken."
            );
            opened.save_blame();
        }
        opened.save_present();
        opened
    }

    pub(crate) const fn blame(&self) -> &Blame {
        &self.journal.blame
    }

    /// The core is about to take this step.
    pub(crate) fn begin(&mut self, input: &Input) {
        self.journal.begin(input.reads());
        self.save_present();
    }

    /// The core came through.
    pub(crate) fn end(&mut self) {
        self.journal.end();
        self.save_present();
    }

    pub(crate) fn on_trial(&mut self, hashes: Vec<u64>) {
        self.journal.on_trial(hashes);
        self.save_present();
    }

    pub(crate) fn acquit(&mut self, hashes: &[u64]) {
        self.journal.acquit(hashes);
        self.save_blame();
    }

    fn save_present(&self) {
        let Some(file) = &self.reading else { return };
        // The next step tries again; a full disk is told of by the store.
        file.write_all_at(&encode(&self.journal.present), 0).ok();
    }

    fn save_blame(&self) {
        let part = self.blame.with_extension("part");
        let written = write_private(&part, &encode(&self.journal.blame));
        if let Err(err) = written.and_then(|()| fs::rename(&part, &self.blame)) {
            warn!(path = %self.blame.display(), %err, "Cannot save which records are suspects.");
        }
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let file = options.create(true).truncate(true).write(true).mode(0o600);
    file.open(path)?.write_all_at(bytes, 0)
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    let value = Versioned {
        version: VERSION,
        value,
    };
    serde_json::to_vec(&value).expect("plain values always encode")
}

fn load<T: DeserializeOwned + Default>(path: &Path) -> T {
    let bytes = fs::read(path).unwrap_or_default();
    // What follows the value is left of a longer one.
    let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Versioned<T>>();
    match values.next() {
        Some(Ok(read)) if read.version == VERSION => read.value,
        _ => T::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_dir::TestDir;
    use holdfast_core::{
        cluster::{
            body::Key,
            message::{Message, Via},
            record::Version,
        },
        ids::HostId,
    };
    use std::net::{Ipv4Addr, SocketAddr};

    fn record(host: u128) -> Arc<Record> {
        Record::new(Key::Host(HostId(host)), Version::default(), None)
    }

    fn message(records: &[Arc<Record>]) -> Input {
        Input::Message {
            from: HostId(1),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            via: Via::Datagram,
            message: Message::Records(records.to_vec()),
        }
    }

    fn suspects(file: &JournalFile) -> Vec<(u64, u32)> {
        let crashes = file.blame().crashes.iter();
        crashes.map(|(hash, times)| (*hash, *times)).collect()
    }

    #[test]
    fn who_was_being_read_when_the_process_died_is_a_suspect_and_set_aside_at_the_second_time() {
        let dir = TestDir::new("journal");
        let (good, bad) = (record(1), record(2));
        let open = || {
            let mut file = JournalFile::open(&dir, &[]);
            file.end();
            file
        };
        let mut file = open();
        assert!(file.blame().is_empty());
        file.begin(&message(&[Arc::clone(&good)]));
        file.end();
        file.begin(&message(&[Arc::clone(&bad)]));
        // As if killed: nothing is closed or synced.
        let mut file = open();
        assert_eq!(suspects(&file), [(bad.hash(), 1)]);
        file.on_trial(vec![bad.hash()]);
        file.begin(&Input::Tried);
        let mut file = open();
        assert_eq!(suspects(&file), []);
        assert!(file.blame().holds(&bad) && !file.blame().holds(&good));
        file.acquit(&[bad.hash()]);
        assert!(open().blame().is_empty());
    }

    #[test]
    fn whoever_ends_between_two_steps_blames_nobody_and_who_dies_at_the_start_blames_the_disk() {
        let dir = TestDir::new("journal-disk");
        let disk = [record(1), record(2)];
        let mut file = JournalFile::open(&dir, &disk);
        file.end();
        file.begin(&message(&disk));
        file.end();
        let file = JournalFile::open(&dir, &disk);
        assert!(file.blame().is_empty());
        let file = JournalFile::open(&dir, &disk);
        assert_eq!(file.blame().crashes.len(), 2);
    }

    #[test]
    fn a_damaged_file_blames_nobody() {
        let dir = TestDir::new("journal-damaged");
        for garbage in [
            &b"{\"version\":9,\"value\":{}}"[..],
            b"\0\0",
            b"{\"version\":1,\"val",
        ] {
            fs::write(dir.join("reading"), garbage).unwrap();
            fs::write(dir.join("blame"), garbage).unwrap();
            let file = JournalFile::open(&dir, &[record(1)]);
            assert!(file.blame().is_empty());
        }
    }
}
