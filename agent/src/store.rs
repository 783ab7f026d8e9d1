//! The agent's disk: keys and values in one redb file, and the count of the agent's lives.
//!
//! The store knows no records: it keeps bytes. What it holds can be lost at a cost that the design
//! accepts (the board comes back from peers, tasks from the labels of their containers), so a
//! damaged file is put aside and never stands in the way of the agent.

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, TableError,
    WriteTransaction,
};
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// What is in the store when it is opened: each key once, in ascending order.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// The open store.
///
/// Every method may wait for the disk, so none is for a worker that also answers probes.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    /// `None` after a failure: redb refuses all further work on a file that once failed, so it is
    /// opened again by the next commit.
    database: Option<Database>,
    /// Writes that the next durable commit takes along; `None` deletes.
    deferred: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    deferred_bytes: usize,
}

/// When a commit has to be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Before the call returns, with all that was deferred before.
    Now,
    /// With the next commit that is `Now`, or with `flush`; lost if the agent is killed first.
    Later,
}

/// What went wrong with the store and where.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("no space left for {path}: free some, or put state_dir on another file system")]
    Full {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("cannot read and write {path}: check its owner and the disk, or set state_dir")]
    Disk {
        path: PathBuf,
        #[source]
        err: redb::Error,
    },
    #[error(
        "{path} has format {found}, of a newer holdfast; this one reads up to {known}: start the \
         newer one again, or move the file away"
    )]
    Newer {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("cannot put damaged {path} aside: move it away")]
    Aside {
        path: PathBuf,
        #[source]
        err: io::Error,
    },
    #[error("{path} is damaged: restart the agent, which will put it aside")]
    Damaged {
        path: PathBuf,
        #[source]
        err: redb::Error,
    },
    #[error("cannot use {path}: it is open in this or another process")]
    InUse { path: PathBuf },
}

impl Store {
    /// Opens the store and loads all of it. A damaged file is renamed to
    /// `<file>.corrupt-<now_wall_ms>`, with a warning, and a fresh one takes its place.
    pub(crate) fn open(path: &Path, now_wall_ms: u64) -> Result<(Self, Entries), StoreError> {
        let (database, entries) = match load(path) {
            Err(StoreError::Damaged { err, .. }) => {
                put_aside(path, now_wall_ms, &err)?;
                load(path)?
            }
            loaded => loaded?,
        };
        let store = Self {
            path: path.to_owned(),
            database: Some(database),
            deferred: BTreeMap::new(),
            deferred_bytes: 0,
        };
        Ok((store, entries))
    }

    /// Writes `puts`, then deletes `deletes`, all or nothing.
    ///
    /// After an error nothing of this call was written and nothing of it is remembered; what
    /// earlier calls wrote or deferred stays, and the next call tries again, on a file opened
    /// afresh. (Only where the disk fails in the very last sync may the call be found on disk after
    /// all, whole: repeating it is harmless.) Deferred writes beyond `DEFERRED_BYTES_MAX` make a
    /// later commit durable at once.
    pub(crate) fn commit(
        &mut self,
        puts: &[(Vec<u8>, Vec<u8>)],
        deletes: &[Vec<u8>],
        durable: Durable,
    ) -> Result<(), StoreError> {
        let puts = puts.iter().map(|(key, value)| (key, Some(value)));
        let deletes = deletes.iter().map(|key| (key, None));
        let batch = || puts.clone().chain(deletes.clone());
        let bytes: usize = batch().map(|(k, v)| k.len() + v.map_or(0, Vec::len)).sum();
        if durable == Durable::Later && self.deferred_bytes + bytes <= DEFERRED_BYTES_MAX {
            let owned = batch().map(|(key, value)| (key.clone(), value.cloned()));
            self.deferred.extend(owned);
            // Counts replaced values, too, so it errs towards an early flush.
            self.deferred_bytes += bytes;
            return Ok(());
        }
        self.write(|transaction, deferred| {
            let mut table = transaction.open_table(ENTRIES)?;
            let mut set = |key: &Vec<u8>, value: Option<&Vec<u8>>| match value {
                Some(value) => table.insert(key.as_slice(), value.as_slice()).map(drop),
                None => table.remove(key.as_slice()).map(drop),
            };
            deferred
                .iter()
                .try_for_each(|(key, value)| set(key, value.as_ref()))?;
            batch().try_for_each(|(key, value)| set(key, value))?;
            Ok(())
        })?;
        self.deferred.clear();
        self.deferred_bytes = 0;
        Ok(())
    }

