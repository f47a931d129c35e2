//! Reads and writes in the file. Runs on the store's threads, and may wait for the disk.

use std::{
    mem,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, Table,
    TableDefinition, WriteTransaction,
};

use super::{
    super::{Entries, Error, Value},
    damage,
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

/// How many bytes there are, by [`TOTAL`].
const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals");
const TOTAL: &str = "bytes";

/// The file. After an error of the disk it is closed, and opened again for the next work; a damaged one is not opened again.
pub(super) struct Disk {
    path: PathBuf,
    database: ArcSwapOption<Database>,
    /// One thread at a time opens it again.
    opening: Mutex<()>,
    swept_at: AtomicU64,
    /// What redb said when it gave up.
    damage: OnceLock<String>,
}

impl Disk {
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let disk = Self {
            path: path.to_owned(),
            database: ArcSwapOption::empty(),
            opening: Mutex::default(),
            swept_at: AtomicU64::new(0),
            damage: OnceLock::new(),
        };
        disk.database.store(Some(Arc::new(open(path)?)));
        // Both tables are there for whoever reads first, and what ended meanwhile goes.
        let begun = disk.commit(&[]);
        begun.map_err(|error| match disk.damage.get() {
            Some(said) => OpenError::Damaged(path.to_owned(), said.clone()),
            None => OpenError::Unusable(path.to_owned(), error.0),
        })?;
        Ok(disk)
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.load().is_some()
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        if self.damage.get().is_some() {
            return Err(damaged());
        }
        if let Some(database) = self.database.load_full() {
            return Ok(database);
        }
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = self.database.load_full() {
            return Ok(database);
        }
        let database = match open(&self.path) {
            Err(OpenError::Damaged(_, said)) => return Err(self.give_up(said, None)),
            opened => Arc::new(opened.map_err(|error| Error(error.to_string()))?),
        };
        // It may be a new one, and whoever reads first needs them.
        let made = damage::caught(|| make_tables(&database));
        let made = made.map_err(|said| self.give_up(said, Some(Arc::clone(&database))))?;
        made.map_err(|error| Error(error.to_string()))?;
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
        self.closing_on_failure(move || {
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
        self.closing_on_failure(move || {
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
        let done = damage::caught(work);
        let done = done.map_err(|said| self.give_up(said, self.database.swap(None)))?;
        done.map_err(|error| {
            if let redb::Error::Corrupted(said) = error {
                return self.give_up(said, self.database.swap(None));
            }
            // It writes once more when it is dropped, if it can.
            let _ = damage::caught(|| drop(self.database.swap(None)));
            tracing::error!(path = %self.path.display(), %error, "the state cannot be read or written");
            Error(error.to_string())
        })
    }

    /// Nothing is read or written any more: what stands there may say anything of anybody.
    fn give_up(&self, said: String, database: Option<Arc<Database>>) -> Error {
        // It would write once more when it is dropped.
        mem::forget(database);
        tracing::error!(
            path = %self.path.display(),
            error = said,
            "the state file is damaged; put a copy in its place, or move it away, and start again"
        );
        let _ = self.damage.set(said);
        damaged()
    }
}

fn damaged() -> Error {
    Error("the state file is damaged".to_owned())
}

fn current(stored: &[u8], now: Timestamp) -> Option<Bytes> {
    let (end, value) = stored.split_first_chunk()?;
    (now.0 < u64::from_be_bytes(*end)).then(|| Bytes::copy_from_slice(value))
}

fn end_of(stored: &[u8]) -> Option<u64> {
    stored.first_chunk().map(|end| u64::from_be_bytes(*end))
}

/// The tables, changed as one.
struct Tables<'t> {
    values: Table<'t, &'static [u8], &'static [u8]>,
    ends: Table<'t, (u64, &'static [u8]), ()>,
    totals: Table<'t, &'static str, u64>,
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
            totals: transaction.open_table(TOTALS)?,
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
        let end = value.end.0;
        let stored = [&end.to_be_bytes(), &*value.bytes].concat();
        let old = self.values.get(key)?;
        let old = old.map(|old| size(key, old.value()));
        let new = size(key, &stored);
        let total = self.bytes()?.saturating_sub(old.unwrap_or(0)) + new;
        let is_one_more = old.is_none() && self.values.len()? >= CAPACITY;
        let grows = new > old.unwrap_or(0);
        if is_one_more || grows && total > BYTES {
            return Ok(Err(Error("no room for more values in the file".to_owned())));
        }
        self.forget_end(key)?;
        self.totals.insert(TOTAL, total)?;
        self.values.insert(key, stored.as_slice())?;
        self.ends.insert((end, key), ())?;
        Ok(Ok(()))
    }

    fn remove(&mut self, key: &[u8], now: Timestamp) -> Result<Option<Bytes>, redb::Error> {
        self.forget_end(key)?;
        let removed = self.values.remove(key)?;
        let removed =
            removed.map(|stored| (size(key, stored.value()), current(stored.value(), now)));
        let Some((freed, found)) = removed else {
            return Ok(None);
        };
        self.free(freed)?;
        Ok(found)
    }

    fn free(&mut self, freed: u64) -> Result<(), redb::Error> {
        let total = self.bytes()?.saturating_sub(freed);
        self.totals.insert(TOTAL, total)?;
        Ok(())
    }

    /// Bytes of all there is. A file of before they were counted is counted once.
    fn bytes(&self) -> Result<u64, redb::Error> {
        if let Some(total) = self.totals.get(TOTAL)? {
            return Ok(total.value());
        }
        let mut total = 0;
        for entry in self.values.iter()? {
            let (key, stored) = entry?;
            total += size(key.value(), stored.value());
        }
        Ok(total)
    }

    fn forget_end(&mut self, key: &[u8]) -> Result<(), redb::Error> {
        let stored = self.values.get(key)?;
        let end = stored.as_ref().map(|stored| end_of(stored.value()));
        drop(stored);
        if let Some(Some(end)) = end {
            self.ends.remove((end, key))?;
        }
        Ok(())
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
        let mut freed = 0;
        for (end, key) in ended {
            let removed = self.values.remove(key.as_slice())?;
            freed += removed.map_or(0, |stored| size(&key, stored.value()));
            self.ends.remove((end, key.as_slice()))?;
        }
        if freed > 0 {
            self.free(freed)?;
        }
        Ok(())
    }
}

fn size(key: &[u8], stored: &[u8]) -> u64 {
    let bytes = key.len() + stored.len();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Bytes of all keys and values. The file has some more, and keeps its size when values go.
const BYTES: u64 = 1024 * 1024 * 1024;
/// Values, including expired ones that were not removed yet.
const CAPACITY: u64 = 1_000_000;
/// How often expired values are removed, if anything is written.
const SWEEP: Duration = Duration::from_mins(1);
/// Values that are removed at once.
const SWEPT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whichever page is not what was written: no thread ends, and nothing is answered that nobody has written.
    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let key = |number: u32| number.to_be_bytes().to_vec();
        let disk = Disk::open(&path).unwrap();
        let end = Timestamp(clock::now().0 + 60);
        let bytes = Bytes::from(vec![7; 900]);
        let value = Value { bytes, end };
        let puts: Vec<_> = (0..40)
            .map(|number| Change::Put(key(number), value.clone()))
            .collect();
        disk.commit(&puts).unwrap();
        drop(disk);
        let whole = std::fs::read(&path).unwrap();
        let mut damaged = 0;
        for page in 0..48 {
            let mut bytes = whole.clone();
            let Some(page) = bytes.chunks_exact_mut(4096).nth(page) else {
                break;
            };
            page.fill(0);
            std::fs::write(&path, bytes).unwrap();
            match Disk::open(&path) {
                Err(OpenError::Damaged(..)) => damaged += 1,
                Err(_) => {}
                Ok(disk) => {
                    for number in 0..40 {
                        match disk.answer(&Question::Get(key(number))) {
                            Ok(Outcome::Value(found)) => {
                                assert!(found.is_none_or(|found| found == value.bytes));
                            }
                            Ok(_) => panic!("another answer"),
                            Err(_) => {}
                        }
                    }
                    let _ = disk.commit(&puts);
                    if disk.damage.get().is_some() {
                        damaged += 1;
                        assert!(!disk.is_open());
                        assert!(disk.answer(&Question::Get(key(1))).is_err());
                        assert!(disk.commit(&puts).is_err());
                    }
                }
            }
        }
        assert!(damaged > 0);
    }

    #[test]
    fn what_is_counted_is_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("state.redb")).unwrap();
        let value = |length: usize, end: u64| Value {
            bytes: vec![7; length].into(),
            end: Timestamp(end),
        };
        let key = |name: &str| name.as_bytes().to_vec();
        let later = clock::now().0 + 60;
        let changes = [
            Change::Put(key("a"), value(100, later)),
            Change::Put(key("b"), value(200, 1)),
            Change::Put(key("a"), value(50, later)),
            Change::Swap(key("c"), None, Some(value(10, later))),
            Change::Take(key("c")),
            Change::Take(key("nothing")),
        ];
        let counted = |disk: &Disk| {
            let transaction = disk.database().unwrap().begin_write().unwrap();
            let tables = Tables::of(&transaction).unwrap();
            tables.bytes().unwrap()
        };
        disk.commit(&changes).unwrap();
        assert_eq!(counted(&disk), (1 + 8 + 50) + (1 + 8 + 200));
        // What has ended is swept, and counts no more.
        disk.swept_at.store(0, Ordering::Relaxed);
        disk.commit(&[]).unwrap();
        assert_eq!(counted(&disk), 1 + 8 + 50);
    }
}
