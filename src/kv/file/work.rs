//! What is done in the file. Runs on the threads of the store, and may wait for the disk.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};

use super::{
    super::{Entries, Error, Value},
    open::{OpenError, open},
};
use crate::clock::{self, Timestamp};

/// A change of one value.
#[derive(Clone)]
pub(super) enum Change {
    Put(Vec<u8>, Value),
    Take(Vec<u8>),
    Swap(Vec<u8>, Option<Bytes>, Option<Value>),
}

/// What changes nothing.
pub(super) enum Question {
    Get(Vec<u8>),
    /// What begins with this, and how many at most.
    Scan(Vec<u8>, usize),
}

/// What became of it.
pub(super) enum Outcome {
    Value(Option<Bytes>),
    Done(bool),
    List(Entries),
}

impl Outcome {
    pub(super) fn value(self) -> Option<Bytes> {
        match self {
            Self::Value(value) => value,
            Self::Done(_) | Self::List(_) => None,
        }
    }
}

/// The values: eight bytes that say when one ends, then the value.
const VALUES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("values");
/// The keys by when their values end.
const ENDS: TableDefinition<'_, (u64, &[u8]), ()> = TableDefinition::new("ends");

/// The file. After an error of the disk it is closed, and opened again for the next work.
pub(super) struct Disk {
    path: PathBuf,
    database: ArcSwapOption<Database>,
    /// One thread at a time opens it again.
    opening: Mutex<()>,
    swept_at: AtomicU64,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let disk = Self {
            path: path.to_owned(),
            database: ArcSwapOption::empty(),
            opening: Mutex::default(),
            swept_at: AtomicU64::new(0),
        };
        disk.database.store(Some(Arc::new(open(path)?)));
        // Both tables are there for whoever reads first, and what ended meanwhile goes.
        disk.commit(&[])
            .map_err(|error| OpenError::Unusable(path.to_owned(), error.0))?;
        Ok(disk)
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.load().is_some()
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        if let Some(database) = self.database.load_full() {
            return Ok(database);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = self.database.load_full() {
            return Ok(database);
        }
        let database = open(&self.path).map_err(|error| Error(error.to_string()))?;
        let database = Arc::new(database);
        // It may be a new one, and whoever reads first needs them.
        make_tables(&database).map_err(|error| Error(error.to_string()))?;
        self.database.store(Some(Arc::clone(&database)));
        tracing::info!(path = %self.path.display(), "the state is open again");
        Ok(database)
    }

    /// Makes the changes, all or none, one after the other. On the disk when it returns.
    pub(super) fn commit(&self, changes: &[Change]) -> Result<Vec<Result<Outcome, Error>>, Error> {
        let database = self.database()?;
        let now = clock::now();
        let swept_at = Timestamp(self.swept_at.load(Ordering::Relaxed));
        let is_due = now.since(swept_at) >= SWEEP;
        self.closing_on_failure(|| {
            let transaction = database.begin_write()?;
            let outcomes = {
                let mut tables = Tables::of(&transaction)?;
                if is_due {
                    tables.sweep(now)?;
                }
                let changes = changes.iter();
                changes
                    .map(|change| tables.make(change, now))
                    .collect::<Result<_, redb::Error>>()?
            };
            transaction.commit()?;
            if is_due {
                self.swept_at.store(now.0, Ordering::Relaxed);
            }
            Ok(outcomes)
        })
    }

    pub(super) fn answer(&self, question: &Question) -> Result<Outcome, Error> {
        let database = self.database()?;
        let now = clock::now();
        self.closing_on_failure(|| {
            let values = database.begin_read()?.open_table(VALUES)?;
            match question {
                Question::Get(key) => {
                    let found = values.get(key.as_slice())?;
                    let found = found.and_then(|stored| current(stored.value(), now));
                    Ok(Outcome::Value(found))
                }
                Question::Scan(prefix, at_most) => {
                    let mut list = Vec::new();
                    for entry in values.range::<&[u8]>(prefix.as_slice()..)? {
                        let (key, stored) = entry?;
                        let Some(name) = key.value().strip_prefix(prefix.as_slice()) else {
                            break;
                        };
                        if list.len() >= *at_most {
                            break;
                        }
                        if let Some(value) = current(stored.value(), now) {
                            list.push((name.to_vec(), value));
                        }
                    }
                    Ok(Outcome::List(list))
                }
            }
        })
    }