    /// Puts on disk what was deferred; to be called now and then, and before the agent ends.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        if self.deferred.is_empty() {
            return Ok(());
        }
        self.commit(&[], &[], Durable::Now)
    }

    /// The number of the agent's next life: higher than any before, and on disk when this returns.
    ///
    /// The wall clock keeps it growing also where the store was lost.
    pub(crate) fn next_incarnation(&mut self, now_wall_ms: u64) -> Result<u64, StoreError> {
        let mut next = now_wall_ms;
        self.write(|transaction, _| {
            let mut meta = transaction.open_table(META)?;
            let stored = meta.get(INCARNATION)?.map_or(0, |guard| guard.value());
            next = now_wall_ms.max(stored.saturating_add(1));
            meta.insert(INCARNATION, next)?;
            Ok(())
        })?;
        Ok(next)
    }

    /// One durable transaction. The file is closed after a failure and opened before the next try.
    fn write(
        &mut self,
        fill: impl FnOnce(&WriteTransaction, &Deferred) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open_database(&self.path).map_err(|err| store_error(&self.path, err))?,
        };
        let written = in_transaction(&database, |transaction| fill(transaction, &self.deferred));
        match written {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(err) => Err(store_error(&self.path, err)),
        }
    }
}

type Deferred = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn in_transaction(
    database: &Database,
    fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    fill(&transaction)?;
    Ok(transaction.commit()?)
}

fn load(path: &Path) -> Result<(Database, Entries), StoreError> {
    let failed = |err| store_error(path, err);
    // The integrity check should turn any damage into an error. Should it miss some, a panic here
    // would recur at each start, so it counts as damage; nothing of the file is kept in memory.
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let database = open_database(path)?;
        let format = format_of(&database)?;
        let entries = match format {
            FORMAT => entries_of(&database)?,
            _ => Entries::new(),
        };
        Ok((database, format, entries))
    }));
    let panicked = |_| Err(redb::Error::Corrupted("reading it panicked".to_owned()));
    let (database, found, entries) = loaded.unwrap_or_else(panicked).map_err(failed)?;
    if found > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known: FORMAT,
        });
    }
    assert_eq!(
        found, FORMAT,
        "formats start at {FORMAT}, so there is no older one"
    );
    Ok((database, entries))
}

/// One file of the agent's, for the agent alone.
pub(crate) fn open_database(path: &Path) -> Result<Database, redb::Error> {
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES_MAX)
        .set_check_integrity_on_open(true)
        .create(path)?;
    // Cluster keys stand on the board.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(redb::Error::Io)?;
    Ok(database)
}

/// The format of the file; a file without one is new and gets ours.
fn format_of(database: &Database) -> Result<u64, redb::Error> {
    let stored = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta.get(FORMAT_KEY)?.map(|guard| guard.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(err) => return Err(err.into()),
    };
    match stored {
        Some(0) => Err(redb::Error::Corrupted("format 0".to_owned())),
        Some(format) => Ok(format),
        None => in_transaction(database, |transaction| {
            transaction.open_table(ENTRIES)?;
            transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
            Ok(())
        })
        .map(|()| FORMAT),
    }
}

fn entries_of(database: &Database) -> Result<Entries, redb::Error> {
    let table = database.begin_read()?.open_table(ENTRIES)?;
    let mut entries = Entries::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        entries.push((key.value().to_vec(), value.value().to_vec()));
    }
    Ok(entries)
}

pub(crate) fn put_aside(
    path: &Path,
    now_wall_ms: u64,
    why: &redb::Error,
) -> Result<(), StoreError> {
    let mut name_ms = now_wall_ms;
    let aside = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{name_ms}"));
        match PathBuf::from(name) {
            taken if taken.exists() => name_ms += 1,
            free => break free,
        }
    };
    tracing::warn!(
        path = %path.display(), aside = %aside.display(), %why,
        "The store is damaged. It was put aside; the agent starts with a fresh one."
    );
    fs::rename(path, aside).map_err(|err| StoreError::Aside {
        path: path.to_owned(),
        err,
    })
}

pub(crate) fn store_error(path: &Path, err: redb::Error) -> StoreError {
    use io::ErrorKind::{FileTooLarge, InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
    let path = path.to_owned();
    match err {
        redb::Error::Io(err) => match err.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full { path, err },
            InvalidData | UnexpectedEof => StoreError::Damaged {
                path,
                err: redb::Error::Io(err),
            },
            _ => StoreError::Disk {
                path,
                err: redb::Error::Io(err),
            },
        },
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            StoreError::InUse { path }
        }
        redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_) => StoreError::Damaged { path, err },
        err => StoreError::Disk { path, err },
    }
}

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const INCARNATION: &str = "incarnation";
/// Goes up with each change that an older agent would misread.
const FORMAT: u64 = 1;
/// Small, since the agent holds all entries in memory itself.
const CACHE_BYTES_MAX: usize = 1024 * 1024;
const DEFERRED_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests;