    /// After an error the database takes nothing more until it is opened again.
    fn closing_on_failure<T>(
        &self,
        work: impl FnOnce() -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        work().map_err(|error| {
            self.database.store(None);
            tracing::error!(path = %self.path.display(), %error, "the state cannot be read or written");
            Error(error.to_string())
        })
    }
}

fn current(stored: &[u8], now: Timestamp) -> Option<Bytes> {
    let (end, value) = stored.split_first_chunk()?;
    (now.0 < u64::from_be_bytes(*end)).then(|| Bytes::copy_from_slice(value))
}

fn end_of(stored: &[u8]) -> Option<u64> {
    stored.first_chunk().map(|end| u64::from_be_bytes(*end))
}

/// Both tables, changed as one.
struct Tables<'t> {
    values: Table<'t, &'static [u8], &'static [u8]>,
    ends: Table<'t, (u64, &'static [u8]), ()>,
}

fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    drop(Tables::of(&transaction)?);
    Ok(transaction.commit()?)
}

impl<'t> Tables<'t> {
    fn of(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            values: transaction.open_table(VALUES)?,
            ends: transaction.open_table(ENDS)?,
        })
    }

    fn make(
        &mut self,
        change: &Change,
        now: Timestamp,
    ) -> Result<Result<Outcome, Error>, redb::Error> {
        Ok(match change {
            Change::Put(key, value) => self.insert(key, value)?.map(|()| Outcome::Done(true)),
            Change::Take(key) => Ok(Outcome::Value(self.remove(key, now)?)),
            Change::Swap(key, expected, new) => {
                let found = self.values.get(key.as_slice())?;
                let found = found.and_then(|stored| current(stored.value(), now));
                if found.as_ref() == new.as_ref().map(|new| &new.bytes) {
                    Ok(Outcome::Done(true))
                } else if found != *expected {
                    Ok(Outcome::Done(false))
                } else if let Some(new) = new {
                    self.insert(key, new)?.map(|()| Outcome::Done(true))
                } else {
                    self.remove(key, now)?;
                    Ok(Outcome::Done(true))
                }
            }
        })
    }

    fn insert(&mut self, key: &[u8], value: &Value) -> Result<Result<(), Error>, redb::Error> {
        let is_new = self.forget_end(key)?;
        if is_new && self.values.len()? >= CAPACITY {
            return Ok(Err(Error("no room for more values in the file".to_owned())));
        }
        let end = value.end.0;
        let stored = [&end.to_be_bytes(), &*value.bytes].concat();
        self.values.insert(key, stored.as_slice())?;
        self.ends.insert((end, key), ())?;
        Ok(Ok(()))
    }

    fn remove(&mut self, key: &[u8], now: Timestamp) -> Result<Option<Bytes>, redb::Error> {
        self.forget_end(key)?;
        let removed = self.values.remove(key)?;
        Ok(removed.and_then(|stored| current(stored.value(), now)))
    }

    /// Whether there is no such value.
    fn forget_end(&mut self, key: &[u8]) -> Result<bool, redb::Error> {
        let stored = self.values.get(key)?;
        let end = stored.as_ref().map(|stored| end_of(stored.value()));
        drop(stored);
        if let Some(Some(end)) = end {
            self.ends.remove((end, key))?;
        }
        Ok(end.is_none())
    }

    /// Removes what has ended, the longest ago first, so many at a time.
    fn sweep(&mut self, now: Timestamp) -> Result<(), redb::Error> {
        let mut ended = Vec::new();
        for entry in self.ends.iter()?.take(SWEPT) {
            let entry = entry?;
            let (end, key) = entry.0.value();
            if now.0 < end {
                break;
            }
            ended.push((end, key.to_vec()));
        }
        for (end, key) in ended {
            self.values.remove(key.as_slice())?;
            self.ends.remove((end, key.as_slice()))?;
        }
        Ok(())
    }
}

/// Values, ended ones that were not swept yet among them.
const CAPACITY: u64 = 1_000_000;
/// How often it is swept, where anything is written.
const SWEEP: std::time::Duration = std::time::Duration::from_mins(1);
/// How many go at once.
const SWEPT: usize = 10_000;
